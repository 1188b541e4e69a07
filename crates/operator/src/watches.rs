//! What is watched: objects by name, workloads by namespace, planes by kind. Nothing is listed that is not ours.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use external_ca_core::model::discovery::ServedKind;
use external_ca_core::model::facts;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::snapshot::workloads_of;
use external_ca_core::model::{
    MaterialKind, MaterialRef, ObjectRef, Read, WorkloadKind, WorkloadRef,
};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use crate::error::{Error, bounded, describe, describe_watch};
use crate::pace::backoff;
use crate::store::Store;

/// A watch is a connection. Past so many, objects are read again one by one instead.
const MAX_NAMED_WATCHES: usize = 64;
/// In how long each unwatched object is read again.
const REREAD: Duration = Duration::from_secs(30 * 60);
/// In how long at the latest an object that could not be read is read again.
const LONGEST_DOUBT: Duration = Duration::from_secs(30);
/// How many first reads are under way at once.
const READERS: usize = 16;
/// So many objects a page of a list has.
const PAGE: u32 = 50;

/// Everything that is watched or read again.
pub struct Watches {
    pub(crate) client: Client,
    pub(crate) store: Arc<Store>,
    /// The plane kinds that are served.
    pub(crate) kinds: Mutex<Vec<ServedKind>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What each issuance needs, most important first.
    needs: HashMap<String, Vec<MaterialRef>>,
    watched: HashMap<MaterialRef, AbortHandle>,
    reread: BTreeSet<MaterialRef>,
}

