use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, ExternalCAIssuanceStatus};

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

/// What signs the certificates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Issuer {
    /// A CA certificate with its key in a Secret of the issuance's own namespace.
    CaSecret(CaSecret),
}

/// A Secret that holds a CA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaSecret {
    /// Name of a Secret in the issuance's namespace: `tls.crt` (the CA certificate, with its chain if it is an
    /// intermediate), `tls.key` (its unencrypted PEM key) and optionally `ca.crt` (the root). Replacing its content
    /// moves every certificate to the new CA.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,

    /// Makes a CA (RSA 4096, ten years, CN=openchoreo-cluster-gateway-ca) where the Secret does not exist, and the next
    /// one ahead of its end or when the annotation `pki.openchoreo.dev/rotate` asks for it. A CA that the operator did
    /// not make is never replaced.
    #[serde(default)]
    pub generate: bool,
}

/// Defaults for every certificate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.renewBefore) && has(self.renewBeforePercentage))").message("renewBefore and renewBeforePercentage exclude each other"),
    validation = Rule::new("!has(self.renewBefore) || duration(self.renewBefore).getSeconds() * 10 <= duration(self.duration).getSeconds() * 9").message("renewBefore must be at most nine tenths of duration"),
    validation = Rule::new("duration(self.duration) >= duration('5m')").message("duration must be at least 5m")
)]
pub struct CertificateDefaults {
    /// The private key of each certificate.
    #[serde(default)]
    pub private_key: PrivateKey,

    /// How long a certificate is valid, for example `8760h`. Shortened where the CA ends earlier.
    #[serde(default = "one_year")]
    pub duration: Duration,

    /// How long before its end a certificate is renewed, for example `2920h`; at most nine tenths of the duration. Default:
    /// a third of the duration. A small jitter comes on top, so that renewals spread. Whatever the numbers, a certificate
    /// serves at least a tenth of its life before the next one is issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<Duration>,

    /// The same as a share of the duration, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 90))]
    pub renew_before_percentage: Option<u8>,

    /// Subject fields besides the common name.
    #[serde(default)]
    pub subject: Subject,
}

impl Default for CertificateDefaults {
    fn default() -> Self {
        Self {
            private_key: PrivateKey::default(),
            duration: one_year(),
            renew_before: None,
            renew_before_percentage: None,
            subject: Subject::default(),
        }
    }
}

fn one_year() -> Duration {
    Duration::from_hours(8760)
}

/// Kind of private key.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.size) || (self.algorithm == 'RSA' ? self.size in [2048, 3072, 4096, 8192] : self.algorithm == 'ECDSA' ? self.size in [256, 384, 521] : false)").message("size must be 2048, 3072, 4096 or 8192 for RSA, 256, 384 or 521 for ECDSA, and absent for Ed25519"))]
pub struct PrivateKey {
    /// Key algorithm.
    #[serde(default)]
    pub algorithm: KeyAlgorithm,

    /// RSA: 2048 (default), 3072, 4096 or 8192 bits. ECDSA: the curve P-256 (default), P-384 or P-521. Ed25519: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,

    /// Always: each renewal makes a new key. Never: a renewal keeps the key that is in the Secret.
    #[serde(default)]
    pub rotation_policy: RotationPolicy,
}

/// Algorithm of a private key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum KeyAlgorithm {
    /// RSA, 2048 bits unless said otherwise.
    #[default]
    #[serde(rename = "RSA")]
    Rsa,
    /// ECDSA, P-256 unless said otherwise.
    #[serde(rename = "ECDSA")]
    Ecdsa,
    /// Ed25519.
    Ed25519,
}

/// Whether a renewal makes a new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationPolicy {
    /// Each renewal makes a new key.
    #[default]
    Always,
    /// A renewal keeps the key that is in the Secret, where it still has the wanted algorithm and size.
    Never,
}

/// Subject fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Subject {
    /// Organization (O) attributes.
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)))]
    pub organizations: Vec<String>,
}

impl Default for Subject {
    fn default() -> Self {
        Self {
            organizations: vec!["OpenChoreo".into()],
        }
    }
}

