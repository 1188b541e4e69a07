//! Who is restarted, and how many at once.

use std::collections::BTreeMap;

use external_ca_core::model::facts::{self, config_map};
use external_ca_core::model::{
    Controller, Life, ListRef, ObjectRef, Pod, RolloutState, Unread, WorkloadKind,
};
use external_ca_core::plan::Step;
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, ca, config_map_ref, days, gateway, plane, pod_of, running,
    secret_ref, workload,
};
use super::scene::{Scene, condition, says, told};

#[test]
fn the_gateway_restarts_alone_and_agents_one_at_a_time() {
    let mut scene = Scene::new(json!({
        "agents": [{"secretName": "agent-{planeID}"}],
    }));
    scene.planes = (1..=4)
        .map(|index| plane(&format!("p{index}"), &format!("p-{index}")))
        .collect();
    scene.workloads = (1..=4)
        .map(|index| {
            workload(
                DATA,
                &format!("agent-{index}"),
                &[secret_ref(DATA, &format!("agent-p-{index}"))],
            )
        })
        .chain([workload(HOME, "cluster-gateway", &[gateway()])])
        .collect();
    scene.settle();
    scene.now += days(300);
    for _ in 0..20 {
        scene.turn();
        let rolling: Vec<&str> = scene
            .workloads
            .iter()
            .filter(|workload| workload.rollout != RolloutState::Complete)
            .map(|workload| workload.workload.object.name.as_str())
            .collect();
        assert!(rolling.len() <= 1, "{rolling:?}");
        // Who is last in the queue has waited for longer than a rollout may take, and is not stuck for that.
        scene.now += SignedDuration::from_mins(4);
        let planned = scene.plan();
        let (_, reason, message) = condition(&planned, "RolloutsComplete");
        assert_ne!(reason, "RolloutStuck", "{message}");
        assert!(planned.next_check > scene.now, "nothing is due: no hurry");
        scene.finish_rollouts();
    }
    assert_eq!(scene.restarts.len(), 5);
    assert!(
        scene.restarts.values().all(|count| *count == 1),
        "{:?}",
        scene.restarts
    );
}

#[test]
fn a_restart_by_hand_is_seen() {
    let mut scene = Scene::new(json!({"rollout": {"strategy": "None"}})).with_workloads();
    scene.settle();
    let profile = scene.profile(&agent());
    scene.put_leaf(&agent(), &ca(0), &profile, true);
    let planned = scene.turn();
    assert_eq!(condition(&planned, "RolloutsComplete").1, "RestartNeeded");
    scene.now += SignedDuration::from_mins(1);
    for workload in &mut scene.workloads {
        workload.loaded.insert(agent(), "old".into());
    }
    for pod in &mut scene.pods {
        pod.created = Some(scene.now);
    }
    let planned = scene.turn();
    assert_eq!(condition(&planned, "RolloutsComplete").0, "True");
}

#[test]
fn nobody_is_restarted_for_trust_while_its_certificate_is_still_to_come() {
    let mut scene = Scene::new(json!({})).with_workloads();
    // They are there, and older than all material; the bundles were written before the operator died.
    scene.run_old_pods();
    let bundle = [ca(0).anchor().clone()];
    for place in [config_map_ref(DATA), secret_ref(HOME, "cluster-gateway-ca")] {
        scene.put_bundle(&place, &bundle, Some("external-ca-operator"));
        scene.material.get_mut(&place).unwrap().replaces = true;
    }
    scene.settle();
    let once = BTreeMap::from(
        [
            "cluster-gateway",
            "controller-manager",
            "cluster-agent-dataplane",
        ]
        .map(|name| (name.to_owned(), 1)),
    );
    assert_eq!(scene.restarts, once);
}

/// Times are whole seconds: what is written over within one is not its object's first content.
fn settle_within_a_second(scene: &mut Scene) {
    scene.run_old_pods();
    let made = scene.now;
    for _ in 0..6 {
        let planned = scene.plan();
        if planned.steps.is_empty() {
            assert!(planned.next_check <= scene.now + scene.kubelet_cache());
            scene.now = planned.next_check;
            continue;
        }
        if planned
            .steps
            .iter()
            .any(|step| matches!(step, Step::Restart(_)))
        {
            break;
        }
        scene.turn();
        for material in scene.material.values_mut() {
            (material.created, material.changed) = (Some(made), Some(made));
        }
    }
    scene.settle();
}

#[test]
fn a_certificate_replaced_within_the_second_of_its_making_restarts_who_has_loaded_it() {
    let mut scene = Scene::new(json!({})).with_workloads();
    let mut profile = scene.profile(&gateway());
    profile.usages = scene.profile(&agent()).usages;
    scene.put_leaf(&gateway(), &ca(0), &profile, false);
    settle_within_a_second(&mut scene);
    assert_eq!(scene.restarts.get("cluster-gateway"), Some(&1));
}

