//! Leader election: one operator works, the others stand by. The one that loses the Lease stops at once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use kube_lease_manager::{LeaseCreateMode, LeaseManager, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::cli::RunArgs;

/// How long a Lease is good without a sign of life, and how long before its end it is renewed.
const DURATION_SECONDS: u64 = 15;
const GRACE_SECONDS: u64 = 5;
/// So long before its end it is looked whether that was done.
const LOOK_AHEAD: SignedDuration = SignedDuration::from_secs(3);
/// The pause between two looks that found nothing new.
const PAUSE: Duration = Duration::from_millis(500);

/// The Lease, as long as this process has it.
pub struct Held {
    /// Says when another has taken it.
    pub holder: watch::Receiver<bool>,
    /// What renews it.
    pub task: JoinHandle<Result<LeaseManager, LeaseManagerError>>,
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// Waits for the Lease. The task keeps it.
pub async fn acquire(client: Client, args: &RunArgs) -> Result<Held, LeaseManagerError> {
    let namespace = args.own_namespace(&client);
    let identity = identity();
    let api = Api::namespaced(client.clone(), &namespace);
    let manager = LeaseManagerBuilder::new(client, &args.lease_name)
        .with_namespace(namespace)
        .with_identity(identity.clone())
        .with_create_mode(LeaseCreateMode::AutoCreate)
        .with_duration(DURATION_SECONDS)
        .with_grace(GRACE_SECONDS)
        .build()
        .await?;
    let (mut holder, task) = manager.watch().await;
    tracing::info!("waiting for the Lease");
    while !*holder.borrow_and_update() {
        if holder.changed().await.is_err() {
            break;
        }
    }
    tracing::info!("leading");
    Ok(Held {
        holder,
        task,
        api,
        name: args.lease_name.clone(),
        identity,
    })
}

impl Held {
    /// Ends when another has the Lease, or may have it: what renews it notices neither while its requests fail.
    pub async fn lost(&mut self) {
        let (api, name, identity) = (&self.api, &self.name, &self.identity);
        tokio::select! {
            _ = self.holder.wait_for(|holds| !holds) => {}
            () = has_ended(api, name, identity) => {}
        }
    }
}

/// Looks at the Lease shortly before its end, by the clock that has written it.
async fn has_ended(api: &Api<Lease>, name: &str, identity: &str) {
    let good = SignedDuration::from_secs(DURATION_SECONDS.cast_signed());
    let mut end = Timestamp::now()
        .saturating_add(good)
        .unwrap_or(Timestamp::MAX);
    while Timestamp::now() < end {
        let left = Timestamp::now().duration_until(end);
        let ahead = left.saturating_sub(LOOK_AHEAD);
        sleep(Duration::try_from(ahead).unwrap_or_default().max(PAUSE)).await;
        match timeout(PAUSE, api.get(name)).await {
            Ok(Ok(lease)) => match end_of(&lease, identity) {
                Some(renewed) => end = renewed,
                None => return,
            },
            Ok(Err(error)) => tracing::debug!(%error, "the Lease cannot be read"),
            Err(_) => tracing::debug!("the Lease cannot be read in time"),
        }
    }
}

/// Until when the Lease is this one's; nothing where it is not.
fn end_of(lease: &Lease, identity: &str) -> Option<Timestamp> {
    let spec = lease.spec.as_ref()?;
    let is_ours = spec.holder_identity.as_deref() == Some(identity);
    let seconds = spec.lease_duration_seconds.filter(|_| is_ours)?;
    let renewed = spec.renew_time.as_ref()?.0;
    renewed
        .checked_add(SignedDuration::from_secs(seconds.into()))
        .ok()
}

/// Nobody else's.
fn identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_default();
    let now = Timestamp::now().as_nanosecond();
    format!("{host}-{}-{now}", std::process::id())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_lease_is_ours_until_it_should_have_been_renewed() {
        let spec = json!({
            "holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z",
        });
        let lease = |spec| serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        let end = "2026-01-01T00:00:15Z".parse().unwrap();
        assert_eq!(end_of(&lease(spec.clone()), "one"), Some(end));
        assert_eq!(end_of(&lease(spec), "another"), None);
        // Released.
        assert_eq!(end_of(&lease(json!({"leaseTransitions": 3})), "one"), None);
    }
}
