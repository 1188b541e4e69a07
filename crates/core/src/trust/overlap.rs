//! Peers that are connected, though nothing here shows what they have loaded: the only ones that are waited for by the clock.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::blocker::{Blocker, Peer};
use super::evidence::Holders;
use super::view::View;
use crate::domain::{DesiredLeaf, Role, plane_type};
use crate::model::{Controller, MaterialRef, ObjectRef, Observed, Plane, PlaneRef, WorkloadRef};

/// What a peer may still hold of which no pod is seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Unproven {
    /// Which one.
    pub peer: Peer,
    /// The Secret of its leaf, where this domain issues one for it.
    pub target: Option<ObjectRef>,
    /// Until when it may still present what the Secret held before.
    pub presents_until: Timestamp,
    /// Until when it may still trust what it was told to trust before.
    pub trusts_until: Timestamp,
    /// Whether it is this operator's to keep connected: then a person says when it has loaded what is new. Any other is cut
    /// off if it has not by then.
    pub is_ours: bool,
}

impl Unproven {
    /// Why what rests on it must wait, if it must.
    pub fn blocker(&self, until: Timestamp, now: Timestamp) -> Option<Blocker> {
        let peer = self.peer.clone();
        if until > now {
            Some(Blocker::Peer { peer, until })
        } else {
            self.is_ours.then_some(Blocker::Unconfirmed(peer))
        }
    }
}

/// Those peers: OpenChoreo reports that an agent is or has just been connected, and no pod is seen that runs it, or the
/// gateway that it is connected to. None where a person says that all have loaded what is stored.
pub fn unproven(view: &View<'_>, holders: &Holders<'_>) -> Vec<Unproven> {
    if view.domain.requests.proceed {
        return Vec::new();
    }
    let mut found = wanted(view, holders);
    found.extend(unwanted(view));
    found
}

/// Whether its agent is connected, or was within the overlap.
fn talks(plane: &Plane, overlap: SignedDuration, now: Timestamp) -> bool {
    match plane.agent_connected {
        Some(true) => true,
        Some(false) => plane
            .agent_disconnected
            .is_some_and(|since| since.duration_until(now) < overlap),
        None => false,
    }
}

/// Those whose leaf this domain issues.
fn wanted(view: &View<'_>, holders: &Holders<'_>) -> Vec<Unproven> {
    let (observed, wanted) = (view.observed, &view.domain.wanted);
    let overlap = view.domain.rotation.overlap;
    let planes = wanted.planes.iter();
    let talking: BTreeSet<&PlaneRef> = planes
        .filter(|plane| talks(plane, overlap, view.now))
        .map(|plane| &plane.plane)
        .collect();
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
    let unseen = leaves.filter(|leaf| !holders.has_pods(&leaf.material()));
    unseen
        .filter_map(|leaf| {
            let bundles = wanted.trust_places.iter();
            let bundles = bundles.filter(|bundle| bundle.object.namespace == leaf.target.namespace);
            let peer = peer(leaf)?;
            Some(Unproven {
                target: Some(leaf.target.clone()),
                presents_until: until(observed, [&leaf.material()], overlap),
                trusts_until: until(observed, bundles, overlap),
                is_ours: observed.may_write(peer.plane()),
                peer,
            })
        })
        .collect()
}

/// The agents of planes that this domain does not wire: they verify the gateway all the same, by a bundle that others bring.
fn unwanted(view: &View<'_>) -> Vec<Unproven> {
    let observed = view.observed;
    let overlap = view.domain.rotation.overlap;
    let since = view.memory.active_since(view.ca.anchor());
    let trusts_until = since.unwrap_or(view.now).saturating_add(overlap);
    let trusts_until = trusts_until.unwrap_or(Timestamp::MAX);
    let planes = observed.planes.iter();
    let planes = planes.filter(|plane| view.plane(&plane.plane).is_none());
    let seen = seen_agents(observed);
    let is_seen =
        |plane: &Plane| seen.contains(&(plane_type(plane.plane.kind), plane.plane_id.as_str()));
    planes
        .filter(|plane| talks(plane, overlap, view.now) && !is_seen(plane))
        .map(|plane| Unproven {
            peer: Peer::AgentOf(plane.plane.clone()),
            target: None,
            presents_until: Timestamp::MIN,
            trusts_until,
            is_ours: observed.may_write(&plane.plane),
        })
        .collect()
}

/// The agents of which pods are seen: plane type and planeID.
fn seen_agents(observed: &Observed) -> BTreeSet<(&str, &str)> {
    let owners = observed
        .pods
        .iter()
        .filter_map(|pod| match &pod.controller {
            Controller::Workload(owner) => Some(owner),
            Controller::Other(_) | Controller::Nothing => None,
        });
    let owners: BTreeSet<&WorkloadRef> = owners.collect();
    let workloads = observed.workloads.iter();
    let agents = workloads.filter_map(|one| Some((one.agent.as_ref()?, &one.workload)));
    agents
        .filter(|(_, workload)| owners.contains(workload))
        .map(|((kind, id), _)| (kind.as_str(), id.as_str()))
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
