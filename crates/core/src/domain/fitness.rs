//! Ordered, named checks of one leaf: the first that speaks decides.

use external_ca_api::ADOPT_ANNOTATION;
use jiff::{SignedDuration, Timestamp};

use super::leaf::DesiredLeaf;
use super::renewal::renewal_time;
use crate::model::{Leaf, Material, Read};
use crate::reason::{Problem, Reason};
use crate::x509::{CaChain, Certificate, San, Style, Usages, verify};

/// What is known when a leaf is judged.
pub struct LeafContext<'a> {
    /// What is wanted.
    pub leaf: &'a DesiredLeaf,
    /// What is stored.
    pub stored: &'a Read<Material>,
    /// What signs.
    pub ca: &'a CaChain,
    /// How long before its end a leaf of the full duration is renewed.
    pub renew_before: SignedDuration,
    /// The issuance, as `<namespace>/<name>`.
    pub issuance: &'a str,
    /// The issuance that owns the Secret by being older.
    pub claimed_by: Option<&'a str>,
    /// The issuance whose CA Secret it is.
    pub authority_of: Option<&'a str>,
    /// Whether the operator serves the Secret's namespace.
    pub served: bool,
    /// Whether the issuance allows it to replace a Secret that holds another identity.
    pub adopt: bool,
    /// The request for a renewal of this leaf, if there is one.
    pub renew: Option<&'a str>,
    /// Now.
    pub now: Timestamp,
}

/// What is to be done with a leaf.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing.
    Fit,
    /// Issue it, because.
    Issue(Problem),
    /// Nothing can be done, because.
    Blocked(Problem),
}

/// Judges a leaf: may it be touched, must it be.
pub fn judge(context: &LeafContext<'_>) -> Verdict {
    if let Some(problem) = BARRIERS.iter().find_map(|check| check(context)) {
        return Verdict::Blocked(problem);
    }
    let Some(problem) = FITNESS.iter().find_map(|check| check(context)) else {
        return Verdict::Fit;
    };
    if let Some(barrier) = foreign_identity(context, &problem) {
        return Verdict::Blocked(barrier);
    }
    Verdict::Issue(problem)
}

