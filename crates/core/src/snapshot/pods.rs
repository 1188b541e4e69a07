//! Pods that are newer than a snapshot: what is taken away from trust, or signed by a new CA, must not pass them over.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Cluster, ObjectRef, Pod, Snapshot, Source};
use crate::plan::Step;

/// The pods of a namespace, as one list shows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListedPods {
    /// Where.
    pub namespace: (Cluster, String),
    /// The list's version.
    pub version: String,
    /// Those that live and mount anything.
    pub pods: BTreeMap<ObjectRef, Pod>,
    /// Those that do not parse, and why.
    pub broken: BTreeMap<ObjectRef, String>,
}

impl ListedPods {
    /// Notes a pod of the list.
    pub fn add(&mut self, pod: Pod) {
        if pod.is_kept() {
            self.pods.insert(pod.pod.clone(), pod);
        }
    }
}

impl Pod {
    /// Whether anything can follow from it: it lives, and reads Secrets or ConfigMaps.
    pub fn is_kept(&self) -> bool {
        self.is_alive() && !self.mounts.is_empty()
    }
}

/// Whether a step is right only if no pod was overlooked that reads material of the domain: it takes an anchor away, or
/// issues a leaf that not every older bundle verifies. Who moves at once asks nobody.
pub fn rests_on_pods(step: &Step) -> bool {
    let is_new = matches!(step, Step::IssueLeaf(leaf) if !leaf.trusted_by.is_empty());
    step.drops() || is_new
}

/// The namespaces whose pods can read material of a trust domain.
pub fn namespaces_of_readers(observed: &Snapshot) -> BTreeSet<&str> {
    let material = observed.material.keys();
    material.map(|one| one.object.namespace.as_str()).collect()
}

/// A pod that reads material of the domain, or may, and that the snapshot does not know, or knows without a node.
pub fn unseen<'a>(observed: &Snapshot, listed: &'a ListedPods) -> Option<&'a ObjectRef> {
    let known = observed.pods.iter();
    let known: BTreeMap<&str, &Pod> = known.map(|pod| (pod.uid.as_str(), pod.as_ref())).collect();
    let is_known = |pod: &Pod| {
        let known = known.get(pod.uid.as_str());
        known.is_some_and(|known| known.node.is_some() || pod.node.is_none())
    };
    let mut pods = listed.pods.values();
    let unseen = pods.find(|pod| {
        let mut mounts = pod.mounts.iter();
        !is_known(pod) && mounts.any(|one| observed.material.contains_key(one))
    });
    let is_told = |pod: &ObjectRef| {
        let mut unread = observed.unreadable.iter();
        unread.any(|unread| matches!(&unread.source, Source::Pod(told) if told == pod))
    };
    let mut broken = listed.broken.keys();
    let unseen = unseen.map(|pod| &pod.pod);
    unseen.or_else(|| broken.find(|pod| !is_told(pod)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use external_ca_api::ExternalCAIssuance;
    use serde_json::json;

    use super::super::{Needs, Scope, Seen};
    use super::*;
    use crate::model::{AuthorityState, Claims, Observed, Read, facts};

    const NAMESPACE: &str = "openchoreo-control-plane";

    fn pod(name: &str, uid: &str, secret: &str, phase: &str) -> Pod {
        let object = json!({
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": uid},
            "spec": {"nodeName": "node-1", "volumes": [{"name": "tls", "secret": {"secretName": secret}}]},
            "status": {"phase": phase},
        });
        facts::pod(&serde_json::from_value(object).unwrap()).unwrap()
    }

    fn observed(pods: &[Pod]) -> Observed {
        let issuance: ExternalCAIssuance = serde_json::from_value(json!({
            "apiVersion": "pki.openchoreo.dev/v1alpha1", "kind": "ExternalCAIssuance",
            "metadata": {"name": "a", "namespace": NAMESPACE},
            "spec": {"issuer": {"caSecret": {"name": "ca"}}},
        }))
        .unwrap();
        let served = Arc::new(BTreeSet::from([NAMESPACE.to_owned()]));
        let scope = Scope {
            served,
            ..Scope::default()
        };
        let needs = Needs::of(&issuance, Vec::new(), &BTreeSet::new(), &scope);
        let mut seen = Seen::default();
        for material in needs.objects() {
            seen.material.insert(material, Arc::new(Read::Absent));
        }
        for pod in pods {
            seen.pods.insert(pod.pod.clone(), Arc::new(pod.clone()));
        }
        seen.observed(
            &Arc::new(issuance),
            Claims::default(),
            &needs,
            &scope,
            AuthorityState::Absent,
        )
    }

    #[test]
    fn a_pod_that_the_snapshot_does_not_know_is_found() {
        let known = pod("gateway-0", "a", "cluster-gateway-tls", "Running");
        let observed = observed(std::slice::from_ref(&known));
        assert_eq!(observed.pods.len(), 1);
        assert!(namespaces_of_readers(&observed).contains(NAMESPACE));
        let unseen = |pod: Pod| {
            let mut listed = ListedPods::default();
            listed.add(pod);
            unseen(&observed, &listed).is_some()
        };
        assert!(!unseen(known.clone()));
        let mut unbound = observed.clone();
        Arc::make_mut(unbound.pods.first_mut().unwrap()).node = None;
        let mut bound = ListedPods::default();
        bound.add(known);
        assert!(
            super::unseen(&unbound, &bound).is_some(),
            "it has a node by now"
        );
        let named_alike = pod("gateway-0", "b", "cluster-gateway-tls", "Pending");
        assert!(unseen(named_alike));
        assert!(!unseen(pod("c", "c", "cluster-gateway-tls", "Failed")));
        assert!(!unseen(pod("d", "d", "of-somebody-else", "Running")));
    }

    #[test]
    fn one_that_does_not_parse_may_be_anything() {
        let observed = observed(&[]);
        let mut listed = ListedPods::default();
        let broken = ObjectRef::new(NAMESPACE, "odd");
        listed.broken.insert(broken.clone(), "wrong".into());
        assert_eq!(unseen(&observed, &listed), Some(&broken));
    }
}
