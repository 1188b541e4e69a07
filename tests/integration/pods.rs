//! What pods hold counts, whatever their workloads say of themselves.

use std::time::Duration;

use external_ca_tests::apply::apply_yaml;
use external_ca_tests::kubelet::rolled_out;
use external_ca_tests::openchoreo::{
    CONTROL_PLANE, ClientCa, PlaneType, agent, control_plane_of, plane,
};
use external_ca_tests::openssl::{Ca, Purpose, verify};
use external_ca_tests::wait::{PATIENCE, wait_for};
use external_ca_tests::world::{ISSUANCE, World, describe};
use external_ca_tests::{Kubelet, KubeletOptions, Operator, Proxy, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};

const DATA: &str = "openchoreo-data-plane";
const GATEWAY: &str = "cluster-gateway";
const MANAGER: &str = "controller-manager";
const AGENT: &str = "cluster-agent-dataplane";
const PLANE: &str = "dataplane";
/// A whole rotation, with pods that take their time.
const ROTATION: Duration = Duration::from_secs(300);

/// A gateway and the agents of one plane, whose certificates the operator has issued.
struct Scene {
    world: World,
    kubelet: Kubelet,
    proxy: Proxy,
    _operator: Operator,
}

impl Scene {
    async fn set(old: &Ca, agents: i32, options: KubeletOptions, spec: Value) -> Result<Self> {
        let world = World::any().await?;
        world.put_ca(old).await?;
        let kind = PlaneType::Data.kind();
        let nothing = ClientCa::Nothing;
        for text in [
            control_plane_of(world.release, CONTROL_PLANE),
            plane(kind, Some("default"), PLANE, Some("default"), &nothing),
            agent(PlaneType::Data, DATA, "default", agents),
        ] {
            apply_yaml(&world.admin, &text).await?;
        }
        let kubelet = Kubelet::start(&world.cluster, options).await?;
        let proxy = Proxy::start(&world.cluster).await?;
        let operator = world.operator(Some(&proxy)).await?;
        world.issue_with(spec).await?;
        world.ready().await;
        for (namespace, name) in [(CONTROL_PLANE, GATEWAY), (DATA, AGENT)] {
            rolled_out(&world.admin, namespace, name, PATIENCE).await?;
        }
        Ok(Self {
            world,
            kubelet,
            proxy,
            _operator: operator,
        })
    }

    /// The same without processes, where somebody else restarts.
    async fn restarted_by_others(old: &Ca) -> Result<Self> {
        let options = KubeletOptions {
            processes: false,
            ..KubeletOptions::default()
        };
        // The kubelet that is played is never behind.
        let spec = json!({"rollout": {"strategy": "None", "kubeletCache": "0s"}});
        Self::set(old, 1, options, spec).await
    }

    fn agents(&self) -> Api<Deployment> {
        self.world.deployments(DATA)
    }

    /// The names of the agents' pods.
    async fn pods(&self) -> Result<Vec<String>> {
        let pods: Api<Pod> = Api::namespaced(self.world.admin.clone(), DATA);
        let pods = pods.list(&ListParams::default()).await?;
        Ok(pods.iter().map(ResourceExt::name_any).collect())
    }

    async fn client_ca(&self) -> Result<String> {
        let planes = self.world.planes(PlaneType::Data.kind()).await?;
        let plane = planes.get(PLANE).await?;
        let value = &plane.data["spec"]["clusterAgent"]["clientCA"]["value"];
        Ok(value.as_str().unwrap_or_default().to_owned())
    }

    async fn gateway_is_signed_by(&self, ca: &Ca) -> Result<()> {
        let world = &self.world;
        let chain = world.secret_text(CONTROL_PLANE, "cluster-gateway-tls", "tls.crt");
        Ok(verify(&ca.certificate, &chain.await, Purpose::Any).map(drop)?)
    }

    /// Waits until the operator has had three seconds without anything to write.
    async fn quiet(&self) -> Result<()> {
        self.proxy.reset();
        self.proxy.quiet(Duration::from_secs(3)).await.map(drop)
    }

    /// Replaces the CA, and waits until the agents' bundle has both and all that is left to wait for is their old pod.
    async fn replace_ca(&self, new: &Ca) -> Result<()> {
        self.world.put_ca(new).await?;
        wait_for("the bundle to grow", PATIENCE, async || {
            let map = self.world.config_maps(DATA).get(GATEWAY_CA).await;
            let data = map.map_err(|error| error.to_string())?.data;
            let bundle = data.unwrap_or_default().remove("ca.crt");
            match bundle.is_some_and(|bundle| bundle.contains(new.certificate.trim())) {
                true => Ok(()),
                false => Err("the new CA is not in it".to_owned()),
            }
        })
        .await;
        self.quiet().await?;
        let manager = self.world.deployments(CONTROL_PLANE);
        manager.restart(MANAGER).await?;
        rolled_out(&self.world.admin, CONTROL_PLANE, MANAGER, PATIENCE).await?;
        self.quiet().await
    }

