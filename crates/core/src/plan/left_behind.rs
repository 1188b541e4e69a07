//! Certificates that something mounts, and that nobody asks for any longer.

use std::collections::BTreeSet;

use external_ca_api::{CertificateState, CertificateStatus};

use super::draft::{Draft, RETRY};
use crate::domain::{DesiredLeaf, fitness};
use crate::finding::{Area, Finding, Severity};
use crate::model::{Material, MaterialRef, Read};
use crate::reason::{Problem, Reason};
use crate::trust::Guards;
use crate::x509::Certificate;

impl Draft<'_> {
    /// They are told, and so remembered: what cannot be read later counts as what stands there.
    pub(super) fn left_behind(&mut self, guards: &Guards<'_>) {
        for leaf in &self.domain.wanted.left_behind {
            let material = leaf.material();
            let Some(stored) = self.observed.material.get(&material).map(AsRef::as_ref) else {
                continue;
            };
            match stored {
                Read::Unknown(why) => self.unreadable_left_behind(&material, why),
                Read::Found(_) | Read::Absent => self.read_left_behind(guards, leaf, stored),
            }
            let (failed, reason) = (CertificateState::Failed, Some(Reason::LeftBehind));
            let entry = self.certificate_status(guards, leaf, stored, failed, reason);
            self.status.certificates.push(CertificateStatus {
                renewal_time: None,
                ..entry
            });
        }
        if guards.view.unread().next().is_some() {
            self.keep_left_behind();
        }
    }

    /// What is mounted is not known before every list has been read: until then none is forgotten.
    fn keep_left_behind(&mut self) {
        let earlier = self.previous().into_iter();
        let earlier = earlier.flat_map(|status| &status.certificates);
        let is_left =
            |old: &&CertificateStatus| old.reason.as_deref() == Some(Reason::LeftBehind.as_str());
        let told = self.status.certificates.iter().map(|new| &new.target);
        let told: BTreeSet<&String> = told.collect();
        let kept = earlier
            .filter(is_left)
            .filter(|old| !told.contains(&old.target));
        let kept: Vec<CertificateStatus> = kept.cloned().collect();
        self.status.certificates.extend(kept);
    }

    /// It works for as long as it has not ended, and its verifiers trust the CA that signed it.
    fn read_left_behind(
        &mut self,
        guards: &Guards<'_>,
        leaf: &DesiredLeaf,
        stored: &Read<Material>,
    ) {
        let end = fitness::certificate(stored).map(Certificate::not_after);
        let (severity, state) = match (end, guards.refused_by(leaf)) {
            (Some(end), _) if end <= self.now => {
                let state = format!("its certificate ended at {end}, and handshakes with it fail");
                (Severity::Problem, state)
            }
            (_, Some(place)) => {
                let state = format!(
                    "{place} does not trust the CA that signed its certificate, and handshakes with it fail"
                );
                (Severity::Problem, state)
            }
            (end, None) => {
                let end = end.map_or_else(String::new, |end| format!(" ends at {end} and"));
                let state = format!(
                    "its certificate{end} is not renewed, and the CA that signed it stays trusted"
                );
                (Severity::Warning, state)
            }
        };
        let material = leaf.material();
        let message = format!(
            "{material} is mounted, and {} no longer asks for it: {state}; let the workloads that mount it mount what the spec names, or \
             let the spec name it (gateway.secretName, agents, planes.selector)",
            self.owner()
        );
        let problem = Problem::new(Reason::LeftBehind, message);
        self.findings.push(Finding::new(
            Area::Certificates,
            severity,
            material,
            problem,
        ));
        end.into_iter().for_each(|end| self.wake_ahead(end));
    }

    /// It was read before, and may hold what no CA but an old one verifies.
    fn unreadable_left_behind(&mut self, material: &MaterialRef, why: &str) {
        let message = format!(
            "{material}: {why}; it is mounted, and {} issued it: no CA leaves until it can be read (secrets.leaves names it in the chart's \
             values), or nothing mounts it",
            self.owner()
        );
        self.problem(
            Area::Certificates,
            material,
            Problem::new(Reason::Unreadable, message),
        );
        self.wake_in(RETRY);
    }
}
