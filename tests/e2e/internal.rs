//! The internal CA and the webhook's certificate are replaced while the gateway's internal API and the webhooks are called.

use std::time::Duration;

use external_ca_tests::Result;
use external_ca_tests::apply::{MANAGER, apply_documents, apply_yaml, dynamic_api};
use external_ca_tests::cert_manager::{CRDS, INTERNAL_CA, WEBHOOK, control_plane};
use external_ca_tests::crds::{CrdSource, Release};
use external_ca_tests::kubelet::{Kubelet, KubeletOptions, Stats, rolled_out};
use external_ca_tests::openchoreo::{CONTROL_PLANE, tls_secret, trust};
use external_ca_tests::openssl::{Ca, KeyKind, Leaf, Purpose, pem_blocks, verify};
use external_ca_tests::wait::wait_for;
use external_ca_tests::webhooks::{Asked, Asking, Reviewed, ca_bundles, reviewed, serve_kinds};
use external_ca_tests::world::World;
use k8s_openapi::ByteString;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::MutexGuard;

use crate::stage::alone;

const PATIENCE: Duration = Duration::from_secs(900);
const WEBHOOK_HOST: &str = "controller-manager-webhook-service.openchoreo-control-plane.svc";
const CLIENTS: [(&str, &str); 2] = [
    (
        "controller-manager",
        "controller-manager-cluster-gateway-client-tls",
    ),
    (
        "openchoreo-api",
        "openchoreo-api-cluster-gateway-client-tls",
    ),
];
const GATEWAY: &str = "cluster-gateway";
const CONFIGURATIONS: [(&str, &str); 2] = [
    (
        "MutatingWebhookConfiguration",
        "openchoreo-control-plane-mutating-webhook-configuration",
    ),
    (
        "ValidatingWebhookConfiguration",
        "openchoreo-control-plane-validating-webhook-configuration",
    ),
];
/// A kubelet brings mounted files up to date within a minute and a half.
const REFRESH: Duration = Duration::from_secs(45);

/// The control plane, all of whose certificates are at work.
struct Scene {
    world: World,
    kubelet: Kubelet,
    kinds: Vec<Reviewed>,
    _alone: MutexGuard<'static, ()>,
}

/// Calls since it was made.
struct Load {
    before: Stats,
    asking: Asking,
}

impl Scene {
    async fn set(refresh_interval: Duration) -> Result<Self> {
        let alone = alone().await;
        let release = Release::V1_2;
        let world = World::start(CrdSource::available(release)[0], release).await?;
        apply_yaml(&world.admin, CRDS).await?;
        let objects = control_plane(release);
        let kinds = reviewed(&objects);
        serve_kinds(&world.admin, &kinds).await?;
        apply_documents(&world.admin, objects, MANAGER).await?;
        let options = KubeletOptions {
            managers: true,
            refresh_interval,
            ..KubeletOptions::default()
        };
        let kubelet = Kubelet::start(&world.cluster, options).await?;
        Ok(Self {
            world,
            kubelet,
            kinds: kinds.into_iter().collect(),
            _alone: alone,
        })
    }

    async fn rolled_out(&self) -> Result<()> {
        for name in [GATEWAY, CLIENTS[0].0, CLIENTS[1].0] {
            rolled_out(&self.world.admin, CONTROL_PLANE, name, PATIENCE).await?;
        }
        Ok(())
    }

    /// Starts to call, once every call succeeds.
    async fn load(&self) -> Result<Load> {
        self.rolled_out().await?;
        wait_for("the clients to be served", PATIENCE, async || {
            let stats = self.kubelet.internal_stats();
            match stats.connected.len() == CLIENTS.len()
                && stats.connected_agents() == CLIENTS.len()
            {
                true => Ok(()),
                false => Err(format!("{stats:#?}")),
            }
        })
        .await;
        let asking = Asking::start(&self.world.cluster, self.kinds.clone()).await?;
        let mut failed = u64::MAX;
        wait_for("the webhooks to be trusted", PATIENCE, async || {
            let asked = asking.so_far();
            let failures = asked.failed_by_certificate + asked.failed_other;
            let more = failures != std::mem::replace(&mut failed, failures);
            match more || asked.attempts < 100 {
                true => Err(format!("{asked:?}")),
                false => Ok(()),
            }
        })
        .await;
        drop(asking);
        Ok(Load {
            before: self.kubelet.internal_stats(),
            asking: Asking::start(&self.world.cluster, self.kinds.clone()).await?,
        })
    }

