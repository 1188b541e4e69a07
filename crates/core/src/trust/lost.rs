//! Agents that were connected before a restart of this operator, and are not since: the next restart may cut off more.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::evidence::{Consumer, Consumers, Side};
use super::view::View;
use crate::domain::is_agent_of;
use crate::model::{Plane, PlaneRef, WorkloadRef};

/// So long before a new pod its predecessor may have ended (Recreate), by another clock.
const BEFORE: SignedDuration = SignedDuration::from_secs(60);

/// Whose agent, and after which restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Lost {
    /// The plane.
    pub plane: PlaneRef,
    /// Since when OpenChoreo reports its agent as disconnected.
    pub since: Timestamp,
    /// What was restarted then: the agent, or the gateway.
    pub workload: WorkloadRef,
    /// Until when further restarts wait for it.
    pub held_until: Timestamp,
}

/// Those whose connection ended with a restart, or within `rollout.timeout` of it. None while the gateway's rollout runs, and
/// where the agent itself is about to be restarted, or has no pod that runs: a restart may bring it back.
pub fn lost(view: &View<'_>, consumers: &Consumers<'_>) -> Vec<Lost> {
    let planes = view.domain.wanted.planes.iter();
    let away = planes.filter(|plane| plane.agent_connected == Some(false));
    let away: Vec<&Plane> = away.map(AsRef::as_ref).collect();
    let of = |side: Side| {
        consumers
            .workloads
            .iter()
            .filter(move |one| one.side == side)
    };
    if away.is_empty() || of(Side::Gateway).any(Consumer::is_busy) {
        return Vec::new();
    }
    let timeout = view.domain.rollout.timeout;
    away.into_iter()
        .filter_map(|plane| {
            let since = plane.agent_disconnected?;
            let agents: Vec<_> = of(Side::Peer)
                .filter(|one| is_agent_of(one.workload, plane))
                .collect();
            if agents.iter().any(|one| may_come_back(one)) {
                return None;
            }
            let both = agents.into_iter().chain(of(Side::Gateway));
            let restarts = both.flat_map(restarts).filter(|(at, _)| {
                let after = at.duration_until(since);
                -BEFORE <= after && after < timeout
            });
            let (at, workload) = restarts.max()?;
            Some(Lost {
                plane: plane.plane.clone(),
                since,
                workload: workload.clone(),
                held_until: at.saturating_add(timeout).unwrap_or(Timestamp::MAX),
            })
        })
        .collect()
}

/// Whether an agent is restarted anyway, or does not run.
fn may_come_back(agent: &Consumer<'_>) -> bool {
    let runs = agent.pods.iter().any(|pod| pod.has_started());
    !runs || agent.is_busy() || agent.is_stale(&BTreeSet::new())
}

/// When its pods were made that this operator's restarts brought: their template was stamped.
fn restarts<'c>(consumer: &'c Consumer<'_>) -> impl Iterator<Item = (Timestamp, &'c WorkloadRef)> {
    let workload = &consumer.workload.workload;
    let stamped = consumer.pods.iter().filter(|pod| !pod.loaded.is_empty());
    stamped.filter_map(move |pod| Some((pod.created?, workload)))
}
