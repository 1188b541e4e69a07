//! What matters most: it is read by itself besides its watch, for a watch that has died in silence tells nothing.

use std::collections::BTreeSet;

use external_ca_api::{
    AnchorState, CertificateState, ExternalCAIssuance, ExternalCAIssuanceStatus,
};
use jiff::{SignedDuration, Timestamp};

use super::needs::Needs;
use crate::domain::selected;
use crate::model::{MaterialKind, MaterialRef, ObjectRef};
use crate::trust::Place;

/// So long before its renewal a leaf is looked at.
const AHEAD: SignedDuration = SignedDuration::from_mins(10);

/// An object, and from when on it is read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vital {
    /// Which one.
    pub place: Place,
    /// From when on.
    pub from: Timestamp,
    /// Whether it is a CA Secret, which is read also at rest.
    pub is_authority: bool,
}

impl Needs {
    /// The CA Secret; leaves that are about to be renewed, or are not as they should be; while a CA is being replaced, each
    /// leaf and each trust place.
    pub fn vital(&self, issuance: &ExternalCAIssuance) -> Vec<Vital> {
        let planes = || {
            let planes = selected(issuance, &self.planes).into_iter();
            planes.map(|plane| Place::ClientCa(plane.plane.clone()))
        };
        self.vital_since(issuance.status.as_ref(), planes)
    }

    /// The same for whoever has said that much before, with its places besides bundles.
    pub fn vital_since<P: Iterator<Item = Place>>(
        &self,
        earlier: Option<&ExternalCAIssuanceStatus>,
        places: impl FnOnce() -> P,
    ) -> Vec<Vital> {
        let vital = |place, from| Vital {
            place,
            from,
            is_authority: false,
        };
        let secret = |object: &ObjectRef| MaterialRef {
            kind: MaterialKind::Secret,
            object: object.clone(),
        };
        let authority = self.authority.iter();
        let authority = authority.map(|object| Vital {
            is_authority: true,
            ..vital(Place::Material(secret(object)), Timestamp::MIN)
        });
        let status = earlier.into_iter();
        let mut anchors = status.clone().flat_map(|status| status.anchors());
        if anchors.any(|anchor| anchor.state == AnchorState::Retiring) {
            let material = self.material.iter().cloned().map(Place::Material);
            return authority
                .chain(
                    material
                        .chain(places())
                        .map(|place| vital(place, Timestamp::MIN)),
                )
                .collect();
        }
        let needed: BTreeSet<&MaterialRef> = self.material.iter().collect();
        let told = status.flat_map(|status| &status.certificates);
        let leaves = told.filter_map(|told| {
            let (namespace, name) = told.target.split_once('/')?;
            let leaf = secret(&ObjectRef::new(namespace, name));
            let renewal = told.renewal_time.as_ref().map(|time| time.0);
            let from = match (told.state, renewal) {
                (CertificateState::Ready, Some(renewal)) => renewal.saturating_sub(AHEAD).ok()?,
                _ => Timestamp::MIN,
            };
            let is_needed = needed.contains(&leaf);
            is_needed.then(|| vital(Place::Material(leaf), from))
        });
        authority.chain(leaves).collect()
    }
}
