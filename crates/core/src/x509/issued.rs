//! Whether what an issuer returned is what it was asked for.

use jiff::Timestamp;

use super::ca_chain::CaChain;
use super::certificate::Certificate;
use super::key::PrivateKey;
use super::profile::LeafProfile;
use super::san::San;
use super::verify::{VerifyError, verify};

/// Why an issued chain is not used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IssuedError {
    /// It is not what was asked for.
    #[error("the certificate that the issuer returned is not what was asked for ({0})")]
    Profile(&'static str),
    /// Another CA signed it than the one that verifiers are told of.
    #[error(
        "the certificate that the issuer returned was signed by another CA ({found}) than the issuer's ({wanted})"
    )]
    Signer {
        /// The issuer that it names.
        found: String,
        /// The CA's subject.
        wanted: String,
    },
    /// It does not verify against the CA's anchor.
    #[error("the certificate that the issuer returned does not verify ({0})")]
    Chain(#[from] VerifyError),
}

impl IssuedError {
    /// Whether time alone mends it: the issuer's clock is ahead.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Chain(VerifyError::NotYetValid { .. }))
    }
}

/// Compares what came back with what was asked (an issuer may clamp, drop or add), and verifies it against the anchor that
/// its verifiers trust, by the authority's public side. A shorter life than asked for is no defect: the renewal is earlier.
pub fn check_issued(
    chain: &[Certificate],
    key: &PrivateKey,
    profile: &LeafProfile,
    authority: &CaChain,
    now: Timestamp,
) -> Result<(), IssuedError> {
    let Some(leaf) = chain.first() else {
        return Err(IssuedError::Profile("there is no certificate"));
    };
    let checks = [
        (key.matches(leaf), "it has another key"),
        (!leaf.is_ca(), "it is a CA"),
        (
            leaf.common_names() == profile.common_names(),
            "its common name differs",
        ),
        (
            leaf.organizations() == profile.organizations,
            "its organizations differ",
        ),
        (
            leaf.usages() == profile.usages,
            "its extended key usages differ",
        ),
        (
            leaf.organizational_units() == profile.organizational_units(),
            "its organizational units differ",
        ),
        (San::same(&profile.sans, leaf.sans()), "its SANs differ"),
        (
            same_emails(profile.emails(), leaf.emails()),
            "its mailboxes differ",
        ),
    ];
    if let Some((_, difference)) = checks.into_iter().find(|(holds, _)| !holds) {
        return Err(IssuedError::Profile(difference));
    }
    let anchors = std::slice::from_ref(authority.anchor());
    verify(chain, anchors, profile.usages, now)?;
    if !authority.issued(leaf) {
        // It would be issued anew in the next turn, and so on.
        return Err(IssuedError::Signer {
            found: leaf.issuer().to_owned(),
            wanted: authority.certificate().subject().to_owned(),
        });
    }
    Ok(())
}

fn same_emails(some: &[String], others: &[String]) -> bool {
    let within = |one: &[String], all: &[String]| one.iter().all(|email| all.contains(email));
    within(some, others) && within(others, some)
}
