use jiff::{SignedDuration, Timestamp};
use x509_cert::ext::Extension;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::ca::CertificateAuthority;
use super::ca_error::CaError;
use super::certificate::Certificate;
use super::encode::{self, EncodeError, Template};
use super::key::PrivateKey;
use super::key_algorithm::KeyAlgorithm;
use super::profile::{
    LeafProfile, ProfileError, Usages, validate_duration, validate_part, validate_subject,
};
use super::signature::SignatureScheme;
use super::verify::{VerifyError, verify};
use super::{pem, shape};

/// How far before now a certificate starts, for clocks that are behind.
pub const BACKDATE: SignedDuration = SignedDuration::from_mins(5);

/// Why no certificate came out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MintError {
    /// What was asked for makes no valid certificate.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// The CA cannot sign it.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The request is damaged, or not signed with its own key.
    #[error("the certificate signing request is damaged or not signed with its own key")]
    Request,
    /// The key is of another kind than the profile says.
    #[error("the key is {actual}, and the certificate is to have {wanted}")]
    KeyAlgorithm {
        /// What the profile says.
        wanted: KeyAlgorithm,
        /// What the key is.
        actual: KeyAlgorithm,
    },
    /// A serial number of only zeros.
    #[error("the serial number is zero")]
    Serial,
    /// The library could not encode or sign it.
    #[error("the certificate could not be encoded or signed")]
    Encoding,
    /// Minted, and then found not to verify: it is not handed out.
    #[error("the minted certificate does not verify: {0}")]
    Verify(#[from] VerifyError),
}

impl MintError {
    /// One CamelCase word for conditions, Events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Profile(error) => error.reason(),
            Self::Ca(error) => error.reason(),
            Self::Request => "RequestInvalid",
            Self::KeyAlgorithm { .. } => "KeyAlgorithmMismatch",
            Self::Serial => "SerialInvalid",
            Self::Encoding => "EncodingFailed",
            Self::Verify(error) => error.reason(),
        }
    }
}

impl From<EncodeError> for MintError {
    fn from(_: EncodeError) -> Self {
        Self::Encoding
    }
}

/// A certificate signing request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Csr(Vec<u8>);

impl Csr {
    /// One that was made before, where it is signed with its own key.
    pub fn from_der(der: Vec<u8>) -> Result<Self, MintError> {
        read_request(&der)?;
        Ok(Self(der))
    }

    /// The bytes.
    pub fn der(&self) -> &[u8] {
        &self.0
    }

    /// One PEM block, as Vault, EST and the Kubernetes CSR API take it.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE REQUEST", &self.0).to_string()
    }
}

/// What a CA certificate made here says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaProfile {
    /// The subject's common name.
    pub common_name: String,
    /// The subject's organizations, each a part of its own.
    pub organizations: Vec<String>,
    /// The subject's organizational units, each a part of its own.
    pub organizational_units: Vec<String>,
    /// How many intermediates may stand below it; none: as many as its own issuer allows.
    pub path_length: Option<u8>,
    /// How long it is valid, unless its issuer ends before.
    pub duration: SignedDuration,
}

/// Makes the request for a leaf, signed with the leaf's key.
pub fn request(key: &PrivateKey, profile: &LeafProfile) -> Result<Csr, MintError> {
    profile.validate()?;
    if key.algorithm() != profile.key {
        return Err(MintError::KeyAlgorithm {
            wanted: profile.key,
            actual: key.algorithm(),
        });
    }
    let subject = leaf_subject(profile)?;
    let requested = read_spki(key)?;
    let extensions = encode::leaf_extensions(profile, &requested.public_key, None)?;
    Ok(Csr(encode::request(key, &subject, extensions)?))
}

