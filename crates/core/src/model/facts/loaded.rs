//! The annotation that says what a pod template loads.

use std::collections::BTreeMap;

use crate::model::{MaterialKind, MaterialRef, ObjectRef};

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
