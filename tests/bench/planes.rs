//! The world of the bench: N DataPlanes in one issuance, each with a leaf of its own in one namespace.

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus};
use external_ca_tests::apply::{MANAGER, apply_documents, documents};
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
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Where the leaves are, and the agents where there are any.
pub const NAMESPACE: &str = "openchoreo-data-plane";
/// The label of a plane, which is its name.
pub const LABEL: &str = "bench.example.com/plane";
/// How many of the bench's own writes are under way.
pub const CREATORS: usize = 16;
/// The longest of what is measured.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How many agents may restart at once.
const AT_ONCE: usize = 50;

/// The n-th plane's name and planeID.
pub fn name(n: usize) -> String {
    format!("p-{n:04}")
}

/// The n-th leaf's Secret.
pub fn secret(n: usize) -> String {
    format!("agent-{}", name(n))
}

/// Keys that are quick to make.
pub fn quick_keys() -> Value {
    json!({"algorithm": "ECDSA", "size": 256})
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
        .map(|n| put_one(world, n))
        .buffer_unordered(CREATORS)
        .try_collect::<()>()
        .await
}

/// The n-th plane, with its name as a label.
pub async fn put_one(world: &World, n: usize) -> Result<()> {
    let name = name(n);
    let kind = PlaneType::Data.kind();
    let nothing = ClientCa::Nothing;
    let text = plane(kind, Some("default"), &name, Some(&name), &nothing);
    let mut objects = documents(&text)?;
    for object in &mut objects {
        object["metadata"]["labels"] = json!({LABEL: name});
    }
    apply_documents(&world.admin, objects, MANAGER)
        .await
        .map(drop)
}

/// Issues with RSA-2048 keys, and returns the time until the issuance is Ready.
pub async fn issue(world: &World) -> Result<Duration> {
    issue_with(world, json!({})).await
}

/// Issues with these keys, and returns the time until the issuance is Ready.
pub async fn issue_with(world: &World, key: Value) -> Result<Duration> {
    let spec = json!({
        "agents": [{"namespace": NAMESPACE, "secretName": "agent-{planeID}"}],
        "certificateDefaults": {"privateKey": key},
        "rollout": {"maxConcurrent": AT_ONCE},
    });
    let started = Instant::now();
    world.issue_with(spec).await?;
    await_status(world, "Ready", is_ready).await?;
    Ok(started.elapsed())
}

/// Waits until the issuance's status is as wanted.
pub async fn await_status(
    world: &World,
    what: &str,
    holds: impl Fn(&ExternalCAIssuanceStatus) -> bool,
) -> Result<()> {
    let holds = |found: Option<&ExternalCAIssuance>| {
        found
            .and_then(|found| found.status.as_ref())
            .is_some_and(&holds)
    };
    let waiting = await_condition(world.issuances(), ISSUANCE, holds);
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .map_err(|_| format!("not {what} after {PATIENCE:?}"))??;
    Ok(())
}

/// Whether an issuance is Ready.
pub fn is_ready(status: &ExternalCAIssuanceStatus) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|one| one.type_ == "Ready" && one.status == "True")
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
