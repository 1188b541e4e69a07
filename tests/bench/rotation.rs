//! What it costs to replace the CA, beside the least that trust allows.
//!
//! A leaf that is presented must verify against every bundle that its verifier could hold, stored or loaded. So:
//!
//! - a plane's clientCA is written twice: until its agent has restarted the old leaf comes, and from then on the new
//!   one, so both CAs must stand there in between;
//! - an agent's leaf is signed once;
//! - an agent restarts twice: it must hold the new CA before the gateway presents a leaf of it (the same restart loads
//!   the agent's new leaf), and it cannot let go of the old CA before the gateway has let go of its old leaf;
//! - a bundle is written twice, for the same reason; the planes of a namespace share it;
//! - the gateway's leaf is signed once, and it restarts once: it holds no bundle;
//! - whoever else mounts a bundle (controller-manager, openchoreo-api) restarts twice, as an agent does.
//!
//! No handshake needs the second restart: without it the old CA would be trusted as long as the process runs. Beside
//! these there is the status, at most once a second.

use crate::budget::{Budget, mebibytes, row};
use crate::counts::kind;
use crate::planes;
use external_ca_tests::apply::{apply_documents, apply_yaml, documents};
use external_ca_tests::crds::Release;
use external_ca_tests::openchoreo::{CONTROL_PLANE, PlaneType, agent, control_plane_of};
use external_ca_tests::openssl::Ca;
use external_ca_tests::proxy::{RequestInfo, Verb};
use external_ca_tests::wait::try_wait_for;
use external_ca_tests::world::World;
use external_ca_tests::{Kubelet, KubeletOptions, Proxy, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(600);
const QUIET: Duration = Duration::from_secs(3);

pub struct Rotated {
    planes: usize,
    wall: Duration,
    cpu: f64,
    peak_rss: u64,
    writes: Vec<RequestInfo>,
    reads: usize,
    events: usize,
}

pub async fn run(size: usize) -> Result<Rotated> {
    let world = planes::world(size).await?;
    planes::put(&world, size).await?;
    apply_yaml(
        &world.admin,
        &control_plane_of(Release::V1_2, CONTROL_PLANE),
    )
    .await?;
    put_agents(&world, size).await?;
    let options = KubeletOptions {
        processes: false,
        ..KubeletOptions::default()
    };
    let _kubelet = Kubelet::start(&world.cluster, options).await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let operator = world.operator(Some(&proxy)).await?;
    planes::issue(&world).await?;
    all_available(&world).await?;
    proxy.quiet(QUIET).await?;

    let old = world.ready().await.issuer.map(|issuer| issuer.fingerprint);
    proxy.reset();
    let cpu = operator.cpu_seconds();
    let started = Instant::now();
    world.put_ca(&Ca::replacement(1)).await?;
    planes::await_status(&world, "rotated", |status| {
        let issuer = status.issuer.as_ref().map(|issuer| &issuer.fingerprint);
        planes::is_ready(status) && issuer != old.as_ref() && status.anchors().len() == 1
    })
    .await?;
    let wall = started.elapsed();
    proxy.quiet(QUIET).await?;
    all_available(&world).await?;
    let read = |one: &RequestInfo| matches!(one.verb, Verb::Get | Verb::List) && !one.is_lease();
    Ok(Rotated {
        planes: size,
        wall,
        cpu: operator.cpu_seconds() - cpu,
        peak_rss: operator.process().peak_rss_kib(),
        writes: proxy.requests(RequestInfo::is_counted_write),
        reads: proxy.count(read),
        events: proxy.count(RequestInfo::is_event),
    })
}

/// Each plane's agent as the chart renders it, with a name and a Secret of its own.
async fn put_agents(world: &World, planes: usize) -> Result<()> {
    futures::stream::iter(1..=planes)
        .map(|n| async move {
            let text = agent(PlaneType::Data, planes::NAMESPACE, &planes::name(n), 1);
            let mut objects = documents(&text)?;
            for deployment in objects.iter_mut().filter(|one| one["kind"] == "Deployment") {
                rename(deployment, n);
            }
            apply_documents(&world.admin, objects, "test")
                .await
                .map(drop)
        })
        .buffer_unordered(planes::CREATORS)
        .try_collect()
        .await
}

fn rename(deployment: &mut Value, n: usize) {
    let name = format!("cluster-agent-{}", planes::name(n));
    let spec = &mut deployment["spec"];
    for labels in ["/selector/matchLabels", "/template/metadata/labels"] {
        if let Some(labels) = spec.pointer_mut(labels) {
            labels["app.kubernetes.io/instance"] = json!(name);
        }
    }
    if let Some(secret) = spec.pointer_mut("/template/spec/volumes/0/secret/secretName") {
        *secret = json!(planes::secret(n));
    }
    deployment["metadata"]["name"] = json!(name);
}

async fn all_available(world: &World) -> Result<()> {
    let api: Api<Deployment> = Api::all(world.admin.clone());
    try_wait_for("every Deployment to be available", PATIENCE, async || {
        let found = api.list(&ListParams::default()).await;
        let found = found.map_err(|error| error.to_string())?.items;
        let available = |one: &&Deployment| {
            let status = one.status.as_ref();
            status.is_some_and(|status| {
                status.observed_generation == one.metadata.generation
                    && status.available_replicas == Some(1)
                    && status.replicas == Some(1)
            })
        };
        match found.iter().filter(available).count() {
            count if count == found.len() => Ok(()),
            count => Err(format!("{count} of {}", found.len())),
        }
    })
    .await?;
    Ok(())
}

/// What is written for each plane, and the least.
const OWN: [(&str, &str, usize); 3] = [
    ("planes", "clientCA", 2),
    ("leaf Secrets", "its agent's leaf", 1),
    ("restarts", "restarts of its agent", 2),
];
/// What all planes share, and the least: four bundles, the gateway's leaf, its restart, and two restarts of each of the two
/// that verify it.
const SHARED: [(&str, &str, usize); 3] = [
    ("bundles", "bundles (4 objects)", 8),
    ("leaf Secrets", "the gateway's leaf", 1),
    ("restarts", "restarts in the control plane", 5),
];

impl Rotated {
    fn of(&self, of: &'static str) -> impl Iterator<Item = &RequestInfo> {
        self.writes.iter().filter(move |one| kind(one) == of)
    }

    /// How often each object of a kind was written that belongs to one plane only.
    fn own(&self, kind: &'static str) -> BTreeMap<&str, usize> {
        let mut count = BTreeMap::new();
        for write in self.of(kind).filter(|write| is_own(write)) {
            *count.entry(write.name.as_str()).or_default() += 1;
        }
        count
    }

    fn each(&self, kind: &'static str) -> f64 {
        self.own(kind).values().sum::<usize>() as f64 / self.planes as f64
    }

    fn shared(&self, kind: &'static str) -> usize {
        self.of(kind).filter(|write| !is_own(write)).count()
    }

    pub fn rows(&self) -> Vec<(String, String)> {
        let seconds = self.wall.as_secs_f64();
        let mut rows = vec![row("applied to Ready", format!("{seconds:.2} s"))];
        for (kind, what, _) in OWN {
            let most = self.own(kind).into_values().max().unwrap_or_default();
            let text = format!("{:.2} (at most {most})", self.each(kind));
            rows.push(row(format!("for each plane: {what}"), text));
        }
        for (kind, what, _) in SHARED {
            rows.push(row(format!("shared: {what}"), self.shared(kind)));
        }
        let status_bytes: usize = self.of("status").map(|write| write.body.len()).sum();
        let refused = |write: &&RequestInfo| write.status.is_none_or(|status| status >= 300);
        let all = self.writes.len();
        rows.extend([
            row("writes: status", self.of("status").count()),
            row(
                "status written, in all",
                format!("{} KiB", status_bytes / 1024),
            ),
            row("writes: other", self.of("other").count()),
            row("writes: all", all),
            row(
                "writes: all, for each plane",
                format!("{:.2}", all as f64 / self.planes as f64),
            ),
            row(
                "of them refused by the API server",
                self.writes.iter().filter(refused).count(),
            ),
            row("reads: get or list", self.reads),
            row("Events", self.events),
            row(
                "the operator's processor time",
                format!("{:.2} s", self.cpu),
            ),
            row(
                "resident, at most",
                format!("{:.1} MiB", mebibytes(self.peak_rss)),
            ),
        ]);
        rows
    }

    pub fn budgets(&self) -> Vec<Budget> {
        let planes = self.planes;
        let budget = |what: &str, measured: f64, least: usize| {
            Budget::new(
                format!("{planes} planes rotated: {what}"),
                measured,
                least as f64,
                "",
            )
        };
        let own = OWN.map(|(kind, what, least)| budget(what, self.each(kind), least));
        let shared =
            SHARED.map(|(kind, what, least)| budget(what, self.shared(kind) as f64, least));
        let rest = [
            budget("other writes", self.of("other").count() as f64, 0),
            // One at once, and one in each second that has begun.
            budget(
                "status writes, at most",
                self.of("status").count() as f64,
                self.wall.as_secs() as usize + 2,
            ),
        ];
        own.into_iter().chain(shared).chain(rest).collect()
    }
}

/// Whether it is about what belongs to one plane. All bundles are shared, and the control plane is.
fn is_own(write: &RequestInfo) -> bool {
    kind(write) != "bundles" && write.namespace != CONTROL_PLANE
}
