//! What Prometheus would say of a real run: every state that /metrics shows, stretched to the minutes that it would last
//! in a cluster, read by the alerts of the chart. Where promtool is missing (CI has it), only the run is looked at.

mod recording;

use std::process::Command;

use external_ca_api::{ExternalCAIssuanceStatus, RENEW_ANNOTATION, RolloutPhase};
use external_ca_tests::apply::apply_yaml;
use external_ca_tests::apply::documents;
use external_ca_tests::chart::operator_objects;
use external_ca_tests::openchoreo::{CONTROL_PLANE, agent, control_plane_of};
use external_ca_tests::openssl::Ca;
use external_ca_tests::scratch::Scratch;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{CA_SECRET, ISSUANCE, World, describe};
use external_ca_tests::{Kubelet, KubeletOptions, Operator, Result};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use recording::Recorder;

const HELD: &str = "openchoreo-data-plane";
const AGENT: &str = "Deployment openchoreo-data-plane/cluster-agent-dataplane";

/// OpenChoreo, settled on a first CA.
struct Scene {
    world: World,
    kubelet: Kubelet,
    operator: Operator,
}

impl Scene {
    async fn set(spec: Value) -> Result<Self> {
        let world = World::any().await?;
        world.put_ca(&Ca::replacement(0)).await?;
        world.put_planes().await?;
        let control_plane = control_plane_of(world.release, CONTROL_PLANE);
        apply_yaml(&world.admin, &control_plane).await?;
        for kind in world.plane_types() {
            apply_yaml(&world.admin, &agent(kind, kind.namespace(), "default", 1)).await?;
        }
        let kubelet = Kubelet::start(&world.cluster, KubeletOptions::default()).await?;
        let operator = world.operator(None).await?;
        world.issue_with(spec).await?;
        world.ready().await;
        kubelet.connected(3).await;
        Ok(Self {
            world,
            kubelet,
            operator,
        })
    }

    async fn edit(&self, spec: Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let params = PatchParams::default();
        self.world
            .issuances()
            .patch(ISSUANCE, &params, &patch)
            .await?;
        Ok(())
    }

    /// Waits until the status holds this.
    async fn status(&self, what: &str, holds: impl Fn(&ExternalCAIssuanceStatus) -> bool) {
        wait_for(what, PATIENCE, async || {
            let found = self.world.issuances().get(ISSUANCE).await;
            let found = found.map_err(|error| error.to_string())?;
            let status = found.status.unwrap_or_default();
            match found.metadata.generation == status.observed_generation && holds(&status) {
                true => Ok(()),
                false => Err(describe(&status)),
            }
        })
        .await;
    }

    async fn agent_is(&self, phase: RolloutPhase) {
        self.status(&format!("{AGENT} to be {phase:?}"), |status| {
            let mut all = status.rollouts.iter();
            all.any(|one| one.workload == AGENT && one.phase == phase)
        })
        .await;
    }

    /// One CA is trusted, which signed all, and all is loaded.
    async fn settled(&self) {
        self.status("rest", |status| {
            status.anchors().len() == 1 && status.rollouts.is_empty() && is_ready(status)
        })
        .await;
    }
}

fn is_ready(status: &ExternalCAIssuanceStatus) -> bool {
    let mut all = status.conditions.iter();
    all.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Nothing but these alerts fires, ever, in what was recorded and so many minutes of its last state.
async fn fires(recorder: Recorder, minutes: usize, expected: &[&str]) -> Result<()> {
    let states = recorder.stop().await;
    assert!(!states.is_empty());
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("promtool is missing: no alert is evaluated (Debian has it: prometheus)");
        return Ok(());
    }
    let chart = operator_objects(&json!({"prometheusRule": {"enabled": true}})).await?;
    let mut rules = documents(&chart)?;
    rules.retain(|object| object["kind"] == "PrometheusRule");
    let dir = Scratch::new("alerts")?;
    dir.write("rules.yaml", rules[0]["spec"].to_string())?;
    recording::judge(&states, minutes, expected, &dir)
}

