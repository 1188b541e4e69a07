//! Attacks on issue 14 (red by intention): Ready where it is not, hangs, and words that are not true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{ExternalCAIssuance, Phase};
use external_ca_core::model::{
    AuthorityState, Controller, Life, ListRef, Pod, Read, RolloutState, WorkloadKind, facts,
};
use external_ca_core::report::Decision;
use external_ca_core::snapshot::{Needs, Scope, Seen};
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, days, gateway, plane, pod_of, secret_ref,
    workload,
};
use super::scene::{Scene, condition};

fn local() -> Scene {
    let mut scene = Scene::new(json!({})).with_workloads();
    scene.workloads[2].agent = Some(("dataplane".into(), "eu-1".into()));
    scene
}

fn says(planned: &Decision, what: &str) -> bool {
    let mut conditions = planned.status.conditions.iter();
    conditions.any(|one| one.message.contains(what))
}

fn told(planned: &Decision) -> BTreeMap<&str, &str> {
    let conditions = planned.status.conditions.iter();
    conditions
        .map(|one| (one.type_.as_str(), one.message.as_str()))
        .collect()
}

fn running(pod: Pod) -> Pod {
    Pod {
        life: Life::Running { ready: true },
        ..pod
    }
}

/// A bare agent (a Job's, an Argo Rollout's) holds a certificate that was renewed since: nobody restarts it, nobody says so, and
/// it goes on until its handshakes fail.
#[test]
fn w01_a_bare_pod_that_holds_an_ended_certificate_is_told() {
    let mut scene = local();
    scene.settle();
    let bare = Pod {
        controller: Controller::Nothing,
        ..running(pod_of(&scene.workloads[2]))
    };
    scene.workloads.truncate(2);
    scene.pods.retain(|pod| pod.pod.namespace != DATA);
    scene.pods.push(bare);
    scene.planes[0].agent_connected = Some(true);
    scene.settle();
    scene.now += days(300);
    scene.settle();
    scene.now += days(100);
    let planned = scene.settle();
    assert!(
        says(&planned, "cluster-agent-dataplane-1"),
        "{:#?}",
        told(&planned)
    );
}

