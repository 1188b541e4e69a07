#![allow(clippy::unwrap_used)]

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;

use super::*;

/// An issuance in the middle of a rotation.
pub fn example() -> ExternalCAIssuance {
    let certificate = |target: &str, state: &str| {
        json!({
            "target": target, "commonName": "x", "state": state,
            "notAfter": "2027-01-01T00:00:00Z", "renewalTime": "2026-09-01T00:00:00Z",
        })
    };
    let anchor = |fingerprint: &str, state: &str, end: &str| {
        json!({
            "subject": "CN=a \"quoted\" CA", "fingerprint": fingerprint.repeat(32), "state": state, "notAfter": end,
        })
    };
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": "", "lastTransitionTime": "2026-03-01T00:00:00Z",
        })
    };
    let rollout = |name: &str, phase: &str| {
        json!({
            "workload": format!("Deployment openchoreo-data-plane/{name}"), "phase": phase, "state": "",
            "since": "2026-03-01T00:10:00Z",
        })
    };
    serde_json::from_value(json!({
        "apiVersion": "pki.openchoreo.dev/v1alpha1",
        "kind": "ExternalCAIssuance",
        "metadata": {"name": "cluster-gateway", "namespace": "openchoreo-control-plane"},
        "spec": {
            "issuer": {"caSecret": {"name": "ca"}},
            "certificateDefaults": {"duration": "8760h", "renewBefore": "240h"},
        },
        "status": {
            "conditions": [
                condition("Ready", "False", "RolloutStuck"),
                condition("Stalled", "True", "RolloutStuck"),
                condition("TrustDistributed", "False", "WaitingForPeers"),
            ],
            "issuer": {"subject": "CN=ca", "fingerprint": "bb".repeat(32), "notAfter": "2036-01-11T00:00:00Z"},
            "trust": {"anchors": [
                anchor("bb", "Active", "2036-01-11T00:00:00Z"),
                anchor("aa", "Retiring", "2026-06-01T00:00:00Z"),
            ]},
            "certificates": [
                certificate("openchoreo-control-plane/cluster-gateway-tls", "Waiting"),
                certificate("openchoreo-data-plane/cluster-agent-tls", "Ready"),
                json!({"target": "openchoreo-data-plane/missing", "commonName": "x", "state": "Pending"}),
            ],
            "rollouts": [rollout("agent-1", "Stuck"), rollout("agent-2", "Waiting"), rollout("agent-3", "Waiting")],
            "nextRenewal": "2026-09-01T00:00:00Z",
        },
    }))
    .unwrap()
}

fn say(issuances: &Issuances, issuance: &ExternalCAIssuance) {
    issuances.report(issuance, Arc::new(issuance.status.clone().unwrap()));
}

