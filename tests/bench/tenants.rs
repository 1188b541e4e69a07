//! Many issuances over many planes, a few of them each: one change costs what it concerns.

use crate::budget::{Budget, mebibytes, row};
use crate::changes::{self, Changes};
use crate::planes;
use external_ca_tests::Result;
use external_ca_tests::apply::apply_yaml;
use external_ca_tests::crds::{CrdSource, Release};
use external_ca_tests::openssl::Ca;
use external_ca_tests::world::{World, issuance};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use std::time::{Duration, Instant};

pub struct Tenants {
    issuances: usize,
    planes: usize,
    wall: Duration,
    peak: u64,
    changes: Changes,
}

pub async fn run(issuances: usize, size: usize) -> Result<Tenants> {
    let names = |prefix: &str, count: usize| {
        (0..count)
            .map(|n| format!("{prefix}-{n}"))
            .collect::<Vec<_>>()
    };
    let mut leaves = names("gateway", issuances);
    leaves.extend((1..=size + changes::ADDED).map(planes::secret));
    let values = json!({
        "secrets": {"leaves": leaves},
        "trust": {"names": names("trust", issuances)},
    });
    let source = CrdSource::available(Release::V1_2)[0];
    let world = World::start_with(source, Release::V1_2, values).await?;
    world.put_ca(&Ca::guide()).await?;
    planes::put(&world, size).await?;
    let operator = world.operator(None).await?;
    let started = Instant::now();
    let world = &world;
    futures::stream::iter(0..issuances)
        .map(|n| async move {
            let of_it = (1..=size + changes::ADDED).filter(|plane| plane % issuances == n);
            let mut object = issuance(&format!("tenant-{n}"));
            object["spec"] = json!({
                "issuer": object["spec"]["issuer"],
                "certificateDefaults": {"privateKey": planes::quick_keys()},
                "gateway": {"secretName": format!("gateway-{n}")},
                "trust": {"configMapName": format!("trust-{n}"), "secretName": format!("trust-{n}")},
                "agents": [{"namespace": planes::NAMESPACE, "secretName": "agent-{planeID}"}],
                "planes": {"selector": {"matchExpressions": [{
                    "key": planes::LABEL, "operator": "In",
                    "values": of_it.map(planes::name).collect::<Vec<_>>(),
                }]}},
            });
            apply_yaml(&world.admin, &object.to_string()).await.map(drop)
        })
        .buffer_unordered(planes::CREATORS)
        .try_collect::<()>()
        .await?;
    for n in 0..issuances {
        world
            .condition_of(&format!("tenant-{n}"), "Ready", "True", "Ready")
            .await;
    }
    let wall = started.elapsed();
    let changes = changes::run(world, &operator, size).await?;
    Ok(Tenants {
        issuances,
        planes: size,
        wall,
        peak: operator.process().peak_rss_kib(),
        changes,
    })
}

impl Tenants {
    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows = vec![
            row(
                "applied to Ready, all",
                format!("{:.1} s", self.wall.as_secs_f64()),
            ),
            row(
                "resident, at most",
                format!("{:.1} MiB", mebibytes(self.peak)),
            ),
        ];
        rows.extend(self.changes.rows());
        rows
    }

    pub fn budgets(&self) -> Vec<Budget> {
        let what = format!(
            "{} issuances, {} planes: one change",
            self.issuances, self.planes
        );
        vec![Budget::new(
            what,
            self.changes.slowest().as_secs_f64() * 1000.0,
            200.0,
            "ms",
        )]
    }
}
