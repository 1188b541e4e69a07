//! Workloads, and the controllers that make and end their pods.

use std::sync::Arc;

use external_ca_core::model::{Controller, ObjectRef, RolloutState, Workload};
use fastrand::Rng;
use jiff::Timestamp;

use crate::pods::Process;

pub struct Deployment {
    pub facts: Arc<Workload>,
    /// Counts changes of the pod template.
    revision: u64,
    pub replicas: usize,
    /// Its new pods do not become ready.
    pub stuck: bool,
    /// How often what it mounts has changed, and how often the operator has restarted it.
    pub changes: usize,
    pub restarts: usize,
}

/// When a controller does something.
pub struct Moment {
    pub now: Timestamp,
    /// The version that what is written now gets.
    pub version: u64,
}

impl Deployment {
    pub fn new(facts: Workload, replicas: usize) -> Self {
        Self {
            facts: Arc::new(facts),
            revision: 0,
            replicas,
            stuck: false,
            changes: 0,
            restarts: 0,
        }
    }

    /// One thing that its controller does: make a pod, end one, or tell how far it is. Pods that are told to end do not count:
    /// so it is in Kubernetes 1.34.
    pub fn advance(
        &mut self,
        pods: &mut Vec<Process>,
        moment: &Moment,
        rng: &mut Rng,
    ) -> Option<&'static str> {
        let own = self.own(pods);
        let is_old = |index: &usize| pods[*index].revision != self.revision;
        let is_unready = |index: &usize| !pods[*index].is_ready();
        let (old, current): (Vec<usize>, Vec<usize>) = own.iter().partition(|index| is_old(index));
        let what = if current.len() < self.replicas && own.len() <= self.replicas {
            pods.push(self.make(moment));
            "a pod is made"
        } else if let Some(index) = old.iter().copied().find(is_unready) {
            pods[index].terminate(moment.version);
            "an old pod that is not ready is told to end"
        } else if own.iter().any(is_unready) {
            return self.report(pods).then_some("pods are on their way");
        } else {
            let surplus = own.len() > self.replicas;
            let ending = match old.is_empty() {
                true if surplus => own,
                _ => old,
            };
            match rng.choice(&ending) {
                Some(index) => pods[*index].terminate(moment.version),
                None => return self.report(pods).then_some("pods are as wanted"),
            }
            "a pod is told to end"
        };
        self.report(pods);
        Some(what)
    }

    /// Which of the pods are its own, and not told to end.
    pub fn own(&self, pods: &[Process]) -> Vec<usize> {
        let is_own = |index: &usize| {
            let pod = &pods[*index];
            pod.is_of(&self.facts.workload) && !pod.facts.is_terminating
        };
        (0..pods.len()).filter(is_own).collect()
    }

    fn make(&self, moment: &Moment) -> Process {
        let Workload {
            workload,
            mounts,
            loaded,
            ..
        } = self.facts.as_ref();
        let ObjectRef {
            namespace, name, ..
        } = &workload.object;
        let mut pod = Process::new(
            ObjectRef::new(namespace, format!("{name}-{}", moment.version)),
            moment.version,
            moment.now,
            Controller::Workload(workload.clone()),
            mounts.clone(),
            loaded.clone(),
        );
        pod.revision = self.revision;
        pod
    }

    /// Tells how far it is; whether that is news.
    fn report(&mut self, pods: &[Process]) -> bool {
        let own = self.own(pods);
        let fits = |index: &usize| {
            let pod = &pods[*index];
            pod.is_ready() && pod.revision == self.revision
        };
        let done = own.len() == self.replicas && own.iter().all(fits);
        let rollout = match done {
            true => RolloutState::Complete,
            false => RolloutState::Running("pods are on their way".into()),
        };
        let is_news = self.facts.rollout != rollout;
        Arc::make_mut(&mut self.facts).rollout = rollout;
        is_news
    }

    pub fn scale(&mut self, replicas: usize) {
        self.replicas = replicas;
        let facts = Arc::make_mut(&mut self.facts);
        facts.rollout = RolloutState::Running("it was scaled".into());
    }

    /// Its pod template changes.
    pub fn restart(&mut self, change: impl FnOnce(&mut Workload)) {
        self.revision += 1;
        let facts = Arc::make_mut(&mut self.facts);
        change(facts);
        facts.rollout = RolloutState::Running("its template changed".into());
    }
}
