//! What the chart's Roles allow and what they do not: asked of the API server, and tried.

use external_ca_tests::chart::{NAMESPACE, RELEASE};
use external_ca_tests::openchoreo::CONTROL_PLANE;
use external_ca_tests::openssl::Ca;
use external_ca_tests::world::{CA_SECRET, NAMESPACES, World};
use external_ca_tests::{Result, openchoreo};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Error};
use serde_json::json;

const DATA: &str = "openchoreo-data-plane";

/// Verb, `group/resource`, namespace (empty: all, or none) and name (empty: any).
type Action = (&'static str, &'static str, &'static str, &'static str);

const ALLOWED: [Action; 35] = [
    ("get", "/secrets", CONTROL_PLANE, CA_SECRET),
    ("watch", "/secrets", CONTROL_PLANE, CA_SECRET),
    ("get", "/secrets", CONTROL_PLANE, "cluster-gateway-tls"),
    ("patch", "/secrets", CONTROL_PLANE, "cluster-gateway-tls"),
    ("patch", "/secrets", DATA, "cluster-agent-tls"),
    ("patch", "/secrets", DATA, "cluster-gateway-ca"),
    ("patch", "/configmaps", DATA, "cluster-gateway-ca"),
    ("list", "apps/deployments", DATA, ""),
    ("watch", "apps/statefulsets", DATA, ""),
    ("patch", "apps/deployments", DATA, ""),
    ("get", "/pods", DATA, ""),
    ("list", "/pods", DATA, ""),
    ("watch", "/pods", CONTROL_PLANE, ""),
    ("list", "openchoreo.dev/dataplanes", "", ""),
    ("watch", "openchoreo.dev/clusterdataplanes", "", ""),
    ("patch", "openchoreo.dev/dataplanes", "default", ""),
    ("list", "pki.openchoreo.dev/externalcaissuances", "", ""),
    (
        "patch",
        "pki.openchoreo.dev/externalcaissuances/status",
        CONTROL_PLANE,
        "",
    ),
    ("create", "events.k8s.io/events", CONTROL_PLANE, ""),
    ("update", "coordination.k8s.io/leases", NAMESPACE, RELEASE),
    ("get", "/secrets", NAMESPACE, "external-ca-pending"),
    ("create", "/secrets", NAMESPACE, "external-ca-pending"),
    ("patch", "/secrets", NAMESPACE, "external-ca-pending"),
    (
        "patch",
        "/secrets",
        CONTROL_PLANE,
        "cluster-gateway-internal-ca",
    ),
    (
        "create",
        "/secrets",
        CONTROL_PLANE,
        "controller-manager-webhook-server-cert",
    ),
    ("watch", "cert-manager.io/certificates", CONTROL_PLANE, ""),
    ("list", "cert-manager.io/issuers", DATA, ""),
    (
        "patch",
        "cert-manager.io/certificates/status",
        CONTROL_PLANE,
        "",
    ),
    ("patch", "cert-manager.io/issuers/status", CONTROL_PLANE, ""),
    ("list", "cert-manager.io/clusterissuers", "", ""),
    ("patch", "cert-manager.io/clusterissuers/status", "", ""),
    ("watch", VALIDATING, "", WEBHOOKS),
    ("patch", VALIDATING, "", WEBHOOKS),
    (
        "get",
        "coordination.k8s.io/leases",
        "kube-system",
        "cert-manager-controller",
    ),
    (
        "get",
        "coordination.k8s.io/leases",
        "kube-system",
        "cert-manager-cainjector-leader-election",
    ),
];

const VALIDATING: &str = "admissionregistration.k8s.io/validatingwebhookconfigurations";
const WEBHOOKS: &str = "openchoreo-control-plane-validating-webhook-configuration";

