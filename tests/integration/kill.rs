//! SIGKILL before and after each write of a full issuance: the same end state, no second key, no needless restart.
//!
//! Pods run without processes, and hold what an earlier run has left, so that each workload must be restarted once: its
//! generation counts the restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use external_ca_core::x509::parse_bundle;
use external_ca_tests::apply::{apply_documents, documents};
use external_ca_tests::openchoreo::{self, CONTROL_PLANE};
use external_ca_tests::openssl::{Ca, Purpose, key_matches, verify};
use external_ca_tests::proxy::When;
use external_ca_tests::wait::{PATIENCE, try_wait_for, wait_for};
use external_ca_tests::world::{CA_SECRET, ISSUANCE, NAMESPACES, World};
use external_ca_tests::{
    Kubelet, KubeletOptions, Operator, OperatorOptions, Proxy, Result, TestAuthority, chart,
    operator,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

/// Where requests wait for their certificates.
pub const PENDING: &str = "external-ca-pending";
const HASH: &str = "pki.openchoreo.dev/material-hash";
/// Another write would have come within this time.
pub const GRACE: Duration = Duration::from_millis(500);

/// The CA, and the Deployments of gateway and agents, of which no pod runs.
pub async fn furnish(world: &World) -> Result<()> {
    furnish_with(world, 0).await
}

/// The same with a pod of each, played without processes.
pub async fn furnish_pods(world: &World) -> Result<Kubelet> {
    furnish_with(world, 1).await?;
    let options = KubeletOptions {
        processes: false,
        ..KubeletOptions::default()
    };
    Kubelet::start(&world.cluster, options).await
}

async fn furnish_with(world: &World, replicas: u32) -> Result<()> {
    world.put_ca(&Ca::guide()).await?;
    let agents = world
        .plane_types()
        .map(|plane| openchoreo::agent(plane, plane.namespace(), "default", 0));
    let gateway = openchoreo::control_plane_of(world.release, CONTROL_PLANE);
    let mut objects = documents(&openchoreo::join(agents.into_iter().chain([gateway])))?;
    for object in objects
        .iter_mut()
        .filter(|object| object["kind"] == "Deployment")
    {
        object["spec"]["replicas"] = json!(replicas);
    }
    apply_documents(&world.admin, objects, "test").await?;
    Ok(())
}

/// What may not differ between a run that was killed and one that was not.
#[derive(Debug, PartialEq)]
struct End {
    bundles: BTreeMap<String, String>,
    planes: BTreeMap<String, Value>,
    leaves: BTreeSet<String>,
}

pub struct Stage {
    pub world: World,
    pub proxy: Proxy,
    pub options: OperatorOptions,
    /// What the operator asks in the place of the CA's key.
    pub authority: Option<TestAuthority>,
    _kubelet: Kubelet,
    ca: Ca,
}

impl Stage {
    pub async fn set() -> Result<Self> {
        let world = World::any().await?;
        let kubelet = furnish_pods(&world).await?;
        let proxy = Proxy::start(&world.cluster).await?;
        let mut options =
            OperatorOptions::installed(&world.cluster, Some(&proxy), &NAMESPACES).await?;
        // Whoever was killed gives no Lease back; nobody else is there.
        options.args = ["--plane-namespaces=default", "--leader-elect=false"]
            .map(String::from)
            .into();
        Ok(Self {
            world,
            proxy,
            options,
            authority: None,
            _kubelet: kubelet,
            ca: Ca::guide(),
        })
    }

    /// The same with an authority that the operator asks.
    pub async fn with_authority() -> Result<Self> {
        let mut stage = Self::set().await?;
        let authority = TestAuthority::start(&stage.ca).await?;
        let binary = tokio::task::spawn_blocking(operator::for_tests).await?;
        stage.options.binary = Some(binary.map_err(String::clone)?.clone());
        stage.options.args.push(authority.argument());
        stage.authority = Some(authority);
        Ok(stage)
    }

    pub fn all<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::all(self.world.admin.clone())
    }

    /// As before the issuance. No operator runs.
    pub async fn clean(&self) -> Result<()> {
        let now = DeleteParams::default();
        let issuances = self.world.issuances();
        gone(issuances.delete(ISSUANCE, &now).await)?;
        for namespace in NAMESPACES {
            for name in [
                "cluster-gateway-tls",
                "cluster-agent-tls",
                "cluster-gateway-ca",
            ] {
                gone(self.world.secrets(namespace).delete(name, &now).await)?;
            }
            gone(
                self.world
                    .config_maps(namespace)
                    .delete("cluster-gateway-ca", &now)
                    .await,
            )?;
        }
        let own = self.world.secrets(chart::NAMESPACE);
        gone(own.delete(PENDING, &now).await)?;
        if let Some(authority) = &self.authority {
            authority.forget();
        }
        for plane in self.planes().await? {
            gone(self.plane_api(&plane).delete(&plane.name_any(), &now).await)?;
        }
        self.world.put_planes().await?;
        for deployment in self.deployments().await? {
            let api: Api<Deployment> =
                Api::namespaced(self.world.admin.clone(), &deployment.namespace().unwrap());
            let patch = json!({"spec": {"template": {"metadata": {"annotations": {HASH: null}}}}});
            let name = deployment.name_any();
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
            wait_for("the Deployment's status", PATIENCE, async || {
                let found = api.get(&name).await.map_err(|error| error.to_string())?;
                let seen = found.status.and_then(|status| status.observed_generation);
                if seen == found.metadata.generation {
                    Ok(())
                } else {
                    Err(format!("{seen:?}"))
                }
            })
            .await;
        }
        self.proxy.disarm();
        self.proxy.reset();
        Ok(())
    }

    /// Every pod is made anew: none that has started is left.
    pub async fn renew_pods(&self) -> Result<()> {
        let all = self.all::<Pod>();
        let old = all.list(&ListParams::default()).await?;
        for pod in &old {
            let here: Api<Pod> = Api::namespaced(
                self.world.admin.clone(),
                &pod.namespace().unwrap_or_default(),
            );
            gone(here.delete(&pod.name_any(), &DeleteParams::default()).await)?;
        }
        let old: BTreeSet<Option<String>> = old.iter().map(ResourceExt::uid).collect();
        wait_for("the old pods' end", PATIENCE, async || {
            let found = all.list(&ListParams::default()).await;
            let mut found = found.map_err(|error| error.to_string())?.items.into_iter();
            match found.find(|pod| old.contains(&pod.uid())) {
                None => Ok(()),
                Some(pod) => Err(pod.name_any()),
            }
        })
        .await;
        Ok(())
    }

    fn plane_api(&self, plane: &DynamicObject) -> Api<DynamicObject> {
        let types = plane.types.as_ref().expect("a plane has a type");
        let gvk = kube::core::GroupVersionKind::try_from(types).expect("a type");
        let resource = kube::core::ApiResource::from_gvk(&gvk);
        Api::namespaced_with(self.world.admin.clone(), "default", &resource)
    }

    pub async fn planes(&self) -> Result<Vec<DynamicObject>> {
        let mut planes = Vec::new();
        for plane in self.world.plane_types() {
            let types = kube::core::TypeMeta {
                api_version: "openchoreo.dev/v1alpha1".into(),
                kind: plane.kind().into(),
            };
            let example = DynamicObject {
                types: Some(types.clone()),
                metadata: Default::default(),
                data: Value::Null,
            };
            for mut found in self
                .plane_api(&example)
                .list(&ListParams::default())
                .await?
            {
                found.types = Some(types.clone());
                planes.push(found);
            }
        }
        Ok(planes)
    }

    async fn deployments(&self) -> Result<Vec<Deployment>> {
        Ok(self
            .all::<Deployment>()
            .list(&ListParams::default())
            .await?
            .items)
    }

    /// How often each pod template was changed so far.
    async fn generations(&self) -> Result<BTreeMap<String, i64>> {
        let all = self.deployments().await?;
        let generation = |one: &Deployment| one.metadata.generation.unwrap_or_default();
        Ok(all
            .iter()
            .map(|one| (one.name_any(), generation(one)))
            .collect())
    }

    /// The keys that are stored, by leaf.
    async fn keys(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let all = self.all::<Secret>().list(&ListParams::default()).await?;
        let key = |secret: Secret| {
            let name = format!("{}/{}", secret.namespace()?, secret.name_any());
            let key = secret.data?.remove("tls.key")?.0;
            (!name.ends_with(CA_SECRET)).then_some((name, key))
        };
        Ok(all.into_iter().filter_map(key).collect())
    }

    /// Waits until this process has judged everything to be Ready, and says so in the status.
    pub async fn ready(&self, operator: &Operator) -> Result<(), String> {
        try_wait_for("a Ready issuance", PATIENCE, async || {
            let metrics = operator
                .metrics()
                .await
                .map_err(|error| error.to_string())?;
            let judged = metrics.lines().any(|line| {
                line.starts_with("external_ca_issuance_ready{") && line.ends_with(" 1")
            });
            let issuance = self
                .world
                .issuances()
                .get(ISSUANCE)
                .await
                .map_err(|error| error.to_string())?;
            let status = issuance.status.unwrap_or_default();
            let told = status
                .conditions
                .iter()
                .any(|one| one.type_ == "Ready" && one.status == "True");
            if judged && told {
                Ok(())
            } else {
                Err(external_ca_tests::world::describe(&status))
            }
        })
        .await
        .map_err(|error| format!("{error}\n{}", operator.log()))
    }

    /// The end state; every leaf in it fits.
    async fn end(&self) -> Result<End> {
        let mut end = End {
            bundles: BTreeMap::new(),
            planes: BTreeMap::new(),
            leaves: BTreeSet::new(),
        };
        for secret in self.all::<Secret>().list(&ListParams::default()).await? {
            let name = format!(
                "Secret {}/{}",
                secret.namespace().unwrap_or_default(),
                secret.name_any()
            );
            let text = |key: &str| {
                let bytes = secret.data.as_ref().and_then(|data| data.get(key));
                bytes.map(|bytes| String::from_utf8(bytes.0.clone()).unwrap())
            };
            if let Some(bundle) = text("ca.crt") {
                end.bundles.insert(name, bundle);
            } else if let (Some(certificate), Some(key), false) =
                (text("tls.crt"), text("tls.key"), name.ends_with(CA_SECRET))
            {
                assert!(key_matches(&certificate, &key), "{name}");
                let purpose = match name.ends_with("cluster-gateway-tls") {
                    true => Purpose::Server("cluster-gateway.openchoreo-control-plane.svc"),
                    false => Purpose::Client,
                };
                verify(&self.ca.certificate, &certificate, purpose)
                    .map_err(|why| format!("{name}: {why}"))?;
                end.leaves.insert(name);
            }
        }
        for config_map in self.all::<ConfigMap>().list(&ListParams::default()).await? {
            if config_map.name_any() == "cluster-gateway-ca" {
                let name = format!("ConfigMap {}", config_map.namespace().unwrap_or_default());
                end.bundles
                    .insert(name, config_map.data.unwrap_or_default()["ca.crt"].clone());
            }
        }
        for plane in self.planes().await? {
            let name = format!(
                "{} {}",
                plane.types.as_ref().unwrap().kind,
                plane.name_any()
            );
            end.planes
                .insert(name, plane.data["spec"]["clusterAgent"]["clientCA"].clone());
        }
        Ok(end)
    }

    /// The certificate of each leaf is that of a request of its own, and there was no other; none is kept any more.
    pub async fn each_leaf_was_asked_for_once(&self) -> Result<(), String> {
        let Some(authority) = &self.authority else {
            return Ok(());
        };
        let all = self.all::<Secret>().list(&ListParams::default()).await;
        let mut leaves = 0;
        for secret in all.map_err(|error| error.to_string())? {
            let data = secret.data.clone().unwrap_or_default();
            let Some(pem) = data.get("tls.crt") else {
                continue;
            };
            let name = format!("{:?}/{}", secret.namespace(), secret.name_any());
            if name.ends_with(CA_SECRET) {
                continue;
            }
            let chain = parse_bundle(&pem.0).certificates;
            let known = authority.request_of(&chain[0]);
            known.ok_or_else(|| format!("{name}: nobody has asked for this certificate"))?;
            leaves += 1;
        }
        let known = authority.known();
        let asked: Vec<_> = known
            .iter()
            .map(|known| (&known.common_name, known.made, known.polled))
            .collect();
        if asked.len() != leaves {
            return Err(format!(
                "{leaves} leaves, {} requests: {asked:?}",
                asked.len()
            ));
        }
        try_wait_for("every request to be dropped", PATIENCE, async || match self
            .kept_requests()
            .await
        {
            0 => Ok(()),
            kept => Err(format!("{kept} are kept")),
        })
        .await
    }

    /// How many requests wait for their certificates.
    pub async fn kept_requests(&self) -> usize {
        let secret = self.world.secrets(chart::NAMESPACE).get_opt(PENDING).await;
        let data = secret.unwrap().and_then(|secret| secret.data);
        data.unwrap_or_default().len()
    }

    pub async fn issue(&self) -> Result<()> {
        let quick = json!({
            "certificateDefaults": {"privateKey": {"algorithm": "ECDSA", "size": 256}},
            "rollout": {"maxConcurrent": 10, "kubeletCache": "0s"},
        });
        self.world.issue_with(quick).await
    }
}

