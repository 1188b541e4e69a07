//! Keys, randomness, and the Secret that holds a key with its certificate.

use aws_lc_rs::rand;
use external_ca_core::domain::SecretForm;
use external_ca_core::model::ObjectRef;
use external_ca_core::x509::{self, KeyAlgorithm, PrivateKey};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::write::{Marks, metadata};
use crate::context::Context;
use crate::declaration::Declaration;
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

/// What a Secret with a key holds.
pub struct TlsSecret<'a> {
    /// What declared it.
    pub declaration: &'a Declaration,
    /// Which Secret.
    pub target: &'a ObjectRef,
    /// Only if it is still as it was seen.
    pub resource_version: Option<&'a str>,
    /// Annotations of the operator's.
    pub marks: &'a Marks,
    /// How it is written besides.
    pub form: &'a SecretForm,
    /// `tls.crt`.
    pub certificate: String,
    /// `tls.key`.
    pub key: &'a PrivateKey,
    /// `ca.crt`, where it holds one.
    pub bundle: Option<String>,
}

impl TlsSecret<'_> {
    /// A Secret of the type kubernetes.io/tls, as it is applied.
    pub fn to_object(&self) -> Value {
        let (target, version) = (self.target, self.resource_version);
        let mut metadata = metadata(self.declaration, target, version, self.marks);
        let SecretForm {
            labels,
            annotations,
            ..
        } = self.form;
        if let Some(all) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            for (name, value) in annotations {
                all.entry(name.clone()).or_insert_with(|| json!(value));
            }
        }
        if let (false, Some(metadata)) = (labels.is_empty(), metadata.as_object_mut()) {
            metadata.insert("labels".to_owned(), json!(labels));
        }
        let bytes = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
        let mut data = json!({
            "tls.crt": bytes(&self.certificate),
            "tls.key": bytes(self.key.to_pem()),
        });
        if let (Some(bundle), Some(data)) = (&self.bundle, data.as_object_mut()) {
            data.insert("ca.crt".to_owned(), bytes(bundle));
        }
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": metadata,
            "data": data,
        })
    }
}
