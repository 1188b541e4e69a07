//! What a step waits for.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::place::Place;
use crate::model::{ObjectRef, PlaneRef, Pod, Unread, WorkloadRef};

/// What a leaf or an anchor waits for. Messages name it in [`crate::report`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocker {
    /// A list or an object that could not be read.
    Unread(Unread),
    /// An additional anchor that could not be read: where it is asked for.
    AnchorUnread(String),
    /// A workload whose pods may hold something older than what is stored.
    Workload(WorkloadRef),
    /// A pod that may, and that no known workload has made: no restart helps it.
    Pod(Arc<Pod>),
    /// A leaf that chains to no other anchor, or of which nothing can be read.
    Leaf(ObjectRef),
    /// A trust place that does not hold the authority's anchor.
    Place(Place),
    /// A plane's agent that has lost its connection since it had something new to load (guard 6).
    Agent(PlaneRef),
    /// A connected peer of which no workload is seen: until the overlap has passed.
    Peer {
        /// Which one.
        peer: Peer,
        /// The overlap's end.
        until: Timestamp,
    },
    /// One whose overlap has passed, and of which a person must say that it has loaded what is new.
    Unconfirmed(Peer),
    /// API servers, which may not have read a `caBundle` yet.
    ApiServers {
        /// Until when.
        until: Timestamp,
    },
    /// A write of another operator, or of an earlier run, that may still arrive.
    CallUnderWay {
        /// Until when.
        until: Timestamp,
    },
    /// The authority's answer to a request.
    Authority {
        /// Since when.
        since: Timestamp,
    },
    /// A maintenance window.
    Window {
        /// Until when it is waited for.
        until: Timestamp,
        /// Whether it opens then; else what waits cannot wait for it any longer.
        opens: bool,
    },
}

/// A peer that presents a leaf which no pod of a served namespace mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The gateway that a plane's agent is connected to.
    GatewayOf(PlaneRef),
    /// A plane's agent.
    AgentOf(PlaneRef),
}

impl Peer {
    /// The plane that tells of it.
    pub fn plane(&self) -> &PlaneRef {
        match self {
            Self::GatewayOf(plane) | Self::AgentOf(plane) => plane,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GatewayOf(plane) => write!(f, "the gateway of {plane}"),
            Self::AgentOf(plane) => write!(f, "the agent of {plane}"),
        }
    }
}