type Check = fn(&LeafContext<'_>) -> Option<Problem>;

const BARRIERS: &[Check] = &[
    not_served,
    claimed,
    authority,
    holds_ca,
    unreadable,
    controlled,
    wrong_type,
    forbidden_by_ca,
];

const FITNESS: &[Check] = &[
    missing,
    invalid,
    key_mismatch,
    expired,
    usage,
    names,
    signer,
    chain,
    key_policy,
    due,
    requested,
];

fn problem(
    context: &LeafContext<'_>,
    reason: Reason,
    text: impl std::fmt::Display,
) -> Option<Problem> {
    Some(Problem::new(
        reason,
        format!("Secret {}: {text}", context.leaf.target),
    ))
}

fn not_served(context: &LeafContext<'_>) -> Option<Problem> {
    if context.served {
        return None;
    }
    problem(
        context,
        Reason::NamespaceNotServed,
        format_args!(
            "the operator is not told to serve the namespace {}; add it to the chart's namespaces.serve",
            context.leaf.target.namespace
        ),
    )
}

fn claimed(context: &LeafContext<'_>) -> Option<Problem> {
    let owner = context.claimed_by?;
    problem(
        context,
        Reason::Conflict,
        format_args!(
            "the older issuance {owner} owns it; give one of the two another Secret or planes.selector"
        ),
    )
}

fn authority(context: &LeafContext<'_>) -> Option<Problem> {
    let owner = context.authority_of?;
    if is_ours(context) && certificate(context.stored).is_some_and(|stored| !stored.is_ca()) {
        return None;
    }
    problem(
        context,
        Reason::Conflict,
        format_args!("it is the CA Secret of the issuance {owner}; name another Secret"),
    )
}

/// A CA's key is lost for good where a leaf takes its place. In a Secret of ours a CA's certificate beside another key is a
/// mistake, and the leaf takes its place.
fn holds_ca(context: &LeafContext<'_>) -> Option<Problem> {
    let stored = certificate(context.stored)?;
    let has_its_key = || match &context.stored.found().map(|found| &found.leaf) {
        Some(Leaf::Present { key_matches, .. }) => *key_matches,
        _ => false,
    };
    if !stored.is_ca() || is_ours(context) && !has_its_key() {
        return None;
    }
    problem(
        context,
        Reason::NotOwned,
        format_args!(
            "it holds a CA's certificate (CA:TRUE, {}), which is never overwritten; delete it, or name another Secret",
            stored.subject()
        ),
    )
}

fn unreadable(context: &LeafContext<'_>) -> Option<Problem> {
    match context.stored {
        Read::Unknown(why) => problem(context, Reason::Unreadable, why),
        _ => None,
    }
}

fn controlled(context: &LeafContext<'_>) -> Option<Problem> {
    let owner = context.stored.found()?.controller.as_ref()?;
    problem(
        context,
        Reason::NotOwned,
        format_args!(
            "{owner} controls it (ownerReferences); delete that object or name another Secret"
        ),
    )
}

fn wrong_type(context: &LeafContext<'_>) -> Option<Problem> {
    let stored = context.stored.found()?;
    if stored.secret_type == "kubernetes.io/tls" {
        return None;
    }
    problem(
        context,
        Reason::NotOwned,
        format_args!(
            "its type is {} and cannot be changed to kubernetes.io/tls; delete it or name another Secret",
            stored.secret_type
        ),
    )
}

fn forbidden_by_ca(context: &LeafContext<'_>) -> Option<Problem> {
    if !context.ca.certificate().is_ca() {
        // One that is its own anchor is made anew as it is wanted.
        return None;
    }
    let error = context.ca.permits(&context.leaf.profile).err()?;
    problem(context, Reason::from(&error), format_args!("{error}"))
}

/// The certificate that is stored, where there is one.
pub fn certificate(stored: &Read<Material>) -> Option<&Certificate> {
    match &stored.found()?.leaf {
        Leaf::Present { chain, .. } => chain.first(),
        _ => None,
    }
}

fn missing(context: &LeafContext<'_>) -> Option<Problem> {
    match context.stored {
        Read::Absent => problem(context, Reason::SecretMissing, "it does not exist"),
        Read::Found(Material {
            leaf: Leaf::Empty, ..
        }) => problem(context, Reason::SecretMissing, "it is empty"),
        _ => None,
    }
}

fn invalid(context: &LeafContext<'_>) -> Option<Problem> {
    match &context.stored.found()?.leaf {
        Leaf::Invalid(why) => problem(context, Reason::CertificateInvalid, why),
        _ => None,
    }
}

fn key_mismatch(context: &LeafContext<'_>) -> Option<Problem> {
    match &context.stored.found()?.leaf {
        Leaf::Present {
            key_matches: false, ..
        } => problem(
            context,
            Reason::KeyMismatch,
            "tls.key is not the key of tls.crt",
        ),
        _ => None,
    }
}

fn expired(context: &LeafContext<'_>) -> Option<Problem> {
    let end = certificate(context.stored)?.not_after();
    if end > context.now {
        return None;
    }
    problem(
        context,
        Reason::Expired,
        format_args!("the certificate expired at {end}"),
    )
}

fn usage(context: &LeafContext<'_>) -> Option<Problem> {
    let certificate = certificate(context.stored)?;
    let (wanted, found) = (context.leaf.profile.usages, certificate.usages());
    let missing = if wanted.server_auth && !found.server_auth {
        "it lacks the extended key usage serverAuth"
    } else if wanted.client_auth && !found.client_auth {
        "it lacks the extended key usage clientAuth"
    } else if asks_for_others(context, certificate) {
        return problem(
            context,
            Reason::UsageWrong,
            "its usages are not those that are asked for",
        );
    } else {
        return None;
    };
    problem(
        context,
        Reason::UsageWrong,
        format_args!(
            "{missing}: peers would say \"tls: bad certificate\"; it is issued anew with the right usage"
        ),
    )
}

/// Where usages are asked for one by one, the certificate has those and no others.
fn asks_for_others(context: &LeafContext<'_>, certificate: &Certificate) -> bool {
    let profile = &context.leaf.profile;
    let Style::Asked(asked) = &profile.style else {
        return false;
    };
    let found = certificate.key_usage().unwrap_or_default();
    let wanted = asked.key_usages;
    let same = (found.digital_signature, found.key_encipherment)
        == (wanted.digital_signature, wanted.key_encipherment);
    is_ours(context) && !(same && certificate.usages() == profile.usages)
}

fn is_ours(context: &LeafContext<'_>) -> bool {
    context
        .stored
        .found()
        .and_then(|stored| stored.issuance.as_deref())
        == Some(context.issuance)
}

fn names(context: &LeafContext<'_>) -> Option<Problem> {
    let certificate = certificate(context.stored)?;
    let profile = &context.leaf.profile;
    let common_name = certificate.common_names() == profile.common_names();
    let fits = if is_ours(context) {
        let has_emails = certificate.emails().len() == profile.emails().len();
        let mut emails = profile.emails().iter();
        common_name
            && certificate.organizations() == profile.organizations
            && certificate.organizational_units() == profile.organizational_units()
            && San::same(&profile.sans, certificate.sans())
            && has_emails
            && emails.all(|email| certificate.emails().contains(email))
    } else {
        // A hand-made certificate may say more than is asked of it; a server is known by its SANs alone.
        profile.sans.iter().all(|san| san.is_in(certificate.sans()))
            && (common_name || !profile.usages.client_auth)
    };
    if fits {
        return None;
    }
    problem(
        context,
        Reason::NamesChanged,
        "common name, organizations or SANs are not the wanted ones",
    )
}

fn signer(context: &LeafContext<'_>) -> Option<Problem> {
    let certificate = certificate(context.stored)?;
    if context.ca.issued(certificate) {
        return None;
    }
    problem(
        context,
        Reason::SignerChanged,
        format_args!(
            "it was not signed by the issuer's CA ({})",
            context.ca.certificate().subject()
        ),
    )
}

fn chain(context: &LeafContext<'_>) -> Option<Problem> {
    let Leaf::Present { chain, .. } = &context.stored.found()?.leaf else {
        return None;
    };
    let anchors = [context.ca.anchor().clone()];
    let error = verify(chain, &anchors, context.leaf.profile.usages, context.now).err()?;
    problem(
        context,
        Reason::ChainIncomplete,
        format_args!("tls.crt does not verify against the CA: {error}"),
    )
}

fn key_policy(context: &LeafContext<'_>) -> Option<Problem> {
    if !is_ours(context) {
        return None;
    }
    let found = certificate(context.stored)?.key_algorithm();
    if found == Some(context.leaf.profile.key) {
        return None;
    }
    problem(
        context,
        Reason::KeyPolicyChanged,
        "the key's algorithm or size is not the wanted one",
    )
}

fn due(context: &LeafContext<'_>) -> Option<Problem> {
    let certificate = certificate(context.stored)?;
    let time = renewal_time(
        certificate,
        context.renew_before,
        context.leaf.profile.duration,
    );
    if context.now < time || !renewal_helps(context, certificate) {
        return None;
    }
    problem(
        context,
        Reason::Renewing,
        format_args!(
            "it ends at {} and is due for renewal",
            certificate.not_after()
        ),
    )
}

/// A CA that ends soon bounds every leaf: issuing another would change nothing. One that is its own anchor is made anew.
fn renewal_helps(context: &LeafContext<'_>, certificate: &Certificate) -> bool {
    if !context.ca.certificate().is_ca() {
        return true;
    }
    let end = context
        .now
        .saturating_add(context.leaf.profile.duration)
        .unwrap_or(Timestamp::MAX);
    end.min(context.ca.not_after()) > certificate.not_after()
}

fn requested(context: &LeafContext<'_>) -> Option<Problem> {
    let request = context.renew?;
    let granted = context.stored.found()?.renewal.as_deref() == Some(request);
    if granted {
        return None;
    }
    problem(context, Reason::RenewRequested, "a renewal was asked for")
}

/// A Secret that is not ours and holds another identity than the wanted one is not overwritten unasked.
fn foreign_identity(context: &LeafContext<'_>, why: &Problem) -> Option<Problem> {
    let stored = context.stored.found()?;
    let profile = &context.leaf.profile;
    let known = match &stored.leaf {
        Leaf::Empty => true,
        Leaf::Invalid(_) => false,
        Leaf::Present { chain, .. } => chain.first().is_some_and(|certificate| {
            let is_server = profile.usages.server_auth || profile.usages == Usages::default();
            certificate.common_names().contains(&profile.common_name)
                || is_server && profile.sans.iter().any(|san| san.is_in(certificate.sans()))
        }),
    };
    if known || context.adopt || stored.issuance.is_some() {
        return None;
    }
    problem(
        context,
        Reason::NotOwned,
        format_args!(
            "it holds something else than the wanted certificate ({}) and was not made by this operator; delete it, name another \
             Secret, or annotate the issuance with {ADOPT_ANNOTATION}={}",
            why.reason, context.leaf.target
        ),
    )
}

/// Whether a renewal can keep the key that is stored.
pub fn may_reuse_key(context: &LeafContext<'_>) -> bool {
    missing(context).is_none()
        && invalid(context).is_none()
        && key_mismatch(context).is_none()
        && certificate(context.stored).and_then(Certificate::key_algorithm)
            == Some(context.leaf.profile.key)
}
