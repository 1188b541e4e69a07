//! The words that conditions, Events, metrics and logs share.

use crate::x509::CaError;

/// An enum of words that people meet: each is one CamelCase word with its section in docs/troubleshooting.md.
macro_rules! words {
    ($(#[$about:meta])* $words:ident: $($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $words { $($(#[$doc])* $name),* }

        impl $words {
            /// Every word, for documentation and metrics.
            pub const ALL: &[$words] = &[$($words::$name),*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $($words::$name => stringify!($name)),* }
            }
        }

        impl std::fmt::Display for $words {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Why something is as it is: one CamelCase word, the same in condition, Event, metric and log.
    Reason:
    // What is well, or under way.
    /// All is as wanted.
    Ready,
    /// Work is under way.
    Progressing,
    /// Nothing is under way.
    Idle,
    /// `spec.paused` is true.
    Paused,
    /// A verifier has not yet loaded the CA that is to sign, or a peer still depends on an old one.
    WaitingForPeers,
    /// A workload has not yet finished its rollout.
    RollingOut,
    /// What is due waits for the next maintenance window.
    WaitingForWindow,
    /// The issuer has the request for a certificate and has not signed it yet.
    IssuerPending,
    /// What cannot wait for the next maintenance window is done before it.
    OutsideWindow,
    /// A certificate was issued.
    Issued,
    /// A bundle was written.
    TrustUpdated,
    /// A plane's clientCA was written.
    PlaneWired,
    /// A workload was restarted.
    Restarted,
    /// An anchor left the bundle.
    AnchorDropped,
    /// `rotation.strategy` is Immediate: who still needs the old CA is cut off.
    CuttingOff,

    // Why a certificate is issued anew.
    /// The Secret does not exist or is empty.
    SecretMissing,
    /// The Secret holds no readable certificate.
    CertificateInvalid,
    /// The private key does not belong to the certificate.
    KeyMismatch,
    /// The key's algorithm or size is not the wanted one.
    KeyPolicyChanged,
    /// Common name, organization or SANs are not the wanted ones.
    NamesChanged,
    /// The certificate lacks a usage it needs: serverAuth or clientAuth.
    UsageWrong,
    /// Another CA than the issuer signed it.
    SignerChanged,
    /// `tls.crt` lacks an intermediate.
    ChainIncomplete,
    /// The certificate has expired.
    Expired,
    /// The time for renewal has come.
    Renewing,
    /// A person asked for a renewal.
    RenewRequested,

    // What is wrong with the CA.
    /// The CA Secret does not exist.
    CASecretNotFound,
    /// The CA Secret cannot be read.
    CASecretUnreadable,
    /// The CA's key is encrypted.
    CAKeyEncrypted,
    /// The CA's key does not belong to its certificate.
    CAKeyMismatch,
    /// The CA's key is missing or unreadable.
    CAKeyInvalid,
    /// The CA's certificate is missing or unreadable.
    CACertificateInvalid,
    /// The certificate is not a CA's.
    NotACA,
    /// The CA certificate's key usage lacks keyCertSign.
    CAKeyUsageMissing,
    /// A certificate of the CA's chain has expired.
    CAExpired,
    /// A certificate of the CA's chain is not yet valid.
    CANotYetValid,
    /// The CA's key is too weak.
    CAWeakKey,
    /// The CA's certificate is signed with a broken hash.
    CAWeakSignature,
    /// The CA's path length does not allow it.
    CAPathLengthExceeded,
    /// The CA's name constraints forbid the certificate.
    CANameConstraints,
    /// The CA's extended key usages leave out the certificate's.
    CAUsageNotAllowed,
    /// The CA demands a certificate policy that certificates issued here do not have.
    CAPolicyConstraints,
    /// The Secret's PEM is larger than 64 KiB.
    CATooLarge,
    /// The CA's kind of key cannot sign here.
    CAUnsupportedKey,
    /// The CA ends before certificates could live their full time.
    CAExpiring,
    /// A new CA is asked for, and the operator did not make the one that stands there.
    CANotGenerated,
    /// The trust Secret holds the CA's key, and workloads mount it.
    CAKeyExposed,

    // What is wrong with the request.
    /// A name, SAN or duration of the spec is not valid.
    InvalidSpec,
    /// The operator is not told to serve the namespace.
    NamespaceNotServed,
    /// Two plane IDs, entries or issuances want the same Secret.
    Conflict,
    /// The object has another owner.
    NotOwned,
    /// Something mounts a Secret that the issuance no longer asks for.
    LeftBehind,
    /// Another field manager keeps putting back what the operator wrote.
    FieldConflict,
    /// The object cannot be read.
    Unreadable,
    /// The API server refused a write.
    WriteFailed,
    /// The issuer refused or failed to sign.
    IssuerFailed,
    /// A certificate was issued again and again within a short time.
    IssuedTooOften,
    /// The operator's clock and the API server's are more than five minutes apart.
    ClockOff,
    /// An additional anchor cannot be read.
    AnchorUnreadable,

    // What is wrong with planes and workloads.
    /// No plane resource has the plane ID that an agent claims.
    PlaneNotFound,
    /// The plane's clientCA does not contain the CA that signs the agent's certificate.
    ClientCAMismatch,
    /// The plane's clientCA refers to a Secret that the operator does not manage.
    ForeignClientCA,
    /// A connected peer of which nothing shows what it has loaded: a person must say that a move to another CA may go on.
    AgentsUnproven,
    /// An agent that was connected before a restart of the operator, and has not come back.
    AgentsLost,
    /// A workload does not finish its rollout.
    RolloutStuck,
    /// A workload holds old material, and `rollout.strategy` is None.
    RestartNeeded,
    /// A pod that reads material has not started, for want of something else.
    NotRunning,
}

/// Something that keeps the issuance from being ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The word.
    pub reason: Reason,
    /// The object, what is wrong, and the fix.
    pub message: String,
}

impl Problem {
    /// A problem from its word and message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

impl From<&CaError> for Reason {
    /// The word for a refused CA.
    fn from(error: &CaError) -> Self {
        match error {
            CaError::TooLarge { .. } => Self::CATooLarge,
            CaError::CertificateMissing
            | CaError::CertificateInvalid { .. }
            | CaError::CertificateUnusable { .. } => Self::CACertificateInvalid,
            CaError::KeyMissing | CaError::KeyInvalid => Self::CAKeyInvalid,
            CaError::KeyEncrypted => Self::CAKeyEncrypted,
            CaError::UnsupportedKey { .. } => Self::CAUnsupportedKey,
            CaError::KeyMismatch => Self::CAKeyMismatch,
            CaError::NotACertificateAuthority { .. } => Self::NotACA,
            CaError::KeyUsageMissing { .. } => Self::CAKeyUsageMissing,
            CaError::Expired { .. } => Self::CAExpired,
            CaError::NotYetValid { .. } => Self::CANotYetValid,
            CaError::WeakKey { .. } => Self::CAWeakKey,
            CaError::WeakSignature { .. } => Self::CAWeakSignature,
            CaError::PathLengthExceeded { .. } => Self::CAPathLengthExceeded,
            CaError::NameConstraints { .. } => Self::CANameConstraints,
            CaError::UsageNotAllowed { .. } => Self::CAUsageNotAllowed,
            CaError::PolicyConstraints { .. } => Self::CAPolicyConstraints,
        }
    }
}
