//! Which certificates there are, and when they are renewed.

use std::collections::BTreeMap;

use external_ca_api::RENEW_ANNOTATION;
use external_ca_core::plan::{Consume, Step};
use external_ca_core::report::{Decision, decide};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::pieces::{Issuer, agent, days, ending, gateway, plane};
use super::scene::{Scene, condition};

#[test]
fn renewal_comes_ahead_of_expiry_spread_by_jitter_and_restarts_each_side_once() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    let times: Vec<Timestamp> = scene
        .plan()
        .status
        .certificates
        .iter()
        .map(|entry| entry.renewal_time.clone().unwrap().0)
        .collect();
    let third = days(365) / 3;
    let end = scene.plan().status.certificates[0]
        .not_after
        .clone()
        .unwrap()
        .0;
    for time in &times {
        let before = time.duration_until(end);
        assert!(
            before >= third && before <= third + third / 20 + SignedDuration::from_mins(10),
            "{before}"
        );
    }
    assert_ne!(times[0], times[1], "spread");
    assert_eq!(
        scene.plan().next_check,
        scene.now + SignedDuration::from_hours(12),
        "looked at again at the latest"
    );
    scene.now = *times.iter().max().unwrap();
    let planned = scene.plan();
    assert_eq!(
        planned
            .steps
            .iter()
            .filter(|step| matches!(step, Step::IssueLeaf(_)))
            .count(),
        2
    );
    scene.settle();
    let expected: BTreeMap<String, usize> = [
        ("cluster-gateway".to_owned(), 1),
        ("cluster-agent-dataplane".to_owned(), 1),
    ]
    .into();
    assert_eq!(scene.restarts, expected);
}

#[test]
fn two_plane_ids_that_want_one_secret_are_a_conflict_that_names_both() {
    let mut scene = Scene::new(json!({}));
    scene.planes.push(plane("us", "us-1"));
    let planned = scene.settle();
    let (_, reason, message) = condition(&planned, "CertificatesReady");
    assert_eq!(reason, "Conflict");
    assert!(
        message.contains("eu-1")
            && message.contains("us-1")
            && message.contains("openchoreo-data-plane/cluster-agent-tls"),
        "{message}"
    );
    assert!(!scene.material.contains_key(&agent()));
    assert!(scene.material.contains_key(&gateway()), "the others go on");
}

#[test]
fn planes_with_one_plane_id_share_a_leaf() {
    let mut scene = Scene::new(json!({}));
    scene.planes.push(plane("eu-b", "eu-1"));
    let planned = scene.settle();
    assert_eq!(planned.status.certificates_ready.as_deref(), Some("2/2"));
    assert!(planned.status.planes.iter().all(|plane| plane.wired));
}

#[test]
fn a_certificate_for_a_namespace_that_is_not_served_is_a_problem() {
    let target = json!({"namespace": "elsewhere", "secretName": "more-tls"});
    let entry = json!({"name": "more", "usages": ["ServerAuth"], "dnsNames": ["a.example"], "target": target});
    let mut scene = Scene::new(json!({"certificates": [entry]}));
    let mut observed = scene.observed();
    observed
        .material
        .retain(|key, _| key.object.namespace != "elsewhere");
    let planned = decide(&observed, scene.now);
    let (status, reason, message) = condition(&planned, "CertificatesReady");
    assert_eq!(
        (status.as_str(), reason.as_str()),
        ("False", "NamespaceNotServed")
    );
    assert!(message.contains("elsewhere/more-tls"), "{message}");
    scene.now += days(1);
}

#[test]
fn a_request_for_renewal_is_granted_once_whatever_happens_to_it() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    let asked = BTreeMap::from([("pki.openchoreo.dev/renew".to_owned(), "all".to_owned())]);
    scene.issuance.metadata.annotations = Some(asked.clone());
    let issued = |planned: &Decision| {
        let issues = |step: &&Step| matches!(step, Step::IssueLeaf(_));
        planned.steps.iter().filter(issues).count()
    };
    assert_eq!(issued(&scene.turn()), 2);
    // The operator died before it could remove the annotation.
    scene.issuance.metadata.annotations = Some(asked);
    let planned = scene.turn();
    assert_eq!(
        planned.steps,
        [Step::Consume(Consume {
            annotation: RENEW_ANNOTATION
        })]
    );
}

