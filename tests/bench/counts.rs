//! The requests of one issuance, counted by the proxy.

use crate::budget::{Budget, row};
use crate::planes;
use external_ca_tests::proxy::{RequestInfo, Verb};
use external_ca_tests::{Proxy, Result};

pub struct Counts {
    planes: usize,
    leaves: usize,
    writes: Vec<(&'static str, usize)>,
    status_bytes: usize,
    gets: usize,
    lists: usize,
    watches: usize,
    events: usize,
    leases: usize,
}

/// What a counted write is about.
pub fn kind(request: &RequestInfo) -> &'static str {
    match (
        request.resource.as_str(),
        request.subresource.as_str(),
        request.name.as_str(),
    ) {
        (_, "status", _) => "status",
        ("secrets" | "configmaps", _, "cluster-gateway-ca") => "bundles",
        ("secrets", ..) => "leaf Secrets",
        ("dataplanes", ..) => "planes",
        ("deployments", ..) => "restarts",
        _ => "other",
    }
}

pub async fn run(size: usize) -> Result<Counts> {
    let world = planes::world(size).await?;
    planes::put(&world, size).await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let _operator = world.operator(Some(&proxy)).await?;
    proxy.reset();
    planes::issue(&world).await?;
    let written = proxy.requests(RequestInfo::is_counted_write);
    let read = |verb: Verb| {
        proxy.count(|request| request.verb == verb && !request.is_lease() && !request.is_event())
    };
    let kinds = ["leaf Secrets", "bundles", "status", "planes", "other"];
    let number = |name: &str| written.iter().filter(|one| kind(one) == name).count();
    Ok(Counts {
        planes: size,
        leaves: size + 1,
        writes: kinds.map(|name| (name, number(name))).into(),
        status_bytes: written
            .iter()
            .filter(|one| kind(one) == "status")
            .map(|one| one.body.len())
            .sum(),
        gets: read(Verb::Get),
        lists: read(Verb::List),
        watches: read(Verb::Watch),
        events: proxy.count(RequestInfo::is_event),
        leases: proxy.count(RequestInfo::is_lease),
    })
}

impl Counts {
    fn each(&self, count: usize) -> f64 {
        count as f64 / self.leaves as f64
    }

    fn writes(&self, with_planes: bool) -> usize {
        let counted = self
            .writes
            .iter()
            .filter(|(name, _)| with_planes || *name != "planes");
        counted.map(|(_, count)| count).sum()
    }

    pub fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<_> = self
            .writes
            .iter()
            .map(|(name, count)| row(format!("writes: {name}"), count))
            .collect();
        rows.extend([
            row(
                "writes for each leaf, planes not counted",
                format!("{:.2}", self.each(self.writes(false))),
            ),
            row(
                "writes for each leaf, all",
                format!("{:.2}", self.each(self.writes(true))),
            ),
            row(
                "status written, in all",
                format!("{} KiB", self.status_bytes / 1024),
            ),
            row("reads: get", self.gets),
            row("reads: list", self.lists),
            row(
                "reads: get or list, for each leaf",
                format!("{:.2}", self.each(self.gets + self.lists)),
            ),
            row("watches begun", self.watches),
            row("Events", self.events),
            row("requests about the Lease", self.leases),
        ]);
        rows
    }

    pub fn budgets(&self) -> Vec<Budget> {
        let what = format!("{} planes: writes for each leaf", self.planes);
        vec![Budget::new(what, self.each(self.writes(false)), 2.0, "")]
    }
}
