//! Secrets and ConfigMaps that are watched by their names, one connection each.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef, Read};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Event, watcher};
use kube::{Api, ResourceExt};
use tokio::task::AbortHandle;

use super::read::{MaterialObject, Reader};
use super::watch::{small_pages, unreadable};
use crate::error::describe_watch;

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
    let mut events = watcher(api, config).default_backoff().boxed();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => listed = false,
            Ok(Some(Event::InitApply(object) | Event::Apply(object))) => {
                listed = true;
                note(&object);
            }
            // The list may have been read before the object was made.
            Ok(Some(Event::InitDone)) if !listed && store.known_version(&key).is_some() => {
                reader.read(&key).await;
            }
            Ok(Some(Event::InitDone)) if !listed => {
                store.update(|facts| facts.material_absent(&key, None));
            }
            Ok(Some(Event::InitDone)) => {}
            Ok(Some(Event::Delete(object))) => {
                let version = object.resource_version();
                store.update(|facts| facts.material_deleted(&key, version.as_deref()));
            }
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(error = describe_watch(&error), %key, "watch");
                if let Some(why) = unreadable(&key, &error) {
                    K::note(store, &target, Read::Unknown(why));
                }
            }
        }
    }
}
