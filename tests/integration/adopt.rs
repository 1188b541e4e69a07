//! What exists is taken over by the issuance that `adopt` prints.

use std::collections::BTreeMap;
use std::time::Duration;

use external_ca_tests::apply::apply_yaml;
use external_ca_tests::openchoreo::{
    self, CONTROL_PLANE, ClientCa, PlaneType, plane, tls_secret, trust,
};
use external_ca_tests::openssl::{Ca, KeyKind};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::World;
use external_ca_tests::{Kubelet, KubeletOptions, Plugin, Result};
use kube::api::ListParams;
use serde_json::{Value, json};

const DATA: &str = "openchoreo-data-plane";

async fn installed(world: &World, client_ca: &str) -> Result<Kubelet> {
    let plane = plane(
        "DataPlane",
        Some("default"),
        "eu",
        Some("default"),
        &ClientCa::Value(client_ca),
    );
    let agent = openchoreo::agent(PlaneType::Data, DATA, "default", 1);
    for text in [openchoreo::control_plane(CONTROL_PLANE), agent, plane] {
        apply_yaml(&world.admin, &text).await?;
    }
    let options = KubeletOptions {
        probe_interval: Some(Duration::from_millis(20)),
        ..KubeletOptions::default()
    };
    Kubelet::start(&world.cluster, options).await
}

async fn adopt(world: &World) -> Result<String> {
    let run = Plugin::new(world.cluster.admin_kubeconfig())
        .run(&["adopt", "-n", CONTROL_PLANE])
        .await?;
    assert_eq!(run.code, 0, "{}", run.error);
    assert!(!run.text.contains("PRIVATE KEY"));
    Ok(run.text)
}

fn spec(yaml: &str) -> Result<Value> {
    let object: Value = serde_saphyr::from_str(yaml)?;
    Ok(object["spec"].clone())
}

/// Every Secret by its data, and every Deployment by its pod template.
async fn touched(world: &World) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for namespace in [CONTROL_PLANE, DATA] {
        for secret in world
            .secrets(namespace)
            .list(&ListParams::default())
            .await?
        {
            let name = format!(
                "Secret {namespace}/{}",
                secret.metadata.name.unwrap_or_default()
            );
            found.insert(name, format!("{:?}", secret.data));
        }
        for deployment in world
            .deployments(namespace)
            .list(&ListParams::default())
            .await?
        {
            let name = format!(
                "Deployment {namespace}/{}",
                deployment.metadata.name.unwrap_or_default()
            );
            found.insert(name, json!(deployment.spec).to_string());
        }
    }
    Ok(found)
}

#[tokio::test]
async fn what_was_made_by_hand_is_taken_over_as_it_is() -> Result<()> {
    let world = World::any().await?;
    let ca = Ca::guide();
    world.put_ca(&ca).await?;
    for text in [
        tls_secret(
            CONTROL_PLANE,
            "cluster-gateway-tls",
            &ca.server_leaf(CONTROL_PLANE),
        ),
        tls_secret(DATA, "cluster-agent-tls", &ca.agent_leaf("default")),
        trust(CONTROL_PLANE, &ca.certificate, true),
        trust(DATA, &ca.certificate, false),
    ] {
        apply_yaml(&world.admin, &text).await?;
    }
    let kubelet = installed(&world, &ca.certificate).await?;
    // The chart's ConfigMap of the control plane holds comments only; the guide fills it in.
    apply_yaml(&world.admin, &trust(CONTROL_PLANE, &ca.certificate, true)).await?;
    kubelet.connected(1).await;

    let printed = adopt(&world).await?;
    let smallest = json!({"issuer": {"caSecret": {"name": "cluster-gateway-external-ca"}}});
    assert_eq!(spec(&printed)?, smallest, "{printed}");
    assert!(
        !printed.contains("would restart") && !printed.contains("would issue"),
        "{printed}"
    );
    let before = touched(&world).await?;
    let _operator = world.operator(None).await?;
    apply_yaml(&world.admin, &printed).await?;
    world.ready().await;
    let after = touched(&world).await?;
    for (object, was) in &before {
        assert_eq!(after.get(object), Some(was), "{object}");
    }
    assert_eq!(kubelet.stats().failed_by_certificate, 0);
    assert!(adopt(&world).await?.contains("nothing would change"));
    Ok(())
}

#[tokio::test]
async fn what_cert_manager_made_moves_without_a_failed_handshake() -> Result<()> {
    let world = World::any().await?;
    // cert-manager's CA stands in the Secret that the controller-manager mounts, key and all; the agent's certificate is
    // self-signed and pinned in the plane.
    let ca = Ca::new("/CN=cluster-gateway-ca", KeyKind::P256);
    let own = Ca::new("/CN=own", KeyKind::P256);
    let client = own.leaf(
        "/CN=default/O=OpenChoreo",
        "extendedKeyUsage=clientAuth\n",
        90,
    );
    let extensions = format!(
        "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:cluster-gateway.{CONTROL_PLANE}.svc,\
         DNS:cluster-gateway.{CONTROL_PLANE}.svc.cluster.local\n"
    );
    let server = ca.leaf("/CN=cluster-gateway/O=OpenChoreo", &extensions, 90);
    let authority = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "cluster-gateway-ca", "namespace": CONTROL_PLANE},
        "stringData": {"tls.crt": ca.certificate, "tls.key": ca.key, "ca.crt": ca.certificate},
    });
    for text in [
        authority.to_string(),
        tls_secret(CONTROL_PLANE, "cluster-gateway-tls", &server),
        tls_secret(DATA, "cluster-agent-tls", &client),
        trust(DATA, &ca.certificate, false),
    ] {
        apply_yaml(&world.admin, &text).await?;
    }
    let kubelet = installed(&world, &own.certificate).await?;
    kubelet.connected(1).await;

    let printed = adopt(&world).await?;
    let wanted = json!({
        "issuer": {"caSecret": {"name": "cluster-gateway-ca"}},
        "certificateDefaults": {"duration": "2160h"},
    });
    assert_eq!(spec(&printed)?, wanted, "{printed}");
    assert!(printed.contains("holds the CA's key"), "{printed}");
    let before = kubelet.stats();
    let _operator = world.operator(None).await?;
    apply_yaml(&world.admin, &printed).await?;
    wait_for("the agent's certificate to move", PATIENCE, async || {
        let text = world
            .secret_text(DATA, "cluster-agent-tls", "tls.crt")
            .await;
        match text == client.certificate {
            true => Err("still the old one".to_owned()),
            false => Ok(()),
        }
    })
    .await;
    world
        .condition("TrustDistributed", "True", "CAKeyExposed")
        .await;
    world.ready().await;
    let connected = kubelet.connected(1).await;
    let since = connected.since(&before);
    assert!(since.attempts > 20, "{since:?}");
    assert_eq!(since.failed_by_certificate, 0, "{since:?}");
    Ok(())
}
