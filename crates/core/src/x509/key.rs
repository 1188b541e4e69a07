use std::fmt;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
};
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode as _, Reader as _};
use spki::AlgorithmIdentifierOwned;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::certificate::Certificate;
use super::key_algorithm::KeyAlgorithm;
use super::pem;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_WITH_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");

const CURVES: [(KeyAlgorithm, &EcdsaSigningAlgorithm); 3] = [
    (
        KeyAlgorithm::EcdsaP256,
        &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
    ),
    (
        KeyAlgorithm::EcdsaP384,
        &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
    ),
    (
        KeyAlgorithm::EcdsaP521,
        &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
    ),
];

/// Why a text holds no usable private key, without a byte of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// No private key at all.
    #[error("there is no PEM private key in it")]
    Missing,
    /// Protected by a password.
    #[error(
        "the private key is encrypted: decrypt it first, for example with `openssl pkey -in … -out …`"
    )]
    Encrypted,
    /// RSA below 2048 bits.
    #[error("the private key is RSA with fewer than 2048 bits")]
    Weak,
    /// A kind that is not used here.
    #[error(
        "private keys of this kind are not supported: take RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519"
    )]
    Unsupported,
    /// Damaged.
    #[error("the private key cannot be read: it is damaged or not in PKCS#8, PKCS#1 or SEC1 form")]
    Invalid,
    /// The cryptographic library failed.
    #[error("the cryptographic library could not make or use a key")]
    Failed,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// A private key. Its PEM is wiped when dropped, and its `Debug` shows nothing of it.
pub struct PrivateKey {
    pair: Pair,
    algorithm: KeyAlgorithm,
    spki: Vec<u8>,
    public_key: Vec<u8>,
    pem: Zeroizing<String>,
}

/// Makes a new key from the operating system's randomness: the one function of this crate that is not pure.
///
/// RSA takes from tens of milliseconds to seconds of pure computing, so it does not belong on an async thread.
pub fn generate(algorithm: KeyAlgorithm) -> Result<PrivateKey, KeyError> {
    let size = |bits| match bits {
        2048 => Ok(KeySize::Rsa2048),
        3072 => Ok(KeySize::Rsa3072),
        4096 => Ok(KeySize::Rsa4096),
        8192 => Ok(KeySize::Rsa8192),
        0..2048 => Err(KeyError::Weak),
        _ => Err(KeyError::Unsupported),
    };
    let curve = |wanted| {
        CURVES
            .into_iter()
            .find(|(algorithm, _)| *algorithm == wanted)
            .map(|(_, curve)| curve)
    };
    let pair = match algorithm {
        KeyAlgorithm::Rsa(bits) => {
            Pair::Rsa(Box::new(RsaKeyPair::generate(size(bits)?).map_err(failed)?))
        }
        KeyAlgorithm::Ed25519 => {
            Pair::Ed25519(Box::new(Ed25519KeyPair::generate().map_err(failed)?))
        }
        KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 | KeyAlgorithm::EcdsaP521 => {
            let curve = curve(algorithm).ok_or(KeyError::Unsupported)?;
            Pair::Ecdsa(Box::new(EcdsaKeyPair::generate(curve).map_err(failed)?))
        }
    };
    PrivateKey::new(pair)
}

/// Whether this PEM text holds the private key of that certificate.
pub fn key_pair_matches(certificate: &Certificate, key_pem: &[u8]) -> Result<bool, KeyError> {
    PrivateKey::from_pem(key_pem).map(|key| key.matches(certificate))
}

