//! Fields that others put back: what counts, what ends a contest, and what is none.

use std::collections::BTreeSet;

use external_ca_core::model::facts;
use external_ca_core::plan::Step;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::pieces::{DATA, HOME, agent, ca, config_map_ref, gateway, secret_ref};
use super::scene::{Scene, condition};

fn put_client_ca(scene: &mut Scene, anchor: usize) {
    let plane = &mut scene.planes[0];
    plane.value = Some(ca(anchor).anchor().to_pem());
    plane.anchors = vec![ca(anchor).anchor().clone()];
    plane.manager = Some("argocd-controller".into());
    plane.changed = Some(scene.now);
}

/// A plane that is left alone (FieldConflict) is left alone too after its agent's leaf could not be read for one turn.
#[test]
fn a_hiccup_settles_no_contest() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    for _ in 0..3 {
        put_client_ca(&mut scene, 2);
        scene.turn();
        scene.turn();
    }
    assert_eq!(condition(&scene.plan(), "PlanesWired").1, "FieldConflict");
    scene.unknown = BTreeSet::from([agent()]);
    scene.turn();
    scene.unknown.clear();
    let planned = scene.plan();
    let wires = planned
        .steps
        .iter()
        .filter(|s| matches!(s, Step::WirePlane(_)))
        .count();
    assert_eq!(wires, 0, "the fight begins anew");
}

/// As the API server tells it: the chart made the ConfigMap by Update; the operator's forced apply takes ca.crt from it within
/// the same second; what the chart keeps is the map itself.
#[test]
fn who_repairs_within_the_second_is_the_last_manager() {
    let object: ConfigMap = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "cluster-gateway-ca", "namespace": DATA, "managedFields": [
            {"manager": "external-ca-operator", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-02T00:00:00Z",
             "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:ca.crt": {}}}},
            {"manager": "argocd-controller", "operation": "Update", "apiVersion": "v1", "time": "2026-01-02T00:00:00Z",
             "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {".": {}}}},
        ]},
        "data": {"ca.crt": ca(0).anchor().to_pem()},
    }))
    .unwrap();
    assert_eq!(
        facts::config_map(&object).manager.as_deref(),
        Some("external-ca-operator")
    );
}

/// Another manager that writes another key of the same ConfigMap has settled nothing.
#[test]
fn who_writes_another_key_is_not_the_manager_of_the_bundle() {
    let object: ConfigMap = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "cluster-gateway-ca", "namespace": DATA, "managedFields": [
            {"manager": "external-ca-operator", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-02T00:00:00Z",
             "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:ca.crt": {}}}},
            {"manager": "third", "operation": "Update", "apiVersion": "v1", "time": "2026-01-02T00:10:00Z",
             "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:other": {}}}},
        ]},
        "data": {"ca.crt": ca(0).anchor().to_pem(), "other": "text"},
    }))
    .unwrap();
    assert_eq!(
        facts::config_map(&object).manager.as_deref(),
        Some("external-ca-operator")
    );
}

/// Taking a leaf over for the first time is no contest.
#[test]
fn a_first_takeover_is_no_contest() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.hand_made(&ca(2));
    for target in [
        gateway(),
        agent(),
        config_map_ref(DATA),
        secret_ref(HOME, "cluster-gateway-ca"),
    ] {
        scene.material.get_mut(&target).unwrap().manager = Some("kubectl-client-side-apply".into());
    }
    for _ in 0..6 {
        let planned = scene.turn();
        assert_eq!(
            planned.status.contested,
            [],
            "{:#?}",
            planned.status.certificates
        );
        scene.finish_rollouts();
    }
}

/// A leaf that waits for its verifiers is not given up because its present maker renews it meanwhile.
#[test]
fn a_leaf_that_was_never_written_is_not_put_back() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.hand_made(&ca(2));
    for round in 0..5 {
        scene.now += SignedDuration::from_mins(10);
        let profile = scene.profile(&gateway());
        scene.put_leaf(&gateway(), &ca(2), &profile, false);
        scene.material.get_mut(&gateway()).unwrap().manager =
            Some("cert-manager-certificates-issuing".into());
        let planned = scene.plan();
        // Nothing is written: the API server refuses, or workloads do not roll out.
        let issued = planned
            .steps
            .iter()
            .any(|s| matches!(s, Step::IssueLeaf(leaf) if leaf.target == gateway().object));
        scene.carry_out(
            &planned
                .steps
                .iter()
                .filter(|s| !matches!(s, Step::IssueLeaf(_)))
                .cloned()
                .collect::<Vec<_>>(),
        );
        scene.issuance.status = Some(planned.status.clone());
        let (_, reason, message) = condition(&planned, "CertificatesReady");
        assert_ne!(
            reason, "FieldConflict",
            "round {round} (issued: {issued}): {message}"
        );
    }
}
