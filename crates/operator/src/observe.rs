//! The snapshot of one issuance, from what was last seen.

use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::domain::identity;
use external_ca_core::model::Observed;
use external_ca_core::model::snapshot::Needs;
use jiff::Timestamp;

use crate::context::Context;

/// The snapshot, or nothing while first reads are under way.
pub fn observe(
    context: &Context,
    issuance: &Arc<ExternalCAIssuance>,
    now: Timestamp,
) -> Option<Observed> {
    let (cluster, scope) = (&context.cluster, &context.scope);
    let needs = Needs::of(issuance, cluster.planes()?, scope);
    cluster.want(&identity(issuance), &needs);
    cluster.seen(&needs, |seen| {
        let all = context.issuances.state();
        seen.observed(issuance, &all, &needs, scope, now)
    })
}
