//! SIGKILL before and after each write that cert-manager's objects lead to: the same end state, and no second key.

use std::collections::BTreeMap;

use external_ca_tests::apply::{MANAGER, apply_documents, apply_yaml, dynamic_api};
use external_ca_tests::cert_manager::{CRDS, WEBHOOK};
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::{Purpose, verify};
use external_ca_tests::proxy::When;
use external_ca_tests::wait::{PATIENCE, try_wait_for};
use external_ca_tests::world::{NAMESPACES, World};
use external_ca_tests::{Operator, OperatorOptions, Proxy, Result};
use k8s_openapi::ByteString;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject};
use serde_json::{Value, json};

use crate::kill::GRACE;

const CA: &str = "cluster-gateway-internal-ca";
const CLIENT: &str = "openchoreo-api-cluster-gateway-client-tls";
const SECRETS: [&str; 3] = [CA, CLIENT, WEBHOOK];
const CONFIGURATION: &str = "openchoreo-control-plane-validating-webhook-configuration";

struct Stage {
    world: World,
    proxy: Proxy,
    options: OperatorOptions,
}

/// A CA, a client of it, a webhook's certificate, and the webhook.
fn objects() -> Vec<Value> {
    let object = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "cert-manager.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": CONTROL_PLANE}, "spec": spec})
    };
    let key = json!({"algorithm": "ECDSA", "size": 256});
    vec![
        object("Issuer", "self", json!({"selfSigned": {}})),
        object("Issuer", "ca", json!({"ca": {"secretName": CA}})),
        object(
            "Certificate",
            CA,
            json!({"secretName": CA, "commonName": "internal", "isCA": true, "privateKey": key, "issuerRef": {"name": "self"}}),
        ),
        object(
            "Certificate",
            CLIENT,
            json!({"secretName": CLIENT, "commonName": "client", "usages": ["client auth"], "privateKey": key, "issuerRef": {"name": "ca"}}),
        ),
        object(
            "Certificate",
            WEBHOOK,
            json!({"secretName": WEBHOOK, "dnsNames": ["webhook.ns.svc"], "privateKey": key, "issuerRef": {"name": "self"}}),
        ),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {
                "name": CONFIGURATION,
                "annotations": {"cert-manager.io/inject-ca-from": format!("{CONTROL_PLANE}/{WEBHOOK}")},
            },
            "webhooks": [{
                "name": "a.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "clientConfig": {"service": {"name": "webhook", "namespace": "ns"}},
                "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"]}],
            }],
        }),
    ]
}

impl Stage {
    async fn set() -> Result<Self> {
        let world = World::any().await?;
        apply_yaml(&world.admin, CRDS).await?;
        let proxy = Proxy::start(&world.cluster).await?;
        let mut options =
            OperatorOptions::installed(&world.cluster, Some(&proxy), &NAMESPACES).await?;
        // Whoever was killed gives no Lease back; nobody else is there.
        options.args.push("--leader-elect=false".into());
        Ok(Self {
            world,
            proxy,
            options,
        })
    }

    async fn api(&self, version: &str, kind: &str) -> Result<Api<DynamicObject>> {
        dynamic_api(&self.world.admin, version, kind, Some(CONTROL_PLANE)).await
    }

    /// As before anything was made. No operator runs.
    async fn clean(&self) -> Result<()> {
        let now = DeleteParams::default();
        let admission = "admissionregistration.k8s.io/v1";
        let configurations = self
            .api(admission, "ValidatingWebhookConfiguration")
            .await?;
        let _ = configurations.delete(CONFIGURATION, &now).await;
        for name in SECRETS {
            let _ = self.world.secrets(CONTROL_PLANE).delete(name, &now).await;
            let certificates = self.api("cert-manager.io/v1", "Certificate").await?;
            let _ = certificates.delete(name, &now).await;
        }
        for name in ["self", "ca"] {
            let issuers = self.api("cert-manager.io/v1", "Issuer").await?;
            let _ = issuers.delete(name, &now).await;
        }
        apply_documents(&self.world.admin, objects(), MANAGER).await?;
        self.proxy.reset();
        Ok(())
    }

