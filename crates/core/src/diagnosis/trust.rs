//! Who is shown what, and whether the bundle that judges it says yes: the leaf or the bundle is to blame, never both.

use std::collections::BTreeSet;

use super::case::Case;
use super::chains::{
    incomplete, is_unknown, issuer_name, misnamed, refused_chain, stranger, verdict,
};
use super::finding::{Finding, FindingWord, Symptom};
use crate::domain::{DesiredLeaf, Role, ca_secret, trust_secret};
use crate::model::{Leaf, MaterialKind, MaterialRef, Plane, Read};
use crate::reason::Reason;
use crate::trust::Place;
use crate::x509::{CaChain, Certificate, VerifyError, parse_bundle, verify};

pub(super) fn check(case: &mut Case<'_>) {
    let places = places(case);
    for (place, _) in &places {
        if let Place::Material(material) = place {
            bundle_text(case, material);
        }
    }
    for leaf in case.desired.leaves.values().cloned().collect::<Vec<_>>() {
        judge(case, &leaf, &places);
    }
    exposed_key(case);
}

/// Every trust place whose content is known, with its anchors.
fn places(case: &Case<'_>) -> Vec<(Place, Vec<Certificate>)> {
    let mut found = Vec::new();
    for material in &case.desired.trust_places {
        if let Some(stored) = bundle(case, material) {
            found.push((Place::Material(material.clone()), stored));
        }
    }
    for plane in &case.desired.planes {
        if let Some(stored) = client_ca(case, plane) {
            found.push((Place::ClientCa(plane.plane.clone()), stored));
        }
    }
    found
}

fn bundle(case: &Case<'_>, material: &MaterialRef) -> Option<Vec<Certificate>> {
    let stored = case.observed.material.get(material)?.found()?;
    Some(stored.anchors.clone())
}

/// What the gateway reads for a plane: the value, else what the reference leads to.
fn client_ca(case: &Case<'_>, plane: &Plane) -> Option<Vec<Certificate>> {
    let (None, Some((secret, key))) = (&plane.value, &plane.reference) else {
        return Some(plane.anchors.clone());
    };
    let trust_secret = trust_secret(&case.observed.issuance);
    if *secret == trust_secret.object && key == "ca.crt" {
        return bundle(case, &trust_secret);
    }
    let text = case.extra.references.get(&(secret.clone(), key.clone()))?;
    Some(parse_bundle(text.found()?.as_bytes()).certificates)
}

/// A bundle that holds nothing, or something that verifiers cannot read.
fn bundle_text(case: &mut Case<'_>, material: &MaterialRef) {
    let Some(stored) = case
        .observed
        .material
        .get(material)
        .and_then(|read| read.found())
    else {
        return;
    };
    let text = case.extra.bundles.get(material).map_or("", String::as_str);
    if stored.anchors.is_empty() {
        case.faulty.insert(material.clone());
        let what = format!("ca.crt {}", emptiness(text));
        let finding = if case.is_mounted(material) {
            Finding::error(FindingWord::BundleEmpty, material, what)
        } else {
            Finding::warning(FindingWord::BundleEmpty, material, what)
        };
        case.add(
            finding
                .cause("a verifier that reads it trusts no CA; an agent falls back to the system's roots")
                .fix("put the PEM certificate of the CA that signs the gateway's certificate under ca.crt, and restart who mounts it")
                .symptom(Symptom::UnknownAuthority),
        );
        return;
    }
    if let Some(broken) = parse_bundle(text.as_bytes()).unreadable.first() {
        case.add(
            Finding::warning(
                FindingWord::BundleDamaged,
                material,
                format!("a certificate under ca.crt cannot be read ({broken})"),
            )
            .cause("verifiers pass it over, so that CA is not trusted")
            .fix("put the whole PEM block there, or remove it"),
        );
    }
}

/// How a text comes to hold no certificate.
pub(super) fn emptiness(text: &str) -> String {
    if let Some(broken) = parse_bundle(text.as_bytes()).unreadable.first() {
        return format!("holds no readable certificate ({broken})");
    }
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let what = if text.trim().is_empty() {
        "is empty"
    } else if lines.all(|line| line.trim().starts_with('#')) {
        "holds only comments"
    } else {
        "holds text, but no PEM certificate"
    };
    what.into()
}

/// Whether what reads this place is shown that leaf.
fn verifies(place: &Place, leaf: &DesiredLeaf) -> bool {
    match (place, leaf.role) {
        (Place::Material(_), Role::Gateway) => true,
        (Place::ClientCa(plane), Role::Agent) => leaf.planes.contains(plane),
        _ => false,
    }
}

fn is_faulty(case: &Case<'_>, place: &Place) -> bool {
    match place {
        Place::Material(material) => case.faulty.contains(material),
        Place::ClientCa(plane) => case.faulty_planes.contains(plane),
        Place::Injected(_) => false,
    }
}

/// A trust place that refuses a leaf.
struct Refusal<'a> {
    place: &'a Place,
    anchors: &'a [Certificate],
    error: VerifyError,
}

