//! The CA is replaced while the gateway's old pod ends slowly, and while an agent is connected of which nothing here shows what
//! it has loaded: it stands for one in another cluster.

use std::time::Duration;

use external_ca_tests::Result;
use external_ca_tests::apply::apply_yaml;
use external_ca_tests::kubelet::{KubeletOptions, rolled_out};
use external_ca_tests::openchoreo::{
    CONTROL_PLANE, ClientCa, PlaneType, agent, plane, tls_secret, trust,
};
use external_ca_tests::openssl::{Ca, Purpose, verify};
use external_ca_tests::wait::wait_for;
use external_ca_tests::world::ISSUANCE;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::rotation::none_failed;
use crate::stage::{PROBES, Stage};

/// Nobody serves it.
const ELSEWHERE: &str = "elsewhere";
const PLANE_ID: &str = "elsewhere";
const PROCEED: &str = "pki.openchoreo.dev/proceed";
const PATIENCE: Duration = Duration::from_secs(300);

/// A plane with an agent whose certificate and trust are made by hand, and that the issuance leaves out by its label.
async fn put_elsewhere(stage: &Stage, ca: &Ca) -> Result<()> {
    let admin = &stage.world.admin;
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ELSEWHERE}});
    let kind = PlaneType::Data;
    let client_ca = ClientCa::Value(&ca.certificate);
    for text in [
        namespace.to_string(),
        tls_secret(ELSEWHERE, "cluster-agent-tls", &ca.agent_leaf(PLANE_ID)),
        trust(ELSEWHERE, &ca.certificate, false),
        plane(
            kind.kind(),
            Some("default"),
            PLANE_ID,
            Some(PLANE_ID),
            &client_ca,
        ),
        agent(kind, ELSEWHERE, PLANE_ID, 1),
    ] {
        apply_yaml(admin, &text).await?;
    }
    let labels = Patch::Merge(json!({"metadata": {"labels": {"place": ELSEWHERE}}}));
    let planes = stage.world.planes(kind.kind()).await?;
    planes
        .patch(PLANE_ID, &PatchParams::default(), &labels)
        .await?;
    Ok(())
}

#[tokio::test]
async fn past_a_gateway_that_ends_slowly_and_an_agent_that_nothing_shows() -> Result<()> {
    let [old, new] = [0, 1].map(Ca::replacement);
    let mut stage = Stage::set_with(KubeletOptions {
        end_takes: [(CONTROL_PLANE.to_owned(), Duration::from_secs(10))].into(),
        probe_interval: Some(PROBES),
        ..KubeletOptions::default()
    })
    .await?;
    put_elsewhere(&stage, &old).await?;
    stage.agents += 1;
    let here = json!({"key": "place", "operator": "NotIn", "values": [ELSEWHERE]});
    let spec = json!({
        "planes": {"selector": {"matchExpressions": [here]}},
        "rotation": {"overlap": "30s"},
    });
    let _operator = stage.by_operator_with(&old, spec).await?;
    let before = stage.kubelet.stats();

    // The overlap passes while handshakes go on: nothing shows that its agent trusts the new CA.
    stage.world.put_ca(&new).await?;
    stage
        .world
        .condition("RolloutsComplete", "False", "AgentsUnproven")
        .await;
    stage.handshakes(&before).await;
    let served = stage
        .world
        .secret_text(CONTROL_PLANE, "cluster-gateway-tls", "tls.crt");
    verify(&old.certificate, &served.await, Purpose::Any)?;

    // A person brings it what it needs, restarts it, and says so.
    let both = format!("{}{}", old.certificate, new.certificate);
    apply_yaml(&stage.world.admin, &trust(ELSEWHERE, &both, false)).await?;
    let name = PlaneType::Data.deployment();
    stage.world.deployments(ELSEWHERE).restart(&name).await?;
    rolled_out(&stage.world.admin, ELSEWHERE, &name, PATIENCE).await?;
    stage.connected().await;
    let word = Patch::Merge(json!({"metadata": {"annotations": {PROCEED: "now"}}}));
    let issuances = stage.world.issuances();
    issuances
        .patch(ISSUANCE, &PatchParams::default(), &word)
        .await?;
    stage.settled(&new).await;
    stage.connected().await;
    wait_for("the word to be taken away", PATIENCE, async || {
        let found = issuances.get(ISSUANCE).await;
        let found = found.map_err(|error| error.to_string())?;
        match found.annotations().contains_key(PROCEED) {
            true => Err("it is there".to_owned()),
            false => Ok(()),
        }
    })
    .await;
    none_failed(stage, &before).await;
    Ok(())
}
