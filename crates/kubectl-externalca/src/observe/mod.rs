//! One-shot reads that make the snapshot which the operator makes from its watches. What may not be read is noted, and
//! decisions leave it open.

mod declared;
mod extra;
mod issuances;
mod parallel;
mod planes;
mod pods;
mod scope;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::domain::{ca_secret, desired, namespace};
use external_ca_core::model::facts;
use external_ca_core::model::lenient::{Lenient, Undecodable};
use external_ca_core::model::{
    ListRef, Material, MaterialKind, MaterialRef, ObjectRef, Observed, Plane, Read, Workload,
    WorkloadKind, WorkloadRef,
};
use external_ca_core::snapshot::{ClaimTable, Needs, Scope, Seen, authority_of_secret};
use external_ca_core::x509::{CaChain, CaError, CaPem};
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::error::api_message;

pub use declared::declared;
pub use extra::{extra, operator};

/// What was read for one issuance.
pub struct Gathered {
    /// By object.
    pub seen: Seen,
    /// Where the operator works.
    pub scope: Scope,
    /// Every issuance that may be read.
    pub issuances: Vec<Arc<ExternalCAIssuance>>,
    /// What could not be read, and what was assumed instead.
    pub notes: Vec<String>,
    needs: Needs,
    /// The CA Secret.
    authority: Read<CaPem>,
}

impl Gathered {
    /// Reads all that has to do with an issuance, whether it exists or not, as if these planes existed too.
    pub async fn read(
        client: &Client,
        issuance: &ExternalCAIssuance,
        more_planes: &[DynamicObject],
    ) -> Self {
        let mut notes = Vec::new();
        let mut seen = Seen::default();
        planes::read(client, more_planes, &mut seen, &mut notes).await;
        let planes: Vec<Arc<Plane>> = seen.planes.values().cloned().collect();
        let scope = match scope::read(client, namespace(issuance)).await {
            Ok(told) => told.scope,
            Err(why) => {
                notes.push(format!(
                    "which namespaces the operator serves is not known ({why}); it is taken to serve all that the issuance has to do with"
                ));
                touched(issuance, &planes)
            }
        };
        let namespaces = scope.served.iter();
        let lists: BTreeSet<ListRef> = namespaces
            .flat_map(|namespace| ListRef::of_consumers(namespace))
            .collect();
        pods::read(client, &lists, &mut seen).await;
        workloads(client, lists, &mut seen).await;
        let needs = Needs::of(issuance, planes, &seen.mounted(issuance, &scope), &scope);
        let authority = material(client, &needs, &mut seen, &mut notes).await;
        let issuances = issuances::read(client, namespace(issuance), &mut notes).await;
        notes.extend(seen.unreadable.values().cloned());
        Self {
            seen,
            scope,
            issuances,
            notes,
            needs,
            authority,
        }
    }

    /// Everything that was read, and these objects too.
    pub async fn with_material(
        &self,
        client: &Client,
        more: Vec<MaterialRef>,
    ) -> BTreeMap<MaterialRef, Arc<Read<Material>>> {
        let mut found: BTreeMap<_, _> = self.seen.material.clone().into_iter().collect();
        for material in more {
            if found.contains_key(&material) {
                continue;
            }
            let read = match read_material(client, &material).await {
                Ok(object) => object
                    .as_ref()
                    .map_or(Read::Absent, |object| Read::Found(facts_of(object))),
                Err(why) => Read::Unknown(why),
            };
            found.insert(material, Arc::new(read));
        }
        found
    }

    /// The snapshot that the operator would plan from.
    pub fn observed(&self, issuance: &Arc<ExternalCAIssuance>, now: Timestamp) -> Observed {
        let chain = |pem: &CaPem| Some(public_side(pem, now));
        let authority = authority_of_secret(&ca_secret(issuance), map(&self.authority, chain));
        let planes: Vec<Arc<Plane>> = self.seen.planes.values().cloned().collect();
        let claims = ClaimTable::new(&self.issuances, &planes, &self.scope);
        self.seen.observed(
            issuance,
            claims.of(issuance, &self.needs),
            &self.needs,
            &self.scope,
            authority,
        )
    }
}

/// The public side of the CA in a Secret, where its key is there too.
pub fn ca_of(secret: &Secret, now: Timestamp) -> Result<Arc<CaChain>, CaError> {
    public_side(&CaPem::from(secret), now)
}

fn public_side(pem: &CaPem, now: Timestamp) -> Result<Arc<CaChain>, CaError> {
    let authority = pem.authority(now)?;
    Ok(Arc::clone(authority.public_side()))
}

/// Every namespace that an issuance has to do with.
fn touched(issuance: &ExternalCAIssuance, planes: &[Arc<Plane>]) -> Scope {
    let wanted = desired(issuance, planes);
    let places = wanted
        .trust_places
        .iter()
        .map(|place| &place.object.namespace);
    let leaves = wanted.leaves.keys().map(|target| &target.namespace);
    let of_planes = wanted
        .planes
        .iter()
        .filter_map(|plane| plane.plane.namespace.clone());
    Scope {
        served: Arc::new(places.chain(leaves).cloned().collect()),
        plane_namespaces: Arc::new(of_planes.collect()),
        ..Scope::default()
    }
}

