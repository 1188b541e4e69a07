//! Which workloads are restarted, and how far their rollouts have come.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::{CertificateState, RolloutPhase, RolloutStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::{Draft, RETRY};
use super::maintenance::Gate;
use super::step::{IssueLeaf, Restart, Step, WriteBundle};
use crate::finding::Area;
use crate::model::facts::encode_loaded;
use crate::model::{MaterialKind, MaterialRef, RolloutState, WorkloadRef};
use crate::reason::{Problem, Reason};
use crate::trust::evidence::{Consumer, Restarts, stamp};
use crate::trust::{Guards, Lost};

/// What keeps restarts from being done at once.
struct Held<'a> {
    /// Material that consumers must prove to have loaded.
    prove: BTreeSet<MaterialRef>,
    /// Workloads that wait for a window, and until when.
    windows: BTreeMap<&'a WorkloadRef, Timestamp>,
    /// An agent that the last restart may have cut off: the next one waits.
    agent: Option<&'a Lost>,
}

impl Held<'_> {
    fn is_due(&self, consumer: &Consumer<'_>) -> bool {
        let workload = &consumer.workload.workload;
        let waits = self.agent.is_some() || self.windows.contains_key(workload);
        consumer.is_stale(&self.prove) && !waits
    }
}

/// How far a workload has come.
struct Progress {
    reason: Reason,
    phase: RolloutPhase,
    state: String,
}

