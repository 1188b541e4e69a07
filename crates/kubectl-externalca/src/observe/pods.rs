//! The pods of namespaces, read once.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_core::model::facts::{self, SlimPod};
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{ListRef, ObjectRef};
use external_ca_core::snapshot::Seen;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use super::parallel;
use crate::error::api_message;

/// Reads the lists of pods among these.
pub async fn read(client: &Client, lists: &BTreeSet<ListRef>, seen: &mut Seen) {
    let namespaces = lists.iter().filter_map(|list| match list {
        ListRef::Pods(_, namespace) => Some(namespace.clone()),
        _ => None,
    });
    let answers = parallel::for_each(namespaces, |namespace| async move {
        let api: Api<Lenient<SlimPod>> = Api::namespaced(client.clone(), &namespace);
        (namespace, api.list(&ListParams::default()).await)
    });
    for (namespace, answer) in answers.await {
        let list = ListRef::pods(&namespace);
        let pods = match answer {
            Ok(pods) => pods,
            Err(error) => {
                let why = format!("{list} cannot be read: {}", api_message(&error));
                seen.unreadable.insert(list, why);
                continue;
            }
        };
        for object in pods.items {
            let reference = ObjectRef::new(&namespace, object.name_any());
            match object.decoded().map(facts::pod) {
                Ok(Some(pod)) if pod.is_kept() => {
                    seen.pods.insert(reference, Arc::new(pod));
                }
                Ok(_) => {}
                Err(error) => {
                    seen.broken_pods.insert(reference, error.to_string());
                }
            }
        }
    }
}
