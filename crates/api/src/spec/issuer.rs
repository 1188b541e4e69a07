//! What signs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
