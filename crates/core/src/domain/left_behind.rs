//! What is wanted no longer, and something reads all the same: a Secret of an earlier name, the agents of planes that no
//! selector selects or whose kind is lost sight of. Their certificates are not issued; they are peers until they are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{CertificateStatus, ExternalCAIssuanceStatus};
use jiff::SignedDuration;

use super::leaf::{Desired, DesiredLeaf, Role};
use super::presets::plane_type;
use crate::model::{
    Controller, Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Observed, Plane, PlaneRef,
    Read, Unread, Workload, WorkloadRef,
};
use crate::x509::{Certificate, KeyAlgorithm, LeafProfile, Usages};

impl Desired {
    /// Looks through all that was read besides what is wanted: something mounts it, by a name that the operator writes.
    pub(super) fn settle_left_behind(
        &mut self,
        observed: &Observed,
        owner: &str,
        earlier: Option<&ExternalCAIssuanceStatus>,
    ) {
        let blocked: BTreeSet<&ObjectRef> = self.blocked.iter().map(|leaf| &leaf.target).collect();
        let is_leaf = |target: &MaterialRef| {
            let is_wanted = self.leaves.contains_key(&target.object);
            target.kind == MaterialKind::Secret && (is_wanted || blocked.contains(&target.object))
        };
        let others = observed.material.iter();
        let others =
            others.filter(|(target, _)| !is_leaf(target) && !self.trust_places.contains(*target));
        let others: BTreeMap<_, _> = others.collect();
        if others.is_empty() {
            return;
        }
        let domain = Domain {
            observed,
            owner,
            earlier,
            cas: cas(observed, earlier),
            knows_planes: !observed.unreadable.iter().any(Unread::is_of_planes),
            planes: planes(observed),
            readers: readers(observed, &others),
        };
        let (mut bundles, mut ignored) = (Vec::new(), BTreeSet::new());
        for (target, stored) in &others {
            let leaf = domain.leaf(target, stored);
            let is_bundle = domain.is_bundle(target, stored);
            if leaf.is_none() && !is_bundle {
                ignored.insert((*target).clone());
            }
            self.left_behind.extend(leaf);
            bundles.extend(is_bundle.then(|| (*target).clone()));
        }
        self.trust_places.extend(bundles);
        self.ignored = ignored;
    }
}

/// What tells whether something belongs to a trust domain, and who talks.
struct Domain<'a> {
    observed: &'a Observed,
    owner: &'a str,
    earlier: Option<&'a ExternalCAIssuanceStatus>,
    cas: Vec<&'a Certificate>,
    knows_planes: bool,
    /// By planeID.
    planes: BTreeMap<&'a str, Vec<&'a Plane>>,
    readers: BTreeMap<&'a MaterialRef, Readers<'a>>,
}

/// Who mounts an object.
#[derive(Default)]
struct Readers<'a> {
    /// Workloads, by their template or by a pod of theirs.
    workloads: BTreeMap<&'a WorkloadRef, &'a Workload>,
    /// Whether a pod does that no known workload has made.
    has_stray: bool,
    /// Whether a pod does that has started.
    has_started: bool,
}

impl<'a> Domain<'a> {
    /// The leaf in a Secret, where this domain issued it, or one of its CAs signed it and no other issuance manages it, and
    /// where a verifier for it may exist. Pods may also hold the earlier content of a Secret that the status named before.
    fn leaf(&self, target: &MaterialRef, stored: &Read<Material>) -> Option<DesiredLeaf> {
        if target.kind != MaterialKind::Secret || self.is_claimed(target) {
            return None;
        }
        let certificate = stored.found().and_then(|found| self.certificate(found));
        let name = match certificate {
            Some(found) => found.common_names().first(),
            None if *stored == Read::Absent && !self.has_started_pod(target) => return None,
            None => Some(self.told_name(&target.object)?),
        };
        let usages = certificate.map_or(Usages::BOTH, Certificate::usages);
        let planes = match certificate {
            _ if !self.knows_planes => None,
            Some(_) if usages.server_auth => None,
            Some(found) => Some(self.planes_of(target, found)),
            None => self.planes_of_agents(target),
        };
        let role = match (&planes, usages.client_auth) {
            // The gateway refuses an agent without a plane.
            (Some(planes), _) if planes.is_empty() => return None,
            (Some(_), _) => Role::Agent,
            (None, false) => Role::Gateway,
            (None, true) => Role::Further,
        };
        let planes = planes.unwrap_or_default();
        Some(leaf(&target.object, role, name, usages, planes))
    }

