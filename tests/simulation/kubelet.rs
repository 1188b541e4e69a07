//! Kubelets as they are: each volume is set up with what stands then, possibly long before a container starts, and refreshed
//! later, at random or never; a container that starts anew in place reads them again; a pod that is told to end goes on for
//! a while, and so does its process.

use std::collections::BTreeMap;
use std::sync::Arc;

use external_ca_core::model::{Controller, Life, MaterialRef, WorkloadRef};
use fastrand::Rng;

use crate::cluster::Cluster;
use crate::pods::{Contents, Process};

/// What keeps a pod from being what it should.
#[derive(Clone, Copy, Default)]
struct Trouble {
    is_stuck: bool,
    lacks: bool,
}

/// Kubelets do some of what they would do.
pub fn run(cluster: &mut Cluster, rng: &mut Rng, eagerness: f64) {
    let trouble: BTreeMap<WorkloadRef, Trouble> = cluster
        .deployments
        .iter()
        .map(|(key, one)| {
            let (is_stuck, lacks) = (one.stuck, one.lacks);
            (key.clone(), Trouble { is_stuck, lacks })
        })
        .collect();
    let mut gone = Vec::new();
    for index in 0..cluster.pods.len() {
        if rng.f64() >= eagerness {
            continue;
        }
        let pod = &mut cluster.pods[index];
        if pod.facts.is_terminating || pod.facts.life == Life::Ended {
            if rng.f64() < ending(pod) {
                gone.push(index);
            }
            continue;
        }
        let trouble = match &pod.facts.controller {
            Controller::Workload(workload) => trouble.get(workload).copied(),
            _ => None,
        };
        let version = cluster.next_number();
        let pod = &mut cluster.pods[index];
        let done = pod.go_on(&cluster.material, version, trouble.unwrap_or_default(), rng);
        if let Some(what) = done {
            let name = pod.facts.pod.clone();
            cluster.say(|| format!("pod {name}: {what}"));
        }
    }
    for index in gone.into_iter().rev() {
        let pod = cluster.pods.remove(index);
        cluster.say(|| format!("pod {}: is gone", pod.facts.pod));
    }
}

/// How likely a pod that was told to end is gone with the next look: some take their time.
fn ending(pod: &Process) -> f64 {
    match pod.revision % 3 {
        0 => 0.2,
        _ => 0.7,
    }
}

/// A container of a pod ends and starts again in place, mostly with what is stored now.
pub fn crash(cluster: &mut Cluster, workload: &WorkloadRef, seed: u64) {
    let own = cluster.deployments[workload].own(&cluster.pods);
    let runs = |index: &usize| cluster.pods[*index].holds.is_some();
    let own: Vec<usize> = own.into_iter().filter(runs).collect();
    let Some(index) = Rng::with_seed(seed).choice(&own).copied() else {
        return;
    };
    let pod = &mut cluster.pods[index];
    // A stream of its own: which pod it is stays as it was.
    if Rng::with_seed(seed ^ 0x5eed_0016).u8(..4) > 0 {
        pod.refresh(&cluster.material);
    }
    pod.start();
}

impl Process {
    fn go_on(
        &mut self,
        stored: &Contents,
        version: u64,
        trouble: Trouble,
        rng: &mut Rng,
    ) -> Option<&'static str> {
        let waits = matches!(self.facts.life, Life::Waiting(_));
        if waits && self.set_up(stored) {
            return Some("volumes are set up");
        }
        match self.facts.life {
            Life::Waiting(_) if rng.u8(..4) == 0 => {
                self.refresh(stored);
                Some("volumes are refreshed before it starts")
            }
            Life::Waiting(_) => {
                let missing = self.missing(stored);
                if missing.is_none() && !trouble.lacks {
                    self.start();
                    self.live(Life::Running { ready: false }, version);
                    return Some("starts");
                }
                let what = missing.map_or("Secret of others".into(), ToString::to_string);
                let why = Life::Waiting(Some(format!("ContainerCreating: no {what}")));
                (self.facts.life != why).then(|| self.live(why, version))?;
                Some("waits for what it mounts")
            }
            Life::Running { .. } if self.ends && rng.u8(..8) == 0 => {
                (self.volumes, self.holds) = (Contents::new(), None);
                self.live(Life::Ended, version);
                Some("has ended")
            }
            Life::Running { ready: false } if !trouble.is_stuck => {
                self.live(Life::Running { ready: true }, version);
                Some("is ready")
            }
            Life::Running { .. } if rng.u8(..8) == 0 => {
                self.refresh(stored);
                None
            }
            Life::Running { .. } | Life::Ended => None,
        }
    }

    /// What it cannot start without.
    fn missing(&self, stored: &Contents) -> Option<&MaterialRef> {
        let mut mounts = self.facts.mounts.iter();
        mounts.find(|mount| {
            let is_there = self.volumes.contains_key(*mount) || stored.contains_key(*mount);
            !is_there && !self.facts.optional.contains(*mount)
        })
    }

    /// Each volume is set up as soon as what it shows is there; whether any was.
    fn set_up(&mut self, stored: &Contents) -> bool {
        let mut any = false;
        for mount in &self.facts.mounts {
            if let (Some(object), false) = (stored.get(mount), self.volumes.contains_key(mount)) {
                self.volumes.insert(mount.clone(), Arc::clone(object));
                any = true;
            }
        }
        any
    }

    /// What was deleted meanwhile stays as it was.
    fn refresh(&mut self, stored: &Contents) {
        for mount in &self.facts.mounts {
            if let Some(object) = stored.get(mount) {
                self.volumes.insert(mount.clone(), Arc::clone(object));
            }
        }
    }

    /// A container reads what its volumes hold.
    fn start(&mut self) {
        self.holds = Some(self.volumes.clone());
    }
}
