//! Who wrote a field, and when, by `metadata.managedFields`.

use external_ca_api::{ExternalCAIssuance, MANAGER};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use serde_json::Value;

/// Who last changed the field trees that fit, and when.
pub(super) fn last_manager(
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
        // Times are whole seconds: of two writes within one the forced one was ours.
        .max_by_key(|entry| {
            let ours = entry.manager.as_deref() == Some(MANAGER);
            (entry.time.as_ref().map(|time| time.0), ours)
        })
        .map_or((None, None), |entry| {
            (
                entry.manager.clone(),
                entry.time.as_ref().map(|time| time.0),
            )
        })
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
