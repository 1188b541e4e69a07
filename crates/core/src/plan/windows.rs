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
        self.gate
            .holds_back(self.end(consumer), self.reserve, self.now)
            .filter(|_| !self.urgent.contains(&consumer.workload.workload))
    }

    /// Whether a certificate that it holds ends before long: it waits for no window, nor for a gateway that is stuck.
    pub(super) fn ends_soon(&self, consumer: &Consumer<'_>) -> bool {
        let last = self.end(consumer).saturating_sub(self.reserve);
        last.is_ok_and(|last| last <= self.now)
    }

    /// When the first certificate ends that it may hold, and that a restart would replace.
    fn end(&self, consumer: &Consumer<'_>) -> Timestamp {
        let held = |(object, load): (&&MaterialRef, &Load)| {
            let stored = self.observed.material.get(*object)?.found()?;
            stored.held_until.filter(|_| *load == Load::Stale)
        };
        let ends = consumer.loads.iter().filter_map(held);
        ends.min().unwrap_or(Timestamp::MAX)
    }
}
