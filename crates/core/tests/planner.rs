//! The planner's rules as scenes: a snapshot in, steps and conditions out. Time is an argument, certificates are real.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "planner/adopt.rs"]
mod adopt;
#[path = "planner/diagnosis.rs"]
mod diagnosis;
#[path = "planner/forecast.rs"]
mod forecast;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use external_ca_api::{
    CertificateState, ExternalCAIssuance, HELD_UNTIL_ANNOTATION, Phase, PlaneKind,
    RENEW_ANNOTATION, RENEWAL_ANNOTATION, REPLACES_ANNOTATION, RolloutPhase, RolloutStatus,
};
use external_ca_core::Reason;
use external_ca_core::facts::hash;
use external_ca_core::observed::{
    Claims, GeneratedCa, Issuer, Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Observed,
    Plane, PlaneRef, Read, RolloutState, Workload, WorkloadKind, WorkloadRef,
};
use external_ca_core::plan::{Plan, Step, Wiring, plan};
use external_ca_core::x509::{
    CaProfile, Certificate, CertificateAuthority, KeyAlgorithm, LeafProfile, PrivateKey,
    encode_bundle, generate, request, self_signed_ca, sign_request,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

const HOME: &str = "openchoreo-control-plane";
const DATA: &str = "openchoreo-data-plane";

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

fn ca(index: usize) -> Arc<CertificateAuthority> {
    static ALL: OnceLock<Vec<Arc<CertificateAuthority>>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        (0..3u8)
            .map(|index| {
                let key = generate(KeyAlgorithm::EcdsaP256).unwrap();
                let profile = CaProfile {
                    common_name: "openchoreo-cluster-gateway-ca".into(),
                    organizations: vec!["OpenChoreo".into()],
                    path_length: None,
                    duration: days(3650),
                };
                let certificate = self_signed_ca(&key, &profile, [index + 1; 16], start()).unwrap();
                let pem = certificate.to_pem();
                Arc::new(
                    CertificateAuthority::from_pem(
                        pem.as_bytes(),
                        key.to_pem().as_bytes(),
                        None,
                        start(),
                    )
                    .unwrap(),
                )
            })
            .collect()
    });
    Arc::clone(&all[index])
}

/// A CA that OpenSSL made, whose name constraints leave out the gateway.
fn constrained(now: Timestamp) -> Arc<CertificateAuthority> {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args([
            "-keyout",
            &path("key"),
            "-out",
            &path("crt"),
            "-subj",
            "/CN=constrained",
        ])
        .args([
            "-addext",
            "nameConstraints=critical,permitted;DNS:example.com",
        ])
        .args(["-addext", "keyUsage=critical,keyCertSign"])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let read = |name: &str| std::fs::read(path(name)).unwrap();
    let authority = CertificateAuthority::from_pem(&read("crt"), &read("key"), None, now);
    Arc::new(authority.unwrap())
}

fn leaf_key() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| generate(KeyAlgorithm::EcdsaP256).unwrap())
}

fn secret_ref(namespace: &str, name: &str) -> MaterialRef {
    MaterialRef {
        kind: MaterialKind::Secret,
        object: ObjectRef::new(namespace, name),
    }
}

fn config_map_ref(namespace: &str) -> MaterialRef {
    MaterialRef {
        kind: MaterialKind::ConfigMap,
        object: ObjectRef::new(namespace, "cluster-gateway-ca"),
    }
}

fn gateway() -> MaterialRef {
    secret_ref(HOME, "cluster-gateway-tls")
}

fn agent() -> MaterialRef {
    secret_ref(DATA, "cluster-agent-tls")
}

/// A little world: steps are carried out on it as the shell would, rollouts finish when they are told to.
struct Scene {
    issuance: ExternalCAIssuance,
    issuer: Issuer,
    generated: Option<GeneratedCa>,
    material: BTreeMap<MaterialRef, Material>,
    unknown: BTreeSet<MaterialRef>,
    anchor_config_maps: BTreeMap<(String, String), Read<Vec<Certificate>>>,
    claims: Claims,
    planes: Vec<Plane>,
    workloads: Vec<Workload>,
    now: Timestamp,
    serial: u8,
    restarts: BTreeMap<String, usize>,
}

impl Scene {
    fn new(spec: serde_json::Value) -> Self {
        let mut object = json!({
            "apiVersion": "pki.openchoreo.dev/v1alpha1",
            "kind": "ExternalCAIssuance",
            "metadata": {"name": "cluster-gateway", "namespace": HOME, "generation": 1, "uid": "u"},
            "spec": {
                "issuer": {"caSecret": {"name": "ca"}},
                "certificateDefaults": {"privateKey": {"algorithm": "ECDSA"}},
            },
        });
        if let serde_json::Value::Object(more) = spec {
            object["spec"].as_object_mut().unwrap().extend(more);
        }
        Self {
            issuance: serde_json::from_value(object).unwrap(),
            issuer: Issuer::Ready(ca(0)),
            generated: None,
            material: BTreeMap::new(),
            unknown: BTreeSet::new(),
            anchor_config_maps: BTreeMap::new(),
            claims: Claims::default(),
            planes: vec![plane("eu", "eu-1")],
            workloads: Vec::new(),
            now: start() + days(1),
            serial: 0,
            restarts: BTreeMap::new(),
        }
    }

    fn with_workloads(mut self) -> Self {
        self.workloads = vec![
            workload(HOME, "cluster-gateway", &[gateway()]),
            workload(
                HOME,
                "controller-manager",
                &[secret_ref(HOME, "cluster-gateway-ca")],
            ),
            workload(
                DATA,
                "cluster-agent-dataplane",
                &[agent(), config_map_ref(DATA)],
            ),
        ];
        self
    }

    fn observed(&self) -> Observed {
        let planes: Vec<Arc<Plane>> = self.planes.iter().cloned().map(Arc::new).collect();
        let wanted = external_ca_core::desired::desired(&self.issuance, &planes);
        let needs = wanted
            .trust_places
            .iter()
            .cloned()
            .chain(wanted.leaves.values().map(|leaf| leaf.material()));
        Observed {
            issuance: Arc::new(self.issuance.clone()),
            served: Arc::new([HOME, DATA].map(String::from).into()),
            plane_namespaces: Arc::new(["default"].map(String::from).into()),
            issuer: self.issuer.clone(),
            generated: self.generated.clone(),
            anchor_config_maps: self.anchor_config_maps.clone(),
            material: needs
                .map(|key| {
                    let read = match self.material.get(&key) {
                        _ if self.unknown.contains(&key) => {
                            Read::Unknown("the API server is away".into())
                        }
                        Some(found) => Read::Found(found.clone()),
                        None => Read::Absent,
                    };
                    (key, Arc::new(read))
                })
                .collect(),
            planes,
            workloads: self.workloads.iter().cloned().map(Arc::new).collect(),
            unreadable: Vec::new(),
            claims: self.claims.clone(),
        }
    }

    fn plan(&self) -> Plan {
        plan(&self.observed(), self.now)
    }