impl<'a> Draft<'a> {
    pub(super) fn rollouts(
        &mut self,
        consumers: &[Consumer<'_>],
        guards: &Guards<'_>,
        lost: &[Lost],
    ) {
        let prove = self.to_be_proven(guards);
        let stale = consumers.iter().filter(|one| one.is_stale(&prove));
        let waits = |one: &Consumer<'_>| self.held_back(one);
        let windows = stale.filter_map(|one| Some((&one.workload.workload, waits(one)?)));
        let held = Held {
            windows: windows.collect(),
            prove,
            agent: self.lost_agents(lost),
        };
        self.restart(consumers, &held);
        let earlier = self.previous();
        let earlier = earlier.map_or(&[][..], |status| &status.rollouts);
        let earlier: BTreeMap<&str, &RolloutStatus> = earlier
            .iter()
            .map(|old| (old.workload.as_str(), old))
            .collect();
        let is_rotating = !guards.view.retiring.is_empty();
        for consumer in consumers {
            let is_restarted = consumer.is_stale(&held.prove) && consumer.cannot_start().is_none();
            if !is_restarted && !consumer.is_busy() {
                continue;
            }
            let workload = &consumer.workload.workload;
            if let Some(until) = held.windows.get(workload) {
                let what = format!("{workload} holds old material; its restart");
                self.wait_for_window(Area::Rollouts, *until, what, is_rotating);
            }
            let progress = self.rollout_progress(consumer, &held);
            let entry = earlier.get(workload.to_string().as_str());
            let since = since(entry, progress.phase).unwrap_or(self.now);
            self.follow(consumer, progress, since);
        }
        if let Gate::Open(until) = self.gate {
            self.wake(until);
        }
    }

    /// Material that stays as it is while something waits for its consumers: who has not proven to have loaded it is
    /// restarted, or all would wait for ever.
    fn to_be_proven(&self, guards: &Guards<'_>) -> BTreeSet<MaterialRef> {
        let wanted = &self.domain.wanted;
        let states = self.status.certificates.iter().map(|entry| entry.state);
        let is_rotating = !guards.view.retiring.is_empty();
        let fit = wanted.leaves.values().zip(states.clone());
        let fit = fit.filter(|(_, state)| is_rotating && *state == CertificateState::Ready);
        let mut prove: BTreeSet<MaterialRef> = fit.map(|(leaf, _)| leaf.material()).collect();
        if states
            .into_iter()
            .any(|state| state == CertificateState::Waiting)
        {
            prove.extend(wanted.trust_places.iter().cloned());
        }
        prove
    }

    fn restart(&mut self, consumers: &[Consumer<'_>], held: &Held<'_>) {
        let written = self.steps.iter().filter_map(|step| match step {
            Step::WriteBundle(WriteBundle { target, .. }) => Some(target.clone()),
            Step::IssueLeaf(IssueLeaf { target, .. }) => Some(MaterialRef {
                kind: MaterialKind::Secret,
                object: target.clone(),
            }),
            _ => None,
        });
        let mut about_to_change: BTreeSet<MaterialRef> =
            written.chain(std::mem::take(&mut self.coming)).collect();
        let wanted = consumers.iter().filter(|consumer| held.is_due(consumer));
        let objects: BTreeSet<&MaterialRef> =
            wanted.flat_map(|one| one.loads.keys().copied()).collect();
        for object in objects {
            if let Some(until) = self.fresh_until(object) {
                about_to_change.insert(object.clone());
                self.wake(until);
            }
        }
        let rollout = &self.domain.rollout;
        if !rollout.restarts {
            return;
        }
        let restarts = Restarts {
            consumers,
            about_to_change,
            max_concurrent: rollout.max_concurrent,
            timeout: rollout.timeout,
            running_since: self.running_since(),
            now: self.now,
        };
        for consumer in restarts.due(|consumer| held.is_due(consumer)) {
            self.steps.push(Step::Restart(Restart {
                workload: consumer.workload.workload.clone(),
                resource_version: consumer.workload.resource_version.clone(),
                material_hash: encode_loaded(&stamp(consumer, &self.observed.material)),
            }));
        }
    }

    /// Until when kubelets may still hand out what stood in an object before.
    fn fresh_until(&self, object: &MaterialRef) -> Option<Timestamp> {
        let changed = self.observed.material.get(object)?.found()?.changed?;
        // A clock that is behind must not make it wait for long.
        let age = changed.duration_until(self.now);
        let cache = self.domain.rollout.kubelet_cache;
        (!age.is_negative() && age < cache)
            .then(|| changed.saturating_add(cache).unwrap_or(self.now))
    }

    /// Since when each rollout has been running, as the earlier report says.
    fn running_since(&self) -> BTreeMap<&'a str, Timestamp> {
        let earlier = self
            .previous()
            .into_iter()
            .flat_map(|status| &status.rollouts);
        let runs =
            |old: &&RolloutStatus| matches!(old.phase, RolloutPhase::Running | RolloutPhase::Stuck);
        earlier
            .filter(runs)
            .map(|old| (old.workload.as_str(), old.since.0))
            .collect()
    }

    fn rollout_progress(&self, consumer: &Consumer<'_>, held: &Held<'_>) -> Progress {
        let is_stale = consumer.is_stale(&held.prove);
        let (reason, phase, state) = match &consumer.workload.rollout {
            _ if is_stale && !self.domain.rollout.restarts => (
                Reason::RestartNeeded,
                RolloutPhase::RestartNeeded,
                "holds old material, and rollout.strategy is None; restart it",
            ),
            RolloutState::Running(why) if consumer.is_busy() => {
                (Reason::RollingOut, RolloutPhase::Running, why.as_str())
            }
            _ if held.windows.contains_key(&consumer.workload.workload) => (
                Reason::WaitingForWindow,
                RolloutPhase::Waiting,
                "waits for the maintenance window",
            ),
            _ if held.agent.is_some() => (
                Reason::RollingOut,
                RolloutPhase::Waiting,
                "waits until the agents that the last restart disconnected are back",
            ),
            _ if is_stale && matches!(self.gate, Gate::Closed(_)) => (
                Reason::OutsideWindow,
                RolloutPhase::Waiting,
                "is restarted outside the maintenance windows: a certificate cannot wait for the next one",
            ),
            _ => (
                Reason::RollingOut,
                RolloutPhase::Waiting,
                "waits for its restart",
            ),
        };
        Progress {
            reason,
            phase,
            state: state.to_owned(),
        }
    }

    fn follow(&mut self, consumer: &Consumer<'_>, progress: Progress, since: Timestamp) {
        let Progress {
            reason,
            mut phase,
            state,
        } = progress;
        let workload = &consumer.workload.workload;
        let timeout = self.domain.rollout.timeout;
        let late = since.saturating_add(timeout).unwrap_or(Timestamp::MAX);
        if phase == RolloutPhase::RestartNeeded {
            let problem = Problem::new(Reason::RestartNeeded, format!("{workload} {state}"));
            self.problem(Area::Rollouts, workload, problem);
        } else if late <= self.now && consumer.is_busy() {
            phase = RolloutPhase::Stuck;
            let message = format!(
                "{workload} has not finished its rollout since {since}: {state}; look at its pods (kubectl describe) and mend what keeps them from being available"
            );
            let problem = Problem::new(Reason::RolloutStuck, message);
            self.problem(Area::Rollouts, workload, problem);
        } else if reason != Reason::WaitingForWindow {
            if late > self.now {
                self.wake(late);
            } else {
                self.wake_in(RETRY);
            }
            let problem = Problem::new(reason, format!("{workload} {state}"));
            self.wait(Area::Rollouts, workload, problem);
        }
        self.status.rollouts.push(RolloutStatus {
            workload: workload.to_string(),
            phase,
            state,
            since: Time(since),
        });
    }
}

/// Since when a rollout is in its phase. The time in the queue is no part of it.
fn since(earlier: Option<&&RolloutStatus>, phase: RolloutPhase) -> Option<Timestamp> {
    let old = earlier?;
    let is_same =
        old.phase == phase || old.phase == RolloutPhase::Stuck && phase == RolloutPhase::Running;
    is_same.then_some(old.since.0)
}
