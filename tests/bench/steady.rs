//! Nothing happens, and the operator does nothing.

use crate::budget::{Budget, row};
use crate::planes;
use external_ca_tests::proxy::{RequestInfo, Verb};
use external_ca_tests::{Proxy, Result};
use std::collections::HashMap;
use std::time::Duration;

pub struct Steady {
    writes: usize,
    objects_read: usize,
    most_reads: usize,
    watches: usize,
    discovery: usize,
    leases: usize,
    cpu: f64,
}

pub async fn run(size: usize, time: Duration) -> Result<Steady> {
    let world = planes::world(size).await?;
    planes::put(&world, size).await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let operator = world.operator(Some(&proxy)).await?;
    planes::issue(&world).await?;
    proxy.quiet(Duration::from_secs(3)).await?;
    proxy.reset();
    let cpu = operator.cpu_seconds();
    tokio::time::sleep(time).await;
    let cpu = (operator.cpu_seconds() - cpu) / time.as_secs_f64();
    let mut reads: HashMap<String, usize> = HashMap::new();
    for read in proxy.requests(|one| matches!(one.verb, Verb::Get | Verb::List) && !one.is_lease())
    {
        *reads
            .entry(format!("{}/{}", read.path, read.name))
            .or_default() += 1;
    }
    Ok(Steady {
        writes: proxy.writes(),
        objects_read: reads.len(),
        most_reads: reads.values().copied().max().unwrap_or_default(),
        watches: proxy.count(|one| one.verb == Verb::Watch),
        discovery: proxy.count(|one| one.verb == Verb::Other),
        leases: proxy.count(RequestInfo::is_lease),
        cpu,
    })
}

impl Steady {
    pub fn rows(&self) -> Vec<(String, String)> {
        vec![
            row("writes", self.writes),
            row("objects read", self.objects_read),
            row("reads of one object, at most", self.most_reads),
            row("watches begun anew", self.watches),
            row("requests for discovery", self.discovery),
            row("requests about the Lease", self.leases),
            row(
                "the operator's processor time",
                format!("{:.2} %", self.cpu * 100.0),
            ),
        ]
    }

    pub fn budgets(&self) -> Vec<Budget> {
        vec![
            Budget::new("steady: writes", self.writes as f64, 0.0, ""),
            Budget::new(
                "steady: reads of one object",
                self.most_reads as f64,
                1.0,
                "",
            ),
            Budget::new("steady: processor time", self.cpu * 100.0, 1.0, "%"),
        ]
    }
}
