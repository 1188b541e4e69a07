//! The facts of Secrets and ConfigMaps.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use external_ca_api::{
    ANCHORS_ANNOTATION, HELD_UNTIL_ANNOTATION, ISSUANCE_ANNOTATION, MANAGER, RENEWAL_ANNOTATION,
    REPLACES_ANNOTATION, SIGNED_SINCE_ANNOTATION,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};

use serde_json::Value;

use super::managed::last_manager;
use crate::model::{Leaf, Material};
use crate::x509::{self, Certificate, hex};

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
    let holds = if crt.is_empty() { CA_CRT } else { TLS_CRT };
    Material {
        secret_type: secret.type_.clone().unwrap_or_default(),
        leaf: leaf(crt, key),
        has_key: !key.trim_ascii().is_empty(),
        changed: changed(
            &secret.metadata,
            &[(TLS_CRT, crt), (TLS_KEY, key), (CA_CRT, ca)],
        ),
        ..material(&secret.metadata, holds, ca, &[crt, ca])
    }
}

/// The facts of a ConfigMap.
pub fn config_map(config_map: &ConfigMap) -> Material {
    let ca = config_map
        .data
        .as_ref()
        .and_then(|data| data.get(CA_CRT))
        .map_or(&[][..], |text| text.as_bytes());
    material(&config_map.metadata, CA_CRT, ca, &[ca])
}

/// The certificates under a key of a ConfigMap.
pub fn config_map_certificates(config_map: &ConfigMap, key: &str) -> Vec<Certificate> {
    config_map
        .data
        .as_ref()
        .and_then(|data| data.get(key))
        .map_or_else(Vec::new, |text| certificates(text.as_bytes()))
}

fn material(metadata: &ObjectMeta, key: &str, ca: &[u8], parts: &[&[u8]]) -> Material {
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    let field = format!("f:{key}");
    let owns = |fields: &Value| {
        fields
            .get("f:data")
            .is_some_and(|data| data.get(&field).is_some())
    };
    let (manager, _) = last_manager(entries, owns);
    let annotation = |name: &str| metadata.annotations.as_ref()?.get(name).cloned();
    Material {
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
        secret_type: String::new(),
        issuance: annotation(ISSUANCE_ANNOTATION),
        replaces: annotation(REPLACES_ANNOTATION).is_some(),
        renewal: annotation(RENEWAL_ANNOTATION),
        held_until: annotation(HELD_UNTIL_ANNOTATION).and_then(|time| time.parse().ok()),
        signed_since: annotation(SIGNED_SINCE_ANNOTATION).and_then(|time| time.parse().ok()),
        controller: metadata
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| format!("{} {}", owner.kind, owner.name)),
        manager,
        created: metadata.creation_timestamp.as_ref().map(|time| time.0),
        changed: changed(metadata, &[(CA_CRT, ca)]),
        leaf: Leaf::Empty,
        anchors: certificates(ca),
        handed_out: annotation(ANCHORS_ANNOTATION)
            .map_or_else(BTreeSet::new, |names| handed_out(&names)),
        has_key: false,
        hash: hash(parts),
    }
}

/// The names in the annotation of a bundle.
pub fn handed_out(names: &str) -> BTreeSet<String> {
    names.split(',').map(str::to_owned).collect()
}

/// When what stands under these keys was last changed. While this operator owns a key, nobody has changed its value since
/// the operator's own write, whatever else they did to the object; else whoever owns it may have, at their last write.
fn changed(metadata: &ObjectMeta, keys: &[(&str, &[u8])]) -> Option<Timestamp> {
    let entries = metadata.managed_fields.as_deref().unwrap_or_default();
    let of_key = |key: &str| {
        let field = format!("/f:data/f:{key}");
        let owns = |entry: &&ManagedFieldsEntry| {
            let fields = entry.fields_v1.as_ref();
            fields.is_some_and(|fields| fields.0.pointer(&field).is_some())
        };
        let owners = entries.iter().filter(owns);
        let ours = |entry: &&ManagedFieldsEntry| {
            entry.manager.as_deref() == Some(MANAGER) && entry.operation.as_deref() == Some("Apply")
        };
        let time = |entry: &ManagedFieldsEntry| Some(entry.time.as_ref()?.0);
        let ours = owners.clone().find(ours).and_then(time);
        ours.or_else(|| owners.filter_map(time).max())
    };
    let present = keys.iter().filter(|(_, value)| !value.is_empty());
    // Of one that has no owner, nothing tells.
    let times: Option<Vec<Timestamp>> = present.map(|(key, _)| of_key(key)).collect();
    match times?.into_iter().max() {
        Some(last) => Some(last),
        None => metadata.creation_timestamp.as_ref().map(|time| time.0),
    }
}

/// Hash of what a workload reads from an object: public parts only, so that it tells nothing of a key.
pub fn hash(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let hash = context.finish();
    hash.as_ref()
        .first_chunk::<8>()
        .map_or_else(String::new, |first| hex(first))
}

/// The certificates that a PEM text holds.
pub(super) fn certificates(pem: &[u8]) -> Vec<Certificate> {
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
