//! What an operator has last seen: watches that are late, reads that fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus, PlaneKind};
use external_ca_core::domain::{desired, trust_secret};
use external_ca_core::model::{
    Authority, AuthorityState, Claims, ListRef, MaterialRef, ObjectRef, Observed, Plane, PlaneRef,
    Pod, Read, Signing, Snapshot, Unread, Workload, WorkloadKind, WorkloadRef,
};
use external_ca_core::snapshot::{Scope, Seen, mounted};
use external_ca_core::{Problem, Reason};
use jiff::{SignedDuration, Timestamp};

use crate::cluster::{AGENTS, Cluster, HOME, Object};
use crate::pki::ca;

pub struct View {
    pub issuance: Arc<ExternalCAIssuance>,
    pub issuance_version: u64,
    pub authority: usize,
    material: BTreeMap<MaterialRef, Object>,
    planes: BTreeMap<PlaneRef, Arc<Plane>>,
    workloads: BTreeMap<WorkloadRef, Arc<Workload>>,
    pods: BTreeMap<ObjectRef, Arc<Pod>>,
    /// Namespaces whose workloads cannot be listed.
    unreadable: BTreeSet<String>,
    /// Plane kinds that exist, and are not served.
    hidden: BTreeSet<PlaneKind>,
}

impl View {
    /// Everything was listed once.
    pub fn new(cluster: &Cluster) -> Self {
        let mut view = Self {
            issuance: Arc::clone(&cluster.issuance),
            issuance_version: cluster.issuance_version,
            authority: cluster.authority,
            material: BTreeMap::new(),
            planes: BTreeMap::new(),
            workloads: BTreeMap::new(),
            pods: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            hidden: BTreeSet::new(),
        };
        view.watch(cluster, &mut || false);
        view.watch_pods(cluster, false, &mut || false);
        view
    }

    /// Watches bring what is new, or are late. An object is never seen as it was before it was last seen.
    pub fn watch(&mut self, cluster: &Cluster, late: &mut impl FnMut() -> bool) {
        if !late() {
            self.issuance = Arc::clone(&cluster.issuance);
            self.issuance_version = cluster.issuance_version;
        }
        if !late() {
            self.authority = cluster.authority;
        }
        for (_, namespace) in AGENTS {
            if late() {
                continue;
            }
            if cluster.away.contains(namespace) {
                self.unreadable.insert(namespace.into());
            } else if self.unreadable.remove(namespace) {
                // What it holds comes with the list that makes it readable again.
                let there = |object: &ObjectRef| object.namespace == namespace;
                self.workloads.retain(|key, _| !there(&key.object));
                let workloads = workloads(cluster).filter(|(key, _)| there(&key.object));
                self.workloads
                    .extend(workloads.map(|(key, facts)| (key.clone(), Arc::clone(facts))));
                let material = cluster
                    .material
                    .iter()
                    .filter(|(key, _)| there(&key.object));
                self.material.retain(|key, _| !there(&key.object));
                self.material
                    .extend(material.map(|(key, object)| (key.clone(), Arc::clone(object))));
                self.list_pods_of(cluster, namespace);
            }
        }
        let reachable = |namespace: &str| !cluster.away.contains(namespace);
        let found = |kind| !cluster.hidden.contains_key(kind);
        self.hidden = cluster.hidden.keys().copied().collect();
        let planes = cluster
            .planes
            .iter()
            .filter(|(plane, _)| found(&plane.kind));
        refresh(&mut self.planes, planes, |_| true, late);
        refresh(
            &mut self.workloads,
            workloads(cluster),
            |workload| reachable(&workload.object.namespace),
            late,
        );
        refresh(
            &mut self.material,
            cluster.material.iter(),
            |material| reachable(&material.object.namespace),
            late,
        );
        for (key, seen) in &mut self.material {
            if !reachable(&key.object.namespace) && !late() {
                *seen = unknown();
            }
        }
    }

    /// The same of pods: each is late by itself, and so is its end. A watch that stalls brings only every other new one.
    pub fn watch_pods(&mut self, cluster: &Cluster, stalls: bool, late: &mut impl FnMut() -> bool) {
        let seen: BTreeSet<String> = self.pods.values().map(|pod| pod.uid.clone()).collect();
        let is_even = |pod: &Pod| pod.uid.ends_with(['0', '2', '4', '6', '8']);
        let is_hidden = |pod: &Pod| stalls && is_even(pod) && !seen.contains(&pod.uid);
        let pods = cluster.pods.iter().map(|pod| (&pod.facts.pod, &pod.facts));
        let pods = pods.filter(|(_, pod)| !is_hidden(pod));
        let reachable = |pod: &ObjectRef| !cluster.away.contains(&pod.namespace);
        refresh(&mut self.pods, pods, reachable, late);
    }

