//! Consumers: what they have loaded, and who may be restarted now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::model::{Material, MaterialRef, Read, RolloutState, Workload, WorkloadRef};

/// What a workload's running pods hold of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Exactly what is stored.
    Current,
    /// What is stored, as soon as the rollout completes.
    Pending,
    /// Something older.
    Stale,
    /// Nothing tells: it may be the oldest thing there ever was. A restart would.
    Unproven,
    /// What is stored cannot be read.
    Unknown,
}

/// What a workload holds of an object that it mounts. Pods read at start, so a pod template that names the stored hash
/// (and since when it stands there) and is rolled out proves it. Where the template names none, time can: a workload
/// younger than the last change of the object, or one that could not start before the object was there, has loaded what
/// is stored.
pub fn load(workload: &Workload, material: &MaterialRef, stored: &Read<Material>) -> Load {
    let Read::Found(stored) = stored else {
        return Load::Unknown;
    };
    let loaded = match workload.loaded.get(material) {
        Some(version) => *version == stored.version() || restarted_after(workload, stored),
        None if restarted_after(workload, stored) || started_after(workload, stored) => true,
        None if stored.issuance.is_some() => false,
        None => return Load::Unproven,
    };
    match (loaded, &workload.rollout) {
        (false, _) => Load::Stale,
        (true, RolloutState::Complete) => Load::Current,
        (true, RolloutState::Running(_)) => Load::Pending,
    }
}

/// It was restarted by others, or made anew.
fn restarted_after(workload: &Workload, stored: &Material) -> bool {
    let newest = workload.restarted.max(workload.created);
    stored.changed.is_some_and(|changed| newest > Some(changed))
}

fn started_after(workload: &Workload, stored: &Material) -> bool {
    let Some(created) = stored.created else {
        return false;
    };
    // Its first content is its only one, and pods that mount it could not start without it.
    stored.is_first_content()
        && !stored.replaces
        && match workload.available_since {
            Some(since) => since >= created,
            None => matches!(workload.rollout, RolloutState::Running(_)),
        }
}

/// A workload's part in the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It presents the gateway's certificate.
    Gateway,
    /// Any other.
    Peer,
}

/// A workload that mounts material of the issuance.
pub struct Consumer<'a> {
    /// The workload.
    pub workload: &'a Arc<Workload>,
    /// Its side.
    pub side: Side,
    /// What it holds of each object.
    pub loads: BTreeMap<&'a MaterialRef, Load>,
    /// Whether it mounts what does not exist: its rollout cannot end before that is there.
    pub blocked: bool,
}

impl Consumer<'_> {
    /// Whether a restart would change what it holds, or prove that it holds what is waited for.
    pub fn is_stale(&self, prove: &BTreeSet<MaterialRef>) -> bool {
        self.loads.iter().any(|(object, load)| match load {
            Load::Stale => true,
            Load::Unproven => prove.contains(object),
            Load::Current | Load::Pending | Load::Unknown => false,
        })
    }

    /// Whether a rollout that this operator began is still running.
    pub fn is_busy(&self) -> bool {
        !self.workload.loaded.is_empty() && self.workload.rollout != RolloutState::Complete
    }

    /// Since when the rollout runs, where that is known.
    fn stuck(&self, now: Timestamp, timeout: SignedDuration) -> bool {
        self.workload
            .rollout_since
            .is_some_and(|since| since.duration_until(now) > timeout)
    }
}

/// The workloads that mount any of `material`.
pub fn consumers<'a>(
    workloads: &'a [Arc<Workload>],
    material: &'a BTreeMap<MaterialRef, Arc<Read<Material>>>,
    gateway: Option<&MaterialRef>,
) -> Vec<Consumer<'a>> {
    workloads
        .iter()
        .filter_map(|workload| {
            let mounted = workload.mounts.iter();
            let loads: BTreeMap<_, _> = mounted
                .filter_map(|object| material.get_key_value(object))
                .map(|(object, stored)| (object, load(workload, object, stored)))
                .collect();
            let is_gateway = gateway.is_some_and(|gateway| workload.mounts.contains(gateway));
            let side = if is_gateway {
                Side::Gateway
            } else {
                Side::Peer
            };
            let blocked = loads
                .keys()
                .any(|object| matches!(material[*object].as_ref(), Read::Absent));
            (!loads.is_empty()).then_some(Consumer {
                workload,
                side,
                loads,
                blocked,
            })
        })
        .collect()
}

