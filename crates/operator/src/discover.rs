//! Plane resources: which kinds are served, and a watch for each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use external_ca_api::PlaneKind;
use external_ca_core::model::discovery::ServedKind;
use external_ca_core::model::facts;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{Plane, PlaneRef};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use tokio::task::AbortHandle;

use crate::error::{bounded, describe};
use crate::planes::{self, State};
use crate::store::Store;
use crate::watches::{Watches, watch_list};

/// How often the API server is asked which plane kinds it serves.
const DISCOVERY: Duration = Duration::from_secs(30);
/// The first pauses after a change are shorter.
const FIRST_DISCOVERY: Duration = Duration::from_millis(500);
/// What is asked, as messages name it.
const LIST: &str = "the plane kinds";

/// The kinds that are watched, and the watch of each.
type Running = BTreeMap<PlaneKind, (ServedKind, AbortHandle)>;

impl Watches {
    /// Keeps asking which plane kinds are served, and watches them: a kind that appears later needs no restart.
    pub async fn discover(self: Arc<Self>) {
        let mut running = Running::new();
        let mut known: Option<State> = None;
        let mut pause = DISCOVERY;
        loop {
            pause = (pause * 2).min(DISCOVERY);
            match planes::state(&self.client, known.as_ref()).await {
                Ok(state) if known.as_ref() == Some(&state) => self.store.synced(LIST, |_| {}),
                Ok(state) => match planes::reference_fields(&self.client, &state.kinds).await {
                    Ok(fields) => {
                        let served = &state.kinds;
                        tracing::info!(kinds = ?served.iter().map(|kind| kind.kind).collect::<Vec<_>>(), "plane kinds served");
                        self.store.spellings(fields);
                        self.follow(&state, &mut running);
                        self.kinds
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .clone_from(served);
                        known = Some(state);
                        // Schemas are published a little later than the kinds they describe.
                        pause = FIRST_DISCOVERY;
                        self.store.synced(LIST, |_| {});
                    }
                    Err(error) => self.store.unreadable(LIST, cannot_be_read(&error)),
                },
                Err(error) => self.store.unreadable(LIST, cannot_be_read(&error)),
            }
            if pause == DISCOVERY && self.store.is_unreadable(LIST) {
                // A passing fault is over soon.
                pause = FIRST_DISCOVERY;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Watches what is served. A kind that is no longer served is unknown, and what was seen of it stays, until its
    /// definition is gone.
    fn follow(self: &Arc<Self>, state: &State, running: &mut Running) {
        for (kind, why) in &state.hidden {
            self.store.unreadable(&hidden(*kind), why.clone());
        }
        for served in &state.kinds {
            let same = |(other, _): &(ServedKind, AbortHandle)| other == served;
            if running.get(&served.kind).is_some_and(same) {
                continue;
            }
            // The new list is awaited before the old one is given up: in between nothing is planned.
            let watch = self.watch_planes(served);
            if let Some((old, task)) = running.insert(served.kind, (served.clone(), watch)) {
                task.abort();
                self.store.synced(&planes_of(&old), |_| {});
            }
        }
        let is_hidden = |kind| state.hidden.iter().any(|(hidden, _)| *hidden == kind);
        let is_served = |kind| state.kinds.iter().any(|served| served.kind == kind);
        running.retain(|kind, (old, task)| {
            let keep = is_served(*kind) || is_hidden(*kind);
            if !keep {
                task.abort();
                self.store.synced(&planes_of(old), |facts| {
                    facts.seen.planes.retain(|plane, _| plane.kind != *kind);
                    facts
                        .seen
                        .broken_planes
                        .retain(|plane, _| plane.kind != *kind);
                });
            }
            keep
        });
        self.store.no_longer(|list| {
            let kind = list.strip_prefix(HIDDEN);
            kind.is_some_and(|name| {
                state
                    .hidden
                    .iter()
                    .all(|(kind, _)| format!("{kind:?}") != name)
            })
        });
    }

    /// A plane kind as it is served now.
    pub fn served(&self, kind: PlaneKind) -> Option<ServedKind> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().find(|served| served.kind == kind).cloned()
    }

    /// Reads a plane; false where that fails.
    pub async fn read_plane(&self, plane: &PlaneRef) -> bool {
        let Some(served) = self.served(plane.kind) else {
            return true;
        };
        let version = || {
            let facts = self.store.facts();
            let known = facts.seen.planes.get(plane)?;
            Some(known.resource_version.clone())
        };
        let before = version();
        let api = planes::api(&served, self.client.clone(), plane);
        match bounded(api.get_opt(&plane.name)).await {
            Ok(Some(found)) => match found.into_decoded() {
                Ok(found) => self.plane_answered(plane.kind, &found),
                Err(_) => return false,
            },
            // What was seen meanwhile may be newer.
            Ok(None) if version() == before => self.store.plane_gone(plane, None),
            Ok(None) => {}
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

    fn watch_planes(&self, served: &ServedKind) -> AbortHandle {
        let list = planes_of(served);
        self.store.facts().unsynced.insert(list.clone());
        let api: Api<Lenient<DynamicObject>> = Api::all_with(self.client.clone(), &served.resource);
        let kind = served.kind;
        let store = Arc::clone(&self.store);
        let reference = move |object: &Lenient<DynamicObject>| PlaneRef {
            kind,
            namespace: object.namespace(),
            name: object.name_any(),
        };
        let apply = {
            let store = Arc::clone(&store);
            move |object: &Lenient<DynamicObject>| {
                let found = object
                    .decoded()
                    .map(|found| plane_facts(&store, kind, found));
                match found {
                    Ok(Some(plane)) => store.plane(plane),
                    Ok(None) => store.plane_gone(&reference(object), None),
                    Err(error) => store.plane_broken(reference(object), error.to_string()),
                }
            }
        };
        let delete = {
            let store = Arc::clone(&store);
            move |object: &Lenient<DynamicObject>| {
                let version = object.resource_version();
                store.plane_gone(&reference(object), version.as_deref());
            }
        };
        let prune = move |store: &Store, list: &str, seen: &BTreeSet<PlaneRef>| {
            let keep = |known: &PlaneRef| known.kind != kind || seen.contains(known);
            store.synced(list, |facts| {
                facts.seen.planes.retain(|known, _| keep(known));
                facts.seen.broken_planes.retain(|known, _| keep(known));
            });
        };
        tokio::spawn(watch_list(
            api, list, store, reference, apply, delete, prune,
        ))
        .abort_handle()
    }
}

const HIDDEN: &str = "the kind ";

fn hidden(kind: PlaneKind) -> String {
    format!("{HIDDEN}{kind:?}")
}

fn cannot_be_read(error: &kube::Error) -> String {
    format!("{LIST} cannot be read: {}", describe(error))
}

fn planes_of(kind: &ServedKind) -> String {
    format!(
        "the {}s ({})",
        kind.resource.kind, kind.resource.api_version
    )
}

fn plane_facts(store: &Store, kind: PlaneKind, object: &DynamicObject) -> Option<Plane> {
    let field = store.facts().reference_fields.get(&kind).copied();
    facts::plane(kind, &object.metadata, &object.data, field)
}
