//! What the keys alone cost: the same number, of the same kind, on the same cores.

use external_ca_core::x509::{KeyAlgorithm, generate};
use external_ca_tests::Result;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The time it takes to make so many RSA-2048 keys on all cores.
pub async fn time(count: usize) -> Result<Duration> {
    Ok(tokio::task::spawn_blocking(move || make(count)).await??)
}

fn make(count: usize) -> std::io::Result<Duration> {
    let cores = std::thread::available_parallelism()?.get();
    let begun = AtomicUsize::new(0);
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while begun.fetch_add(1, Ordering::Relaxed) < count {
                    generate(KeyAlgorithm::Rsa(2048)).expect("a key");
                }
            });
        }
    });
    Ok(started.elapsed())
}
