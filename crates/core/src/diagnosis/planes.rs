//! Plane resources: which CAs they trust, and whether an agent answers.

use super::case::Case;
use super::finding::{Finding, FindingWord, Symptom};
use super::trust::emptiness;
use crate::domain::{agent_of, is_agent_of, trust_secret};
use crate::model::{MaterialRef, Plane, Read};
use crate::x509::parse_bundle;

/// A clientCA that is empty, no PEM, or leads nowhere.
pub(super) fn references(case: &mut Case<'_>) {
    for plane in case.desired.planes.clone() {
        let finding = match (&plane.value, &plane.reference) {
            (Some(text), _) if plane.anchors.is_empty() => Some(
                Finding::error(
                    FindingWord::ClientCANotPEM,
                    &plane.plane,
                    format!("spec.clusterAgent.clientCA.value {}", emptiness(text)),
                )
                .cause(
                    "the gateway finds no CA in it and answers every agent of the plane with 401",
                ),
            ),
            (None, None) => Some(
                Finding::error(
                    FindingWord::ClientCAEmpty,
                    &plane.plane,
                    "spec.clusterAgent.clientCA has neither a value nor a reference",
                )
                .cause("the gateway trusts no agent of the plane"),
            ),
            (None, Some(_)) => missing(case, &plane),
            _ => None,
        };
        let Some(finding) = finding else { continue };
        case.faulty_planes.insert(plane.plane.clone());
        let fix = if finding.fix.is_empty() {
            "write the PEM of the CA that signs the agent's certificate there, or let the operator do it (planes.clientCA: Value or SecretRef)".to_owned()
        } else {
            finding.fix.clone()
        };
        case.add(finding.fix(fix).symptom(Symptom::NotValidForAnyPlane));
    }
}

fn missing(case: &Case<'_>, plane: &Plane) -> Option<Finding> {
    let (secret, key) = plane.reference.as_ref()?;
    let what = match case.extra.references.get(&(secret.clone(), key.clone()))? {
        Read::Absent => format!("refers to the Secret {secret}, which does not exist"),
        Read::Found(text) if text.trim().is_empty() => {
            format!("refers to the key {key} of the Secret {secret}, which that does not have")
        }
        Read::Found(text) if parse_bundle(text.as_bytes()).certificates.is_empty() => {
            format!(
                "refers to the key {key} of the Secret {secret}, which {}",
                emptiness(text)
            )
        }
        Read::Found(_) | Read::Unknown(_) => return None,
    };
    Some(
        Finding::error(
            FindingWord::ClientCASecretMissing,
            &plane.plane,
            format!("spec.clusterAgent.clientCA {what}"),
        )
        .cause("a reference without a namespace means the plane's own; the gateway trusts no agent of the plane")
        .fix(format!(
            "correct name, key and namespace of the reference; the trust Secret of this issuance is {} (key ca.crt)",
            trust_secret(&case.observed.issuance).object
        )),
    )
}

/// Planes whose agent is not there or not connected, where nothing else explains it.
pub(super) fn agents(case: &mut Case<'_>) {
    // Workloads that cannot be seen may be agents.
    let all_seen = case.observed.unreadable.is_empty();
    for plane in case.desired.planes.clone() {
        let leaf = case
            .desired
            .leaves
            .values()
            .find(|leaf| leaf.planes.contains(&plane.plane));
        let Some((namespace, material)) =
            leaf.map(|leaf| (leaf.target.namespace.clone(), leaf.material()))
        else {
            continue;
        };
        let runs = case
            .observed
            .workloads
            .iter()
            .any(|workload| is_agent_of(workload, &plane));
        let seen = all_seen && case.observed.served.contains(&namespace);
        if !runs && seen && plane.agent_connected != Some(true) {
            let (kind, id) = agent_of(&plane);
            case.add(
                Finding::warning(
                    FindingWord::AgentNotFound,
                    &plane.plane,
                    format!("no workload runs an agent with --plane-type={kind} --plane-id={id}"),
                )
                .cause("the agent is not installed, says another planeID, or runs where it cannot be seen")
                .fix(format!(
                    "install the plane's chart in {namespace} with clusterAgent.planeID={}, or delete the plane resource",
                    plane.plane_id
                )),
            );
        } else if runs
            && plane.agent_connected == Some(false)
            && !explained(case, &plane, &material)
        {
            case.add(
                Finding::warning(
                    FindingWord::AgentDisconnected,
                    &plane.plane,
                    "OpenChoreo reports that no agent of it is connected",
                )
                .cause("nothing that is stored explains it: the pods may still hold older files, or the network is cut")
                .fix("look at the agent's log; kubectl externalca check --connect tries the handshake with what is stored now"),
            );
        }
    }
}

/// Whether an error is known that cuts the plane's agent off.
fn explained(case: &Case<'_>, plane: &Plane, leaf: &MaterialRef) -> bool {
    let home = &trust_secret(&case.observed.issuance).object.namespace;
    let objects = [plane.plane.to_string(), leaf.to_string()];
    let concerns = |finding: &Finding| {
        objects.contains(&finding.object)
            || finding
                .object
                .contains(&format!(" {}/", leaf.object.namespace))
            || finding.object.contains(&format!(" {home}/"))
    };
    case.findings.iter().any(concerns)
}
