//! One renewal of everything, by annotation, while agents keep connecting.

use crate::checks::Checks;
use crate::issuance::{self, is_ready};
use crate::screen::{Screen, seconds};
use crate::stage::Stage;
use crate::table::{leaf, leaf_secrets};
use external_ca_api::{MATERIAL_HASH_ANNOTATION, RENEW_ANNOTATION};
use external_ca_tests::Result;
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::fields;
use external_ca_tests::wait::try_wait_for;
use external_ca_tests::world::{ISSUANCE, describe};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(180);

/// Returns how many checks failed.
pub async fn check(screen: &mut Screen, stage: &Stage) -> Result<usize> {
    screen.step("Renew every certificate by annotation");
    screen.command(format!(
        "kubectl -n {CONTROL_PLANE} annotate xca {ISSUANCE} {RENEW_ANNOTATION}=all"
    ));
    let serials = live_serials(stage).await?;
    let counted = stage.kubelet.stats();
    let mut restarts = Restarts::before(stage).await?;
    let annotations = json!({"metadata": {"annotations": {RENEW_ANNOTATION: "all"}}});
    let api = stage.world.issuances();
    api.patch(
        ISSUANCE,
        &PatchParams::default(),
        &Patch::Merge(annotations),
    )
    .await?;

    let finished = try_wait_for("the renewal to finish", PATIENCE, async || {
        restarts
            .look(screen, stage)
            .await
            .map_err(|error| error.to_string())?;
        let now = live_serials(stage)
            .await
            .map_err(|error| error.to_string())?;
        let status = issuance::status(stage)
            .await
            .map_err(|error| error.to_string())?;
        let known = status.certificates.iter().filter(|entry| {
            let serial = entry.serial.clone().unwrap_or_default();
            now.get(&entry.target)
                .is_some_and(|now| same_serial(now, &serial))
        });
        let renewed =
            known.count() == now.len() && serials.iter().all(|(target, old)| now[target] != *old);
        let connected = stage.kubelet.stats().connected_agents();
        match renewed && is_ready(&status) && restarts.running() == 0 && connected == 3 {
            true => Ok(()),
            false => Err(format!(
                "{connected} agents connected; {}",
                describe(&status)
            )),
        }
    });
    finished.await?;
    // The last restarts may have come and gone between two looks.
    restarts.look(screen, stage).await?;
    let time = restarts.start.elapsed();
    // A little longer, so that every agent has tried its new certificate with a new gateway.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut failed = new_serials(screen, stage, &serials).await?;
    let since = stage.kubelet.stats().since(&counted);
    let mut checks = Checks::default();
    let agents = stage.planes().map(|plane| plane.deployment());
    let mut wanted = vec!["cluster-gateway".to_owned()];
    wanted.extend(agents);
    wanted.sort();
    checks.equal(
        "restarted: the gateway and the three agents, nothing else",
        restarts.names(),
        wanted,
    );
    checks.holds(
        "the gateway was back before an agent was restarted",
        restarts.gateway_alone(),
    );
    checks.equal(
        "handshakes that failed by certificate: 0",
        since.failed_by_certificate,
        0,
    );
    let annotation = api
        .get(ISSUANCE)
        .await?
        .metadata
        .annotations
        .unwrap_or_default();
    checks.holds(
        "the annotation is consumed",
        !annotation.contains_key(RENEW_ANNOTATION),
    );
    failed += checks.show(
        screen,
        &screen.bold(&format!(
            "Renewed, restarted and connected again after {}",
            seconds(time)
        )),
    );
    screen.note(format!(
        "  meanwhile agents dialled {} times: {} connected, {} met nobody (the gateway was restarting), {} failed by certificate",
        since.attempts, since.connects, since.failed_other, since.failed_by_certificate
    ));
    Ok(failed)
}

async fn new_serials(
    screen: &Screen,
    stage: &Stage,
    before: &BTreeMap<String, String>,
) -> Result<usize> {
    let after = live_serials(stage).await?;
    let mut failed = 0;
    for (target, old) in before {
        let new = &after[target];
        failed += usize::from(new == old);
        screen.verdict(
            new != old,
            format!("{target:52} serial {}… → {}…", &old[..12], &new[..12]),
        );
    }
    Ok(failed)
}

