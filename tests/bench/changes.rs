//! One change among many planes, with the operator idle: how long until it is dealt with, and at what processor time.

use crate::budget::row;
use crate::planes;
use external_ca_tests::world::World;
use external_ca_tests::{Operator, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use std::time::{Duration, Instant};

/// So many of each are made, one after another; the middle one counts.
const REPEATED: usize = 9;
/// Between two of them: the operator has stored its status, which it does at most once a second.
const IDLE: Duration = Duration::from_secs(3);

/// What one change took.
pub struct Changes {
    /// A clientCA that somebody emptied is filled again.
    emptied: Duration,
    /// A plane that is new has its Secret and its clientCA.
    new: Duration,
    /// The operator's processor time for one of either.
    cpu: f64,
}

/// Planes 1 to REPEATED are changed; those after `planes` are new, and their Secrets are named in the chart.
pub async fn run(world: &World, operator: &Operator, planes: usize) -> Result<Changes> {
    tokio::time::sleep(IDLE * 3).await;
    let cpu = operator.cpu_seconds();
    let (mut emptied, mut new) = (Vec::new(), Vec::new());
    let api = world.planes("DataPlane").await?;
    for n in 1..=REPEATED {
        emptied.push(empty(&api, &planes::name(n)).await?);
        tokio::time::sleep(IDLE).await;
        new.push(add(world, &api, planes + n).await?);
        tokio::time::sleep(IDLE).await;
    }
    let cpu = operator.cpu_seconds() - cpu;
    Ok(Changes {
        emptied: median(emptied),
        new: median(new),
        cpu: cpu / (2 * REPEATED) as f64,
    })
}

/// How many planes [`run`] adds.
pub const ADDED: usize = REPEATED;

async fn empty(api: &Api<DynamicObject>, name: &str) -> Result<Duration> {
    let patch = json!({"spec": {"clusterAgent": {"clientCA": {"value": ""}}}});
    let emptied = api
        .patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    let started = Instant::now();
    let version = emptied.metadata.resource_version.unwrap_or_default();
    let only = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = api.watch(&only, &version).await?.boxed();
    while let Some(event) = events.try_next().await? {
        if let WatchEvent::Modified(plane) = event
            && is_wired(&plane)
        {
            return Ok(started.elapsed());
        }
    }
    Err("the watch has ended".into())
}

async fn add(world: &World, api: &Api<DynamicObject>, n: usize) -> Result<Duration> {
    let name = planes::name(n);
    let started = Instant::now();
    planes::put_one(world, n).await?;
    let wired = |plane: Option<&DynamicObject>| plane.is_some_and(is_wired);
    let exists = |secret: Option<&Secret>| secret.is_some();
    let (secrets, secret) = (world.secrets(planes::NAMESPACE), planes::secret(n));
    let (wired, exists) = tokio::join!(
        await_condition(api.clone(), &name, wired),
        await_condition(secrets, &secret, exists),
    );
    wired?;
    exists?;
    Ok(started.elapsed())
}

fn is_wired(plane: &DynamicObject) -> bool {
    let value = &plane.data["spec"]["clusterAgent"]["clientCA"]["value"];
    value.as_str().is_some_and(|value| !value.is_empty())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

impl Changes {
    /// The slower of the two.
    pub fn slowest(&self) -> Duration {
        self.emptied.max(self.new)
    }

    pub fn rows(&self) -> Vec<(String, String)> {
        let milliseconds = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1000.0);
        vec![
            row(
                "a clientCA that was emptied is filled again",
                milliseconds(self.emptied),
            ),
            row(
                "a new plane has its Secret and clientCA",
                milliseconds(self.new),
            ),
            row(
                "processor time of one change",
                format!("{:.0} ms", self.cpu * 1000.0),
            ),
        ]
    }
}
