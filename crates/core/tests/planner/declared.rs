//! Domains that cert-manager's objects declare: a CA with its leaves, and a webhook's certificate that signs itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{ExternalCAIssuanceStatus, MANAGER, REPLACES_ANNOTATION};
use external_ca_core::domain::certmanager::{DeclaredDomain, FrontEnd, Others, compile_all};
use external_ca_core::domain::{SelfSigned, asked};
use external_ca_core::model::{
    Authority, AuthorityState, CertManagerKind, CertManagerObjects, CertManagerRef, Claims,
    GeneratedCa, InjectFrom, InjectKind, InjectRef, Injected, InjectedElement, Leaf, Material,
    MaterialRef, ObjectRef, PendingLeaf, Pod, Read, Signing, Snapshot, Workload,
};
use external_ca_core::plan::{GenerateCa, IssueLeaf, Step};
use external_ca_core::report::{Decision, decide_declared};
use external_ca_core::x509::{
    CaChain, Certificate, CertificateAuthority, request, self_signed_leaf, sign_request,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::pieces::{
    HOME, blank, ca, cert_manager_object, days, leaf_key, pod_of, running, secret_ref, start,
    workload,
};

/// One domain, and what stands there.
struct Declared {
    domain: DeclaredDomain,
    signer: Option<Arc<CertificateAuthority>>,
    state: AuthorityState,
    material: BTreeMap<MaterialRef, Read<Material>>,
    injected: BTreeMap<InjectRef, Read<Injected>>,
    pending: BTreeMap<ObjectRef, Arc<PendingLeaf>>,
    workloads: Vec<Workload>,
    pods: Vec<Pod>,
    earlier: Option<ExternalCAIssuanceStatus>,
    now: Timestamp,
}

fn leaf_spec(name: &str, issuer: &str) -> Value {
    json!({
        "secretName": name, "commonName": name, "dnsNames": [name], "usages": ["server auth", "client auth"],
        "privateKey": {"algorithm": "ECDSA"}, "issuerRef": {"name": issuer},
    })
}

/// The domain of this authority.
fn domain(authority: &str) -> DeclaredDomain {
    use CertManagerKind::{Certificate, Issuer};
    let objects = [
        (Issuer, "self", json!({"selfSigned": {}})),
        (Issuer, "ca", json!({"ca": {"secretName": "ca"}})),
        (
            Certificate,
            "ca",
            json!({
                "isCA": true, "secretName": "ca", "commonName": "openchoreo-cluster-gateway-ca", "duration": "87600h",
                "subject": {"organizations": ["OpenChoreo"]},
                "privateKey": {"algorithm": "ECDSA"}, "issuerRef": {"name": "self"},
            }),
        ),
        (Certificate, "a", leaf_spec("a", "ca")),
        (Certificate, "b", leaf_spec("b", "ca")),
        (Certificate, "webhook", leaf_spec("webhook", "self")),
    ];
    let mut all = CertManagerObjects::default();
    for (kind, name, spec) in objects {
        let object = cert_manager_object(name, spec);
        let name = CertManagerRef {
            kind,
            object: ObjectRef::new(HOME, name),
        };
        all.0.insert(name, Arc::new(object));
    }
    let front = FrontEnd {
        served: [HOME.to_owned()].into(),
        secrets: ["ca", "a", "b", "webhook"].map(str::to_owned).into(),
        ..FrontEnd::default()
    };
    let mut compiled = compile_all(&all, &front, &Others::default());
    compiled
        .domains
        .remove(&ObjectRef::new(HOME, authority))
        .unwrap()
}

impl Declared {
    fn new(authority: &str) -> Self {
        let domain = domain(authority);
        let material = domain.material().into_iter();
        Self {
            material: material.map(|one| (one, Read::Absent)).collect(),
            domain,
            signer: None,
            state: AuthorityState::Absent,
            injected: BTreeMap::new(),
            pending: BTreeMap::new(),
            workloads: Vec::new(),
            pods: Vec::new(),
            earlier: None,
            now: start() + days(1),
        }
    }

    /// The CA domain, whose CA is there.
    fn with_ca(index: usize) -> Self {
        let mut scene = Self::new("ca");
        scene.sign_with(index);
        scene
    }

    /// Another CA stands in the Secret, beside the bundle that was there.
    fn sign_with(&mut self, index: usize) {
        let signer = ca(index);
        let anchor = signer.public_side().anchor().clone();
        let before = self.material[&secret_ref(HOME, "ca")].found();
        let anchors = before.map_or_else(|| vec![anchor.clone()], |found| found.anchors.clone());
        self.put("ca", vec![anchor], anchors);
        self.state = AuthorityState::Ready {
            chain: Arc::clone(signer.public_side()),
            signing: Signing::Now,
            identity: "caSecret".into(),
        };
        self.signer = Some(signer);
    }

    fn put(&mut self, name: &str, chain: Vec<Certificate>, anchors: Vec<Certificate>) {
        let hash = format!("{}", chain[0].fingerprint());
        let material = Material {
            issuance: Some(self.domain.identity()),
            manager: Some(MANAGER.into()),
            created: Some(start()),
            changed: Some(start() + SignedDuration::from_mins(1)),
            leaf: Leaf::Present {
                chain,
                key_matches: true,
            },
            anchors,
            has_key: true,
            hash,
            ..blank("kubernetes.io/tls")
        };
        self.material
            .insert(secret_ref(HOME, name), Read::Found(material));
    }

    /// A leaf that this CA signed then, beside a bundle.
    fn put_leaf(&mut self, name: &str, signer: usize, at: Timestamp, trusts: &[usize]) {
        let profile = &self.domain.leaves[&ObjectRef::new(HOME, name)].leaf.profile;
        let csr = request(leaf_key(), profile).unwrap();
        let serial = [u8::try_from(signer).unwrap() + 1; 16];
        let chain = sign_request(&ca(signer), csr.der(), profile, serial, at).unwrap();
        let anchors = trusts
            .iter()
            .map(|index| ca(*index).public_side().anchor().clone());
        self.put(name, chain, anchors.collect());
    }

    /// The next certificate waits to be trusted.
    fn wait(&mut self, next: Certificate) {
        self.state = AuthorityState::Ready {
            chain: CaChain::of_itself(next).into(),
            signing: Signing::Now,
            identity: "selfSigned".into(),
        };
        let authority = Authority {
            state: self.state.clone(),
            generated: None,
        };
        let target = self.domain.authority.secret.clone();
        let asked = asked(&authority, &self.domain.leaves[&target].leaf.profile).unwrap();
        let waits = PendingLeaf {
            asked,
            since: start(),
            ask_again: Some(start()),
        };
        self.pending.insert(target, Arc::new(waits));
    }

    fn self_signed(&self, serial: u8) -> Certificate {
        let (_, generate) = self.domain.authority.made.as_ref().unwrap();
        let SelfSigned::Leaf(profile) = &generate.profile else {
            panic!("{generate:?}");
        };
        self_signed_leaf(leaf_key(), profile, [serial; 16], start()).unwrap()
    }

    fn inject(&mut self, anchors: Vec<Certificate>) {
        let object = InjectRef {
            kind: InjectKind::ValidatingWebhookConfiguration,
            name: "validating".into(),
        };
        let injected = Injected {
            resource_version: "1".into(),
            from: Some(InjectFrom::Certificate(format!("{HOME}/webhook"))),
            elements: vec![InjectedElement {
                name: "w".into(),
                anchors,
            }],
            changed: Some(start()),
            is_owned: false,
            is_others: false,
        };
        self.injected.insert(object, Read::Found(injected));
    }

    fn decide(&self) -> Decision {
        let stored = self.material[&MaterialRef {
            object: self.domain.authority.secret.clone(),
            ..secret_ref(HOME, "")
        }]
            .found();
        let snapshot = Snapshot {
            served: Arc::new([HOME.to_owned()].into()),
            plane_namespaces: Arc::default(),
            authority: Authority {
                state: self.state.clone(),
                generated: stored.map(|stored| GeneratedCa {
                    resource_version: stored.resource_version.clone(),
                    request: None,
                }),
            },
            pending: self.pending.clone(),
            anchor_config_maps: BTreeMap::new(),
            material: self
                .material
                .iter()
                .map(|(key, read)| (key.clone(), Arc::new(read.clone())))
                .collect(),
            injected: self
                .injected
                .iter()
                .map(|(key, found)| (key.clone(), Arc::new(found.clone())))
                .collect(),
            planes: Vec::new(),
            strangers: Vec::new(),
            workloads: self.workloads.iter().cloned().map(Arc::new).collect(),
            pods: self.pods.iter().cloned().map(Arc::new).collect(),
            awaited: Vec::new(),
            unreadable: Vec::new(),
            claims: Claims::default(),
            refused: BTreeSet::new(),
            clock_ahead: SignedDuration::ZERO,
        };
        decide_declared(&self.domain, &snapshot, self.earlier.as_ref(), self.now)
    }

    fn generated(&self) -> GenerateCa {
        let steps = self.decide().steps;
        let found = steps.iter().find_map(|step| match step {
            Step::GenerateCa(step) => Some(step.clone()),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{steps:?}"))
    }
}

fn issued(decision: &Decision) -> Vec<&IssueLeaf> {
    let leaves = decision.steps.iter().filter_map(|step| match step {
        Step::IssueLeaf(leaf) => Some(leaf),
        _ => None,
    });
    leaves.collect()
}

#[test]
fn a_ca_that_was_deleted_comes_back_beside_the_anchors_that_its_leaves_need() {
    let mut scene = Declared::new("ca");
    scene.put_leaf("a", 0, start(), &[0, 2]);
    let old = ca(0).public_side().anchor().clone();
    assert_eq!(
        scene.generated().bundle,
        Some(vec![old]),
        "and no stranger's"
    );
    // A server holds the bundle that was deleted with it.
    let server = workload(HOME, "server", &[secret_ref(HOME, "ca")]);
    assert!(!scene.generated().marks.contains_key(REPLACES_ANNOTATION));
    scene.pods.push(running(pod_of(&server)));
    assert!(scene.generated().marks.contains_key(REPLACES_ANNOTATION));
}

/// Volumes may be set up from what was deleted before a pod starts; API servers that trust another tell that it was there.
#[test]
fn what_api_servers_trust_tells_that_a_certificate_was_deleted() {
    let mut scene = Declared::new("webhook");
    scene.inject(Vec::new());
    assert!(!scene.generated().marks.contains_key(REPLACES_ANNOTATION));
    scene.inject(vec![scene.self_signed(1)]);
    assert!(scene.generated().marks.contains_key(REPLACES_ANNOTATION));
}

#[test]
fn a_self_signed_certificate_that_was_deleted_waits_aside_until_api_servers_trust_the_next_one() {
    let mut scene = Declared::new("webhook");
    assert!(!scene.generated().aside, "nobody trusts another");
    scene.inject(Vec::new());
    assert!(!scene.generated().aside, "nor does a placeholder");
    scene.inject(vec![scene.self_signed(1)]);
    assert!(scene.generated().aside);
}

#[test]
fn no_leaf_is_stored_before_it_is_known_what_stands_beside_it() {
    let mut scene = Declared::with_ca(0);
    assert_eq!(issued(&scene.decide()).len(), 2);
    scene.material.insert(
        secret_ref(HOME, "b"),
        Read::Unknown("the read failed".into()),
    );
    let decision = scene.decide();
    assert!(issued(&decision).is_empty(), "{:?}", decision.steps);
}

#[test]
fn a_leaf_takes_no_anchor_away() {
    let mut scene = Declared::with_ca(0);
    scene.put_leaf("a", 0, start(), &[0]);
    scene.put_leaf("b", 0, start(), &[0]);
    scene.earlier = Some(scene.decide().status);
    // All have moved to another CA, and one is due for renewal.
    scene.sign_with(1);
    scene.put_leaf("a", 1, start(), &[0, 1]);
    scene.put_leaf("b", 1, start(), &[0, 1]);
    scene.now = start() + days(61);
    let earlier = scene.decide().status;
    scene.earlier = Some(earlier);
    scene.now += SignedDuration::from_mins(1);
    let decision = scene.decide();
    let drops = |step: &Step| matches!(step, Step::WriteBundle(step) if step.drops);
    assert!(decision.steps.iter().any(drops), "{:?}", decision.steps);
    let leaves = issued(&decision);
    assert!(!leaves.is_empty());
    for leaf in leaves {
        assert_eq!(leaf.bundle.as_ref().map(Vec::len), Some(2), "{leaf:?}");
    }
}

#[test]
fn no_next_ca_is_made_before_it_is_known_what_stands_beside_it() {
    let mut scene = Declared::with_ca(0);
    scene.put_leaf("a", 0, start(), &[0]);
    scene.put_leaf("b", 0, start(), &[0]);
    scene.now = start() + days(3600);
    assert!(scene.generated().bundle.is_some());
    // The bundle beside the CA is lost, and so is the sight of a leaf.
    let stored = scene.material.get_mut(&secret_ref(HOME, "ca"));
    if let Some(Read::Found(stored)) = stored {
        stored.anchors.clear();
    }
    scene.material.insert(
        secret_ref(HOME, "b"),
        Read::Unknown("the read failed".into()),
    );
    let steps = scene.decide().steps;
    assert!(
        !steps.iter().any(|step| matches!(step, Step::GenerateCa(_))),
        "{steps:?}"
    );
}

#[test]
fn a_bundle_that_was_deleted_is_waited_for_while_pods_hold_it() {
    let mut scene = Declared::with_ca(0);
    scene.put_leaf("a", 0, start(), &[0, 1]);
    scene.sign_with(1);
    scene.put("ca", vec![ca(1).public_side().anchor().clone()], both());
    let reader = workload(HOME, "reader", &[secret_ref(HOME, "b")]);
    let targets = |scene: &Declared| {
        let decision = scene.decide();
        let leaves = issued(&decision).into_iter();
        leaves
            .map(|leaf| leaf.target.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(targets(&scene), ["a", "b"]);
    scene.pods.push(running(pod_of(&reader)));
    assert_eq!(
        targets(&scene),
        ["b"],
        "whoever holds it trusts the old CA only"
    );
}

#[test]
fn a_self_signed_certificate_is_renewed_before_it_ends() {
    let mut scene = Declared::new("webhook");
    let old = scene.self_signed(1);
    scene.put("webhook", vec![old.clone()], vec![old.clone()]);
    scene.inject(vec![old.clone()]);
    scene.wait(old);
    scene.pending.clear();
    assert!(scene.decide().steps.is_empty());
    scene.now = start() + days(61);
    assert!(scene.generated().aside, "it ends after 90 days");
}

#[test]
fn a_new_leaf_does_not_wait_for_who_waits_for_it() {
    let mut scene = Declared::with_ca(0);
    scene.put_leaf("b", 0, start(), &[0, 1]);
    scene.sign_with(1);
    scene.put("ca", vec![ca(1).public_side().anchor().clone()], both());
    // It runs, holds the bundle as it was, and its next pods cannot start without the leaf that was deleted.
    let mounts = [secret_ref(HOME, "ca"), secret_ref(HOME, "a")];
    let server = workload(HOME, "server", &mounts);
    scene.pods.push(running(pod_of(&server)));
    scene.workloads.push(server);
    let decision = scene.decide();
    let targets: Vec<_> = issued(&decision)
        .iter()
        .map(|leaf| leaf.target.name.as_str())
        .collect();
    assert_eq!(targets, ["a"], "the other one waits for the server");
}

/// Whoever replaces a CA writes the whole Secret: nothing is put back by that, however often.
#[test]
fn cas_by_hand_are_no_contest() {
    let mut scene = Declared::with_ca(0);
    scene.put_leaf("a", 0, start(), &[0]);
    scene.earlier = Some(scene.decide().status);
    let by_hand = |scene: &mut Declared, index: usize| {
        scene.now += SignedDuration::from_mins(5);
        scene.sign_with(index);
        let Some(Read::Found(found)) = scene.material.get_mut(&secret_ref(HOME, "ca")) else {
            panic!("it was put");
        };
        found.manager = Some("kubectl".into());
        found.changed = Some(scene.now);
    };
    let bundle = |decision: &Decision| {
        let mut steps = decision.steps.iter();
        steps.find_map(|step| match step {
            Step::WriteBundle(bundle) if bundle.target == secret_ref(HOME, "ca") => {
                Some(bundle.anchors.clone())
            }
            _ => None,
        })
    };
    for index in [1, 2, 1, 2, 1] {
        by_hand(&mut scene, index);
        let decision = scene.decide();
        assert_eq!(bundle(&decision).map(|anchors| anchors.len()), Some(2));
        scene.earlier = Some(decision.status);
    }
    // The same one again and again is.
    for _ in 0..2 {
        by_hand(&mut scene, 1);
        let decision = scene.decide();
        assert!(bundle(&decision).is_some());
        scene.earlier = Some(decision.status);
    }
    by_hand(&mut scene, 1);
    assert_eq!(bundle(&scene.decide()), None);
}

/// Where two were deleted, one goes first: whoever holds the bundle beside it moves before the other is signed.
#[test]
fn a_new_leaf_waits_for_who_holds_what_was_deleted_beside_another() {
    let mut scene = Declared::with_ca(0);
    scene.earlier = Some(scene.decide().status);
    scene.sign_with(1);
    scene.put("ca", vec![ca(1).public_side().anchor().clone()], both());
    assert_eq!(targets(&scene.decide()), ["a", "b"]);
    let reader = workload(HOME, "reader", &[secret_ref(HOME, "b")]);
    scene.workloads.push(reader.clone());
    scene.pods.push(pod_of(&reader));
    assert_eq!(targets(&scene.decide()), ["a", "b"], "it has not started");
    scene.pods = vec![running(pod_of(&reader))];
    assert_eq!(targets(&scene.decide()), ["b"]);
    // Nor does one that waits for the other way round.
    let server = workload(
        HOME,
        "server",
        &[secret_ref(HOME, "ca"), secret_ref(HOME, "a")],
    );
    scene.workloads.push(server.clone());
    scene.pods.push(pod_of(&server));
    assert_eq!(targets(&scene.decide()), ["b"], "it holds nothing yet");
    scene.pods.push(running(pod_of(&server)));
    assert_eq!(
        targets(&scene.decide()),
        ["a", "b"],
        "each waits for the other"
    );
}

/// The bundle beside a leaf that is no longer declared counts as long as a pod reads it, also where it cannot be read.
#[test]
fn a_bundle_that_is_left_behind_and_cannot_be_read_is_waited_for() {
    let mut scene = Declared::with_ca(0);
    scene.put_leaf("a", 0, start(), &[0]);
    scene.put_leaf("b", 0, start(), &[0]);
    let reader = workload(HOME, "reader", &[secret_ref(HOME, "b")]);
    scene.pods.push(running(pod_of(&reader)));
    scene.workloads.push(reader);
    scene.earlier = Some(scene.decide().status);
    scene.domain.leaves.remove(&ObjectRef::new(HOME, "b"));
    scene.sign_with(1);
    scene.put("ca", vec![ca(1).public_side().anchor().clone()], both());
    scene.put_leaf("a", 0, start(), &[1, 0]);
    assert!(issued(&scene.decide()).is_empty());
    let unknown = Read::Unknown("it cannot be read".into());
    scene.material.insert(secret_ref(HOME, "b"), unknown);
    let decision = scene.decide();
    assert!(issued(&decision).is_empty(), "{:?}", decision.steps);
}

fn targets(decision: &Decision) -> Vec<&str> {
    let leaves = issued(decision).into_iter();
    leaves.map(|leaf| leaf.target.name.as_str()).collect()
}

#[test]
fn a_bundle_of_api_servers_that_cannot_be_read_is_waited_for() {
    let mut scene = Declared::new("webhook");
    let [old, next] = [1, 2].map(|serial| scene.self_signed(serial));
    scene.put(
        "webhook",
        vec![old.clone()],
        vec![old.clone(), next.clone()],
    );
    scene.inject(vec![old, next.clone()]);
    scene.wait(next);
    assert_eq!(
        issued(&scene.decide()).len(),
        1,
        "it has been trusted for a day"
    );
    for read in scene.injected.values_mut() {
        *read = Read::Unknown("it cannot be read".into());
    }
    let decision = scene.decide();
    assert!(issued(&decision).is_empty(), "{:?}", decision.steps);
}

fn both() -> Vec<Certificate> {
    let anchors = [1, 0].map(|index| ca(index).public_side().anchor().clone());
    anchors.into()
}
