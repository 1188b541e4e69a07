//! OpenChoreo with a gateway and three planes of two agents each, every one of which connects all the time.

use std::time::Duration;

use external_ca_tests::apply::apply_yaml;
use external_ca_tests::kubelet::{Kubelet, KubeletOptions, Stats};
use external_ca_tests::openchoreo::{
    CONTROL_PLANE, ClientCa, agent, control_plane_of, plane, tls_secret, trust,
};
use external_ca_tests::openssl::{Ca, Purpose, verify};
use external_ca_tests::wait::wait_for;
use external_ca_tests::world::{World, describe};
use external_ca_tests::{Operator, Result};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

/// How many handshakes are attempted, at least, while something is under way.
pub const HANDSHAKES: u64 = 10_000;
/// The plane ID of every plane.
pub const PLANE_ID: &str = "default";
const BUNDLE: &str = "cluster-gateway-ca";
const AGENTS: usize = 6;
/// How often each agent opens a further connection.
pub const PROBES: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(300);
static ALONE: Mutex<()> = Mutex::const_new(());

/// Waits until no other scenario is on the machine.
pub async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

pub struct Stage {
    pub world: World,
    pub kubelet: Kubelet,
    /// How many there are.
    pub agents: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    /// OpenChoreo, without any certificate yet.
    pub async fn set() -> Result<Self> {
        Self::set_with(KubeletOptions {
            probe_interval: Some(PROBES),
            ..KubeletOptions::default()
        })
        .await
    }

    /// The same where pods are run so.
    pub async fn set_with(options: KubeletOptions) -> Result<Self> {
        let alone = alone().await;
        let world = World::any().await?;
        let control_plane = control_plane_of(world.release, CONTROL_PLANE);
        apply_yaml(&world.admin, &control_plane).await?;
        world.put_planes().await?;
        for kind in world.plane_types() {
            let text = agent(kind, kind.namespace(), PLANE_ID, 2);
            apply_yaml(&world.admin, &text).await?;
        }
        let kubelet = Kubelet::start(&world.cluster, options).await?;
        Ok(Self {
            world,
            kubelet,
            agents: AGENTS,
            _alone: alone,
        })
    }

    /// All that the guide makes by hand, from this CA.
    pub async fn by_hand(&self, ca: &Ca) -> Result<()> {
        let admin = &self.world.admin;
        let server = ca.server_leaf(CONTROL_PLANE);
        let mut texts = vec![
            tls_secret(CONTROL_PLANE, "cluster-gateway-tls", &server),
            trust(CONTROL_PLANE, &ca.certificate, true),
        ];
        for kind in self.world.plane_types() {
            let client = ca.agent_leaf(PLANE_ID);
            texts.extend([
                tls_secret(kind.namespace(), "cluster-agent-tls", &client),
                trust(kind.namespace(), &ca.certificate, false),
                plane(
                    kind.kind(),
                    Some("default"),
                    kind.argument(),
                    Some(PLANE_ID),
                    &ClientCa::Value(&ca.certificate),
                ),
            ]);
        }
        for text in texts {
            apply_yaml(admin, &text).await?;
        }
        Ok(())
    }

    /// The same by an issuance and the operator.
    pub async fn by_operator(&self, ca: &Ca) -> Result<Operator> {
        self.by_operator_with(ca, json!({})).await
    }

    /// The same with these fields in the issuance's spec.
    pub async fn by_operator_with(&self, ca: &Ca, spec: Value) -> Result<Operator> {
        self.world.put_ca(ca).await?;
        let operator = self.world.operator(None).await?;
        self.world.issue_with(spec).await?;
        self.settled(ca).await;
        self.connected().await;
        Ok(operator)
    }

    /// Waits until every agent is connected.
    pub async fn connected(&self) {
        self.kubelet.connected(self.agents).await;
    }

    /// Waits until so many handshakes have been attempted since then.
    pub async fn handshakes(&self, since: &Stats) {
        wait_for("handshakes", PATIENCE, async || {
            let count = self.kubelet.stats().since(since).attempts;
            match count >= HANDSHAKES {
                true => Ok(()),
                false => Err(format!("{count} of {HANDSHAKES}")),
            }
        })
        .await;
    }

    /// What stands in every bundle and clientCA, by place.
    pub async fn bundles(&self) -> Vec<(String, String)> {
        let world = &self.world;
        let mut found = Vec::new();
        let namespaces = world.plane_types().map(|kind| kind.namespace());
        for namespace in namespaces.into_iter().chain([CONTROL_PLANE]) {
            let map = world.config_maps(namespace).get(BUNDLE).await.unwrap();
            let text = map.data.unwrap_or_default().remove("ca.crt");
            found.push((format!("ConfigMap {namespace}"), text.unwrap_or_default()));
        }
        let secret = world.secret_text(CONTROL_PLANE, BUNDLE, "ca.crt").await;
        found.push(("Secret".into(), secret));
        for kind in world.plane_types() {
            let planes = world.planes(kind.kind()).await.unwrap();
            let plane = planes.get(kind.argument()).await.unwrap();
            let value = plane.data["spec"]["clusterAgent"]["clientCA"]["value"].clone();
            let text = value.as_str().unwrap_or_default().to_owned();
            found.push((kind.kind().to_owned(), text));
        }
        found
    }

    /// Waits until all is signed by this CA, and nobody trusts another any more.
    pub async fn settled(&self, ca: &Ca) {
        wait_for("the issuance to settle on the CA", PATIENCE, async || {
            let issuance = self.world.issuances().get("cluster-gateway").await;
            let status = issuance.map_err(|error| error.to_string())?.status;
            let status = status.unwrap_or_default();
            let ready = |condition: &&_| is_ready(condition);
            if status.conditions.iter().find(ready).is_none() {
                return Err(describe(&status));
            }
            for (place, bundle) in self.bundles().await {
                if bundle.trim() != ca.certificate.trim() {
                    return Err(format!("{place} trusts others, too; {}", describe(&status)));
                }
            }
            for (namespace, name, purpose) in self.leaves() {
                let chain = self.world.secret_text(namespace, name, "tls.crt").await;
                verify(&ca.certificate, &chain, purpose)
                    .map_err(|error| format!("{namespace}/{name}: {error}"))?;
            }
            Ok(())
        })
        .await;
    }

    fn leaves(&self) -> Vec<(&'static str, &'static str, Purpose<'static>)> {
        let agents = self.world.plane_types().map(|kind| kind.namespace());
        let agents = agents.map(|namespace| (namespace, "cluster-agent-tls", Purpose::Client));
        let server = (CONTROL_PLANE, "cluster-gateway-tls", Purpose::Any);
        agents.into_iter().chain([server]).collect()
    }
}

fn is_ready(condition: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition) -> bool {
    condition.type_ == "Ready" && condition.status == "True"
}
