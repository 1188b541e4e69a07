//! The bundle algebra and the rotation guards: which anchors a trust place must hold, and which CA may sign a leaf.
//!
//! The invariant, for every pair that talks: the leaf a peer presents, loaded or stored, verifies against every bundle
//! that its verifier could hold, loaded or stored. No phase is kept: each answer is derived from the snapshot.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::RotationStrategy;
use jiff::{SignedDuration, Timestamp};

use crate::domain::{Desired, DesiredLeaf, Role};
use crate::model::{Leaf, MaterialRef, Observed, Plane, PlaneRef, Read};
use crate::trust::evidence::Holders;
use crate::trust::overlap::Unseen;
use crate::x509::{CaChain, Certificate, Fingerprint, Usages, verify};

/// How long a call may be on its way: longer than the operator waits for an answer (20 s).
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(30);

/// Where verifiers read their bundle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A ConfigMap or Secret that workloads mount.
    Material(MaterialRef),
    /// The clientCA of a plane resource.
    ClientCa(PlaneRef),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Material(material) => write!(f, "{material}"),
            Self::ClientCa(plane) => write!(f, "{plane} spec.clusterAgent.clientCA"),
        }
    }
}

/// Whom a leaf must wait for before the CA may sign it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waiting {
    /// Trust places that do not hold the CA yet.
    pub places: Vec<Place>,
    /// Workloads that may not have loaded what is stored, and what cannot be read.
    pub loads: Vec<String>,
}

/// The leaves that a plane's clientCA verifies, in their order: found once, for a thousand planes ask for theirs.
pub struct Verified<'a>(BTreeMap<&'a PlaneRef, Vec<&'a DesiredLeaf>>);

impl<'a> Verified<'a> {
    /// Of all that is wanted.
    pub fn new(desired: &'a Desired) -> Self {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for leaf in desired.leaves.values().chain(&desired.blocked) {
            match leaf.role {
                Role::Gateway => {}
                Role::Agent => {
                    for plane in &leaf.planes {
                        found.entry(plane).or_default().push(leaf);
                    }
                }
                Role::Further => {
                    for plane in &desired.planes {
                        found.entry(&plane.plane).or_default().push(leaf);
                    }
                }
            }
        }
        Self(found)
    }

    fn by(&self, plane: &PlaneRef) -> &[&'a DesiredLeaf] {
        self.0.get(plane).map_or(&[], Vec::as_slice)
    }
}

/// The trust of one issuance, over one snapshot.
pub struct Trust<'a> {
    /// The snapshot.
    pub observed: &'a Observed,
    /// What is wanted.
    pub desired: &'a Desired,
    /// What signs.
    pub ca: &'a CaChain,
    /// `trust.additionalAnchors`, read.
    pub additional: &'a [Certificate],
    /// Entries of it that cannot be read.
    pub unknown_anchors: &'a [String],
    /// Who verifies what.
    pub verified: &'a Verified<'a>,
    /// Who mounts what, and may not have loaded what is stored.
    pub holders: &'a Holders<'a>,
    /// Peers of which nothing tells what they have loaded.
    pub unseen: &'a [Unseen],
    /// Anchors that the operator put into bundles, or found to verify its leaves: status remembers them.
    pub known: &'a BTreeSet<Fingerprint>,
    /// Anchors of this kind that have left every bundle.
    pub former: &'a BTreeSet<Fingerprint>,
    /// Since when anchors are on their way out, as far as it was said.
    pub retiring_since: &'a BTreeMap<Fingerprint, Timestamp>,
    /// The trust Secret that planes may refer to.
    pub trust_secret: &'a MaterialRef,
    /// Whether planes are to refer to it.
    pub by_reference: bool,
    /// Guard 8: guards 1 and 2 are skipped, and it was said who will be cut off.
    pub immediate: bool,
    /// Now.
    pub now: Timestamp,
}

