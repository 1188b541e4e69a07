//! Plane resources of the kinds that are served: where they are read and written, and a watch for each kind.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use external_ca_api::PlaneKind;
use external_ca_core::model::discovery::ServedKind;
use external_ca_core::model::facts::{self, ClientCaTooLarge};
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{ListRef, Plane, PlaneRef};
use kube::core::DynamicObject;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio::task::AbortHandle;

use super::facts::Facts;
use super::store::Store;
use super::watch::{List, follow, smallest_pages};
use crate::error::bounded;

/// Plane resources.
pub struct Planes {
    client: Client,
    store: Arc<Store>,
    kinds: Mutex<Vec<ServedKind>>,
}

/// The planes of one kind.
struct PlaneList {
    kind: PlaneKind,
    list: ListRef,
    store: Arc<Store>,
}

/// The list of a kind, as it is served.
pub fn list_of(served: &ServedKind) -> ListRef {
    ListRef::Planes(served.kind, served.resource.api_version.clone())
}

impl Planes {
    /// No kind is known yet.
    pub fn new(client: Client, store: Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            client,
            store,
            kinds: Mutex::default(),
        })
    }

    /// These kinds are served now.
    pub fn set_kinds(&self, served: &[ServedKind]) {
        *self.kinds() = served.to_vec();
    }

    /// Where a plane is read and written, where its kind is served.
    pub fn api(&self, plane: &PlaneRef) -> Option<Api<Lenient<DynamicObject>>> {
        let kinds = self.kinds();
        let served = kinds.iter().find(|served| served.kind == plane.kind)?;
        let client = self.client.clone();
        Some(match &plane.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &served.resource),
            None => Api::all_with(client, &served.resource),
        })
    }

    /// Reads a plane; false where that fails. One of a kind that is not served has nothing to be read.
    pub async fn read(&self, plane: &PlaneRef) -> bool {
        let Some(api) = self.api(plane) else {
            return true;
        };
        let version = || {
            let facts = self.store.facts();
            let known = facts.seen.planes.get(plane)?;
            Some(known.resource_version.clone())
        };
        let before = version();
        match bounded(api.get_opt(&plane.name)).await {
            Ok(Some(found)) => match found.into_decoded() {
                Ok(found) => self.was_read(plane.kind, &found, before.as_deref()),
                Err(_) => return false,
            },
            // What was seen meanwhile may be newer.
            Ok(None) if version() == before => {
                self.store
                    .update_plane(plane, |facts| facts.plane_gone(plane, None));
            }
            Ok(None) => {}
            Err(_) => return false,
        }
        true
    }

    /// Notes a plane as the API server returned it.
    pub fn answered(&self, kind: PlaneKind, object: &DynamicObject) {
        if let Ok(Some(plane)) = plane_facts(&self.store, kind, object) {
            let reference = plane.plane.clone();
            self.store
                .update_plane(&reference, |facts| facts.plane_answered(plane));
        }
    }

    fn was_read(&self, kind: PlaneKind, object: &DynamicObject, before: Option<&str>) {
        if let Ok(Some(plane)) = plane_facts(&self.store, kind, object) {
            let reference = plane.plane.clone();
            self.store
                .update_plane(&reference, |facts| facts.plane_read(plane, before));
        }
    }

    /// Watches the planes of a kind.
    pub fn watch(&self, served: &ServedKind) -> AbortHandle {
        let list = list_of(served);
        self.store.facts().seen.awaited.insert(list.clone());
        let api = Api::all_with(self.client.clone(), &served.resource);
        let planes = PlaneList {
            kind: served.kind,
            list,
            store: Arc::clone(&self.store),
        };
        tokio::spawn(follow(api, planes, Arc::clone(&self.store))).abort_handle()
    }

    fn kinds(&self) -> MutexGuard<'_, Vec<ServedKind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl List for PlaneList {
    type Object = DynamicObject;
    type Reference = PlaneRef;

    fn config(&self) -> watcher::Config {
        smallest_pages()
    }

    fn list(&self) -> &ListRef {
        &self.list
    }

    fn reference(&self, object: &Lenient<DynamicObject>) -> PlaneRef {
        PlaneRef {
            kind: self.kind,
            namespace: object.namespace(),
            name: object.name_any(),
        }
    }

    fn seen(&self, object: &Lenient<DynamicObject>) {
        let reference = self.reference(object);
        let found = object.decoded().map_err(ToString::to_string);
        let found = found.and_then(|found| {
            let facts = plane_facts(&self.store, self.kind, found);
            facts.map_err(|error| error.to_string())
        });
        self.store.update_plane(&reference, |facts| match found {
            Ok(Some(plane)) => facts.plane_seen(plane),
            Ok(None) => facts.plane_gone(&reference, None),
            Err(why) => facts.plane_broken(reference.clone(), why),
        });
    }

    fn deleted(&self, object: &Lenient<DynamicObject>) {
        let (reference, version) = (self.reference(object), object.resource_version());
        self.store.update_plane(&reference, |facts| {
            facts.plane_gone(&reference, version.as_deref())
        });
    }

    fn complete(&self, facts: &mut Facts, existing: &BTreeSet<PlaneRef>) -> bool {
        facts.keep_planes(|known| known.kind != self.kind || existing.contains(known))
    }
}

/// Of the text of a clientCA a hash is kept: nothing but whether it has changed is asked of it.
fn plane_facts(
    store: &Store,
    kind: PlaneKind,
    object: &DynamicObject,
) -> Result<Option<Plane>, ClientCaTooLarge> {
    let field = store.facts().reference_fields.get(&kind).copied();
    let plane = facts::plane(kind, &object.metadata, &object.data, field)?;
    Ok(plane.map(|plane| Plane {
        value: plane.value.map(|text| facts::hash(&[text.as_bytes()])),
        ..plane
    }))
}