    /// Waits until every Certificate says that it is ready, and all verifies.
    async fn ready(&self, operator: &Operator) -> Result<(), String> {
        let what = "every Certificate to be ready";
        try_wait_for(what, PATIENCE, async || {
            let verified = self.verified().await.map_err(|error| error.to_string());
            verified.map_err(|why| format!("{why}\n{}", operator.log()))
        })
        .await
    }

    async fn verified(&self) -> Result<()> {
        let certificates = self.api("cert-manager.io/v1", "Certificate").await?;
        for one in certificates.list(&Default::default()).await? {
            let status = one.data["status"].to_string();
            if !status.contains(r#""reason":"Ready""#) || status.contains("Issuing") {
                return Err(format!("{}: {status}", one.name_any()).into());
            }
        }
        let text = async |name, key| self.world.secret_text(CONTROL_PLANE, name, key).await;
        let ca = text(CA, "ca.crt").await;
        verify(&ca, &text(CLIENT, "tls.crt").await, Purpose::Client)?;
        for name in SECRETS {
            let bundle = text(name, "ca.crt").await;
            verify(&bundle, &text(name, "tls.crt").await, Purpose::Any)?;
        }
        let admission = "admissionregistration.k8s.io/v1";
        let configurations = self
            .api(admission, "ValidatingWebhookConfiguration")
            .await?;
        let found = configurations.get(CONFIGURATION).await?;
        let bundle = found.data["webhooks"][0]["clientConfig"]["caBundle"].clone();
        let bundle: Option<ByteString> = serde_json::from_value(bundle)?;
        let bundle = String::from_utf8(bundle.unwrap_or_default().0)?;
        verify(&bundle, &text(WEBHOOK, "tls.crt").await, Purpose::Any)?;
        Ok(())
    }

    /// The keys that are stored.
    async fn keys(&self) -> BTreeMap<&'static str, String> {
        let mut found = BTreeMap::new();
        for name in SECRETS {
            let key = self.world.secret_text(CONTROL_PLANE, name, "tls.key").await;
            if !key.is_empty() {
                found.insert(name, key);
            }
        }
        found
    }
}

async fn killed(when: When) -> Result<()> {
    let stage = Stage::set().await?;
    let mut held_writes = Vec::new();
    for n in 1.. {
        stage.clean().await?;
        let held = stage.proxy.on_write(n, when);
        let mut operator = Operator::start(stage.options.clone()).await?;
        let held = tokio::select! {
            held = held => held,
            ready = async { stage.ready(&operator).await?; stage.proxy.quiet(GRACE).await } => {
                ready?;
                break;
            }
        };
        let point = format!("{when:?} write {n}, {}", held.request);
        operator.kill();
        held_writes.push(format!(
            "{} {}",
            held.request.resource, held.request.subresource
        ));
        held.discard();
        let keys = stage.keys().await;
        operator.restart().await?;
        let ready = stage.ready(&operator).await;
        ready.map_err(|why| format!("{point}: {why}"))?;
        operator.kill();
        let kept = stage.keys().await;
        for (secret, key) in keys {
            assert!(kept[secret] == key, "{point}: {secret} has a second key");
        }
    }
    // Domains have their turns side by side: which write is the n-th differs.
    for kind in ["secrets", "certificates status"] {
        let mut all = held_writes.iter();
        assert!(all.any(|write| write.trim() == kind), "{held_writes:?}");
    }
    assert!(held_writes.len() > 10, "{held_writes:?}");
    Ok(())
}

#[tokio::test]
async fn before_each_write() -> Result<()> {
    killed(When::Before).await
}

#[tokio::test]
async fn after_each_write() -> Result<()> {
    killed(When::After).await
}