    /// The agents' pod is the one that was there before the CA was replaced: it trusts the old CA alone.
    async fn old_pod_counts(&self, old: &Ca, pods: &[String]) -> Result<()> {
        // A proof that is none would be followed by writes.
        self.quiet().await?;
        assert_eq!(self.pods().await?, pods);
        self.gateway_is_signed_by(old).await?;
        let client_ca = self.client_ca().await?;
        assert!(client_ca.contains(old.certificate.trim()), "{client_ca}");
        Ok(())
    }

    /// Once the old pod is gone, the gateway moves on.
    async fn goes_on_with_a_new_pod(&self, new: &Ca) -> Result<()> {
        self.agents().restart(AGENT).await?;
        wait_for("the gateway's new certificate", ROTATION, async || {
            let signed = self.gateway_is_signed_by(new).await;
            signed.map_err(|error| error.to_string())
        })
        .await;
        Ok(())
    }
}

const GATEWAY_CA: &str = "cluster-gateway-ca";

/// What `kubectl rollout` does: it names itself so, whatever it does.
async fn kubectl_rollout(agents: &Api<Deployment>, patch: Value) -> kube::Result<()> {
    let params = PatchParams {
        field_manager: Some("kubectl-rollout".into()),
        ..PatchParams::default()
    };
    let patch = Patch::Strategic(patch);
    agents.patch(AGENT, &params, &patch).await.map(drop)
}

#[tokio::test]
async fn a_rollout_that_was_paused_and_resumed_has_restarted_nobody() -> Result<()> {
    let [old, new] = [0, 1].map(Ca::replacement);
    let scene = Scene::restarted_by_others(&old).await?;
    let (agents, now) = (scene.agents(), jiff::Timestamp::now().to_string());
    let restart = json!({"kubectl.kubernetes.io/restartedAt": now});
    let restart = json!({"spec": {"template": {"metadata": {"annotations": restart}}}});
    kubectl_rollout(&agents, restart).await?;
    rolled_out(&scene.world.admin, DATA, AGENT, PATIENCE).await?;
    let pods = scene.pods().await?;
    scene.replace_ca(&new).await?;

    for paused in [true, false] {
        kubectl_rollout(&agents, json!({"spec": {"paused": paused}})).await?;
    }
    scene.old_pod_counts(&old, &pods).await?;
    scene.goes_on_with_a_new_pod(&new).await
}

#[tokio::test]
async fn a_workload_that_was_made_anew_over_its_pods_has_restarted_nobody() -> Result<()> {
    let [old, new] = [0, 1].map(Ca::replacement);
    let scene = Scene::restarted_by_others(&old).await?;
    let (agents, pods) = (scene.agents(), scene.pods().await?);
    scene.replace_ca(&new).await?;

    let before = agents.get(AGENT).await?.metadata.uid;
    let orphan = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Orphan),
        ..DeleteParams::default()
    };
    agents.delete(AGENT, &orphan).await?;
    wait_for(
        "the Deployment to be gone",
        PATIENCE,
        async || match agents.get_opt(AGENT).await {
            Ok(None) => Ok(()),
            other => Err(format!("{:?}", other.map(drop))),
        },
    )
    .await;
    let text = agent(PlaneType::Data, DATA, "default", 1);
    apply_yaml(&scene.world.admin, &text).await?;
    rolled_out(&scene.world.admin, DATA, AGENT, PATIENCE).await?;
    assert_ne!(agents.get(AGENT).await?.metadata.uid, before);
    scene.old_pod_counts(&old, &pods).await?;
    scene.goes_on_with_a_new_pod(&new).await
}

#[tokio::test]
async fn no_handshake_fails_while_old_pods_end_slowly() -> Result<()> {
    let [old, new] = [0, 1].map(Ca::replacement);
    let slowly = Duration::from_secs(5);
    let options = KubeletOptions {
        end_takes: [CONTROL_PLANE, DATA]
            .map(|one| (one.to_owned(), slowly))
            .into(),
        probe_interval: Some(Duration::from_millis(20)),
        ..KubeletOptions::default()
    };
    let scene = Scene::set(&old, 2, options, json!({})).await?;
    scene.kubelet.connected(2).await;
    let before = scene.kubelet.stats();
    scene.world.put_ca(&new).await?;
    wait_for("the old CA to be gone", ROTATION, async || {
        let status = scene.world.issuances().get(ISSUANCE).await;
        let status = status.map_err(|error| error.to_string())?.status;
        let status = status.unwrap_or_default();
        let client_ca = scene.client_ca().await;
        let client_ca = client_ca.map_err(|error| error.to_string())?;
        match status.retiring().next().is_none() && client_ca.trim() == new.certificate.trim() {
            true => Ok(()),
            false => Err(describe(&status)),
        }
    })
    .await;
    // Old pods that outlive the old CA are the ones that would fail.
    wait_for("the old pods to be gone", PATIENCE, async || {
        let pods = scene.pods().await.map_err(|error| error.to_string())?;
        match pods.len() {
            2 => Ok(()),
            count => Err(format!("{count} pods")),
        }
    })
    .await;
    scene.kubelet.connected(2).await;
    let counted = scene.kubelet.stop().await.since(&before);
    assert!(counted.probes > 0, "{counted:#?}");
    assert_eq!(counted.failed_by_certificate, 0, "{counted:#?}");
    Ok(())
}
