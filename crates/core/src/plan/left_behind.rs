//! Certificates that something mounts, and that nobody asks for any longer.

use external_ca_api::{CertificateState, CertificateStatus};

use super::draft::Draft;
use crate::domain::fitness;
use crate::finding::Area;
use crate::model::Read;
use crate::reason::{Problem, Reason};
use crate::trust::Guards;

impl Draft<'_> {
    /// They are told, and so remembered: what cannot be read later counts as what stands there.
    pub(super) fn left_behind(&mut self, guards: &Guards<'_>) {
        let unread = Read::Unknown("it was not read".into());
        for leaf in &self.domain.wanted.left_behind {
            let material = leaf.material();
            let stored = self.observed.material.get(&material);
            let stored = stored.map_or(&unread, AsRef::as_ref);
            let end = fitness::certificate(stored).map_or_else(
                || "cannot be read".to_owned(),
                |found| format!("ends at {} and is not renewed", found.not_after()),
            );
            let message = format!(
                "{material} is mounted, and {} no longer asks for it: its certificate {end}, and the CA that signed it stays trusted; \
                 let the workloads that mount it mount what the spec names, or let the spec name it (gateway.secretName, agents, planes.selector)",
                self.owner()
            );
            self.warn(
                Area::Certificates,
                material,
                Problem::new(Reason::LeftBehind, message),
            );
            let (failed, reason) = (CertificateState::Failed, Some(Reason::LeftBehind));
            let entry = self.certificate_status(guards, leaf, stored, failed, reason);
            self.status.certificates.push(CertificateStatus {
                renewal_time: None,
                ..entry
            });
        }
    }
}
