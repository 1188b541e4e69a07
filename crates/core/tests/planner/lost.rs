//! Agents that a restart of ours may have cut off.

use external_ca_api::Phase;
use external_ca_core::domain::plane_type;
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, ca, config_map_ref, days, gateway, plane, secret_ref, start, workload,
};
use super::scene::{Scene, condition, told};

/// A gateway and two agents, all connected.
fn connected() -> Scene {
    let mut scene = Scene::new(json!({
        "agents": [{"secretName": "agent-{planeID}"}],
        "rollout": {"maxConcurrent": 1},
    }));
    scene.planes = [("a", "a"), ("b", "b")]
        .map(|(name, id)| plane(name, id))
        .into();
    scene.workloads = vec![workload(HOME, "cluster-gateway", &[gateway()])];
    for plane in &mut scene.planes {
        plane.agent_connected = Some(true);
        let id = &plane.plane_id;
        let name = format!("agent-{id}");
        let mut runs = workload(
            DATA,
            &name,
            &[secret_ref(DATA, &name), config_map_ref(DATA)],
        );
        runs.agent = Some((plane_type(plane.plane.kind).to_owned(), id.clone()));
        scene.workloads.push(runs);
    }
    scene.settle();
    scene
}

fn disconnect(scene: &mut Scene, index: usize) {
    scene.planes[index].agent_connected = Some(false);
    scene.planes[index].agent_disconnected = Some(scene.now);
}

/// Turns until something was restarted; which.
fn next_restart(scene: &mut Scene) -> Option<String> {
    let before = scene.restarts.clone();
    for _ in 0..20 {
        let planned = scene.turn();
        let mut news = scene.restarts.iter();
        if let Some((name, _)) = news.find(|(name, count)| before.get(*name) != Some(count)) {
            let name = name.clone();
            scene.finish_rollouts();
            return Some(name);
        }
        let soon = planned.next_check.duration_since(scene.now) <= SignedDuration::from_secs(10);
        if planned.steps.is_empty() && !soon {
            return None;
        }
        scene.now = scene.now.max(planned.next_check);
    }
    panic!("neither a restart nor rest");
}

#[test]
fn the_next_restart_waits_for_an_agent_that_the_last_one_cut_off() {
    let mut scene = connected();
    scene.issuer = Issuer::Ready(ca(1));
    // Agents have to load the new bundle first.
    assert_eq!(next_restart(&mut scene).as_deref(), Some("agent-a"));
    disconnect(&mut scene, 0);
    assert_eq!(next_restart(&mut scene), None, "agent-b would be the next");
    let (_, reason, message) = condition(&scene.plan(), "RolloutsComplete");
    assert_eq!(reason, "RollingOut", "it may come back: {message}");

    scene.now += SignedDuration::from_mins(4);
    let told = scene.turn();
    let (status, reason, message) = condition(&told, "RolloutsComplete");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "AgentsLost"));
    for part in ["DataPlane default/a", "agent-a", "logs"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(condition(&told, "Ready").0, "False");
    assert!(
        told.next_check <= scene.now + SignedDuration::from_mins(10),
        "it looks again by itself"
    );

    scene.planes[0].agent_connected = Some(true);
    assert_eq!(next_restart(&mut scene).as_deref(), Some("agent-b"));
    scene.settle();
    assert_eq!(scene.signer(&gateway()), 1);
    assert_eq!(condition(&scene.plan(), "Ready").0, "True");
}

#[test]
fn others_certificates_have_an_end_too() {
    let mut scene = connected();
    scene.issuer = Issuer::Ready(ca(1));
    assert_eq!(next_restart(&mut scene).as_deref(), Some("agent-a"));
    disconnect(&mut scene, 0);
    scene.now += SignedDuration::from_mins(11);
    assert_eq!(next_restart(&mut scene).as_deref(), Some("agent-b"));
    assert_eq!(condition(&scene.plan(), "RolloutsComplete").1, "AgentsLost");
}

#[test]
fn a_gateway_that_is_restarted_and_has_lost_every_agent_is_told() {
    let mut scene = connected();
    scene.issuance.spec.gateway.dns_names = vec!["gw.example.com".into()];
    assert_eq!(next_restart(&mut scene).as_deref(), Some("cluster-gateway"));
    disconnect(&mut scene, 0);
    disconnect(&mut scene, 1);
    assert_eq!(
        condition(&scene.plan(), "Ready").0,
        "True",
        "they are given time"
    );
    scene.now += SignedDuration::from_mins(4);
    let (_, reason, message) = condition(&scene.plan(), "RolloutsComplete");
    assert_eq!(reason, "AgentsLost");
    assert!(message.contains("cluster-gateway"), "{message}");
    assert_eq!(condition(&scene.plan(), "Ready").0, "False");
}

#[test]
fn an_agent_that_went_at_another_time_or_does_not_run_holds_nobody_up() {
    for case in ["long before", "long after", "scaled to nothing", "unknown"] {
        let mut scene = connected();
        scene.issuer = Issuer::Ready(ca(1));
        if case == "long before" {
            scene.planes[0].agent_connected = Some(false);
            scene.planes[0].agent_disconnected = Some(start());
        }
        assert_eq!(
            next_restart(&mut scene).as_deref(),
            Some("agent-a"),
            "{case}"
        );
        match case {
            "long after" => {
                scene.now += SignedDuration::from_hours(1);
                disconnect(&mut scene, 0);
            }
            "scaled to nothing" => {
                disconnect(&mut scene, 0);
                scene
                    .pods
                    .retain(|pod| !pod.pod.name.starts_with("agent-a"));
            }
            "unknown" => scene.planes[0].agent_connected = None,
            _ => {}
        }
        assert_eq!(
            next_restart(&mut scene).as_deref(),
            Some("agent-b"),
            "{case}"
        );
        let (_, reason, _) = condition(&scene.plan(), "RolloutsComplete");
        assert_ne!(reason, "AgentsLost", "{case}");
    }
}

/// Item 18: the operator's clock was ahead, its new certificate is not valid yet, and every agent is cut off.
#[test]
fn agents_that_are_gone_after_a_restart_of_ours_are_told() {
    let mut scene = Scene::local();
    scene.planes[0].agent_connected = Some(true);
    scene.settle();
    scene.now += days(300);
    scene.settle();
    assert!(scene.restarts["cluster-gateway"] > 0);
    scene.planes[0].agent_connected = Some(false);
    scene.planes[0].agent_disconnected = Some(scene.now);
    scene.now += SignedDuration::from_hours(2);
    let planned = scene.settle();
    assert_ne!(
        planned.status.phase,
        Some(Phase::Ready),
        "{:#?}",
        told(&planned)
    );
}
