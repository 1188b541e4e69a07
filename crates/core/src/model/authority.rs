//! What signs, as everyone may know it: its public side. Keys and clients are the operator's.

use std::sync::Arc;

use crate::reason::Problem;
use crate::x509::CaChain;

/// An authority's public side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Whether it can be used.
    pub state: AuthorityState,
    /// Its CA Secret, where the operator made it for this issuance.
    pub generated: Option<GeneratedCa>,
}

/// Whether an authority can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorityState {
    /// Verifiers would accept what it signs.
    Ready {
        /// Its certificates, up to the anchor.
        chain: Arc<CaChain>,
        /// Whether it can sign now.
        signing: Signing,
        /// Which one it is: a request that waits at one is of no use to another.
        identity: String,
    },
    /// Its CA Secret does not exist.
    Absent,
    /// It cannot be used.
    Refused(Problem),
}

/// Whether an authority can sign for whoever took the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// Its key, or the way to it, is at hand.
    Now,
    /// Only its certificates are at hand: enough to plan with.
    Elsewhere,
}

/// The CA Secret, where the operator made it for this issuance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedCa {
    /// As it was seen.
    pub resource_version: String,
    /// The request for a rotation that it was made for, as its annotation says.
    pub request: Option<String>,
}

impl Authority {
    /// Its certificates, where it can be used.
    pub fn chain(&self) -> Option<&Arc<CaChain>> {
        match &self.state {
            AuthorityState::Ready { chain, .. } => Some(chain),
            AuthorityState::Absent | AuthorityState::Refused(_) => None,
        }
    }
}
