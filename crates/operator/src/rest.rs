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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use external_ca_api::{ExternalCAIssuance, PlaneKind};
    use external_ca_core::model::{AuthorityState, Claims, Plane, Read, facts};
    use external_ca_core::snapshot::{Needs, Scope, Seen};
    use serde_json::json;

    use super::*;

    fn plane(version: &str, id: &str) -> Arc<Plane> {
        let metadata = json!({"name": "eu", "namespace": "ns", "resourceVersion": version});
        let metadata = serde_json::from_value(metadata).unwrap();
        let data = json!({"spec": {"planeID": id}});
        let plane = facts::plane(PlaneKind::DataPlane, &metadata, &data, None);
        Arc::new(plane.unwrap().unwrap())
    }

    fn basis(issuance: &Arc<ExternalCAIssuance>, plane: Arc<Plane>) -> Basis {
        let scope = Scope {
            served: Arc::new(BTreeSet::from(["ns".to_owned()])),
            ..Scope::default()
        };
        let needs = Needs::of(issuance, vec![plane], &BTreeSet::new(), &scope);
        let mut seen = Seen::default();
        let absent = needs.objects().map(|one| (one, Arc::new(Read::Absent)));
        seen.material.extend(absent);
        let (claims, state) = (Claims::default(), AuthorityState::Absent);
        Basis::Issuance(Box::new(
            seen.observed(issuance, claims, &needs, &scope, state),
        ))
    }

    #[test]
    fn it_lasts_until_something_else_is_seen_or_its_time_has_come() {
        let issuance = || {
            let object = json!({
                "metadata": {"name": "a", "namespace": "ns"},
                "spec": {"issuer": {"caSecret": {"name": "ca"}}},
            });
            Arc::new(serde_json::from_value(object).unwrap())
        };
        let (first, second) = (issuance(), issuance());
        let (now, until) = (Timestamp::MIN, Timestamp::UNIX_EPOCH);
        let rest = Rest::new(basis(&first, plane("1", "eu-1")), until).unwrap();
        let lasts = |issuance, plane, now| rest.lasts(&basis(issuance, plane), now).is_some();
        assert!(lasts(&first, plane("1", "eu-1"), now));
        assert!(lasts(&first, plane("2", "eu-1"), now), "another version");
        assert!(!lasts(&first, plane("2", "eu-2"), now), "another plane");
        assert!(!lasts(&second, plane("1", "eu-1"), now), "another issuance");
        assert!(
            !lasts(&first, plane("1", "eu-1"), until),
            "its time has come"
        );
    }
}
