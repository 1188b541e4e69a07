//! Workloads: do they mount what is written, does it exist, and have their pods read it?

use std::collections::BTreeSet;
use std::sync::Arc;

use super::case::Case;
use super::extra::{Mount, WorkloadDetail};
use super::finding::{Finding, FindingWord};
use crate::model::{MaterialKind, MaterialRef, ObjectRef, Read, RolloutState, Workload};
use crate::reason::Reason;
use crate::trust::evidence::{Evidence, Load};

pub(super) fn check(case: &mut Case<'_>) {
    let material: BTreeSet<MaterialRef> = case.observed.material.keys().cloned().collect();
    for workload in case.observed.workloads.clone() {
        let detail = case.extra.workloads.get(&workload.workload).cloned();
        let detail = detail.unwrap_or_default();
        let is_agent = case.is_our_agent(&workload);
        let reads = workload.mounts.iter().any(|mount| material.contains(mount));
        let is_gateway = detail.is_gateway && workload.workload.object.namespace == case.home();
        if !(reads || is_agent || is_gateway) {
            continue;
        }
        let can_start = existence(case, &workload, &detail);
        wrong_names(case, &workload, is_agent, is_gateway);
        if can_start {
            rollout(case, &workload, &detail);
            old_material(case, &workload);
        }
    }
    misplaced_agents(case);
}

/// Whether everything is there that its pods need to start.
fn existence(case: &mut Case<'_>, workload: &Workload, detail: &WorkloadDetail) -> bool {
    let mut complete = true;
    for mount in detail.mounts.iter().filter(|mount| !mount.optional) {
        match case.extra.keys.get(&mount.material) {
            Some(Read::Absent) => {
                complete = false;
                // A leaf of ours that is missing has its own finding.
                if !case.has(Reason::SecretMissing, &mount.material.to_string()) {
                    case.add(not_there(workload, mount));
                }
            }
            Some(Read::Found(keys)) => {
                let missing: Vec<&str> = mount.keys.difference(keys).map(String::as_str).collect();
                if !missing.is_empty() {
                    complete = false;
                    case.add(key_not_there(workload, mount, &missing));
                }
            }
            Some(Read::Unknown(_)) | None => {}
        }
    }
    complete
}

fn not_there(workload: &Workload, mount: &Mount) -> Finding {
    Finding::error(
        FindingWord::MountMissing,
        &workload.workload,
        format!("{} refers to the {}, which does not exist", mount.name, mount.material),
    )
    .cause("its pods wait in ContainerCreating until it is there")
    .fix(format!(
        "correct the name in the workload (OpenChoreo's Helm values: clusterGateway.tls, clusterAgent.tls), or make the {}; \
         an issuance writes what spec.gateway.secretName, agents[].secretName and trust name",
        mount.material
    ))
}

fn key_not_there(workload: &Workload, mount: &Mount, missing: &[&str]) -> Finding {
    Finding::error(
        FindingWord::MountKeyMissing,
        &workload.workload,
        format!(
            "{} asks for the key {} of the {}, which that does not have",
            mount.name,
            missing.join(", "),
            mount.material
        ),
    )
    .cause("its pods wait in ContainerCreating until the key is there")
    .fix("name the keys that are written: tls.crt, tls.key and ca.crt in a certificate's Secret, ca.crt in a bundle")
}

