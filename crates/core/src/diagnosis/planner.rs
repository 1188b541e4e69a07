//! What the operator itself would say: its plan's problems, and failures that only its status knows.

use super::{Case, Finding, FindingWord, Severity, Symptom};
use crate::finding::{self, Finding as Planned};
use crate::reason::Reason;
use crate::report::{decide, message};

pub(super) fn check(case: &mut Case<'_>) {
    for noted in decide(case.observed, case.now).problems {
        let reason = noted.problem.reason;
        // Where it is we who could not read, that was said.
        let ours = matches!(reason, Reason::Unreadable | Reason::CASecretUnreadable);
        let unread = ours
            && case
                .findings
                .iter()
                .any(|finding| finding.word == FindingWord::AccessDenied.into());
        if unread || explained(case, &noted) {
            continue;
        }
        if let Some(finding) = finding(&noted) {
            case.add(finding);
        }
    }
    failures(case);
}

/// The doctor has seen more of it.
fn explained(case: &Case<'_>, noted: &Planned) -> bool {
    let by = |word: FindingWord| case.has(word, &noted.object);
    match noted.problem.reason {
        Reason::ForeignClientCA => by(FindingWord::ClientCASecretMissing),
        Reason::ClientCAMismatch => {
            by(FindingWord::ClientCANotPEM)
                || by(FindingWord::ClientCAEmpty)
                || by(FindingWord::ClientCASecretMissing)
        }
        // It is not issued anew because of what is wrong with it: that comes first.
        Reason::NotOwned => case
            .findings
            .iter()
            .any(|finding| finding.object == noted.object),
        _ => false,
    }
}

/// Messages name the object, what is wrong, and the fix, in that order; some of a CA's have no fix of their own.
fn finding(noted: &Planned) -> Option<Finding> {
    let (cause, remedy) = advice(noted.problem.reason)?;
    let message = message(noted);
    let about = message
        .strip_prefix(noted.object.as_str())
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(&message);
    let (what, fix) = about.split_once("; ").unwrap_or((about, remedy));
    // Whatever is wanted there, the namespace is what must be added.
    let namespace = noted
        .object
        .split_once(' ')
        .and_then(|(_, object)| object.split_once('/'));
    let object = match (noted.problem.reason, namespace) {
        (Reason::NamespaceNotServed, Some((namespace, _))) => format!("Namespace {namespace}"),
        _ => noted.object.clone(),
    };
    let finding = Finding::error(noted.problem.reason, object, what);
    let finding = Finding {
        severity: if noted.severity == finding::Severity::Problem {
            Severity::Error
        } else {
            Severity::Warning
        },
        symptom: symptom(noted.problem.reason),
        ..finding
    };
    Some(finding.cause(cause).fix(fix))
}

fn symptom(reason: Reason) -> Option<Symptom> {
    match reason {
        Reason::PlaneNotFound => Some(Symptom::NoPlane),
        Reason::ClientCAMismatch | Reason::ForeignClientCA => Some(Symptom::NotValidForAnyPlane),
        _ => None,
    }
}