fn scrape(issuances: &Issuances) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(issuances.clone()));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn a_status_as_series() {
    let issuances = Issuances::default();
    say(&issuances, &example());
    let text = scrape(&issuances);
    let own = r#"namespace="openchoreo-control-plane",name="cluster-gateway""#;
    let gateway = format!(
        r#"{own},secret_namespace="openchoreo-control-plane",secret="cluster-gateway-tls""#
    );
    let agent =
        format!(r#"{own},secret_namespace="openchoreo-data-plane",secret="cluster-agent-tls""#);
    let missing = format!(r#"{own},secret_namespace="openchoreo-data-plane",secret="missing""#);
    for line in [
        format!("issuance_ready{{{own}}} 0"),
        format!(r#"issuance_condition{{{own},type="Stalled",reason="RolloutStuck"}} 1"#),
        format!(
            r#"issuance_condition{{{own},type="TrustDistributed",reason="WaitingForPeers"}} 0"#
        ),
        format!("issuer_not_after_timestamp_seconds{{{own}}} 2083622400"),
        // Ten days earlier.
        format!("issuer_renewal_timestamp_seconds{{{own}}} 2082758400"),
        format!(r#"anchors{{{own},state="active"}} 1"#),
        format!(r#"anchors{{{own},state="next"}} 0"#),
        format!(r#"anchors{{{own},state="retiring"}} 1"#),
        format!(
            r#"anchor_not_after_timestamp_seconds{{{own},fingerprint="aaaaaaaaaaaaaaaa",state="retiring"}} 1780272000"#
        ),
        format!("rotation_since_timestamp_seconds{{{own}}} 1772323200"),
        format!("next_renewal_timestamp_seconds{{{own}}} 1788220800"),
        format!("certificate_not_after_timestamp_seconds{{{gateway}}} 1798761600"),
        format!("certificate_renewal_timestamp_seconds{{{agent}}} 1788220800"),
        format!("certificate_ready{{{gateway}}} 0"),
        format!("certificate_ready{{{agent}}} 1"),
        format!("certificate_ready{{{missing}}} 0"),
        format!(r#"rollouts{{{own},state="waiting"}} 2"#),
        format!(r#"rollouts{{{own},state="running"}} 0"#),
        format!(r#"rollouts{{{own},state="stuck"}} 1"#),
        format!(r#"rollouts{{{own},state="restart_needed"}} 0"#),
        format!(
            r#"rollout_stuck_since_timestamp_seconds{{{own},workload="Deployment openchoreo-data-plane/agent-1"}} 1772323800"#
        ),
    ] {
        assert!(text.lines().any(|found| found == line), "no {line}\n{text}");
    }
    assert!(
        !text.contains(&format!(
            "certificate_not_after_timestamp_seconds{{{missing}}}"
        )),
        "what does not exist has no end"
    );
    assert_eq!(samples(&text).len(), 25, "{text}");
}

#[test]
fn series_go_with_what_they_are_about() {
    let issuances = Issuances::default();
    let mut issuance = example();
    say(&issuances, &issuance);
    let status = issuance.status.as_mut().unwrap();
    status.certificates.clear();
    status.rollouts.clear();
    status.trust = None;
    say(&issuances, &issuance);
    let text = scrape(&issuances);
    for gone in [
        "secret=",
        "workload=",
        "fingerprint=",
        "rotation_since_timestamp_seconds{",
    ] {
        assert!(!text.contains(gone), "{gone}\n{text}");
    }
    issuances.forget(&issuance);
    assert_eq!(samples(&scrape(&issuances)), Vec::<&str>::new());
}

#[test]
fn a_thousand_leaves_are_a_few_hundred_kilobytes_and_only_while_they_are_read() {
    let issuances = Issuances::default();
    let mut issuance = example();
    let status = issuance.status.as_mut().unwrap();
    status.certificates = (0..1000)
        .map(|index| {
            serde_json::from_value(json!({
                "target": format!("openchoreo-data-plane/cluster-agent-tls-plane-{index}"), "commonName": "x", "state": "Ready",
                "notAfter": "2027-01-01T00:00:00Z", "renewalTime": "2026-09-01T00:00:00Z",
            }))
            .unwrap()
        })
        .collect();
    let status = Arc::new(status.clone());
    issuances.report(&issuance, Arc::clone(&status));
    assert_eq!(Arc::strong_count(&status), 2, "kept once");
    let bytes = scrape(&issuances).len();
    assert!(bytes < 700_000, "{bytes}");
}

#[test]
fn two_issuances_are_told_apart_and_hostile_names_stay_inside_their_quotes() {
    let issuances = Issuances::default();
    let mut second = example();
    second.metadata.name = Some("second".into());
    let status = second.status.as_mut().unwrap();
    for rollout in &mut status.rollouts {
        rollout.workload = "Deployment a/b\"} 1\nx".into();
    }
    say(&issuances, &example());
    say(&issuances, &second);
    let text = scrape(&issuances);
    assert!(text.contains(r#"name="second",workload="Deployment a/b\"} 1\nx"}"#));
    assert_eq!(samples(&text).len(), 50);
}
