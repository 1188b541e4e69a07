//! OpenChoreo's plane kinds: names and fields differ by release, so the API server is asked. Answers in, and what to ask
//! next out: the asking is the shell's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use external_ca_api::PlaneKind;
use kube::core::{ApiResource, GroupVersionKind};
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

/// What the API server answered, by path; none where it serves nothing there.
pub type Answers = BTreeMap<String, Option<Value>>;

/// The path whose answer is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask(pub String);

/// A kind as the API server serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct ServedKind {
    /// The kind.
    pub kind: PlaneKind,
    /// Its group, version and plural.
    pub resource: ApiResource,
}

/// The kind of this name.
pub fn plane_kind(name: &str) -> Option<PlaneKind> {
    KINDS.into_iter().find(|kind| format!("{kind:?}") == name)
}

/// Asks until a question is answered; `get` returns what the API server serves at a path.
pub async fn ask<T, E, F: Future<Output = Result<Option<Value>, E>>>(
    answers: &mut Answers,
    question: impl Fn(&Answers) -> Result<T, Ask>,
    get: impl Fn(String) -> F,
) -> Result<T, E> {
    loop {
        match question(answers) {
            Ok(found) => return Ok(found),
            Err(Ask(path)) => {
                let answer = get(path.clone()).await?;
                answers.insert(path, answer);
            }
        }
    }
}

fn answer(answers: &Answers, path: String) -> Result<Option<&Value>, Ask> {
    match answers.get(&path) {
        Some(answer) => Ok(answer.as_ref()),
        None => Err(Ask(path)),
    }
}

/// The plane kinds that are served; the first group that serves a kind wins.
pub fn kinds(answers: &Answers) -> Result<Vec<ServedKind>, Ask> {
    let mut served: Vec<ServedKind> = Vec::new();
    for group in GROUPS {
        let description = answer(answers, format!("/apis/{group}"))?;
        let Some(version) = description
            .and_then(|description| description.pointer("/preferredVersion/version"))
            .and_then(Value::as_str)
        else {
            continue;
        };
        let list = answer(answers, format!("/apis/{group}/{version}"))?;
        for resource in list
            .and_then(|list| list.get("resources"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let text = |field: &str| {
                let value = resource.get(field).and_then(Value::as_str);
                value.unwrap_or_default()
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

/// Which schemas of these kinds are published, by hash.
pub fn schemas(answers: &Answers, kinds: &[ServedKind]) -> Result<BTreeSet<String>, Ask> {
    if kinds.is_empty() {
        return Ok(BTreeSet::new());
    }
    let index = answer(answers, "/openapi/v3".into())?;
    let state = |served: &ServedKind| {
        let path = format!("apis/{}", served.resource.api_version);
        let url = index?.get("paths")?.get(path)?.get("serverRelativeURL")?;
        url.as_str().map(String::from)
    };
    Ok(kinds.iter().filter_map(state).collect())
}

/// How each kind spells a reference to a Secret in clientCA, by its published OpenAPI schema.
pub fn reference_fields(
    answers: &Answers,
    kinds: &[ServedKind],
) -> Result<HashMap<PlaneKind, &'static str>, Ask> {
    let mut fields = HashMap::new();
    for served in kinds {
        let path = format!("/openapi/v3/apis/{}", served.resource.api_version);
        let document = answer(answers, path)?;
        let schemas = document.and_then(|document| document.pointer("/components/schemas"));
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