/// Judges one leaf by every bundle whose readers are shown it.
fn judge(case: &mut Case<'_>, leaf: &DesiredLeaf, places: &[(Place, Vec<Certificate>)]) {
    let material = leaf.material();
    if case.faulty.contains(&material) {
        return;
    }
    let stored = case.observed.material.get(&material).cloned();
    let Some(Read::Found(stored)) = stored.as_deref() else {
        return;
    };
    let Leaf::Present { chain, .. } = &stored.leaf else {
        return;
    };
    let Some(first) = chain.first() else { return };
    let now = case.now;
    let try_on = |anchors: &[Certificate]| verify(chain, anchors, leaf.profile.usages, now);
    let judging: Vec<&(Place, Vec<Certificate>)> = places
        .iter()
        .filter(|(place, anchors)| {
            verifies(place, leaf) && !is_faulty(case, place) && !anchors.is_empty()
        })
        .collect();
    let refusals: Vec<Refusal<'_>> = judging
        .iter()
        .filter_map(|(place, anchors)| {
            let error = try_on(anchors).err()?;
            Some(Refusal {
                place,
                anchors,
                error,
            })
        })
        .collect();
    let Some(Refusal { anchors, error, .. }) = refusals.first() else {
        return;
    };
    let ca = case.ca();
    let of_ca = ca.iter().flat_map(|ca| ca.chain());
    let known: Vec<&Certificate> = of_ca.chain(anchors.iter()).collect();
    if let Some(ca) = misnamed(first, &known) {
        case.faulty.insert(material.clone());
        case.add(issuer_name(&material, first, ca));
        return;
    }
    let fits_ca = ca.map(|ca| try_on(std::slice::from_ref(ca.anchor())).is_ok());
    if is_leaf_to_blame(fits_ca, &refusals, judging.len()) {
        case.faulty.insert(material.clone());
        case.add(match ca.map(CaChain::certificate) {
            Some(issuing) if first.signed_by(issuing) => incomplete(&material, error),
            other => stranger(&material, leaf.role, first, other.map(Certificate::subject)),
        });
        return;
    }
    for Refusal { place, error, .. } in &refusals {
        let finding = if is_unknown(error) {
            blame(case, place);
            distrusted(place, &material, first)
        } else {
            chain_defect(case, &material, error)
        };
        case.add(finding);
    }
}

/// The leaf is to blame where it leads to another CA than the one that signs; where that CA is unknown, where several
/// bundles with the same anchors refuse it and no other takes it.
fn is_leaf_to_blame(fits_ca: Option<bool>, refusals: &[Refusal<'_>], judging: usize) -> bool {
    let Some(first) = refusals.first() else {
        return false;
    };
    let agree = refusals.iter().all(|other| other.anchors == first.anchors);
    match fits_ca {
        Some(fits) => !fits && refusals.iter().all(|refusal| is_unknown(&refusal.error)),
        None => {
            refusals.len() == judging && refusals.len() > 1 && agree && is_unknown(&first.error)
        }
    }
}

fn blame(case: &mut Case<'_>, place: &Place) {
    match place {
        Place::Material(material) => {
            case.faulty.insert(material.clone());
        }
        Place::ClientCa(plane) => {
            case.faulty_planes.insert(plane.clone());
        }
        Place::Injected(_) => {}
    }
}

fn distrusted(place: &Place, material: &MaterialRef, leaf: &Certificate) -> Finding {
    let what = format!(
        "it lacks the CA {} that signed {material} ({})",
        leaf.issuer(),
        leaf.subject()
    );
    match place {
        Place::Material(bundle) => Finding::error(FindingWord::TrustMismatch, bundle, what)
            .cause("it was filled from another CA, or not renewed with the CA; who mounts it refuses the gateway")
            .fix("add that CA's certificate to ca.crt (the operator does, where it may write), then restart who mounts it")
            .symptom(Symptom::UnknownAuthority),
        Place::ClientCa(plane) => Finding::error(
            Reason::ClientCAMismatch,
            plane,
            format!("spec.clusterAgent.clientCA: {what}"),
        )
        .cause("the gateway verifies the agent's certificate against this plane's clientCA and answers 401")
        .fix("add that CA's certificate to the clientCA, or let the operator write it (planes.clientCA: Value or SecretRef)")
        .symptom(Symptom::NotValidForAnyPlane),
        Place::Injected(object) => Finding::error(FindingWord::TrustMismatch, object, what)
            .cause("it was written by another, or not with the CA; API servers refuse the webhook")
            .fix("let the operator write it (certManager in the chart's values)")
            .symptom(Symptom::UnknownAuthority),
    }
}

/// A chain that leads to a trusted CA, which verifiers refuse for what it is.
fn chain_defect(case: &Case<'_>, material: &MaterialRef, error: &VerifyError) -> Finding {
    let (word, about) = verdict(error);
    let object = match about {
        true if case.ca().is_some() => MaterialRef {
            kind: MaterialKind::Secret,
            object: ca_secret(&case.observed.issuance),
        },
        _ => material.clone(),
    };
    refused_chain(&object, word, error)
}

/// A workload that mounts the CA's own Secret can sign.
fn exposed_key(case: &mut Case<'_>) {
    let secret = MaterialRef {
        kind: MaterialKind::Secret,
        object: ca_secret(&case.observed.issuance),
    };
    let workloads: BTreeSet<String> = case
        .observed
        .workloads
        .iter()
        .filter(|workload| workload.mounts.contains(&secret))
        .map(|workload| workload.workload.to_string())
        .collect();
    if workloads.is_empty() {
        return;
    }
    let workloads: Vec<String> = workloads.into_iter().collect();
    case.add(
        Finding::warning(
            Reason::CAKeyExposed,
            &secret,
            format!("it holds the CA's key, and {} mounts it", workloads.join(", ")),
        )
        .cause("who gets into that pod can sign certificates for every plane")
        .fix("let the workload mount the trust Secret or ConfigMap instead, which hold no key; then consider replacing the CA"),
    );
}
