//! Server-side apply of YAML text, of any kind that the cluster knows.

use crate::Result;
use crate::wait::{PATIENCE, try_wait_for};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, Scope, pinned_kind};
use kube::{Client, ResourceExt};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;

/// The field manager of the tests.
pub const MANAGER: &str = "test";

/// The documents of a YAML text, the empty ones left out.
pub fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// Applies each document in its order, by force, as field manager [`MANAGER`]. CustomResourceDefinitions go first, and
/// are waited for until they are established.
pub async fn apply_yaml(client: &Client, yaml: &str) -> Result<Vec<DynamicObject>> {
    apply_documents(client, documents(yaml)?, MANAGER).await
}

/// [`apply_yaml`] as another field manager.
pub async fn apply_yaml_as(
    client: &Client,
    yaml: &str,
    manager: &str,
) -> Result<Vec<DynamicObject>> {
    apply_documents(client, documents(yaml)?, manager).await
}

/// Applies objects given as JSON.
pub async fn apply_documents(
    client: &Client,
    documents: Vec<Value>,
    manager: &str,
) -> Result<Vec<DynamicObject>> {
    let (definitions, others): (Vec<Value>, Vec<Value>) = documents
        .into_iter()
        .partition(|document| document["kind"] == "CustomResourceDefinition");
    let mut kinds = HashMap::new();
    let mut applied = Vec::new();
    for document in definitions {
        applied.push(apply_one(client, document, manager, &mut kinds).await?);
    }
    for definition in &applied {
        established(client, &definition.name_any()).await?;
    }
    for document in others {
        applied.push(apply_one(client, document, manager, &mut kinds).await?);
    }
    Ok(applied)
}

/// The API of a kind that is known by name only; waits for one whose CustomResourceDefinition is new.
pub async fn dynamic_api(
    client: &Client,
    api_version: &str,
    kind: &str,
    namespace: Option<&str>,
) -> Result<Api<DynamicObject>> {
    let (resource, capabilities) = find_kind(client, api_version, kind).await?;
    Ok(api_for(client, &resource, &capabilities, namespace))
}

/// Makes a namespace, and waits for its `default` ServiceAccount, without which no pod is admitted.
pub async fn create_namespace(client: &Client, name: &str) -> Result<()> {
    apply_yaml(
        client,
        &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"),
    )
    .await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    let what = format!("namespace {name} to have its default ServiceAccount");
    try_wait_for(&what, PATIENCE, async || accounts.get("default").await).await?;
    Ok(())
}

type Kinds = HashMap<GroupVersionKind, (ApiResource, ApiCapabilities)>;

async fn apply_one(
    client: &Client,
    document: Value,
    manager: &str,
    kinds: &mut Kinds,
) -> Result<DynamicObject> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (Some(api_version), Some(kind)) = (text(&document["apiVersion"]), text(&document["kind"]))
    else {
        return Err(format!("not an object: {document}").into());
    };
    let name =
        text(&document["metadata"]["name"]).ok_or_else(|| format!("{kind} without a name"))?;
    let namespace = text(&document["metadata"]["namespace"]);
    let gvk = gvk(&api_version, &kind);
    if !kinds.contains_key(&gvk) {
        kinds.insert(gvk.clone(), find_kind(client, &api_version, &kind).await?);
    }
    let (resource, capabilities) = &kinds[&gvk];
    let api = api_for(client, resource, capabilities, namespace.as_deref());
    let params = PatchParams::apply(manager).force();
    let what = format!("{kind} {name} to be applied");
    // An established CRD's endpoint may take another moment; every other error is final.
    let outcome = try_wait_for(&what, Duration::from_secs(10), async || {
        match api.patch(&name, &params, &Patch::Apply(&document)).await {
            Err(kube::Error::Api(error))
                if error.code == 404 && error.message.contains("page not found") =>
            {
                Err(error.to_string())
            }
            Err(kube::Error::Api(error))
                if error
                    .message
                    .contains("could not find the requested resource") =>
            {
                Err(error.to_string())
            }
            other => Ok(other),
        }
    });
    Ok(outcome
        .await?
        .map_err(|error| format!("{kind} {name}: {error}"))?)
}

fn gvk(api_version: &str, kind: &str) -> GroupVersionKind {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    GroupVersionKind::gvk(group, version, kind)
}

async fn find_kind(
    client: &Client,
    api_version: &str,
    kind: &str,
) -> Result<(ApiResource, ApiCapabilities)> {
    let (gvk, what) = (
        gvk(api_version, kind),
        format!("{api_version} {kind} to be served"),
    );
    Ok(try_wait_for(&what, Duration::from_secs(10), async || {
        pinned_kind(client, &gvk).await
    })
    .await?)
}

fn api_for(
    client: &Client,
    resource: &ApiResource,
    capabilities: &ApiCapabilities,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), resource),
        Scope::Namespaced => {
            Api::namespaced_with(client.clone(), namespace.unwrap_or("default"), resource)
        }
    }
}

async fn established(client: &Client, name: &str) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let what = format!("CustomResourceDefinition {name} to be established");
    try_wait_for(&what, PATIENCE, async || {
        let definition = definitions
            .get(name)
            .await
            .map_err(|error| error.to_string())?;
        let conditions = definition
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        match conditions
            .iter()
            .any(|c| c.type_ == "Established" && c.status == "True")
        {
            true => Ok(()),
            false => Err(format!("{conditions:?}")),
        }
    })
    .await?;
    Ok(())
}
