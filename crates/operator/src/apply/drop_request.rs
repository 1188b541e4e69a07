//! Drops the request that waits for a leaf.

use external_ca_core::plan::DropRequest;

use crate::error::Error;
use crate::pending::Pending;

/// Carries the step out.
pub async fn carry_out(pending: &Pending, uid: &str, step: &DropRequest) -> Result<(), Error> {
    pending.drop_leaf(&step.target, uid).await
}
