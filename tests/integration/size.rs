//! What strangers put into their own namespaces costs the operator no memory.

use external_ca_tests::Result;
use external_ca_tests::apply::{apply_yaml, create_namespace};
use external_ca_tests::openchoreo::{ClientCa, plane};
use external_ca_tests::openssl::Ca;
use external_ca_tests::world::{World, issuance};
use futures::TryStreamExt;
use serde_json::json;

/// As many objects, of as many bytes.
const COUNT: usize = 60;
const BYTES: usize = 1_000_000;
/// The chart's limit is 128 MiB.
const MOST_KIB: u64 = 100 * 1024;

#[tokio::test]
async fn large_objects_elsewhere_fit_into_the_memory_of_the_chart() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    world.put_planes().await?;
    create_namespace(&world.admin, "tenant").await?;
    let large = "A".repeat(BYTES);
    let anchors: Vec<_> = (0..15)
        .map(|_| json!({"pem": "A".repeat(65_000)}))
        .collect();
    let objects = (0..COUNT).map(|number| {
        let name = format!("large-{number}");
        if number % 2 == 0 {
            let value = ClientCa::Value(&large);
            return plane("DataPlane", Some("tenant"), &name, Some(&name), &value);
        }
        let mut issuance = issuance(&name);
        issuance["metadata"]["namespace"] = json!("tenant");
        issuance["spec"]["trust"] = json!({"additionalAnchors": anchors});
        issuance.to_string()
    });
    let objects = futures::stream::iter(objects.map(Ok::<_, external_ca_tests::Error>));
    objects
        .try_for_each_concurrent(8, async |text| {
            apply_yaml(&world.admin, &text).await.map(drop)
        })
        .await?;
    let operator = world.operator(None).await?;
    world.issue().await?;
    world.ready().await;
    let peak = operator.process().peak_rss_kib();
    assert!(peak < MOST_KIB, "{peak} KiB");
    Ok(())
}
