//! What waits for a maintenance window.

use external_ca_api::{RolloutStrategy, RotationStrategy};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::{Area, Draft};
use crate::domain::renew_before;
use crate::model::MaterialRef;
use crate::plan::maintenance::{Gate, gate, reserve};
use crate::reason::{Problem, Reason};
use crate::trust::evidence::{Consumer, Load};

impl Draft<'_> {
    /// Windows bind what the operator restarts by itself; a compromised CA does not wait.
    pub(super) fn maintenance(&mut self, workloads: usize) {
        let spec = &self.observed.issuance.spec;
        let (gate, problems) = gate(&spec.rollout.windows, self.now);
        for problem in problems {
            self.problem(Area::Rollouts, self.issuance(), problem);
        }
        if spec.rollout.strategy == RolloutStrategy::Restart
            && spec.rotation.strategy == RotationStrategy::Staged
        {
            self.gate = gate;
            self.reserve = reserve(&spec.rollout, workloads, renew_before(spec));
        }
    }

    /// What waits for the next window is said; it is no defect, unless a move to another CA waits with it.
    pub(super) fn wait_for_window(
        &mut self,
        area: Area,
        until: Timestamp,
        what: &str,
        rotating: bool,
    ) {
        self.wake(until);
        let message = match self.gate {
            Gate::Closed(opens) if opens > until => {
                format!("{what} waits until {until}: no maintenance window opens before")
            }
            _ => format!("{what} waits for the maintenance window that opens at {until}"),
        };
        let next = self.status.next_window.take().map_or(until, |next| next.0);
        self.status.next_window = Some(Time(next.min(until)));
        let problem = Problem::new(Reason::WaitingForWindow, message);
        if rotating {
            self.waiting.insert(0, (area, problem));
        } else {
            self.warnings.entry(area).or_insert(problem);
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
            .filter(|_| {
                !self
                    .urgent
                    .contains(&consumer.workload.workload.to_string())
            })
    }
}
