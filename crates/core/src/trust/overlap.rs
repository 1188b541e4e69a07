//! Peers that are connected, though nothing tells what they have loaded: the only ones that are waited for by the clock.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::blocker::Peer;
use super::evidence::Holders;
use crate::domain::{DesiredLeaf, Role, TrustDomain};
use crate::model::{MaterialRef, ObjectRef, Observed, Plane, PlaneRef};

/// What a peer may still hold of which no pod is seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Unproven {
    /// Which one.
    pub peer: Peer,
    /// The leaf's Secret.
    pub target: ObjectRef,
    /// Until when it may still present what the Secret held before.
    pub presents_until: Timestamp,
    /// Until when it may still trust what the bundles of its namespace held before.
    pub trusts_until: Timestamp,
}

/// Those peers: OpenChoreo reports that an agent is or has just been connected, and no pod is seen that runs it, or the
/// gateway that it is connected to.
pub fn unproven(
    observed: &Observed,
    domain: &TrustDomain<'_>,
    holders: &Holders<'_>,
    now: Timestamp,
) -> Vec<Unproven> {
    let overlap = domain.rotation.overlap;
    let talks = |plane: &Plane| match plane.agent_connected {
        Some(true) => true,
        Some(false) => plane
            .agent_disconnected
            .is_some_and(|since| since.duration_until(now) < overlap),
        None => false,
    };
    let wanted = &domain.wanted;
    let planes = wanted.planes.iter().filter(|plane| talks(plane));
    let talking: BTreeSet<&PlaneRef> = planes.map(|plane| &plane.plane).collect();
    let Some(any) = talking.first() else {
        return Vec::new();
    };
    let peer = |leaf: &DesiredLeaf| match leaf.role {
        Role::Gateway => Some(Peer::GatewayOf((*any).clone())),
        Role::Agent => {
            let mut planes = leaf.planes.iter();
            let plane = planes.find(|plane| talking.contains(plane))?;
            Some(Peer::AgentOf(plane.clone()))
        }
        Role::Further => None,
    };
    let leaves = wanted.leaves.values().chain(&wanted.blocked);
    leaves
        .filter(|leaf| !holders.has_pods(&leaf.material()))
        .filter_map(|leaf| {
            let bundles = wanted.trust_places.iter();
            let bundles = bundles.filter(|bundle| bundle.object.namespace == leaf.target.namespace);
            Some(Unproven {
                peer: peer(leaf)?,
                target: leaf.target.clone(),
                presents_until: until(observed, [&leaf.material()], overlap),
                trusts_until: until(observed, bundles, overlap),
            })
        })
        .collect()
}

/// The overlap after the last change of these objects.
fn until<'a>(
    observed: &Observed,
    objects: impl IntoIterator<Item = &'a MaterialRef>,
    overlap: SignedDuration,
) -> Timestamp {
    let changed = |object| observed.material.get(object)?.found()?.changed;
    let last = objects.into_iter().filter_map(changed).max();
    last.and_then(|last| last.saturating_add(overlap).ok())
        .unwrap_or(Timestamp::MIN)
}
