//! Restarts a workload, by naming in its pod template what its pods will load.

use external_ca_api::{MANAGER, MATERIAL_HASH_ANNOTATION};
use external_ca_core::model::{ObjectRef, Workload, WorkloadKind, facts};
use external_ca_core::plan::Restart;
use external_ca_core::{Problem, Reason};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::write::merge_spec;
use crate::cluster::Cluster;
use crate::context::Context;
use crate::declaration::Declaration;
use crate::error::Error;

/// Carries the step out.
pub async fn carry_out(
    context: &Context,
    declaration: &Declaration,
    step: &Restart,
) -> Result<Problem, Error> {
    let (cluster, workload) = (&context.cluster, &step.workload);
    let restarted = match workload.kind {
        WorkloadKind::Deployment => patch::<Deployment>(cluster, step, facts::deployment).await?,
        WorkloadKind::StatefulSet => {
            patch::<StatefulSet>(cluster, step, facts::stateful_set).await?
        }
        WorkloadKind::DaemonSet => patch::<DaemonSet>(cluster, step, facts::daemon_set).await?,
    };
    context.metrics.restarts.inc();
    tell_owner(context, declaration, &restarted).await;
    Ok(Problem::new(
        Reason::Restarted,
        format!("restarted {workload}: the material it mounts has changed"),
    ))
}

async fn patch<K>(
    cluster: &Cluster,
    step: &Restart,
    facts: fn(&K) -> Option<Workload>,
) -> Result<ObjectReference, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let ObjectRef {
        namespace, name, ..
    } = &step.workload.object;
    let annotations = json!({MATERIAL_HASH_ANNOTATION: step.material_hash});
    let spec = json!({"template": {"metadata": {"annotations": annotations}}});
    let api = cluster.api::<K>(namespace);
    let answer = merge_spec(&api, name, &step.resource_version, spec).await?;
    if let Some(workload) = facts(&answer) {
        cluster.wrote_workload(workload);
    }
    Ok(answer.object_ref(&()))
}

/// An Event on the workload too: its owner looks there, and not at the issuance.
async fn tell_owner(context: &Context, declaration: &Declaration, workload: &ObjectReference) {
    let event = Event {
        type_: EventType::Normal,
        reason: Reason::Restarted.to_string(),
        note: Some(format!(
            "restarted by {MANAGER} for {}: the material it mounts has changed",
            declaration.name()
        )),
        action: "Restart".into(),
        secondary: Some(declaration.reference()),
    };
    context.publish(&event, workload).await;
}
