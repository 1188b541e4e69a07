//! What belongs to others, and what others put back.

use external_ca_api::Phase;
use external_ca_core::plan::Step;
use external_ca_core::x509::LeafProfile;
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{HOME, agent, ca, gateway};
use super::scene::{Scene, condition};

#[test]
fn another_identity_is_not_overwritten_unasked() {
    let mut scene = Scene::new(json!({}));
    let other = LeafProfile {
        common_name: "shop".into(),
        sans: vec![external_ca_core::x509::San::Dns("shop.example".into())],
        ..scene.profile(&gateway())
    };
    scene.put_leaf(&gateway(), &ca(2), &other, false);
    let before = scene.material[&gateway()].clone();
    let planned = scene.settle();
    assert_eq!(condition(&planned, "CertificatesReady").1, "NotOwned");
    assert_eq!(scene.material[&gateway()], before);
    scene.issuance.metadata.annotations = Some(
        [(
            "pki.openchoreo.dev/adopt".to_owned(),
            format!("{HOME}/cluster-gateway-tls"),
        )]
        .into(),
    );
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.signer(&gateway()), 0);
}

#[test]
fn a_field_that_is_put_back_is_repaired_twice_and_then_left_alone() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    for round in 0..4 {
        scene.planes[0].value = Some(ca(2).anchor().to_pem());
        scene.planes[0].anchors = vec![ca(2).anchor().clone()];
        scene.planes[0].manager = Some("argocd-controller".into());
        scene.planes[0].changed = Some(scene.now);
        if round == 1 {
            // A repair that did not arrive is not a second time.
            scene.issuance.status = Some(scene.plan().status);
            scene.now += SignedDuration::from_secs(1);
        }
        let planned = scene.turn();
        let repaired = planned
            .steps
            .iter()
            .any(|step| matches!(step, Step::WirePlane { .. }));
        assert_eq!(
            repaired,
            round < 2,
            "round {round}: {:#?}",
            planned.status.contested
        );
        if repaired {
            scene.turn();
        }
    }
    let (_, reason, message) = condition(&scene.plan(), "PlanesWired");
    assert_eq!(reason, "FieldConflict");
    assert!(
        message.contains("argocd-controller") && message.contains("spec.clusterAgent.clientCA"),
        "{message}"
    );
}

#[test]
fn a_leaf_that_somebody_else_keeps_replacing_is_left_alone() {
    let mut scene = Scene::new(json!({}));
    scene.settle();
    for round in 0..3 {
        scene.now += SignedDuration::from_mins(1);
        let profile = scene.profile(&agent());
        scene.put_leaf(&agent(), &ca(2), &profile, true);
        scene.material.get_mut(&agent()).unwrap().manager = Some("cert-manager".into());
        let planned = scene.turn();
        assert_eq!(
            planned.steps.is_empty(),
            round == 2,
            "{round}: {:#?}",
            planned.steps
        );
        if round == 2 {
            let (_, reason, message) = condition(&planned, "CertificatesReady");
            assert_eq!(reason, "FieldConflict");
            assert!(
                message.contains("cert-manager") && message.contains("cluster-agent-tls"),
                "{message}"
            );
        }
    }
}

#[test]
fn what_an_older_issuance_owns_is_not_touched() {
    let mut scene = Scene::new(json!({}));
    let owner = || "other/older".to_owned();
    let wanted = scene.observed();
    scene.claims.material = wanted
        .material
        .keys()
        .map(|key| (key.clone(), owner()))
        .collect();
    scene.claims.planes = scene
        .planes
        .iter()
        .map(|plane| (plane.plane.clone(), owner()))
        .collect();
    let planned = scene.plan();
    assert_eq!(planned.steps, []);
    for kind in ["TrustDistributed", "CertificatesReady", "PlanesWired"] {
        let (_, reason, message) = condition(&planned, kind);
        assert_eq!(reason, "Conflict", "{kind}");
        assert!(message.contains("other/older"), "{message}");
    }
}