impl Watches {
    /// Nothing is watched yet.
    pub fn new(client: Client, store: Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            client,
            store,
            kinds: Mutex::default(),
            state: Mutex::default(),
        })
    }

    /// Watches or reads what an issuance needs, and stops what nobody needs any more.
    pub fn want(self: &Arc<Self>, issuance: &str, needs: Vec<MaterialRef>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.needs.get(issuance) == Some(&needs) {
            return;
        }
        state.needs.insert(issuance.to_owned(), needs);
        self.settle(&mut state);
    }

    /// An issuance is gone.
    pub fn forget(self: &Arc<Self>, issuance: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.needs.remove(issuance).is_some() {
            self.settle(&mut state);
        }
    }

    fn settle(self: &Arc<Self>, state: &mut State) {
        // Round robin over the issuances, so that each has its most important objects watched.
        let mut order: Vec<(usize, &MaterialRef)> = state
            .needs
            .values()
            .flat_map(|needs| needs.iter().enumerate())
            .collect();
        order.sort();
        let mut wanted: Vec<MaterialRef> = Vec::new();
        let mut seen = BTreeSet::new();
        for (_, material) in order {
            if seen.insert(material.clone()) {
                wanted.push(material.clone());
            }
        }
        let (watch, read) = wanted.split_at(wanted.len().min(MAX_NAMED_WATCHES));
        let watch: BTreeSet<MaterialRef> = watch.iter().cloned().collect();
        let read: BTreeSet<MaterialRef> = read.iter().cloned().collect();

        state.watched.retain(|material, task| {
            let keep = watch.contains(material);
            if !keep {
                task.abort();
            }
            keep
        });
        let mut facts = self.store.facts();
        for material in facts
            .seen
            .material
            .keys()
            .filter(|known| !seen.contains(*known))
            .cloned()
            .collect::<Vec<_>>()
        {
            facts.forget(&material);
        }
        drop(facts);
        for material in watch {
            state
                .watched
                .entry(material)
                .or_insert_with_key(|material| {
                    let (this, target) = (Arc::clone(self), material.object.clone());
                    let task = match material.kind {
                        MaterialKind::Secret => tokio::spawn(this.watch_named::<Secret>(target)),
                        MaterialKind::ConfigMap => {
                            tokio::spawn(this.watch_named::<ConfigMap>(target))
                        }
                    };
                    task.abort_handle()
                });
        }
        let new: Vec<MaterialRef> = read.difference(&state.reread).cloned().collect();
        state.reread = read;
        if !new.is_empty() {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                futures::stream::iter(new)
                    .for_each_concurrent(READERS, |material| this.read(material))
                    .await;
            });
        }
    }

    /// Reads one object now; what cannot be read is not known.
    pub async fn read(&self, material: MaterialRef) {
        let target = &material.object;
        if let Err(error) = self.try_read(&material).await {
            let why = error.to_string();
            match material.kind {
                MaterialKind::Secret => self.store.secret(target, Read::Unknown(why)),
                MaterialKind::ConfigMap => self.store.config_map(target, Read::Unknown(why)),
            }
        }
    }

    async fn try_read(&self, material: &MaterialRef) -> Result<(), Error> {
        let target = &material.object;
        match material.kind {
            MaterialKind::Secret => self.look::<Secret>(target).await.map(drop),
            MaterialKind::ConfigMap => self.look::<ConfigMap>(target).await.map(drop),
        }
    }

    /// Asks the API server for an object, and notes the answer.
    pub async fn look<K: Kept>(&self, target: &ObjectRef) -> Result<Option<K>, Error> {
        let key = MaterialRef {
            kind: K::KIND,
            object: target.clone(),
        };
        let before = self.store.known(&key);
        let api: Api<Lenient<K>> = Api::namespaced(self.client.clone(), &target.namespace);
        let Some(found) = bounded(api.get_opt(&target.name)).await? else {
            self.store.absent(&key, before.as_deref());
            return Ok(None);
        };
        let found = found.into_decoded()?;
        K::see(&self.store, target, Read::Found(&found));
        Ok(Some(found))
    }

    /// Reads what could not be read again and again, at growing intervals. A watch does not do that: where nothing has
    /// changed meanwhile, it goes on in silence.
    pub async fn recover(self: Arc<Self>) {
        let mut attempts = 0;
        loop {
            let unknown = self.store.unknown();
            if unknown.is_empty() {
                attempts = 0;
                self.store.doubt.notified().await;
                continue;
            }
            attempts += 1;
            tokio::time::sleep(backoff(attempts).min(LONGEST_DOUBT)).await;
            futures::stream::iter(unknown)
                .for_each_concurrent(READERS, |material| {
                    let this = &self;
                    async move {
                        if let Err(error) = this.try_read(&material).await {
                            tracing::debug!(%error, %material, "still not to be read");
                        }
                    }
                })
                .await;
        }
    }

    /// Reads unwatched objects again, one by one, spread over [`REREAD`].
    pub async fn reread(self: Arc<Self>) {
        let mut last: Option<MaterialRef> = None;
        loop {
            let (next, count) = {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let after = last.as_ref().and_then(|last| {
                    state
                        .reread
                        .range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded))
                        .next()
                });
                (
                    after.or_else(|| state.reread.first()).cloned(),
                    state.reread.len(),
                )
            };
            tokio::time::sleep(REREAD / u32::try_from(count.max(1)).unwrap_or(u32::MAX)).await;
            if let Some(material) = next.clone() {
                self.read(material).await;
            }
            last = next;
        }
    }

    /// Watches the workloads of the served namespaces.
    pub fn watch_workloads(&self, namespaces: &BTreeSet<String>) {
        for namespace in namespaces {
            self.workloads::<Deployment>(WorkloadKind::Deployment, namespace, facts::deployment);
            self.workloads::<StatefulSet>(
                WorkloadKind::StatefulSet,
                namespace,
                facts::stateful_set,
            );
            self.workloads::<DaemonSet>(WorkloadKind::DaemonSet, namespace, facts::daemon_set);
        }
    }

    fn workloads<K>(
        &self,
        kind: WorkloadKind,
        namespace: &str,
        facts: fn(&K) -> Option<external_ca_core::model::Workload>,
    ) where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let list = workloads_of(kind, namespace);
        self.store.facts().unsynced.insert(list.clone());
        let namespace = namespace.to_owned();
        let api: Api<Lenient<K>> = Api::namespaced(self.client.clone(), &namespace);
        let reference = {
            let namespace = namespace.clone();
            move |object: &Lenient<K>| WorkloadRef {
                kind,
                object: ObjectRef::new(&namespace, object.name_any()),
            }
        };
        let store = Arc::clone(&self.store);
        let apply = {
            let (store, reference) = (Arc::clone(&store), reference.clone());
            move |object: &Lenient<K>| match object.decoded().map(facts) {
                Ok(Some(workload)) => store.workload(workload),
                Ok(None) => store.workload_gone(&reference(object), None),
                Err(error) => store.workload_broken(reference(object), error.to_string()),
            }
        };
        let delete = {
            let (store, reference) = (Arc::clone(&store), reference.clone());
            move |object: &Lenient<K>| {
                let version = object.resource_version();
                store.workload_gone(&reference(object), version.as_deref());
            }
        };
        let prune = move |store: &Store, list: &str, seen: &BTreeSet<WorkloadRef>| {
            let keep = |known: &WorkloadRef| {
                known.kind != kind || known.object.namespace != namespace || seen.contains(known)
            };
            store.synced(list, |facts| {
                facts.seen.workloads.retain(|known, _| keep(known));
                facts.seen.broken_workloads.retain(|known, _| keep(known));
            });
        };
        tokio::spawn(watch_list(
            api, list, store, reference, apply, delete, prune,
        ));
    }
}

