//! A deterministic world, from a seed, in which everything goes wrong that can: the same planner and order of steps that
//! the operator runs, real certificates, real verification, no real time and no network.
//!
//! After each write of the operator no pair of peers may fail that did not fail before; when the faults end, everything
//! comes to rest with the newest CA, and with it alone.

mod cluster;
mod invariant;
mod mutants;
mod operator;
mod story;

use std::sync::atomic::{AtomicU64, Ordering};

use external_ca_core::x509::Certificate;
use mutants::Mutant;

/// How many seeds a mutant may survive.
const TEETH: u64 = 200;
/// Seeds that once failed.
const REGRESSIONS: &[u64] = &[
    2, 4, 56, 81, 107, 116, 385, 440, 1175, 1259, 1260, 2308, 2690, 3758, 6649,
];

/// An anchor as a trace names it.
pub fn cluster_name(anchor: &Certificate) -> String {
    let index = (0..4).find(|index| cluster::ca(*index).anchor() == anchor);
    index.map_or("?".into(), |index| {
        ["A", "B", "C", "stranger"][index].into()
    })
}

fn check(seed: u64) {
    if let Err(failure) = story::tell(seed, None) {
        panic!("seed {seed}: {failure}");
    }
}

#[test]
fn no_seed_breaks_trust() {
    let seeds = std::env::var("SEEDS").map_or(5_000, |text| text.parse().unwrap());
    REGRESSIONS.iter().copied().for_each(check);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    check(seed);
                }
            });
        }
    });
    println!("{seeds} seeds, and {} that once failed", REGRESSIONS.len());
}

#[test]
fn a_planner_that_lacks_a_guard_is_caught() {
    for mutant in Mutant::ALL {
        let caught =
            (0..TEETH).find_map(|seed| Some((seed, story::tell(seed, Some(mutant)).err()?)));
        let (seed, failure) = caught.unwrap_or_else(|| panic!("{mutant:?} survives {TEETH} seeds"));
        let first = failure.lines().next().unwrap_or_default();
        println!("{mutant:?}: caught by seed {seed}: {first}");
    }
}
