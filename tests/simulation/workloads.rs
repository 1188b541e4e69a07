//! Workloads, and the controllers that make and end their pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use external_ca_core::model::{
    Controller, MaterialRef, ObjectRef, RolloutState, Workload, WorkloadKind,
};
use fastrand::Rng;
use jiff::Timestamp;

use crate::pods::Process;

/// A Deployment, or a workload of another kind.
pub struct Deployment {
    pub facts: Arc<Workload>,
    /// Counts changes of the pod template.
    revision: u64,
    pub replicas: usize,
    /// Its new pods do not become ready.
    pub stuck: bool,
    /// Its new pods do not start for want of a Secret of others.
    pub lacks: bool,
    /// `OnDelete`: people delete its old pods.
    pub by_hand: bool,
    /// Paused: pods go on being made from this template.
    paused: Option<Template>,
    /// It was deleted, and its pods were left alone.
    pub is_gone: bool,
    /// How often what it mounts has changed, and how often the operator has restarted it.
    pub changes: usize,
    pub restarts: usize,
}

#[derive(Clone)]
struct Template {
    revision: u64,
    loaded: BTreeMap<MaterialRef, String>,
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
            lacks: false,
            by_hand: false,
            paused: None,
            is_gone: false,
            changes: 0,
            restarts: 0,
        }
    }

    /// One thing that its controller does: make a pod, end one, or tell how far it is. A Deployment's pods that are told to
    /// end do not count: so it is in Kubernetes 1.34.
    pub fn advance(
        &mut self,
        pods: &mut Vec<Process>,
        moment: &Moment,
        rng: &mut Rng,
    ) -> Option<&'static str> {
        if self.is_gone {
            return None;
        }
        let done = match self.facts.workload.kind {
            WorkloadKind::Deployment => self.roll(pods, moment, rng),
            WorkloadKind::StatefulSet => self.replace_in_order(pods, moment),
            WorkloadKind::DaemonSet => self.replace_on_nodes(pods, moment),
        };
        let is_news = self.report(pods);
        done.or(is_news.then_some("tells how far it is"))
    }

    /// A new pod comes before an old one goes.
    fn roll(
        &self,
        pods: &mut Vec<Process>,
        moment: &Moment,
        rng: &mut Rng,
    ) -> Option<&'static str> {
        let own = self.own(pods);
        let template = self.template();
        let is_old = |index: &usize| pods[*index].revision != template.revision;
        let is_unready = |index: &usize| !pods[*index].is_ready();
        let (old, current): (Vec<usize>, Vec<usize>) = own.iter().partition(|index| is_old(index));
        let ending = if current.len() < self.replicas && own.len() <= self.replicas {
            pods.push(self.make(moment, 0));
            return Some("a pod is made");
        } else if let Some(index) = old.iter().copied().find(is_unready) {
            vec![index]
        } else if own.iter().any(is_unready) {
            return None;
        } else if old.is_empty() && own.len() > self.replicas {
            own
        } else {
            old
        };
        let index = rng.choice(&ending)?;
        pods[*index].terminate(moment.version);
        Some("a pod is told to end")
    }

    /// A StatefulSet: from the last to the first, and only while the others are ready; the new pod has the old one's name.
    fn replace_in_order(&self, pods: &mut Vec<Process>, moment: &Moment) -> Option<&'static str> {
        for slot in 0..self.replicas {
            match self.in_slot(pods, slot) {
                None => {
                    pods.push(self.make(moment, slot));
                    return Some("a pod is made");
                }
                Some(index) if !pods[index].is_ready() && !self.is_old(&pods[index]) => {
                    return None;
                }
                Some(_) => {}
            }
        }
        self.end_surplus(pods, moment).or_else(|| {
            let mut slots = (0..self.replicas).rev();
            let index = slots.find_map(|slot| {
                let index = self.in_slot(pods, slot)?;
                let pod = &pods[index];
                let waits = pod.facts.is_terminating || !self.is_old(pod) && !pod.is_ready();
                (waits || self.is_old(pod)).then_some((index, waits))
            });
            let (index, _) = index.filter(|(_, waits)| !waits && !self.by_hand)?;
            pods[index].terminate(moment.version);
            Some("an old pod is told to end")
        })
    }

    /// A DaemonSet: on each node the new pod comes once the old one is gone, and one that is not available holds up the rest.
    fn replace_on_nodes(&self, pods: &mut Vec<Process>, moment: &Moment) -> Option<&'static str> {
        let free = (0..self.replicas).find(|slot| self.in_slot(pods, *slot).is_none());
        if let Some(slot) = free {
            pods.push(self.make(moment, slot));
            return Some("a pod is made");
        }
        self.end_surplus(pods, moment).or_else(|| {
            let slots = (0..self.replicas).filter_map(|slot| self.in_slot(pods, slot));
            let available = |index: &usize| pods[*index].is_available();
            let (ready, not): (Vec<usize>, Vec<usize>) = slots.partition(available);
            let old =
                |index: &&usize| self.is_old(&pods[**index]) && !pods[**index].facts.is_terminating;
            let ending = match not.iter().find(old) {
                None if not.is_empty() => ready.iter().find(old),
                found => found,
            };
            let index = *ending.filter(|_| !self.by_hand)?;
            pods[index].terminate(moment.version);
            Some("an old pod is told to end")
        })
    }

    fn end_surplus(&self, pods: &mut [Process], moment: &Moment) -> Option<&'static str> {
        let own = self.own(pods).into_iter();
        let index = own.rev().find(|index| pods[*index].slot >= self.replicas)?;
        pods[index].terminate(moment.version);
        Some("a pod is told to end")
    }

    /// The pod that has an ordinal or a node, until it is gone.
    fn in_slot(&self, pods: &[Process], slot: usize) -> Option<usize> {
        let workload = &self.facts.workload;
        let mut all = 0..pods.len();
        all.find(|index| pods[*index].slot == slot && pods[*index].is_of(workload))
    }

    fn is_old(&self, pod: &Process) -> bool {
        pod.revision != self.revision
    }

    /// Which of the pods are its own, and not told to end.
    pub fn own(&self, pods: &[Process]) -> Vec<usize> {
        let is_own = |index: &usize| {
            let pod = &pods[*index];
            pod.is_of(&self.facts.workload) && !pod.facts.is_terminating
        };
        (0..pods.len()).filter(is_own).collect()
    }

    fn template(&self) -> Template {
        self.paused.clone().unwrap_or_else(|| Template {
            revision: self.revision,
            loaded: self.facts.loaded.clone(),
        })
    }

    fn make(&self, moment: &Moment, slot: usize) -> Process {
        let Workload {
            workload, mounts, ..
        } = self.facts.as_ref();
        let ObjectRef {
            namespace, name, ..
        } = &workload.object;
        let name = match workload.kind {
            WorkloadKind::StatefulSet => format!("{name}-{slot}"),
            _ => format!("{name}-{}", moment.version),
        };
        let Template { revision, loaded } = self.template();
        let mut pod = Process::new(
            ObjectRef::new(namespace, name),
            moment.version,
            moment.now,
            Controller::Workload(workload.clone()),
            mounts.clone(),
            loaded,
        );
        (pod.revision, pod.slot) = (revision, slot);
        let facts = Arc::make_mut(&mut pod.facts);
        facts.agent = self.facts.agent.clone();
        facts.revision = Some(revision.to_string());
        pod
    }

    /// Tells how far it is; whether that is news.
    fn report(&mut self, pods: &[Process]) -> bool {
        let own = self.own(pods);
        let fits = |index: &usize| pods[*index].is_ready() && !self.is_old(&pods[*index]);
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

    /// `kubectl rollout pause` and `resume`; only Deployments know it.
    pub fn pause(&mut self, pauses: bool) {
        let can = pauses && self.facts.workload.kind == WorkloadKind::Deployment;
        self.paused = can.then(|| self.template());
    }

    pub fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// `kubectl replace` of the manifest, which names nothing that was loaded.
    pub fn replace(&mut self) {
        if !self.facts.loaded.is_empty() {
            self.changes += 1;
            self.restart(|facts| facts.loaded.clear());
        }
    }

    /// Whether a pod was made from another template than the newest.
    pub fn has_old(&self, pod: &Process) -> bool {
        pod.is_of(&self.facts.workload) && self.is_old(pod) && !pod.facts.is_terminating
    }
}
