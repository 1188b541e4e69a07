//! The world of the bench: N DataPlanes in one issuance, each with a leaf of its own in one namespace.

use external_ca_api::ExternalCAIssuance;
use external_ca_tests::apply::apply_yaml;
use external_ca_tests::crds::{CrdSource, Release};
use external_ca_tests::openchoreo::{ClientCa, PlaneType, plane};
use external_ca_tests::openssl::Ca;
use external_ca_tests::world::{ISSUANCE, World};
use external_ca_tests::{Result, wait};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use std::time::{Duration, Instant};

/// Where the leaves are.
pub const NAMESPACE: &str = "openchoreo-data-plane";
const CREATORS: usize = 16;

/// The n-th leaf's Secret.
pub fn secret(n: usize) -> String {
    format!("agent-p-{n:04}")
}

/// A cluster with a CA, and rights for so many leaves; no plane yet.
pub async fn world(planes: usize) -> Result<World> {
    let mut leaves = vec!["cluster-gateway-tls".to_owned()];
    leaves.extend((1..=planes).map(secret));
    let source = CrdSource::available(Release::V1_2)[0];
    let values = json!({"secrets": {"leaves": leaves}});
    let world = World::start_with(source, Release::V1_2, values).await?;
    world.put_ca(&Ca::guide()).await?;
    Ok(world)
}

/// Planes in `default`.
pub async fn put(world: &World, planes: usize) -> Result<()> {
    futures::stream::iter(1..=planes)
        .map(|n| async move {
            let name = format!("p-{n:04}");
            let kind = PlaneType::Data.kind();
            let text = plane(
                kind,
                Some("default"),
                &name,
                Some(&name),
                &ClientCa::Nothing,
            );
            apply_yaml(&world.admin, &text).await.map(drop)
        })
        .buffer_unordered(CREATORS)
        .try_collect::<()>()
        .await
}

/// Issues, and returns the time until the issuance is Ready.
pub async fn issue(world: &World) -> Result<Duration> {
    let agents = json!({"agents": [{"namespace": NAMESPACE, "secretName": "agent-{planeID}"}]});
    let started = Instant::now();
    world.issue_with(agents).await?;
    let ready = |found: Option<&ExternalCAIssuance>| {
        let status = found.and_then(|found| found.status.as_ref());
        status.is_some_and(|status| {
            let conditions = &status.conditions;
            conditions
                .iter()
                .any(|one| one.type_ == "Ready" && one.status == "True")
        })
    };
    let waiting = await_condition(world.issuances(), ISSUANCE, ready);
    tokio::time::timeout(Duration::from_secs(600), waiting)
        .await
        .map_err(|_| "not Ready after ten minutes")??;
    Ok(started.elapsed())
}

/// Secrets that are nobody's business, 20 KiB each.
pub async fn put_unrelated(world: &World, count: usize) -> Result<()> {
    let api: Api<Secret> = world.secrets(NAMESPACE);
    let api = &api;
    futures::stream::iter(0..count)
        .map(|n| async move {
            let mut secret = Secret::default();
            secret.metadata.name = Some(format!("unrelated-{n:04}"));
            let data = ("data".to_owned(), ByteString(vec![b'x'; 20 * 1024]));
            secret.data = Some([data].into());
            api.create(&PostParams::default(), &secret).await.map(drop)
        })
        .buffer_unordered(CREATORS)
        .try_collect::<()>()
        .await?;
    Ok(())
}

/// Waits until a leaf's Secret is there.
pub async fn await_secret(world: &World, name: &str) {
    let api = world.secrets(NAMESPACE);
    wait::wait_for(name, wait::PATIENCE, async || {
        match api.get_opt(name).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err("absent".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
}
