//! Attacks on issue 14 (red by intention): living gateways and agents that the guards do not see, or see no longer.

use std::collections::BTreeMap;

use external_ca_api::PROCEED_ANNOTATION;
use external_ca_core::model::{Controller, Leaf, Life, MaterialRef, Pod, RolloutState};
use external_ca_core::plan::Step;
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

/// `kubectl get -o yaml | kubectl replace --force`: made anew by others, with the operator's annotation on it.
#[test]
fn b07_what_others_made_anew_is_not_the_operators_first_content() {
    let mut scene = local(json!({}));
    scene.settle();
    scene.issuer = Issuer::Ready(ca(1));
    while scene.anchors(&config_map_ref(DATA)) != [0, 1] {
        scene.turn();
    }
    let again = scene.now + SignedDuration::from_secs(1);
    let found = scene.material.get_mut(&config_map_ref(DATA)).unwrap();
    (found.created, found.changed) = (Some(again), Some(again));
    (found.manager, found.replaces) = (Some("kubectl-replace".into()), false);
    turns_without_agents(&mut scene, 20);
    assert_eq!(
        scene.signer(&gateway()),
        0,
        "the agent that runs has loaded A only"
    );
}

/// An edit of the plane has open connections verified again, with the certificate that was presented then.
#[test]
fn b17_an_agent_whose_loaded_certificate_has_ended_restarts_before_its_plane_is_written() {
    let mut scene = local(json!({}));
    scene.settle();
    scene.now += days(340);
    turns_without_agents(&mut scene, 10);
    scene.now += days(40);
    scene.issuer = Issuer::Ready(ca(1));
    let wires = |step: &Step| matches!(step, Step::WirePlane(_));
    let steps = scene.plan().steps;
    assert!(!steps.iter().any(wires), "it is cut off: {steps:#?}");
}

/// docs/rotation.md: a kubelet that is behind by less than `rollout.kubeletCache` is provided for. A pod that somebody deletes is
/// made anew a second after the bundle was written, and is given what stood there before.
#[test]
fn b20_a_pod_that_was_made_within_the_kubelets_cache_proves_nothing() {
    let mut scene = local(json!({}));
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
    turns_without_agents(&mut scene, 20);
    assert_eq!(scene.signer(&gateway()), 0, "it may have been given A only");
}

/// A gateway of two pods, one of which finds no node, serves: agents are not restarted for as long as that lasts.
#[test]
fn b22_a_gateway_that_lacks_a_pod_does_not_let_agents_certificates_end() {
    let mut scene = local(json!({}));
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

/// An admission policy refuses any change of one Deployment. "Other objects go on" (docs/troubleshooting.md, WriteFailed).
#[test]
fn b27_a_workload_whose_restart_is_refused_holds_up_nobody() {
    let mut scene = Scene::new(json!({"agents": [{"secretName": "agent-{planeID}"}]}));
    let names = ["a", "b"];
    scene.planes = names.map(|name| plane(name, name)).into();
    scene.workloads = names
        .map(|name| {
            let leaf = secret_ref(DATA, &format!("agent-{name}"));
            super::pieces::workload(DATA, name, &[leaf, config_map_ref(DATA)])
        })
        .into();
    scene.settle();
    scene.now += days(300);
    for _ in 0..40 {
        let mut planned = scene.plan();
        let refused = |step: &Step| matches!(step, Step::Restart(restart) if restart.workload.object.name == "a");
        planned.steps.retain(|step| !refused(step));
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
fn b28_renewed_certificates_are_loaded_also_where_pods_cannot_be_listed() {
    use external_ca_core::model::{ListRef, Unread};
    let mut scene = local(json!({}));
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
