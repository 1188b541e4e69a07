//! What the conditions of a status say.

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Whether it is Ready, for the spec that it has now.
pub fn is_ready(issuance: &ExternalCAIssuance) -> bool {
    let Some(status) = &issuance.status else {
        return false;
    };
    is_current(issuance, status)
        && condition(status, "Ready").is_some_and(|ready| ready.status == "True")
}

/// A condition of a status.
pub fn condition<'a>(status: &'a ExternalCAIssuanceStatus, kind: &str) -> Option<&'a Condition> {
    let mut conditions = status.conditions.iter();
    conditions.find(|condition| condition.type_ == kind)
}

/// Whether the status describes the spec that the issuance has now.
pub(super) fn is_current(issuance: &ExternalCAIssuance, status: &ExternalCAIssuanceStatus) -> bool {
    status.observed_generation == issuance.metadata.generation
}
