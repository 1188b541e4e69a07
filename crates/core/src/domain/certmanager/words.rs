//! Why nothing is made of a Certificate, in words that stand in its conditions.

use crate::reason::words;

words! {
    /// Why nothing is made of a Certificate or Issuer.
    CertificateWord:
    /// An `ExternalCAIssuance` is to issue it, and none does yet.
    WaitingForIssuance,
    /// A field of its spec, or of its Issuer's, is outside the subset that is honoured.
    FieldNotSupported,
    /// The chart's values do not name its Secret.
    SecretNotListed,
    /// Its Issuer does not exist.
    IssuerNotFound,
    /// Another Certificate, or an issuance's CA, has its Secret.
    SecretTaken,
    /// Its Issuer's CA is an issuance's, which does not sign for it.
    NotTakenOver,
}

/// Why nothing is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateProblem {
    /// The word.
    pub word: CertificateWord,
    /// What is wrong, and the fix.
    pub message: String,
}

impl CertificateProblem {
    /// From its parts.
    pub fn new(word: CertificateWord, message: impl Into<String>) -> Self {
        Self {
            word,
            message: message.into(),
        }
    }
}
