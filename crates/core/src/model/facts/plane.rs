//! The facts of plane resources.

use external_ca_api::PlaneKind;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::managed::last_manager;
use super::material::{MAX_PEM, certificates};
use crate::model::{ObjectRef, Plane, PlaneRef};

/// A plane's clientCA is larger than what is read of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "its spec.clusterAgent.clientCA.value has {size} bytes, and no more than {MAX_PEM} are read; take out the CAs that its agent does not need"
)]
pub struct ClientCaTooLarge {
    /// How large it is.
    pub size: usize,
}

/// The facts of a plane resource. `reference_field` is how its version spells a Secret reference.
pub fn plane(
    kind: PlaneKind,
    metadata: &ObjectMeta,
    object: &Value,
    reference_field: Option<&'static str>,
) -> Result<Option<Plane>, ClientCaTooLarge> {
    let Some(name) = metadata.name.clone() else {
        return Ok(None);
    };
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(String::from)
    };
    let client_ca = object
        .pointer("/spec/clusterAgent/clientCA")
        .unwrap_or(&Value::Null);
    let value = client_ca.get("value").and_then(text);
    let size = value.as_ref().map_or(0, String::len);
    if size > MAX_PEM {
        return Err(ClientCaTooLarge { size });
    }
    let reference = ["secretKeyRef", "secretRef"].into_iter().find_map(|field| {
        let reference = client_ca.get(field)?;
        let namespace = reference
            .get("namespace")
            .and_then(text)
            .or_else(|| metadata.namespace.clone());
        let secret = ObjectRef::new(
            namespace.unwrap_or_default(),
            reference.get("name").and_then(text)?,
        );
        Some((secret, reference.get("key").and_then(text)?))
    });
    let (manager, changed) = last_manager(
        metadata.managed_fields.as_deref().unwrap_or_default(),
        |fields| {
            fields
                .pointer("/f:spec/f:clusterAgent/f:clientCA/f:value")
                .is_some()
        },
    );
    Ok(Some(Plane {
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        plane_id: object
            .pointer("/spec/planeID")
            .and_then(text)
            .unwrap_or_else(|| name.clone()),
        plane: PlaneRef {
            kind,
            namespace: metadata.namespace.clone(),
            name,
        },
        labels: metadata.labels.clone().unwrap_or_default(),
        anchors: value
            .as_ref()
            .map_or_else(Vec::new, |text| certificates(text.as_bytes())),
        value,
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        reference,
        reference_field,
        manager,
        changed,
        agent_connected: object
            .pointer("/status/agentConnection/connected")
            .and_then(Value::as_bool),
        agent_disconnected: connection_time(object, "lastDisconnectedTime"),
        agent_heartbeat: connection_time(object, "lastHeartbeatTime"),
    }))
}

fn connection_time(object: &Value, field: &str) -> Option<Timestamp> {
    let connection = object.pointer("/status/agentConnection")?;
    connection.get(field)?.as_str()?.parse().ok()
}
