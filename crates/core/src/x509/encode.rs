//! The DER of certificates and requests. Names of issuers and public keys are copied as bytes, never written anew.

use std::time::Duration;

use der::asn1::{
    Any, AnyRef, BitString, GeneralizedTime, Ia5String, ObjectIdentifier, OctetString, SetOfVec,
    UtcTime,
};
use der::{Decode as _, Encode, Sequence, Tag};
use jiff::Timestamp;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::attr::{Attribute, AttributeTypeAndValue};
use x509_cert::certificate::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo};
use x509_cert::serial_number::SerialNumber;
use x509_cert::time::{Time, Validity};

use super::certificate::key_id;
use super::key::{KeyError, PrivateKey};
use super::profile::{Asked, LeafProfile, Style};
use super::san::{San, ip_bytes};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const EXTENSION_REQUEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// The last year that a UTCTime can say.
const UTC_TIME_END: u64 = 2_524_608_000; // 2050-01-01T00:00:00Z

#[derive(thiserror::Error, Debug)]
pub(super) enum EncodeError {
    #[error(transparent)]
    Der(#[from] der::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What a certificate says; issuer, subject and public key as DER.
pub(super) struct Template<'a> {
    pub(super) serial: [u8; 16],
    pub(super) issuer: &'a [u8],
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) subject: &'a [u8],
    pub(super) spki: &'a [u8],
    pub(super) extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct TbsCertificate<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    version: Version,
    serial: SerialNumber,
    signature: AlgorithmIdentifierOwned,
    issuer: AnyRef<'a>,
    validity: Validity,
    subject: AnyRef<'a>,
    spki: AnyRef<'a>,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

#[derive(Sequence)]
struct Signed<'a> {
    content: AnyRef<'a>,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

impl Template<'_> {
    /// The certificate, signed with that key.
    pub(super) fn sign(self, key: &PrivateKey) -> Result<Vec<u8>, EncodeError> {
        // The algorithm stands inside what is signed, and follows from the key alone.
        let (signature, _) = key.sign(b"")?;
        let tbs = TbsCertificate {
            version: Version::V3,
            serial: SerialNumber::new(&self.serial)?,
            signature,
            issuer: AnyRef::from_der(self.issuer)?,
            validity: Validity::new(time(self.not_before)?, time(self.not_after)?),
            subject: AnyRef::from_der(self.subject)?,
            spki: AnyRef::from_der(self.spki)?,
            extensions: self.extensions,
        }
        .to_der()?;
        sign(&tbs, key)
    }
}

fn sign(tbs: &[u8], key: &PrivateKey) -> Result<Vec<u8>, EncodeError> {
    let (algorithm, signature) = key.sign(tbs)?;
    Ok(Signed {
        content: AnyRef::from_der(tbs)?,
        algorithm,
        signature: BitString::from_bytes(&signature)?,
    }
    .to_der()?)
}

/// The same certificate, signed with another key, and with another public key where one is given.
pub(super) fn signed_anew(
    certificate: &[u8],
    spki: Option<&[u8]>,
    key: &PrivateKey,
) -> Result<Vec<u8>, EncodeError> {
    let old = Signed::from_der(certificate)?;
    let content = old.content.to_der()?;
    let mut tbs = TbsCertificate::from_der(&content)?;
    if let Some(spki) = spki {
        tbs.spki = AnyRef::from_der(spki)?;
    }
    (tbs.signature, _) = key.sign(b"")?;
    sign(&tbs.to_der()?, key)
}

/// A certificate signing request, with the extensions that issuers elsewhere may copy.
pub(super) fn request(
    key: &PrivateKey,
    subject: &[u8],
    extensions: Vec<Extension>,
) -> Result<Vec<u8>, EncodeError> {
    let extensions = Any::encode_from(&extensions)?;
    let attribute = Attribute {
        oid: EXTENSION_REQUEST,
        values: SetOfVec::try_from(vec![extensions])?,
    };
    let info = CertReqInfo {
        version: x509_cert::request::Version::V1,
        subject: Name::from_der(subject)?,
        public_key: SubjectPublicKeyInfoOwned::from_der(key.spki_der())?,
        attributes: SetOfVec::try_from(vec![attribute])?,
    };
    let (algorithm, signature) = key.sign(&info.to_der()?)?;
    Ok(CertReq {
        info,
        algorithm,
        signature: BitString::from_bytes(&signature)?,
    }
    .to_der()?)
}

/// A subject: the common name, then the organizations and their units, each a part of its own, as UTF-8; the order is the
/// guide's.
pub(super) fn subject(
    common_names: &[String],
    organizations: &[String],
    units: &[String],
) -> Result<Vec<u8>, EncodeError> {
    let part = |oid, value: &str| -> der::Result<SetOfVec<AttributeTypeAndValue>> {
        let value = Any::new(Tag::Utf8String, value.as_bytes())?;
        SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }])
    };
    let kinds = [
        (COMMON_NAME, common_names),
        (ORGANIZATION, organizations),
        (ORGANIZATIONAL_UNIT, units),
    ];
    let mut parts = Vec::new();
    for (oid, values) in kinds {
        for value in values {
            parts.push(part(oid, value)?);
        }
    }
    Ok(parts.to_der()?)
}

