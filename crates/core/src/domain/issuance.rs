//! The issuance's presets and overrides, expanded to the leaves, trust places and planes it wants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use external_ca_api::{
    Agent, ExternalCAIssuance, KeyAlgorithm as ApiKey, PlaneKind, PrivateKey, Usage,
};
use jiff::SignedDuration;
use kube::core::{Selector, SelectorExt};

use crate::model::{MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef};
use crate::reason::{Problem, Reason};
use crate::x509::{CaProfile, KeyAlgorithm, LeafProfile, San, Usages};

/// Where a leaf comes from, and so who verifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The gateway's server certificate: verified by whoever mounts a trust bundle.
    Gateway,
    /// An agent's client certificate: verified by the gateway against the clientCA of its planes.
    Agent,
    /// A further certificate: verified by anybody.
    Further,
}

/// A leaf that must exist.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredLeaf {
    /// The Secret.
    pub target: ObjectRef,
    /// Where it comes from.
    pub role: Role,
    /// What it must be.
    pub profile: LeafProfile,
    /// The planes whose agents present it.
    pub planes: BTreeSet<PlaneRef>,
    /// It cannot be planned, by a conflict or an invalid spec. What is stored may be presented all the same.
    pub blocked: bool,
}

impl DesiredLeaf {
    /// The Secret, as something that workloads mount.
    pub fn material(&self) -> MaterialRef {
        MaterialRef {
            kind: MaterialKind::Secret,
            object: self.target.clone(),
        }
    }
}

/// All that an issuance wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Leaves, by Secret.
    pub leaves: BTreeMap<ObjectRef, DesiredLeaf>,
    /// Leaves that cannot be planned: only what is stored of them counts.
    pub blocked: Vec<DesiredLeaf>,
    /// Leaves that want the same Secret, until [`Desired::settle`] says which of them has it.
    pub contested: BTreeMap<ObjectRef, Vec<DesiredLeaf>>,
    /// ConfigMaps and Secrets that hold the bundle.
    pub trust_places: BTreeSet<MaterialRef>,
    /// Planes that belong to the issuance, sorted.
    pub planes: Vec<Arc<Plane>>,
    /// What cannot be wanted, and why.
    pub problems: Vec<(Option<ObjectRef>, Problem)>,
}

/// The issuance's namespace.
pub fn namespace(issuance: &ExternalCAIssuance) -> &str {
    issuance.metadata.namespace.as_deref().unwrap_or_default()
}

/// The issuance as `<namespace>/<name>`.
pub fn identity(issuance: &ExternalCAIssuance) -> String {
    format!(
        "{}/{}",
        namespace(issuance),
        issuance.metadata.name.as_deref().unwrap_or_default()
    )
}

/// The CA Secret.
pub fn ca_secret(issuance: &ExternalCAIssuance) -> ObjectRef {
    let external_ca_api::Issuer::CaSecret(secret) = &issuance.spec.issuer;
    ObjectRef::new(namespace(issuance), &secret.name)
}

/// What the operator makes where there is no CA yet: the guide's.
pub fn generated_ca_profile() -> CaProfile {
    CaProfile {
        common_name: "openchoreo-cluster-gateway-ca".into(),
        organizations: vec!["OpenChoreo".into()],
        path_length: None,
        duration: SignedDuration::from_hours(87_600),
    }
}

/// Expands an issuance over the plane resources that exist.
pub fn desired(issuance: &ExternalCAIssuance, planes: &[Arc<Plane>]) -> Desired {
    let mut desired = Desired {
        planes: selected(issuance, planes),
        ..Desired::default()
    };
    let mut wanted: Vec<(String, DesiredLeaf)> = vec![("spec.gateway".into(), gateway(issuance))];
    wanted.extend(agents(issuance, &desired.planes));
    wanted.extend(further(issuance));

    let reserved = [ca_secret(issuance), trust_secret(issuance).object];
    let mut namespaces = BTreeSet::from([namespace(issuance).to_owned()]);
    for (origin, leaf) in wanted {
        if leaf.role == Role::Agent {
            namespaces.insert(leaf.target.namespace.clone());
        }
        match defect(&reserved, &origin, &leaf) {
            Some(problem) => {
                desired.problems.push((Some(leaf.target.clone()), problem));
                desired.block(leaf);
            }
            None => desired.want(leaf),
        }
    }
    for (target, mut claimants) in std::mem::take(&mut desired.contested) {
        match claimants.len() {
            1 => desired
                .leaves
                .extend(claimants.pop().map(|leaf| (target, leaf))),
            _ => drop(desired.contested.insert(target, claimants)),
        }
    }
    let trust = &issuance.spec.trust;
    desired.trust_places = namespaces
        .iter()
        .flat_map(|namespace| {
            [
                (MaterialKind::ConfigMap, &trust.config_map_name),
                (MaterialKind::Secret, &trust.secret_name),
            ]
            .map(|(kind, name)| MaterialRef {
                kind,
                object: ObjectRef::new(namespace, name),
            })
        })
        .collect();
    desired
}

/// The trust Secret of the control plane: the one that planes may refer to.
pub fn trust_secret(issuance: &ExternalCAIssuance) -> MaterialRef {
    MaterialRef {
        kind: MaterialKind::Secret,
        object: ObjectRef::new(namespace(issuance), &issuance.spec.trust.secret_name),
    }
}

