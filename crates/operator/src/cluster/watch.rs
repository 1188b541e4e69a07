//! How a list is watched, whatever it holds.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::sync::Arc;

use external_ca_core::model::ListRef;
use external_ca_core::model::lenient::Lenient;
use futures::{StreamExt, TryStreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::store::Store;
use crate::error::{describe, describe_watch};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// So many objects a page of a list has.
pub const PAGE: u32 = 50;

/// Pages are small: one is held at once, whatever its objects weigh.
pub fn small_pages() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// Why a list cannot be read, where an error tells that.
pub fn unreadable(list: impl Display, error: &watcher::Error) -> Option<String> {
    match error {
        watcher::Error::InitialListFailed(error) => {
            Some(format!("{list} cannot be read: {}", describe(error)))
        }
        _ => None,
    }
}

/// What a list holds, and how its objects become facts.
pub trait List {
    /// What it holds.
    type Object;
    /// How one of them is named.
    type Reference: Ord + Send;

    /// Which list it is.
    fn list(&self) -> &ListRef;

    /// The name of an object.
    fn reference(&self, object: &Lenient<Self::Object>) -> Self::Reference;

    /// An object exists, and is so now.
    fn seen(&self, object: &Lenient<Self::Object>);

    /// An object was deleted.
    fn deleted(&self, object: &Lenient<Self::Object>);

    /// The list was read to its end: nothing but this exists.
    fn complete(&self, existing: &BTreeSet<Self::Reference>);
}

/// Watches a list, object by object.
pub async fn follow<L: List>(api: Api<Lenient<L::Object>>, list: L, store: Arc<Store>)
where
    Lenient<L::Object>: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut existing = BTreeSet::new();
    let mut events = watcher(api, small_pages()).default_backoff().boxed();
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => existing.clear(),
            Ok(Some(Event::InitApply(object))) => {
                list.seen(&object);
                existing.insert(list.reference(&object));
            }
            Ok(Some(Event::InitDone)) => {
                list.complete(&existing);
                existing.clear();
            }
            Ok(Some(Event::Apply(object))) => list.seen(&object),
            Ok(Some(Event::Delete(object))) => list.deleted(&object),
            Ok(None) => return,
            Err(error) => {
                let list = list.list();
                tracing::debug!(error = describe_watch(&error), %list, "watch");
                if let Some(why) = unreadable(list, &error) {
                    store.update(|facts| facts.list_unreadable(list, why));
                }
            }
        }
    }
}
