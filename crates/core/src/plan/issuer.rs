//! The CA: whether it can do what is asked of it, what is reported without one, and when the next one is made.

use std::collections::BTreeMap;

use external_ca_api::{IssuerStatus, RENEWAL_ANNOTATION, ROTATE_ANNOTATION};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::beside::Beside;
use super::draft::{Draft, RETRY};
use super::step::{Consume, GenerateCa, Step};
use crate::domain::{BundlePlace, Generate, Role, SelfSigned};
use crate::finding::{Area, Finding, Severity};
use crate::model::{MaterialKind, MaterialRef, ObjectRef};
use crate::reason::{Problem, Reason};
use crate::trust::Guards;
use crate::x509::{CaChain, CaProfile, Certificate};

impl Draft<'_> {
    /// A CA that may not sign what the gateway or every agent needs would end in half a setup: it is no CA for this.
    pub(super) fn unfit(&self, ca: &CaChain) -> Option<Problem> {
        let forbidden = |role: Role| {
            let mut leaves = self
                .domain
                .wanted
                .leaves
                .values()
                .filter(move |leaf| leaf.role == role)
                .map(|leaf| ca.permits(&leaf.profile).err().map(|error| (leaf, error)));
            let first = leaves.next()??;
            leaves.all(|error| error.is_some()).then_some(first)
        };
        let (leaf, error) = forbidden(Role::Gateway).or_else(|| forbidden(Role::Agent))?;
        let message = format!(
            "the CA Secret {} cannot sign Secret {}: {error}",
            self.domain.authority.secret, leaf.target
        );
        Some(Problem::new(Reason::from(&error), message))
    }

    pub(super) fn refuse(&mut self, problem: Problem) {
        // Time alone may mend these.
        if matches!(
            problem.reason,
            Reason::CASecretUnreadable | Reason::CANotYetValid
        ) {
            self.wake_in(RETRY);
        }
        self.problem(Area::Issuer, self.authority(), problem);
        self.keep_status();
    }

    pub(super) fn without_issuer(&mut self) {
        let target = self.domain.authority.secret.clone();
        if !self.observed.served.contains(&target.namespace) {
            let message = format!(
                "the operator is not told to serve the namespace {}; add it to the chart's namespaces.serve",
                target.namespace
            );
            self.problem(
                Area::Issuer,
                self.authority(),
                Problem::new(Reason::NamespaceNotServed, message),
            );
        } else if let Some(owner) = self.claimed(&target) {
            let message = format!(
                "the older issuance {owner} owns Secret {target}, so no CA is made there; name another in issuer.caSecret"
            );
            self.problem(
                Area::Issuer,
                self.authority(),
                Problem::new(Reason::Conflict, message),
            );
        } else if let Some(ca) = self.domain.authority.generate.clone() {
            let message = format!("making the CA Secret {target}");
            let progress = Problem::new(Reason::Progressing, message);
            self.wait(Area::Issuer, self.authority(), progress);
            self.steps.push(Step::GenerateCa(GenerateCa {
                target,
                resource_version: self.version_of_authority(),
                marks: self.marks_of_new(&self.domain.authority.secret, &ca),
                bundle: self.beside_new(&ca),
                aside: self.waits_for_trust(&ca),
                ca,
            }));
        } else {
            let message = format!(
                "the CA Secret {target} does not exist; create it with tls.crt and tls.key, or set issuer.caSecret.generate"
            );
            self.problem(
                Area::Issuer,
                self.authority(),
                Problem::new(Reason::CASecretNotFound, message),
            );
        }
        self.keep_status();
    }

    /// The version of the authority's Secret, where it exists and holds none.
    fn version_of_authority(&self) -> Option<String> {
        let secret = MaterialRef {
            kind: MaterialKind::Secret,
            object: self.domain.authority.secret.clone(),
        };
        let stored = self.observed.material.get(&secret)?;
        Some(stored.found()?.resource_version.clone())
    }

    /// A CA that the operator made for a domain whose leaves lie beside their bundles, and that has ended, is made anew.
    pub(super) fn refuse_or_replace(&mut self, problem: Problem) {
        let generated = self.observed.authority.generated.as_ref();
        let wanted = self.domain.authority.generate.clone();
        let wanted = wanted.filter(|wanted| wanted.form.bundle == BundlePlace::Beside);
        match (problem.reason, generated, wanted) {
            (Reason::CAExpired, Some(generated), Some(ca)) => {
                let target = self.domain.authority.secret.clone();
                self.steps.push(Step::GenerateCa(GenerateCa {
                    target,
                    resource_version: Some(generated.resource_version.clone()),
                    marks: BTreeMap::new(),
                    bundle: self.beside_new(&ca),
                    aside: false,
                    ca,
                }));
                self.keep_status();
            }
            _ => self.refuse(problem),
        }
    }

    fn claimed(&self, secret: &ObjectRef) -> Option<String> {
        let key = MaterialRef {
            kind: MaterialKind::Secret,
            object: secret.clone(),
        };
        self.observed.claims.material.get(&key).cloned()
    }

    /// Without an issuer nothing is judged, so the earlier report of certificates and anchors stays.
    pub(super) fn keep_status(&mut self) {
        if let Some(previous) = self.previous().cloned() {
            self.status.issuer = previous.issuer;
            self.status.trust = previous.trust;
            self.status.certificates = previous.certificates;
            self.status.certificates_ready = previous.certificates_ready;
            self.status.planes = previous.planes;
            self.status.contested = previous.contested;
            self.status.next_renewal = previous.next_renewal;
        }
        for area in [Area::Trust, Area::Certificates, Area::Planes] {
            let progress = Problem::new(Reason::Progressing, "waiting for the issuer");
            self.wait(area, self.owner(), progress);
        }
    }

    /// The CA that the operator made is replaced by the next one when a person asks for it, when another is wanted, and early
    /// enough before its end that no certificate must be shortened; one rotation after the other. The rest follows from the
    /// new CA.
    pub(super) fn next_ca(&mut self, ca: &CaChain, guards: &Guards<'_>) {
        let target = self.domain.authority.secret.clone();
        let asked = self.domain.requests.rotate.clone();
        let generated = self.observed.authority.generated.as_ref();
        let wanted = self.domain.authority.generate.as_ref();
        let Some((generated, wanted)) = generated.zip(wanted) else {
            if asked.is_some() {
                let message = format!(
                    "the annotation {ROTATE_ANNOTATION} asks for a new CA, but the one in Secret {target} is not the operator's to \
                     replace; replace the Secret's content, and remove the annotation"
                );
                let problem = Problem::new(Reason::CANotGenerated, message);
                self.warn(Area::Issuer, self.authority(), problem);
            }
            return;
        };
        let SelfSigned::Ca(profile) = &wanted.profile else {
            return;
        };
        let granted = asked.is_some() && generated.request == asked;
        if granted {
            self.steps.push(Step::Consume(Consume {
                annotation: ROTATE_ANNOTATION,
            }));
        }
        let due = self.ca_due(ca, wanted);
        self.wake_ahead(due);
        let is_due = due <= self.now || is_another(ca.certificate(), wanted, profile);
        let is_due = is_due && guards.view.retiring.is_empty();
        if !is_due && (granted || asked.is_none()) {
            return;
        }
        let beside = self.beside(guards, &target, &wanted.form);
        if matches!(beside, Beside::Unknown) {
            self.wake_in(RETRY);
            return;
        }
        let message = format!("making the next CA in Secret {target}");
        let progress = Problem::new(Reason::Progressing, message);
        let next = Finding::new(Area::Issuer, Severity::Waiting, self.authority(), progress);
        self.findings.push(next.first());
        self.steps = vec![Step::GenerateCa(GenerateCa {
            target,
            resource_version: Some(generated.resource_version.clone()),
            marks: asked
                .map(|asked| (RENEWAL_ANNOTATION, asked))
                .into_iter()
                .collect(),
            bundle: beside.bundle(),
            aside: false,
            ca: wanted.clone(),
        })];
    }

    /// From when on a certificate might outlive the CA; never in the first half of the CA's life.
    pub(super) fn ca_due(&self, ca: &CaChain, wanted: &Generate) -> Timestamp {
        let leaves = self.domain.wanted.leaves.values();
        let longest = leaves.map(|leaf| leaf.profile.duration + self.renewal_of(leaf).before);
        let longest = longest.max().unwrap_or(self.domain.renewal.before);
        let margin = longest.max(wanted.renew_before.unwrap_or_default());
        let begin = ca.certificate().not_before();
        let half = begin.duration_until(ca.not_after()) / 2;
        let early = ca.not_after().saturating_sub(margin);
        let middle = begin.saturating_add(half);
        early
            .unwrap_or(Timestamp::MIN)
            .max(middle.unwrap_or(Timestamp::MAX))
    }

    pub(super) fn issuer_status(&mut self, ca: &CaChain) {
        let end = ca.not_after();
        self.status.issuer = Some(IssuerStatus {
            subject: ca.certificate().subject().to_owned(),
            fingerprint: ca.certificate().fingerprint().to_string(),
            not_after: Time(end),
        });
        self.wake(end);
        let warn = end
            .saturating_sub(self.domain.renewal.before)
            .unwrap_or(Timestamp::MIN);
        if warn <= self.now {
            let message = format!(
                "the CA {} ends at {end}, and certificates end with it; replace the CA",
                ca.certificate().subject()
            );
            let problem = Problem::new(Reason::CAExpiring, message);
            self.warn(Area::Issuer, self.authority(), problem);
        } else {
            self.wake(warn);
        }
    }
}

/// Whether another CA is wanted than the one that is stored, where people say what it is to be.
fn is_another(stored: &Certificate, wanted: &Generate, profile: &CaProfile) -> bool {
    let same = stored.common_names() == std::slice::from_ref(&profile.common_name)
        && stored.organizations() == profile.organizations
        && stored.organizational_units() == profile.organizational_units
        && stored.key_algorithm() == Some(wanted.key);
    wanted.form.bundle == BundlePlace::Beside && !same
}
