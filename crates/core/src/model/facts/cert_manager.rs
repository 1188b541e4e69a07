//! The facts of cert-manager's objects, and of objects that hold a `caBundle`.

use external_ca_api::{INJECTED_ANNOTATION, MANAGER};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, ObjectMeta};
use serde::Deserialize;
use serde_json::{Value, json};

use super::material::certificates;
use crate::model::{CertManagerObject, InjectFrom, InjectKind, Injected, InjectedElement};

/// Which Certificate an object is injected from.
pub const INJECT_FROM_CERTIFICATE: &str = "cert-manager.io/inject-ca-from";
/// Which Secret it is injected from.
pub const INJECT_FROM_SECRET: &str = "cert-manager.io/inject-ca-from-secret";

/// A `caBundle` among managed fields.
const BUNDLE_FIELD: &str = "f:caBundle";

/// The facts of an object of cert-manager's.
pub fn cert_manager(metadata: &ObjectMeta, data: &Value) -> CertManagerObject {
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    let by_cert_manager = entries.iter().filter(|entry| {
        let manager = entry.manager.as_deref().unwrap_or_default();
        manager.starts_with("cert-manager") && entry.subresource.as_deref() == Some("status")
    });
    let part = |name: &str| data.get(name).cloned().unwrap_or(Value::Null);
    CertManagerObject {
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation,
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        spec: part("spec"),
        status: part("status"),
        written_by_cert_manager: by_cert_manager.filter_map(time).max(),
    }
}

fn time(entry: &ManagedFieldsEntry) -> Option<Timestamp> {
    Some(entry.time.as_ref()?.0)
}

/// The facts of an object that holds a `caBundle`.
pub fn injected(kind: InjectKind, metadata: &ObjectMeta, data: &Value) -> Injected {
    let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).cloned();
    let from = annotation(INJECT_FROM_CERTIFICATE).map(InjectFrom::Certificate);
    let from = from.or_else(|| annotation(INJECT_FROM_SECRET).map(InjectFrom::Secret));
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    let is_ours = |entry: &ManagedFieldsEntry| entry.manager.as_deref() == Some(MANAGER);
    let has = |entry: &ManagedFieldsEntry, field: &str| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| has_key(&fields.0, field))
    };
    let (ours, others): (Vec<_>, Vec<_>) = entries
        .iter()
        .filter(|entry| has(entry, BUNDLE_FIELD) || (is_ours(entry) && has(entry, &marker_field())))
        .partition(|entry| is_ours(entry));
    let is_owned = ours.iter().any(|entry| has(entry, BUNDLE_FIELD));
    // Another owner of the field has written it, unless the operator has taken it over since.
    let last = |entries: Vec<&ManagedFieldsEntry>| entries.into_iter().filter_map(time).max();
    let (ours, others) = (last(ours), last(others));
    let changed = match is_owned {
        true => ours.or(others),
        false => others.or(ours),
    };
    Injected {
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        from,
        elements: elements(kind, data),
        changed,
        is_owned,
        is_others: false,
    }
}

fn marker_field() -> String {
    format!("f:{INJECTED_ANNOTATION}")
}

/// An object's `managedFields` once the operator has let go of each `caBundle`; none where it owns none. Its entry keeps its time,
/// by which it is known when they were written.
pub fn let_go_of(metadata: &ObjectMeta) -> Option<Vec<ManagedFieldsEntry>> {
    let mut entries = metadata.managed_fields.clone()?;
    let is_owner = |entry: &&mut ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref();
        entry.manager.as_deref() == Some(MANAGER)
            && fields.is_some_and(|fields| has_key(&fields.0, BUNDLE_FIELD))
    };
    let own = entries.iter_mut().find(is_owner)?;
    let marker = json!({marker_field(): {}});
    own.fields_v1 = Some(FieldsV1(json!({"f:metadata": {"f:annotations": marker}})));
    Some(entries)
}

fn has_key(value: &Value, key: &str) -> bool {
    let Some(fields) = value.as_object() else {
        return false;
    };
    fields.contains_key(key) || fields.values().any(|value| has_key(value, key))
}