/// A leaf's extensions. `public_key`: the bits; `authority`: the issuer's key identifier, if there is one yet.
pub(super) fn leaf_extensions(
    profile: &LeafProfile,
    public_key: &[u8],
    authority: Option<&[u8]>,
) -> Result<Vec<Extension>, EncodeError> {
    let usages = profile.usages;
    let extended = [
        (usages.server_auth, SERVER_AUTH),
        (usages.client_auth, CLIENT_AUTH),
    ];
    let extended: Vec<ObjectIdentifier> = extended
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, oid)| oid)
        .collect();

    let constraints = BasicConstraints {
        ca: false,
        path_len_constraint: None,
    };
    let mut extensions = vec![extension(BASIC_CONSTRAINTS, true, &constraints)?];
    if let Some(key_usage) = key_usage(profile) {
        extensions.push(extension(KEY_USAGE, true, &key_usage)?);
    }
    if !extended.is_empty() {
        let extended = ExtendedKeyUsage(extended);
        extensions.push(extension(EXTENDED_KEY_USAGE, false, &extended)?);
    }
    if let Some(names) = general_names(&profile.sans, profile.emails())? {
        // RFC 5280: where there is no subject, the names are all there is.
        let has_subject = !profile.common_names().is_empty()
            || !profile.organizations.is_empty()
            || !profile.organizational_units().is_empty();
        extensions.push(extension(SUBJECT_ALT_NAME, !has_subject, &names)?);
    }
    push_key_ids(&mut extensions, public_key, authority)?;
    Ok(extensions)
}

/// The key usage, where there is one: the guide's, or what is asked for.
fn key_usage(profile: &LeafProfile) -> Option<KeyUsage> {
    let flags = match &profile.style {
        Style::Guide => vec![
            (true, KeyUsages::DigitalSignature),
            (
                profile.usages.server_auth && profile.key.is_rsa(),
                KeyUsages::KeyEncipherment,
            ),
        ],
        Style::Asked(Asked { key_usages, .. }) => vec![
            (key_usages.digital_signature, KeyUsages::DigitalSignature),
            (key_usages.content_commitment, KeyUsages::NonRepudiation),
            (key_usages.key_encipherment, KeyUsages::KeyEncipherment),
            (key_usages.data_encipherment, KeyUsages::DataEncipherment),
            (key_usages.key_agreement, KeyUsages::KeyAgreement),
        ],
    };
    let mut wanted = flags.into_iter().filter(|(wanted, _)| *wanted);
    let (_, first) = wanted.next()?;
    let mut usage = KeyUsage(first.into());
    for (_, flag) in wanted {
        usage.0 |= flag;
    }
    Some(usage)
}

/// A CA's extensions.
pub(super) fn ca_extensions(
    path_length: Option<u8>,
    public_key: &[u8],
    authority: Option<&[u8]>,
) -> Result<Vec<Extension>, EncodeError> {
    let key_usage = KeyUsages::DigitalSignature | KeyUsages::KeyCertSign | KeyUsages::CRLSign;
    let mut extensions = vec![
        extension(
            BASIC_CONSTRAINTS,
            true,
            &BasicConstraints {
                ca: true,
                path_len_constraint: path_length,
            },
        )?,
        extension(KEY_USAGE, true, &KeyUsage(key_usage))?,
    ];
    push_key_ids(&mut extensions, public_key, authority)?;
    Ok(extensions)
}

fn push_key_ids(
    extensions: &mut Vec<Extension>,
    public_key: &[u8],
    authority: Option<&[u8]>,
) -> Result<(), EncodeError> {
    let subject = SubjectKeyIdentifier(OctetString::new(key_id(public_key))?);
    extensions.push(extension(SUBJECT_KEY_ID, false, &subject)?);
    if let Some(authority) = authority {
        let identifier = AuthorityKeyIdentifier {
            key_identifier: Some(OctetString::new(authority)?),
            ..AuthorityKeyIdentifier::default()
        };
        extensions.push(extension(AUTHORITY_KEY_ID, false, &identifier)?);
    }
    Ok(())
}

fn general_names(sans: &[San], emails: &[String]) -> Result<Option<SubjectAltName>, EncodeError> {
    let mut once: Vec<&San> = Vec::new();
    for san in sans {
        if !once.iter().any(|earlier| earlier.matches(san)) {
            once.push(san);
        }
    }
    let emails = emails.iter();
    let emails = emails.map(|email| Ok(GeneralName::Rfc822Name(Ia5String::new(email)?)));
    let names = once
        .into_iter()
        .map(|san| {
            Ok(match san {
                San::Dns(name) => GeneralName::DnsName(Ia5String::new(name)?),
                San::Uri(uri) => GeneralName::UniformResourceIdentifier(Ia5String::new(uri)?),
                San::Ip(address) => GeneralName::IpAddress(OctetString::new(ip_bytes(address))?),
            })
        })
        .chain(emails)
        .collect::<der::Result<Vec<_>>>()?;
    Ok(if names.is_empty() {
        None
    } else {
        Some(SubjectAltName(names))
    })
}

fn extension(
    oid: ObjectIdentifier,
    critical: bool,
    value: &impl Encode,
) -> Result<Extension, EncodeError> {
    Ok(Extension {
        extn_id: oid,
        critical,
        extn_value: OctetString::new(value.to_der()?)?,
    })
}

/// RFC 5280: UTCTime through 2049, GeneralizedTime from then on.
fn time(at: Timestamp) -> Result<Time, EncodeError> {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let since_epoch = Duration::from_secs(seconds);
    Ok(if seconds < UTC_TIME_END {
        Time::UtcTime(UtcTime::from_unix_duration(since_epoch)?)
    } else {
        Time::GeneralTime(GeneralizedTime::from_unix_duration(since_epoch)?)
    })
}
