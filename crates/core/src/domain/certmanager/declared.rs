//! A trust domain that cert-manager's objects declare.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::ExternalCAIssuanceStatus;
use jiff::SignedDuration;

use crate::domain::leaf::{BundlePlace, Desired, DesiredLeaf, SecretForm};
use crate::domain::left_behind::BundleNames;
use crate::domain::renewal::Renewal;
use crate::domain::trust_domain::{
    Authority, ClientCa, Generate, Owner, Requests, Rollout, Rotation, SelfSigned, TrustDomain,
};
use crate::model::{
    CERT_MANAGER_GROUP, InjectFrom, InjectRef, Leaf, MaterialRef, ObjectRef, Read, Snapshot,
};

/// How long before its end a CA is told to end soon.
const CA_WARNING: SignedDuration = SignedDuration::from_hours(720);
/// Which of the workloads is the server is not known, so they go one by one.
const MAX_CONCURRENT: usize = 1;
/// As an issuance's `rollout` where it says nothing.
const TIMEOUT: SignedDuration = SignedDuration::from_mins(10);
const KUBELET_CACHE: SignedDuration = SignedDuration::from_secs(5);
/// As an issuance's `rotation.overlap` where it says nothing.
const OVERLAP: SignedDuration = SignedDuration::from_hours(24);

/// A trust domain that cert-manager's objects declare.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredDomain {
    /// What signs.
    pub authority: DeclaredAuthority,
    /// What it signs, by Secret.
    pub leaves: BTreeMap<ObjectRef, DeclaredLeaf>,
}

/// What signs in a domain.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredAuthority {
    /// Its Secret.
    pub secret: ObjectRef,
    /// The Certificate that makes it, and what that asks for; none where people made it.
    pub made: Option<(ObjectRef, Generate)>,
}

/// A leaf, and the Certificate that asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredLeaf {
    /// The Certificate.
    pub certificate: ObjectRef,
    /// What it asks for.
    pub leaf: DesiredLeaf,
}

impl DeclaredDomain {
    /// How annotations name it: unlike any issuance.
    pub fn identity(&self) -> String {
        format!("{CERT_MANAGER_GROUP}/{}", self.authority.secret)
    }

    /// Its Certificates, with their Secrets.
    pub fn certificates(&self) -> impl Iterator<Item = (&ObjectRef, &ObjectRef)> {
        let made = self.authority.made.iter();
        let made = made.map(|(certificate, _)| (certificate, &self.authority.secret));
        let leaves = self.leaves.iter();
        // A self-signed leaf is its own authority.
        let leaves = leaves.filter(|(secret, _)| **secret != self.authority.secret);
        made.chain(leaves.map(|(secret, leaf)| (&leaf.certificate, secret)))
    }

    /// Whether an object asks to be injected with the bundle of this domain.
    pub fn injects(&self, from: &InjectFrom) -> bool {
        match from {
            InjectFrom::Certificate(name) => {
                let mut certificates = self.certificates();
                certificates.any(|(certificate, _)| certificate.to_string() == *name)
            }
            InjectFrom::Secret(name) => self
                .forms()
                .any(|(secret, form)| secret.to_string() == *name && allows_injection(form)),
        }
    }

    /// Whether an object that API servers read is injected from this Secret, or its Certificate.
    fn serves_webhooks(&self, target: &ObjectRef, snapshot: &Snapshot) -> bool {
        let Some(leaf) = self.leaves.get(target) else {
            return false;
        };
        let names = |from: &InjectFrom| match from {
            InjectFrom::Certificate(name) => leaf.certificate.to_string() == *name,
            InjectFrom::Secret(name) => target.to_string() == *name,
        };
        let mut injected = snapshot.injected.values();
        injected.any(|read| match read.as_ref() {
            Read::Found(found) => found.from.as_ref().is_some_and(names),
            // Of those that did when they were last read, only this may be asked for.
            Read::Unknown(_) => self.is_self_signed_leaf(),
            Read::Absent => false,
        })
    }

    /// The Secrets that are written, and how.
    fn forms(&self) -> impl Iterator<Item = (&ObjectRef, &SecretForm)> {
        let made = self.authority.made.iter();
        let made = made.map(|(_, generate)| (&self.authority.secret, &generate.form));
        let leaves = self.leaves.iter();
        made.chain(leaves.map(|(secret, leaf)| (secret, &leaf.leaf.form)))
    }

    /// Every Secret of it.
    pub fn material(&self) -> BTreeSet<MaterialRef> {
        let secrets = self.leaves.keys().chain([&self.authority.secret]);
        secrets.cloned().map(MaterialRef::secret).collect()
    }
}