/// Issues until an hour of issuing has passed or the CA has ended, and returns how long each certificate served of its life.
fn services(defaults: serde_json::Value, ends_in: Option<SignedDuration>) -> Vec<f64> {
    let mut defaults = defaults;
    defaults["privateKey"] = json!({"algorithm": "ECDSA"});
    let mut scene = Scene::new(json!({"certificateDefaults": defaults}));
    if let Some(ends_in) = ends_in {
        scene.issuer = Issuer::Ready(ending(scene.now + ends_in));
    }
    let mut issued: Vec<(Timestamp, Timestamp)> = Vec::new();
    scene.planes.clear();
    scene.settle();
    for _ in 0..60 {
        let planned = scene.turn();
        let at = scene.now;
        scene.finish_rollouts();
        if planned
            .steps
            .iter()
            .any(|step| matches!(step, Step::IssueLeaf(_)))
        {
            let end = scene.plan().status.certificates[0].not_after.clone();
            issued.push((at, end.unwrap().0));
            continue;
        }
        let next = scene.plan().status.next_renewal.map(|time| time.0);
        match next.filter(|next| *next > scene.now) {
            Some(next) => scene.now = next,
            None => break,
        }
    }
    assert!(issued.len() < 60);
    let pairs = issued.windows(2);
    pairs
        .map(|pair| {
            let [(begin, end), (next, _)] = pair else {
                unreachable!()
            };
            begin.duration_until(*next).as_secs_f64() / begin.duration_until(*end).as_secs_f64()
        })
        .collect()
}

#[test]
fn whatever_is_asked_for_a_certificate_serves_a_tenth_of_its_life() {
    let hour = SignedDuration::from_hours(1);
    for (defaults, ends_in) in [
        (json!({"duration": "1h", "renewBefore": "59m59s"}), None),
        (json!({"duration": "24h", "renewBefore": "23h"}), None),
        (json!({"duration": "2h", "renewBefore": "1h58m"}), None),
        (json!({"duration": "5m", "renewBefore": "4m59s"}), None),
        (
            json!({"duration": "8760h", "renewBeforePercentage": 99}),
            None,
        ),
        (json!({"duration": "1h", "renewBefore": "50m"}), None),
        (json!({"duration": "24h", "renewBefore": "23h"}), Some(hour)),
        (
            json!({"duration": "24h", "renewBefore": "8h"}),
            Some(hour * 10),
        ),
        (
            json!({"duration": "24h", "renewBefore": "8h"}),
            Some(hour / 20),
        ),
    ] {
        let services = services(defaults.clone(), ends_in);
        assert!(
            ends_in.is_some() || services.len() > 5,
            "{defaults}: {services:?}"
        );
        // Whole seconds.
        let short = services.iter().find(|service| **service < 0.099);
        assert_eq!(
            short, None,
            "{defaults}, a CA that ends in {ends_in:?}: {services:?}"
        );
    }
}

#[test]
fn a_name_that_is_asked_for_twice_stands_once() {
    let names = json!({
        "dnsNames": ["gw.example.com", "GW.example.com", "gw.example.com"],
        "ipAddresses": ["2001:db8::1", "2001:0DB8:0:0:0:0:0:1", "192.0.2.1", "192.0.2.1"],
    });
    let mut scene = Scene::new(json!({"gateway": names}));
    scene.settle();
    assert_eq!(scene.plan().steps, []);
    let expected = ["DNS:gw.example.com", "IP:2001:db8::1", "IP:192.0.2.1"];
    let sans = scene.profile(&gateway()).sans;
    let sans: Vec<String> = sans.iter().map(ToString::to_string).collect();
    assert_eq!(sans, expected);
}
