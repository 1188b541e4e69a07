//! Which workloads are restarted, and how far their rollouts have come.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{CertificateState, RolloutPhase, RolloutStatus};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::{Draft, RETRY};
use super::maintenance::Gate;
use super::step::{IssueLeaf, Restart, Step, WriteBundle};
use crate::finding::{Area, Finding, Severity};
use crate::model::facts::encode_loaded;
use crate::model::{MaterialKind, MaterialRef, Pod, RolloutState, WorkloadRef};
use crate::reason::{Problem, Reason};
use crate::trust::evidence::{Consumer, Consumers, Load, Stray, reloaded_by};
use crate::trust::restarts::{Restarts, stamp};
use crate::trust::{Blocker, Guards, Lost};

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
    pub(super) fn rollouts(&mut self, all: &Consumers<'_>, guards: &Guards<'_>, lost: &[Lost]) {
        let consumers = all.workloads.as_slice();
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
            let holds_old = consumer.is_stale(&held.prove) && consumer.holds_any();
            if !holds_old && !consumer.is_busy() {
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
        for stray in all.all_strays() {
            self.stray(stray, &held.prove);
        }
        self.wake_for_reloads();
        if let Gate::Open(until) = self.gate {
            self.wake(until);
        }
    }

    fn wake_for_reloads(&mut self) {
        for object in &self.domain.wanted.reloaded {
            let stored = self.observed.material.get(object);
            if let Some(changed) = stored.and_then(|read| read.found()?.changed) {
                self.wake_ahead(reloaded_by(changed));
            }
        }
    }

    /// A pod that may hold what is stored no longer, and that no rollout replaces: a Job's may end by itself meanwhile.
    fn stray(&mut self, stray: &Stray<'_>, prove: &BTreeSet<MaterialRef>) {
        let holds_old = |(object, load): &(&&MaterialRef, &Load)| match load {
            Load::Stale | Load::Pending => true,
            Load::Unproven => prove.contains(**object),
            Load::Current | Load::Unknown => false,
        };
        let old = stray.loads.iter().filter(holds_old);
        let old: Vec<&MaterialRef> = old.map(|(object, _)| *object).collect();
        let changed = old
            .iter()
            .filter_map(|object| self.observed.material.get(*object)?.found()?.changed);
        let changed = changed.max();
        // A kubelet may be behind for so long.
        let fresh = old.iter().filter_map(|object| self.fresh_until(object));
        fresh.min().into_iter().for_each(|until| self.wake(until));
        let Some(changed) = changed.filter(|_| stray.pod.has_started()) else {
            return;
        };
        let names: Vec<String> = old.iter().map(ToString::to_string).collect();
        let message = format!(
            "a pod that no rollout replaces may hold what stood in {} before {changed:.0}",
            names.join(" and ")
        );
        let late = changed.saturating_add(self.domain.rollout.timeout);
        let late = late.unwrap_or(Timestamp::MAX);
        let (reason, severity) = if late > self.now {
            self.wake(late);
            (Reason::RollingOut, Severity::Waiting)
        } else {
            (Reason::RestartNeeded, Severity::Problem)
        };
        let object = format!("Pod {}", stray.pod.pod);
        let finding = Finding::new(
            Area::Rollouts,
            severity,
            object,
            Problem::new(reason, message),
        );
        let pod = Blocker::Pod(Arc::clone(stray.pod));
        self.findings.push(finding.blocked_by(vec![pod]));
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
        // What was refused may not change for long.
        let refused = &self.observed.refused;
        let steps = self.steps.iter();
        let steps = steps.filter(|step| !refused.contains(&step.object()));
        let written = steps.filter_map(|step| match step {
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
        let objects: BTreeSet<&MaterialRef> = wanted
            .clone()
            .flat_map(|one| one.loads.keys().copied())
            .collect();
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
            refused,
            urgent: wanted
                .filter(|consumer| self.ends_soon(consumer))
                .map(|consumer| &consumer.workload.workload)
                .collect(),
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
            _ if consumer.cannot_start().is_some() => (
                Reason::RollingOut,
                RolloutPhase::Running,
                "its newest pod does not start, and it is restarted after that",
            ),
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

    fn stuck(&mut self, consumer: &Consumer<'_>, state: &str, since: Timestamp) {
        let workload = &consumer.workload.workload;
        let message = format!(
            "{workload} has not finished its rollout since {since}: {state}; look at its pods (kubectl describe) and mend what keeps \
             them from being available, or go back (kubectl rollout undo)"
        );
        let problem = Problem::new(Reason::RolloutStuck, message);
        let finding = Finding::new(Area::Rollouts, Severity::Problem, workload, problem);
        let mut pods: Vec<&Arc<Pod>> = consumer.pods.clone();
        pods.retain(|pod| pod.is_terminating);
        let pods = pods.into_iter().map(|pod| Blocker::Pod(Arc::clone(pod)));
        self.findings.push(finding.blocked_by(pods.collect()));
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
        } else if late <= self.now && phase == RolloutPhase::Running {
            phase = RolloutPhase::Stuck;
            self.stuck(consumer, &state, since);
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
