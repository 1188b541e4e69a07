//! Kubernetes objects in, facts out: what the planner needs of an object, and no private key.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use external_ca_api::{
    ExternalCAIssuance, HELD_UNTIL_ANNOTATION, ISSUANCE_ANNOTATION, MATERIAL_HASH_ANNOTATION,
    PlaneKind, RENEWAL_ANNOTATION, REPLACES_ANNOTATION,
};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, Time};
use serde_json::Value;

use crate::model::{
    Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef, RolloutState, Workload,
    WorkloadKind, WorkloadRef,
};
use crate::x509::{self, Certificate};

/// A `tls.crt` larger than this is not read: RFC 5280 chains are a few KiB.
pub const MAX_PEM: usize = 64 * 1024;

const TLS_CRT: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const CA_CRT: &str = "ca.crt";

/// The facts of a Secret.
pub fn secret(secret: &Secret) -> Material {
    let data = |key: &str| {
        secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .map_or(&[][..], |bytes| &bytes.0)
    };
    let (crt, key, ca) = (data(TLS_CRT), data(TLS_KEY), data(CA_CRT));
    Material {
        secret_type: secret.type_.clone().unwrap_or_default(),
        leaf: leaf(crt, key),
        has_key: !key.trim_ascii().is_empty(),
        ..material(&secret.metadata, ca, &[crt, ca])
    }
}

/// The facts of a ConfigMap.
pub fn config_map(config_map: &ConfigMap) -> Material {
    let ca = config_map
        .data
        .as_ref()
        .and_then(|data| data.get(CA_CRT))
        .map_or(&[][..], |text| text.as_bytes());
    material(&config_map.metadata, ca, &[ca])
}

/// The certificates under a key of a ConfigMap.
pub fn config_map_certificates(config_map: &ConfigMap, key: &str) -> Vec<Certificate> {
    config_map
        .data
        .as_ref()
        .and_then(|data| data.get(key))
        .map_or_else(Vec::new, |text| certificates(text.as_bytes()))
}

fn material(metadata: &ObjectMeta, ca: &[u8], parts: &[&[u8]]) -> Material {
    let (manager, changed) = last_change(metadata, "f:data");
    let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).cloned();
    Material {
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        secret_type: String::new(),
        issuance: annotation(ISSUANCE_ANNOTATION),
        replaces: annotation(REPLACES_ANNOTATION).is_some(),
        renewal: annotation(RENEWAL_ANNOTATION),
        held_until: annotation(HELD_UNTIL_ANNOTATION).and_then(|time| time.parse().ok()),
        controller: metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| format!("{} {}", owner.kind, owner.name)),
        manager,
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        changed,
        leaf: Leaf::Empty,
        anchors: certificates(ca),
        has_key: false,
        hash: hash(parts),
    }
}

