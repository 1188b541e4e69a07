//! Makes a CA.

use external_ca_api::ExternalCAIssuance;
use external_ca_core::domain::generated_ca_profile;
use external_ca_core::plan::GenerateCa;
use external_ca_core::x509::{KeyAlgorithm, self_signed_ca};
use external_ca_core::{Problem, Reason};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;

use super::keys::{generate, random, tls_secret};
use super::write::apply_object;
use crate::context::Context;
use crate::error::Error;

/// Carries the step out.
pub async fn carry_out(
    context: &Context,
    issuance: &ExternalCAIssuance,
    step: &GenerateCa,
    now: Timestamp,
) -> Result<Problem, Error> {
    let GenerateCa {
        target,
        resource_version,
        marks,
    } = step;
    let live: Option<Secret> = context.cluster.get(target).await?;
    if live.and_then(|secret| secret.resource_version()) != *resource_version {
        return Err(Error::Changed);
    }
    let key = generate(context, KeyAlgorithm::Rsa(4096)).await?;
    let certificate = self_signed_ca(&key, &generated_ca_profile(), random()?, now)?;
    let (version, pem) = (resource_version.as_deref(), certificate.to_pem());
    let secret = tls_secret(issuance, target, version, marks, pem, &key);
    apply_object::<Secret>(&context.cluster, target, version.is_some(), secret).await?;
    Ok(Problem::new(
        Reason::Issued,
        format!("made the CA Secret {target}"),
    ))
}
