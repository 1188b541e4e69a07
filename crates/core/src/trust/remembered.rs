//! What a view shows of the anchors that earlier turns knew.

use std::collections::BTreeSet;

use super::view::{View, shorts};
use crate::model::MaterialRef;
use crate::x509::{Certificate, Fingerprint};

impl View<'_> {
    /// Whether an anchor was handed out that stands nowhere as far as can be read, and not all can be.
    pub(super) fn may_hold_more(&self) -> bool {
        let retiring = self.retiring.iter().map(Certificate::fingerprint);
        let found: BTreeSet<Fingerprint> = retiring.chain(self.wanted_anchors()).collect();
        let is_unread = |material: &MaterialRef| self.bundle(material).is_none();
        self.memory.known.iter().any(|known| !found.contains(known))
            && self.domain.wanted.trust_places.iter().any(is_unread)
    }

    /// Whether each anchor on its way out was announced, and there is one.
    pub fn is_announced(&self) -> bool {
        let announced = &self.memory.announced;
        let mut retiring = self.retiring.iter();
        !announced.is_empty() && retiring.all(|anchor| announced.contains(&anchor.fingerprint()))
    }

    /// Anchors that were once handed out and are wanted no longer: what is missing may have named them.
    pub fn lost_anchors(&self) -> Option<String> {
        let wanted: BTreeSet<Fingerprint> = self.wanted_anchors().collect();
        shorts(self.memory.known.difference(&wanted).copied())
    }

    fn wanted_anchors(&self) -> impl Iterator<Item = Fingerprint> {
        let wanted = std::iter::once(self.ca.anchor()).chain(&self.additional);
        wanted.map(Certificate::fingerprint)
    }

    /// Anchors other than the authority's that a bundle may have held before it was deleted.
    pub fn other_anchors(&self) -> Option<String> {
        let ours = self.ca.anchor().fingerprint();
        let all = self.memory.known.union(&self.memory.former);
        shorts(all.copied().filter(|other| *other != ours))
    }
}
