//! Which planes belong to an issuance, and where their agents live.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use crate::plane_kind::PlaneKind;

/// Where the agent of a plane lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Agent {
    /// Which planes this entry is for. Every part is optional; all given parts must match. Empty: every plane.
    pub planes: PlaneMatch,

    /// The agent's namespace. May contain `{planeID}` and `{kind}` (the kind in lower case). Default: the guide's
    /// namespace for the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub namespace: Option<String>,

    /// The agent's Secret (type kubernetes.io/tls). May contain `{planeID}` and `{kind}`. Default: cluster-agent-tls.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,

    /// DNS names of the client certificate; none by default. May contain `{planeID}` and `{kind}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub dns_names: Vec<String>,

    /// URIs of the client certificate, for example `spiffe://example.org/plane/{planeID}`; none by default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 2048)))]
    pub uris: Vec<String>,
}

/// Which planes an entry of `agents` is for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlaneMatch {
    /// Kinds of plane resource, for example `DataPlane` or `ClusterDataPlane`. Empty: every kind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub kinds: Vec<PlaneKind>,

    /// Plane IDs. Empty: every plane ID.
    #[serde(rename = "planeIDs", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024), inner(length(min = 1, max = 63)))]
    pub plane_ids: Vec<String>,

    /// Labels that the plane resource must have.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub match_labels: std::collections::BTreeMap<String, String>,
}

/// Which plane resources belong to the issuance, and how they are wired.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Planes {
    /// Labels of the plane resources that belong to this issuance. Absent: every plane resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = known_operators)]
    pub selector: Option<LabelSelector>,

    /// How a plane's `spec.clusterAgent.clientCA` comes to hold the bundle.
    #[serde(rename = "clientCA")]
    pub client_ca: ClientCa,
}

/// How a plane's clientCA comes to hold the bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientCa {
    /// The bundle is written into each plane, as `value`. A plane that refers to the trust Secret is left as it is.
    #[default]
    Value,
    /// Each plane refers to the trust Secret, in the form its version knows (`secretRef` or `secretKeyRef`).
    SecretRef,
    /// Planes are read and never written.
    Unmanaged,
}

/// Kubernetes' own schema admits any text for an operator, and a selector with an unknown one selects nothing.
fn known_operators(schema: &mut Schema) {
    for place in ["", "/anyOf/0"] {
        let operator = "/properties/matchExpressions/items/properties/operator";
        let found = schema.pointer_mut(&format!("{place}{operator}"));
        if let Some(operator) = found.and_then(serde_json::Value::as_object_mut) {
            let known = serde_json::json!(["In", "NotIn", "Exists", "DoesNotExist"]);
            operator.insert("enum".into(), known);
        }
    }
}
