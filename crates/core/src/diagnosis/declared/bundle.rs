//! Whether a `caBundle` verifies what is served.

use jiff::Timestamp;
use serde::Serialize;

use super::seen::StoredSecret;
use crate::model::{Injected, InjectedElement, Leaf, Read};
use crate::x509::{Usages, VerifyError, verify};

/// What the `caBundle`s of an object come to: the worst of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum BundleState {
    /// Each holds every anchor of the Certificate.
    Holds,
    /// Each verifies what is served, and lacks an anchor: another is on its way in or out.
    Verifies,
    /// What it is to hold is not known.
    Unknown,
    /// One verifies something else.
    Lacks,
    /// One holds no certificate: it is empty, or a placeholder.
    Empty,
}

/// Of an object that is injected from the Certificate with this Secret.
pub(super) fn state(
    found: &Injected,
    secret: Option<&Read<StoredSecret>>,
    now: Timestamp,
) -> BundleState {
    let elements = found.elements.iter();
    let states = elements.map(|element| state_of(element, secret, now));
    states.max().unwrap_or(BundleState::Unknown)
}

fn state_of(
    element: &InjectedElement,
    secret: Option<&Read<StoredSecret>>,
    now: Timestamp,
) -> BundleState {
    if element.anchors.is_empty() {
        return BundleState::Empty;
    }
    let Some(stored) = secret.and_then(Read::found) else {
        return BundleState::Unknown;
    };
    let Leaf::Present { chain, .. } = &stored.material.leaf else {
        return BundleState::Unknown;
    };
    // That the certificate itself has ended, say, is no fault of the bundle's.
    let verified = verify(chain, &element.anchors, Usages::default(), now);
    if matches!(verified, Err(VerifyError::UnknownAuthority { .. })) {
        return BundleState::Lacks;
    }
    let mut anchors = stored.material.anchors.iter();
    match anchors.all(|anchor| element.anchors.contains(anchor)) {
        true => BundleState::Holds,
        false => BundleState::Verifies,
    }
}
