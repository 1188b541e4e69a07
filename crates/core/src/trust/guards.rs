//! The rotation guards: which anchors a trust place must hold, and when the authority may sign a leaf.
//!
//! The invariant, for every pair that talks: the leaf a peer presents, loaded or stored, verifies against every bundle
//! that its verifier could hold, loaded or stored. No phase is kept: each answer is derived from the snapshot.

use jiff::{SignedDuration, Timestamp};

use super::blocker::Blocker;
use super::evidence::{Consumers, Holders};
use super::overlap::{Unproven, unproven};
use super::place::Place;
use super::view::View;
use super::waiting::Waiting;
use crate::domain::{BundlePlace, ClientCa, DesiredLeaf, Role};
use crate::model::{InjectRef, MaterialRef, Plane, Read};
use crate::x509::Certificate;

/// How long a call may be on its way: longer than the operator waits for an answer (20 s).
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(30);

/// How long an API server's informers may be behind its store.
const INFORMED_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// What may follow from a view and from what consumers have loaded.
pub struct Guards<'a> {
    /// What stands where.
    pub view: View<'a>,
    /// Who mounts what, and may not hold what is stored.
    pub holders: Holders<'a>,
    /// Who cannot start without what is still to be made.
    waiting: Waiting<'a>,
    /// Peers of which nothing tells what they have loaded.
    pub unproven: Vec<Unproven>,
    /// Guard 8: guards 1 and 2 are skipped, and it was announced who will be cut off.
    pub immediate: bool,
}

impl<'a> Guards<'a> {
    /// Over a view and the consumers of its material.
    pub fn new(view: View<'a>, consumers: &Consumers<'a>) -> Self {
        let holders = Holders::new(consumers);
        Self {
            unproven: unproven(&view, &holders),
            immediate: view.domain.rotation.immediate && view.is_announced(),
            waiting: Waiting::new(view.observed, consumers),
            holders,
            view,
        }
    }

    /// What still depends on a retiring anchor: the leaves that chain to it, and the workloads that may hold such a leaf.
    /// Guards 2 and 3: the anchor stays until this is empty.
    pub fn dependents(&self, place: &Place, anchor: &Certificate) -> Vec<Blocker> {
        let view = &self.view;
        let stored = view.stored(place).unwrap_or_default().iter();
        let rest: Vec<Certificate> = stored
            .chain([view.ca.anchor()])
            .filter(|other| *other != anchor)
            .cloned()
            .collect();
        let mut blockers: Vec<Blocker> = view.unread().map(Blocker::Unread).collect();
        let anchors = view.unread_anchors.iter().cloned();
        blockers.extend(anchors.map(Blocker::AnchorUnread));
        for leaf in view.may_verify(place) {
            match view.chain(leaf) {
                _ if view.is_void(leaf) && !self.holders.has_started_pods(&leaf.material()) => {}
                Some(chain) if self.does_without(anchor, &rest, leaf, chain) => {
                    let holders = self.holders.not_current(&leaf.material());
                    blockers.extend(holders.iter().cloned());
                    let peers = self.unproven.iter();
                    let peers = peers.filter(|peer| peer.target.as_ref() == Some(&leaf.target));
                    blockers.extend(self.overlapping(peers, |peer| peer.presents_until));
                    blockers.extend(self.under_way(leaf, anchor));
                }
                _ => blockers.push(Blocker::Leaf(leaf.target.clone())),
            }
        }
        blockers.extend(self.lost_agents(place));
        blockers
    }

    /// Whether what is stored of a leaf verifies without an anchor; also where nobody renews it, and it never needed that one.
    fn does_without(
        &self,
        anchor: &Certificate,
        rest: &[Certificate],
        leaf: &DesiredLeaf,
        chain: &[Certificate],
    ) -> bool {
        let (view, usages) = (&self.view, leaf.profile.usages);
        let needs = || view.holds(chain, std::slice::from_ref(anchor), usages);
        view.holds(chain, rest, usages) || leaf.blocked && !needs()
    }

    /// Guard 6: an agent that was connected when its certificate or its bundle last changed, and is not now, has not shown
    /// yet that it still can connect. Nor does a report that is older than the change show it.
    fn lost_agents(&self, place: &Place) -> impl Iterator<Item = Blocker> {
        let planes: Vec<&Plane> = match place {
            Place::ClientCa(plane) => self.view.plane(plane).into_iter().collect(),
            Place::Material(_) | Place::Injected(_) => {
                let planes = self.view.domain.wanted.planes.iter();
                planes.map(AsRef::as_ref).collect()
            }
        };
        let lost = planes.into_iter().filter(|plane| {
            let Some((first, last)) = self.view.changes(plane) else {
                return false;
            };
            match plane.agent_connected {
                Some(true) => plane.agent_heartbeat.is_some_and(|beat| beat < last),
                Some(false) => plane.agent_disconnected >= Some(first),
                None => false,
            }
        });
        lost.map(|plane| Blocker::Agent(plane.plane.clone()))
    }

