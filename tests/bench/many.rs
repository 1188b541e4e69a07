//! Very many planes in one issuance, with EC keys: what they cost at first, and what one change among them costs.

use crate::budget::{Budget, mebibytes, row};
use crate::changes::{self, Changes};
use crate::planes;
use external_ca_tests::{Operator, Result};
use std::time::Duration;

/// Long enough for buffers of a burst to be given back.
const REST: Duration = Duration::from_secs(10);

pub struct Many {
    planes: usize,
    wall: Duration,
    cpu: f64,
    rest: u64,
    peak: u64,
    restarted: u64,
    restarted_peak: u64,
    status_bytes: usize,
    changes: Changes,
}

pub async fn run(size: usize) -> Result<Many> {
    let world = planes::world(size + changes::ADDED).await?;
    planes::put(&world, size).await?;
    let operator = world.operator(None).await?;
    let cpu = operator.cpu_seconds();
    let wall = planes::issue_with(&world, planes::quick_keys()).await?;
    let cpu = operator.cpu_seconds() - cpu;
    tokio::time::sleep(REST).await;
    let (rest, peak) = memory(&operator);
    let changes = changes::run(&world, &operator, size).await?;
    operator.terminate().await;
    drop(operator);
    let operator = world.operator(None).await?;
    tokio::time::sleep(REST).await;
    let (restarted, restarted_peak) = memory(&operator);
    let status = world.ready().await;
    Ok(Many {
        planes: size,
        wall,
        cpu,
        rest,
        peak,
        restarted,
        restarted_peak,
        status_bytes: serde_json::to_vec(&status)?.len(),
        changes,
    })
}

fn memory(operator: &Operator) -> (u64, u64) {
    (operator.rss_kib(), operator.process().peak_rss_kib())
}

impl Many {
    pub fn rows(&self) -> Vec<(String, String)> {
        let memory =
            |rest: u64, peak: u64| format!("{:.1}, {:.1} MiB", mebibytes(rest), mebibytes(peak));
        let mut rows = vec![
            row(
                "applied to Ready",
                format!("{:.1} s", self.wall.as_secs_f64()),
            ),
            row(
                "the operator's processor time",
                format!("{:.1} s", self.cpu),
            ),
            row(
                "resident, Ready: at rest, at most",
                memory(self.rest, self.peak),
            ),
            row(
                "resident, restarted: at rest, at most",
                memory(self.restarted, self.restarted_peak),
            ),
            row("the status", format!("{} KiB", self.status_bytes / 1024)),
        ];
        rows.extend(self.changes.rows());
        rows
    }

    pub fn budgets(&self) -> Vec<Budget> {
        let of = |what: &str| format!("{} planes: {what}", self.planes);
        let most = self.peak.max(self.restarted_peak);
        vec![
            Budget::new(
                of("one change"),
                self.changes.slowest().as_secs_f64() * 1000.0,
                200.0,
                "ms",
            ),
            Budget::new(of("resident, at most"), mebibytes(most), 110.0, "MiB"),
        ]
    }
}
