//! A move to another CA, step by step and back.

use external_ca_api::{CertificateState, Phase, RolloutPhase, RolloutStatus};
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, gateway, plane, secret_ref, workload,
};
use super::scene::{Scene, condition, told};

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
            // The other plane's agent takes its time, and the gateway waits for it.
            scene.finish_rollouts_of(|workload| workload.workload.object.name != "us");
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
        scene.finish_rollouts_of(|workload| workload.workload.object.namespace != DATA);
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
    assert!(scene.now.duration_until(waits.next_check) <= SignedDuration::from_secs(30));
    scene.now = waits.next_check;
    let last = scene.settle();
    assert_eq!(last.status.phase, Some(Phase::Ready), "{:#?}", last.status);
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0]);
}

#[test]
fn an_issuance_that_is_made_anew_in_the_middle_takes_the_old_ca_out_all_the_same() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    // Every certificate has moved; the old CA waits for the gateway's restart.
    while scene.signer(&gateway()) != 1 || scene.signer(&agent()) != 1 {
        scene.turn();
        let gateway_runs = |one: &external_ca_core::model::Workload| {
            one.workload.object.name != "cluster-gateway" || !one.loaded.contains_key(&gateway())
        };
        scene.finish_rollouts_of(gateway_runs);
        scene.now += SignedDuration::from_secs(6);
    }
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);
    // kubectl delete, and apply again: no status is left.
    scene.issuance.status = None;
    scene.issuance.metadata.uid = Some("another".into());
    let told = scene.turn();
    let retiring: Vec<_> = told.status.retiring().collect();
    assert_eq!(retiring.len(), 1, "it is listed");
    scene.settle();
    scene.now += SignedDuration::from_secs(31);
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
}

/// Item 19: deleted and made anew in mid-rotation.
#[test]
fn an_old_ca_that_stays_in_bundles_is_listed() {
    let mut scene = Scene::local();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    for _ in 0..60 {
        scene.turn();
        scene.finish_rollouts();
        if (scene.signer(&gateway()), scene.signer(&agent())) == (1, 1) {
            break;
        }
    }
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);
    scene.issuance.status = None;
    let planned = scene.settle();
    let listed = planned
        .status
        .anchors()
        .iter()
        .any(|anchor| anchor.fingerprint == ca(0).anchor().fingerprint().to_string());
    let stays = scene.anchors(&config_map_ref(DATA)).contains(&0);
    assert!(
        !stays || listed,
        "{:?} {:#?}",
        planned.status.phase,
        told(&planned)
    );
}
