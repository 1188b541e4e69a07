//! A compromised CA leaves at once.

use external_ca_api::Phase;
use external_ca_core::Reason;
use external_ca_core::plan::{IssueLeaf, Step};
use serde_json::json;

use super::pieces::{DATA, HOME, Issuer, agent, ca, config_map_ref, gateway, secret_ref};
use super::scene::{Scene, condition};

#[test]
fn a_compromised_ca_leaves_at_once_and_it_is_said_before_who_is_cut_off() {
    let mut scene = Scene::new(json!({"rotation": {"strategy": "Immediate"}})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let said = scene.turn();
    assert!(said.steps.is_empty(), "{:#?}", said.steps);
    let (_, reason, message) = condition(&said, "TrustDistributed");
    assert_eq!(reason, "CuttingOff", "{message}");
    for peer in ["cluster-gateway-tls", "cluster-agent-tls"] {
        assert!(message.contains(peer), "{message}");
    }
    assert!(
        said.events
            .iter()
            .any(|notice| notice.is_warning && notice.problem.reason == Reason::CuttingOff)
    );
    scene.turn();
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (1, 1));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
    assert_eq!(scene.planes[0].anchors, [ca(1).anchor().clone()]);
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.restarts["cluster-agent-dataplane"], 1);
}

#[test]
fn immediate_cuts_nobody_off_of_whom_nothing_was_said() {
    let mut scene = Scene::new(json!({"rotation": {"strategy": "Immediate"}})).with_workloads();
    scene.settle();
    // The old CA stays trusted on purpose: nothing is on its way out, so guard 1 holds.
    let keep = json!({"additionalAnchors": [{"pem": ca(0).anchor().to_pem()}]});
    scene.issuance.spec.trust.additional_anchors =
        serde_json::from_value(keep["additionalAnchors"].clone()).unwrap();
    scene.issuer = Issuer::Ready(ca(1));
    let planned = scene.plan();
    let issues = |step: &Step| matches!(step, Step::IssueLeaf(IssueLeaf { target, .. }) if target.name == "cluster-gateway-tls");
    assert!(!planned.steps.iter().any(issues), "{:?}", planned.steps);
    // Here it leaves: what is said is stored before anything is done.
    scene.issuance.spec.trust.additional_anchors.clear();
    assert_eq!(scene.turn().steps, []);
    let planned = scene.plan();
    assert!(planned.persist_status_first && !planned.steps.is_empty());
}

#[test]
fn immediate_does_not_wait_for_a_reference_to_a_bundle_that_has_lost_the_old_ca() {
    let mut scene = Scene::new(json!({"rotation": {"strategy": "Immediate"}}));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.issuance.spec.planes.client_ca = external_ca_api::ClientCa::SecretRef;
    let planned = scene.settle();
    assert_eq!(planned.status.phase, Some(Phase::Ready));
    assert!(scene.planes[0].reference.is_some());
    assert_eq!(scene.anchors(&secret_ref(HOME, "cluster-gateway-ca")), [1]);
}