    /// Carries out one plan.
    fn turn(&mut self) -> Plan {
        let planned = self.plan();
        self.now += SignedDuration::from_secs(2);
        for step in &planned.steps {
            match step {
                Step::WriteBundle {
                    target, anchors, ..
                } => self.put_bundle(target, anchors, Some("external-ca-operator")),
                Step::IssueLeaf {
                    target,
                    profile,
                    marks,
                    ..
                } => {
                    let Issuer::Ready(authority) = &self.issuer else {
                        panic!("no issuer")
                    };
                    let authority = Arc::clone(authority);
                    self.put_leaf(
                        &secret_ref(&target.namespace, &target.name),
                        &authority,
                        profile,
                        true,
                    );
                    let key = secret_ref(&target.namespace, &target.name);
                    let material = self.material.get_mut(&key).unwrap();
                    material.renewal = marks.get(RENEWAL_ANNOTATION).cloned();
                    material.replaces = marks.contains_key(REPLACES_ANNOTATION);
                    let held_until = marks.get(HELD_UNTIL_ANNOTATION);
                    material.held_until = held_until.map(|time| time.parse().unwrap());
                }
                Step::WirePlane {
                    plane,
                    client_ca: Wiring::Value(pem),
                    ..
                } => {
                    let found = self
                        .planes
                        .iter_mut()
                        .find(|known| known.plane == *plane)
                        .unwrap();
                    found.anchors =
                        external_ca_core::x509::parse_bundle(pem.as_bytes()).certificates;
                    found.value = Some(pem.clone());
                    found.manager = Some("external-ca-operator".into());
                    found.changed = Some(self.now);
                }
                Step::WirePlane {
                    plane,
                    client_ca: Wiring::Reference { secret, .. },
                    ..
                } => {
                    let found = self
                        .planes
                        .iter_mut()
                        .find(|known| known.plane == *plane)
                        .unwrap();
                    (found.value, found.anchors) = (None, Vec::new());
                    found.reference = Some((secret.clone(), "ca.crt".into()));
                }
                Step::Restart { workload, .. } => {
                    *self
                        .restarts
                        .entry(workload.object.name.clone())
                        .or_default() += 1;
                    let material = self.material.clone();
                    let found = self
                        .workloads
                        .iter_mut()
                        .find(|known| known.workload == *workload)
                        .unwrap();
                    found.loaded = found
                        .mounts
                        .iter()
                        .filter_map(|mount| Some((mount.clone(), material.get(mount)?.version())))
                        .collect();
                    found.rollout = RolloutState::Running("rolling".into());
                }
                Step::Consume(_) => self.issuance.metadata.annotations = None,
                Step::GenerateCa { marks, .. } => {
                    let request = marks.get(RENEWAL_ANNOTATION).cloned();
                    (self.issuer, self.generated) = (Issuer::Ready(ca(1)), generated(request));
                }
            }
        }
        self.issuance.status = Some(planned.status.clone());
        planned
    }

    /// Turns, with every rollout finishing in between, until nothing is left to do.
    fn settle(&mut self) -> Plan {
        for _ in 0..40 {
            let planned = self.turn();
            self.finish_rollouts();
            if planned.steps.is_empty()
                && self.plan().steps.is_empty()
                && self.plan().status.phase == planned.status.phase
            {
                return self.plan();
            }
        }
        panic!("does not settle: {:#?}", self.plan());
    }

    fn finish_rollouts(&mut self) {
        // Pods wait for what they mount.
        let startable = |workload: &&mut Workload| {
            workload
                .mounts
                .iter()
                .all(|mount| self.material.contains_key(mount))
        };
        for workload in self.workloads.iter_mut().filter(startable) {
            workload.rollout = RolloutState::Complete;
            workload.available_since.get_or_insert(self.now);
        }
    }

    fn put_bundle(&mut self, target: &MaterialRef, anchors: &[Certificate], manager: Option<&str>) {
        let pem = encode_bundle(anchors);
        let created = self
            .material
            .get(target)
            .and_then(|old| old.created)
            .unwrap_or(self.now);
        self.material.insert(
            target.clone(),
            Material {
                issuance: manager.map(|_| format!("{HOME}/cluster-gateway")),
                manager: manager.map(String::from),
                created: Some(created),
                changed: Some(self.now),
                anchors: anchors.to_vec(),
                has_ca_crt: true,
                hash: hash(&[pem.as_bytes()]),
                ..blank("Opaque")
            },
        );
    }

    fn put_leaf(
        &mut self,
        target: &MaterialRef,
        authority: &CertificateAuthority,
        profile: &LeafProfile,
        ours: bool,
    ) {
        self.serial += 1;
        let csr = request(leaf_key(), profile).unwrap();
        let chain =
            sign_request(authority, csr.der(), profile, [self.serial; 16], self.now).unwrap();
        let created = self
            .material
            .get(target)
            .and_then(|old| old.created)
            .unwrap_or(self.now);
        self.material.insert(
            target.clone(),
            Material {
                issuance: ours.then(|| format!("{HOME}/cluster-gateway")),
                created: Some(created),
                changed: Some(self.now),
                hash: hash(&[encode_bundle(&chain).as_bytes()]),
                has_key: true,
                leaf: Leaf::Present {
                    chain,
                    key_matches: true,
                },
                ..blank("kubernetes.io/tls")
            },
        );
    }

    fn profile(&self, target: &MaterialRef) -> LeafProfile {
        let planes: Vec<Arc<Plane>> = self.planes.iter().cloned().map(Arc::new).collect();
        external_ca_core::desired::desired(&self.issuance, &planes).leaves[&target.object]
            .profile
            .clone()
    }

    /// The guide's end state, made by hand with a CA.
    fn hand_made(&mut self, authority: &CertificateAuthority) {
        let anchors = [authority.anchor().clone()];
        for place in [
            config_map_ref(HOME),
            config_map_ref(DATA),
            secret_ref(HOME, "cluster-gateway-ca"),
            secret_ref(DATA, "cluster-gateway-ca"),
        ] {
            self.put_bundle(&place, &anchors, None);
        }
        for target in [gateway(), agent()] {
            let profile = self.profile(&target);
            self.put_leaf(&target, authority, &profile, false);
        }
        self.planes[0].anchors = anchors.to_vec();
        self.planes[0].value = Some(encode_bundle(&anchors));
        self.finish_rollouts();
    }

    fn signer(&self, target: &MaterialRef) -> usize {
        let Leaf::Present { chain, .. } = &self.material[target].leaf else {
            panic!("no leaf")
        };
        (0..3)
            .find(|index| chain[0].signed_by(ca(*index).certificate()))
            .unwrap()
    }

    fn anchors(&self, target: &MaterialRef) -> Vec<usize> {
        let has = |index: &usize| self.material[target].anchors.contains(ca(*index).anchor());
        (0..3).filter(has).collect()
    }
}

fn blank(secret_type: &str) -> Material {
    Material {
        resource_version: "1".into(),
        secret_type: secret_type.into(),
        issuance: None,
        replaces: false,
        renewal: None,
        held_until: None,
        controller: None,
        manager: None,
        created: None,
        changed: None,
        leaf: Leaf::Empty,
        anchors: Vec::new(),
        has_ca_crt: false,
        has_key: false,
        hash: String::new(),
    }
}

