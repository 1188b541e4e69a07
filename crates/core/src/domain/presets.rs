//! The guide's certificates, with what an issuance says otherwise.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use external_ca_api::{
    Agent, ExternalCAIssuance, KeyAlgorithm as ApiKey, PlaneKind, PrivateKey, Usage,
};
use jiff::SignedDuration;

use super::leaf::{DesiredLeaf, Role, SecretForm};
use super::names::namespace;
use crate::model::{ObjectRef, Plane, PlaneRef, Workload};
use crate::x509::{CaProfile, KeyAlgorithm, LeafProfile, San, Style, Usages};

/// The kind of key of a CA that the operator makes for an issuance.
pub const GENERATED_CA_KEY: KeyAlgorithm = KeyAlgorithm::Rsa(4096);

/// What the operator makes where there is no CA yet: the guide's.
pub fn generated_ca_profile() -> CaProfile {
    CaProfile {
        common_name: "openchoreo-cluster-gateway-ca".into(),
        organizations: vec!["OpenChoreo".into()],
        organizational_units: Vec::new(),
        path_length: None,
        duration: SignedDuration::from_hours(87_600),
    }
}

/// What asks for a leaf, as messages name it.
#[derive(Clone, Copy)]
pub(super) enum Origin<'a> {
    Gateway,
    AgentOf(&'a PlaneRef),
    Further(&'a str),
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gateway => f.write_str("spec.gateway"),
            Self::AgentOf(plane) => write!(f, "the agent of {plane}"),
            Self::Further(name) => write!(f, "spec.certificates[{name}]"),
        }
    }
}

fn profile(
    issuance: &ExternalCAIssuance,
    common_name: String,
    sans: Vec<San>,
    usages: Usages,
) -> LeafProfile {
    let defaults = &issuance.spec.certificate_defaults;
    LeafProfile {
        common_name,
        organizations: defaults.subject.organizations.clone(),
        sans,
        usages,
        key: key_algorithm(&defaults.private_key),
        duration: defaults.duration.0,
        style: Style::Guide,
    }
}

/// The wanted kind of key.
pub fn key_algorithm(key: &PrivateKey) -> KeyAlgorithm {
    match (key.algorithm, key.size) {
        (ApiKey::Rsa, size) => KeyAlgorithm::Rsa(size.unwrap_or(2048)),
        (ApiKey::Ecdsa, Some(384)) => KeyAlgorithm::EcdsaP384,
        (ApiKey::Ecdsa, Some(521)) => KeyAlgorithm::EcdsaP521,
        (ApiKey::Ecdsa, _) => KeyAlgorithm::EcdsaP256,
        (ApiKey::Ed25519, _) => KeyAlgorithm::Ed25519,
    }
}