const FORBIDDEN: [Action; 51] = [
    ("patch", "cert-manager.io/certificates", CONTROL_PLANE, ""),
    ("delete", "cert-manager.io/certificates", CONTROL_PLANE, ""),
    ("list", "cert-manager.io/certificates", "", ""),
    ("list", VALIDATING, "", ""),
    ("patch", VALIDATING, "", "of-somebody"),
    ("create", VALIDATING, "", ""),
    (
        "patch",
        "apiextensions.k8s.io/customresourcedefinitions",
        "",
        "certificates.cert-manager.io",
    ),
    (
        "get",
        "coordination.k8s.io/leases",
        "kube-system",
        "of-somebody",
    ),
    (
        "patch",
        "coordination.k8s.io/leases",
        "kube-system",
        "cert-manager-controller",
    ),
    ("list", "/secrets", "", ""),
    ("watch", "/secrets", "", ""),
    ("list", "/secrets", CONTROL_PLANE, ""),
    ("list", "/secrets", DATA, ""),
    ("watch", "/secrets", DATA, ""),
    ("list", "/secrets", "kube-system", ""),
    ("list", "/secrets", NAMESPACE, ""),
    ("get", "/secrets", NAMESPACE, "somebody-elses"),
    ("delete", "/secrets", NAMESPACE, "external-ca-pending"),
    ("watch", "/secrets", NAMESPACE, "external-ca-pending"),
    ("get", "/secrets", CONTROL_PLANE, "external-ca-pending"),
    ("get", "/secrets", CONTROL_PLANE, "somebody-elses"),
    ("get", "/secrets", DATA, "somebody-elses"),
    ("get", "/secrets", "kube-system", "cluster-gateway-tls"),
    ("patch", "/secrets", CONTROL_PLANE, CA_SECRET),
    ("update", "/secrets", CONTROL_PLANE, CA_SECRET),
    ("patch", "/secrets", "default", "cluster-agent-tls"),
    ("create", "/secrets", "default", ""),
    ("delete", "/secrets", CONTROL_PLANE, "cluster-gateway-tls"),
    ("deletecollection", "/secrets", CONTROL_PLANE, ""),
    ("list", "/configmaps", CONTROL_PLANE, ""),
    ("get", "/configmaps", CONTROL_PLANE, "somebody-elses"),
    ("patch", "/configmaps", "default", "cluster-gateway-ca"),
    ("delete", "/configmaps", DATA, "cluster-gateway-ca"),
    ("list", "apps/deployments", "", ""),
    ("patch", "apps/deployments", "kube-system", ""),
    ("create", "apps/deployments", DATA, ""),
    ("delete", "apps/deployments", DATA, ""),
    ("list", "/pods", "", ""),
    ("list", "/pods", "kube-system", ""),
    ("list", "/pods", "default", ""),
    ("patch", "/pods", DATA, ""),
    ("delete", "/pods", DATA, ""),
    ("get", "/pods/log", DATA, ""),
    ("create", "/pods/exec", DATA, ""),
    ("create", "/serviceaccounts/token", DATA, ""),
    ("patch", "openchoreo.dev/dataplanes", "kube-system", ""),
    ("delete", "openchoreo.dev/dataplanes", "default", ""),
    (
        "delete",
        "pki.openchoreo.dev/externalcaissuances",
        CONTROL_PLANE,
        "",
    ),
    (
        "create",
        "pki.openchoreo.dev/externalcaissuances",
        CONTROL_PLANE,
        "",
    ),
    (
        "create",
        "rbac.authorization.k8s.io/rolebindings",
        CONTROL_PLANE,
        "",
    ),
    (
        "escalate",
        "rbac.authorization.k8s.io/roles",
        CONTROL_PLANE,
        "",
    ),
];

async fn may(client: &Client, (verb, resource, namespace, name): Action) -> Result<bool> {
    let (group, resource) = resource.split_once('/').unwrap();
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let text = |value: &str| Some(value.to_owned()).filter(|value| !value.is_empty());
    let attributes = ResourceAttributes {
        verb: text(verb),
        group: text(group),
        resource: text(resource),
        subresource: text(subresource),
        namespace: text(namespace),
        name: text(name),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = Api::all(client.clone())
        .create(&PostParams::default(), &review)
        .await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, Error>) {
    match result {
        Err(Error::Api(status)) if status.code == 403 => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn the_chart_allows_what_is_needed_and_no_more() -> Result<()> {
    let world = World::any().await?;
    let operator = world.cluster.client_for(NAMESPACE, RELEASE, None).await?;
    for action in ALLOWED {
        assert!(may(&operator, action).await?, "{action:?} is needed");
    }
    for action in FORBIDDEN {
        assert!(!may(&operator, action).await?, "{action:?} is too much");
    }

    let everything = ListParams::default();
    refused(
        "list",
        Api::<Secret>::all(operator.clone()).list(&everything).await,
    );
    for namespace in NAMESPACES
        .into_iter()
        .chain(["default", "kube-system", NAMESPACE])
    {
        let secrets: Api<Secret> = Api::namespaced(operator.clone(), namespace);
        refused("list", secrets.list(&everything).await);
        refused("metadata", secrets.list_metadata(&everything).await);
        refused("get", secrets.get("somebody-elses").await);
        let maps: Api<ConfigMap> = Api::namespaced(operator.clone(), namespace);
        refused(
            "delete",
            maps.delete("cluster-gateway-ca", &DeleteParams::default())
                .await,
        );
        let served = NAMESPACES.contains(&namespace);
        let params = PatchParams::apply("test");
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cluster-gateway-ca"}});
        let written = maps
            .patch("cluster-gateway-ca", &params, &Patch::Apply(object))
            .await;
        match served {
            true => drop(written?),
            false => refused("write", written),
        }
    }

    world.put_ca(&Ca::guide()).await?;
    let secrets: Api<Secret> = Api::namespaced(operator.clone(), CONTROL_PLANE);
    assert!(secrets.get(CA_SECRET).await?.data.is_some());
    let other = openchoreo::ca_secret(CONTROL_PLANE, CA_SECRET, &Ca::replacement(1));
    let other = serde_json::to_value(&external_ca_tests::apply::documents(&other)?[0])?;
    let params = PatchParams::apply("test").force();
    refused(
        "write the CA",
        secrets
            .patch(CA_SECRET, &params, &Patch::Apply(other))
            .await,
    );
    Ok(())
}
