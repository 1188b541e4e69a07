//! What was last seen: facts by object, kept small, written by watches, re-reads and our own writes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use external_ca_api::PlaneKind;
use external_ca_core::facts;
use external_ca_core::observed::{
    Material, MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef, Read, Workload, WorkloadRef,
};
use external_ca_core::snapshot::{CaPem, Seen};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use tokio::sync::{Notify, mpsc};

/// Facts by object.
#[derive(Default)]
pub struct Facts {
    /// What issuances are planned from.
    pub seen: Seen,
    /// The newest version that was seen of each: nothing that comes late may bring back an older one.
    versions: HashMap<MaterialRef, u64>,
    /// How the served version of a kind spells a Secret reference.
    pub reference_fields: HashMap<PlaneKind, &'static str>,
    /// Lists whose first read is still to come.
    pub unsynced: BTreeSet<String>,
}

/// Facts, and a bell that rings when they change.
pub struct Store {
    facts: Mutex<Facts>,
    bell: mpsc::Sender<()>,
    /// Something could not be read.
    pub doubt: Notify,
}

impl Store {
    /// An empty store.
    pub fn new() -> (Arc<Self>, mpsc::Receiver<()>) {
        let (bell, rings) = mpsc::channel(1);
        (
            Arc::new(Self {
                facts: Mutex::default(),
                bell,
                doubt: Notify::new(),
            }),
            rings,
        )
    }

    /// Reads or changes facts without ringing.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for every issuance to be looked at.
    pub fn ring(&self) {
        // One ring that waits to be heard is enough.
        let _ = self.bell.try_send(());
    }

    fn update(&self, change: impl FnOnce(&mut Facts) -> bool) {
        if change(&mut self.facts()) {
            self.ring();
        }
    }

    fn note_doubt(&self, read: &Read<Material>) {
        if matches!(read, Read::Unknown(_)) {
            self.doubt.notify_one();
        }
    }

    /// The objects of which nothing is known, though they are wanted.
    pub fn unknown(&self) -> Vec<MaterialRef> {
        let facts = self.facts();
        let unknown = facts.seen.material.iter();
        unknown
            .filter(|(_, read)| matches!(read.as_ref(), Read::Unknown(_)))
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// A Secret was seen, or seen to be absent, or could not be read.
    pub fn secret(&self, target: &ObjectRef, read: Read<&Secret>) {
        let key = MaterialRef {
            kind: MaterialKind::Secret,
            object: target.clone(),
        };
        if self.facts().is_known(&key, &read) {
            return;
        }
        // Parsing a key takes a while: not under the lock.
        let material = map(&read, facts::secret);
        self.note_doubt(&material);
        self.update(|facts| {
            if facts.is_late(&key, &read) {
                return false;
            }
            let mut changed = facts.put(key, material);
            if let Some(known) = facts.seen.authorities.get_mut(target) {
                let new = map(&read, |secret| Arc::new(CaPem::of(secret)));
                changed |= *known != new;
                *known = new;
            }
            changed
        });
    }

    /// A ConfigMap was seen, or seen to be absent, or could not be read.
    pub fn config_map(&self, target: &ObjectRef, read: Read<&ConfigMap>) {
        let material = map(&read, facts::config_map);
        self.note_doubt(&material);
        let key = MaterialRef {
            kind: MaterialKind::ConfigMap,
            object: target.clone(),
        };
        self.update(|facts| {
            if facts.is_late(&key, &read) {
                return false;
            }
            let mut changed = facts.put(key, material);
            for ((object, key), known) in &mut facts.seen.anchors {
                if object == target {
                    let new = map(&read, |config_map| {
                        facts::config_map_certificates(config_map, key)
                    });
                    changed |= *known != new;
                    *known = new;
                }
            }
            changed
        });
    }

    /// The watch has seen a plane, or that it is gone.
    pub fn plane(&self, plane: Result<Plane, PlaneRef>) {
        self.update(|facts| match plane {
            Ok(plane) => facts.put_plane(plane),
            Err(gone) => facts.seen.planes.remove(&gone).is_some(),
        });
    }

    /// A plane as an answer to ourselves shows it, which may come later than what the watch has told since.
    pub fn plane_answered(&self, plane: Plane) {
        self.update(|facts| facts.seen.planes.contains_key(&plane.plane) && facts.put_plane(plane));
    }

    /// How each kind spells a Secret reference, also for planes that were seen before this was known.
    pub fn spellings(&self, fields: HashMap<PlaneKind, &'static str>) {
        self.update(|facts| {
            for (reference, plane) in &mut facts.seen.planes {
                let field = fields.get(&reference.kind).copied();
                if plane.reference_field != field {
                    Arc::make_mut(plane).reference_field = field;
                }
            }
            facts.reference_fields = fields;
            true
        });
    }

    /// The watch has seen a workload, or that it is gone.
    pub fn workload(&self, workload: Result<Workload, WorkloadRef>) {
        self.update(|facts| match workload {
            // Most workloads mount nothing of ours; those that mount nothing at all are not kept.
            Ok(workload) if workload.mounts.is_empty() => {
                facts.seen.workloads.remove(&workload.workload).is_some()
            }
            Ok(workload) => facts.put_workload(workload),
            Err(gone) => facts.seen.workloads.remove(&gone).is_some(),
        });
    }

    /// A workload as the answer to a write of ours shows it, which may come later than what the watch has told since.
    pub fn workload_answered(&self, workload: Workload) {
        self.update(|facts| {
            facts.seen.workloads.contains_key(&workload.workload) && facts.put_workload(workload)
        });
    }

    /// A list was read: `keep` says which of its objects still exist.
    pub fn synced(&self, list: &str, prune: impl FnOnce(&mut Facts)) {
        self.update(|facts| {
            prune(facts);
            let was_unreadable = facts.seen.unreadable.remove(list).is_some();
            facts.unsynced.remove(list) | was_unreadable
        });
    }

    /// A list could not be read: what it holds is not known.
    pub fn unreadable(&self, list: &str, why: String) {
        self.update(|facts| {
            facts.unsynced.remove(list);
            facts.seen.unreadable.insert(list.to_owned(), why).is_none()
        });
    }
}

impl Facts {
    fn put_plane(&mut self, plane: Plane) -> bool {
        let known = self.seen.planes.get(&plane.plane);
        if known.is_some_and(|known| is_older(&plane.resource_version, &known.resource_version)) {
            return false;
        }
        let same = |known: &Arc<Plane>| {
            Plane {
                resource_version: plane.resource_version.clone(),
                ..known.as_ref().clone()
            } == plane
        };
        let changed = !known.is_some_and(same);
        self.seen
            .planes
            .insert(plane.plane.clone(), Arc::new(plane));
        changed
    }

