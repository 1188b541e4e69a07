//! Why a step is taken, for people.

use std::sync::Arc;

use jiff::Timestamp;

use crate::model::{Injected, MaterialKind, MaterialRef, Observed, Read};
use crate::plan::{
    GenerateCa, InjectBundle, IssueLeaf, Restart, Step, WirePlane, Wiring, WriteBundle,
};
use crate::trust::evidence::{Evidence, Load};
use crate::x509::{Certificate, parse_bundle};

/// Why, from the snapshot that led to the step. `real`: the certificate that is meant by one of the snapshot's.
pub fn explain(
    observed: &Observed,
    step: &Step,
    real: impl Fn(&Certificate) -> Certificate,
) -> String {
    let difference = |old: &[Certificate], new: &[Certificate]| {
        let all = |found: &[Certificate]| found.iter().map(&real).collect::<Vec<_>>();
        difference(&all(old), &all(new))
    };
    match step {
        Step::GenerateCa(GenerateCa {
            resource_version, ..
        }) => match resource_version {
            None => "issuer.caSecret.generate is true, and there is no CA".to_owned(),
            Some(_) => "a new CA was asked for, or the present one ends too soon".to_owned(),
        },
        Step::WriteBundle(WriteBundle {
            target, anchors, ..
        }) => match observed.material.get(target).map(Arc::as_ref) {
            Some(Read::Found(stored)) => difference(&stored.anchors, anchors),
            _ => format!("it does not exist; {}", difference(&[], anchors)),
        },
        Step::InjectBundle(InjectBundle {
            target, anchors, ..
        }) => {
            let stored = observed.injected.get(target);
            let stored = stored.and_then(|read| read.found());
            let stored = stored.map_or_else(Vec::new, Injected::anchors);
            difference(&stored, anchors)
        }
        Step::WirePlane(WirePlane {
            plane, client_ca, ..
        }) => {
            let found = observed.planes.iter().find(|found| found.plane == *plane);
            let stored = found.map_or(&[][..], |found| &found.anchors);
            match client_ca {
                Wiring::Value(pem) => {
                    difference(stored, &parse_bundle(pem.as_bytes()).certificates)
                }
                Wiring::Reference { secret, .. } => format!("refers to Secret {secret}"),
            }
        }
        Step::IssueLeaf(IssueLeaf { why, .. }) => {
            let (reason, message) = (why.reason, &why.message);
            let message = message
                .split_once(": ")
                .map_or(message.as_str(), |(_, rest)| rest);
            format!("{reason}: {message}")
        }
        Step::Restart(Restart { workload, .. }) => {
            let found = observed.workloads.iter();
            let mut found = found.filter(|found| found.workload == *workload);
            let Some(found) = found.next() else {
                return String::new();
            };
            // A pod that has no node yet is no reason to restart it.
            let cache = observed.issuance.spec.rollout.kubelet_cache.0;
            let evidence = Evidence::new(observed, cache, Timestamp::MAX);
            let pods = evidence.pods_of(workload);
            let changed = found.mounts.iter().filter(|object| {
                observed.material.contains_key(*object)
                    && matches!(
                        evidence.load(found, &pods, object),
                        Load::Stale | Load::Unproven
                    )
            });
            let names: Vec<String> = changed.map(short).collect();
            format!("its pods may hold an older {}", names.join(", "))
        }
        Step::DropRequest(_) => "the leaf is stored, or no longer wanted like that".to_owned(),
        Step::Consume(_) => "what it asks for is granted".to_owned(),
    }
}

fn short(object: &MaterialRef) -> String {
    let kind = match object.kind {
        MaterialKind::Secret => "Secret",
        MaterialKind::ConfigMap => "ConfigMap",
    };
    format!("{kind} {}", object.object.name)
}

fn difference(old: &[Certificate], new: &[Certificate]) -> String {
    let names = |from: &[Certificate], without: &[Certificate]| -> Vec<String> {
        let changed = from.iter().filter(|anchor| !without.contains(anchor));
        changed
            .map(|anchor| format!("{} ({})", anchor.subject(), anchor.fingerprint().short()))
            .collect()
    };
    let (added, dropped) = (names(new, old), names(old, new));
    let mut parts = Vec::new();
    if !added.is_empty() {
        parts.push(format!("trusts {}", added.join(", ")));
    }
    if !dropped.is_empty() {
        parts.push(format!("no longer trusts {}", dropped.join(", ")));
    }
    parts.join("; ")
}
