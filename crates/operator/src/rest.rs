//! A turn that would conclude what the last one did is not taken: most changes concern others.

use std::sync::Arc;
use std::time::Duration;

use external_ca_core::model::Observed;
use jiff::Timestamp;

use crate::declaration::Basis;

/// What the last turn rested on, where it left nothing to do.
pub struct Rest {
    observed: Box<Observed>,
    until: Timestamp,
}

impl Rest {
    /// Nothing is to be done until then, as long as nothing else is seen. Domains of cert-manager's objects take each turn:
    /// the status of those objects is part of no snapshot.
    pub fn new(basis: Basis, until: Timestamp) -> Option<Self> {
        match basis {
            Basis::Issuance(observed) => Some(Self { observed, until }),
            Basis::CertManager { .. } => None,
        }
    }

    /// For how long a turn on this basis would still find nothing to do.
    pub fn lasts(&self, basis: &Basis, now: Timestamp) -> Option<Duration> {
        let Basis::Issuance(observed) = basis else {
            return None;
        };
        let known = &self.observed;
        let is_same =
            Arc::ptr_eq(&known.issuance, &observed.issuance) && known.snapshot == observed.snapshot;
        let rest = Duration::try_from(now.duration_until(self.until)).ok();
        rest.filter(|rest| is_same && !rest.is_zero())
    }
}
