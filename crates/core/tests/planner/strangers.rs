//! Planes in namespaces that are neither served nor told to hold planes: whatever their owners write there changes no plan.

use external_ca_api::Phase;
use external_ca_core::model::{MaterialRef, Plane};
use external_ca_core::plan::Step;
use external_ca_core::report::Decision;
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, days, gateway, plane, secret_ref,
};
use super::scene::{Scene, condition};

fn stranger(name: &str, plane_id: &str) -> Plane {
    let mut stranger = plane(name, plane_id);
    stranger.plane.namespace = Some("tenant".into());
    stranger
}

/// What is decided.
fn decided(planned: &Decision) -> String {
    let steps: Vec<String> = planned.steps.iter().map(Step::object).collect();
    let told = planned.status.certificates.iter();
    let told: Vec<_> = told
        .map(|one| (&one.target, &one.common_name, &one.signer, one.state))
        .collect();
    format!("{steps:?} {told:?}")
}

/// Planes that a tenant may make: one of a planeID that exists, one that wants a Secret that exists, one that trusts another
/// CA, and some that refer to the issuance's own bundles.
fn strangers() -> Vec<(&'static str, Plane)> {
    let trusts_another = Plane {
        value: Some(ca(2).anchor().to_pem()),
        anchors: vec![ca(2).anchor().clone()],
        ..stranger("another", "eu-1")
    };
    let refers = |namespace: &str, name: &str| Plane {
        reference: Some((secret_ref(namespace, name).object, "ca.crt".into())),
        ..stranger("refers", "eu-1")
    };
    vec![
        ("the same planeID", stranger("eu", "eu-1")),
        ("another planeID", stranger("us", "us-1")),
        ("another CA", trusts_another),
        ("a foreign reference", refers("tenant", "mine")),
        ("the trust Secret", refers(HOME, "cluster-gateway-ca")),
        ("a bundle elsewhere", refers(DATA, "cluster-gateway-ca")),
        ("a leaf", refers(DATA, "cluster-agent-tls")),
    ]
}

#[test]
fn a_stranger_s_plane_holds_up_nobody() {
    for client_ca in ["Value", "SecretRef", "Unmanaged"] {
        for (what, stranger) in strangers() {
            let mut alone = Scene::new(json!({"planes": {"clientCA": client_ca}})).with_workloads();
            let mut scene = Scene::new(json!({"planes": {"clientCA": client_ca}})).with_workloads();
            scene.planes.push(stranger.clone());
            for round in 0..60 {
                let (one, other) = (alone.turn(), scene.turn());
                assert_eq!(
                    decided(&one),
                    decided(&other),
                    "{client_ca}, {what}, {round}"
                );
                alone.finish_rollouts();
                scene.finish_rollouts();
                if round == 20 {
                    alone.issuer = Issuer::Ready(ca(1));
                    scene.issuer = Issuer::Ready(ca(1));
                }
                alone.now += SignedDuration::from_mins(5);
                scene.now += SignedDuration::from_mins(5);
            }
            let phases = [&alone, &scene].map(|scene| scene.plan().status.phase);
            assert_eq!(phases[0], phases[1], "{client_ca}, {what}");
            assert_eq!(scene.planes[1], stranger);
            if client_ca != "Unmanaged" {
                assert_eq!(phases[1], Some(Phase::Ready), "{client_ca}, {what}");
                assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (1, 1));
                assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
                let (status, reason, message) = condition(&scene.plan(), "PlanesWired");
                assert_eq!(
                    (status.as_str(), reason.as_str()),
                    ("True", "NamespaceNotServed")
                );
                assert!(message.contains("DataPlane tenant/"), "{message}");
            }
        }
    }
}

/// The planeID of a stranger's plane names no Secret that is read, and none that is written.
#[test]
fn what_a_stranger_s_plane_names_is_not_looked_for() {
    let agents = json!({"agents": [{"secretName": "agent-{planeID}"}]});
    let mut scene = Scene::new(agents);
    for id in ["us-1", "../..", "cluster-gateway-ca"] {
        scene.planes.push(stranger(&format!("of-{}", id.len()), id));
    }
    let planned = scene.settle();
    let read: Vec<MaterialRef> = scene.observed().material.keys().cloned().collect();
    let named = |name: &str| read.contains(&secret_ref(DATA, name));
    assert!(named("agent-eu-1") && !named("agent-us-1"), "{read:?}");
    let status = &planned.status;
    assert_eq!((status.certificates.len(), status.planes.len()), (2, 1));
    assert_eq!(status.phase, Some(Phase::Ready));
}

/// Its agent is connected: it is given the overlap, as nobody sees what it has loaded, and no more.
#[test]
fn the_connected_agent_of_a_stranger_s_plane_is_given_the_overlap_once() {
    let mut scene = Scene::new(json!({})).with_workloads();
    let mut stranger = stranger("us", "us-1");
    stranger.agent_connected = Some(true);
    scene.planes.push(stranger);
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let held = scene.settle();
    assert_eq!(scene.signer(&gateway()), 0);
    let (_, _, message) = condition(&held, "RolloutsComplete");
    assert!(
        message.contains("DataPlane tenant/us") && message.contains("cut off"),
        "{message}"
    );
    scene.now += days(1);
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.signer(&gateway()), 1);
}

/// An agent runs in a served namespace, and its plane lies where nobody may write it: a person is told.
#[test]
fn an_agent_whose_plane_lies_elsewhere_is_a_problem() {
    let mut scene = Scene::local();
    scene.planes[0].plane.namespace = Some("tenant".into());
    let (status, reason, message) = condition(&scene.settle(), "PlanesWired");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "NamespaceNotServed")
    );
    assert!(
        message.contains("cluster-agent-dataplane") && message.contains("namespaces.planes"),
        "{message}"
    );
}