    fn list_pods_of(&mut self, cluster: &Cluster, namespace: &str) {
        let pods = cluster.pods.iter().map(|pod| &pod.facts);
        let pods = pods.filter(|pod| pod.pod.namespace == namespace);
        self.pods.retain(|pod, _| pod.namespace != namespace);
        self.pods
            .extend(pods.map(|pod| (pod.pod.clone(), Arc::clone(pod))));
    }

    /// Lists pods live, for what is about to be done rests on them. Whether a plan that saw this has seen every living pod.
    /// The careless one takes what cannot be listed for listed.
    pub fn list_pods(&mut self, cluster: &Cluster, seen: &Snapshot, careless: bool) -> bool {
        let mut known: BTreeSet<String> = seen.pods.iter().map(|pod| pod.uid.clone()).collect();
        if careless {
            known.extend(self.pods.values().map(|pod| pod.uid.clone()));
        }
        for namespace in served().iter() {
            match cluster.away.contains(namespace) {
                true if careless => continue,
                true => return false,
                false => {}
            }
            self.list_pods_of(cluster, namespace);
        }
        let mut pods = self.pods.values().filter(|pod| is_reader(pod, seen));
        pods.all(|pod| known.contains(&pod.uid))
    }

    /// A read of one object, or what a write's answer says.
    pub fn see_material(&mut self, cluster: &Cluster, target: &MaterialRef) {
        match cluster.material.get(target) {
            Some(found) => self.material.insert(target.clone(), Arc::clone(found)),
            None => self.material.remove(target),
        };
    }

    /// After a write: what stands now, unless neither an answer nor a read tells.
    pub fn see_written(&mut self, cluster: &Cluster, target: &MaterialRef, is_told: bool) {
        match is_told {
            true => self.see_material(cluster, target),
            false => self.see_nothing(target),
        }
    }

    pub fn see_nothing(&mut self, target: &MaterialRef) {
        self.material.insert(target.clone(), unknown());
    }

    pub fn see_plane(&mut self, cluster: &Cluster, plane: &PlaneRef) {
        match cluster.planes.get(plane) {
            Some(found) => self.planes.insert(plane.clone(), Arc::clone(found)),
            None => self.planes.remove(plane),
        };
    }

    pub fn see_workload(&mut self, cluster: &Cluster, workload: &WorkloadRef) {
        match workloads(cluster).find(|(key, _)| *key == workload) {
            Some((_, found)) => self.workloads.insert(workload.clone(), Arc::clone(found)),
            None => self.workloads.remove(workload),
        };
    }

    /// The snapshot that a plan reads.
    pub fn observe(
        &self,
        said: Option<&ExternalCAIssuanceStatus>,
        now: Timestamp,
        fails: &mut impl FnMut() -> bool,
    ) -> Observed {
        let mut issuance = Arc::clone(&self.issuance);
        if let Some(said) = said {
            Arc::make_mut(&mut issuance).status = Some(said.clone());
        }
        let planes: Vec<Arc<Plane>> = self.planes.values().cloned().collect();
        let wanted = desired(&issuance, &planes);
        let leaves = wanted.all().map(|leaf| leaf.material());
        let material = std::iter::once(trust_secret(&issuance))
            .chain(wanted.trust_places.iter().cloned())
            .chain(leaves);
        let mut material: Vec<MaterialRef> = material.collect();
        // What is read besides has its place behind: what was drawn before it was there stays as it was.
        let mut mounted = self.mounted(&issuance);
        mounted.retain(|one| !material.contains(one));
        material.extend(mounted);
        let material = material.into_iter().map(|key| {
            let read = self.read(&key, fails);
            (key, read)
        });
        let material: BTreeMap<_, _> = material.collect();
        let lists = |namespace: &String| {
            [
                unread(namespace),
                Unread::list(ListRef::pods(namespace), "away"),
            ]
        };
        let mut unreadable: Vec<Unread> = self.unreadable.iter().flat_map(lists).collect();
        let hidden = self.hidden.iter();
        unreadable.extend(hidden.map(|kind| Unread::list(ListRef::HiddenKind(*kind), "hidden")));
        if fails() {
            // A list may fail though each object can be read: rights differ.
            let (_, namespace) = AGENTS[usize::from(now.as_second() % 2 == 0)];
            unreadable.push(unread("the list of Deployments"));
            unreadable.push(Unread::list(ListRef::pods(namespace), "it failed"));
        }
        let snapshot = Snapshot {
            served: Arc::clone(served()),
            plane_namespaces: Arc::new(["default".to_owned()].into()),
            authority: Authority {
                state: self.authority_state(now),
                generated: None,
            },
            pending: BTreeMap::new(),
            anchor_config_maps: BTreeMap::new(),
            material,
            injected: BTreeMap::new(),
            planes,
            strangers: Vec::new(),
            workloads: self.workloads.values().cloned().collect(),
            pods: Vec::new(),
            awaited: Vec::new(),
            unreadable,
            claims: Claims::default(),
            refused: BTreeSet::new(),
            clock_ahead: SignedDuration::ZERO,
        };
        let mut observed = Observed { issuance, snapshot };
        let pods = self.pods.values().filter(|pod| is_reader(pod, &observed));
        let pods = pods.cloned().collect();
        observed.pods = pods;
        observed
    }

