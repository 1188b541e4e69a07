//! What people do. What they break themselves is not the operator's failure; but it must not make it worse.

use std::sync::Arc;

use external_ca_api::{AdditionalAnchor, ClientCa, PlaneKind, RotationStrategy};
use external_ca_core::model::{MaterialRef, PlaneRef};
use external_ca_core::x509::Certificate;
use fastrand::Rng;

use crate::cluster::{AGENTS, Cluster, Content, HOME, PEOPLE, bundles, content, home_of};
use crate::pki::{CAS, ca, names, stranger};
use crate::story::Spoilt;

#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// Another CA is written into the CA Secret.
    ReplaceCa(usize),
    EditBundle(usize, Edit),
    EditClientCa(usize, Edit),
    /// A certificate signed by one of the CAs, whatever is trusted.
    ReplaceLeaf(usize, usize),
    /// Any leaf or bundle.
    Delete(usize),
    /// A plane resource comes or goes.
    Plane(usize),
    /// `planes.clientCA` changes between `Value` and `SecretRef`.
    Wiring,
    /// A CA comes into or leaves `trust.additionalAnchors`.
    Additional(usize),
    Pause,
    /// `rotation.strategy` changes between `Staged` and `Immediate`.
    Strategy,
    RolloutRestart(usize),
    Scale(usize, usize),
}

#[derive(Clone, Copy, Debug)]
pub enum Edit {
    AddStranger,
    /// Takes a CA out.
    Drop(usize),
    /// Puts back what stood there when only this CA was trusted.
    Restore(usize),
}

impl Edit {
    fn draw(rng: &mut Rng) -> Self {
        match rng.u8(..4) {
            0 | 1 => Self::AddStranger,
            2 => Self::Drop(rng.usize(..CAS)),
            _ => Self::Restore(rng.usize(..CAS)),
        }
    }

    fn of(self, anchors: &[Certificate]) -> Vec<Certificate> {
        let mut anchors = anchors.to_vec();
        match self {
            Self::AddStranger => {
                anchors.retain(|anchor| *anchor != stranger());
                anchors.push(stranger());
            }
            Self::Drop(index) => anchors.retain(|anchor| anchor != ca(index).anchor()),
            Self::Restore(index) => anchors = vec![ca(index).anchor().clone()],
        }
        anchors
    }
}

/// Of what kinds people's deeds are in one story.
pub type Habits = [bool; 12];

pub fn draw(rng: &mut Rng, habits: &Habits) -> Option<Deed> {
    let kind = rng.usize(..habits.len());
    let any = rng.usize(..24);
    habits[kind].then(|| match kind {
        0 => Deed::ReplaceCa(any % CAS),
        1 => Deed::EditBundle(any, Edit::draw(rng)),
        2 => Deed::EditClientCa(any, Edit::draw(rng)),
        3 => Deed::ReplaceLeaf(any, rng.usize(..CAS)),
        4 => Deed::Delete(any),
        5 => Deed::Plane(any),
        6 => Deed::Wiring,
        7 => Deed::Additional(any % CAS),
        8 => Deed::Pause,
        9 => Deed::Strategy,
        10 => Deed::RolloutRestart(any),
        _ => Deed::Scale(any, rng.usize(..4)),
    })
}

pub fn carry_out(cluster: &mut Cluster, deed: Deed) {
    cluster.say(|| format!("somebody: {deed:?}"));
    match deed {
        Deed::ReplaceCa(index) => cluster.authority = index,
        Deed::EditBundle(place, edit) => {
            let places = bundles();
            let place = &places[place % places.len()];
            if let Some(stored) = cluster.material.get(place) {
                let anchors = edit.of(&content(stored).anchors);
                cluster.put(
                    place,
                    &Content::Bundle(&anchors),
                    PEOPLE,
                    &std::collections::BTreeMap::new(),
                );
                cluster.say(|| format!("{place} trusts {}", names(&anchors)));
            }
        }
        Deed::EditClientCa(index, edit) => {
            let plane = cluster.planes.values().nth(index % planes().len()).cloned();
            if let Some(plane) = plane {
                let anchors = edit.of(cluster.client_ca(&plane).unwrap_or_default());
                cluster.put_client_ca(&plane.plane, &anchors, PEOPLE);
                cluster.say(|| format!("{} trusts {}", plane.plane, names(&anchors)));
            }
        }
        Deed::ReplaceLeaf(index, authority) => {
            let leaf = cluster.profiles.keys().nth(index % cluster.profiles.len());
            let leaf = leaf.unwrap().clone();
            cluster.put_leaf_by_hand(&leaf, authority);
        }
        Deed::Delete(index) => {
            let leaves = cluster.profiles.keys().cloned();
            let all: Vec<MaterialRef> = leaves.chain(bundles()).collect();
            let target = &all[index % all.len()];
            // Whoever deletes the last copy of a CA that is still needed leaves nothing to restore it from.
            if !is_last_copy(cluster, target) {
                cluster.delete(target);
            }
        }
        Deed::Plane(index) => {
            let all = planes();
            let plane = &all[index % all.len()];
            match cluster.planes.contains_key(plane) {
                true => cluster.remove_plane(plane),
                false => cluster.add_plane(plane.clone()),
            }
        }
        Deed::Wiring => {
            let client_ca = &mut spec(cluster).planes.client_ca;
            *client_ca = match client_ca {
                ClientCa::Value => ClientCa::SecretRef,
                _ => ClientCa::Value,
            };
        }
        Deed::Additional(index) => {
            let pem = ca(index).anchor().to_pem();
            let anchors = &mut spec(cluster).trust.additional_anchors;
            let before = anchors.len();
            anchors.retain(|anchor| anchor.pem.as_ref() != Some(&pem));
            if anchors.len() == before {
                anchors.push(AdditionalAnchor {
                    pem: Some(pem),
                    config_map_ref: None,
                });
            }
        }
        Deed::Pause => {
            let paused = &mut spec(cluster).paused;
            *paused = !*paused;
        }
        Deed::Strategy => {
            let strategy = &mut spec(cluster).rotation.strategy;
            *strategy = match strategy {
                RotationStrategy::Staged => RotationStrategy::Immediate,
                RotationStrategy::Immediate => RotationStrategy::Staged,
            };
        }
        Deed::RolloutRestart(index) => {
            let workload = cluster.workload(index);
            cluster.touch(&workload, |deployment| deployment.restart(|_| {}));
        }
        Deed::Scale(index, replicas) => {
            let workload = cluster.workload(index);
            cluster.touch(&workload, |deployment| deployment.scale(replicas));
        }
    }
}

