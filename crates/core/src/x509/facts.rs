//! What a certificate's DER says: everything that decisions rest on, read once.

use std::ops::Range;

use jiff::Timestamp;
use x509_parser::asn1_rs::{BitString, FromDer};
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::der::Der;
use super::extensions::Extensions;
use super::fingerprint::Fingerprint;
use super::key_algorithm::KeyAlgorithm;
use super::names::{self, Name};
use super::shape::{Shape, range_in};
use super::signature::SignatureScheme;

/// Why bytes are no certificate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertificateError {
    /// Not the DER of an X.509 certificate.
    #[error("not an X.509 certificate")]
    Malformed,
    /// Something stands after the certificate.
    #[error("{0} bytes stand after the certificate")]
    TrailingData(usize),
}

/// What a certificate says. The ranges lie in its DER.
pub(super) struct Facts {
    pub(super) fingerprint: Fingerprint,
    pub(super) tbs: Range<usize>,
    pub(super) subject_der: Range<usize>,
    pub(super) issuer_der: Range<usize>,
    pub(super) spki_der: Range<usize>,
    pub(super) public_key: Range<usize>,
    pub(super) signature: Range<usize>,
    pub(super) scheme: SignatureScheme,
    pub(super) version: u32,
    pub(super) serial: Vec<u8>,
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) common_names: Vec<String>,
    pub(super) organizations: Vec<String>,
    pub(super) organizational_units: Vec<String>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) key_algorithm: Option<KeyAlgorithm>,
    pub(super) extensions: Extensions,
    pub(super) defect: Option<&'static str>,
}

impl Facts {
    /// Reads the one certificate that these bytes are.
    pub(super) fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let shape = Shape::read(der).ok_or(CertificateError::Malformed)?;
        let mut after = Der(der);
        after.any();
        if !after.is_empty() {
            return Err(CertificateError::TrailingData(after.0.len()));
        }
        let spki: SubjectPublicKeyInfo<'_> = parsed(shape.spki)?;
        let subject = Name::read(shape.subject).ok_or(CertificateError::Malformed)?;
        let issuer = Name::read(shape.issuer).ok_or(CertificateError::Malformed)?;
        let algorithm: AlgorithmIdentifier<'_> = parsed(shape.algorithm)?;
        let signature: BitString<'_> = parsed(shape.signature)?;
        let (extensions, unread) = Extensions::read(&shape.extensions);
        let key_algorithm = KeyAlgorithm::of_spki(&spki);
        let defects = [
            shape.defect,
            (!issuer.is_readable()).then_some("its issuer has an unreadable value"),
            (!subject.is_readable()).then_some("its subject has an unreadable value"),
            (key_algorithm.is_none() && KeyAlgorithm::is_known_kind(&spki))
                .then_some("its public key is malformed, or of a kind that TLS does not know"),
            unread,
        ];
        Ok(Self {
            fingerprint: Fingerprint::of(der),
            tbs: range_in(der, shape.tbs),
            subject_der: range_in(der, shape.subject),
            issuer_der: range_in(der, shape.issuer),
            spki_der: range_in(der, shape.spki),
            public_key: range_in(der, &spki.subject_public_key.data),
            signature: range_in(der, &signature.data),
            scheme: SignatureScheme::of(&algorithm, &signature),
            version: shape.version,
            serial: shape.serial.to_vec(),
            subject: subject.rfc4514(),
            issuer: issuer.rfc4514(),
            common_names: subject.values(&names::COMMON_NAME),
            organizations: subject.values(&names::ORGANIZATION),
            organizational_units: subject.values(&names::ORGANIZATIONAL_UNIT),
            not_before: shape.not_before,
            not_after: shape.not_after,
            key_algorithm,
            extensions,
            defect: defects.into_iter().flatten().next(),
        })
    }
}

/// A part of a certificate in the parser's form.
fn parsed<'a, T: FromDer<'a, E>, E>(whole: &'a [u8]) -> Result<T, CertificateError> {
    let read = T::from_der(whole);
    read.map(|(_, part)| part)
        .map_err(|_| CertificateError::Malformed)
}