/// The gateway that runs mounts a certificate that has ended: every handshake fails.
#[test]
fn w02_it_is_not_ready_where_what_the_gateway_mounts_has_ended() {
    let mut scene = local();
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

/// An object by a name that the operator writes, that nothing wants there, and that the pod can do without.
#[test]
fn w03_an_optional_mount_that_is_absent_does_not_keep_its_reader_from_being_restarted() {
    let mut scene = local();
    scene.settle();
    let optional = secret_ref(DATA, "cluster-gateway-tls");
    scene.workloads[2].mounts.insert(optional.clone());
    for pod in scene
        .pods
        .iter_mut()
        .filter(|pod| pod.pod.namespace == DATA)
    {
        pod.mounts.insert(optional.clone());
        pod.optional.insert(optional.clone());
    }
    scene.issuer = Issuer::Ready(ca(1));
    for _ in 0..20 {
        scene.turn();
        scene.finish_rollouts();
        scene.now += SignedDuration::from_mins(5);
    }
    let planned = scene.plan();
    assert!(
        scene.restarts.contains_key("cluster-agent-dataplane"),
        "{:#?}",
        told(&planned)
    );
}

/// README, guide: "unless a workload mounts it"; issue, item 21: "or a pod mounts it".
#[test]
fn w04_a_job_that_waits_for_the_control_planes_config_map_gets_it() {
    let mut scene = local();
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

/// The agent was installed in another namespace than the one whose Secret is issued.
#[test]
fn w05_a_pod_that_waits_for_what_nobody_makes_is_told() {
    let mut scene = local();
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
fn w06_a_gateway_that_does_not_come_up_is_told_also_where_one_container_has_run() {
    let waits = |reason: &str| json!({"waiting": {"reason": reason}});
    let ran = json!({"terminated": {"exitCode": 0}});
    let crashes = json!([{"state": waits("CrashLoopBackOff"), "lastState": {"terminated": {"exitCode": 1}}, "restartCount": 90}]);
    let statuses = [
        json!({"phase": "Pending", "initContainerStatuses": [{"state": ran}],
            "containerStatuses": [{"state": waits("ImagePullBackOff")}]}),
        json!({"phase": "Running", "containerStatuses": crashes}),
    ];
    for status in statuses {
        let mut scene = local();
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

/// DESIGN: "Pods on lost nodes are blockers that no restart helps: the message names node and owner and what to do."
#[test]
fn w07_a_pod_on_a_lost_node_is_named_also_where_its_rollout_waits_for_it() {
    let mut scene = local();
    scene.workloads[2].workload.kind = WorkloadKind::StatefulSet;
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    for pod in scene
        .pods
        .iter_mut()
        .filter(|pod| pod.pod.namespace == DATA)
    {
        (pod.is_terminating, pod.node) = (true, Some("node-lost".into()));
    }
    for _ in 0..20 {
        scene.turn();
        scene.finish_rollouts_of(|workload| workload.workload.object.namespace != DATA);
        scene.now += SignedDuration::from_mins(2);
    }
    let planned = scene.plan();
    assert!(says(&planned, "node-lost"), "{:#?}", told(&planned));
}

/// "named beforehand as about to be cut off": each of them.
#[test]
fn w08_everybody_who_is_about_to_be_cut_off_is_named() {
    let mut scene =
        Scene::new(json!({"agents": [{"secretName": "agent-{planeID}"}]})).with_workloads();
    scene.workloads.truncate(2);
    let names = ["a", "b", "c", "d", "e", "f", "g"].map(|name| format!("plane-{name}"));
    scene.planes = names.iter().map(|name| plane(name, name)).collect();
    for plane in &mut scene.planes {
        plane.plane.namespace = Some("of-somebody-else".into());
        plane.agent_connected = Some(true);
    }
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let planned = scene.settle();
    assert_eq!(scene.signer(&gateway()), 0);
    let unnamed: Vec<&String> = names
        .iter()
        .filter(|name| {
            let name = format!("the agent of DataPlane of-somebody-else/{name}");
            let mut conditions = planned.status.conditions.iter();
            !conditions.any(|one| one.message.contains(&name) && one.message.contains("cut off"))
        })
        .collect();
    assert!(unnamed.is_empty(), "{unnamed:?} {:#?}", told(&planned));
}

/// Somebody's new image does not exist. After a stamp `kubectl rollout undo` brings that image back.
#[test]
fn w09_what_cannot_start_is_not_stamped_while_an_older_pod_runs() {
    let mut scene = local();
    scene.settle();
    let waiting = Pod {
        pod: external_ca_core::model::ObjectRef::new(DATA, "broken"),
        uid: "broken".into(),
        created: Some(scene.now),
        life: Life::Waiting(Some("ImagePullBackOff".into())),
        ..pod_of(&scene.workloads[2])
    };
    scene.pods.push(waiting);
    scene.workloads[2].rollout = RolloutState::Running("1 pods updated".into());
    scene.issuer = Issuer::Ready(ca(1));
    for _ in 0..20 {
        scene.turn();
        scene.finish_rollouts_of(|workload| workload.workload.object.namespace != DATA);
        scene.now += scene.kubelet_cache();
    }
    let planned = scene.plan();
    let stamped = scene.restarts.contains_key("cluster-agent-dataplane");
    assert!(!stamped || says(&planned, "undo"), "{:#?}", told(&planned));
}

/// A container may be restarted where its pod's are not (`containers[].restartPolicy`, Kubernetes 1.35).
#[test]
fn w14_a_container_that_restarts_by_a_policy_of_its_own_has_not_ended() {
    let object = json!({
        "metadata": {"name": "agent", "namespace": DATA},
        "spec": {"nodeName": "node-1", "restartPolicy": "Never", "containers": [{"restartPolicy": "Always"}],
            "volumes": [{"name": "tls", "secret": {"secretName": "cluster-agent-tls"}}]},
        "status": {"phase": "Running", "containerStatuses": [{"state": {"terminated": {"exitCode": 1}}, "restartCount": 3}]},
    });
    let pod = facts::pod(&serde_json::from_value(object).unwrap()).unwrap();
    assert!(pod.is_alive());
}

/// "is no longer trusted anywhere": a plane that no selector selects trusts it.
#[test]
fn w16_an_anchor_that_a_plane_still_trusts_is_not_said_to_be_trusted_nowhere() {
    let mut scene = local();
    scene.settle();
    let selector = json!({"matchLabels": {"no": "plane"}});
    scene.issuance.spec.planes.selector = Some(serde_json::from_value(selector).unwrap());
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    let mut said = String::new();
    for _ in 0..40 {
        for event in scene.turn().events {
            if event.problem.reason == external_ca_core::Reason::AnchorDropped {
                said = event.problem.message;
            }
        }
        scene.finish_rollouts();
        scene.now += scene.kubelet_cache();
    }
    assert!(scene.planes[0].anchors.contains(ca(0).anchor()));
    assert!(!said.contains("no longer trusted anywhere"), "{said}");
}

/// `kubectl rollout undo` after the rotation: the gateway mounts the Secret of the earlier name again, whose CA has left.
#[test]
fn w18_a_gateway_that_nobody_trusts_is_not_ready() {
    let mut scene = local();
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

/// Orphaned (`--cascade=orphan`), and its Deployment applied again with another selector: the name says whose it was, and no
/// rollout ends it.
#[test]
fn w19_an_old_pod_that_outlives_a_complete_rollout_is_named() {
    let mut scene = local();
    scene.settle();
    let orphan = Pod {
        pod: external_ca_core::model::ObjectRef::new(DATA, "orphan"),
        uid: "orphan".into(),
        ..running(pod_of(&scene.workloads[2]))
    };
    scene.issuer = Issuer::Ready(ca(1));
    for _ in 0..40 {
        scene.turn();
        scene.finish_rollouts();
        scene.pods.retain(|pod| pod.uid != orphan.uid);
        scene.pods.push(orphan.clone());
        scene.now += SignedDuration::from_mins(1);
    }
    let planned = scene.plan();
    assert!(
        says(&planned, "openchoreo-data-plane/orphan"),
        "{:#?}",
        told(&planned)
    );
}

/// Issue 14, item 9: "The message names neither the pod nor the partition."
#[test]
fn w20_a_stateful_set_that_a_partition_holds_says_so() {
    let object = json!({
        "metadata": {"name": "agent", "namespace": DATA, "generation": 2},
        "spec": {"replicas": 3, "selector": {}, "serviceName": "agent", "template": {},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}},
        "status": {"observedGeneration": 2, "replicas": 3, "availableReplicas": 3, "updatedReplicas": 1,
            "currentRevision": "a", "updateRevision": "b"},
    });
    let found = facts::stateful_set(&serde_json::from_value(object).unwrap()).unwrap();
    let RolloutState::Running(why) = found.rollout else {
        panic!("it is not complete")
    };
    assert!(why.contains("partition"), "{why}");
}
