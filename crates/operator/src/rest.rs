//! A turn that would conclude what the last one did is not taken: most changes concern others.

use std::time::Duration;

use external_ca_core::model::Observed;
use external_ca_core::snapshot::{is_moved_by, plans_alike, reads};
use jiff::Timestamp;

use crate::cluster::News;
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
        let is_same = plans_alike(&self.observed, observed);
        let rest = Duration::try_from(now.duration_until(self.until)).ok();
        rest.filter(|rest| is_same && !rest.is_zero())
    }

    /// Whether what has changed may lead to another conclusion.
    pub fn is_moved_by(&self, news: &News) -> bool {
        let mut material = news.material.iter();
        let mut planes = news.planes.iter();
        news.concerns_all
            || material.any(|object| reads(&self.observed, object))
            || planes.any(|(before, after)| {
                is_moved_by(&self.observed, before.as_deref(), after.as_deref())
            })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use external_ca_api::{ExternalCAIssuance, PlaneKind};
    use external_ca_core::model::{
        AuthorityState, Claims, MaterialKind, MaterialRef, ObjectRef, Plane, Read, facts,
    };
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

    fn issuance(selector: serde_json::Value) -> Arc<ExternalCAIssuance> {
        let object = json!({
            "metadata": {"name": "a", "namespace": "ns"},
            "spec": {"issuer": {"caSecret": {"name": "ca"}}, "planes": {"selector": selector}},
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    fn secret(name: &str) -> MaterialRef {
        MaterialRef {
            kind: MaterialKind::Secret,
            object: ObjectRef::new("ns", name),
        }
    }

    #[test]
    fn it_is_moved_by_what_was_read_for_it_and_by_nothing_else() {
        let none = json!({"matchLabels": {"no": "plane"}});
        let rest = |selector| {
            let basis = basis(&issuance(selector), plane("1", "eu-1"));
            Rest::new(basis, Timestamp::MAX).unwrap()
        };
        let (rest, selects_none) = (rest(json!(null)), rest(none));
        let moves = |rest: &Rest, tell: &dyn Fn(&mut News)| {
            let mut news = News::default();
            tell(&mut news);
            rest.is_moved_by(&news)
        };
        assert!(!moves(&rest, &|_| {}));
        assert!(moves(&rest, &News::concern_all));
        for (name, is_read) in [
            ("ca", true),
            ("cluster-gateway-tls", true),
            ("other", false),
        ] {
            let told = |news: &mut News| news.add_material(&secret(name));
            assert_eq!(moves(&rest, &told), is_read, "{name}");
        }
        let connected = || {
            let mut plane = plane("2", "eu-1").as_ref().clone();
            plane.agent_connected = Some(true);
            Arc::new(plane)
        };
        let version = |news: &mut News| {
            news.add_plane(Some(plane("1", "eu-1")), Some(plane("2", "eu-1")));
        };
        let value = |news: &mut News| {
            let mut edited = plane("2", "eu-1").as_ref().clone();
            edited.value = Some("text".into());
            news.add_plane(Some(plane("1", "eu-1")), Some(Arc::new(edited)));
        };
        let report = |news: &mut News| news.add_plane(Some(plane("1", "eu-1")), Some(connected()));
        let id = |news: &mut News| {
            news.add_plane(Some(plane("1", "eu-1")), Some(plane("2", "eu-2")));
        };
        let new = |news: &mut News| news.add_plane(None, Some(plane("1", "us-1")));
        type Told<'a> = &'a dyn Fn(&mut News);
        let told: [(&str, Told<'_>, [bool; 2]); 5] = [
            ("another version", &version, [false, false]),
            ("an edit", &value, [true, false]),
            ("a report", &report, [true, true]),
            ("another planeID", &id, [true, false]),
            ("a new plane", &new, [true, false]),
        ];
        for (what, told, [moved, moved_without]) in told {
            assert_eq!(moves(&rest, told), moved, "{what}");
            assert_eq!(moves(&selects_none, told), moved_without, "{what}");
        }
    }

    #[test]
    fn it_lasts_until_something_else_is_seen_or_its_time_has_come() {
        let (first, second) = (issuance(json!(null)), issuance(json!(null)));
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
