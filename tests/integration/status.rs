//! Where the status cannot be stored, work goes on, and no trust is taken away.

use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::{Ca, Purpose, verify};
use external_ca_tests::proxy::Fault;
use external_ca_tests::wait::{PATIENCE, holds_for, wait_for};
use external_ca_tests::world::World;
use external_ca_tests::{Proxy, Result};
use std::time::Duration;

const DATA: &str = "openchoreo-data-plane";

/// Waits for leaves of this CA, and for a bundle with these.
async fn moved(world: &World, ca: &Ca, bundle: &[&Ca]) {
    wait_for("leaves and bundles", PATIENCE, async || {
        for (namespace, name) in [
            (CONTROL_PLANE, "cluster-gateway-tls"),
            (DATA, "cluster-agent-tls"),
        ] {
            let chain = world.secret_text(namespace, name, "tls.crt").await;
            verify(&ca.certificate, &chain, Purpose::Any)?;
        }
        trusts(world, bundle).await
    })
    .await;
}

async fn trusts(world: &World, expected: &[&Ca]) -> Result<(), String> {
    let found = world
        .secret_text(DATA, "cluster-gateway-ca", "ca.crt")
        .await;
    let blocks = external_ca_tests::openssl::pem_blocks(&found).len();
    let all = expected.iter();
    let holds = all.clone().all(|ca| found.contains(ca.certificate.trim()));
    match holds && blocks == expected.len() {
        true => Ok(()),
        false => Err(format!("{blocks} anchors")),
    }
}

#[tokio::test]
async fn a_status_that_cannot_be_stored_stops_only_what_takes_trust_away() -> Result<()> {
    let [old, new] = [0, 1].map(Ca::replacement);
    let world = World::any().await?;
    world.put_ca(&old).await?;
    world.put_planes().await?;
    let proxy = Proxy::start(&world.cluster).await?;
    proxy.set_fault(|one, _| match one.subresource == "status" {
        true => Fault::Status {
            code: 413,
            reason: "RequestEntityTooLarge",
            retry_after: None,
        },
        false => Fault::Pass,
    });
    let operator = world.operator(Some(&proxy)).await?;
    world.issue().await?;
    moved(&world, &old, &[&old]).await;
    world.put_ca(&new).await?;
    moved(&world, &new, &[&old, &new]).await;
    holds_for("the old CA to stay", Duration::from_secs(3), async || {
        trusts(&world, &[&old, &new]).await
    })
    .await;
    let log = operator.log();
    assert!(log.contains("the status cannot be stored"), "{log}");
    proxy.clear_fault();
    moved(&world, &new, &[&new]).await;
    world.ready().await;
    Ok(())
}
