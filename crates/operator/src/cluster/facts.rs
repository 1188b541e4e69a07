//! What was last seen, by object, and the rules by which what comes late changes nothing. Each change returns whether there
//! is anything new.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use external_ca_api::PlaneKind;
use external_ca_core::model::{
    Cluster, ListRef, Material, MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef, Pod, Read,
    Workload, WorkloadRef,
};
use external_ca_core::snapshot::{ListedPods, Seen};
use external_ca_core::x509::CaPem;
use jiff::Timestamp;
use kube::ResourceExt;

use super::shared::SharedCertificates;
use crate::versions::is_older;

/// Facts by object.
#[derive(Default)]
pub struct Facts {
    /// What issuances are planned from.
    pub seen: Seen,
    /// CA Secrets. Their keys stay in the operator: what is seen has none.
    pub ca_secrets: HashMap<ObjectRef, Read<Arc<CaPem>>>,
    /// CAs that stand in many of them.
    shared: SharedCertificates,
    /// The newest version that was seen of each: nothing that comes late may bring back an older one.
    versions: HashMap<MaterialRef, u64>,
    /// The newest version that the watch of a namespace's pods has told of.
    pod_watches: HashMap<(Cluster, String), u64>,
    /// When a Secret or ConfigMap last changed, of all that were seen.
    newest_change: Option<Timestamp>,
    /// How the served version of a kind spells a Secret reference.
    pub reference_fields: HashMap<PlaneKind, &'static str>,
    /// Whether the API server has said which of cert-manager's kinds it serves.
    pub knows_cert_manager: bool,
    /// Whether it serves any.
    pub serves_cert_manager: bool,
}

/// Secrets and ConfigMaps.
impl Facts {
    /// A watch tells that an object was deleted: the version is that of the deletion.
    pub fn material_deleted(&mut self, key: &MaterialRef, version: Option<&str>) -> bool {
        let deletion: Option<u64> = version.and_then(|version| version.parse::<u64>().ok());
        let known = self.versions.get(key).copied();
        if let Some(deletion) = deletion {
            if known.is_some_and(|known| deletion < known) {
                // It was made anew since.
                return false;
            }
            self.versions.insert(key.clone(), deletion);
        }
        self.put_absent(key)
    }

    /// An object was asked for and does not exist. `before` is the version that was known when it was asked for: what was
    /// found meanwhile may be newer.
    pub fn material_absent(&mut self, key: &MaterialRef, before: Option<&str>) -> bool {
        let found = self.seen.material.get(key).and_then(|read| read.found());
        let now = found.map(|found| found.resource_version.as_str());
        (now.is_none() || now == before) && self.put_absent(key)
    }

    /// What was read of an object stands from now on.
    pub fn put_material(&mut self, key: MaterialRef, mut value: Read<Material>) -> bool {
        if let Read::Found(found) = &mut value {
            self.shared.share_material(found);
        }
        let known = self.seen.material.get(&key).map(AsRef::as_ref);
        let changed = known != Some(&value);
        let at = value.found().and_then(|found| found.changed);
        self.newest_change = self.newest_change.max(at);
        self.seen.material.insert(key, Arc::new(value));
        changed
    }

    /// The newest version that was told of an object, be it that of its deletion.
    pub fn newest(&self, key: &MaterialRef) -> Option<u64> {
        self.versions.get(key).copied()
    }

    /// An object was asked for when `before` was the newest version that had been told, and was found: the answer is never
    /// older than the question. Where its version is, versions went back: etcd was restored, or a deletion was told wrongly.
    pub fn found_after(&mut self, key: &MaterialRef, before: Option<u64>, found: Option<u64>) {
        let went_back = found.is_some() && found < before;
        if went_back && self.newest(key) == before {
            self.versions.remove(key);
        }
    }

    /// Notes the version that was read; true where a newer one was seen before, or this one stands there. What was deleted
    /// keeps the version of its deletion: an answer that comes late must not bring it back.
    pub fn is_late<T: ResourceExt>(&mut self, key: &MaterialRef, read: &Read<&T>) -> bool {
        if self.is_known(key, read) {
            return true;
        }
        if let Some(version) = version(read) {
            self.versions.insert(key.clone(), version);
        }
        false
    }