fn allows_injection(form: &SecretForm) -> bool {
    let allowed = form
        .annotations
        .get("cert-manager.io/allow-direct-injection");
    allowed.is_some_and(|value| value == "true")
}

/// The trust domain, over what is seen.
pub fn trust_domain<'a>(
    declared: &DeclaredDomain,
    snapshot: &Snapshot,
    earlier: Option<&'a ExternalCAIssuanceStatus>,
) -> TrustDomain<'a> {
    let generate = declared.authority.made.as_ref();
    let mut domain = TrustDomain {
        owner: Owner {
            kind: "Certificates of",
            identity: declared.identity(),
            generation: None,
            earlier,
        },
        authority: Authority {
            secret: declared.authority.secret.clone(),
            generate: generate.map(|(_, generate)| generate.clone()),
        },
        wanted: wanted(declared, snapshot),
        gateway: None,
        trust_secret: None,
        agent_bundle: None,
        additional: Vec::new(),
        client_ca: ClientCa::Unmanaged,
        renewal: Renewal {
            before: CA_WARNING,
            keeps_key: false,
        },
        rotation: Rotation {
            immediate: false,
            overlap: OVERLAP,
        },
        rollout: Rollout {
            restarts: true,
            max_concurrent: MAX_CONCURRENT,
            timeout: TIMEOUT,
            kubelet_cache: KUBELET_CACHE,
            windows: Vec::new(),
        },
        requests: Requests::default(),
        halted: None,
        defect: None,
    };
    let owner = domain.owner.identity.clone();
    let wanted = &mut domain.wanted;
    wanted.settle_left_behind(snapshot, &owner, earlier, BundleNames::default());
    // A consumer of a leaf that is no longer declared verifies peers with the bundle beside it.
    for left in &mut wanted.left_behind {
        if has_bundle(snapshot, &left.material()) {
            left.form.bundle = BundlePlace::Beside;
            wanted.trust_places.insert(left.material());
        }
    }
    domain
}

fn wanted(declared: &DeclaredDomain, snapshot: &Snapshot) -> Desired {
    let leaves = declared.leaves.iter();
    let leaves: BTreeMap<ObjectRef, DesiredLeaf> = leaves
        .map(|(target, leaf)| (target.clone(), leaf.leaf.clone()))
        .collect();
    let is_made = declared.authority.made.is_some();
    let own = is_made.then(|| declared.authority.secret.clone());
    let targets = leaves.keys().cloned().chain(own);
    let places = targets.map(MaterialRef::secret);
    let places = places.filter(|one| has_leaf(snapshot, one) || snapshot.has_started_reader(one));
    let injected = snapshot.injected.iter();
    let injected = injected.filter(|(_, read)| match read.as_ref() {
        Read::Found(found) => !found.elements.is_empty(),
        Read::Unknown(_) => true,
        Read::Absent => false,
    });
    let injected: BTreeSet<InjectRef> = injected.map(|(object, _)| object.clone()).collect();
    // A webhook's server reads its certificate anew, as controller-runtime's certwatcher does.
    let served = leaves.keys().filter(|_| !injected.is_empty());
    let served = served.filter(|target| declared.serves_webhooks(target, snapshot));
    Desired {
        reloaded: served.cloned().map(MaterialRef::secret).collect(),
        trust_places: places.collect(),
        injected,
        leaves,
        ..Desired::default()
    }
}

/// A Secret is a trust place once it has its certificate: without, nothing can read it, and none is made of a bundle alone.
fn has_leaf(snapshot: &Snapshot, target: &MaterialRef) -> bool {
    match snapshot.material.get(target).map(AsRef::as_ref) {
        Some(Read::Found(found)) => found.leaf != Leaf::Empty,
        Some(Read::Unknown(_)) => true,
        Some(Read::Absent) | None => false,
    }
}

/// Whether a bundle stands beside what is in a Secret, or may.
fn has_bundle(snapshot: &Snapshot, target: &MaterialRef) -> bool {
    match snapshot.material.get(target).map(AsRef::as_ref) {
        Some(Read::Found(found)) => !found.anchors.is_empty(),
        Some(Read::Unknown(_)) => true,
        Some(Read::Absent) | None => false,
    }
}

impl DeclaredDomain {
    /// Whether its authority is a leaf that is its own anchor.
    pub fn is_self_signed_leaf(&self) -> bool {
        let made = self.authority.made.as_ref();
        made.is_some_and(|(_, generate)| matches!(generate.profile, SelfSigned::Leaf(_)))
    }
}
