//! The guide's troubleshooting table, each error produced on purpose: what the peers say, and what the operator says.

use external_ca_tests::apply::apply_yaml;
use external_ca_tests::openchoreo::{self, CONTROL_PLANE, ClientCa, PlaneType, plane};
use external_ca_tests::openssl::Ca;
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{World, message};
use external_ca_tests::{Kubelet, KubeletOptions, Operator, Result};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

const DATA: &str = "openchoreo-data-plane";

/// A control plane and a data plane's agent with planeID `default`, and real processes for both.
struct Scene {
    world: World,
    ca: Ca,
    kubelet: Kubelet,
    operator: Operator,
}

impl Scene {
    async fn set() -> Result<Self> {
        let world = World::any().await?;
        let ca = Ca::guide();
        world.put_ca(&ca).await?;
        apply_yaml(&world.admin, &openchoreo::control_plane(CONTROL_PLANE)).await?;
        let agent = openchoreo::agent(PlaneType::Data, DATA, "default", 1);
        apply_yaml(&world.admin, &agent).await?;
        let kubelet = Kubelet::start(&world.cluster, KubeletOptions::default()).await?;
        let operator = world.operator(None).await?;
        Ok(Self {
            world,
            ca,
            kubelet,
            operator,
        })
    }

    async fn put_plane(&self, client_ca: &ClientCa<'_>) -> Result<()> {
        let kind = PlaneType::Data.kind();
        let text = plane(kind, Some("default"), "eu", Some("default"), client_ca);
        apply_yaml(&self.world.admin, &text).await?;
        Ok(())
    }

