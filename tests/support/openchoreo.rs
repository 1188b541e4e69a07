//! What OpenChoreo's charts install, as far as certificates go; labels, arguments and mounts are those of the charts.

use crate::apply::documents;
use crate::crds::{Release, shared};
use serde_json::{Value, json};
use std::fs;

/// The control plane's usual namespace.
pub const CONTROL_PLANE: &str = "openchoreo-control-plane";

/// A type of plane, as an agent's `--plane-type` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlaneType {
    /// `dataplane`
    Data,
    /// `buildplane`, up to v0.17.
    Build,
    /// `workflowplane`, from v1.0.
    Workflow,
    /// `observabilityplane`
    Observability,
}

impl PlaneType {
    /// The value of `--plane-type`.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Data => "dataplane",
            Self::Build => "buildplane",
            Self::Workflow => "workflowplane",
            Self::Observability => "observabilityplane",
        }
    }

    /// The namespaced plane kind.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Data => "DataPlane",
            Self::Build => "BuildPlane",
            Self::Workflow => "WorkflowPlane",
            Self::Observability => "ObservabilityPlane",
        }
    }

    /// The namespace that the guide gives its agent.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Data => "openchoreo-data-plane",
            Self::Build => "openchoreo-build-plane",
            Self::Workflow => "openchoreo-workflow-plane",
            Self::Observability => "openchoreo-observability-plane",
        }
    }

    /// The name of its agent's Deployment.
    pub fn deployment(self) -> String {
        format!("cluster-agent-{}", self.argument())
    }
}

/// The control plane of v0.17: Deployments cluster-gateway and controller-manager (without its webhook's certificate),
/// the gateway's Service, and the ConfigMap cluster-gateway-ca that holds only comments.
pub fn control_plane(namespace: &str) -> String {
    control_plane_of(Release::V0_17, namespace)
}

/// The control plane of a release. From v1.0 the gateway, the controller-manager and openchoreo-api also mount
/// certificates of an internal API: stand-ins for those Secrets are part of it, for pods wait for their mounts.
pub fn control_plane_of(release: Release, namespace: &str) -> String {
    let internal = release == Release::V1_2;
    let labels = |component: &str| {
        json!({
            "app.kubernetes.io/name": "openchoreo-control-plane",
            "app.kubernetes.io/instance": "openchoreo-control-plane",
            "app.kubernetes.io/component": component,
        })
    };
    let mut gateway_labels = labels("cluster-gateway");
    gateway_labels["app"] = json!("cluster-gateway");
    let service = format!("cluster-gateway.{namespace}.svc.cluster.local:8443");
    let mut gateway_mounts = vec![(
        "server-certs",
        "/certs",
        Source::Secret("cluster-gateway-tls"),
    )];
    let mut manager_mounts = vec![(
        "cluster-gateway-ca",
        "/etc/cluster-gateway",
        Source::Secret("cluster-gateway-ca"),
    )];
    if internal {
        gateway_mounts.push((
            "internal-ca",
            "/internal-ca",
            Source::Secret("cluster-gateway-internal-ca"),
        ));
        let client = Source::Secret("controller-manager-cluster-gateway-client-tls");
        manager_mounts.push((
            "cluster-gateway-client-tls",
            "/etc/cluster-gateway-client",
            client,
        ));
    }
    let mut objects = vec![
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "cluster-gateway-ca", "namespace": namespace, "labels": labels("cluster-gateway")},
            "data": {"ca.crt": PLACEHOLDER},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "cluster-gateway", "namespace": namespace, "labels": gateway_labels},
            "spec": {"type": "ClusterIP", "selector": gateway_labels, "ports": [
                {"name": "websocket", "port": 8443, "targetPort": 8443, "protocol": "TCP"},
            ]},
        }),
        service_account("cluster-gateway", namespace),
        deployment(&Workload {
            name: "cluster-gateway",
            namespace,
            labels: &gateway_labels,
            replicas: 1,
            container: "cluster-gateway",
            args: &[
                "--port=8443",
                "--server-cert=/certs/tls.crt",
                "--server-key=/certs/tls.key",
                "--heartbeat-interval=30s",
                "--heartbeat-timeout=90s",
                "--skip-client-cert-verify=false",
                "--log-level=info",
            ],
            mounts: &gateway_mounts,
        }),
        service_account("controller-manager", namespace),
        deployment(&Workload {
            name: "controller-manager",
            namespace,
            labels: &labels("controller-manager"),
            replicas: 1,
            container: "manager",
            args: &[
                "--leader-elect",
                &format!("--cluster-gateway-url=https://{service}"),
                "--cluster-gateway-ca-cert=/etc/cluster-gateway/ca.crt",
            ],
            mounts: &manager_mounts,
        }),
    ];
    if internal {
        for name in [
            "cluster-gateway-internal-ca",
            "controller-manager-cluster-gateway-client-tls",
            "openchoreo-api-cluster-gateway-client-tls",
        ] {
            objects.push(json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace},
                "stringData": {"ca.crt": PLACEHOLDER},
            }));
        }
        objects.push(service_account("openchoreo-api", namespace));
        objects.push(deployment(&Workload {
            name: "openchoreo-api",
            namespace,
            labels: &labels("openchoreo-api"),
            replicas: 1,
            container: "openchoreo-api",
            args: &[&format!("--cluster-gateway-url=https://{service}")],
            mounts: &[
                (
                    "cluster-gateway-ca",
                    "/etc/cluster-gateway",
                    Source::Secret("cluster-gateway-ca"),
                ),
                (
                    "cluster-gateway-client-tls",
                    "/etc/cluster-gateway-client",
                    Source::Secret("openchoreo-api-cluster-gateway-client-tls"),
                ),
            ],
        }));
    }
    yaml(&objects)
}