    /// What is known of an object.
    pub fn read(&self, key: &MaterialRef, fails: &mut impl FnMut() -> bool) -> Object {
        let away = self.unreadable.contains(&key.object.namespace);
        match self.material.get(key) {
            _ if fails() => unknown(),
            None if away => unknown(),
            Some(found) => Arc::clone(found),
            None => Arc::new(Read::Absent),
        }
    }

    /// The version of an object, as it was last seen.
    pub fn version(&self, key: &MaterialRef) -> Option<String> {
        let found = self.material.get(key)?.found()?;
        Some(found.resource_version.clone())
    }

    /// Workloads and pods, as the operator keeps them.
    pub fn seen(&self) -> Seen {
        Seen {
            workloads: self.workloads.clone(),
            pods: self.pods.clone(),
            ..Seen::default()
        }
    }

    fn mounted(&self, issuance: &ExternalCAIssuance) -> BTreeSet<MaterialRef> {
        let scope = Scope {
            served: Arc::clone(served()),
            plane_namespaces: Arc::new(["default".to_owned()].into()),
            ..Scope::default()
        };
        let workloads = self.workloads.values().map(AsRef::as_ref);
        let pods = self.pods.values().map(AsRef::as_ref);
        let planes = self.planes.values().map(AsRef::as_ref);
        mounted(issuance, &scope, workloads, pods, planes)
    }

    fn authority_state(&self, now: Timestamp) -> AuthorityState {
        let authority = ca(self.authority);
        if now < authority.not_before() {
            let problem = Problem::new(Reason::CANotYetValid, "the CA is not yet valid");
            return AuthorityState::Refused(problem);
        }
        AuthorityState::Ready {
            chain: Arc::clone(authority.public_side()),
            signing: Signing::Now,
            identity: "caSecret".into(),
        }
    }
}

/// Those that exist.
fn workloads(cluster: &Cluster) -> impl Iterator<Item = (&WorkloadRef, &Arc<Workload>)> + Clone {
    let all = cluster.deployments.iter();
    let all = all.filter(|(_, deployment)| !deployment.is_gone);
    all.map(|(key, deployment)| (key, &deployment.facts))
}

/// Whether a pod lives and mounts any of the material that was looked at.
fn is_reader(pod: &Pod, observed: &Snapshot) -> bool {
    let mut mounts = pod.mounts.iter();
    pod.is_alive() && mounts.any(|mount| observed.material.contains_key(mount))
}

fn unread(why: impl AsRef<str>) -> Unread {
    let list = ListRef::workloads(WorkloadKind::Deployment, why.as_ref());
    Unread::list(list, why.as_ref())
}

fn unknown() -> Object {
    static UNKNOWN: OnceLock<Object> = OnceLock::new();
    let unknown = UNKNOWN.get_or_init(|| Arc::new(Read::Unknown("the read failed".into())));
    Arc::clone(unknown)
}

fn served() -> &'static Arc<BTreeSet<String>> {
    static SERVED: OnceLock<Arc<BTreeSet<String>>> = OnceLock::new();
    SERVED.get_or_init(|| {
        let agents = AGENTS.iter().map(|(_, namespace)| *namespace);
        Arc::new(agents.chain([HOME]).map(String::from).collect())
    })
}

/// Takes in what is newest, or is late.
pub fn refresh<'a, K: Ord + Clone + 'a, V: 'a>(
    seen: &mut BTreeMap<K, Arc<V>>,
    newest: impl Iterator<Item = (&'a K, &'a Arc<V>)> + Clone,
    reachable: impl Fn(&K) -> bool,
    late: &mut impl FnMut() -> bool,
) {
    let there: BTreeSet<&K> = newest.clone().map(|(key, _)| key).collect();
    seen.retain(|key, _| there.contains(key) || !reachable(key) || late());
    for (key, value) in newest.filter(|(key, _)| reachable(key)) {
        if !seen.get(key).is_some_and(|known| Arc::ptr_eq(known, value)) && !late() {
            seen.insert(key.clone(), Arc::clone(value));
        }
    }
}
