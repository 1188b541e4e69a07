//! What becomes of handshakes with a certificate as it is stored or held now.

use super::blocker::Blocker;
use super::guards::Guards;
use super::place::Place;
use crate::domain::{DesiredLeaf, Role};
use crate::model::Plane;
use crate::x509::Certificate;

impl Guards<'_> {
    /// Who must restart before a plane is edited: the gateway verifies open connections again then, by the certificate that
    /// was presented, and cuts off an agent whose certificate has ended since. Nobody where a restart would not help it.
    pub fn cut_off_by_edit(&self, plane: &Plane) -> Vec<Blocker> {
        let view = &self.view;
        if self.immediate || plane.agent_connected == Some(false) {
            return Vec::new();
        }
        let place = Place::ClientCa(plane.plane.clone());
        let has_ended = |leaf: &&&DesiredLeaf| {
            let stored = view.observed.material.get(&leaf.material());
            let held_until = stored.and_then(|stored| stored.found()?.held_until);
            leaf.role == Role::Agent && held_until.is_some_and(|end| end <= view.now)
        };
        let serves = |leaf: &&&DesiredLeaf| {
            let chain = view.chain(leaf).unwrap_or_default();
            let first = chain.first();
            first.is_some_and(|first| first.not_after() > view.now)
                && self.verifies(&place, leaf, chain)
        };
        let leaves = view.verified_by(&plane.plane).iter();
        let leaves = leaves.filter(has_ended).filter(serves);
        leaves
            .flat_map(|leaf| self.holders.not_current(&leaf.material()))
            .cloned()
            .collect()
    }

    /// A verifier of what is stored of a leaf that refuses it, as far as it is known what it trusts.
    pub fn refused_by(&self, leaf: &DesiredLeaf) -> Option<Place> {
        let chain = self.view.chain(leaf)?;
        let mut places = self.view.verifiers(leaf).into_iter();
        places.find(|place| {
            let stored = self.view.stored(place);
            let is_known = stored.is_some_and(|stored| !stored.is_empty());
            is_known && !self.verifies(place, leaf, chain)
        })
    }

    fn verifies(&self, place: &Place, leaf: &DesiredLeaf, chain: &[Certificate]) -> bool {
        let stored = self.view.stored(place).unwrap_or_default();
        self.view.holds(chain, stored, leaf.profile.usages)
    }
}
