//! A clock that is not the API server's: nothing is dated by it.

use external_ca_core::plan::{Consume, Step};
use external_ca_core::report::{Decision, decide};
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{Issuer, ca, days, gateway};
use super::scene::{Scene, condition};

/// A turn by a clock that is so far ahead.
fn turn(scene: &mut Scene, ahead: SignedDuration) -> Decision {
    let mut observed = scene.observed();
    observed.clock_ahead = ahead;
    let planned = decide(&observed, scene.now);
    scene.carry_out(&planned.steps);
    scene.issuance.status = Some(planned.status.clone());
    planned
}

fn is_dated(step: &Step) -> bool {
    matches!(step, Step::IssueLeaf(_) | Step::GenerateCa(_))
}

#[test]
fn nothing_is_issued_by_a_clock_that_is_off_and_all_comes_right_with_it() {
    for ahead in [days(400), -SignedDuration::from_secs(301)] {
        let mut scene = Scene::new(json!({})).with_workloads();
        let mut told = 0;
        for _ in 0..5 {
            let planned = turn(&mut scene, ahead);
            assert!(!planned.steps.iter().any(is_dated), "{:?}", planned.steps);
            let (status, reason, message) = condition(&planned, "IssuerReady");
            assert_eq!((status.as_str(), reason.as_str()), ("False", "ClockOff"));
            let words = if ahead.is_negative() {
                "5 minutes behind"
            } else {
                "400 days ahead of"
            };
            assert!(message.contains(words), "{message}");
            let events = planned.events.iter();
            told += events
                .filter(|one| one.problem.reason.as_str() == "ClockOff")
                .count();
            let check = scene.now.duration_until(planned.next_check);
            assert!(check <= SignedDuration::from_secs(60), "{check}");
        }
        assert_eq!(told, 1);
        assert_eq!(
            scene.anchors(&super::pieces::config_map_ref(super::pieces::DATA)),
            [0],
            "bundles grow"
        );
        let planned = scene.settle();
        assert_eq!(
            condition(&planned, "Ready").0,
            "True",
            "{:?}",
            planned.status
        );
    }
}

#[test]
fn a_clock_that_is_nearly_right_does() {
    let mut scene = Scene::new(json!({})).with_workloads();
    for _ in 0..5 {
        turn(&mut scene, SignedDuration::from_secs(-300));
    }
    assert!(scene.material.contains_key(&gateway()));
}

#[test]
fn a_renewal_that_is_asked_for_waits_for_the_clock_and_is_asked_for_still() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    let annotations = scene.issuance.metadata.annotations.get_or_insert_default();
    annotations.insert("pki.openchoreo.dev/renew".into(), "all".into());
    let planned = turn(&mut scene, days(1));
    let consume = Step::Consume(Consume {
        annotation: external_ca_api::RENEW_ANNOTATION,
    });
    assert!(!planned.steps.iter().any(is_dated) && !planned.steps.contains(&consume));
    let planned = turn(&mut scene, SignedDuration::ZERO);
    assert!(planned.steps.iter().any(is_dated) && planned.steps.contains(&consume));
}

#[test]
fn no_anchor_is_dropped_because_of_a_clock_and_no_ca_is_made() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let mut held = 0;
    for _ in 0..60 {
        let drops = scene.plan().steps.iter().any(Step::drops);
        if drops {
            let mut observed = scene.observed();
            observed.clock_ahead = days(1);
            let planned = decide(&observed, scene.now);
            assert!(!planned.steps.iter().any(Step::drops));
            held += 1;
        }
        scene.turn();
        scene.finish_rollouts();
    }
    assert!(held > 0);

    let mut scene = Scene::new(json!({"issuer": {"caSecret": {"name": "ca", "generate": true}}}));
    scene.issuer = Issuer::Absent;
    assert!(scene.plan().steps.iter().any(is_dated));
    assert_eq!(turn(&mut scene, days(1)).steps, []);
}