/// The ConfigMap with the bundle in the issuance's own namespace.
pub fn home_bundle(issuance: &ExternalCAIssuance) -> MaterialRef {
    MaterialRef {
        kind: MaterialKind::ConfigMap,
        object: ObjectRef::new(namespace(issuance), &issuance.spec.trust.config_map_name),
    }
}

impl Desired {
    /// Every leaf that is wanted, also those that cannot be planned.
    pub fn all(&self) -> impl Iterator<Item = &DesiredLeaf> {
        let contested = self.contested.values().flatten();
        self.leaves.values().chain(&self.blocked).chain(contested)
    }

    /// Why a Secret's leaf cannot be planned.
    pub fn problems_of(&self, target: &ObjectRef) -> Option<Reason> {
        let mut problems = self.problems.iter();
        let found = problems.find(|(object, _)| object.as_ref() == Some(target));
        found.map(|(_, problem)| problem.reason)
    }

    pub(crate) fn block(&mut self, leaf: DesiredLeaf) {
        self.blocked.push(DesiredLeaf {
            blocked: true,
            ..leaf
        });
    }

    /// Agents with the same planeID may share a Secret.
    fn want(&mut self, leaf: DesiredLeaf) {
        let claimants = self.contested.entry(leaf.target.clone()).or_default();
        let mut others = claimants.iter_mut();
        match others.find(|other| other.role == Role::Agent && other.profile == leaf.profile) {
            Some(other) => other.planes.extend(leaf.planes),
            None => claimants.push(leaf),
        }
    }
}

fn defect(reserved: &[ObjectRef], origin: &str, leaf: &DesiredLeaf) -> Option<Problem> {
    let target = &leaf.target;
    if let Err(error) = leaf.profile.validate() {
        let message = format!("{origin}: {error}; correct the issuance's spec");
        return Some(Problem::new(Reason::InvalidSpec, message));
    }
    if !is_dns_name(&target.namespace, 63) || !is_dns_name(&target.name, 253) {
        let message = format!(
            "{origin}: \"{target}\" is not a valid namespace and Secret name; correct the issuance's spec"
        );
        return Some(Problem::new(Reason::InvalidSpec, message));
    }
    if reserved.contains(target) {
        let message = format!(
            "{origin}: the Secret {target} holds the CA or the bundle; name another Secret"
        );
        return Some(Problem::new(Reason::Conflict, message));
    }
    None
}

/// A leaf as messages name it.
pub(crate) fn describe(leaf: &DesiredLeaf) -> String {
    match leaf.role {
        Role::Gateway => "the gateway".into(),
        Role::Further => format!("the certificate \"{}\"", leaf.profile.common_name),
        Role::Agent => {
            let planes: Vec<String> = leaf.planes.iter().map(ToString::to_string).collect();
            format!(
                "planeID \"{}\" ({})",
                leaf.profile.common_name,
                planes.join(", ")
            )
        }
    }
}

/// Why `planes.selector` selects nothing: the schema of an older release admits an operator that there is not.
pub fn selector_defect(issuance: &ExternalCAIssuance) -> Option<Problem> {
    let selector = issuance.spec.planes.selector.clone()?;
    let error = Selector::try_from(selector).err()?;
    let message = format!("spec.planes.selector: {error}; correct the issuance's spec");
    Some(Problem::new(Reason::InvalidSpec, message))
}

fn selected(issuance: &ExternalCAIssuance, planes: &[Arc<Plane>]) -> Vec<Arc<Plane>> {
    let selector = match issuance
        .spec
        .planes
        .selector
        .clone()
        .map(Selector::try_from)
    {
        None => None,
        Some(Ok(selector)) => Some(selector),
        // See `selector_defect`.
        Some(Err(_)) => return Vec::new(),
    };
    let mut selected: Vec<Arc<Plane>> = planes
        .iter()
        .filter(|plane| {
            selector
                .as_ref()
                .is_none_or(|selector| selector.matches(&plane.labels))
        })
        .cloned()
        .collect();
    selected.sort_by(|a, b| a.plane.cmp(&b.plane));
    selected
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

fn gateway(issuance: &ExternalCAIssuance) -> DesiredLeaf {
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
    }
}

fn agents(issuance: &ExternalCAIssuance, planes: &[Arc<Plane>]) -> Vec<(String, DesiredLeaf)> {
    planes
        .iter()
        .map(|plane| {
            let entry = issuance
                .spec
                .agents
                .iter()
                .find(|agent| selects(agent, plane));
            let expand = |text: &str| {
                text.replace("{planeID}", &plane.plane_id).replace(
                    "{kind}",
                    &format!("{:?}", plane.plane.kind).to_ascii_lowercase(),
                )
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
            };
            (format!("the agent of {}", plane.plane), leaf)
        })
        .collect()
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

fn further(issuance: &ExternalCAIssuance) -> Vec<(String, DesiredLeaf)> {
    issuance
        .spec
        .certificates
        .iter()
        .map(|certificate| {
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
            };
            (format!("spec.certificates[{}]", certificate.name), leaf)
        })
        .collect()
}

/// RFC 1123, as Kubernetes applies it to names: a label of at most `max` for namespaces, labels with dots for Secrets.
fn is_dns_name(name: &str, max: usize) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    name.len() <= max && (max > 63 || !name.contains('.')) && name.split('.').all(label)
}
