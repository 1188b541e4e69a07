use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::constraints::{NameConstraints, Names};
use super::names;
use super::policy::Policies;
use super::san::{go_domain, ip_from_bytes, uri_host};
use super::signature::SignatureScheme;
use super::{Fingerprint, KeyAlgorithm, San, Usages, pem, shape};

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

/// The key usage extension's bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyUsage {
    /// Signatures other than those on certificates and CRLs; a TLS handshake is one.
    pub digital_signature: bool,
    /// RSA key exchange.
    pub key_encipherment: bool,
    /// Signatures on certificates.
    pub key_cert_sign: bool,
    /// Signatures on CRLs.
    pub crl_sign: bool,
    /// Any of the five others is set.
    pub other: bool,
}

impl KeyUsage {
    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The extended key usages that a certificate lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ExtendedKeyUsage {
    any: bool,
    usages: Usages,
    listed: bool,
}

/// A parsed certificate: its DER and the facts that decisions rest on. Cheap to clone; equal if the DER is.
#[derive(Clone)]
pub struct Certificate(Arc<Facts>);

struct Facts {
    der: Vec<u8>,
    fingerprint: Fingerprint,
    tbs: Range<usize>,
    subject_der: Range<usize>,
    issuer_der: Range<usize>,
    spki_der: Range<usize>,
    public_key: Range<usize>,
    signature: Range<usize>,
    scheme: SignatureScheme,
    version: u32,
    serial: Vec<u8>,
    subject: String,
    issuer: String,
    common_names: Vec<String>,
    organizations: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    key_algorithm: Option<KeyAlgorithm>,
    extensions: Extensions,
    defect: Option<&'static str>,
    /// Signature checks are pure and dear: the answers for the last few issuers.
    signers: Mutex<Vec<(Fingerprint, bool)>>,
}

/// A bundle rarely holds more CAs of one name.
const SIGNERS: usize = 8;

/// The extensions; of a version 1 or 2 certificate none.
#[derive(Default)]
struct Extensions {
    basic_constraints: Option<(bool, Option<u32>)>,
    key_usage: Option<KeyUsage>,
    extended_key_usage: Option<ExtendedKeyUsage>,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
    san: Option<Vec<u8>>,
    sans: Vec<San>,
    emails: Vec<String>,
    name_constraints: Option<NameConstraints>,
    policies: Policies,
    unhandled_critical: Option<String>,
    critical_name_constraints_unhandled: bool,
}

impl Certificate {
    /// Reads one certificate. What a verifier would not accept is kept as facts, and `verify` judges it.
    pub fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        let facts = Facts::read(&der)?;
        Ok(Self(Arc::new(Facts { der, ..facts })))
    }

