//! Kubernetes objects in, what the doctor needs of them out.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::MANAGER;
use k8s_openapi::api::core::v1::{EnvVar, KeyToPath, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::extra::{CertManagerCertificate, Mount, WorkloadDetail};
use crate::model::facts::flag;
use crate::model::{MaterialKind, MaterialRef, ObjectRef};

/// More of a workload, from its pod template; `paused` is its `spec.paused`.
pub fn detail(namespace: &str, template: &PodTemplateSpec, paused: bool) -> WorkloadDetail {
    let spec = template.spec.clone().unwrap_or_default();
    let words: Vec<&str> = spec
        .containers
        .iter()
        .flat_map(|container| container.command.iter().chain(&container.args).flatten())
        .map(String::as_str)
        .collect();
    let dials = ["--server-url", "--cluster-gateway-url"]
        .into_iter()
        .filter_map(|name| host(&flag(&words, name)?));
    WorkloadDetail {
        mounts: mounts(namespace, template),
        labels: labels(template),
        paused,
        is_gateway: flag(&words, "--server-cert").is_some(),
        dials: dials.collect(),
    }
}

fn labels(template: &PodTemplateSpec) -> BTreeMap<String, String> {
    let metadata = template.metadata.as_ref();
    metadata
        .and_then(|metadata| metadata.labels.clone())
        .unwrap_or_default()
}

/// The host of a URL, without its port.
fn host(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority
            .split_once(':')
            .map_or(authority, |(host, _)| host),
    };
    (!host.is_empty()).then(|| host.to_owned())
}

/// One reference, as a pod template has it.
struct Source {
    name: String,
    kind: MaterialKind,
    object: String,
    optional: Option<bool>,
    keys: BTreeSet<String>,
}

/// Volume by volume, then variable by variable.
fn mounts(namespace: &str, template: &PodTemplateSpec) -> Vec<Mount> {
    let spec = template.spec.clone().unwrap_or_default();
    let init_containers = spec.init_containers.into_iter().flatten();
    let containers = spec.containers.into_iter().chain(init_containers);
    let variables = containers.flat_map(|container| container.env.into_iter().flatten());
    let volumes = spec.volumes.into_iter().flatten().flat_map(of_volume);
    let sources = volumes.chain(variables.flat_map(of_variable));
    sources
        .filter(|source| !source.object.is_empty())
        .map(|source| Mount {
            name: source.name,
            material: MaterialRef {
                kind: source.kind,
                object: ObjectRef::new(namespace, source.object),
            },
            optional: source.optional == Some(true),
            keys: source.keys,
        })
        .collect()
}

fn of_volume(volume: Volume) -> Vec<Source> {
    let source = |kind, object, optional, items: Option<Vec<KeyToPath>>| Source {
        name: format!("the volume {}", volume.name),
        kind,
        object,
        optional,
        keys: items.into_iter().flatten().map(|item| item.key).collect(),
    };
    let mut sources = Vec::new();
    if let Some(secret) = volume.secret {
        let object = secret.secret_name.unwrap_or_default();
        let kind = MaterialKind::Secret;
        sources.push(source(kind, object, secret.optional, secret.items));
    }
    if let Some(map) = volume.config_map {
        let kind = MaterialKind::ConfigMap;
        sources.push(source(kind, map.name, map.optional, map.items));
    }
    let projected = volume.projected.and_then(|projected| projected.sources);
    for part in projected.into_iter().flatten() {
        if let Some(secret) = part.secret {
            let kind = MaterialKind::Secret;
            sources.push(source(kind, secret.name, secret.optional, secret.items));
        }
        if let Some(map) = part.config_map {
            let kind = MaterialKind::ConfigMap;
            sources.push(source(kind, map.name, map.optional, map.items));
        }
    }
    sources
}

fn of_variable(variable: EnvVar) -> Vec<Source> {
    let source = |kind, object, optional, key| Source {
        name: format!("the variable {}", variable.name),
        kind,
        object,
        optional,
        keys: BTreeSet::from([key]),
    };
    let value = variable.value_from.unwrap_or_default();
    let secret = value
        .secret_key_ref
        .map(|from| source(MaterialKind::Secret, from.name, from.optional, from.key));
    let config_map = value
        .config_map_key_ref
        .map(|from| source(MaterialKind::ConfigMap, from.name, from.optional, from.key));
    secret.into_iter().chain(config_map).collect()
}

/// The facts of a `Certificate` of cert-manager.
pub fn cert_manager_certificate(
    metadata: &ObjectMeta,
    object: &Value,
) -> Option<CertManagerCertificate> {
    let (namespace, name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
    let secret = object.pointer("/spec/secretName").and_then(Value::as_str)?;
    let status = object.get("status").and_then(Value::as_object);
    Some(CertManagerCertificate {
        object: ObjectRef::new(namespace, name),
        secret: ObjectRef::new(namespace, secret),
        has_status: status.is_some_and(|status| !status.is_empty()) && !is_told_here(metadata),
    })
}

/// Whether this operator has written the status last.
fn is_told_here(metadata: &ObjectMeta) -> bool {
    let entries = metadata.managed_fields.iter().flatten();
    let writers = entries.filter(|entry| entry.subresource.as_deref() == Some("status"));
    let last = writers.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    last.is_some_and(|entry| entry.manager.as_deref() == Some(MANAGER))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_that_this_operator_wrote_is_no_controllers() {
        let entry = |manager: &str, hour: u8| {
            json!({"manager": manager, "operation": "Update", "subresource": "status",
                "time": format!("2026-01-01T0{hour}:00:00Z")})
        };
        let ours = || entry(MANAGER, 2);
        for (status, writers, expected) in [
            (json!({}), vec![], false),
            (json!({"revision": 1}), vec![], true),
            (
                json!({"revision": 1}),
                vec![entry("cert-manager-certificates-readiness", 1)],
                true,
            ),
            (json!({"revision": 1}), vec![ours()], false),
            (
                json!({"revision": 1}),
                vec![entry("cert-manager-certificates-issuing", 1), ours()],
                false,
            ),
            (
                json!({"revision": 1}),
                vec![ours(), entry("cert-manager-certificates-issuing", 3)],
                true,
            ),
        ] {
            let metadata: ObjectMeta = serde_json::from_value(
                json!({"name": "a", "namespace": "ns", "managedFields": writers}),
            )
            .unwrap();
            let object = json!({"spec": {"secretName": "s"}, "status": status});
            let found = cert_manager_certificate(&metadata, &object).unwrap();
            assert_eq!(found.has_status, expected, "{writers:?}");
        }
    }
}
