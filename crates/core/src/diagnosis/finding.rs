//! What the doctor says.

use std::fmt;

use crate::domain::certmanager::CertificateWord;
use crate::reason::{Reason, words};

words! {
    /// What only the doctor finds: nothing of it keeps the operator from its work, or the operator cannot see it.
    FindingWord:

    // Certificates.
    /// `tls.crt` does not begin with the leaf.
    ChainOrder,
    /// The leaf is not valid yet.
    NotYetValid,
    /// The leaf's issuer is not, byte for byte, the subject of the CA that signed it.
    IssuerNameDiffers,
    /// The gateway's certificate lacks a name that clients dial.
    ServerNameMissing,

    // Trust.
    /// A bundle holds CAs, but not the one that its readers need.
    TrustMismatch,
    /// A bundle holds no certificate: nothing, comments or other text.
    BundleEmpty,
    /// A certificate in a bundle cannot be read.
    BundleDamaged,
    /// A plane has no clientCA: the gateway trusts no agent of it.
    ClientCAEmpty,
    /// A plane's clientCA is text without a certificate.
    ClientCANotPEM,
    /// The Secret or key that a plane's clientCA refers to does not exist, or holds no certificate.
    ClientCASecretMissing,

    // Workloads.
    /// A workload mounts what does not exist: its pods cannot start.
    MountMissing,
    /// A workload mounts a key that does not exist.
    MountKeyMissing,
    /// The gateway or an agent mounts another object than the issuance writes.
    MountMismatch,
    /// No agent runs for a plane.
    AgentNotFound,
    /// OpenChoreo reports that no agent of a plane is connected.
    AgentDisconnected,

    // Around it.
    /// The operator is not installed.
    OperatorNotFound,
    /// The operator's pods are not available.
    OperatorNotReady,
    /// No operator holds the Lease.
    LeaseNotHeld,
    /// The person who asks may not read what the answer needs.
    AccessDenied,
    /// The clocks of this machine and of the API server differ.
    ClockSkew,
    /// cert-manager writes a Secret that the issuance writes.
    CertManagerConflict,
    /// cert-manager does its work itself, and the operator stands aside.
    CertManagerAtWork,

    // cert-manager's objects.
    /// A Certificate is not Ready.
    CertificateNotReady,
    /// An Issuer cannot sign.
    IssuerNotReady,
    /// What asks to be injected into is not named in the chart's values.
    InjectionNotListed,
    /// What it asks to be injected from is not there, or does not allow it.
    InjectionSourceMissing,
    /// It asks to be injected from what is not honoured.
    InjectionRefused,

    // The handshake.
    /// Nothing answers at the gateway's address.
    GatewayUnreachable,
    /// The TLS handshake or the upgrade fails, and nothing that is stored says why.
    HandshakeFailed,
}

/// The word of a finding: that of the operator where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Word {
    /// A word of conditions.
    Operator(Reason),
    /// A word of a Certificate's conditions.
    Certificate(CertificateWord),
    /// A word of the doctor.
    Doctor(FindingWord),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator(reason) => reason.fmt(f),
            Self::Certificate(word) => word.fmt(f),
            Self::Doctor(word) => word.fmt(f),
        }
    }
}

impl From<Reason> for Word {
    fn from(reason: Reason) -> Self {
        Self::Operator(reason)
    }
}

impl From<CertificateWord> for Word {
    fn from(word: CertificateWord) -> Self {
        Self::Certificate(word)
    }
}

impl From<FindingWord> for Word {
    fn from(word: FindingWord) -> Self {
        Self::Doctor(word)
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Agents do not connect, or what is asked for is not done.
    Error,
    /// It works for now.
    Warning,
    /// Nothing is wrong, and a person should know.
    Note,
}

impl Severity {
    /// The word for people and scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What OpenChoreo's pods print, in the words of the guide's troubleshooting table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Symptom {
    /// A verifier does not trust who signed what it is shown.
    UnknownAuthority,
    /// A peer refuses the certificate for what it is.
    BadCertificate,
    /// The gateway knows no plane of that ID.
    NoPlane,
    /// The gateway trusts no such client.
    NotValidForAnyPlane,
}

impl Symptom {
    /// The guide's words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownAuthority => "x509: certificate signed by unknown authority",
            Self::BadCertificate => "tls: bad certificate",
            Self::NoPlane => "no CRs found with planeID",
            Self::NotValidForAnyPlane => "certificate not valid for any CR",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The word; its section in docs/troubleshooting.md says more.
    pub word: Word,
    /// How bad it is.
    pub severity: Severity,
    /// The object to look at.
    pub object: String,
    /// What is wrong.
    pub what: String,
    /// Why it matters, or how it comes about.
    pub cause: String,
    /// What to do.
    pub fix: String,
    /// What OpenChoreo's pods print, where the guide has words for it.
    pub symptom: Option<Symptom>,
}

impl Finding {
    pub(super) fn error(
        word: impl Into<Word>,
        object: impl ToString,
        what: impl Into<String>,
    ) -> Self {
        Self {
            word: word.into(),
            severity: Severity::Error,
            object: object.to_string(),
            what: what.into(),
            cause: String::new(),
            fix: String::new(),
            symptom: None,
        }
    }

    pub(super) fn warning(
        word: impl Into<Word>,
        object: impl ToString,
        what: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(word, object, what)
        }
    }

    pub(super) fn note(
        word: impl Into<Word>,
        object: impl ToString,
        what: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Note,
            ..Self::error(word, object, what)
        }
    }

    pub(super) fn cause(self, cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            ..self
        }
    }

    pub(super) fn fix(self, fix: impl Into<String>) -> Self {
        Self {
            fix: fix.into(),
            ..self
        }
    }

    pub(super) fn symptom(self, symptom: Symptom) -> Self {
        Self {
            symptom: Some(symptom),
            ..self
        }
    }
}
