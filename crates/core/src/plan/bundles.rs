//! Which bundles are written, and which are left alone.

use external_ca_api::REPLACES_ANNOTATION;

use super::draft::{Draft, RETRY};
use super::step::{Step, WriteBundle};
use crate::finding::Area;
use crate::model::{MaterialKind, MaterialRef, Read};
use crate::reason::{Problem, Reason};
use crate::trust::{Guards, Place};
use crate::x509::Certificate;

impl Draft<'_> {
    pub(super) fn bundles(&mut self, guards: &Guards<'_>) {
        for target in &self.domain.wanted.trust_places {
            if !self.observed.served.contains(&target.object.namespace) {
                let message = format!(
                    "{target}: the operator is not told to serve the namespace {}; add it to the chart's namespaces.serve",
                    target.object.namespace
                );
                self.problem(
                    Area::Trust,
                    target,
                    Problem::new(Reason::NamespaceNotServed, message),
                );
                continue;
            }
            if let Some(owner) = self.observed.claims.material.get(target) {
                let message = format!(
                    "{target}: the older issuance {owner} owns it; name another in spec.trust, or give this issuance other namespaces"
                );
                self.problem(Area::Trust, target, Problem::new(Reason::Conflict, message));
                continue;
            }
            let authority = self.observed.claims.authorities.get(&target.object);
            if let Some(owner) = authority.filter(|_| target.kind == MaterialKind::Secret) {
                let message = format!(
                    "{target} is the CA Secret of the issuance {owner}; name another in spec.trust"
                );
                self.problem(Area::Trust, target, Problem::new(Reason::Conflict, message));
                continue;
            }
            let stored = self.observed.material.get(target).map(AsRef::as_ref);
            if let Some(Read::Unknown(why)) = stored {
                self.problem(
                    Area::Trust,
                    target,
                    Problem::new(Reason::Unreadable, format!("{target}: {why}")),
                );
                self.wake_in(RETRY);
                continue;
            }
            let found = stored.and_then(Read::found);
            if let Some(owner) = found.and_then(|found| found.controller.as_ref()) {
                let message = format!(
                    "{target}: {owner} controls it (ownerReferences); delete that object or name another in spec.trust"
                );
                self.problem(Area::Trust, target, Problem::new(Reason::NotOwned, message));
                continue;
            }
            if found.is_some_and(|found| found.has_key) {
                let message = format!(
                    "{target} holds a private key, and workloads mount it; move the CA to a Secret of another name and leave only ca.crt there"
                );
                let problem = Problem::new(Reason::CAKeyExposed, message);
                self.warn(Area::Trust, target, problem);
            }
            let place = Place::Material(target.clone());
            let Some(wanted) = guards.wanted(&place) else {
                continue;
            };
            if found.is_some_and(|found| same(&found.anchors, &wanted)) {
                continue;
            }
            // Text without a certificate is what OpenChoreo's chart puts there at each upgrade: nobody fights for it.
            if let Some(found) = found.filter(|found| !found.anchors.is_empty()) {
                let ours = found.issuance.as_ref() == Some(&self.domain.owner.identity);
                let object = target.to_string();
                let (manager, written) = (found.manager.clone(), found.changed);
                if let Err(problem) =
                    self.may_repair(&object, "data[\"ca.crt\"]", ours, manager, written)
                {
                    self.problem(Area::Trust, target, problem);
                    continue;
                }
            }
            let progress = Problem::new(Reason::Progressing, format!("writing {target}"));
            self.wait(Area::Trust, target, progress);
            let lost = if self.was_there(target) {
                guards.view.other_anchors()
            } else {
                guards.view.lost_anchors()
            };
            self.steps.push(Step::WriteBundle(WriteBundle {
                target: target.clone(),
                resource_version: found.map(|found| found.resource_version.clone()),
                drops: guards.drops(&place, &wanted),
                rests_on: guards.rests_on(&place, &wanted),
                anchors: wanted,
                marks: lost
                    .filter(|_| found.is_none())
                    .map(|lost| (REPLACES_ANNOTATION, lost))
                    .into_iter()
                    .collect(),
            }));
        }
    }

    /// Whether there has been a bundle, going by what was said of its namespace.
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
