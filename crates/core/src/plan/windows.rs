//! What waits for a maintenance window.

use jiff::Timestamp;

use super::draft::Draft;
use super::maintenance::{gate, reserve};
use crate::finding::Area;
use crate::model::MaterialRef;
use crate::trust::evidence::{Consumer, Load};

impl Draft<'_> {
    /// Windows bind what the operator restarts by itself; a compromised CA does not wait.
    pub(super) fn maintenance(&mut self, workloads: usize) {
        let rollout = &self.domain.rollout;
        let (gate, problems) = gate(&rollout.windows, self.now);
        for problem in problems {
            self.problem(Area::Rollouts, self.owner(), problem);
        }
        if rollout.restarts && !self.domain.rotation.immediate {
            self.gate = gate;
            self.reserve = reserve(rollout, workloads, self.domain.renewal.before);
        }
    }

    /// Until when a workload waits for a window; none where one is open, or where it cannot wait, for its own sake or for
    /// that of others.
    pub(super) fn held_back(&self, consumer: &Consumer<'_>) -> Option<Timestamp> {
        let held = |(object, load): (&&MaterialRef, &Load)| {
            let stored = self.observed.material.get(*object)?.found()?;
            stored.held_until.filter(|_| *load == Load::Stale)
        };
        let end = consumer.loads.iter().filter_map(held).min();
        let end = end.unwrap_or(Timestamp::MAX);
        self.gate
            .holds_back(end, self.reserve, self.now)
            .filter(|_| !self.urgent.contains(&consumer.workload.workload))
    }
}
