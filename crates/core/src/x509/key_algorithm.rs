use std::fmt;

use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, ParsedPublicKey};
use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_DSA, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
    OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::x509::SubjectPublicKeyInfo;

use super::der::{Der, INTEGER, SEQUENCE};

const OID_X25519: Oid<'static> = oid!(1.3.101.110);

/// A kind of key, with its size.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KeyAlgorithm {
    /// RSA with a modulus of that many bits.
    Rsa(u32),
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
}

impl KeyAlgorithm {
    pub(super) fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa(_))
    }

    /// Whether Go knows keys of that kind: it takes those that it does not know as they are, and of the others the
    /// well-formed ones. P-224, DSA and X25519, which it knows, TLS does not: here none of those is well-formed.
    pub(super) fn is_known_kind(spki: &SubjectPublicKeyInfo<'_>) -> bool {
        [
            OID_PKCS1_RSAENCRYPTION,
            OID_KEY_TYPE_EC_PUBLIC_KEY,
            OID_SIG_ED25519,
            OID_KEY_TYPE_DSA,
            OID_X25519,
        ]
        .contains(&spki.algorithm.algorithm)
    }

    /// Only forms that Go reads: named curves, uncompressed points on them, RSA with its NULL.
    pub(super) fn of_spki(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let algorithm = &spki.algorithm.algorithm;
        let parameters = spki.algorithm.parameters.as_ref();
        let key: &[u8] = &spki.subject_public_key.data;
        if spki.subject_public_key.unused_bits != 0 {
            return None;
        }
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            let null =
                parameters.filter(|any| any.header.raw_tag() == Some(&[5]) && any.data.is_empty());
            null.and_then(|_| rsa_bits(key)).map(Self::Rsa)
        } else if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = parameters?.as_oid().ok()?;
            let (_, _, algorithm, verifier) = CURVES
                .into_iter()
                .find(|(oid, length, _, _)| *oid == curve && *length == key.len())?;
            // Reading the key finds out whether the point is on the curve.
            let uncompressed = key.first() == Some(&4);
            let sound = uncompressed && ParsedPublicKey::new(verifier, key).is_ok();
            sound.then_some(algorithm)
        } else if *algorithm == OID_SIG_ED25519 {
            (parameters.is_none() && key.len() == 32).then_some(Self::Ed25519)
        } else {
            None
        }
    }
}

/// Each curve, the length of its uncompressed points, its name here, and who reads them.
const CURVES: [(
    Oid<'static>,
    usize,
    KeyAlgorithm,
    &EcdsaVerificationAlgorithm,
); 3] = [
    (
        OID_EC_P256,
        65,
        KeyAlgorithm::EcdsaP256,
        &signature::ECDSA_P256_SHA256_ASN1,
    ),
    (
        OID_NIST_EC_P384,
        97,
        KeyAlgorithm::EcdsaP384,
        &signature::ECDSA_P384_SHA384_ASN1,
    ),
    (
        OID_NIST_EC_P521,
        133,
        KeyAlgorithm::EcdsaP521,
        &signature::ECDSA_P521_SHA512_ASN1,
    ),
];

/// The length of a positive modulus, where the exponent is a positive number, too.
fn rsa_bits(key: &[u8]) -> Option<u32> {
    let mut key = Der(Der(key).take(SEQUENCE)?);
    let modulus = key.integer()?;
    key.int64(INTEGER).filter(|exponent| *exponent > 0)?;
    if modulus.first()? & 0x80 != 0 {
        return None;
    }
    let digits = modulus.strip_prefix(&[0]).unwrap_or(modulus);
    let bits = u32::try_from(digits.len()).ok()?.checked_mul(8)?;
    bits.checked_sub(digits.first()?.leading_zeros())
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA {bits}"),
            Self::EcdsaP256 => f.write_str("ECDSA P-256"),
            Self::EcdsaP384 => f.write_str("ECDSA P-384"),
            Self::EcdsaP521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}
