//! Objects that hold a `caBundle`: each is watched by its name.

use std::sync::Arc;

use external_ca_core::model::facts;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{InjectRef, Injected, Read};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::Event;
use kube::{Api, Client};
use tokio::task::AbortHandle;

use super::steady::{Steady, Told};
use super::store::Store;
use super::watch::small_pages;

/// Where an object is read and written.
pub fn api(client: &Client, object: &InjectRef) -> Api<Lenient<DynamicObject>> {
    let (group, version, plural) = object.kind.resource();
    let gvk = GroupVersionKind::gvk(group, version, &format!("{:?}", object.kind));
    Api::all_with(
        client.clone(),
        &ApiResource::from_gvk_with_plural(&gvk, plural),
    )
}

/// The facts of an object as the API server returned it.
pub fn facts_of(object: &InjectRef, found: &DynamicObject) -> Injected {
    facts::injected(object.kind, &found.metadata, &found.data)
}

/// Watches an object.
pub fn watch(client: &Client, store: &Arc<Store>, object: &InjectRef) -> AbortHandle {
    let (api, store, object) = (api(client, object), Arc::clone(store), object.clone());
    tokio::spawn(follow(api, store, object)).abort_handle()
}

async fn follow(api: Api<Lenient<DynamicObject>>, store: Arc<Store>, object: InjectRef) {
    let config = small_pages().fields(&format!("metadata.name={}", object.name));
    let mut watch = Steady::new(api, config);
    let mut listed = false;
    let note = |read: Read<Injected>| store.update(|facts| facts.injected_seen(&object, read));
    loop {
        match watch.next().await {
            Told::Event(Event::Init) => listed = false,
            Told::Event(Event::InitApply(found) | Event::Apply(found)) => {
                listed = true;
                note(match found.decoded() {
                    Ok(found) => Read::Found(facts_of(&object, found)),
                    Err(error) => Read::Unknown(error.to_string()),
                });
            }
            Told::Event(Event::InitDone) if !listed => note(Read::Absent),
            Told::Event(Event::Delete(_)) => note(Read::Absent),
            Told::Event(Event::InitDone) | Told::Watched => {}
            Told::Failed(why) | Told::Unwatched(why) => {
                tracing::debug!(why, %object, "watch");
            }
            Told::Unreadable(why) => note(Read::Unknown(format!("{object} {why}"))),
        }
    }
}
