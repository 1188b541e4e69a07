//! From nothing, or from what was made by hand, to the end state.

use external_ca_api::Phase;
use external_ca_core::plan::Step;
use serde_json::json;

use super::pieces::ca;
use super::scene::{Scene, condition};

#[test]
fn a_first_issuance_settles_without_a_restart() {
    let mut scene = Scene::new(json!({})).with_workloads();
    let first = scene.turn();
    assert!(
        first
            .steps
            .iter()
            .all(|step| matches!(step, Step::WriteBundle(_) | Step::WirePlane(_))),
        "trust first: {:#?}",
        first.steps
    );
    let second = scene.turn();
    assert_eq!(
        second
            .steps
            .iter()
            .filter(|step| matches!(step, Step::IssueLeaf(_)))
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
fn an_issuance_that_is_being_deleted_writes_nothing() {
    let mut scene = Scene::new(json!({}));
    let deleted = serde_json::from_value(json!("2026-01-02T00:00:00Z")).unwrap();
    scene.issuance.metadata.deletion_timestamp = Some(deleted);
    let planned = scene.plan();
    assert_eq!(planned.steps, []);
    let (status, reason, message) = condition(&planned, "Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Paused"));
    assert!(message.contains("being deleted"), "{message}");
}