    fn put_workload(&mut self, workload: Workload) -> bool {
        let known = self.seen.workloads.get(&workload.workload);
        if known.is_some_and(|known| is_older(&workload.resource_version, &known.resource_version))
        {
            return false;
        }
        let same = |known: &Arc<Workload>| {
            Workload {
                resource_version: workload.resource_version.clone(),
                ..known.as_ref().clone()
            } == workload
        };
        let changed = !known.is_some_and(same);
        self.seen
            .workloads
            .insert(workload.workload.clone(), Arc::new(workload));
        changed
    }

    /// Notes the version that was read; true where it, or a newer one, was seen before. What was deleted keeps the last
    /// one: an answer that comes late must not bring it back.
    fn is_late<T: ResourceExt>(&mut self, key: &MaterialRef, read: &Read<&T>) -> bool {
        if self.is_known(key, read) {
            return true;
        }
        match (version(read), read) {
            (Some(version), _) => drop(self.versions.insert(key.clone(), version)),
            (None, Read::Absent) => {}
            (None, _) => drop(self.versions.remove(key)),
        }
        false
    }

    fn is_known<T: ResourceExt>(&self, key: &MaterialRef, read: &Read<&T>) -> bool {
        version(read).is_some_and(|new| self.versions.get(key).is_some_and(|known| new <= *known))
    }

    /// An object must be read again before anything is concluded from it.
    pub fn unsee(&mut self, key: &MaterialRef) {
        self.seen.material.remove(key);
        self.versions.remove(key);
    }

    /// Forgets what no issuance has to do with any more, a CA's key first of all.
    pub fn forget(&mut self, key: &MaterialRef) {
        self.unsee(key);
        match key.kind {
            MaterialKind::Secret => drop(self.seen.authorities.remove(&key.object)),
            MaterialKind::ConfigMap => self
                .seen
                .anchors
                .retain(|(object, _), _| *object != key.object),
        }
    }

