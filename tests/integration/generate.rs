//! A CA that the operator made: made once, replaced on request, and never once it is somebody else's.

use external_ca_tests::Result;
use external_ca_tests::crds::{CrdSource, Release};
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::{Ca, Purpose, verify};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{CA_SECRET, ISSUANCE, World, message};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

const ROTATE: &str = "pki.openchoreo.dev/rotate";

async fn certificate(world: &World) -> String {
    world.secret_text(CONTROL_PLANE, CA_SECRET, "tls.crt").await
}

#[tokio::test]
async fn a_generated_ca_is_replaced_on_request_and_only_while_it_is_the_operators() -> Result<()> {
    let release = Release::V1_2;
    let values = json!({"secrets": {"generateCA": true}});
    let world = World::start_with(CrdSource::available(release)[0], release, values).await?;
    world.put_planes().await?;
    let _operator = world.operator(None).await?;
    let issuer = json!({"caSecret": {"name": CA_SECRET, "generate": true}});
    world.issue_with(json!({"issuer": issuer})).await?;
    world.ready().await;
    let first = certificate(&world).await;

    world.annotate(ROTATE, "now").await?;
    let second = wait_for("the next CA everywhere", PATIENCE, async || {
        let issuance = world.issuances().get(ISSUANCE).await.unwrap();
        let asked = issuance.metadata.annotations.unwrap_or_default();
        let second = certificate(&world).await;
        let bundle = world
            .secret_text(CONTROL_PLANE, "cluster-gateway-ca", "ca.crt")
            .await;
        if second != first && bundle.trim() == second.trim() && !asked.contains_key(ROTATE) {
            Ok(second)
        } else {
            Err(format!("{asked:?}, bundle {bundle}"))
        }
    })
    .await;
    world.ready().await;
    let server = world
        .secret_text(CONTROL_PLANE, "cluster-gateway-tls", "tls.crt")
        .await;
    verify(
        &second,
        &server,
        Purpose::Server("cluster-gateway.openchoreo-control-plane.svc"),
    )?;

    // From now on it is somebody else's.
    let theirs = Ca::guide();
    let patch = json!({"stringData": {"tls.crt": theirs.certificate, "tls.key": theirs.key}});
    let params = PatchParams {
        field_manager: Some("kubectl-edit".into()),
        ..PatchParams::default()
    };
    world
        .secrets(CONTROL_PLANE)
        .patch(CA_SECRET, &params, &Patch::Merge(patch))
        .await?;
    world.annotate(ROTATE, "again").await?;
    let status = world
        .condition("IssuerReady", "True", "CANotGenerated")
        .await;
    assert!(message(&status, "IssuerReady").contains("remove the annotation"));
    assert_eq!(certificate(&world).await, theirs.certificate);

    // Who deletes it gets a new one: there is nothing that could be lost.
    world
        .secrets(CONTROL_PLANE)
        .delete(CA_SECRET, &DeleteParams::default())
        .await?;
    wait_for("a third CA", PATIENCE, async || {
        match world.secrets(CONTROL_PLANE).get_opt(CA_SECRET).await {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    Ok(())
}
