//! What an issuance asks for.

mod certificates;
mod issuer;
mod planes;
mod rollout;
mod trust;

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::status::ExternalCAIssuanceStatus;

pub use certificates::*;
pub use issuer::*;
pub use planes::*;
pub use rollout::*;
pub use trust::*;

/// One trust domain of OpenChoreo's cluster gateway and cluster agents: which CA signs, which certificates exist, who
/// trusts what. Everything but the issuer has the value of OpenChoreo's external CA guide as its default.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "pki.openchoreo.dev",
    version = "v1alpha1",
    kind = "ExternalCAIssuance",
    plural = "externalcaissuances",
    singular = "externalcaissuance",
    shortname = "xca",
    category = "openchoreo",
    namespaced,
    status = "ExternalCAIssuanceStatus",
    derive = "PartialEq",
    doc = "An ExternalCAIssuance issues, distributes, renews and wires the mutual-TLS material of OpenChoreo's cluster gateway and cluster agents from a CA that the platform team brings.",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"CA-Expiry","type":"string","jsonPath":".status.issuer.notAfter"}"#,
    printcolumn = r#"{"name":"Next-Renewal","type":"string","jsonPath":".status.nextRenewal"}"#,
    printcolumn = r#"{"name":"Certificates","type":"string","jsonPath":".status.certificatesReady"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Issuer","type":"string","priority":1,"jsonPath":".status.issuer.subject"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","priority":1,"jsonPath":".status.phase"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.issuer.caSecret)").message("exactly one issuer must be set: caSecret"),
    validation = Rule::new("has(self.issuer.caSecret) == has(oldSelf.issuer.caSecret)").message("the kind of issuer is immutable: create another issuance")
)]
pub struct ExternalCAIssuanceSpec {
    /// What signs the certificates. Exactly one issuer must be set; its kind cannot be changed later.
    pub issuer: Issuer,

    /// Applies to every certificate of this issuance.
    #[serde(default)]
    pub certificate_defaults: CertificateDefaults,

    /// The cluster gateway's server certificate, in the issuance's namespace.
    #[serde(default)]
    pub gateway: Gateway,

    /// Where a plane's agent lives; the first entry that selects the plane wins. After the list come the guide's
    /// defaults: DataPlane in openchoreo-data-plane, BuildPlane in openchoreo-build-plane, WorkflowPlane in
    /// openchoreo-workflow-plane, ObservabilityPlane in openchoreo-observability-plane, each with the Secret
    /// cluster-agent-tls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub agents: Vec<Agent>,

    /// Which plane resources belong to this issuance, and how their clientCA is wired.
    #[serde(default)]
    pub planes: Planes,

    /// Where the CA bundle is published for agents and for the control plane.
    #[serde(default)]
    pub trust: Trust,

    /// Further certificates, besides the gateway's and the agents'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub certificates: Vec<Certificate>,

    /// How workloads that mount changed material are restarted.
    #[serde(default)]
    pub rollout: Rollout,

    /// How one CA takes the place of another.
    #[serde(default)]
    pub rotation: Rotation,

    /// Stops every write of this issuance except its status. Nothing is renewed while it is true.
    #[serde(default)]
    pub paused: bool,
}