    async fn set_client_ca(&self, client_ca: Value) -> Result<()> {
        let patch = json!({"spec": {"clusterAgent": {"clientCA": client_ca}}});
        let api = self.world.planes("DataPlane").await?;
        api.patch("eu", &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// A condition is False for this reason, and its message has all these words.
    async fn told(&self, kind: &str, reason: &str, words: &[&str]) {
        let status = self.world.condition(kind, "False", reason).await;
        let text = message(&status, kind);
        for word in words {
            assert!(
                text.contains(word),
                "{kind} {reason} lacks \"{word}\": {text}"
            );
        }
        let word = format!("\"{reason}\"");
        wait_for("the same word in the log", PATIENCE, async || {
            let log = self.operator.log();
            assert!(!log.contains("PRIVATE KEY"));
            if log.contains(&word) {
                Ok(())
            } else {
                Err(log)
            }
        })
        .await;
    }

    /// Some process of a namespace has printed this.
    async fn printed(&self, namespace: &str, text: &str) {
        wait_for(
            &format!("\"{text}\" in a log of {namespace}"),
            PATIENCE,
            async || {
                let pods = self.kubelet.all_pods_ever();
                let mine = pods.iter().filter(|pod| pod.namespace == namespace);
                let logs: Vec<String> = mine
                    .map(|pod| self.kubelet.log_of(namespace, &pod.name))
                    .collect();
                if logs.iter().any(|log| log.contains(text)) {
                    Ok(())
                } else {
                    Err(logs.join("\n"))
                }
            },
        )
        .await;
    }

    async fn heals(self) {
        self.world.ready().await;
        self.kubelet.connected(1).await;
    }
}

#[tokio::test]
async fn certificate_signed_by_unknown_authority() -> Result<()> {
    let scene = Scene::set().await?;
    // The agent trusts another CA: somebody filled in the ConfigMap before the operator came, and started the agent.
    let stranger = Ca::replacement(1);
    apply_yaml(
        &scene.world.admin,
        &openchoreo::trust(DATA, &stranger.certificate, false),
    )
    .await?;
    let leaf = openchoreo::tls_secret(DATA, "cluster-agent-tls", &scene.ca.agent_leaf("default"));
    apply_yaml(&scene.world.admin, &leaf).await?;
    let server = openchoreo::tls_secret(
        CONTROL_PLANE,
        "cluster-gateway-tls",
        &scene.ca.server_leaf(CONTROL_PLANE),
    );
    apply_yaml(&scene.world.admin, &server).await?;
    scene
        .put_plane(&ClientCa::Value(&scene.ca.certificate))
        .await?;
    scene
        .printed(DATA, "x509: certificate signed by unknown authority")
        .await;

    scene.world.issue_with(json!({"paused": true})).await?;
    let places = ["ConfigMap openchoreo-data-plane/cluster-gateway-ca"];
    let status = scene.world.condition("Ready", "False", "Paused").await;
    let text = message(&status, "TrustDistributed");
    assert!(text.contains("writing "), "{text}");
    scene.world.issue().await?;
    scene.world.issue_with(json!({"paused": false})).await?;
    scene.world.ready().await;
    let map = scene
        .world
        .config_maps(DATA)
        .get("cluster-gateway-ca")
        .await?;
    let bundle = map.data.unwrap()["ca.crt"].clone();
    assert!(bundle.contains(scene.ca.certificate.trim()), "{places:?}");
    scene.heals().await;
    Ok(())
}

#[tokio::test]
async fn certificate_not_valid_for_any_cr() -> Result<()> {
    let scene = Scene::set().await?;
    let stranger = Ca::replacement(1);
    scene
        .put_plane(&ClientCa::Value(&stranger.certificate))
        .await?;
    scene
        .world
        .issue_with(json!({"planes": {"clientCA": "Unmanaged"}}))
        .await?;
    let fix = "add that CA to the clientCA";
    let words = [
        "DataPlane default/eu",
        "spec.clusterAgent.clientCA",
        "certificate not valid for any CR",
        fix,
    ];
    scene.told("PlanesWired", "ClientCAMismatch", &words).await;

    // The agent has its certificate by hand, and is refused.
    let leaf = openchoreo::tls_secret(DATA, "cluster-agent-tls", &scene.ca.agent_leaf("default"));
    apply_yaml(&scene.world.admin, &leaf).await?;
    scene
        .printed(CONTROL_PLANE, "certificate not valid for any CR")
        .await;
    scene.printed(DATA, "bad handshake").await;

    // The reference leads to a Secret that nobody has.
    scene
        .set_client_ca(json!({"value": "", "secretRef": {"name": "elsewhere", "key": "ca.crt"}}))
        .await?;
    scene
        .world
        .issue_with(json!({"planes": {"clientCA": "Value"}}))
        .await?;
    let words = [
        "DataPlane default/eu",
        "default/elsewhere",
        "remove the reference",
    ];
    scene.told("PlanesWired", "ForeignClientCA", &words).await;

    scene.set_client_ca(json!({"secretRef": null})).await?;
    scene.heals().await;
    Ok(())
}

#[tokio::test]
async fn tls_bad_certificate() -> Result<()> {
    let scene = Scene::set().await?;
    let names = "subjectAltName=DNS:cluster-gateway.openchoreo-control-plane.svc,\
        DNS:cluster-gateway.openchoreo-control-plane.svc.cluster.local\n";
    let extensions = format!("basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n{names}");
    let wrong = scene
        .ca
        .leaf("/CN=cluster-gateway/O=OpenChoreo", &extensions, 365);
    let server = openchoreo::tls_secret(CONTROL_PLANE, "cluster-gateway-tls", &wrong);
    apply_yaml(&scene.world.admin, &server).await?;
    apply_yaml(
        &scene.world.admin,
        &openchoreo::trust(DATA, &scene.ca.certificate, false),
    )
    .await?;
    let leaf = openchoreo::tls_secret(DATA, "cluster-agent-tls", &scene.ca.agent_leaf("default"));
    apply_yaml(&scene.world.admin, &leaf).await?;
    scene
        .put_plane(&ClientCa::Value(&scene.ca.certificate))
        .await?;
    scene.printed(CONTROL_PLANE, "tls: bad certificate").await;

    scene.world.issue_with(json!({"paused": true})).await?;
    let words = [
        "Secret openchoreo-control-plane/cluster-gateway-tls",
        "serverAuth",
        "tls: bad certificate",
        "issued anew",
    ];
    let status = scene
        .world
        .condition("CertificatesReady", "False", "UsageWrong")
        .await;
    let text = message(&status, "CertificatesReady");
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    scene.world.issue_with(json!({"paused": false})).await?;
    scene.heals().await;
    Ok(())
}

#[tokio::test]
async fn no_crs_found_with_plane_id() -> Result<()> {
    let scene = Scene::set().await?;
    // The plane says another planeID than its agent.
    let text = plane(
        "DataPlane",
        Some("default"),
        "eu",
        Some("typo"),
        &ClientCa::Nothing,
    );
    apply_yaml(&scene.world.admin, &text).await?;
    scene.world.issue().await?;
    let words = [
        "Deployment openchoreo-data-plane/cluster-agent-dataplane",
        "--plane-id=default",
        "no dataplane CRs found with planeID 'default'",
        "spec.planeID equal the agent's --plane-id",
    ];
    scene.told("PlanesWired", "PlaneNotFound", &words).await;
    scene
        .printed(CONTROL_PLANE, "CRs found with planeID 'default'")
        .await;
    scene.put_plane(&ClientCa::Nothing).await?;
    scene.heals().await;
    Ok(())
}
