//! Which bundles are written, and which are left alone.

use external_ca_api::{ANCHORS_ANNOTATION, AnchorState, CertificateState, REPLACES_ANNOTATION};

use super::draft::{Draft, RETRY};
use super::step::{Step, WriteBundle};
use crate::domain::BundlePlace;
use crate::finding::Area;
use crate::model::{Material, MaterialKind, MaterialRef, Read};
use crate::reason::{Problem, Reason};
use crate::trust::{Guards, Place, shorts};
use crate::x509::Certificate;

impl<'a> Draft<'a> {
    pub(super) fn bundles(&mut self, guards: &Guards<'_>) {
        for target in &self.domain.wanted.trust_places {
            match self.bundle(guards, target) {
                Ok(None) => {}
                Ok(Some(step)) => {
                    let progress = Problem::new(Reason::Progressing, format!("writing {target}"));
                    self.wait(Area::Trust, target, progress);
                    self.steps.push(Step::WriteBundle(step));
                }
                Err(problem) => {
                    if problem.reason == Reason::Unreadable {
                        self.wake_in(RETRY);
                    }
                    self.problem(Area::Trust, target, problem);
                }
            }
        }
    }

    /// What is to be written to a trust place, unless it holds it.
    fn bundle(
        &mut self,
        guards: &Guards<'_>,
        target: &MaterialRef,
    ) -> Result<Option<WriteBundle>, Problem> {
        let found = self.ours_to_write(target)?;
        let shares = self.domain.bundle_place(target);
        if shares == BundlePlace::Elsewhere && found.is_some_and(|found| found.has_key) {
            let message = format!(
                "{target} holds a private key, and workloads mount it; move the CA to a Secret of another name and leave only ca.crt there"
            );
            let problem = Problem::new(Reason::CAKeyExposed, message);
            self.warn(Area::Trust, target, problem);
        }
        if shares == BundlePlace::Beside && found.is_none() {
            // It comes with its certificate.
            return Ok(None);
        }
        let place = Place::Material(target.clone());
        let Some(wanted) = guards.wanted(&place) else {
            return Ok(None);
        };
        if let Some(found) = found.filter(|found| same(&found.anchors, &wanted)) {
            self.fits(target, found.manager.as_deref());
            return Ok(None);
        }
        // Text without a certificate is what OpenChoreo's chart puts there at each upgrade: it is never a contest.
        if let Some(found) = found.filter(|found| !found.anchors.is_empty()) {
            // One that was replaced as a whole names its issuance no longer.
            let ours = found.issuance.as_ref() == Some(&self.domain.owner.identity)
                || self.was_served(target);
            let name = target.to_string();
            if self.is_of_authority(target) && self.is_new(guards.view.ca.anchor()) {
                self.begin_anew(&name, found);
            } else {
                let (manager, written) = (found.manager.clone(), found.changed);
                self.may_repair(&name, "data[\"ca.crt\"]", ours, manager, written)?;
            }
        }
        let lost = if self.was_there(target) {
            guards.view.other_anchors()
        } else {
            guards.view.lost_anchors()
        };
        let replaces = match found {
            None => lost.or_else(|| {
                let had_one = guards.holders.has_started_pods(target);
                had_one.then(|| "unknown".to_owned())
            }),
            Some(found) if found.is_first_content() => {
                shorts(found.anchors.iter().map(Certificate::fingerprint))
            }
            Some(_) => None,
        };
        let replaces = replaces.map(|lost| (REPLACES_ANNOTATION, lost));
        let ours = wanted.iter().filter(|anchor| guards.view.is_ours(anchor));
        let ours =
            shorts(ours.map(Certificate::fingerprint)).map(|ours| (ANCHORS_ANNOTATION, ours));
        Ok(Some(WriteBundle {
            target: target.clone(),
            resource_version: found.map(|found| found.resource_version.clone()),
            drops: guards.drops(&place, &wanted),
            rests_on: guards.rests_on(&place, &wanted),
            anchors: wanted,
            place: shares,
            marks: replaces.into_iter().chain(ours).collect(),
        }))
    }