/// The agent of a plane whose gateway is in [`CONTROL_PLANE`].
pub fn agent(plane_type: PlaneType, namespace: &str, plane_id: &str, replicas: i32) -> String {
    agent_of(plane_type, namespace, plane_id, replicas, CONTROL_PLANE)
}

/// The agent of a plane, with the namespace of its gateway.
pub fn agent_of(
    plane_type: PlaneType,
    namespace: &str,
    plane_id: &str,
    replicas: i32,
    gateway: &str,
) -> String {
    agent_at(
        plane_type,
        namespace,
        plane_id,
        replicas,
        &format!("cluster-gateway.{gateway}.svc.cluster.local:8443"),
    )
}

/// The agent of a plane, with the address of its gateway: from another cluster that is no Service.
pub fn agent_at(
    plane_type: PlaneType,
    namespace: &str,
    plane_id: &str,
    replicas: i32,
    address: &str,
) -> String {
    let release = match plane_type {
        PlaneType::Data => "openchoreo-data-plane",
        PlaneType::Build => "openchoreo-build-plane",
        PlaneType::Workflow => "openchoreo-workflow-plane",
        PlaneType::Observability => "openchoreo-observability-plane",
    };
    let labels = json!({
        "app": "cluster-agent",
        "app.kubernetes.io/component": "cluster-agent",
        "app.kubernetes.io/name": release,
        "app.kubernetes.io/instance": release,
    });
    let name = plane_type.deployment();
    yaml(&[
        service_account(&name, namespace),
        deployment(&Workload {
            name: &name,
            namespace,
            labels: &labels,
            replicas,
            container: "agent",
            args: &[
                &format!("--server-url=wss://{address}/ws"),
                &format!("--plane-type={}", plane_type.argument()),
                &format!("--plane-id={plane_id}"),
                "--tls-enabled=true",
                "--client-cert=/certs/tls.crt",
                "--client-key=/certs/tls.key",
                "--server-ca=/ca-certs/ca.crt",
                "--heartbeat-interval=30s",
                "--reconnect-delay=5s",
                "--log-level=info",
            ],
            mounts: &[
                (
                    "client-certs",
                    "/certs",
                    Source::Secret("cluster-agent-tls"),
                ),
                (
                    "server-ca",
                    "/ca-certs",
                    Source::ConfigMap("cluster-gateway-ca"),
                ),
            ],
        }),
    ])
}

/// What a plane resource trusts.
#[derive(Clone, Debug)]
pub enum ClientCa<'a> {
    /// Nothing: `clientCA: {}`.
    Nothing,
    /// Inline PEM.
    Value(&'a str),
    /// A Secret; the release decides the field's name.
    Secret {
        /// The release of the plane kinds.
        release: Release,
        /// The Secret's name.
        name: &'a str,
        /// The key in it.
        key: &'a str,
        /// Its namespace, where that is not the object's.
        namespace: Option<&'a str>,
    },
}

/// A plane resource. `namespace` is nothing for the `Cluster…` kinds, which need a `plane_id`.
pub fn plane(
    kind: &str,
    namespace: Option<&str>,
    name: &str,
    plane_id: Option<&str>,
    ca: &ClientCa<'_>,
) -> String {
    let client_ca = match ca {
        ClientCa::Nothing => json!({}),
        ClientCa::Value(pem) => json!({ "value": pem }),
        ClientCa::Secret {
            release,
            name,
            key,
            namespace,
        } => {
            let mut reference = json!({ "name": name, "key": key });
            if let Some(namespace) = namespace {
                reference["namespace"] = json!(namespace);
            }
            json!({ release.reference_field(): reference })
        }
    };
    let mut spec = json!({ "clusterAgent": { "clientCA": client_ca } });
    if let Some(plane_id) = plane_id {
        spec["planeID"] = json!(plane_id);
    }
    if kind.ends_with("ObservabilityPlane") {
        spec["observerURL"] = json!("http://observer.openchoreo-observability-plane.svc:8080");
    }
    let mut metadata = json!({ "name": name });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    yaml(&[
        json!({ "apiVersion": "openchoreo.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec }),
    ])
}

/// A `kubernetes.io/tls` Secret.
pub fn tls_secret(namespace: &str, name: &str, leaf: &crate::openssl::Leaf) -> String {
    yaml(&[json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {"tls.crt": leaf.certificate, "tls.key": leaf.key},
    })])
}

