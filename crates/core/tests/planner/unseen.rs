//! Living gateways and agents that are hard to see: wanted no longer, named otherwise, elsewhere, or talked of too late.

use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::model::{
    AuthorityState, Claims, Controller, Leaf, Life, ListRef, MaterialRef, Pod, Read,
};
use external_ca_core::snapshot::{Needs, Scope, Seen};
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, days, gateway, plane, pod_of, secret_ref,
};
use super::scene::{Scene, condition};

fn config_map(name: &str) -> MaterialRef {
    let mut found = config_map_ref(DATA);
    found.object.name = name.into();
    found
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
fn the_remote_agent_of_a_plane_in_conflict_is_waited_for() {
    let mut scene = Scene::local();
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
fn a_report_that_is_missing_for_a_moment_is_unknown_and_not_absent() {
    let mut scene = Scene::remote(json!({}));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(scene.signer(&gateway()), 0);
    scene.planes[0].agent_connected = None;
    scene.planes[0].created = Some(scene.now);
    scene.turn();
    assert_eq!(scene.signer(&gateway()), 0);
}

/// Two issuances share the gateway: the other one has the data plane's bundle, Secret and plane.
#[test]
fn an_agent_whose_bundle_another_issuance_writes_is_a_verifier() {
    let mut scene = Scene::local();
    scene.planes[0].agent_connected = Some(true);
    scene.settle();
    scene.select_no_plane();
    let theirs = [
        agent(),
        config_map_ref(DATA),
        secret_ref(DATA, "cluster-gateway-ca"),
    ];
    for one in theirs {
        scene.material.get_mut(&one).unwrap().issuance = Some(format!("{HOME}/another"));
    }
    let known = Arc::make_mut(&mut scene.claims.issuances);
    known.insert(format!("{HOME}/another"));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(scene.anchors(&config_map_ref(DATA)), [0]);
    assert_eq!(scene.signer(&gateway()), 0, "the agent trusts A only");
}

/// `clusterAgent.tls.serverCAConfigMap` names another ConfigMap: the agent's pod is seen, what it trusts is not.
#[test]
fn an_agent_that_mounts_a_bundle_of_another_name_is_no_proof() {
    for is_selected in [true, false] {
        let mut scene = Scene::local();
        let other = config_map("other-ca");
        scene.put_bundle(&other, &[ca(0).anchor().clone()], None);
        scene.workloads[2].mounts = [agent(), other].into();
        scene.planes[0].agent_connected = Some(true);
        scene.settle();
        if !is_selected {
            scene.select_no_plane();
            scene.settle();
        }
        scene.issuer = Issuer::Ready(ca(1));
        scene.settle();
        assert_eq!(scene.signer(&gateway()), 0, "selected: {is_selected}");
    }
}

/// docs/rotation.md: "and under those that the issuance had before".
#[test]
fn the_bundle_of_an_earlier_name_is_looked_for() {
    let mut scene = Scene::local_with(json!({"trust": {"configMapName": "my-ca"}}));
    scene.workloads[2].mounts = [agent(), config_map("my-ca")].into();
    scene.planes[0].agent_connected = Some(true);
    scene.settle();
    scene.issuance.spec.trust.config_map_name = "cluster-gateway-ca".into();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert!(scene.restarts["cluster-agent-dataplane"] > 0);
    assert_eq!(scene.anchors(&config_map("my-ca")), [1]);
    assert_eq!(scene.signer(&gateway()), 1);
}

/// A Deployment that was left here, whose pod finds no node, is not who is connected.
#[test]
fn a_pod_that_never_started_is_not_the_connected_agent() {
    let mut scene = Scene::local();
    scene.settle();
    scene.planes[0].agent_connected = Some(true);
    let mut pod = pod_of(&scene.workloads[2]);
    (pod.node, pod.life) = (None, Life::Waiting(Some("Unschedulable".into())));
    scene.pods.retain(|pod| pod.pod.namespace != DATA);
    scene.pods.push(pod);
    scene.issuer = Issuer::Ready(ca(1));
    scene.turns_without_agents(20);
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "whoever is connected trusts A only"
    );
}

/// A plane refers to the bundle that this issuance writes in another namespace than its own: the gateway reads it there.
#[test]
fn a_bundle_that_a_plane_refers_to_keeps_the_ca_of_its_agent() {
    let mut scene = Scene::local();
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
fn the_trust_secret_of_an_earlier_name_keeps_the_ca_of_agents() {
    let mut scene = Scene::local_with(json!({"planes": {"clientCA": "SecretRef"}}));
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
fn an_earlier_trust_secret_with_a_key_in_it_is_a_bundle_all_the_same() {
    let mut scene = Scene::local();
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
fn an_agent_left_behind_whose_common_name_is_no_plane_id_counts() {
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
fn after_the_status_was_wiped_the_gateway_of_an_earlier_name_counts() {
    let mut scene = Scene::local_with(json!({"gateway": {"secretName": "mine"}}));
    scene.workloads[0].mounts = [secret_ref(HOME, "mine")].into();
    scene.settle();
    // Its template names what it has loaded.
    scene.now += days(300);
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
fn a_certificate_that_names_an_issuance_that_is_gone_counts() {
    let mut scene = Scene::local();
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

/// The bundle of an agent that no selector selects holds comments since an upgrade, or another CA: what its pod holds is A.
#[test]
fn what_the_pods_of_those_left_behind_hold_counts_whatever_has_become_of_the_bundle() {
    for anchors in [vec![], vec![ca(2).anchor().clone()]] {
        let mut scene = Scene::local();
        scene.settle();
        scene.planes[0].agent_connected = Some(true);
        scene.select_no_plane();
        scene.settle();
        let is_empty = anchors.is_empty();
        scene.put_bundle(&config_map_ref(DATA), &anchors, None);
        scene.settle();
        scene.issuer = Issuer::Ready(ca(1));
        scene.turns_without_agents(20);
        assert_eq!(scene.signer(&gateway()), 0, "emptied: {is_empty}");
    }
}

/// Its Secret was deleted, the status wiped, and a second plane wants the Secret: the pod that runs holds what stood there.
#[test]
fn a_certificate_that_cannot_be_planned_is_not_void_while_a_pod_holds_it() {
    let mut scene = Scene::local();
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

/// "no pod of it is seen in a served namespace": it is, and it was made after the bundle.
#[test]
fn an_agent_that_no_workload_has_made_is_seen_all_the_same() {
    let mut scene = Scene::local();
    scene.settle();
    scene.select_no_plane();
    scene.planes[0].agent_connected = Some(true);
    let mounts = scene.workloads[2].clone();
    scene.workloads.truncate(2);
    scene.pods.retain(|pod| pod.pod.namespace != DATA);
    scene.pods.push(Pod {
        controller: Controller::Other("ReplicaSet rollout-abc".into()),
        life: Life::Running { ready: true },
        ..pod_of(&mounts)
    });
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    for pod in scene
        .pods
        .iter_mut()
        .filter(|pod| pod.pod.namespace == DATA)
    {
        pod.created = Some(scene.now + SignedDuration::from_secs(10));
    }
    scene.now += days(2);
    let planned = scene.settle();
    let (_, reason, message) = condition(&planned, "RolloutsComplete");
    assert_ne!(reason, "AgentsUnproven", "{message}");
}

/// A list that cannot be read may hold a peer, also in a namespace in which nothing wanted lies, where bundles stood.
#[test]
fn an_unreadable_list_counts_where_a_bundle_was_written() {
    let issuance: ExternalCAIssuance = serde_json::from_value(json!({
        "apiVersion": "pki.openchoreo.dev/v1alpha1", "kind": "ExternalCAIssuance",
        "metadata": {"name": "a", "namespace": HOME},
        "spec": {"issuer": {"caSecret": {"name": "ca"}}},
        "status": {"trust": {"bundles": ["ConfigMap of-agents-left-behind/cluster-gateway-ca"]}},
    }))
    .unwrap();
    let served = [HOME, "of-agents-left-behind"].map(String::from);
    let scope = Scope {
        served: Arc::new(served.into()),
        ..Scope::default()
    };
    let mut seen = Seen::default();
    for list in ListRef::of_consumers("of-agents-left-behind") {
        seen.unreadable.insert(list, "forbidden".into());
    }
    let mounted = seen.mounted(&issuance, &scope);
    let needs = Needs::of(&issuance, Vec::new(), &mounted, &scope);
    for material in needs.objects() {
        seen.material.insert(material, Arc::new(Read::Absent));
    }
    let issuance = Arc::new(issuance);
    let observed = seen.observed(
        &issuance,
        Claims::default(),
        &needs,
        &scope,
        AuthorityState::Absent,
    );
    assert!(
        !observed.unreadable.is_empty(),
        "who runs there is not known"
    );
}
