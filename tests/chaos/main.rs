//! Chaos: the operator's real program against a real API server, while requests fail, answers get lost, watches lie,
//! processes are killed and stopped, and the world changes under its hands.
//!
//! A seed is a story, drawn from one stream of random numbers, so that a seed that fails can be told again:
//! `FROM=17 SEEDS=1`. All the while and after it every pair of peers must be able to talk, and what is foreign must stay;
//! when it has ended, everything comes to rest with the newest CA within a stated time. What time does between the lines of
//! a story (which request came first) no seed can tell.

mod acts;
mod fleet;
mod judge;
mod rest;
mod sample;
mod scene;
mod story;
mod weather;

use std::time::{Duration, Instant};

use external_ca_tests::{ControlPlane, Result};
use futures::StreamExt;

use judge::Judge;
use scene::Scene;
use story::Story;
use weather::Weather;

/// Those that CI tells: each kind of story, and those that once failed.
const SEEDS: &[u64] = &[0, 2, 4, 7, 8, 9, 12, 14];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn seeds() -> Vec<u64> {
    match number("SEEDS") {
        Some(count) => {
            let from = number("FROM").unwrap_or_default();
            (from..from + count).collect()
        }
        None => SEEDS.to_vec(),
    }
}

/// Tells a story on a scene of its own.
async fn tell(cluster: &'static ControlPlane, story: &Story) -> Result<String> {
    let judge = Judge::default();
    let scene = Scene::set(cluster, story).await?;
    let told = async {
        let mut fleet = scene.fleet(story).await?;
        let happens = async {
            acts::happen(&scene, &judge, &mut fleet, story).await?;
            let end = Instant::now();
            rest::is_reached(&scene, &judge, &mut fleet, story.last_ca, rest::BOUND).await?;
            let rest = end.elapsed();
            if let Some(ca) = story.in_the_dark {
                scene.falls(&Weather::dark());
                scene.put_ca(ca).await?;
                rest::is_reached(&scene, &judge, &mut fleet, ca, rest::BOUND_IN_THE_DARK).await?;
            }
            Ok(rest)
        };
        let outcome = tokio::select! {
            outcome = happens => outcome,
            broken = judge.watches(&scene) => Err(broken),
        };
        outcome.map_err(|why| format!("{why}\n{}", fleet.logs()).into())
    };
    let told: Result<Duration> = told.await;
    scene.clear().await?;
    let [looks, pairs, differ] = judge.counts();
    let judged = format!("{looks} looks at {pairs} pairs, of which {differ} differ");
    told.map(|rest| format!("at rest {} s after its end, {judged}", rest.as_secs()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_seed_breaks_trust() -> Result<()> {
    let cluster = ControlPlane::shared().await;
    scene::furnish(cluster).await?;
    // Stories wait most of the time.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = (4 * cores).min(16);
    let all = futures::stream::iter(seeds()).map(async |seed| {
        let (story, start) = (Story::draw(seed), Instant::now());
        let told = tell(cluster, &story).await;
        let took = start.elapsed().as_secs();
        match told {
            Ok(end) => {
                println!("{story}  {end}, {took} s in all");
                None
            }
            Err(why) => {
                println!("{story}  FAILED after {took} s: {why}");
                Some(seed)
            }
        }
    });
    let outcomes: Vec<Option<u64>> = all.buffer_unordered(at_once).collect().await;
    let failed: Vec<u64> = outcomes.iter().flatten().copied().collect();
    println!(
        "{} seeds, {} failed {failed:?}",
        outcomes.len(),
        failed.len()
    );
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
    Ok(())
}
