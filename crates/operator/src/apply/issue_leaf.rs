//! Issues a leaf: makes a key, has it signed, checks the answer, and writes both.

use std::time::Instant;

use external_ca_core::model::Observed;
use external_ca_core::plan::IssueLeaf;
use external_ca_core::x509::{Certificate, PrivateKey, check_issued, encode_bundle, request};
use external_ca_core::{Problem, Reason};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;

use super::keys::{generate, random, tls_secret};
use super::preconditions::{is_as_seen, is_trusted_by, still_signs};
use super::write::apply_object;
use crate::context::Context;
use crate::error::Error;
use crate::issuers::{Issuer, SigningRequest};

/// Carries the step out.
pub async fn carry_out(
    context: &Context,
    observed: &Observed,
    issuer: &Issuer,
    step: &IssueLeaf,
    now: Timestamp,
) -> Result<Problem, Error> {
    let Some(authority) = observed.authority.chain() else {
        return Err(Error::Changed);
    };
    let (cluster, target) = (&context.cluster, &step.target);
    // The snapshot may be old, and "it does not exist" a guess: a key that was written is never replaced unseen.
    let live: Option<Secret> = cluster.get(target).await?;
    if !is_as_seen(observed, target, live.as_ref()) {
        return Err(Error::Changed);
    }
    let key = match stored_key(live.as_ref()).filter(|_| step.reuse_key) {
        Some(pem) => PrivateKey::from_pem(pem)?,
        None => generate(context, step.profile.key).await?,
    };
    if !still_signs(cluster, observed, now).await {
        return Err(Error::Changed);
    }
    for place in &step.trusted_by {
        if !is_trusted_by(cluster, place, authority.anchor()).await {
            return Err(Error::Changed);
        }
    }
    let chain = sign(context, issuer, step, &key, now).await?;
    let anchors = std::slice::from_ref(authority.anchor());
    check_issued(&chain, &key, &step.profile, anchors, now)?;

    let version = live.as_ref();
    let version = version.and_then(|secret| secret.metadata.resource_version.as_deref());
    let pem = encode_bundle(&chain);
    let secret = tls_secret(&observed.issuance, target, version, &step.marks, pem, &key);
    apply_object::<Secret>(cluster, target, version.is_some(), secret).await?;
    context.metrics.issued.inc();
    Ok(Problem::new(
        Reason::Issued,
        format!("issued Secret {target} ({})", step.why.reason),
    ))
}

fn stored_key(live: Option<&Secret>) -> Option<&[u8]> {
    let data = live?.data.as_ref()?;
    data.get("tls.key").map(|pem| pem.0.as_slice())
}

async fn sign(
    context: &Context,
    issuer: &Issuer,
    step: &IssueLeaf,
    key: &PrivateKey,
    now: Timestamp,
) -> Result<Vec<Certificate>, Error> {
    let csr = request(key, &step.profile)?;
    let request = SigningRequest {
        csr: &csr,
        profile: &step.profile,
        serial: random()?,
        now,
    };
    let asked = Instant::now();
    let answer = issuer.sign(&request).await;
    let metrics = &context.metrics;
    metrics.signed(issuer.kind(), answer.is_ok(), asked.elapsed());
    Ok(answer?)
}
