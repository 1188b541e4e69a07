//! Who could not talk to whom, judged by real verification of what is stored and of what pods hold.
//!
//! A certificate that was issued by a clock that is ahead is not valid yet for peers whose clock is right: no order of
//! steps can help that. So a pair is judged at a time at which the certificate is valid, and only trust counts.

use std::collections::{BTreeSet, HashMap};

use external_ca_core::model::{Leaf, Material, MaterialRef, ObjectRef, Observed, Read};
use external_ca_core::x509::{Certificate, Fingerprint, Usages, verify};

use crate::cluster::{
    AGENTS, Cluster, Object, PEOPLE, agent_leaf, bundle, content, gateway_leaf, home_of,
    trust_secret,
};
use crate::unwanted::is_hidden;

/// Verification is pure, and most pairs are met again and again.
#[derive(Default)]
pub struct Handshakes(HashMap<(Fingerprint, Vec<Fingerprint>), bool>);

/// Whose failing is held against the operator: what it has seen of planes and of people's edits. None: everybody's.
type Seen<'a> = Option<&'a Observed>;

impl Handshakes {
    /// The pairs that would fail: who presents, and who verifies.
    pub fn failing(&mut self, cluster: &Cluster, seen: Seen<'_>) -> BTreeSet<String> {
        let mut failing = BTreeSet::new();
        let planes: Vec<_> = match seen {
            None => cluster.planes.values().collect(),
            Some(seen) => {
                let known = |key: &external_ca_core::model::PlaneRef| {
                    seen.planes.iter().any(|plane| plane.plane == *key)
                };
                let planes = cluster.planes.iter();
                planes
                    .filter(|(key, plane)| known(key) || is_hidden(cluster, plane))
                    .map(|(_, plane)| plane)
                    .collect()
            }
        };
        let mut places = vec![trust_secret()];
        for (_, namespace) in AGENTS {
            if planes
                .iter()
                .any(|plane| home_of(&plane.plane) == namespace)
            {
                places.push(bundle(namespace));
            }
        }
        let servers = held(cluster, &gateway_leaf(), seen);
        for place in &places {
            if !cluster.material.contains_key(place) {
                failing.extend(by_people(&servers).map(|presenter| {
                    format!("gateway's leaf {presenter} at {place} {}", Holder::Stored)
                }));
            }
            for (verifier, trusted) in held(cluster, place, seen) {
                if content(trusted).anchors.is_empty() {
                    // Whoever will come is refused.
                    let stored = Holder::Stored;
                    failing.insert(format!("gateway's leaf {stored} at {place} {verifier}"));
                }
                for (presenter, leaf) in &servers {
                    let anchors = &content(trusted).anchors;
                    if !self.accepts(cluster, content(leaf), anchors, Usages::SERVER) {
                        failing.insert(format!("gateway's leaf {presenter} at {place} {verifier}"));
                    }
                }
            }
        }
        for plane in planes {
            let edited_by_people = plane.manager.as_deref() == Some(PEOPLE);
            let unseen = |seen: &Observed| {
                let known = seen.planes.iter().find(|known| known.plane == plane.plane);
                known.is_none_or(|known| known.resource_version != plane.resource_version)
            };
            if edited_by_people && seen.is_some_and(unseen)
                || plane.value.is_none()
                    && plane.reference.is_some()
                    && seen.is_some_and(|seen| edited(cluster, &trust_secret(), seen))
            {
                continue;
            }
            let agents = held(cluster, &agent_leaf(home_of(&plane.plane)), seen);
            let anchors = cluster.client_ca(plane);
            let Some(anchors) = anchors.filter(|anchors| !anchors.is_empty()) else {
                // The gateway refuses whoever comes, or will come.
                failing.insert(format!(
                    "agent's leaf {} at {}",
                    Holder::Stored,
                    plane.plane
                ));
                failing.extend(
                    agents.iter().map(|(presenter, _)| {
                        format!("agent's leaf {presenter} at {}", plane.plane)
                    }),
                );
                continue;
            };
            for (presenter, leaf) in agents {
                if !self.accepts(cluster, content(leaf), anchors, Usages::CLIENT) {
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
            // Whoever has nothing to present does not start; and an empty bundle, which people left, verifies nothing.
            return !anchors.is_empty();
        };
        let leaf = &chain[0];
        let trusted = anchors.iter().map(Certificate::fingerprint).collect();
        let judge = || verify(chain, anchors, usages, cluster.now.max(leaf.not_before())).is_ok();
        *self
            .0
            .entry((leaf.fingerprint(), trusted))
            .or_insert_with(judge)
    }
}

/// Where something is held.
#[derive(Clone, Copy)]
pub enum Holder<'a> {
    Stored,
    Pod(&'static str, &'a ObjectRef),
}

impl std::fmt::Display for Holder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stored => write!(f, "stored"),
            Self::Pod(place, pod) => write!(f, "{place} pod {pod}"),
        }
    }
}

/// What stands in an object, and what pods have read from it. What people wrote after the operator last looked is left
/// out: nobody can take back a write that is already on its way.
pub fn held<'a>(
    cluster: &'a Cluster,
    target: &MaterialRef,
    seen: Seen<'_>,
) -> Vec<(Holder<'a>, &'a Object)> {
    let counts =
        |object: &Object| !seen.is_some_and(|seen| is_unseen(object, target, seen, cluster.begun));
    let stored = cluster.material.get(target);
    let mut all: Vec<_> = stored
        .map(|stored| (Holder::Stored, stored))
        .into_iter()
        .collect();
    for pod in &cluster.pods {
        let held = pod.held(target);
        all.extend(held.map(|(place, held)| (Holder::Pod(place, &pod.facts.pod), held)));
    }
    all.retain(|(_, object)| counts(object));
    all
}

/// A certificate that people made need not fit a place that does not exist yet.
fn by_people<'a>(held: &'a [(Holder<'a>, &Object)]) -> impl Iterator<Item = Holder<'a>> {
    let made = held
        .iter()
        .filter(|(_, leaf)| content(leaf).manager.as_deref() == Some(PEOPLE));
    made.map(|(holder, _)| *holder)
}

/// Whether people have changed or deleted an object since the operator last looked.
pub fn edited(cluster: &Cluster, target: &MaterialRef, seen: &Observed) -> bool {
    match cluster.material.get(target) {
        Some(stored) => is_unseen(stored, target, seen, cluster.begun),
        None => {
            let known = seen.material.get(target);
            known.is_some_and(|known| known.found().is_some())
        }
    }
}

fn is_unseen(object: &Object, target: &MaterialRef, seen: &Observed, begun: u64) -> bool {
    let version = |material: &Material| material.resource_version.parse::<u64>().unwrap();
    let known = match seen.material.get(target).map(AsRef::as_ref) {
        Some(Read::Found(known)) => version(known),
        // It may be the oldest thing that ever stood there, but not what people put there since.
        // So it is where nobody looks any more.
        Some(Read::Unknown(_)) | None => begun,
        Some(Read::Absent) => 0,
    };
    let object = content(object);
    object.manager.as_deref() == Some(PEOPLE) && version(object) > known
}
