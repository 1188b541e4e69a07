//! Which plane kinds are served: asked again and again, so that a kind that appears later needs no restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use external_ca_api::PlaneKind;
use external_ca_core::model::ListRef;
use external_ca_core::model::discovery::ServedKind;
use kube::Client;
use tokio::task::AbortHandle;

use super::plane_kinds::{self, State};
use super::planes::{Planes, list_of};
use super::store::Store;
use crate::error::describe;

/// How often the API server is asked which plane kinds it serves.
const INTERVAL: Duration = Duration::from_secs(30);
/// The first pauses after a change are shorter.
const FIRST: Duration = Duration::from_millis(500);

/// Asks which plane kinds are served, and has them watched.
pub struct Discovery {
    client: Client,
    store: Arc<Store>,
    planes: Arc<Planes>,
    /// What the last answer was.
    known: Option<State>,
    /// The kinds that are watched, and the watch of each.
    running: BTreeMap<PlaneKind, (ServedKind, AbortHandle)>,
}

impl Discovery {
    /// Nothing was asked yet: until it is, nothing can be planned.
    pub fn new(client: Client, store: Arc<Store>, planes: Arc<Planes>) -> Self {
        store.facts().seen.awaited.insert(ListRef::PlaneKinds);
        Self {
            client,
            store,
            planes,
            known: None,
            running: BTreeMap::new(),
        }
    }

    /// Keeps asking.
    pub async fn run(mut self) {
        let mut pause = INTERVAL;
        loop {
            pause = (pause * 2).min(INTERVAL);
            match self.ask().await {
                Ok(changed) => {
                    if changed {
                        // Schemas are published a little later than the kinds they describe.
                        pause = FIRST;
                    }
                    self.store
                        .update(|facts| facts.list_read(&ListRef::PlaneKinds));
                }
                Err(error) => {
                    let list = ListRef::PlaneKinds;
                    let why = format!("{list} cannot be read: {}", describe(&error));
                    self.store.update(|facts| facts.list_unreadable(&list, why));
                    if pause == INTERVAL {
                        // A passing fault is over soon.
                        pause = FIRST;
                    }
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks once, and returns whether the answer is a new one.
    async fn ask(&mut self) -> Result<bool, kube::Error> {
        let state = plane_kinds::state(&self.client, self.known.as_ref()).await?;
        if self.known.as_ref() == Some(&state) {
            return Ok(false);
        }
        let fields = plane_kinds::reference_fields(&self.client, &state.kinds).await?;
        let kinds: Vec<PlaneKind> = state.kinds.iter().map(|served| served.kind).collect();
        tracing::info!(?kinds, "plane kinds served");
        self.store.update(|facts| facts.spellings(fields));
        self.follow(&state);
        self.planes.set_kinds(&state.kinds);
        self.known = Some(state);
        Ok(true)
    }

    /// Watches what is served. A kind that is no longer served is unknown, and what was seen of it stays, until its
    /// definition is gone.
    fn follow(&mut self, state: &State) {
        for (kind, why) in &state.hidden {
            self.store
                .update(|facts| facts.list_unreadable(&ListRef::HiddenKind(*kind), why.clone()));
        }
        for served in &state.kinds {
            let same = |(other, _): &(ServedKind, AbortHandle)| other == served;
            if self.running.get(&served.kind).is_some_and(same) {
                continue;
            }
            // The new list is awaited before the old one is given up: in between nothing is planned.
            let watch = self.planes.watch(served);
            let before = self.running.insert(served.kind, (served.clone(), watch));
            if let Some((old, task)) = before {
                task.abort();
                self.store.update(|facts| facts.list_read(&list_of(&old)));
            }
        }
        self.end_others(state);
        let is_hidden = |kind| state.hidden.iter().any(|(hidden, _)| *hidden == kind);
        self.store.update(|facts| {
            facts
                .forget_lists(|list| matches!(list, ListRef::HiddenKind(kind) if !is_hidden(*kind)))
        });
    }

    /// Ends the watches of kinds whose definition is gone, and their planes with them.
    fn end_others(&mut self, state: &State) {
        let is_hidden = |kind| state.hidden.iter().any(|(hidden, _)| *hidden == kind);
        let is_served = |kind| state.kinds.iter().any(|served| served.kind == kind);
        self.running.retain(|kind, (served, task)| {
            let keep = is_served(*kind) || is_hidden(*kind);
            if !keep {
                task.abort();
                self.store.update(|facts| {
                    facts.keep_planes(|plane| plane.kind != *kind)
                        | facts.list_read(&list_of(served))
                });
            }
            keep
        });
    }
}
