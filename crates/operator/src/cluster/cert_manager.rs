//! cert-manager's objects: watched where their kinds are served, and not asked for elsewhere but once in a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use external_ca_core::model::discovery::{Answers, cert_manager_kinds};
use external_ca_core::model::facts;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{
    CERT_MANAGER_GROUP, CERT_MANAGER_VERSION, CertManagerKind, CertManagerRef, InjectRef, ListRef,
    ObjectRef,
};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio::task::AbortHandle;

use super::facts::Facts;
use super::injected;
use super::plane_kinds::ask;
use super::store::Store;
use super::watch::{List, follow, smallest_pages};
use crate::error::describe;

/// How often the API server is asked whether it serves the kinds.
const INTERVAL: Duration = Duration::from_secs(30);
/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Where objects of a kind are read and written.
pub fn api(client: &Client, kind: CertManagerKind, namespace: &str) -> Api<Lenient<DynamicObject>> {
    let gvk = GroupVersionKind::gvk(
        CERT_MANAGER_GROUP,
        CERT_MANAGER_VERSION,
        &format!("{kind:?}"),
    );
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural());
    match kind.is_namespaced() {
        true => Api::namespaced_with(client.clone(), namespace, &resource),
        false => Api::all_with(client.clone(), &resource),
    }
}

/// What is watched where the kinds are served.
pub struct CertManager {
    client: Client,
    store: Arc<Store>,
    namespaces: BTreeSet<String>,
    injected: BTreeSet<InjectRef>,
    running: BTreeMap<ListRef, AbortHandle>,
    /// The watches of what is injected into.
    injections: Vec<AbortHandle>,
}

impl CertManager {
    /// Nothing was asked yet.
    pub fn new(
        client: Client,
        store: Arc<Store>,
        namespaces: BTreeSet<String>,
        injected: BTreeSet<InjectRef>,
    ) -> Self {
        Self {
            client,
            store,
            namespaces,
            injected,
            running: BTreeMap::new(),
            injections: Vec::new(),
        }
    }

    /// Keeps asking which kinds are served.
    pub async fn run(mut self) {
        loop {
            let kinds = ask(&self.client, &mut Answers::new(), cert_manager_kinds).await;
            let pause = match kinds {
                Ok(kinds) => {
                    self.follow(&kinds);
                    INTERVAL
                }
                Err(error) => {
                    tracing::debug!(error = describe(&error), "cert-manager's kinds");
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    fn follow(&mut self, kinds: &[CertManagerKind]) {
        let lists = kinds.iter().flat_map(|kind| match kind.is_namespaced() {
            true => self
                .namespaces
                .iter()
                .cloned()
                .map(|namespace| (*kind, namespace))
                .collect(),
            false => vec![(*kind, String::new())],
        });
        let wanted: BTreeSet<(CertManagerKind, String)> = lists.collect();
        if !wanted.is_empty() && self.running.is_empty() {
            tracing::info!(?kinds, "cert-manager's kinds are served");
        }
        let store = Arc::clone(&self.store);
        self.running.retain(|list, task| {
            let keep = matches!(list, ListRef::CertManager(kind, namespace) if wanted.contains(&(*kind, namespace.clone())));
            if !keep {
                task.abort();
                store.update(|facts| facts.keep_cert_manager(|name| !is_on(list, name)) | facts.list_read(list));
            }
            keep
        });
        for (kind, namespace) in &wanted {
            let list = ListRef::CertManager(*kind, namespace.clone());
            if self.running.contains_key(&list) {
                continue;
            }
            store.facts().seen.awaited.insert(list.clone());
            let objects = Objects {
                kind: *kind,
                namespace: namespace.clone(),
                list: list.clone(),
                store: Arc::clone(&store),
            };
            let api = api(&self.client, *kind, namespace);
            let task = tokio::spawn(follow(api, objects, Arc::clone(&store)));
            self.running.insert(list, task.abort_handle());
        }
        self.follow_injected(!wanted.is_empty());
        store.update(|facts| {
            facts.serves_cert_manager = !wanted.is_empty();
            !std::mem::replace(&mut facts.knows_cert_manager, true)
        });
        if !wanted.is_empty() {
            store.cert_manager_served.notify_one();
        }
    }

    fn follow_injected(&mut self, is_served: bool) {
        if !is_served {
            self.injections.drain(..).for_each(|task| task.abort());
        } else if self.injections.is_empty() {
            let injected = self.injected.iter();
            let watches = injected.map(|object| injected::watch(&self.client, &self.store, object));
            self.injections = watches.collect();
        }
    }
}

fn is_on(list: &ListRef, name: &CertManagerRef) -> bool {
    matches!(list, ListRef::CertManager(kind, namespace)
        if *kind == name.kind && *namespace == name.object.namespace)
}

/// The objects of a kind in a namespace.
struct Objects {
    kind: CertManagerKind,
    namespace: String,
    list: ListRef,
    store: Arc<Store>,
}

impl List for Objects {
    type Object = DynamicObject;
    type Reference = CertManagerRef;

    fn config(&self) -> watcher::Config {
        smallest_pages()
    }

    fn list(&self) -> &ListRef {
        &self.list
    }

    fn reference(&self, object: &Lenient<DynamicObject>) -> CertManagerRef {
        CertManagerRef {
            kind: self.kind,
            object: ObjectRef::new(&self.namespace, object.name_any()),
        }
    }

    fn seen(&self, object: &Lenient<DynamicObject>) {
        let reference = self.reference(object);
        match object.decoded() {
            Ok(found) => {
                let read = facts::cert_manager(&found.metadata, &found.data);
                self.store
                    .update(|facts| facts.cert_manager_seen(reference, read));
            }
            Err(error) => tracing::warn!(%error, object = %reference.object, "it does not parse"),
        }
    }

    fn deleted(&self, object: &Lenient<DynamicObject>) {
        let reference = self.reference(object);
        self.store
            .update(|facts| facts.keep_cert_manager(|name| *name != reference));
    }

    fn complete(&self, facts: &mut Facts, existing: &BTreeSet<CertManagerRef>) -> bool {
        facts.keep_cert_manager(|name| !is_on(&self.list, name) || existing.contains(name))
    }
}
