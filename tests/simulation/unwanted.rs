//! Peers that nobody wants at the moment, and that talk all the same (issue 14, items 1 to 4).

use std::collections::BTreeMap;

use external_ca_api::PlaneKind;
use external_ca_core::model::Plane;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::cluster::{AGENTS, Cluster, gateway_leaf};
use crate::people::spec;

#[derive(Clone, Copy, Debug)]
pub enum Unwanted {
    /// Two planeIDs want one Secret, for good.
    Rival(usize),
    /// `gateway.secretName` names another Secret, or again the one that the gateway mounts.
    Renamed,
    /// `planes.selector` selects no plane, or is gone.
    Selector,
    /// A plane kind is not found, or is again.
    Hidden(usize),
}

/// Plane kinds that are not found, and since which version.
pub type Hidden = BTreeMap<PlaneKind, u64>;

impl Unwanted {
    /// Its name, to count by.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rival(_) => "conflict",
            Self::Renamed => "renamed gateway Secret",
            Self::Selector => "planes that no selector selects",
            Self::Hidden(_) => "a kind that is not found",
        }
    }

    pub fn of(seed: u64, any: usize) -> Self {
        match seed % 4 {
            0 => Self::Rival(any % AGENTS.len()),
            1 => Self::Renamed,
            2 => Self::Selector,
            _ => Self::Hidden(any % AGENTS.len()),
        }
    }
}

pub fn carry_out(cluster: &mut Cluster, what: Unwanted) {
    cluster.say(|| format!("somebody: {what:?}"));
    match what {
        Unwanted::Rival(index) => crate::people::rival(cluster, index),
        Unwanted::Renamed => {
            let old = gateway_leaf().object.name;
            let name = &mut spec(cluster).gateway.secret_name;
            *name = if *name == old { "another".into() } else { old };
        }
        Unwanted::Selector => {
            let selector = &mut spec(cluster).planes.selector;
            *selector = match selector {
                Some(_) => None,
                None => Some(LabelSelector {
                    match_labels: Some([("no".to_owned(), "plane".to_owned())].into()),
                    ..LabelSelector::default()
                }),
            };
        }
        Unwanted::Hidden(index) => {
            let (kind, version) = (AGENTS[index].0, cluster.next_number());
            if cluster.hidden.remove(&kind).is_none() {
                cluster.hidden.insert(kind, version);
            }
        }
    }
}

/// Whether a plane stood there before its kind was lost sight of.
pub fn is_hidden(cluster: &Cluster, plane: &Plane) -> bool {
    let since = cluster.hidden.get(&plane.plane.kind);
    let version = plane.resource_version.parse::<u64>().ok();
    since.is_some_and(|since| version < Some(*since))
}

/// In the end everybody is wanted.
pub fn put_right(cluster: &mut Cluster) {
    cluster.hidden.clear();
    let name = gateway_leaf().object.name;
    let spec = spec(cluster);
    spec.gateway.secret_name = name;
    spec.planes.selector = None;
}
