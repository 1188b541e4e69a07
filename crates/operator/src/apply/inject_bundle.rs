//! Writes the `caBundle` of an object that API servers read: of what is there, and of nothing else. Then it lets go of the
//! field: who applies the object may ship a placeholder, and must not meet a conflict.

use external_ca_api::{INJECTED_ANNOTATION, MANAGER};
use external_ca_core::model::facts::let_go_of;
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
    let metadata = json!({
        "resourceVersion": step.resource_version,
        "annotations": {INJECTED_ANNOTATION: "true"},
    });
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
            Patch::Strategic(json!({"metadata": metadata, "webhooks": webhooks}))
        }
        InjectKind::CustomResourceDefinition => {
            let conversion = json!({"webhook": {"clientConfig": element}});
            Patch::Merge(json!({"metadata": metadata, "spec": {"conversion": conversion}}))
        }
        InjectKind::APIService => Patch::Merge(json!({"metadata": metadata, "spec": element})),
    };
    let written = bounded(api.patch(name, &params, &patch)).await?;
    let written = written.into_decoded()?;
    cluster.wrote_injected(&step.target, &written);
    if let Some(entries) = let_go_of(&written.metadata) {
        let version = &written.metadata.resource_version;
        let metadata = json!({"resourceVersion": version, "managedFields": entries});
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let released = bounded(api.patch(name, &params, &patch)).await?;
        cluster.wrote_injected(&step.target, &released.into_decoded()?);
    }
    let titles: Vec<String> = step.anchors.iter().map(Certificate::title).collect();
    Ok(Problem::new(
        Reason::TrustUpdated,
        format!("{} now trusts {}", step.target, titles.join("; ")),
    ))
}
