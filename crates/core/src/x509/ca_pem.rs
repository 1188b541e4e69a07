//! What a CA Secret holds, as it stands there.

use std::fmt;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroizing;

use super::ca::CertificateAuthority;
use super::ca_error::CaError;

/// The PEM of a CA Secret. Its key is wiped when it is dropped.
#[derive(Clone, PartialEq)]
pub struct CaPem {
    /// `tls.crt`.
    certificate: Vec<u8>,
    /// `tls.key`.
    key: Zeroizing<Vec<u8>>,
    /// `ca.crt`.
    root: Option<Vec<u8>>,
}

impl From<&Secret> for CaPem {
    fn from(secret: &Secret) -> Self {
        let data = |key| Some(secret.data.as_ref()?.get(key)?.0.clone());
        Self {
            certificate: data("tls.crt").unwrap_or_default(),
            key: Zeroizing::new(data("tls.key").unwrap_or_default()),
            root: data("ca.crt"),
        }
    }
}

impl CaPem {
    /// The CA, where verifiers would accept it.
    pub fn authority(&self, now: Timestamp) -> Result<CertificateAuthority, CaError> {
        CertificateAuthority::from_pem(&self.certificate, &self.key, self.root.as_deref(), now)
    }
}

impl fmt::Debug for CaPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaPem").finish_non_exhaustive()
    }
}
