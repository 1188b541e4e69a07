//! The pods of a namespace: the list that is watched, and the same list read once more.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_core::model::facts::{self, SlimPod};
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{Cluster, ListRef, ObjectRef};
use external_ca_core::snapshot::ListedPods;
use kube::api::ListParams;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};

use super::facts::Facts;
use super::store::Store;
use super::watch::{List, follow};
use crate::error::{Error, bounded};

/// So many pods a page has: most are others', as large as they like, and the room that a page took stays in pieces between what
/// is kept of it.
const PAGE: u32 = 10;

/// The pods of one namespace.
struct Pods {
    namespace: String,
    list: ListRef,
    store: Arc<Store>,
}

/// Watches the pods of namespaces.
pub fn watch_pods(client: &Client, store: &Arc<Store>, namespaces: &BTreeSet<String>) {
    for namespace in namespaces {
        let list = ListRef::pods(namespace);
        store.facts().seen.awaited.insert(list.clone());
        let api = Api::namespaced(client.clone(), namespace);
        let pods = Pods {
            namespace: namespace.clone(),
            list,
            store: Arc::clone(store),
        };
        tokio::spawn(follow(api, pods, Arc::clone(store)));
    }
}

/// The pods of a namespace as they are now: without a resourceVersion, the API server's answer is never an old one.
pub async fn list_pods(client: &Client, namespace: &str) -> Result<ListedPods, Error> {
    let api: Api<Lenient<SlimPod>> = Api::namespaced(client.clone(), namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut listed = ListedPods {
        namespace: (Cluster::Local, namespace.to_owned()),
        ..ListedPods::default()
    };
    loop {
        let page = bounded(api.list(&params)).await?;
        listed.version = page.metadata.resource_version.unwrap_or_default();
        for object in page.items {
            match object.decoded().map(facts::pod) {
                Ok(Some(pod)) => listed.add(pod),
                Ok(None) => {}
                Err(error) => {
                    let pod = ObjectRef::new(namespace, object.name_any());
                    listed.broken.insert(pod, error.to_string());
                }
            }
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(listed);
        }
    }
}

impl List for Pods {
    type Object = SlimPod;
    type Reference = ObjectRef;

    fn config(&self) -> watcher::Config {
        watcher::Config::default().page_size(PAGE)
    }

    fn list(&self) -> &ListRef {
        &self.list
    }

    fn reference(&self, object: &Lenient<SlimPod>) -> ObjectRef {
        ObjectRef::new(&self.namespace, object.name_any())
    }

    fn seen(&self, object: &Lenient<SlimPod>) {
        let reference = || self.reference(object);
        let pod = object.decoded().map(facts::pod);
        let version = object.resource_version();
        self.store.update(|facts| match pod {
            Ok(Some(pod)) => facts.pod_seen(pod),
            Ok(None) => facts.pod_gone(&reference(), None, None),
            Err(error) => facts.pod_broken(reference(), version.as_deref(), error.to_string()),
        });
    }

    fn deleted(&self, object: &Lenient<SlimPod>) {
        let reference = self.reference(object);
        let (uid, version) = (object.uid(), object.resource_version());
        self.store
            .update(|facts| facts.pod_gone(&reference, uid.as_deref(), version.as_deref()));
    }

    fn complete(&self, facts: &mut Facts, existing: &BTreeSet<ObjectRef>) -> bool {
        let is_elsewhere = |known: &ObjectRef| known.namespace != self.namespace;
        facts.keep_pods(|known| is_elsewhere(known) || existing.contains(known))
    }
}
