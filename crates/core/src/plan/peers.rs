//! Peers of which nothing here shows what they have loaded: when they are looked at again, and what a person must know.

use external_ca_api::{ConfirmedPeer, PROCEED_ANNOTATION};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::Draft;
use super::step::{Consume, Step};
use crate::finding::Area;
use crate::reason::{Problem, Reason};
use crate::trust::{Blocker, Guards, Peer, Unproven};

/// Of so many peers a word is remembered: the others are asked for again.
const CONFIRMED: usize = 256;

impl Draft<'_> {
    /// A person's word speaks for those who are asked for, and for what is stored now. It is remembered, and taken away.
    pub(super) fn peers(&mut self, guards: &Guards<'_>) {
        for peer in &guards.unproven {
            let ends = [peer.presents_until, peer.trusts_until].into_iter();
            ends.flatten().for_each(|end| self.wake_ahead(end));
        }
        let is_asked = |one: &&Unproven| {
            self.waits_for(|blocker| *blocker == Blocker::Unconfirmed(one.peer.clone()))
        };
        let asked: Vec<&Unproven> = guards.unproven.iter().filter(is_asked).collect();
        self.remember_confirmed(guards, &asked);
        if self.domain.requests.proceed {
            self.steps.push(Step::Consume(Consume {
                annotation: PROCEED_ANNOTATION,
            }));
        } else {
            asked.iter().for_each(|one| self.ask_for(&one.peer));
        }
        let others = guards.unproven.iter().filter(|one| !one.is_ours);
        others.for_each(|one| self.is_cut_off(one));
    }

    /// What was said of peers that are still unproven, and what is said now.
    fn remember_confirmed(&mut self, guards: &Guards<'_>, asked: &[&Unproven]) {
        let is_said = |one: &Unproven| self.domain.requests.proceed && asked.contains(&one);
        let known = &guards.view.memory.confirmed;
        let confirmed = guards.unproven.iter().filter_map(|one| {
            let peer = one.peer.to_string();
            let now = is_said(one).then_some(self.now);
            let since = now.or_else(|| known.get(&peer).copied())?;
            Some(ConfirmedPeer {
                peer,
                since: Time(since),
            })
        });
        let confirmed = confirmed.take(CONFIRMED).collect();
        if let Some(trust) = &mut self.status.trust {
            trust.confirmed = confirmed;
        }
    }

    fn waits_for(&self, what: impl Fn(&Blocker) -> bool) -> bool {
        let findings = self.findings.iter().flat_map(|finding| &finding.blockers);
        let retiring = self.retiring.values().flatten();
        findings.chain(retiring).any(what)
    }

    fn ask_for(&mut self, peer: &Peer) {
        let message = format!(
            "{peer} is connected, nothing here shows what it has loaded, and rotation.overlap is over; restart it with the bundle \
             and certificate that are stored now, see that it connects, then annotate {} with {PROCEED_ANNOTATION}=now",
            self.owner()
        );
        let problem = Problem::new(Reason::AgentsUnproven, message);
        self.problem(Area::Rollouts, peer, problem);
    }

    fn is_cut_off(&mut self, unproven: &Unproven) {
        let peer = &unproven.peer;
        let waits = self
            .waits_for(|blocker| matches!(blocker, Blocker::Peer { peer: one, .. } if one == peer));
        let until = unproven.trusts_until.max(unproven.presents_until);
        if let Some(until) = until.filter(|until| waits && *until > self.now) {
            let message = format!(
                "{peer} is connected, and nothing here shows what it has loaded: unless it trusts the new CA by {until:.0}, it is cut \
                 off then; bring it the new bundle, or serve its namespace (the chart's namespaces)"
            );
            let problem = Problem::new(Reason::AgentsUnproven, message);
            self.warn(Area::Rollouts, peer, problem);
        }
    }
}