/// Reads Secrets and ConfigMaps, and returns the CA Secret.
async fn material(
    client: &Client,
    needs: &Needs,
    seen: &mut Seen,
    notes: &mut Vec<String>,
) -> Read<CaPem> {
    let mut authority = Read::Absent;
    let objects: BTreeSet<MaterialRef> = needs.objects().collect();
    let read = parallel::for_each(objects, |material: MaterialRef| async move {
        let read = read_material(client, &material).await;
        (material, read)
    });
    let mut results = read.await;
    results.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (material, result) in results {
        let object = match result {
            Ok(Some(object)) => Read::Found(object),
            Ok(None) => Read::Absent,
            Err(why) => {
                notes.push(format!("{material} cannot be read: {why}"));
                Read::Unknown(why)
            }
        };
        if material.kind == MaterialKind::Secret
            && needs.authority.as_ref() == Some(&material.object)
        {
            authority = map(&object, |object| match object {
                Object::Secret(secret) => Some(CaPem::from(secret.as_ref())),
                Object::ConfigMap(_) => None,
            });
        }
        put(needs, seen, material, &object);
    }
    authority
}

enum Object {
    Secret(Box<Secret>),
    ConfigMap(Box<ConfigMap>),
}

async fn read_material(client: &Client, material: &MaterialRef) -> Result<Option<Object>, String> {
    let (namespace, name) = (&material.object.namespace, &material.object.name);
    let read = match material.kind {
        MaterialKind::Secret => {
            let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
            let secret = api.get_opt(name).await;
            secret.map(|found| found.map(Box::new).map(Object::Secret))
        }
        MaterialKind::ConfigMap => {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            let config_map = api.get_opt(name).await;
            config_map.map(|found| found.map(Box::new).map(Object::ConfigMap))
        }
    };
    read.map_err(|error| api_message(&error))
}

fn put(needs: &Needs, seen: &mut Seen, material: MaterialRef, object: &Read<Object>) {
    for (target, key) in &needs.anchors {
        if material.kind == MaterialKind::ConfigMap && *target == material.object {
            let anchors = map(object, |object| match object {
                Object::ConfigMap(found) => Some(facts::config_map_certificates(found, key)),
                Object::Secret(_) => None,
            });
            seen.anchors.insert((target.clone(), key.clone()), anchors);
        }
    }
    let facts = map(object, |object| Some(facts_of(object)));
    seen.material.insert(material, Arc::new(facts));
}

fn facts_of(object: &Object) -> Material {
    match object {
        Object::Secret(secret) => facts::secret(secret),
        Object::ConfigMap(found) => facts::config_map(found),
    }
}

fn map<T, U>(read: &Read<T>, facts: impl FnOnce(&T) -> Option<U>) -> Read<U> {
    match read {
        Read::Absent => Read::Absent,
        Read::Found(object) => facts(object).map_or(Read::Absent, Read::Found),
        Read::Unknown(why) => Read::Unknown(why.clone()),
    }
}

async fn workloads(client: &Client, lists: BTreeSet<ListRef>, seen: &mut Seen) {
    let lists = lists.into_iter().filter_map(|list| match list {
        ListRef::Workloads(_, kind, namespace) => Some((kind, namespace)),
        _ => None,
    });
    let results = parallel::for_each(
        lists,
        |(kind, namespace): (WorkloadKind, String)| async move {
            let found = match kind {
                WorkloadKind::Deployment => {
                    list::<Deployment>(client, kind, &namespace, facts::deployment).await
                }
                WorkloadKind::StatefulSet => {
                    list::<StatefulSet>(client, kind, &namespace, facts::stateful_set).await
                }
                WorkloadKind::DaemonSet => {
                    list::<DaemonSet>(client, kind, &namespace, facts::daemon_set).await
                }
            };
            (ListRef::workloads(kind, namespace), found)
        },
    );
    for (list, found) in results.await {
        match found {
            Ok(found) => {
                for (workload, found) in found {
                    match found {
                        Ok(found) if found.mounts.is_empty() => {}
                        Ok(found) => drop(seen.workloads.insert(workload, Arc::new(found))),
                        Err(error) => {
                            let why = error.to_string();
                            seen.broken_workloads.insert(workload, why);
                        }
                    }
                }
            }
            Err(why) => {
                let why = format!("{list} cannot be read: {why}");
                seen.unreadable.insert(list, why);
            }
        }
    }
}

type Listed = Vec<(WorkloadRef, Result<Workload, Undecodable>)>;

async fn list<K>(
    client: &Client,
    kind: WorkloadKind,
    namespace: &str,
    facts: fn(&K) -> Option<Workload>,
) -> Result<Listed, String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug,
    K: DeserializeOwned,
{
    let api: Api<Lenient<K>> = Api::namespaced(client.clone(), namespace);
    let answer = api.list(&ListParams::default()).await;
    let list = answer.map_err(|error| api_message(&error))?;
    let facts_of_each = list.items.iter().filter_map(|object| {
        let object_ref = ObjectRef::new(namespace, object.name_any());
        let workload = WorkloadRef {
            kind,
            object: object_ref,
        };
        let facts = object.decoded().map(facts).map_err(Clone::clone);
        Some((workload, facts.transpose()?))
    });
    Ok(facts_of_each.collect())
}