#[test]
fn a_bundle_replaced_within_the_second_of_its_making_restarts_who_has_loaded_it() {
    let mut scene = Scene::new(json!({})).with_workloads();
    let bundle = config_map_ref(DATA);
    scene.put_bundle(&bundle, &[ca(1).anchor().clone()], None);
    settle_within_a_second(&mut scene);
    assert_eq!(scene.restarts.get("cluster-agent-dataplane"), Some(&1));
}

/// What is done to an object besides its content restarts nobody.
#[test]
fn content_changes_when_whoever_owns_it_has_written() {
    let entry = |manager: &str, operation: &str, hour: u8, fields: serde_json::Value| {
        json!({"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields,
            "time": format!("2026-01-02T{hour:02}:00:00Z")})
    };
    let (content, label) = (
        json!({"f:data": {"f:ca.crt": {}}}),
        json!({"f:metadata": {"f:labels": {"f:x": {}}}}),
    );
    let both = json!({"f:data": {"f:ca.crt": {}}, "f:metadata": {"f:labels": {"f:x": {}}}});
    let ours = entry("external-ca-operator", "Apply", 3, content.clone());
    let labelled = entry("kubectl-label", "Update", 5, label);
    let cases = [
        (vec![ours.clone(), labelled.clone()], Some(3)),
        (
            vec![ours, entry("argocd", "Apply", 6, both.clone())],
            Some(3),
        ),
        (vec![entry("helm", "Update", 2, both), labelled], Some(2)),
        (
            vec![
                entry("helm", "Update", 2, content.clone()),
                entry("edit", "Update", 7, content),
            ],
            Some(7),
        ),
        (Vec::new(), None),
    ];
    for (fields, hour) in cases {
        let object = json!({
            "metadata": {"name": "cluster-gateway-ca", "namespace": DATA, "creationTimestamp": "2026-01-01T00:00:00Z",
                "managedFields": fields},
            "data": {"ca.crt": ca(0).anchor().to_pem()},
        });
        let found = config_map(&serde_json::from_value(object).unwrap());
        let expected = hour.map(|hour| format!("2026-01-02T{hour:02}:00:00Z").parse().unwrap());
        assert_eq!(found.changed, expected);
    }
}

/// An admission policy refuses any change of one Deployment. "Other objects go on" (docs/troubleshooting.md, WriteFailed).
#[test]
fn a_workload_whose_restart_is_refused_holds_up_nobody() {
    let mut scene = Scene::new(json!({"agents": [{"secretName": "agent-{planeID}"}]}));
    let names = ["a", "b"];
    scene.planes = names.map(|name| plane(name, name)).into();
    scene.workloads = names
        .map(|name| {
            let leaf = secret_ref(DATA, &format!("agent-{name}"));
            workload(DATA, name, &[leaf, config_map_ref(DATA)])
        })
        .into();
    scene.settle();
    scene.now += days(300);
    for _ in 0..40 {
        let mut planned = scene.plan();
        let refused = |step: &mut Step| matches!(step, Step::Restart(restart) if restart.workload.object.name == "a");
        scene.refused = planned
            .steps
            .extract_if(.., |step| refused(step))
            .map(|step| step.object())
            .collect();
        scene.carry_out(&planned.steps);
        scene.issuance.status = Some(planned.status);
        scene.finish_rollouts();
        scene.now += days(2);
    }
    assert!(
        scene.restarts.contains_key("b"),
        "its certificate has ended"
    );
}

/// A chart that is older than the operator gives no right to list pods: "everything else goes on" (Unreadable).
#[test]
fn renewed_certificates_are_loaded_also_where_pods_cannot_be_listed() {
    let mut scene = Scene::local();
    scene.settle();
    scene.now += days(300);
    let mut restarts = 0;
    for _ in 0..20 {
        let mut observed = scene.observed();
        observed.pods.clear();
        let lists =
            [HOME, DATA].map(|namespace| Unread::list(ListRef::pods(namespace), "forbidden"));
        observed.unreadable.extend(lists);
        let planned = external_ca_core::report::decide(&observed, scene.now);
        restarts += planned
            .steps
            .iter()
            .filter(|step| matches!(step, Step::Restart(_)))
            .count();
        scene.carry_out(&planned.steps);
        scene.issuance.status = Some(planned.status);
        scene.finish_rollouts();
        scene.now += days(5);
    }
    assert!(restarts > 0, "what they hold has ended");
}

