//! Each leaf by itself, before any verifier judges it.

use jiff::{SignedDuration, Timestamp};

use super::case::Case;
use super::finding::{Finding, FindingWord, Symptom};
use crate::domain::{DesiredLeaf, Role, renew_before, renewal_time};
use crate::model::{Leaf, MaterialRef, Read};
use crate::reason::Reason;
use crate::x509::{Certificate, San, Usages};

/// How long the operator is given for a renewal that is due.
pub(super) const SLACK: SignedDuration = SignedDuration::from_hours(1);

pub(super) fn check(case: &mut Case<'_>) {
    let leaves: Vec<DesiredLeaf> = case.desired.leaves.values().cloned().collect();
    for leaf in &leaves {
        let material = leaf.material();
        let stored = case.observed.material.get(&material).cloned();
        match stored.as_deref() {
            Some(Read::Absent) => {
                case.faulty.insert(material.clone());
                case.add(missing(&material, "it does not exist", leaf.role));
            }
            Some(Read::Found(stored)) => {
                let serious = inherent(
                    &material,
                    &stored.leaf,
                    stored.has_key,
                    leaf.profile.usages,
                    case.now,
                )
                .or_else(|| names(case, leaf, &material, &stored.leaf));
                match serious {
                    Some(finding) => {
                        // Names have no part in trust.
                        if finding.word != Reason::NamesChanged.into() {
                            case.faulty.insert(material.clone());
                        }
                        case.add(finding);
                    }
                    None => ageing(case, leaf, &material, &stored.leaf),
                }
            }
            Some(Read::Unknown(_)) | None => {}
        }
    }
}

fn missing(material: &MaterialRef, what: &str, role: Role) -> Finding {
    let who = match role {
        Role::Gateway => "the gateway's pods cannot start without it",
        Role::Agent => "the agent's pods cannot start without it",
        Role::Further => "pods that mount it cannot start without it",
    };
    Finding::error(Reason::SecretMissing, material, what)
        .cause(format!("{who}; the operator issues it as soon as it can"))
        .fix("see the other findings for what holds the operator up: CA, permissions, a namespace that does not exist; kubectl externalca plan")
}

/// What is wrong with a leaf whoever verifies it: what is stored, the pair, its time and its kind.
pub(super) fn inherent(
    object: impl ToString,
    leaf: &Leaf,
    has_key: bool,
    usages: Usages,
    now: Timestamp,
) -> Option<Finding> {
    let object = object.to_string();
    pair(&object, leaf, has_key, now).or_else(|| match leaf {
        Leaf::Present { chain, .. } => usage(&object, chain.first()?, usages),
        Leaf::Empty | Leaf::Invalid(_) => None,
    })
}

/// The same of any certificate, whatever its kind.
pub(super) fn pair(
    object: impl ToString,
    leaf: &Leaf,
    has_key: bool,
    now: Timestamp,
) -> Option<Finding> {
    let (chain, key_matches) = match leaf {
        Leaf::Present { chain, key_matches } => (chain, *key_matches),
        Leaf::Empty => return Some(empty(object)),
        Leaf::Invalid(why) => return Some(unreadable(object, why)),
    };
    let leaf = chain.first()?;
    if leaf.is_ca() && chain.iter().skip(1).any(|other| !other.is_ca()) {
        return Some(ca_first(object, leaf));
    }
    if !key_matches {
        return Some(other_key(object, has_key));
    }
    if leaf.not_after() <= now {
        return Some(expired(object, leaf));
    }
    if leaf.not_before() > now {
        return Some(not_yet_valid(object, leaf));
    }
    None
}

fn empty(object: impl ToString) -> Finding {
    Finding::error(
        Reason::SecretMissing,
        object,
        "tls.crt and tls.key are empty",
    )
    .cause("pods that mount it end at start")
    .fix("put the certificate and its key there, or let the operator issue it")
}

fn unreadable(object: impl ToString, why: &str) -> Finding {
    Finding::error(Reason::CertificateInvalid, object, why)
                    .cause("something else was written there: pods that mount it end at start")
                    .fix("put a PEM certificate under tls.crt, or delete the Secret and let the operator issue it; \
                          kubectl get secret -o yaml --show-managed-fields says who wrote it")
}

fn ca_first(object: impl ToString, leaf: &Certificate) -> Finding {
    Finding::error(
                FindingWord::ChainOrder,
                object,
                format!("tls.crt begins with the CA {}, not with the leaf", leaf.subject()),
            )
            .cause("a TLS peer presents the first certificate as its own, and the key does not belong to that one")
            .fix("put the leaf first, then its intermediates, nearest first, without the root: cat leaf.crt intermediate.crt > tls.crt")
            .symptom(Symptom::BadCertificate)
}

fn other_key(object: impl ToString, has_key: bool) -> Finding {
    let what = if has_key {
        "tls.key is not the key of tls.crt"
    } else {
        "tls.key is missing"
    };
    Finding::error(Reason::KeyMismatch, object, what)
                .cause("the two come from different runs: pods that mount the Secret end at start")
                .fix("put the two that belong together there: openssl x509 -in tls.crt -noout -pubkey and openssl pkey -in tls.key -pubout print the same")
}

