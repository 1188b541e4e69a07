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
    table: Arc<ClaimTable>,
}

impl AllClaims {
    /// The claims of these issuances over these planes.
    pub fn over(
        &self,
        issuances: Vec<Arc<ExternalCAIssuance>>,
        planes: &[Arc<Plane>],
        scope: &Scope,
    ) -> Arc<ClaimTable> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_mut().filter(|made| made.holds(&issuances, planes)) {
            // What is at hand is compared faster than what has gone.
            made.planes = planes.to_vec();
            made.issuances = issuances;
            return Arc::clone(&made.table);
        }
        let table = Arc::new(ClaimTable::new(&issuances, planes, scope));
        *made = Some(Made {
            issuances,
            planes: planes.to_vec(),
            table: Arc::clone(&table),
        });
        table
    }
}

impl Made {
    fn holds(&self, issuances: &[Arc<ExternalCAIssuance>], planes: &[Arc<Plane>]) -> bool {
        let same_issuance = |(old, new): (&Arc<ExternalCAIssuance>, &Arc<ExternalCAIssuance>)| {
            let (then, now) = (&old.metadata, &new.metadata);
            Arc::ptr_eq(old, new) || then.uid == now.uid && then.generation == now.generation
        };
        let same_plane = |(old, new): (&Arc<Plane>, &Arc<Plane>)| {
            Arc::ptr_eq(old, new)
                || old.plane == new.plane
                    && old.plane_id == new.plane_id
                    && old.labels == new.labels
        };
        self.issuances.len() == issuances.len()
            && self.planes.len() == planes.len()
            && self.issuances.iter().zip(issuances).all(same_issuance)
            && self.planes.iter().zip(planes).all(same_plane)
    }
}
