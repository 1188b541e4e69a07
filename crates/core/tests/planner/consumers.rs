//! Pods that read what is issued, and do not come up.

use external_ca_api::Phase;
use external_ca_core::model::Life;
use serde_json::json;

use super::pieces::{HOME, Issuer, ca, config_map_ref, gateway, pod_of, secret_ref};
use super::scene::{Scene, condition};

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
