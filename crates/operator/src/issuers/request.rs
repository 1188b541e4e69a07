//! What crosses the seam to an issuer, and what comes back where it refuses.

use external_ca_core::x509::{Csr, LeafProfile};
use jiff::Timestamp;

/// What an issuer is asked for.
pub struct SigningRequest<'a> {
    /// The request, signed with the leaf's key.
    pub csr: &'a Csr,
    /// What the certificate is to be.
    pub profile: &'a LeafProfile,
    /// Random bytes for the serial number, for issuers that let us choose it.
    pub serial: [u8; 16],
    /// Now.
    pub now: Timestamp,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The issuer will not sign this.
    #[error("the issuer refuses to sign: {0}")]
    Rejected(String),
}
