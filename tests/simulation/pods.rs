//! Deployments and their pods, which read what they mount when they start and never again.

use std::collections::BTreeMap;
use std::sync::Arc;

use external_ca_core::model::{MaterialRef, RolloutState, Workload};
use fastrand::Rng;
use jiff::Timestamp;

use crate::cluster::Object;

/// A running pod, with what it read when it started.
pub struct Pod {
    revision: u64,
    ready: bool,
    pub holds: BTreeMap<MaterialRef, Object>,
}

pub struct Deployment {
    pub facts: Arc<Workload>,
    /// Counts changes of the pod template.
    revision: u64,
    pub replicas: usize,
    pub pods: Vec<Pod>,
    /// Its new pods do not become ready.
    pub stuck: bool,
    /// How often what it mounts has changed, and how often the operator has restarted it.
    pub changes: usize,
    pub restarts: usize,
}

impl Deployment {
    pub fn new(facts: Workload, replicas: usize) -> Self {
        Self {
            facts: Arc::new(facts),
            revision: 0,
            replicas,
            pods: Vec::new(),
            stuck: false,
            changes: 0,
            restarts: 0,
        }
    }

    /// One thing that its controller or a kubelet does: start a pod, find it ready, end one.
    pub fn advance(
        &mut self,
        stored: &BTreeMap<MaterialRef, Object>,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Option<&'static str> {
        let current = |pod: &&Pod| pod.revision == self.revision;
        let what = if self.pods.iter().filter(current).count() < self.replicas
            && self.pods.len() <= self.replicas
        {
            let pod = Pod {
                revision: self.revision,
                ready: false,
                holds: self.read(stored)?,
            };
            self.pods.push(pod);
            "a pod starts"
        } else if let (Some(pod), false) = (self.pods.iter_mut().find(|pod| !pod.ready), self.stuck)
        {
            pod.ready = true;
            "a pod is ready"
        } else {
            if self.pods.iter().any(|pod| !pod.ready) {
                return None;
            }
            let surplus = self.pods.len() > self.replicas;
            let ending: Vec<usize> = (0..self.pods.len())
                .filter(|index| surplus || self.pods[*index].revision != self.revision)
                .collect();
            let old = |index: &usize| self.pods[*index].revision != self.revision;
            let old: Vec<usize> = ending.iter().copied().filter(old).collect();
            let ending = if old.is_empty() { ending } else { old };
            match rng.choice(&ending) {
                Some(index) => drop(self.pods.remove(*index)),
                None if self.facts.rollout == RolloutState::Complete => return None,
                None => {}
            }
            "pods are as wanted, or one more ends"
        };
        self.report(now);
        Some(what)
    }

    fn read(
        &self,
        stored: &BTreeMap<MaterialRef, Object>,
    ) -> Option<BTreeMap<MaterialRef, Object>> {
        let read = |mount: &MaterialRef| Some((mount.clone(), Arc::clone(stored.get(mount)?)));
        self.facts.mounts.iter().map(read).collect()
    }

    /// A pod's process ends and starts again with what is stored now.
    pub fn crash(&mut self, stored: &BTreeMap<MaterialRef, Object>, rng: &mut Rng) {
        if let (Some(holds), false) = (self.read(stored), self.pods.is_empty()) {
            let index = rng.usize(0..self.pods.len());
            self.pods[index].holds = holds;
        }
    }

    fn report(&mut self, now: Timestamp) {
        let done = self.pods.len() == self.replicas
            && self
                .pods
                .iter()
                .all(|pod| pod.ready && pod.revision == self.revision);
        let facts = Arc::make_mut(&mut self.facts);
        facts.rollout = match done {
            true => RolloutState::Complete,
            false => RolloutState::Running("pods are on their way".into()),
        };
        if done {
            facts.available_since.get_or_insert(now);
        }
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
