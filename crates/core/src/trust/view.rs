//! What stands where: the anchors of each trust place, who verifies what, and which anchors are on their way out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::memory::Memory;
use super::place::Place;
use crate::domain::{ClientCa, Desired, DesiredLeaf, Role, TrustDomain};
use crate::model::{InjectRef, Leaf, MaterialRef, Plane, PlaneRef, Read, Snapshot, Unread};
use crate::x509::{CaChain, Certificate, Fingerprint, Usages, verify};

/// OpenChoreo looks at connections once a minute: a plane that was made anew has no report until then.
const REPORTED_WITHIN: SignedDuration = SignedDuration::from_secs(120);

/// The trust of one domain, over one snapshot.
pub struct View<'a> {
    /// The snapshot.
    pub observed: &'a Snapshot,
    /// What is wanted.
    pub domain: &'a TrustDomain<'a>,
    /// What signs.
    pub ca: &'a CaChain,
    /// Anchors that are trusted beforehand.
    pub additional: Vec<Certificate>,
    /// Where anchors are asked for that cannot be read.
    pub unread_anchors: Vec<String>,
    /// What earlier turns knew.
    pub memory: Memory,
    /// Anchors that stand in some place and are on their way out: neither the authority's nor wanted beforehand, but known
    /// to this domain, or still verifying one of its leaves. All other foreign anchors are left alone.
    pub retiring: Vec<Certificate>,
    /// Now.
    pub now: Timestamp,
    verified: Verified<'a>,
    /// Planes, by the Secret that they refer to.
    refers: BTreeMap<MaterialRef, BTreeSet<&'a PlaneRef>>,
    /// Planes that were made anew just now, and whose agents were connected before.
    unreported: BTreeSet<PlaneRef>,
    /// What each `caBundle` holds that can be read.
    injected: BTreeMap<&'a InjectRef, Vec<Certificate>>,
}

/// The leaves that a plane's clientCA verifies, in their order: found once, for a thousand planes ask for theirs.
struct Verified<'a>(BTreeMap<&'a PlaneRef, Vec<&'a DesiredLeaf>>);

impl<'a> Verified<'a> {
    fn new(wanted: &'a Desired) -> Self {
        let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for leaf in wanted.presented() {
            match leaf.role {
                Role::Gateway => {}
                Role::Agent => {
                    for plane in &leaf.planes {
                        found.entry(plane).or_default().push(leaf);
                    }
                }
                Role::Further => {
                    for plane in &wanted.planes {
                        found.entry(&plane.plane).or_default().push(leaf);
                    }
                }
            }
        }
        Self(found)
    }
}

impl<'a> View<'a> {
    /// Over a snapshot; `additional` are the anchors that are trusted beforehand, and where some cannot be read.
    pub fn new(
        domain: &'a TrustDomain<'a>,
        observed: &'a Snapshot,
        ca: &'a CaChain,
        additional: (Vec<Certificate>, Vec<String>),
        now: Timestamp,
    ) -> Self {
        let mut view = Self {
            observed,
            domain,
            ca,
            additional: additional.0,
            unread_anchors: additional.1,
            memory: Memory::of(domain.owner.earlier, now),
            retiring: Vec::new(),
            now,
            verified: Verified::new(&domain.wanted),
            refers: refers(observed),
            unreported: unreported(domain, observed, now),
            injected: injected(observed),
        };
        view.retiring = view.find_retiring();
        view
    }

    /// The anchors that stand in a place; none where that is not known.
    pub fn stored(&self, place: &Place) -> Option<&[Certificate]> {
        match place {
            Place::Injected(object) => self.injected.get(object).map(Vec::as_slice),
            Place::Material(material) => self.bundle(material),
            Place::ClientCa(plane) => {
                let plane = self.plane(plane)?;
                match plane.bundle() {
                    Some(bundle) => self.bundle(&bundle),
                    None if plane.value.is_none() && plane.reference.is_some() => None,
                    None => Some(&plane.anchors),
                }
            }
        }
    }

    /// Whether a place is known to hold an anchor.
    pub fn has(&self, place: &Place, anchor: &Certificate) -> bool {
        let stored = self.stored(place);
        stored.is_some_and(|stored| stored.contains(anchor))
    }

