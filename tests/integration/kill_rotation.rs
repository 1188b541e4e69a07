//! SIGKILL before and after each write of a whole rotation: the same end state, and at each of these points all that is
//! stored verifies against all that is stored.
//!
//! Pods run without processes, as in `kill.rs`; what processes hold is the simulation's part, and the end-to-end test's.

use std::collections::BTreeMap;
use std::time::Duration;

use external_ca_tests::openssl::{Ca, Purpose, verify};
use external_ca_tests::proxy::When;
use external_ca_tests::wait::{PATIENCE, try_wait_for};
use external_ca_tests::world::CA_SECRET;
use external_ca_tests::{Operator, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::ListParams;

use crate::kill::{GRACE, Stage};

const GATEWAY: &str = "cluster-gateway-tls";
const AGENT: &str = "cluster-agent-tls";

/// Everything that is stored, as PEM.
struct Stored {
    bundles: BTreeMap<String, String>,
    client_cas: BTreeMap<String, String>,
    gateway: String,
    agents: BTreeMap<String, String>,
}

impl Stored {
    async fn read(stage: &Stage) -> Result<Self> {
        let mut stored = Self {
            bundles: BTreeMap::new(),
            client_cas: BTreeMap::new(),
            gateway: String::new(),
            agents: BTreeMap::new(),
        };
        let everything = ListParams::default();
        for secret in stage.all::<Secret>().list(&everything).await? {
            let (name, namespace) = (secret.name_any(), secret.namespace().unwrap_or_default());
            let data = secret.data.unwrap_or_default();
            let text = |key: &str| {
                let bytes = data.get(key).map(|bytes| bytes.0.clone());
                String::from_utf8(bytes.unwrap_or_default()).unwrap()
            };
            match name.as_str() {
                GATEWAY => stored.gateway = text("tls.crt"),
                AGENT => drop(stored.agents.insert(namespace, text("tls.crt"))),
                CA_SECRET => {}
                _ if data.contains_key("ca.crt") => {
                    let place = format!("Secret {namespace}/{name}");
                    stored.bundles.insert(place, text("ca.crt"));
                }
                _ => {}
            }
        }
        for map in stage.all::<ConfigMap>().list(&everything).await? {
            if map.name_any() == "cluster-gateway-ca" {
                let place = format!("ConfigMap {}", map.namespace().unwrap_or_default());
                let bundle = map.data.unwrap_or_default().remove("ca.crt");
                stored.bundles.insert(place, bundle.unwrap_or_default());
            }
        }
        for plane in stage.planes().await? {
            let kind = plane.types.as_ref().unwrap().kind.clone();
            let value = &plane.data["spec"]["clusterAgent"]["clientCA"]["value"];
            let value = value.as_str().unwrap_or_default().to_owned();
            stored.client_cas.insert(kind, value);
        }
        Ok(stored)
    }

    /// Each certificate verifies wherever it is verified.
    fn fits(&self, stage: &Stage) -> Result<(), String> {
        let server = Purpose::Server("cluster-gateway.openchoreo-control-plane.svc");
        for (place, bundle) in &self.bundles {
            verify(bundle, &self.gateway, server).map_err(|why| format!("{place}: {why}"))?;
        }
        for plane in stage.world.plane_types() {
            let (client_ca, agent) = (
                self.client_cas.get(plane.kind()),
                self.agents.get(plane.namespace()),
            );
            let (Some(client_ca), Some(agent)) = (client_ca, agent) else {
                return Err(format!("{} is not there yet", plane.kind()));
            };
            verify(client_ca, agent, Purpose::Client)
                .map_err(|why| format!("{}: {why}", plane.kind()))?;
        }
        Ok(())
    }

    /// The places that trust anything but this CA.
    fn others(&self, ca: &Ca) -> Vec<&str> {
        let all = self.bundles.iter().chain(&self.client_cas);
        let other = all.filter(|(_, bundle)| bundle.trim() != ca.certificate.trim());
        other.map(|(place, _)| place.as_str()).collect()
    }
}

async fn settled(stage: &Stage, operator: &Operator, ca: &Ca) -> Result<(), String> {
    try_wait_for("the rotation's end", PATIENCE, async || {
        let stored = Stored::read(stage).await.map_err(|why| why.to_string())?;
        match stored.others(ca).as_slice() {
            [] => stored.fits(stage),
            others => Err(format!("these trust another CA: {others:?}")),
        }
    })
    .await
    .map_err(|error| format!("{error}\n{}", operator.log()))?;
    stage.ready(operator).await
}

async fn killed(when: When) -> Result<()> {
    let stage = Stage::set().await?;
    stage.clean().await?;
    let cas = [0, 1].map(Ca::replacement);
    stage.world.put_ca(&cas[0]).await?;
    let mut operator = Operator::start(stage.options.clone()).await?;
    stage.issue().await?;
    settled(&stage, &operator, &cas[0]).await?;

    stage.proxy.reset();
    stage.world.put_ca(&cas[1]).await?;
    settled(&stage, &operator, &cas[1]).await?;
    let writes = stage.proxy.quiet(Duration::from_secs(2)).await?;

    let mut points = Vec::new();
    // Until a rotation ends before its n-th write: how often the status is written depends on time.
    for n in 1.. {
        let ca = &cas[usize::from(n % 2 == 0)];
        stage.proxy.reset();
        let held = stage.proxy.on_write(n, when);
        stage.world.put_ca(ca).await?;
        let held = tokio::select! {
            held = held => held,
            end = async { settled(&stage, &operator, ca).await?; stage.proxy.quiet(GRACE).await } => {
                end?;
                break;
            }
        };
        let point = format!("{when:?} write {n}, {}", held.request);
        operator.kill();
        held.discard();
        stage.proxy.disarm();
        let stored = Stored::read(&stage).await?;
        stored
            .fits(&stage)
            .map_err(|why| format!("{point}: {why}"))?;
        operator.restart().await?;
        let end = settled(&stage, &operator, ca).await;
        end.map_err(|why| format!("{point}: {why}"))?;
        stage.proxy.quiet(GRACE).await?;
        points.push(point);
    }
    println!(
        "{} of {writes} writes of a rotation, {when:?}",
        points.len()
    );
    assert!(points.len() + 5 >= writes, "{points:#?}");
    for kind in ["secrets", "configmaps", "deployments", "planes", "status"] {
        assert!(
            points.iter().any(|point| point.contains(kind)),
            "{points:#?}"
        );
    }
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
