//! What has changed, for whoever asks whom it concerns.

use std::collections::BTreeSet;
use std::sync::Arc;

use external_ca_core::model::{MaterialRef, Plane};

/// Past so many, nobody is asked whether it concerns him.
const MANY: usize = 1_000;

/// A plane, as it was before and as it is now; none where it did not exist, or does no longer.
pub type Move = (Option<Arc<Plane>>, Option<Arc<Plane>>);

/// What has changed.
#[derive(Default)]
pub struct News {
    /// Whether it may concern every issuance.
    pub concerns_all: bool,
    /// Otherwise: Secrets and ConfigMaps.
    pub material: BTreeSet<MaterialRef>,
    /// And planes, as they were and are; none where there was or is none.
    pub planes: Vec<Move>,
}

impl News {
    /// Something that may concern every issuance.
    pub fn concern_all(&mut self) {
        *self = Self {
            concerns_all: true,
            ..Self::default()
        };
    }

    /// A Secret or ConfigMap.
    pub fn add_material(&mut self, material: &MaterialRef) {
        if !self.concerns_all {
            self.material.insert(material.clone());
            self.keep_few();
        }
    }

    /// A plane.
    pub fn add_plane(&mut self, before: Option<Arc<Plane>>, after: Option<Arc<Plane>>) {
        if !self.concerns_all {
            self.planes.push((before, after));
            self.keep_few();
        }
    }

    fn keep_few(&mut self) {
        if self.material.len() + self.planes.len() > MANY {
            self.concern_all();
        }
    }
}
