//! Consumers: what living pods hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::MANAGER;
use jiff::{SignedDuration, Timestamp};

use super::blocker::Blocker;
use crate::domain::TrustDomain;
use crate::model::{
    Controller, ListRef, Material, MaterialRef, Pod, Read, RolloutState, Snapshot, Source,
    Workload, WorkloadRef,
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

/// What tells what was loaded: a snapshot, and how far kubelets may be behind it.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    observed: &'a Snapshot,
    kubelet_cache: SignedDuration,
    now: Timestamp,
}

impl<'a> Evidence<'a> {
    /// Kubelets may hand out for as long as `kubelet_cache` what was replaced.
    pub fn new(observed: &'a Snapshot, kubelet_cache: SignedDuration, now: Timestamp) -> Self {
        Self {
            observed,
            kubelet_cache,
            now,
        }
    }

    /// The pods that a workload has made.
    pub fn pods_of(&self, workload: &WorkloadRef) -> Vec<&'a Arc<Pod>> {
        let is_of = |pod: &&Arc<Pod>| matches!(&pod.controller, Controller::Workload(one) if one == workload);
        self.observed.pods.iter().filter(is_of).collect()
    }

    /// What one pod holds. Its processes may hold every content that stood since the pod was made: volumes are set up early,
    /// refreshed late, and read again by a container that starts anew. So it proves one content only where that one has stood
    /// since before the pod was made, longer than a kubelet may be behind, or where its annotation, which it has from its
    /// template, names it. No other time counts.
    fn pod_load(&self, pod: &Pod, material: &MaterialRef, stored: &Material) -> Load {
        // Without a node no volume is set up yet.
        let reads_from = match &pod.node {
            Some(_) => pod.created,
            None => Some(self.now),
        };
        // The same second proves nothing.
        let made_after = match stored.changed {
            Some(since) => {
                let known_from = since.saturating_add(self.kubelet_cache);
                reads_from > Some(known_from.unwrap_or(Timestamp::MAX))
            }
            None => pod.node.is_none(),
        };
        // It could not start before the object was there.
        let has_waited = !pod.optional.contains(material) && has_never_changed(stored);
        match pod.loaded.get(material) {
            _ if made_after || has_waited => Load::Current,
            named => by_annotation(named, stored),
        }
    }

    /// What a workload's pods hold of an object: the least certain of them counts.
    pub fn load(&self, workload: &Workload, pods: &[&Arc<Pod>], material: &MaterialRef) -> Load {
        let mut readers = pods.iter().filter(|pod| pod.mounts.contains(material));
        let stored = self.observed.material.get(material).map(AsRef::as_ref);
        let stored = match stored {
            Some(Read::Found(stored)) => stored,
            // No pod can hold, nor start with, what is not there.
            Some(Read::Absent) if readers.next().is_none() => return Load::Current,
            Some(Read::Absent | Read::Unknown(_)) | None => return Load::Unknown,
        };
        let named = workload.loaded.get(material);
        // The template is as it should be, or mounts it no longer: old pods go with the rollout, and no restart helps.
        let goes = named == Some(&stored.version()) || !workload.mounts.contains(material);
        let loads = readers.map(|pod| match self.pod_load(pod, material, stored) {
            Load::Stale | Load::Unproven if goes || pod.is_terminating => Load::Pending,
            load => load,
        });
        let unseen = (pods.is_empty() && self.is_hidden(&workload.workload)).then(|| {
            // The guards wait for the list of them; a certificate that was renewed does not.
            match has_never_changed(stored) {
                true => Load::Current,
                false => by_annotation(named, stored),
            }
        });
        loads.chain(unseen).max().unwrap_or(Load::Current)
    }

    /// Whether its pods cannot be listed.
    fn is_hidden(&self, workload: &WorkloadRef) -> bool {
        let namespace = &workload.object.namespace;
        let mut unread = self.observed.unreadable.iter();
        unread.any(|unread| {
            matches!(&unread.source, Source::List(ListRef::Pods(_, of)) if of == namespace)
        })
    }
}

/// What a template's annotation says, which its pods have from it.
fn by_annotation(named: Option<&String>, stored: &Material) -> Load {
    match (named, &stored.issuance) {
        (Some(named), _) if *named == stored.version() => Load::Current,
        (None, None) => Load::Unproven,
        _ => Load::Stale,
    }
}

