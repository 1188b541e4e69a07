//! Consumers: what living pods hold, and who may be restarted now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::blocker::Blocker;
use crate::model::{
    Controller, Material, MaterialRef, Pod, Read, RolloutState, Workload, WorkloadRef,
};

/// What running pods hold of an object, in the order in which one matters more than the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// Exactly what is stored.
    Current,
    /// What is stored, as soon as the rollout completes and the old pods are gone.
    Pending,
    /// Nothing tells: it may be the oldest thing there ever was. A restart would.
    Unproven,
    /// It may be something older.
    Stale,
    /// What is stored cannot be read.
    Unknown,
}

/// What one pod holds. Its processes may hold every content that stood since the pod was made: volumes are set up early,
/// refreshed late, and read again by a container that starts anew. So it proves one content only where that one has stood
/// since before the pod was made, or where its annotation, which it has from its template, names it. No other time counts.
pub fn pod_load(pod: &Pod, material: &MaterialRef, stored: &Material) -> Load {
    let named = pod.loaded.get(material);
    // The same second proves nothing.
    let made_after = stored
        .changed
        .is_some_and(|since| pod.created > Some(since));
    // Without a node no volume is set up yet; what it will read stands by then.
    let is_current = pod.node.is_none()
        || named.is_some_and(|named| *named == stored.version())
        || made_after
        || has_waited_for(pod, material, stored);
    match (is_current, named, &stored.issuance) {
        (true, ..) => Load::Current,
        (false, None, None) => Load::Unproven,
        (false, ..) => Load::Stale,
    }
}

/// Whether the pod could not start before the object was there, with the content that it has had ever since.
fn has_waited_for(pod: &Pod, material: &MaterialRef, stored: &Material) -> bool {
    stored.issuance.is_some()
        && stored.is_first_content()
        && !stored.replaces
        && !pod.optional.contains(material)
}

/// A workload's part in the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It presents the gateway's certificate.
    Gateway,
    /// Any other.
    Peer,
}

/// A workload whose template or pods mount material of the domain.
pub struct Consumer<'a> {
    /// The workload.
    pub workload: &'a Arc<Workload>,
    /// Its living pods.
    pub pods: Vec<&'a Arc<Pod>>,
    /// Its side.
    pub side: Side,
    /// What its pods hold of each object.
    pub loads: BTreeMap<&'a MaterialRef, Load>,
    /// Whether it mounts what does not exist: its rollout cannot end before that is there.
    pub blocked: bool,
}

impl<'a> Consumer<'a> {
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

    /// Who holds something else of an object than what is stored: the workload, or the pods that outlive its rollout.
    fn holding(&self, object: &MaterialRef) -> Vec<Blocker> {
        let readers = self.pods.iter().filter(|pod| pod.mounts.contains(object));
        let is_over = self.workload.rollout == RolloutState::Complete;
        if is_over && readers.clone().any(|pod| pod.is_terminating) {
            let ending = readers.filter(|pod| pod.is_terminating);
            return ending.map(|pod| Blocker::Pod(Arc::clone(pod))).collect();
        }
        vec![Blocker::Workload(self.workload.workload.clone())]
    }

    /// A pod that has not started, where none has: what it waits for, no restart brings.
    pub fn cannot_start(&self) -> Option<&'a Arc<Pod>> {
        let first = self.pods.first().copied()?;
        let has_started = self.pods.iter().any(|pod| pod.has_started());
        (!has_started).then_some(first)
    }
}

/// The pods that a workload has made.
pub fn pods_of<'a>(pods: &'a [Arc<Pod>], workload: &WorkloadRef) -> Vec<&'a Arc<Pod>> {
    let is_of =
        |pod: &&Arc<Pod>| matches!(&pod.controller, Controller::Workload(one) if one == workload);
    pods.iter().filter(is_of).collect()
}

/// What a workload's pods hold of an object: the least certain of them counts.
pub fn load(
    workload: &Workload,
    pods: &[&Arc<Pod>],
    material: &MaterialRef,
    stored: &Read<Material>,
) -> Load {
    let stored = match stored {
        Read::Found(stored) => stored,
        // No pod can hold, nor start with, what is not there.
        Read::Absent if pods.iter().all(|pod| !pod.mounts.contains(material)) => {
            return Load::Current;
        }
        Read::Absent | Read::Unknown(_) => return Load::Unknown,
    };
    let readers = pods.iter().filter(|pod| pod.mounts.contains(material));
    let worst = readers.map(|pod| pod_load(pod, material, stored)).max();
    let worst = worst.unwrap_or(Load::Current);
    let is_named = workload.loaded.get(material) == Some(&stored.version());
    // The template is as it should be, or mounts it no longer: old pods go with the rollout, and no restart helps.
    let goes = is_named || !workload.mounts.contains(material);
    match worst {
        Load::Stale | Load::Unproven if goes => Load::Pending,
        worst => worst,
    }
}

/// Everything that reads the material.
pub struct Consumers<'a> {
    /// Workloads, which can be restarted.
    pub workloads: Vec<Consumer<'a>>,
    /// Living pods that no known workload has made: no restart helps them.
    pub strays: Vec<&'a Arc<Pod>>,
    material: &'a BTreeMap<MaterialRef, Arc<Read<Material>>>,
}

