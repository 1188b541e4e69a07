//! The issuance as a manifest.

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceSpec, Issuer};
use serde_json::{Map, Value};

/// The issuance as people write it: only what differs from the defaults.
pub fn minimal(issuance: &ExternalCAIssuance) -> Value {
    let Issuer::CaSecret(ca) = &issuance.spec.issuer;
    let smallest = serde_json::json!({"issuer": {"caSecret": {"name": ca.name}}});
    let defaults = serde_json::from_value::<ExternalCAIssuanceSpec>(smallest.clone());
    let (spec, defaults) = (
        serde_json::to_value(&issuance.spec).unwrap_or_default(),
        defaults.map_or(Value::Null, |spec| {
            serde_json::to_value(spec).unwrap_or_default()
        }),
    );
    let mut kept = match smallest {
        Value::Object(kept) => kept,
        _ => Map::new(),
    };
    if let Value::Object(differing) = differing(&spec, &defaults) {
        kept.extend(differing);
    }
    serde_json::json!({
        "apiVersion": "pki.openchoreo.dev/v1alpha1",
        "kind": "ExternalCAIssuance",
        "metadata": {"name": issuance.metadata.name, "namespace": issuance.metadata.namespace},
        "spec": kept,
    })
}

fn differing(value: &Value, default: &Value) -> Value {
    let (Value::Object(value), Value::Object(default)) = (value, default) else {
        return value.clone();
    };
    let null = Value::Null;
    let fields = value.iter().filter_map(|(key, value)| {
        let default = default.get(key).unwrap_or(&null);
        (value != default).then(|| (key.clone(), differing(value, default)))
    });
    Value::Object(fields.collect())
}
