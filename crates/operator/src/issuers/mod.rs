//! The issuer seam: a certificate request in, a certificate chain out. A new issuer is one file and one variant.

mod ca_secret;

use std::sync::Arc;

use external_ca_core::x509::{Certificate, CertificateAuthority, Csr, LeafProfile};
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

/// What signs.
#[derive(Clone)]
pub enum Issuer {
    /// A CA with its key in a Secret.
    CaSecret(Arc<CertificateAuthority>),
}

impl Issuer {
    /// Its kind, as the field of `spec.issuer` spells it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CaSecret(_) => "caSecret",
        }
    }

    /// Signs: leaf first, then the intermediates, without the root.
    pub async fn sign(
        &self,
        request: &SigningRequest<'_>,
    ) -> Result<Vec<Certificate>, IssuerError> {
        match self {
            Self::CaSecret(ca) => ca_secret::sign(ca, request),
        }
    }
}
