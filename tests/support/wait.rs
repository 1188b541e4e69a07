//! Waiting for a condition, and saying what was last seen when it does not come.

use std::fmt::Display;
use std::panic::Location;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Longer than anything here takes on a busy two-core machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is `Ok`, and returns what that holds. An `Err` says what was seen instead; at the time-out the
/// last one goes into the panic.
///
/// ```no_run
/// # use external_ca_tests::wait::{wait_for, PATIENCE};
/// # async fn example(pods: kube::Api<k8s_openapi::api::core::v1::Pod>) {
/// let pod = wait_for("the pod to appear", PATIENCE, async || pods.get("one").await).await;
/// # }
/// ```
#[track_caller]
pub fn wait_for<T, E: Display>(
    what: &str,
    patience: Duration,
    condition: impl AsyncFnMut() -> Result<T, E>,
) -> impl Future<Output = T> {
    let place = Location::caller();
    async move {
        match try_wait_for(what, patience, condition).await {
            Ok(value) => value,
            Err(message) => panic!("{message} (at {place})"),
        }
    }
}

/// [`wait_for`], with the time-out as an error.
pub async fn try_wait_for<T, E: Display>(
    what: &str,
    patience: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, String> {
    let start = Instant::now();
    let deadline = start + patience;
    let mut last = String::from("nothing: the first look did not end");
    let mut pause = Duration::from_millis(10);
    loop {
        match timeout_at(deadline, condition()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => last = seen.to_string(),
            Err(_) => {
                return Err(format!(
                    "waited {patience:?} in vain for {what}; last seen: {last}"
                ));
            }
        }
        if Instant::now() + pause > deadline {
            return Err(format!(
                "waited {patience:?} in vain for {what}; last seen: {last}"
            ));
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Asserts that a condition holds, and goes on holding for all of the time given.
#[track_caller]
pub fn holds_for<E: Display>(
    what: &str,
    time: Duration,
    mut condition: impl AsyncFnMut() -> Result<(), E>,
) -> impl Future<Output = ()> {
    let place = Location::caller();
    async move {
        let deadline = Instant::now() + time;
        loop {
            if let Err(seen) = condition().await {
                panic!("{what} did not hold: {seen} (at {place})");
            }
            if Instant::now() >= deadline {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
