//! Writes the `caBundle` of an object that API servers read: of what is there, and of nothing else.

use external_ca_api::MANAGER;
use external_ca_core::model::{InjectKind, InjectRef};
use external_ca_core::plan::InjectBundle;
use external_ca_core::x509::{Certificate, encode_bundle};
use external_ca_core::{Problem, Reason};
use k8s_openapi::ByteString;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::{Error, bounded};

/// Carries the step out.
pub async fn carry_out(cluster: &Cluster, step: &InjectBundle) -> Result<Problem, Error> {
    let InjectRef { kind, name } = &step.target;
    let bundle = ByteString(encode_bundle(&step.anchors).into_bytes());
    let version = json!({"resourceVersion": step.resource_version});
    let params = PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    };
    let (api, element) = (
        cluster.injected_api(&step.target),
        json!({"caBundle": bundle}),
    );
    // Elements are merged by their names, and the version sees to it that each is still there.
    let patch = match kind {
        InjectKind::ValidatingWebhookConfiguration | InjectKind::MutatingWebhookConfiguration => {
            let elements = step.elements.iter();
            let webhooks: Vec<Value> = elements
                .map(|name| json!({"name": name, "clientConfig": element}))
                .collect();
            Patch::Strategic(json!({"metadata": version, "webhooks": webhooks}))
        }
        InjectKind::CustomResourceDefinition => {
            let conversion = json!({"webhook": {"clientConfig": element}});
            Patch::Merge(json!({"metadata": version, "spec": {"conversion": conversion}}))
        }
        InjectKind::APIService => Patch::Merge(json!({"metadata": version, "spec": element})),
    };
    let written = bounded(api.patch(name, &params, &patch)).await?;
    cluster.wrote_injected(&step.target, &written.into_decoded()?);
    let subjects: Vec<&str> = step.anchors.iter().map(Certificate::subject).collect();
    Ok(Problem::new(
        Reason::TrustUpdated,
        format!("{} now trusts {}", step.target, subjects.join("; ")),
    ))
}
