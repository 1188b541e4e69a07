//! Lists: what tells which objects there are, and what it means that one could not be read.

use std::fmt;

use external_ca_api::PlaneKind;

use super::cert_manager::CertManagerKind;
use super::refs::{Cluster, ObjectRef, PlaneRef, WorkloadKind, WorkloadRef};

/// A list, or a question that is answered like one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListRef {
    /// Which plane kinds are served.
    PlaneKinds,
    /// A plane kind that exists, and is not served.
    HiddenKind(PlaneKind),
    /// The planes of a kind, and the API version that they are read by.
    Planes(PlaneKind, String),
    /// The workloads of a kind in a namespace.
    Workloads(Cluster, WorkloadKind, String),
    /// The pods of a namespace.
    Pods(Cluster, String),
    /// The objects of a kind of cert-manager's in a namespace; without a name: the cluster-scoped ones.
    CertManager(CertManagerKind, String),
}

impl ListRef {
    /// The workloads of a kind in a namespace of the operator's own cluster.
    pub fn workloads(kind: WorkloadKind, namespace: impl Into<String>) -> Self {
        Self::Workloads(Cluster::Local, kind, namespace.into())
    }

    /// The pods of a namespace of the operator's own cluster.
    pub fn pods(namespace: impl Into<String>) -> Self {
        Self::Pods(Cluster::Local, namespace.into())
    }

    /// What tells who reads the material of a namespace of the operator's own cluster.
    pub fn of_consumers(namespace: &str) -> impl Iterator<Item = Self> {
        let workloads = WorkloadKind::ALL.map(|kind| Self::workloads(kind, namespace));
        workloads.into_iter().chain([Self::pods(namespace)])
    }

    /// Whether it tells of planes: every trust domain with planes needs it.
    pub fn is_of_planes(&self) -> bool {
        match self {
            Self::PlaneKinds | Self::HiddenKind(_) | Self::Planes(..) => true,
            Self::Workloads(..) | Self::Pods(..) | Self::CertManager(..) => false,
        }
    }

    /// Whether it holds objects of cert-manager's: no peer is found there.
    pub fn is_of_cert_manager(&self) -> bool {
        matches!(self, Self::CertManager(..))
    }
}

impl fmt::Display for ListRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PlaneKinds => write!(f, "the plane kinds"),
            Self::HiddenKind(kind) => write!(f, "the {kind:?}s"),
            Self::Planes(kind, version) => write!(f, "the {kind:?}s ({version})"),
            Self::Workloads(cluster, kind, namespace) => {
                write!(f, "the {kind:?}s of the namespace {cluster}{namespace}")
            }
            Self::Pods(cluster, namespace) => {
                write!(f, "the Pods of the namespace {cluster}{namespace}")
            }
            Self::CertManager(kind, namespace) if namespace.is_empty() => {
                write!(f, "the {kind:?}s")
            }
            Self::CertManager(kind, namespace) => {
                write!(f, "the {kind:?}s of the namespace {namespace}")
            }
        }
    }
}

/// What could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A list.
    List(ListRef),
    /// A plane that does not parse.
    Plane(PlaneRef),
    /// A workload that does not parse.
    Workload(WorkloadRef),
    /// A pod that does not parse.
    Pod(ObjectRef),
}

/// A list or an object that could not be read: what it holds is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Which one.
    pub source: Source,
    /// Why, naming it.
    pub why: String,
}

impl Unread {
    /// A list.
    pub fn list(list: ListRef, why: impl Into<String>) -> Self {
        Self {
            source: Source::List(list),
            why: why.into(),
        }
    }

    /// Whether it tells of planes, or else of workloads.
    pub fn is_of_planes(&self) -> bool {
        match &self.source {
            Source::List(list) => list.is_of_planes(),
            Source::Plane(_) => true,
            Source::Workload(_) | Source::Pod(_) => false,
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