/// Hash of what a workload reads from an object: public parts only, so that nothing is said about a key.
pub fn hash(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context
        .finish()
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn certificates(pem: &[u8]) -> Vec<Certificate> {
    x509::parse_bundle(pem).certificates
}

fn leaf(crt: &[u8], key: &[u8]) -> Leaf {
    if crt.trim_ascii().is_empty() && key.trim_ascii().is_empty() {
        return Leaf::Empty;
    }
    if crt.len() > MAX_PEM {
        return Leaf::Invalid("tls.crt is larger than 64 KiB".into());
    }
    let chain = certificates(crt);
    let Some(first) = chain.first() else {
        return Leaf::Invalid("tls.crt holds no readable certificate".into());
    };
    let key_matches = x509::key_pair_matches(first, key).unwrap_or(false);
    Leaf::Present { chain, key_matches }
}

/// Who last changed a field tree, and when, by `metadata.managedFields`.
fn last_change(metadata: &ObjectMeta, field: &str) -> (Option<String>, Option<Timestamp>) {
    last_manager(
        metadata.managed_fields.as_deref().unwrap_or_default(),
        |fields| fields.get(field).is_some(),
    )
}

fn last_manager(
    entries: &[ManagedFieldsEntry],
    owns: impl Fn(&Value) -> bool,
) -> (Option<String>, Option<Timestamp>) {
    entries
        .iter()
        .filter(|entry| {
            entry
                .fields_v1
                .as_ref()
                .is_some_and(|fields| owns(&fields.0))
        })
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
        .map_or((None, None), |entry| {
            (
                entry.manager.clone(),
                entry.time.as_ref().map(|time| time.0),
            )
        })
}

/// The facts of a plane resource. `reference_field` is how its version spells a Secret reference.
pub fn plane(
    kind: PlaneKind,
    metadata: &ObjectMeta,
    object: &Value,
    reference_field: Option<&'static str>,
) -> Option<Plane> {
    let name = metadata.name.clone()?;
    let text = |value: &Value| {
        value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(String::from)
    };
    let client_ca = object
        .pointer("/spec/clusterAgent/clientCA")
        .unwrap_or(&Value::Null);
    let value = client_ca.get("value").and_then(text);
    let reference = ["secretKeyRef", "secretRef"].into_iter().find_map(|field| {
        let reference = client_ca.get(field)?;
        let namespace = reference
            .get("namespace")
            .and_then(text)
            .or_else(|| metadata.namespace.clone());
        let secret = ObjectRef::new(
            namespace.unwrap_or_default(),
            reference.get("name").and_then(text)?,
        );
        Some((secret, reference.get("key").and_then(text)?))
    });
    let (manager, changed) = last_manager(
        metadata.managed_fields.as_deref().unwrap_or_default(),
        |fields| {
            fields
                .pointer("/f:spec/f:clusterAgent/f:clientCA/f:value")
                .is_some()
        },
    );
    Some(Plane {
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        plane_id: object
            .pointer("/spec/planeID")
            .and_then(text)
            .unwrap_or_else(|| name.clone()),
        plane: PlaneRef {
            kind,
            namespace: metadata.namespace.clone(),
            name,
        },
        labels: metadata.labels.clone().unwrap_or_default(),
        anchors: value
            .as_ref()
            .map_or_else(Vec::new, |text| certificates(text.as_bytes())),
        value,
        reference,
        reference_field,
        manager,
        changed,
        agent_connected: object
            .pointer("/status/agentConnection/connected")
            .and_then(Value::as_bool),
        agent_disconnected: object
            .pointer("/status/agentConnection/lastDisconnectedTime")
            .and_then(Value::as_str)
            .and_then(|time| time.parse().ok()),
    })
}

/// The facts of a Deployment.
pub fn deployment(object: &Deployment) -> Option<Workload> {
    let (spec, status) = (
        object.spec.as_ref()?,
        object.status.clone().unwrap_or_default(),
    );
    let wanted = spec.replicas.unwrap_or(1);
    let state = if spec.paused == Some(true) {
        RolloutState::Running("it is paused (spec.paused)".into())
    } else {
        completion(
            &object.metadata,
            status.observed_generation,
            wanted,
            [
                ("updated", status.updated_replicas.unwrap_or(0)),
                ("present", status.replicas.unwrap_or(0)),
                ("available", status.available_replicas.unwrap_or(0)),
            ],
        )
    };
    let state = match (state, status.terminating_replicas.unwrap_or(0)) {
        (RolloutState::Complete, left) if left > 0 => {
            RolloutState::Running(format!("{left} old pods are still terminating"))
        }
        (state, _) => state,
    };
    let conditions = status.conditions.unwrap_or_default();
    let since = |kind: &str, value: &str, time: fn(&DeploymentTimes) -> Option<Timestamp>| {
        conditions
            .iter()
            .find(|condition| condition.type_ == kind && condition.status == value)
            .and_then(|condition| {
                time(&(
                    stamp(&condition.last_transition_time),
                    stamp(&condition.last_update_time),
                ))
            })
    };
    workload(
        WorkloadKind::Deployment,
        &object.metadata,
        &spec.template,
        state,
    )
    .map(|workload| Workload {
        available_since: since("Available", "True", |times| times.0),
        rollout_since: since("Progressing", "True", |times| times.1)
            .or_else(|| since("Progressing", "False", |times| times.1)),
        ..workload
    })
}

type DeploymentTimes = (Option<Timestamp>, Option<Timestamp>);

fn stamp(time: &Option<Time>) -> Option<Timestamp> {
    time.as_ref().map(|time| time.0)
}

/// The facts of a StatefulSet.
pub fn stateful_set(object: &StatefulSet) -> Option<Workload> {
    let (spec, status) = (
        object.spec.as_ref()?,
        object.status.clone().unwrap_or_default(),
    );
    let mut state = completion(
        &object.metadata,
        status.observed_generation,
        spec.replicas.unwrap_or(1),
        [
            ("updated", status.updated_replicas.unwrap_or(0)),
            ("present", status.replicas),
            ("available", status.available_replicas.unwrap_or(0)),
        ],
    );
    if state == RolloutState::Complete && status.current_revision != status.update_revision {
        state = RolloutState::Running("its current revision is not the updated one".into());
    }
    let on_delete = spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref());
    workload(
        WorkloadKind::StatefulSet,
        &object.metadata,
        &spec.template,
        delete_by_hand(state, on_delete),
    )
}