    /// Whether a newer version was seen before, or this one stands there.
    pub fn is_known<T: ResourceExt>(&self, key: &MaterialRef, read: &Read<&T>) -> bool {
        let Some((new, known)) = version(read).zip(self.versions.get(key)) else {
            return false;
        };
        let stands = || {
            let read = self.seen.material.get(key);
            read.is_some_and(|read| read.found().is_some())
        };
        new < *known || new == *known && stands()
    }

    /// An object must be read again before anything is concluded from it.
    pub fn invalidate(&mut self, key: &MaterialRef) {
        self.seen.material.remove(key);
        self.versions.remove(key);
    }

    /// Forgets all other objects, a CA's key first of all: no issuance needs them any more.
    pub fn keep_material(&mut self, wanted: &BTreeSet<MaterialRef>) {
        let known = self.seen.material.keys();
        let unwanted = known.filter(|known| !wanted.contains(*known)).cloned();
        for key in unwanted.collect::<Vec<_>>() {
            self.invalidate(&key);
            match key.kind {
                MaterialKind::Secret => drop(self.ca_secrets.remove(&key.object)),
                MaterialKind::ConfigMap => self
                    .seen
                    .anchors
                    .retain(|(object, _), _| *object != key.object),
            }
        }
    }

    fn put_absent(&mut self, key: &MaterialRef) -> bool {
        let mut changed = self.put_material(key.clone(), Read::Absent);
        match key.kind {
            MaterialKind::Secret => {
                if let Some(known) = self.ca_secrets.get_mut(&key.object) {
                    changed |= *known != Read::Absent;
                    *known = Read::Absent;
                }
            }
            MaterialKind::ConfigMap => {
                for ((object, _), known) in &mut self.seen.anchors {
                    if *object == key.object {
                        changed |= *known != Read::Absent;
                        *known = Read::Absent;
                    }
                }
            }
        }
        changed
    }
}

/// Planes.
impl Facts {
    /// A watch has seen a plane.
    pub fn plane_seen(&mut self, plane: Plane) -> bool {
        let was_broken = self.seen.broken_planes.remove(&plane.plane).is_some();
        self.put_plane(plane) | was_broken
    }

    /// A plane as an answer to ourselves shows it, which may come later than what the watch has told since.
    pub fn plane_answered(&mut self, plane: Plane) -> bool {
        self.seen.planes.contains_key(&plane.plane) && self.put_plane(plane)
    }

    /// A plane was asked for when this version of it was known, and found: see [`Self::found_after`].
    pub fn plane_read(&mut self, mut plane: Plane, before: Option<&str>) -> bool {
        let known = self.seen.planes.get(&plane.plane);
        let known = known.map(|known| known.resource_version.as_str());
        if known == before && known.is_some_and(|known| is_older(&plane.resource_version, known)) {
            self.shared.share_plane(&mut plane);
            self.seen
                .planes
                .insert(plane.plane.clone(), Arc::new(plane));
            return true;
        }
        self.plane_answered(plane)
    }

    /// A plane is gone since this version, or was asked for and not found.
    pub fn plane_gone(&mut self, plane: &PlaneRef, version: Option<&str>) -> bool {
        let known = self.seen.planes.get(plane);
        if known.is_some_and(|known| came_before(version, &known.resource_version)) {
            return false;
        }
        let was_broken = self.seen.broken_planes.remove(plane).is_some();
        self.seen.planes.remove(plane).is_some() | was_broken
    }

    /// A plane does not parse: what it holds is not known.
    pub fn plane_broken(&mut self, plane: PlaneRef, why: String) -> bool {
        self.seen.planes.remove(&plane);
        self.seen.broken_planes.insert(plane, why).is_none()
    }

    /// Only these planes still exist.
    pub fn keep_planes(&mut self, exists: impl Fn(&PlaneRef) -> bool) -> bool {
        let seen = &mut self.seen;
        keep(&mut seen.planes, &exists) | keep(&mut seen.broken_planes, &exists)
    }

    /// How each kind spells a Secret reference, also for planes that were seen before this was known.
    pub fn spellings(&mut self, fields: HashMap<PlaneKind, &'static str>) -> bool {
        for (reference, plane) in &mut self.seen.planes {
            let field = fields.get(&reference.kind).copied();
            if plane.reference_field != field {
                Arc::make_mut(plane).reference_field = field;
            }
        }
        self.reference_fields = fields;
        true
    }

