//! `--wait`: follows an issuance to the end of what was asked for.

use std::time::{Duration, Instant};

use external_ca_api::ExternalCAIssuance;
use external_ca_core::domain::identity;
use kube::{Api, ResourceExt};

use super::exit::{Exit, print};
use crate::error::{Error, api_message};
use crate::output::progress::news;
use crate::output::status::condition;
use crate::session::Session;

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Tells what happens until it is done, or the time is over. An API server that is away for a while is borne with.
pub async fn follow(
    session: &Session,
    mut seen: ExternalCAIssuance,
    timeout: Duration,
    done: impl Fn(&ExternalCAIssuance) -> bool,
) -> Result<Exit, Error> {
    let started = Instant::now();
    let namespace = seen.namespace().unwrap_or_default();
    let api: Api<ExternalCAIssuance> = Api::namespaced(session.client.clone(), &namespace);
    let mut away = None;
    loop {
        if done(&seen) {
            let took = started.elapsed().as_secs();
            print(&format!("{}: done after {took}s\n", identity(&seen)))?;
            return Ok(Exit::Fine);
        }
        if started.elapsed() >= timeout {
            let why = away.unwrap_or_else(|| still(&seen));
            let limit = timeout.as_secs();
            let name = identity(&seen);
            print(&format!("{name}: not done after {limit}s: {why}\n"))?;
            return Ok(Exit::Findings);
        }
        tokio::time::sleep(INTERVAL).await;
        match api.get_opt(&seen.name_any()).await {
            Ok(Some(now)) => {
                let before = seen.status.clone().unwrap_or_default();
                let after = now.status.clone().unwrap_or_default();
                for line in news(&before, &after) {
                    let at = started.elapsed().as_secs();
                    print(&format!("{at:>4}s  {line}\n"))?;
                }
                (seen, away) = (now, None);
            }
            Ok(None) => {
                return Err(Error::NotFound(format!(
                    "{} was deleted meanwhile",
                    identity(&seen)
                )));
            }
            Err(error) => away = Some(api_message(&error)),
        }
    }
}

/// What it waits for.
fn still(seen: &ExternalCAIssuance) -> String {
    let ready = seen
        .status
        .as_ref()
        .and_then(|status| condition(status, "Ready"));
    match ready {
        Some(ready) => format!("{}: {}", ready.reason, ready.message),
        None => "the operator has not looked at it yet".into(),
    }
}
