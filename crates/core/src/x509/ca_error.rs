use jiff::Timestamp;

/// Why a CA cannot be used, or not for this leaf. The messages name the Secret's keys and say what to do; they hold
/// subjects and times, and never a byte of a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CaError {
    /// More than a CA Secret has reason to hold.
    #[error(
        "{part} is {bytes} bytes long, and more than 65536 are not read: leave only the CA's chain in it"
    )]
    TooLarge {
        /// `tls.crt`, `tls.key` or `ca.crt`.
        part: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// No certificate.
    #[error("tls.crt holds no PEM certificate: put the CA's certificate there")]
    CertificateMissing,
    /// A block that was meant to be a certificate and is none.
    #[error(
        "{part} holds a certificate that cannot be read ({problem}): put whole PEM certificates there"
    )]
    CertificateInvalid {
        /// `tls.crt` or `ca.crt`.
        part: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A certificate that verifiers would refuse to read or to use.
    #[error("the CA certificate {subject} cannot be used: {problem}; have it reissued")]
    CertificateUnusable {
        /// Whose certificate.
        subject: String,
        /// What is wrong.
        problem: String,
    },
    /// No private key.
    #[error("tls.key holds no PEM private key: put the CA's private key there")]
    KeyMissing,
    /// Protected by a password.
    #[error(
        "the private key in tls.key is encrypted: decrypt it first, for example with `openssl pkey -in ca.key -out plain.key`"
    )]
    KeyEncrypted,
    /// Damaged.
    #[error(
        "the private key in tls.key cannot be read: it must be a PEM key in PKCS#8, PKCS#1 or SEC1 form"
    )]
    KeyInvalid,
    /// A kind that is not used here.
    #[error(
        "{what} is of an unsupported kind: use RSA (2048 to 8192 bits), ECDSA (P-256, P-384, P-521) or Ed25519"
    )]
    UnsupportedKey {
        /// Which key.
        what: String,
    },
    /// The key belongs to another certificate.
    #[error(
        "the private key in tls.key does not belong to a certificate in tls.crt: put the two that belong together there"
    )]
    KeyMismatch,
    /// CA:TRUE is missing.
    #[error(
        "the certificate {subject} is not a CA (basicConstraints CA:TRUE is missing): use a CA certificate"
    )]
    NotACertificateAuthority {
        /// Whose certificate.
        subject: String,
    },
    /// The key usage forbids signing certificates.
    #[error(
        "the CA certificate {subject} may not sign certificates (keyUsage lacks keyCertSign): have it reissued with keyCertSign"
    )]
    KeyUsageMissing {
        /// Whose certificate.
        subject: String,
    },
    /// Expired.
    #[error("the CA certificate {subject} expired at {not_after}: put a renewed one there")]
    Expired {
        /// Whose certificate.
        subject: String,
        /// When it ended.
        not_after: Timestamp,
    },
    /// Not valid yet.
    #[error(
        "the CA certificate {subject} is valid only from {not_before}: wait, or check the clocks"
    )]
    NotYetValid {
        /// Whose certificate.
        subject: String,
        /// When it starts.
        not_before: Timestamp,
    },
    /// RSA below 2048 bits.
    #[error("{what} is RSA with fewer than 2048 bits: use a CA with a longer key")]
    WeakKey {
        /// Which key.
        what: String,
    },
    /// SHA-1 or MD5.
    #[error(
        "the CA certificate {subject} is signed with {hash}: have it reissued with SHA-256 or better"
    )]
    WeakSignature {
        /// Whose certificate.
        subject: String,
        /// The hash.
        hash: &'static str,
    },
    /// A path length constraint.
    #[error(
        "the CA certificate {subject} allows fewer intermediates below it (pathlen:{allowed}): use a CA further up, or have it reissued"
    )]
    PathLengthExceeded {
        /// Whose certificate.
        subject: String,
        /// How many it allows.
        allowed: u32,
    },
    /// Name constraints that forbid the leaf, or that verifiers cannot apply.
    #[error("the CA certificate {subject} has name constraints: {problem}")]
    NameConstraints {
        /// Whose certificate.
        subject: String,
        /// Which name, and why.
        problem: String,
    },
    /// An extended key usage on the CA that leaves out the leaf's.
    #[error(
        "the CA certificate {subject} lists extended key usages without {usage}: certificates below it cannot be used for that"
    )]
    UsageNotAllowed {
        /// Whose certificate.
        subject: String,
        /// The usage that is left out.
        usage: &'static str,
    },
    /// The CA demands a certificate policy of what is below it.
    #[error(
        "the CA certificate {subject} demands an explicit certificate policy, which the certificates issued here do not have: use another CA"
    )]
    PolicyConstraints {
        /// Whose certificate.
        subject: String,
    },
}

impl CaError {
    /// One CamelCase word for conditions, Events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "TooLarge",
            Self::CertificateMissing => "CertificateMissing",
            Self::CertificateInvalid { .. } | Self::CertificateUnusable { .. } => {
                "CertificateInvalid"
            }
            Self::KeyMissing => "KeyMissing",
            Self::KeyEncrypted => "KeyEncrypted",
            Self::KeyInvalid => "KeyInvalid",
            Self::UnsupportedKey { .. } => "UnsupportedKey",
            Self::KeyMismatch => "KeyMismatch",
            Self::NotACertificateAuthority { .. } => "NotACertificateAuthority",
            Self::KeyUsageMissing { .. } => "KeyUsageMissing",
            Self::Expired { .. } => "Expired",
            Self::NotYetValid { .. } => "NotYetValid",
            Self::WeakKey { .. } => "WeakKey",
            Self::WeakSignature { .. } => "WeakSignature",
            Self::PathLengthExceeded { .. } => "PathLengthExceeded",
            Self::NameConstraints { .. } => "NameConstraints",
            Self::UsageNotAllowed { .. } => "UsageNotAllowed",
            Self::PolicyConstraints { .. } => "PolicyConstraints",
        }
    }
}
