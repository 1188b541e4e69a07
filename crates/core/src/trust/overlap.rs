//! Peers of which nothing here shows what they hold: an agent that is connected, or whose pods run, and of which no pod is seen
//! that mounts what this domain writes. They are waited for by the clock, and then for a person's word.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::blocker::{Blocker, Peer};
use super::evidence::Holders;
use super::view::View;
use crate::domain::{DesiredLeaf, Role, agent_of};
use crate::model::{Material, MaterialRef, ObjectRef, Plane, Pod, Read};

/// What a peer may still hold of which nothing shows what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Unproven {
    /// Which one.
    pub peer: Peer,
    /// The Secret of its leaf, where this domain issues one for it.
    pub target: Option<ObjectRef>,
    /// Until when it may still present what the Secret held before; none where that is known.
    pub presents_until: Option<Timestamp>,
    /// Until when it may still trust what it was told to trust before; none where that is known.
    pub trusts_until: Option<Timestamp>,
    /// Whether it is this operator's to keep connected: then a person says when it has loaded what is new. Any other is cut
    /// off if it has not by then.
    pub is_ours: bool,
}

impl Unproven {
    /// Why what rests on it must wait, if it must.
    pub fn blocker(&self, until: Option<Timestamp>, now: Timestamp) -> Option<Blocker> {
        let (peer, until) = (self.peer.clone(), until?);
        if until > now {
            Some(Blocker::Peer { peer, until })
        } else {
            self.is_ours.then_some(Blocker::Unconfirmed(peer))
        }
    }
}

/// Those peers. Of what a person has confirmed since it last changed, nothing is waited for.
pub fn unproven(view: &View<'_>, holders: &Holders<'_>) -> Vec<Unproven> {
    let pods = AgentPods::of(view);
    let observed = view.observed;
    let planes = observed.planes.iter().chain(&observed.strangers);
    let agents = planes.filter_map(|plane| agent(view, &pods, plane));
    let mut found: Vec<Unproven> = agents.collect();
    let gateways = view.domain.wanted.leaves.values();
    let gateways = gateways.filter(|leaf| leaf.role == Role::Gateway);
    let unseen = gateways.filter(|leaf| !holders.has_started_pods(&leaf.material()));
    let connected = view.domain.wanted.planes.iter();
    let connected = connected
        .filter(|plane| is_connected(view, plane))
        .map(|plane| &plane.plane)
        .min();
    if let Some(plane) = connected {
        let peer = || Peer::GatewayOf(plane.clone());
        found.extend(unseen.map(|leaf| waited_for(view, peer(), Some(leaf), true, true)));
    }
    found
}

/// The agent of a plane, unless pods of it run that mount what this domain writes.
fn agent(view: &View<'_>, pods: &AgentPods<'_>, plane: &Plane) -> Option<Unproven> {
    let mut leaves = view.verified_by(&plane.plane).iter().copied();
    let leaf = leaves.find(|leaf| leaf.role == Role::Agent);
    let pods = pods.of_plane(plane, leaf);
    let peer = Peer::AgentOf(plane.plane.clone());
    if pods.is_empty() && !is_connected(view, plane) {
        return None;
    }
    let bundles = &view.domain.wanted.trust_places;
    let reads_bundle = |pod: &&Pod| pod.mounts.iter().any(|one| bundles.contains(one));
    let shows_trust = !pods.is_empty() && pods.iter().all(reads_bundle);
    let reads = |leaf: &MaterialRef| pods.iter().any(|pod| pod.mounts.contains(leaf));
    let presents = leaf.is_some_and(|leaf| !reads(&leaf.material()));
    (presents || !shows_trust).then(|| waited_for(view, peer, leaf, presents, !shows_trust))
}

