//! What pods prove to have loaded.

use external_ca_core::model::facts;
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{DATA, Issuer, ca, config_map_ref, gateway};
use super::scene::Scene;

/// `kubectl get -o yaml | kubectl replace --force`: made anew by others, with the operator's annotation on it.
#[test]
fn what_others_made_anew_is_not_the_operators_first_content() {
    let mut scene = Scene::local();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    while scene.anchors(&config_map_ref(DATA)) != [0, 1] {
        scene.turn();
    }
    let again = scene.now + SignedDuration::from_secs(1);
    let found = scene.material.get_mut(&config_map_ref(DATA)).unwrap();
    (found.created, found.changed) = (Some(again), Some(again));
    (found.manager, found.replaces) = (Some("kubectl-replace".into()), false);
    scene.turns_without_agents(20);
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "the agent that runs has loaded A only"
    );
}

/// docs/rotation.md: a kubelet that is behind by less than `rollout.kubeletCache` is provided for. A pod that somebody deletes is
/// made anew a second after the bundle was written, and is given what stood there before.
#[test]
fn a_pod_that_was_made_within_the_kubelets_cache_proves_nothing() {
    let mut scene = Scene::local();
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    while scene.anchors(&config_map_ref(DATA)) != [0, 1] {
        scene.turn();
    }
    let changed = scene.material[&config_map_ref(DATA)].changed.unwrap();
    for pod in scene
        .pods
        .iter_mut()
        .filter(|pod| pod.pod.namespace == DATA)
    {
        pod.created = Some(changed + SignedDuration::from_secs(1));
    }
    scene.turns_without_agents(20);
    assert_eq!(scene.signer(&gateway()), 0, "it may have been given A only");
}

/// A container may be restarted where its pod's are not (`containers[].restartPolicy`, Kubernetes 1.35).
#[test]
fn a_container_that_restarts_by_a_policy_of_its_own_has_not_ended() {
    let object = json!({
        "metadata": {"name": "agent", "namespace": DATA},
        "spec": {"nodeName": "node-1", "restartPolicy": "Never", "containers": [{"restartPolicy": "Always"}],
            "volumes": [{"name": "tls", "secret": {"secretName": "cluster-agent-tls"}}]},
        "status": {"phase": "Running", "containerStatuses": [{"state": {"terminated": {"exitCode": 1}}, "restartCount": 3}]},
    });
    let pod = facts::pod(&serde_json::from_value(object).unwrap()).unwrap();
    assert!(pod.is_alive());
}
