//! Who claims what, made anew only where an issuance's spec or a plane has changed in what claims are made from: a thousand
//! planes tell every minute how their agents are.

use std::sync::{Arc, Mutex, PoisonError};

use external_ca_api::ExternalCAIssuance;
use external_ca_core::model::Plane;
use external_ca_core::snapshot::{ClaimTable, Scope};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// The claims, and what they were made from.
#[derive(Default)]
pub struct AllClaims(Mutex<Option<Made>>);

struct Made {
    issuances: Vec<Arc<ExternalCAIssuance>>,
    planes: Vec<Arc<Plane>>,
    told: Told,
}

/// Who claims what, over the planes that there are.
#[derive(Clone)]
pub struct Told {
    /// The claims.
    pub table: Arc<ClaimTable>,
    /// Planes that may be written, and those of strangers.
    pub planes: Arc<Split>,
}

type Split = (Vec<Arc<Plane>>, Vec<Arc<Plane>>);

impl AllClaims {
    /// The claims of these issuances over these planes.
    pub fn over(
        &self,
        issuances: Vec<Arc<ExternalCAIssuance>>,
        planes: Vec<Arc<Plane>>,
        scope: &Scope,
    ) -> Told {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same_planes = |made: &&Made| same(&made.planes, &planes, Arc::ptr_eq);
        let split = last.as_ref().filter(same_planes);
        let split = split.map(|made| Arc::clone(&made.told.planes));
        let split = split.unwrap_or_else(|| Arc::new(scope.split(&planes)));
        let table = last.as_ref().filter(|made| made.holds(&issuances, &planes));
        let table = table.map(|made| Arc::clone(&made.told.table));
        let table =
            table.unwrap_or_else(|| Arc::new(ClaimTable::over(&issuances, &split.0, scope)));
        let told = Told {
            table,
            planes: split,
        };
        *last = Some(Made {
            issuances,
            planes,
            told: told.clone(),
        });
        told
    }
}

impl Made {
    fn holds(&self, issuances: &[Arc<ExternalCAIssuance>], planes: &[Arc<Plane>]) -> bool {
        let same_issuance = |old: &Arc<ExternalCAIssuance>, new: &Arc<ExternalCAIssuance>| {
            let (then, now) = (&old.metadata, &new.metadata);
            Arc::ptr_eq(old, new) || then.uid == now.uid && then.generation == now.generation
        };
        let same_plane = |old: &Arc<Plane>, new: &Arc<Plane>| {
            Arc::ptr_eq(old, new)
                || old.plane == new.plane
                    && old.plane_id == new.plane_id
                    && old.labels == new.labels
        };
        same(&self.issuances, issuances, same_issuance) && same(&self.planes, planes, same_plane)
    }
}

fn same<T>(old: &[T], new: &[T], is_same: impl Fn(&T, &T) -> bool) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_same(old, new))
}