/// Since when a person may have to say of a peer what it holds, and until when it is given time.
fn waited_for(
    view: &View<'_>,
    peer: Peer,
    leaf: Option<&DesiredLeaf>,
    presents: bool,
    trusts: bool,
) -> Unproven {
    let overlap = view.domain.rotation.overlap;
    let confirmed = view.memory.confirmed.get(&peer.to_string());
    let until = |since: Option<Timestamp>| {
        let is_confirmed = since.is_some() && confirmed.copied() >= since;
        let until = since.unwrap_or(view.now).saturating_add(overlap);
        (!is_confirmed).then(|| until.unwrap_or(Timestamp::MAX))
    };
    let presents_until = leaf.filter(|_| presents).and_then(|leaf| {
        let stored = view.observed.material.get(&leaf.material());
        match stored.map(AsRef::as_ref) {
            Some(Read::Absent) => None,
            // Since when it holds a certificate of the CA that signs now, or whatever it holds.
            Some(Read::Found(found)) => until(found.signed_since.or(found.changed)),
            Some(Read::Unknown(_)) | None => until(None),
        }
    });
    Unproven {
        target: leaf.map(|leaf| leaf.target.clone()),
        presents_until,
        trusts_until: trusts.then(|| until(bundles_since(view, leaf))).flatten(),
        is_ours: view.observed.may_write(peer.plane()),
        peer,
    }
}

/// Since when the bundles stand that an agent can have loaded, or been brought: those of its namespace, or else all. None
/// where that is not known: then its time has not begun.
fn bundles_since(view: &View<'_>, leaf: Option<&DesiredLeaf>) -> Option<Timestamp> {
    let all = || view.domain.wanted.trust_places.iter();
    let near =
        all().filter(|one| leaf.is_some_and(|leaf| one.object.namespace == leaf.target.namespace));
    let mut bundles: Vec<&MaterialRef> = near.collect();
    if bundles.is_empty() {
        bundles = all().collect();
    }
    let mut last = view.memory.active_since(view.ca.anchor());
    for bundle in bundles {
        match view.observed.material.get(bundle).map(AsRef::as_ref) {
            Some(Read::Found(Material { changed, .. })) => last = last.max(Some((*changed)?)),
            Some(Read::Absent) => {}
            Some(Read::Unknown(_)) | None => return None,
        }
    }
    last
}

/// Whether OpenChoreo reports a plane's agent as connected, or as disconnected within the overlap.
fn is_connected(view: &View<'_>, plane: &Plane) -> bool {
    let overlap = view.domain.rotation.overlap;
    match view.connection(plane) {
        Some(true) => true,
        Some(false) => plane
            .agent_disconnected
            .is_some_and(|since| since.duration_until(view.now) < overlap),
        None => false,
    }
}

/// Pods of agents that have started: what a pod without a node or an image will read is what stands there then.
struct AgentPods<'a> {
    by_arguments: BTreeMap<(&'a str, &'a str), Vec<&'a Pod>>,
    others: Vec<&'a Pod>,
}

impl<'a> AgentPods<'a> {
    fn of(view: &View<'a>) -> Self {
        let (mut by_arguments, mut others) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        for pod in view.observed.pods.iter().filter(|pod| pod.has_started()) {
            match &pod.agent {
                Some((kind, id)) => {
                    let agent = (kind.as_str(), id.as_str());
                    by_arguments.entry(agent).or_default().push(pod.as_ref());
                }
                None => others.push(pod.as_ref()),
            }
        }
        Self {
            by_arguments,
            others,
        }
    }

    /// As their arguments say; where those are not known, whoever mounts the plane's leaf.
    fn of_plane(&self, plane: &Plane, leaf: Option<&DesiredLeaf>) -> Vec<&'a Pod> {
        let named = self
            .by_arguments
            .get(&agent_of(plane))
            .into_iter()
            .flatten();
        let target = leaf.map(DesiredLeaf::material);
        let others = self.others.iter();
        let others =
            others.filter(|pod| target.as_ref().is_some_and(|one| pod.mounts.contains(one)));
        named.chain(others).copied().collect()
    }
}
