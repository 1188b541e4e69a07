//! The facts of pods, from the few fields of them that are read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use external_ca_api::MATERIAL_HASH_ANNOTATION;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{self, EnvFromSource, EnvVar, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::Resource;
use serde::Deserialize;

use super::arguments::agent;
use super::loaded::decode_loaded;
use super::mounts::{Mounts, Reader};
use crate::model::{Controller, Life, ObjectRef, Pod, Unready, WorkloadKind, WorkloadRef};

/// Of a Deployment's pods and their ReplicaSets alike.
const TEMPLATE_HASH: &str = "pod-template-hash";
/// Of a StatefulSet's and a DaemonSet's pods.
const REVISION_HASH: &str = "controller-revision-hash";
/// The ConfigMap that every namespace has and every pod mounts.
const ROOT_CA: &str = "kube-root-ca.crt";

/// What is read of a pod: the rest of it is dropped while it is decoded.
#[derive(Clone, Debug, Deserialize)]
pub struct SlimPod {
    /// Its metadata.
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Option<String>,
    restart_policy: Option<String>,
    volumes: Option<Vec<Volume>>,
    containers: Vec<Container>,
    init_containers: Option<Vec<Container>>,
    ephemeral_containers: Option<Vec<Container>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    command: Option<Vec<String>>,
    args: Option<Vec<String>>,
    restart_policy: Option<String>,
    restart_policy_rules: Option<Vec<serde::de::IgnoredAny>>,
    env: Option<Vec<EnvVar>>,
    env_from: Option<Vec<EnvFromSource>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<String>,
    conditions: Option<Vec<Condition>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    r#type: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
    last_transition_time: Option<Time>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    restart_count: i32,
    state: ContainerState,
    last_state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    waiting: Option<Waiting>,
    running: Option<serde::de::IgnoredAny>,
    terminated: Option<Terminated>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Waiting {
    reason: Option<String>,
    message: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i32,
}

impl Resource for SlimPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        v1::Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        v1::Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        v1::Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        v1::Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// The facts of a pod; none where its metadata names none.
pub fn pod(object: &SlimPod) -> Option<Pod> {
    let SlimPod {
        metadata,
        spec,
        status,
    } = object;
    let pod = ObjectRef::new(metadata.namespace.clone()?, metadata.name.clone()?);
    let Mounts {
        mut all,
        mut optional,
    } = Mounts::of(&pod.namespace, spec);
    all.retain(|mount| mount.object.name != ROOT_CA);
    optional.retain(|mount| all.contains(mount));
    let annotations = metadata.annotations.as_ref();
    let loaded = annotations
        .and_then(|all| all.get(MATERIAL_HASH_ANNOTATION))
        .map_or_else(BTreeMap::new, |text| decode_loaded(&pod.namespace, text));
    Some(Pod {
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        controller: controller(&pod.namespace, metadata),
        revision: revision(metadata),
        node: spec.node_name.clone(),
        agent: agent(spec.containers.iter().map(|one| {
            let env = one.env.as_deref();
            (one.command.as_deref(), one.args.as_deref(), env)
        })),
        mounts: all,
        optional,
        loaded,
        life: life(spec, status, metadata.deletion_timestamp.is_some()),
        unready: unready(status),
        is_terminating: metadata.deletion_timestamp.is_some(),
        pod,
    })
}

impl Reader for Spec {
    fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.iter().flatten()
    }

    fn environments(&self) -> impl Iterator<Item = (&[EnvVar], &[EnvFromSource])> {
        let containers = self.containers.iter();
        let others = [&self.init_containers, &self.ephemeral_containers];
        containers
            .chain(others.into_iter().flatten().flatten())
            .map(|one| {
                let (env, from) = (one.env.as_deref(), one.env_from.as_deref());
                (env.unwrap_or_default(), from.unwrap_or_default())
            })
    }
}