/// Whether an anchor stands in this bundle, and in no other place that belongs to a plane or to the control plane.
fn is_last_copy(cluster: &Cluster, target: &MaterialRef) -> bool {
    let Some(stored) = cluster.material.get(target) else {
        return false;
    };
    let lives = |namespace: &str| {
        namespace == HOME
            || cluster
                .planes
                .keys()
                .any(|plane| home_of(plane) == namespace)
    };
    let others = bundles()
        .into_iter()
        .filter(|place| place != target && lives(&place.object.namespace));
    let others = others.filter_map(|place| cluster.material.get(&place).map(content));
    let elsewhere: Vec<&Certificate> = others
        .flat_map(|other| &other.anchors)
        .chain(cluster.planes.values().flat_map(|plane| &plane.anchors))
        .collect();
    let anchors = &content(stored).anchors;
    anchors.iter().any(|anchor| !elsewhere.contains(&anchor))
}

/// A second plane whose planeID is another, and whose agent's certificate is to stand in the Secret of the first.
pub fn rival(cluster: &mut Cluster, index: usize) {
    let plane = PlaneRef {
        kind: AGENTS[index].0,
        namespace: Some("default".into()),
        name: "rival".into(),
    };
    cluster.say(|| format!("somebody: {plane} comes or goes"));
    match cluster.planes.contains_key(&plane) {
        true => cluster.remove_plane(&plane),
        false => cluster.add_plane_with(plane, "rival"),
    }
}

/// Names that no certificate can have, in the spec, or no longer.
pub fn spoil(cluster: &mut Cluster, what: Spoilt) {
    cluster.say(|| format!("somebody: spoils, or puts right: {what:?}"));
    let names = vec!["a..b".to_owned()];
    let spec = spec(cluster);
    match what {
        Spoilt::Gateway if spec.gateway.dns_names.is_empty() => spec.gateway.dns_names = names,
        Spoilt::Gateway => spec.gateway.dns_names.clear(),
        Spoilt::Agents if spec.agents.is_empty() => {
            let entry = serde_json::json!({"dnsNames": names});
            spec.agents = vec![serde_json::from_value(entry).unwrap()];
        }
        Spoilt::Agents => spec.agents.clear(),
    }
}

/// In the end nothing is left that cannot be planned.
pub fn put_right(cluster: &mut Cluster) {
    cluster.planes.retain(|plane, _| plane.name != "rival");
    cluster.refuses_status = false;
    let spec = spec(cluster);
    spec.gateway.dns_names.clear();
    spec.agents.clear();
}

/// What a person can want of the issuance; each change is a new generation.
pub fn spec(cluster: &mut Cluster) -> &mut external_ca_api::ExternalCAIssuanceSpec {
    cluster.issuance_version += 1;
    let issuance = Arc::make_mut(&mut cluster.issuance);
    let generation = issuance.metadata.generation.unwrap_or_default();
    issuance.metadata.generation = Some(generation + 1);
    &mut issuance.spec
}

/// The planes that there may be: two of them share an agent.
fn planes() -> [PlaneRef; 3] {
    let plane = |kind, namespace: Option<&str>| PlaneRef {
        kind,
        namespace: namespace.map(String::from),
        name: "plane".into(),
    };
    [
        plane(PlaneKind::DataPlane, Some("default")),
        plane(PlaneKind::ObservabilityPlane, Some("default")),
        plane(PlaneKind::ClusterDataPlane, None),
    ]
}
