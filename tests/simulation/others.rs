//! What others do with workloads and pods: controllers that are replaced, pods that nobody manages.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_core::model::{Controller, ObjectRef, WorkloadKind, WorkloadRef};
use fastrand::Rng;

use crate::cluster::{AGENTS, Cluster, HOME, agent_leaf, bundle, gateway_leaf, trust_secret};
use crate::pods::Process;

#[derive(Clone, Copy, Debug)]
pub enum Other {
    /// `kubectl delete --cascade=orphan`, and the same manifest applied again.
    Orphan(usize),
    /// `kubectl rollout pause`, or `resume`.
    Pause(usize),
    /// `kubectl replace` of the manifest, without what the operator wrote into its template.
    Replace(usize),
    /// Somebody makes a pod that mounts what the domain writes.
    Pod(usize, Maker),
    /// Somebody deletes a pod.
    DeletePod(usize),
    /// A workload's new pods lack a Secret of others, or no longer.
    Lacks(usize),
}

/// What makes a pod that no workload has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    Nothing,
    /// Its pods end by themselves.
    Job,
    /// The same, and they can start without what they mount.
    Optional,
}

/// Of what kind the workloads are, in one story, in their order.
pub type Kinds = [Kind; 4];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Deployment,
    StatefulSet,
    DaemonSet,
    /// A DaemonSet whose old pods people delete.
    OnDelete,
}

impl Kind {
    pub fn draw(rng: &mut Rng) -> Self {
        match rng.u8(..8) {
            0 => Self::StatefulSet,
            1 => Self::DaemonSet,
            2 => Self::OnDelete,
            _ => Self::Deployment,
        }
    }
}

pub fn carry_out(cluster: &mut Cluster, other: Other) {
    cluster.say(|| format!("somebody: {other:?}"));
    match other {
        Other::Orphan(index) => {
            let workload = cluster.workload(index);
            match cluster.deployments[&workload].is_gone {
                true => adopt(cluster, &workload),
                false => orphan(cluster, &workload),
            }
        }
        Other::Pause(index) => {
            let workload = cluster.workload(index);
            cluster.touch(&workload, |one| one.pause(!one.is_paused()));
        }
        Other::Replace(index) => {
            let workload = cluster.workload(index);
            cluster.touch(&workload, |one| one.replace());
        }
        Other::Pod(index, maker) => make_pod(cluster, index, maker),
        Other::DeletePod(index) => {
            let version = cluster.next_number();
            let count = cluster.pods.len().max(1);
            if let Some(pod) = cluster.pods.get_mut(index % count) {
                pod.terminate(version);
            }
        }
        Other::Lacks(index) => {
            let workload = cluster.workload(index);
            let deployment = cluster.deployments.get_mut(&workload).unwrap();
            deployment.lacks = !deployment.lacks;
        }
    }
}

/// The pods of a Deployment stay with its ReplicaSet, whose name tells the Deployment's; those of other kinds are nobody's.
fn orphan(cluster: &mut Cluster, workload: &WorkloadRef) {
    cluster.touch(workload, |one| one.is_gone = true);
    let version = cluster.next_number();
    for pod in cluster.pods.iter_mut().filter(|pod| pod.is_of(workload)) {
        pod.orphan_of = Some(workload.clone());
        if workload.kind != WorkloadKind::Deployment {
            pod.belong(Controller::Nothing, version);
        }
    }
}

/// What is made anew takes the pods that its selector finds.
fn adopt(cluster: &mut Cluster, workload: &WorkloadRef) {
    cluster.touch(workload, |one| {
        one.is_gone = false;
        one.replace();
    });
    let version = cluster.next_number();
    for pod in &mut cluster.pods {
        if pod.orphan_of.as_ref() == Some(workload) {
            pod.orphan_of = None;
            pod.belong(Controller::Workload(workload.clone()), version);
        }
    }
}

fn make_pod(cluster: &mut Cluster, index: usize, maker: Maker) {
    let (_, namespace) = AGENTS[index % AGENTS.len()];
    let all = [
        (namespace, vec![bundle(namespace)]),
        (namespace, vec![bundle(namespace), agent_leaf(namespace)]),
        (HOME, vec![trust_secret()]),
        (HOME, vec![gateway_leaf()]),
    ];
    let (namespace, mounts) = &all[index / AGENTS.len() % all.len()];
    let version = cluster.next_number();
    let controller = match maker {
        Maker::Nothing => Controller::Nothing,
        Maker::Job | Maker::Optional => Controller::Other("Job somebody".into()),
    };
    let mut pod = Process::new(
        ObjectRef::new(*namespace, format!("somebody-{version}")),
        version,
        cluster.now,
        controller,
        mounts.iter().cloned().collect(),
        std::collections::BTreeMap::new(),
    );
    pod.ends = maker != Maker::Nothing;
    if maker == Maker::Optional {
        Arc::make_mut(&mut pod.facts).optional = mounts.iter().cloned().collect::<BTreeSet<_>>();
    }
    cluster.pods.push(pod);
}

/// In the end what nobody manages is gone, and what was taken away is back.
pub fn put_right(cluster: &mut Cluster) {
    let workloads: Vec<WorkloadRef> = cluster.deployments.keys().cloned().collect();
    for workload in workloads {
        if cluster.deployments[&workload].is_gone {
            adopt(cluster, &workload);
        }
        cluster.touch(&workload, |one| {
            (one.stuck, one.lacks) = (false, false);
            one.pause(false);
        });
    }
    for index in 0..cluster.pods.len() {
        let version = cluster.next_number();
        let pod = &mut cluster.pods[index];
        if !matches!(pod.facts.controller, Controller::Workload(_)) {
            pod.terminate(version);
        }
    }
}

/// People delete the old pods of workloads that leave it to them.
pub fn delete_old(cluster: &mut Cluster) {
    let version = cluster.next_number();
    for deployment in cluster.deployments.values().filter(|one| one.by_hand) {
        let mut pods = cluster.pods.iter_mut();
        if let Some(pod) = pods.find(|pod| deployment.has_old(pod)) {
            pod.terminate(version);
        }
    }
}