/// Secrets and ConfigMaps: what is known of them is kept.
pub trait Kept:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Which of the two.
    const KIND: MaterialKind;

    /// Notes what was seen of one.
    fn see(store: &Store, target: &ObjectRef, read: Read<&Self>);
}

impl Kept for Secret {
    const KIND: MaterialKind = MaterialKind::Secret;

    fn see(store: &Store, target: &ObjectRef, read: Read<&Self>) {
        store.secret(target, read);
    }
}

impl Kept for ConfigMap {
    const KIND: MaterialKind = MaterialKind::ConfigMap;

    fn see(store: &Store, target: &ObjectRef, read: Read<&Self>) {
        store.config_map(target, read);
    }
}

/// Pages are small: one is held at once, whatever its objects weigh.
pub fn config() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

fn unreadable(what: &str, error: &watcher::Error) -> Option<String> {
    match error {
        watcher::Error::InitialListFailed(error) => {
            Some(format!("{what} cannot be read: {}", describe(error)))
        }
        _ => None,
    }
}

/// Watches a list, object by object.
pub async fn watch_list<K, R>(
    api: Api<K>,
    list: String,
    store: Arc<Store>,
    reference: impl Fn(&K) -> R + Send,
    apply: impl Fn(&K) + Send,
    delete: impl Fn(&K) + Send,
    prune: impl Fn(&Store, &str, &BTreeSet<R>) + Send,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    R: Ord + Send,
{
    let mut seen: BTreeSet<R> = BTreeSet::new();
    let mut events = watcher(api, config()).default_backoff().boxed();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => seen.clear(),
            Ok(Some(Event::InitApply(object))) => {
                apply(&object);
                seen.insert(reference(&object));
            }
            Ok(Some(Event::InitDone)) => {
                prune(&store, &list, &seen);
                seen.clear();
            }
            Ok(Some(Event::Apply(object))) => apply(&object),
            Ok(Some(Event::Delete(object))) => delete(&object),
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(error = describe_watch(&error), list, "watch");
                if let Some(why) = unreadable(&list, &error) {
                    store.unreadable(&list, why);
                }
            }
        }
    }
}

impl Watches {
    /// Watches one object by its name.
    async fn watch_named<K: Kept>(self: Arc<Self>, target: ObjectRef) {
        let key = MaterialRef {
            kind: K::KIND,
            object: target.clone(),
        };
        let api: Api<Lenient<K>> = Api::namespaced(self.client.clone(), &target.namespace);
        let config = config().fields(&format!("metadata.name={}", target.name));
        let see = |object: &Lenient<K>| {
            let read = match object.decoded() {
                Ok(found) => Read::Found(found),
                Err(error) => Read::Unknown(error.to_string()),
            };
            K::see(&self.store, &target, read);
        };
        let mut seen = false;
        let mut events = watcher(api, config).default_backoff().boxed();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => seen = false,
                Ok(Some(Event::InitApply(object) | Event::Apply(object))) => {
                    seen = true;
                    see(&object);
                }
                // The list may have been read before the object was made.
                Ok(Some(Event::InitDone)) if !seen && self.store.known(&key).is_some() => {
                    self.read(key.clone()).await;
                }
                Ok(Some(Event::InitDone)) if !seen => self.store.absent(&key, None),
                Ok(Some(Event::InitDone)) => {}
                Ok(Some(Event::Delete(object))) => {
                    self.store
                        .deleted(&key, object.resource_version().as_deref());
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(error = describe_watch(&error), %key, "watch");
                    if let Some(why) = unreadable(&key.to_string(), &error) {
                        let why = format!(
                            "{why}; let the chart's values name it (secrets, trust), so that its Role allows it"
                        );
                        K::see(&self.store, &target, Read::Unknown(why));
                    }
                }
            }
        }
    }
}