/// Only what is there: an element is never made.
fn elements(kind: InjectKind, data: &Value) -> Vec<InjectedElement> {
    let element = |name: &str, bundle: Option<&Value>| InjectedElement {
        name: name.to_owned(),
        anchors: bundle.map_or_else(Vec::new, |bundle| {
            let bytes = ByteString::deserialize(bundle).unwrap_or_default();
            certificates(&bytes.0)
        }),
    };
    let only = |config: Option<&Value>| {
        let config = config.filter(|config| config.is_object());
        let found = config.map(|config| element("", config.get("caBundle")));
        found.into_iter().collect()
    };
    match kind {
        InjectKind::ValidatingWebhookConfiguration | InjectKind::MutatingWebhookConfiguration => {
            let webhooks = data.get("webhooks").and_then(Value::as_array);
            let webhooks = webhooks.into_iter().flatten();
            let named = webhooks.filter_map(|webhook| {
                let name = webhook.get("name")?.as_str()?;
                Some(element(name, webhook.pointer("/clientConfig/caBundle")))
            });
            named.collect()
        }
        InjectKind::CustomResourceDefinition => {
            let is_webhook =
                data.pointer("/spec/conversion/strategy") == Some(&Value::from("Webhook"));
            let config = data.pointer("/spec/conversion/webhook/clientConfig");
            only(config.filter(|_| is_webhook))
        }
        InjectKind::APIService => {
            let is_remote = data.pointer("/spec/service").is_some_and(Value::is_object);
            only(data.get("spec").filter(|_| is_remote))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_as_old_as_its_last_writers_entry() {
        let entry = |manager: &str, second: u8, fields: Value| {
            json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                "time": format!("2026-01-01T00:00:0{second}Z"), "fieldsV1": fields})
        };
        let bundle =
            json!({"f:webhooks": {"k:{\"name\":\"a\"}": {"f:clientConfig": {"f:caBundle": {}}}}});
        let marker =
            json!({"f:metadata": {"f:annotations": {(format!("f:{INJECTED_ANNOTATION}")): {}}}});
        let kind = InjectKind::ValidatingWebhookConfiguration;
        let facts = |entries: Vec<Value>| {
            let metadata: ObjectMeta =
                serde_json::from_value(json!({"managedFields": entries})).unwrap();
            let found = injected(kind, &metadata, &json!({}));
            let second = found.changed.map(|at| at.as_second() % 10);
            let released = let_go_of(&metadata).map(|entries| json!(entries));
            (second, found.is_owned, released)
        };
        let owned = vec![
            entry("chart", 2, bundle.clone()),
            entry(MANAGER, 1, bundle.clone()),
        ];
        let let_go = json!([
            entry("chart", 2, bundle.clone()),
            entry(MANAGER, 1, marker.clone()),
        ]);
        assert_eq!(facts(owned), (Some(1), true, Some(let_go)));
        let let_go = vec![entry(MANAGER, 1, marker.clone())];
        assert_eq!(facts(let_go), (Some(1), false, None));
        let put_back = vec![entry(MANAGER, 1, marker), entry("chart", 2, bundle)];
        assert_eq!(facts(put_back), (Some(2), false, None));
        assert_eq!(
            facts(vec![entry("chart", 2, json!({"f:x": {}}))]),
            (None, false, None)
        );
    }

    #[test]
    fn only_what_is_there_is_injected_into() {
        let metadata: ObjectMeta = serde_json::from_value(json!({
            "name": "a", "annotations": {"cert-manager.io/inject-ca-from": "ns/cert"},
        }))
        .unwrap();
        let names = |kind, data: Value| {
            let found = injected(kind, &metadata, &data);
            assert_eq!(found.from, Some(InjectFrom::Certificate("ns/cert".into())));
            let elements = found.elements.into_iter();
            elements.map(|one| one.name).collect::<Vec<_>>()
        };
        use InjectKind::{APIService, CustomResourceDefinition, ValidatingWebhookConfiguration};
        let webhooks = json!({"webhooks": [
            {"name": "a.b.c", "clientConfig": {"service": {"name": "x"}}},
            {"name": "d.e.f", "clientConfig": {"service": {"name": "x"}, "caBundle": "Cg=="}},
        ]});
        assert_eq!(
            names(ValidatingWebhookConfiguration, webhooks),
            ["a.b.c", "d.e.f"]
        );
        let none = json!({"spec": {"conversion": {"strategy": "None"}}});
        assert!(names(CustomResourceDefinition, none).is_empty());
        let conversion = json!({"spec": {"conversion": {"strategy": "Webhook", "webhook": {
            "clientConfig": {"service": {"name": "x"}}, "conversionReviewVersions": ["v1"],
        }}}});
        assert_eq!(names(CustomResourceDefinition, conversion), [""]);
        assert!(names(APIService, json!({"spec": {"group": "a"}})).is_empty());
        assert_eq!(
            names(APIService, json!({"spec": {"service": {"name": "x"}}})),
            [""]
        );
    }
}