/// What a condition does not have room for: how it comes about, and what to do where the message does not say it.
/// Nothing where the word tells of no fault, or of one that is judged here by more than the operator looks at.
fn advice(reason: Reason) -> Option<(&'static str, &'static str)> {
    const CA: &str = "nothing is signed until the CA is right; what is in use stays in use";
    const REPLACE: &str = "replace the content of the CA Secret: docs/troubleshooting.md says how to make each kind right";
    Some(match reason {
        Reason::CASecretNotFound
        | Reason::CASecretUnreadable
        | Reason::CAKeyEncrypted
        | Reason::CAKeyMismatch
        | Reason::CAKeyInvalid
        | Reason::CACertificateInvalid
        | Reason::NotACA
        | Reason::CAKeyUsageMissing
        | Reason::CAExpired
        | Reason::CANotYetValid
        | Reason::CAWeakKey
        | Reason::CAWeakSignature
        | Reason::CAPathLengthExceeded
        | Reason::CANameConstraints
        | Reason::CAUsageNotAllowed
        | Reason::CAPolicyConstraints
        | Reason::CATooLarge
        | Reason::CAUnsupportedKey => (CA, REPLACE),
        Reason::CAExpiring => (
            "no certificate outlives its CA, and none is renewed beyond it",
            "replace the content of the CA Secret by a new CA, in time: the move is staged",
        ),
        Reason::CANotGenerated => (
            "only a CA that the operator made is replaced by request",
            "replace the Secret's content yourself, and remove the annotation",
        ),
        Reason::CAKeyExposed => (
            "who gets into one of those pods can sign certificates for every plane",
            "move the CA to a Secret of another name and leave only ca.crt there",
        ),
        Reason::InvalidSpec => (
            "no certificate or object can be made from it; all others go on",
            "correct the issuance's spec",
        ),
        Reason::NamespaceNotServed => (
            "the operator writes to the namespaces on its list and nowhere else",
            "add the namespace to the chart's namespaces.serve and run helm upgrade",
        ),
        Reason::Conflict => (
            "one Secret has one owner and one planeID, or two would issue against each other",
            "give each a Secret or namespace of its own",
        ),
        Reason::NotOwned => (
            "what belongs to somebody else is not overwritten unasked",
            "delete it, name another, or allow it by the annotation pki.openchoreo.dev/adopt",
        ),
        Reason::FieldConflict => (
            "two managers put one field back and forth; the operator has left it alone",
            "let the other manager leave the field to external-ca-operator",
        ),
        Reason::Unreadable => (
            "nothing is concluded about what cannot be read, and nothing written to it",
            "name the object in the chart's values (secrets.leaves, trust.names, namespaces.serve)",
        ),
        Reason::AnchorUnreadable => (
            "that CA is not trusted beforehand, and no old one leaves a bundle meanwhile",
            "correct the entry or remove it",
        ),
        Reason::PlaneNotFound => (
            "the gateway looks for a plane resource with the agent's planeID and finds none",
            "create the plane resource, or let its spec.planeID equal the agent's --plane-id",
        ),
        Reason::ClientCAMismatch => (
            "the gateway verifies the agent's certificate against this plane's clientCA and answers 401",
            "add the CA to the clientCA, or let the operator write it",
        ),
        Reason::ForeignClientCA => (
            "nobody here knows what that Secret will trust tomorrow, so the plane is not wired",
            "let it refer to the trust Secret, or remove the reference",
        ),
        Reason::RolloutStuck => (
            "pods of the new template do not become available; others wait for it",
            "look at its pods (kubectl describe)",
        ),
        Reason::RestartNeeded => (
            "pods read their files at start and never again",
            "kubectl rollout restart it, or set rollout.strategy: Restart",
        ),
        // The writes of the operator fail: only its status knows.
        Reason::WriteFailed | Reason::IssuerFailed => (
            "the operator tried and was refused; it goes on trying",
            "do what the message says; most often the chart's values must name the object",
        ),
        Reason::Ready
        | Reason::Progressing
        | Reason::Idle
        | Reason::Paused
        | Reason::WaitingForPeers
        | Reason::RollingOut
        | Reason::WaitingForWindow
        | Reason::OutsideWindow
        | Reason::Issued
        | Reason::TrustUpdated
        | Reason::PlaneWired
        | Reason::Restarted
        | Reason::AnchorDropped
        | Reason::CuttingOff
        | Reason::SecretMissing
        | Reason::CertificateInvalid
        | Reason::KeyMismatch
        | Reason::KeyPolicyChanged
        | Reason::NamesChanged
        | Reason::UsageWrong
        | Reason::SignerChanged
        | Reason::ChainIncomplete
        | Reason::Expired
        | Reason::Renewing
        | Reason::RenewRequested => return None,
    })
}

/// The operator's own rights and writes do not show in what is stored.
fn failures(case: &mut Case<'_>) {
    let Some(status) = &case.observed.issuance.status else {
        return;
    };
    let theirs = [
        Reason::WriteFailed,
        Reason::IssuerFailed,
        Reason::Unreadable,
        Reason::CASecretUnreadable,
    ];
    let mut told = Vec::new();
    for condition in status
        .conditions
        .iter()
        .filter(|condition| condition.status == "False")
    {
        let reason = theirs
            .into_iter()
            .find(|reason| reason.as_str() == condition.reason);
        if let Some(reason) = reason {
            told.push((reason, condition.message.clone()));
        }
    }
    let object = case.issuance();
    for (reason, message) in told {
        if let Some((cause, fix)) = advice(reason) {
            let finding = Finding::error(reason, &object, format!("the operator says: {message}"));
            case.add(finding.cause(cause).fix(fix));
        }
    }
}