fn expired(object: impl ToString, leaf: &Certificate) -> Finding {
    Finding::error(
                Reason::Expired,
                object,
                format!("the certificate {} expired at {}", leaf.subject(), leaf.not_after()),
            )
            .cause("it was not renewed in time; open connections last until the next restart or edit of the plane")
            .fix("renew it (kubectl externalca renew), and restart who mounts it; then find out why it was not renewed: paused, no operator, no CA?")
            .symptom(Symptom::BadCertificate)
}

fn not_yet_valid(object: impl ToString, leaf: &Certificate) -> Finding {
    Finding::error(
        FindingWord::NotYetValid,
        object,
        format!(
            "the certificate {} is valid only from {}",
            leaf.subject(),
            leaf.not_before()
        ),
    )
    .cause("it was made ahead of time, or where it was made the clock is ahead")
    .fix("wait, or set the clocks and have it issued again")
    .symptom(Symptom::BadCertificate)
}

fn usage(object: impl ToString, leaf: &Certificate, usages: Usages) -> Option<Finding> {
    let found = leaf.usages();
    let what = if leaf.is_ca() {
        "the certificate is a CA's (basicConstraints CA:TRUE), not a leaf"
    } else if usages.server_auth && !found.server_auth {
        "the certificate lacks the extended key usage serverAuth"
    } else if usages.client_auth && !found.client_auth {
        "the certificate lacks the extended key usage clientAuth"
    } else {
        return None;
    };
    let wanted = if usages.server_auth {
        "a server's needs serverAuth"
    } else {
        "an agent's needs clientAuth"
    };
    Some(
        Finding::error(Reason::UsageWrong, object, what)
            .cause("it is of the wrong kind, and the peer refuses it")
            .fix(format!(
                "have it issued with CA:FALSE and the right extendedKeyUsage: {wanted}; the operator does, where it may write the Secret"
            ))
            .symptom(Symptom::BadCertificate),
    )
}

fn names(
    case: &Case<'_>,
    wanted: &DesiredLeaf,
    material: &MaterialRef,
    leaf: &Leaf,
) -> Option<Finding> {
    let Leaf::Present { chain, .. } = leaf else {
        return None;
    };
    let leaf = chain.first()?;
    if wanted.role == Role::Gateway
        && let Some((host, who)) = case
            .dialled(wanted)
            .into_iter()
            .find(|(host, _)| !leaf.is_valid_for(host))
    {
        return Some(name_missing(material, leaf, &host, &who));
    }
    if !wanted.profile.usages.server_auth {
        return common_name(material, leaf, &wanted.profile.common_name);
    }
    let lacks = wanted.profile.sans.iter().find(|san| match san {
        San::Dns(name) => !leaf.is_valid_for(name),
        _ => !leaf.sans().contains(san),
    })?;
    Some(
        Finding::warning(
            Reason::NamesChanged,
            material,
            format!("the certificate lacks the subject alternative name {lacks}"),
        )
        .cause("a client that dials that name refuses the certificate")
        .fix("let the operator issue it anew, or correct the names in the issuance"),
    )
}

pub(super) fn name_missing(
    object: impl ToString,
    leaf: &Certificate,
    host: &str,
    who: &str,
) -> Finding {
    let names: Vec<String> = leaf.sans().iter().map(ToString::to_string).collect();
    let names = if names.is_empty() {
        "it has no subject alternative name".to_owned()
    } else {
        format!("it is for {}", names.join(", "))
    };
    Finding::error(
        FindingWord::ServerNameMissing,
        object,
        format!("the certificate is not valid for {host} ({who}): {names}"),
    )
    .cause("agents verify the name that they dial; the common name does not count")
    .fix(format!(
        "add {host} to spec.gateway.dnsNames (which replaces the defaults), or have the certificate made with it as a DNS SAN"
    ))
    .symptom(Symptom::BadCertificate)
}

pub(super) fn common_name(
    object: impl ToString,
    leaf: &Certificate,
    plane_id: &str,
) -> Option<Finding> {
    if leaf.common_names().iter().any(|name| name == plane_id) {
        return None;
    }
    Some(
        Finding::warning(
            Reason::NamesChanged,
            object,
            format!(
                "the certificate's common name is {}, the planeID is {plane_id}",
                leaf.common_names().join(", ")
            ),
        )
        .cause("it was made for another plane; the gateway takes the planeID from --plane-id and does not compare")
        .fix(format!("have it issued with CN={plane_id}, or correct the plane's spec.planeID and the agent's --plane-id")),
    )
}

/// A leaf that should have been renewed.
fn ageing(case: &mut Case<'_>, wanted: &DesiredLeaf, material: &MaterialRef, leaf: &Leaf) {
    let Leaf::Present { chain, .. } = leaf else {
        return;
    };
    let Some(leaf) = chain.first() else { return };
    let before = renew_before(&case.observed.issuance.spec);
    let due = renewal_time(leaf, before, wanted.profile.duration);
    // What ends with its CA cannot be helped by a renewal: the CA's own finding says so.
    let bounded = case
        .ca()
        .is_some_and(|ca| ca.not_after() <= leaf.not_after());
    if bounded || due.saturating_add(SLACK).is_ok_and(|late| late > case.now) {
        return;
    }
    case.add(
        Finding::warning(
            Reason::Renewing,
            material,
            format!("it ends at {}, and its renewal was due at {due}", leaf.not_after()),
        )
        .cause("it was not renewed in time: paused, no operator, a CA that cannot sign, or a wait for others")
        .fix("see the other findings; kubectl externalca renew asks for it now"),
    );
}
