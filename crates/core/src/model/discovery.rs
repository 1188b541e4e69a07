//! OpenChoreo's plane kinds: names and fields differ by release, so the API server is asked. Answers in, and what to ask
//! next out: the asking is the shell's.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use external_ca_api::PlaneKind;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::cert_manager::{CERT_MANAGER_GROUP, CERT_MANAGER_VERSION, CertManagerKind};

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

/// The plane kinds that are served, each at the best version that serves it; the first group that serves a kind wins.
pub fn kinds(answers: &Answers) -> Result<Vec<ServedKind>, Ask> {
    let mut served: Vec<ServedKind> = Vec::new();
    for group in GROUPS {
        let description = answer(answers, format!("/apis/{group}"))?;
        for version in description.map_or_else(Vec::new, versions) {
            let list = answer(answers, format!("/apis/{group}/{version}"))?;
            for resource in list
                .and_then(|list| list.get("resources"))
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let (name, plural) = (text(resource, "kind"), text(resource, "name"));
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
    }
    Ok(served)
}

/// The kinds of cert-manager.io/v1 that are served.
pub fn cert_manager_kinds(answers: &Answers) -> Result<Vec<CertManagerKind>, Ask> {
    let path = format!("/apis/{CERT_MANAGER_GROUP}/{CERT_MANAGER_VERSION}");
    let list = answer(answers, path)?;
    let resources = list.and_then(|list| list.get("resources")?.as_array());
    let served: BTreeSet<&str> = resources
        .into_iter()
        .flatten()
        .map(|resource| text(resource, "name"))
        .collect();
    let kinds = CertManagerKind::ALL.into_iter();
    Ok(kinds
        .filter(|kind| served.contains(kind.plural()))
        .collect())
}

/// The versions of a group, the preferred one first; the API server lists the others by their rank.
fn versions(group: &Value) -> Vec<&str> {
    let preferred = group.pointer("/preferredVersion/version");
    let listed = group.get("versions").and_then(Value::as_array);
    let listed = listed.into_iter().flatten();
    let mut found: Vec<&str> = Vec::new();
    for version in preferred
        .into_iter()
        .chain(listed.filter_map(|entry| entry.get("version")))
        .filter_map(Value::as_str)
    {
        if !found.contains(&version) {
            found.push(version);
        }
    }
    found
}

fn text<'a>(resource: &'a Value, field: &str) -> &'a str {
    let value = resource.get(field).and_then(Value::as_str);
    value.unwrap_or_default()
}

/// The kinds that are not served, with the names that their CustomResourceDefinitions have. While one of those exists, the
/// objects of the kind do, too, though they cannot be read.
pub fn unserved(kinds: &[ServedKind]) -> impl Iterator<Item = (PlaneKind, [String; 2])> {
    KINDS
        .into_iter()
        .filter(|kind| kinds.iter().all(|served| served.kind != *kind))
        .map(|kind| {
            let plural = format!("{kind:?}s").to_ascii_lowercase();
            (kind, GROUPS.map(|group| format!("{plural}.{group}")))
        })
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn group(preferred: &str, versions: &[&str]) -> Option<Value> {
        let versions = versions.iter().map(|version| json!({"version": version}));
        let versions: Vec<Value> = versions.collect();
        Some(json!({"versions": versions, "preferredVersion": {"version": preferred}}))
    }

    fn list(kinds: &[&str]) -> Option<Value> {
        let resources = kinds
            .iter()
            .map(|kind| json!({"kind": kind, "name": format!("{}s", kind.to_ascii_lowercase())}));
        Some(json!({"resources": resources.collect::<Vec<_>>()}))
    }

    fn found(answers: &[(&str, Option<Value>)]) -> Vec<(PlaneKind, String)> {
        let answers = answers.iter().cloned();
        let answers: Answers = answers
            .map(|(path, answer)| (path.to_owned(), answer))
            .collect();
        let kinds = kinds(&answers).unwrap().into_iter();
        kinds
            .map(|served| (served.kind, served.resource.api_version))
            .collect()
    }

    #[test]
    fn each_kind_is_found_at_the_best_version_that_serves_it() {
        let answers = [
            (
                "/apis/openchoreo.dev",
                group("v1beta1", &["v1beta1", "v1alpha1"]),
            ),
            (
                "/apis/openchoreo.dev/v1beta1",
                list(&["ObservabilityPlane", "Project"]),
            ),
            (
                "/apis/openchoreo.dev/v1alpha1",
                list(&["ObservabilityPlane", "DataPlane"]),
            ),
            ("/apis/core.openchoreo.dev", None),
        ];
        let expected = [
            (
                PlaneKind::ObservabilityPlane,
                "openchoreo.dev/v1beta1".to_owned(),
            ),
            (PlaneKind::DataPlane, "openchoreo.dev/v1alpha1".to_owned()),
        ];
        assert_eq!(found(&answers), expected);
    }

    #[test]
    fn what_is_not_served_may_have_a_definition() {
        let served = [ServedKind {
            kind: PlaneKind::DataPlane,
            resource: ApiResource::from_gvk(&GroupVersionKind::gvk(
                "openchoreo.dev",
                "v1",
                "DataPlane",
            )),
        }];
        let names: Vec<_> = unserved(&served).collect();
        assert_eq!(names.len(), 7);
        assert!(names.iter().all(|(kind, _)| *kind != PlaneKind::DataPlane));
        let (_, cluster) = names
            .iter()
            .find(|(kind, _)| *kind == PlaneKind::ClusterDataPlane)
            .unwrap();
        let expected = [
            "clusterdataplanes.openchoreo.dev",
            "clusterdataplanes.core.openchoreo.dev",
        ];
        assert_eq!(*cluster, expected);
    }
}