    fn certificate(&self, found: &'a Material) -> Option<&'a Certificate> {
        let Leaf::Present { chain, .. } = &found.leaf else {
            return None;
        };
        let first = chain.first().filter(|first| !first.is_ca())?;
        let is_ours = match &found.issuance {
            Some(owner) => owner == self.owner,
            None => chain
                .iter()
                .any(|one| self.cas.iter().any(|ca| one.signed_by(ca))),
        };
        is_ours.then_some(first)
    }

    /// Whether it is a bundle of this domain that some verifier of the gateway reads.
    fn is_bundle(&self, target: &MaterialRef, stored: &Read<Material>) -> bool {
        let is_ours = match stored {
            Read::Found(found) if found.leaf != Leaf::Empty => false,
            Read::Found(found) => match &found.issuance {
                Some(owner) => owner == self.owner && !found.anchors.is_empty(),
                None => found
                    .anchors
                    .iter()
                    .any(|anchor| self.cas.contains(&anchor)),
            },
            Read::Unknown(_) => self.is_named_like_a_bundle(target),
            // One that was deleted, pods that have started still hold.
            Read::Absent => self.is_named_like_a_bundle(target) && self.has_started_pod(target),
        };
        is_ours && !self.is_claimed(target) && self.has_verifier(target)
    }

    fn has_started_pod(&self, target: &MaterialRef) -> bool {
        let readers = self.readers.get(target);
        readers.is_some_and(|readers| readers.has_started)
    }

    fn is_named_like_a_bundle(&self, target: &MaterialRef) -> bool {
        let trust = &self.observed.issuance.spec.trust;
        target.object.name
            == match target.kind {
                MaterialKind::ConfigMap => trust.config_map_name.as_str(),
                MaterialKind::Secret => trust.secret_name.as_str(),
            }
    }

    fn is_claimed(&self, target: &MaterialRef) -> bool {
        self.observed.claims.material.contains_key(target)
    }

    fn told(&self) -> &'a [CertificateStatus] {
        self.earlier.map_or(&[], |status| &status.certificates)
    }

    /// The common name that was last told of a Secret.
    fn told_name(&self, target: &ObjectRef) -> Option<&'a String> {
        let target = target.to_string();
        let told = self.told().iter().find(|told| told.target == target)?;
        Some(&told.common_name)
    }

    /// Whether anything mounts it but agents that have no plane: the gateway refuses those.
    fn has_verifier(&self, target: &MaterialRef) -> bool {
        let Some(readers) = self.readers.get(target) else {
            return false;
        };
        let mut workloads = readers.workloads.values();
        let talks = |workload: &&Workload| match &workload.agent {
            Some(agent) if self.knows_planes => self.planes_of_agent(agent).next().is_some(),
            _ => true,
        };
        readers.has_stray || workloads.any(talks)
    }

    /// The planes whose agents present a leaf: as their arguments say, or, where those are not known, as the leaf says.
    fn planes_of(&self, target: &MaterialRef, certificate: &Certificate) -> BTreeSet<PlaneRef> {
        self.planes_of_agents(target).unwrap_or_else(|| {
            let names = certificate.common_names().iter();
            let planes = names.flat_map(|name| self.planes_of_id(name));
            planes.map(|plane| plane.plane.clone()).collect()
        })
    }

    /// The planes of the agents that mount it; none where anything else may mount it, too.
    fn planes_of_agents(&self, target: &MaterialRef) -> Option<BTreeSet<PlaneRef>> {
        let readers = self.readers.get(target).filter(|found| !found.has_stray)?;
        let workloads = readers.workloads.values();
        let agents: Option<Vec<_>> = workloads.map(|workload| workload.agent.as_ref()).collect();
        let planes = agents?
            .into_iter()
            .flat_map(|agent| self.planes_of_agent(agent));
        Some(planes.map(|plane| plane.plane.clone()).collect())
    }

    fn planes_of_agent(&self, (kind, id): &(String, String)) -> impl Iterator<Item = &'a Plane> {
        let planes = self.planes_of_id(id);
        planes.filter(move |plane| plane_type(plane.plane.kind) == kind)
    }

    fn planes_of_id(&self, id: &str) -> impl Iterator<Item = &'a Plane> {
        self.planes.get(id).into_iter().flatten().copied()
    }
}

