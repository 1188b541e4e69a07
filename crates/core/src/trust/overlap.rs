//! Peers that talk, though nothing tells what they have loaded: the only ones that are waited for by the clock.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::domain::{Desired, DesiredLeaf, Role};
use crate::model::{MaterialRef, ObjectRef, Observed, Plane, PlaneRef};
use crate::trust::evidence::Holders;

/// Whoever presents a leaf that no workload of a served namespace mounts.
#[derive(Clone, Debug, PartialEq)]
pub struct Unseen {
    /// The leaf's Secret.
    pub target: ObjectRef,
    /// Until when it may still present what the Secret held before.
    pub presents_until: Timestamp,
    /// Until when it may still trust what the bundles of its namespace held before.
    pub trusts_until: Timestamp,
    /// As messages name it.
    who: String,
}

impl Unseen {
    /// As messages name it, with the end of the waiting.
    pub fn name(&self, until: Timestamp) -> String {
        format!(
            "{}, which no served workload runs (waits until {until}: rotation.overlap)",
            self.who
        )
    }
}

/// Those peers: OpenChoreo reports that an agent is or has just been connected, and nobody is seen to run it, or the
/// gateway that it is connected to.
pub fn unseen(
    observed: &Observed,
    desired: &Desired,
    holders: &Holders<'_>,
    now: Timestamp,
) -> Vec<Unseen> {
    let overlap = observed.issuance.spec.rotation.overlap.0;
    let talks = |plane: &Plane| match plane.agent_connected {
        Some(true) => true,
        Some(false) => plane
            .agent_disconnected
            .is_some_and(|since| since.duration_until(now) < overlap),
        None => false,
    };
    let planes = desired.planes.iter().filter(|plane| talks(plane));
    let talking: BTreeSet<&PlaneRef> = planes.map(|plane| &plane.plane).collect();
    let Some(any) = talking.first() else {
        return Vec::new();
    };
    let who = |leaf: &DesiredLeaf| match leaf.role {
        Role::Gateway => Some(format!("the gateway of {any}")),
        Role::Agent => {
            let mut planes = leaf.planes.iter();
            let plane = planes.find(|plane| talking.contains(plane))?;
            Some(format!("the agent of {plane}"))
        }
        Role::Further => None,
    };
    let leaves = desired.leaves.values().chain(&desired.blocked);
    leaves
        .filter(|leaf| holders.of(&leaf.material()).is_empty())
        .filter_map(|leaf| {
            let bundles = desired.trust_places.iter();
            let bundles = bundles.filter(|bundle| bundle.object.namespace == leaf.target.namespace);
            Some(Unseen {
                who: who(leaf)?,
                target: leaf.target.clone(),
                presents_until: until(observed, [&leaf.material()], overlap),
                trusts_until: until(observed, bundles, overlap),
            })
        })
        .collect()
}

/// The overlap after the last change of these objects.
fn until<'a>(
    observed: &Observed,
    objects: impl IntoIterator<Item = &'a MaterialRef>,
    overlap: SignedDuration,
) -> Timestamp {
    let changed = |object| observed.material.get(object)?.found()?.changed;
    let last = objects.into_iter().filter_map(changed).max();
    last.and_then(|last| last.saturating_add(overlap).ok())
        .unwrap_or(Timestamp::MIN)
}
