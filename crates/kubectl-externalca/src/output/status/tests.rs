#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::{Value, json};

fn issuance(status: Value) -> ExternalCAIssuance {
    serde_json::from_value(json!({
        "apiVersion": "pki.openchoreo.dev/v1alpha1",
        "kind": "ExternalCAIssuance",
        "metadata": {"name": "gateway", "namespace": "home", "generation": 2},
        "spec": {"issuer": {"caSecret": {"name": "ca"}}, "certificates": [
            {"name": "x", "usages": ["ServerAuth"], "dnsNames": ["x"],
                "target": {"namespace": "other", "secretName": "x"}},
        ]},
        "status": status,
    }))
    .unwrap()
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "m",
        "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn shown(issuance: &ExternalCAIssuance, wide: bool) -> String {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    tree(issuance, now, wide, Paint::for_stdout(false, None))
}

#[test]
fn a_rotation_under_way_says_who_is_waited_for() {
    let issuance = issuance(json!({
        "observedGeneration": 2,
        "phase": "Rotating",
        "conditions": [
            condition("Ready", "False", "WaitingForPeers"),
            condition("IssuerReady", "True", "CAExpiring"),
            condition("TrustDistributed", "False", "WaitingForPeers"),
            condition("PlanesWired", "True", "Ready"),
        ],
        "issuer": {"subject": "CN=new", "fingerprint": "bbbb", "notAfter": "2026-01-02T12:00:00Z"},
        "trust": {"anchors": [
            {"subject": "CN=new", "fingerprint": "bbbb", "state": "Active", "notAfter": "2026-01-02T12:00:00Z"},
            {"subject": "CN=old", "fingerprint": "aaaa", "state": "Retiring", "notAfter": "2025-12-31T00:00:00Z",
                "waitingFor": ["Secret home/tls"]},
        ]},
        "certificatesReady": "1/2",
        "certificates": [
            {"target": "home/tls", "commonName": "gateway", "state": "Waiting", "reason": "SignerChanged",
                "notAfter": "2026-06-01T00:00:00Z", "serial": "0a"},
            {"target": "plane/tls", "commonName": "eu", "state": "Ready", "signer": "bbbb",
                "notAfter": "2026-06-01T00:00:00Z", "renewalTime": "2026-05-01T00:00:00Z"},
            {"target": "other/x", "commonName": "x", "state": "Ready", "signer": "bbbb"},
        ],
        "planes": [
            {"kind": "DataPlane", "namespace": "default", "name": "eu", "planeID": "eu", "wired": true,
                "agentConnected": false},
        ],
        "rollouts": [
            {"workload": "Deployment plane/agent", "state": "waits for its restart", "since": "2025-12-31T23:50:00Z"},
        ],
    }));
    let lines = [
        "ExternalCAIssuance home/gateway  Rotating",
        "├─ CA ✓ CN=new  ends 2026-01-02 (in 36h)",
        "├─ Anchors",
        "│  ├─ ✓ Active    CN=new  ends 2026-01-02 (in 36h)",
        "│  └─ … Retiring  CN=old  ended 2025-12-31 (24h ago)",
        "│     └─ still needed by Secret home/tls",
        "├─ Trust places",
        "│  ├─ … ConfigMap cluster-gateway-ca and Secret cluster-gateway-ca in home, plane",
        "│  └─ ✓ clientCA of the planes below",
        "├─ Certificates 1/2",
        "│  ├─ … home/tls   CN=gateway  not signed by the CA  ends 2026-06-01 (in 151d)                   Waiting (SignerChanged)",
        "│  ├─ ✓ plane/tls  CN=eu       signed by bbbb        ends 2026-06-01 (in 151d)  renewal in 120d",
        "│  └─ ✓ other/x    CN=x        signed by bbbb",
        "├─ Planes 1/1",
        "│  └─ … DataPlane default/eu  planeID eu  wired  agent not connected",
        "├─ Rollouts",
        "│  └─ … Deployment plane/agent: waits for its restart (begun 10m ago)",
        "└─ Waits for",
        "   ├─ WaitingForPeers: m",
        "   └─ CAExpiring: m",
        "",
    ];
    assert_eq!(shown(&issuance, false), lines.join("\n"));
    let wide = shown(&issuance, true);
    assert!(
        wide.contains("serial 0a") && wide.contains("SHA-256 bbbb"),
        "{wide}"
    );
    assert!(!is_ready(&issuance));
}

#[test]
fn what_the_status_leaves_out_is_counted() {
    let issuance = issuance(json!({"omitted": {"certificates": 12, "planes": 3}}));
    let shown = shown(&issuance, false);
    assert!(
        shown.contains("and 12 more") && shown.contains("and 3 more"),
        "{shown}"
    );
}

#[test]
fn ready_is_ready_for_the_newest_spec_only() {
    for (generation, ready, text) in [(2, true, "Ready"), (1, false, "its spec has changed")] {
        let issuance = issuance(json!({
            "observedGeneration": generation,
            "phase": "Ready",
            "conditions": [condition("Ready", "True", "Ready")],
        }));
        assert_eq!(is_ready(&issuance), ready);
        assert!(shown(&issuance, false).contains(text));
    }
    let mut without_status = issuance(json!({}));
    without_status.status = None;
    assert!(!is_ready(&without_status));
    assert!(shown(&without_status, false).contains("does it run"));
}
