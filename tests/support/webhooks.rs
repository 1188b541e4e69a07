//! Admission reviews: kinds that webhooks look at, and requests that the API server asks them about.

use crate::Result;
use crate::apply::{MANAGER, apply_documents};
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A resource that webhooks look at: group, version, plural.
pub type Reviewed = (String, String, String);

/// What the rules of these webhook configurations name.
pub fn reviewed(objects: &[Value]) -> BTreeSet<Reviewed> {
    let list = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let webhooks = objects.iter().filter_map(|one| one["webhooks"].as_array());
    let rules = webhooks.flatten().filter_map(|one| one["rules"].as_array());
    let mut found = BTreeSet::new();
    for rule in rules.flatten() {
        for group in list(&rule["apiGroups"]) {
            for version in list(&rule["apiVersions"]) {
                for resource in list(&rule["resources"]) {
                    found.insert((group.clone(), version.clone(), resource));
                }
            }
        }
    }
    found
}

/// Makes kinds for them, of any content.
pub async fn serve_kinds(client: &Client, reviewed: &BTreeSet<Reviewed>) -> Result<()> {
    let definitions = reviewed.iter().map(|(group, version, plural)| {
        let kind = kind(plural);
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"plural": plural, "kind": kind},
                "versions": [{"name": version, "served": true, "storage": true, "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}],
            },
        })
    });
    apply_documents(client, definitions.collect(), MANAGER).await?;
    Ok(())
}

/// Has the API server ask the webhooks of this resource, and change nothing.
pub async fn ask(client: &Client, resource: &Reviewed) -> kube::Result<()> {
    let (group, version, plural) = resource;
    let gvk = GroupVersionKind::gvk(group, version, &kind(plural));
    let kind = ApiResource::from_gvk_with_plural(&gvk, plural);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    let mut object = DynamicObject::new("", &kind);
    object.metadata.name = None;
    object.metadata.generate_name = Some("asked-".to_owned());
    let params = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    api.create(&params, &object).await.map(drop)
}

fn kind(plural: &str) -> String {
    let singular = plural.strip_suffix('s').unwrap_or(plural);
    let (first, rest) = singular.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}
