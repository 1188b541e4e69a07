//! The facts of cert-manager's objects, and of objects that hold a `caBundle`.

use external_ca_api::MANAGER;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde::Deserialize;
use serde_json::Value;

use super::material::certificates;
use crate::model::{CertManagerObject, InjectFrom, InjectKind, Injected, InjectedElement};

/// Which Certificate an object is injected from.
pub const INJECT_FROM_CERTIFICATE: &str = "cert-manager.io/inject-ca-from";
/// Which Secret it is injected from.
pub const INJECT_FROM_SECRET: &str = "cert-manager.io/inject-ca-from-secret";

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
    let ours = |entry: &&ManagedFieldsEntry| entry.manager.as_deref() == Some(MANAGER);
    let owns = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| has_key(&fields.0, "f:caBundle"))
    };
    let owners = entries.iter().filter(owns);
    // Another owner of the field may have written anything else.
    let changed = owners.clone().filter(ours).filter_map(time).max();
    Injected {
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        from,
        elements: elements(kind, data),
        changed: changed.or_else(|| owners.filter_map(time).max()),
        is_others: false,
    }
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
    use serde_json::json;

    use super::*;

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