/// Signs a leaf: leaf first, then the intermediates, without the root.
///
/// Only the public key is taken from the request, once its signature is checked; all else comes from the profile.
/// The serial number is 16 random bytes; their top bit is cleared here.
pub fn sign_request(
    ca: &CertificateAuthority,
    csr_der: &[u8],
    profile: &LeafProfile,
    serial: [u8; 16],
    now: Timestamp,
) -> Result<Vec<Certificate>, MintError> {
    profile.validate()?;
    ca.permits(profile)?;
    let requested = read_request(csr_der)?;
    if requested.algorithm != profile.key {
        return Err(MintError::KeyAlgorithm {
            wanted: profile.key,
            actual: requested.algorithm,
        });
    }
    let authority = authority_key_id(ca);
    let extensions = encode::leaf_extensions(profile, &requested.public_key, Some(&authority))?;
    let subject = leaf_subject(profile)?;
    issue(
        ca,
        &requested,
        &subject,
        extensions,
        (serial, profile.duration, now),
        profile.usages,
    )
}

/// Signs an intermediate CA: the CA first, then the intermediates above it, without the root.
pub fn sign_intermediate(
    ca: &CertificateAuthority,
    csr_der: &[u8],
    profile: &CaProfile,
    serial: [u8; 16],
    now: Timestamp,
) -> Result<Vec<Certificate>, MintError> {
    profile.validate()?;
    ca.permits_intermediate()?;
    let requested = read_request(csr_der)?;
    let extensions = encode::ca_extensions(
        profile.path_length,
        &requested.public_key,
        Some(&authority_key_id(ca)),
    )?;
    let subject = ca_subject(profile)?;
    issue(
        ca,
        &requested,
        &subject,
        extensions,
        (serial, profile.duration, now),
        Usages::default(),
    )
}

/// Makes a root: where there is no CA yet, and one is to be made here.
pub fn self_signed_ca(
    key: &PrivateKey,
    profile: &CaProfile,
    serial: [u8; 16],
    now: Timestamp,
) -> Result<Certificate, MintError> {
    profile.validate()?;
    let subject = ca_subject(profile)?;
    let extensions =
        |public_key: &[u8]| encode::ca_extensions(profile.path_length, public_key, None);
    let root = self_signed(key, &subject, extensions, profile.duration, serial, now)?;
    if !root.is_self_signed() {
        return Err(MintError::Encoding);
    }
    Ok(root)
}

/// Makes a leaf that is signed with its own key: who is to trust it must be told of itself.
pub fn self_signed_leaf(
    key: &PrivateKey,
    profile: &LeafProfile,
    serial: [u8; 16],
    now: Timestamp,
) -> Result<Certificate, MintError> {
    profile.validate()?;
    if key.algorithm() != profile.key {
        return Err(MintError::KeyAlgorithm {
            wanted: profile.key,
            actual: key.algorithm(),
        });
    }
    let subject = leaf_subject(profile)?;
    let extensions = |public_key: &[u8]| encode::leaf_extensions(profile, public_key, None);
    let leaf = self_signed(key, &subject, extensions, profile.duration, serial, now)?;
    let anchors = std::slice::from_ref(&leaf);
    verify(anchors, anchors, profile.usages, now)?;
    Ok(leaf)
}

/// A certificate of a key's own, from now on and dated back.
fn self_signed(
    key: &PrivateKey,
    subject: &[u8],
    extensions: impl FnOnce(&[u8]) -> Result<Vec<Extension>, EncodeError>,
    duration: SignedDuration,
    serial: [u8; 16],
    now: Timestamp,
) -> Result<Certificate, MintError> {
    let requested = read_spki(key)?;
    let template = Template {
        serial: positive(serial)?,
        issuer: subject,
        not_before: now.saturating_sub(BACKDATE).unwrap_or(now),
        not_after: now.saturating_add(duration).unwrap_or(Timestamp::MAX),
        subject,
        spki: &requested.spki,
        extensions: extensions(&requested.public_key)?,
    };
    Certificate::from_der(template.sign(key)?).map_err(|_| MintError::Encoding)
}

fn leaf_subject(profile: &LeafProfile) -> Result<Vec<u8>, EncodeError> {
    let (organizations, units) = (&profile.organizations, profile.organizational_units());
    encode::subject(profile.common_names(), organizations, units)
}

fn ca_subject(profile: &CaProfile) -> Result<Vec<u8>, EncodeError> {
    let common_name = std::slice::from_ref(&profile.common_name);
    encode::subject(
        common_name,
        &profile.organizations,
        &profile.organizational_units,
    )
}

