//! The snapshot of one trust domain, from what was last seen.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus};
use external_ca_core::domain::certmanager::DeclaredDomain;
use external_ca_core::domain::{ca_secret, identity};
use external_ca_core::model::{
    AuthorityState, InjectRef, Injected, Leaf, MaterialRef, Observed, Read, Signing, Snapshot,
};
use external_ca_core::snapshot::{ClaimTable, Declared, Needs, Seen};
use external_ca_core::x509::{CaChain, Certificate};
use kube::ResourceExt;

use crate::clock::Reading;
use crate::context::Context;
use crate::declaration::{Basis, Declaration};
use crate::issuers::{Issuer, SELF_SIGNED, self_signed_certificate};

/// What a turn rests on.
pub struct Sight {
    /// What is decided from: it holds no key.
    pub basis: Basis,
    /// What signs, where it can.
    pub issuer: Option<Issuer>,
}

/// What stands where, and what signs; nothing while first reads are under way.
pub fn observe(
    context: &Context,
    declaration: &Declaration,
    earlier: Option<Arc<ExternalCAIssuanceStatus>>,
    clock: Reading,
) -> Option<Sight> {
    match declaration {
        Declaration::Issuance(issuance) => observe_issuance(context, issuance, clock),
        Declaration::CertManager(declared) => observe_declared(context, declared, earlier, clock),
    }
}

fn observe_issuance(
    context: &Context,
    issuance: &Arc<ExternalCAIssuance>,
    Reading { now, ahead }: Reading,
) -> Option<Sight> {
    let (cluster, scope) = (&context.cluster, &context.scope);
    let (planes, mounted) = (cluster.planes()?, cluster.mounted(issuance, scope));
    // Not under the store's lock: claims are over all issuances and planes.
    let issuances = context.issuances.state();
    let told = context.claims.over(issuances, planes, scope);
    let (table, planes) = (&told.table, &told.planes);
    let needs = match table.wants(issuance) {
        Some(wants) => Needs::over(issuance, wants, planes.as_ref().clone(), &mounted, scope),
        None => Needs::of(issuance, planes.0.clone(), &mounted, scope),
    };
    let claims = table.of(issuance, &needs);
    cluster.want(&identity(issuance), &needs, needs.vital(issuance));
    let (mut observed, issuer) = cluster.seen(&needs, |seen, pem| {
        let issuers = &context.issuers;
        let (state, issuer) = issuers.of_secret(&ca_secret(issuance), pem, now);
        let observed = seen.observed(issuance, claims, &needs, scope, state);
        (observed, issuer)
    })?;
    let uid = issuance.uid().unwrap_or_default();
    observed.pending = context.pending.of(&uid);
    observed.clock_ahead = ahead;
    Some(Sight {
        basis: Basis::Issuance(Box::<Observed>::new(observed)),
        issuer,
    })
}

fn observe_declared(
    context: &Context,
    declared: &Arc<DeclaredDomain>,
    earlier: Option<Arc<ExternalCAIssuanceStatus>>,
    Reading { now, ahead }: Reading,
) -> Option<Sight> {
    let (cluster, scope) = (&context.cluster, &context.front_end.scope);
    let table = claims(context)?;
    let mounted = cluster.mounted_since(earlier.as_deref(), scope);
    let injected =
        cluster.cert_manager(|seen| injected_from(declared, seen, earlier.as_deref()))?;
    let needs = Needs::of_declared(declared, &mounted, injected, earlier.as_deref(), scope);
    let others = context.front_end.others(&declared.authority.secret);
    let claims = table.of_declared(&needs, others.into_iter());
    let vital = needs.vital_since(earlier.as_deref(), std::iter::empty);
    let (identity, secret) = (declared.identity(), &declared.authority.secret);
    cluster.want(&identity, &needs, vital);
    let next = context.pending.ticket(secret, &identity);
    let next = next.and_then(|ticket| self_signed_certificate(&ticket));
    let (mut snapshot, issuer) = cluster.seen(&needs, |seen, pem| {
        let (state, issuer) = match declared.is_self_signed_leaf() {
            true => self_signed(seen, declared, next),
            false => context.issuers.of_secret(secret, pem, now),
        };
        let told = Declared {
            secret,
            identity: &identity,
            heir_of: Some("cert-manager"),
        };
        (seen.snapshot(&told, claims, &needs, scope, state), issuer)
    })?;
    snapshot.pending = context.pending.of(&identity);
    snapshot.clock_ahead = ahead;
    if !context.front_end.injects() {
        leave_to_others(&mut snapshot);
    }
    Some(Sight {
        basis: Basis::CertManager {
            declared: Arc::clone(declared),
            earlier,
            snapshot: Box::new(snapshot),
        },
        issuer,
    })
}

/// Who claims what; nothing while planes are not read.
pub fn claims(context: &Context) -> Option<Arc<ClaimTable>> {
    let planes = context.cluster.planes()?;
    let issuances = context.issuances.state();
    let told = context.claims.over(issuances, planes, &context.scope);
    Some(told.table)
}

/// cert-manager's own injector copies what stands beside the certificate: its bundles are waited for, and not written.
fn leave_to_others(snapshot: &mut Snapshot) {
    for read in snapshot.injected.values_mut() {
        if let Read::Found(found) = Arc::make_mut(read) {
            found.is_others = true;
        }
    }
}

/// What asks for the bundle of a domain; of what cannot be read, what did before.
fn injected_from(
    declared: &DeclaredDomain,
    seen: &Seen,
    earlier: Option<&ExternalCAIssuanceStatus>,
) -> BTreeSet<InjectRef> {
    let trust = earlier.and_then(|earlier| earlier.trust.as_ref());
    let did = |object: &InjectRef| {
        let name = object.to_string();
        trust.is_some_and(|trust| trust.bundles.contains(&name))
    };
    let asks = |object: &InjectRef, read: &Read<Injected>| match read {
        Read::Found(found) => found
            .from
            .as_ref()
            .is_some_and(|from| declared.injects(from)),
        Read::Unknown(_) => did(object),
        Read::Absent => false,
    };
    let all = seen.injected.iter();
    all.filter(|(object, read)| asks(object, read))
        .map(|(object, _)| object.clone())
        .collect()
}

/// A leaf that is its own anchor is its own authority: the next one, where that waits.
fn self_signed(
    seen: &Seen,
    declared: &DeclaredDomain,
    next: Option<Certificate>,
) -> (AuthorityState, Option<Issuer>) {
    let secret = MaterialRef::secret(declared.authority.secret.clone());
    let stored = seen.material.get(&secret).and_then(|read| read.found());
    let stored = stored.and_then(|found| match &found.leaf {
        Leaf::Present { chain, key_matches } if *key_matches => chain.first().cloned(),
        _ => None,
    });
    match next.or(stored) {
        Some(certificate) => {
            let state = AuthorityState::Ready {
                chain: CaChain::of_itself(certificate).into(),
                signing: Signing::Now,
                identity: SELF_SIGNED.to_owned(),
            };
            (state, Some(Issuer::SelfSigned))
        }
        None => (AuthorityState::Absent, None),
    }
}

/// Every issuance, in an order that stays.
pub fn all_issuances(context: &Context) -> Vec<Arc<ExternalCAIssuance>> {
    let mut all = context.issuances.state();
    all.sort_by(|a, b| a.metadata.uid.cmp(&b.metadata.uid));
    all
}
