//! Who is shown what, and whether the bundle that judges it says yes: the leaf or the bundle is to blame, never both.

use std::collections::BTreeSet;

use super::{Case, Finding, FindingWord, Symptom, Word};
use crate::domain::{DesiredLeaf, Role, ca_secret, trust_secret};
use crate::model::{Leaf, MaterialKind, MaterialRef, ObjectRef, Plane, Read};
use crate::reason::Reason;
use crate::trust::Place;
use crate::x509::{Certificate, VerifyError, parse_bundle, verify};

pub(super) fn check(case: &mut Case<'_>) {
    let places = places(case);
    for (place, _) in &places {
        if let Place::Material(material) = place {
            bundle_text(case, material);
        }
    }
    for leaf in case.desired.leaves.values().cloned().collect::<Vec<_>>() {
        pairs(case, &leaf, &places);
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

/// A bundle that holds nothing, or something that nobody can read.
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
    let mounted = case.is_mounted(material);
    if stored.anchors.is_empty() {
        case.sick.insert(material.clone());
        let what = format!("ca.crt {}", emptiness(text));
        let finding = match mounted {
            true => Finding::error(FindingWord::BundleEmpty, material, what),
            false => Finding::warning(FindingWord::BundleEmpty, material, what),
        };
        case.add(
            finding
                .cause("who reads it trusts nobody; an agent falls back to the system's roots")
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
    match lines.all(|line| line.trim().starts_with('#')) {
        _ if text.trim().is_empty() => "is empty".into(),
        true => "holds only comments".into(),
        false => "holds text, but no PEM certificate".into(),
    }
}

/// Whether what reads this place is shown that leaf.
fn verifies(place: &Place, leaf: &DesiredLeaf) -> bool {
    match (place, leaf.role) {
        (Place::Material(_), Role::Gateway) => true,
        (Place::ClientCa(plane), Role::Agent) => leaf.planes.contains(plane),
        _ => false,
    }
}

fn is_sick(case: &Case<'_>, place: &Place) -> bool {
    match place {
        Place::Material(material) => case.sick.contains(material),
        Place::ClientCa(plane) => case.sick_planes.contains(plane),
    }
}

fn pairs(case: &mut Case<'_>, leaf: &DesiredLeaf, places: &[(Place, Vec<Certificate>)]) {
    let material = leaf.material();
    if case.sick.contains(&material) {
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
    let judging: Vec<&(Place, Vec<Certificate>)> = places
        .iter()
        .filter(|(place, anchors)| {
            verifies(place, leaf) && !is_sick(case, place) && !anchors.is_empty()
        })
        .collect();
    let try_on = |anchors: &[Certificate]| verify(chain, anchors, leaf.profile.usages, now);
    let failing: Vec<(&Place, &[Certificate], VerifyError)> = judging
        .iter()
        .filter_map(|(place, anchors)| {
            try_on(anchors)
                .err()
                .map(|error| (place, anchors.as_slice(), error))
        })
        .collect();
    let Some((_, anchors, error)) = failing.first() else {
        return;
    };
    let ca = case.ca();
    let by_ca = ca.map(|ca| try_on(std::slice::from_ref(ca.anchor())).is_ok());
    let known: Vec<&Certificate> = ca
        .iter()
        .flat_map(|ca| ca.chain())
        .chain(anchors.iter())
        .collect();
    if let Some(ca) = misnamed(first, &known) {
        case.sick.insert(material.clone());
        case.add(issuer_name(&material, first, ca));
        return;
    }
    // The leaf is to blame where it does not lead to the CA that signs, or where nobody trusts it.
    let all_fail = failing.len() == judging.len();
    let agree = failing.len() > 1 && failing.iter().all(|(_, other, _)| other == anchors);
    let leaf_is_to_blame = match by_ca {
        Some(fits) => !fits && failing.iter().all(|(.., error)| is_unknown(error)),
        None => all_fail && agree && is_unknown(error),
    };
    if leaf_is_to_blame {
        case.sick.insert(material.clone());
        let by_issuer = ca
            .as_ref()
            .is_some_and(|ca| first.signed_by(ca.certificate()));
        let signer = ca.as_ref().map(|ca| ca.certificate().subject().to_owned());
        case.add(match by_issuer {
            true => incomplete(&material, error),
            false => stranger(&material, leaf.role, first, signer.as_deref()),
        });
        return;
    }
    let failing: Vec<(Place, VerifyError)> = failing
        .into_iter()
        .map(|(place, _, error)| (place.clone(), error))
        .collect();
    for (place, error) in failing {
        let finding = match is_unknown(&error) {
            true => {
                match &place {
                    Place::Material(material) => drop(case.sick.insert(material.clone())),
                    Place::ClientCa(plane) => drop(case.sick_planes.insert(plane.clone())),
                }
                distrusted(&place, &material, first)
            }
            false => chain_defect(case, &material, &error),
        };
        case.add(finding);
    }
}

fn is_unknown(error: &VerifyError) -> bool {
    matches!(error, VerifyError::UnknownAuthority { .. })
}

/// The CA whose key signed the leaf, though the leaf names it otherwise: verifiers compare names byte for byte.
pub(super) fn misnamed<'a>(
    leaf: &Certificate,
    known: &[&'a Certificate],
) -> Option<&'a Certificate> {
    known
        .iter()
        .find(|ca| ca.subject_der() != leaf.issuer_der() && leaf.signature_verifies_with(ca))
        .copied()
}

pub(super) fn issuer_name(object: impl ToString, leaf: &Certificate, ca: &Certificate) -> Finding {
    let same_text = match leaf.issuer() == ca.subject() {
        true => "; they read alike but are encoded differently",
        false => "",
    };
    Finding::error(
        FindingWord::IssuerNameDiffers,
        object,
        format!(
            "the CA's key signed it, but its issuer is not the CA's subject byte for byte: {} and {}{same_text}",
            leaf.issuer(),
            ca.subject()
        ),
    )
    .cause("the tool that signed it wrote the CA's name anew, in another order or encoding; verifiers find no CA of that name")
    .fix("have it issued by a tool that copies the CA's subject as it is: this operator, or openssl x509 -req -CA ca.crt -CAkey ca.key")
    .symptom(Symptom::UnknownAuthority)
}

pub(super) fn incomplete(object: impl ToString, error: &VerifyError) -> Finding {
    Finding::error(
        Reason::ChainIncomplete,
        object,
        format!("tls.crt does not lead to the CA that peers trust: {error}"),
    )
    .cause("an intermediate is missing after the leaf; peers hold only the root, and fetch nothing")
    .fix("append the intermediates to tls.crt, nearest first, without the root: cat leaf.crt intermediate.crt > tls.crt")
    .symptom(Symptom::UnknownAuthority)
}

fn stranger(object: impl ToString, role: Role, leaf: &Certificate, ca: Option<&str>) -> Finding {
    let not = ca.map_or_else(String::new, |ca| format!(", not by {ca}"));
    Finding::error(
        Reason::SignerChanged,
        object,
        format!(
            "the certificate {} was signed by {}{not}, and those who verify it do not trust that",
            leaf.subject(),
            leaf.issuer()
        ),
    )
    .cause("it comes from another CA, or the CA was made anew under the same name and this was left behind")
    .fix("have it signed by the CA that peers trust: let the operator issue it (kubectl externalca plan says what it waits for), or put the other CA into the CA Secret")
    .symptom(match role {
        Role::Agent => Symptom::NotValidForAnyPlane,
        Role::Gateway | Role::Further => Symptom::UnknownAuthority,
    })
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

pub(super) fn refused_chain(object: impl ToString, word: Word, error: &VerifyError) -> Finding {
    Finding::error(word, object, error.to_string())
        .cause("verifiers refuse the whole chain for it")
        .fix("have that CA certificate reissued, or use another CA: put it into the CA Secret, and every certificate follows")
        .symptom(Symptom::BadCertificate)
}

/// The word, and whether it is about a CA.
pub(super) fn verdict(error: &VerifyError) -> (Word, bool) {
    match error {
        VerifyError::EmptyChain | VerifyError::Malformed { .. } => {
            (Reason::CertificateInvalid.into(), false)
        }
        VerifyError::UnhandledCriticalExtension { .. } => {
            (Reason::CACertificateInvalid.into(), true)
        }
        VerifyError::NotYetValid { .. } => (Reason::CANotYetValid.into(), true),
        VerifyError::Expired { .. } => (Reason::CAExpired.into(), true),
        VerifyError::NotAuthorizedToSign { .. } => (Reason::NotACA.into(), true),
        VerifyError::TooManyIntermediates { .. } => (Reason::CAPathLengthExceeded.into(), true),
        VerifyError::WeakSignature { .. } => (Reason::CAWeakSignature.into(), true),
        VerifyError::UnknownAuthority { .. } | VerifyError::SignatureLimit => {
            (Reason::ChainIncomplete.into(), false)
        }
        VerifyError::IncompatibleUsage { .. } => (Reason::CAUsageNotAllowed.into(), true),
        VerifyError::NameConstraints(_) => (Reason::CANameConstraints.into(), true),
        VerifyError::Policies => (Reason::CAPolicyConstraints.into(), true),
    }
}

/// A workload that mounts the CA's own Secret can sign.
fn exposed_key(case: &mut Case<'_>) {
    let secret = MaterialRef {
        kind: MaterialKind::Secret,
        object: ca_secret(&case.observed.issuance),
    };
    let who: BTreeSet<String> = case
        .observed
        .workloads
        .iter()
        .filter(|workload| workload.mounts.contains(&secret))
        .map(|workload| workload.workload.to_string())
        .collect();
    if who.is_empty() {
        return;
    }
    let who: Vec<String> = who.into_iter().collect();
    case.add(
        Finding::warning(
            Reason::CAKeyExposed,
            &secret,
            format!("it holds the CA's key, and {} mounts it", who.join(", ")),
        )
        .cause("who gets into that pod can sign certificates for every plane")
        .fix("let the workload mount the trust Secret or ConfigMap instead, which hold no key; then consider replacing the CA"),
    );
}

impl Case<'_> {
    /// The hosts that clients of the gateway dial, with who does.
    pub(super) fn dialled(&self, gateway: &DesiredLeaf) -> Vec<(String, String)> {
        let home = &gateway.target.namespace;
        let mut found = Vec::new();
        for workload in &self.observed.workloads {
            let reference = &workload.workload;
            let Some(detail) = self.extra.workloads.get(reference) else {
                continue;
            };
            if reference.object.namespace == *home || self.is_our_agent(workload) {
                let dials = detail.dials.iter();
                found.extend(dials.map(|host| (host.clone(), format!("{reference} dials it"))));
            }
        }
        if found.is_empty() {
            found.extend(self.service_name(home));
        }
        found
    }

    /// The Service of the gateway, where nobody is known to dial anything else.
    fn service_name(&self, home: &str) -> Option<(String, String)> {
        let mut gateways = self.extra.workloads.iter();
        let (_, gateway) = gateways
            .find(|(workload, detail)| detail.is_gateway && workload.object.namespace == home)?;
        let mut services = self.extra.services.iter();
        let (service, _) = services.find(|(_, selector)| {
            let mut pairs = selector.iter();
            !selector.is_empty() && pairs.all(|(key, value)| gateway.labels.get(key) == Some(value))
        })?;
        let ObjectRef { namespace, name } = service;
        Some((
            format!("{name}.{namespace}.svc"),
            format!("Service {service}"),
        ))
    }
}
