//! OpenChoreo's unmodified charts, which Helm owns: before and after the operator, upgraded, uninstalled and back.

use external_ca_tests::apply::{apply_yaml, dynamic_api};
use external_ca_tests::cert_manager::{CRDS, control_plane_from, is_ready, plane};
use external_ca_tests::crds::{CrdSource, Release};
use external_ca_tests::helm::Helm;
use external_ca_tests::kubelet::{Kubelet, KubeletOptions, rolled_out};
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::{Ca, Purpose, fields, key_matches, pem_blocks, verify};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::webhooks::{ask, ca_bundles, reviewed, serve_kinds};
use external_ca_tests::world::World;
use external_ca_tests::{Operator, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::Value;
use std::collections::BTreeMap;

/// An issuance makes it, without a key.
const TRUST: &str = "cluster-gateway-ca";

/// A chart of a release: what it renders, and who installs it.
struct Chart {
    helm: Helm,
    objects: Vec<Value>,
}

struct Scene {
    world: World,
    ca: Ca,
    charts: Vec<Chart>,
    _kubelet: Kubelet,
}

impl Scene {
    /// A cluster in which nothing is installed but kinds.
    async fn set(source: CrdSource, release: Release) -> Result<Self> {
        let world = World::start(source, release).await?;
        apply_yaml(&world.admin, CRDS).await?;
        let map = world.config_maps(CONTROL_PLANE);
        map.delete(TRUST, &DeleteParams::default()).await?;
        world.put_planes().await?;
        let ca = Ca::guide();
        world.put_ca(&ca).await?;
        let mut rendered = vec![(CONTROL_PLANE, control_plane_from(source, release))];
        if source == CrdSource::Real {
            for kind in world.plane_types() {
                let objects = plane(release, kind).expect("its planes' charts are there, too");
                rendered.push((kind.namespace(), objects));
            }
        }
        let mut charts = Vec::new();
        for (name, objects) in rendered {
            serve_kinds(&world.admin, &reviewed(&objects)).await?;
            let helm = Helm::new(&world.cluster, name, name).await?;
            helm.objects(&objects)?;
            charts.push(Chart { helm, objects });
        }
        let options = KubeletOptions {
            managers: true,
            ..KubeletOptions::default()
        };
        let kubelet = Kubelet::start(&world.cluster, options).await?;
        Ok(Self {
            world,
            ca,
            charts,
            _kubelet: kubelet,
        })
    }

    async fn install(&self) -> Result<()> {
        for chart in &self.charts {
            chart.helm.install().await?;
        }
        Ok(())
    }

    async fn upgrade(&self) -> Result<()> {
        for chart in &self.charts {
            chart.helm.upgrade().await?;
        }
        Ok(())
    }

    /// Uninstalls all, and waits for the end of the last pod.
    async fn uninstall(&self) -> Result<()> {
        for chart in &self.charts {
            chart.helm.uninstall().await?;
        }
        let pods: Api<Pod> = Api::all(self.world.admin.clone());
        wait_for("the last pod to end", PATIENCE, async || {
            let found = pods.list(&ListParams::default()).await;
            match found.map_err(|error| error.to_string())?.items.len() {
                0 => Ok(()),
                some => Err(format!("{some} pods")),
            }
        })
        .await;
        Ok(())
    }

    fn rendered(&self, kind: &str) -> Vec<&Value> {
        let objects = self.charts.iter().flat_map(|chart| &chart.objects);
        objects.filter(|object| object["kind"] == kind).collect()
    }

    /// Everything that these objects ask for is there, and does its work.
    async fn well(&self, operator: &Operator) -> Result<()> {
        for deployment in self.rendered("Deployment") {
            let metadata = &deployment["metadata"];
            let [namespace, name] =
                ["namespace", "name"].map(|key| metadata[key].as_str().unwrap_or_default());
            let rolled = rolled_out(&self.world.admin, namespace, name, PATIENCE).await;
            rolled.map_err(|error| format!("{error}\n{}", operator.log()))?;
        }
        wait_for("every certificate", PATIENCE, async || {
            let trouble = self.trouble().await.map_err(|error| error.to_string())?;
            match trouble.is_empty() {
                true => Ok(()),
                false => Err(trouble.join("\n")),
            }
        })
        .await;
        self.world.ready().await;
        Ok(())
    }

    /// What is not as it should be; and what says that it is ready has to be.
    async fn trouble(&self) -> Result<Vec<String>> {
        let mut trouble = Vec::new();
        for certificate in self.rendered("Certificate") {
            let metadata = &certificate["metadata"];
            let [namespace, name] =
                ["namespace", "name"].map(|key| metadata[key].as_str().unwrap_or_default());
            let ready = is_ready(&self.world.admin, namespace, name).await?;
            let made = self.made(certificate).await;
            match (ready, made) {
                (true, Ok(())) => {}
                (true, Err(error)) => panic!("{metadata} says that it is ready: {error}"),
                (false, made) => trouble.push(format!("{metadata}: not ready; {made:?}")),
            }
        }
        let served = "controller-manager-webhook-server-cert";
        let served = self.world.secret_text(CONTROL_PLANE, served, "tls.crt");
        let served = served.await;
        for (webhook, bundle) in ca_bundles(&self.world.admin).await? {
            if let Err(error) = verify(&bundle, &served, Purpose::Any) {
                trouble.push(format!("{webhook}: {error}"));
            }
        }
        for chart in &self.charts {
            for kind in reviewed(&chart.objects) {
                if let Err(error) = ask(&self.world.admin, &kind).await {
                    trouble.push(format!("{kind:?}: {error}"));
                }
            }
        }
        Ok(trouble)
    }

    /// The Secret holds what the Certificate asks for.
    async fn made(&self, certificate: &Value) -> Result<(), String> {
        let namespace = certificate["metadata"]["namespace"].as_str().unwrap_or("");
        let secret = certificate["spec"]["secretName"].as_str().unwrap_or("");
        let text = async |key| self.world.secret_text(namespace, secret, key).await;
        let (leaf, beside) = (text("tls.crt").await, text("ca.crt").await);
        if secret == TRUST {
            return match beside.trim() == self.ca.certificate.trim() {
                true => Ok(()),
                false => Err(format!("it holds {beside}")),
            };
        }
        // An issuance's leaves are verified by bundles elsewhere.
        let roots = if beside.is_empty() {
            &self.ca.certificate
        } else {
            &beside
        };
        verify(roots, &leaf, Purpose::Any)?;
        if !key_matches(&leaf, &text("tls.key").await) {
            return Err("another key".to_owned());
        }
        let names = fields(&leaf).names;
        let wanted = certificate["spec"]["dnsNames"].as_array();
        let mut wanted = wanted.into_iter().flatten().filter_map(Value::as_str);
        match wanted.find(|name| !names.contains(&format!("DNS:{name}"))) {
            None => Ok(()),
            Some(name) => Err(format!("{name} is not among {names:?}")),
        }
    }

    /// The certificates, by their Secrets.
    async fn certificates(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for certificate in self.rendered("Certificate") {
            let namespace = certificate["metadata"]["namespace"].as_str().unwrap_or("");
            let secret = certificate["spec"]["secretName"].as_str().unwrap_or("");
            let keys = ["tls.crt", "tls.key", "ca.crt"];
            for key in keys {
                let text = self.world.secret_text(namespace, secret, key).await;
                found.insert(format!("{namespace}/{secret} {key}"), text);
            }
        }
        found
    }

    /// What stands there of all rendered objects, as a chart could give it.
    async fn shapes(&self) -> Result<BTreeMap<String, Value>> {
        let mut found = BTreeMap::new();
        for object in self.charts.iter().flat_map(|chart| &chart.objects) {
            let (id, live) = self.of(object, None).await?;
            found.insert(id, live);
        }
        Ok(found)
    }

    /// An object as it is, or as a server-side apply of what the chart renders would leave it.
    async fn of(&self, object: &Value, apply: Option<&PatchParams>) -> Result<(String, Value)> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let (version, kind) = (text("/apiVersion").unwrap(), text("/kind").unwrap());
        let namespace = text("/metadata/namespace");
        let name = text("/metadata/name").unwrap();
        let api = dynamic_api(&self.world.admin, version, kind, namespace).await?;
        let found = match apply {
            None => api.get(name).await?,
            Some(params) => api.patch(name, params, &Patch::Apply(object)).await?,
        };
        let mut shape = serde_json::to_value(found)?;
        shape["status"].take();
        for told in ["resourceVersion", "managedFields", "generation"] {
            shape["metadata"][told].take();
        }
        // The chart ships comments in the place of the bundle, at each upgrade.
        if kind == "ConfigMap" && name == TRUST {
            shape["data"].take();
        }
        Ok((
            format!("{kind} {}/{name}", namespace.unwrap_or_default()),
            shape,
        ))
    }

    /// `kubectl diff --server-side`
    async fn dry_run_changes_nothing(&self) -> Result<()> {
        let params = PatchParams {
            dry_run: true,
            ..PatchParams::apply("helm").force()
        };
        for object in self.charts.iter().flat_map(|chart| &chart.objects) {
            let (id, live) = self.of(object, None).await?;
            let (_, applied) = self.of(object, Some(&params)).await?;
            assert_eq!(live, applied, "{id}");
        }
        Ok(())
    }
}