/// Each name once: a certificate that says one twice, or in two spellings, says no more.
fn sans(dns: &[String], ips: &[String], uris: &[String]) -> Vec<San> {
    let ip = |text: &String| match text.parse::<IpAddr>() {
        Ok(address) => San::Ip(address),
        // Validation refuses it as a DNS name too, and names it.
        Err(_) => San::Dns(format!("invalid IP address {text}")),
    };
    let dns = dns.iter().map(|name| San::Dns(name.to_ascii_lowercase()));
    let mut names: Vec<San> = Vec::new();
    for name in dns
        .chain(ips.iter().map(ip))
        .chain(uris.iter().cloned().map(San::Uri))
    {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

pub(super) fn gateway(issuance: &ExternalCAIssuance) -> DesiredLeaf {
    let gateway = &issuance.spec.gateway;
    let namespace = namespace(issuance);
    let dns = if gateway.dns_names.is_empty() {
        vec![
            format!("cluster-gateway.{namespace}.svc"),
            format!("cluster-gateway.{namespace}.svc.cluster.local"),
        ]
    } else {
        gateway.dns_names.clone()
    };
    let usages = Usages {
        server_auth: true,
        client_auth: false,
    };
    let sans = sans(&dns, &gateway.ip_addresses, &[]);
    DesiredLeaf {
        target: ObjectRef::new(namespace, &gateway.secret_name),
        role: Role::Gateway,
        profile: profile(issuance, gateway.common_name.clone(), sans, usages),
        planes: BTreeSet::new(),
        blocked: false,
        renewal: None,
        form: SecretForm::default(),
    }
}

pub(super) fn agents<'a>(
    issuance: &'a ExternalCAIssuance,
    planes: &'a [Arc<Plane>],
) -> impl Iterator<Item = (Origin<'a>, DesiredLeaf)> {
    planes.iter().map(|plane| {
        let entry = issuance
            .spec
            .agents
            .iter()
            .find(|agent| selects(agent, plane));
        let expand = |text: &str| {
            let kind = || format!("{:?}", plane.plane.kind).to_ascii_lowercase();
            let text = text.replace("{planeID}", &plane.plane_id);
            match text.contains("{kind}") {
                true => text.replace("{kind}", &kind()),
                false => text,
            }
        };
        let each = |list: &[String]| list.iter().map(|text| expand(text)).collect::<Vec<_>>();
        let namespace = entry.and_then(|agent| agent.namespace.as_deref());
        let secret = entry.and_then(|agent| agent.secret_name.as_deref());
        let names = entry.map_or_else(Vec::new, |agent| {
            sans(&each(&agent.dns_names), &[], &each(&agent.uris))
        });
        let usages = Usages {
            server_auth: false,
            client_auth: true,
        };
        let leaf = DesiredLeaf {
            target: ObjectRef::new(
                expand(namespace.unwrap_or_else(|| default_namespace(plane.plane.kind))),
                expand(secret.unwrap_or("cluster-agent-tls")),
            ),
            role: Role::Agent,
            profile: profile(issuance, plane.plane_id.clone(), names, usages),
            planes: BTreeSet::from([plane.plane.clone()]),
            blocked: false,
            renewal: None,
            form: SecretForm::default(),
        };
        (Origin::AgentOf(&plane.plane), leaf)
    })
}

fn selects(agent: &Agent, plane: &Plane) -> bool {
    let matcher = &agent.planes;
    (matcher.kinds.is_empty() || matcher.kinds.contains(&plane.plane.kind))
        && (matcher.plane_ids.is_empty() || matcher.plane_ids.contains(&plane.plane_id))
        && matcher
            .match_labels
            .iter()
            .all(|(key, value)| plane.labels.get(key) == Some(value))
}

/// The namespace that the guide gives to a kind's agent.
pub fn default_namespace(kind: PlaneKind) -> &'static str {
    match kind {
        PlaneKind::DataPlane | PlaneKind::ClusterDataPlane => "openchoreo-data-plane",
        PlaneKind::BuildPlane | PlaneKind::ClusterBuildPlane => "openchoreo-build-plane",
        PlaneKind::WorkflowPlane | PlaneKind::ClusterWorkflowPlane => "openchoreo-workflow-plane",
        PlaneKind::ObservabilityPlane | PlaneKind::ClusterObservabilityPlane => {
            "openchoreo-observability-plane"
        }
    }
}

/// The word that agents use for a kind (`--plane-type`).
pub fn plane_type(kind: PlaneKind) -> &'static str {
    match kind {
        PlaneKind::DataPlane | PlaneKind::ClusterDataPlane => "dataplane",
        PlaneKind::BuildPlane | PlaneKind::ClusterBuildPlane => "buildplane",
        PlaneKind::WorkflowPlane | PlaneKind::ClusterWorkflowPlane => "workflowplane",
        PlaneKind::ObservabilityPlane | PlaneKind::ClusterObservabilityPlane => {
            "observabilityplane"
        }
    }
}

/// How the gateway knows a plane's agent: plane type and planeID.
pub fn agent_of(plane: &Plane) -> (&'static str, &str) {
    (plane_type(plane.plane.kind), &plane.plane_id)
}

/// Whether a workload runs a plane's agent, as its arguments say.
pub fn is_agent_of(workload: &Workload, plane: &Plane) -> bool {
    let agent = workload.agent.as_ref();
    agent.is_some_and(|(kind, id)| (kind.as_str(), id.as_str()) == agent_of(plane))
}

pub(super) fn further(
    issuance: &ExternalCAIssuance,
) -> impl Iterator<Item = (Origin<'_>, DesiredLeaf)> {
    issuance.spec.certificates.iter().map(|certificate| {
        let usages = Usages {
            server_auth: certificate.usages.contains(&Usage::ServerAuth),
            client_auth: certificate.usages.contains(&Usage::ClientAuth),
        };
        let common_name = certificate
            .common_name
            .clone()
            .unwrap_or_else(|| certificate.name.clone());
        let sans = sans(
            &certificate.dns_names,
            &certificate.ip_addresses,
            &certificate.uris,
        );
        let target = &certificate.target;
        let leaf = DesiredLeaf {
            target: ObjectRef::new(
                target
                    .namespace
                    .as_deref()
                    .unwrap_or_else(|| namespace(issuance)),
                &target.secret_name,
            ),
            role: Role::Further,
            profile: profile(issuance, common_name, sans, usages),
            planes: BTreeSet::new(),
            blocked: false,
            renewal: None,
            form: SecretForm::default(),
        };
        (Origin::Further(&certificate.name), leaf)
    })
}
