//! One cluster with OpenChoreo's CRDs, its namespaces, the chart's RBAC and the operator's own ServiceAccount: where every
//! scenario starts.

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::apply::{apply_yaml, create_namespace, dynamic_api};
use crate::chart::install_operator_rbac;
use crate::crds::{CrdSource, Release, openchoreo_crds_from};
use crate::openchoreo::{CONTROL_PLANE, ClientCa, PlaneType, plane};
use crate::openssl::Ca;
use crate::wait::{PATIENCE, wait_for};
use crate::{ControlPlane, Operator, OperatorOptions, Proxy, Result, openchoreo};

/// The namespaces of the guide.
pub const NAMESPACES: [&str; 5] = [
    CONTROL_PLANE,
    "openchoreo-data-plane",
    "openchoreo-build-plane",
    "openchoreo-workflow-plane",
    "openchoreo-observability-plane",
];
/// The CA Secret of the guide.
pub const CA_SECRET: &str = "cluster-gateway-external-ca";
/// The issuance that the helpers make.
pub const ISSUANCE: &str = "cluster-gateway";

/// A cluster that is ready for an issuance.
pub struct World {
    /// The cluster.
    pub cluster: ControlPlane,
    /// An admin's client.
    pub admin: Client,
    /// The release whose CRDs are installed.
    pub release: Release,
}

impl World {
    /// OpenChoreo's CRDs of that release and source, the ConfigMap that its control-plane chart leaves unfilled, the
    /// namespaces and the chart's rights with its default values.
    pub async fn start(source: CrdSource, release: Release) -> Result<Self> {
        Self::start_with(source, release, json!({})).await
    }

    /// The same with other values for the chart.
    pub async fn start_with(source: CrdSource, release: Release, values: Value) -> Result<Self> {
        let world = Self::without_planes(release, values).await?;
        for crd in openchoreo_crds_from(source, release) {
            apply_yaml(&world.admin, &crd).await?;
        }
        apply_yaml(&world.admin, &openchoreo::unfilled_bundle(CONTROL_PLANE)).await?;
        Ok(world)
    }

    /// A cluster where OpenChoreo's kinds are still missing.
    pub async fn without_planes(release: Release, values: Value) -> Result<Self> {
        let cluster = ControlPlane::start().await?;
        let admin = cluster.admin().await;
        for namespace in NAMESPACES {
            create_namespace(&admin, namespace).await?;
        }
        install_operator_rbac(&admin, &values).await?;
        Ok(Self {
            cluster,
            admin,
            release,
        })
    }

    /// A world with the newest fixtures or real CRDs, whichever is there.
    pub async fn any() -> Result<Self> {
        let source = CrdSource::available(Release::V0_17)[0];
        Self::start(source, Release::V0_17).await
    }

    /// The operator as its own ServiceAccount, serving the guide's namespaces, and the planes of `default`.
    pub async fn operator(&self, proxy: Option<&Proxy>) -> Result<Operator> {
        let mut options = OperatorOptions::installed(&self.cluster, proxy, &NAMESPACES).await?;
        options.args.push("--plane-namespaces=default".into());
        let operator = Operator::start(options).await?;
        operator.ready().await?;
        Ok(operator)
    }

    /// The CA Secret, as OpenSSL made the CA.
    pub async fn put_ca(&self, ca: &Ca) -> Result<()> {
        apply_yaml(
            &self.admin,
            &openchoreo::ca_secret(CONTROL_PLANE, CA_SECRET, ca),
        )
        .await?;
        Ok(())
    }

    /// A data, a build (or workflow) and an observability plane in `default`, each with planeID `default`.
    pub async fn put_planes(&self) -> Result<()> {
        for plane_type in self.plane_types() {
            let name = plane_type.argument();
            let text = plane(
                plane_type.kind(),
                Some("default"),
                name,
                Some("default"),
                &ClientCa::Nothing,
            );
            apply_yaml(&self.admin, &text).await?;
        }
        Ok(())
    }

    /// The plane types of the release.
    pub fn plane_types(&self) -> [PlaneType; 3] {
        let builder = if self.release == Release::V0_17 {
            PlaneType::Build
        } else {
            PlaneType::Workflow
        };
        [PlaneType::Data, builder, PlaneType::Observability]
    }

    /// The smallest issuance.
    pub async fn issue(&self) -> Result<()> {
        self.issue_with(json!({})).await
    }

    /// An issuance with more in its spec.
    pub async fn issue_with(&self, spec: Value) -> Result<()> {
        let mut object = issuance(ISSUANCE);
        if let (Some(target), Value::Object(more)) = (object["spec"].as_object_mut(), spec) {
            target.extend(more);
        }
        apply_yaml(&self.admin, &object.to_string()).await?;
        Ok(())
    }

    /// The issuances of the control plane's namespace.
    pub fn issuances(&self) -> Api<ExternalCAIssuance> {
        Api::namespaced(self.admin.clone(), CONTROL_PLANE)
    }