fn plane(name: &str, plane_id: &str) -> Plane {
    Plane {
        plane: PlaneRef {
            kind: PlaneKind::DataPlane,
            namespace: Some("default".into()),
            name: name.into(),
        },
        resource_version: "1".into(),
        plane_id: plane_id.into(),
        labels: BTreeMap::new(),
        value: None,
        anchors: Vec::new(),
        reference: None,
        reference_field: Some("secretRef"),
        manager: None,
        changed: None,
        agent_connected: None,
        agent_disconnected: None,
    }
}

/// A workload that was there before its material: its pods wait for their mounts.
fn workload(namespace: &str, name: &str, mounts: &[MaterialRef]) -> Workload {
    Workload {
        workload: WorkloadRef {
            kind: WorkloadKind::Deployment,
            object: ObjectRef::new(namespace, name),
        },
        resource_version: "1".into(),
        created: Some(start()),
        available_since: None,
        restarted: None,
        mounts: mounts.iter().cloned().collect(),
        loaded: BTreeMap::new(),
        rollout: RolloutState::Running("0 pods available, 1 wanted".into()),
        rollout_since: None,
        agent: None,
    }
}

fn condition(planned: &Plan, kind: &str) -> (String, String, String) {
    let found = planned
        .status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .unwrap();
    (
        found.status.clone(),
        found.reason.clone(),
        found.message.clone(),
    )
}

#[test]
fn a_first_issuance_settles_without_a_restart() {
    let mut scene = Scene::new(json!({})).with_workloads();
    let first = scene.turn();
    assert!(
        first
            .steps
            .iter()
            .all(|step| matches!(step, Step::WriteBundle { .. } | Step::WirePlane { .. })),
        "trust first: {:#?}",
        first.steps
    );
    let second = scene.turn();
    assert_eq!(
        second
            .steps
            .iter()
            .filter(|step| matches!(step, Step::IssueLeaf { .. }))
            .count(),
        2
    );
    let last = scene.settle();
    assert_eq!(last.status.phase, Some(Phase::Ready), "{:#?}", last.status);
    assert_eq!(last.status.certificates_ready.as_deref(), Some("2/2"));
    assert!(scene.restarts.is_empty(), "{:?}", scene.restarts);
}

#[test]
fn the_hand_made_end_state_is_adopted_untouched() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.hand_made(&ca(0));
    let planned = scene.plan();
    assert_eq!(planned.steps, []);
    assert_eq!(
        planned.status.phase,
        Some(Phase::Ready),
        "{:#?}",
        planned.status.conditions
    );
}

#[test]
fn a_ca_replacement_moves_everybody_and_drops_the_old_ca_last() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let mut seen_waiting = false;
    for _ in 0..60 {
        let planned = scene.turn();
        seen_waiting |= planned
            .status
            .certificates
            .iter()
            .any(|entry| entry.state == CertificateState::Waiting);
        // The gateway is signed by the new CA only when all who verify it have loaded that CA.
        if scene.signer(&gateway()) == 1 {
            for (name, place) in [
                ("cluster-agent-dataplane", config_map_ref(DATA)),
                ("controller-manager", secret_ref(HOME, "cluster-gateway-ca")),
            ] {
                let loaded = scene
                    .workloads
                    .iter()
                    .find(|workload| workload.workload.object.name == name)
                    .unwrap();
                assert!(
                    loaded.loaded.contains_key(&place),
                    "{name} has not been restarted before the gateway's certificate moved"
                );
            }
        }
        // The old CA stays while anything still chains to it.
        if scene.signer(&gateway()) == 0 || scene.signer(&agent()) == 0 {
            assert!(scene.anchors(&config_map_ref(DATA)).contains(&0));
        }
        scene.finish_rollouts();
    }
    let last = scene.settle();
    assert!(seen_waiting);
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (1, 1));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
    assert_eq!(scene.anchors(&secret_ref(HOME, "cluster-gateway-ca")), [1]);
    assert_eq!(scene.planes[0].anchors, [ca(1).anchor().clone()]);
    assert_eq!(last.status.phase, Some(Phase::Ready), "{:#?}", last.status);
}

/// Two planes, each with an agent, all of which may restart at once.
fn two_planes(client_ca: &str) -> Scene {
    let mut scene = Scene::new(json!({
        "agents": [{"secretName": "agent-{planeID}"}],
        "planes": {"clientCA": client_ca},
        "rollout": {"maxConcurrent": 10},
    }))
    .with_workloads();
    let names = ["eu", "us"];
    scene.planes = names.map(|name| plane(name, name)).into();
    scene.workloads.pop();
    scene.workloads.extend(names.map(|name| {
        let leaf = secret_ref(DATA, &format!("agent-{name}"));
        workload(DATA, name, &[leaf, config_map_ref(DATA)])
    }));
    scene.settle();
    assert!(scene.restarts.is_empty(), "{:?}", scene.restarts);
    scene
}

/// The gateway restarts once, whoever verifies it twice, and each of the three certificates is signed once.
fn assert_least(scene: &Scene) {
    let expected = [
        ("cluster-gateway", 1),
        ("controller-manager", 2),
        ("eu", 2),
        ("us", 2),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(scene.restarts, expected.into());
    assert_eq!(scene.serial, 6);
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
}

#[test]
fn a_rotation_restarts_nobody_more_often_than_trust_needs() {
    // How often the API server refuses to write the first plane, because its status is written all the time.
    for (client_ca, refused) in [("Value", 0), ("Value", 2), ("SecretRef", 0)] {
        let mut scene = two_planes(client_ca);
        scene.issuer = Issuer::Ready(ca(1));
        for turn in 0..6 {
            let before = scene.planes[0].clone();
            scene.turn();
            if turn < refused {
                scene.planes[0] = before;
            }
            scene.finish_rollouts();
            // The other plane's agent takes its time, and the gateway waits for it.
            scene.workloads[3].rollout = RolloutState::Running("starting".into());
        }
        scene.settle();
        assert_least(&scene);
    }
}

#[test]
fn a_stuck_rollout_keeps_the_old_ca_and_says_for_whom() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    for _ in 0..30 {
        scene.turn();
        for workload in scene
            .workloads
            .iter_mut()
            .filter(|workload| workload.workload.object.namespace != DATA)
        {
            workload.rollout = RolloutState::Complete;
        }
    }
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "the agent has not loaded the new CA"
    );
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);
    let planned = scene.plan();
    assert_eq!(planned.status.phase, Some(Phase::Rotating));
    let (status, reason, message) = condition(&planned, "CertificatesReady");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "WaitingForPeers")
    );
    assert!(
        message.contains("Deployment openchoreo-data-plane/cluster-agent-dataplane"),
        "{message}"
    );
    scene.now += SignedDuration::from_mins(11);
    let (_, reason, message) = condition(&scene.plan(), "RolloutsComplete");
    assert_eq!(reason, "RolloutStuck", "{message}");
    let rollouts = scene.turn().status.rollouts;
    let stuck = |entry: &RolloutStatus| entry.phase == RolloutPhase::Stuck;
    assert!(rollouts.iter().all(stuck), "{rollouts:#?}");
    assert_eq!(scene.plan().status.rollouts, rollouts, "since when is kept");
    scene.finish_rollouts();
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.signer(&gateway()), 1);
}

