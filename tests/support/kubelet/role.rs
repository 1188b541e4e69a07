//! What runs in a pod: OpenChoreo's gateway or agent, as its containers' arguments say, who serves webhooks or calls the
//! gateway's internal API, as its mounts say, or nothing.

use super::volumes::locate;
use k8s_openapi::api::core::v1::{Container, Pod};
use std::path::Path;

/// What a pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A gateway: a container has `--server-cert`.
    Gateway,
    /// An agent: a container has `--server-url`.
    Agent,
    /// The controller-manager or openchoreo-api: a container mounts [`WEBHOOK_CERTIFICATE`] or [`GATEWAY_CLIENT`].
    Manager,
    /// Nothing that matters here: it runs by having started.
    Other,
}

/// Where controller-runtime looks for the certificate of its webhook server.
pub(super) const WEBHOOK_CERTIFICATE: &str = "/tmp/k8s-webhook-server/serving-certs";
/// Where clients of the gateway's internal API have their certificate.
pub(super) const GATEWAY_CLIENT: &str = "/etc/cluster-gateway-client";
/// Where they have the bundle that they verify the gateway by.
pub(super) const GATEWAY_CA: &str = "/etc/cluster-gateway";

/// A pod's role, and the container that gives it.
pub(super) fn role(pod: &Pod) -> (Role, Option<&Container>) {
    let containers = || pod.spec.iter().flat_map(|spec| &spec.containers);
    let with = |flag: &str| containers().find(|container| value(container, flag).is_some());
    let manager = || {
        containers().find(|container| {
            mounts(container, WEBHOOK_CERTIFICATE) || mounts(container, GATEWAY_CLIENT)
        })
    };
    match (with("--server-cert"), with("--server-url")) {
        (Some(container), _) => (Role::Gateway, Some(container)),
        (None, Some(container)) => (Role::Agent, Some(container)),
        (None, None) => match manager() {
            Some(container) => (Role::Manager, Some(container)),
            None => (Role::Other, None),
        },
    }
}

/// Whether a container mounts a volume there.
pub(super) fn mounts(container: &Container, path: &str) -> bool {
    let mut mounts = container.volume_mounts.iter().flatten();
    mounts.any(|mount| mount.mount_path.trim_end_matches('/') == path)
}

/// The value of a flag among a container's arguments.
pub(super) fn value<'a>(container: &'a Container, flag: &str) -> Option<&'a str> {
    let args: Vec<&str> = words(container).collect();
    args.iter()
        .enumerate()
        .find_map(|(index, arg)| match arg.strip_prefix(flag)? {
            "" => args.get(index + 1).copied(),
            rest => rest.strip_prefix('='),
        })
}

/// A container's arguments, the paths in them turned into those of the pod's files below `root`.
pub(super) fn arguments(pod: &Pod, container: &Container, root: &Path) -> Vec<String> {
    let translate = |path: &str| {
        let file = path
            .starts_with('/')
            .then(|| locate(pod, &container.name, path, root))
            .flatten();
        file.map_or_else(|| path.to_owned(), |file| file.display().to_string())
    };
    let args = words(container).filter(|arg| !arg.is_empty());
    args.map(|arg| match arg.split_once('=') {
        Some((flag, value)) if flag.starts_with('-') => format!("{flag}={}", translate(value)),
        _ => translate(arg),
    })
    .collect()
}

fn words(container: &Container) -> impl Iterator<Item = &str> {
    // Without the image there is no telling which word of the command is the program: peers passes over what is no flag.
    container
        .command
        .iter()
        .flatten()
        .chain(container.args.iter().flatten())
        .map(String::as_str)
}

/// The Service that a host name inside the cluster stands for: name and namespace.
pub(super) fn service_of(host: &str) -> Option<(&str, &str)> {
    let mut labels = host.split('.');
    let (name, namespace, svc) = (labels.next()?, labels.next()?, labels.next()?);
    (svc == "svc").then_some((name, namespace))
}

/// `wss://host:port/path`, in parts: scheme, host, port, path.
pub(super) fn split_url(url: &str) -> Option<(&str, &str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
    Some((scheme, host, port, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_names_apart() {
        assert_eq!(
            service_of("cluster-gateway.ns.svc.cluster.local"),
            Some(("cluster-gateway", "ns"))
        );
        assert_eq!(
            service_of("cluster-gateway.ns.svc"),
            Some(("cluster-gateway", "ns"))
        );
        assert_eq!(service_of("gateway.example.com"), None);
        assert_eq!(
            split_url("wss://a.b:8443/ws"),
            Some(("wss", "a.b", "8443", "/ws"))
        );
        assert_eq!(split_url("wss://a.b"), Some(("wss", "a.b", "443", "")));
    }

    #[test]
    fn finds_roles_and_files() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "containers": [{
                "name": "agent",
                "args": ["--server-url=wss://a/ws", "--client-cert", "/certs/tls.crt", "--server-ca=/ca-certs/ca.crt", "--x=/other"],
                "volumeMounts": [{"name": "c", "mountPath": "/certs"}, {"name": "t", "mountPath": "/ca-certs/"}],
            }],
        }})).unwrap();
        let (role, container) = role(&pod);
        assert_eq!(role, Role::Agent);
        let container = container.unwrap();
        assert_eq!(value(container, "--client-cert"), Some("/certs/tls.crt"));
        let args = [
            "--server-url=wss://a/ws",
            "--client-cert",
            "/pod/c/tls.crt",
            "--server-ca=/pod/t/ca.crt",
            "--x=/other",
        ];
        assert_eq!(arguments(&pod, container, Path::new("/pod")), args);
    }
}
