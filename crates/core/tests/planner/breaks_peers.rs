//! Attacks on issue 14 (red by intention): living gateways and agents that the guards do not see, or see no longer.

use std::collections::BTreeMap;

use external_ca_api::PROCEED_ANNOTATION;
use external_ca_core::model::{Controller, Leaf, Life, MaterialRef, Pod};
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, days, gateway, plane, pod_of, secret_ref,
};
use super::scene::{Scene, condition};

/// The guide's world, its local agent recognisable by its arguments.
fn local(spec: serde_json::Value) -> Scene {
    let mut scene = Scene::new(spec).with_workloads();
    scene.workloads[2].agent = Some(("dataplane".into(), "eu-1".into()));
    scene
}

/// The agent runs in another cluster, and OpenChoreo says that it is connected.
fn remote(spec: serde_json::Value) -> Scene {
    let mut scene = Scene::new(spec).with_workloads();
    scene.workloads.truncate(2);
    scene.planes[0].agent_connected = Some(true);
    scene
}

fn no_plane(scene: &mut Scene) {
    let selector = json!({"matchLabels": {"no": "plane"}});
    scene.issuance.spec.planes.selector = Some(serde_json::from_value(selector).unwrap());
}

fn proceed(scene: &mut Scene) {
    let word = (PROCEED_ANNOTATION.to_owned(), "now".to_owned());
    scene.issuance.metadata.annotations = Some(BTreeMap::from([word]));
}

fn config_map(name: &str) -> MaterialRef {
    let mut found = config_map_ref(DATA);
    found.object.name = name.into();
    found
}

/// Turns in which the agents' rollouts do not finish.
fn turns_without_agents(scene: &mut Scene, count: usize) {
    for _ in 0..count {
        scene.turn();
        scene.finish_rollouts_of(|workload| workload.workload.object.namespace != DATA);
        scene.now += scene.kubelet_cache();
    }
}

fn bare(scene: &Scene, name: &str, mounts: &[MaterialRef]) -> Pod {
    let workload = super::pieces::workload(DATA, name, mounts);
    Pod {
        controller: Controller::Nothing,
        life: Life::Running { ready: true },
        created: Some(scene.now),
        ..pod_of(&workload)
    }
}

/// The pod of the plane that has the Secret counts for the remote agent of the plane that only wants it.
#[test]
fn b01_the_remote_agent_of_a_plane_in_conflict_is_waited_for() {
    let mut scene = local(json!({}));
    scene.settle();
    scene.planes.push(plane("us", "us-1"));
    scene.planes[1].agent_connected = Some(true);
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "the agent of us-1 trusts A only"
    );
}

/// OpenChoreo polls once a minute: a plane that is replaced (`kubectl replace`, a restore) has no report until then.
#[test]
fn b02_a_report_that_is_missing_for_a_moment_is_unknown_and_not_absent() {
    let mut scene = remote(json!({}));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(scene.signer(&gateway()), 0);
    scene.planes[0].agent_connected = None;
    scene.turn();
    assert_eq!(scene.signer(&gateway()), 0);
}

/// Two issuances share the gateway: the other one has the data plane's bundle, Secret and plane.
#[test]
fn b03_an_agent_whose_bundle_another_issuance_writes_is_a_verifier() {
    let mut scene = local(json!({}));
    scene.planes[0].agent_connected = Some(true);
    scene.settle();
    no_plane(&mut scene);
    let theirs = [
        agent(),
        config_map_ref(DATA),
        secret_ref(DATA, "cluster-gateway-ca"),
    ];
    for one in theirs {
        scene.material.get_mut(&one).unwrap().issuance = Some(format!("{HOME}/another"));
    }
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0]);
    assert_eq!(scene.signer(&gateway()), 0, "the agent trusts A only");
}

/// `clusterAgent.tls.serverCAConfigMap` names another ConfigMap: the agent's pod is seen, what it trusts is not.
#[test]
fn b04_an_agent_that_mounts_a_bundle_of_another_name_is_no_proof() {
    for is_selected in [true, false] {
        let mut scene = local(json!({}));
        let other = config_map("other-ca");
        scene.put_bundle(&other, &[ca(0).anchor().clone()], None);
        scene.workloads[2].mounts = [agent(), other].into();
        scene.planes[0].agent_connected = Some(true);
        scene.settle();
        if !is_selected {
            no_plane(&mut scene);
            scene.settle();
        }
        scene.issuer = Issuer::Ready(ca(1));
        scene.settle();
        assert_eq!(scene.signer(&gateway()), 0, "selected: {is_selected}");
    }
}

