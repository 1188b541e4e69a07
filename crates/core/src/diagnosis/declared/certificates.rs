//! Each Certificate and its Secret, and each Issuer.

use jiff::Timestamp;

use super::seen::{Declarations, StoredSecret, is_aside};
use super::survey::{CertificateView, IssuerView, NOT_LOOKED_AT, Survey};
use crate::diagnosis::advice::advice;
use crate::diagnosis::certificates::{SLACK, inherent, pair};
use crate::diagnosis::chains::{is_unknown, refused_chain, verdict};
use crate::diagnosis::finding::{Finding, FindingWord};
use crate::domain::certmanager::{
    CertificateProblem, CertificateWord, Compiled, DeclaredDomain, Verdict,
};
use crate::model::{Leaf, MaterialRef, ObjectRef, Read};
use crate::reason::Reason;
use crate::x509::{Usages, verify};

pub(super) fn check(
    seen: &Declarations,
    compiled: &Compiled,
    survey: &Survey,
    now: Timestamp,
    found: &mut Vec<Finding>,
) {
    let judges = seen.knows_values && !is_aside(survey.at_work.controller.as_ref());
    let domains = compiled.domains.values();
    for domain in domains.filter(|domain| seen.is_asked_for(domain)) {
        for (name, secret) in domain.certificates() {
            let view = view(survey, name);
            let faults = of_secret(seen, domain, secret, view, now);
            let is_explained = faults.is_some();
            found.extend(faults);
            found.extend(view.filter(|_| !is_explained).and_then(not_ready));
        }
    }
    for (name, verdict) in &compiled.certificates {
        if !seen.is_here(&name.namespace) {
            continue;
        }
        match verdict {
            Verdict::Refused(problem) if judges => {
                found.push(refused(format!("Certificate {name}"), problem))
            }
            Verdict::Refused(_) => found.extend(view(survey, name).and_then(not_ready)),
            // What an issuance waits for, it says itself.
            Verdict::Planned(_) | Verdict::Claimed { .. } => {}
        }
    }
    for view in &survey.issuers {
        let all = compiled.issuers.iter();
        let mut named = all.filter(|(name, _)| name.to_string() == view.object);
        let finding = match named.next() {
            Some((_, Err(problem))) if judges && !tells(compiled, problem) => {
                refused_issuer(view, problem)
            }
            Some((_, Ok(_))) => issuer_not_ready(view),
            Some((_, Err(_))) | None => None,
        };
        found.extend(finding);
    }
}

fn view<'a>(survey: &'a Survey, name: &ObjectRef) -> Option<&'a CertificateView> {
    let of_domains = survey.domains.iter().flat_map(|one| &one.certificates);
    let mut all = of_domains.chain(&survey.certificates);
    all.find(|view| view.name == name.to_string())
}

/// What is wrong with what is stored, the first thing of it.
fn of_secret(
    seen: &Declarations,
    domain: &DeclaredDomain,
    secret: &ObjectRef,
    view: Option<&CertificateView>,
    now: Timestamp,
) -> Option<Finding> {
    let object = MaterialRef::secret(secret.clone());
    match seen.secrets.get(secret)? {
        Read::Absent => Some(missing(&object, view)),
        Read::Found(stored) => {
            let usages = domain.leaves.get(secret);
            let usages = usages.map(|leaf| leaf.leaf.profile.usages);
            broken(&object, stored, usages, now).or_else(|| ageing(&object, view?, now))
        }
        Read::Unknown(_) => None,
    }
}

fn missing(object: &MaterialRef, view: Option<&CertificateView>) -> Finding {
    let why = view.map_or_else(String::new, |view| {
        format!("; its Certificate says {}: {}", view.reason, view.message)
    });
    Finding::error(Reason::SecretMissing, object, "it does not exist")
        .cause(format!("pods that mount it cannot start without it{why}"))
        .fix("the operator makes it as soon as it can: see the other findings, and the operator's log for its name")
}

/// Without usages it is a CA's.
fn broken(
    object: &MaterialRef,
    stored: &StoredSecret,
    usages: Option<Usages>,
    now: Timestamp,
) -> Option<Finding> {
    let material = &stored.material;
    let (leaf, has_key) = (&material.leaf, material.has_key);
    let inherent = match usages {
        Some(usages) => inherent(object, leaf, has_key, usages, now),
        None => pair(object, leaf, has_key, now),
    };
    if inherent.is_some() {
        return inherent;
    }
    let Leaf::Present { chain, .. } = leaf else {
        return None;
    };
    if material.anchors.is_empty() {
        return Some(
            Finding::error(FindingWord::BundleEmpty, object, "its ca.crt holds no certificate")
                .cause("clients that verify with this ca.crt accept no server, and a caBundle that is injected from it is empty")
                .fix("the operator writes ca.crt beside what it issues: see the Certificate's conditions, and who wrote the Secret last (--show-managed-fields)"),
        );
    }
    let error = verify(chain, &material.anchors, usages.unwrap_or_default(), now).err()?;
    if !is_unknown(&error) {
        return Some(refused_chain(object, verdict(&error).0, &error));
    }
    Some(
        Finding::error(
            Reason::SignerChanged,
            object,
            format!("tls.crt does not verify against the ca.crt beside it: {error}"),
        )
        .cause("a person or another controller replaced tls.crt or ca.crt alone: clients that verify with this ca.crt refuse the certificate")
        .fix("the operator issues it anew with the CA of its Issuer: see the Certificate's conditions, and who wrote the Secret last (--show-managed-fields)"),
    )
}

