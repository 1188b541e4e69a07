//! Objects of cert-manager.io/v1, as they were read: what they mean is [`crate::domain::certmanager`]'s.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use derive_where::derive_where;
use jiff::Timestamp;
use serde_json::Value;

use super::refs::ObjectRef;

/// The group of the objects.
pub const CERT_MANAGER_GROUP: &str = "cert-manager.io";
/// Their version.
pub const CERT_MANAGER_VERSION: &str = "v1";

/// Kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum CertManagerKind {
    Certificate,
    Issuer,
    ClusterIssuer,
}

impl CertManagerKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Certificate, Self::Issuer, Self::ClusterIssuer];

    /// Its plural.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Certificate => "certificates",
            Self::Issuer => "issuers",
            Self::ClusterIssuer => "clusterissuers",
        }
    }

    /// Whether its objects lie in namespaces.
    pub fn is_namespaced(self) -> bool {
        self != Self::ClusterIssuer
    }
}

/// An object: `namespace` is empty for a cluster-scoped one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertManagerRef {
    /// Kind.
    pub kind: CertManagerKind,
    /// Which one.
    pub object: ObjectRef,
}

impl fmt::Display for CertManagerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind.is_namespaced() {
            true => write!(f, "{:?} {}", self.kind, self.object),
            false => write!(f, "{:?} {}", self.kind, self.object.name),
        }
    }
}

/// What was read of an object.
#[derive(Clone, Debug)]
#[derive_where(PartialEq, Eq)]
pub struct CertManagerObject {
    /// For a conditional write, and to tell which read is newer.
    #[derive_where(skip(EqHashOrd))]
    pub resource_version: String,
    /// Its UID.
    pub uid: String,
    /// The generation of its spec.
    pub generation: Option<i64>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Its spec.
    pub spec: Value,
    /// Its status.
    pub status: Value,
    /// When one of cert-manager's own programs last wrote its status.
    pub written_by_cert_manager: Option<Timestamp>,
}

/// Every object that was read.
#[derive(Clone, Debug, Default)]
pub struct CertManagerObjects(pub BTreeMap<CertManagerRef, Arc<CertManagerObject>>);

impl CertManagerObjects {
    /// The object whose status one of cert-manager's own programs has written last, and when.
    pub fn last_written_by_cert_manager(&self) -> Option<(&CertManagerRef, Timestamp)> {
        let all = self.0.iter();
        let written =
            all.filter_map(|(name, object)| Some((name, object.written_by_cert_manager?)));
        written.max_by_key(|(_, at)| *at)
    }

    /// Those of a kind.
    pub fn of(
        &self,
        kind: CertManagerKind,
    ) -> impl Iterator<Item = (&ObjectRef, &Arc<CertManagerObject>)> {
        let all = self.0.iter().filter(move |(name, _)| name.kind == kind);
        all.map(|(name, object)| (&name.object, object))
    }

    /// One of them.
    pub fn get(&self, kind: CertManagerKind, object: &ObjectRef) -> Option<&CertManagerObject> {
        let name = CertManagerRef {
            kind,
            object: object.clone(),
        };
        self.0.get(&name).map(AsRef::as_ref)
    }
}
