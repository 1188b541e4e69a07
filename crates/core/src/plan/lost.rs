//! Agents that a restart may have cut off: the next restart waits for them, and a person is told.

use jiff::SignedDuration;

use super::draft::Draft;
use crate::finding::Area;
use crate::reason::{Problem, Reason};
use crate::trust::Lost;

/// Within this time an agent is connected again, and OpenChoreo, which looks once a minute, has reported it.
const COMES_BACK_WITHIN: SignedDuration = SignedDuration::from_secs(180);

impl Draft<'_> {
    /// Tells of them. The one for which further restarts wait, if they do.
    pub(super) fn lost_agents<'l>(&mut self, lost: &'l [Lost]) -> Option<&'l Lost> {
        for one in lost {
            let told_from = one.since.saturating_add(COMES_BACK_WITHIN);
            let told_from = told_from.unwrap_or(one.since);
            self.wake_ahead(told_from);
            self.wake_ahead(one.held_until);
            if told_from > self.now {
                continue;
            }
            let message = format!(
                "the agent of {} is disconnected since {:.0}, when {} was restarted; the logs of agent and gateway say why; further \
                 restarts wait for it until {:.0}",
                one.plane, one.since, one.workload, one.held_until
            );
            let problem = Problem::new(Reason::AgentsLost, message);
            self.problem(Area::Rollouts, &one.plane, problem);
        }
        lost.iter().find(|one| one.held_until > self.now)
    }
}