    /// The bytes.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// One PEM block, with a newline at its end.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", self.der()).to_string()
    }

    /// The SHA-256 of the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The subject as RFC 4514 writes it.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The issuer as RFC 4514 writes it.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The subject's bytes: what its children must have as their issuer.
    pub fn subject_der(&self) -> &[u8] {
        self.slice(&self.0.subject_der)
    }

    /// The issuer's bytes.
    pub fn issuer_der(&self) -> &[u8] {
        self.slice(&self.0.issuer_der)
    }

    /// Every common name of the subject, in order.
    pub fn common_names(&self) -> &[String] {
        &self.0.common_names
    }

    /// Every organization of the subject, in order.
    pub fn organizations(&self) -> &[String] {
        &self.0.organizations
    }

    /// The serial number's bytes as lower-case hexadecimal digits, as `openssl x509 -serial` prints them.
    pub fn serial_hex(&self) -> String {
        self.0
            .serial
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The start of the validity.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// The end of the validity. RFC 5280's "no end" (the last second of year 9999) is `Timestamp::MAX`.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// The SubjectPublicKeyInfo's bytes.
    pub fn spki_der(&self) -> &[u8] {
        self.slice(&self.0.spki_der)
    }

    /// The subject key identifier, where there is one.
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0.extensions.subject_key_id.as_deref()
    }

    /// The key identifier of the authority key identifier, where there is one.
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.0.extensions.authority_key_id.as_deref()
    }

    /// Whether its basic constraints say that it is a CA.
    pub fn is_ca(&self) -> bool {
        matches!(self.0.extensions.basic_constraints, Some((true, _)))
    }

    /// How many intermediates may stand below it.
    pub fn path_length(&self) -> Option<u32> {
        self.0
            .extensions
            .basic_constraints
            .and_then(|(_, length)| length)
    }

    /// Whether subject and issuer are the same bytes.
    pub fn is_self_issued(&self) -> bool {
        self.subject_der() == self.issuer_der()
    }

    /// Whether it is signed with its own key.
    pub fn is_self_signed(&self) -> bool {
        self.signed_by(self)
    }

    /// Whether the issuer's name is its issuer, byte for byte, and the issuer's key made its signature. Whether the
    /// issuer was allowed to is for `verify` to say.
    pub fn signed_by(&self, issuer: &Self) -> bool {
        if self.issuer_der() != issuer.subject_der() {
            return false;
        }
        self.signature_verifies_with(issuer)
    }

    /// Whether the issuer's key made its signature, whatever its issuer is called.
    pub fn signature_verifies_with(&self, issuer: &Self) -> bool {
        let fingerprint = issuer.fingerprint();
        let mut signers = self
            .0
            .signers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answer)) = signers.iter().find(|(known, _)| *known == fingerprint) {
            return *answer;
        }
        let answer = issuer.key_algorithm().is_some_and(|key| {
            self.0.scheme.verifies(
                key,
                issuer.public_key(),
                self.slice(&self.0.tbs),
                self.slice(&self.0.signature),
            )
        });
        if signers.len() == SIGNERS {
            signers.remove(0);
        }
        signers.push((fingerprint, answer));
        answer
    }

    /// The subject alternative names, in order; kinds other than `San`'s are left out.
    pub fn sans(&self) -> &[San] {
        &self.0.extensions.sans
    }

    /// Whether a client that dials this host (a DNS name or an IP address) accepts its names. Common names do not count.
    pub fn is_valid_for(&self, host: &str) -> bool {
        self.sans().iter().any(|san| san.covers(host))
    }

    /// The extended key usages that it lists by name; `any` counts as both, and a certificate without a list has none.
    pub fn usages(&self) -> Usages {
        self.0
            .extensions
            .extended_key_usage
            .map_or(Usages::default(), |listed| {
                if listed.any {
                    Usages::BOTH
                } else {
                    listed.usages
                }
            })
    }

    /// The key usage, where there is one.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.extensions.key_usage
    }

    /// The kind of its key; none where it is one that is not used here.
    pub fn key_algorithm(&self) -> Option<KeyAlgorithm> {
        self.0.key_algorithm
    }

    /// Why Go refuses to read this certificate, if it does: it then skips it in a bundle, and fails a handshake that
    /// presents it.
    pub fn defect(&self) -> Option<&'static str> {
        self.0.defect
    }

    /// The broken hash that its signature rests on ("SHA-1", "MD5").
    pub fn weak_signature(&self) -> Option<&'static str> {
        self.0.scheme.weakness()
    }

    /// The subject public key's bits.
    pub(super) fn public_key(&self) -> &[u8] {
        self.slice(&self.0.public_key)
    }

    /// RFC 5280's first method: the SHA-1 of the public key's bits.
    pub(super) fn derived_key_id(&self) -> Vec<u8> {
        key_id(self.public_key())
    }

    pub(super) fn version(&self) -> u32 {
        self.0.version
    }

    pub(super) fn has_basic_constraints(&self) -> bool {
        self.0.extensions.basic_constraints.is_some()
    }

    /// Whether its key usage lets it sign certificates; one without (or with an empty one, as Go has it) does.
    pub(super) fn may_sign_certificates(&self) -> bool {
        self.key_usage()
            .is_none_or(|usage| usage.is_empty() || usage.key_cert_sign)
    }

    /// Whether its list of extended key usages, if any, lets a chain through it serve that usage.
    pub(super) fn allows(&self, wanted: Usages) -> bool {
        self.0
            .extensions
            .extended_key_usage
            .is_none_or(|listed| !listed.listed || listed.any || listed.usages.covers(wanted))
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.0.extensions.policies
    }

    pub(super) fn name_constraints(&self) -> Option<&NameConstraints> {
        self.0.extensions.name_constraints.as_ref()
    }

    /// The names that constraints above it apply to; none without the extension.
    pub(super) fn constrained_names(&self) -> Option<Names<'_>> {
        let extensions = &self.0.extensions;
        extensions.san.as_ref().map(|_| Names {
            sans: &extensions.sans,
            emails: &extensions.emails,
        })
    }

    pub(super) fn san_extension(&self) -> Option<&[u8]> {
        self.0.extensions.san.as_deref()
    }

    /// The first critical extension that Go does not know, which makes it refuse every chain with it.
    pub(super) fn unhandled_critical(&self) -> Option<&str> {
        self.0.extensions.unhandled_critical.as_deref()
    }

    pub(super) fn has_unhandled_name_constraints(&self) -> bool {
        self.0.extensions.critical_name_constraints_unhandled
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.0.der.get(range.clone()).unwrap_or_default()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl Hash for Certificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint().hash(state);
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Certificate({} {})",
            self.subject(),
            self.fingerprint().short()
        )
    }
}

