//! What cert-manager's objects declare, and all around them. Of Secrets only public parts are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::MEMORY_ANNOTATION;
use external_ca_core::diagnosis::{Declarations, Denied, Injectable, StoredSecret};
use external_ca_core::domain::certmanager::{CONTROLLER_LEASE, INJECTOR_LEASE};
use external_ca_core::model::discovery::{Answers, cert_manager_kinds};
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{
    CERT_MANAGER_GROUP, CERT_MANAGER_VERSION, CertManagerKind, CertManagerObjects, CertManagerRef,
    InjectKind, InjectRef, MaterialRef, ObjectRef, Plane, Read, facts,
};
use external_ca_core::snapshot::{ClaimTable, Scope, Seen};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt};

use super::scope::{self, Told};
use super::{issuances, parallel, planes};
use crate::error::api_message;

/// It asks for the API server's own CA.
const INJECT_API_SERVER: &str = "cert-manager.io/inject-apiserver-ca";

/// Where the objects may not be read, nothing around them is.
const NOT_READ: &str = "it was not asked for";

/// Reads it, of a namespace or of all; nothing where cert-manager's kinds are not served, are none of the operator's, or have
/// no objects there.
pub async fn declared(client: &Client, namespace: Option<&str>) -> Option<Declarations> {
    let kinds = planes::ask(client, &mut Answers::new(), cert_manager_kinds).await;
    let kinds = match kinds {
        Ok(kinds) if kinds.is_empty() => return None,
        Ok(kinds) => kinds,
        // Then nothing of them is read, which is told below.
        Err(_) => CertManagerKind::ALL.to_vec(),
    };
    let told = scope::read(client, namespace.unwrap_or_default()).await;
    if told.as_ref().is_ok_and(|told| !told.values.enabled) {
        return None;
    }
    let mut reader = Reader::new(client, namespace, told);
    reader.objects(&kinds).await;
    if reader.found.objects.0.is_empty() {
        return (!reader.found.denied.is_empty()).then_some(reader.found);
    }
    reader.others().await;
    reader.leases().await;
    reader.injected().await;
    reader.secrets().await;
    Some(reader.found)
}

struct Reader<'a> {
    client: &'a Client,
    found: Declarations,
    scope: Scope,
}

impl<'a> Reader<'a> {
    fn new(client: &'a Client, namespace: Option<&str>, told: Result<Told, String>) -> Self {
        let mut notes = Vec::new();
        let knows_values = told.is_ok();
        let told = told.unwrap_or_else(|why| {
            notes.push(format!(
                "what the operator is told is not known ({why}), so names in the chart's values are not judged"
            ));
            let scope = Scope {
                served: Arc::new(namespace.into_iter().map(str::to_owned).collect()),
                ..Scope::default()
            };
            Told {
                values: scope::values(&[], &scope),
                scope,
            }
        });
        Self {
            client,
            scope: told.scope,
            found: Declarations {
                namespace: namespace.map(str::to_owned),
                objects: CertManagerObjects::default(),
                values: told.values,
                knows_values,
                others: Default::default(),
                secrets: BTreeMap::new(),
                injected: BTreeMap::new(),
                controller: Read::Unknown(NOT_READ.to_owned()),
                injector: Read::Unknown(NOT_READ.to_owned()),
                operator: None,
                denied: BTreeSet::new(),
                notes,
            },
        }
    }

    /// Those that have to do with the namespace: what ClusterIssuers sign with may lie in one of its own.
    async fn objects(&mut self, kinds: &[CertManagerKind]) {
        let front = &self.found.values.front;
        let namespaces: BTreeSet<Option<String>> = match &self.found.namespace {
            Some(one) => {
                let of_cluster = Some(&front.cluster_namespace);
                let of_cluster = of_cluster.filter(|other| front.served.contains(*other));
                [Some(one), of_cluster]
                    .into_iter()
                    .flatten()
                    .cloned()
                    .map(Some)
                    .collect()
            }
            None if self.found.knows_values => front.served.iter().cloned().map(Some).collect(),
            None => [None].into(),
        };
        for kind in kinds.iter().filter(|kind| kind.is_namespaced()) {
            for namespace in &namespaces {
                self.list(*kind, namespace.as_deref()).await;
            }
        }
        if self.found.objects.0.is_empty() {
            return;
        }
        if kinds.contains(&CertManagerKind::ClusterIssuer) {
            self.list(CertManagerKind::ClusterIssuer, None).await;
        }
        if !self.found.knows_values && self.found.namespace.is_none() {
            let objects = self.found.objects.0.keys();
            let there: BTreeSet<String> = objects
                .filter(|name| name.kind.is_namespaced())
                .map(|name| name.object.namespace.clone())
                .collect();
            self.found.values.front.served = there.clone();
            self.scope.served = Arc::new(there);
        }
    }

