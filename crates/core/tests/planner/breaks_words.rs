//! Attacks on issue 14 (red by intention): Ready where it is not, hangs, and words that are not true.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::model::{AuthorityState, Controller, Life, ListRef, Pod, Read};
use external_ca_core::snapshot::{Needs, Scope, Seen};
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, days, gateway, pod_of, secret_ref,
};
use super::scene::{Scene, condition};

fn local() -> Scene {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.workloads[2].agent = Some(("dataplane".into(), "eu-1".into()));
    scene
}

fn running(pod: Pod) -> Pod {
    Pod {
        life: Life::Running { ready: true },
        ..pod
    }
}

/// A bundle that cannot be read for a moment: nobody knows when the overlap began.
#[test]
fn w11_the_overlap_is_not_over_because_a_bundle_cannot_be_read() {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.workloads.truncate(2);
    scene.planes[0].agent_connected = Some(true);
    scene.settle();
    scene.unknown = BTreeSet::from([
        config_map_ref(DATA),
        secret_ref(DATA, "cluster-gateway-ca"),
        agent(),
    ]);
    scene.issuer = Issuer::Ready(ca(1));
    let planned = scene.turn();
    let (_, reason, message) = condition(&planned, "RolloutsComplete");
    assert_ne!(
        reason, "AgentsUnproven",
        "seconds after the CA was replaced: {message}"
    );
}

/// A list that cannot be read may hold a peer, also in a namespace in which nothing wanted lies and nothing else was seen.
#[test]
fn w13_an_unreadable_list_of_a_served_namespace_counts() {
    let issuance: ExternalCAIssuance = serde_json::from_value(json!({
        "apiVersion": "pki.openchoreo.dev/v1alpha1", "kind": "ExternalCAIssuance",
        "metadata": {"name": "a", "namespace": HOME},
        "spec": {"issuer": {"caSecret": {"name": "ca"}}},
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
    let observed = seen.observed(&issuance, &[], &needs, &scope, AuthorityState::Absent);
    assert!(
        !observed.unreadable.is_empty(),
        "who runs there is not known"
    );
}

/// "no pod of it is seen in a served namespace": it is, and it was made after the bundle.
#[test]
fn w15_an_agent_that_no_workload_has_made_is_seen_all_the_same() {
    let mut scene = local();
    scene.settle();
    let selector = json!({"matchLabels": {"no": "plane"}});
    scene.issuance.spec.planes.selector = Some(serde_json::from_value(selector).unwrap());
    scene.planes[0].agent_connected = Some(true);
    let mounts = scene.workloads[2].clone();
    scene.workloads.truncate(2);
    scene.pods.retain(|pod| pod.pod.namespace != DATA);
    scene.pods.push(Pod {
        controller: Controller::Other("ReplicaSet rollout-abc".into()),
        ..running(pod_of(&mounts))
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

/// docs/troubleshooting.md, LeftBehind: "The finding goes with the last pod."
#[test]
fn w17_left_behind_goes_with_the_last_pod() {
    let mut scene = local();
    scene.settle();
    scene.issuance.spec.gateway.secret_name = "another".into();
    scene.settle();
    scene.pods.retain(|pod| !pod.mounts.contains(&gateway()));
    let mut observed = scene.observed();
    // Scaled to nothing.
    observed.pods.retain(|pod| !pod.mounts.contains(&gateway()));
    let planned = external_ca_core::report::decide(&observed, scene.now);
    let mut told = planned.problems.iter();
    assert!(!told.any(|one| one.problem.reason.as_str() == "LeftBehind"));
}
