//! How far a move to another CA has come.

use external_ca_api::RotationStatus;

use super::draft::Draft;
use super::step::Step;
use crate::trust::evidence::{Consumer, Load};

impl Draft<'_> {
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
        self.status.rotation = Some(RotationStatus {
            since,
            certificates: format!("{signed}/{}", leaves.len()),
            workloads: format!("{loaded}/{}", consumers.len()),
            // Where there is no step, the report tells what is waited for.
            next: self.steps.first().map_or_else(String::new, Step::to_string),
        });
    }
}
