//! Secrets and ConfigMaps that are watched by their names, one connection each.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef, Read};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::watcher::Event;
use kube::{Api, ResourceExt};
use tokio::task::AbortHandle;

use super::read::{MaterialObject, Reader};
use super::steady::{Steady, Told};
use super::watch::small_pages;

/// The objects that are watched, and the watch of each.
pub struct NamedWatches {
    reader: Reader,
    running: Mutex<HashMap<MaterialRef, AbortHandle>>,
}

impl NamedWatches {
    /// Nothing is watched yet.
    pub fn new(reader: Reader) -> Self {
        Self {
            reader,
            running: Mutex::default(),
        }
    }

    /// Ends the watches of all other objects.
    pub fn keep(&self, wanted: &BTreeSet<MaterialRef>) {
        self.running().retain(|material, task| {
            let keep = wanted.contains(material);
            if !keep {
                task.abort();
            }
            keep
        });
    }

    /// Watches these objects too.
    pub fn start(&self, wanted: BTreeSet<MaterialRef>) {
        let mut running = self.running();
        for material in wanted {
            running.entry(material).or_insert_with_key(|material| {
                let (reader, target) = (self.reader.clone(), material.object.clone());
                let task = match material.kind {
                    MaterialKind::Secret => tokio::spawn(watch::<Secret>(reader, target)),
                    MaterialKind::ConfigMap => tokio::spawn(watch::<ConfigMap>(reader, target)),
                };
                task.abort_handle()
            });
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<MaterialRef, AbortHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn watch<K: MaterialObject>(reader: Reader, target: ObjectRef) {
    let store = &reader.store;
    let key = MaterialRef {
        kind: K::KIND,
        object: target.clone(),
    };
    let api: Api<Lenient<K>> = Api::namespaced(reader.client.clone(), &target.namespace);
    let config = small_pages().fields(&format!("metadata.name={}", target.name));
    let note = |object: &Lenient<K>| {
        let read = match object.decoded() {
            Ok(found) => Read::Found(found),
            Err(error) => Read::Unknown(error.to_string()),
        };
        K::note(store, &target, read);
    };
    let mut listed = false;
    let mut watch = Steady::new(api, config);
    loop {
        match watch.next().await {
            Told::Event(Event::Init) => listed = false,
            Told::Event(Event::InitApply(object) | Event::Apply(object)) => {
                listed = true;
                note(&object);
            }
            // The list may have been read before the object was made.
            Told::Event(Event::InitDone) if !listed && store.known_version(&key).is_some() => {
                reader.read(&key).await;
            }
            Told::Event(Event::InitDone) if !listed => {
                store.update_material(&key, |facts| facts.material_absent(&key, None));
            }
            Told::Event(Event::InitDone) | Told::Watched => {}
            Told::Event(Event::Delete(object)) => {
                let version = object.resource_version();
                store.update_material(&key, |facts| {
                    facts.material_deleted(&key, version.as_deref())
                });
            }
            // Each attempt at a watch that is refused begins with a list: it is read all the same.
            Told::Failed(why) | Told::Unwatched(why) => tracing::debug!(why, %key, "watch"),
            Told::Unreadable(why) => {
                tracing::debug!(why, %key, "watch");
                K::note(store, &target, Read::Unknown(format!("{key} {why}")));
            }
        }
    }
}
