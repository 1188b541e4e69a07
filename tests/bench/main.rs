//! `make bench`: what an issuance of N planes costs against a real API server, beside what its keys alone cost.
//!
//! Wall time, memory and processor time are measured without a proxy between operator and API server; requests are
//! counted in a second run, on a control plane of its own, through the proxy. So are those of a rotation.
//!
//!     bench [--quick] [--no-steady] [--no-counts] [--rotation-only] [--pods-only] [SIZE...]
//!
//! By default 100, 500 and 1000 planes are issued, 500 are rotated, 1,000 pods of others are there, and nothing happens for
//! five minutes.

mod budget;
mod counts;
mod issuing;
mod keys;
mod planes;
mod pods;
mod rotation;
mod steady;

use budget::{Budget, table};
use external_ca_tests::Result;
use std::time::Duration;

/// How many planes the steady state has.
const STEADY_PLANES: usize = 50;

struct Options {
    sizes: Vec<usize>,
    rotated: Vec<usize>,
    counts: bool,
    pods: bool,
    steady: Option<Duration>,
}

impl Options {
    fn read(args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            sizes: Vec::new(),
            rotated: Vec::new(),
            counts: true,
            pods: true,
            steady: Some(Duration::from_secs(300)),
        };
        let (mut rotation_only, mut pods_only) = (false, false);
        for arg in args {
            match arg.as_str() {
                "--quick" => options.steady = options.steady.map(|_| Duration::from_secs(30)),
                "--no-steady" => options.steady = None,
                "--no-counts" => options.counts = false,
                "--rotation-only" => rotation_only = true,
                "--pods-only" => pods_only = true,
                size => options
                    .sizes
                    .push(size.parse().map_err(|_| format!("{size}: not a size"))?),
            }
        }
        options.rotated.clone_from(&options.sizes);
        if options.sizes.is_empty() {
            options.sizes = vec![100, 500, 1000];
            options.rotated = vec![500];
        }
        if rotation_only || pods_only {
            options.sizes.clear();
            options.steady = None;
        }
        if pods_only {
            options.rotated.clear();
        }
        options.pods = pods_only || !rotation_only;
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, shared by operator, API server and etcd; RSA-2048; release build\n");
    let mut budgets = vec![budget::binary()?];
    for &size in &options.sizes {
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
    for &size in &options.rotated {
        let rotated = rotation::run(size).await?;
        table(
            &format!("{size} planes move from one CA to the next, through the proxy"),
            &rotated.rows(),
        );
        budgets.extend(rotated.budgets());
    }
    if options.pods {
        let pods = pods::run().await?;
        table("1,000 pods of others, 20 KiB each, no proxy", &pods.rows());
        budgets.extend(pods.budgets());
    }
    if let Some(time) = options.steady {
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
