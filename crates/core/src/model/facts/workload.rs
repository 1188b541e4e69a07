//! The facts of Deployments, StatefulSets and DaemonSets.

use std::collections::BTreeMap;

use external_ca_api::MATERIAL_HASH_ANNOTATION;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::arguments::agent;
use super::loaded::decode_loaded;
use super::mounts::Mounts;
use crate::model::{ObjectRef, RolloutState, Workload, WorkloadKind, WorkloadRef};

/// The facts of a Deployment.
pub fn deployment(object: &Deployment) -> Option<Workload> {
    let (spec, status) = (
        object.spec.as_ref()?,
        object.status.clone().unwrap_or_default(),
    );
    let wanted = spec.replicas.unwrap_or(1);
    let state = if spec.paused == Some(true) {
        RolloutState::Running("it is paused (spec.paused)".into())
    } else {
        completion(
            &object.metadata,
            status.observed_generation,
            wanted,
            [
                ("updated", status.updated_replicas.unwrap_or(0)),
                ("present", status.replicas.unwrap_or(0)),
                ("available", status.available_replicas.unwrap_or(0)),
            ],
        )
    };
    let state = match (state, status.terminating_replicas.unwrap_or(0)) {
        (RolloutState::Complete, left) if left > 0 => {
            RolloutState::Running(format!("{left} old pods are still terminating"))
        }
        (state, _) => state,
    };
    let conditions = status.conditions.unwrap_or_default();
    let progressing = conditions.iter().find(|one| one.type_ == "Progressing");
    workload(
        WorkloadKind::Deployment,
        &object.metadata,
        &spec.template,
        state,
    )
    .map(|workload| Workload {
        rollout_since: progressing.and_then(|one| Some(one.last_update_time.as_ref()?.0)),
        ..workload
    })
}

/// The facts of a StatefulSet.
pub fn stateful_set(object: &StatefulSet) -> Option<Workload> {
    let (spec, status) = (
        object.spec.as_ref()?,
        object.status.clone().unwrap_or_default(),
    );
    let mut state = completion(
        &object.metadata,
        status.observed_generation,
        spec.replicas.unwrap_or(1),
        [
            ("updated", status.updated_replicas.unwrap_or(0)),
            ("present", status.replicas),
            ("available", status.available_replicas.unwrap_or(0)),
        ],
    );
    if state == RolloutState::Complete && status.current_revision != status.update_revision {
        state = RolloutState::Running("its current revision is not the updated one".into());
    }
    let strategy = spec.update_strategy.as_ref();
    let on_delete = strategy.and_then(|strategy| strategy.type_.as_deref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let partition = rolling.and_then(|rolling| rolling.partition);
    if let (RolloutState::Running(why), Some(partition @ 1..)) = (&mut state, partition) {
        why.push_str(&format!(
            "; its partition {partition} (spec.updateStrategy.rollingUpdate.partition) keeps pods of lower ordinals as they are: set it to 0"
        ));
    }
    workload(
        WorkloadKind::StatefulSet,
        &object.metadata,
        &spec.template,
        delete_by_hand(state, on_delete),
    )
}

/// The facts of a DaemonSet.
pub fn daemon_set(object: &DaemonSet) -> Option<Workload> {
    let (spec, status) = (
        object.spec.as_ref()?,
        object.status.clone().unwrap_or_default(),
    );
    let state = completion(
        &object.metadata,
        status.observed_generation,
        status.desired_number_scheduled,
        [
            ("updated", status.updated_number_scheduled.unwrap_or(0)),
            ("present", status.current_number_scheduled),
            ("available", status.number_available.unwrap_or(0)),
        ],
    );
    let on_delete = spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref());
    workload(
        WorkloadKind::DaemonSet,
        &object.metadata,
        &spec.template,
        delete_by_hand(state, on_delete),
    )
}

fn delete_by_hand(state: RolloutState, strategy: Option<&str>) -> RolloutState {
    match state {
        RolloutState::Running(why) if strategy == Some("OnDelete") => RolloutState::Running(
            format!("{why}; its update strategy is OnDelete: delete its pods by hand"),
        ),
        state => state,
    }
}

/// A rollout is complete when the controller has seen the newest template and every count is the wanted one.
fn completion(
    metadata: &ObjectMeta,
    observed: Option<i64>,
    wanted: i32,
    counts: [(&str, i32); 3],
) -> RolloutState {
    if observed < metadata.generation {
        return RolloutState::Running("its controller has not yet seen the newest template".into());
    }
    match counts.into_iter().find(|(_, count)| *count != wanted) {
        Some((what, count)) => {
            RolloutState::Running(format!("{count} pods {what}, {wanted} wanted"))
        }
        None => RolloutState::Complete,
    }
}

fn workload(
    kind: WorkloadKind,
    metadata: &ObjectMeta,
    template: &PodTemplateSpec,
    rollout: RolloutState,
) -> Option<Workload> {
    let object = ObjectRef::new(metadata.namespace.clone()?, metadata.name.clone()?);
    let Mounts {
        all: mounts,
        optional,
    } = Mounts::of(&object.namespace, template);
    let annotation = template
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.annotations.as_ref());
    let loaded = annotation
        .and_then(|all| all.get(MATERIAL_HASH_ANNOTATION))
        .map_or_else(BTreeMap::new, |text| decode_loaded(&object.namespace, text));
    let containers = template.spec.iter().flat_map(|spec| &spec.containers);
    Some(Workload {
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        mounts,
        optional,
        loaded,
        rollout,
        rollout_since: None,
        agent: agent(containers.map(|one| {
            let env = one.env.as_deref();
            (one.command.as_deref(), one.args.as_deref(), env)
        })),
        workload: WorkloadRef { kind, object },
    })
}
