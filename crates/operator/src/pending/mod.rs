//! The Secret `external-ca-pending` of the operator's own namespace: keys, requests and tickets of leaves that may not be stored
//! yet. It is made when the first one is needed, and read once by each process: every write is a conflict where another
//! operator that leads has written since.

mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use external_ca_api::MANAGER;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{ObjectRef, PendingLeaf};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::error::{Error, bounded};
use crate::issuers::Ticket;

pub use entry::{Entry, Owner, Request};

use entry::slot;

/// The Secret's name. The chart's Role names it, too.
const NAME: &str = "external-ca-pending";
/// Kubernetes takes 1 MiB of data in a Secret.
const MOST: usize = 900 * 1024;
/// How often a change is tried where others write meanwhile.
const ATTEMPTS: usize = 5;

/// What waits, and where it is kept.
pub struct Pending {
    client: Client,
    namespace: String,
    /// What the Secret held when it was last read or written.
    known: Mutex<Option<Arc<Kept>>>,
    /// When to ask for what, by the request's token, where the issuer has said so since its ticket was kept.
    asks: Mutex<BTreeMap<String, Timestamp>>,
    /// One change after the other.
    changing: tokio::sync::Mutex<()>,
    /// An issuance is gone, and perhaps leaves requests behind.
    pub orphaned: Notify,
}

/// What the Secret holds.
#[derive(Default)]
struct Kept {
    /// None where there is no Secret.
    version: Option<String>,
    slots: BTreeMap<String, Slot>,
}

/// One place of the Secret. What is not ours to read stays as it is.
struct Slot {
    size: usize,
    entry: Option<Arc<Entry>>,
}

/// What is put into a place, or that it is emptied.
type Changes = BTreeMap<String, Option<Entry>>;

impl Pending {
    /// Nothing is read yet.
    pub fn new(client: Client, namespace: String) -> Self {
        Self {
            client,
            namespace,
            known: Mutex::default(),
            asks: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            orphaned: Notify::new(),
        }
    }

    /// Reads it, where that was not done yet.
    pub async fn read_once(&self) -> Result<(), Error> {
        self.kept().await.map(drop)
    }

    /// What waits for an issuance, by what was last seen.
    pub fn of(&self, uid: &str) -> BTreeMap<ObjectRef, Arc<PendingLeaf>> {
        let known = self.known().clone();
        let entries = known.iter().flat_map(|kept| kept.entries());
        let asks = self.asks();
        let public_side = |entry: &Arc<Entry>| {
            let mut pending = entry.public_side();
            let later = asks.get(&entry.token()).copied();
            pending.ask_again = later.or(pending.ask_again);
            (entry.target.clone(), Arc::new(pending))
        };
        let of_issuance = entries.filter(|entry| entry.owner.uid == uid);
        of_issuance.map(public_side).collect()
    }

    /// The ticket that waits for a leaf of this owner, by what was last seen.
    pub fn ticket(&self, target: &ObjectRef, uid: &str) -> Option<Ticket> {
        let known = self.known().clone()?;
        let entry = known.entry(&slot(target))?;
        (entry.owner.uid == uid).then(|| entry.ticket.clone())?
    }

    /// The request for a leaf, where it asks for this.
    pub async fn find(
        &self,
        target: &ObjectRef,
        owner: &Owner,
        asked: &str,
    ) -> Result<Option<Arc<Entry>>, Error> {
        let kept = self.kept().await?;
        let found = kept.entry(&slot(target));
        Ok(found.filter(|entry| entry.serves(owner, asked)).cloned())
    }

    /// Keeps a request ahead of asking, in the place of one that asks for something else. Returns the one that stands there
    /// then: another operator that leads may have been first.
    pub async fn keep(&self, new: Entry) -> Result<Arc<Entry>, Error> {
        let place = slot(&new.target);
        let kept = self
            .change(|kept| {
                let found = kept.entry(&place);
                let serves = found.is_some_and(|found| found.serves(&new.owner, &new.asked));
                let put = (!serves).then(|| (place.clone(), Some(new.clone())));
                put.into_iter().collect()
            })
            .await?;
        kept.entry(&place).cloned().ok_or(Error::Changed)
    }

    /// Keeps a ticket ahead of asking again by it. When to ask is remembered by the process alone where the ticket stands
    /// there already: a restart asks a little early.
    pub async fn keep_ticket(&self, entry: &Entry, ticket: &Ticket) -> Result<(), Error> {
        let (place, token) = (slot(&entry.target), entry.token());
        let is_same = |found: &&Arc<Entry>| found.token() == token;
        let kept = self
            .change(|kept| {
                let found = kept.entry(&place).filter(is_same);
                let new = found.filter(|found| !found.has_ticket(&ticket.id));
                let put = new.map(|found| (place.clone(), Some(found.with_ticket(ticket))));
                put.into_iter().collect()
            })
            .await?;
        kept.entry(&place).filter(is_same).ok_or(Error::Changed)?;
        self.asks().insert(token, ticket.ask_again);
        Ok(())
    }

    /// Drops a request. Another one in its place stays.
    pub async fn drop_request(&self, entry: &Entry) -> Result<(), Error> {
        let token = entry.token();
        self.drop_where(|found| found.target == entry.target && found.token() == token)
            .await
    }

    /// Drops an issuance's request for a leaf.
    pub async fn drop_leaf(&self, target: &ObjectRef, uid: &str) -> Result<(), Error> {
        self.drop_where(|found| found.target == *target && found.owner.uid == uid)
            .await
    }