/// The cluster gateway's server certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Gateway {
    /// Name of the Secret (type kubernetes.io/tls) in the issuance's namespace.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub secret_name: String,

    /// Common name (CN) of the certificate.
    #[schemars(length(min = 1, max = 64))]
    pub common_name: String,

    /// DNS names of the certificate. Default: cluster-gateway.<namespace>.svc and
    /// cluster-gateway.<namespace>.svc.cluster.local.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub dns_names: Vec<String>,

    /// IP addresses of the certificate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 2, max = 45)))]
    pub ip_addresses: Vec<String>,
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            secret_name: "cluster-gateway-tls".into(),
            common_name: "cluster-gateway".into(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
        }
    }
}

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

/// Kind of an OpenChoreo plane resource.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[allow(missing_docs)]
pub enum PlaneKind {
    DataPlane,
    BuildPlane,
    WorkflowPlane,
    ObservabilityPlane,
    ClusterDataPlane,
    ClusterBuildPlane,
    ClusterWorkflowPlane,
    ClusterObservabilityPlane,
}

/// Which plane resources belong to the issuance, and how they are wired.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Planes {
    /// Labels of the plane resources that belong to this issuance. Absent: every plane resource.
    #[serde(skip_serializing_if = "Option::is_none")]
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

/// A further certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Name of this entry, unique in the list.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,

    /// What the certificate is for.
    #[schemars(length(min = 1, max = 2))]
    pub usages: Vec<Usage>,

    /// Common name (CN). Default: the entry's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub common_name: Option<String>,

    /// DNS names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub dns_names: Vec<String>,

    /// IP addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 2, max = 45)))]
    pub ip_addresses: Vec<String>,

    /// URIs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 2048)))]
    pub uris: Vec<String>,

    /// Where the certificate and its key are stored.
    pub target: Target,
}

/// Extended key usage (RFC 5280, 4.2.1.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum Usage {
    ServerAuth,
    ClientAuth,
}

/// Where a certificate and its key are stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Namespace of the Secret. Default: the issuance's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,

    /// Name of the Secret (type kubernetes.io/tls).
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub secret_name: String,
}

/// How workloads that mount changed material are restarted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Restart: Deployments, StatefulSets and DaemonSets that mount changed material are rolled. None: somebody else
    /// restarts them; until that is seen they count as holding the old material.
    pub strategy: RolloutStrategy,

    /// How many agents' workloads are restarted at once. The gateway is always restarted alone.
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent: u32,

    /// After this long a rollout that has not completed is reported as stuck. The operator goes on waiting for it.
    pub timeout: Duration,

    /// When workloads may be restarted, and certificates that they hold be replaced. Empty: at any time. A certificate
    /// that is closer to its end than half of `renewBefore` waits for no window; nor does what nobody runs with yet, nor
    /// anything where `rotation.strategy` is Immediate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub windows: Vec<MaintenanceWindow>,
}

/// A recurring maintenance window.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.duration) >= duration('5m')").message("duration must be at least 5m"))]
pub struct MaintenanceWindow {
    /// When it opens, as a cron expression of five fields (minute, hour, day of month, month, day of week), for example
    /// `0 2 * * SAT`.
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,

    /// How long it stays open, for example `4h`.
    pub duration: Duration,

    /// Time zone of the schedule by its name in the IANA database, for example `Europe/Berlin`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
}

fn utc() -> String {
    "UTC".into()
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: RolloutStrategy::Restart,
            max_concurrent: 1,
            timeout: Duration::from_mins(10),
            windows: Vec::new(),
        }
    }
}

/// Whether the operator restarts workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutStrategy {
    /// The operator restarts them.
    #[default]
    Restart,
    /// Somebody else restarts them.
    None,
}

/// How one CA takes the place of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rotation {
    /// Staged: the old CA stays trusted until nobody depends on it, and no handshake fails. Immediate: the old CA is
    /// compromised and leaves every trust place at once; who still needs it is named, then cut off until it restarts.
    pub strategy: RotationStrategy,

    /// How long a peer that is connected, but that no workload of a served namespace runs, is given to load what has
    /// changed: nothing else tells when it did. Everybody else is waited for by what can be seen.
    pub overlap: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            strategy: RotationStrategy::Staged,
            overlap: Duration::from_hours(24),
        }
    }
}

/// How one CA takes the place of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationStrategy {
    /// The old CA stays trusted until nobody depends on it.
    #[default]
    Staged,
    /// The old CA leaves every trust place at once.
    Immediate,
}
