//! Certificates that sign themselves: the next one is made ahead, and waits as the ticket of its own request.

use external_ca_core::x509::{Certificate, hex};
use jiff::Timestamp;

use super::request::{IssuerError, Shown, Signed, Ticket};

/// What such an authority is called.
pub const SELF_SIGNED: &str = "selfSigned";

/// The ticket that a certificate waits as.
pub fn ticket(certificate: &Certificate, now: Timestamp) -> Ticket {
    Ticket {
        id: hex(certificate.der()),
        ask_again: now,
    }
}

/// The certificate that waits as a ticket.
pub fn certificate(ticket: &Ticket) -> Option<Certificate> {
    let digits = ticket.id.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok())
        .collect();
    Certificate::from_der(bytes?).ok()
}

pub(super) fn ask_again(ticket: &Ticket) -> Result<Signed, IssuerError> {
    certificate(ticket)
        .map(|certificate| Signed::Issued(vec![certificate]))
        .ok_or_else(|| {
            let why = "what was kept of a self-signed certificate cannot be read";
            IssuerError::Rejected(Shown::new(why))
        })
}

pub(super) fn sign() -> Result<Signed, IssuerError> {
    let why = "a self-signed certificate is made before it is asked for";
    Err(IssuerError::Rejected(Shown::new(why)))
}
