//! What the table does not say: do the planes trust the agents, and are these connected?

use crate::checks::Checks;
use crate::issuance;
use crate::screen::Screen;
use crate::stage::{PLANE_NAMESPACE, Stage};
use crate::table::leaf;
use external_ca_tests::Result;
use external_ca_tests::apply::dynamic_api;
use external_ca_tests::openchoreo::{CONTROL_PLANE, PlaneType};
use external_ca_tests::openssl::{Purpose, verify};
use external_ca_tests::wait::try_wait_for;
use kube::api::DynamicObject;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);

/// Returns how many checks failed.
pub async fn check(screen: &mut Screen, stage: &Stage) -> Result<usize> {
    screen.step("Check the planes, and that their agents are connected");
    let (mut failed, mut connected) = (0, String::new());
    // Pods may still be on their way; what is checked is where they end.
    let outcome = try_wait_for("three connected agents", PATIENCE, async || {
        let stats = stage.kubelet.stats();
        connected = format!("{} connected", stats.connected_agents());
        let status = issuance::status(stage)
            .await
            .map_err(|error| error.to_string())?;
        let reported = status
            .planes
            .iter()
            .filter(|plane| plane.agent_connected == Some(true))
            .count();
        match (stats.connected_agents(), reported) {
            (3, 3) => Ok(()),
            (held, reported) => Err(format!(
                "{held} agents hold a connection, the issuance's status reports {reported}; {:?}",
                stats.last_errors
            )),
        }
    });
    let outcome = outcome.await;
    for plane in stage.planes() {
        failed += of_plane(screen, stage, plane).await?;
    }
    failed += key_less_secret(screen, stage).await?;
    let mut checks = Checks::default();
    checks.add(format!("the agents say so ({connected})"), outcome.clone());
    checks.add("the issuance's status says so of three planes", outcome);
    let stats = stage.kubelet.stats();
    checks.equal(
        "failed handshakes by certificate since the start: 0",
        stats.failed_by_certificate,
        0,
    );
    checks.holds(
        format!("{} connections made, probes included", stats.connects),
        stats.connects >= 3,
    );
    Ok(failed
        + checks.show(
            screen,
            &screen.bold("Three agents hold a mutual-TLS connection to the gateway"),
        ))
}

async fn of_plane(screen: &Screen, stage: &Stage, plane: PlaneType) -> Result<usize> {
    let name = plane.argument();
    let api = dynamic_api(
        &stage.world.admin,
        "openchoreo.dev/v1alpha1",
        plane.kind(),
        Some(PLANE_NAMESPACE),
    )
    .await?;
    let object: DynamicObject = api.get(name).await?;
    let client_ca = object.data["spec"]["clusterAgent"]["clientCA"]["value"]
        .as_str()
        .unwrap_or_default();
    let agent = leaf(stage, plane.namespace(), "cluster-agent-tls").await?;
    let connection = &object.data["status"]["agentConnection"];
    let mut checks = Checks::default();
    checks.holds(
        "spec.clusterAgent.clientCA.value is set",
        !client_ca.is_empty(),
    );
    checks.add(
        "openssl verify of its agent's certificate against it",
        verify(client_ca, &agent.certificate, Purpose::Client),
    );
    checks.equal(
        "status.agentConnection.connected",
        connection["connected"].as_bool(),
        Some(true),
    );
    Ok(checks.show(
        screen,
        &screen.bold(&format!("{} {PLANE_NAMESPACE}/{name}", plane.kind())),
    ))
}

/// The guide does not list it; without it OpenChoreo's controller-manager does not start.
async fn key_less_secret(screen: &Screen, stage: &Stage) -> Result<usize> {
    let secret = stage
        .world
        .secrets(CONTROL_PLANE)
        .get("cluster-gateway-ca")
        .await?;
    let keys: Vec<String> = secret.data.unwrap_or_default().into_keys().collect();
    let mut checks = Checks::default();
    checks.equal(
        "it holds ca.crt and no key",
        keys,
        vec!["ca.crt".to_owned()],
    );
    let manager = stage.kubelet.pods(CONTROL_PLANE);
    let running = manager
        .iter()
        .any(|pod| pod.ready && pod.name.starts_with("controller-manager"));
    checks.holds(
        "OpenChoreo's controller-manager, which mounts it, runs",
        running,
    );
    let heading = format!("Secret {CONTROL_PLANE}/cluster-gateway-ca (missing in the guide)");
    Ok(checks.show(screen, &screen.bold(&heading)))
}
