//! What OpenChoreo's charts ask of cert-manager, and the small schemas of its kinds.

use crate::Result;
use crate::apply::{apply_documents, documents, dynamic_api};
use crate::crds::{CrdSource, Release, shared};
use crate::openchoreo::{CONTROL_PLANE, PlaneType};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// The kinds' small schemas, as the chart ships them.
pub const CRDS: &str =
    include_str!("../../charts/external-ca-operator/files/cert-manager-crds.yaml");

/// The Certificate of the CA of the gateway's internal API, and its Secret.
pub const INTERNAL_CA: &str = "cluster-gateway-internal-ca";
/// The Certificate of the controller-manager's webhooks.
pub const WEBHOOK: &str = "controller-manager-webhook-server-cert";

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
    control_plane_from(CrdSource::available(release)[0], release)
}

/// The same from a source of one's choice.
pub fn control_plane_from(source: CrdSource, release: Release) -> Vec<Value> {
    let real = rendered(release, "control-plane").filter(|_| source == CrdSource::Real);
    let text = real.unwrap_or_else(|| {
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
    plane(release, PlaneType::Data)
}

/// What a plane's chart of a release renders, where that is at hand.
pub fn plane(release: Release, kind: PlaneType) -> Option<Vec<Value>> {
    let chart = kind.namespace().strip_prefix("openchoreo-")?;
    Some(objects(&rendered(release, chart)?, kind.namespace()))
}

/// Whether a Certificate says that it is ready, as it is now.
pub async fn is_ready(client: &Client, namespace: &str, name: &str) -> Result<bool> {
    let (version, kind) = ("cert-manager.io/v1", "Certificate");
    let api = dynamic_api(client, version, kind, Some(namespace)).await?;
    let found = api.get(name).await?;
    let conditions = found.data["status"]["conditions"].as_array();
    Ok(conditions.into_iter().flatten().any(|condition| {
        condition["type"] == "Ready"
            && condition["status"] == "True"
            && condition["observedGeneration"] == json!(found.metadata.generation)
    }))
}

/// Makes or renews one of cert-manager's Leases.
pub async fn lease(client: &Client, name: &str, renewed: Timestamp) -> Result<()> {
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {
            "holderIdentity": "cert-manager-0", "leaseDurationSeconds": 60,
            "renewTime": format!("{renewed:.6}"),
        },
    });
    apply_documents(client, vec![lease], "cert-manager").await?;
    Ok(())
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
        // Hooks come and go with what Helm does.
        let hook = &object["metadata"]["annotations"]["helm.sh/hook"];
        kind.is_some_and(|kind| KINDS.contains(&kind)) && hook.is_null()
    });
    for missing in [missing_config_maps, missing_accounts, missing_services] {
        let missing = missing(&found);
        found.extend(missing);
    }
    for object in &mut found {
        let kind = object["kind"].as_str().unwrap_or_default();
        if !kind.ends_with("WebhookConfiguration") && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!(namespace);
        }
    }
    found
}

/// What an issuance makes, and no plane's chart.
const BUNDLE: &str = "cluster-gateway-ca";

/// Pods wait for their ConfigMaps, and those that have nothing to do with certificates were left out.
fn missing_config_maps(objects: &[Value]) -> Vec<Value> {
    let of_kind = |kind: &'static str| objects.iter().filter(move |one| one["kind"] == kind);
    let there: BTreeSet<&str> = of_kind("ConfigMap")
        .filter_map(|one| one["metadata"]["name"].as_str())
        .chain([BUNDLE])
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

/// No pod is made without its ServiceAccount.
fn missing_accounts(objects: &[Value]) -> Vec<Value> {
    let named = |kind: &'static str, pointer: &'static str| -> BTreeSet<&str> {
        let of_kind = objects.iter().filter(move |one| one["kind"] == kind);
        of_kind
            .filter_map(|one| one.pointer(pointer)?.as_str())
            .collect()
    };
    let wanted = named("Deployment", "/spec/template/spec/serviceAccountName");
    let there = named("ServiceAccount", "/metadata/name");
    let missing = wanted.difference(&there);
    missing
        .map(|name| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}))
        .collect()
}

/// No webhook is reached without its Service, which leads to the controller-manager.
fn missing_services(objects: &[Value]) -> Vec<Value> {
    let of_kind = |kind: &'static str| objects.iter().filter(move |one| one["kind"] == kind);
    let there = of_kind("Service").filter_map(|one| one["metadata"]["name"].as_str());
    let there: BTreeSet<&str> = there.collect();
    let webhooks = objects.iter().filter_map(|one| one["webhooks"].as_array());
    let named = webhooks
        .flatten()
        .filter_map(|webhook| webhook["clientConfig"]["service"]["name"].as_str());
    let missing: BTreeSet<&str> = named.filter(|name| !there.contains(name)).collect();
    let manager = of_kind("Deployment").find(|one| one["metadata"]["name"] == "controller-manager");
    let Some(manager) = manager else {
        return Vec::new();
    };
    let selector = &manager["spec"]["selector"]["matchLabels"];
    let ports = json!([{"port": 443, "targetPort": 9443}]);
    missing
        .into_iter()
        .map(|name| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": selector, "ports": ports}}))
        .collect()
}
