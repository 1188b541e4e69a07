//! Peers of which nothing here shows what they have loaded: when they are looked at again, and what a person must know.

use external_ca_api::PROCEED_ANNOTATION;
use jiff::Timestamp;

use super::draft::Draft;
use super::step::{Consume, Step};
use crate::finding::Area;
use crate::reason::{Problem, Reason};
use crate::trust::{Guards, Unproven};

impl Draft<'_> {
    pub(super) fn peers(&mut self, guards: &Guards<'_>) {
        if guards.has_moved() {
            if self.domain.requests.proceed {
                // It speaks for this move, and for no later one.
                self.steps.push(Step::Consume(Consume {
                    annotation: PROCEED_ANNOTATION,
                }));
            }
            return;
        }
        for peer in &guards.unproven {
            let ends = [peer.presents_until, peer.trusts_until];
            let now = self.now;
            let ahead = ends.into_iter().filter(|end| *end > now);
            ahead.clone().for_each(|end| self.wake(end));
            self.unproven(peer, ahead.max());
        }
    }

    fn unproven(&mut self, unproven: &Unproven, ahead: Option<Timestamp>) {
        let peer = &unproven.peer;
        let message = match ahead {
            None if unproven.is_ours => format!(
                "{peer} is connected, nothing here shows what it has loaded, and rotation.overlap is over; restart it with the bundle \
                 and certificate that are stored now, see that it connects, then annotate {} with {PROCEED_ANNOTATION}=now",
                self.owner()
            ),
            Some(until) if !unproven.is_ours => format!(
                "{peer} is connected, and nothing here shows what it has loaded: unless it trusts the new CA by {until:.0}, it is cut \
                 off then; bring it the new bundle, or serve its namespace (the chart's namespaces)"
            ),
            _ => return,
        };
        let problem = Problem::new(Reason::AgentsUnproven, message);
        if unproven.is_ours {
            self.problem(Area::Rollouts, peer, problem);
        } else {
            self.warn(Area::Rollouts, peer, problem);
        }
    }
}
