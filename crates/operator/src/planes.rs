//! Discovery of OpenChoreo's plane kinds: names and fields differ by release, so the API server is asked.

use std::collections::{BTreeSet, HashMap};

use external_ca_api::PlaneKind;
use external_ca_core::observed::PlaneRef;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;

/// OpenChoreo serves the first; its documents print the second.
const GROUPS: [&str; 2] = ["openchoreo.dev", "core.openchoreo.dev"];

const KINDS: [PlaneKind; 8] = [
    PlaneKind::DataPlane,
    PlaneKind::BuildPlane,
    PlaneKind::WorkflowPlane,
    PlaneKind::ObservabilityPlane,
    PlaneKind::ClusterDataPlane,
    PlaneKind::ClusterBuildPlane,
    PlaneKind::ClusterWorkflowPlane,
    PlaneKind::ClusterObservabilityPlane,
];

/// A kind as the API server serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedKind {
    /// The kind.
    pub kind: PlaneKind,
    /// Its group, version and plural.
    pub resource: ApiResource,
}

impl ServedKind {
    /// Where a plane of this kind is read and written.
    pub fn api(&self, client: Client, plane: &PlaneRef) -> Api<DynamicObject> {
        match &plane.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &self.resource),
            None => Api::all_with(client, &self.resource),
        }
    }
}

/// The kind of this name.
fn plane_kind(name: &str) -> Option<PlaneKind> {
    KINDS.into_iter().find(|kind| format!("{kind:?}") == name)
}

/// The plane kinds that are served now; the first group that serves a kind wins.
async fn discover(client: &Client) -> Result<Vec<ServedKind>, kube::Error> {
    let mut served: Vec<ServedKind> = Vec::new();
    for group in GROUPS {
        let Some(description) = get(client, &format!("/apis/{group}")).await? else {
            continue;
        };
        let Some(version) = description
            .pointer("/preferredVersion/version")
            .and_then(Value::as_str)
        else {
            continue;
        };
        let Some(list) = get(client, &format!("/apis/{group}/{version}")).await? else {
            continue;
        };
        for resource in list
            .get("resources")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let text = |field: &str| {
                resource
                    .get(field)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            let (name, plural) = (text("kind"), text("name"));
            let Some(kind) = plane_kind(name).filter(|_| !plural.contains('/')) else {
                continue;
            };
            if !served.iter().any(|other| other.kind == kind) {
                let gvk = GroupVersionKind::gvk(group, version, name);
                served.push(ServedKind {
                    kind,
                    resource: ApiResource::from_gvk_with_plural(&gvk, plural),
                });
            }
        }
    }
    Ok(served)
}

/// What there is to know of plane kinds.
#[derive(PartialEq)]
pub struct State {
    /// Those that are served.
    pub kinds: Vec<ServedKind>,
    /// Which of their schemas are published, by hash.
    schemas: BTreeSet<String>,
}

/// The plane kinds that are served now, and the state of their schemas.
pub async fn state(client: &Client) -> Result<State, kube::Error> {
    let kinds = discover(client).await?;
    let schemas = schemas(client, &kinds).await?;
    Ok(State { kinds, schemas })
}

async fn schemas(client: &Client, kinds: &[ServedKind]) -> Result<BTreeSet<String>, kube::Error> {
    if kinds.is_empty() {
        return Ok(BTreeSet::new());
    }
    let index = get(client, "/openapi/v3").await?.unwrap_or(Value::Null);
    let state = |served: &ServedKind| {
        let path = format!("apis/{}", served.resource.api_version);
        let url = index.get("paths")?.get(path)?.get("serverRelativeURL")?;
        url.as_str().map(String::from)
    };
    Ok(kinds.iter().filter_map(state).collect())
}

/// How each kind spells a reference to a Secret in clientCA, by its published OpenAPI schema.
pub async fn reference_fields(
    client: &Client,
    kinds: &[ServedKind],
) -> Result<HashMap<PlaneKind, &'static str>, kube::Error> {
    let mut fields = HashMap::new();
    let mut documents: HashMap<String, Value> = HashMap::new();
    for served in kinds {
        let path = format!("/openapi/v3/apis/{}", served.resource.api_version);
        if !documents.contains_key(&path) {
            let document = get(client, &path).await?.unwrap_or(Value::Null);
            documents.insert(path.clone(), document);
        }
        let schemas = documents
            .get(&path)
            .and_then(|document| document.pointer("/components/schemas"));
        let properties = schemas
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .find_map(|(_, schema)| {
                let named = schema
                    .pointer("/x-kubernetes-group-version-kind/0/kind")?
                    .as_str()?;
                let found = schema.pointer(
                    "/properties/spec/properties/clusterAgent/properties/clientCA/properties",
                );
                found.filter(|_| named == served.resource.kind)
            });
        let field = ["secretKeyRef", "secretRef"]
            .into_iter()
            .find(|field| properties.is_some_and(|properties| properties.get(field).is_some()));
        if let Some(field) = field {
            fields.insert(served.kind, field);
        }
    }
    Ok(fields)
}

async fn get(client: &Client, path: &str) -> Result<Option<Value>, kube::Error> {
    let request = http::Request::get(path)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)?;
    match client.request::<Value>(request).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}
