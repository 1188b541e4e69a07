//! Where nothing changes, nothing is written, and nothing but the CA is read again.

use std::time::Duration;

use external_ca_tests::proxy::{RequestInfo, Verb};
use external_ca_tests::world::{CA_SECRET, World};
use external_ca_tests::{Proxy, Result};

/// Long enough for whatever polls by the second; `make bench` looks for five minutes.
const WINDOW: Duration = Duration::from_secs(20);

#[tokio::test]
async fn steady_state() -> Result<()> {
    let world = World::any().await?;
    crate::kill::furnish(&world).await?;
    world.put_planes().await?;
    let proxy = Proxy::start(&world.cluster).await?;
    let operator = world.operator(Some(&proxy)).await?;
    world.issue().await?;
    world.ready().await;
    proxy.quiet(Duration::from_secs(3)).await?;
    proxy.reset();
    let cpu = operator.cpu_seconds();
    tokio::time::sleep(WINDOW).await;
    let seen = proxy.requests(|one| {
        one.is_counted_write()
            || one.is_event()
            || matches!(one.verb, Verb::Get | Verb::List) && !one.is_lease()
    });
    // Once a minute, whatever its watch tells.
    let is_ca = |one: &&RequestInfo| one.verb == Verb::Get && one.name == CA_SECRET;
    let (ca, seen): (Vec<_>, Vec<_>) = seen.iter().partition(is_ca);
    assert!(ca.len() <= 2, "{} reads of the CA", ca.len());
    let seen: Vec<String> = seen.iter().map(ToString::to_string).collect();
    assert!(seen.is_empty(), "{}\n{}", seen.join("\n"), operator.log());
    // The Lease and discovery cost next to nothing.
    let cpu = operator.cpu_seconds() - cpu;
    assert!(
        cpu < WINDOW.as_secs_f64() / 20.0,
        "{cpu} s of processor time"
    );
    Ok(())
}
