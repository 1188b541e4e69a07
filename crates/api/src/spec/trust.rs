//! Where bundles are published, and what stands in them besides the CA.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the CA bundle is published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Trust {
    /// ConfigMap with the bundle under the key `ca.crt`, in the issuance's namespace and in every agent's.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub config_map_name: String,

    /// Secret with the same bundle under `ca.crt` and without a key, in the same namespaces.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub secret_name: String,

    /// CA certificates that are trusted beforehand, besides the issuer's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub additional_anchors: Vec<AdditionalAnchor>,
}

impl Default for Trust {
    fn default() -> Self {
        Self {
            config_map_name: "cluster-gateway-ca".into(),
            secret_name: "cluster-gateway-ca".into(),
            additional_anchors: Vec::new(),
        }
    }
}

/// CA certificates that are trusted beforehand: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.pem) != has(self.configMapRef)").message("exactly one of pem and configMapRef must be set"))]
pub struct AdditionalAnchor {
    /// CA certificates in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65536))]
    pub pem: Option<String>,

    /// A ConfigMap of the issuance's namespace that holds CA certificates in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<ConfigMapKeyRef>,
}

/// A key of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the ConfigMap.
    #[serde(default = "ca_crt")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_crt() -> String {
    "ca.crt".into()
}
