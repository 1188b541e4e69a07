//! What waits for a maintenance window, and what does not.

use external_ca_api::{Phase, RENEW_ANNOTATION};
use external_ca_core::Reason;
use external_ca_core::model::Leaf;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::pieces::{DATA, Issuer, agent, ca, config_map_ref, days, gateway, start};
use super::scene::{Scene, condition};

/// Saturdays from two to six.
fn with_windows() -> Scene {
    let windows = json!([{"schedule": "0 2 * * SAT", "duration": "4h"}]);
    Scene::new(json!({"rollout": {"windows": windows}})).with_workloads()
}

fn next_window(scene: &Scene) -> Timestamp {
    let opens = scene.plan().status.next_window;
    opens.expect("something waits for a window").0
}

/// When every certificate is due for renewal, and no window is open: the jitter may fall into one.
fn all_due(scene: &Scene) -> Timestamp {
    let leaves = scene.plan().status.certificates;
    let due = leaves
        .iter()
        .map(|leaf| leaf.renewal_time.clone().unwrap().0);
    let due = due.max().unwrap();
    let open = due.to_zoned(TimeZone::UTC);
    let is_open = open.weekday() == Weekday::Saturday && (2..6).contains(&open.hour());
    due + SignedDuration::from_hours(if is_open { 4 } else { 0 })
}

fn restarted(scene: &Scene) -> usize {
    scene.restarts.values().sum()
}

#[test]
fn what_nobody_runs_with_yet_waits_for_no_window() {
    let mut scene = with_windows();
    let last = scene.settle();
    assert_eq!(last.status.phase, Some(Phase::Ready));
    assert_eq!(last.status.next_window, None);
}

#[test]
fn a_renewal_waits_for_its_window_and_is_no_defect_meanwhile() {
    let mut scene = with_windows();
    scene.settle();
    scene.now = all_due(&scene);
    let waits = scene.plan();
    assert_eq!(waits.steps, []);
    assert_eq!(waits.status.phase, Some(Phase::Ready));
    let (status, reason, message) = condition(&waits, "CertificatesReady");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "WaitingForWindow")
    );
    let opens = next_window(&scene);
    assert!(message.contains(&opens.to_string()), "{message}");
    assert!(waits.next_check <= opens);
    assert_eq!(
        waits.status.next_renewal.as_ref().map(|time| time.0),
        Some(opens)
    );
    assert_eq!(waits.status.certificates_ready.as_deref(), Some("2/2"));

    scene.now = opens;
    let done = scene.settle();
    assert_eq!(done.status.phase, Some(Phase::Ready));
    assert!(restarted(&scene) > 0);
    assert_eq!(done.status.next_window, None);
}

#[test]
fn a_restart_that_the_window_was_too_short_for_waits_for_the_next() {
    let mut scene = with_windows();
    scene.settle();
    scene.now = all_due(&scene);
    scene.now = next_window(&scene);
    while restarted(&scene) == 0 {
        scene.turn();
    }
    // The gateway has been restarted, and its agents have not.
    scene.finish_rollouts();
    scene.now += SignedDuration::from_hours(4);
    let late = scene.settle();
    assert_eq!(restarted(&scene), 1);
    let (status, reason, message) = condition(&late, "RolloutsComplete");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("True", "WaitingForWindow")
    );
    assert!(message.contains("cluster-agent-dataplane"), "{message}");

    // What the agent still holds ends before the next window: it is restarted, and that is said.
    let held = scene.material[&agent()].held_until.unwrap();
    scene.now = held - days(1);
    let urgent = scene.plan();
    let (_, reason, _) = condition(&urgent, "RolloutsComplete");
    assert_eq!(reason, "OutsideWindow");
    assert!(
        urgent
            .events
            .iter()
            .any(|notice| notice.problem.reason == Reason::OutsideWindow)
    );
    scene.turn();
    assert_eq!(restarted(&scene), 2);
}

#[test]
fn a_certificate_that_would_end_before_the_next_window_is_renewed_before_it() {
    // The next window comes when the certificates have ended.
    let windows = json!([{"schedule": "0 2 1 3 *", "duration": "4h"}]);
    let mut scene = Scene::new(json!({"rollout": {"windows": windows}})).with_workloads();
    scene.settle();
    scene.now = all_due(&scene);
    let waits = scene.settle();
    let (_, reason, message) = condition(&waits, "CertificatesReady");
    assert_eq!(reason, "WaitingForWindow");
    assert!(
        message.contains("no maintenance window opens before"),
        "{message}"
    );
    let end = waits.status.certificates[0].not_after.clone().unwrap().0;
    let left = next_window(&scene).duration_until(end);
    assert!(
        left > days(365) / 6 - days(1),
        "half of renewBefore is left"
    );

    scene.now = next_window(&scene) + days(1);
    scene.turn();
    scene.finish_rollouts();
    let (_, reason, message) = condition(&scene.turn(), "RolloutsComplete");
    assert_eq!(reason, "OutsideWindow", "{message}");
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert!(restarted(&scene) > 0);
}

#[test]
fn a_rotation_spreads_trust_at_once_and_goes_on_in_its_window() {
    let mut scene = with_windows();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let waits = scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (0, 0));
    assert_eq!(restarted(&scene), 0);
    assert_eq!(waits.status.phase, Some(Phase::Rotating));
    let (status, reason, _) = condition(&waits, "Ready");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "WaitingForWindow")
    );
    let rotation = waits.status.rotation.unwrap();
    assert_eq!(
        (rotation.certificates.as_str(), rotation.workloads.as_str()),
        ("0/2", "1/3")
    );
    assert!(
        rotation.next.contains("maintenance window"),
        "{}",
        rotation.next
    );

    scene.now = next_window(&scene);
    let done = scene.settle();
    assert_eq!(done.status.phase, Some(Phase::Ready));
    assert_eq!(done.status.rotation, None);
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
}

#[test]
fn a_rotation_that_a_certificate_cannot_wait_for_restarts_whom_it_waits_for() {
    let mut scene = with_windows();
    scene.settle();
    scene.now = start() + days(365);
    scene.issuer = Issuer::Ready(ca(1));
    let done = scene.settle();
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (1, 1));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
    // To forget the old CA the agent is restarted in the window: nothing ends before it any more.
    assert_eq!(scene.restarts["cluster-agent-dataplane"], 1);
    assert_eq!(condition(&done, "RolloutsComplete").1, "WaitingForWindow");
}

#[test]
fn a_request_for_renewal_is_kept_until_its_window() {
    let mut scene = with_windows();
    scene.settle();
    let asked = [(RENEW_ANNOTATION.to_owned(), "all".to_owned())];
    scene.issuance.metadata.annotations = Some(asked.into());
    assert_eq!(scene.turn().steps, []);
    scene.now = next_window(&scene);
    scene.settle();
    assert_eq!(scene.issuance.metadata.annotations, None);
    assert!(restarted(&scene) > 0);
}

#[test]
fn neither_a_compromised_ca_nor_a_broken_certificate_waits_for_a_window() {
    let windows = json!([{"schedule": "0 2 * * SAT", "duration": "4h"}]);
    let spec = json!({"rollout": {"windows": windows}, "rotation": {"strategy": "Immediate"}});
    let mut scene = Scene::new(spec).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);

    let mut scene = with_windows();
    scene.settle();
    let Leaf::Present { key_matches, .. } = &mut scene.material.get_mut(&agent()).unwrap().leaf
    else {
        panic!("no leaf")
    };
    *key_matches = false;
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.restarts["cluster-agent-dataplane"], 1);
}