    /// A report that is only newer than one that came after all changes that were seen is no news: one is told every minute of
    /// each plane. It is kept, for a change that is seen late may lie between the two.
    fn put_plane(&mut self, mut plane: Plane) -> bool {
        let known = self.seen.planes.get(&plane.plane).map(AsRef::as_ref);
        let heartbeat = plane.agent_heartbeat;
        if let Some(known) = known {
            if is_older(&plane.resource_version, &known.resource_version) {
                return false;
            }
            if known.agent_heartbeat > self.newest_change && known.agent_heartbeat < heartbeat {
                plane.agent_heartbeat = known.agent_heartbeat;
            }
        }
        let changed = known != Some(&plane);
        plane.agent_heartbeat = heartbeat;
        self.shared.share_plane(&mut plane);
        let reference = plane.plane.clone();
        self.seen.planes.insert(reference, Arc::new(plane));
        changed
    }
}

/// Workloads.
impl Facts {
    /// A watch has seen a workload.
    pub fn workload_seen(&mut self, workload: Workload) -> bool {
        let reference = &workload.workload;
        let was_broken = self.seen.broken_workloads.remove(reference).is_some();
        // Most workloads mount nothing of ours; those that mount nothing at all are not kept.
        let changed = if workload.mounts.is_empty() {
            self.seen.workloads.remove(reference).is_some()
        } else {
            self.put_workload(workload)
        };
        changed | was_broken
    }

    /// A workload as the answer to a write of ours shows it, which may come later than what the watch has told since.
    pub fn workload_answered(&mut self, workload: Workload) -> bool {
        self.seen.workloads.contains_key(&workload.workload) && self.put_workload(workload)
    }

    /// A workload is gone since this version.
    pub fn workload_gone(&mut self, workload: &WorkloadRef, version: Option<&str>) -> bool {
        let known = self.seen.workloads.get(workload);
        if known.is_some_and(|known| came_before(version, &known.resource_version)) {
            return false;
        }
        let was_broken = self.seen.broken_workloads.remove(workload).is_some();
        self.seen.workloads.remove(workload).is_some() | was_broken
    }

    /// A workload does not parse: what it mounts is not known.
    pub fn workload_broken(&mut self, workload: WorkloadRef, why: String) -> bool {
        self.seen.workloads.remove(&workload);
        let known = self.seen.broken_workloads.insert(workload, why);
        known.is_none()
    }

    /// Only these workloads still exist.
    pub fn keep_workloads(&mut self, exists: impl Fn(&WorkloadRef) -> bool) -> bool {
        let seen = &mut self.seen;
        keep(&mut seen.workloads, &exists) | keep(&mut seen.broken_workloads, &exists)
    }

    fn put_workload(&mut self, workload: Workload) -> bool {
        let known = self.seen.workloads.get(&workload.workload);
        if known.is_some_and(|known| is_older(&workload.resource_version, &known.resource_version))
        {
            return false;
        }
        let changed = known.map(AsRef::as_ref) != Some(&workload);
        let reference = workload.workload.clone();
        self.seen.workloads.insert(reference, Arc::new(workload));
        changed
    }
}

/// Pods.
impl Facts {
    /// A watch has seen a pod.
    pub fn pod_seen(&mut self, pod: Pod) -> bool {
        self.watch_told(&pod.pod, Some(&pod.resource_version));
        self.put_pod(pod)
    }

    /// A watch tells that the pod with this UID was deleted, in this version; without both, that there is none.
    pub fn pod_gone(&mut self, pod: &ObjectRef, uid: Option<&str>, version: Option<&str>) -> bool {
        self.watch_told(pod, version);
        if let Some(known) = self.seen.pods.get(pod) {
            // One of the same name may have been made since.
            let is_another = uid.is_some_and(|uid| uid != known.uid);
            let newer = version.is_some_and(|version| is_older(&known.resource_version, version));
            if came_before(version, &known.resource_version) || is_another && !newer {
                return false;
            }
        }
        self.remove_pod(pod)
    }

    /// A pod does not parse: what it mounts is not known.
    pub fn pod_broken(&mut self, pod: ObjectRef, version: Option<&str>, why: String) -> bool {
        self.watch_told(&pod, version);
        let known = self.seen.pods.get(&pod);
        if known.is_some_and(|known| came_before(version, &known.resource_version)) {
            return false;
        }
        self.put_broken_pod(pod, why)
    }

