//! Leaves that are their own anchors: the next one is made ahead, and waits aside until it is trusted.

use std::collections::BTreeMap;

use external_ca_api::CertificateState;

use super::draft::Draft;
use super::step::{GenerateCa, Step};
use crate::domain::fitness::LeafContext;
use crate::domain::{Generate, SelfSigned};
use crate::finding::{Area, Finding, Severity};
use crate::reason::{Problem, Reason};

impl Draft<'_> {
    /// What makes the next one, where the leaf is its own anchor and none waits yet.
    pub(super) fn next_to_make(&self, context: &LeafContext<'_>) -> Option<Generate> {
        let generate = self.domain.authority.generate.as_ref()?;
        let is_leaf = matches!(generate.profile, SelfSigned::Leaf(_));
        let waits = self.observed.pending.contains_key(&context.leaf.target);
        (is_leaf && !waits).then(|| generate.clone())
    }

    /// Has it made. Meanwhile the one that is stored does its work.
    pub(super) fn make_next(
        &mut self,
        context: &LeafContext<'_>,
        ca: Generate,
        why: Problem,
    ) -> CertificateState {
        let found = context.stored.found();
        let is_renewal = matches!(why.reason, Reason::Renewing | Reason::RenewRequested);
        let (severity, state) = match is_renewal {
            true => (Severity::Deferred, CertificateState::Ready),
            false => (Severity::Waiting, CertificateState::Pending),
        };
        let finding = Finding::new(Area::Certificates, severity, context.leaf.material(), why);
        self.findings.push(finding);
        self.steps.push(Step::GenerateCa(GenerateCa {
            target: context.leaf.target.clone(),
            resource_version: found.map(|found| found.resource_version.clone()),
            marks: BTreeMap::new(),
            bundle: None,
            aside: true,
            ca,
        }));
        state
    }
}
