//! Keys, randomness, and the Secret that holds a key with its certificate.

use aws_lc_rs::rand;
use external_ca_api::ExternalCAIssuance;
use external_ca_core::model::ObjectRef;
use external_ca_core::x509::{self, KeyAlgorithm, PrivateKey};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::write::{Marks, metadata};
use crate::context::Context;
use crate::error::Error;

/// Random bytes of the system.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::Internal("the system has no randomness"))?;
    Ok(bytes)
}

/// Keys are made off the async threads, as many at once as there are cores.
pub async fn generate(context: &Context, algorithm: KeyAlgorithm) -> Result<PrivateKey, Error> {
    let _permit = context
        .keygen
        .acquire()
        .await
        .map_err(|_| Error::Internal("shutting down"))?;
    let made = tokio::task::spawn_blocking(move || x509::generate(algorithm)).await;
    Ok(made.map_err(|_| Error::Internal("making a key was cancelled"))??)
}

/// A Secret of the type kubernetes.io/tls, as it is applied.
pub fn tls_secret(
    issuance: &ExternalCAIssuance,
    target: &ObjectRef,
    resource_version: Option<&str>,
    marks: &Marks,
    certificate: String,
    key: &PrivateKey,
) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata(issuance, target, resource_version, marks),
        "data": {
            "tls.crt": ByteString(certificate.into_bytes()),
            "tls.key": ByteString(key.to_pem().as_bytes().to_vec()),
        },
    })
}
