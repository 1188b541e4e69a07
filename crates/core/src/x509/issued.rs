//! Whether what an issuer returned is what it was asked for.

use jiff::Timestamp;

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
    /// It does not verify against the CA's anchor.
    #[error("the certificate that the issuer returned does not verify ({0})")]
    Chain(#[from] VerifyError),
}

/// Compares what came back with what was asked (an issuer may clamp, drop or add), and verifies it against the
/// anchors that its verifiers trust.
pub fn check_issued(
    chain: &[Certificate],
    key: &PrivateKey,
    profile: &LeafProfile,
    anchors: &[Certificate],
    now: Timestamp,
) -> Result<(), IssuedError> {
    let Some(leaf) = chain.first() else {
        return Err(IssuedError::Profile("there is no certificate"));
    };
    let checks = [
        (key.matches(leaf), "it has another key"),
        (!leaf.is_ca(), "it is a CA"),
        (
            leaf.common_names() == [profile.common_name.clone()],
            "its common name differs",
        ),
        (
            leaf.usages() == profile.usages,
            "its extended key usages differ",
        ),
        (San::same(&profile.sans, leaf.sans()), "its SANs differ"),
    ];
    if let Some((_, difference)) = checks.into_iter().find(|(holds, _)| !holds) {
        return Err(IssuedError::Profile(difference));
    }
    Ok(verify(chain, anchors, profile.usages, now)?)
}
