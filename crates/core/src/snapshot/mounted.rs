//! What something mounts by a name that the operator writes: peers may stand there that nobody wants any longer.

use std::collections::BTreeSet;

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus};

use super::scope::Scope;
use crate::model::{MaterialKind, MaterialRef, Plane, Pod, Workload};

/// Which objects of such names, and of those that the issuance had before, workloads or pods of served namespaces mount, or
/// planes refer to that may be written.
pub fn mounted<'a>(
    issuance: &ExternalCAIssuance,
    scope: &Scope,
    workloads: impl Iterator<Item = &'a Workload>,
    pods: impl Iterator<Item = &'a Pod>,
    planes: impl Iterator<Item = &'a Plane>,
) -> BTreeSet<MaterialRef> {
    mounted_since(issuance.status.as_ref(), scope, workloads, pods, planes)
}

/// The same for whoever has said that much before.
pub fn mounted_since<'a>(
    earlier: Option<&ExternalCAIssuanceStatus>,
    scope: &Scope,
    workloads: impl Iterator<Item = &'a Workload>,
    pods: impl Iterator<Item = &'a Pod>,
    planes: impl Iterator<Item = &'a Plane>,
) -> BTreeSet<MaterialRef> {
    let told: BTreeSet<_> = told(earlier).collect();
    let is_served = |one: &MaterialRef| scope.served.contains(&one.object.namespace);
    let is_candidate = |one: &&MaterialRef| {
        let name = &one.object.name;
        let is_leaf = one.kind == MaterialKind::Secret && scope.names.leaves.contains(name);
        let is_named = is_leaf || scope.names.bundles.contains(name);
        let is_told = || told.contains(&(one.kind.as_str(), &one.object.namespace, name));
        is_served(one) && (is_named || is_told())
    };
    // What a template of ours names, this operator has written before.
    let of_workloads = workloads.map(|one| (&one.mounts, &one.loaded));
    let of_pods = pods.map(|one| (&one.mounts, &one.loaded));
    let referred = planes.filter_map(|plane| plane.bundle().filter(|_| scope.holds(&plane.plane)));
    let mut found: BTreeSet<MaterialRef> = referred.filter(|one| is_candidate(&one)).collect();
    for (mounts, loaded) in of_workloads.chain(of_pods) {
        let is_known = |one: &MaterialRef| is_served(one) && loaded.contains_key(one);
        let counts = mounts
            .iter()
            .filter(|one| is_candidate(one) || is_known(one));
        found.extend(counts.cloned());
    }
    found
}

/// What was written before, as that tells: kind, namespace and name.
fn told(earlier: Option<&ExternalCAIssuanceStatus>) -> impl Iterator<Item = (&str, &str, &str)> {
    let status = earlier.into_iter();
    let leaves = status.clone().flat_map(|status| &status.certificates);
    let leaves = leaves.map(|leaf| (MaterialKind::Secret.as_str(), leaf.target.as_str()));
    let trust = status.filter_map(|status| status.trust.as_ref());
    let bundles = trust.flat_map(|trust| &trust.bundles);
    let bundles = bundles.filter_map(|bundle| bundle.split_once(' '));
    leaves.chain(bundles).filter_map(|(kind, object)| {
        let (namespace, name) = object.split_once('/')?;
        Some((kind, namespace, name))
    })
}

/// The namespaces in which something was.
pub(super) fn told_namespaces(earlier: Option<&ExternalCAIssuanceStatus>) -> BTreeSet<&str> {
    told(earlier).map(|(_, namespace, _)| namespace).collect()
}