    /// What stands in a trust place, where this domain may write to it.
    fn ours_to_write(&self, target: &MaterialRef) -> Result<Option<&'a Material>, Problem> {
        let observed = self.observed;
        let (reason, message) = if !observed.served.contains(&target.object.namespace) {
            let message = format!(
                "{target}: the operator is not told to serve the namespace {}; add it to the chart's namespaces.serve",
                target.object.namespace
            );
            (Reason::NamespaceNotServed, message)
        } else if let Some(owner) = observed.claims.material.get(target) {
            let message = format!(
                "{target}: the older issuance {owner} owns it; name another in spec.trust, or give this issuance other namespaces"
            );
            (Reason::Conflict, message)
        } else if let Some(owner) = self.authority_in(target) {
            let message = format!(
                "{target} is the CA Secret of the issuance {owner}; name another in spec.trust"
            );
            (Reason::Conflict, message)
        } else {
            let stored = observed.material.get(target).map(AsRef::as_ref);
            let found = stored.and_then(Read::found);
            let controller = found.and_then(|found| found.controller.as_ref());
            match (stored, controller) {
                (Some(Read::Unknown(why)), _) => (Reason::Unreadable, format!("{target}: {why}")),
                (_, Some(owner)) => {
                    let message = format!(
                        "{target}: {owner} controls it (ownerReferences); delete that object or name another in spec.trust"
                    );
                    (Reason::NotOwned, message)
                }
                (_, None) => return Ok(found),
            }
        };
        Err(Problem::new(reason, message))
    }

    /// The issuance whose CA Secret it is.
    fn authority_in(&self, target: &MaterialRef) -> Option<&'a String> {
        let authority = self.observed.claims.authorities.get(&target.object);
        authority.filter(|_| target.kind == MaterialKind::Secret)
    }

    fn is_of_authority(&self, target: &MaterialRef) -> bool {
        *target == MaterialRef::secret(self.domain.authority.secret.clone())
    }

    /// Whether the earlier report tells of another CA.
    fn is_new(&self, ca: &Certificate) -> bool {
        let earlier = self.previous().and_then(|status| status.trust.as_ref());
        let mut told = earlier.into_iter().flat_map(|trust| &trust.anchors);
        let active = told.find(|anchor| anchor.state == AnchorState::Active);
        active.is_some_and(|active| active.fingerprint != ca.fingerprint().to_string())
    }

    /// Whether certificates of ours stood in its namespace: bundles are written ahead of them.
    fn was_served(&self, bundle: &MaterialRef) -> bool {
        let earlier = self.previous();
        let leaves = earlier.map_or(&[][..], |status| &status.certificates);
        leaves.iter().any(|leaf| {
            let namespace = leaf.target.split_once('/').map(|(namespace, _)| namespace);
            leaf.state == CertificateState::Ready
                && leaf.signer.is_some()
                && namespace == Some(bundle.object.namespace.as_str())
        })
    }

    /// Whether there has been a bundle, as the earlier report of its namespace tells.
    fn was_there(&self, bundle: &MaterialRef) -> bool {
        if self.was_cut() {
            return true;
        }
        let earlier = self.previous();
        let leaves = earlier.map_or(&[][..], |status| &status.certificates);
        let targets = leaves.iter().filter_map(|leaf| leaf.target.split_once('/'));
        let mut namespaces = targets.map(|(namespace, _)| namespace);
        namespaces.any(|namespace| namespace == bundle.object.namespace)
    }
}

pub(super) fn same(stored: &[Certificate], wanted: &[Certificate]) -> bool {
    stored.len() == wanted.len() && wanted.iter().all(|anchor| stored.contains(anchor))
}