    /// Secrets of a namespace.
    pub fn secrets(&self, namespace: &str) -> Api<Secret> {
        Api::namespaced(self.admin.clone(), namespace)
    }

    /// ConfigMaps of a namespace.
    pub fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.admin.clone(), namespace)
    }

    /// The planes of a kind in `default`.
    pub async fn planes(&self, kind: &str) -> Result<Api<DynamicObject>> {
        dynamic_api(
            &self.admin,
            "openchoreo.dev/v1alpha1",
            kind,
            Some("default"),
        )
        .await
    }

    /// Deployments of a namespace.
    pub fn deployments(&self, namespace: &str) -> Api<Deployment> {
        Api::namespaced(self.admin.clone(), namespace)
    }

    /// Text under a key of a Secret; empty where there is none.
    pub async fn secret_text(&self, namespace: &str, name: &str, key: &str) -> String {
        let secret = self.secrets(namespace).get_opt(name).await.unwrap();
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        let bytes = data.get(key).map(|bytes| bytes.0.clone());
        String::from_utf8(bytes.unwrap_or_default()).unwrap()
    }

    /// Puts an annotation on the issuance.
    pub async fn annotate(&self, annotation: &str, value: &str) -> Result<()> {
        let patch = json!({"metadata": {"annotations": {annotation: value}}});
        let params = PatchParams::default();
        self.issuances()
            .patch(ISSUANCE, &params, &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Every Secret and ConfigMap outside of Kubernetes' own namespaces by its resource version, every plane by its spec.
    pub async fn snapshot(&self) -> Result<BTreeMap<String, String>> {
        let all = ListParams::default();
        let mut found = BTreeMap::new();
        let mut add = |kind: &str, namespace: Option<String>, name: String, what: String| {
            let namespace = namespace.unwrap_or_default();
            if !namespace.starts_with("kube-") && name != "kube-root-ca.crt" {
                found.insert(format!("{kind} {namespace}/{name}"), what);
            }
        };
        for secret in Api::<Secret>::all(self.admin.clone()).list(&all).await? {
            let version = secret.resource_version().unwrap_or_default();
            add("Secret", secret.namespace(), secret.name_any(), version);
        }
        for map in Api::<ConfigMap>::all(self.admin.clone()).list(&all).await? {
            let version = map.resource_version().unwrap_or_default();
            add("ConfigMap", map.namespace(), map.name_any(), version);
        }
        for kind in self.plane_types().map(PlaneType::kind) {
            for plane in self.planes(kind).await?.list(&all).await? {
                let spec = plane.data["spec"].to_string();
                add(kind, plane.namespace(), plane.name_any(), spec);
            }
        }
        Ok(found)
    }

    /// Waits until the issuance is Ready for its newest generation.
    pub async fn ready(&self) -> ExternalCAIssuanceStatus {
        self.condition("Ready", "True", "Ready").await
    }

    /// Waits for a condition of the issuance with this status and reason.
    pub async fn condition(
        &self,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> ExternalCAIssuanceStatus {
        self.condition_of(ISSUANCE, kind, status, reason).await
    }

    /// The same for another issuance.
    pub async fn condition_of(
        &self,
        name: &str,
        kind: &str,
        status: &str,
        reason: &str,
    ) -> ExternalCAIssuanceStatus {
        let api = self.issuances();
        wait_for(
            &format!("{name}: {kind}={status} ({reason})"),
            PATIENCE,
            async || {
                let issuance = api.get(name).await.map_err(|error| error.to_string())?;
                let found = issuance.status.clone().unwrap_or_default();
                let current = found.observed_generation == issuance.metadata.generation;
                let holds = found.conditions.iter().any(|condition| {
                    condition.type_ == kind
                        && condition.status == status
                        && condition.reason == reason
                });
                if current && holds {
                    Ok(found)
                } else {
                    Err(describe(&found))
                }
            },
        )
        .await
    }
}

/// Conditions on a line each, for people.
pub fn describe(status: &ExternalCAIssuanceStatus) -> String {
    let lines = status.conditions.iter().map(|condition| {
        format!(
            "\n  {}={} {}: {}",
            condition.type_, condition.status, condition.reason, condition.message
        )
    });
    format!("{:?}{}", status.phase, lines.collect::<String>())
}

/// The message of a condition.
pub fn message(status: &ExternalCAIssuanceStatus, kind: &str) -> String {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind);
    found
        .map(|condition| condition.message.clone())
        .unwrap_or_default()
}

/// The smallest issuance, as JSON.
pub fn issuance(name: &str) -> Value {
    json!({
        "apiVersion": "pki.openchoreo.dev/v1alpha1",
        "kind": "ExternalCAIssuance",
        "metadata": {"name": name, "namespace": CONTROL_PLANE},
        "spec": {"issuer": {"caSecret": {"name": CA_SECRET}}},
    })
}