/// Who may be restarted now.
pub struct Restarts<'c, 'a> {
    /// Every consumer.
    pub consumers: &'c [Consumer<'a>],
    /// What is about to be written.
    pub about_to_change: BTreeSet<MaterialRef>,
    /// How many peers at once.
    pub max_concurrent: usize,
    /// When a rollout counts as stuck.
    pub timeout: SignedDuration,
    /// Now.
    pub now: Timestamp,
}

impl<'c, 'a> Restarts<'c, 'a> {
    /// Which of those that are `wanted` are restarted now: the gateway alone and first, then at most `max_concurrent` peers
    /// at once. A workload waits while something that it mounts is about to change, so that one restart does for all. One
    /// that mounts what does not exist holds no other back: what it lacks may wait for the others. Nor does a peer whose
    /// rollout is stuck: the others' certificates have an end too.
    pub fn due(&self, wanted: impl Fn(&Consumer<'_>) -> bool) -> Vec<&'c Consumer<'a>> {
        let of = |side: Side| {
            let all = self.consumers.iter();
            all.filter(move |consumer| consumer.side == side && !consumer.blocked)
        };
        let busy = |side: Side| of(side).filter(|consumer| consumer.is_busy());
        let stale = |side: Side| of(side).filter(|consumer| wanted(consumer));
        let is_stuck = |consumer: &Consumer<'_>| consumer.stuck(self.now, self.timeout);
        let is_ready = |consumer: &Consumer<'_>| !consumer.is_busy() && self.is_settled(consumer);
        if busy(Side::Gateway).next().is_some() {
            // A gateway that is stuck because its template names old material is helped by the next restart.
            let mut gateway = stale(Side::Gateway).filter(|consumer| self.is_settled(consumer));
            return gateway.next().into_iter().collect();
        }
        let moving = busy(Side::Peer)
            .filter(|consumer| !is_stuck(consumer))
            .count();
        if stale(Side::Gateway).next().is_some() {
            let mut gateway = stale(Side::Gateway).filter(|consumer| is_ready(consumer));
            return gateway.next().filter(|_| moving == 0).into_iter().collect();
        }
        stale(Side::Peer)
            .filter(|consumer| is_ready(consumer) || consumer.is_busy() && is_stuck(consumer))
            .take(self.max_concurrent.saturating_sub(moving))
            .collect()
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

/// Who mounts what, and who of them may not hold what is stored.
#[derive(Default)]
pub struct Holders<'a>(BTreeMap<&'a MaterialRef, Mounted<'a>>);

#[derive(Default)]
struct Mounted<'a> {
    by: Vec<&'a Workload>,
    not_current: Vec<&'a WorkloadRef>,
}

impl<'a> Holders<'a> {
    /// Of all consumers, in their order.
    pub fn new(consumers: &[Consumer<'a>]) -> Self {
        let mut found: BTreeMap<_, Mounted<'a>> = BTreeMap::new();
        for consumer in consumers {
            for (object, load) in &consumer.loads {
                let mounted = found.entry(*object).or_default();
                mounted.by.push(consumer.workload);
                if *load != Load::Current {
                    mounted.not_current.push(&consumer.workload.workload);
                }
            }
        }
        Self(found)
    }

    /// The workloads that mount the object.
    pub fn of(&self, object: &MaterialRef) -> &[&'a Workload] {
        self.0.get(object).map_or(&[], |mounted| &mounted.by)
    }

    /// Those that may not hold what is stored; none where every consumer does.
    pub fn not_current(&self, object: &MaterialRef) -> &[&'a WorkloadRef] {
        let mounted = self.0.get(object);
        mounted.map_or(&[], |mounted| &mounted.not_current)
    }
}