#[test]
fn an_unreadable_trust_place_holds_the_rotation_and_nothing_is_dropped() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.unknown.insert(config_map_ref(DATA));
    for _ in 0..20 {
        scene.turn();
        scene.finish_rollouts();
    }
    assert_eq!(scene.signer(&gateway()), 0);
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0]);
    assert_eq!(condition(&scene.plan(), "TrustDistributed").1, "Unreadable");
    scene.unknown.clear();
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.signer(&gateway()), 1);
}

#[test]
fn a_compromised_ca_leaves_at_once_and_it_is_said_before_who_is_cut_off() {
    let mut scene = Scene::new(json!({"rotation": {"strategy": "Immediate"}})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let said = scene.turn();
    assert!(said.steps.is_empty(), "{:#?}", said.steps);
    let (_, reason, message) = condition(&said, "TrustDistributed");
    assert_eq!(reason, "CuttingOff", "{message}");
    for peer in ["cluster-gateway-tls", "cluster-agent-tls"] {
        assert!(message.contains(peer), "{message}");
    }
    assert!(
        said.events
            .iter()
            .any(|(bad, problem)| *bad && problem.reason == Reason::CuttingOff)
    );
    scene.turn();
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (1, 1));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
    assert_eq!(scene.planes[0].anchors, [ca(1).anchor().clone()]);
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.restarts["cluster-agent-dataplane"], 1);
}

#[test]
fn an_agent_that_has_not_come_back_holds_the_old_ca() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.planes[0].agent_connected = Some(true);
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.turn();
    scene.planes[0].agent_connected = Some(false);
    scene.planes[0].agent_disconnected = Some(scene.now);
    let held = scene.settle();
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (1, 1));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);
    let (_, reason, message) = condition(&held, "TrustDistributed");
    assert_eq!(reason, "WaitingForPeers");
    assert!(
        message.contains("the agent of DataPlane default/eu"),
        "{message}"
    );
    scene.planes[0].agent_connected = Some(true);
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);

    // One that had been away before is not waited for.
    scene.planes[0].agent_connected = Some(false);
    scene.issuer = Issuer::Ready(ca(2));
    scene.planes[0].agent_disconnected = Some(start());
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [2]);
}

#[test]
fn putting_the_old_ca_back_returns_to_the_old_state() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.turn();
    scene.turn();
    scene.issuer = Issuer::Ready(ca(0));
    scene.finish_rollouts();
    let waits = scene.settle();
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (0, 0));
    assert_eq!(
        scene.anchors(&config_map_ref(DATA)),
        [0, 1],
        "a certificate that it has signed may still arrive"
    );
    let (_, reason, message) = condition(&waits, "TrustDistributed");
    assert_eq!(reason, "WaitingForPeers");
    assert!(message.contains("under way (until "), "{message}");
    assert!(scene.now.duration_until(waits.next_check) <= SignedDuration::from_secs(60));
    scene.now = waits.next_check;
    let last = scene.settle();
    assert_eq!(last.status.phase, Some(Phase::Ready), "{:#?}", last.status);
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0]);
}

/// An old manifest that names the old CA does not bring it back for good.
#[test]
fn an_anchor_that_has_left_leaves_again() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let moved = scene.settle();
    let former = moved.status.trust.unwrap_or_default().former;
    assert_eq!(former, [ca(0).anchor().fingerprint().to_string()]);
    let both = [ca(0).anchor().clone(), ca(1).anchor().clone()];
    scene.put_bundle(&config_map_ref(DATA), &both, None);
    scene.settle();
    scene.now += days(1);
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
}

#[test]
fn trust_made_by_others_moves_by_the_same_guards_and_unknown_anchors_survive() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.hand_made(&ca(2));
    // Somebody trusts a further CA for reasons of their own.
    let own = [ca(2).anchor().clone(), ca(1).anchor().clone()];
    scene.put_bundle(&config_map_ref(DATA), &own, None);
    scene.finish_rollouts();
    let last = scene.settle();
    assert_eq!(last.status.phase, Some(Phase::Ready), "{:#?}", last.status);
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (0, 0));
    assert_eq!(
        scene.anchors(&config_map_ref(DATA)),
        [0, 1],
        "the anchor of others survives, the retired one is gone"
    );
    assert_eq!(scene.anchors(&config_map_ref(HOME)), [0]);
}

#[test]
fn renewal_comes_ahead_of_expiry_spread_by_jitter_and_restarts_each_side_once() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    let times: Vec<Timestamp> = scene
        .plan()
        .status
        .certificates
        .iter()
        .map(|entry| entry.renewal_time.clone().unwrap().0)
        .collect();
    let third = days(365) / 3;
    let end = scene.plan().status.certificates[0]
        .not_after
        .clone()
        .unwrap()
        .0;
    for time in &times {
        let before = time.duration_until(end);
        assert!(
            before >= third && before <= third + third / 20 + SignedDuration::from_mins(10),
            "{before}"
        );
    }
    assert_ne!(times[0], times[1], "spread");
    assert_eq!(
        scene.plan().next_check,
        scene.now + SignedDuration::from_hours(12),
        "looked at again at the latest"
    );
    scene.now = *times.iter().max().unwrap();
    let planned = scene.plan();
    assert_eq!(
        planned
            .steps
            .iter()
            .filter(|step| matches!(step, Step::IssueLeaf { .. }))
            .count(),
        2
    );
    scene.settle();
    let expected: BTreeMap<String, usize> = [
        ("cluster-gateway".to_owned(), 1),
        ("cluster-agent-dataplane".to_owned(), 1),
    ]
    .into();
    assert_eq!(scene.restarts, expected);
}

#[test]
fn the_gateway_restarts_alone_and_agents_one_at_a_time() {
    let mut scene = Scene::new(json!({
        "agents": [{"secretName": "agent-{planeID}"}],
    }));
    scene.planes = (1..=4)
        .map(|index| plane(&format!("p{index}"), &format!("p-{index}")))
        .collect();
    scene.workloads = (1..=4)
        .map(|index| {
            workload(
                DATA,
                &format!("agent-{index}"),
                &[secret_ref(DATA, &format!("agent-p-{index}"))],
            )
        })
        .chain([workload(HOME, "cluster-gateway", &[gateway()])])
        .collect();
    scene.settle();
    scene.now += days(300);
    for _ in 0..20 {
        scene.turn();
        let rolling: Vec<&str> = scene
            .workloads
            .iter()
            .filter(|workload| workload.rollout != RolloutState::Complete)
            .map(|workload| workload.workload.object.name.as_str())
            .collect();
        assert!(rolling.len() <= 1, "{rolling:?}");
        // Who is last in the queue has waited for longer than a rollout may take, and is not stuck for that.
        scene.now += SignedDuration::from_mins(4);
        let planned = scene.plan();
        let (_, reason, message) = condition(&planned, "RolloutsComplete");
        assert_ne!(reason, "RolloutStuck", "{message}");
        assert!(planned.next_check > scene.now, "nothing is due: no hurry");
        scene.finish_rollouts();
    }
    assert_eq!(scene.restarts.len(), 5);
    assert!(
        scene.restarts.values().all(|count| *count == 1),
        "{:?}",
        scene.restarts
    );
}

