//! Whose a `caBundle` is: the chart's upgrades neither fight over it nor are in its way, by Helm and by server-side apply.

use external_ca_tests::apply::{apply_yaml, dynamic_api};
use external_ca_tests::cert_manager::CRDS;
use external_ca_tests::crds::Release;
use external_ca_tests::helm::Helm;
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::{Purpose, verify};
use external_ca_tests::wait::{PATIENCE, holds_for, wait_for};
use external_ca_tests::world::World;
use external_ca_tests::{Operator, Result};
use k8s_openapi::ByteString;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const KIND: &str = "ValidatingWebhookConfiguration";
const NAME: &str = "openchoreo-control-plane-validating-webhook-configuration";
const CERTIFICATE: &str = "controller-manager-webhook-server-cert";
/// What some charts ship: no certificate.
const PLACEHOLDER: &str = "Cg==";

/// Who installs the chart.
enum Installer<'a> {
    Helm(Helm),
    /// As Helm 4, Flux and Argo CD do it: no conflict is forced.
    ServerSide(&'a World),
}

impl Installer<'_> {
    async fn helm(world: &World) -> Result<Self> {
        let helm = Helm::new(&world.cluster, CONTROL_PLANE, "webhooks").await?;
        helm.objects(&[])?;
        helm.install().await?;
        Ok(Self::Helm(helm))
    }

    async fn upgrade(&self, objects: &[Value]) -> Result<()> {
        let world = match self {
            Self::Helm(helm) => {
                helm.objects(objects)?;
                return helm.upgrade().await;
            }
            Self::ServerSide(world) => world,
        };
        for object in objects {
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            let (version, kind) = (text("/apiVersion").unwrap(), text("/kind").unwrap());
            let api = dynamic_api(&world.admin, version, kind, Some(CONTROL_PLANE)).await?;
            let name = text("/metadata/name").unwrap();
            api.patch(name, &PatchParams::apply("chart"), &Patch::Apply(object))
                .await
                .map_err(|error| format!("{kind} {name}: {error}"))?;
        }
        Ok(())
    }
}

/// A chart with these webhooks.
fn chart(webhooks: &[&str], bundle: Option<&str>) -> Vec<Value> {
    let webhook = |name: &&str| {
        let mut webhook = json!({
            "name": format!("{name}.example.com"),
            "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
            "clientConfig": {"service": {"name": "webhook", "namespace": CONTROL_PLANE}},
            "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]}],
        });
        if let Some(bundle) = bundle {
            webhook["clientConfig"]["caBundle"] = json!(bundle);
        }
        webhook
    };
    let webhooks: Vec<Value> = webhooks.iter().map(webhook).collect();
    vec![
        json!({"apiVersion": "cert-manager.io/v1", "kind": "Issuer",
            "metadata": {"name": "self", "namespace": CONTROL_PLANE}, "spec": {"selfSigned": {}}}),
        json!({"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": {"name": CERTIFICATE, "namespace": CONTROL_PLANE},
            "spec": {"secretName": CERTIFICATE, "dnsNames": ["webhook.openchoreo-control-plane.svc"],
                "privateKey": {"algorithm": "ECDSA", "size": 256}, "issuerRef": {"name": "self"}}}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": KIND,
            "metadata": {"name": NAME, "annotations": {
                "cert-manager.io/inject-ca-from": format!("{CONTROL_PLANE}/{CERTIFICATE}")}},
            "webhooks": webhooks}),
    ]
}

struct Scene {
    world: World,
    operator: Operator,
    api: Api<DynamicObject>,
}

impl Scene {
    async fn set() -> Result<Self> {
        let world = World::without_planes(Release::V1_2, json!({})).await?;
        apply_yaml(&world.admin, CRDS).await?;
        let operator = world.operator(None).await?;
        let version = "admissionregistration.k8s.io/v1";
        let api = dynamic_api(&world.admin, version, KIND, None).await?;
        Ok(Self {
            world,
            operator,
            api,
        })
    }

