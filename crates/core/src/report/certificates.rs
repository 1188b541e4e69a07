//! The status of cert-manager's objects, as cert-manager writes it: `kubectl wait`, hooks and health checks read it.

use external_ca_api::{CertificateState, ExternalCAIssuanceStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::{Deserialize, Serialize};

use super::decision::Decision;
use super::status::limit;
use crate::domain::certmanager::{CertificateProblem, DeclaredDomain};
use crate::model::{
    CertManagerObject, Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Read, Snapshot,
};
use crate::plan::Step;
use crate::reason::Reason;
use crate::x509::Certificate;

/// The status of a Certificate, as far as it is written here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateReport {
    /// Ready, and Issuing while it is.
    pub conditions: Vec<Condition>,
    /// Start of the stored certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Time>,
    /// Its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// When it is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
    /// How often one was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// The status of an Issuer, as far as it is written here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IssuerReport {
    /// Ready.
    pub conditions: Vec<Condition>,
}

/// What is said of an object: one condition of it.
struct Said {
    ready: bool,
    reason: String,
    message: String,
}

impl Said {
    fn new(ready: bool, reason: impl ToString, message: impl Into<String>) -> Self {
        Self {
            ready,
            reason: reason.to_string(),
            message: message.into(),
        }
    }
}

/// What an object's status says now.
pub fn told<T: Default + for<'de> Deserialize<'de>>(object: &CertManagerObject) -> T {
    T::deserialize(&object.status).unwrap_or_default()
}

/// Of a Certificate of which nothing is made: what stands in its Secret is not looked at.
pub fn refused(
    object: &CertManagerObject,
    problem: &CertificateProblem,
    now: Timestamp,
) -> CertificateReport {
    let earlier: CertificateReport = told(object);
    let said = Said::new(false, problem.word, problem.message.clone());
    CertificateReport {
        conditions: vec![condition(object, &earlier.conditions, "Ready", said, now)],
        ..earlier
    }
}

/// Of a Certificate that belongs to a domain.
pub fn planned(
    object: &CertManagerObject,
    target: &ObjectRef,
    declared: &DeclaredDomain,
    snapshot: &Snapshot,
    decision: &Decision,
    now: Timestamp,
) -> CertificateReport {
    let key = MaterialRef {
        kind: MaterialKind::Secret,
        object: target.clone(),
    };
    let stored = snapshot.material.get(&key).map(AsRef::as_ref);
    let mut entries = decision.status.certificates.iter();
    let entry = entries.find(|entry| entry.target == target.to_string());
    let is_authority = !declared.leaves.contains_key(target);
    let found = stored.and_then(certificate);
    let anchor = snapshot.authority.chain().map(|chain| chain.anchor());
    let is_trusted = stored
        .and_then(Read::found)
        .zip(anchor)
        .is_some_and(|(stored, anchor)| stored.anchors.contains(anchor));
    let fits = match (is_authority, entry) {
        (true, _) => found.is_some() && found == anchor,
        (false, Some(entry)) => entry.state == CertificateState::Ready,
        (false, None) => false,
    };
    let written = |step: &&Step| matches!(step, Step::IssueLeaf(_) | Step::GenerateCa(_));
    let name = format!("Secret {target}");
    let mut steps = decision.steps.iter().filter(written);
    let is_written = steps.any(|step| step.object() == name);
    let mut problems = decision.problems.iter();
    let problem = problems.find(|finding| finding.object == name);
    let ready = if fits && is_trusted {
        let message = "Certificate is up to date and has not expired";
        Said::new(true, "Ready", message)
    } else {
        let reason = entry.and_then(|entry| entry.reason.as_deref());
        let default = || missing(stored, target);
        let (reason, message) = reason.map_or_else(default, |reason| said_by(reason, target));
        let message = problem.map_or(message, |finding| finding.problem.message.clone());
        Said::new(false, reason, message)
    };
    let issuing = (is_written || !ready.ready && problem.is_none()).then(|| {
        let reason = match ready.ready {
            true => "Renewing".to_owned(),
            false => ready.reason.clone(),
        };
        Said::new(
            true,
            reason,
            format!("Issuing certificate as {}", ready.message),
        )
    });
    let renewal = entry.and_then(|entry| entry.renewal_time.clone());
    let renewal = renewal.or_else(|| renewal_of_authority(declared, is_authority, found));
    report(object, ready, issuing, found, renewal, now)
}

/// Of a Certificate whose Secret an issuance has: that one's result, and nothing is written twice.
pub fn claimed(
    object: &CertManagerObject,
    issuance: &str,
    status: Option<&ExternalCAIssuanceStatus>,
    target: &ObjectRef,
    stored: Option<&Read<Material>>,
    now: Timestamp,
) -> CertificateReport {
    let mut entries = status.into_iter().flat_map(|status| &status.certificates);
    let entry = entries.find(|entry| entry.target == target.to_string());
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    let is_ready = match entry {
        Some(entry) => entry.state == CertificateState::Ready,
        None => conditions.any(|one| one.type_ == "TrustDistributed" && one.status == "True"),
    };
    let by = format!("ExternalCAIssuance {issuance} writes the Secret {target}");
    let ready = match is_ready {
        true => Said::new(true, "Ready", by),
        false => Said::new(
            false,
            "WaitingForIssuance",
            format!("{by}; its conditions say what it waits for"),
        ),
    };
    let anchor = stored.and_then(|read| read.found()?.anchors.first());
    let found = stored.and_then(certificate).or(anchor);
    let renewal = entry.and_then(|entry| entry.renewal_time.clone());
    report(object, ready, None, found, renewal, now)
}

