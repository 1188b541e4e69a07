//! What a certificate's DER says: everything that decisions rest on, read once.

use std::ops::Range;

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::extensions::Extensions;
use super::fingerprint::Fingerprint;
use super::key_algorithm::KeyAlgorithm;
use super::signature::SignatureScheme;
use super::{names, shape};

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
        let (rest, parsed) =
            X509Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingData(rest.len()));
        }
        let tbs = &parsed.tbs_certificate;
        let spki = &tbs.subject_pki;
        let version = tbs.version.0.saturating_add(1);
        let key_algorithm = KeyAlgorithm::of_spki(spki);
        let (extensions, mut defect) = if version == 3 {
            Extensions::read(tbs.extensions())
        } else {
            (Extensions::default(), None)
        };
        let negative = tbs
            .raw_serial()
            .first()
            .is_some_and(|byte| byte & 0x80 != 0);
        let faults = [
            (version > 3, "its version is unknown"),
            (negative, "its serial number is negative"),
            (
                tbs.signature != parsed.signature_algorithm,
                "its two signature algorithms differ",
            ),
            (
                !names::readable(&tbs.issuer),
                "its issuer has an unreadable value",
            ),
            (
                !names::readable(&tbs.subject),
                "its subject has an unreadable value",
            ),
            (
                !KeyAlgorithm::is_readable(spki),
                "its public key is malformed or on an unknown curve",
            ),
            (!shape::is_certificate(der), "its DER is malformed"),
        ];
        for (faulty, fault) in faults {
            if faulty {
                defect.get_or_insert(fault);
            }
        }
        Ok(Self {
            fingerprint: Fingerprint::of(der),
            tbs: range_in(der, tbs.as_ref()),
            subject_der: range_in(der, tbs.subject.as_raw()),
            issuer_der: range_in(der, tbs.issuer.as_raw()),
            spki_der: range_in(der, spki.raw),
            public_key: range_in(der, &spki.subject_public_key.data),
            signature: range_in(der, &parsed.signature_value.data),
            scheme: SignatureScheme::of(&parsed.signature_algorithm, &parsed.signature_value),
            version,
            serial: tbs.raw_serial().to_vec(),
            subject: names::rfc4514(&tbs.subject),
            issuer: names::rfc4514(&tbs.issuer),
            common_names: names::values(&tbs.subject, &names::COMMON_NAME),
            organizations: names::values(&tbs.subject, &names::ORGANIZATION),
            organizational_units: names::values(&tbs.subject, &names::ORGANIZATIONAL_UNIT),
            not_before: timestamp(tbs.validity.not_before),
            not_after: timestamp(tbs.validity.not_after),
            key_algorithm,
            extensions,
            defect,
        })
    }
}

/// Where a part of `whole` lies in it; an empty range for anything else.
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize);
    match start {
        Some(start) if start.saturating_add(part.len()) <= whole.len() => start..start + part.len(),
        _ => 0..0,
    }
}

/// jiff ends a day before year 10000 does, and RFC 5280's "no end" is that year's last second.
fn timestamp(time: ASN1Time) -> Timestamp {
    let seconds = time.timestamp();
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}
