//! What is wanted no longer, and something reads all the same: a Secret of an earlier name, the agents of planes that no
//! selector selects or whose kind is lost sight of. Their certificates are not issued; they are peers until they are gone.

use std::collections::BTreeSet;

use external_ca_api::ExternalCAIssuanceStatus;
use jiff::SignedDuration;

use super::leaf::{Desired, DesiredLeaf, Role};
use crate::model::{Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Observed, Read};
use crate::x509::{Certificate, KeyAlgorithm, LeafProfile, Usages};

impl Desired {
    /// Looks through all that was read besides what is wanted: something mounts it, by a name that the operator writes.
    pub(super) fn settle_left_behind(
        &mut self,
        observed: &Observed,
        owner: &str,
        earlier: Option<&ExternalCAIssuanceStatus>,
    ) {
        let wanted: BTreeSet<MaterialRef> = self.all().map(DesiredLeaf::material).collect();
        let domain = Domain {
            owner,
            earlier,
            cas: cas(observed, earlier),
        };
        let others = observed.material.iter().filter(|(target, _)| {
            let is_wanted = wanted.contains(*target) || self.trust_places.contains(*target);
            !is_wanted && !observed.claims.material.contains_key(*target)
        });
        let (mut leaves, mut bundles) = (Vec::new(), Vec::new());
        for (target, stored) in others {
            match stored.as_ref() {
                Read::Absent => {}
                Read::Found(found) => {
                    leaves.extend(domain.leaf(target, found));
                    if found.issuance.as_deref() == Some(owner) && !found.anchors.is_empty() {
                        bundles.push(target.clone());
                    }
                }
                Read::Unknown(_) if domain.was_told(&target.object) => {
                    leaves.push(leaf(&target.object, None));
                }
                Read::Unknown(_) => {}
            }
        }
        self.left_behind.extend(leaves);
        self.trust_places.extend(bundles);
    }
}

/// What tells that a leaf belongs to a trust domain.
struct Domain<'a> {
    owner: &'a str,
    earlier: Option<&'a ExternalCAIssuanceStatus>,
    cas: Vec<&'a Certificate>,
}

impl Domain<'_> {
    fn was_told(&self, target: &ObjectRef) -> bool {
        let target = target.to_string();
        self.earlier.is_some_and(|status| {
            let mut told = status.certificates.iter();
            told.any(|told| told.target == target)
        })
    }

    /// The leaf in a Secret, where this domain issued it, or one of its CAs signed it and nobody else manages it.
    fn leaf(&self, target: &MaterialRef, found: &Material) -> Option<DesiredLeaf> {
        let (MaterialKind::Secret, Leaf::Present { chain, .. }) = (target.kind, &found.leaf) else {
            return None;
        };
        let first = chain.first().filter(|first| !first.is_ca())?;
        let is_signed = || chain.iter().any(|one| self.has_signed(one));
        let ours = match &found.issuance {
            Some(owner) => owner == self.owner,
            None => is_signed(),
        };
        ours.then(|| leaf(&target.object, Some(first)))
    }

    fn has_signed(&self, certificate: &Certificate) -> bool {
        self.cas.iter().any(|ca| certificate.signed_by(ca))
    }
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

/// Who verifies it is not known: every trust place counts.
fn leaf(target: &ObjectRef, stored: Option<&Certificate>) -> DesiredLeaf {
    let name = stored.and_then(|stored| stored.common_names().first());
    DesiredLeaf {
        target: target.clone(),
        role: Role::Further,
        profile: LeafProfile {
            common_name: name.cloned().unwrap_or_default(),
            organizations: Vec::new(),
            sans: Vec::new(),
            usages: stored.map_or(Usages::BOTH, Certificate::usages),
            key: KeyAlgorithm::EcdsaP256,
            duration: SignedDuration::ZERO,
        },
        planes: BTreeSet::new(),
        blocked: true,
    }
}
