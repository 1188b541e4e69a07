//! A CA that is absent, unfit or ending, and one that the operator makes.

use std::collections::BTreeMap;

use external_ca_api::Phase;
use external_ca_core::plan::{Consume, GenerateCa, Step};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::pieces::{Issuer, ca, constrained, days, generated, start};
use super::scene::{Scene, condition};

#[test]
fn nothing_is_written_without_an_issuer_and_what_was_said_stays() {
    let mut scene = Scene::new(json!({}));
    scene.issuer = Issuer::Absent;
    let planned = scene.turn();
    assert_eq!(planned.steps, []);
    assert_eq!(condition(&planned, "IssuerReady").1, "CASecretNotFound");
    assert_eq!(planned.status.phase, Some(Phase::Stalled));
}

#[test]
fn a_ca_that_ends_soon_bounds_leaves_and_does_not_make_them_renew_for_ever() {
    let mut scene = Scene::new(json!({}));
    scene.now = start() + days(3600);
    let planned = scene.settle();
    assert_eq!(
        condition(&planned, "IssuerReady"),
        (
            "True".into(),
            "CAExpiring".into(),
            condition(&planned, "IssuerReady").2
        )
    );
    let end = planned.status.certificates[0].not_after.clone().unwrap();
    assert_eq!(end, Time(ca(0).not_after()));
    scene.now = start() + days(3649);
    assert_eq!(
        scene.plan().steps,
        [],
        "no certificate that the CA can sign would live longer"
    );
}

#[test]
fn a_ca_that_may_not_sign_what_the_gateway_needs_is_refused_as_a_whole() {
    let mut scene = Scene::new(json!({}));
    // OpenSSL dates the CA from the second in which it is made: that one may come after this line.
    scene.now = Timestamp::now() + SignedDuration::from_hours(1);
    scene.issuer = Issuer::Ready(constrained(scene.now));
    let planned = scene.plan();
    assert_eq!(planned.steps, []);
    let (_, reason, message) = condition(&planned, "IssuerReady");
    assert_eq!(reason, "CANameConstraints");
    assert!(message.contains("cluster-gateway-tls"), "{message}");
}

/// A settled scene whose CA the operator made.
pub fn with_generated_ca() -> Scene {
    let spec = json!({"issuer": {"caSecret": {"name": "ca", "generate": true}}});
    let mut scene = Scene::new(spec).with_workloads();
    scene.generated = generated(None);
    scene.settle();
    scene
}

#[test]
fn a_generated_ca_is_replaced_once_when_somebody_asks() {
    let mut scene = with_generated_ca();
    let asked = BTreeMap::from([("pki.openchoreo.dev/rotate".to_owned(), "now".to_owned())]);
    scene.issuance.metadata.annotations = Some(asked.clone());
    let planned = scene.turn();
    let [
        Step::GenerateCa(GenerateCa {
            resource_version, ..
        }),
    ] = planned.steps.as_slice()
    else {
        panic!("{:#?}", planned.steps)
    };
    assert_eq!(resource_version.as_deref(), Some("7"));
    let planned = scene.turn();
    assert!(
        planned.steps.contains(&Step::Consume(Consume {
            annotation: "pki.openchoreo.dev/rotate"
        })),
        "{:#?}",
        planned.steps
    );
    // The operator died before it could remove the annotation.
    scene.issuance.metadata.annotations = Some(asked);
    let generates = |step: &Step| matches!(step, Step::GenerateCa(_));
    assert!(!scene.plan().steps.iter().any(generates));
    let planned = scene.settle();
    assert_eq!(planned.status.phase, Some(Phase::Ready));
    let trust = planned.status.trust.unwrap();
    assert_eq!(trust.anchors.len(), 1);
    assert_eq!(
        trust.anchors[0].fingerprint,
        ca(1).anchor().fingerprint().to_string()
    );
}

#[test]
fn a_generated_ca_is_replaced_before_a_certificate_must_be_shortened() {
    let mut scene = with_generated_ca();
    let end = ca(0).not_after();
    let longest = SignedDuration::from_hours(8_760);
    scene.now = end - longest - days(200);
    scene.settle();
    assert!(scene.plan().next_check < end - longest);
    scene.now = end - longest;
    let planned = scene.plan();
    assert!(
        matches!(planned.steps.as_slice(), [Step::GenerateCa(_)]),
        "{:#?}",
        planned.steps
    );
}

#[test]
fn a_ca_that_people_made_is_not_replaced() {
    let mut scene = with_generated_ca();
    scene.generated = None;
    scene.issuance.metadata.annotations = Some(BTreeMap::from([(
        "pki.openchoreo.dev/rotate".to_owned(),
        "now".to_owned(),
    )]));
    let planned = scene.plan();
    assert_eq!(planned.steps, []);
    let (_, reason, message) = condition(&planned, "IssuerReady");
    assert_eq!(reason, "CANotGenerated");
    assert!(
        message.contains("replace the Secret's content"),
        "{message}"
    );
}