impl<'a> Consumers<'a> {
    /// The workloads and pods that mount any of `material`.
    pub fn new(
        workloads: &'a [Arc<Workload>],
        pods: &'a [Arc<Pod>],
        material: &'a BTreeMap<MaterialRef, Arc<Read<Material>>>,
        ignored: &BTreeSet<MaterialRef>,
        gateway: Option<&MaterialRef>,
    ) -> Self {
        let counts = |one: &&MaterialRef| material.contains_key(*one) && !ignored.contains(*one);
        let known: BTreeSet<&WorkloadRef> = workloads.iter().map(|one| &one.workload).collect();
        let mut made: BTreeMap<&WorkloadRef, Vec<&Arc<Pod>>> = BTreeMap::new();
        let mut strays = Vec::new();
        for pod in pods {
            match &pod.controller {
                Controller::Workload(owner) if known.contains(owner) => {
                    made.entry(owner).or_default().push(pod);
                }
                _ if pod.mounts.iter().any(|mount| counts(&mount)) => {
                    strays.push(pod);
                }
                _ => {}
            }
        }
        let consumers = workloads.iter().filter_map(|workload| {
            let pods = made.remove(&workload.workload).unwrap_or_default();
            consumer(workload, pods, material, counts, gateway)
        });
        Self {
            workloads: consumers.collect(),
            strays,
            material,
        }
    }
}

fn consumer<'a>(
    workload: &'a Arc<Workload>,
    pods: Vec<&'a Arc<Pod>>,
    material: &'a BTreeMap<MaterialRef, Arc<Read<Material>>>,
    counts: impl Fn(&&MaterialRef) -> bool,
    gateway: Option<&MaterialRef>,
) -> Option<Consumer<'a>> {
    let of_pods = pods.iter().flat_map(|pod| &pod.mounts);
    let mounts: BTreeSet<&MaterialRef> = workload.mounts.iter().chain(of_pods).collect();
    let loads: BTreeMap<_, _> = mounts
        .into_iter()
        .filter(&counts)
        .filter_map(|object| material.get_key_value(object))
        .map(|(object, stored)| (object, load(workload, &pods, object, stored)))
        .collect();
    let side = match gateway {
        Some(gateway) if loads.contains_key(gateway) => Side::Gateway,
        _ => Side::Peer,
    };
    let absent = |object: &MaterialRef| {
        matches!(material.get(object).map(AsRef::as_ref), Some(Read::Absent))
    };
    let blocked = workload.mounts.iter().any(absent);
    (!loads.is_empty()).then_some(Consumer {
        workload,
        pods,
        side,
        loads,
        blocked,
    })
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
    /// Since when each rollout has been running, as the earlier report says.
    pub running_since: BTreeMap<&'a str, Timestamp>,
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
        let stale = |side: Side| {
            of(side).filter(|consumer| consumer.cannot_start().is_none() && wanted(consumer))
        };
        let is_stuck = |consumer: &Consumer<'_>| self.is_stuck(consumer);
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

/// Which pods mount what, and who of them may not hold what is stored.
#[derive(Default)]
pub struct Holders<'a>(BTreeMap<&'a MaterialRef, Mounted>);

#[derive(Default)]
struct Mounted {
    by_pods: bool,
    by_started_pods: bool,
    not_current: Vec<Blocker>,
}

impl Mounted {
    fn add(&mut self, pod: &Pod) {
        self.by_pods = true;
        self.by_started_pods |= pod.has_started();
    }
}

impl<'a> Holders<'a> {
    /// Of all consumers, in their order.
    pub fn new(consumers: &Consumers<'a>) -> Self {
        let mut found: BTreeMap<_, Mounted> = BTreeMap::new();
        for consumer in &consumers.workloads {
            for (object, load) in &consumer.loads {
                let mounted = found.entry(*object).or_default();
                for pod in consumer
                    .pods
                    .iter()
                    .filter(|pod| pod.mounts.contains(object))
                {
                    mounted.add(pod);
                }
                if *load != Load::Current {
                    mounted.not_current.extend(consumer.holding(object));
                }
            }
        }
        for pod in &consumers.strays {
            for mount in &pod.mounts {
                let Some((object, stored)) = consumers.material.get_key_value(mount) else {
                    continue;
                };
                let mounted = found.entry(object).or_default();
                mounted.add(pod);
                let load = stored.found().map(|stored| pod_load(pod, object, stored));
                if load != Some(Load::Current) {
                    mounted.not_current.push(Blocker::Pod(Arc::clone(pod)));
                }
            }
        }
        Self(found)
    }

    /// Whether any living pod mounts the object.
    pub fn has_pods(&self, object: &MaterialRef) -> bool {
        self.0.get(object).is_some_and(|mounted| mounted.by_pods)
    }

    /// Whether one does that has started: where the object does not exist, one stood there before.
    pub fn has_started_pods(&self, object: &MaterialRef) -> bool {
        self.0
            .get(object)
            .is_some_and(|mounted| mounted.by_started_pods)
    }

    /// Who may hold something else than what is stored; none where every living pod holds that.
    pub fn not_current(&self, object: &MaterialRef) -> &[Blocker] {
        let mounted = self.0.get(object);
        mounted.map_or(&[], |mounted| &mounted.not_current)
    }
}