fn planes(observed: &Observed) -> BTreeMap<&str, Vec<&Plane>> {
    let mut found: BTreeMap<&str, Vec<&Plane>> = BTreeMap::new();
    for plane in &observed.planes {
        found.entry(&plane.plane_id).or_default().push(plane);
    }
    found
}

fn readers<'a>(
    observed: &'a Observed,
    wanted: &BTreeMap<&'a MaterialRef, &'a Arc<Read<Material>>>,
) -> BTreeMap<&'a MaterialRef, Readers<'a>> {
    let mut found: BTreeMap<&MaterialRef, Readers<'_>> = BTreeMap::new();
    let workloads = observed.workloads.iter();
    let known: BTreeMap<_, _> = workloads.map(|one| (&one.workload, one.as_ref())).collect();
    let of_templates = known.values().map(|one| (Some(*one), &one.mounts, false));
    let of_pods = observed.pods.iter().map(|pod| {
        let owner = match &pod.controller {
            Controller::Workload(owner) => known.get(owner).copied(),
            Controller::Other(_) | Controller::Nothing => None,
        };
        (owner, &pod.mounts, pod.has_started())
    });
    for (workload, mounts, has_started) in of_templates.chain(of_pods) {
        for mount in mounts
            .iter()
            .filter_map(|mount| wanted.get_key_value(mount))
        {
            let readers = found.entry(mount.0).or_default();
            readers.has_started |= has_started;
            match workload {
                Some(workload) => drop(readers.workloads.insert(&workload.workload, workload)),
                None => readers.has_stray = true,
            }
        }
    }
    found
}

/// The authority's certificates, and the anchors that were handed out before, where any still stands somewhere.
fn cas<'a>(
    observed: &'a Observed,
    earlier: Option<&ExternalCAIssuanceStatus>,
) -> Vec<&'a Certificate> {
    let known = earlier.map_or(&[][..], |status| status.anchors()).iter();
    let known: BTreeSet<&str> = known.map(|anchor| anchor.fingerprint.as_str()).collect();
    let chain = observed.authority.chain().into_iter();
    let mut cas: Vec<&Certificate> = chain
        .flat_map(|chain| [chain.certificate(), chain.anchor()])
        .collect();
    let found = observed.material.values().filter_map(|read| read.found());
    let stored = found.flat_map(|found| &found.anchors);
    let in_planes = observed.planes.iter().flat_map(|plane| &plane.anchors);
    for anchor in stored.chain(in_planes) {
        if !cas.contains(&anchor) && known.contains(anchor.fingerprint().to_string().as_str()) {
            cas.push(anchor);
        }
    }
    cas
}

fn leaf(
    target: &ObjectRef,
    role: Role,
    name: Option<&String>,
    usages: Usages,
    planes: BTreeSet<PlaneRef>,
) -> DesiredLeaf {
    DesiredLeaf {
        target: target.clone(),
        role,
        profile: LeafProfile {
            common_name: name.cloned().unwrap_or_default(),
            organizations: Vec::new(),
            sans: Vec::new(),
            usages,
            key: KeyAlgorithm::EcdsaP256,
            duration: SignedDuration::ZERO,
        },
        planes,
        blocked: true,
    }
}
