//! The issuer seam: a certificate request in, a certificate chain out. A new issuer is one file and one variant.

mod ca_secret;
mod request;

use std::sync::Arc;

use external_ca_core::model::{AuthorityState, ObjectRef, Read};
use external_ca_core::x509::{CaPem, Certificate, CertificateAuthority};
use jiff::Timestamp;

pub use request::{IssuerError, SigningRequest};

/// What signs.
#[derive(Clone)]
pub enum Issuer {
    /// A CA with its key in a Secret.
    CaSecret(Arc<CertificateAuthority>),
}

/// The authority of a CA Secret: its public side, and what signs, where it can be used.
pub fn ca_secret_authority(
    secret: &ObjectRef,
    pem: &Read<Arc<CaPem>>,
    now: Timestamp,
) -> (AuthorityState, Option<Issuer>) {
    let (state, ca) = ca_secret::open(secret, pem, now);
    (state, ca.map(Issuer::CaSecret))
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
