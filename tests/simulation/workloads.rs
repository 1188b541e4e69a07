//! Workloads, and the controllers that make and end their pods.

use std::sync::Arc;

use external_ca_core::model::{Controller, Life, ObjectRef, RolloutState, Workload};
use fastrand::Rng;
use jiff::Timestamp;

use crate::pods::{Contents, Process, read};

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

/// Where and when a controller or a kubelet does something.
pub struct Moment<'a> {
    pub stored: &'a Contents,
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

    /// One thing that its controller or a kubelet does: start a pod, find it ready, end one.
    pub fn advance(
        &mut self,
        pods: &mut Vec<Process>,
        moment: &Moment<'_>,
        rng: &mut Rng,
    ) -> Option<&'static str> {
        let own = self.own(pods);
        let is_current = |index: &&usize| pods[**index].revision == self.revision;
        let unready = own.iter().copied().find(|index| !pods[*index].is_ready());
        let what = if own.iter().filter(is_current).count() < self.replicas
            && own.len() <= self.replicas
        {
            pods.push(self.make(moment)?);
            "a pod starts"
        } else if let (Some(index), false) = (unready, self.stuck) {
            pods[index].live(Life::Running { ready: true }, moment.version);
            "a pod is ready"
        } else {
            if unready.is_some() {
                return None;
            }
            let surplus = own.len() > self.replicas;
            let is_old = |index: &usize| pods[*index].revision != self.revision;
            let old: Vec<usize> = own.iter().copied().filter(is_old).collect();
            let ending = match old.is_empty() {
                true if surplus => own,
                _ => old,
            };
            match rng.choice(&ending) {
                Some(index) => drop(pods.remove(*index)),
                None if self.facts.rollout == RolloutState::Complete => return None,
                None => {}
            }
            "pods are as wanted, or one more ends"
        };
        self.report(pods);
        Some(what)
    }

    /// Which of the pods are its own.
    pub fn own(&self, pods: &[Process]) -> Vec<usize> {
        let is_own = |index: &usize| pods[*index].is_of(&self.facts.workload);
        (0..pods.len()).filter(is_own).collect()
    }

    fn make(&self, moment: &Moment<'_>) -> Option<Process> {
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
        pod.holds = read(mounts, moment.stored)?;
        pod.live(Life::Running { ready: false }, moment.version);
        Some(pod)
    }

    fn report(&mut self, pods: &[Process]) {
        let own = self.own(pods);
        let fits = |index: &usize| {
            let pod = &pods[*index];
            pod.is_ready() && pod.revision == self.revision
        };
        let done = own.len() == self.replicas && own.iter().all(fits);
        Arc::make_mut(&mut self.facts).rollout = match done {
            true => RolloutState::Complete,
            false => RolloutState::Running("pods are on their way".into()),
        };
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