    /// Until when a certificate that an anchor's CA has signed before it was replaced may still arrive.
    pub fn signed_until(&self, anchor: &Certificate) -> Timestamp {
        let since = self.view.memory.retiring_since.get(&anchor.fingerprint());
        let since = since.copied().unwrap_or(self.view.now);
        since.saturating_add(UNDER_WAY).unwrap_or(Timestamp::MAX)
    }

    /// Guard 2 for a write that was sent before the CA was replaced, by an operator that has died since or believes that it
    /// leads: it fails where the Secret has changed since.
    fn under_way(&self, leaf: &DesiredLeaf, anchor: &Certificate) -> Option<Blocker> {
        let view = &self.view;
        if view.domain.rotation.immediate {
            return None;
        }
        let until = self.signed_until(anchor);
        let since = view.memory.retiring_since.get(&anchor.fingerprint());
        let stored = view.observed.material.get(&leaf.material())?.found()?;
        // The API server tells times in whole seconds.
        let changed = since.zip(stored.changed);
        let changed = changed.is_some_and(|(since, at)| at.as_second() >= since.as_second());
        (!changed && until > view.now).then_some(Blocker::CallUnderWay { until })
    }

    /// Guards 1 and 2 for peers that nothing shows: they are waited for until the overlap has passed, and then for a word.
    fn overlapping<'b>(
        &self,
        peers: impl Iterator<Item = &'b Unproven>,
        until: impl Fn(&Unproven) -> Option<Timestamp>,
    ) -> impl Iterator<Item = Blocker> {
        peers.filter_map(move |one| one.blocker(until(one), self.view.now))
    }

    /// The anchors that a place must hold: the authority's, those wanted beforehand, all that stands there and may not leave
    /// yet, and what the gateway's certificate still chains to. Guard 4: what others put there survives.
    pub fn wanted(&self, place: &Place) -> Option<Vec<Certificate>> {
        let view = &self.view;
        let stored = view.stored(place)?;
        if !stored.contains(view.ca.anchor()) && self.depends_on_the_unknown(place) {
            return None;
        }
        let mut wanted = vec![view.ca.anchor().clone()];
        let mut add = |anchor: &Certificate| {
            if !wanted.contains(anchor) {
                wanted.push(anchor.clone());
            }
        };
        view.additional.iter().for_each(&mut add);
        for anchor in stored {
            let may_leave = view.retiring.contains(anchor)
                && (self.immediate || self.dependents(place, anchor).is_empty());
            if !may_leave {
                add(anchor);
            }
        }
        self.still_needed(place).iter().for_each(&mut add);
        (!self.lacks_the_unread(place, &wanted)).then_some(wanted)
    }

    /// Whether a leaf that the place verifies needs an anchor that was handed out, and that stands nowhere but where it cannot
    /// be read now. Where all is read, it stands nowhere any more.
    fn lacks_the_unread(&self, place: &Place, wanted: &[Certificate]) -> bool {
        let view = &self.view;
        if self.immediate || !view.may_hold_more() {
            return false;
        }
        let fails = |leaf: &DesiredLeaf| {
            let chain = view.chain(leaf);
            chain.is_some_and(|chain| !view.holds(chain, wanted, leaf.profile.usages))
        };
        let mut leaves = view.leaves(place).into_iter();
        leaves.any(|leaf| !view.is_void(leaf) && fails(leaf))
    }

    /// What a place lacks though it should not: it is new, or was emptied, while an old anchor is still depended on.
    fn still_needed(&self, place: &Place) -> Vec<Certificate> {
        let view = &self.view;
        let mut needed = Vec::new();
        let by_reference = view.domain.client_ca == ClientCa::Reference;
        if by_reference && view.trust_secret().as_ref() == Some(place) {
            let planes = view.domain.wanted.planes.iter();
            for plane in planes.filter(|plane| self.is_switched(plane)) {
                let stays = |anchor: &&Certificate| !self.leaves_at_once(anchor);
                needed.extend(plane.anchors.iter().filter(stays).cloned());
            }
        }
        if self.immediate {
            return needed;
        }
        let stored = view.stored(place).unwrap_or_default();
        if self.is_bare(stored) {
            let in_use = |anchor: &&Certificate| !self.dependents(place, anchor).is_empty();
            needed.extend(view.retiring.iter().filter(in_use).cloned());
        }
        needed
    }

    /// Guard 8: whether an anchor leaves without waiting.
    pub fn leaves_at_once(&self, anchor: &Certificate) -> bool {
        self.immediate && self.view.retiring.contains(anchor)
    }

    /// Whether a plane is to take its clientCA from the trust Secret: one whose anchors have to do with this domain. Else
    /// another's CA would come into every plane.
    fn is_switched(&self, plane: &Plane) -> bool {
        let claims = &self.view.observed.claims;
        !claims.planes.contains_key(&plane.plane) && self.view.foreign(plane).is_none()
    }

    /// Whether a certificate that the place verifies cannot be read: then it is not known which anchor it needs.
    fn depends_on_the_unknown(&self, place: &Place) -> bool {
        let leaves = self.view.leaves(place).into_iter();
        leaves
            .filter_map(|leaf| self.view.observed.material.get(&leaf.material()))
            .any(|stored| matches!(stored.as_ref(), Read::Unknown(_)))
    }

    /// What must still hold the authority's anchor when a leaf is signed, for what was seen of it may be old: another
    /// operator that leads may have taken the anchor out. Where there is only one anchor, none does.
    pub fn trusted_by(&self, leaf: &DesiredLeaf) -> Vec<Place> {
        if self.immediate || !self.view.is_rotating() || self.view.is_signed(leaf) {
            return Vec::new();
        }
        let mut verifiers = self.view.verifiers(leaf);
        verifiers.retain(|place| !self.comes_with_a_leaf(place));
        verifiers
    }

    /// Whether an anchor leaves a place, or does not come back to one that was made anew or emptied.
    pub fn drops(&self, place: &Place, wanted: &[Certificate]) -> bool {
        let view = &self.view;
        let stored = view.stored(place).unwrap_or_default();
        let is_out = |anchor: &Certificate| !wanted.contains(anchor);
        stored.iter().any(is_out) || self.is_bare(stored) && view.retiring.iter().any(is_out)
    }

    /// Whether what stands in a place is neither the authority's nor on its way out: it was made anew, or emptied.
    fn is_bare(&self, stored: &[Certificate]) -> bool {
        let view = &self.view;
        let is_signers =
            |anchor: &Certificate| anchor == view.ca.anchor() || view.retiring.contains(anchor);
        !stored.iter().any(is_signers)
    }

    /// What must be as it was seen when an anchor leaves a place: the leaves that the place verifies.
    pub fn rests_on(&self, place: &Place, wanted: &[Certificate]) -> Vec<MaterialRef> {
        if self.immediate || !self.drops(place, wanted) {
            return Vec::new();
        }
        let leaves = self.view.may_verify(place).into_iter();
        leaves.map(DesiredLeaf::material).collect()
    }

    /// Guard 1: what a leaf must wait for before the authority signs it. Empty: sign.
    ///
    /// A leaf that already chains to the authority may be renewed at any time: nothing gets worse. One that does not exist
    /// may be issued at once where its verifiers never trusted anything else. An expired one convinces no verifier.
    pub fn must_load_first(&self, leaf: &DesiredLeaf) -> Vec<Blocker> {
        if self.immediate {
            return Vec::new();
        }
        let view = &self.view;
        let chain = view.chain(leaf);
        let first = chain.and_then(<[_]>::first);
        if view.is_signed(leaf) || first.is_some_and(|first| first.not_after() <= view.now) {
            return Vec::new();
        }
        let is_new = chain.is_none();
        // Where each presents to each, two that are missing would wait for each other.
        let may_cross = is_new && leaf.form.bundle == BundlePlace::Beside;
        let (mut places, mut loads) = (Vec::new(), Vec::new());
        for place in view.verifiers(leaf) {
            if is_new && self.comes_with_a_leaf(&place) {
                // The bundle beside a new leaf comes with it.
                loads.extend(self.readers_before(leaf, &place));
                continue;
            }
            let Some(stored) = view.stored(&place) else {
                if view.is_rotating() || !is_new {
                    places.push(Blocker::Place(place));
                }
                continue;
            };
            if !stored.contains(view.ca.anchor()) {
                places.push(Blocker::Place(place));
                continue;
            }
            if is_new && self.has_only_this_anchor(&place, stored) {
                continue;
            }
            // The gateway reads a clientCA at each connection, also where that refers to the trust Secret.
            match (&place, leaf.role) {
                (Place::Material(_), Role::Gateway | Role::Further) if may_cross => {
                    loads.extend(self.readers_before(leaf, &place));
                }
                (Place::Material(material), Role::Gateway | Role::Further) => {
                    loads.extend(self.holders.not_current(material).iter().cloned());
                }
                (Place::Injected(object), _) => loads.extend(self.not_informed(object)),
                (Place::Material(_) | Place::ClientCa(_), _) => {}
            }
        }
        // A plane that is not known may have an agent of the same planeID.
        if !is_new || view.is_rotating() {
            let is_agent = leaf.role == Role::Agent;
            let unread = view.unread();
            let unread = unread.filter(|unread| !is_agent || unread.is_of_planes());
            loads.extend(unread.map(Blocker::Unread));
            let verifiers = self.unproven.iter().filter(|_| !is_agent);
            let verifiers = verifiers.filter(|peer| peer.target.as_ref() != Some(&leaf.target));
            loads.extend(self.overlapping(verifiers, |peer| peer.trusts_until));
        }
        places.extend(loads);
        places
    }

    /// Who reads a place, may hold something older, and does not wait for a new leaf itself: of two that were deleted, and wait
    /// for each other's readers, neither waits.
    fn readers_before<'s>(
        &'s self,
        leaf: &'s DesiredLeaf,
        place: &Place,
    ) -> impl Iterator<Item = Blocker> + 's {
        let readers = self.older_readers(place).iter();
        let own = leaf.material();
        let behind = move |reader: &&Blocker| {
            self.waiting
                .waits_for(reader, &own, |missing| self.readers_of(missing))
        };
        readers.filter(move |reader| !behind(reader)).cloned()
    }

    /// Who must have read anew before a leaf that does not exist is made.
    fn readers_of(&self, missing: &MaterialRef) -> Vec<&Blocker> {
        let leaf = self.view.domain.wanted.leaves.get(&missing.object);
        let places = leaf.map_or_else(Vec::new, |leaf| self.view.verifiers(leaf));
        places
            .iter()
            .flat_map(|place| self.older_readers(place))
            .collect()
    }

    /// Who may hold an older bundle than the one that stands in a place, or than the one that comes with its leaf.
    fn older_readers(&self, place: &Place) -> &[Blocker] {
        let Place::Material(material) = place else {
            return &[];
        };
        let is_harmless = match self.view.stored(place) {
            Some(stored) => self.has_only_this_anchor(place, stored),
            None => !self.holders.has_started_pods(material) || self.view.other_anchors().is_none(),
        };
        match is_harmless {
            true => &[],
            false => self.holders.not_current(material),
        }
    }

    /// Whether a place is made together with the certificate that it stands beside.
    fn comes_with_a_leaf(&self, place: &Place) -> bool {
        let Place::Material(material) = place else {
            return false;
        };
        let stored = self.view.observed.material.get(material).map(AsRef::as_ref);
        let is_beside = self.view.domain.bundle_place(material) == BundlePlace::Beside;
        is_beside && matches!(stored, Some(Read::Absent))
    }

    /// API servers read a `caBundle` through informers, which may be behind for so long.
    fn not_informed(&self, object: &InjectRef) -> Option<Blocker> {
        let read = self.view.observed.injected.get(object)?;
        let until = read
            .found()?
            .changed?
            .saturating_add(INFORMED_WITHIN)
            .ok()?;
        (until > self.view.now).then_some(Blocker::ApiServers { until })
    }

    /// Whether the readers of a place have never trusted another anchor than the authority's.
    fn has_only_this_anchor(&self, place: &Place, stored: &[Certificate]) -> bool {
        let view = &self.view;
        let is_first = self.is_first(place);
        !view.replaces(place)
            && (is_first || view.other_anchors().is_none())
            && stored.iter().all(|other| {
                let beforehand = view.additional.contains(other) && is_first;
                other == view.ca.anchor() || beforehand && !view.retiring.contains(other)
            })
    }

    /// Whether nothing else ever stood in a place that is read at start: what is trusted beforehand now may have been all
    /// that was trusted before. A pod that is older than the object may have read one that was deleted.
    fn is_first(&self, place: &Place) -> bool {
        let Place::Material(material) = place else {
            return true;
        };
        let stored = self.view.observed.material.get(material);
        let Some(found) = stored.and_then(|stored| stored.found()) else {
            return false;
        };
        found.is_first_content() && self.holders.not_current(material).is_empty()
    }
}
