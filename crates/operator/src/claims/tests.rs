//! Claims are made once, until something is claimed otherwise.

use std::sync::Arc;

use external_ca_api::{ExternalCAIssuance, PlaneKind};
use external_ca_core::model::{Plane, facts};
use external_ca_core::snapshot::{ClaimTable, Scope};
use serde_json::json;

use super::AllClaims;

fn issuance(generation: i64, version: &str) -> Arc<ExternalCAIssuance> {
    let object = json!({
        "metadata": {"name": "a", "namespace": "ns", "uid": "a", "generation": generation, "resourceVersion": version},
        "spec": {"issuer": {"caSecret": {"name": "ca"}}},
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn plane(labels: serde_json::Value, id: &str, connected: bool) -> Arc<Plane> {
    let metadata =
        json!({"name": "eu", "namespace": "ns", "resourceVersion": "1", "labels": labels});
    let metadata = serde_json::from_value(metadata).unwrap();
    let data =
        json!({"spec": {"planeID": id}, "status": {"agentConnection": {"connected": connected}}});
    let plane = facts::plane(PlaneKind::DataPlane, &metadata, &data, None);
    Arc::new(plane.unwrap().unwrap())
}

#[test]
fn claims_are_made_anew_only_where_something_is_claimed_otherwise() {
    let claims = AllClaims::default();
    let scope = Scope::default();
    let over = |issuance, plane: &Arc<Plane>| {
        claims
            .over(vec![issuance], vec![Arc::clone(plane)], &scope)
            .table
    };
    let is_same = |one: &Arc<ClaimTable>, other: &Arc<ClaimTable>| Arc::ptr_eq(one, other);
    let first = over(issuance(1, "1"), &plane(json!({}), "eu-1", false));
    let reported = over(issuance(1, "1"), &plane(json!({}), "eu-1", true));
    assert!(is_same(&first, &reported), "an agent's report");
    let told = over(issuance(1, "2"), &plane(json!({}), "eu-1", true));
    assert!(is_same(&first, &told), "a status");
    let changed = [
        over(issuance(2, "3"), &plane(json!({}), "eu-1", true)),
        over(issuance(2, "3"), &plane(json!({}), "eu-2", true)),
        over(issuance(2, "3"), &plane(json!({"a": "b"}), "eu-2", true)),
    ];
    let mut last = first;
    for (index, now) in changed.into_iter().enumerate() {
        assert!(!is_same(&last, &now), "{index}");
        last = now;
    }
    let gone = claims.over(Vec::new(), Vec::new(), &scope).table;
    assert!(!is_same(&last, &gone));
}
