//! The guide's end state from one resource, with both releases' CRDs, real and of our own writing.

use external_ca_tests::apply::apply_yaml;
use external_ca_tests::crds::{CrdSource, Release};
use external_ca_tests::openchoreo::{self, CONTROL_PLANE};
use external_ca_tests::openssl::{Ca, Purpose, key_matches, verify};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::World;
use external_ca_tests::{Kubelet, KubeletOptions, Result};

async fn text(world: &World, namespace: &str, secret: &str, key: &str) -> String {
    let secret = world.secrets(namespace).get(secret).await.unwrap();
    String::from_utf8(secret.data.unwrap()[key].0.clone()).unwrap()
}

async fn guide(source: CrdSource, release: Release) -> Result<()> {
    if !CrdSource::available(release).contains(&source) {
        println!("the real CRDs are not beside this repository: the fixtures stand for them");
        return Ok(());
    }
    let world = World::start(source, release).await?;
    let ca = Ca::guide();
    world.put_ca(&ca).await?;
    world.put_planes().await?;
    apply_yaml(
        &world.admin,
        &openchoreo::control_plane_of(release, CONTROL_PLANE),
    )
    .await?;
    for plane in world.plane_types() {
        apply_yaml(
            &world.admin,
            &openchoreo::agent(plane, plane.namespace(), "default", 1),
        )
        .await?;
    }
    let kubelet = Kubelet::start(&world.cluster, KubeletOptions::default()).await?;
    let operator = world.operator(None).await?;
    world.issue().await?;
    let status = world.ready().await;
    assert_eq!(
        status.certificates_ready.as_deref(),
        Some("4/4"),
        "{}",
        operator.log()
    );

    let certificate = text(&world, CONTROL_PLANE, "cluster-gateway-tls", "tls.crt").await;
    let key = text(&world, CONTROL_PLANE, "cluster-gateway-tls", "tls.key").await;
    let host = "cluster-gateway.openchoreo-control-plane.svc";
    verify(&ca.certificate, &certificate, Purpose::Server(host)).unwrap();
    assert!(key_matches(&certificate, &key));
    for plane in world.plane_types() {
        let certificate = text(&world, plane.namespace(), "cluster-agent-tls", "tls.crt").await;
        verify(&ca.certificate, &certificate, Purpose::Client).unwrap();
        let bundle = world
            .config_maps(plane.namespace())
            .get("cluster-gateway-ca")
            .await?;
        assert_eq!(bundle.data.unwrap()["ca.crt"].trim(), ca.certificate.trim());
    }
    kubelet.connected(3).await;
    wait_for("the agents in status", PATIENCE, async || {
        let status = world
            .issuances()
            .get("cluster-gateway")
            .await
            .unwrap()
            .status
            .unwrap();
        let connected = status
            .planes
            .iter()
            .filter(|plane| plane.agent_connected == Some(true))
            .count();
        if connected == 3 {
            Ok(())
        } else {
            Err(format!("{:?}", status.planes))
        }
    })
    .await;
    assert_eq!(kubelet.stop().await.failed_by_certificate, 0);
    Ok(())
}

#[tokio::test]
async fn fixture_v0_17() -> Result<()> {
    guide(CrdSource::Fixture, Release::V0_17).await
}

#[tokio::test]
async fn real_v0_17() -> Result<()> {
    guide(CrdSource::Real, Release::V0_17).await
}

#[tokio::test]
async fn fixture_v1_2() -> Result<()> {
    guide(CrdSource::Fixture, Release::V1_2).await
}

#[tokio::test]
async fn real_v1_2() -> Result<()> {
    guide(CrdSource::Real, Release::V1_2).await
}
