//! What stays trusted, and what leaves.

use external_ca_api::Phase;
use external_ca_core::Reason;
use external_ca_core::model::Read;
use external_ca_core::plan::Step;
use external_ca_core::report::Notice;
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, days, gateway, plane, secret_ref,
};
use super::scene::{Scene, condition};

#[test]
fn an_unreadable_trust_place_holds_the_rotation_and_nothing_is_dropped() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.unknown.insert(config_map_ref(DATA));
    for _ in 0..20 {
        scene.turn();
        scene.finish_rollouts();
    }
    assert_eq!(scene.signer(&gateway()), 0);
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0]);
    assert_eq!(condition(&scene.plan(), "TrustDistributed").1, "Unreadable");
    scene.unknown.clear();
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert_eq!(scene.signer(&gateway()), 1);
}

/// An old manifest that names the old CA does not bring it back for good.
#[test]
fn an_anchor_that_has_left_leaves_again() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let moved = scene.settle();
    let former = moved.status.trust.unwrap_or_default().former;
    assert_eq!(former, [ca(0).anchor().fingerprint().to_string()]);
    let both = [ca(0).anchor().clone(), ca(1).anchor().clone()];
    scene.put_bundle(&config_map_ref(DATA), &both, None);
    scene.settle();
    scene.now += days(1);
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
}

#[test]
fn trust_made_by_others_moves_by_the_same_guards_and_unknown_anchors_survive() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.hand_made(&ca(2));
    // Somebody trusts a further CA for reasons of their own.
    let own = [ca(2).anchor().clone(), ca(1).anchor().clone()];
    scene.put_bundle(&config_map_ref(DATA), &own, None);
    scene.finish_rollouts();
    let last = scene.settle();
    assert_eq!(last.status.phase, Some(Phase::Ready), "{:#?}", last.status);
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (0, 0));
    assert_eq!(
        scene.anchors(&config_map_ref(DATA)),
        [0, 1],
        "the anchor of others survives, the retired one is gone"
    );
    assert_eq!(scene.anchors(&config_map_ref(HOME)), [0]);
}

#[test]
fn an_anchor_whose_config_map_cannot_be_read_stays() {
    let spec = json!({"trust": {"additionalAnchors": [{"configMapRef": {"name": "next", "key": "ca.crt"}}]}});
    let mut scene = Scene::new(spec).with_workloads();
    let key = ("next".to_owned(), "ca.crt".to_owned());
    let found = Read::Found(vec![ca(1).anchor().clone()]);
    scene.anchor_config_maps.insert(key.clone(), found);
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);
    for unreadable in [Read::Unknown("the API server is away".into()), Read::Absent] {
        scene.anchor_config_maps.insert(key.clone(), unreadable);
        let planned = scene.turn();
        assert_eq!(planned.steps, []);
        assert_eq!(
            condition(&planned, "TrustDistributed").1,
            "AnchorUnreadable"
        );
    }
    scene.issuance.spec.trust.additional_anchors.clear();
    scene.now = scene.settle().next_check;
    scene.settle();
    assert_eq!(
        scene.anchors(&config_map_ref(DATA)),
        [0],
        "nobody wants it any more"
    );
}

#[test]
fn a_dropped_anchor_is_told_once() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let mut told = 0;
    for _ in 0..40 {
        let planned = scene.turn();
        scene.finish_rollouts();
        let dropped = |event: &&Notice| event.problem.reason == Reason::AnchorDropped;
        told += planned.events.iter().filter(dropped).count();
    }
    assert_eq!((told, scene.anchors(&config_map_ref(DATA))), (1, vec![1]));
}

/// What OpenChoreo's control-plane chart renders, and puts back at each upgrade.
fn rendered_by_helm(scene: &mut Scene) {
    scene.put_bundle(&config_map_ref(HOME), &[], None);
    let found = scene.material.get_mut(&config_map_ref(HOME)).unwrap();
    found.manager = Some("helm".into());
}

#[test]
fn the_control_plane_s_config_map_is_made_only_where_something_waits_for_it() {
    let mut scene = Scene::new(json!({})).with_workloads();
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert!(!scene.material.contains_key(&config_map_ref(HOME)));
    rendered_by_helm(&mut scene);
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(HOME)), [0], "it is filled");
    // An uninstalled OpenChoreo takes it along, and a rotation waits for nothing there.
    scene.material.remove(&config_map_ref(HOME));
    scene.issuer = Issuer::Ready(ca(1));
    assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
    assert!(!scene.material.contains_key(&config_map_ref(HOME)));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
    // A pod that mounts it could not start.
    let waiting = super::pieces::workload(HOME, "dashboard", &[config_map_ref(HOME)]);
    scene.workloads.push(waiting);
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(HOME)), [1]);
}

