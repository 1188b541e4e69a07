//! Where a story plays: OpenChoreo in namespaces of its own, with pods that hold what they have read, behind a proxy of its
//! own; the control plane is shared.

use std::sync::LazyLock;

use external_ca_api::ExternalCAIssuance;
use external_ca_tests::apply::{apply_yaml, create_namespace};
use external_ca_tests::chart::{self, install_operator_rbac};
use external_ca_tests::crds::{CrdSource, Release, openchoreo_crds_from};
use external_ca_tests::openchoreo::{self, ClientCa, PlaneType, agent_of, control_plane_of};
use external_ca_tests::openssl::{Ca, GUIDE_SUBJECT, KeyKind};
use external_ca_tests::wait::{PATIENCE, try_wait_for};
use external_ca_tests::world::{CA_SECRET, ISSUANCE, describe, issuance};
use external_ca_tests::{ControlPlane, Kubelet, KubeletOptions, OperatorOptions, Proxy, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;

use crate::fleet::Fleet;
use crate::story::{Bundle, CAS, Leaf, PLANES, Story, Workload};
use crate::weather::Weather;

const RELEASE: Release = Release::V0_17;
pub const BUNDLE: &str = "cluster-gateway-ca";

/// CAs of one name, each with a key of its own.
pub static OURS: LazyLock<[Ca; CAS]> =
    LazyLock::new(|| [(); CAS].map(|()| Ca::new(GUIDE_SUBJECT, KeyKind::P256)));
/// Somebody else's, in whose certificate nobody trusts.
pub static STRANGER: LazyLock<Ca> = LazyLock::new(|| Ca::new("/CN=a stranger", KeyKind::P256));
/// One that somebody else trusts, and that signs nothing of ours: an anchor that does would be an old CA, and leave.
pub static FOREIGN: LazyLock<Ca> = LazyLock::new(|| Ca::new("/CN=somebody", KeyKind::P256));

pub struct Scene {
    /// What everything of this story is called by.
    pub name: String,
    pub seed: u64,
    pub admin: Client,
    pub proxy: Proxy,
    pub kubelet: Kubelet,
    cluster: &'static ControlPlane,
}

/// What all scenes share.
pub async fn furnish(cluster: &ControlPlane) -> Result<()> {
    for crd in openchoreo_crds_from(CrdSource::available(RELEASE)[0], RELEASE) {
        apply_yaml(&cluster.admin().await, &crd).await?;
    }
    Ok(())
}

impl Scene {
    pub async fn set(cluster: &'static ControlPlane, story: &Story) -> Result<Self> {
        let (name, admin) = (format!("chaos-{}", story.seed), cluster.admin().await);
        let namespaces = namespaces(&name);
        for namespace in &namespaces {
            create_namespace(&admin, namespace).await?;
        }
        let values = json!({
            "fullnameOverride": name, "namespaces": {"serve": namespaces, "planes": []},
        });
        install_operator_rbac(&admin, &values).await?;
        let options = KubeletOptions {
            end_takes: namespaces
                .iter()
                .map(|one| (one.clone(), story.slow_end))
                .collect(),
            namespaces,
            processes: false,
            ..KubeletOptions::default()
        };
        let scene = Self {
            seed: story.seed,
            proxy: Proxy::start(cluster).await?,
            kubelet: Kubelet::start(cluster, options).await?,
            name,
            admin,
            cluster,
        };
        scene.put_ca(0).await?;
        apply_yaml(&scene.admin, &control_plane_of(RELEASE, &scene.home())).await?;
        for plane in PLANES {
            let agent = agent_of(plane, &scene.namespace(plane), "default", 1, &scene.home());
            apply_yaml(&scene.admin, &agent).await?;
            scene.make_plane(plane).await?;
        }
        scene.issue(story).await?;
        Ok(scene)
    }

    async fn issue(&self, story: &Story) -> Result<()> {
        let mut object = issuance(ISSUANCE);
        object["metadata"]["namespace"] = json!(self.home());
        let agent = |plane: PlaneType| json!({"planes": {"kinds": [plane.kind()]}, "namespace": self.namespace(plane)});
        let spec = &mut object["spec"];
        spec["agents"] = json!(PLANES.map(agent));
        // Keys are not what this is about, and the kubelet that is played is never behind.
        spec["certificateDefaults"] = json!({"privateKey": {"algorithm": "ECDSA"}});
        spec["rollout"] = json!({"kubeletCache": "0s", "maxConcurrent": 2});
        if story.by_reference {
            spec["planes"] = json!({"clientCA": "SecretRef"});
        }
        apply_yaml(&self.admin, &object.to_string()).await?;
        Ok(())
    }

    /// The operators, and, unless the story begins before that, all that the guide asks for.
    pub async fn fleet(&self, story: &Story) -> Result<Fleet> {
        let url = Some(self.proxy.url());
        let kubeconfig = self
            .cluster
            .kubeconfig_for(chart::NAMESPACE, &self.name, url);
        let options = OperatorOptions {
            kubeconfig: kubeconfig.await?,
            namespaces: namespaces(&self.name),
            args: vec![
                format!("--leader-elect={}", story.stands_by),
                format!("--lease-name={}", self.name),
            ],
            ..OperatorOptions::default()
        };
        let fleet = Fleet::start(options, if story.stands_by { 2 } else { 1 }).await?;
        if !story.from_nothing {
            try_wait_for("the first certificates", PATIENCE, async || {
                let issuance = self.issuances().get(ISSUANCE).await;
                let status = issuance.map_err(|error| error.to_string())?.status;
                let status = status.unwrap_or_default();
                let is_ready = |one: &_| is_ready(one);
                match status.conditions.iter().any(is_ready) {
                    true => Ok(()),
                    false => Err(describe(&status)),
                }
            })
            .await?;
        }
        Ok(fleet)
    }

    /// The namespace of the control plane and of the planes' objects.
    pub fn home(&self) -> String {
        format!("{}-home", self.name)
    }

    /// The namespace of a plane's agent.
    pub fn namespace(&self, plane: PlaneType) -> String {
        format!("{}-{}", self.name, plane.argument())
    }

    pub fn namespaces(&self) -> Vec<String> {
        namespaces(&self.name)
    }

    /// Where a leaf is stored.
    pub fn leaf(&self, leaf: Leaf) -> (String, &'static str) {
        match leaf {
            Leaf::Gateway => (self.home(), "cluster-gateway-tls"),
            Leaf::Agent(plane) => (self.namespace(plane), "cluster-agent-tls"),
        }
    }

    /// The namespace of a bundle.
    pub fn bundle(&self, bundle: Bundle) -> String {
        match bundle {
            Bundle::Secret | Bundle::Own => self.home(),
            Bundle::Agent(plane) => self.namespace(plane),
        }
    }

    /// A Deployment's namespace and name.
    pub fn workload(&self, workload: Workload) -> (String, String) {
        match workload {
            Workload::Gateway => (self.home(), "cluster-gateway".into()),
            Workload::Manager => (self.home(), "controller-manager".into()),
            Workload::Agent(plane) => (self.namespace(plane), plane.deployment()),
        }
    }

    pub fn issuances(&self) -> Api<ExternalCAIssuance> {
        Api::namespaced(self.admin.clone(), &self.home())
    }

    pub fn planes(&self, plane: PlaneType) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("openchoreo.dev", "v1alpha1", plane.kind());
        let resource = ApiResource::from_gvk(&kind);
        Api::namespaced_with(self.admin.clone(), &self.home(), &resource)
    }

    /// A plane as people make it: before it trusts anything.
    pub async fn make_plane(&self, plane: PlaneType) -> Result<()> {
        let (home, name) = (self.home(), plane.argument());
        let nothing = ClientCa::Nothing;
        let text = openchoreo::plane(plane.kind(), Some(&home), name, Some("default"), &nothing);
        apply_yaml(&self.admin, &text).await?;
        Ok(())
    }

    pub async fn put_ca(&self, ca: usize) -> Result<()> {
        let text = openchoreo::ca_secret(&self.home(), CA_SECRET, &OURS[ca]);
        apply_yaml(&self.admin, &text).await?;
        Ok(())
    }

    /// From now on requests and watches fare so; what is watched already is watched anew.
    pub fn falls(&self, weather: &Weather) {
        self.proxy.set_fault(weather.faults(self.seed));
        self.proxy.cut();
    }

    /// Nothing of it runs any more, for the stories that follow.
    pub async fn clear(self) -> Result<()> {
        let all: Api<Namespace> = Api::all(self.admin.clone());
        for namespace in self.namespaces() {
            all.delete(&namespace, &DeleteParams::default()).await?;
        }
        // Pods end as their kubelet tells.
        try_wait_for("the namespaces to be gone", PATIENCE, async || {
            for namespace in self.namespaces() {
                if all
                    .get_opt(&namespace)
                    .await
                    .map_err(|error| error.to_string())?
                    .is_some()
                {
                    return Err(namespace);
                }
            }
            Ok(())
        })
        .await?;
        Ok(())
    }
}

fn namespaces(name: &str) -> Vec<String> {
    let agents = PLANES.map(|plane| format!("{name}-{}", plane.argument()));
    [format!("{name}-home")].into_iter().chain(agents).collect()
}

pub fn is_ready(condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> bool {
    condition.type_ == "Ready" && condition.status == "True"
}
