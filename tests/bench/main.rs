//! `make bench`: what an issuance of N planes costs against a real API server, beside what its keys alone cost.
//!
//! Wall time, memory and processor time are measured without a proxy between operator and API server; requests are
//! counted in a second run, on a control plane of its own, through the proxy. So are those of a rotation.
//!
//!     bench [--quick] [--no-steady] [--no-counts] [--rotation-only | --pods-only | --many-only | --tenants-only] [SIZE...]
//!
//! By default 100, 500 and 1000 planes are issued, 500 are rotated, 1,000 pods of others are there, 10,000 planes with EC
//! keys are issued and changed one by one, so are 1,000 of 300 issuances, and nothing happens for five minutes.

mod budget;
mod changes;
mod counts;
mod issuing;
mod keys;
mod many;
mod planes;
mod pods;
mod rotation;
mod steady;
mod tenants;

use budget::{Budget, table};
use external_ca_tests::Result;
use std::time::Duration;

/// How many planes the steady state has.
const STEADY_PLANES: usize = 50;

/// How many planes are very many.
const MANY: usize = 10_000;
/// Issuances that have a plane or a few each, and the planes.
const TENANTS: (usize, usize) = (300, 1_000);

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Issuing,
    Rotation,
    Pods,
    Many,
    Tenants,
    Steady,
}

struct Options {
    sizes: Vec<usize>,
    /// One part only.
    only: Option<Part>,
    counts: bool,
    steady: Option<Duration>,
}

impl Options {
    fn read(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            sizes: Vec::new(),
            only: None,
            counts: true,
            steady: Some(Duration::from_secs(300)),
        };
        for arg in args {
            match arg.as_str() {
                "--quick" => options.steady = options.steady.map(|_| Duration::from_secs(30)),
                "--no-steady" => options.steady = None,
                "--no-counts" => options.counts = false,
                "--rotation-only" => options.only = Some(Part::Rotation),
                "--pods-only" => options.only = Some(Part::Pods),
                "--many-only" => options.only = Some(Part::Many),
                "--tenants-only" => options.only = Some(Part::Tenants),
                size => options
                    .sizes
                    .push(size.parse().map_err(|_| format!("{size}: not a size"))?),
            }
        }
        Ok(options)
    }

    fn has(&self, part: Part) -> bool {
        self.only.is_none_or(|only| only == part)
    }

    /// The sizes of a part: those that were asked for, or these.
    fn sizes(&self, part: Part, default: &[usize]) -> Vec<usize> {
        match (self.has(part), self.sizes.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => default.to_vec(),
            (true, false) => self.sizes.clone(),
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let cores = std::thread::available_parallelism()?;
    println!(
        "{cores} cores, shared by operator, API server and etcd; RSA-2048 where nothing else is said; release build\n"
    );
    let mut budgets = vec![budget::binary()?];
    for size in options.sizes(Part::Issuing, &[100, 500, 1000]) {
        let issued = issuing::run(size).await?;
        table(
            &format!("{size} planes, {} leaves, no proxy", size + 1),
            &issued.rows(),
        );
        budgets.extend(issued.budgets());
        if options.counts {
            let counted = counts::run(size).await?;
            table(
                &format!("{size} planes, requests, through the proxy"),
                &counted.rows(),
            );
            budgets.extend(counted.budgets());
        }
    }
    for size in options.sizes(Part::Rotation, &[500]) {
        let rotated = rotation::run(size).await?;
        table(
            &format!("{size} planes move from one CA to the next, through the proxy"),
            &rotated.rows(),
        );
        budgets.extend(rotated.budgets());
    }
    if options.has(Part::Pods) {
        let pods = pods::run().await?;
        table("1,000 pods of others, 20 KiB each, no proxy", &pods.rows());
        budgets.extend(pods.budgets());
    }
    if options.has(Part::Many) {
        let many = many::run(MANY).await?;
        table(&format!("{MANY} planes, P-256, no proxy"), &many.rows());
        budgets.extend(many.budgets());
    }
    if options.has(Part::Tenants) {
        let (issuances, planes) = TENANTS;
        let tenants = tenants::run(issuances, planes).await?;
        let title = format!("{issuances} issuances over {planes} planes, P-256, no proxy");
        table(&title, &tenants.rows());
        budgets.extend(tenants.budgets());
    }
    if let Some(time) = options.steady.filter(|_| options.has(Part::Steady)) {
        let steady = steady::run(STEADY_PLANES, time).await?;
        table(
            &format!("steady state: {STEADY_PLANES} planes for {time:?}, through the proxy"),
            &steady.rows(),
        );
        budgets.extend(steady.budgets());
    }
    Budget::print(&budgets);
    Ok(())
}