    /// Each webhook with its bundle.
    async fn bundles(&self) -> Result<BTreeMap<String, String>, String> {
        let found = self.api.get(NAME).await;
        let found = found.map_err(|error| error.to_string())?;
        let webhooks = found.data["webhooks"].as_array().into_iter().flatten();
        webhooks
            .map(|webhook| {
                let name = webhook["name"].as_str().unwrap_or_default();
                let bundle = webhook["clientConfig"]["caBundle"].clone();
                let bundle: Option<ByteString> =
                    serde_json::from_value(bundle).map_err(|error| error.to_string())?;
                let bundle = String::from_utf8_lossy(&bundle.unwrap_or_default().0).into_owned();
                Ok((name.trim_end_matches(".example.com").to_owned(), bundle))
            })
            .collect()
    }

    /// These webhooks are there and no others, and each verifies what is served.
    async fn injected(&self, webhooks: &[&str]) {
        wait_for(
            &format!("{webhooks:?} to be injected"),
            PATIENCE,
            async || {
                let world = &self.world;
                let served = world
                    .secret_text(CONTROL_PLANE, CERTIFICATE, "tls.crt")
                    .await;
                let bundles = self.bundles().await?;
                let names: Vec<&String> = bundles.keys().collect();
                if names != webhooks {
                    return Err(format!("{names:?}"));
                }
                for (name, bundle) in &bundles {
                    verify(bundle, &served, Purpose::Any)
                        .map_err(|error| format!("{name}: {error}\n{}", self.operator.log()))?;
                }
                Ok(())
            },
        )
        .await;
    }

    async fn version(&self) -> Result<Option<String>> {
        Ok(self.api.get(NAME).await?.metadata.resource_version)
    }
}

async fn webhooks_come_and_go(scene: &Scene, installer: &Installer<'_>) -> Result<()> {
    installer.upgrade(&chart(&["a", "b"], None)).await?;
    scene.injected(&["a", "b"]).await;
    // The same once more, and a dry run of it, change nothing.
    let before = scene.version().await?;
    installer.upgrade(&chart(&["a", "b"], None)).await?;
    assert_eq!(scene.version().await?, before);
    installer.upgrade(&chart(&["a", "b", "c"], None)).await?;
    scene.injected(&["a", "b", "c"]).await;
    installer.upgrade(&chart(&["b"], None)).await?;
    scene.injected(&["b"]).await;
    installer.upgrade(&chart(&["a", "b"], None)).await?;
    scene.injected(&["a", "b"]).await;
    Ok(())
}

async fn placeholders_are_no_contest(scene: &Scene, installer: &Installer<'_>) -> Result<()> {
    for _ in 0..4 {
        let objects = chart(&["a", "b"], Some(PLACEHOLDER));
        installer.upgrade(&objects).await?;
        scene.injected(&["a", "b"]).await;
    }
    let settled = scene.version().await?;
    holds_for(
        "nobody writes",
        Duration::from_secs(3),
        async || match scene.version().await {
            Ok(found) if found == settled => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
    installer.upgrade(&chart(&["b"], Some(PLACEHOLDER))).await?;
    scene.injected(&["b"]).await;
    Ok(())
}

#[tokio::test]
async fn helm_adds_and_removes_webhooks() -> Result<()> {
    let scene = Scene::set().await?;
    let helm = Installer::helm(&scene.world).await?;
    webhooks_come_and_go(&scene, &helm).await
}

#[tokio::test]
async fn server_side_apply_adds_and_removes_webhooks() -> Result<()> {
    let scene = Scene::set().await?;
    webhooks_come_and_go(&scene, &Installer::ServerSide(&scene.world)).await
}

#[tokio::test]
async fn helm_ships_placeholders() -> Result<()> {
    let scene = Scene::set().await?;
    let helm = Installer::helm(&scene.world).await?;
    placeholders_are_no_contest(&scene, &helm).await
}

#[tokio::test]
async fn server_side_apply_ships_placeholders() -> Result<()> {
    let scene = Scene::set().await?;
    placeholders_are_no_contest(&scene, &Installer::ServerSide(&scene.world)).await
}
