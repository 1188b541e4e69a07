//! Takes an annotation off the issuance: what it asked for was granted.

use external_ca_api::ExternalCAIssuance;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::plan::Consume;
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::write::merge;
use crate::error::Error;

/// Carries the step out, and returns the issuance's version then.
pub async fn carry_out(
    client: &Client,
    issuance: &ExternalCAIssuance,
    step: &Consume,
) -> Result<Option<String>, Error> {
    let namespace = issuance.namespace().unwrap_or_default();
    let api: Api<Lenient<ExternalCAIssuance>> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({"metadata": {"annotations": {step.annotation: null}}});
    let patched = merge(&api, &issuance.name_any(), patch).await?;
    Ok(patched.resource_version())
}