#[tokio::test]
async fn nothing_fires_through_a_renewal_a_rotation_and_a_change_of_leader() -> Result<()> {
    let scene = Scene::set(json!({})).await?;
    let other = scene.world.operator(None).await?;
    let pods = [("a", scene.operator.port()), ("b", other.port())];

    let serials = |status: &ExternalCAIssuanceStatus| -> Vec<Option<String>> {
        let all = status.certificates.iter();
        all.map(|one| one.serial.clone()).collect()
    };
    let old = serials(&scene.world.ready().await);
    let recorder = Recorder::start(&pods).await?;
    scene.kubelet.hold(HELD);
    scene.world.annotate(RENEW_ANNOTATION, "all").await?;
    scene.agent_is(RolloutPhase::Running).await;
    scene.kubelet.release(HELD);
    scene
        .status("new certificates, loaded", |status| {
            let new = serials(status);
            let renewed = new.iter().all(|serial| !old.contains(serial));
            renewed && status.rollouts.is_empty() && is_ready(status)
        })
        .await;
    fires(recorder, 180, &[]).await?;

    let recorder = Recorder::start(&pods).await?;
    scene.kubelet.hold(HELD);
    scene.world.put_ca(&Ca::replacement(1)).await?;
    scene.agent_is(RolloutPhase::Running).await;
    scene.operator.terminate().await;
    wait_for("the other pod to lead", PATIENCE, async || {
        let text = other.metrics().await.map_err(|error| error.to_string())?;
        match text.lines().any(|line| line == "external_ca_leader 1") {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    scene.kubelet.release(HELD);
    scene.settled().await;
    fires(recorder, 180, &[]).await
}

#[tokio::test]
async fn an_agent_that_does_not_come_up_fires() -> Result<()> {
    let scene = Scene::set(json!({})).await?;
    let pods = [("a", scene.operator.port())];

    let recorder = Recorder::start(&pods).await?;
    scene.kubelet.hold(HELD);
    scene.world.put_ca(&Ca::replacement(1)).await?;
    scene.agent_is(RolloutPhase::Running).await;
    fires(recorder, 180, &["ExternalCARotationStuck"]).await?;

    let recorder = Recorder::start(&pods).await?;
    scene.edit(json!({"rollout": {"timeout": "1s"}})).await?;
    scene.agent_is(RolloutPhase::Stuck).await;
    fires(recorder, 180, &["ExternalCARolloutStuck"]).await?;

    scene.edit(json!({"rollout": {"timeout": "10m"}})).await?;
    scene.agent_is(RolloutPhase::Running).await;
    let recorder = Recorder::start(&pods).await?;
    scene.kubelet.release(HELD);
    scene.settled().await;
    fires(recorder, 180, &[]).await
}

#[tokio::test]
async fn what_needs_a_person_fires_until_it_is_mended() -> Result<()> {
    let scene = Scene::set(json!({})).await?;
    let world = &scene.world;
    let pods = [("a", scene.operator.port())];
    let stalled = ["ExternalCAIssuanceStalled"];

    let recorder = Recorder::start(&pods).await?;
    let now = DeleteParams::default();
    world.secrets(CONTROL_PLANE).delete(CA_SECRET, &now).await?;
    world.condition("Stalled", "True", "CASecretNotFound").await;
    fires(recorder, 180, &stalled).await?;
    world.put_ca(&Ca::replacement(0)).await?;
    scene.settled().await;

    let recorder = Recorder::start(&pods).await?;
    let planes = world.planes("DataPlane").await?;
    let refers = |reference: Value| {
        let client_ca = json!({"value": "", "secretRef": reference});
        Patch::Merge(json!({"spec": {"clusterAgent": {"clientCA": client_ca}}}))
    };
    let params = PatchParams::default();
    let elsewhere = refers(json!({"name": "elsewhere", "key": "ca.crt"}));
    planes.patch("dataplane", &params, &elsewhere).await?;
    world.condition("Stalled", "True", "ForeignClientCA").await;
    fires(recorder, 180, &stalled).await?;

    let recorder = Recorder::start(&pods).await?;
    let nowhere = refers(Value::Null);
    planes.patch("dataplane", &params, &nowhere).await?;
    scene.settled().await;
    fires(recorder, 180, &[]).await?;

    let recorder = Recorder::start(&pods).await?;
    scene.operator.kill();
    fires(recorder, 30, &["ExternalCAOperatorDown"]).await
}

#[tokio::test]
async fn a_rotation_that_waits_for_its_window_does_not_fire() -> Result<()> {
    let windows = json!({"rollout": {"windows": [crate::windows::far_away()]}});
    let scene = Scene::set(windows).await?;
    let recorder = Recorder::start(&[("a", scene.operator.port())]).await?;
    scene.world.put_ca(&Ca::replacement(1)).await?;
    scene
        .world
        .condition("Ready", "False", "WaitingForWindow")
        .await;
    fires(recorder, 720, &[]).await
}
