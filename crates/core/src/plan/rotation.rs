//! A move to another CA: whether one is under way, how far it has come, and whether it was announced.

use std::collections::BTreeSet;

use external_ca_api::{ExternalCAIssuanceStatus, RotationStatus};

use super::draft::Draft;
use crate::reason::{Problem, Reason};
use crate::report::status::limit;
use crate::trust::evidence::{Consumer, Load};
use crate::x509::Certificate;

impl Draft<'_> {
    /// Whether status has said of each of these that it is on its way out, and of any at all: where nothing is, nobody was
    /// told that he will be cut off.
    pub(super) fn announced(&self, retiring: &[Certificate]) -> bool {
        let said = self.previous().into_iter();
        let said: BTreeSet<&str> = said
            .flat_map(ExternalCAIssuanceStatus::retiring)
            .map(|old| old.fingerprint.as_str())
            .collect();
        !said.is_empty()
            && retiring
                .iter()
                .all(|anchor| said.contains(anchor.fingerprint().to_string().as_str()))
    }

    /// How far the move to another CA has come.
    pub(super) fn progress(&mut self, consumers: &[Consumer<'_>]) {
        let retiring = self.status.retiring();
        let Some(since) = retiring.filter_map(|anchor| anchor.since.clone()).min() else {
            return;
        };
        let leaves = &self.status.certificates;
        let signed = leaves.iter().filter(|leaf| leaf.signer.is_some()).count();
        let loaded = consumers
            .iter()
            .filter(|one| one.loads.values().all(|load| *load == Load::Current))
            .count();
        let next = match (self.steps.first(), self.waiting.first()) {
            (Some(step), _) => step.to_string(),
            (None, Some((_, problem))) => limit(problem.message.clone(), 1024),
            (None, None) => String::new(),
        };
        self.status.rotation = Some(RotationStatus {
            since,
            certificates: format!("{signed}/{}", leaves.len()),
            workloads: format!("{loaded}/{}", consumers.len()),
            next,
        });
    }

    /// Anchors that were on their way out and have left every trust place.
    pub(super) fn dropped(&self) -> Vec<(bool, Problem)> {
        let left = self.status.anchors();
        self.previous()
            .into_iter()
            .flat_map(ExternalCAIssuanceStatus::retiring)
            .filter(|old| left.iter().all(|new| new.fingerprint != old.fingerprint))
            .map(|old| {
                let message = format!(
                    "{} ({}) is no longer trusted anywhere: nobody depends on it",
                    old.subject, old.fingerprint
                );
                (false, Problem::new(Reason::AnchorDropped, message))
            })
            .collect()
    }

    pub(super) fn is_rotating(&self) -> bool {
        self.status.retiring().next().is_some()
    }
}
