//! Planes that refer to the trust Secret.

use external_ca_core::observed::ObjectRef;
use external_ca_core::plan::Step;
use serde_json::json;

use super::pieces::{HOME, ca};
use super::scene::Scene;

#[test]
fn a_plane_that_refers_to_the_trust_secret_is_never_written() {
    let mut scene = Scene::new(json!({}));
    scene.planes[0].reference = Some((ObjectRef::new(HOME, "cluster-gateway-ca"), "ca.crt".into()));
    let before = scene.planes[0].clone();
    let planned = scene.settle();
    assert!(planned.status.planes[0].wired);
    assert_eq!(scene.planes[0], before);
}

#[test]
fn secret_references_replace_values_once_the_secret_trusts_the_same() {
    let mut scene = Scene::new(json!({"planes": {"clientCA": "SecretRef"}}));
    scene.planes[0].value = Some(ca(2).anchor().to_pem());
    scene.planes[0].anchors = vec![ca(2).anchor().clone()];
    let first = scene.turn();
    assert!(
        !first
            .steps
            .iter()
            .any(|step| matches!(step, Step::WirePlane { .. })),
        "the Secret comes first"
    );
    let planned = scene.settle();
    assert!(planned.status.planes[0].wired, "{:#?}", planned.status);
    assert_eq!(scene.planes[0].value, None);
}