#[test]
fn two_plane_ids_that_want_one_secret_are_a_conflict_that_names_both() {
    let mut scene = Scene::new(json!({}));
    scene.planes.push(plane("us", "us-1"));
    let planned = scene.settle();
    let (_, reason, message) = condition(&planned, "CertificatesReady");
    assert_eq!(reason, "Conflict");
    assert!(
        message.contains("eu-1")
            && message.contains("us-1")
            && message.contains("openchoreo-data-plane/cluster-agent-tls"),
        "{message}"
    );
    assert!(!scene.material.contains_key(&agent()));
    assert!(scene.material.contains_key(&gateway()), "the others go on");
}

#[test]
fn planes_with_one_plane_id_share_a_leaf() {
    let mut scene = Scene::new(json!({}));
    scene.planes.push(plane("eu-b", "eu-1"));
    let planned = scene.settle();
    assert_eq!(planned.status.certificates_ready.as_deref(), Some("2/2"));
    assert!(planned.status.planes.iter().all(|plane| plane.wired));
}

#[test]
fn another_identity_is_not_overwritten_unasked() {
    let mut scene = Scene::new(json!({}));
    let other = LeafProfile {
        common_name: "shop".into(),
        sans: vec![external_ca_core::x509::San::Dns("shop.example".into())],
        ..scene.profile(&gateway())
    };
    scene.put_leaf(&gateway(), &ca(2), &other, false);
    let before = scene.material[&gateway()].clone();
    let planned = scene.settle();
    assert_eq!(condition(&planned, "CertificatesReady").1, "NotOwned");
    assert_eq!(scene.material[&gateway()], before);
    scene.issuance.metadata.annotations = Some(
        [(
            "pki.openchoreo.dev/adopt".to_owned(),
            format!("{HOME}/cluster-gateway-tls"),
        )]
        .into(),
    );
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.signer(&gateway()), 0);
}

#[test]
fn a_field_that_is_put_back_is_repaired_twice_and_then_left_alone() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    for round in 0..4 {
        scene.planes[0].value = Some(ca(2).anchor().to_pem());
        scene.planes[0].anchors = vec![ca(2).anchor().clone()];
        scene.planes[0].manager = Some("argocd-controller".into());
        scene.planes[0].changed = Some(scene.now);
        if round == 1 {
            // A repair that did not arrive is not a second time.
            scene.issuance.status = Some(scene.plan().status);
            scene.now += SignedDuration::from_secs(1);
        }
        let planned = scene.turn();
        let repaired = planned
            .steps
            .iter()
            .any(|step| matches!(step, Step::WirePlane { .. }));
        assert_eq!(
            repaired,
            round < 2,
            "round {round}: {:#?}",
            planned.status.contested
        );
        if repaired {
            scene.turn();
        }
    }
    let (_, reason, message) = condition(&scene.plan(), "PlanesWired");
    assert_eq!(reason, "FieldConflict");
    assert!(
        message.contains("argocd-controller") && message.contains("spec.clusterAgent.clientCA"),
        "{message}"
    );
}

#[test]
fn a_plane_that_refers_to_the_trust_secret_is_never_written() {
    let mut scene = Scene::new(json!({}));
    scene.planes[0].reference = Some((ObjectRef::new(HOME, "cluster-gateway-ca"), "ca.crt".into()));
    let before = scene.planes[0].clone();
    let planned = scene.settle();
    assert!(planned.status.planes[0].wired);
    assert_eq!(scene.planes[0], before);
}

#[test]
fn secret_references_replace_values_once_the_secret_trusts_the_same() {
    let mut scene = Scene::new(json!({"planes": {"clientCA": "SecretRef"}}));
    scene.planes[0].value = Some(ca(2).anchor().to_pem());
    scene.planes[0].anchors = vec![ca(2).anchor().clone()];
    let first = scene.turn();
    assert!(
        !first
            .steps
            .iter()
            .any(|step| matches!(step, Step::WirePlane { .. })),
        "the Secret comes first"
    );
    let planned = scene.settle();
    assert!(planned.status.planes[0].wired, "{:#?}", planned.status);
    assert_eq!(scene.planes[0].value, None);
}

#[test]
fn paused_says_what_is_wrong_and_does_nothing() {
    let mut scene = Scene::new(json!({"paused": true}));
    let planned = scene.turn();
    assert_eq!(planned.steps, []);
    assert_eq!(planned.status.phase, Some(Phase::Paused));
    assert_eq!(condition(&planned, "CertificatesReady").0, "False");
}

#[test]
fn nothing_is_written_without_an_issuer_and_what_was_said_stays() {
    let mut scene = Scene::new(json!({}));
    scene.issuer = Issuer::Absent;
    let planned = scene.turn();
    assert_eq!(planned.steps, []);
    assert_eq!(condition(&planned, "IssuerReady").1, "CASecretNotFound");
    assert_eq!(planned.status.phase, Some(Phase::Stalled));
}

#[test]
fn a_plan_is_idempotent_and_a_settled_scene_keeps_its_status() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    let (one, two) = (scene.plan(), scene.plan());
    assert_eq!(one.steps, two.steps);
    assert_eq!(one.status, two.status);
    scene.issuance.status = Some(one.status.clone());
    scene.now += days(1);
    assert_eq!(
        scene.plan().status,
        one.status,
        "a quiet day changes no word"
    );
}

#[test]
fn a_ca_that_ends_soon_bounds_leaves_and_does_not_make_them_renew_for_ever() {
    let mut scene = Scene::new(json!({}));
    scene.now = start() + days(3600);
    let planned = scene.settle();
    assert_eq!(
        condition(&planned, "IssuerReady"),
        (
            "True".into(),
            "CAExpiring".into(),
            condition(&planned, "IssuerReady").2
        )
    );
    let end = planned.status.certificates[0].not_after.clone().unwrap();
    assert_eq!(end, Time(ca(0).not_after()));
    scene.now = start() + days(3649);
    assert_eq!(
        scene.plan().steps,
        [],
        "no certificate that the CA can sign would live longer"
    );
}

#[test]
fn what_waits_for_a_person_is_not_in_progress() {
    let mut scene = Scene::new(json!({}));
    scene.issuer = Issuer::Absent;
    let planned = scene.plan();
    assert_eq!(condition(&planned, "Stalled").0, "True");
    assert_eq!(condition(&planned, "Reconciling").0, "False");
}

#[test]
fn a_ca_that_may_not_sign_what_the_gateway_needs_is_refused_as_a_whole() {
    let mut scene = Scene::new(json!({}));
    // OpenSSL dates the CA from the second in which it is made: that one may come after this line.
    scene.now = Timestamp::now() + SignedDuration::from_hours(1);
    scene.issuer = Issuer::Ready(constrained(scene.now));
    let planned = scene.plan();
    assert_eq!(planned.steps, []);
    let (_, reason, message) = condition(&planned, "IssuerReady");
    assert_eq!(reason, "CANameConstraints");
    assert!(message.contains("cluster-gateway-tls"), "{message}");
}

