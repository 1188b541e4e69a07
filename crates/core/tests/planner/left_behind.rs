//! Peers that nobody wants any longer, and that talk all the same.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::{PROCEED_ANNOTATION, Phase};
use external_ca_core::model::{ListRef, RolloutState};
use external_ca_core::report::{Decision, decide};
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, days, gateway, pod_of, running, secret_ref,
};
use super::scene::{Scene, condition, says, told};

fn warned(planned: &Decision, reason: &str) -> bool {
    let mut noted = planned.problems.iter();
    noted.any(|noted| noted.problem.reason.as_str() == reason)
}

#[test]
fn a_gateway_that_mounts_the_secret_of_an_earlier_name_keeps_its_ca_trusted() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    let another = secret_ref(HOME, "another");
    scene.issuance.spec.gateway.secret_name = "another".into();
    let told = scene.settle();
    assert!(warned(&told, "LeftBehind"), "{:?}", told.problems);
    assert_eq!(told.status.phase, Some(Phase::Ready));
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!((scene.signer(&gateway()), scene.signer(&another)), (0, 1));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);

    // Once it mounts the new one, nothing holds the old CA any longer.
    scene.workloads[0].mounts = [another].into();
    scene.workloads[0].rollout = RolloutState::Running("applied".into());
    scene.pods.retain(|pod| !pod.mounts.contains(&gateway()));
    let end = scene.settle();
    assert!(!warned(&end, "LeftBehind"));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
}

/// The agents of planes that a selector leaves out verify the gateway by the bundle that they were given.
#[test]
fn the_agent_of_a_plane_that_nobody_selects_trusts_the_new_ca_before_it_signs() {
    let mut scene = Scene::local();
    scene.settle();
    scene.select_no_plane();
    assert!(warned(&scene.settle(), "LeftBehind"));
    scene.issuer = Issuer::Ready(ca(1));
    let client_ca = scene.planes[0].anchors.clone();
    for _ in 0..20 {
        scene.turn();
        if scene.signer(&gateway()) == 1 {
            assert!(scene.restarts["cluster-agent-dataplane"] > 0);
        }
        scene.finish_rollouts();
        scene.now += scene.kubelet_cache();
    }
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (1, 0));
    // Its own certificate is nobody's to renew, and its plane nobody's to write: that is what verifies it.
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
    assert_eq!(scene.planes[0].anchors, client_ca);
}

/// The same where nothing here shows its agent. In a namespace that is neither served nor a plane namespace it is told what
/// happens, and nobody waits for it longer.
#[test]
fn the_unseen_agent_of_such_a_plane_is_waited_for_by_the_clock_and_then_for_a_word() {
    for (namespace, waits) in [("default", true), ("of-somebody-else", false)] {
        let mut scene = Scene::new(json!({})).with_workloads();
        scene.planes[0].plane.namespace = Some(namespace.into());
        scene.planes[0].agent_connected = Some(true);
        scene.workloads.truncate(2);
        scene.select_no_plane();
        scene.settle();
        scene.issuer = Issuer::Ready(ca(1));
        let held = scene.settle();
        assert_eq!(scene.signer(&gateway()), 0, "{namespace}");
        assert_eq!(warned(&held, "AgentsUnproven"), !waits, "{namespace}");
        scene.now += days(1);
        let later = scene.settle();
        assert_eq!(warned(&later, "AgentsUnproven"), waits, "{namespace}");
        assert_eq!(scene.signer(&gateway()), usize::from(!waits), "{namespace}");
        if !waits {
            continue;
        }
        let (_, _, message) = condition(&later, "RolloutsComplete");
        assert!(
            message.contains("the agent of DataPlane default/eu"),
            "{message}"
        );
        let word = (PROCEED_ANNOTATION.to_owned(), "now".to_owned());
        scene.issuance.metadata.annotations = Some(BTreeMap::from([word]));
        assert_eq!(scene.settle().status.phase, Some(Phase::Ready));
        assert_eq!(scene.signer(&gateway()), 1);
    }
}

/// Its bundle was deleted, and the agent that runs still holds it.
#[test]
fn a_bundle_that_such_an_agent_still_holds_is_made_anew() {
    let mut scene = Scene::local();
    scene.settle();
    scene.select_no_plane();
    scene.settle();
    scene.material.remove(&config_map_ref(DATA));
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
    assert!(scene.restarts["cluster-agent-dataplane"] > 0);
    assert_eq!(scene.signer(&gateway()), 1);
}

