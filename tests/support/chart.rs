//! The operator's chart, rendered by Helm: what an installation makes is what tests run with.

use crate::apply::{MANAGER, apply_documents, create_namespace, documents};
use crate::scratch::Scratch;
use crate::{Result, built, repository};
use kube::Client;
use serde_json::Value;
use std::collections::BTreeSet;
use tokio::process::Command;

/// The namespace of the operator, and the name of its release and its ServiceAccount.
pub const NAMESPACE: &str = "external-ca-system";
/// The release's name, which everything is called by.
pub const RELEASE: &str = "external-ca-operator";

/// What `helm template` makes of the chart with these values (`{}`: the chart's own).
pub async fn operator_objects(values: &Value) -> Result<String> {
    let dir = Scratch::new("helm")?;
    let file = dir.write("values.json", values.to_string())?;
    let output = Command::new(built::tool("helm").await?)
        .args([
            "template",
            RELEASE,
            "charts/external-ca-operator",
            "--namespace",
            NAMESPACE,
            "--include-crds",
            "--values",
        ])
        .arg(file)
        .envs(
            ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"]
                .map(|name| (name, dir.path())),
        )
        .current_dir(repository())
        .output()
        .await?;
    if !output.status.success() {
        return Err(format!("helm template: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Installs what the operator needs to run outside the cluster: its CRD, ServiceAccount and rights, and the namespaces
/// that these are in. The rest of the chart (Deployment, Service, …) is left out.
pub async fn install_operator_rbac(client: &Client, values: &Value) -> Result<()> {
    const KINDS: [&str; 6] = [
        "CustomResourceDefinition",
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "ClusterRole",
        "ClusterRoleBinding",
    ];
    let mut objects = documents(&operator_objects(values).await?)?;
    objects.retain(|object| {
        object["kind"]
            .as_str()
            .is_some_and(|kind| KINDS.contains(&kind))
    });
    let namespaces: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object["metadata"]["namespace"].as_str())
        .chain([NAMESPACE])
        .collect();
    for namespace in namespaces {
        create_namespace(client, namespace).await?;
    }
    apply_documents(client, objects, MANAGER).await?;
    Ok(())
}