/// The facts of a DaemonSet.
pub fn daemon_set(object: &DaemonSet) -> Option<Workload> {
    let (spec, status) = (
        object.spec.as_ref()?,
        object.status.clone().unwrap_or_default(),
    );
    let state = completion(
        &object.metadata,
        status.observed_generation,
        status.desired_number_scheduled,
        [
            ("updated", status.updated_number_scheduled.unwrap_or(0)),
            ("present", status.current_number_scheduled),
            ("available", status.number_available.unwrap_or(0)),
        ],
    );
    let on_delete = spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref());
    workload(
        WorkloadKind::DaemonSet,
        &object.metadata,
        &spec.template,
        delete_by_hand(state, on_delete),
    )
}

fn delete_by_hand(state: RolloutState, strategy: Option<&str>) -> RolloutState {
    match state {
        RolloutState::Running(why) if strategy == Some("OnDelete") => RolloutState::Running(
            format!("{why}; its update strategy is OnDelete: delete its pods by hand"),
        ),
        state => state,
    }
}

/// A rollout is complete when the controller has seen the newest template and every count is the wanted one.
fn completion(
    metadata: &ObjectMeta,
    observed: Option<i64>,
    wanted: i32,
    counts: [(&str, i32); 3],
) -> RolloutState {
    if observed < metadata.generation {
        return RolloutState::Running("its controller has not yet seen the newest template".into());
    }
    match counts.into_iter().find(|(_, count)| *count != wanted) {
        Some((what, count)) => {
            RolloutState::Running(format!("{count} pods {what}, {wanted} wanted"))
        }
        None => RolloutState::Complete,
    }
}

fn workload(
    kind: WorkloadKind,
    metadata: &ObjectMeta,
    template: &PodTemplateSpec,
    rollout: RolloutState,
) -> Option<Workload> {
    let object = ObjectRef::new(metadata.namespace.clone()?, metadata.name.clone()?);
    let mounts = mounts(&object.namespace, template);
    let annotation = template
        .metadata
        .as_ref()
        .and_then(|metadata| metadata.annotations.as_ref());
    let loaded = annotation
        .and_then(|all| all.get(MATERIAL_HASH_ANNOTATION))
        .map_or_else(BTreeMap::new, |text| decode_loaded(&object.namespace, text));
    Some(Workload {
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        created: stamp(&metadata.creation_timestamp),
        available_since: None,
        restarted: restarted(metadata),
        mounts,
        loaded,
        rollout,
        rollout_since: None,
        agent: agent(template),
        workload: WorkloadRef { kind, object },
    })
}

/// When `kubectl rollout restart` was last run, by the API server's clock.
fn restarted(metadata: &ObjectMeta) -> Option<Timestamp> {
    const FIELD: &str =
        "/f:spec/f:template/f:metadata/f:annotations/f:kubectl.kubernetes.io~1restartedAt";
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    last_manager(entries, |fields| fields.pointer(FIELD).is_some()).1
}

