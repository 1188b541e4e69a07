//! What crosses the seam to an issuer, and what comes back.

use std::fmt;
use std::time::Duration;

use external_ca_core::x509::{Certificate, Csr, LeafProfile};
use jiff::Timestamp;

/// So much of what an issuer says is shown.
const SHOWN: usize = 500;

/// What an issuer is asked for.
pub struct SigningRequest<'a> {
    /// The request, signed with the leaf's key.
    pub csr: &'a Csr,
    #[cfg_attr(
        not(feature = "test-authority"),
        expect(dead_code, reason = "a CA Secret signs at once")
    )]
    /// The same for the same request: an issuer that has seen it answers as before, and counts no second one.
    pub token: &'a str,
    /// What the certificate is to be.
    pub profile: &'a LeafProfile,
    /// Random bytes for the serial number, for issuers that let us choose it.
    pub serial: [u8; 16],
    /// Now.
    pub now: Timestamp,
}

/// What an issuer answers.
pub enum Signed {
    /// The certificate: leaf first, then the intermediates, without the root.
    Issued(Vec<Certificate>),
    /// It has the request, and is to be asked again.
    #[cfg_attr(
        not(feature = "test-authority"),
        expect(dead_code, reason = "a CA Secret signs at once")
    )]
    Pending(Ticket),
}

/// What an issuer wants to be asked again by.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    /// The issuer's own word for the request.
    pub id: String,
    /// When.
    pub ask_again: Timestamp,
}

/// Whether an issuer may leave a request pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// It signs or refuses, and nothing is kept meanwhile.
    AtOnce,
    /// It may answer with a ticket, or the answer may be lost: the key and the request are kept before it is asked.
    Later,
}

/// Why there is no certificate. Each text may be shown.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// It may be otherwise later.
    #[error("the issuer cannot sign now: {why}")]
    Transient {
        /// Why.
        why: Shown,
        /// How long the issuer wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The issuer will not sign this.
    #[error("the issuer refuses to sign: {0}")]
    Rejected(Shown),
    /// The issuer cannot be used in the way that the issuance or the chart says.
    #[error("the issuer cannot be used as it is configured: {0}")]
    Misconfigured(Shown),
}

impl IssuerError {
    /// Something that may be otherwise later.
    pub fn transient(why: impl AsRef<str>) -> Self {
        Self::Transient {
            why: Shown::new(why),
            retry_after: None,
        }
    }

    /// How long the issuer wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Transient { retry_after, .. } => *retry_after,
            Self::Rejected(_) | Self::Misconfigured(_) => None,
        }
    }
}

/// What an issuer says, as it may be shown: one short line, and no PEM.
#[derive(Debug)]
pub struct Shown(String);

impl Shown {
    /// Shortens a text, and leaves out what is no plain text.
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        let before_pem = text.split("-----").next().unwrap_or_default();
        let plain = before_pem.chars().filter(|char| !char.is_control());
        let mut shown: String = plain.take(SHOWN).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_issuer_says_is_shown_in_one_short_line_without_pem() {
        for (said, shown) in [
            ("permission denied", "permission denied"),
            ("two\nlines", "twolines…"),
            ("see -----BEGIN PRIVATE KEY-----\nAAAA", "see …"),
            ("", ""),
        ] {
            assert_eq!(Shown::new(said).to_string(), shown, "{said:?}");
        }
        let long = Shown::new("ä".repeat(600)).to_string();
        assert_eq!(long.chars().count(), SHOWN + 1);
    }
}
