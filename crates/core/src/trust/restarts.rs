//! Who may be restarted now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::evidence::{Consumer, Side};
use crate::model::{Material, MaterialRef, Read, WorkloadRef};

/// Who may be restarted now.
pub struct Restarts<'c, 'a> {
    /// Every consumer.
    pub consumers: &'c [Consumer<'a>],
    /// What is about to be written.
    pub about_to_change: BTreeSet<MaterialRef>,
    /// Objects whose last write was refused.
    pub refused: &'c BTreeSet<String>,
    /// Those that hold a certificate which ends before long.
    pub urgent: BTreeSet<&'a WorkloadRef>,
    /// How many peers at once.
    pub max_concurrent: usize,
    /// When a rollout counts as stuck.
    pub timeout: SignedDuration,
    /// Since when each rollout has been running, as the earlier report says.
    pub running_since: BTreeMap<&'a str, Timestamp>,
    /// Now.
    pub now: Timestamp,
}

impl<'c, 'a> Restarts<'c, 'a> {
    /// Which of those that are `wanted` are restarted now. One whose last restart was refused comes after all others: each of
    /// their certificates has an end.
    pub fn due(&self, wanted: impl Fn(&Consumer<'_>) -> bool) -> Vec<&'c Consumer<'a>> {
        let is_refused = |consumer: &Consumer<'_>| {
            let workload = consumer.workload.workload.to_string();
            self.refused.contains(&workload)
        };
        let others = self.next(|consumer| wanted(consumer) && !is_refused(consumer));
        match others.is_empty() {
            true => self.next(wanted),
            false => others,
        }
    }

    /// The gateway alone and first, then at most `max_concurrent` peers at once. A workload waits while something that it
    /// mounts is about to change, so that one restart does for all. One that cannot start without what is still to be made
    /// holds no other back: what it lacks may wait for the others. Nor does a peer whose rollout is stuck; nor, where a
    /// peer's certificate ends before long, does a gateway whose rollout is.
    fn next(&self, wanted: impl Fn(&Consumer<'_>) -> bool) -> Vec<&'c Consumer<'a>> {
        let of = |side: Side| {
            let all = self.consumers.iter();
            all.filter(move |consumer| consumer.side == side && !consumer.is_waiting())
        };
        let busy = |side: Side| of(side).filter(|consumer| consumer.is_busy());
        let stale = |side: Side| {
            of(side).filter(|consumer| consumer.cannot_start().is_none() && wanted(consumer))
        };
        let is_stuck = |consumer: &Consumer<'_>| self.is_stuck(consumer);
        let is_ready = |consumer: &Consumer<'_>| !consumer.is_busy() && self.is_settled(consumer);
        let moving = busy(Side::Peer)
            .filter(|consumer| !is_stuck(consumer))
            .count();
        let gateway_moves = busy(Side::Gateway).next().is_some();
        if gateway_moves {
            // A gateway that is stuck because its template names old material is helped by the next restart.
            let mut gateway = stale(Side::Gateway).filter(|consumer| self.is_settled(consumer));
            if let Some(again) = gateway.next() {
                return vec![again];
            }
            if !busy(Side::Gateway).all(is_stuck) {
                return Vec::new();
            }
        } else if stale(Side::Gateway).next().is_some() {
            let mut gateway = stale(Side::Gateway).filter(|consumer| is_ready(consumer));
            return gateway.next().filter(|_| moving == 0).into_iter().collect();
        }
        stale(Side::Peer)
            .filter(|consumer| is_ready(consumer) || consumer.is_busy() && is_stuck(consumer))
            .filter(|peer| !gateway_moves || self.urgent.contains(&peer.workload.workload))
            .take(self.max_concurrent.saturating_sub(moving))
            .collect()
    }

    fn is_stuck(&self, consumer: &Consumer<'_>) -> bool {
        let workload = consumer.workload.workload.to_string();
        let since = self.running_since.get(workload.as_str());
        since.is_some_and(|since| since.duration_until(self.now) > self.timeout)
    }

    /// Whether what it mounts stays as it is for now.
    fn is_settled(&self, consumer: &Consumer<'_>) -> bool {
        let mut mounts = consumer.workload.mounts.iter();
        !mounts.any(|mount| self.about_to_change.contains(mount))
    }
}

/// What the pod template is to name: the entries it has, with every object of ours that it mounts as it is stored.
pub fn stamp(
    consumer: &Consumer<'_>,
    material: &BTreeMap<MaterialRef, Arc<Read<Material>>>,
) -> BTreeMap<MaterialRef, String> {
    let mut loaded = consumer.workload.loaded.clone();
    loaded.retain(|object, _| consumer.workload.mounts.contains(object));
    for object in consumer.loads.keys() {
        if let Some(Read::Found(stored)) = material.get(*object).map(Arc::as_ref) {
            loaded.insert((*object).clone(), stored.version());
        }
    }
    loaded
}
