//! How each domain stands.

use external_ca_api::AnchorStatus;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;

use super::bundle::{BundleState, state};
use super::seen::{Declarations, StoredSecret, is_aside, source};
use crate::domain::certmanager::{AtWork, Compiled, DeclaredDomain, Verdict};
use crate::model::{CertManagerKind, CertManagerObject, InjectFrom, Leaf, ObjectRef};
use crate::report::certificates::{CertificateReport, IssuerReport, told};
use crate::x509::Certificate;

/// How all domains stand.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// Whether cert-manager itself is at work.
    pub at_work: AtWork,
    /// The domains.
    pub domains: Vec<DomainView>,
    /// Certificates that belong to none: an issuance has them, or nothing is made of them.
    pub certificates: Vec<CertificateView>,
    /// Issuers and ClusterIssuers.
    pub issuers: Vec<IssuerView>,
    /// What could not be read, so that nothing is concluded from it.
    pub unread: Vec<String>,
}

/// How a domain stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DomainView {
    /// `<namespace>/<Secret>` of what signs.
    pub secret: String,
    /// What stands there; none where nothing does, or nothing is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<AuthorityView>,
    /// The anchors, as the guards remember them.
    pub anchors: Vec<AnchorStatus>,
    /// Its Certificates.
    pub certificates: Vec<CertificateView>,
    /// What is injected from it.
    pub injected: Vec<InjectionView>,
}

/// What signs in a domain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityView {
    /// Its subject, or its fingerprint where it has none, as servers' certificates may.
    pub subject: String,
    /// Its SHA-256.
    pub fingerprint: String,
    /// Its end.
    pub not_after: Timestamp,
}

/// How a Certificate stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateView {
    /// `<namespace>/<name>`.
    pub name: String,
    /// Its `secretName`.
    pub secret_name: String,
    /// Whether it is ready, for the spec that it has now.
    pub ready: bool,
    /// The word for it.
    pub reason: String,
    /// More words.
    pub message: String,
    /// Whether one is being issued.
    pub issuing: bool,
    /// Its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// When it is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Timestamp>,
    /// The issuance that has its Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuance: Option<String>,
}

/// How an object with a `caBundle` stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InjectionView {
    /// `<Kind> <name>`.
    pub object: String,
    /// The Certificate or Secret that it names.
    pub from: String,
    /// Whether the chart's values name it; none where they are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named: Option<bool>,
    /// What its bundles come to.
    pub bundle: BundleState,
}

/// How an Issuer stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuerView {
    /// `<Kind> <namespace>/<name>`.
    pub object: String,
    /// Whether it can sign.
    pub ready: bool,
    /// The word for it.
    pub reason: String,
    /// More words.
    pub message: String,
}

impl Survey {
    /// From what was read, and what the operator makes of it.
    pub fn new(seen: &Declarations, compiled: &Compiled, now: Timestamp) -> Self {
        let surveyor = Surveyor {
            seen,
            compiled,
            now,
            at_work: seen.at_work(now),
        };
        let domains = compiled.domains.values();
        let domains = domains.filter(|domain| seen.is_asked_for(domain));
        let others = compiled.certificates.iter();
        let others = others.filter(|(name, verdict)| {
            !matches!(verdict, Verdict::Planned(_)) && seen.is_here(&name.namespace)
        });
        let issuers = compiled.issuers.keys();
        let issuers = issuers
            .filter(|name| !name.kind.is_namespaced() || seen.is_here(&name.object.namespace));
        let unread = seen.denied.iter().map(|denied| format!("may not {denied}"));
        Self {
            domains: domains.map(|domain| surveyor.domain(domain)).collect(),
            certificates: others
                .filter_map(|(name, _)| surveyor.certificate(name))
                .collect(),
            issuers: issuers
                .filter_map(|name| {
                    let object = seen.objects.get(name.kind, &name.object)?;
                    Some(issuer(name.to_string(), object))
                })
                .collect(),
            unread: unread.chain(seen.notes.iter().cloned()).collect(),
            at_work: surveyor.at_work,
        }
    }

    /// Whether there is anything to tell.
    pub fn is_empty(&self) -> bool {
        let objects = self.domains.is_empty() && self.certificates.is_empty();
        objects && self.issuers.is_empty() && self.unread.is_empty()
    }

    /// Whether every Certificate is ready, and every `caBundle` verifies what is served.
    pub fn is_well(&self) -> bool {
        let of_domains = self.domains.iter().flat_map(|domain| &domain.certificates);
        let mut certificates = of_domains.chain(&self.certificates);
        let mut injected = self.domains.iter().flat_map(|domain| &domain.injected);
        certificates.all(|certificate| certificate.ready)
            && injected.all(|one| one.bundle < BundleState::Lacks)
    }
}

struct Surveyor<'a> {
    seen: &'a Declarations,
    compiled: &'a Compiled,
    now: Timestamp,
    at_work: AtWork,
}

