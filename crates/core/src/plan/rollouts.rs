//! Which workloads are restarted, and what is said of their rollouts.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::{CertificateState, RolloutPhase, RolloutStatus, RolloutStrategy};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::draft::{Area, Draft, RETRY};
use super::step::{IssueLeaf, Restart, Step, WriteBundle};
use crate::model::facts::encode_loaded;
use crate::model::{MaterialKind, MaterialRef, RolloutState, WorkloadRef};
use crate::plan::maintenance::Gate;
use crate::reason::{Problem, Reason};
use crate::trust::Trust;
use crate::trust::evidence::{Consumer, restarts, stamp};
use crate::x509::Certificate;

impl Draft<'_> {
    /// Material that stays as it is while something waits for its consumers: who has not proven to have loaded it is
    /// restarted, or all would wait for ever.
    fn to_be_proven(&self, trust: &Trust<'_>, retiring: &[Certificate]) -> BTreeSet<MaterialRef> {
        let leaves = trust.desired.leaves.values();
        let states = self.status.certificates.iter().map(|said| said.state);
        let fit = leaves
            .zip(states.clone())
            .filter(|(_, state)| !retiring.is_empty() && *state == CertificateState::Ready)
            .map(|(leaf, _)| leaf.material());
        let mut prove: BTreeSet<MaterialRef> = fit.collect();
        if states
            .into_iter()
            .any(|state| state == CertificateState::Waiting)
        {
            prove.extend(trust.desired.trust_places.iter().cloned());
        }
        prove
    }

    pub(super) fn rollouts(
        &mut self,
        consumers: &[Consumer<'_>],
        trust: &Trust<'_>,
        retiring: &[Certificate],
    ) {
        let prove = self.to_be_proven(trust, retiring);
        let spec = &self.observed.issuance.spec.rollout;
        let timeout = spec.timeout.0;
        let about_to_change: BTreeSet<MaterialRef> = self
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::WriteBundle(WriteBundle { target, .. }) => Some(target.clone()),
                Step::IssueLeaf(IssueLeaf { target, .. }) => Some(MaterialRef {
                    kind: MaterialKind::Secret,
                    object: target.clone(),
                }),
                _ => None,
            })
            .chain(std::mem::take(&mut self.coming))
            .collect();
        let rotating = !retiring.is_empty();
        let waits: BTreeMap<&WorkloadRef, Timestamp> = consumers
            .iter()
            .filter(|consumer| consumer.is_stale(&prove))
            .filter_map(|one| Some((&one.workload.workload, self.held_back(one)?)))
            .collect();
        let wanted = |consumer: &Consumer<'_>| {
            consumer.is_stale(&prove) && !waits.contains_key(&consumer.workload.workload)
        };
        if spec.strategy == RolloutStrategy::Restart {
            for consumer in restarts(
                consumers,
                &about_to_change,
                wanted,
                spec.max_concurrent as usize,
                timeout,
                self.now,
            ) {
                self.steps.push(Step::Restart(Restart {
                    workload: consumer.workload.workload.clone(),
                    resource_version: consumer.workload.resource_version.clone(),
                    material_hash: encode_loaded(&stamp(consumer, &self.observed.material)),
                }));
            }
        }
        let previous = self.observed.issuance.status.as_ref();
        let previous: BTreeMap<&str, (RolloutPhase, Timestamp)> = previous
            .map_or(&[][..], |status| &status.rollouts)
            .iter()
            .map(|old| (old.workload.as_str(), (old.phase, old.since.0)))
            .collect();
        for consumer in consumers
            .iter()
            .filter(|consumer| consumer.is_stale(&prove) || consumer.is_busy())
        {
            let workload = consumer.workload.workload.to_string();
            if let Some(until) = waits.get(&consumer.workload.workload) {
                let what = format!("{workload} holds old material; its restart");
                self.wait_for_window(Area::Rollouts, *until, &what, rotating);
            }
            let (reason, mut phase, state) = match (&consumer.workload.rollout, consumer.is_stale(&prove)) {
                (_, true) if spec.strategy == RolloutStrategy::None => (
                    Reason::RestartNeeded,
                    RolloutPhase::RestartNeeded,
                    "holds old material, and rollout.strategy is None; restart it".to_owned(),
                ),
                (RolloutState::Running(why), _) if consumer.is_busy() => {
                    (Reason::RollingOut, RolloutPhase::Running, why.clone())
                }
                _ if waits.contains_key(&consumer.workload.workload) => (
                    Reason::WaitingForWindow,
                    RolloutPhase::Waiting,
                    "waits for the maintenance window".to_owned(),
                ),
                (_, true) if matches!(self.gate, Gate::Closed(_)) => (
                    Reason::OutsideWindow,
                    RolloutPhase::Waiting,
                    "is restarted outside the maintenance windows: a certificate cannot wait for the next one".to_owned(),
                ),
                _ => (Reason::RollingOut, RolloutPhase::Waiting, "waits for its restart".to_owned()),
            };
            // The time in the queue is no part of a rollout.
            let same = |(old, _): &&(RolloutPhase, Timestamp)| {
                let began = *old == RolloutPhase::Stuck && phase == RolloutPhase::Running;
                began || *old == phase
            };
            let since = previous.get(workload.as_str()).filter(same);
            let since = since.map_or(self.now, |(_, since)| *since);
            let late = since.saturating_add(timeout).unwrap_or(Timestamp::MAX);
            let said = format!("{workload} {state}");
            if phase == RolloutPhase::RestartNeeded {
                let problem = Problem::new(Reason::RestartNeeded, said);
                self.problem(Area::Rollouts, &workload, problem);
            } else if late <= self.now && consumer.is_busy() {
                phase = RolloutPhase::Stuck;
                let message = format!(
                    "{workload} has not finished its rollout since {since}: {state}; look at its pods (kubectl describe) and mend what keeps them from being available"
                );
                let problem = Problem::new(Reason::RolloutStuck, message);
                self.problem(Area::Rollouts, &workload, problem);
            } else if reason != Reason::WaitingForWindow {
                match late > self.now {
                    true => self.wake(late),
                    false => self.wake_in(RETRY),
                }
                let problem = Problem::new(reason, said);
                self.waiting.push((Area::Rollouts, problem));
            }
            self.status.rollouts.push(RolloutStatus {
                workload,
                phase,
                state,
                since: Time(since),
            });
        }
        if let Gate::Open(until) = self.gate {
            self.wake(until);
        }
    }
}
