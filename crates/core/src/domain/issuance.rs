//! The issuance's presets and overrides, expanded to the leaves, trust places and planes it wants.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use external_ca_api::{
    ADOPT_ANNOTATION, Agent, ExternalCAIssuance, Issuer as IssuerSpec, KeyAlgorithm as ApiKey,
    PlaneKind, PrivateKey, RENEW_ANNOTATION, ROTATE_ANNOTATION, RolloutStrategy, RotationPolicy,
    RotationStrategy, Usage,
};
use jiff::SignedDuration;
use kube::core::{Selector, SelectorExt};

use super::leaf::{Desired, DesiredLeaf, Role};
use super::renewal::renew_before;
use super::trust_domain::{
    AnchorSource, Authority, ClientCa, Names, Owner, Renewal, Requests, Rollout, Rotation, Source,
    TrustDomain, Window,
};
use crate::model::facts::request;
use crate::model::{MaterialKind, MaterialRef, ObjectRef, Observed, Plane};
use crate::reason::{Problem, Reason};
use crate::x509::{CaProfile, KeyAlgorithm, LeafProfile, San, Usages};

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

/// The trust domain that an issuance declares, over what is seen.
pub fn compile<'a>(issuance: &'a ExternalCAIssuance, observed: &Observed) -> TrustDomain<'a> {
    let spec = &issuance.spec;
    let IssuerSpec::CaSecret(secret) = &spec.issuer;
    let annotations = issuance.metadata.annotations.as_ref();
    let annotation = |name| annotations.and_then(|all| all.get(name));
    let renew = annotation(RENEW_ANNOTATION).map(|text| Names::parse(text));
    let mut domain = TrustDomain {
        owner: Owner {
            kind: "ExternalCAIssuance",
            identity: identity(issuance),
            generation: issuance.metadata.generation,
            earlier: issuance.status.as_ref(),
        },
        authority: Authority {
            secret: ca_secret(issuance),
            generate: secret.generate,
        },
        wanted: desired(issuance, &observed.planes),
        gateway: Some(MaterialRef {
            kind: MaterialKind::Secret,
            object: ObjectRef::new(namespace(issuance), &spec.gateway.secret_name),
        }),
        trust_secret: Some(trust_secret(issuance)),
        agent_bundle: Some(&spec.trust.config_map_name),
        additional: additional(issuance),
        client_ca: match spec.planes.client_ca {
            external_ca_api::ClientCa::Unmanaged => ClientCa::Unmanaged,
            external_ca_api::ClientCa::Value => ClientCa::Value,
            external_ca_api::ClientCa::SecretRef => ClientCa::Reference,
        },
        renewal: Renewal {
            before: renew_before(spec),
            keeps_key: spec.certificate_defaults.private_key.rotation_policy
                == RotationPolicy::Never,
        },
        rotation: Rotation {
            immediate: spec.rotation.strategy == RotationStrategy::Immediate,
            overlap: spec.rotation.overlap.0,
        },
        rollout: rollout(&spec.rollout),
        requests: Requests {
            renew: renew.zip(request(issuance, RENEW_ANNOTATION)),
            adopt: annotation(ADOPT_ANNOTATION)
                .map(|text| Names::parse(text))
                .unwrap_or_default(),
            rotate: request(issuance, ROTATE_ANNOTATION),
        },
        paused: spec.paused,
        defect: selector_defect(issuance),
    };
    domain
        .wanted
        .settle_contests(observed, domain.owner.earlier);
    domain
        .wanted
        .settle_home_bundle(observed, &home_bundle(issuance));
    domain
}

fn additional(issuance: &ExternalCAIssuance) -> Vec<AnchorSource<'_>> {
    let mut sources = Vec::new();
    let entries = &issuance.spec.trust.additional_anchors;
    for (index, entry) in entries.iter().enumerate() {
        sources.push(AnchorSource {
            origin: format!("spec.trust.additionalAnchors[{index}]"),
            source: match (&entry.pem, &entry.config_map_ref) {
                (None, Some(reference)) => Source::ConfigMap {
                    name: reference.name.clone(),
                    key: reference.key.clone(),
                },
                (pem, _) => Source::Pem(pem.as_deref().unwrap_or_default()),
            },
        });
    }
    sources
}

fn rollout(spec: &external_ca_api::Rollout) -> Rollout<'_> {
    let mut windows = Vec::new();
    for (index, window) in spec.windows.iter().enumerate() {
        windows.push(Window {
            index,
            schedule: &window.schedule,
            duration: window.duration,
            time_zone: &window.time_zone,
        });
    }
    Rollout {
        restarts: spec.strategy == RolloutStrategy::Restart,
        max_concurrent: spec.max_concurrent as usize,
        timeout: spec.timeout.0,
        windows,
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
