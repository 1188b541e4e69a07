//! Who may write the status of an issuance, and what does not follow from it: docs/security.md says what does.

use external_ca_api::{AnchorState, AnchorStatus, ConfirmedPeer, TrustStatus};
use external_ca_core::x509::Certificate;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::pieces::{DATA, Issuer, ca, config_map_ref, days, gateway};
use super::scene::{Scene, condition};

fn trust(scene: &mut Scene) -> &mut TrustStatus {
    let status = scene.issuance.status.get_or_insert_default();
    status.trust.get_or_insert_default()
}

fn forged(anchor: &Certificate) -> AnchorStatus {
    AnchorStatus {
        subject: anchor.subject().to_owned(),
        fingerprint: anchor.fingerprint().to_string(),
        state: AnchorState::Retiring,
        not_after: Time(anchor.not_after()),
        since: Some(Time(Timestamp::MIN)),
        waiting_for: Vec::new(),
    }
}

#[test]
fn a_forged_status_takes_no_ca_away_that_a_peer_needs() {
    let mut scene = Scene::local();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let old = ca(0);
    for _ in 0..40 {
        let named = forged(old.anchor());
        let trust = trust(&mut scene);
        trust.former = vec![named.fingerprint.clone()];
        trust.anchors = vec![named];
        trust.bundles.clear();
        scene.turn();
        scene.finish_rollouts_of(|workload| workload.workload.object.namespace != DATA);
        scene.now += days(1);
        let bundle = scene.anchors(&config_map_ref(DATA));
        assert!(
            bundle.contains(&0),
            "agents that run trust A only: {bundle:?}"
        );
        assert!(
            scene.planes[0].anchors.contains(old.anchor()),
            "they present A's"
        );
        assert_eq!(scene.signer(&gateway()), 0);
    }
}

/// It is no word for whatever changes later.
#[test]
fn a_word_of_the_future_is_none() {
    let mut scene = Scene::remote(json!({}));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    scene.now += days(1);
    trust(&mut scene).confirmed = vec![ConfirmedPeer {
        peer: "the agent of DataPlane default/eu".into(),
        since: Time(scene.now + days(3_000)),
    }];
    let (_, reason, message) = condition(&scene.plan(), "RolloutsComplete");
    assert_eq!(reason, "AgentsUnproven", "{message}");
    scene.settle();
    assert_eq!(scene.signer(&gateway()), 0);
}
