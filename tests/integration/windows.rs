//! Maintenance windows, as the API server's clock has them: outside of them trust spreads, and nothing restarts.

use external_ca_tests::apply::apply_yaml;
use external_ca_tests::openchoreo::{CONTROL_PLANE, agent, control_plane_of};
use external_ca_tests::openssl::{Ca, pem_blocks};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{ISSUANCE, World, message};
use external_ca_tests::{Kubelet, KubeletOptions, Result};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

const BUNDLE: &str = "cluster-gateway-ca";
const GATEWAY: &str = "cluster-gateway-tls";
const MATERIAL_HASH: &str = "pki.openchoreo.dev/material-hash";

/// A window that opens in twelve hours.
pub fn far_away() -> Value {
    let opens = (Timestamp::now() + SignedDuration::from_hours(12)).to_zoned(TimeZone::UTC);
    let schedule = format!("{} {} * * *", opens.minute(), opens.hour());
    json!({"schedule": schedule, "duration": "1h"})
}

async fn set_windows(world: &World, windows: Value) -> kube::Result<()> {
    let patch = Patch::Merge(json!({"spec": {"rollout": {"windows": windows}}}));
    let issuances = world.issuances();
    issuances
        .patch(ISSUANCE, &PatchParams::default(), &patch)
        .await
        .map(drop)
}

/// The Deployments that the operator has restarted.
async fn restarted(world: &World) -> Vec<String> {
    let mut found = Vec::new();
    let agents = world.plane_types().map(|kind| kind.namespace());
    for namespace in agents.into_iter().chain([CONTROL_PLANE]) {
        for deployment in world
            .deployments(namespace)
            .list(&Default::default())
            .await
            .unwrap()
        {
            let template = deployment.spec.unwrap_or_default().template;
            let annotations = template.metadata.unwrap_or_default().annotations;
            if annotations.unwrap_or_default().contains_key(MATERIAL_HASH) {
                found.extend(deployment.metadata.name);
            }
        }
    }
    found
}

#[tokio::test]
async fn a_rotation_spreads_trust_and_restarts_nobody_until_its_window_opens() -> Result<()> {
    let [old, new] = [0, 1].map(Ca::replacement);
    let world = World::any().await?;
    world.put_ca(&old).await?;
    world.put_planes().await?;
    let control_plane = control_plane_of(world.release, CONTROL_PLANE);
    apply_yaml(&world.admin, &control_plane).await?;
    for kind in world.plane_types() {
        apply_yaml(&world.admin, &agent(kind, kind.namespace(), "default", 1)).await?;
    }
    let options = KubeletOptions {
        processes: false,
        ..KubeletOptions::default()
    };
    let _kubelet = Kubelet::start(&world.cluster, options).await?;
    let _operator = world.operator(None).await?;
    world
        .issue_with(json!({"rollout": {"windows": [far_away()]}}))
        .await?;
    world.ready().await;
    let server = world.secret_text(CONTROL_PLANE, GATEWAY, "tls.crt").await;

    world.put_ca(&new).await?;
    let status = world.condition("Ready", "False", "WaitingForWindow").await;
    let opens = status
        .next_window
        .as_ref()
        .expect("a window is waited for")
        .0;
    assert!(message(&status, "Ready").contains(&opens.to_string()));
    let ahead = Timestamp::now().duration_until(opens);
    assert!((11..=12).contains(&ahead.as_hours()), "{ahead}");
    let bundle = world.secret_text(CONTROL_PLANE, BUNDLE, "ca.crt").await;
    assert_eq!(pem_blocks(&bundle).len(), 2, "{bundle}");
    let still = world.secret_text(CONTROL_PLANE, GATEWAY, "tls.crt").await;
    assert_eq!(server, still);
    assert_eq!(restarted(&world).await, [""; 0]);

    set_windows(
        &world,
        json!([{"schedule": "whenever it suits", "duration": "1h"}]),
    )
    .await?;
    let status = world
        .condition("RolloutsComplete", "False", "InvalidSpec")
        .await;
    let said = message(&status, "RolloutsComplete");
    assert!(said.contains("spec.rollout.windows[0]"), "{said}");
    assert_eq!(restarted(&world).await, [""; 0]);

    let refused = set_windows(&world, json!([{"schedule": "0 2 * * *", "duration": "1m"}])).await;
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("duration must be at least 5m"),
        "{refused}"
    );

    set_windows(&world, json!([{"schedule": "* * * * *", "duration": "5m"}])).await?;
    wait_for("a restart", PATIENCE, async || {
        match restarted(&world).await.is_empty() {
            true => Err("nobody is restarted".to_owned()),
            false => Ok(()),
        }
    })
    .await;
    wait_for("an Event on that workload", PATIENCE, async || {
        let about = "involvedObject.kind=Deployment,reason=Restarted";
        let events: Api<Event> = Api::all(world.admin.clone());
        let found = events.list(&ListParams::default().fields(about)).await;
        let found = found.map_err(|error| error.to_string())?.items;
        let names = restarted(&world).await;
        let mut told = found
            .iter()
            .filter_map(|one| one.involved_object.name.as_ref());
        match told.any(|name| names.contains(name)) {
            true => Ok(()),
            false => Err(format!("{names:?}: {found:?}")),
        }
    })
    .await;
    Ok(())
}
