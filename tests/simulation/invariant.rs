//! What must hold at every instant, judged by real verification of what is stored and of what pods hold.

use std::collections::{BTreeSet, HashMap};

use external_ca_core::observed::{Leaf, Material, MaterialRef};
use external_ca_core::x509::{Certificate, Fingerprint, Usages, verify};

use crate::cluster::{AGENTS, Cluster, agent_leaf, bundle, gateway_leaf, trust_secret};

/// Verification is pure, and most pairs are met again and again.
#[derive(Default)]
pub struct Judge(HashMap<(Fingerprint, Vec<Fingerprint>), bool>);

impl Judge {
    /// The pairs that would fail: who presents, and who verifies.
    pub fn failing(&mut self, cluster: &Cluster) -> BTreeSet<String> {
        let mut failing = BTreeSet::new();
        let servers = held(cluster, &gateway_leaf());
        let bundles = AGENTS.map(|(_, namespace)| bundle(namespace));
        for place in bundles.iter().chain([&trust_secret()]) {
            for (verifier, trusted) in held(cluster, place) {
                for (presenter, leaf) in &servers {
                    if !self.accepts(cluster, leaf, &trusted.anchors, Usages::SERVER) {
                        failing.insert(format!("gateway's leaf {presenter} at {place} {verifier}"));
                    }
                }
            }
        }
        for plane in cluster
            .planes
            .values()
            .filter(|plane| plane.value.is_some())
        {
            let (_, namespace) = AGENTS
                .into_iter()
                .find(|(kind, _)| *kind == plane.plane.kind)
                .unwrap();
            for (presenter, leaf) in held(cluster, &agent_leaf(namespace)) {
                if !self.accepts(cluster, &leaf, &plane.anchors, Usages::CLIENT) {
                    failing.insert(format!("agent's leaf {presenter} at {}", plane.plane));
                }
            }
        }
        failing
    }

    fn accepts(
        &mut self,
        cluster: &Cluster,
        presented: &Material,
        anchors: &[Certificate],
        usages: Usages,
    ) -> bool {
        let Leaf::Present { chain, .. } = &presented.leaf else {
            // Whoever has nothing to present does not start.
            return true;
        };
        let trusted = anchors.iter().map(Certificate::fingerprint).collect();
        let key = (chain[0].fingerprint(), trusted);
        let judge = || verify(chain, anchors, usages, cluster.now).is_ok();
        *self.0.entry(key).or_insert_with(judge)
    }
}

/// What stands in an object, and what pods have read from it: by where it is held.
fn held(cluster: &Cluster, object: &MaterialRef) -> Vec<(String, std::sync::Arc<Material>)> {
    let stored = cluster.material.get(object);
    let mut all: Vec<_> = stored
        .map(|stored| ("stored".to_owned(), stored.clone()))
        .into_iter()
        .collect();
    for (key, deployment) in &cluster.deployments {
        for (index, pod) in deployment.pods.iter().enumerate() {
            let held = pod.holds.get(object);
            all.extend(held.map(|held| (format!("in pod {index} of {key}"), held.clone())));
        }
    }
    all
}