/// docs/rotation.md: "and under those that the issuance had before".
#[test]
fn b05_the_bundle_of_an_earlier_name_is_looked_for() {
    let mut scene = local(json!({"trust": {"configMapName": "my-ca"}}));
    scene.workloads[2].mounts = [agent(), config_map("my-ca")].into();
    scene.planes[0].agent_connected = Some(true);
    scene.settle();
    scene.issuance.spec.trust.config_map_name = "cluster-gateway-ca".into();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(scene.anchors(&config_map("my-ca")), [0]);
    assert_eq!(scene.signer(&gateway()), 0, "the agent trusts A only");
}

/// A Deployment that was left here, whose pod finds no node, is not who is connected.
#[test]
fn b06_a_pod_that_never_started_is_not_the_connected_agent() {
    let mut scene = local(json!({}));
    scene.settle();
    scene.planes[0].agent_connected = Some(true);
    let mut pod = pod_of(&scene.workloads[2]);
    (pod.node, pod.life) = (None, Life::Waiting(Some("Unschedulable".into())));
    scene.pods.retain(|pod| pod.pod.namespace != DATA);
    scene.pods.push(pod);
    scene.issuer = Issuer::Ready(ca(1));
    turns_without_agents(&mut scene, 20);
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "whoever is connected trusts A only"
    );
}

/// The word for B is none for C.
#[test]
fn b08_a_word_speaks_for_the_ca_that_it_was_given_for() {
    let mut scene = remote(json!({}));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    scene.now += days(1);
    scene.settle();
    proceed(&mut scene);
    scene.turn();
    scene.issuer = Issuer::Ready(ca(2));
    for _ in 0..10 {
        scene.turn();
        scene.finish_rollouts();
        assert_ne!(
            scene.signer(&gateway()),
            2,
            "the agent has never heard of C"
        );
    }
}

/// A certificate that cannot be made keeps `has_moved` false: the word is asked for without a move, is never taken off, and
/// speaks for the next move.
#[test]
fn b09_a_word_that_was_asked_for_without_a_move_speaks_for_no_later_move() {
    let mut scene = remote(json!({"agents": [{"secretName": "agent-{planeID}"}]}));
    scene.settle();
    scene.planes.push(plane("us", "us-1"));
    let theirs = secret_ref(DATA, "agent-us-1");
    let profile = external_ca_core::x509::LeafProfile {
        common_name: "of-somebody".into(),
        ..scene.profile(&theirs)
    };
    scene.put_leaf(&theirs, &ca(2), &profile, false);
    scene.settle();
    scene.now += days(2);
    let told = scene.settle();
    assert_eq!(condition(&told, "CertificatesReady").1, "NotOwned");
    let asked = condition(&told, "RolloutsComplete");
    proceed(&mut scene);
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    let moved = scene.signer(&gateway());
    assert_eq!((asked.1.as_str(), moved), ("Ready", 0), "{}", asked.2);
}

/// A plane refers to the bundle that this issuance writes in another namespace than its own: the gateway reads it there.
#[test]
fn b10_a_bundle_that_a_plane_refers_to_keeps_the_ca_of_its_agent() {
    let mut scene = local(json!({}));
    let bundle = secret_ref(DATA, "cluster-gateway-ca");
    scene.planes[0].reference = Some((bundle.object.clone(), "ca.crt".into()));
    scene.settle();
    assert_eq!(
        (scene.signer(&agent()), scene.anchors(&bundle)),
        (0, vec![0])
    );
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    let signer = scene.signer(&agent());
    let trusts = scene.anchors(&bundle);
    let refuses = format!("the gateway trusts {trusts:?}, the agent presents {signer}");
    assert!(trusts.contains(&signer), "{refuses}");
}

