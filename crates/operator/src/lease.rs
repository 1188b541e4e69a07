//! Leader election: one operator works, the others stand by. The one that loses the Lease stops at once.

use kube::Client;
use kube_lease_manager::{LeaseCreateMode, LeaseManagerBuilder, LeaseManagerError};
use tokio::sync::watch;

use crate::cli::RunArgs;

/// How long a Lease is good without a sign of life, and how long before its end it is renewed.
const DURATION_SECONDS: u64 = 15;
const GRACE_SECONDS: u64 = 5;

/// Waits for the Lease; the channel says when it is lost. The task keeps it.
pub async fn acquire(
    client: Client,
    args: &RunArgs,
) -> Result<
    (
        watch::Receiver<bool>,
        tokio::task::JoinHandle<Result<kube_lease_manager::LeaseManager, LeaseManagerError>>,
    ),
    LeaseManagerError,
> {
    let namespace = args.own_namespace(&client);
    let manager = LeaseManagerBuilder::new(client, &args.lease_name)
        .with_namespace(namespace)
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
    Ok((holder, task))
}