/// Whether the object has had one content ever since this operator made it, and none stood there before that pods may hold.
/// What others made anew names the operator's annotations, and not its writing.
fn has_never_changed(stored: &Material) -> bool {
    stored.issuance.is_some()
        && stored.manager.as_deref() == Some(MANAGER)
        && stored.is_first_content()
        && !stored.replaces
}

/// A kubelet writes a new content within a minute and a half, and whoever reads it anew looks within seconds.
const RELOADED_WITHIN: SignedDuration = SignedDuration::from_mins(2);

/// When what was written then is held by those that read it anew.
pub fn reloaded_by(changed: Timestamp) -> Timestamp {
    changed
        .saturating_add(RELOADED_WITHIN)
        .unwrap_or(Timestamp::MAX)
}

/// A workload's part in the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It presents the gateway's certificate.
    Gateway,
    /// Any other.
    Peer,
}

/// A living pod that no rollout replaces: one of no known workload, or one that outlives a complete rollout.
pub struct Stray<'a> {
    /// Which one.
    pub pod: &'a Arc<Pod>,
    /// What it holds of each object.
    pub loads: BTreeMap<&'a MaterialRef, Load>,
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
    /// What does not exist, and its next pods cannot start without: its rollout cannot end before that is made.
    pub lacks: BTreeSet<&'a MaterialRef>,
    /// Those of its pods that no rollout is told to replace, with what they may hold something older of.
    pub outlived: Vec<Stray<'a>>,
}

impl<'a> Consumer<'a> {
    /// Whether it cannot start yet.
    pub fn is_waiting(&self) -> bool {
        !self.lacks.is_empty()
    }

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
    fn holding(&self, object: &MaterialRef, load: Load) -> Vec<Blocker> {
        let outlived = self.outlived.iter();
        let outlived = outlived.filter(|stray| stray.loads.contains_key(object));
        let pods = outlived.map(|stray| Blocker::Pod(Arc::clone(stray.pod)));
        let is_over = self.workload.rollout == RolloutState::Complete;
        match (load, pods.collect::<Vec<_>>()) {
            (Load::Current, _) => Vec::new(),
            (Load::Pending, pods) if is_over && !pods.is_empty() => pods,
            _ => vec![Blocker::Workload(self.workload.workload.clone())],
        }
    }

    /// The newest pod, where it has not started, nor has any of its template: what it waits for, no restart brings.
    pub fn cannot_start(&self) -> Option<&'a Arc<Pod>> {
        let staying = self.pods.iter().filter(|pod| !pod.is_terminating);
        let newest = staying.max_by_key(|pod| (pod.created, &pod.uid))?;
        let is_alike = |pod: &Pod| pod.revision == newest.revision;
        let mut started = self.pods.iter().filter(|pod| pod.has_started());
        (!started.any(|pod| is_alike(pod))).then_some(*newest)
    }

    /// Whether it may hold anything: one of its pods has started, or they are not seen.
    pub fn holds_any(&self) -> bool {
        self.pods.is_empty() || self.pods.iter().any(|pod| pod.has_started())
    }
}

/// Everything that reads the material.
pub struct Consumers<'a> {
    /// Workloads, which can be restarted.
    pub workloads: Vec<Consumer<'a>>,
    /// Living pods that no known workload has made: no restart helps them.
    pub strays: Vec<Stray<'a>>,
}

impl<'a> Consumers<'a> {
    /// The workloads and pods that mount any of a domain's material.
    pub fn new(domain: &TrustDomain<'_>, observed: &'a Snapshot, now: Timestamp) -> Self {
        let material = Counted {
            evidence: Evidence::new(observed, domain.rollout.kubelet_cache, now),
            ignored: &domain.wanted.ignored,
            reloaded: &domain.wanted.reloaded,
            gateway: domain.gateway.as_ref(),
        };
        let known = observed.workloads.iter();
        let known: BTreeSet<&WorkloadRef> = known.map(|one| &one.workload).collect();
        let mut made: BTreeMap<&WorkloadRef, Vec<&Arc<Pod>>> = BTreeMap::new();
        let mut strays = Vec::new();
        for pod in &observed.pods {
            match &pod.controller {
                Controller::Workload(owner) if known.contains(owner) => {
                    made.entry(owner).or_default().push(pod);
                }
                _ => strays.push(material.stray(pod)),
            }
        }
        strays.retain(|stray| !stray.loads.is_empty());
        let consumers = observed.workloads.iter().filter_map(|workload| {
            let pods = made.remove(&workload.workload).unwrap_or_default();
            material.consumer(workload, pods)
        });
        Self {
            workloads: consumers.collect(),
            strays,
        }
    }

