//! From an ExternalCAIssuance to the trust domain that it declares.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_api::{
    ADOPT_ANNOTATION, ExternalCAIssuance, Issuer as IssuerSpec, PROCEED_ANNOTATION,
    RENEW_ANNOTATION, ROTATE_ANNOTATION, RolloutStrategy, RotationPolicy, RotationStrategy,
};
use kube::core::{Selector, SelectorExt};

use super::leaf::{Desired, DesiredLeaf, Role, SecretForm};
use super::left_behind::BundleNames;
use super::names::{ca_secret, home_bundle, identity, namespace, trust_secret};
use super::presets::{GENERATED_CA_KEY, Origin, agents, further, gateway, generated_ca_profile};
use super::renewal::{Renewal, renew_before};
use super::trust_domain::{
    AnchorSource, Authority, ClientCa, Generate, Names, Owner, Requests, Rollout, Rotation,
    SelfSigned, Source, TrustDomain, Window,
};
use crate::model::facts::request;
use crate::model::{MaterialKind, MaterialRef, ObjectRef, Plane, Snapshot};
use crate::reason::{Problem, Reason};

/// The trust domain that an issuance declares, over what is seen.
pub fn compile<'a>(issuance: &'a ExternalCAIssuance, observed: &Snapshot) -> TrustDomain<'a> {
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
            generate: secret.generate.then(|| Generate {
                profile: SelfSigned::Ca(generated_ca_profile()),
                key: GENERATED_CA_KEY,
                keeps_key: false,
                form: SecretForm::default(),
                renew_before: None,
            }),
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
            proceed: annotation(PROCEED_ANNOTATION).is_some(),
        },
        halted: halted(issuance),
        defect: selector_defect(issuance),
    };
    domain.wanted.strangers = selected(issuance, &observed.strangers);
    domain
        .wanted
        .settle_contests(observed, domain.owner.earlier);
    domain
        .wanted
        .settle_home_bundle(observed, &home_bundle(issuance));
    let (owner, earlier) = (&domain.owner.identity, domain.owner.earlier);
    let bundles = BundleNames {
        config_map: Some(&spec.trust.config_map_name),
        secret: Some(&spec.trust.secret_name),
    };
    domain
        .wanted
        .settle_left_behind(observed, owner, earlier, bundles);
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
        kubelet_cache: spec.kubelet_cache.0,
        windows,
    }
}

/// Expands an issuance over the plane resources that exist.
pub fn desired(issuance: &ExternalCAIssuance, planes: &[Arc<Plane>]) -> Desired {
    let mut desired = Desired {
        planes: selected(issuance, planes),
        ..Desired::default()
    };
    let planes = std::mem::take(&mut desired.planes);
    let wanted = std::iter::once((Origin::Gateway, gateway(issuance)))
        .chain(agents(issuance, &planes))
        .chain(further(issuance));

    let reserved = [ca_secret(issuance), trust_secret(issuance).object];
    let mut namespaces = BTreeSet::from([namespace(issuance).to_owned()]);
    for (origin, leaf) in wanted {
        if leaf.role == Role::Agent {
            namespaces.insert(leaf.target.namespace.clone());
        }
        match defect(&reserved, origin, &leaf) {
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
    desired.planes = planes;
    desired
}

fn defect(reserved: &[ObjectRef], origin: Origin<'_>, leaf: &DesiredLeaf) -> Option<Problem> {
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

/// Whether an issuance selects a plane. See `selector_defect` for a selector that selects none.
pub fn selects(issuance: &ExternalCAIssuance) -> impl Fn(&Plane) -> bool {
    let selector = issuance.spec.planes.selector.clone();
    let selector = selector.map(Selector::try_from);
    move |plane| match &selector {
        None => true,
        Some(Ok(selector)) => selector.matches(&plane.labels),
        Some(Err(_)) => false,
    }
}

/// The planes that an issuance selects, sorted.
pub fn selected(issuance: &ExternalCAIssuance, planes: &[Arc<Plane>]) -> Vec<Arc<Plane>> {
    let selects = selects(issuance);
    let selected = planes.iter().filter(|plane| selects(plane));
    let mut selected: Vec<Arc<Plane>> = selected.cloned().collect();
    selected.sort_by(|a, b| a.plane.cmp(&b.plane));
    selected
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

/// Why nothing is to be written.
fn halted(issuance: &ExternalCAIssuance) -> Option<&'static str> {
    if issuance.metadata.deletion_timestamp.is_some() {
        return Some("it is being deleted: nothing is written or renewed");
    }
    let paused = issuance.spec.paused;
    paused.then_some("spec.paused is true: nothing is written or renewed")
}