    /// Drops the requests of issuances that exist no longer.
    pub async fn drop_orphans(&self, exists: impl Fn(&Owner) -> bool) -> Result<(), Error> {
        self.drop_where(|found| !exists(&found.owner)).await
    }

    async fn drop_where(&self, unwanted: impl Fn(&Entry) -> bool) -> Result<(), Error> {
        let change = |kept: &Kept| {
            let filled = kept.slots.iter();
            let unwanted = |slot: &Slot| slot.entry.as_ref().is_some_and(|found| unwanted(found));
            filled
                .filter(|(_, slot)| unwanted(slot))
                .map(|(place, _)| (place.clone(), None))
                .collect()
        };
        self.change(change).await.map(drop)
    }

    /// Changes what the Secret holds, and returns what it holds then. Where another has written meanwhile, `decide` looks
    /// again.
    async fn change(&self, decide: impl Fn(&Kept) -> Changes) -> Result<Arc<Kept>, Error> {
        let _one = self.changing.lock().await;
        for _ in 0..ATTEMPTS {
            let kept = self.kept().await?;
            let changes = decide(&kept);
            if changes.is_empty() {
                return Ok(kept);
            }
            let Some(version) = &kept.version else {
                self.note(self.create().await?);
                continue;
            };
            match self.write(&kept, version, changes).await {
                Ok(kept) => return Ok(self.note(kept)),
                Err(error) if was_changed(&error) => *self.known() = None,
                Err(error) => {
                    if error.leaves_doubt() {
                        *self.known() = None;
                    }
                    return Err(error);
                }
            }
        }
        Err(Error::Changed)
    }

    async fn write(&self, kept: &Kept, version: &str, changes: Changes) -> Result<Kept, Error> {
        let mut data = BTreeMap::new();
        let mut sizes: BTreeMap<&str, usize> = kept.sizes().collect();
        for (place, entry) in &changes {
            let bytes = match entry {
                Some(entry) => entry.to_bytes()?,
                None => Zeroizing::default(),
            };
            sizes.insert(place, bytes.len());
            let value = entry.is_some().then(|| json!(ByteString(bytes.to_vec())));
            data.insert(place, value.unwrap_or(Value::Null));
        }
        let grows = changes.values().any(Option::is_some);
        if grows && sizes.values().sum::<usize>() > MOST {
            // Others may make room: it is read again then.
            *self.known() = None;
            return Err(Error::PendingFull {
                secret: format!("{}/{NAME}", self.namespace),
                requests: kept.entries().count(),
            });
        }
        let patch = json!({"metadata": {"resourceVersion": version}, "data": data});
        let params = PatchParams {
            field_manager: Some(MANAGER.into()),
            ..PatchParams::default()
        };
        let written = bounded(self.api().patch(NAME, &params, &Patch::Merge(patch))).await?;
        Ok(Kept::of(&written.into_decoded()?))
    }

    /// Makes the Secret, with nothing in it. What another has put into it meanwhile stays, and is returned.
    async fn create(&self) -> Result<Kept, Error> {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {"name": NAME, "namespace": self.namespace},
        });
        let params = PatchParams::apply(MANAGER);
        let made = bounded(self.api().patch(NAME, &params, &Patch::Apply(object))).await?;
        Ok(Kept::of(&made.into_decoded()?))
    }

    async fn kept(&self) -> Result<Arc<Kept>, Error> {
        if let Some(known) = self.known().clone() {
            return Ok(known);
        }
        let found = bounded(self.api().get_opt(NAME)).await?;
        let kept = match found {
            Some(found) => Kept::of(&found.into_decoded()?),
            None => Kept::default(),
        };
        Ok(self.note(kept))
    }

    fn note(&self, kept: Kept) -> Arc<Kept> {
        let kept = Arc::new(kept);
        let tokens: BTreeSet<String> = kept.entries().map(|entry| entry.token()).collect();
        self.asks().retain(|token, _| tokens.contains(token));
        *self.known() = Some(Arc::clone(&kept));
        kept
    }

    fn api(&self) -> Api<Lenient<Secret>> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn asks(&self) -> MutexGuard<'_, BTreeMap<String, Timestamp>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Option<Arc<Kept>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn of(secret: &Secret) -> Self {
        let filled = secret.data.iter().flatten();
        let slots = filled.map(|(place, bytes)| {
            let entry = Entry::from_bytes(&bytes.0);
            // What was moved by hand to another place is not found there.
            let entry = entry.filter(|entry| slot(&entry.target) == *place);
            let slot = Slot {
                size: bytes.0.len(),
                entry: entry.map(Arc::new),
            };
            (place.clone(), slot)
        });
        Self {
            version: secret.resource_version(),
            slots: slots.collect(),
        }
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.slots.values().filter_map(|slot| slot.entry.as_ref())
    }

    fn entry(&self, place: &str) -> Option<&Arc<Entry>> {
        self.slots.get(place)?.entry.as_ref()
    }

    fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        let filled = self.slots.iter();
        filled.map(|(place, slot)| (place.as_str(), slot.size))
    }
}

/// Whether another has written the Secret since it was read, or deleted it.
fn was_changed(error: &Error) -> bool {
    match error {
        Error::Changed => true,
        Error::Api(error) => {
            matches!(error.as_ref(), kube::Error::Api(status) if status.code == 404)
        }
        _ => false,
    }
}