/// Of an Issuer; `authority` is what its CA Secret comes to, where it has one.
pub fn issuer(
    object: &CertManagerObject,
    found: &Result<Option<Result<(), String>>, CertificateProblem>,
    now: Timestamp,
) -> IssuerReport {
    let earlier: IssuerReport = told(object);
    let said = match found {
        Ok(None) => Said::new(true, "IsReady", ""),
        Ok(Some(Ok(()))) => Said::new(true, "KeyPairVerified", "Signing CA verified"),
        Ok(Some(Err(why))) => Said::new(false, "ErrGetKeyPair", why.clone()),
        Err(problem) => Said::new(false, problem.word, problem.message.clone()),
    };
    IssuerReport {
        conditions: vec![condition(object, &earlier.conditions, "Ready", said, now)],
    }
}

fn report(
    object: &CertManagerObject,
    ready: Said,
    issuing: Option<Said>,
    found: Option<&Certificate>,
    renewal: Option<Time>,
    now: Timestamp,
) -> CertificateReport {
    let earlier: CertificateReport = told(object);
    let before = &earlier.conditions;
    let issuing = issuing.map(|said| condition(object, before, "Issuing", said, now));
    let times = found.map(|found| (Time(found.not_before()), Time(found.not_after())));
    let (not_before, not_after) = times.unzip();
    let is_new =
        found.is_some() && (&not_before, &not_after) != (&earlier.not_before, &earlier.not_after);
    let revision = match (earlier.revision, is_new) {
        (Some(revision), true) => Some(revision + 1),
        (None, true) => Some(1),
        (revision, false) => revision,
    };
    let ready = condition(object, before, "Ready", ready, now);
    CertificateReport {
        conditions: std::iter::once(ready).chain(issuing).collect(),
        not_before,
        not_after,
        renewal_time: renewal,
        revision,
    }
}

fn condition(
    object: &CertManagerObject,
    before: &[Condition],
    kind: &str,
    said: Said,
    now: Timestamp,
) -> Condition {
    let status = if said.ready { "True" } else { "False" };
    let mut before = before.iter();
    let same = before.find(|one| one.type_ == kind && one.status == status);
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: said.reason,
        message: limit(said.message, 4096),
        last_transition_time: same.map_or(Time(now), |one| one.last_transition_time.clone()),
        observed_generation: object.generation,
    }
}

fn certificate(stored: &Read<Material>) -> Option<&Certificate> {
    match &stored.found()?.leaf {
        Leaf::Present { chain, .. } => chain.first(),
        Leaf::Empty | Leaf::Invalid(_) => None,
    }
}

/// cert-manager's word for what stands in a Secret that is not as it should be.
fn missing(stored: Option<&Read<Material>>, target: &ObjectRef) -> (String, String) {
    let (reason, message) = match stored.and_then(Read::found).map(|found| &found.leaf) {
        None => ("DoesNotExist", "Secret does not exist"),
        Some(Leaf::Empty) => ("MissingData", "Secret does not contain a certificate"),
        Some(Leaf::Invalid(_)) => (
            "InvalidCertificate",
            "Secret contains an invalid certificate",
        ),
        Some(Leaf::Present { .. }) => (
            "IncorrectCertificate",
            "Secret does not hold what is asked for yet",
        ),
    };
    (reason.to_owned(), format!("{message}: {target}"))
}

/// cert-manager's word for a reason of ours.
fn said_by(reason: &str, target: &ObjectRef) -> (String, String) {
    let is = |word: Reason| reason == word.as_str();
    let (word, message) = match reason {
        _ if is(Reason::SecretMissing) => ("DoesNotExist", "Secret does not exist"),
        _ if is(Reason::CertificateInvalid) => (
            "InvalidCertificate",
            "Secret contains an invalid certificate",
        ),
        _ if is(Reason::KeyMismatch) => (
            "InvalidKeyPair",
            "Secret contains a private key that is not that of its certificate",
        ),
        _ if is(Reason::KeyPolicyChanged) || is(Reason::NamesChanged) || is(Reason::UsageWrong) => {
            (
                "RequestChanged",
                "Fields on existing certificate are not up to date",
            )
        }
        _ if is(Reason::SignerChanged) => (
            "IncorrectIssuer",
            "Secret was issued by another CA than the Issuer's present one",
        ),
        _ if is(Reason::Expired) => ("Expired", "Certificate expired"),
        _ if is(Reason::Renewing) => ("Renewing", "Renewing certificate as renewal was scheduled"),
        _ => (reason, "Certificate is not as it is asked for"),
    };
    (word.to_owned(), format!("{message}: {target}"))
}

/// A CA is renewed by its own rule.
fn renewal_of_authority(
    declared: &DeclaredDomain,
    is_authority: bool,
    found: Option<&Certificate>,
) -> Option<Time> {
    let (_, generate) = declared.authority.made.as_ref().filter(|_| is_authority)?;
    let end = found?.not_after();
    let before = generate.renew_before?;
    Some(Time(end.saturating_sub(before).ok()?))
}
