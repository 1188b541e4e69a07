//! Pods that read what is issued, and do not come up.

use external_ca_api::Phase;
use external_ca_core::model::{Controller, Life, Pod, RolloutState, facts};
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    HOME, Issuer, ca, config_map_ref, days, gateway, pod_of, secret_ref, workload,
};
use super::scene::{Scene, condition, says, told};

fn running(scene: &Scene) -> (String, String, String) {
    condition(&scene.plan(), "ConsumersRunning")
}

#[test]
fn a_pod_that_waits_for_what_others_make_is_named_and_ready_does_not_wait() {
    let mut scene = Scene::new(json!({})).with_workloads();
    let others = secret_ref(HOME, "of-others");
    scene.workloads[0].mounts.insert(others.clone());
    let end = scene.settle();
    assert_eq!(end.status.phase, Some(Phase::Ready));
    let mut pod = pod_of(&scene.workloads[0]);
    pod.created = Some(scene.now);
    pod.life = Life::Waiting(Some("ContainerCreating".into()));
    scene.pods.push(pod);
    assert_eq!(running(&scene).0, "True", "it may take a minute");
    assert!(scene.plan().next_check.duration_since(scene.now).as_secs() <= 60);

    scene.now += jiff::SignedDuration::from_mins(2);
    let (status, reason, message) = running(&scene);
    assert_eq!((status.as_str(), reason.as_str()), ("False", "NotRunning"));
    for part in [
        "Pod openchoreo-control-plane/cluster-gateway-1",
        "Secret openchoreo-control-plane/of-others",
        "ContainerCreating",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(scene.plan().status.phase, Some(Phase::Ready));

    // A new bundle is no reason to restart it: what it waits for does not come by that.
    scene.issuer = Issuer::Ready(ca(1));
    scene.settle();
    assert_eq!(scene.restarts.get("cluster-gateway"), None);
    assert_eq!(scene.signer(&gateway()), 1);
    assert_eq!(
        scene.anchors(&config_map_ref(super::pieces::DATA)).last(),
        Some(&1)
    );
    assert_eq!(running(&scene).1, "NotRunning");

    scene.pods.retain(|pod| !pod.mounts.contains(&others));
    let mut pod = pod_of(&scene.workloads[0]);
    pod.created = Some(scene.now);
    pod.life = Life::Running { ready: true };
    scene.pods.push(pod);
    assert_eq!(running(&scene).0, "True");
}

/// The agent was installed in another namespace than the one whose Secret is issued.
#[test]
fn a_pod_that_waits_for_what_nobody_makes_is_told() {
    let mut scene = Scene::local();
    scene.settle();
    let mut lost = workload(
        HOME,
        "cluster-agent-dataplane",
        &[secret_ref(HOME, "cluster-agent-tls")],
    );
    lost.agent = Some(("dataplane".into(), "eu-1".into()));
    scene.workloads.push(lost);
    scene.settle();
    scene.now += SignedDuration::from_hours(1);
    let planned = scene.settle();
    assert!(
        says(&planned, "cluster-agent-dataplane-1"),
        "{:#?}",
        told(&planned)
    );
}

/// One container has run: an init container, or one that crashes.
#[test]
fn a_gateway_that_does_not_come_up_is_told_also_where_one_container_has_run() {
    let waits = |reason: &str| json!({"waiting": {"reason": reason}});
    let ran = json!({"terminated": {"exitCode": 0}});
    let crashes = json!([{"state": waits("CrashLoopBackOff"), "lastState": {"terminated": {"exitCode": 1}}, "restartCount": 90}]);
    let statuses = [
        json!({"phase": "Pending", "initContainerStatuses": [{"state": ran}],
            "containerStatuses": [{"state": waits("ImagePullBackOff")}]}),
        json!({"phase": "Running", "containerStatuses": crashes}),
    ];
    for status in statuses {
        let mut scene = Scene::local();
        scene.settle();
        let object = json!({
            "metadata": {"name": "cluster-gateway-1", "namespace": HOME, "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"pod-template-hash": "abc"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "cluster-gateway-abc", "uid": "u", "controller": true}]},
            "spec": {"nodeName": "node-1", "containers": [{}], "initContainers": [{}],
                "volumes": [{"name": "tls", "secret": {"secretName": "cluster-gateway-tls"}}]},
            "status": status,
        });
        let pod = facts::pod(&serde_json::from_value(object).unwrap()).unwrap();
        assert_eq!(
            pod.controller,
            Controller::Workload(scene.workloads[0].workload.clone())
        );
        scene.pods.retain(|known| known.pod != pod.pod);
        scene.pods.push(pod);
        scene.workloads[0].rollout = RolloutState::Running("0 pods available, 1 wanted".into());
        scene.now += days(1);
        let planned = scene.plan();
        assert_eq!(
            condition(&planned, "ConsumersRunning").0,
            "False",
            "{:#?}",
            told(&planned)
        );
    }
}

/// README, guide: "unless a workload mounts it"; issue, item 21: "or a pod mounts it".
#[test]
fn a_job_that_waits_for_the_control_planes_config_map_gets_it() {
    let mut scene = Scene::local();
    scene.settle();
    let job = Pod {
        controller: Controller::Other("Job setup".into()),
        ..pod_of(&workload(HOME, "setup", &[config_map_ref(HOME)]))
    };
    scene.pods.push(job);
    scene.now += SignedDuration::from_mins(10);
    let planned = scene.settle();
    let is_made = scene.material.contains_key(&config_map_ref(HOME));
    assert!(
        is_made
            || says(
                &planned,
                "ConfigMap openchoreo-control-plane/cluster-gateway-ca"
            ),
        "{:#?}",
        told(&planned)
    );
}
