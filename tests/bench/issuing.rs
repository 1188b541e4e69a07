//! Time, memory and processor time of one issuance, straight to the API server.

use crate::budget::{Budget, mebibytes, row};
use crate::{keys, planes};
use external_ca_tests::{Operator, Result};
use kube::api::DeleteParams;
use std::time::{Duration, Instant};

/// How many Secrets of others there are in the end.
const UNRELATED: usize = 2_000;
/// Long enough for buffers of a burst to be given back, and for idle processor time to show.
const REST: Duration = Duration::from_secs(10);

pub struct Issued {
    planes: usize,
    keys: Duration,
    wall: Duration,
    cpu: f64,
    idle_cpu: f64,
    start_to_ready: Duration,
    start_to_work: Duration,
    memory: Memory,
}

/// Resident, in KiB.
struct Memory {
    empty: u64,
    after: u64,
    peak: u64,
    restarted: u64,
    unrelated: u64,
}

pub async fn run(size: usize) -> Result<Issued> {
    let world = planes::world(size).await?;
    let operator = world.operator(None).await?;
    tokio::time::sleep(REST / 2).await;
    let empty = operator.rss_kib();
    planes::put(&world, size).await?;

    // Half of the keys before and half after: the machine may have other things to do, now or later.
    let leaves = size + 1;
    let before = keys::time(leaves / 2).await?;
    let cpu = operator.cpu_seconds();
    let wall = planes::issue(&world).await?;
    let cpu = operator.cpu_seconds() - cpu;
    let keys = before + keys::time(leaves - leaves / 2).await?;
    let (after, peak) = (operator.rss_kib(), operator.process().peak_rss_kib());
    let rested = operator.cpu_seconds();
    tokio::time::sleep(REST).await;
    let idle_cpu = (operator.cpu_seconds() - rested) / REST.as_secs_f64();

    // A leaf is lost while the operator is away: the first work there is when it comes back.
    operator.terminate().await;
    drop(operator);
    let lost = planes::secret(size);
    let secrets = world.secrets(planes::NAMESPACE);
    secrets.delete(&lost, &DeleteParams::default()).await?;
    let started = Instant::now();
    let operator = world.operator(None).await?;
    let start_to_ready = started.elapsed();
    planes::await_secret(&world, &lost).await;
    let start_to_work = started.elapsed();
    tokio::time::sleep(REST).await;
    let restarted = operator.rss_kib();

    planes::put_unrelated(&world, UNRELATED).await?;
    let operator = restart(&world, operator).await?;
    Ok(Issued {
        planes: size,
        keys,
        wall,
        cpu,
        idle_cpu,
        start_to_ready,
        start_to_work,
        memory: Memory {
            empty,
            after,
            peak,
            restarted,
            unrelated: operator.rss_kib(),
        },
    })
}

/// A new process has seen everything that there is.
async fn restart(world: &external_ca_tests::world::World, old: Operator) -> Result<Operator> {
    old.terminate().await;
    drop(old);
    let operator = world.operator(None).await?;
    tokio::time::sleep(REST).await;
    Ok(operator)
}

impl Issued {
    fn ratio(&self) -> f64 {
        self.wall.as_secs_f64() / self.keys.as_secs_f64()
    }

    pub fn rows(&self) -> Vec<(String, String)> {
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let memory = |kib: u64| format!("{:.1} MiB", mebibytes(kib));
        vec![
            row("the keys alone", seconds(self.keys)),
            row("applied to Ready", seconds(self.wall)),
            row("ratio", format!("{:.2}", self.ratio())),
            row(
                "the operator's processor time",
                format!("{:.2} s", self.cpu),
            ),
            row(
                "the same when idle",
                format!("{:.2} %", self.idle_cpu * 100.0),
            ),
            row("start to ready", seconds(self.start_to_ready)),
            row(
                "start to a lost leaf's new Secret",
                seconds(self.start_to_work),
            ),
            row("resident, nothing to do yet", memory(self.memory.empty)),
            row("resident, Ready", memory(self.memory.after)),
            row("resident, at most", memory(self.memory.peak)),
            row("resident, restarted", memory(self.memory.restarted)),
            row(
                format!("resident, restarted beside {UNRELATED} unrelated Secrets"),
                memory(self.memory.unrelated),
            ),
        ]
    }

    pub fn budgets(&self) -> Vec<Budget> {
        let of = |what: &str| format!("{} planes: {what}", self.planes);
        let grown = self.memory.unrelated.saturating_sub(self.memory.restarted);
        let budget = |what, measured, limit, unit| Budget::new(of(what), measured, limit, unit);
        vec![
            budget("wall time over the keys alone", self.ratio(), 1.25, ""),
            budget(
                "resident, idle and empty",
                mebibytes(self.memory.empty),
                15.0,
                "MiB",
            ),
            budget("resident, Ready", mebibytes(self.memory.after), 40.0, "MiB"),
            budget(
                "resident, restarted",
                mebibytes(self.memory.restarted),
                40.0,
                "MiB",
            ),
            budget("more for unrelated Secrets", mebibytes(grown), 2.0, "MiB"),
            budget(
                "start to the first work done",
                self.start_to_work.as_secs_f64(),
                1.0,
                "s",
            ),
            budget("idle processor time", self.idle_cpu * 100.0, 1.0, "%"),
        ]
    }
}