/// A CA as a Secret with `tls.crt` and `tls.key`, as an issuance refers to it.
pub fn ca_secret(namespace: &str, name: &str, ca: &crate::openssl::Ca) -> String {
    yaml(&[json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {"tls.crt": format!("{}{}", ca.certificate, ca.parents), "tls.key": ca.key},
    })])
}

/// What the control-plane chart renders into the ConfigMap of the bundle, and puts back at each upgrade.
pub const PLACEHOLDER: &str = "# Placeholder certificate - will be replaced by actual CA certificate\n\
    # after cluster-gateway TLS secret is ready\n";

/// The ConfigMap of the bundle as OpenChoreo's control-plane chart makes it.
pub fn unfilled_bundle(namespace: &str) -> String {
    yaml(&[json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "cluster-gateway-ca", "namespace": namespace},
        "data": {"ca.crt": PLACEHOLDER},
    })])
}

/// The trust places of a namespace as the guide fills them: ConfigMap cluster-gateway-ca and, in the control plane, a
/// key-less Secret of that name.
pub fn trust(namespace: &str, pem: &str, with_secret: bool) -> String {
    let metadata = json!({"name": "cluster-gateway-ca", "namespace": namespace});
    let mut objects = vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.crt": pem}}),
    ];
    if with_secret {
        objects
            .push(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"ca.crt": pem}}));
    }
    yaml(&objects)
}

/// What the real charts of v0.17.0 render, filtered to Deployments, Services, ConfigMaps and the ServiceAccounts that the
/// Deployments name; nothing where the shared folder is missing. `chart` is `control-plane`, `data-plane`,
/// `build-plane` or `observability-plane`. The controller-manager comes without its webhook's certificate.
pub fn rendered(chart: &str) -> Option<String> {
    let path = shared().join(format!("rendered/v0.17.0/openchoreo-{chart}.yaml"));
    let text = fs::read_to_string(path).ok()?;
    let kinds = ["Deployment", "Service", "ConfigMap"];
    let mut objects = Vec::new();
    for mut object in documents(&text).expect("the charts render YAML") {
        if !object["kind"]
            .as_str()
            .is_some_and(|kind| kinds.contains(&kind))
        {
            continue;
        }
        if object["kind"] == "Deployment" {
            let namespace = object["metadata"]["namespace"]
                .as_str()
                .unwrap_or("default")
                .to_owned();
            let pod = &mut object["spec"]["template"]["spec"];
            if let Some(account) = pod["serviceAccountName"].as_str() {
                objects.push(service_account(account, &namespace));
            }
            for list in ["/volumes", "/containers/0/volumeMounts"] {
                if let Some(items) = pod.pointer_mut(list).and_then(Value::as_array_mut) {
                    items.retain(|item| item["name"] != "cert");
                }
            }
        }
        objects.push(object);
    }
    Some(yaml(&objects))
}

enum Source {
    Secret(&'static str),
    ConfigMap(&'static str),
}

struct Workload<'a> {
    name: &'a str,
    namespace: &'a str,
    labels: &'a Value,
    replicas: i32,
    container: &'a str,
    args: &'a [&'a str],
    mounts: &'a [(&'static str, &'static str, Source)],
}

fn deployment(workload: &Workload<'_>) -> Value {
    let volume = |(name, _, source): &(&str, &str, Source)| match source {
        Source::Secret(secret) => json!({"name": name, "secret": {"secretName": secret}}),
        Source::ConfigMap(map) => json!({"name": name, "configMap": {"name": map}}),
    };
    let mount = |(name, path, _): &(&str, &str, Source)| json!({"name": name, "mountPath": path, "readOnly": true});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": workload.name, "namespace": workload.namespace, "labels": workload.labels},
        "spec": {
            "replicas": workload.replicas,
            "selector": {"matchLabels": workload.labels},
            "template": {
                "metadata": {"labels": workload.labels},
                "spec": {
                    "serviceAccountName": workload.name,
                    "containers": [{
                        "name": workload.container,
                        "image": format!("ghcr.io/openchoreo/{}:v0.17.0", workload.container),
                        "args": workload.args,
                        "volumeMounts": workload.mounts.iter().map(mount).collect::<Vec<_>>(),
                    }],
                    "volumes": workload.mounts.iter().map(volume).collect::<Vec<_>>(),
                },
            },
        },
    })
}

fn service_account(name: &str, namespace: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
}

/// Objects as one YAML text; the texts of this module may be joined by [`crate::openchoreo::join`].
fn yaml(objects: &[Value]) -> String {
    objects
        .iter()
        .map(|object| format!("---\n{object}\n"))
        .collect()
}

/// Joins YAML texts.
pub fn join(texts: impl IntoIterator<Item = String>) -> String {
    texts
        .into_iter()
        .map(|text| format!("---\n{text}\n"))
        .collect()
}
