//! Admission reviews: kinds that webhooks look at, and requests that the API server asks them about.

use crate::apply::{MANAGER, apply_documents, dynamic_api};
use crate::background::{Tasks, handle};
use crate::{ControlPlane, Result};
use k8s_openapi::ByteString;
use kube::Client;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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

/// The bundles of all webhook configurations, by webhook.
pub async fn ca_bundles(client: &Client) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for kind in [
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ] {
        let api = dynamic_api(client, "admissionregistration.k8s.io/v1", kind, None).await?;
        for object in api.list(&Default::default()).await? {
            for webhook in object.data["webhooks"].as_array().into_iter().flatten() {
                let bundle = webhook["clientConfig"]["caBundle"].clone();
                let bundle: Option<ByteString> = serde_json::from_value(bundle)?;
                let bundle = String::from_utf8(bundle.unwrap_or_default().0)?;
                let name = webhook["name"].as_str().unwrap_or_default();
                found.insert(format!("{kind} {name}"), bundle);
            }
        }
    }
    Ok(found)
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

/// What came of requests.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// How many there were.
    pub attempts: u64,
    /// Those that failed because the API server did not trust the webhook.
    pub failed_by_certificate: u64,
    /// Those that failed otherwise: nobody there.
    pub failed_other: u64,
    /// The last failure.
    pub last_error: String,
}

/// Requests all the time, until it is dropped.
pub struct Asking {
    asked: Arc<Mutex<Asked>>,
    _task: Tasks,
}

impl Asking {
    /// Starts, as the administrator.
    pub async fn start(cluster: &ControlPlane, resources: Vec<Reviewed>) -> Result<Self> {
        let config = cluster.admin_config().await;
        let client = {
            let _background = handle().enter();
            Client::try_from(config)?
        };
        let (asked, task) = (Arc::<Mutex<Asked>>::default(), Tasks::default());
        let count = asked.clone();
        task.spawn(async move {
            for resource in resources.iter().cycle() {
                let outcome = ask(&client, resource).await;
                count.lock().unwrap().add(outcome);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Ok(Self { asked, _task: task })
    }

    /// What came of them so far.
    pub fn so_far(&self) -> Asked {
        self.asked.lock().unwrap().clone()
    }
}

impl Asked {
    fn add(&mut self, outcome: kube::Result<()>) {
        self.attempts += 1;
        let Err(error) = outcome else {
            return;
        };
        self.last_error = error.to_string();
        let by_certificate = ["x509:", "tls:"]
            .iter()
            .any(|word| self.last_error.contains(word));
        match by_certificate {
            true => self.failed_by_certificate += 1,
            false => self.failed_other += 1,
        }
    }
}

fn kind(plural: &str) -> String {
    let singular = plural.strip_suffix('s').unwrap_or(plural);
    let (first, rest) = singular.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}
