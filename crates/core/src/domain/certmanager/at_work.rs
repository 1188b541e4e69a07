//! Whether cert-manager itself is at work, by the Leases of its two programs and by what they have written: the operator then
//! stands aside, each half for its own.

use std::fmt;

use derive_where::derive_where;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::Lease;
use serde::Serialize;

use crate::model::{CertManagerObjects, Read};

/// The Lease of the program that issues.
pub const CONTROLLER_LEASE: &str = "cert-manager-controller";
/// That of the one that injects.
pub const INJECTOR_LEASE: &str = "cert-manager-cainjector-leader-election";
/// One that was renewed within this time is held.
const HELD: SignedDuration = SignedDuration::from_secs(60);
/// A status that one of cert-manager's programs has written within this time shows that it is at work.
const AT_WORK: SignedDuration = SignedDuration::from_hours(1);

/// Why a half of the operator stands aside.
#[derive(Clone, Debug, Serialize)]
#[derive_where(PartialEq, Eq)]
#[serde(rename_all_fields = "camelCase", tag = "why")]
pub enum Aside {
    /// The Lease of cert-manager's program is renewed.
    LeaseHeld {
        /// By whom.
        holder: String,
        /// When it was renewed last; that it was renewed again is no news.
        #[derive_where(skip(EqHashOrd))]
        renewed: Timestamp,
    },
    /// Whether it is cannot be told.
    LeaseUnreadable {
        /// Why not.
        message: String,
    },
    /// One of cert-manager's programs has written a status of late.
    StatusWritten {
        /// Of which object.
        object: String,
        /// From when on that no longer counts.
        until: Timestamp,
    },
}

impl fmt::Display for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LeaseHeld { holder, .. } => write!(f, "{holder} renews its Lease"),
            Self::LeaseUnreadable { message } => write!(f, "its Lease cannot be read: {message}"),
            Self::StatusWritten { object, until } => {
                write!(
                    f,
                    "it has written the status of {object}, which counts until {until}"
                )
            }
        }
    }
}

/// Whether cert-manager is at work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AtWork {
    /// Why nothing is issued here; none where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<Aside>,
    /// Why no `caBundle` is written here, though certificates may be issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injector: Option<Aside>,
}

/// From its Leases, and from who has written the status of its objects.
pub fn at_work(
    controller: &Read<Lease>,
    injector: &Read<Lease>,
    objects: &CertManagerObjects,
    now: Timestamp,
) -> AtWork {
    AtWork {
        controller: of_lease(controller, now).or_else(|| of_status(objects, now)),
        injector: of_lease(injector, now),
    }
}

fn of_lease(lease: &Read<Lease>, now: Timestamp) -> Option<Aside> {
    match lease {
        Read::Absent => None,
        Read::Found(lease) => is_held(lease, now),
        Read::Unknown(message) => Some(Aside::LeaseUnreadable {
            message: message.clone(),
        }),
    }
}

/// By whom a Lease is held, where it is renewed.
fn is_held(lease: &Lease, now: Timestamp) -> Option<Aside> {
    let spec = lease.spec.as_ref()?;
    let renewed = spec.renew_time.as_ref()?.0;
    let holder = spec.holder_identity.clone()?;
    let is_held = !holder.is_empty() && renewed.duration_until(now) < HELD;
    is_held.then_some(Aside::LeaseHeld { holder, renewed })
}

fn of_status(objects: &CertManagerObjects, now: Timestamp) -> Option<Aside> {
    let (name, written) = objects.last_written_by_cert_manager()?;
    let until = written.saturating_add(AT_WORK).unwrap_or(Timestamp::MAX);
    (until > now).then(|| Aside::StatusWritten {
        object: name.to_string(),
        until,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::{CertManagerKind, CertManagerObject, CertManagerRef, ObjectRef};

    const NOW: &str = "2026-01-01T00:10:00Z";

    fn lease(spec: Value) -> Read<Lease> {
        Read::Found(serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap())
    }

    #[test]
    fn a_lease_is_held_while_it_is_renewed() {
        let cases = [
            (Some("a"), Some("2026-01-01T00:09:30.000000Z"), true),
            (Some("a"), Some("2026-01-01T00:08:30.000000Z"), false),
            (Some(""), Some("2026-01-01T00:09:30.000000Z"), false),
            (None, Some("2026-01-01T00:09:30.000000Z"), false),
            (Some("a"), None, false),
            (None, None, false),
        ];
        let none = CertManagerObjects::default();
        for (holder, renewed, held) in cases {
            let found = lease(json!({"holderIdentity": holder, "renewTime": renewed}));
            let now = NOW.parse().unwrap();
            let controller = at_work(&found, &Read::Absent, &none, now);
            assert_eq!(
                controller.controller.is_some(),
                held,
                "{holder:?} {renewed:?}"
            );
            assert_eq!(controller.injector, None, "each half for its own");
            let injector = at_work(&Read::Absent, &found, &none, now);
            assert_eq!(injector.injector.is_some(), held, "{holder:?} {renewed:?}");
            assert_eq!(injector.controller, None);
        }
        let unread = Read::Unknown("forbidden".into());
        let told = at_work(&unread, &unread, &none, NOW.parse().unwrap());
        assert!(told.controller.is_some() && told.injector.is_some());
    }

    #[test]
    fn a_status_that_cert_manager_wrote_counts_for_an_hour() {
        for (written, at_work_until) in [
            ("2026-01-01T00:00:00Z", Some("2026-01-01T01:00:00Z")),
            ("2025-12-31T23:10:00Z", None),
        ] {
            let name = CertManagerRef {
                kind: CertManagerKind::Certificate,
                object: ObjectRef::new("ns", "a"),
            };
            let object = CertManagerObject {
                resource_version: "1".into(),
                uid: "u".into(),
                generation: None,
                created: None,
                spec: Value::Null,
                status: Value::Null,
                written_by_cert_manager: Some(written.parse().unwrap()),
            };
            let mut objects = CertManagerObjects::default();
            objects.0.insert(name, Arc::new(object));
            let now = NOW.parse().unwrap();
            let found = at_work(&Read::Absent, &Read::Absent, &objects, now).controller;
            let expected = at_work_until.map(|until| Aside::StatusWritten {
                object: "Certificate ns/a".into(),
                until: until.parse().unwrap(),
            });
            assert_eq!(found, expected, "{written}");
        }
    }
}
