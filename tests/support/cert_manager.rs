//! What OpenChoreo's charts ask of cert-manager, and the small schemas of its kinds.

use crate::apply::documents;
use crate::crds::{Release, shared};
use crate::openchoreo::CONTROL_PLANE;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The kinds' small schemas, as the chart ships them.
pub const CRDS: &str =
    include_str!("../../charts/external-ca-operator/files/cert-manager-crds.yaml");

/// Kinds that a cluster without further controllers takes.
const KINDS: [&str; 8] = [
    "Certificate",
    "Issuer",
    "ConfigMap",
    "Service",
    "ServiceAccount",
    "Deployment",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// What the control-plane chart of a release renders: the real thing where it is at hand, else ours. What names no namespace
/// goes into the release's, as Helm has it.
pub fn control_plane(release: Release) -> Vec<Value> {
    let text = rendered(release, "control-plane").unwrap_or_else(|| {
        let fixture = match release {
            Release::V0_17 => include_str!("fixtures/cert-manager-v0.17.yaml"),
            Release::V1_2 => include_str!("fixtures/cert-manager-v1.2.yaml"),
        };
        fixture.to_owned()
    });
    objects(&text, CONTROL_PLANE)
}

/// What the data-plane chart of a release renders, where that is at hand.
pub fn data_plane(release: Release) -> Option<Vec<Value>> {
    let text = rendered(release, "data-plane")?;
    Some(objects(&text, "openchoreo-data-plane"))
}

fn rendered(release: Release, chart: &str) -> Option<String> {
    let version = match release {
        Release::V0_17 => "v0.17.0",
        Release::V1_2 => "v1.2.3",
    };
    let path = shared().join(format!("rendered/{version}/openchoreo-{chart}.yaml"));
    fs::read_to_string(path).ok()
}

fn objects(text: &str, namespace: &str) -> Vec<Value> {
    let mut found = documents(text).expect("the charts render YAML");
    found.retain(|object| {
        let kind = object["kind"].as_str();
        kind.is_some_and(|kind| KINDS.contains(&kind))
    });
    let missing = missing_config_maps(&found);
    found.extend(missing);
    for object in &mut found {
        let kind = object["kind"].as_str().unwrap_or_default();
        if !kind.ends_with("WebhookConfiguration") && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!(namespace);
        }
    }
    found
}

/// Pods wait for their ConfigMaps, and those that have nothing to do with certificates were left out.
fn missing_config_maps(objects: &[Value]) -> Vec<Value> {
    let of_kind = |kind: &'static str| objects.iter().filter(move |one| one["kind"] == kind);
    let there: BTreeSet<&str> = of_kind("ConfigMap")
        .filter_map(|one| one["metadata"]["name"].as_str())
        .collect();
    let pods = of_kind("Deployment").map(|one| &one["spec"]["template"]["spec"]);
    let volumes = pods.filter_map(|pod| pod["volumes"].as_array()).flatten();
    let named = volumes.map(|volume| &volume["configMap"]);
    let mut missing: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for source in named {
        let Some(name) = source["name"].as_str().filter(|name| !there.contains(name)) else {
            continue;
        };
        let keys = missing.entry(name.to_owned()).or_default();
        let items = source["items"].as_array().into_iter().flatten();
        keys.extend(
            items.filter_map(|item| Some((item["key"].as_str()?.to_owned(), String::new()))),
        );
    }
    let missing = missing.into_iter();
    missing
        .map(|(name, data)| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}))
        .collect()
}
