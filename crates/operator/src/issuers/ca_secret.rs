//! A CA with its key in a Secret: signing is a local computation.

use std::sync::Arc;

use external_ca_core::model::{AuthorityState, ObjectRef, Read};
use external_ca_core::snapshot::authority_of_secret;
use external_ca_core::x509::{CaPem, CertificateAuthority, sign_request};
use jiff::Timestamp;

use super::request::{IssuerError, Shown, Signed, SigningRequest};

/// The authority of a CA Secret: its public side, and what signs with its key.
pub(super) fn open(
    secret: &ObjectRef,
    pem: &Read<Arc<CaPem>>,
    now: Timestamp,
) -> (AuthorityState, Option<Arc<CertificateAuthority>>) {
    let (read, ca) = match pem {
        Read::Absent => (Read::Absent, None),
        Read::Unknown(why) => (Read::Unknown(why.clone()), None),
        Read::Found(pem) => match pem.authority(now) {
            Ok(ca) => (Read::Found(Ok(Arc::clone(ca.public_side()))), Some(ca)),
            Err(error) => (Read::Found(Err(error)), None),
        },
    };
    (authority_of_secret(secret, read), ca.map(Arc::new))
}

pub(super) fn sign(
    ca: &CertificateAuthority,
    request: &SigningRequest<'_>,
) -> Result<Signed, IssuerError> {
    sign_request(
        ca,
        request.csr.der(),
        request.profile,
        request.serial,
        request.now,
    )
    .map(Signed::Issued)
    .map_err(|error| IssuerError::Rejected(Shown::new(error.to_string())))
}