/// A Deployment's pods belong to a ReplicaSet, whose name ends in the hash that is also the pods' label.
fn controller(namespace: &str, metadata: &ObjectMeta) -> Controller {
    let mut owners = metadata.owner_references.iter().flatten();
    let Some(found) = owners.find(|owner| owner.controller == Some(true)) else {
        return Controller::Nothing;
    };
    let workload = |kind, name: &str| {
        Controller::Workload(WorkloadRef {
            kind,
            object: ObjectRef::new(namespace, name),
        })
    };
    let OwnerReference {
        api_version,
        kind,
        name,
        ..
    } = found;
    let labels = metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get(TEMPLATE_HASH));
    let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
    match (kind.as_str(), deployment) {
        _ if !api_version.starts_with("apps/") => Controller::Other(format!("{kind} {name}")),
        ("ReplicaSet", Some(deployment)) => workload(WorkloadKind::Deployment, deployment),
        ("StatefulSet", _) => workload(WorkloadKind::StatefulSet, name),
        ("DaemonSet", _) => workload(WorkloadKind::DaemonSet, name),
        _ => Controller::Other(format!("{kind} {name}")),
    }
}

fn revision(metadata: &ObjectMeta) -> Option<String> {
    let labels = metadata.labels.as_ref()?;
    let hashes = [TEMPLATE_HASH, REVISION_HASH].into_iter();
    hashes.filter_map(|hash| labels.get(hash)).next().cloned()
}

fn unready(status: &Status) -> Unready {
    let ready = status.condition("Ready");
    let containers = [&status.init_container_statuses, &status.container_statuses];
    let mut waiting = containers
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|one| one.state.waiting.as_ref()?.reason.clone());
    let since = ready.filter(|one| one.status == "False");
    Unready {
        since: since.and_then(|one| Some(one.last_transition_time.as_ref()?.0)),
        why: waiting.next(),
    }
}

impl Status {
    fn condition(&self, kind: &str) -> Option<&Condition> {
        let mut conditions = self.conditions.iter().flatten();
        conditions.find(|one| one.r#type == kind)
    }
}

impl Spec {
    /// Whether a container that has ended with this code stays so. One that has a policy of its own may start again.
    fn stays_ended(&self, exit_code: i32) -> bool {
        let may_restart = |one: &Container| {
            let policy = one.restart_policy.as_deref();
            policy.is_some_and(|policy| policy != "Never") || one.restart_policy_rules.is_some()
        };
        match self.restart_policy.as_deref() {
            _ if self.containers.iter().any(may_restart) => false,
            Some("Never") => true,
            Some("OnFailure") => exit_code == 0,
            _ => false,
        }
    }
}

fn life(spec: &Spec, status: &Status, is_terminating: bool) -> Life {
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Life::Ended;
    }
    let main = status.container_statuses.as_deref().unwrap_or_default();
    let init = status
        .init_container_statuses
        .as_deref()
        .unwrap_or_default();
    let ended = |one: &ContainerStatus| {
        let end = one.state.terminated.as_ref();
        end.is_some_and(|end| is_terminating || spec.stays_ended(end.exit_code))
    };
    // Sidecars are init containers that go on running.
    let idle = |one: &ContainerStatus| one.state.running.is_none();
    if !main.is_empty()
        && main.len() == spec.containers.len()
        && main.iter().all(ended)
        && init.iter().all(idle)
    {
        return Life::Ended;
    }
    let has_started = |one: &ContainerStatus| {
        let states = [&one.state, &one.last_state];
        let any = states
            .iter()
            .any(|state| state.running.is_some() || state.terminated.is_some());
        any || one.restart_count > 0
    };
    if !main.iter().chain(init).any(has_started) {
        return Life::Waiting(why(main, init, status));
    }
    let ready = status.condition("Ready");
    Life::Running {
        ready: ready.is_some_and(|one| one.status == "True"),
    }
}

/// Why no container has started: what a container waits for, or why no node was found.
fn why(main: &[ContainerStatus], init: &[ContainerStatus], status: &Status) -> Option<String> {
    let waiting = init.iter().chain(main).find_map(|one| {
        let waiting = one.state.waiting.as_ref()?;
        Some((waiting.reason.clone()?, waiting.message.clone()))
    });
    let unscheduled = || {
        let found = status.condition("PodScheduled")?;
        let found = Some(found).filter(|one| one.status == "False")?;
        Some((found.reason.clone()?, found.message.clone()))
    };
    let (reason, message) = waiting.or_else(unscheduled)?;
    Some(match message {
        Some(message) => format!("{reason}: {message}"),
        None => reason,
    })
}
