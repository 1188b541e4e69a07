//! Drops the request that waits for a leaf.

use external_ca_api::ExternalCAIssuance;
use external_ca_core::plan::DropRequest;
use kube::ResourceExt;

use crate::error::Error;
use crate::pending::Pending;

/// Carries the step out.
pub async fn carry_out(
    pending: &Pending,
    issuance: &ExternalCAIssuance,
    step: &DropRequest,
) -> Result<(), Error> {
    let uid = issuance.uid().unwrap_or_default();
    pending.drop_leaf(&step.target, &uid).await
}
