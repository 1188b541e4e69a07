//! How planes are wired, and planes that refer to the trust Secret.

use external_ca_core::model::{ListRef, ObjectRef, Read, WorkloadKind};
use external_ca_core::plan::Step;
use external_ca_core::report::decide;
use external_ca_core::x509::{CaProfile, Certificate, KeyAlgorithm, generate, self_signed_ca};
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, days, plane, secret_ref, start, workload,
};
use super::scene::{Scene, condition};

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
    // That CA has signed the certificate that the agent presents.
    let profile = scene.profile(&agent());
    scene.put_leaf(&agent(), &ca(2), &profile, false);
    let first = scene.turn();
    assert!(
        !first
            .steps
            .iter()
            .any(|step| matches!(step, Step::WirePlane(_))),
        "the Secret comes first"
    );
    let planned = scene.settle();
    assert!(planned.status.planes[0].wired, "{:#?}", planned.status);
    assert_eq!(scene.planes[0].value, None);
}

#[test]
fn a_stranger_s_anchor_comes_into_no_other_plane() {
    for namespace in ["default", "tenant"] {
        let mut scene = Scene::new(json!({"planes": {"clientCA": "SecretRef"}}));
        let mut other = plane("other", "other-1");
        other.plane.namespace = Some(namespace.into());
        other.value = Some(ca(2).anchor().to_pem());
        other.anchors = vec![ca(2).anchor().clone()];
        other.labels = [("agent".to_owned(), "apart".to_owned())].into();
        scene.planes.push(other);
        scene.issuance.spec.agents = serde_json::from_value(json!([
            {"planes": {"matchLabels": {"agent": "apart"}}, "secretName": "other-tls"},
        ]))
        .unwrap();
        for _ in 0..10 {
            scene.turn();
        }
        let secret = secret_ref(HOME, "cluster-gateway-ca");
        assert_eq!(scene.anchors(&secret), [0], "{namespace}");
        assert_eq!(scene.planes[0].value, None, "the others are switched");
        let trusted = &scene.planes[1].anchors;
        assert!(
            trusted.contains(ca(2).anchor()),
            "guard 4: it stays where it was"
        );
        let planned = scene.plan();
        let (_, reason, message) = condition(&planned, "PlanesWired");
        match namespace {
            "default" => {
                assert_eq!(reason, "ForeignClientCA", "{message}");
                assert!(
                    trusted.contains(ca(0).anchor()),
                    "its agent is served by value"
                );
                assert!(message.contains("additionalAnchors"), "{message}");
            }
            _ => assert_eq!(reason, "NamespaceNotServed", "{message}"),
        }
        scene.issuance.spec.trust.additional_anchors =
            serde_json::from_value(json!([{"pem": ca(2).anchor().to_pem()}])).unwrap();
        scene.settle();
        let switched = scene.planes[1].value.is_none();
        assert_eq!(
            switched,
            namespace == "default",
            "once it is wanted, it travels"
        );
    }
}

/// The namespace where an agent without a plane runs is looked at before the planes are told to be well.
#[test]
fn an_agent_without_a_plane_is_known_before_ready_is_told() {
    let mut scene = Scene::new(json!({}));
    scene.planes.clear();
    scene.settle();
    // As after a start: the list of that namespace is still to come.
    let list = ListRef::workloads(WorkloadKind::Deployment, DATA);
    let told = |scene: &Scene| {
        let mut observed = scene.observed();
        observed.awaited = vec![list.clone()];
        let (status, _, message) = condition(&decide(&observed, scene.now), "PlanesWired");
        (status, message)
    };
    assert_eq!(told(&scene).0, "True", "what was well stays so");
    scene.issuance.status = None;
    let (status, message) = told(&scene);
    assert_eq!(status, "False");
    assert!(
        message.contains("the Deployments of the namespace"),
        "{message}"
    );
    let mut one = workload(DATA, "cluster-agent", &[config_map_ref(DATA)]);
    one.agent = Some(("dataplane".into(), "eu-1".into()));
    scene.workloads.push(one);
    assert_eq!(condition(&scene.turn(), "PlanesWired").1, "PlaneNotFound");
    scene.workloads.clear();
    assert_eq!(told(&scene).0, "False", "it may still run there");
}

/// An edit of the plane has open connections verified again, with the certificate that was presented then.
#[test]
fn an_agent_whose_loaded_certificate_has_ended_restarts_before_its_plane_is_written() {
    let mut scene = Scene::local();
    scene.settle();
    scene.now += days(340);
    scene.turns_without_agents(10);
    scene.now += days(40);
    scene.issuer = Issuer::Ready(ca(1));
    let wires = |step: &Step| matches!(step, Step::WirePlane(_));
    let planned = scene.plan();
    let steps = &planned.steps;
    assert!(!steps.iter().any(wires), "it is cut off: {steps:#?}");
    let (_, reason, message) = condition(&planned, "PlanesWired");
    assert_eq!(reason, "WaitingForPeers");
    assert!(message.contains("cluster-agent-dataplane"), "{message}");

    // One that is not connected has nothing to lose.
    scene.planes[0].agent_connected = Some(false);
    assert!(scene.plan().steps.iter().any(wires));
    scene.planes[0].agent_connected = None;
    scene.settle();
    assert_eq!(scene.planes[0].anchors, [ca(1).anchor().clone()]);
}

/// So many CAs.
fn cas(count: u8) -> Vec<Certificate> {
    let key = generate(KeyAlgorithm::EcdsaP256).unwrap();
    let profile = CaProfile {
        organizational_units: Vec::new(),
        common_name: "another".into(),
        organizations: Vec::new(),
        path_length: None,
        duration: days(3650),
    };
    let make = |serial: u8| self_signed_ca(&key, &profile, [serial; 16], start()).unwrap();
    (1..=count).map(make).collect()
}

#[test]
fn a_client_ca_that_would_not_be_read_is_not_written() {
    let mut scene = Scene::new(json!({"trust": {"additionalAnchors": [
        {"configMapRef": {"name": "many", "key": "ca.crt"}},
    ]}}));
    let place = ("many".to_owned(), "ca.crt".to_owned());
    let anchors = &mut scene.anchor_config_maps;
    anchors.insert(place.clone(), Read::Found(cas(2)));
    let planned = scene.settle();
    assert_eq!(condition(&planned, "PlanesWired").0, "True");

    scene
        .anchor_config_maps
        .insert(place, Read::Found(cas(120)));
    let planned = scene.plan();
    let is_wiring = |step: &Step| matches!(step, Step::WirePlane(_));
    assert!(!planned.steps.iter().any(is_wiring));
    let (status, reason, message) = condition(&planned, "PlanesWired");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "ClientCAMismatch")
    );
    assert!(message.contains("65536 bytes"), "{message}");
}