/// The serial of every leaf as stored, by `<namespace>/<name>`.
async fn live_serials(stage: &Stage) -> Result<BTreeMap<String, String>> {
    let mut serials = BTreeMap::new();
    for (namespace, name) in leaf_secrets(stage) {
        let certificate = leaf(stage, namespace, name).await?.certificate;
        serials.insert(format!("{namespace}/{name}"), fields(&certificate).serial);
    }
    Ok(serials)
}

/// OpenSSL and the status may differ in case and leading zeros.
fn same_serial(one: &str, other: &str) -> bool {
    let plain = |text: &str| text.replace(':', "").trim_start_matches('0').to_lowercase();
    plain(one) == plain(other)
}

/// Which Deployments were restarted, when, and until when.
struct Restarts {
    start: Instant,
    before: BTreeMap<String, Option<String>>,
    seen: BTreeMap<String, Restart>,
}

struct Restart {
    name: String,
    began: Duration,
    done: Option<Duration>,
}

impl Restarts {
    async fn before(stage: &Stage) -> Result<Self> {
        let deployments = deployments(stage).await?;
        Ok(Self {
            start: Instant::now(),
            before: deployments
                .iter()
                .map(|deployment| (key(deployment), stamp(deployment)))
                .collect(),
            seen: BTreeMap::new(),
        })
    }

    /// Looks, and says what is new.
    async fn look(&mut self, screen: &Screen, stage: &Stage) -> Result<()> {
        let deployments = deployments(stage).await?;
        // One look is one moment.
        let now = self.start.elapsed();
        for deployment in deployments {
            let key = key(&deployment);
            if self.before.get(&key) == Some(&stamp(&deployment)) {
                continue;
            }
            let restart = self.seen.entry(key.clone()).or_insert_with(|| {
                screen.say(format!(
                    "+{:>6}  Deployment {key} is restarted",
                    seconds(now)
                ));
                let name = deployment.metadata.name.clone().unwrap_or_default();
                Restart {
                    name,
                    began: now,
                    done: None,
                }
            });
            if restart.done.is_none() && is_rolled_out(&deployment) {
                restart.done = Some(now);
                screen.say(format!(
                    "+{:>6}  Deployment {key} is back, {} later",
                    seconds(now),
                    seconds(now - restart.began)
                ));
            }
        }
        Ok(())
    }

    fn running(&self) -> usize {
        self.seen
            .values()
            .filter(|restart| restart.done.is_none())
            .count()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .seen
            .values()
            .map(|restart| restart.name.clone())
            .collect();
        names.sort();
        names
    }

    fn gateway_alone(&self) -> bool {
        let (gateways, agents): (Vec<_>, Vec<_>) = self
            .seen
            .values()
            .partition(|restart| restart.name == "cluster-gateway");
        let back = gateways.first().and_then(|gateway| gateway.done);
        back.is_some_and(|back| agents.iter().all(|agent| agent.began >= back))
    }
}

async fn deployments(stage: &Stage) -> Result<Vec<Deployment>> {
    let api: Api<Deployment> = Api::all(stage.world.admin.clone());
    Ok(api.list(&Default::default()).await?.items)
}

fn key(deployment: &Deployment) -> String {
    let metadata = &deployment.metadata;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}/{}", part(&metadata.namespace), part(&metadata.name))
}

/// What the pod template says that its pods have loaded.
fn stamp(deployment: &Deployment) -> Option<String> {
    let template = deployment.spec.as_ref()?.template.metadata.as_ref()?;
    template
        .annotations
        .as_ref()?
        .get(MATERIAL_HASH_ANNOTATION)
        .cloned()
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let Some(status) = &deployment.status else {
        return false;
    };
    status.observed_generation >= deployment.metadata.generation
        && [
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
        ]
        .iter()
        .all(|count| count.unwrap_or_default() == wanted)
}