    /// Every pod that no rollout replaces.
    pub fn all_strays(&self) -> impl Iterator<Item = &Stray<'a>> {
        let outlived = self.workloads.iter().flat_map(|one| &one.outlived);
        self.strays.iter().chain(outlived)
    }
}

/// The material of a domain, and what tells who has loaded it.
struct Counted<'d, 'a> {
    evidence: Evidence<'a>,
    ignored: &'d BTreeSet<MaterialRef>,
    reloaded: &'d BTreeSet<MaterialRef>,
    gateway: Option<&'d MaterialRef>,
}

impl<'a> Counted<'_, 'a> {
    /// Those of some mounts that count, with what stands there.
    fn of<'b>(
        &'b self,
        mounts: impl Iterator<Item = &'b MaterialRef>,
    ) -> impl Iterator<Item = (&'a MaterialRef, &'a Read<Material>)> {
        let material = &self.evidence.observed.material;
        let counted = mounts.filter(|mount| !self.ignored.contains(*mount));
        let counted = counted.filter_map(|mount| material.get_key_value(mount));
        counted.map(|(object, stored)| (object, stored.as_ref()))
    }

    /// What is read anew is held by nobody, a while after it was written.
    fn reloads(&self, object: &MaterialRef, load: Load) -> Load {
        let evidence = &self.evidence;
        let stored = evidence.observed.material.get(object);
        let changed = stored.and_then(|read| read.found()?.changed);
        match (load, changed) {
            (Load::Stale | Load::Unproven | Load::Pending, Some(changed))
                if self.reloaded.contains(object) =>
            {
                match reloaded_by(changed) <= evidence.now {
                    true => Load::Current,
                    false => Load::Pending,
                }
            }
            _ => load,
        }
    }

    fn stray(&self, pod: &'a Arc<Pod>) -> Stray<'a> {
        let loads = self.of(pod.mounts.iter()).map(|(object, stored)| {
            let found = stored.found();
            let load = found.map(|found| self.evidence.pod_load(pod, object, found));
            let load = load.unwrap_or(Load::Unknown);
            (object, self.reloads(object, load))
        });
        let loads = loads.collect();
        Stray { pod, loads }
    }

    fn consumer(
        &self,
        workload: &'a Arc<Workload>,
        pods: Vec<&'a Arc<Pod>>,
    ) -> Option<Consumer<'a>> {
        let of_pods = pods.iter().flat_map(|pod| &pod.mounts);
        let loads: BTreeMap<_, _> = self
            .of(workload.mounts.iter().chain(of_pods))
            .map(|(object, _)| {
                let load = self.evidence.load(workload, &pods, object);
                (object, self.reloads(object, load))
            })
            .collect();
        if loads.is_empty() {
            return None;
        }
        let needed = workload.mounts.difference(&workload.optional);
        let lacks = self
            .of(needed)
            .filter(|(_, stored)| **stored == Read::Absent);
        let side = match self.gateway {
            Some(gateway) if loads.contains_key(gateway) => Side::Gateway,
            _ => Side::Peer,
        };
        let is_over = workload.rollout == RolloutState::Complete;
        // A rollout of others' is none that is told, and its old pods end slowly all the same.
        let is_told = !is_over && !workload.loaded.is_empty();
        let left = pods
            .iter()
            .filter(|pod| is_over || !is_told && pod.is_terminating);
        let left = left.map(|pod| {
            let mut stray = self.stray(pod);
            let goes = |object: &MaterialRef| loads.get(object) == Some(&Load::Pending);
            stray
                .loads
                .retain(|object, load| *load != Load::Current && goes(object));
            stray
        });
        let outlived = left.filter(|stray| !stray.loads.is_empty()).collect();
        Some(Consumer {
            workload,
            pods,
            side,
            lacks: lacks.map(|(object, _)| object).collect(),
            loads,
            outlived,
        })
    }
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
                mounted.not_current.extend(consumer.holding(object, *load));
            }
        }
        for Stray { pod, loads } in &consumers.strays {
            for (object, load) in loads {
                let mounted = found.entry(*object).or_default();
                mounted.add(pod);
                if *load != Load::Current {
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