/// The gateway refuses an agent without a plane: nobody waits for it.
#[test]
fn the_agent_of_a_plane_that_was_deleted_holds_nobody_up() {
    let mut scene = Scene::local();
    scene.settle();
    scene.planes.clear();
    scene.issuer = Issuer::Ready(ca(1));
    let end = scene.settle();
    assert!(warned(&end, "PlaneNotFound"));
    assert!(!warned(&end, "LeftBehind"));
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (1, 0));
    assert_eq!(scene.anchors(&secret_ref(HOME, "cluster-gateway-ca")), [1]);
}

/// Somebody has written over the Secret of the earlier name, or deleted it: the gateway that runs holds what stood there.
#[test]
fn what_the_gateway_holds_counts_whatever_has_become_of_the_secret() {
    for is_deleted in [false, true] {
        let mut scene = Scene::new(json!({})).with_workloads();
        scene.settle();
        let profile = scene.profile(&gateway());
        scene.issuance.spec.gateway.secret_name = "another".into();
        scene.settle();
        match is_deleted {
            true => drop(scene.material.remove(&gateway())),
            false => scene.put_leaf(&gateway(), &ca(2), &profile, false),
        }
        scene.issuer = Issuer::Ready(ca(1));
        scene.settle();
        assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1], "{is_deleted}");
    }
}

/// As after a start: who is left behind in a namespace is not known before its pods are read. Nothing else waits for that.
#[test]
fn a_list_that_is_still_to_be_read_may_hold_peers() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.settle();
    let planned = |scene: &Scene| {
        let mut observed = scene.observed();
        observed.awaited = vec![ListRef::pods("of-somebody-else")];
        decide(&observed, scene.now)
    };
    assert_eq!(planned(&scene).status.phase, Some(Phase::Ready));
    scene.issuer = Issuer::Ready(ca(1));
    for _ in 0..20 {
        let held = planned(&scene);
        scene.carry_out(&held.steps);
        scene.issuance.status = Some(held.status);
        scene.finish_rollouts();
        scene.now += scene.kubelet_cache();
    }
    assert_eq!((scene.signer(&gateway()), scene.signer(&agent())), (0, 1));
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0, 1]);
}

/// The same where somebody has written over its Secret since: what it may hold of ours, the gateway refuses, too.
#[test]
fn nor_does_it_where_its_secret_holds_something_else() {
    let mut scene = Scene::local();
    scene.settle();
    let profile = scene.profile(&agent());
    scene.put_leaf(&agent(), &ca(2), &profile, false);
    scene.planes.clear();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(scene.anchors(&secret_ref(HOME, "cluster-gateway-ca")), [1]);
}

/// The gateway that runs mounts a certificate that has ended: every handshake fails.
#[test]
fn it_is_not_ready_where_what_the_gateway_mounts_has_ended() {
    let mut scene = Scene::local();
    scene.settle();
    scene.issuance.spec.gateway.secret_name = "another".into();
    scene.settle();
    scene.now += days(400);
    let planned = scene.settle();
    assert_ne!(
        planned.status.phase,
        Some(Phase::Ready),
        "{:#?}",
        told(&planned)
    );
}

/// `kubectl rollout undo` after the rotation: the gateway mounts the Secret of the earlier name again, whose CA has left.
#[test]
fn a_gateway_that_nobody_trusts_is_not_ready() {
    let mut scene = Scene::local();
    scene.settle();
    let another = secret_ref(HOME, "another");
    scene.issuance.spec.gateway.secret_name = "another".into();
    scene.settle();
    let mount = |scene: &mut Scene, what| {
        scene.workloads[0].mounts = BTreeSet::from([what]);
        scene
            .pods
            .retain(|pod| !pod.pod.name.starts_with("cluster-gateway"));
        let mut pod = running(pod_of(&scene.workloads[0]));
        pod.created = Some(scene.now + SignedDuration::from_secs(1));
        scene.pods.push(pod);
        scene.now += SignedDuration::from_secs(5);
    };
    mount(&mut scene, another);
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [1]);
    mount(&mut scene, gateway());
    let planned = scene.settle();
    let untrue = says(&planned, "the CA that signed it stays trusted");
    assert!(
        planned.status.phase != Some(Phase::Ready) && !untrue,
        "{:#?}",
        told(&planned)
    );
}