#[test]
fn an_anchor_whose_config_map_cannot_be_read_stays() {
    let spec = json!({"trust": {"additionalAnchors": [{"configMapRef": {"name": "next", "key": "ca.crt"}}]}});
    let mut scene = Scene::new(spec).with_workloads();
    let key = ("next".to_owned(), "ca.crt".to_owned());
    let found = Read::Found(vec![ca(1).anchor().clone()]);
    scene.anchor_config_maps.insert(key.clone(), found);
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);
    for unreadable in [Read::Unknown("the API server is away".into()), Read::Absent] {
        scene.anchor_config_maps.insert(key.clone(), unreadable);
        let planned = scene.turn();
        assert_eq!(planned.steps, []);
        assert_eq!(
            condition(&planned, "TrustDistributed").1,
            "AnchorUnreadable"
        );
    }
    scene.issuance.spec.trust.additional_anchors.clear();
    scene.now = scene.settle().next_check;
    scene.settle();
    assert_eq!(
        scene.anchors(&config_map_ref(DATA)),
        [0],
        "nobody wants it any more"
    );
}

#[test]
fn a_certificate_for_a_namespace_that_is_not_served_is_a_problem() {
    let target = json!({"namespace": "elsewhere", "secretName": "more-tls"});
    let entry = json!({"name": "more", "usages": ["ServerAuth"], "dnsNames": ["a.example"], "target": target});
    let mut scene = Scene::new(json!({"certificates": [entry]}));
    let mut observed = scene.observed();
    observed
        .material
        .retain(|key, _| key.object.namespace != "elsewhere");
    let planned = plan(&observed, scene.now);
    let (status, reason, message) = condition(&planned, "CertificatesReady");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "NamespaceNotServed")
    );
    assert!(message.contains("elsewhere/more-tls"), "{message}");
    scene.now += days(1);
}

#[test]
fn a_restart_by_hand_is_seen() {
    let mut scene = Scene::new(json!({"rollout": {"strategy": "None"}})).with_workloads();
    scene.settle();
    let profile = scene.profile(&agent());
    scene.put_leaf(&agent(), &ca(0), &profile, true);
    let planned = scene.turn();
    assert_eq!(condition(&planned, "RolloutsComplete").1, "RestartNeeded");
    scene.now += SignedDuration::from_mins(1);
    for workload in &mut scene.workloads {
        workload.loaded.insert(agent(), "old".into());
        workload.restarted = Some(scene.now);
    }
    let planned = scene.turn();
    assert_eq!(condition(&planned, "RolloutsComplete").0, "True");
}

#[test]
fn a_request_for_renewal_is_granted_once_whatever_happens_to_it() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    let asked = BTreeMap::from([("pki.openchoreo.dev/renew".to_owned(), "all".to_owned())]);
    scene.issuance.metadata.annotations = Some(asked.clone());
    let issued = |planned: &Plan| {
        let issues = |step: &&Step| matches!(step, Step::IssueLeaf { .. });
        planned.steps.iter().filter(issues).count()
    };
    assert_eq!(issued(&scene.turn()), 2);
    // The operator died before it could remove the annotation.
    scene.issuance.metadata.annotations = Some(asked);
    let planned = scene.turn();
    assert_eq!(planned.steps, [Step::Consume(RENEW_ANNOTATION)]);
}

fn generated(request: Option<String>) -> Option<GeneratedCa> {
    Some(GeneratedCa {
        resource_version: "7".into(),
        request,
    })
}

/// A settled scene whose CA the operator made.
fn with_generated_ca() -> Scene {
    let spec = json!({"issuer": {"caSecret": {"name": "ca", "generate": true}}});
    let mut scene = Scene::new(spec).with_workloads();
    scene.generated = generated(None);
    scene.settle();
    scene
}

#[test]
fn a_generated_ca_is_replaced_once_when_somebody_asks() {
    let mut scene = with_generated_ca();
    let asked = BTreeMap::from([("pki.openchoreo.dev/rotate".to_owned(), "now".to_owned())]);
    scene.issuance.metadata.annotations = Some(asked.clone());
    let planned = scene.turn();
    let [
        Step::GenerateCa {
            resource_version, ..
        },
    ] = planned.steps.as_slice()
    else {
        panic!("{:#?}", planned.steps)
    };
    assert_eq!(resource_version.as_deref(), Some("7"));
    let planned = scene.turn();
    assert!(
        planned
            .steps
            .contains(&Step::Consume("pki.openchoreo.dev/rotate")),
        "{:#?}",
        planned.steps
    );
    // The operator died before it could remove the annotation.
    scene.issuance.metadata.annotations = Some(asked);
    let generates = |step: &Step| matches!(step, Step::GenerateCa { .. });
    assert!(!scene.plan().steps.iter().any(generates));
    let planned = scene.settle();
    assert_eq!(planned.status.phase, Some(Phase::Ready));
    let trust = planned.status.trust.unwrap();
    assert_eq!(trust.anchors.len(), 1);
    assert_eq!(
        trust.anchors[0].fingerprint,
        ca(1).anchor().fingerprint().to_string()
    );
}

#[test]
fn a_generated_ca_is_replaced_before_a_certificate_must_be_shortened() {
    let mut scene = with_generated_ca();
    let end = ca(0).not_after();
    let longest = SignedDuration::from_hours(8_760);
    scene.now = end - longest - days(200);
    scene.settle();
    assert!(scene.plan().next_check < end - longest);
    scene.now = end - longest;
    let planned = scene.plan();
    assert!(
        matches!(planned.steps.as_slice(), [Step::GenerateCa { .. }]),
        "{:#?}",
        planned.steps
    );
}

#[test]
fn a_ca_that_people_made_is_not_replaced() {
    let mut scene = with_generated_ca();
    scene.generated = None;
    scene.issuance.metadata.annotations = Some(BTreeMap::from([(
        "pki.openchoreo.dev/rotate".to_owned(),
        "now".to_owned(),
    )]));
    let planned = scene.plan();
    assert_eq!(planned.steps, []);
    let (_, reason, message) = condition(&planned, "IssuerReady");
    assert_eq!(reason, "CANotGenerated");
    assert!(
        message.contains("replace the Secret's content"),
        "{message}"
    );
}

#[test]
fn a_leaf_that_somebody_else_keeps_replacing_is_left_alone() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    for round in 0..3 {
        scene.now += SignedDuration::from_mins(1);
        let profile = scene.profile(&agent());
        scene.put_leaf(&agent(), &ca(2), &profile, true);
        scene.material.get_mut(&agent()).unwrap().manager = Some("cert-manager".into());
        let planned = scene.turn();
        assert_eq!(
            planned.steps.is_empty(),
            round == 2,
            "{round}: {:#?}",
            planned.steps
        );
        if round == 2 {
            let (_, reason, message) = condition(&planned, "CertificatesReady");
            assert_eq!(reason, "FieldConflict");
            assert!(
                message.contains("cert-manager") && message.contains("cluster-agent-tls"),
                "{message}"
            );
        }
    }
}

