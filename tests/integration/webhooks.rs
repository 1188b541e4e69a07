//! OpenChoreo's webhooks, called by the API server: refused while it cannot verify them, and accepted from then on.

use external_ca_tests::apply::{MANAGER, apply_documents, apply_yaml};
use external_ca_tests::cert_manager::{CRDS, control_plane_from};
use external_ca_tests::crds::{CrdSource, Release};
use external_ca_tests::kubelet::{Kubelet, KubeletOptions, rolled_out};
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::Ca;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::webhooks::{Reviewed, ask, reviewed, serve_kinds};
use external_ca_tests::world::World;
use external_ca_tests::{Result, cert_manager};
use std::collections::BTreeSet;

/// Each kind that a webhook looks at can be made.
async fn accepted(world: &World, kinds: &BTreeSet<Reviewed>) {
    wait_for("each webhook to be trusted", PATIENCE, async || {
        for kind in kinds {
            let asked = ask(&world.admin, kind).await;
            asked.map_err(|error| format!("{kind:?}: {error}"))?;
        }
        Ok::<_, String>(())
    })
    .await;
}

/// The webhook's server has its certificate; while cert-manager's injector is at work, or so its Lease says, nobody tells the API
/// server whom to trust.
async fn webhooks_are_trusted(source: CrdSource, release: Release) -> Result<()> {
    let world = World::start(source, release).await?;
    apply_yaml(&world.admin, CRDS).await?;
    let now = jiff::Timestamp::now();
    let lease = "cert-manager-cainjector-leader-election";
    let renewed = now + jiff::SignedDuration::from_mins(10);
    cert_manager::lease(&world.admin, lease, renewed).await?;
    let objects = control_plane_from(source, release);
    let kinds = reviewed(&objects);
    serve_kinds(&world.admin, &kinds).await?;
    apply_documents(&world.admin, objects, MANAGER).await?;
    world.put_ca(&Ca::guide()).await?;
    let kubelet = KubeletOptions {
        managers: true,
        ..KubeletOptions::default()
    };
    let _kubelet = Kubelet::start(&world.cluster, kubelet).await?;
    let _operator = world.operator(None).await?;
    world.issue().await?;
    let manager = "controller-manager";
    rolled_out(&world.admin, CONTROL_PLANE, manager, PATIENCE).await?;

    for kind in &kinds {
        let refused = ask(&world.admin, kind).await.unwrap_err().to_string();
        let unknown = "x509: certificate signed by unknown authority";
        assert!(refused.contains(unknown), "{kind:?}: {refused}");
    }
    let ended = now - jiff::SignedDuration::from_mins(10);
    cert_manager::lease(&world.admin, lease, ended).await?;
    accepted(&world, &kinds).await;
    Ok(())
}

#[tokio::test]
async fn openchoreo_1_2_webhooks_are_trusted() -> Result<()> {
    for source in CrdSource::available(Release::V1_2) {
        webhooks_are_trusted(source, Release::V1_2).await?;
    }
    Ok(())
}

#[tokio::test]
async fn openchoreo_0_17_webhooks_are_trusted() -> Result<()> {
    for source in CrdSource::available(Release::V0_17) {
        webhooks_are_trusted(source, Release::V0_17).await?;
    }
    Ok(())
}