    pub(super) fn bundle(&self, material: &MaterialRef) -> Option<&[Certificate]> {
        match self.observed.material.get(material)?.as_ref() {
            Read::Found(stored) => Some(&stored.anchors),
            Read::Absent => Some(&[]),
            Read::Unknown(_) => None,
        }
    }

    /// Whether its readers may hold what stood there before it was deleted.
    pub(super) fn replaces(&self, place: &Place) -> bool {
        let Place::Material(material) = place else {
            return false;
        };
        let stored = self.observed.material.get(material);
        stored.is_some_and(|stored| stored.found().is_some_and(|found| found.replaces))
    }

    /// A plane that is wanted.
    pub(super) fn plane(&self, plane: &PlaneRef) -> Option<&Plane> {
        // Sorted by construction: a thousand planes are looked up a thousand times.
        let planes = &self.domain.wanted.planes;
        let index = planes.binary_search_by(|candidate| candidate.plane.cmp(plane));
        planes.get(index.ok()?).map(AsRef::as_ref)
    }

    /// The trust Secret, as a place.
    pub fn trust_secret(&self) -> Option<Place> {
        self.domain.trust_secret.clone().map(Place::Material)
    }

    /// The trust place of this domain that a plane refers to: then nothing is ever written to the plane.
    pub fn referred(&self, plane: &Plane) -> Option<Place> {
        let bundle = plane.bundle()?;
        let is_ours = self.domain.wanted.trust_places.contains(&bundle);
        is_ours.then_some(Place::Material(bundle))
    }

    /// Whether a plane's agent is connected, as is reported, or, where the plane was made anew just now, as was.
    pub fn connection(&self, plane: &Plane) -> Option<bool> {
        let was = || self.unreported.contains(&plane.plane).then_some(true);
        plane.agent_connected.or_else(was)
    }

