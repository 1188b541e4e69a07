//! What is watched: objects by name, workloads by namespace, planes by kind. Nothing is listed that is not ours.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use external_ca_api::PlaneKind;
use external_ca_core::discovery::ServedKind;
use external_ca_core::facts;
use external_ca_core::observed::{
    MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef, Read, WorkloadKind, WorkloadRef,
};
use external_ca_core::snapshot::workloads_of;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use crate::error::{Error, bounded};
use crate::pace::backoff;
use crate::planes;
use crate::store::Store;

/// A watch is a connection. Past so many, objects are read again one by one instead.
const MAX_NAMED_WATCHES: usize = 64;
/// In how long each unwatched object is read again.
const REREAD: Duration = Duration::from_secs(30 * 60);
/// In how long at the latest an object that could not be read is read again.
const LONGEST_DOUBT: Duration = Duration::from_secs(30);
/// How many first reads are under way at once.
const READERS: usize = 16;
/// How often the API server is asked which plane kinds it serves.
const DISCOVERY: Duration = Duration::from_secs(30);
/// The first pauses after a change are shorter.
const FIRST_DISCOVERY: Duration = Duration::from_millis(500);

/// Everything that is watched or read again.
pub struct Watches {
    client: Client,
    store: Arc<Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What each issuance needs, most important first.
    needs: HashMap<String, Vec<MaterialRef>>,
    watched: HashMap<MaterialRef, AbortHandle>,
    kinds: Vec<ServedKind>,
    reread: BTreeSet<MaterialRef>,
}

impl Watches {
    /// Nothing is watched yet.
    pub fn new(client: Client, store: Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            client,
            store,
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
                    let (client, store) = (self.client.clone(), Arc::clone(&self.store));
                    tokio::spawn(watch_named(client, store, material.clone())).abort_handle()
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
            MaterialKind::Secret => {
                let api: Api<Secret> = Api::namespaced(self.client.clone(), &target.namespace);
                let found = bounded(api.get_opt(&target.name)).await?;
                let read = found.as_ref().map_or(Read::Absent, Read::Found);
                self.store.secret(target, read);
            }
            MaterialKind::ConfigMap => {
                let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &target.namespace);
                let found = bounded(api.get_opt(&target.name)).await?;
                let read = found.as_ref().map_or(Read::Absent, Read::Found);
                self.store.config_map(target, read);
            }
        }
        Ok(())
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
        facts: fn(&K) -> Option<external_ca_core::observed::Workload>,
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
        let api: Api<K> = Api::namespaced(self.client.clone(), &namespace);
        let reference = {
            let namespace = namespace.clone();
            move |object: &K| WorkloadRef {
                kind,
                object: ObjectRef::new(&namespace, object.name_any()),
            }
        };
        let store = Arc::clone(&self.store);
        let apply = {
            let (store, reference) = (Arc::clone(&store), reference.clone());
            move |object: &K| store.workload(facts(object).ok_or_else(|| reference(object)))
        };
        let delete = {
            let (store, reference) = (Arc::clone(&store), reference.clone());
            move |object: &K| store.workload(Err(reference(object)))
        };
        let prune = move |store: &Store, list: &str, seen: &BTreeSet<WorkloadRef>| {
            store.synced(list, |facts| {
                facts.seen.workloads.retain(|known, _| {
                    known.kind != kind
                        || known.object.namespace != namespace
                        || seen.contains(known)
                });
            });
        };
        tokio::spawn(watch_list(
            api, list, store, reference, apply, delete, prune,
        ));
    }

    /// Keeps asking which plane kinds are served, and watches them: a kind that appears later needs no restart.
    pub async fn discover(self: Arc<Self>) {
        const LIST: &str = "the plane kinds";
        let mut running: BTreeMap<String, (ServedKind, AbortHandle)> = BTreeMap::new();
        let mut known = None;
        let mut pause = DISCOVERY;
        loop {
            pause = (pause * 2).min(DISCOVERY);
            match planes::state(&self.client).await {
                Ok(state) if known.as_ref() == Some(&state) => {}
                Ok(state) => match planes::reference_fields(&self.client, &state.kinds).await {
                    Ok(fields) => {
                        let served = &state.kinds;
                        tracing::info!(kinds = ?served.iter().map(|kind| kind.kind).collect::<Vec<_>>(), "plane kinds served");
                        self.store.spellings(fields);
                        running.retain(|_, (kind, task)| {
                            let keep = served.contains(kind);
                            if !keep {
                                task.abort();
                                let gone = kind.kind;
                                self.store.synced(&planes_of(kind), |facts| {
                                    facts.seen.planes.retain(|plane, _| plane.kind != gone)
                                });
                            }
                            keep
                        });
                        for kind in served {
                            running
                                .entry(planes_of(kind))
                                .or_insert_with(|| (kind.clone(), self.planes(kind)));
                        }
                        self.state
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .kinds = served.clone();
                        known = Some(state);
                        // Schemas are published a little later than the kinds they describe.
                        pause = FIRST_DISCOVERY;
                        self.store.synced(LIST, |_| {});
                    }
                    Err(error) => self.store.unreadable(LIST, error.to_string()),
                },
                Err(error) => self.store.unreadable(LIST, error.to_string()),
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// A plane kind as it is served now.
    pub fn served(&self, kind: PlaneKind) -> Option<ServedKind> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .kinds
            .iter()
            .find(|served| served.kind == kind)
            .cloned()
    }

    /// Reads a plane; false where that fails.
    pub async fn read_plane(&self, plane: &PlaneRef) -> bool {
        let Some(served) = self.served(plane.kind) else {
            return true;
        };
        let api = planes::api(&served, self.client.clone(), plane);
        match bounded(api.get_opt(&plane.name)).await {
            Ok(Some(found)) => self.plane_answered(plane.kind, &found),
            Ok(None) => self.store.plane(Err(plane.clone())),
            Err(_) => return false,
        }
        true
    }

    /// A plane as the API server returned it.
    pub fn plane_answered(&self, kind: PlaneKind, object: &DynamicObject) {
        if let Some(plane) = plane_facts(&self.store, kind, object) {
            self.store.plane_answered(plane);
        }
    }

    fn planes(&self, served: &ServedKind) -> AbortHandle {
        let list = planes_of(served);
        self.store.facts().unsynced.insert(list.clone());
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &served.resource);
        let kind = served.kind;
        let store = Arc::clone(&self.store);
        let apply = {
            let store = Arc::clone(&store);
            move |object: &DynamicObject| {
                let plane = plane_facts(&store, kind, object);
                store.plane(plane.ok_or_else(|| plane_reference(kind, object)));
            }
        };
        let reference = move |object: &DynamicObject| plane_reference(kind, object);
        let delete = {
            let store = Arc::clone(&store);
            move |object: &DynamicObject| store.plane(Err(reference(object)))
        };
        let prune = move |store: &Store, list: &str, seen: &BTreeSet<PlaneRef>| {
            store.synced(list, |facts| {
                facts
                    .seen
                    .planes
                    .retain(|known, _| known.kind != kind || seen.contains(known))
            });
        };
        tokio::spawn(watch_list(
            api, list, store, reference, apply, delete, prune,
        ))
        .abort_handle()
    }
}

