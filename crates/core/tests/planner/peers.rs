//! Whom a move to another CA waits for, seen or unseen.

use std::collections::BTreeMap;

use external_ca_api::{CertificateState, PROCEED_ANNOTATION, Phase};
use serde_json::json;

use super::pieces::{
    DATA, Issuer, agent, ca, config_map_ref, days, gateway, plane, start, workload,
};
use super::scene::{Scene, condition};

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

    // A report that is older than the change proves nothing.
    scene.issuer = Issuer::Ready(ca(0));
    scene.planes[0].agent_heartbeat = Some(scene.now);
    let held = scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);
    let (_, _, message) = condition(&held, "TrustDistributed");
    assert!(
        message.contains("the agent of DataPlane default/eu"),
        "{message}"
    );
    scene.planes[0].agent_heartbeat = Some(scene.now);
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0]);
    scene.planes[0].agent_heartbeat = None;

    // One that had been away before is not waited for.
    scene.planes[0].agent_connected = Some(false);
    scene.issuer = Issuer::Ready(ca(2));
    scene.planes[0].agent_disconnected = Some(start());
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [2]);
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

    // Its own certificate is a day old, too. Nothing shows that it was loaded.
    scene.now += days(1);
    let held = scene.settle();
    assert_eq!(held.status.phase, Some(Phase::Stalled));
    let (_, reason, message) = condition(&held, "RolloutsComplete");
    assert_eq!(reason, "AgentsUnproven");
    assert!(message.contains("pki.openchoreo.dev/proceed"), "{message}");
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (0, 1));

    let word = (PROCEED_ANNOTATION.to_owned(), "now".to_owned());
    scene.issuance.metadata.annotations = Some(BTreeMap::from([word]));
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(
        scene.issuance.metadata.annotations, None,
        "one word for one move"
    );
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
    let reader = workload(DATA, "reader", &[config_map_ref(DATA)]);
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
