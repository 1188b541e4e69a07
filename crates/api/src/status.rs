use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plane_kind::PlaneKind;

/// What the operator last saw and did. Lists other than conditions are replaced as a whole at each write.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalCAIssuanceStatus {
    /// The generation of the spec that this status describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// One word for where the issuance stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,

    /// Ready, Reconciling, Stalled (kstatus), Issuing, IssuerReady, TrustDistributed, CertificatesReady, PlanesWired,
    /// RolloutsComplete; and ConsumersRunning, which is no part of Ready.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,

    /// The CA that signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<IssuerStatus>,

    /// What verifiers are told to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<TrustStatus>,

    /// Every certificate of the issuance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub certificates: Vec<CertificateStatus>,

    /// How many certificates are ready, as `<ready>/<wanted>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates_ready: Option<String>,

    /// Every selected plane resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub planes: Vec<PlaneStatus>,

    /// Workloads that mount material and have not yet loaded what is stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub rollouts: Vec<RolloutStatus>,

    /// How far the move to another CA has come; absent where none is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,

    /// When the next maintenance window opens; absent where nothing waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_window: Option<Time>,

    /// Fields that another manager put back after the operator had written them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub contested: Vec<Contested>,

    /// When the next certificate is due for renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_renewal: Option<Time>,

    /// How many entries of these lists stand here no more, because the object would grow too large; absent where every
    /// one does. What is not as it should be is listed first. Metrics tell of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<Omitted>,
}

/// How many entries were left out of each list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Omitted {
    /// Of `certificates`.
    #[schemars(range(max = 1_000_000))]
    pub certificates: u32,
    /// Of `planes`.
    #[schemars(range(max = 1_000_000))]
    pub planes: u32,
    /// Of `rollouts`.
    #[schemars(range(max = 1_000_000))]
    pub rollouts: u32,
    /// Of `contested`.
    #[schemars(range(max = 1_000_000))]
    pub contested: u32,
}

impl ExternalCAIssuanceStatus {
    /// The anchors of the bundle; none where none is known.
    pub fn anchors(&self) -> &[AnchorStatus] {
        self.trust.as_ref().map_or(&[], |trust| &trust.anchors)
    }

    /// Those on their way out.
    pub fn retiring(&self) -> impl Iterator<Item = &AnchorStatus> {
        let anchors = self.anchors().iter();
        anchors.filter(|anchor| anchor.state == AnchorState::Retiring)
    }
}

/// One word for where the issuance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing can be done until a person acts; the Stalled condition says what.
    Stalled,
    /// Certificates, bundles or planes are being written.
    Issuing,
    /// Workloads are being restarted, or peers are awaited.
    RollingOut,
    /// Verifiers are moving to another CA.
    Rotating,
    /// All is as wanted.
    Ready,
    /// `spec.paused` is true.
    Paused,
}

/// The CA that signs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerStatus {
    /// Subject (RFC 4514).
    pub subject: String,
    /// SHA-256 over the certificate's DER, in hex.
    pub fingerprint: String,
    /// End of validity: the earliest in the CA's chain.
    pub not_after: Time,
}

/// What verifiers are told to trust.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustStatus {
    /// The anchors of the bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub anchors: Vec<AnchorStatus>,
    /// SHA-256 fingerprints, in hex, of anchors that have left the bundle: at most the last 32. Where one turns up again, an
    /// old manifest for instance, it is taken out again as soon as nothing depends on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub former: Vec<String>,
    /// Where bundles of the issuance stand, as `<Kind> <namespace>/<name>`: they count as long as something mounts them, also
    /// once their name is wanted no longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub bundles: Vec<String>,
    /// Peers that a person has confirmed (`pki.openchoreo.dev/proceed`) to have loaded what is stored: at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub confirmed: Vec<ConfirmedPeer>,
}

/// A peer whose pods the operator does not see, and that a person has confirmed to have loaded what is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmedPeer {
    /// Which one, as conditions name it.
    pub peer: String,
    /// When. What has changed since counts as not loaded.
    pub since: Time,
}

/// One anchor of the bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnchorStatus {
    /// Subject (RFC 4514).
    pub subject: String,
    /// SHA-256 over the certificate's DER, in hex.
    pub fingerprint: String,
    /// Whether the anchor signs, will sign, or is on its way out.
    pub state: AnchorState,
    /// End of validity.
    pub not_after: Time,
    /// Since when it is in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Who still depends on a Retiring anchor: at most ten names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
}

/// Where an anchor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AnchorState {
    /// It verifies what the issuer signs.
    Active,
    /// It is trusted beforehand (`trust.additionalAnchors`).
    Next,
    /// It leaves the bundle as soon as nothing depends on it.
    Retiring,
}

/// How far the move to another CA has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// Since when it is under way.
    pub since: Time,
    /// Certificates that the issuer's CA has signed, as `<moved>/<all>`.
    pub certificates: String,
    /// Workloads that have loaded all that is stored, as `<moved>/<all>`.
    pub workloads: String,
    /// What happens next, or what it waits for.
    pub next: String,
}

/// One certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateStatus {
    /// The Secret, as `<namespace>/<name>`.
    pub target: String,
    /// Common name.
    pub common_name: String,
    /// Serial number in hex; of the certificate that was lost, where none is stored now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Fingerprint of the anchor that verifies it, the first 16 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// End of validity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// When it will be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
    /// Whether it is as wanted.
    pub state: CertificateState,
    /// Why it is not: one of the reason words of docs/troubleshooting.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a certificate is as wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CertificateState {
    /// As wanted.
    Ready,
    /// About to be issued.
    Pending,
    /// Must wait until verifiers have loaded the CA.
    Waiting,
    /// Cannot be issued; the reason says why.
    Failed,
}

/// One plane resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlaneStatus {
    /// Kind of the plane resource.
    pub kind: PlaneKind,
    /// Its namespace; absent for cluster-scoped kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Its plane ID.
    #[serde(rename = "planeID")]
    pub plane_id: String,
    /// Whether its clientCA holds the bundle.
    pub wired: bool,
    /// Why it does not: one of the reason words of docs/troubleshooting.md.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether OpenChoreo reports an agent of it as connected; absent where it reports nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_connected: Option<bool>,
}

/// A workload that has not yet loaded what is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The workload, as `<Kind> <namespace>/<name>`.
    pub workload: String,
    /// Where its rollout is.
    #[serde(default)]
    pub phase: RolloutPhase,
    /// What it is waiting for.
    pub state: String,
    /// Since when.
    pub since: Time,
}

/// Where a rollout is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutPhase {
    /// It waits for its restart.
    #[default]
    Waiting,
    /// Its pods are being replaced.
    Running,
    /// It has not finished within `rollout.timeout`.
    Stuck,
    /// `rollout.strategy` is None: a person must restart it.
    RestartNeeded,
}

/// A field that another manager put back after the operator had written it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Contested {
    /// The object, as `<Kind> <namespace>/<name>`.
    pub object: String,
    /// The field manager that wrote it last.
    pub manager: String,
    /// When that manager wrote it, as `metadata.managedFields` tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Time>,
    /// How often it was put back. From 2 on the operator leaves the field alone.
    #[schemars(range(max = 1000))]
    pub count: u32,
    /// When the operator last repaired it.
    pub last_time: Time,
}
