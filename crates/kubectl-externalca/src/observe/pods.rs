//! The pods of namespaces: the proof of what was loaded.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_core::model::facts::{self, SlimPod};
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{ListRef, ObjectRef};
use external_ca_core::snapshot::Seen;
use futures::{StreamExt, stream};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::READERS;
use crate::error::api_message;

/// A page is held at once, whatever its pods weigh.
const PAGE: u32 = 50;

/// Reads those of the lists that are of pods. Who may not list them has that noted, and decisions leave it open.
pub async fn read(client: &Client, lists: &BTreeSet<ListRef>, seen: &mut Seen) {
    let namespaces = lists.iter().filter_map(|list| match list {
        ListRef::Pods(_, namespace) => Some(namespace),
        _ => None,
    });
    let results = stream::iter(namespaces)
        .map(|namespace| async move { (namespace, list(client, namespace).await) })
        .buffer_unordered(READERS);
    for (namespace, found) in results.collect::<Vec<_>>().await {
        match found {
            Ok(found) => {
                seen.pods.extend(found.pods);
                seen.broken_pods.extend(found.broken_pods);
            }
            Err(why) => {
                let list = ListRef::pods(namespace);
                let why = format!("{list} cannot be read: {why}");
                seen.unreadable.insert(list, why);
            }
        }
    }
}

async fn list(client: &Client, namespace: &str) -> Result<Seen, String> {
    let api: Api<Lenient<SlimPod>> = Api::namespaced(client.clone(), namespace);
    let mut params = ListParams::default().limit(PAGE);
    let mut seen = Seen::default();
    loop {
        let page = api.list(&params).await;
        let page = page.map_err(|error| api_message(&error))?;
        for object in page.items {
            match object.decoded().map(facts::pod) {
                Ok(Some(pod)) if pod.is_kept() => {
                    seen.pods.insert(pod.pod.clone(), Arc::new(pod));
                }
                Ok(_) => {}
                Err(error) => {
                    let pod = ObjectRef::new(namespace, object.name_any());
                    seen.broken_pods.insert(pod, error.to_string());
                }
            }
        }
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(seen);
        }
    }
}
