//! The snapshot of one issuance, from what was last seen.

use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::domain::{ca_secret, identity};
use external_ca_core::model::Observed;
use external_ca_core::snapshot::Needs;
use kube::ResourceExt;

use crate::clock::Reading;
use crate::context::Context;
use crate::issuers::Issuer;

/// What a turn rests on.
pub struct Sight {
    /// What is decided from: it holds no key.
    pub observed: Observed,
    /// What signs, where it can.
    pub issuer: Option<Issuer>,
}

/// What stands where, and what signs; nothing while first reads are under way.
pub fn observe(
    context: &Context,
    issuance: &Arc<ExternalCAIssuance>,
    Reading { now, ahead }: Reading,
) -> Option<Sight> {
    let (cluster, scope) = (&context.cluster, &context.scope);
    let (planes, mounted) = (cluster.planes()?, cluster.mounted(issuance, scope));
    // Not under the store's lock: claims are over all issuances and planes.
    let claims = context.claims.over(all_issuances(context), &planes, scope);
    let needs = Needs::of(issuance, planes, &mounted, scope);
    let claims = claims.of(issuance, &needs);
    cluster.want(&identity(issuance), &needs, needs.vital(issuance));
    let sight = cluster.seen(&needs, |seen, pem| {
        let issuers = &context.issuers;
        let (state, issuer) = issuers.of_secret(&ca_secret(issuance), pem, now);
        let observed = seen.observed(issuance, claims, &needs, scope, state);
        Sight { observed, issuer }
    });
    let uid = issuance.uid().unwrap_or_default();
    sight.map(|sight| Sight {
        observed: Observed {
            pending: context.pending.of(&uid),
            clock_ahead: ahead,
            ..sight.observed
        },
        ..sight
    })
}

/// Every issuance, in an order that stays.
fn all_issuances(context: &Context) -> Vec<Arc<ExternalCAIssuance>> {
    let mut all = context.issuances.state();
    all.sort_by(|a, b| a.metadata.uid.cmp(&b.metadata.uid));
    all
}
