//! The lists of workloads, by kind and namespace.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use external_ca_core::model::facts;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{ListRef, ObjectRef, Workload, WorkloadKind, WorkloadRef};
use k8s_openapi::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::facts::Facts;
use super::store::Store;
use super::watch::{List, follow};

/// The workloads of one kind in one namespace.
struct Workloads<K> {
    kind: WorkloadKind,
    namespace: String,
    list: ListRef,
    facts: fn(&K) -> Option<Workload>,
    store: Arc<Store>,
}

/// Watches the workloads of namespaces.
pub fn watch_workloads(client: &Client, store: &Arc<Store>, namespaces: &BTreeSet<String>) {
    for namespace in namespaces {
        watch(
            client,
            store,
            namespace,
            WorkloadKind::Deployment,
            facts::deployment,
        );
        watch(
            client,
            store,
            namespace,
            WorkloadKind::StatefulSet,
            facts::stateful_set,
        );
        watch(
            client,
            store,
            namespace,
            WorkloadKind::DaemonSet,
            facts::daemon_set,
        );
    }
}

fn watch<K>(
    client: &Client,
    store: &Arc<Store>,
    namespace: &str,
    kind: WorkloadKind,
    facts: fn(&K) -> Option<Workload>,
) where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let list = ListRef::workloads(kind, namespace);
    store.facts().seen.awaited.insert(list.clone());
    let api = Api::namespaced(client.clone(), namespace);
    let workloads = Workloads {
        kind,
        namespace: namespace.to_owned(),
        list,
        facts,
        store: Arc::clone(store),
    };
    tokio::spawn(follow(api, workloads, Arc::clone(store)));
}

impl<K: Resource> List for Workloads<K> {
    type Object = K;
    type Reference = WorkloadRef;

    fn list(&self) -> &ListRef {
        &self.list
    }

    fn reference(&self, object: &Lenient<K>) -> WorkloadRef {
        WorkloadRef {
            kind: self.kind,
            object: ObjectRef::new(&self.namespace, object.name_any()),
        }
    }

    fn seen(&self, object: &Lenient<K>) {
        let reference = || self.reference(object);
        let workload = object.decoded().map(self.facts);
        self.store.update(|facts| match workload {
            Ok(Some(workload)) => facts.workload_seen(workload),
            Ok(None) => facts.workload_gone(&reference(), None),
            Err(error) => facts.workload_broken(reference(), error.to_string()),
        });
    }

    fn deleted(&self, object: &Lenient<K>) {
        let (reference, version) = (self.reference(object), object.resource_version());
        self.store
            .update(|facts| facts.workload_gone(&reference, version.as_deref()));
    }

    fn complete(&self, facts: &mut Facts, existing: &BTreeSet<WorkloadRef>) -> bool {
        let is_elsewhere = |known: &WorkloadRef| {
            known.kind != self.kind || known.object.namespace != self.namespace
        };
        facts.keep_workloads(|known| is_elsewhere(known) || existing.contains(known))
    }
}
