//! How a list is watched, whatever it holds.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use external_ca_core::model::ListRef;
use external_ca_core::model::lenient::Lenient;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::facts::Facts;
use super::steady::{Steady, Told};
use super::store::Store;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// So many objects a page of a list has.
const PAGE: u32 = 50;

/// So many where anybody may have made the objects, and as large as the API server takes them: a page is held at once, in
/// three forms.
const STRANGERS_PAGE: u32 = 8;

/// Small pages.
pub fn small_pages() -> watcher::Config {
    watcher::Config::default().page_size(PAGE)
}

/// The smallest pages.
pub fn smallest_pages() -> watcher::Config {
    watcher::Config::default().page_size(STRANGERS_PAGE)
}

/// What a list holds, and how its objects become facts.
pub trait List {
    /// What it holds.
    type Object;
    /// How one of them is named.
    type Reference: Ord + Send;

    /// How it is read.
    fn config(&self) -> watcher::Config {
        small_pages()
    }

    /// Which list it is.
    fn list(&self) -> &ListRef;

    /// The name of an object.
    fn reference(&self, object: &Lenient<Self::Object>) -> Self::Reference;

    /// An object exists, and is so now.
    fn seen(&self, object: &Lenient<Self::Object>);

    /// An object was deleted.
    fn deleted(&self, object: &Lenient<Self::Object>);

    /// The list was read to its end: nothing but this exists. Returns whether that is news.
    fn complete(&self, facts: &mut Facts, existing: &BTreeSet<Self::Reference>) -> bool;
}

/// Watches a list, object by object.
pub async fn follow<L: List>(api: Api<Lenient<L::Object>>, list: L, store: Arc<Store>)
where
    Lenient<L::Object>: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut existing = BTreeSet::new();
    let mut watch = Steady::new(api, list.config());
    loop {
        let told = watch.next().await;
        let is_watched = watch.is_watched();
        let name = list.list();
        match told {
            Told::Event(Event::Init) => existing.clear(),
            Told::Event(Event::InitApply(object)) => {
                list.seen(&object);
                existing.insert(list.reference(&object));
            }
            Told::Event(Event::InitDone) => {
                store.update(|facts| {
                    let is_news = list.complete(facts, &existing);
                    is_news | (is_watched && facts.list_read(name))
                });
                existing.clear();
            }
            Told::Event(Event::Apply(object)) => list.seen(&object),
            Told::Event(Event::Delete(object)) => list.deleted(&object),
            Told::Watched => store.update(|facts| facts.list_read(name)),
            Told::Failed(error) => tracing::debug!(error, list = %name, "watch"),
            Told::Unreadable(why) | Told::Unwatched(why) => {
                let why = format!("{name} {why}");
                tracing::debug!(why, "watch");
                store.update(|facts| facts.list_unreadable(name, why));
            }
        }
    }
}
