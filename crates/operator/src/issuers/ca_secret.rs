//! A CA with its key in a Secret: signing is a local computation.

use external_ca_core::x509::{Certificate, CertificateAuthority, sign_request};

use super::request::{IssuerError, SigningRequest};

pub(super) fn sign(
    ca: &CertificateAuthority,
    request: &SigningRequest<'_>,
) -> Result<Vec<Certificate>, IssuerError> {
    sign_request(
        ca,
        request.csr.der(),
        request.profile,
        request.serial,
        request.now,
    )
    .map_err(|error| IssuerError::Rejected(error.to_string()))
}
