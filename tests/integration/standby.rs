//! What an operator does that has nothing to do, or that is told of what is not there.

use external_ca_tests::openchoreo::{ClientCa, plane};
use external_ca_tests::openssl::Ca;
use external_ca_tests::proxy::Fault;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{NAMESPACES, World};
use external_ca_tests::{Operator, OperatorOptions, Proxy, Result, apply::apply_yaml};
use serde_json::json;

#[tokio::test]
async fn a_standby_ends_when_it_is_told_to() -> Result<()> {
    let world = World::any().await?;
    let _leader = world.operator(None).await?;
    let standby = world.operator(None).await?;
    wait_for("it to stand by", PATIENCE, async || {
        match standby.log().contains("waiting for the Lease") {
            true => Ok(()),
            false => Err("not yet"),
        }
    })
    .await;
    let status = standby.terminate().await;
    assert!(
        status.is_some_and(|status| status.success()),
        "{}",
        standby.log()
    );
    Ok(())
}

#[tokio::test]
async fn a_namespace_that_is_not_there_is_named_and_does_not_fill_the_log() -> Result<()> {
    let world = World::any().await?;
    world.put_ca(&Ca::guide()).await?;
    let text = plane(
        "DataPlane",
        Some("default"),
        "eu-1",
        Some("eu-1"),
        &ClientCa::Nothing,
    );
    apply_yaml(&world.admin, &text).await?;
    let namespaces: Vec<&str> = NAMESPACES.iter().copied().chain(["nowhere"]).collect();
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "all"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:serviceaccounts"}],
    });
    apply_yaml(&world.admin, &binding.to_string()).await?;
    let mut options = OperatorOptions::installed(&world.cluster, None, &namespaces).await?;
    options.args.push("--plane-namespaces=default".into());
    let operator = Operator::start(options).await?;
    operator.ready().await?;
    world
        .issue_with(json!({"agents": [{"namespace": "nowhere"}]}))
        .await?;
    let failures = wait_for("failures in a row", PATIENCE, async || {
        let metrics = operator
            .metrics()
            .await
            .map_err(|error| error.to_string())?;
        let mut lines = metrics.lines();
        let line =
            lines.find(|line| line.starts_with("external_ca_errors_total{reason=\"WriteFailed\"}"));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
        match count {
            Some(count) if count >= 12 => Ok(count),
            _ => Err(format!("{count:?}")),
        }
    })
    .await;
    let log = operator.log();
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("nowhere/"))
        .collect();
    let named = |object: &str| told.iter().any(|line| line.contains(object));
    assert!(named("ConfigMap nowhere/cluster-gateway-ca") && named("create the namespace"));
    // Each once as a failure, and each condition once when it turns.
    assert!(told.len() <= 6, "{failures} failures:\n{}", told.join("\n"));
    Ok(())
}

/// Whoever keeps the Lease tells that it is lost only once it can ask.
#[tokio::test]
async fn whoever_cannot_renew_the_lease_stops() -> Result<()> {
    let world = World::any().await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let leader = world.operator(Some(&proxy)).await?;
    wait_for("it to lead", PATIENCE, async || {
        let metrics = leader.metrics().await.map_err(|error| error.to_string())?;
        match metrics.lines().any(|line| line == "external_ca_leader 1") {
            true => Ok(()),
            false => Err(metrics),
        }
    })
    .await;
    proxy.set_fault(|request, _| match request.is_lease() {
        true => Fault::INTERNAL,
        false => Fault::Pass,
    });
    wait_for("it to stop", PATIENCE, async || {
        leader.exit_status().map(drop).ok_or_else(|| leader.log())
    })
    .await;
    Ok(())
}