#[test]
fn what_an_older_issuance_owns_is_not_touched() {
    let mut scene = Scene::new(json!({}));
    let owner = || "other/older".to_owned();
    let wanted = scene.observed();
    scene.claims.material = wanted
        .material
        .keys()
        .map(|key| (key.clone(), owner()))
        .collect();
    scene.claims.planes = scene
        .planes
        .iter()
        .map(|plane| (plane.plane.clone(), owner()))
        .collect();
    let planned = scene.plan();
    assert_eq!(planned.steps, []);
    for kind in ["TrustDistributed", "CertificatesReady", "PlanesWired"] {
        let (_, reason, message) = condition(&planned, kind);
        assert_eq!(reason, "Conflict", "{kind}");
        assert!(message.contains("other/older"), "{message}");
    }
}

#[test]
fn nobody_is_restarted_for_trust_while_its_certificate_is_still_to_come() {
    let mut scene = Scene::new(json!({})).with_workloads();
    // They are there, and older than all material; the bundles were written before the operator died.
    scene.workloads.iter_mut().for_each(|workload| {
        workload.rollout = RolloutState::Complete;
        workload.available_since = Some(start());
    });
    let bundle = [ca(0).anchor().clone()];
    for place in [config_map_ref(DATA), secret_ref(HOME, "cluster-gateway-ca")] {
        scene.put_bundle(&place, &bundle, Some("external-ca-operator"));
    }
    scene.settle();
    let once = BTreeMap::from(
        [
            "cluster-gateway",
            "controller-manager",
            "cluster-agent-dataplane",
        ]
        .map(|name| (name.to_owned(), 1)),
    );
    assert_eq!(scene.restarts, once);
}

#[test]
fn a_dropped_anchor_is_told_once() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let mut told = 0;
    for _ in 0..40 {
        let planned = scene.turn();
        scene.finish_rollouts();
        let dropped =
            |event: &&(bool, external_ca_core::Problem)| event.1.reason == Reason::AnchorDropped;
        told += planned.events.iter().filter(dropped).count();
    }
    assert_eq!((told, scene.anchors(&config_map_ref(DATA))), (1, vec![1]));
}

/// Saturdays from two to six.
fn with_windows() -> Scene {
    let windows = json!([{"schedule": "0 2 * * SAT", "duration": "4h"}]);
    Scene::new(json!({"rollout": {"windows": windows}})).with_workloads()
}

fn next_window(scene: &Scene) -> Timestamp {
    let opens = scene.plan().status.next_window;
    opens.expect("something waits for a window").0
}

/// When every certificate is due for renewal.
fn all_due(scene: &Scene) -> Timestamp {
    let leaves = scene.plan().status.certificates;
    let due = leaves
        .iter()
        .map(|leaf| leaf.renewal_time.clone().unwrap().0);
    due.max().unwrap()
}

fn restarted(scene: &Scene) -> usize {
    scene.restarts.values().sum()
}

#[test]
fn what_nobody_runs_with_yet_waits_for_no_window() {
    let mut scene = with_windows();
    let last = scene.settle();
    assert_eq!(last.status.phase, Some(Phase::Ready));
    assert_eq!(last.status.next_window, None);
}

#[test]
fn a_renewal_waits_for_its_window_and_is_no_defect_meanwhile() {
    let mut scene = with_windows();
    scene.settle();
    scene.now = all_due(&scene);
    let waits = scene.plan();
    assert_eq!(waits.steps, []);
    assert_eq!(waits.status.phase, Some(Phase::Ready));
    let (status, reason, message) = condition(&waits, "CertificatesReady");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "WaitingForWindow")
    );
    let opens = next_window(&scene);
    assert!(message.contains(&opens.to_string()), "{message}");
    assert!(waits.next_check <= opens);
    assert_eq!(
        waits.status.next_renewal.as_ref().map(|time| time.0),
        Some(opens)
    );
    assert_eq!(waits.status.certificates_ready.as_deref(), Some("2/2"));

    scene.now = opens;
    let done = scene.settle();
    assert_eq!(done.status.phase, Some(Phase::Ready));
    assert!(restarted(&scene) > 0);
    assert_eq!(done.status.next_window, None);
}

#[test]
fn a_restart_that_the_window_was_too_short_for_waits_for_the_next() {
    let mut scene = with_windows();
    scene.settle();
    scene.now = all_due(&scene);
    scene.now = next_window(&scene);
    while restarted(&scene) == 0 {
        scene.turn();
    }
    // The gateway has been restarted, and its agents have not.
    scene.finish_rollouts();
    scene.now += SignedDuration::from_hours(4);
    let late = scene.settle();
    assert_eq!(restarted(&scene), 1);
    let (status, reason, message) = condition(&late, "RolloutsComplete");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "WaitingForWindow")
    );
    assert!(message.contains("cluster-agent-dataplane"), "{message}");

    // What the agent still holds ends before the next window: it is restarted, and that is said.
    let held = scene.material[&agent()].held_until.unwrap();
    scene.now = held - days(1);
    let urgent = scene.plan();
    let (_, reason, _) = condition(&urgent, "RolloutsComplete");
    assert_eq!(reason, "OutsideWindow");
    assert!(
        urgent
            .events
            .iter()
            .any(|(_, problem)| problem.reason == Reason::OutsideWindow)
    );
    scene.turn();
    assert_eq!(restarted(&scene), 2);
}

#[test]
fn a_certificate_that_would_end_before_the_next_window_is_renewed_before_it() {
    // The next window comes when the certificates have ended.
    let windows = json!([{"schedule": "0 2 1 3 *", "duration": "4h"}]);
    let mut scene = Scene::new(json!({"rollout": {"windows": windows}})).with_workloads();
    scene.settle();
    scene.now = all_due(&scene);
    let waits = scene.settle();
    let (_, reason, message) = condition(&waits, "CertificatesReady");
    assert_eq!(reason, "WaitingForWindow");
    assert!(
        message.contains("no maintenance window opens before"),
        "{message}"
    );
    let end = waits.status.certificates[0].not_after.clone().unwrap().0;
    let left = next_window(&scene).duration_until(end);
    assert!(
        left > days(365) / 6 - days(1),
        "half of renewBefore is left"
    );

    scene.now = next_window(&scene) + days(1);
    scene.turn();
    scene.finish_rollouts();
    let (_, reason, message) = condition(&scene.turn(), "RolloutsComplete");
    assert_eq!(reason, "OutsideWindow", "{message}");
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert!(restarted(&scene) > 0);
}