/// Which request stands in an annotation of an issuance: its value, and when it was put there.
pub fn request(issuance: &ExternalCAIssuance, annotation: &str) -> Option<String> {
    let field = format!(
        "/f:metadata/f:annotations/f:{}",
        annotation.replace('/', "~1")
    );
    let metadata = &issuance.metadata;
    let value = metadata.annotations.as_ref()?.get(annotation)?;
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    let time = last_manager(entries, |fields| fields.pointer(&field).is_some()).1;
    Some(match time {
        Some(time) => format!("{value} {time}"),
        None => value.clone(),
    })
}

fn mounts(namespace: &str, template: &PodTemplateSpec) -> BTreeSet<MaterialRef> {
    let mut found = BTreeSet::new();
    let mut add = |kind: MaterialKind, name: Option<String>| {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            found.insert(MaterialRef {
                kind,
                object: ObjectRef::new(namespace, name),
            });
        }
    };
    let Some(spec) = &template.spec else {
        return found;
    };
    for volume in spec.volumes.iter().flatten() {
        add(
            MaterialKind::Secret,
            volume
                .secret
                .as_ref()
                .and_then(|source| source.secret_name.clone()),
        );
        add(
            MaterialKind::ConfigMap,
            volume.config_map.as_ref().map(|source| source.name.clone()),
        );
        for source in volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten())
        {
            add(
                MaterialKind::Secret,
                source.secret.as_ref().map(|source| source.name.clone()),
            );
            add(
                MaterialKind::ConfigMap,
                source.config_map.as_ref().map(|source| source.name.clone()),
            );
        }
    }
    for container in spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
    {
        for source in container.env_from.iter().flatten() {
            add(
                MaterialKind::Secret,
                source.secret_ref.as_ref().map(|source| source.name.clone()),
            );
            add(
                MaterialKind::ConfigMap,
                source
                    .config_map_ref
                    .as_ref()
                    .map(|source| source.name.clone()),
            );
        }
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|variable| variable.value_from.as_ref())
        {
            add(
                MaterialKind::Secret,
                source
                    .secret_key_ref
                    .as_ref()
                    .map(|source| source.name.clone()),
            );
            add(
                MaterialKind::ConfigMap,
                source
                    .config_map_key_ref
                    .as_ref()
                    .map(|source| source.name.clone()),
            );
        }
    }
    found
}

fn agent(template: &PodTemplateSpec) -> Option<(String, String)> {
    template
        .spec
        .as_ref()?
        .containers
        .iter()
        .find_map(|container| {
            let words: Vec<&str> = container
                .command
                .iter()
                .chain(container.args.iter())
                .flatten()
                .map(String::as_str)
                .collect();
            Some((flag(&words, "--plane-type")?, flag(&words, "--plane-id")?))
        })
}

/// The value of a command line option, in either form.
pub fn flag(words: &[&str], name: &str) -> Option<String> {
    words.iter().enumerate().find_map(|(index, word)| {
        let rest = word.strip_prefix(name)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if rest.is_empty() => words.get(index + 1).map(|value| (*value).to_owned()),
            None => None,
        }
    })
}

/// Writes what a pod template loads: `secret/<name>=<hash>` and `configmap/<name>=<hash>`, comma separated.
pub fn encode_loaded(loaded: &BTreeMap<MaterialRef, String>) -> String {
    loaded
        .iter()
        .map(|(material, hash)| {
            format!(
                "{}/{}={hash}",
                material.kind.as_str().to_ascii_lowercase(),
                material.object.name
            )
        })
        .collect::<Vec<_>>()
        .join(",")
}

/// Reads it back, for a workload of that namespace.
pub fn decode_loaded(namespace: &str, text: &str) -> BTreeMap<MaterialRef, String> {
    text.split(',')
        .filter_map(|entry| {
            let (object, hash) = entry.split_once('=')?;
            let (kind, name) = object.split_once('/')?;
            let kind = match kind {
                "secret" => MaterialKind::Secret,
                "configmap" => MaterialKind::ConfigMap,
                _ => return None,
            };
            Some((
                MaterialRef {
                    kind,
                    object: ObjectRef::new(namespace, name),
                },
                hash.to_owned(),
            ))
        })
        .collect()
}
