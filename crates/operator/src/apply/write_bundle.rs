//! Writes a bundle, and nothing else of its object.

use external_ca_core::domain::BundlePlace;
use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef};
use external_ca_core::plan::WriteBundle;
use external_ca_core::x509::{Certificate, encode_bundle};
use external_ca_core::{Problem, Reason};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};

use super::write::{annotations, apply_object, merge, metadata};
use crate::cluster::Cluster;
use crate::declaration::Declaration;
use crate::error::Error;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// Carries the step out.
pub async fn carry_out(
    cluster: &Cluster,
    declaration: &Declaration,
    step: &WriteBundle,
) -> Result<Problem, Error> {
    let MaterialRef { kind, object } = &step.target;
    let version = step.resource_version.as_deref();
    // A watch may be late, and another operator that leads has the same field manager, so that no conflict tells of it:
    // only the API server's own answer shows that there is nothing to lose.
    if version.is_none() && exists(cluster, &step.target).await? {
        return Err(Error::Changed);
    }
    let pem = encode_bundle(&step.anchors);
    if step.place == BundlePlace::Beside {
        beside(cluster, declaration, step, &pem).await?;
        return Ok(told(step));
    }
    let metadata = metadata(declaration, object, version, &step.marks);
    let written = |kind: &str, bundle: Value| {
        json!({
            "apiVersion": "v1",
            "kind": kind,
            "metadata": metadata,
            "data": {"ca.crt": bundle},
        })
    };
    let existed = version.is_some();
    match kind {
        MaterialKind::ConfigMap => {
            let bundle = written("ConfigMap", json!(pem));
            apply_object::<ConfigMap>(cluster, object, existed, bundle).await?;
        }
        MaterialKind::Secret => {
            let bundle = written("Secret", json!(ByteString(pem.into_bytes())));
            apply_object::<Secret>(cluster, object, existed, bundle).await?;
        }
    }
    Ok(told(step))
}

fn told(step: &WriteBundle) -> Problem {
    let titles: Vec<String> = step.anchors.iter().map(Certificate::title).collect();
    Problem::new(
        Reason::TrustUpdated,
        format!("{} now trusts {}", step.target, titles.join("; ")),
    )
}

/// Writes the bundle beside a certificate and its key. An apply would take those away, which are the same manager's.
async fn beside(
    cluster: &Cluster,
    declaration: &Declaration,
    step: &WriteBundle,
    pem: &str,
) -> Result<(), Error> {
    let ObjectRef {
        namespace, name, ..
    } = &step.target.object;
    let patch = json!({
        "metadata": {
            "resourceVersion": step.resource_version,
            "annotations": annotations(declaration, &step.marks),
        },
        "data": {"ca.crt": ByteString(pem.as_bytes().to_vec())},
    });
    let written = merge(&cluster.api::<Secret>(namespace), name, patch).await?;
    cluster.wrote(&step.target.object, &written.into_decoded()?);
    Ok(())
}

async fn exists(cluster: &Cluster, target: &MaterialRef) -> Result<bool, Error> {
    Ok(match target.kind {
        MaterialKind::ConfigMap => {
            let found: Option<ConfigMap> = cluster.get(&target.object).await?;
            found.is_some()
        }
        MaterialKind::Secret => {
            let found: Option<Secret> = cluster.get(&target.object).await?;
            found.is_some()
        }
    })
}
