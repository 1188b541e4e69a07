//! What is wanted no longer, and something reads all the same: a Secret of an earlier name, the agents of planes that no
//! selector selects or whose kind is lost sight of. Their certificates are not issued; they are peers until they are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{CertificateStatus, ExternalCAIssuanceStatus};
use jiff::SignedDuration;

use super::leaf::{Desired, DesiredLeaf, Role, SecretForm};
use super::presets::agent_of;
use crate::model::{
    Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef, Read, Snapshot, Unread,
};
use crate::x509::{Certificate, KeyAlgorithm, LeafProfile, Style, Usages};

impl Desired {
    /// Looks through all that was read besides what is wanted: something mounts it, by a name that the operator writes.
    pub(super) fn settle_left_behind(
        &mut self,
        observed: &Snapshot,
        owner: &str,
        earlier: Option<&ExternalCAIssuanceStatus>,
        bundles: BundleNames<'_>,
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
            bundles,
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

/// How the objects are named that hold the bundle and nothing else; none where each holds a leaf, too.
#[derive(Clone, Copy, Default)]
pub(super) struct BundleNames<'a> {
    pub(super) config_map: Option<&'a str>,
    pub(super) secret: Option<&'a str>,
}

/// What tells whether something belongs to a trust domain, and who talks.
struct Domain<'a> {
    observed: &'a Snapshot,
    owner: &'a str,
    earlier: Option<&'a ExternalCAIssuanceStatus>,
    bundles: BundleNames<'a>,
    cas: Vec<&'a Certificate>,
    knows_planes: bool,
    /// By plane type and planeID.
    planes: BTreeMap<(&'a str, &'a str), Vec<&'a Plane>>,
    readers: BTreeMap<&'a MaterialRef, Readers<'a>>,
}

/// Who reads an object.
#[derive(Default)]
struct Readers<'a> {
    /// Which agents, by plane type and planeID; none for a reader that is no agent, as far as its arguments tell.
    agents: BTreeSet<Option<&'a (String, String)>>,
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
            Some(_) if usages.server_auth => None,
            _ if !self.knows_planes => None,
            _ => self.planes_of_agents(target),
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
        let signed = |one: &Certificate| self.cas.iter().any(|ca| one.signed_by(ca));
        let is_ours =
            self.is_issued_here(found) || !self.is_of_another(found) && chain.iter().any(signed);
        is_ours.then_some(first)
    }

    /// Whether it is a bundle of this domain that some verifier of the gateway reads.
    fn is_bundle(&self, target: &MaterialRef, stored: &Read<Material>) -> bool {
        let is_ours = match stored {
            Read::Found(found) if self.is_leaf(found) || self.is_of_another(found) => false,
            Read::Found(found) if self.is_issued_here(found) => !found.anchors.is_empty(),
            Read::Found(found) => found
                .anchors
                .iter()
                .any(|anchor| self.cas.contains(&anchor)),
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
        let name = match target.kind {
            MaterialKind::ConfigMap => self.bundles.config_map,
            MaterialKind::Secret => self.bundles.secret,
        };
        name == Some(target.object.name.as_str())
    }

    /// A CA's certificate may stand beside a bundle.
    fn is_leaf(&self, found: &Material) -> bool {
        let Leaf::Present { chain, .. } = &found.leaf else {
            return found.leaf != Leaf::Empty;
        };
        chain.first().is_some_and(|first| !first.is_ca())
    }

    fn is_issued_here(&self, found: &Material) -> bool {
        found.issuance.as_deref() == Some(self.owner)
    }

    /// Whether another issuance manages it; one that is gone manages nothing.
    fn is_of_another(&self, found: &Material) -> bool {
        let others = &self.observed.claims.issuances;
        let owner = found.issuance.as_ref();
        owner.is_some_and(|owner| owner != self.owner && others.contains(owner))
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

    /// Whether anything reads it but agents that have no plane: the gateway refuses those.
    fn has_verifier(&self, target: &MaterialRef) -> bool {
        let readers = self.readers.get(target);
        let mut agents = readers.into_iter().flat_map(|readers| &readers.agents);
        agents.any(|agent| match agent {
            Some(agent) if self.knows_planes => !self.planes_of_agent(agent).is_empty(),
            _ => true,
        })
    }

    /// The planes of the agents that mount it; none where anything else may mount it, too: the gateway does not compare names,
    /// so that it may be any plane's.
    fn planes_of_agents(&self, target: &MaterialRef) -> Option<BTreeSet<PlaneRef>> {
        let readers = self.readers.get(target)?;
        let agents: Option<Vec<_>> = readers.agents.iter().copied().collect();
        let planes = agents?
            .into_iter()
            .flat_map(|agent| self.planes_of_agent(agent));
        Some(planes.map(|plane| plane.plane.clone()).collect())
    }

    fn planes_of_agent<'s>(&'s self, (kind, id): &'s (String, String)) -> &'s [&'a Plane] {
        let planes = self.planes.get(&(kind.as_str(), id.as_str()));
        planes.map_or(&[], Vec::as_slice)
    }
}

fn planes(observed: &Snapshot) -> BTreeMap<(&str, &str), Vec<&Plane>> {
    let mut found: BTreeMap<_, Vec<&Plane>> = BTreeMap::new();
    for plane in &observed.planes {
        found.entry(agent_of(plane)).or_default().push(plane);
    }
    found
}

/// Of each object: who mounts it, and the gateway where a plane refers to it.
fn readers<'a>(
    observed: &'a Snapshot,
    wanted: &BTreeMap<&'a MaterialRef, &'a Arc<Read<Material>>>,
) -> BTreeMap<&'a MaterialRef, Readers<'a>> {
    let mut found: BTreeMap<&MaterialRef, Readers<'_>> = BTreeMap::new();
    let of_templates = observed.workloads.iter();
    let of_templates = of_templates.map(|one| (&one.agent, &one.mounts, false));
    let of_pods = observed.pods.iter();
    let of_pods = of_pods.map(|one| (&one.agent, &one.mounts, one.has_started()));
    for (agent, mounts, has_started) in of_templates.chain(of_pods) {
        let counts = mounts.iter().filter_map(|one| wanted.get_key_value(one));
        for (mount, _) in counts {
            let readers = found.entry(*mount).or_default();
            readers.has_started |= has_started;
            readers.agents.insert(agent.as_ref());
        }
    }
    let referred = observed.planes.iter().filter_map(|plane| plane.bundle());
    for bundle in referred {
        if let Some((bundle, _)) = wanted.get_key_value(&bundle) {
            found.entry(*bundle).or_default().agents.insert(None);
        }
    }
    found
}

/// The authority's certificates, and the anchors that were handed out before, where any still stands somewhere.
fn cas<'a>(
    observed: &'a Snapshot,
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
            style: Style::Guide,
        },
        planes,
        blocked: true,
        renewal: None,
        form: SecretForm::default(),
    }
}