    async fn text(&self, secret: &str, key: &str) -> String {
        self.world.secret_text(CONTROL_PLANE, secret, key).await
    }

    async fn change(&self, certificate: &str, spec: Value) -> Result<()> {
        let (version, kind) = ("cert-manager.io/v1", "Certificate");
        let api = dynamic_api(&self.world.admin, version, kind, Some(CONTROL_PLANE)).await?;
        let patch = Patch::Merge(json!({"spec": spec}));
        api.patch(certificate, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Waits until another internal CA has the place of this one, alone, and every client is its.
    async fn moved_from(&self, old: &str) -> Result<String> {
        let new = wait_for("the next internal CA, alone", PATIENCE, async || {
            let new = self.text(INTERNAL_CA, "tls.crt").await;
            if new == old {
                return Err("the first is in place".to_owned());
            }
            let mut bundles = vec![self.text(INTERNAL_CA, "ca.crt").await];
            for (_, secret) in CLIENTS {
                bundles.push(self.text(secret, "ca.crt").await);
                verify(&new, &self.text(secret, "tls.crt").await, Purpose::Client)?;
            }
            match bundles.iter().all(|bundle| bundle.trim() == new.trim()) {
                true => Ok(new),
                false => Err(format!("{bundles:?}")),
            }
        })
        .await;
        self.rolled_out().await?;
        Ok(new)
    }

    /// What the webhook's server has before it.
    fn mounted(&self) -> Vec<String> {
        let pods = self.kubelet.pods(CONTROL_PLANE);
        let served = pods.iter().filter_map(|pod| {
            let file = pod.volumes.join("cert/tls.crt");
            std::fs::read_to_string(file).ok()
        });
        served.collect()
    }

    /// Waits until another certificate is served, and no other trusted.
    async fn webhook_moved_from(&self, old: &str) {
        wait_for(
            "the next webhook certificate, alone",
            PATIENCE,
            async || {
                let new = self.text(WEBHOOK, "tls.crt").await;
                let mounted = self.mounted();
                let bundles = ca_bundles(&self.world.admin).await;
                let bundles = bundles.map_err(|error| error.to_string())?;
                let bundles: Vec<String> = bundles.into_values().collect();
                let alone = bundles.iter().all(|bundle| pem_blocks(bundle).len() == 1);
                let trusted = bundles
                    .iter()
                    .all(|bundle| verify(bundle, &new, Purpose::Any).is_ok());
                let served = !mounted.is_empty() && mounted.iter().all(|text| *text == new);
                match new != old && alone && trusted && served {
                    true => Ok(()),
                    false => Err(format!(
                        "alone: {alone}, trusted: {trusted}, served: {served}"
                    )),
                }
            },
        )
        .await;
    }
}

impl Load {
    async fn ended(self, scene: Scene) -> (Stats, Asked) {
        let asked = self.asking.so_far();
        drop(self.asking);
        let kubelet = scene.kubelet;
        let calls = kubelet.internal_stats().since(&self.before);
        kubelet.stop().await;
        (calls, asked)
    }
}

#[tokio::test]
async fn the_internal_ca_and_the_webhooks_certificate_are_replaced() -> Result<()> {
    let scene = Scene::set(REFRESH).await?;
    scene.world.put_ca(&Ca::guide()).await?;
    let operator = scene.world.operator(None).await?;
    scene.world.issue().await?;
    let load = scene.load().await?;

    // Another certificate of its key, then another key.
    let first = scene.text(INTERNAL_CA, "tls.crt").await;
    let organizations = |name| json!({"organizations": ["OpenChoreo", name]});
    let change = json!({"subject": organizations("Second")});
    scene.change(INTERNAL_CA, change).await?;
    let second = scene.moved_from(&first).await?;
    let change = json!({
        "subject": organizations("Third"), "privateKey": {"rotationPolicy": "Always"},
    });
    scene.change(INTERNAL_CA, change).await?;
    scene.moved_from(&second).await?;

    let old = scene.text(WEBHOOK, "tls.crt").await;
    let names = [WEBHOOK_HOST, "next.example.com"];
    scene.change(WEBHOOK, json!({"dnsNames": names})).await?;
    scene.webhook_moved_from(&old).await;

    drop(operator);
    let (calls, asked) = load.ended(scene).await;
    println!("internal API: {calls:#?}\nadmission: {asked:#?}");
    for (attempts, failed) in [
        (calls.attempts, calls.failed_by_certificate),
        (asked.attempts, asked.failed_by_certificate),
    ] {
        assert!(attempts > 1000, "{attempts}");
        assert_eq!(failed, 0);
    }
    Ok(())
}

/// What cert-manager would have made.
struct Made {
    internal: Ca,
    webhook: Ca,
    server: Leaf,
}

impl Made {
    fn new() -> Self {
        let ca = |name: &str| Ca::new(&format!("/CN={name}/O=OpenChoreo"), KeyKind::P256);
        let webhook = ca("webhook");
        Self {
            internal: ca("openchoreo-cluster-gateway-internal-ca"),
            server: webhook.server_leaf_for(&[WEBHOOK_HOST]),
            webhook,
        }
    }

    async fn put_webhook(&self, scene: &Scene) -> Result<()> {
        let secret = tls_secret(CONTROL_PLANE, WEBHOOK, &self.server);
        apply_yaml(&scene.world.admin, &secret).await?;
        Ok(())
    }

    /// As cainjector does it: after the certificate was replaced.
    async fn inject(&self, scene: &Scene) -> Result<()> {
        let version = "admissionregistration.k8s.io/v1";
        let bundle = ByteString(self.webhook.certificate.clone().into_bytes());
        for (kind, name) in CONFIGURATIONS {
            let api = dynamic_api(&scene.world.admin, version, kind, None).await?;
            let mut object = api.get(name).await?;
            for webhook in object.data["webhooks"].as_array_mut().into_iter().flatten() {
                webhook["clientConfig"]["caBundle"] = json!(bundle);
            }
            api.replace(name, &Default::default(), &object).await?;
        }
        Ok(())
    }

    async fn put_internal(&self, scene: &Scene) -> Result<()> {
        let ca = &self.internal;
        let extensions = "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n";
        let mut leaves = vec![(INTERNAL_CA, ca.certificate.clone(), ca.key.clone())];
        for (name, secret) in CLIENTS {
            let leaf = ca.leaf(&format!("/CN={name}/O=OpenChoreo"), extensions, 90);
            leaves.push((secret, leaf.certificate, leaf.key));
        }
        for (name, certificate, key) in leaves {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
                "metadata": {"name": name, "namespace": CONTROL_PLANE},
                "stringData": {"tls.crt": certificate, "tls.key": key, "ca.crt": ca.certificate},
            });
            apply_yaml(&scene.world.admin, &secret.to_string()).await?;
        }
        Ok(())
    }
}