/// A gateway of two pods, one of which finds no node, serves: agents are not restarted for as long as that lasts.
#[test]
fn a_gateway_that_lacks_a_pod_does_not_let_agents_certificates_end() {
    let mut scene = Scene::local();
    scene.settle();
    scene.now += days(250);
    scene.settle();
    scene.workloads[0].rollout = RolloutState::Running("1 pods available, 2 wanted".into());
    scene.restarts.clear();
    for _ in 0..80 {
        scene.turn();
        scene.finish_rollouts_of(|workload| workload.workload.object.namespace == DATA);
        scene.now += days(5);
    }
    assert!(
        scene.restarts.contains_key("cluster-agent-dataplane"),
        "its certificate has ended"
    );
}

/// Orphaned (`--cascade=orphan`), and its Deployment applied again with another selector: the name says whose it was, and no
/// rollout ends it.
#[test]
fn an_old_pod_that_outlives_a_complete_rollout_is_named() {
    let mut scene = Scene::local();
    scene.settle();
    let orphan = Pod {
        pod: ObjectRef::new(DATA, "orphan"),
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

/// Others scale a Deployment down and up again: its old pod ends slowly, and no rollout of ours was ever told (simulation,
/// seed 30352).
#[test]
fn an_old_pod_that_ends_in_a_rollout_of_others_is_waited_for() {
    let mut scene = Scene::local();
    scene.settle();
    let ending = Pod {
        pod: ObjectRef::new(DATA, "ending"),
        uid: "ending".into(),
        is_terminating: true,
        ..running(pod_of(&scene.workloads[2]))
    };
    scene.material.remove(&config_map_ref(DATA));
    scene.turn();
    let new = scene.now + SignedDuration::from_secs(60);
    for pod in &mut scene.pods {
        pod.created = Some(new);
    }
    scene.pods.push(ending);
    scene.now = new + SignedDuration::from_secs(60);
    let workload = &mut scene.workloads[2];
    workload.rollout = RolloutState::Running("1 of 2 pods".into());
    assert!(workload.loaded.is_empty());
    let (ready, reason, message) = condition(&scene.plan(), "Ready");
    assert_eq!((&*ready, &*reason), ("False", "RollingOut"), "{message}");
    assert!(
        message.contains("openchoreo-data-plane/ending"),
        "{message}"
    );
}

/// DESIGN: "Pods on lost nodes are blockers that no restart helps: the message names node and owner and what to do."
#[test]
fn a_pod_on_a_lost_node_is_named_also_where_its_rollout_waits_for_it() {
    let mut scene = Scene::local();
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

/// An object by a name that the operator writes, that nothing wants there, and that the pod can do without.
#[test]
fn an_optional_mount_that_is_absent_does_not_keep_its_reader_from_being_restarted() {
    let mut scene = Scene::local();
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

/// A bare agent (a Job's, an Argo Rollout's) holds a certificate that was renewed since: nobody restarts it, nobody says so, and
/// it goes on until its handshakes fail.
#[test]
fn a_bare_pod_that_holds_an_ended_certificate_is_told() {
    let mut scene = Scene::local();
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

/// Issue 14, item 9: "The message names neither the pod nor the partition."
#[test]
fn a_stateful_set_that_a_partition_holds_says_so() {
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

/// Somebody's new image does not exist. After a stamp `kubectl rollout undo` brings that image back.
#[test]
fn what_cannot_start_is_not_restarted_while_an_older_pod_runs() {
    let mut scene = Scene::local();
    scene.settle();
    let waiting = Pod {
        pod: ObjectRef::new(DATA, "broken"),
        uid: "broken".into(),
        revision: Some("broken".into()),
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
    let (_, reason, message) = condition(&scene.plan(), "RolloutsComplete");
    assert_eq!(reason, "RollingOut", "{message}");
    scene.now += SignedDuration::from_mins(10);
    let (_, reason, message) = condition(&scene.plan(), "RolloutsComplete");
    assert_eq!(reason, "RolloutStuck", "{message}");
    assert!(message.contains("kubectl rollout undo"), "{message}");
    assert!(!scene.restarts.contains_key("cluster-agent-dataplane"));

    // It was mended.
    scene.pods.retain(|pod| pod.uid != "broken");
    scene.workloads[2].rollout = RolloutState::Complete;
    scene.settle();
    assert!(scene.restarts.contains_key("cluster-agent-dataplane"));
}

#[test]
fn a_gateway_whose_restart_is_refused_holds_up_no_agent() {
    let mut scene = Scene::local();
    scene.settle();
    scene.now += days(300);
    scene.refused = ["Deployment openchoreo-control-plane/cluster-gateway".to_owned()].into();
    while !scene.restarts.contains_key("cluster-agent-dataplane") {
        assert_eq!(scene.restarts.get("cluster-gateway"), None);
        scene.turn();
        scene.now += scene.kubelet_cache();
    }
    scene.finish_rollouts();
    scene.settle();
    assert!(
        scene.restarts.contains_key("cluster-gateway"),
        "it is tried again"
    );
}
