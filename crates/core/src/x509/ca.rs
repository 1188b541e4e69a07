//! A CA that can sign.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::bundle::parse_bundle;
use super::ca_chain::{CaChain, MAX_PEM, readable};
use super::ca_error::CaError;
use super::key::{KeyError, PrivateKey};
use super::key_algorithm::KeyAlgorithm;

/// A CA that can sign: its key and its public side.
pub struct CertificateAuthority {
    key: PrivateKey,
    chain: Arc<CaChain>,
}

impl CertificateAuthority {
    /// Reads what a CA Secret holds, as people make them: keys in PKCS#8, PKCS#1 or SEC1 form, a chain in any order,
    /// the root in either of `tls.crt` and `ca.crt` or nowhere, text around the blocks, key and certificate in one file.
    pub fn from_pem(
        tls_crt: &[u8],
        tls_key: &[u8],
        ca_crt: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Self, CaError> {
        let ca_crt = ca_crt.unwrap_or_default();
        for (part, text) in [
            ("tls.crt", tls_crt),
            ("tls.key", tls_key),
            ("ca.crt", ca_crt),
        ] {
            if text.len() > MAX_PEM {
                return Err(CaError::TooLarge {
                    part,
                    bytes: text.len(),
                });
            }
        }
        let mut pool = readable("tls.crt", tls_crt)?.certificates;
        pool.extend(parse_bundle(tls_key).certificates);
        if pool.is_empty() {
            return Err(CaError::CertificateMissing);
        }
        let presented = pool.clone();
        pool.extend(readable("ca.crt", ca_crt)?.certificates);

        let key = load_key(tls_key, tls_crt)?;
        // Several have the same key where a CA was renewed or cross-signed: the first that is sound.
        let candidates = presented.iter().filter(|candidate| key.matches(candidate));
        let chain = CaChain::sound(candidates, &pool, now)?.ok_or(CaError::KeyMismatch)?;
        Ok(Self::new(key, chain))
    }

    /// Its parts together. The key must be that of the chain's issuing certificate.
    pub(super) fn new(key: PrivateKey, chain: CaChain) -> Self {
        let chain = Arc::new(chain);
        Self { key, chain }
    }

    /// Its public side, for who has nothing to do with its key.
    pub fn public_side(&self) -> &Arc<CaChain> {
        &self.chain
    }

    /// The kind of its key.
    pub fn key_algorithm(&self) -> KeyAlgorithm {
        self.key.algorithm()
    }

    pub(super) fn key(&self) -> &PrivateKey {
        &self.key
    }
}

/// A CA is asked for its certificates far more often than for its signature.
impl std::ops::Deref for CertificateAuthority {
    type Target = CaChain;

    fn deref(&self) -> &CaChain {
        &self.chain
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("chain", &self.chain)
            .field("key", &self.key)
            .finish()
    }
}

fn load_key(tls_key: &[u8], tls_crt: &[u8]) -> Result<PrivateKey, CaError> {
    let load =
        |text: &[u8]| PrivateKey::from_pem(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text));
    let loaded = match load(tls_key) {
        Err(KeyError::Missing) => load(tls_crt),
        loaded => loaded,
    };
    loaded.map_err(|error| match error {
        KeyError::Missing => CaError::KeyMissing,
        KeyError::Encrypted => CaError::KeyEncrypted,
        KeyError::Weak => CaError::WeakKey {
            what: "the private key in tls.key".to_owned(),
        },
        KeyError::Unsupported => CaError::UnsupportedKey {
            what: "the private key in tls.key".to_owned(),
        },
        KeyError::Invalid | KeyError::Failed => CaError::KeyInvalid,
    })
}
