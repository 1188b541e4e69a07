//! Kubelets as they are: volumes are set up with what stands then, possibly long before a container starts, and refreshed
//! later, at random or never; a container that starts anew in place reads them again; a pod that is told to end goes on for
//! a while, and so does its process.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_core::model::{Controller, Life, MaterialRef, WorkloadRef};
use fastrand::Rng;

use crate::cluster::Cluster;
use crate::pods::{Contents, Process};

/// Kubelets do some of what they would do.
pub fn run(cluster: &mut Cluster, rng: &mut Rng, eagerness: f64) {
    let stuck: BTreeSet<WorkloadRef> = cluster
        .deployments
        .iter()
        .filter(|(_, deployment)| deployment.stuck)
        .map(|(key, _)| key.clone())
        .collect();
    let mut gone = Vec::new();
    for index in 0..cluster.pods.len() {
        if rng.f64() >= eagerness {
            continue;
        }
        let pod = &mut cluster.pods[index];
        if pod.facts.is_terminating {
            if rng.f64() < ending(pod) {
                gone.push(index);
            }
            continue;
        }
        let is_stuck = match &pod.facts.controller {
            Controller::Workload(workload) => stuck.contains(workload),
            _ => false,
        };
        let version = cluster.next_number();
        let pod = &mut cluster.pods[index];
        if let Some(what) = go_on(pod, &cluster.material, version, is_stuck, rng) {
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

fn go_on(
    pod: &mut Process,
    stored: &Contents,
    version: u64,
    is_stuck: bool,
    rng: &mut Rng,
) -> Option<&'static str> {
    match (&pod.volumes, &pod.facts.life) {
        (None, _) => match pod.set_up(stored) {
            Ok(()) => Some("its volumes are set up"),
            Err(missing) => {
                let why = Life::Waiting(Some(format!("ContainerCreating: no {missing}")));
                (pod.facts.life != why).then(|| pod.live(why, version))?;
                Some("waits for what it mounts")
            }
        },
        (Some(_), Life::Waiting(_)) if rng.u8(..4) == 0 => {
            pod.refresh(stored);
            Some("its volumes are refreshed before it starts")
        }
        (Some(_), Life::Waiting(_)) => {
            pod.start();
            pod.live(Life::Running { ready: false }, version);
            Some("starts")
        }
        (Some(_), Life::Running { ready: false }) if !is_stuck => {
            pod.live(Life::Running { ready: true }, version);
            Some("is ready")
        }
        (Some(_), Life::Running { .. }) if rng.u8(..8) == 0 => {
            pod.refresh(stored);
            None
        }
        _ => None,
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
    /// Its volumes are set up with what stands now; the error is what it cannot start without.
    fn set_up(&mut self, stored: &Contents) -> Result<(), MaterialRef> {
        let needed = |mount: &&MaterialRef| !self.facts.optional.contains(*mount);
        let mut needed = self.facts.mounts.iter().filter(needed);
        if let Some(missing) = needed.find(|mount| !stored.contains_key(*mount)) {
            return Err(missing.clone());
        }
        self.volumes = Some(Contents::new());
        self.refresh(stored);
        Ok(())
    }

    /// What was deleted meanwhile stays as it was.
    fn refresh(&mut self, stored: &Contents) {
        let Some(volumes) = &mut self.volumes else {
            return;
        };
        for mount in &self.facts.mounts {
            if let Some(object) = stored.get(mount) {
                volumes.insert(mount.clone(), Arc::clone(object));
            }
        }
    }

    /// A container reads what its volumes hold.
    fn start(&mut self) {
        self.holds.clone_from(&self.volumes);
    }
}
