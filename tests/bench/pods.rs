//! What pods cost that have nothing to do with any issuance: they are read, and next to nothing of them is kept.

use crate::budget::{Budget, mebibytes, row};
use crate::planes;
use external_ca_tests::world::World;
use external_ca_tests::{Operator, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde_json::json;
use std::time::Duration;

/// How many pods of others there are.
const UNRELATED: usize = 1_000;
/// A few leaves, so that the operator is one that works.
const PLANES: usize = 20;
/// Long enough for buffers of a burst to be given back.
const REST: Duration = Duration::from_secs(10);

/// Resident memory of one run, in KiB.
#[derive(Clone, Copy)]
struct Memory {
    rest: u64,
    peak: u64,
}

pub struct Pods {
    without: Memory,
    watched: Memory,
    listed: Memory,
}

pub async fn run() -> Result<Pods> {
    let world = planes::world(PLANES).await?;
    planes::put(&world, PLANES).await?;
    let first = world.operator(None).await?;
    planes::issue(&world).await?;
    let operator = restart(&world, first).await?;
    let without = memory(&operator).await;
    put(&world).await?;
    let watched = memory(&operator).await;
    let operator = restart(&world, operator).await?;
    let listed = memory(&operator).await;
    Ok(Pods {
        without,
        watched,
        listed,
    })
}

async fn restart(world: &World, operator: Operator) -> Result<Operator> {
    operator.terminate().await;
    drop(operator);
    world.operator(None).await
}

async fn memory(operator: &Operator) -> Memory {
    tokio::time::sleep(REST).await;
    Memory {
        rest: operator.rss_kib(),
        peak: operator.process().peak_rss_kib(),
    }
}

/// Pods of 20 KiB each, half of it annotations and half of it environment, with a Secret of their own. No kubelet starts them.
async fn put(world: &World) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(world.admin.clone(), planes::NAMESPACE);
    let api = &api;
    futures::stream::iter(0..UNRELATED)
        .map(|n| async move {
            let text = "x".repeat(1024);
            let env = (0..10).map(|n| json!({"name": format!("E{n}"), "value": text}));
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {
                    "name": format!("unrelated-{n:04}"),
                    "annotations": {"example.com/much": text.repeat(10)},
                },
                "spec": {
                    "containers": [{"name": "a", "image": "a", "env": env.collect::<Vec<_>>()}],
                    "volumes": [{"name": "s", "secret": {"secretName": format!("unrelated-{n:04}")}}],
                },
            }))?;
            api.create(&PostParams::default(), &pod).await?;
            Ok(())
        })
        .buffer_unordered(planes::CREATORS)
        .try_collect::<()>()
        .await
}

impl Pods {
    pub fn rows(&self) -> Vec<(String, String)> {
        let memory = |memory: Memory| {
            let (rest, peak) = (mebibytes(memory.rest), mebibytes(memory.peak));
            format!("{rest:.1}, {peak:.1} MiB")
        };
        vec![
            row("without them: at rest, peak", memory(self.without)),
            row("made while it ran: at rest, peak", memory(self.watched)),
            row("there when it started: at rest, peak", memory(self.listed)),
        ]
    }

    pub fn budgets(&self) -> Vec<Budget> {
        let more = |memory: Memory| mebibytes(memory.rest.saturating_sub(self.without.rest));
        vec![
            Budget::new(
                format!("{UNRELATED} pods made while it ran: more at rest"),
                more(self.watched),
                3.0,
                "MiB",
            ),
            Budget::new(
                format!("{UNRELATED} pods there at its start: more at rest"),
                more(self.listed),
                3.0,
                "MiB",
            ),
        ]
    }
}