impl PrivateKey {
    /// The first private key of a PEM text that can be used: PKCS#8, PKCS#1 or SEC1, whatever stands around it.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let mut first_error = None;
        for block in pem::blocks(text).filter(|block| block.label.ends_with("PRIVATE KEY")) {
            let encrypted = block.label.starts_with("ENCRYPTED")
                || block
                    .headers
                    .iter()
                    .any(|(key, value)| key == "Proc-Type" && value.contains("ENCRYPTED"));
            let read = if encrypted {
                Err(KeyError::Encrypted)
            } else if matches!(
                block.label.as_str(),
                "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY"
            ) {
                Self::from_der(&block.bytes)
            } else {
                Err(KeyError::Unsupported)
            };
            match read {
                Ok(key) => return Ok(key),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        // A key block that is cut short is no block, and "there is none" would send people looking for it.
        let begun = || pem::find(text, b"PRIVATE KEY-----").is_some();
        Err(first_error.unwrap_or_else(|| {
            if begun() {
                KeyError::Invalid
            } else {
                KeyError::Missing
            }
        }))
    }

    /// PKCS#8 v1 with the label `PRIVATE KEY`, the form that everything reads, whatever form it was loaded from.
    pub fn to_pem(&self) -> &Zeroizing<String> {
        &self.pem
    }

    /// The kind of key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Whether the certificate certifies this key.
    pub fn matches(&self, certificate: &Certificate) -> bool {
        certificate.key_algorithm() == Some(self.algorithm)
            && certificate.public_key() == self.public_key
    }

    /// The SubjectPublicKeyInfo's bytes.
    pub(super) fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// Signs a TBSCertificate or a CSR's info. The hash goes with the key, not with the certificate of the key: a
    /// P-384 CA may well be signed with SHA-256.
    pub(super) fn sign(
        &self,
        message: &[u8],
    ) -> Result<(AlgorithmIdentifierOwned, Vec<u8>), KeyError> {
        let random = SystemRandom::new();
        let (oid, parameters, signature) = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    &signature::RSA_PKCS1_SHA256,
                    &random,
                    message,
                    &mut signature,
                )
                .map_err(failed)?;
                (SHA256_WITH_RSA, Some(AnyRef::NULL.into()), signature)
            }
            Pair::Ecdsa(pair) => {
                let oid = match self.algorithm {
                    KeyAlgorithm::EcdsaP384 => ECDSA_WITH_SHA384,
                    KeyAlgorithm::EcdsaP521 => ECDSA_WITH_SHA512,
                    _ => ECDSA_WITH_SHA256,
                };
                (
                    oid,
                    None,
                    pair.sign(&random, message)
                        .map_err(failed)?
                        .as_ref()
                        .to_vec(),
                )
            }
            Pair::Ed25519(pair) => (
                ED25519,
                None,
                pair.try_sign(message).map_err(failed)?.as_ref().to_vec(),
            ),
        };
        Ok((AlgorithmIdentifierOwned { oid, parameters }, signature))
    }

    /// The form is told from the content: tools write PKCS#1 under the label of PKCS#8.
    fn from_der(der: &[u8]) -> Result<Self, KeyError> {
        let rsa = RsaKeyPair::from_pkcs8(der).or_else(|error| {
            if is_too_small(&error) {
                Err(error)
            } else {
                RsaKeyPair::from_der(der)
            }
        });
        match rsa {
            Ok(pair) => return Self::new(Pair::Rsa(Box::new(pair))),
            Err(error) if is_too_small(&error) => return Err(KeyError::Weak),
            Err(_) => {}
        }
        for (_, curve) in CURVES {
            let read = EcdsaKeyPair::from_pkcs8(curve, der)
                .or_else(|_| EcdsaKeyPair::from_private_key_der(curve, der));
            if let Ok(pair) = read {
                return Self::new(Pair::Ecdsa(Box::new(pair)));
            }
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Self::new(Pair::Ed25519(Box::new(pair)));
        }
        Err(why_not(der))
    }

    fn new(pair: Pair) -> Result<Self, KeyError> {
        let spki: PublicKeyX509Der<'_> = match &pair {
            Pair::Rsa(pair) => pair.public_key().as_der(),
            Pair::Ecdsa(pair) => pair.public_key().as_der(),
            Pair::Ed25519(pair) => pair.public_key().as_der(),
        }
        .map_err(failed)?;
        let spki = spki.as_ref().to_vec();
        let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).map_err(|_| KeyError::Failed)?;
        let algorithm = KeyAlgorithm::of_spki(&parsed).ok_or(KeyError::Unsupported)?;
        let public_key = parsed.subject_public_key.data.to_vec();
        let pem = match &pair {
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
                pem::encode("PRIVATE KEY", der.as_ref())
            }
            Pair::Ecdsa(pair) => {
                pem::encode("PRIVATE KEY", pair.to_pkcs8v1().map_err(failed)?.as_ref())
            }
            // Version 1: OpenSSL 3.0, Node and Python do not read version 2.
            Pair::Ed25519(pair) => {
                pem::encode("PRIVATE KEY", pair.to_pkcs8v1().map_err(failed)?.as_ref())
            }
        };
        Ok(Self {
            pair,
            algorithm,
            spki,
            public_key,
            pem,
        })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, redacted)", self.algorithm)
    }
}

fn failed(_: aws_lc_rs::error::Unspecified) -> KeyError {
    KeyError::Failed
}

fn is_too_small(error: &aws_lc_rs::error::KeyRejected) -> bool {
    error.to_string() == "TooSmall"
}

/// Tells a key of another kind from a damaged one.
fn why_not(der: &[u8]) -> KeyError {
    // PrivateKeyInfo: a version, then the algorithm, whatever follows.
    let pkcs8_algorithm = || -> der::Result<(ObjectIdentifier, Option<ObjectIdentifier>)> {
        let mut reader = der::SliceReader::new(AnyRef::from_der(der)?.value())?;
        let _version: AnyRef<'_> = reader.decode()?;
        let algorithm: spki::AlgorithmIdentifierRef<'_> = reader.decode()?;
        let _ = reader.finish();
        Ok((algorithm.oid, algorithm.parameters_oid().ok()))
    };
    // SEC1: a version, the key, then the curve.
    let sec1_curve = || -> der::Result<ObjectIdentifier> {
        let mut reader = der::SliceReader::new(AnyRef::from_der(der)?.value())?;
        let _version: AnyRef<'_> = reader.decode()?;
        let _key: &der::asn1::OctetStringRef = reader.decode()?;
        let curve: AnyRef<'_> = reader.decode()?;
        ObjectIdentifier::from_der(curve.value())
    };
    let known_curve = |curve: ObjectIdentifier| {
        ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"]
            .contains(&curve.to_string().as_str())
    };
    match (pkcs8_algorithm(), sec1_curve()) {
        (Ok((RSA_ENCRYPTION | ED25519, _)), _) => KeyError::Invalid,
        (Ok((EC_PUBLIC_KEY, Some(curve))), _) | (_, Ok(curve)) if known_curve(curve) => {
            KeyError::Invalid
        }
        (Ok(_), _) | (_, Ok(_)) => KeyError::Unsupported,
        _ => KeyError::Invalid,
    }
}
