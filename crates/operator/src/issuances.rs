//! What the watch of issuances tells: those that parse are planned; the others are named, and none hides another.

use std::sync::Arc;

use external_ca_api::ExternalCAIssuance;
use external_ca_core::model::lenient::{Lenient, Undecodable};
use external_ca_core::report::status::{Stated, merge};
use external_ca_core::{Problem, Reason};
use jiff::Timestamp;
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::apply::write::merge_status;
use crate::broken::Issuance;
use crate::context::Context;

/// What the watch tells of issuances of served namespaces that parse: strangers' take no room, and `kubectl externalca check`
/// tells them. Of one that no longer does the last version that did stays known: what it
/// claims is not free for others.
pub fn decoded(
    event: watcher::Event<Lenient<ExternalCAIssuance>>,
    context: &Arc<Context>,
    known: &Store<ExternalCAIssuance>,
) -> Option<watcher::Event<ExternalCAIssuance>> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    let found = |object: Lenient<ExternalCAIssuance>| {
        let reference = reference(&object);
        match object.decoded() {
            Ok(_) if context.broken.remove(&reference) => context.cluster.announce_change(),
            Ok(_) => {}
            Err(error) => {
                if context.broken.add(reference.clone(), error) {
                    tokio::spawn(tell(Arc::clone(context), object.clone(), error.clone()));
                }
                return known.get(&reference).map(Arc::unwrap_or_clone);
            }
        }
        object.into_decoded().ok()
    };
    let is_served = |object: &Lenient<ExternalCAIssuance>| {
        let namespace = object.namespace();
        namespace.is_some_and(|namespace| context.scope.served.contains(&namespace))
    };
    match event {
        Init => Some(Init),
        InitDone => Some(InitDone),
        InitApply(object) | Apply(object) | Delete(object) if !is_served(&object) => None,
        InitApply(object) => found(object).map(InitApply),
        Apply(object) => found(object).map(Apply),
        Delete(object) => {
            let reference = reference(&object);
            context.broken.remove(&reference);
            let last = known.get(&reference).map(Arc::unwrap_or_clone);
            last.or(object.into_decoded().ok()).map(Delete)
        }
    }
}

fn reference(object: &Lenient<ExternalCAIssuance>) -> Issuance {
    let namespace = object.namespace().unwrap_or_default();
    ObjectRef::new(&object.name_any()).within(&namespace)
}

/// As log, metric, Event and condition: no plan does it.
async fn tell(context: Arc<Context>, object: Lenient<ExternalCAIssuance>, error: Undecodable) {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let message = format!(
        "ExternalCAIssuance {namespace}/{name}: {error}; until then nothing is done for it"
    );
    let problem = Problem::new(Reason::Unreadable, message);
    context.metrics.failed(problem.reason);
    tracing::warn!(issuance = format!("{namespace}/{name}"), reason = %problem.reason, "{}", problem.message);
    let event = Event {
        type_: EventType::Warning,
        reason: problem.reason.to_string(),
        note: Some(problem.message.clone()),
        action: "Reconcile".into(),
        secondary: None,
    };
    context.publish(&event, &object.object_ref(&())).await;
    let stated = |kind, status| Stated {
        kind,
        status,
        reason: problem.reason,
        message: problem.message.clone(),
    };
    let told = vec![stated("Ready", false), stated("Stalled", true)];
    let conditions = merge(&[], told, object.meta().generation, Timestamp::now());
    let api: Api<Lenient<ExternalCAIssuance>> = Api::namespaced(context.client.clone(), &namespace);
    let patch = json!({"status": {"conditions": conditions}});
    if let Err(error) = merge_status(&api, &name, patch).await {
        tracing::warn!(issuance = format!("{namespace}/{name}"), "status: {error}");
    }
}