/// The gateway and the agents must read what the issuance writes.
fn wrong_names(case: &mut Case<'_>, workload: &Workload, is_agent: bool, is_gateway: bool) {
    let namespace = &workload.workload.object.namespace;
    let trust = &case.observed.issuance.spec.trust;
    let bundles = [
        (MaterialKind::ConfigMap, &trust.config_map_name),
        (MaterialKind::Secret, &trust.secret_name),
    ]
    .map(|(kind, name)| MaterialRef {
        kind,
        object: ObjectRef::new(namespace, name),
    });
    let mut wanted: Vec<(&str, Vec<MaterialRef>)> = Vec::new();
    if is_gateway {
        let secret = ObjectRef::new(namespace, &case.observed.issuance.spec.gateway.secret_name);
        wanted.push((
            "the gateway's certificate",
            vec![MaterialRef {
                kind: MaterialKind::Secret,
                object: secret,
            }],
        ));
    }
    if is_agent {
        wanted.extend(
            case.leaf_of(workload)
                .map(|leaf| ("the agent's certificate", vec![leaf])),
        );
        wanted.push(("the CA bundle", bundles.to_vec()));
    }
    for (what, candidates) in wanted {
        let Some(first) = candidates.first() else {
            continue;
        };
        if candidates
            .iter()
            .any(|candidate| workload.mounts.contains(candidate))
        {
            continue;
        }
        // That it mounts what does not exist is the same mistake, and was named.
        let word = FindingWord::MountMissing;
        if case.has(word, &workload.workload.to_string()) {
            continue;
        }
        let mounts: Vec<String> = workload.mounts.iter().map(ToString::to_string).collect();
        case.add(
            Finding::error(
                FindingWord::MountMismatch,
                &workload.workload,
                format!("it does not mount {what}, which the issuance writes to the {first}; it mounts {}", mounts.join(", ")),
            )
            .cause("its pods present or trust something that the operator does not renew, and that the other side may refuse")
            .fix(format!(
                "let it mount the {first} (OpenChoreo's Helm values: clusterGateway.tls, clusterAgent.tls), or name its object in the \
                 issuance (gateway.secretName, agents[].secretName, trust.configMapName)"
            )),
        );
    }
}

/// An agent that runs in another namespace than the one its certificate is written to.
fn misplaced_agents(case: &mut Case<'_>) {
    for workload in case.observed.workloads.clone() {
        let Some(leaf) = case.leaf_of(&workload) else {
            continue;
        };
        let namespace = &workload.workload.object.namespace;
        if case.is_our_agent(&workload) || leaf.object.namespace == *namespace {
            continue;
        }
        case.add(
            Finding::error(
                FindingWord::MountMismatch,
                &workload.workload,
                format!("the agent runs in {namespace}, but the issuance writes its certificate to the {leaf}"),
            )
            .cause("a pod mounts Secrets of its own namespace only")
            .fix(format!("add an entry to spec.agents that selects the plane, with namespace: {namespace}")),
        );
    }
}

fn rollout(case: &mut Case<'_>, workload: &Workload, detail: &WorkloadDetail) {
    let RolloutState::Running(why) = &workload.rollout else {
        return;
    };
    let timeout = case.observed.issuance.spec.rollout.timeout.0;
    let late = workload
        .rollout_since
        .is_some_and(|since| since.duration_until(case.now) > timeout);
    if !late && !detail.paused {
        return;
    }
    let fix = if detail.paused {
        "kubectl rollout resume it"
    } else {
        "look at its pods (kubectl describe): image, quota, node, a mount that is missing"
    };
    case.add(
        Finding::error(
            Reason::RolloutStuck,
            &workload.workload,
            format!("its rollout does not finish: {why}"),
        )
        .cause("pods of the old template, or none, go on; a renewal or a move to another CA waits for it")
        .fix(fix),
    );
}

/// Pods read their files at start and never again.
fn old_material(case: &mut Case<'_>, workload: &Arc<Workload>) {
    let mut stale: Vec<String> = Vec::new();
    let cache = case.observed.issuance.spec.rollout.kubelet_cache.0;
    let evidence = Evidence::new(case.observed, cache, case.now);
    let mut pods = evidence.pods_of(&workload.workload);
    pods.retain(|pod| pod.has_started());
    for material in &workload.mounts {
        let Some(stored) = case.observed.material.get(material) else {
            continue;
        };
        let changed = stored.found().and_then(|stored| stored.changed);
        let is_first = stored.found().is_some_and(|found| found.is_first_content());
        let is_old = match evidence.load(workload, &pods, material) {
            Load::Current | Load::Pending | Load::Unknown => false,
            // The operator is about to restart it.
            Load::Stale => !case.operator_works(),
            // Pods have most likely waited for it.
            Load::Unproven => !is_first,
        };
        if is_old {
            let since = changed.map_or_else(String::new, |changed| format!(" (changed {changed})"));
            stale.push(format!("{material}{since}"));
        }
    }
    if stale.is_empty() {
        return;
    }
    let reference = &workload.workload;
    let kind = format!("{:?}", reference.kind).to_ascii_lowercase();
    case.add(
        Finding::warning(
            Reason::RestartNeeded,
            reference,
            format!("its pods started before this was written: {}", stale.join(", ")),
        )
        .cause("they read certificates and bundles at start and never again, so they still hold the old ones")
        .fix(format!(
            "kubectl -n {} rollout restart {kind}/{}",
            reference.object.namespace, reference.object.name
        )),
    );
}