    /// Every trust place.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        let wanted = &self.domain.wanted;
        let material = wanted.trust_places.iter().cloned().map(Place::Material);
        let planes = wanted.planes.iter();
        let planes = planes.map(|plane| Place::ClientCa(plane.plane.clone()));
        let injected = wanted.injected.iter().cloned().map(Place::Injected);
        material.chain(planes).chain(injected)
    }

    /// Whether what reads this place verifies that leaf.
    fn verifies(&self, place: &Place, leaf: &DesiredLeaf) -> bool {
        match (place, leaf.role) {
            (_, Role::Further) => true,
            (Place::Injected(_), _) => false,
            (Place::Material(_), Role::Gateway) => true,
            (Place::Material(material), Role::Agent) => {
                let is_switched = self.domain.client_ca == ClientCa::Reference
                    && self.domain.trust_secret.as_ref() == Some(material);
                let refers = |plane: &PlaneRef| {
                    let is_wanted = is_switched && self.plane(plane).is_some();
                    is_wanted
                        || self
                            .refers
                            .get(material)
                            .is_some_and(|planes| planes.contains(plane))
                };
                leaf.planes.iter().any(refers)
            }
            (Place::ClientCa(plane), Role::Agent) => leaf.planes.contains(plane),
            (Place::ClientCa(_), Role::Gateway) => false,
        }
    }

    /// The leaves that what reads this place verifies, also those that cannot be planned.
    pub(super) fn leaves(&self, place: &Place) -> Vec<&DesiredLeaf> {
        match place {
            Place::ClientCa(plane) => self.verified_by(plane).to_vec(),
            Place::Material(_) | Place::Injected(_) => {
                let leaves = self.domain.wanted.presented();
                leaves.filter(|leaf| self.verifies(place, leaf)).collect()
            }
        }
    }

    /// The leaves that what reads this place verifies, or may as soon as another operator that leads, by another version of the
    /// declaration, has made a plane refer to it.
    pub(super) fn may_verify(&self, place: &Place) -> Vec<&DesiredLeaf> {
        if self.trust_secret().as_ref() != Some(place) {
            return self.leaves(place);
        }
        let of_wanted = |leaf: &DesiredLeaf| {
            let mut planes = leaf.planes.iter();
            leaf.role == Role::Agent && planes.any(|plane| self.plane(plane).is_some())
        };
        let leaves = self.domain.wanted.presented();
        leaves
            .filter(|leaf| of_wanted(leaf) || self.verifies(place, leaf))
            .collect()
    }

    /// The leaves that a plane's clientCA verifies.
    pub(super) fn verified_by(&self, plane: &PlaneRef) -> &[&'a DesiredLeaf] {
        self.verified.0.get(plane).map_or(&[], Vec::as_slice)
    }

    /// What verifies a leaf.
    pub(super) fn verifiers(&self, leaf: &DesiredLeaf) -> Vec<Place> {
        let places: Vec<Place> = match leaf.role {
            Role::Agent => {
                let planes = leaf.planes.iter().cloned();
                planes
                    .map(Place::ClientCa)
                    .chain(self.trust_secret())
                    .collect()
            }
            Role::Gateway | Role::Further => self.places().collect(),
        };
        let places = places.into_iter();
        places.filter(|place| self.verifies(place, leaf)).collect()
    }

    /// What is stored of a leaf.
    pub(super) fn chain(&self, leaf: &DesiredLeaf) -> Option<&[Certificate]> {
        match &self.observed.material.get(&leaf.material())?.found()?.leaf {
            Leaf::Present { chain, .. } => Some(chain),
            _ => None,
        }
    }

    /// Whether nothing is presented of a leaf that cannot be planned, as far as can be read: nothing stands there, and nothing
    /// was ever told of it, so that no pod holds what stood there before.
    pub(super) fn is_void(&self, leaf: &DesiredLeaf) -> bool {
        if !leaf.blocked {
            return false;
        }
        let stored = self.observed.material.get(&leaf.material());
        let is_unknown = matches!(stored.map(AsRef::as_ref), Some(Read::Unknown(_)));
        let is_leaf = |chain: &[Certificate]| chain.first().is_some_and(|first| !first.is_ca());
        let target = leaf.target.to_string();
        let was_told = self.domain.owner.earlier.is_some_and(|status| {
            let mut told = status.certificates.iter();
            status.omitted.is_some() || told.any(|told| told.target == target)
        });
        !is_unknown && !was_told && !self.chain(leaf).is_some_and(is_leaf)
    }

    /// See [`holds`].
    pub(super) fn holds(
        &self,
        chain: &[Certificate],
        anchors: &[Certificate],
        usages: Usages,
    ) -> bool {
        holds(chain, anchors, usages, self.now)
    }

    fn find_retiring(&self) -> Vec<Certificate> {
        let mut found: Vec<Certificate> = Vec::new();
        let handed_out = self.handed_out();
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
                let Memory { known, former, .. } = &self.memory;
                let ours = known.contains(&fingerprint)
                    || former.contains(&fingerprint)
                    || handed_out.contains(fingerprint.short().as_str());
                if ours || needed() {
                    found.push(anchor.clone());
                }
            }
        }
        found.sort_by_key(Certificate::fingerprint);
        found
    }

    /// What this domain's bundles say that it has put there: all that is left of an issuance that was deleted meanwhile.
    fn handed_out(&self) -> BTreeSet<&str> {
        let places = self.domain.wanted.trust_places.iter();
        let stored = places.filter_map(|place| self.observed.material.get(place)?.found());
        let ours =
            stored.filter(|found| found.issuance.as_ref() == Some(&self.domain.owner.identity));
        ours.flat_map(|found| &found.handed_out)
            .map(String::as_str)
            .collect()
    }

    /// The anchors of a bundle that are this domain's to take out again.
    pub fn is_ours(&self, anchor: &Certificate) -> bool {
        self.is_wanted(anchor) || self.retiring.contains(anchor)
    }

    fn is_by_authority(&self, chain: &[Certificate]) -> bool {
        let first = chain.first();
        first.is_some_and(|first| self.ca.issued(first))
    }

    fn needs(&self, chain: &[Certificate], leaf: &DesiredLeaf, anchor: &Certificate) -> bool {
        !self.is_by_authority(chain)
            && self.holds(chain, std::slice::from_ref(anchor), leaf.profile.usages)
    }

    fn is_wanted(&self, anchor: &Certificate) -> bool {
        anchor == self.ca.anchor() || self.additional.contains(anchor)
    }

    /// Whether what is stored is signed by the authority.
    pub fn is_signed(&self, leaf: &DesiredLeaf) -> bool {
        let anchor = std::slice::from_ref(self.ca.anchor());
        self.chain(leaf).is_some_and(|chain| {
            self.is_by_authority(chain) && self.holds(chain, anchor, leaf.profile.usages)
        })
    }

    /// What could not be read, or has not been yet: peers may be found there.
    pub fn unread(&self) -> impl Iterator<Item = Unread> {
        let unreadable = self.observed.unreadable.iter().cloned();
        let awaited = self.observed.awaited.iter();
        let awaited =
            awaited.map(|list| Unread::list(list.clone(), format!("{list} (being read)")));
        unreadable.chain(awaited)
    }

    /// An anchor of a plane that verifies none of our leaves, and that this domain has never handed out.
    pub fn foreign<'b>(&self, plane: &'b Plane) -> Option<&'b Certificate> {
        plane.anchors.iter().find(|anchor| !self.is_ours(anchor))
    }

    /// Whether there may be anything that trusts, or chains to, another anchor than the authority's: in what can be read, or
    /// as is remembered. What is trusted beforehand counts: it may be all that was trusted before.
    pub(super) fn is_rotating(&self) -> bool {
        let ours = self.ca.anchor().fingerprint();
        !self.retiring.is_empty() || self.memory.known.iter().any(|known| *known != ours)
    }

    /// When what a plane's agent loads was changed: first and last.
    pub(super) fn changes(&self, plane: &Plane) -> Option<(Timestamp, Timestamp)> {
        let mut leaves = self.verified_by(&plane.plane).iter();
        let leaf = leaves.find(|leaf| leaf.planes.contains(&plane.plane))?;
        let namespace = &leaf.target.namespace;
        let bundles = self.domain.wanted.trust_places.iter().cloned();
        let bundles = bundles.filter(|bundle| bundle.object.namespace == *namespace);
        let changed =
            |material: MaterialRef| self.observed.material.get(&material)?.found()?.changed;
        let times = bundles.chain([leaf.material()]).filter_map(changed);
        let times: Vec<Timestamp> = times.collect();
        Some((times.iter().min().copied()?, times.iter().max().copied()?))
    }
}