#[test]
fn three_upgrades_within_an_hour_are_no_contest() {
    let mut scene = Scene::new(json!({})).with_workloads();
    rendered_by_helm(&mut scene);
    scene.settle();
    for _ in 0..6 {
        scene.now += days(1) / 200;
        rendered_by_helm(&mut scene);
        let found = scene.material.get_mut(&config_map_ref(HOME)).unwrap();
        found.issuance = Some(format!("{HOME}/cluster-gateway"));
        let planned = scene.settle();
        assert_eq!(
            planned.status.phase,
            Some(Phase::Ready),
            "{:#?}",
            planned.status
        );
        assert_eq!(planned.status.contested, []);
        assert_eq!(scene.anchors(&config_map_ref(HOME)), [0]);
    }
}

/// What an anchor waits for stays in the report while the CA cannot be used.
#[test]
fn waiting_for_outlives_a_ca_that_is_away() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.turn();
    let rotating = scene.turn();
    let waits = |status: &external_ca_api::ExternalCAIssuanceStatus| {
        status
            .trust
            .iter()
            .flat_map(|t| t.anchors.clone())
            .map(|a| a.waiting_for.len())
            .collect::<Vec<_>>()
    };
    assert!(
        waits(&rotating.status).iter().any(|n| *n > 0),
        "{:?}",
        waits(&rotating.status)
    );
    scene.issuer = Issuer::Absent;
    let away = scene.turn();
    assert_eq!(waits(&away.status), waits(&rotating.status));
}

/// A bundle that is made while every other one cannot be read would lack the CA of the certificate that the gateway presents
/// (simulation, seeds 52338 and 70629).
#[test]
fn no_bundle_is_made_without_the_anchor_that_stands_where_nothing_can_be_read() {
    let mut scene = Scene::local_with(json!({"planes": {"clientCA": "SecretRef"}}));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.issuance.status = Some(scene.plan().status);
    let new = config_map_ref(DATA);
    scene.material.remove(&new);
    let bundles = [HOME, DATA].map(|namespace| secret_ref(namespace, "cluster-gateway-ca"));
    scene.unknown.extend(bundles.clone());
    let writes = |steps: &[Step]| {
        let written = |step: &Step| matches!(step, Step::WriteBundle(step) if step.target == new);
        steps.iter().any(written)
    };
    assert!(!writes(&scene.plan().steps));
    scene.unknown.clear();
    assert!(writes(&scene.plan().steps));
    scene.turn();
    assert_eq!(scene.anchors(&new), [0, 1]);
}

/// Another operator that leads, by another version of the issuance, may make planes refer to the trust Secret at any moment
/// (simulation, seed 74389).
#[test]
fn the_trust_secret_keeps_what_agents_present_also_where_planes_hold_it_by_value() {
    let mut scene = Scene::local();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.turns_without_agents(3);
    assert_eq!((scene.signer(&agent()), scene.signer(&gateway())), (1, 0));
    scene.issuer = Issuer::Ready(ca(0));
    scene.turns_without_agents(6);
    assert_eq!(scene.signer(&agent()), 0, "a pod may still hold the other");
    let bundle = secret_ref(HOME, "cluster-gateway-ca");
    assert_eq!(scene.planes[0].reference, None);
    assert!(scene.anchors(&bundle).contains(&1));
    scene.settle();
    assert_eq!(scene.anchors(&bundle), [0]);
}

/// A plane that is made anew in a rotation holds nothing: what its agents present that were not seen would be forgotten (chaos,
/// seed 12).
#[test]
fn to_leave_an_anchor_out_of_a_plane_made_anew_is_to_take_it_away() {
    let mut scene = Scene::local();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.turns_without_agents(4);
    assert_eq!((scene.signer(&agent()), scene.signer(&gateway())), (1, 0));
    let plane = plane("eu", "eu-1");
    scene.planes[0].value.clone_from(&plane.value);
    scene.planes[0].anchors.clone_from(&plane.anchors);
    let wired = |scene: &Scene| {
        let mut steps = scene.plan().steps.into_iter();
        steps.find_map(|step| match step {
            Step::WirePlane(step) => Some(step.drops),
            _ => None,
        })
    };
    assert_eq!(wired(&scene), Some(false), "its agent's pod is seen");
    scene.workloads.truncate(2);
    scene.pods.retain(|pod| pod.pod.namespace != DATA);
    assert_eq!(wired(&scene), Some(true));
    // One that is trusted beforehand signs nothing: beside it alone the place is as empty.
    let pem = ca(2).anchor().to_pem();
    let beforehand = json!([{"pem": pem}]);
    scene.issuance.spec.trust.additional_anchors = serde_json::from_value(beforehand).unwrap();
    scene.planes[0].value = Some(pem);
    scene.planes[0].anchors = vec![ca(2).anchor().clone()];
    assert_eq!(wired(&scene), Some(true));
}
