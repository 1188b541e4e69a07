//! Issuances that do not parse: each is named, none is planned, and none hides another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use external_ca_api::{ExternalCAIssuance, MANAGER};
use external_ca_core::model::lenient::{Lenient, Undecodable};
use external_ca_core::report::status::{Stated, merge};
use external_ca_core::{Problem, Reason};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::error::bounded;
use crate::reconcile::Context;

type Issuance = ObjectRef<ExternalCAIssuance>;

/// Which they are, and the field that is at fault.
#[derive(Default)]
pub struct Broken(Mutex<HashMap<Issuance, Undecodable>>);

impl Broken {
    /// Whether the newest version of an issuance does not parse.
    pub fn is(&self, issuance: &ExternalCAIssuance) -> bool {
        self.entries().contains_key(&ObjectRef::from_obj(issuance))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Issuance, Undecodable>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that one does not parse; false where that is known.
    fn add(&self, issuance: Issuance, error: &Undecodable) -> bool {
        let known = self.entries().insert(issuance, error.clone());
        known.as_ref() != Some(error)
    }

    /// One parses again, or is gone; false where it always did.
    fn remove(&self, issuance: &Issuance) -> bool {
        self.entries().remove(issuance).is_some()
    }
}

/// What the watch tells of issuances that parse. Of one that no longer does the last version that did stays known: what it
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
            Ok(_) if context.broken.remove(&reference) => context.store.ring(),
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
    match event {
        Init => Some(Init),
        InitDone => Some(InitDone),
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
    let reference = object.object_ref(&());
    if let Err(error) = bounded(context.recorder.publish(&event, &reference)).await {
        tracing::debug!(%error, "event");
    }
    if !context.scope.served.contains(&namespace) {
        return;
    }
    let finding = |kind, status| Stated {
        kind,
        status,
        reason: problem.reason,
        message: problem.message.clone(),
    };
    let findings = vec![finding("Ready", false), finding("Stalled", true)];
    let conditions = merge(&[], findings, object.meta().generation, Timestamp::now());
    let api: Api<Lenient<ExternalCAIssuance>> = Api::namespaced(context.client.clone(), &namespace);
    let params = PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"status": {"conditions": conditions}}));
    if let Err(error) = bounded(api.patch_status(&name, &params, &patch)).await {
        tracing::warn!(issuance = format!("{namespace}/{name}"), "status: {error}");
    }
}