/// Whether a leaf chains to one of the anchors, at some time while it is valid: a clock that is wrong here must not make the
/// guards forget what peers use.
pub(crate) fn holds(
    chain: &[Certificate],
    anchors: &[Certificate],
    usages: Usages,
    now: Timestamp,
) -> bool {
    let Some(leaf) = chain.first() else {
        return false;
    };
    let then = now.min(leaf.not_after()).max(leaf.not_before());
    verify(chain, anchors, usages, then).is_ok()
}

fn unreported(domain: &TrustDomain<'_>, observed: &Snapshot, now: Timestamp) -> BTreeSet<PlaneRef> {
    let is_new = |plane: &&Arc<Plane>| {
        let age = plane.created.map(|made| made.duration_until(now));
        plane.agent_connected.is_none() && age.is_some_and(|age| age < REPORTED_WITHIN)
    };
    let planes = observed.planes.iter().filter(is_new);
    let new: BTreeSet<&PlaneRef> = planes.map(|plane| &plane.plane).collect();
    if new.is_empty() {
        return BTreeSet::new();
    }
    let told = domain.owner.earlier.into_iter();
    let told = told.flat_map(|status| &status.planes);
    let connected = told.filter(|told| told.agent_connected == Some(true));
    let names = connected.map(|told| PlaneRef {
        kind: told.kind,
        namespace: told.namespace.clone(),
        name: told.name.clone(),
    });
    names.filter(|plane| new.contains(plane)).collect()
}

/// What can be read of each `caBundle`; one that does not exist holds nothing, and nothing reads it.
fn injected(observed: &Snapshot) -> BTreeMap<&InjectRef, Vec<Certificate>> {
    let all = observed.injected.iter();
    let stored = all.filter_map(|(object, read)| match read.as_ref() {
        Read::Found(found) => Some((object, found.anchors())),
        Read::Absent => Some((object, Vec::new())),
        Read::Unknown(_) => None,
    });
    stored.collect()
}

fn refers(observed: &Snapshot) -> BTreeMap<MaterialRef, BTreeSet<&PlaneRef>> {
    let mut found: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for plane in &observed.planes {
        if let Some(bundle) = plane.bundle() {
            found.entry(bundle).or_default().insert(&plane.plane);
        }
    }
    found
}

/// How annotations name anchors; none where there are none.
pub(crate) fn shorts(anchors: impl Iterator<Item = Fingerprint>) -> Option<String> {
    let names: Vec<String> = anchors.map(|anchor| anchor.short()).collect();
    (!names.is_empty()).then(|| names.join(","))
}