async fn lives_on(scene: &Scene, operator: &Operator) -> Result<()> {
    scene.well(operator).await?;
    let first = scene.certificates().await;
    let shapes = scene.shapes().await?;
    scene.dry_run_changes_nothing().await?;
    scene.upgrade().await?;
    assert_eq!(scene.shapes().await?, shapes);
    scene.well(operator).await?;
    assert_eq!(
        scene.certificates().await,
        first,
        "an upgrade renews nothing"
    );
    scene.uninstall().await?;
    assert_eq!(
        scene.certificates().await,
        first,
        "Secrets outlive their Certificates"
    );
    scene.install().await?;
    scene.well(operator).await?;
    assert_eq!(
        scene.certificates().await,
        first,
        "what is there is used again"
    );
    Ok(())
}

async fn operator_first(source: CrdSource, release: Release) -> Result<()> {
    let scene = Scene::set(source, release).await?;
    let operator = scene.world.operator(None).await?;
    scene.world.issue().await?;
    scene.install().await?;
    lives_on(&scene, &operator).await
}

async fn openchoreo_first(source: CrdSource, release: Release) -> Result<()> {
    let scene = Scene::set(source, release).await?;
    scene.install().await?;
    let pods: Api<Pod> = Api::namespaced(scene.world.admin.clone(), CONTROL_PLANE);
    wait_for("pods to wait for their mounts", PATIENCE, async || {
        let found = pods.list(&ListParams::default()).await;
        let found = serde_json::json!(found.map_err(|error| error.to_string())?.items);
        let text = found.to_string();
        let waits = [
            "cluster-gateway-tls",
            "controller-manager-webhook-server-cert",
        ];
        match waits
            .iter()
            .all(|secret| text.contains(&format!("secret \\\"{secret}\\\" not found")))
        {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await;
    // OpenChoreo is up for a while before the issuance: no CA's key is ever stored in the place of what that one makes.
    let operator = scene.world.operator(None).await?;
    let webhook = "controller-manager-webhook-server-cert";
    wait_for(
        "the webhook's certificate",
        PATIENCE,
        async || match is_ready(&scene.world.admin, CONTROL_PLANE, webhook).await {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await;
    let trust = scene.world.secrets(CONTROL_PLANE).get_opt(TRUST).await?;
    assert!(trust.is_none(), "an issuance makes it");
    scene.world.issue().await?;
    lives_on(&scene, &operator).await?;
    let trust = scene
        .world
        .secret_text(CONTROL_PLANE, TRUST, "ca.crt")
        .await;
    assert_eq!(pem_blocks(&trust).len(), 1);
    let key = scene
        .world
        .secret_text(CONTROL_PLANE, TRUST, "tls.key")
        .await;
    assert_eq!(key, "");
    Ok(())
}

#[tokio::test]
async fn openchoreo_1_2_after_the_operator() -> Result<()> {
    operator_first(CrdSource::available(Release::V1_2)[0], Release::V1_2).await
}

#[tokio::test]
async fn openchoreo_1_2_before_the_operator() -> Result<()> {
    openchoreo_first(CrdSource::available(Release::V1_2)[0], Release::V1_2).await
}

#[tokio::test]
async fn openchoreo_0_17_after_the_operator() -> Result<()> {
    operator_first(CrdSource::available(Release::V0_17)[0], Release::V0_17).await
}

#[tokio::test]
async fn openchoreo_0_17_before_the_operator() -> Result<()> {
    openchoreo_first(CrdSource::available(Release::V0_17)[0], Release::V0_17).await
}

/// The same with objects of our own, for machines that have no others.
#[tokio::test]
async fn fixtures_stand_for_openchoreo() -> Result<()> {
    for release in Release::ALL {
        openchoreo_first(CrdSource::Fixture, release).await?;
    }
    Ok(())
}
