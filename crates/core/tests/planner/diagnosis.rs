//! The doctor: a healthy snapshot yields nothing, each breakage exactly its finding.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_core::diagnosis::{
    Answer, CertManagerCertificate, Denied, Extra, Finding, FindingWord, Handshake, Mount,
    OperatorState, Severity, WorkloadDetail, connection, diagnose,
};
use external_ca_core::model::{
    Leaf, Material, MaterialRef, ObjectRef, Plane, Read, RolloutState, Unread,
};
use external_ca_core::x509::{
    CaProfile, CertificateAuthority, KeyAlgorithm, LeafProfile, Usages, generate, parse_bundle,
    self_signed_ca,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, days, gateway, secret_ref, start,
};
use super::scene::Scene;

/// Everything as an operator leaves it, and what else the doctor reads of it.
struct Patient {
    scene: Scene,
    extra: Extra,
    unreadable: Vec<Unread>,
}

impl Patient {
    /// Every pod is younger than all that it mounts.
    fn renew_pods(&mut self) {
        for pod in &mut self.scene.pods {
            // Later than a kubelet may be behind.
            pod.created = Some(self.scene.now + SignedDuration::from_secs(6));
        }
    }

    fn healthy() -> Self {
        let mut scene = Scene::new(json!({})).with_workloads();
        let agent = &mut scene.workloads[2];
        agent.agent = Some(("dataplane".into(), "eu-1".into()));
        scene.settle();
        let mut extra = Extra {
            operator: Some(OperatorState {
                deployments: vec![(
                    ObjectRef::new("external-ca-system", "external-ca-operator"),
                    1,
                    1,
                )],
                leases: vec![(
                    ObjectRef::new("external-ca-system", "external-ca-operator"),
                    Some("pod".into()),
                    Some(Timestamp::MAX),
                )],
            }),
            ..Extra::default()
        };
        for (index, workload) in scene.workloads.iter().enumerate() {
            let mounts = workload.mounts.iter().map(|material| Mount {
                name: "the volume v".into(),
                material: material.clone(),
                optional: false,
                keys: BTreeSet::new(),
            });
            let detail = WorkloadDetail {
                mounts: mounts.collect(),
                is_gateway: index == 0,
                ..WorkloadDetail::default()
            };
            extra.workloads.insert(workload.workload.clone(), detail);
        }
        Self {
            scene,
            extra,
            unreadable: Vec::new(),
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut observed = self.scene.observed();
        observed.unreadable = self.unreadable.clone();
        diagnose(&observed, &self.extra, self.scene.now)
    }

    /// Words and objects, the worst first.
    fn words(&self) -> Vec<(String, String)> {
        let found = self.findings();
        for finding in &found {
            assert!(
                finding.cause.len() > 10 && finding.fix.len() > 10,
                "{finding:#?}"
            );
        }
        let named = found
            .iter()
            .map(|finding| (finding.word.to_string(), finding.object.clone()));
        named.collect()
    }

    fn one(&self, word: &str, object: &str) -> Finding {
        assert_eq!(
            self.words(),
            [(word.to_owned(), object.to_owned())],
            "{:#?}",
            self.findings()
        );
        self.findings().remove(0)
    }

    fn material(&mut self, target: &MaterialRef) -> &mut Material {
        self.scene.material.get_mut(target).unwrap()
    }

    fn detail(&mut self, index: usize) -> &mut WorkloadDetail {
        let workload = self.scene.workloads[index].workload.clone();
        self.extra.workloads.get_mut(&workload).unwrap()
    }
}

const CLIENT: &str = "Secret openchoreo-data-plane/cluster-agent-tls";
const AGENT: &str = "Deployment openchoreo-data-plane/cluster-agent-dataplane";
const PLANE: &str = "DataPlane default/eu";

#[test]
fn a_healthy_installation_has_no_finding_and_neither_has_one_under_way() {
    let patient = Patient::healthy();
    assert_eq!(patient.words(), []);
    // A move to another CA, turn by turn.
    let mut patient = Patient::healthy();
    patient.scene.issuer = Issuer::Ready(ca(1));
    for _ in 0..12 {
        patient.scene.turn();
        assert_eq!(patient.words(), [], "{:#?}", patient.findings());
        patient.scene.finish_rollouts();
    }
    assert_eq!(patient.scene.signer(&agent()), 1);
}

#[test]
fn time_is_told_apart() {
    let mut patient = Patient::healthy();
    patient.scene.now += days(300);
    let late = patient.words();
    assert!(
        late.iter().all(|(word, _)| word == "Renewing") && late.len() == 2,
        "{late:?}"
    );
    patient.scene.now += days(200);
    let ended = patient.words();
    assert!(
        ended.iter().all(|(word, _)| word == "Expired") && ended.len() == 2,
        "{ended:?}"
    );
    patient.scene.now = start() - days(1);
    let early = patient.words();
    assert!(
        early.iter().all(|(word, _)| word == "NotYetValid") && early.len() == 2,
        "{early:?}"
    );
}

#[test]
fn a_broken_leaf_is_one_finding_whoever_verifies_it() {
    let mut patient = Patient::healthy();
    if let Leaf::Present { key_matches, .. } = &mut patient.material(&agent()).leaf {
        *key_matches = false;
    }
    patient.one("KeyMismatch", CLIENT);

    let mut patient = Patient::healthy();
    if let Leaf::Present { chain, .. } = &mut patient.material(&agent()).leaf {
        chain.insert(0, ca(0).anchor().clone());
    }
    patient.one("ChainOrder", CLIENT);

    let mut patient = Patient::healthy();
    let profile = LeafProfile {
        usages: Usages::SERVER,
        sans: patient.scene.profile(&gateway()).sans,
        ..patient.scene.profile(&agent())
    };
    patient.scene.put_leaf(&agent(), &ca(0), &profile, true);
    let found = patient.one("UsageWrong", CLIENT);
    assert_eq!(found.symptom.unwrap().as_str(), "tls: bad certificate");

    let mut patient = Patient::healthy();
    let profile = patient.scene.profile(&agent());
    patient.scene.put_leaf(&agent(), &ca(1), &profile, true);
    let found = patient.one("SignerChanged", CLIENT);
    assert_eq!(
        found.symptom.unwrap().as_str(),
        "certificate not valid for any CR"
    );

    let mut patient = Patient::healthy();
    patient.scene.material.remove(&agent());
    patient.one("SecretMissing", CLIENT);
}

#[test]
fn a_leaf_that_names_its_ca_otherwise_is_told_from_a_strangers() {
    let mut patient = Patient::healthy();
    // The same key under another name: what some tools do to a CA's name.
    let key = generate(KeyAlgorithm::EcdsaP256).unwrap();
    let named = |name: &str| {
        let profile = CaProfile {
            organizational_units: Vec::new(),
            common_name: name.into(),
            organizations: Vec::new(),
            path_length: None,
            duration: days(3650),
        };
        let certificate = self_signed_ca(&key, &profile, [9; 16], start())
            .unwrap()
            .to_pem();
        let key = key.to_pem();
        CertificateAuthority::from_pem(certificate.as_bytes(), key.as_bytes(), None, start())
            .unwrap()
    };
    let (right, wrong) = (Arc::new(named("one")), named("two"));
    patient.scene.issuer = Issuer::Ready(Arc::clone(&right));
    patient.scene.hand_made(&right);
    let profile = patient.scene.profile(&agent());
    patient.scene.put_leaf(&agent(), &wrong, &profile, false);
    patient.renew_pods();
    patient.one("IssuerNameDiffers", CLIENT);
}

#[test]
fn a_bundle_that_lacks_the_ca_is_to_blame_itself() {
    let mut patient = Patient::healthy();
    patient
        .scene
        .put_bundle(&config_map_ref(DATA), &[ca(1).anchor().clone()], None);
    patient.renew_pods();
    patient.extra.operator = None;
    let word = patient.words();
    assert_eq!(
        word,
        [("TrustMismatch".to_owned(), config_map_ref(DATA).to_string())]
    );

    let mut patient = Patient::healthy();
    patient.material(&config_map_ref(DATA)).anchors = Vec::new();
    patient
        .extra
        .bundles
        .insert(config_map_ref(DATA), "# later\n".into());
    let found = patient.one("BundleEmpty", &config_map_ref(DATA).to_string());
    assert_eq!(
        (found.severity, found.what.as_str()),
        (Severity::Error, "ca.crt holds only comments")
    );
    // Where nobody reads it, it does no harm yet.
    patient.scene.workloads[2]
        .mounts
        .remove(&config_map_ref(DATA));
    patient.scene.workloads[2]
        .mounts
        .insert(secret_ref(DATA, "cluster-gateway-ca"));
    assert_eq!(patient.findings()[0].severity, Severity::Warning);

    let mut patient = Patient::healthy();
    let text = "-----BEGIN CERTIFICATE-----\nMIIB\n".to_owned();
    assert!(parse_bundle(text.as_bytes()).certificates.is_empty());
    patient.extra.bundles.insert(config_map_ref(DATA), text);
    patient.one("BundleDamaged", &config_map_ref(DATA).to_string());
}

#[test]
fn what_a_plane_trusts() {
    let broken = |change: &dyn Fn(&mut Plane, &mut Extra)| {
        let mut patient = Patient::healthy();
        change(&mut patient.scene.planes[0], &mut patient.extra);
        patient
    };
    let mismatch = broken(&|plane, _| plane.anchors = vec![ca(1).anchor().clone()]);
    let found = mismatch.one("ClientCAMismatch", PLANE);
    assert_eq!(
        found.symptom.unwrap().as_str(),
        "certificate not valid for any CR"
    );
    let text =
        broken(&|plane, _| (plane.value, plane.anchors) = (Some("hello".into()), Vec::new()));
    text.one("ClientCANotPEM", PLANE);
    let empty = broken(&|plane, _| (plane.value, plane.anchors) = (None, Vec::new()));
    empty.one("ClientCAEmpty", PLANE);
    let refer = |plane: &mut Plane| {
        (plane.value, plane.anchors) = (None, Vec::new());
        plane.reference = Some((ObjectRef::new("default", "other"), "ca.crt".into()));
        plane.reference.clone().unwrap()
    };
    let lost = broken(&|plane, extra| drop(extra.references.insert(refer(plane), Read::Absent)));
    lost.one("ClientCASecretMissing", PLANE);
    let no_key = broken(&|plane, extra| {
        extra
            .references
            .insert(refer(plane), Read::Found(String::new()));
    });
    assert!(
        no_key
            .one("ClientCASecretMissing", PLANE)
            .what
            .contains("the key ca.crt")
    );
    let pem = ca(0).anchor().to_pem();
    let foreign = broken(&|plane, extra| {
        drop(
            extra
                .references
                .insert(refer(plane), Read::Found(pem.clone())),
        )
    });
    foreign.one("ForeignClientCA", PLANE);
}

#[test]
fn agents_and_planes_find_each_other() {
    let mut patient = Patient::healthy();
    patient.scene.planes[0].plane_id = "eu-2".into();
    let found = patient.one("PlaneNotFound", AGENT);
    assert_eq!(found.symptom.unwrap().as_str(), "no CRs found with planeID");

    let mut patient = Patient::healthy();
    patient.scene.workloads.pop();
    patient.one("AgentNotFound", PLANE);
    patient.scene.planes[0].agent_connected = Some(true);
    assert_eq!(patient.words(), [], "it runs where it cannot be seen");

    let mut patient = Patient::healthy();
    patient.scene.planes[0].agent_connected = Some(false);
    patient.one("AgentDisconnected", PLANE);
    // What explains it is enough.
    patient.scene.planes[0].anchors = vec![ca(1).anchor().clone()];
    patient.one("ClientCAMismatch", PLANE);
}

#[test]
fn what_workloads_mount() {
    let mut patient = Patient::healthy();
    let lost = secret_ref(DATA, "lost");
    patient.extra.keys.insert(lost.clone(), Read::Absent);
    patient.detail(2).mounts[0].material = lost.clone();
    patient.one("MountMissing", AGENT);
    patient.detail(2).mounts[0].optional = true;
    assert_eq!(patient.words(), []);

    let mut patient = Patient::healthy();
    patient
        .extra
        .keys
        .insert(agent(), Read::Found(["tls.crt".to_owned()].into()));
    let mount = patient
        .detail(2)
        .mounts
        .iter_mut()
        .find(|mount| mount.material == agent())
        .unwrap();
    mount.keys = ["client.crt".to_owned()].into();
    patient.one("MountKeyMissing", AGENT);

    let mut patient = Patient::healthy();
    patient.scene.workloads[2].mounts.remove(&agent());
    patient.scene.workloads[2]
        .mounts
        .insert(secret_ref(DATA, "other"));
    patient.one("MountMismatch", AGENT);

    let mut patient = Patient::healthy();
    let host = "gateway.example.org".to_owned();
    patient.detail(2).dials.insert(host);
    patient.one(
        "ServerNameMissing",
        "Secret openchoreo-control-plane/cluster-gateway-tls",
    );

    let mut patient = Patient::healthy();
    patient.scene.workloads[1]
        .mounts
        .insert(secret_ref(HOME, "ca"));
    patient.one("CAKeyExposed", "Secret openchoreo-control-plane/ca");
}

#[test]
fn what_pods_hold() {
    // Made by hand, then written again after the pods had started.
    let mut patient = Patient::healthy();
    patient.scene.hand_made(&ca(0));
    patient.renew_pods();
    patient.scene.now += days(1);
    let changed = patient.scene.now;
    patient.material(&agent()).changed = Some(changed);
    patient.scene.now += days(1);
    patient.one("RestartNeeded", AGENT);
    patient.renew_pods();
    assert_eq!(patient.words(), []);

    let mut patient = Patient::healthy();
    patient.scene.workloads[2].rollout = RolloutState::Running("0 pods available, 1 wanted".into());
    patient.scene.workloads[2].rollout_since =
        Some(patient.scene.now - SignedDuration::from_mins(9));
    assert_eq!(patient.words(), []);
    patient.scene.now += SignedDuration::from_mins(2);
    patient.one("RolloutStuck", AGENT);
}

#[test]
fn around_the_issuance() {
    let mut patient = Patient::healthy();
    patient.extra.operator = Some(OperatorState::default());
    patient.one("OperatorNotFound", "Deployment external-ca-operator");
    let deployment = ObjectRef::new("external-ca-system", "external-ca-operator");
    let mut operator = OperatorState {
        deployments: vec![(deployment, 1, 0)],
        leases: Vec::new(),
    };
    patient.extra.operator = Some(operator.clone());
    patient.one(
        "OperatorNotReady",
        "Deployment external-ca-system/external-ca-operator",
    );
    operator.deployments[0].2 = 1;
    patient.extra.operator = Some(operator);
    patient.one(
        "LeaseNotHeld",
        "Deployment external-ca-system/external-ca-operator",
    );

    let mut patient = Patient::healthy();
    let now = patient.scene.now;
    for (seconds, severity) in [
        (20, None),
        (60, Some(Severity::Warning)),
        (-3600, Some(Severity::Error)),
    ] {
        let theirs = now + SignedDuration::from_secs(seconds);
        patient.extra.clocks = Some((theirs, now));
        let found = patient.findings();
        assert_eq!(found.first().map(|finding| finding.severity), severity);
        assert!(
            found
                .iter()
                .all(|finding| finding.word == FindingWord::ClockSkew.into())
        );
    }

    let mut patient = Patient::healthy();
    patient.scene.unknown.insert(agent());
    patient.extra.denied.insert(Denied::material(&agent()));
    let found = patient.one(
        "AccessDenied",
        "secrets/cluster-agent-tls in openchoreo-data-plane",
    );
    assert!(
        found
            .fix
            .contains("grant the verb get on secrets/cluster-agent-tls"),
        "{found:?}"
    );

    let mut patient = Patient::healthy();
    let certificate = CertManagerCertificate {
        object: ObjectRef::new(DATA, "c"),
        secret: agent().object,
        has_status: true,
    };
    patient.extra.certificates = vec![certificate];
    patient.one("CertManagerConflict", "Certificate openchoreo-data-plane/c");
    patient.extra.cert_manager_runs = Some(false);
    assert_eq!(
        patient.words(),
        [],
        "its kinds without its controller do nothing"
    );

    let mut patient = Patient::healthy();
    patient.scene.issuer = Issuer::Absent;
    patient.one("CASecretNotFound", "Secret openchoreo-control-plane/ca");
}

#[test]
fn a_handshake_says_what_either_side_would() {
    let scene = Patient::healthy().scene;
    let Leaf::Present { chain, .. } = &scene.material[&gateway()].leaf else {
        panic!("no leaf")
    };
    let good = Handshake {
        address: "127.0.0.1:8443".into(),
        host: format!("cluster-gateway.{HOME}.svc"),
        presented: chain.clone(),
        stored: chain.clone(),
        anchors: vec![ca(0).anchor().clone()],
        bundle: "bundle".into(),
        server: "server".into(),
        client: "client".into(),
        plane: "plane".into(),
        answer: Answer::Http(101, String::new()),
    };
    let words = |handshake: &Handshake| -> Vec<String> {
        let found = connection(handshake, scene.now);
        found
            .iter()
            .map(|finding| format!("{} {}", finding.word, finding.object))
            .collect()
    };
    let with = |answer| Handshake {
        answer,
        ..good.clone()
    };
    assert_eq!(words(&good), [""; 0]);
    let away = with(Answer::Unreachable("refused".into()));
    assert_eq!(words(&away), ["GatewayUnreachable 127.0.0.1:8443"]);
    let denied = with(Answer::Denied("forbidden".into()));
    assert_eq!(words(&denied), ["AccessDenied 127.0.0.1:8443"]);
    assert_eq!(
        words(&with(Answer::Http(401, String::new()))),
        ["ClientCAMismatch plane"]
    );
    assert_eq!(
        words(&with(Answer::Http(502, String::new()))),
        ["HandshakeFailed 127.0.0.1:8443"]
    );
    assert_eq!(
        words(&with(Answer::Tls("alert".into()))),
        ["HandshakeFailed 127.0.0.1:8443"]
    );
    let distrusted = Handshake {
        anchors: vec![ca(1).anchor().clone()],
        ..good.clone()
    };
    assert_eq!(words(&distrusted), ["TrustMismatch bundle"]);
    let misnamed = Handshake {
        host: "example.org".into(),
        ..good.clone()
    };
    assert_eq!(words(&misnamed), ["ServerNameMissing server"]);
    let old = Handshake {
        stored: vec![ca(1).anchor().clone()],
        ..good.clone()
    };
    assert_eq!(words(&old), ["RestartNeeded server"]);
}
