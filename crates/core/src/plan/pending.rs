//! Leaves that the authority has been asked for and has not signed yet, and requests that serve no longer.

use std::collections::BTreeSet;

use external_ca_api::CertificateState;

use super::draft::Draft;
use super::step::{DropRequest, Step};
use crate::domain::{DesiredLeaf, asked};
use crate::finding::{Area, Finding, Severity};
use crate::model::{ObjectRef, PendingLeaf, Unread};
use crate::reason::{Problem, Reason};
use crate::trust::Blocker;

impl<'a> Draft<'a> {
    /// The request that waits for this leaf, where it asks for what is wanted of the authority that is to sign it.
    pub(super) fn request_of(&self, leaf: &DesiredLeaf) -> Option<&'a PendingLeaf> {
        let pending = self.observed.pending.get(&leaf.target)?;
        let wanted = asked(&self.observed.authority, &leaf.profile)?;
        (pending.asked == wanted).then_some(pending.as_ref())
    }

    /// Says what a leaf waits for. While a renewal waits, the certificate that is stored does its work.
    pub(super) fn wait_for_authority(
        &mut self,
        leaf: &DesiredLeaf,
        pending: &PendingLeaf,
        why: &Problem,
    ) -> CertificateState {
        let is_renewal = matches!(why.reason, Reason::Renewing | Reason::RenewRequested);
        let (severity, state) = if is_renewal {
            (Severity::Deferred, CertificateState::Ready)
        } else {
            (Severity::Waiting, CertificateState::Pending)
        };
        let problem = Problem::new(Reason::IssuerPending, why.message.clone());
        let finding = Finding::new(Area::Certificates, severity, leaf.material(), problem);
        let since = pending.since;
        self.findings
            .push(finding.blocked_by(vec![Blocker::Authority { since }]));
        if let Some(until) = pending.waits_until(self.now) {
            self.wake(until);
        }
        state
    }

    /// Drops the requests that serve no longer: of leaves that are stored, that are no longer wanted, or that are wanted
    /// otherwise. `kept` are those of leaves that are still to be issued.
    pub(super) fn drop_requests(&mut self, kept: &BTreeSet<ObjectRef>) {
        let wanted = &self.domain.wanted;
        let unreadable = &self.observed.unreadable;
        // A plane that cannot be seen may want its leaf.
        let some_planes_unread = unreadable.iter().any(Unread::is_of_planes);
        for target in self.observed.pending.keys() {
            let is_planned = wanted.leaves.contains_key(target);
            let mut all = wanted.all();
            let may_come = some_planes_unread || all.any(|leaf| leaf.target == *target);
            if kept.contains(target) || !is_planned && may_come {
                continue;
            }
            self.steps.push(Step::DropRequest(DropRequest {
                target: target.clone(),
            }));
        }
    }
}
