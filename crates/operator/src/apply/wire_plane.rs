//! Writes a plane's clientCA.

use external_ca_core::model::{MaterialKind, MaterialRef};
use external_ca_core::plan::{WirePlane, Wiring};
use external_ca_core::{Problem, Reason};
use serde_json::json;

use super::preconditions::holds;
use super::write::merge_spec;
use crate::cluster::Cluster;
use crate::error::Error;

/// Carries the step out.
pub async fn carry_out(cluster: &Cluster, step: &WirePlane) -> Result<Problem, Error> {
    let plane = &step.plane;
    let Some(api) = cluster.plane_api(plane) else {
        return Err(Error::Changed);
    };
    let client_ca = match &step.client_ca {
        Wiring::Value(pem) => json!({"value": pem}),
        Wiring::Reference {
            field,
            secret,
            holds: needed,
        } => {
            let bundle = MaterialRef {
                kind: MaterialKind::Secret,
                object: secret.clone(),
            };
            if !holds(cluster, &bundle, needed).await {
                return Err(Error::Changed);
            }
            json!({
                "value": null,
                *field: {"name": secret.name, "namespace": secret.namespace, "key": "ca.crt"},
            })
        }
    };
    let spec = json!({"clusterAgent": {"clientCA": client_ca}});
    let written = merge_spec(&api, &plane.name, &step.resource_version, spec).await?;
    cluster.wrote_plane(plane.kind, &written);
    Ok(Problem::new(Reason::PlaneWired, format!("wired {plane}")))
}