impl Surveyor<'_> {
    fn domain(&self, domain: &DeclaredDomain) -> DomainView {
        let stored = self.stored(&domain.authority.secret);
        let memory = stored.and_then(|stored| stored.memory.as_ref());
        let certificate = stored.and_then(present);
        let certificates = domain.certificates();
        DomainView {
            secret: domain.authority.secret.to_string(),
            authority: certificate.map(|found| AuthorityView {
                subject: found.title(),
                fingerprint: found.fingerprint().to_string(),
                not_after: found.not_after(),
            }),
            anchors: memory.map_or_else(Vec::new, |memory| memory.anchors().to_vec()),
            certificates: certificates
                .filter_map(|(name, _)| self.certificate(name))
                .collect(),
            injected: self.injected(domain),
        }
    }

    fn stored(&self, secret: &ObjectRef) -> Option<&StoredSecret> {
        self.seen.secrets.get(secret)?.found()
    }

    fn certificate(&self, name: &ObjectRef) -> Option<CertificateView> {
        let object = self.seen.objects.get(CertManagerKind::Certificate, name)?;
        let verdict = self.compiled.certificates.get(name)?;
        let report: CertificateReport = told(object);
        let (ready, reason, message) = said(object, &report.conditions);
        let (ready, reason, message) = match verdict {
            // Whatever its status said before.
            Verdict::Refused(problem) if self.judges() => {
                (false, problem.word.to_string(), problem.message.clone())
            }
            _ => (ready, reason, message),
        };
        let secret_name = object.spec.get("secretName").and_then(|name| name.as_str());
        let secret_name = secret_name.unwrap_or_default().to_owned();
        let secret = ObjectRef::new(&name.namespace, &secret_name);
        let stored = self.stored(&secret).and_then(present);
        let end = report.not_after.map(|time| time.0);
        let mut conditions = report.conditions.iter();
        Some(CertificateView {
            name: name.to_string(),
            secret_name,
            ready,
            reason,
            message,
            issuing: conditions.any(|one| one.type_ == "Issuing" && one.status == "True"),
            not_after: stored.map(Certificate::not_after).or(end),
            renewal_time: report.renewal_time.map(|time| time.0),
            issuance: match verdict {
                Verdict::Claimed { issuance, .. } => Some(issuance.clone()),
                Verdict::Planned(_) | Verdict::Refused(_) => None,
            },
        })
    }

    /// Whether the operator's judgement is what counts, and its values are known.
    fn judges(&self) -> bool {
        self.seen.knows_values && !is_aside(self.at_work.controller.as_ref())
    }

    fn injected(&self, domain: &DeclaredDomain) -> Vec<InjectionView> {
        let all = self.seen.injected.iter();
        let views = all.filter_map(|(object, injectable)| {
            let found = &injectable.facts;
            let from = found.from.as_ref().filter(|from| domain.injects(from))?;
            if found.elements.is_empty() {
                return None;
            }
            let (_, secret) = source(self.compiled, from)?;
            let values = &self.seen.values;
            Some(InjectionView {
                object: object.to_string(),
                from: match from {
                    InjectFrom::Certificate(name) => format!("Certificate {name}"),
                    InjectFrom::Secret(name) => format!("Secret {name}"),
                },
                named: self
                    .seen
                    .knows_values
                    .then(|| values.injected.contains(object)),
                bundle: state(found, self.seen.secrets.get(secret), self.now),
            })
        });
        views.collect()
    }
}

/// The certificate that a Secret holds.
fn present(stored: &StoredSecret) -> Option<&Certificate> {
    match &stored.material.leaf {
        Leaf::Present { chain, .. } => chain.first(),
        Leaf::Empty | Leaf::Invalid(_) => None,
    }
}

fn issuer(object: String, found: &CertManagerObject) -> IssuerView {
    let report: IssuerReport = told(found);
    let (ready, reason, message) = said(found, &report.conditions);
    IssuerView {
        object,
        ready,
        reason,
        message,
    }
}

/// What its condition Ready says, for the spec that it has now.
fn said(object: &CertManagerObject, conditions: &[Condition]) -> (bool, String, String) {
    let mut conditions = conditions.iter();
    let Some(ready) = conditions.find(|one| one.type_ == "Ready") else {
        let message = "nobody has looked at it yet: no condition Ready";
        return (false, NOT_LOOKED_AT.to_owned(), message.to_owned());
    };
    if ready.observed_generation.is_some() && ready.observed_generation != object.generation {
        let message = "its spec has changed since anybody looked at it";
        return (false, NOT_LOOKED_AT.to_owned(), message.to_owned());
    }
    let is_ready = ready.status == "True";
    (is_ready, ready.reason.clone(), ready.message.clone())
}

/// The word for what nobody has looked at, as cert-manager has none.
pub(super) const NOT_LOOKED_AT: &str = "Pending";