/// One that should have been renewed.
fn ageing(object: &MaterialRef, view: &CertificateView, now: Timestamp) -> Option<Finding> {
    let (due, end) = (view.renewal_time?, view.not_after?);
    if due.saturating_add(SLACK).is_ok_and(|late| late > now) {
        return None;
    }
    Some(
        Finding::warning(
            Reason::Renewing,
            object,
            format!("it ends at {end}, and its renewal was due at {due}"),
        )
        .cause(
            "it was not renewed in time: no operator, a CA that cannot sign, or a wait for others",
        )
        .fix("see the other findings, and the Certificate's conditions"),
    )
}

fn not_ready(view: &CertificateView) -> Option<Finding> {
    if view.ready {
        return None;
    }
    let object = format!("Certificate {}", view.name);
    let what = format!("it is not Ready: {}: {}", view.reason, view.message);
    let word = FindingWord::CertificateNotReady;
    // What is under way ends by itself.
    let finding = match view.issuing || view.reason == NOT_LOOKED_AT {
        true => Finding::warning(word, object, what),
        false => Finding::error(word, object, what),
    };
    let mut words = Reason::ALL.iter();
    let reason = words.find(|word| word.as_str() == view.reason);
    let (cause, fix) = reason.and_then(|reason| advice(*reason)).unwrap_or((
        "the Secret does not fit the Certificate's spec; pods that mount it wait, or keep the certificate that they have loaded",
        "see the other findings; kubectl describe the Certificate, and look at the operator's log for its Secret",
    ));
    Some(finding.cause(cause).fix(fix))
}

/// Nothing is made of it.
fn refused(object: String, problem: &CertificateProblem) -> Finding {
    let (cause, fix) = advice_of(problem.word);
    Finding::error(problem.word, object, problem.message.as_str())
        .cause(cause)
        .fix(fix)
}

/// Whether a Certificate of that Issuer tells the same.
fn tells(compiled: &Compiled, problem: &CertificateProblem) -> bool {
    let mut verdicts = compiled.certificates.values();
    verdicts.any(|verdict| *verdict == Verdict::Refused(problem.clone()))
}

/// One over an issuance's CA is as it should be, while no Certificate names it.
fn refused_issuer(view: &IssuerView, problem: &CertificateProblem) -> Option<Finding> {
    match problem.word {
        CertificateWord::NotTakenOver | CertificateWord::WaitingForIssuance => None,
        _ => {
            let (cause, fix) = advice_of(problem.word);
            let finding = Finding::warning(problem.word, &view.object, problem.message.as_str());
            Some(finding.cause(cause).fix(fix))
        }
    }
}

fn issuer_not_ready(view: &IssuerView) -> Option<Finding> {
    if view.ready || view.reason == NOT_LOOKED_AT {
        return None;
    }
    let what = format!("it is not Ready: {}: {}", view.reason, view.message);
    Some(
        Finding::error(FindingWord::IssuerNotReady, &view.object, what)
            .cause("nothing is signed for its Certificates until its CA can sign")
            .fix("put a CA that can sign, with its key, into the Secret that spec.ca.secretName names, or see the Certificate that makes it"),
    )
}

/// How it comes about that nothing is made of a Certificate, and what to do.
fn advice_of(word: CertificateWord) -> (&'static str, &'static str) {
    match word {
        CertificateWord::WaitingForIssuance => (
            "an issuance wins over cert-manager's objects, also before it exists: no CA key is stored in its place",
            "create the ExternalCAIssuance (kubectl externalca adopt prints one), or give the Certificate another secretName",
        ),
        CertificateWord::FieldNotSupported => (
            "the operator honours the part of cert-manager.io/v1 that docs/cert-manager.md lists, and makes nothing of what asks for more",
            "take the field out, or let cert-manager itself do it",
        ),
        CertificateWord::SecretNotListed => (
            "the operator may write and read Secrets by name alone, and the chart's values are what names them",
            "add the name to certManager.secrets (a CA that people make: to secrets.ca; a namespace: to namespaces.serve), keep those that are there, and upgrade the release",
        ),
        CertificateWord::IssuerNotFound => (
            "nothing can be signed before its Issuer exists",
            "create it, or correct spec.issuerRef",
        ),
        CertificateWord::SecretTaken => (
            "two that write one Secret would issue against each other",
            "give the Certificate another secretName",
        ),
        CertificateWord::NotTakenOver => (
            "an issuance's CA signs what the issuance names: a certificate of anybody else's could pass for an agent's",
            "name the certificate in the issuance's spec.certificates, or give the Certificate another Issuer",
        ),
    }
}