    async fn list(&mut self, kind: CertManagerKind, namespace: Option<&str>) {
        let (group, version) = (CERT_MANAGER_GROUP, CERT_MANAGER_VERSION);
        let gvk = GroupVersionKind::gvk(group, version, &format!("{kind:?}"));
        let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural());
        let api: Api<Lenient<DynamicObject>> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let Ok(found) = api.list(&ListParams::default()).await else {
            self.denied(
                "list",
                format!("{}.{group}", kind.plural()),
                namespace,
                None,
            );
            return;
        };
        for object in found {
            let object_ref =
                ObjectRef::new(object.namespace().unwrap_or_default(), object.name_any());
            let name = CertManagerRef {
                kind,
                object: object_ref,
            };
            match object.into_decoded() {
                Ok(found) => {
                    let facts = facts::cert_manager(&found.metadata, &found.data);
                    self.found.objects.0.insert(name, Arc::new(facts));
                }
                Err(error) => self.found.notes.push(format!("{name}: {error}")),
            }
        }
    }

    /// What issuances have: they win.
    async fn others(&mut self) {
        let (mut seen, notes) = (Seen::default(), &mut self.found.notes);
        planes::read(self.client, &[], &mut seen, notes).await;
        let home = self.found.namespace.as_deref().unwrap_or_default();
        let issuances = issuances::read(self.client, home, notes).await;
        notes.extend(seen.unreadable.into_values());
        let planes: Vec<Arc<Plane>> = seen.planes.into_values().collect();
        self.found.others = ClaimTable::new(&issuances, &planes, &self.scope).others();
    }

    async fn leases(&mut self) {
        self.found.controller = self.lease(CONTROLLER_LEASE).await;
        self.found.injector = self.lease(INJECTOR_LEASE).await;
    }

    async fn lease(&mut self, name: &str) -> Read<Lease> {
        let namespace = self.found.values.lease_namespace.clone();
        let api: Api<Lenient<Lease>> = Api::namespaced(self.client.clone(), &namespace);
        match api.get_opt(name).await {
            Ok(None) => Read::Absent,
            Ok(Some(found)) => match found.into_decoded() {
                Ok(lease) => Read::Found(lease),
                Err(error) => Read::Unknown(error.to_string()),
            },
            Err(error) => {
                let resource = "leases.coordination.k8s.io".to_owned();
                self.denied("get", resource, Some(&namespace), Some(name));
                Read::Unknown(api_message(&error))
            }
        }
    }

    /// What asks to be injected into: its annotations are read first, as CustomResourceDefinitions are large.
    async fn injected(&mut self) {
        for kind in InjectKind::ALL {
            let (group, version, plural) = kind.resource();
            let gvk = GroupVersionKind::gvk(group, version, &format!("{kind:?}"));
            let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
            let Ok(found) = api.list_metadata(&ListParams::default()).await else {
                self.denied("list", format!("{plural}.{group}"), None, None);
                continue;
            };
            for object in found.items.iter().filter(|found| asks(found.annotations())) {
                let name = object.name_any();
                match api.get_opt(&name).await {
                    Ok(Some(found)) => {
                        let annotations = found.annotations();
                        let value = annotations.get(INJECT_API_SERVER);
                        let injectable = Injectable {
                            facts: facts::injected(kind, &found.metadata, &found.data),
                            wants_api_server: value.is_some_and(|value| value == "true"),
                        };
                        let object = InjectRef { kind, name };
                        self.found.injected.insert(object, injectable);
                    }
                    Ok(None) => {}
                    Err(_) => self.denied("get", format!("{plural}.{group}"), None, Some(&name)),
                }
            }
        }
    }

    async fn secrets(&mut self) {
        let client = self.client;
        let reads = parallel::for_each(self.found.wanted(), |name: ObjectRef| async move {
            let api: Api<Secret> = Api::namespaced(client.clone(), &name.namespace);
            let read = match api.get_opt(&name.name).await {
                Ok(None) => Read::Absent,
                Ok(Some(secret)) => Read::Found(stored(&secret)),
                Err(error) => Read::Unknown(api_message(&error)),
            };
            (name, read)
        });
        for (name, read) in reads.await {
            if matches!(read, Read::Unknown(_)) {
                let material = MaterialRef::secret(name.clone());
                self.found.denied.insert(Denied::material(&material));
            }
            self.found.secrets.insert(name, read);
        }
    }

    fn denied(
        &mut self,
        verb: &'static str,
        resource: String,
        namespace: Option<&str>,
        name: Option<&str>,
    ) {
        self.found.denied.insert(Denied {
            verb,
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
        });
    }
}

fn asks(annotations: &BTreeMap<String, String>) -> bool {
    let names = [
        facts::INJECT_FROM_CERTIFICATE,
        facts::INJECT_FROM_SECRET,
        INJECT_API_SERVER,
    ];
    names.iter().any(|name| annotations.contains_key(*name))
}

fn stored(secret: &Secret) -> StoredSecret {
    let memory = secret.annotations().get(MEMORY_ANNOTATION);
    StoredSecret {
        material: facts::secret(secret),
        memory: memory.and_then(|text| serde_json::from_str(text).ok()),
    }
}