pub(super) fn key_id(public_key: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, public_key)
        .as_ref()
        .to_vec()
}

impl Facts {
    /// All facts but the bytes themselves.
    fn read(der: &[u8]) -> Result<Self, CertificateError> {
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
            der: Vec::new(),
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
            not_before: timestamp(tbs.validity.not_before),
            not_after: timestamp(tbs.validity.not_after),
            key_algorithm,
            extensions,
            defect,
            signers: Mutex::default(),
        })
    }
}

impl Extensions {
    /// The extensions, and why Go would refuse to read them.
    fn read(list: &[X509Extension<'_>]) -> (Self, Option<&'static str>) {
        let mut read = Self::default();
        let mut defect = None;
        for (index, extension) in list.iter().enumerate() {
            if list
                .iter()
                .take(index)
                .any(|earlier| earlier.oid == extension.oid)
            {
                defect.get_or_insert("it has an extension twice");
            }
            match read.take(extension) {
                Ok(true) => {}
                Ok(false) if extension.critical => {
                    read.unhandled_critical
                        .get_or_insert_with(|| extension.oid.to_string());
                }
                Ok(false) => {}
                Err(fault) => {
                    defect.get_or_insert(fault);
                }
            }
        }
        (read, defect)
    }

    /// Takes one extension in; false if Go does not act on it, an error if Go refuses the certificate for it.
    fn take(&mut self, extension: &X509Extension<'_>) -> Result<bool, &'static str> {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(parsed) => {
                self.basic_constraints = Some((parsed.ca, parsed.path_len_constraint));
            }
            ParsedExtension::KeyUsage(parsed) => {
                self.key_usage = Some(KeyUsage {
                    digital_signature: parsed.digital_signature(),
                    key_encipherment: parsed.key_encipherment(),
                    key_cert_sign: parsed.key_cert_sign(),
                    crl_sign: parsed.crl_sign(),
                    other: parsed.non_repudiation()
                        || parsed.data_encipherment()
                        || parsed.key_agreement()
                        || parsed.encipher_only()
                        || parsed.decipher_only(),
                });
            }
            ParsedExtension::ExtendedKeyUsage(parsed) => {
                let usages = Usages {
                    server_auth: parsed.server_auth,
                    client_auth: parsed.client_auth,
                };
                let others = parsed.code_signing
                    || parsed.email_protection
                    || parsed.time_stamping
                    || parsed.ocsp_signing
                    || !parsed.other.is_empty();
                let listed = parsed.any || others || usages != Usages::default();
                self.extended_key_usage = Some(ExtendedKeyUsage {
                    any: parsed.any,
                    usages,
                    listed,
                });
            }
            ParsedExtension::SubjectKeyIdentifier(parsed) => {
                if extension.critical {
                    return Err("its subject key identifier is marked critical");
                }
                self.subject_key_id = Some(parsed.0.to_vec());
            }
            ParsedExtension::AuthorityKeyIdentifier(parsed) => {
                if extension.critical {
                    return Err("its authority key identifier is marked critical");
                }
                self.authority_key_id = parsed.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::SubjectAlternativeName(parsed) => {
                self.san = Some(extension.value.to_vec());
                return self.take_names(&parsed.general_names);
            }
            ParsedExtension::NameConstraints(parsed) => {
                let (constraints, unhandled) = NameConstraints::parse(parsed)?;
                self.name_constraints = Some(constraints);
                self.critical_name_constraints_unhandled = unhandled && extension.critical;
                return Ok(!unhandled);
            }
            ParsedExtension::CertificatePolicies(parsed) => {
                self.policies.asserted = parsed
                    .iter()
                    .map(|policy| policy.policy_id.to_string())
                    .collect();
            }
            ParsedExtension::PolicyMappings(parsed) => {
                self.policies.mappings = parsed
                    .mappings
                    .iter()
                    .map(|m| {
                        (
                            m.issuer_domain_policy.to_string(),
                            m.subject_domain_policy.to_string(),
                        )
                    })
                    .collect();
            }
            ParsedExtension::PolicyConstraints(parsed) => {
                self.policies.require_explicit = parsed.require_explicit_policy;
                self.policies.inhibit_mapping = parsed.inhibit_policy_mapping;
            }
            ParsedExtension::InhibitAnyPolicy(parsed) => {
                self.policies.inhibit_any = Some(parsed.skip_certs)
            }
            ParsedExtension::CRLDistributionPoints(_) => {}
            ParsedExtension::AuthorityInfoAccess(_) if extension.critical => {
                return Err("its authority information access is marked critical");
            }
            ParsedExtension::AuthorityInfoAccess(_) => {}
            ParsedExtension::ParseError { .. } if is_read_by_go(&extension.oid.to_string()) => {
                return Err("it has a malformed extension");
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_names(&mut self, names: &[GeneralName<'_>]) -> Result<bool, &'static str> {
        for name in names {
            match name {
                GeneralName::DNSName(name) if name.is_ascii() => {
                    self.sans.push(San::Dns((*name).to_owned()))
                }
                GeneralName::RFC822Name(name) if name.is_ascii() => {
                    self.emails.push((*name).to_owned())
                }
                GeneralName::URI(uri) if uri.is_ascii() => {
                    if uri_host(uri).is_some_and(|host| !go_domain(host, false)) {
                        return Err("it has a URI whose host is no domain");
                    }
                    self.sans.push(San::Uri((*uri).to_owned()));
                }
                GeneralName::IPAddress(bytes) => match ip_from_bytes(bytes) {
                    Some(address) => self.sans.push(San::Ip(address)),
                    None => return Err("it has an IP address of a strange length"),
                },
                GeneralName::DNSName(_)
                | GeneralName::RFC822Name(_)
                | GeneralName::URI(_)
                | GeneralName::Invalid(..) => {
                    return Err("it has an alternative name that is not ASCII");
                }
                _ => {}
            }
        }
        Ok(!self.sans.is_empty() || !self.emails.is_empty())
    }
}

/// The extensions whose malformed content makes Go refuse a certificate.
fn is_read_by_go(oid: &str) -> bool {
    const READ: &[&str] = &[
        "14", "15", "17", "19", "30", "31", "32", "33", "35", "36", "37", "54",
    ];
    oid.strip_prefix("2.5.29.")
        .is_some_and(|last| READ.contains(&last))
        || oid == "1.3.6.1.5.5.7.1.1"
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