#[test]
fn a_rotation_spreads_trust_at_once_and_goes_on_in_its_window() {
    let mut scene = with_windows();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let waits = scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (0, 0));
    assert_eq!(restarted(&scene), 0);
    assert_eq!(waits.status.phase, Some(Phase::Rotating));
    let (status, reason, _) = condition(&waits, "Ready");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "WaitingForWindow")
    );
    let rotation = waits.status.rotation.unwrap();
    assert_eq!(
        (rotation.certificates.as_str(), rotation.workloads.as_str()),
        ("0/2", "1/3")
    );
    assert!(
        rotation.next.contains("maintenance window"),
        "{}",
        rotation.next
    );

    scene.now = next_window(&scene);
    let done = scene.settle();
    assert_eq!(done.status.phase, Some(Phase::Ready));
    assert_eq!(done.status.rotation, None);
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
}

#[test]
fn a_rotation_that_a_certificate_cannot_wait_for_restarts_whom_it_waits_for() {
    let mut scene = with_windows();
    scene.settle();
    scene.now = start() + days(365);
    scene.issuer = Issuer::Ready(ca(1));
    let done = scene.settle();
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (1, 1));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
    // To forget the old CA the agent is restarted in the window: nothing ends before it any more.
    assert_eq!(scene.restarts["cluster-agent-dataplane"], 1);
    assert_eq!(condition(&done, "RolloutsComplete").1, "WaitingForWindow");
}

#[test]
fn a_request_for_renewal_is_kept_until_its_window() {
    let mut scene = with_windows();
    scene.settle();
    let asked = [(RENEW_ANNOTATION.to_owned(), "all".to_owned())];
    scene.issuance.metadata.annotations = Some(asked.into());
    assert_eq!(scene.turn().steps, []);
    scene.now = next_window(&scene);
    scene.settle();
    assert_eq!(scene.issuance.metadata.annotations, None);
    assert!(restarted(&scene) > 0);
}

#[test]
fn neither_a_compromised_ca_nor_a_broken_certificate_waits_for_a_window() {
    let windows = json!([{"schedule": "0 2 * * SAT", "duration": "4h"}]);
    let spec = json!({"rollout": {"windows": windows}, "rotation": {"strategy": "Immediate"}});
    let mut scene = Scene::new(spec).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);

    let mut scene = with_windows();
    scene.settle();
    let Leaf::Present { key_matches, .. } = &mut scene.material.get_mut(&agent()).unwrap().leaf
    else {
        panic!("no leaf")
    };
    *key_matches = false;
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.restarts["cluster-agent-dataplane"], 1);
}

#[test]
fn a_peer_that_no_workload_runs_is_given_the_overlap_time() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene
        .workloads
        .retain(|workload| workload.workload.object.namespace != DATA);
    scene.planes[0].agent_connected = Some(true);
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let held = scene.settle();
    // The clientCA is read at every connection, the agent's bundle once.
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (0, 1));
    let (_, reason, message) = condition(&held, "CertificatesReady");
    assert_eq!(reason, "WaitingForPeers");
    assert!(
        message.contains("the agent of DataPlane default/eu"),
        "{message}"
    );
    assert!(message.contains("rotation.overlap"), "{message}");

    scene.now += days(1);
    // Its own certificate is a day old, too.
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.signer(&gateway()), 1);
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
}

#[test]
fn every_unseen_agent_is_waited_for_whatever_their_order() {
    let mut scene = Scene::new(json!({"agents": [{"secretName": "agent-{planeID}"}]}));
    // Planes are sorted by name, leaves by planeID.
    scene.planes = [("a", "z"), ("b", "y")]
        .map(|(name, id)| plane(name, id))
        .into();
    for plane in &mut scene.planes {
        plane.agent_connected = Some(true);
    }
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let (_, _, message) = condition(&scene.settle(), "CertificatesReady");
    for agent in ["default/a", "default/b"] {
        let agent = format!("the agent of DataPlane {agent}");
        assert!(message.contains(&agent), "{message}");
    }
}

#[test]
fn an_agent_that_nobody_ever_saw_is_not_waited_for() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.signer(&gateway()), 1);
}

/// One workload has read the bundle when only the first CA stood in it, and no certificate exists yet.
fn before_the_first_certificate() -> Scene {
    let mut scene =
        Scene::new(json!({"trust": {"additionalAnchors": [{"pem": ca(0).anchor().to_pem()}]}}));
    let mut reader = workload(DATA, "reader", &[config_map_ref(DATA)]);
    reader.created = Some(scene.now);
    scene.put_bundle(
        &config_map_ref(DATA),
        &[ca(0).anchor().clone()],
        Some("external-ca-operator"),
    );
    scene.workloads = vec![reader];
    scene.issuer = Issuer::Ready(ca(1));
    scene.turn();
    scene
}

#[test]
fn a_first_certificate_waits_for_who_loaded_what_is_now_trusted_beforehand() {
    let scene = before_the_first_certificate();
    let state = |scene: &Scene| scene.plan().status.certificates[0].state;
    assert_eq!(
        scene.plan().status.certificates[0].common_name,
        "cluster-gateway"
    );
    assert_eq!(state(&scene), CertificateState::Waiting);
    let mut unread = before_the_first_certificate();
    unread.workloads.clear();
    assert_eq!(state(&unread), CertificateState::Pending);
    unread.unknown.insert(config_map_ref(DATA));
    assert_eq!(state(&unread), CertificateState::Waiting);
}

#[test]
fn immediate_cuts_nobody_off_of_whom_nothing_was_said() {
    let mut scene = Scene::new(json!({"rotation": {"strategy": "Immediate"}})).with_workloads();
    scene.settle();
    // The old CA stays trusted on purpose: nothing is on its way out, so guard 1 holds.
    let keep = json!({"additionalAnchors": [{"pem": ca(0).anchor().to_pem()}]});
    scene.issuance.spec.trust.additional_anchors =
        serde_json::from_value(keep["additionalAnchors"].clone()).unwrap();
    scene.issuer = Issuer::Ready(ca(1));
    let planned = scene.plan();
    let issues = |step: &Step| matches!(step, Step::IssueLeaf { target, .. } if target.name == "cluster-gateway-tls");
    assert!(!planned.steps.iter().any(issues), "{:?}", planned.steps);
    // Here it leaves: what is said is stored before anything is done.
    scene.issuance.spec.trust.additional_anchors.clear();
    assert_eq!(scene.turn().steps, []);
    let planned = scene.plan();
    assert!(planned.say_first && !planned.steps.is_empty());
}

#[test]
fn immediate_does_not_wait_for_a_reference_to_a_bundle_that_has_lost_the_old_ca() {
    let mut scene = Scene::new(json!({"rotation": {"strategy": "Immediate"}}));
    scene.settle();
    scene.planes[0].anchors.push(ca(2).anchor().clone());
    scene.issuer = Issuer::Ready(ca(1));
    scene.issuance.spec.planes.client_ca = external_ca_api::ClientCa::SecretRef;
    let planned = scene.settle();
    assert_eq!(planned.status.phase, Some(Phase::Ready));
    assert!(scene.planes[0].reference.is_some());
    // What somebody else had put into the plane came along.
    assert_eq!(
        scene.anchors(&secret_ref(HOME, "cluster-gateway-ca")),
        [1, 2]
    );
}

#[test]
fn every_reason_is_a_word_of_its_own() {
    let words: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(words.len(), Reason::ALL.len());
    assert!(
        words
            .iter()
            .all(|word| word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    );
}
