//! What something mounts by a name that the operator writes: peers may stand there that nobody wants any longer.

use std::collections::BTreeSet;

use external_ca_api::ExternalCAIssuance;

use super::scope::Scope;
use crate::model::{MaterialKind, MaterialRef, Pod, Workload};

/// Which objects of such names, and of those that the issuance had before, workloads or pods of served namespaces mount.
pub fn mounted<'a>(
    issuance: &ExternalCAIssuance,
    scope: &Scope,
    workloads: impl Iterator<Item = &'a Workload>,
    pods: impl Iterator<Item = &'a Pod>,
) -> BTreeSet<MaterialRef> {
    let status = issuance.status.iter();
    let told = status.flat_map(|status| &status.certificates);
    let told: BTreeSet<(&str, &str)> = told
        .filter_map(|told| told.target.split_once('/'))
        .collect();
    let is_candidate = |one: &&MaterialRef| {
        let (namespace, name) = (&one.object.namespace, &one.object.name);
        let is_leaf = || {
            one.kind == MaterialKind::Secret
                && (scope.names.leaves.contains(name) || told.contains(&(namespace, name)))
        };
        scope.served.contains(namespace) && (scope.names.bundles.contains(name) || is_leaf())
    };
    let of_workloads = workloads.flat_map(|workload| &workload.mounts);
    let of_pods = pods.flat_map(|pod| &pod.mounts);
    let all = of_workloads.chain(of_pods);
    all.filter(is_candidate).cloned().collect()
}