impl CaProfile {
    /// Makes the request for an intermediate, signed with its key.
    pub fn request(&self, key: &PrivateKey) -> Result<Csr, MintError> {
        self.validate()?;
        let subject = ca_subject(self)?;
        let extensions =
            encode::ca_extensions(self.path_length, &read_spki(key)?.public_key, None)?;
        Ok(Csr(encode::request(key, &subject, extensions)?))
    }

    fn validate(&self) -> Result<(), ProfileError> {
        validate_subject(&self.common_name, &self.organizations)?;
        self.organizational_units
            .iter()
            .try_for_each(validate_part)?;
        validate_duration(self.duration)
    }
}

struct Requested {
    spki: Vec<u8>,
    public_key: Vec<u8>,
    algorithm: KeyAlgorithm,
}

fn read_request(csr_der: &[u8]) -> Result<Requested, MintError> {
    let (rest, csr) =
        X509CertificationRequest::from_der(csr_der).map_err(|_| MintError::Request)?;
    let info = &csr.certification_request_info;
    let requested = requested(&info.subject_pki).ok_or(MintError::Request)?;
    let scheme = SignatureScheme::of(&csr.signature_algorithm, &csr.signature_value);
    let signed = scheme.verifies(
        requested.algorithm,
        &requested.public_key,
        info.raw,
        &csr.signature_value.data,
    );
    let whole = rest.is_empty() && shape::is_request(csr_der);
    if !whole || !signed || scheme.weakness().is_some() {
        return Err(MintError::Request);
    }
    Ok(requested)
}

fn read_spki(key: &PrivateKey) -> Result<Requested, MintError> {
    let (_, spki) = x509_parser::x509::SubjectPublicKeyInfo::from_der(key.spki_der())
        .map_err(|_| MintError::Encoding)?;
    requested(&spki).ok_or(MintError::Encoding)
}

fn requested(spki: &x509_parser::x509::SubjectPublicKeyInfo<'_>) -> Option<Requested> {
    Some(Requested {
        spki: spki.raw.to_vec(),
        public_key: spki.subject_public_key.data.to_vec(),
        algorithm: KeyAlgorithm::of_spki(spki)?,
    })
}

/// The CA's own key identifier, whatever its form; OpenSSL chains by it.
fn authority_key_id(ca: &CertificateAuthority) -> Vec<u8> {
    let certificate = ca.certificate();
    certificate
        .subject_key_id()
        .map_or_else(|| certificate.derived_key_id(), <[u8]>::to_vec)
}

fn issue(
    ca: &CertificateAuthority,
    requested: &Requested,
    subject: &[u8],
    extensions: Vec<Extension>,
    (serial, duration, now): ([u8; 16], SignedDuration, Timestamp),
    usages: Usages,
) -> Result<Vec<Certificate>, MintError> {
    ca.check_validity(now)?;
    let backdated = now.saturating_sub(BACKDATE).unwrap_or(now);
    let wanted_end = now.saturating_add(duration).unwrap_or(Timestamp::MAX);
    let template = Template {
        serial: positive(serial)?,
        issuer: ca.certificate().subject_der(),
        not_before: backdated.max(ca.not_before()),
        not_after: wanted_end.min(ca.not_after()),
        subject,
        spki: &requested.spki,
        extensions,
    };
    let certificate =
        Certificate::from_der(template.sign(ca.key())?).map_err(|_| MintError::Encoding)?;
    if certificate.issuer_der() != ca.certificate().subject_der()
        || certificate.spki_der() != requested.spki
    {
        return Err(MintError::Encoding);
    }
    let mut chain = vec![certificate];
    chain.extend(ca.intermediates().iter().cloned());
    verify(&chain, std::slice::from_ref(ca.anchor()), usages, now)?;
    Ok(chain)
}

/// Serial numbers are positive: the top bit is the sign.
fn positive(serial: [u8; 16]) -> Result<[u8; 16], MintError> {
    let [first, rest @ ..] = serial;
    let mut positive = [0; 16];
    for (to, from) in positive
        .iter_mut()
        .zip(std::iter::once(first & 0x7f).chain(rest))
    {
        *to = from;
    }
    if positive == [0; 16] {
        Err(MintError::Serial)
    } else {
        Ok(positive)
    }
}
