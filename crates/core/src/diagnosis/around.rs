//! Around the issuance: what may be read, whether the clocks agree, whether the operator or cert-manager is at work.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::case::Case;
use super::extra::{Denied, OperatorState};
use super::finding::{Finding, FindingWord};
use crate::domain::ca_secret;
use crate::model::{MaterialKind, MaterialRef, ObjectRef, Read};
use crate::reason::Reason;
use crate::x509::BACKDATE;

/// Clocks that differ by less do no harm.
const SKEW: SignedDuration = SignedDuration::from_secs(30);

pub(super) fn check(case: &mut Case<'_>) {
    access(case);
    clock(case);
    operator(case);
    cert_manager(case);
}

fn access(case: &mut Case<'_>) {
    let mut denied: BTreeSet<Denied> = case.extra.denied.clone();
    let unknown = |(material, read): (&MaterialRef, &std::sync::Arc<Read<_>>)| {
        matches!(read.as_ref(), Read::Unknown(_)).then(|| Denied::material(material))
    };
    denied.extend(case.observed.material.iter().filter_map(unknown));
    for denied in &denied {
        case.add(access_denied(denied));
    }
    for list in &case.observed.unreadable {
        let finding = Finding::warning(FindingWord::AccessDenied, list, list.why.as_str())
            .cause("nothing is known of what it holds, so problems there do not show")
            .fix("grant your user get and list on it, or run the check with another --context or --as");
        case.add(finding);
    }
}

pub(super) fn access_denied(denied: &Denied) -> Finding {
    let Denied {
        verb,
        resource,
        namespace,
        name,
    } = denied;
    let object = match name {
        Some(name) => format!("{resource}/{name}"),
        None => resource.clone(),
    };
    let (place, scope, option) = match namespace {
        Some(namespace) => (
            format!(" in the namespace {namespace}"),
            format!("{object} in {namespace}"),
            format!(" -n {namespace}"),
        ),
        None => (
            " in all namespaces".into(),
            object.clone(),
            " --all-namespaces".into(),
        ),
    };
    let what = format!("your user may not {verb} {object}{place}, or the API server failed");
    Finding::warning(FindingWord::AccessDenied, scope, what)
        .cause("nothing is concluded about it, so problems there do not show")
        .fix(format!(
            "grant the verb {verb} on {object}{place} by a Role; see kubectl auth can-i {verb} {object}{option}"
        ))
}

fn clock(case: &mut Case<'_>) {
    let Some((theirs, ours)) = case.extra.clocks else {
        return;
    };
    let skew = ours.duration_until(theirs);
    if skew.abs() <= SKEW {
        return;
    }
    let direction = if skew.is_negative() {
        "ahead of"
    } else {
        "behind"
    };
    let what = format!(
        "this machine's clock is {:#} {direction} the API server's ({theirs})",
        SignedDuration::from_secs(skew.abs().as_secs())
    );
    let finding = if skew.abs() > BACKDATE {
        Finding::error(FindingWord::ClockSkew, "clock", what)
    } else {
        Finding::warning(FindingWord::ClockSkew, "clock", what)
    };
    case.add(
        finding
            .cause("who is wrong about the time takes certificates for expired or not yet valid; new ones are backdated by five minutes only")
            .fix("set this machine's clock and those of the nodes by NTP; the findings about validity above rest on this machine's clock"),
    );
}

fn operator(case: &mut Case<'_>) {
    if case.observed.issuance.spec.paused {
        let finding = Finding::warning(
            Reason::Paused,
            case.issuance(),
            "spec.paused is true: nothing is written, renewed or restarted",
        )
        .cause("a person has paused it, and certificates go on ageing")
        .fix("set spec.paused to false (kubectl externalca resume)");
        case.add(finding);
    }
    let operator = case.extra.operator.as_ref();
    if let Some(finding) = operator.and_then(|operator| operator_state(operator, case.now)) {
        case.add(finding);
    }
}

/// Why no operator is at work, where none is.
pub(super) fn operator_state(operator: &OperatorState, now: Timestamp) -> Option<Finding> {
    if operator.leads(now) {
        return None;
    }
    let available = operator
        .deployments
        .iter()
        .find(|(.., available)| *available > 0);
    let finding = match (operator.deployments.first(), available) {
        (None, _) => Finding::error(
            FindingWord::OperatorNotFound,
            "Deployment external-ca-operator",
            "no Deployment has the label app.kubernetes.io/name=external-ca-operator, and no process holds its Lease",
        )
        .cause("the operator is not installed, or was removed: nothing is issued, renewed or restarted")
        .fix("install the chart external-ca-operator, with its namespaces.serve"),
        (Some((deployment, wanted, _)), None) => Finding::error(
            FindingWord::OperatorNotReady,
            format!("Deployment {deployment}"),
            format!("0 of {wanted} pods are available"),
        )
        .cause("the operator does not run: nothing is issued, renewed or restarted")
        .fix(format!(
            "kubectl -n {ns} describe deployment/{name}, and look at its pods: image, quota, scale, crash",
            ns = deployment.namespace,
            name = deployment.name
        )),
        (Some(_), Some((deployment, ..))) => Finding::error(
            FindingWord::LeaseNotHeld,
            format!("Deployment {deployment}"),
            "its pods are available, but none holds the Lease",
        )
        .cause("an operator without the Lease stands by: nothing is issued, renewed or restarted")
        .fix(format!(
            "kubectl -n {ns} get lease; kubectl -n {ns} logs deployment/{name}: is it allowed to write Leases, and does it reach the API server?",
            ns = deployment.namespace,
            name = deployment.name
        )),
    };
    Some(finding)
}

/// The guide keeps cert-manager's kinds without its controller: such objects do nothing.
fn cert_manager(case: &mut Case<'_>) {
    let ours: BTreeSet<ObjectRef> = case
        .desired
        .leaves
        .keys()
        .cloned()
        .chain(
            case.desired
                .trust_places
                .iter()
                .filter(|place| place.kind == MaterialKind::Secret)
                .map(|place| place.object.clone()),
        )
        .chain([ca_secret(&case.observed.issuance)])
        .collect();
    let runs = case.extra.cert_manager_runs;
    for certificate in &case.extra.certificates {
        let acts = runs.unwrap_or(certificate.has_status);
        if !acts || !ours.contains(&certificate.secret) {
            continue;
        }
        let object = format!("Certificate {}", certificate.object);
        let what = format!(
            "cert-manager writes the Secret {}, which this issuance writes or reads, too",
            certificate.secret
        );
        let finding = match runs {
            Some(_) => Finding::error(FindingWord::CertManagerConflict, object, what),
            None => Finding::warning(FindingWord::CertManagerConflict, object, what),
        };
        case.add(
            finding
                .cause("two that manage one Secret issue against each other, and every pod that mounts it restarts each time")
                .fix(format!(
                    "stop cert-manager's controller, or kubectl -n {} delete certificate {}; without --enable-certificate-owner-ref its \
                     Secret stays",
                    certificate.object.namespace, certificate.object.name
                )),
        );
    }
}
