//! The snapshot of one issuance, from what was last seen.

use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::domain::identity;
use external_ca_core::model::snapshot::Needs;
use external_ca_core::model::{MaterialKind, MaterialRef, Observed, Read};
use jiff::Timestamp;

use crate::context::Context;

/// The snapshot, or nothing while first reads are under way.
pub fn observe(
    context: &Context,
    issuance: &Arc<ExternalCAIssuance>,
    now: Timestamp,
) -> Option<Observed> {
    let planes = {
        let facts = context.store.facts();
        if !facts.unsynced.is_empty() {
            return None;
        }
        facts.seen.planes.values().cloned().collect::<Vec<_>>()
    };
    let needs = Needs::of(issuance, planes, &context.scope);
    read_again(context, &needs);
    context
        .watches
        .want(&identity(issuance), needs.objects().collect());

    let facts = context.store.facts();
    let seen = |need: MaterialRef| facts.seen.material.contains_key(&need);
    if !needs.objects().all(seen) {
        return None;
    }
    let others = context.issuances.state();
    Some(
        facts
            .seen
            .observed(issuance, &others, &needs, &context.scope, now),
    )
}

/// What was seen before it was known to hold a CA or anchors is read again for that. A watch or read that is already
/// running fills in what is new.
fn read_again(context: &Context, needs: &Needs) {
    let mut facts = context.store.facts();
    let mut fresh = Vec::new();
    if let Some(authority) = &needs.authority
        && !facts.seen.authorities.contains_key(authority)
    {
        facts
            .seen
            .authorities
            .insert(authority.clone(), Read::Absent);
        fresh.push(MaterialRef {
            kind: MaterialKind::Secret,
            object: authority.clone(),
        });
    }
    for entry in &needs.anchors {
        if !facts.seen.anchors.contains_key(entry) {
            facts.seen.anchors.insert(entry.clone(), Read::Absent);
            fresh.push(MaterialRef {
                kind: MaterialKind::ConfigMap,
                object: entry.0.clone(),
            });
        }
    }
    for stale in fresh {
        if facts.seen.material.contains_key(&stale) {
            facts.unsee(&stale);
            let watches = Arc::clone(&context.watches);
            tokio::spawn(async move { watches.read(stale).await });
        }
    }
}
