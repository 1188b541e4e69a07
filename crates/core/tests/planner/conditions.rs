//! What conditions and the phase say.

use std::collections::BTreeSet;

use external_ca_api::Phase;
use external_ca_core::Reason;
use external_ca_core::observed::Issuer;
use serde_json::json;

use super::pieces::days;
use super::scene::{Scene, condition};

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