    fn put(&mut self, key: MaterialRef, value: Read<Material>) -> bool {
        let same = |old: &Arc<Read<Material>>| match (old.as_ref(), &value) {
            (Read::Found(old), Read::Found(new)) => {
                Material {
                    resource_version: new.resource_version.clone(),
                    ..old.clone()
                } == *new
            }
            (old, new) => old == new,
        };
        let changed = !self.seen.material.get(&key).is_some_and(same);
        self.seen.material.insert(key, Arc::new(value));
        changed
    }
}

/// Resource versions of one object can be compared (KEP-5504).
pub fn is_older(new: &str, known: &str) -> bool {
    matches!((new.parse::<u64>(), known.parse::<u64>()), (Ok(new), Ok(known)) if new < known)
}

fn version<T: ResourceExt>(read: &Read<&T>) -> Option<u64> {
    read.found()
        .and_then(|object| object.resource_version())
        .and_then(|version| version.parse().ok())
}

fn map<T, U>(read: &Read<&T>, facts: impl FnOnce(&T) -> U) -> Read<U> {
    match read {
        Read::Absent => Read::Absent,
        Read::Found(object) => Read::Found(facts(object)),
        Read::Unknown(why) => Read::Unknown(why.clone()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::{Value, json};

    fn deployment(resource_version: &str, generation: i64, observed: i64) -> Workload {
        let object: Deployment = serde_json::from_value(json!({
            "metadata": {
                "name": "cluster-agent",
                "namespace": "openchoreo-data-plane",
                "resourceVersion": resource_version,
                "generation": generation,
            },
            "spec": {"selector": {}, "template": {"spec": {"containers": [], "volumes": [
                {"name": "tls", "secret": {"secretName": "cluster-agent-tls"}},
            ]}}},
            "status": {"observedGeneration": observed},
        }))
        .unwrap();
        facts::deployment(&object).unwrap()
    }

    fn plane(resource_version: &str, spec: Value) -> Plane {
        let metadata = serde_json::from_value(json!({
            "name": "dataplane", "namespace": "default", "resourceVersion": resource_version,
        }))
        .unwrap();
        facts::plane(
            PlaneKind::DataPlane,
            &metadata,
            &json!({"spec": spec}),
            None,
        )
        .unwrap()
    }

    #[test]
    fn an_answer_does_not_undo_what_the_watch_has_told_since() {
        let (store, _rings) = Store::new();
        let reference = deployment("1", 1, 1).workload;
        let version = |store: &Store| {
            let facts = store.facts();
            facts
                .seen
                .workloads
                .get(&reference)
                .map(|workload| workload.resource_version.clone())
        };
        store.workload(Ok(deployment("9", 1, 1)));
        store.workload(Ok(deployment("12", 2, 2)));
        store.workload_answered(deployment("10", 2, 1));
        assert_eq!(version(&store).as_deref(), Some("12"));
        store.workload(Err(reference.clone()));
        store.workload_answered(deployment("13", 2, 1));
        assert_eq!(version(&store), None);
    }

    #[test]
    fn an_answer_does_not_bring_back_what_was_deleted() {
        let (store, _rings) = Store::new();
        let target = ObjectRef::new("openchoreo-data-plane", "cluster-gateway-ca");
        let map = |version: &str| -> ConfigMap {
            serde_json::from_value(json!({"metadata": {"resourceVersion": version}})).unwrap()
        };
        let key = MaterialRef {
            kind: MaterialKind::ConfigMap,
            object: target.clone(),
        };
        let exists = || store.facts().seen.material[&key].found().is_some();
        store.config_map(&target, Read::Found(&map("9")));
        store.config_map(&target, Read::Absent);
        store.config_map(&target, Read::Found(&map("9")));
        assert!(!exists());
        store.config_map(&target, Read::Found(&map("12")));
        assert!(exists());
        store.config_map(&target, Read::Unknown("timed out".into()));
        store.config_map(&target, Read::Found(&map("12")));
        assert!(exists());
    }

    #[test]
    fn nor_does_the_watch_undo_what_an_answer_has_told() {
        let (store, _rings) = Store::new();
        store.plane(Ok(plane("9", json!({"planeID": "a"}))));
        store.plane_answered(plane("11", json!({"planeID": "b"})));
        store.plane(Ok(plane("10", json!({"planeID": "a"}))));
        let reference = plane("1", json!({})).plane;
        assert_eq!(store.facts().seen.planes[&reference].resource_version, "11");
    }
}