/// The same after `trust.secretName` was changed: planes refer to the earlier one, and are never wired anew.
#[test]
fn b11_the_trust_secret_of_an_earlier_name_keeps_the_ca_of_agents() {
    let mut scene = local(json!({"planes": {"clientCA": "SecretRef"}}));
    scene.settle();
    let bundle = secret_ref(HOME, "cluster-gateway-ca");
    scene.issuance.spec.trust.secret_name = "renamed".into();
    scene.settle();
    assert_eq!(scene.planes[0].reference.as_ref().unwrap().0, bundle.object);
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    let signer = scene.signer(&agent());
    let trusts = scene.anchors(&bundle);
    let refuses = format!("the gateway trusts {trusts:?}, the agent presents {signer}");
    assert!(trusts.contains(&signer), "{refuses}");
}

/// cert-manager's default: the trust Secret holds the CA's certificate and key beside `ca.crt`.
#[test]
fn b12_an_earlier_trust_secret_with_a_key_in_it_is_a_bundle_all_the_same() {
    let mut scene = local(json!({}));
    scene.settle();
    let old = secret_ref(HOME, "cluster-gateway-ca");
    scene.material.get_mut(&old).unwrap().leaf = Leaf::Present {
        chain: vec![ca(0).certificate().clone()],
        key_matches: true,
    };
    scene.issuance.spec.trust.secret_name = "renamed".into();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    let trusts = scene.anchors(&old);
    assert!(
        trusts.contains(&scene.signer(&gateway())),
        "controller-manager trusts {trusts:?}"
    );
}

/// The gateway never compares CN and planeID. Whoever has no arguments that can be read may be any agent.
#[test]
fn b13_an_agent_left_behind_whose_common_name_is_no_plane_id_counts() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.hand_made(&ca(0));
    let profile = external_ca_core::x509::LeafProfile {
        common_name: "shared".into(),
        ..scene.profile(&agent())
    };
    scene.put_leaf(&agent(), &ca(0), &profile, false);
    scene.workloads.truncate(2);
    scene.pods.retain(|pod| pod.pod.namespace != DATA);
    scene.now += days(1);
    let pod = bare(&scene, "agent", &[agent(), config_map_ref(DATA)]);
    scene.pods.push(pod);
    let agents = json!([{"secretName": "agent-new"}]);
    scene.issuance.spec.agents = serde_json::from_value(agents).unwrap();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    let trusts = &scene.planes[0].anchors;
    assert!(
        trusts.contains(ca(0).anchor()),
        "the pod that runs presents A's"
    );
}

/// Lost memory: bundles only grow.
#[test]
fn b14_after_the_status_was_wiped_the_gateway_of_an_earlier_name_counts() {
    let mut scene = local(json!({"gateway": {"secretName": "mine"}}));
    scene.workloads[0].mounts = [secret_ref(HOME, "mine")].into();
    scene.settle();
    scene.issuance.spec.gateway.secret_name = "cluster-gateway-tls".into();
    scene.settle();
    scene.issuance.status = None;
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(
        scene.anchors(&config_map_ref(DATA)),
        [0, 1],
        "the gateway presents A's"
    );
}

/// An issuance was deleted and made anew under another name, with another Secret for the gateway, which still mounts the
/// guide's: it is in the chart's list, and the present CA has signed it.
#[test]
fn b15_a_certificate_that_names_an_issuance_that_is_gone_counts() {
    let mut scene = local(json!({}));
    scene.settle();
    scene.issuance.spec.gateway.secret_name = "another".into();
    scene.issuance.status = None;
    scene.material.get_mut(&gateway()).unwrap().issuance = Some(format!("{HOME}/gone"));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(
        scene.anchors(&config_map_ref(DATA)),
        [0, 1],
        "the gateway presents A's"
    );
}

/// A plane that is deleted and made anew under another name within seconds: its agent runs all the time.
#[test]
fn b16_a_plane_that_is_renamed_in_mid_rotation_keeps_its_agent() {
    let mut scene = local(json!({}));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    turns_without_agents(&mut scene, 3);
    let plane = scene.planes.pop().unwrap();
    turns_without_agents(&mut scene, 1);
    scene.planes.push(plane);
    scene.planes[0].plane.name = "renamed".into();
    turns_without_agents(&mut scene, 1);
    assert_eq!(scene.signer(&gateway()), 0, "the agent trusts A only");
}

