//! Kubernetes objects in, what the doctor needs of them out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{KeyToPath, Pod, PodTemplateSpec};
use serde_json::Value;

use super::{CertManagerCertificate, Mount, WorkloadDetail};
use crate::model::{MaterialKind, MaterialRef, ObjectRef};

/// More of a workload, from its pod template; `paused` is its `spec.paused`.
pub fn detail(
    namespace: &str,
    template: &PodTemplateSpec,
    paused: bool,
    pods: &[Pod],
) -> WorkloadDetail {
    let spec = template.spec.clone().unwrap_or_default();
    let words: Vec<&str> = spec
        .containers
        .iter()
        .flat_map(|container| container.command.iter().chain(&container.args).flatten())
        .map(String::as_str)
        .collect();
    let dials = ["--server-url", "--cluster-gateway-url"]
        .into_iter()
        .filter_map(|flag| host(&crate::model::facts::flag(&words, flag)?));
    WorkloadDetail {
        mounts: mounts(namespace, template),
        labels: labels(template),
        paused,
        is_gateway: crate::model::facts::flag(&words, "--server-cert").is_some(),
        dials: dials.collect(),
        oldest_start: pods.iter().filter_map(started).min(),
    }
}

fn labels(template: &PodTemplateSpec) -> BTreeMap<String, String> {
    let metadata = template.metadata.as_ref();
    metadata
        .and_then(|metadata| metadata.labels.clone())
        .unwrap_or_default()
}

/// When the oldest of its containers started: a container that was started again has read its files again.
fn started(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let running = |container: &k8s_openapi::api::core::v1::ContainerStatus| {
        let state = container.state.as_ref()?.running.as_ref()?;
        state.started_at.as_ref().map(|time| time.0)
    };
    let containers = status.container_statuses.iter().flatten();
    let start = containers.filter_map(running).min();
    start.or_else(|| status.start_time.as_ref().map(|time| time.0))
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

fn mounts(namespace: &str, template: &PodTemplateSpec) -> Vec<Mount> {
    let spec = template.spec.clone().unwrap_or_default();
    let mut found = Vec::new();
    let mut add =
        |name: String, kind, object: String, optional: Option<bool>, keys: BTreeSet<String>| {
            if !object.is_empty() {
                found.push(Mount {
                    name,
                    material: MaterialRef {
                        kind,
                        object: ObjectRef::new(namespace, object),
                    },
                    optional: optional == Some(true),
                    keys,
                });
            }
        };
    for volume in spec.volumes.into_iter().flatten() {
        let name = format!("the volume {}", volume.name);
        if let Some(source) = volume.secret {
            let object = source.secret_name.unwrap_or_default();
            add(
                name.clone(),
                MaterialKind::Secret,
                object,
                source.optional,
                keys(source.items),
            );
        }
        if let Some(source) = volume.config_map {
            add(
                name.clone(),
                MaterialKind::ConfigMap,
                source.name,
                source.optional,
                keys(source.items),
            );
        }
        let projected = volume.projected.and_then(|projected| projected.sources);
        for source in projected.into_iter().flatten() {
            if let Some(source) = source.secret {
                add(
                    name.clone(),
                    MaterialKind::Secret,
                    source.name,
                    source.optional,
                    keys(source.items),
                );
            }
            if let Some(source) = source.config_map {
                add(
                    name.clone(),
                    MaterialKind::ConfigMap,
                    source.name,
                    source.optional,
                    keys(source.items),
                );
            }
        }
    }
    let containers = spec
        .containers
        .into_iter()
        .chain(spec.init_containers.into_iter().flatten());
    for variable in containers.flat_map(|container| container.env.into_iter().flatten()) {
        let name = format!("the variable {}", variable.name);
        let Some(source) = variable.value_from else {
            continue;
        };
        if let Some(key) = source.secret_key_ref {
            add(
                name.clone(),
                MaterialKind::Secret,
                key.name,
                key.optional,
                BTreeSet::from([key.key]),
            );
        }
        if let Some(key) = source.config_map_key_ref {
            add(
                name,
                MaterialKind::ConfigMap,
                key.name,
                key.optional,
                BTreeSet::from([key.key]),
            );
        }
    }
    found
}

fn keys(items: Option<Vec<KeyToPath>>) -> BTreeSet<String> {
    items.into_iter().flatten().map(|item| item.key).collect()
}

/// The facts of a `Certificate` of cert-manager.
pub fn cert_manager_certificate(
    namespace: &str,
    name: &str,
    object: &Value,
) -> Option<CertManagerCertificate> {
    let secret = object.pointer("/spec/secretName").and_then(Value::as_str)?;
    let status = object.get("status").and_then(Value::as_object);
    Some(CertManagerCertificate {
        object: ObjectRef::new(namespace, name),
        secret: ObjectRef::new(namespace, secret),
        has_status: status.is_some_and(|status| !status.is_empty()),
    })
}
