//! What the operator itself would say: its plan's problems, and failures that only its status knows.

use super::advice::advice;
use super::case::Case;
use super::finding::{Finding, FindingWord, Severity, Symptom};
use crate::finding::{Finding as Planned, Severity as Gravity};
use crate::reason::Reason;
use crate::report::{decide, message};

pub(super) fn check(case: &mut Case<'_>) {
    for noted in decide(case.observed, case.now).problems {
        let reason = noted.problem.reason;
        // What this user may not read has its own finding.
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
        severity: if noted.severity == Gravity::Problem {
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
