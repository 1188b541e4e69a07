//! Servers that read their certificate anew, as controller-runtime's certwatcher does: by the design within two minutes of a
//! write.

use std::sync::Arc;

use fastrand::Rng;
use jiff::SignedDuration;

use super::world::{WEBHOOK, secret};
use crate::cluster::{Cluster, content};

const WITHIN: SignedDuration = SignedDuration::from_mins(2);

/// The webhook's servers look whether their certificate has changed.
pub fn reload(cluster: &mut Cluster, rng: &mut Rng) {
    let webhook = secret(WEBHOOK);
    let Some(stored) = cluster.material.get(&webhook) else {
        return;
    };
    let must = content(stored)
        .changed
        .is_some_and(|at| at + WITHIN <= cluster.now);
    for pod in &mut cluster.pods {
        if must && pod.volumes.contains_key(&webhook) {
            pod.volumes.insert(webhook.clone(), Arc::clone(stored));
        }
        let newest = pod.volumes.get(&webhook).cloned();
        if let (Some(newest), Some(holds)) = (newest, &mut pod.holds)
            && (must || rng.bool())
        {
            holds.insert(webhook.clone(), newest);
        }
    }
}
