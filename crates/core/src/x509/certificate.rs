use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use jiff::Timestamp;

use super::constraints::{NameConstraints, Names};
use super::extensions::{ExtendedKeyUsage, KeyUsage, Policies};
use super::facts::{CertificateError, Facts};
use super::fingerprint::Fingerprint;
use super::hex::hex;
use super::key_algorithm::KeyAlgorithm;
use super::pem;
use super::profile::Usages;
use super::san::San;

/// A parsed certificate: its DER and the facts that decisions rest on. Cheap to clone; equal if the DER is.
#[derive(Clone)]
pub struct Certificate(Arc<Read>);

struct Read {
    der: Vec<u8>,
    facts: Facts,
    /// Signature checks are pure and dear: the answers for the last few issuers.
    signers: Mutex<Vec<(Fingerprint, bool)>>,
}

/// A bundle rarely holds more CAs of one name.
const SIGNERS: usize = 8;

impl Certificate {
    /// Reads one certificate. What a verifier would not accept is kept as facts, and `verify` judges it.
    pub fn from_der(der: Vec<u8>) -> Result<Self, CertificateError> {
        let facts = Facts::read(&der)?;
        Ok(Self(Arc::new(Read {
            der,
            facts,
            signers: Mutex::default(),
        })))
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
        self.0.facts.fingerprint
    }

    /// The subject as RFC 4514 writes it.
    pub fn subject(&self) -> &str {
        &self.0.facts.subject
    }

    /// What people are told of it: its subject, or its fingerprint where it has none, as servers' certificates may.
    pub fn title(&self) -> String {
        match self.subject() {
            "" => format!("the certificate {}", self.fingerprint().short()),
            subject => subject.to_owned(),
        }
    }

    /// The issuer as RFC 4514 writes it.
    pub fn issuer(&self) -> &str {
        &self.0.facts.issuer
    }

    /// The subject's bytes: what its children must have as their issuer.
    pub fn subject_der(&self) -> &[u8] {
        self.slice(&self.0.facts.subject_der)
    }

    /// The issuer's bytes.
    pub fn issuer_der(&self) -> &[u8] {
        self.slice(&self.0.facts.issuer_der)
    }

    /// Every common name of the subject, in order.
    pub fn common_names(&self) -> &[String] {
        &self.0.facts.common_names
    }

    /// Every organization of the subject, in order.
    pub fn organizations(&self) -> &[String] {
        &self.0.facts.organizations
    }

    /// Every organizational unit of the subject, in order.
    pub fn organizational_units(&self) -> &[String] {
        &self.0.facts.organizational_units
    }

    /// The mailboxes among the subject alternative names, in order.
    pub fn emails(&self) -> &[String] {
        self.0.facts.extensions.emails()
    }

    /// The serial number's bytes as lower-case hexadecimal digits, as `openssl x509 -serial` prints them.
    pub fn serial_hex(&self) -> String {
        hex(&self.0.facts.serial)
    }

    /// The start of the validity.
    pub fn not_before(&self) -> Timestamp {
        self.0.facts.not_before
    }

    /// The end of the validity. RFC 5280's "no end" (the last second of year 9999) is `Timestamp::MAX`.
    pub fn not_after(&self) -> Timestamp {
        self.0.facts.not_after
    }

    /// The SubjectPublicKeyInfo's bytes.
    pub fn spki_der(&self) -> &[u8] {
        self.slice(&self.0.facts.spki_der)
    }

    /// The subject key identifier, where there is one.
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0.facts.extensions.subject_key_id.as_deref()
    }

    /// The key identifier of the authority key identifier, where there is one.
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.0.facts.extensions.authority_key_id.as_deref()
    }

    /// Whether its basic constraints say that it is a CA.
    pub fn is_ca(&self) -> bool {
        matches!(self.0.facts.extensions.basic_constraints, Some((true, _)))
    }

    /// How many intermediates may stand below it.
    pub fn path_length(&self) -> Option<u32> {
        self.0
            .facts
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
            self.0.facts.scheme.verifies(
                key,
                issuer.public_key(),
                self.slice(&self.0.facts.tbs),
                self.slice(&self.0.facts.signature),
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
        &self.0.facts.extensions.sans
    }

    /// Whether a client that dials this host (a DNS name or an IP address) accepts its names. Common names do not count.
    pub fn is_valid_for(&self, host: &str) -> bool {
        self.sans().iter().any(|san| san.covers(host))
    }

    /// The extended key usages that it lists by name; `any` counts as both, and a certificate without a list has none.
    pub fn usages(&self) -> Usages {
        self.0
            .facts
            .extensions
            .extended_key_usage
            .map_or(Usages::default(), ExtendedKeyUsage::by_name)
    }

    /// The key usage, where there is one.
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.facts.extensions.key_usage
    }

    /// The kind of its key; none for kinds that are not used here (DSA, secp256k1, …).
    pub fn key_algorithm(&self) -> Option<KeyAlgorithm> {
        self.0.facts.key_algorithm
    }

    /// Why Go refuses to read this certificate, if it does: it then skips it in a bundle, and fails a handshake that
    /// presents it.
    pub fn defect(&self) -> Option<&'static str> {
        self.0.facts.defect
    }

    /// The broken hash that its signature rests on ("SHA-1", "MD5").
    pub fn weak_signature(&self) -> Option<&'static str> {
        self.0.facts.scheme.weakness()
    }

    /// The subject public key's bits.
    pub(super) fn public_key(&self) -> &[u8] {
        self.slice(&self.0.facts.public_key)
    }

    /// RFC 5280's first method: the SHA-1 of the public key's bits.
    pub(super) fn derived_key_id(&self) -> Vec<u8> {
        key_id(self.public_key())
    }

    pub(super) fn version(&self) -> u32 {
        self.0.facts.version
    }

    pub(super) fn has_basic_constraints(&self) -> bool {
        self.0.facts.extensions.basic_constraints.is_some()
    }

    /// Whether its key usage lets it sign certificates; one without (or with an empty one, as Go has it) does.
    pub(super) fn may_sign_certificates(&self) -> bool {
        self.key_usage()
            .is_none_or(KeyUsage::lets_sign_certificates)
    }

    /// Whether its list of extended key usages, if any, lets a chain through it serve that usage.
    pub(super) fn allows(&self, wanted: Usages) -> bool {
        self.0
            .facts
            .extensions
            .extended_key_usage
            .is_none_or(|listed| listed.allows(wanted))
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.0.facts.extensions.policies
    }

    pub(super) fn name_constraints(&self) -> Option<&NameConstraints> {
        self.0.facts.extensions.name_constraints.as_ref()
    }

    /// The names that constraints above it apply to; none without the extension.
    pub(super) fn constrained_names(&self) -> Option<Names<'_>> {
        self.0.facts.extensions.constrained_names()
    }

    pub(super) fn san_extension(&self) -> Option<&[u8]> {
        self.0.facts.extensions.san.as_deref()
    }

    /// The first critical extension that Go does not know, which makes it refuse every chain with it.
    pub(super) fn unhandled_critical(&self) -> Option<&str> {
        self.0.facts.extensions.unhandled_critical.as_deref()
    }

    pub(super) fn has_unhandled_name_constraints(&self) -> bool {
        self.0.facts.extensions.critical_name_constraints_unhandled
    }

    fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.0.der.get(range.clone()).unwrap_or_default()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.der() == other.der()
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