    /// Only these pods still exist.
    pub fn keep_pods(&mut self, exists: impl Fn(&ObjectRef) -> bool) -> bool {
        let seen = &mut self.seen;
        keep(&mut seen.pods, &exists) | keep(&mut seen.broken_pods, &exists)
    }

    /// The pods of a namespace were listed besides the watch. Where the watch has told of anything as new as the list, it
    /// has told of all that the list shows, and of what was deleted since.
    pub fn pods_listed(&mut self, list: &ListedPods) -> bool {
        let (place, version) = (&list.namespace, list.version.parse::<u64>());
        let told = self.pod_watches.get(place);
        if version.is_ok_and(|version| told.is_some_and(|told| *told >= version)) {
            return false;
        }
        let exists = |pod: &ObjectRef| {
            let is_here = (pod.cluster, &pod.namespace) == (place.0, &place.1);
            !is_here || list.pods.contains_key(pod) || list.broken.contains_key(pod)
        };
        let seen = &mut self.seen;
        let before = (seen.pods.len(), seen.broken_pods.len());
        seen.pods
            .retain(|known, pod| exists(known) || !is_older(&pod.resource_version, &list.version));
        seen.broken_pods.retain(|known, _| exists(known));
        let mut changed = before != (seen.pods.len(), seen.broken_pods.len());
        for pod in list.pods.values() {
            changed |= self.put_pod(pod.clone());
        }
        for (pod, why) in &list.broken {
            changed |= self.put_broken_pod(pod.clone(), why.clone());
        }
        changed
    }

    fn put_pod(&mut self, pod: Pod) -> bool {
        let known = self.seen.pods.get(&pod.pod);
        if known.is_some_and(|known| is_older(&pod.resource_version, &known.resource_version)) {
            return false;
        }
        if !pod.is_kept() {
            return self.remove_pod(&pod.pod);
        }
        let changed = known.map(AsRef::as_ref) != Some(&pod);
        let reference = pod.pod.clone();
        let was_broken = self.seen.broken_pods.remove(&reference).is_some();
        self.seen.pods.insert(reference, Arc::new(pod));
        changed | was_broken
    }

    fn put_broken_pod(&mut self, pod: ObjectRef, why: String) -> bool {
        self.seen.pods.remove(&pod);
        self.seen.broken_pods.insert(pod, why).is_none()
    }

    fn remove_pod(&mut self, pod: &ObjectRef) -> bool {
        let was_broken = self.seen.broken_pods.remove(pod).is_some();
        self.seen.pods.remove(pod).is_some() | was_broken
    }

    fn watch_told(&mut self, pod: &ObjectRef, version: Option<&str>) {
        if let Some(version) = version.and_then(|version| version.parse::<u64>().ok()) {
            let place = (pod.cluster, pod.namespace.clone());
            let told = self.pod_watches.entry(place).or_default();
            *told = version.max(*told);
        }
    }
}

/// Lists.
impl Facts {
    /// A list was read to its end.
    pub fn list_read(&mut self, list: &ListRef) -> bool {
        let was_unreadable = self.seen.unreadable.remove(list).is_some();
        self.seen.awaited.remove(list) | was_unreadable
    }

    /// A list could not be read: what it holds is not known.
    pub fn list_unreadable(&mut self, list: &ListRef, why: String) -> bool {
        self.seen.awaited.remove(list);
        self.seen.unreadable.insert(list.clone(), why).is_none()
    }

    /// That these lists could not be read matters no longer.
    pub fn forget_lists(&mut self, unwanted: impl Fn(&ListRef) -> bool) -> bool {
        let before = self.seen.unreadable.len();
        self.seen.unreadable.retain(|list, _| !unwanted(list));
        self.seen.unreadable.len() != before
    }
}

/// Returns whether any of them exists no longer.
fn keep<K: Ord, V>(known: &mut BTreeMap<K, V>, exists: impl Fn(&K) -> bool) -> bool {
    let before = known.len();
    known.retain(|key, _| exists(key));
    known.len() != before
}

/// Whether a deletion came before what is known. One without a version tells what stands now.
fn came_before(deletion: Option<&str>, known: &str) -> bool {
    deletion.is_some_and(|deletion| is_older(deletion, known))
}

fn version<T: ResourceExt>(read: &Read<&T>) -> Option<u64> {
    read.found()
        .and_then(|object| object.resource_version())
        .and_then(|version| version.parse().ok())
}