/// As cert-manager does it: replace, then inject; and people restart what does not notice. The scenario above could see a
/// failure.
#[tokio::test]
async fn replacing_and_then_injecting_fails_calls() -> Result<()> {
    let scene = Scene::set(Duration::from_secs(1)).await?;
    let admin = &scene.world.admin;
    let ca = Ca::guide();
    let server = ca.server_leaf(CONTROL_PLANE);
    apply_yaml(
        admin,
        &tls_secret(CONTROL_PLANE, "cluster-gateway-tls", &server),
    )
    .await?;
    apply_yaml(admin, &trust(CONTROL_PLANE, &ca.certificate, true)).await?;
    let [first, second] = [Made::new(), Made::new()];
    first.put_internal(&scene).await?;
    first.put_webhook(&scene).await?;
    first.inject(&scene).await?;
    let load = scene.load().await?;

    second.put_webhook(&scene).await?;
    wait_for("a request to be refused", PATIENCE, async || {
        let asked = load.asking.so_far();
        match asked.failed_by_certificate {
            0 => Err(format!("{asked:?}")),
            _ => Ok(()),
        }
    })
    .await;
    second.inject(&scene).await?;

    second.put_internal(&scene).await?;
    for name in [CLIENTS[0].0, CLIENTS[1].0] {
        scene.world.deployments(CONTROL_PLANE).restart(name).await?;
    }
    wait_for("a call to be refused", PATIENCE, async || {
        let calls = scene.kubelet.internal_stats().since(&load.before);
        match calls.failed_by_certificate {
            0 => Err(format!("{calls:?}")),
            _ => Ok(()),
        }
    })
    .await;
    scene
        .world
        .deployments(CONTROL_PLANE)
        .restart(GATEWAY)
        .await?;
    scene.load().await?;
    let (calls, asked) = load.ended(scene).await;
    println!(
        "{} of {} calls and {} of {} requests failed by certificate",
        calls.failed_by_certificate, calls.attempts, asked.failed_by_certificate, asked.attempts
    );
    Ok(())
}