fn gone<T>(result: Result<T, kube::Error>) -> Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

fn restarts(
    before: &BTreeMap<String, i64>,
    after: &BTreeMap<String, i64>,
) -> BTreeMap<String, i64> {
    after
        .iter()
        .map(|(name, generation)| (name.clone(), generation - before[name]))
        .collect()
}

/// Kills the operator at each write of a full issuance, on one side of the API server.
pub async fn killed(stage: &Stage, when: When) -> Result<()> {
    // The first pods wait for what they mount; all later ones hold what an earlier run has left.
    stage.clean().await?;
    let operator = Operator::start(stage.options.clone()).await?;
    stage.issue().await?;
    stage.ready(&operator).await?;
    operator.kill();
    stage.clean().await?;
    let before = stage.generations().await?;
    let operator = Operator::start(stage.options.clone()).await?;
    stage.issue().await?;
    stage.ready(&operator).await?;
    let writes = stage.proxy.quiet(Duration::from_secs(2)).await?;
    operator.kill();
    let wanted = stage.end().await?;
    let undisturbed = restarts(&before, &stage.generations().await?);
    assert_eq!(wanted.leaves.len(), 4, "{wanted:?}");
    assert!(
        undisturbed.values().all(|count| *count == 1),
        "{undisturbed:?}"
    );

    let mut held_writes = Vec::new();
    // Until a run ends before its n-th write: how often the status is written depends on time.
    for n in 1.. {
        stage.clean().await?;
        let before = stage.generations().await?;
        let held = stage.proxy.on_write(n, when);
        let mut operator = Operator::start(stage.options.clone()).await?;
        stage.issue().await?;
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
        let keys = stage.keys().await?;
        operator.restart().await?;
        stage
            .ready(&operator)
            .await
            .map_err(|why| format!("{point}: {why}"))?;
        operator.kill();

        assert_eq!(stage.end().await?, wanted, "{point}");
        stage
            .each_leaf_was_asked_for_once()
            .await
            .map_err(|why| format!("{point}: {why}\n{}", operator.log()))?;
        let kept = stage.keys().await?;
        for (leaf, key) in keys {
            assert!(
                kept[&leaf] == key,
                "{point}: {leaf} has a second key\n{}",
                operator.log()
            );
        }
        let restarted = restarts(&before, &stage.generations().await?);
        assert_eq!(restarted, undisturbed, "{point}\n{}", operator.log());
    }
    let kinds: BTreeSet<&str> = held_writes.iter().map(|write| write.trim()).collect();
    println!(
        "{} of {writes} writes {when:?}: {kinds:?}",
        held_writes.len()
    );
    assert!(held_writes.len() + 3 >= writes, "{held_writes:?}");
    for kind in [
        "secrets",
        "configmaps",
        "deployments",
        "externalcaissuances status",
    ] {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    // Planes are written side by side: which of them is the n-th differs.
    let planes = |kind: &&str| kind.ends_with("planes");
    assert!(kinds.iter().any(planes), "{kinds:?}");
    Ok(())
}

#[tokio::test]
async fn before_each_write() -> Result<()> {
    killed(&Stage::set().await?, When::Before).await
}

#[tokio::test]
async fn after_each_write() -> Result<()> {
    killed(&Stage::set().await?, When::After).await
}
