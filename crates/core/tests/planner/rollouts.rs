//! Who is restarted, and how many at once.

use std::collections::BTreeMap;

use external_ca_core::model::RolloutState;
use external_ca_core::model::facts::config_map;
use external_ca_core::plan::Step;
use jiff::SignedDuration;
use serde_json::json;

use super::pieces::{
    DATA, HOME, agent, ca, config_map_ref, days, gateway, plane, secret_ref, workload,
};
use super::scene::{Scene, condition};

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
