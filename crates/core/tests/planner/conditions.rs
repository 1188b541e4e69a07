//! What conditions and the phase say.

use std::collections::BTreeSet;

use external_ca_api::Phase;
use external_ca_core::Reason;
use external_ca_core::model::{ListRef, Unread, WorkloadKind};
use external_ca_core::plan::Step;
use external_ca_core::report::{decide, without_memory};
use serde_json::json;

use super::pieces::{DATA, Issuer, ca, config_map_ref, days, gateway, plane};
use super::scene::{Scene, condition, told};

#[test]
fn paused_says_what_is_wrong_and_does_nothing() {
    let mut scene = Scene::new(json!({"paused": true}));
    let planned = scene.turn();
    assert_eq!(planned.steps, []);
    assert_eq!(planned.status.phase, Some(Phase::Paused));
    assert_eq!(condition(&planned, "CertificatesReady").0, "False");
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
fn what_waits_for_a_person_is_not_in_progress() {
    let mut scene = Scene::new(json!({}));
    scene.issuer = Issuer::Absent;
    let planned = scene.plan();
    assert_eq!(condition(&planned, "Stalled").0, "True");
    assert_eq!(condition(&planned, "Reconciling").0, "False");
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

#[test]
fn what_cannot_be_listed_is_named_and_the_issuance_is_not_ready() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    for (unread, kind) in [
        (
            Unread::list(ListRef::PlaneKinds, "the DataPlanes cannot be read"),
            "PlanesWired",
        ),
        (
            Unread::list(
                ListRef::workloads(WorkloadKind::Deployment, "a"),
                "the Deployments cannot be read",
            ),
            "RolloutsComplete",
        ),
    ] {
        let mut observed = scene.observed();
        observed.unreadable = vec![unread.clone()];
        let planned = decide(&observed, scene.now);
        for kind in [kind, "Ready"] {
            let (status, reason, message) = condition(&planned, kind);
            assert_eq!((status.as_str(), reason.as_str()), ("False", "Unreadable"));
            assert!(message.contains(&unread.why), "{message}");
        }
    }
}

#[test]
fn without_a_stored_status_everything_goes_on_but_what_takes_trust_away() {
    for strategy in ["Staged", "Immediate"] {
        let mut scene = Scene::new(json!({"rotation": {"strategy": strategy}}));
        scene.settle();
        scene.issuer = Issuer::Ready(ca(1));
        let mut planned = BTreeSet::new();
        for _ in 0..30 {
            let steps = without_memory(&scene.observed(), scene.now);
            assert!(!steps.iter().any(Step::drops), "{strategy}: {steps:?}");
            planned.extend(steps.iter().map(Step::object));
            scene.carry_out(&steps);
            scene.now += days(1) / 100;
        }
        assert_eq!(scene.signer(&gateway()), 1, "{strategy}");
        assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1], "{strategy}");
        assert_eq!(planned.len(), 6, "{planned:?}");
        scene.settle();
        // Writes that were under way are over.
        scene.now += days(1);
        scene.settle();
        assert_eq!(scene.anchors(&config_map_ref(DATA)), [1], "{strategy}");
    }
}

/// "named beforehand as about to be cut off": each of them.
#[test]
fn everybody_who_is_about_to_be_cut_off_is_named() {
    let mut scene =
        Scene::new(json!({"agents": [{"secretName": "agent-{planeID}"}]})).with_workloads();
    scene.workloads.truncate(2);
    let names = ["a", "b", "c", "d", "e", "f", "g"].map(|name| format!("plane-{name}"));
    scene.planes = names.iter().map(|name| plane(name, name)).collect();
    for plane in &mut scene.planes {
        plane.plane.namespace = Some("of-somebody-else".into());
        plane.agent_connected = Some(true);
    }
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let planned = scene.settle();
    assert_eq!(scene.signer(&gateway()), 0);
    let unnamed: Vec<&String> = names
        .iter()
        .filter(|name| {
            let name = format!("the agent of DataPlane of-somebody-else/{name}");
            let mut conditions = planned.status.conditions.iter();
            !conditions.any(|one| one.message.contains(&name) && one.message.contains("cut off"))
        })
        .collect();
    assert!(unnamed.is_empty(), "{unnamed:?} {:#?}", told(&planned));
}

/// "is no longer trusted anywhere": a plane that no selector selects trusts it.
#[test]
fn an_anchor_that_a_plane_still_trusts_is_not_said_to_be_trusted_nowhere() {
    let mut scene = Scene::local();
    scene.settle();
    scene.select_no_plane();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let mut said = String::new();
    for _ in 0..40 {
        for event in scene.turn().events {
            if event.problem.reason == external_ca_core::Reason::AnchorDropped {
                said = event.problem.message;
            }
        }
        scene.finish_rollouts();
        scene.now += scene.kubelet_cache();
    }
    assert!(scene.planes[0].anchors.contains(ca(0).anchor()));
    assert!(!said.contains("no longer trusted anywhere"), "{said}");
}
