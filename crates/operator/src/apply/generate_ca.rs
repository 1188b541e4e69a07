//! Makes what signs itself: a CA, or a leaf that is its own anchor.

use external_ca_core::domain::{Generate, SelfSigned, asked};
use external_ca_core::model::{Authority, AuthorityState, Signing};
use external_ca_core::plan::GenerateCa;
use external_ca_core::x509::{
    CaChain, Certificate, LeafProfile, PrivateKey, encode_bundle, request, self_signed_ca,
    self_signed_leaf,
};
use external_ca_core::{Problem, Reason};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::keys::{TlsSecret, generate, random};
use super::write::apply_object;
use crate::context::Context;
use crate::declaration::Declaration;
use crate::error::Error;
use crate::issuers::{SELF_SIGNED, self_signed_ticket};
use crate::pending::Entry;

/// Carries the step out.
pub async fn carry_out(
    context: &Context,
    declaration: &Declaration,
    step: &GenerateCa,
    now: Timestamp,
) -> Result<Problem, Error> {
    let GenerateCa {
        target,
        resource_version,
        ca,
        ..
    } = step;
    let live: Option<Secret> = context.cluster.get(target).await?;
    let version = live.as_ref().and_then(ResourceExt::resource_version);
    if version != *resource_version {
        return Err(Error::Changed);
    }
    let key = match stored_key(live.as_ref(), ca) {
        Some(key) => key,
        None => generate(context, ca.key).await?,
    };
    match &ca.profile {
        SelfSigned::Ca(profile) => {
            let certificate = self_signed_ca(&key, profile, random()?, now)?;
            store(context, declaration, step, &key, certificate).await?;
            let message = format!("made the CA Secret {target}");
            Ok(Problem::new(Reason::Issued, message))
        }
        SelfSigned::Leaf(profile) => {
            let certificate = self_signed_leaf(&key, profile, random()?, now)?;
            if step.aside {
                keep(context, declaration, step, profile, &key, certificate, now).await?;
                let message = format!("made the next certificate of Secret {target}");
                return Ok(Problem::new(Reason::Issued, message));
            }
            store(context, declaration, step, &key, certificate).await?;
            context.metrics.issued.inc();
            let message = format!("issued Secret {target} (self-signed)");
            Ok(Problem::new(Reason::Issued, message))
        }
    }
}

/// The key that stays, where it is of the wanted kind.
fn stored_key(live: Option<&Secret>, ca: &Generate) -> Option<PrivateKey> {
    let pem = live?
        .data
        .as_ref()?
        .get("tls.key")
        .filter(|_| ca.keeps_key)?;
    let key = PrivateKey::from_pem(&pem.0).ok()?;
    (key.algorithm() == ca.key).then_some(key)
}

async fn store(
    context: &Context,
    declaration: &Declaration,
    step: &GenerateCa,
    key: &PrivateKey,
    certificate: Certificate,
) -> Result<(), Error> {
    let pem = certificate.to_pem();
    let bundle = step.bundle.as_ref().map(|others| {
        let mut anchors = vec![certificate];
        anchors.extend(others.iter().cloned());
        encode_bundle(&anchors)
    });
    let secret = TlsSecret {
        declaration,
        target: &step.target,
        resource_version: step.resource_version.as_deref(),
        marks: &step.marks,
        form: &step.ca.form,
        certificate: pem,
        key,
        bundle,
    };
    let (cluster, existed) = (&context.cluster, step.resource_version.is_some());
    apply_object::<Secret>(cluster, &step.target, existed, secret.to_object()).await
}

/// Keeps the next one aside until it is trusted.
async fn keep(
    context: &Context,
    declaration: &Declaration,
    step: &GenerateCa,
    profile: &LeafProfile,
    key: &PrivateKey,
    certificate: Certificate,
    now: Timestamp,
) -> Result<(), Error> {
    let ticket = self_signed_ticket(&certificate, now);
    let authority = Authority {
        state: AuthorityState::Ready {
            chain: CaChain::of_itself(certificate).into(),
            signing: Signing::Now,
            identity: SELF_SIGNED.to_owned(),
        },
        generated: None,
    };
    let wanted = asked(&authority, profile).ok_or(Error::Changed)?;
    let csr = request(key, profile)?;
    let entry = Entry::new(&step.target, declaration.owner(), wanted, key, &csr, now);
    context.pending.keep(entry.with_ticket(&ticket)).await?;
    context.cluster.announce_change();
    Ok(())
}
