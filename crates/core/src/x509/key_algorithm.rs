use std::fmt;

use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
    OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

const OID_P224: Oid<'static> = oid!(1.3.132.0.33);

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

    /// Whether Go reads a certificate with such a key: keys of kinds it does not know it takes as they are, those it
    /// knows must be well-formed. (P-224 is one that it knows and that is not used here.)
    pub(super) fn is_readable(spki: &SubjectPublicKeyInfo<'_>) -> bool {
        let algorithm = &spki.algorithm.algorithm;
        let curve = || {
            spki.algorithm
                .parameters
                .as_ref()
                .and_then(|parameters| parameters.as_oid().ok())
        };
        let known = [
            OID_PKCS1_RSAENCRYPTION,
            OID_KEY_TYPE_EC_PUBLIC_KEY,
            OID_SIG_ED25519,
        ];
        let well_formed = spki.subject_public_key.unused_bits == 0
            && (Self::of_spki(spki).is_some()
                || (spki.subject_public_key.data.len() == 57 && curve() == Some(OID_P224)));
        !known.contains(algorithm) || well_formed
    }

    /// Only forms that Go reads: named curves, uncompressed points, RSA with its NULL.
    pub(super) fn of_spki(spki: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let algorithm = &spki.algorithm.algorithm;
        let parameters = spki.algorithm.parameters.as_ref();
        if spki.subject_public_key.unused_bits != 0 {
            return None;
        }
        let point_length = || match spki.subject_public_key.data.split_first() {
            Some((0x04, coordinates)) => Some(coordinates.len()),
            _ => None,
        };
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            if !parameters
                .is_some_and(|any| any.header.raw_tag() == Some(&[5]) && any.data.is_empty())
            {
                return None;
            }
            let Ok(PublicKey::RSA(key)) = spki.parsed() else {
                return None;
            };
            let modulus: &[u8] = key.modulus;
            let digits = modulus
                .iter()
                .position(|byte| *byte != 0)
                .and_then(|start| modulus.get(start..))?;
            let bits = u32::try_from(digits.len()).ok()?.checked_mul(8)?;
            Some(Self::Rsa(
                bits.checked_sub(digits.first()?.leading_zeros())?,
            ))
        } else if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = parameters?.as_oid().ok()?;
            match point_length()? {
                64 if curve == OID_EC_P256 => Some(Self::EcdsaP256),
                96 if curve == OID_NIST_EC_P384 => Some(Self::EcdsaP384),
                132 if curve == OID_NIST_EC_P521 => Some(Self::EcdsaP521),
                _ => None,
            }
        } else if *algorithm == OID_SIG_ED25519 {
            (parameters.is_none() && spki.subject_public_key.data.len() == 32)
                .then_some(Self::Ed25519)
        } else {
            None
        }
    }
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
