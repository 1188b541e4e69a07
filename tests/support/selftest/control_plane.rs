//! The control plane starts, knows who asks, and leaves nothing behind.

use external_ca_tests::apply::{apply_yaml, create_namespace};
use external_ca_tests::chart::{self, install_operator_rbac};
use external_ca_tests::{ControlPlane, Result};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams};

#[tokio::test]
async fn starts_and_knows_who_asks() -> Result<()> {
    let cluster = ControlPlane::start().await?;
    let admin = cluster.admin().await;
    create_namespace(&admin, "one").await?;
    let yaml = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: one}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: one}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [list]}]
---
# nothing in this one
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: one}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: one}]
";
    assert_eq!(apply_yaml(&admin, yaml).await?.len(), 3);
    for reader in [
        cluster.client_for("one", "reader", None).await?,
        cluster.impersonated_service_account("one", "reader").await,
    ] {
        Api::<ConfigMap>::namespaced(reader.clone(), "one")
            .list(&ListParams::default())
            .await?;
        let refused = Api::<Namespace>::all(reader)
            .list(&ListParams::default())
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("forbidden"), "{refused}");
    }
    let asks = |verb: &str| ResourceAttributes {
        namespace: Some("one".to_owned()),
        verb: Some(verb.to_owned()),
        resource: Some("configmaps".to_owned()),
        ..ResourceAttributes::default()
    };
    assert!(cluster.allows("one", "reader", asks("list")).await?);
    assert!(!cluster.allows("one", "reader", asks("get")).await?);
    Ok(())
}

#[tokio::test]
async fn the_charts_rights_are_installed_without_its_deployment() -> Result<()> {
    let cluster = ControlPlane::start().await?;
    let admin = cluster.admin().await;
    // The CRD is generated, and so not always there.
    let values = serde_json::json!({"crds": {"enabled": false}, "namespaces": {"serve": ["one"], "planes": []}});
    install_operator_rbac(&admin, &values).await?;
    let allows = async |verb: &str, namespace: &str, resource: &str, name: &str| {
        let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        let action = ResourceAttributes {
            verb: text(verb),
            namespace: text(namespace),
            resource: text(resource),
            name: text(name),
            ..ResourceAttributes::default()
        };
        cluster
            .allows(chart::NAMESPACE, chart::RELEASE, action)
            .await
    };
    assert!(allows("patch", "one", "secrets", "cluster-gateway-tls").await?);
    assert!(!allows("patch", "one", "secrets", "another").await?);
    assert!(
        !allows("list", "one", "secrets", "").await? && !allows("list", "", "secrets", "").await?
    );
    assert!(!allows("get", "default", "secrets", "cluster-gateway-tls").await?);
    let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = Api::all(admin);
    assert!(
        deployments
            .list(&ListParams::default())
            .await?
            .items
            .is_empty()
    );
    Ok(())
}

#[tokio::test]
async fn a_cluster_at_hand_is_used_instead() -> Result<()> {
    let [cluster] = ControlPlane::start_many().await?;
    let child = tokio::process::Command::new(std::env::current_exe()?)
        .args(["--exact", "control_plane::starts_and_knows_who_asks"])
        .env("TEST_KUBECONFIG", cluster.admin_kubeconfig())
        .output()
        .await?;
    assert!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stdout)
    );
    // It was here.
    Api::<Namespace>::all(cluster.admin().await)
        .get("one")
        .await?;
    Ok(())
}
