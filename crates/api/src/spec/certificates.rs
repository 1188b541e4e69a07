//! Which certificates exist, and what they say.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

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
