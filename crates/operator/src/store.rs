//! What was last seen: facts by object, kept small, written by watches, re-reads and our own writes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use external_ca_api::PlaneKind;
use external_ca_core::model::facts;
use external_ca_core::model::snapshot::{CaPem, Seen};
use external_ca_core::model::{
    Material, MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef, Read, Workload, WorkloadRef,
};
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

    /// The version of an object that is known to exist.
    pub fn known(&self, key: &MaterialRef) -> Option<String> {
        let facts = self.facts();
        let found = facts.seen.material.get(key)?.found()?;
        Some(found.resource_version.clone())
    }

    /// A watch tells that an object was deleted: the version is that of the deletion.
    pub fn deleted(&self, key: &MaterialRef, version: Option<&str>) {
        let version: Option<u64> = version.and_then(|version| version.parse().ok());
        self.update(|facts| {
            let known = facts.versions.get(key).copied();
            if let Some(version) = version {
                if known.is_some_and(|known| version < known) {
                    // It was made anew since.
                    return false;
                }
                facts.versions.insert(key.clone(), version);
            }
            facts.put_absent(key)
        });
    }

    /// An object was looked for and does not exist. `before` is what was known when the look began: what was found
    /// meanwhile may be newer.
    pub fn absent(&self, key: &MaterialRef, before: Option<&str>) {
        self.update(|facts| {
            let found = facts.seen.material.get(key).and_then(|read| read.found());
            let now = found.map(|found| found.resource_version.as_str());
            (now.is_none() || now == before) && facts.put_absent(key)
        });
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

    /// The watch has seen a plane.
    pub fn plane(&self, plane: Plane) {
        self.update(|facts| {
            let was_broken = facts.seen.broken_planes.remove(&plane.plane).is_some();
            facts.put_plane(plane) | was_broken
        });
    }

    /// A plane is gone since this version, or was looked for and not found.
    pub fn plane_gone(&self, plane: &PlaneRef, version: Option<&str>) {
        self.update(|facts| {
            let known = facts.seen.planes.get(plane);
            if known.is_some_and(|known| is_late(version, &known.resource_version)) {
                return false;
            }
            let was_broken = facts.seen.broken_planes.remove(plane).is_some();
            facts.seen.planes.remove(plane).is_some() | was_broken
        });
    }

    /// A plane does not parse: what it holds is not known.
    pub fn plane_broken(&self, plane: PlaneRef, why: String) {
        self.update(|facts| {
            facts.seen.planes.remove(&plane);
            facts.seen.broken_planes.insert(plane, why).is_none()
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

    /// The watch has seen a workload.
    pub fn workload(&self, workload: Workload) {
        self.update(|facts| {
            let reference = &workload.workload;
            let was_broken = facts.seen.broken_workloads.remove(reference).is_some();
            // Most workloads mount nothing of ours; those that mount nothing at all are not kept.
            let changed = match workload.mounts.is_empty() {
                true => facts.seen.workloads.remove(reference).is_some(),
                false => facts.put_workload(workload),
            };
            changed | was_broken
        });
    }

    /// A workload is gone since this version.
    pub fn workload_gone(&self, workload: &WorkloadRef, version: Option<&str>) {
        self.update(|facts| {
            let known = facts.seen.workloads.get(workload);
            if known.is_some_and(|known| is_late(version, &known.resource_version)) {
                return false;
            }
            let was_broken = facts.seen.broken_workloads.remove(workload).is_some();
            facts.seen.workloads.remove(workload).is_some() | was_broken
        });
    }

    /// A workload does not parse: what it mounts is not known.
    pub fn workload_broken(&self, workload: WorkloadRef, why: String) {
        self.update(|facts| {
            facts.seen.workloads.remove(&workload);
            let known = facts.seen.broken_workloads.insert(workload, why);
            known.is_none()
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

    /// These lists are no longer looked for.
    pub fn no_longer(&self, wanted: impl Fn(&str) -> bool) {
        self.update(|facts| {
            let before = facts.seen.unreadable.len();
            facts.seen.unreadable.retain(|list, _| !wanted(list));
            facts.seen.unreadable.len() != before
        });
    }

    /// Whether a list could not be read when it was last asked for.
    pub fn is_unreadable(&self, list: &str) -> bool {
        self.facts().seen.unreadable.contains_key(list)
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

    /// Notes the version that was read; true where a newer one was seen before, or this one stands there. What was deleted
    /// keeps the version of its deletion: an answer that comes late must not bring it back.
    fn is_late<T: ResourceExt>(&mut self, key: &MaterialRef, read: &Read<&T>) -> bool {
        if self.is_known(key, read) {
            return true;
        }
        if let Some(version) = version(read) {
            self.versions.insert(key.clone(), version);
        }
        false
    }

    fn is_known<T: ResourceExt>(&self, key: &MaterialRef, read: &Read<&T>) -> bool {
        let Some((new, known)) = version(read).zip(self.versions.get(key)) else {
            return false;
        };
        let stands = || {
            let read = self.seen.material.get(key);
            read.is_some_and(|read| read.found().is_some())
        };
        new < *known || new == *known && stands()
    }

    fn put_absent(&mut self, key: &MaterialRef) -> bool {
        let mut changed = self.put(key.clone(), Read::Absent);
        match key.kind {
            MaterialKind::Secret => {
                if let Some(known) = self.seen.authorities.get_mut(&key.object) {
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

/// Whether a deletion came before what is known. One without a version says what stands now.
fn is_late(deletion: Option<&str>, known: &str) -> bool {
    deletion.is_some_and(|deletion| is_older(deletion, known))
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
        store.workload(deployment("9", 1, 1));
        store.workload(deployment("12", 2, 2));
        store.workload_answered(deployment("10", 2, 1));
        assert_eq!(version(&store).as_deref(), Some("12"));
        store.workload_gone(&reference, Some("13"));
        store.workload_answered(deployment("12", 2, 1));
        assert_eq!(version(&store), None);
    }

    /// What a store is told of a ConfigMap: a version that exists (of a watch, a read, or an answer), or that it is gone.
    #[derive(Clone, Copy, Debug)]
    enum Told {
        Found(&'static str),
        Deleted(&'static str),
        NotFound,
        Unknown,
    }

    #[test]
    fn what_is_told_late_changes_nothing() {
        use Told::{Deleted, Found, NotFound, Unknown};
        let cases: [(&[Told], Option<&str>); 10] = [
            (&[Found("9"), Deleted("10")], None),
            // An answer does not bring back what was deleted since.
            (&[Found("9"), Deleted("10"), Found("9")], None),
            (&[Found("9"), Deleted("10"), Found("12")], Some("12")),
            // Deleted and made anew by ourselves: the watch tells of the deletion after our answer.
            (&[Found("9"), Found("12"), Deleted("10")], Some("12")),
            (
                &[Found("9"), Found("12"), Deleted("10"), Found("12")],
                Some("12"),
            ),
            (&[Found("9"), Found("12"), Deleted("13"), Found("12")], None),
            // A read that found nothing was answered before the object was made.
            (&[Found("12"), NotFound, Found("12")], Some("12")),
            (&[NotFound, Found("12"), Deleted("11")], Some("12")),
            (&[Found("12"), Unknown, Found("12")], Some("12")),
            (&[Found("12"), Unknown, Deleted("11"), Found("11")], None),
        ];
        for (told, expected) in cases {
            let (store, _rings) = Store::new();
            let key = MaterialRef {
                kind: MaterialKind::ConfigMap,
                object: ObjectRef::new("openchoreo-data-plane", "cluster-gateway-ca"),
            };
            for one in told {
                match one {
                    Found(version) => {
                        let object = json!({"metadata": {"resourceVersion": version}});
                        let object: ConfigMap = serde_json::from_value(object).unwrap();
                        store.config_map(&key.object, Read::Found(&object));
                    }
                    Deleted(version) => store.deleted(&key, Some(version)),
                    NotFound => store.absent(&key, store.known(&key).as_deref()),
                    Unknown => store.config_map(&key.object, Read::Unknown("timed out".into())),
                }
            }
            assert_eq!(store.known(&key).as_deref(), expected, "{told:?}");
        }
    }

    #[test]
    fn a_late_deletion_takes_no_plane_and_no_workload_away() {
        let (store, _rings) = Store::new();
        store.plane(plane("12", json!({})));
        let reference = plane("1", json!({})).plane;
        store.plane_gone(&reference, Some("10"));
        assert!(store.facts().seen.planes.contains_key(&reference));
        store.plane_gone(&reference, Some("13"));
        assert!(!store.facts().seen.planes.contains_key(&reference));

        store.workload(deployment("12", 1, 1));
        let reference = deployment("1", 1, 1).workload;
        store.workload_gone(&reference, Some("10"));
        assert!(store.facts().seen.workloads.contains_key(&reference));
        store.workload_gone(&reference, Some("13"));
        assert!(!store.facts().seen.workloads.contains_key(&reference));
    }

    #[test]
    fn nor_does_the_watch_undo_what_an_answer_has_told() {
        let (store, _rings) = Store::new();
        store.plane(plane("9", json!({"planeID": "a"})));
        store.plane_answered(plane("11", json!({"planeID": "b"})));
        store.plane(plane("10", json!({"planeID": "a"})));
        let reference = plane("1", json!({})).plane;
        assert_eq!(store.facts().seen.planes[&reference].resource_version, "11");
    }
}