fn planes_of(kind: &ServedKind) -> String {
    format!(
        "the {}s ({})",
        kind.resource.kind, kind.resource.api_version
    )
}

fn plane_reference(kind: PlaneKind, object: &DynamicObject) -> PlaneRef {
    PlaneRef {
        kind,
        namespace: object.namespace(),
        name: object.name_any(),
    }
}

fn plane_facts(store: &Store, kind: PlaneKind, object: &DynamicObject) -> Option<Plane> {
    let field = store.facts().reference_fields.get(&kind).copied();
    facts::plane(kind, &object.metadata, &object.data, field)
}

fn unreadable(what: &str, error: &watcher::Error) -> Option<String> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status)) => {
            Some(format!("{what} cannot be read: {}", status.message))
        }
        watcher::Error::InitialListFailed(error) => Some(format!("{what} cannot be read: {error}")),
        _ => None,
    }
}

async fn watch_list<K, R>(
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
    let mut events = watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed();
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
                tracing::debug!(%error, list, "watch");
                if let Some(why) = unreadable(&list, &error) {
                    store.unreadable(&list, why);
                }
            }
        }
    }
}

async fn watch_named(client: Client, store: Arc<Store>, material: MaterialRef) {
    let target = &material.object;
    match material.kind {
        MaterialKind::Secret => {
            named(
                Api::<Secret>::namespaced(client, &target.namespace),
                &material,
                |read| store.secret(target, read),
            )
            .await;
        }
        MaterialKind::ConfigMap => {
            named(
                Api::<ConfigMap>::namespaced(client, &target.namespace),
                &material,
                |read| store.config_map(target, read),
            )
            .await;
        }
    }
}

fn named<K>(
    api: Api<K>,
    material: &MaterialRef,
    see: impl Fn(Read<&K>) + Send,
) -> impl Future<Output = ()> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let config =
        watcher::Config::default().fields(&format!("metadata.name={}", material.object.name));
    let what = material.to_string();
    async move {
        let mut seen = false;
        let mut events = watcher(api, config).default_backoff().boxed();
        loop {
            match events.try_next().await {
                Ok(Some(Event::Init)) => seen = false,
                Ok(Some(Event::InitApply(object) | Event::Apply(object))) => {
                    seen = true;
                    see(Read::Found(&object));
                }
                Ok(Some(Event::InitDone)) if !seen => see(Read::Absent),
                Ok(Some(Event::InitDone)) => {}
                Ok(Some(Event::Delete(_))) => see(Read::Absent),
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(%error, what, "watch");
                    if let Some(why) = unreadable(&what, &error) {
                        see(Read::Unknown(format!(
                            "{why}; let the chart's values name it (secrets, trust), so that its Role allows it"
                        )));
                    }
                }
            }
        }
    }
}
