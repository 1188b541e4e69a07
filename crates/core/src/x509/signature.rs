use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::asn1_rs::{BitString, Oid, oid};
use x509_parser::oid_registry::{
    OID_HASH_SHA1, OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512,
    OID_PKCS1_MD5WITHRSAENC, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA1WITHRSA, OID_PKCS1_SHA256WITHRSA,
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SHA1_WITH_RSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, OID_SIG_ED25519,
};
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::AlgorithmIdentifier;

use super::key_algorithm::KeyAlgorithm;

const OID_MGF1: Oid<'static> = oid!(1.2.840.113549.1.1.8);
const OID_ECDSA_WITH_SHA1: Oid<'static> = oid!(1.2.840.10045.4.1);
const OID_MD2_WITH_RSA: Oid<'static> = oid!(1.2.840.113549.1.1.2);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hash {
    Md5,
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// How a certificate was signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SignatureScheme {
    RsaPkcs1(Hash),
    RsaPss(Hash),
    Ecdsa(Hash),
    Ed25519,
    Unknown,
}

impl SignatureScheme {
    pub(super) fn of(identifier: &AlgorithmIdentifier<'_>, signature: &BitString<'_>) -> Self {
        // No scheme's signature has bits left over; Go would shift them away and find another one.
        if signature.unused_bits != 0 {
            return Self::Unknown;
        }
        let schemes = [
            (OID_PKCS1_SHA256WITHRSA, Self::RsaPkcs1(Hash::Sha256)),
            (OID_PKCS1_SHA384WITHRSA, Self::RsaPkcs1(Hash::Sha384)),
            (OID_PKCS1_SHA512WITHRSA, Self::RsaPkcs1(Hash::Sha512)),
            (OID_PKCS1_SHA1WITHRSA, Self::RsaPkcs1(Hash::Sha1)),
            (OID_SHA1_WITH_RSA, Self::RsaPkcs1(Hash::Sha1)),
            (OID_PKCS1_MD5WITHRSAENC, Self::RsaPkcs1(Hash::Md5)),
            (OID_MD2_WITH_RSA, Self::RsaPkcs1(Hash::Md5)),
            (OID_SIG_ECDSA_WITH_SHA256, Self::Ecdsa(Hash::Sha256)),
            (OID_SIG_ECDSA_WITH_SHA384, Self::Ecdsa(Hash::Sha384)),
            (OID_SIG_ECDSA_WITH_SHA512, Self::Ecdsa(Hash::Sha512)),
            (OID_ECDSA_WITH_SHA1, Self::Ecdsa(Hash::Sha1)),
        ];
        if identifier.algorithm == OID_PKCS1_RSASSAPSS {
            return pss_hash(identifier).map_or(Self::Unknown, Self::RsaPss);
        }
        if identifier.algorithm == OID_SIG_ED25519 {
            return if identifier.parameters.is_none() {
                Self::Ed25519
            } else {
                Self::Unknown
            };
        }
        schemes
            .into_iter()
            .find(|(algorithm, _)| *algorithm == identifier.algorithm)
            .map_or(Self::Unknown, |(_, scheme)| scheme)
    }

    /// The broken hash that this signature rests on, if it does.
    pub(super) fn weakness(self) -> Option<&'static str> {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash) | Self::Ecdsa(hash) => match hash {
                Hash::Md5 => Some("MD5"),
                Hash::Sha1 => Some("SHA-1"),
                Hash::Sha256 | Hash::Sha384 | Hash::Sha512 => None,
            },
            Self::Ed25519 | Self::Unknown => None,
        }
    }

    fn verifier(self, key: KeyAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
        use signature as s;
        Some(match (self, key) {
            (Self::RsaPkcs1(hash), KeyAlgorithm::Rsa(bits)) => match (hash, bits >= 2048) {
                (Hash::Sha256, true) => &s::RSA_PKCS1_2048_8192_SHA256,
                (Hash::Sha384, true) => &s::RSA_PKCS1_2048_8192_SHA384,
                (Hash::Sha512, true) => &s::RSA_PKCS1_2048_8192_SHA512,
                (Hash::Sha256, false) => &s::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
                (Hash::Sha512, false) => &s::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
                (Hash::Sha1, _) => &s::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
                (Hash::Sha384, false) | (Hash::Md5, _) => return None,
            },
            (Self::RsaPss(hash), KeyAlgorithm::Rsa(_)) => match hash {
                Hash::Sha256 => &s::RSA_PSS_2048_8192_SHA256,
                Hash::Sha384 => &s::RSA_PSS_2048_8192_SHA384,
                Hash::Sha512 => &s::RSA_PSS_2048_8192_SHA512,
                Hash::Md5 | Hash::Sha1 => return None,
            },
            (Self::Ecdsa(hash), KeyAlgorithm::EcdsaP256) => match hash {
                Hash::Sha256 => &s::ECDSA_P256_SHA256_ASN1,
                Hash::Sha384 => &s::ECDSA_P256_SHA384_ASN1,
                Hash::Sha512 => &s::ECDSA_P256_SHA512_ASN1,
                Hash::Sha1 => &s::ECDSA_P256_SHA1_ASN1,
                Hash::Md5 => return None,
            },
            (Self::Ecdsa(hash), KeyAlgorithm::EcdsaP384) => match hash {
                Hash::Sha256 => &s::ECDSA_P384_SHA256_ASN1,
                Hash::Sha384 => &s::ECDSA_P384_SHA384_ASN1,
                Hash::Sha512 => &s::ECDSA_P384_SHA512_ASN1,
                Hash::Md5 | Hash::Sha1 => return None,
            },
            (Self::Ecdsa(hash), KeyAlgorithm::EcdsaP521) => match hash {
                Hash::Sha256 => &s::ECDSA_P521_SHA256_ASN1,
                Hash::Sha384 => &s::ECDSA_P521_SHA384_ASN1,
                Hash::Sha512 => &s::ECDSA_P521_SHA512_ASN1,
                Hash::Sha1 => &s::ECDSA_P521_SHA1_ASN1,
                Hash::Md5 => return None,
            },
            (Self::Ed25519, KeyAlgorithm::Ed25519) => &s::ED25519,
            _ => return None,
        })
    }

    /// Whether this is that key's signature over the message, weak hashes included.
    pub(super) fn verifies(
        self,
        key: KeyAlgorithm,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        self.verifier(key).is_some_and(|algorithm| {
            UnparsedPublicKey::new(algorithm, public_key)
                .verify(message, signature)
                .is_ok()
        })
    }
}

/// Go takes PSS only where one hash serves for message, mask and salt length.
fn pss_hash(identifier: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    let parameters = RsaSsaPssParams::try_from(identifier.parameters.as_ref()?).ok()?;
    let mask = parameters.mask_gen_algorithm().ok()?;
    let oid = parameters.hash_algorithm_oid();
    if mask.mgf != OID_MGF1 || mask.hash != *oid || parameters.trailer_field() != 1 {
        return None;
    }
    [
        (OID_NIST_HASH_SHA256, Hash::Sha256, 32),
        (OID_NIST_HASH_SHA384, Hash::Sha384, 48),
        (OID_NIST_HASH_SHA512, Hash::Sha512, 64),
        (OID_HASH_SHA1, Hash::Sha1, 20),
    ]
    .into_iter()
    .find(|(hash, _, salt)| hash == oid && *salt == parameters.salt_length())
    .map(|(_, hash, _)| hash)
}