impl Trust<'_> {
    /// The anchors that stand in a place; none where that is not known.
    pub fn stored(&self, place: &Place) -> Option<&[Certificate]> {
        match place {
            Place::Material(material) => self.bundle(material),
            Place::ClientCa(plane) => {
                let plane = self.plane(plane)?;
                if self.refers_to_trust_secret(plane) {
                    self.bundle(self.trust_secret)
                } else if plane.value.is_none() && plane.reference.is_some() {
                    None
                } else {
                    Some(&plane.anchors)
                }
            }
        }
    }

    fn bundle(&self, material: &MaterialRef) -> Option<&[Certificate]> {
        match self.observed.material.get(material)?.as_ref() {
            Read::Found(stored) => Some(&stored.anchors),
            Read::Absent => Some(&[]),
            Read::Unknown(_) => None,
        }
    }

    /// Whether its readers may hold what stood there before it was deleted.
    fn replaces(&self, place: &Place) -> bool {
        let Place::Material(material) = place else {
            return false;
        };
        let stored = self.observed.material.get(material);
        stored.is_some_and(|stored| stored.found().is_some_and(|found| found.replaces))
    }

    /// Whether nothing else ever stood in a place that is read at start: what is trusted beforehand now may have been all
    /// that was trusted before. Who was available before the object was made may have read one that was deleted.
    fn is_first(&self, place: &Place) -> bool {
        let Place::Material(material) = place else {
            return true;
        };
        let stored = self.observed.material.get(material);
        let Some(found) = stored.and_then(|stored| stored.found()) else {
            return false;
        };
        let mut readers = self.holders.of(material).iter();
        found.changed == found.created
            && readers.all(|reader| {
                let since = reader.available_since;
                since.is_none() || since >= found.created
            })
    }

    fn plane(&self, plane: &PlaneRef) -> Option<&Plane> {
        // Sorted by construction: a thousand planes are looked up a thousand times.
        let index = self
            .desired
            .planes
            .binary_search_by(|candidate| candidate.plane.cmp(plane))
            .ok()?;
        self.desired.planes.get(index).map(AsRef::as_ref)
    }

    /// Whether a plane takes its clientCA from the trust Secret: then nothing is ever written to it.
    pub fn refers_to_trust_secret(&self, plane: &Plane) -> bool {
        plane.value.is_none()
            && plane
                .reference
                .as_ref()
                .is_some_and(|(secret, key)| *secret == self.trust_secret.object && key == "ca.crt")
    }

    /// Every trust place.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let material = self
            .desired
            .trust_places
            .iter()
            .cloned()
            .map(Place::Material);
        material.chain(
            self.desired
                .planes
                .iter()
                .map(|plane| Place::ClientCa(plane.plane.clone())),
        )
    }

    /// Whether what reads this place verifies that leaf.
    fn verifies(&self, place: &Place, leaf: &DesiredLeaf) -> bool {
        match (place, leaf.role) {
            (_, Role::Further) => true,
            (Place::Material(_), Role::Gateway) => true,
            (Place::Material(material), Role::Agent) => {
                let mut planes = leaf.planes.iter().filter_map(|plane| self.plane(plane));
                material == self.trust_secret
                    && planes.any(|plane| self.by_reference || self.refers_to_trust_secret(plane))
            }
            (Place::ClientCa(plane), Role::Agent) => leaf.planes.contains(plane),
            (Place::ClientCa(_), Role::Gateway) => false,
        }
    }

    /// The leaves that what reads this place verifies.
    fn leaves(&self, place: &Place) -> Vec<&DesiredLeaf> {
        match place {
            Place::ClientCa(plane) => self.verified.by(plane).to_vec(),
            Place::Material(_) => {
                let leaves = self.desired.leaves.values().chain(&self.desired.blocked);
                leaves.filter(|leaf| self.verifies(place, leaf)).collect()
            }
        }
    }

    fn chain(&self, leaf: &DesiredLeaf) -> Option<&[Certificate]> {
        match &self.observed.material.get(&leaf.material())?.found()?.leaf {
            Leaf::Present { chain, .. } => Some(chain),
            _ => None,
        }
    }

    /// Whether nothing is presented of a leaf that cannot be planned, as far as can be read: nothing stands there, and nothing
    /// was ever told of it, so that no pod holds what stood there before.
    fn is_void(&self, leaf: &DesiredLeaf) -> bool {
        if !leaf.blocked {
            return false;
        }
        let stored = self.observed.material.get(&leaf.material());
        let is_unknown = matches!(stored.map(AsRef::as_ref), Some(Read::Unknown(_)));
        let is_leaf = |chain: &[Certificate]| chain.first().is_some_and(|first| !first.is_ca());
        let target = leaf.target.to_string();
        let was_told = self
            .observed
            .issuance
            .status
            .as_ref()
            .is_some_and(|status| {
                let mut told = status.certificates.iter();
                status.omitted.is_some() || told.any(|told| told.target == target)
            });
        !is_unknown && !was_told && !self.chain(leaf).is_some_and(is_leaf)
    }

    /// Whether a leaf chains to one of the anchors, at some time while it is valid: a clock that is wrong here must not
    /// make anybody forget what peers use.
    fn holds(&self, chain: &[Certificate], anchors: &[Certificate], usages: Usages) -> bool {
        let Some(leaf) = chain.first() else {
            return false;
        };
        let then = self.now.min(leaf.not_after()).max(leaf.not_before());
        verify(chain, anchors, usages, then).is_ok()
    }

    /// Anchors that stand in a place and are on their way out: neither the issuer's nor wanted beforehand, but known to
    /// this issuance, or still verifying one of its leaves. All other foreign anchors are left alone.
    pub fn retiring(&self) -> Vec<Certificate> {
        let mut found: Vec<Certificate> = Vec::new();
        for place in self.places() {
            for anchor in self.stored(&place).unwrap_or_default() {
                if found.contains(anchor) || self.is_wanted(anchor) {
                    continue;
                }
                let needed = || {
                    self.leaves(&place).into_iter().any(|leaf| {
                        self.chain(leaf)
                            .is_some_and(|chain| self.needs(chain, leaf, anchor))
                    })
                };
                let fingerprint = anchor.fingerprint();
                let ours = self.known.contains(&fingerprint) || self.former.contains(&fingerprint);
                if ours || needed() {
                    found.push(anchor.clone());
                }
            }
        }
        found.sort_by_key(Certificate::fingerprint);
        found
    }

    fn is_by_issuer(&self, chain: &[Certificate]) -> bool {
        let first = chain.first();
        first.is_some_and(|first| first.signed_by(self.ca.certificate()))
    }

    fn needs(&self, chain: &[Certificate], leaf: &DesiredLeaf, anchor: &Certificate) -> bool {
        !self.is_by_issuer(chain)
            && self.holds(chain, std::slice::from_ref(anchor), leaf.profile.usages)
    }

    fn is_wanted(&self, anchor: &Certificate) -> bool {
        anchor == self.ca.anchor() || self.additional.contains(anchor)
    }

    /// Who still depends on a retiring anchor: the leaves that chain to it, and the workloads that may hold such a leaf.
    /// Guards 2 and 3: while this is not empty the anchor stays.
    pub fn dependents(&self, place: &Place, anchor: &Certificate) -> Vec<String> {
        let rest: Vec<Certificate> = self
            .stored(place)
            .unwrap_or_default()
            .iter()
            .chain([self.ca.anchor()])
            .filter(|other| *other != anchor)
            .cloned()
            .collect();
        let unread = self.observed.unreadable.iter();
        let mut waiting: Vec<String> = unread.map(ToString::to_string).collect();
        waiting.extend(self.unknown_anchors.iter().cloned());
        for leaf in self.leaves(place) {
            match self.chain(leaf) {
                _ if self.is_void(leaf) => {}
                Some(chain) if self.holds(chain, &rest, leaf.profile.usages) => {
                    let workloads = self.holders.not_current(&leaf.material());
                    waiting.extend(workloads.iter().map(ToString::to_string));
                    let unseen = self.unseen.iter();
                    let unseen = unseen.filter(|peer| peer.target == leaf.target);
                    waiting.extend(self.overlapping(unseen, |peer| peer.presents_until));
                    waiting.extend(self.under_way(leaf, anchor));
                }
                _ => waiting.push(format!("Secret {}", leaf.target)),
            }
        }
        waiting.extend(self.lost_agents(place));
        waiting
    }

    /// Guard 6: an agent that was connected when its certificate or its bundle last changed, and is not now, has shown
    /// nobody yet that it still can connect.
    fn lost_agents(&self, place: &Place) -> Vec<String> {
        let planes: Vec<&Plane> = match place {
            Place::ClientCa(plane) => self.plane(plane).into_iter().collect(),
            Place::Material(_) => self.desired.planes.iter().map(AsRef::as_ref).collect(),
        };
        let gone = planes
            .into_iter()
            .filter(|plane| plane.agent_connected == Some(false));
        gone.filter(|plane| {
            let since = self.began(plane);
            since.is_some() && plane.agent_disconnected >= since
        })
        .map(|plane| format!("the agent of {}", plane.plane))
        .collect()
    }

    /// Until when a certificate that an anchor's CA has signed before it was replaced may still arrive.
    pub fn signed_until(&self, anchor: &Certificate) -> Timestamp {
        let since = self.retiring_since.get(&anchor.fingerprint());
        let since = since.copied().unwrap_or(self.now);
        since.saturating_add(UNDER_WAY).unwrap_or(Timestamp::MAX)
    }

    /// Guard 2 for a write that was sent before the CA was replaced, by an operator that has died since or believes that it
    /// leads: it fails where the Secret has changed since.
    fn under_way(&self, leaf: &DesiredLeaf, anchor: &Certificate) -> Option<String> {
        if self.observed.issuance.spec.rotation.strategy == RotationStrategy::Immediate {
            return None;
        }
        let until = self.signed_until(anchor);
        let since = self.retiring_since.get(&anchor.fingerprint());
        let stored = self.observed.material.get(&leaf.material())?.found()?;
        // The API server tells times in whole seconds.
        let changed = since.zip(stored.changed);
        let changed = changed.is_some_and(|(since, at)| at.as_second() >= since.as_second());
        (!changed && until > self.now)
            .then(|| format!("writes that may be under way (until {until:.0})"))
    }

    /// Guards 1 and 2 for peers that nobody can observe: the overlap has passed.
    fn overlapping<'b>(
        &self,
        peers: impl Iterator<Item = &'b Unseen>,
        until: impl Fn(&Unseen) -> Timestamp,
    ) -> impl Iterator<Item = String> {
        peers.filter_map(move |peer| {
            let until = until(peer);
            (until > self.now).then(|| peer.name(until))
        })
    }

    /// Since when a plane's agent has had something to load.
    fn began(&self, plane: &Plane) -> Option<Timestamp> {
        let mut leaves = self.verified.by(&plane.plane).iter();
        let leaf = leaves.find(|leaf| leaf.planes.contains(&plane.plane))?;
        let namespace = &leaf.target.namespace;
        let bundles = self.desired.trust_places.iter().cloned();
        let bundles = bundles.filter(|bundle| bundle.object.namespace == *namespace);
        let changed =
            |material: MaterialRef| self.observed.material.get(&material)?.found()?.changed;
        bundles.chain([leaf.material()]).filter_map(changed).min()
    }

    /// The anchors that a place must hold: the issuer's, those wanted beforehand, all that stands there and may not leave
    /// yet, and what the gateway's certificate still chains to. Guard 4: what others put there survives.
    pub fn wanted(&self, place: &Place, retiring: &[Certificate]) -> Option<Vec<Certificate>> {
        let stored = self.stored(place)?;
        if !stored.contains(self.ca.anchor()) && self.depends_on_the_unknown(place) {
            return None;
        }
        let mut wanted = vec![self.ca.anchor().clone()];
        let mut add = |anchor: &Certificate| {
            if !wanted.contains(anchor) {
                wanted.push(anchor.clone());
            }
        };
        self.additional.iter().for_each(&mut add);
        for anchor in stored {
            let may_leave = retiring.contains(anchor)
                && (self.immediate || self.dependents(place, anchor).is_empty());
            if !may_leave {
                add(anchor);
            }
        }
        self.still_needed(place, retiring).iter().for_each(&mut add);
        Some(wanted)
    }

    /// What a place lacks though it should not: it is new, or somebody has emptied it, while an old anchor is still
    /// depended on.
    fn still_needed(&self, place: &Place, retiring: &[Certificate]) -> Vec<Certificate> {
        let mut needed = Vec::new();
        if self.by_reference && *place == Place::Material(self.trust_secret.clone()) {
            let planes = self.desired.planes.iter();
            for plane in planes.filter(|plane| self.is_switched(plane, retiring)) {
                let leaves = |anchor: &&Certificate| self.immediate && retiring.contains(anchor);
                needed.extend(plane.anchors.iter().filter(|one| !leaves(one)).cloned());
            }
        }
        if self.immediate {
            return needed;
        }
        let stored = self.stored(place).unwrap_or_default();
        let is_ours =
            |anchor: &Certificate| anchor == self.ca.anchor() || retiring.contains(anchor);
        if !stored.iter().any(is_ours) {
            let in_use = |anchor: &&Certificate| !self.dependents(place, anchor).is_empty();
            needed.extend(retiring.iter().filter(in_use).cloned());
        }
        needed
    }

    /// Whether a plane is to take its clientCA from the trust Secret: one that may be written, and whose anchors have to do
    /// with this issuance. Else a stranger's CA would come into every plane.
    fn is_switched(&self, plane: &Plane, retiring: &[Certificate]) -> bool {
        self.observed.may_write(&plane.plane)
            && !self.observed.claims.planes.contains_key(&plane.plane)
            && self.foreign(plane, retiring).is_none()
    }

    /// An anchor of a plane that verifies none of our leaves, and that this issuance has never handed out.
    pub fn foreign<'b>(
        &self,
        plane: &'b Plane,
        retiring: &[Certificate],
    ) -> Option<&'b Certificate> {
        let ours = |anchor: &Certificate| self.is_wanted(anchor) || retiring.contains(anchor);
        plane.anchors.iter().find(|anchor| !ours(anchor))
    }

    /// Whether a certificate that the place verifies cannot be read: then nobody knows which anchor it needs.
    fn depends_on_the_unknown(&self, place: &Place) -> bool {
        let leaves = self.leaves(place).into_iter();
        leaves
            .filter_map(|leaf| self.observed.material.get(&leaf.material()))
            .any(|stored| matches!(stored.as_ref(), Read::Unknown(_)))
    }

    /// Whether there may be anything that trusts, or chains to, another CA than the issuer's: in what can be read, or as
    /// status remembers. What is trusted beforehand counts: it may be all that was trusted before.
    fn is_rotating(&self, retiring: &[Certificate]) -> bool {
        let ours = self.ca.anchor().fingerprint();
        !retiring.is_empty() || self.known.iter().any(|known| *known != ours)
    }

    /// Anchors that were once handed out, and that nobody wants now: what is missing may have named them.
    pub fn lost_anchors(&self) -> Option<String> {
        let wanted: BTreeSet<Fingerprint> = std::iter::once(self.ca.anchor())
            .chain(self.additional)
            .map(Certificate::fingerprint)
            .collect();
        shorts(self.known.difference(&wanted))
    }

    /// Anchors other than the issuer's that a bundle may have held before it was deleted.
    pub fn other_anchors(&self) -> Option<String> {
        let ours = self.ca.anchor().fingerprint();
        let all = self.known.union(self.former);
        shorts(all.filter(|other| **other != ours))
    }

    /// Whether what is stored is signed by the CA.
    fn is_signed(&self, leaf: &DesiredLeaf) -> bool {
        let anchor = std::slice::from_ref(self.ca.anchor());
        self.chain(leaf).is_some_and(|chain| {
            self.is_by_issuer(chain) && self.holds(chain, anchor, leaf.profile.usages)
        })
    }

    /// What verifies a leaf.
    fn verifiers(&self, leaf: &DesiredLeaf) -> Vec<Place> {
        let places: Vec<Place> = match leaf.role {
            Role::Agent => leaf
                .planes
                .iter()
                .cloned()
                .map(Place::ClientCa)
                .chain(std::iter::once(Place::Material(self.trust_secret.clone())))
                .collect(),
            Role::Gateway | Role::Further => self.places().collect(),
        };
        let places = places.into_iter();
        places.filter(|place| self.verifies(place, leaf)).collect()
    }

    /// What must still hold the CA when a leaf is signed, for what was seen of it may be old: another operator that leads
    /// may have taken the CA out. Where there is only one CA, nobody does.
    pub fn trusted_by(&self, leaf: &DesiredLeaf, retiring: &[Certificate]) -> Vec<Place> {
        match self.immediate || !self.is_rotating(retiring) || self.is_signed(leaf) {
            true => Vec::new(),
            false => self.verifiers(leaf),
        }
    }

    /// Whether an anchor leaves a place.
    pub fn drops(&self, place: &Place, wanted: &[Certificate]) -> bool {
        let mut stored = self.stored(place).unwrap_or_default().iter();
        stored.any(|anchor| !wanted.contains(anchor))
    }

    /// What must be as it was seen when an anchor leaves a place: the leaves that the place verifies.
    pub fn rests_on(&self, place: &Place, wanted: &[Certificate]) -> Vec<MaterialRef> {
        match self.immediate || !self.drops(place, wanted) {
            true => Vec::new(),
            false => {
                let leaves = self.leaves(place).into_iter();
                leaves.map(DesiredLeaf::material).collect()
            }
        }
    }

    /// Guard 1: whom a leaf signed by the issuer's CA must wait for. Empty: sign.
    ///
    /// A leaf that already chains to the CA may be renewed at any time: nothing gets worse. One that does not exist may be
    /// issued at once where its verifiers never trusted anything else. An expired one convinces nobody.
    pub fn must_load_first(&self, leaf: &DesiredLeaf, retiring: &[Certificate]) -> Waiting {
        if self.immediate {
            return Waiting::default();
        }
        let anchor = self.ca.anchor();
        let chain = self.chain(leaf);
        let first = chain.and_then(<[_]>::first);
        if self.is_signed(leaf) || first.is_some_and(|first| first.not_after() <= self.now) {
            return Waiting::default();
        }
        let rotating = self.is_rotating(retiring);
        let never_another = self.other_anchors().is_none();
        let mut waiting = Waiting::default();
        for place in self.verifiers(leaf) {
            let Some(stored) = self.stored(&place) else {
                if rotating || chain.is_some() {
                    waiting.places.push(place);
                }
                continue;
            };
            if !stored.contains(anchor) {
                waiting.places.push(place);
                continue;
            }
            let is_first = self.is_first(&place);
            let only_this_ca = !self.replaces(&place)
                && (is_first || never_another)
                && stored.iter().all(|other| {
                    let beforehand = self.additional.contains(other) && is_first;
                    other == anchor || beforehand && !retiring.contains(other)
                });
            if chain.is_none() && only_this_ca {
                continue;
            }
            // The gateway reads a clientCA at each connection, also where that refers to the trust Secret.
            if let (Place::Material(material), Role::Gateway | Role::Further) = (&place, leaf.role)
            {
                let workloads = self.holders.not_current(material).iter();
                waiting.loads.extend(workloads.map(ToString::to_string));
            }
        }
        if (chain.is_some() || rotating) && leaf.role != Role::Agent {
            let unread = self.observed.unreadable.iter();
            waiting.loads.extend(unread.map(ToString::to_string));
            let verifiers = self.unseen.iter();
            let verifiers = verifiers.filter(|peer| peer.target != leaf.target);
            let unseen = self.overlapping(verifiers, |peer| peer.trusts_until);
            waiting.loads.extend(unseen);
        }
        waiting
    }
}

/// How annotations name anchors; none where there are none.
fn shorts<'a>(anchors: impl Iterator<Item = &'a Fingerprint>) -> Option<String> {
    let names: Vec<String> = anchors.map(Fingerprint::short).collect();
    (!names.is_empty()).then(|| names.join(","))
}