/// In a namespace of others, and paused while the CA was replaced: nobody could bring the bundle anywhere, for it was not
/// there.
#[test]
fn b18_the_overlap_begins_when_the_new_ca_can_be_had() {
    let mut scene = remote(json!({}));
    scene.planes[0].plane.namespace = Some("of-somebody-else".into());
    no_plane(&mut scene);
    scene.settle();
    scene.issuance.spec.paused = true;
    scene.issuer = Issuer::Ready(ca(1));
    scene.turn();
    scene.now += days(2);
    scene.turn();
    scene.issuance.spec.paused = false;
    scene.settle();
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "the bundle was written just now"
    );
}

/// Certificates that live no longer than the overlap: each renewal begins it anew, and nobody is ever asked.
#[test]
fn b19_renewals_do_not_begin_the_overlap_anew() {
    let spec =
        json!({"certificateDefaults": {"privateKey": {"algorithm": "ECDSA"}, "duration": "24h"}});
    let mut scene = remote(spec);
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    for _ in 0..60 {
        scene.settle();
        scene.now += SignedDuration::from_hours(4);
    }
    let told = scene.settle();
    let (_, reason, _) = condition(&told, "RolloutsComplete");
    let conditions: Vec<_> = told
        .status
        .conditions
        .iter()
        .map(|one| (&one.type_, &one.message))
        .collect();
    assert_eq!(reason, "AgentsUnproven", "after ten days: {conditions:#?}");
}

/// Where others wire planes, the old CA stays in their clientCA: a move never ends, nor does a word.
#[test]
fn b21_a_word_ends_with_the_move_where_others_wire_planes() {
    let mut scene = remote(json!({"planes": {"clientCA": "Unmanaged"}}));
    let wire =
        |scene: &mut Scene, index: usize| scene.planes[0].anchors.push(ca(index).anchor().clone());
    wire(&mut scene, 0);
    scene.planes[0].value = Some("by others".into());
    scene.settle();
    wire(&mut scene, 1);
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    scene.now += days(1);
    scene.settle();
    proceed(&mut scene);
    scene.settle();
    assert_eq!(scene.signer(&gateway()), 1);
    scene.now += days(30);
    scene.settle();
    wire(&mut scene, 2);
    scene.issuer = Issuer::Ready(ca(2));
    scene.settle();
    assert_eq!(
        scene.signer(&gateway()),
        1,
        "the agent has never heard of C"
    );
}

/// The bundle of an agent that no selector selects holds comments since an upgrade, or another CA: what its pod holds is A.
#[test]
fn b23_what_the_pods_of_those_left_behind_hold_counts_whatever_has_become_of_the_bundle() {
    for anchors in [vec![], vec![ca(2).anchor().clone()]] {
        let mut scene = local(json!({}));
        scene.settle();
        scene.planes[0].agent_connected = Some(true);
        no_plane(&mut scene);
        scene.settle();
        let is_empty = anchors.is_empty();
        scene.put_bundle(&config_map_ref(DATA), &anchors, None);
        scene.settle();
        scene.issuer = Issuer::Ready(ca(1));
        turns_without_agents(&mut scene, 20);
        assert_eq!(scene.signer(&gateway()), 0, "emptied: {is_empty}");
    }
}

/// A word covers who connects after it was given.
#[test]
fn b24_a_word_does_not_speak_for_an_agent_that_connects_later() {
    let mut scene = remote(json!({"agents": [{"secretName": "agent-{planeID}"}]}));
    scene.planes.push(plane("us", "us-1"));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    scene.now += days(1);
    scene.settle();
    proceed(&mut scene);
    scene.planes[1].agent_connected = Some(true);
    scene.turn();
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "nobody has said anything of us-1"
    );
}

/// Set ahead, together with the new CA: nothing new can have been loaded anywhere.
#[test]
fn b25_a_word_that_is_older_than_what_is_to_be_loaded_says_nothing() {
    let mut scene = remote(json!({}));
    scene.settle();
    proceed(&mut scene);
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "the bundle was written seconds ago"
    );
}

/// Its Secret was deleted, the status wiped, and a second plane wants the Secret: the pod that runs holds what stood there.
#[test]
fn b26_a_certificate_that_cannot_be_planned_is_not_void_while_a_pod_holds_it() {
    let mut scene = local(json!({}));
    scene.settle();
    scene.planes.push(plane("us", "us-1"));
    scene.settle();
    scene.material.remove(&agent());
    scene.issuance.status = None;
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert!(
        scene.planes[0].anchors.contains(ca(0).anchor()),
        "the agent presents A's"
    );
}
