//! Where the operator works, and the names of what it writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::{Plane, PlaneRef, may_write};

/// Where the operator is told to work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Namespaces that are served.
    pub served: Arc<BTreeSet<String>>,
    /// Further namespaces whose planes may be wired.
    pub plane_namespaces: Arc<BTreeSet<String>>,
    /// The names of what it writes.
    pub names: Arc<WrittenNames>,
}

impl Scope {
    /// Whether a plane's resource may be written.
    pub fn holds(&self, plane: &PlaneRef) -> bool {
        may_write(&self.served, &self.plane_namespaces, plane)
    }

    /// The planes that may be written, and those of strangers.
    pub fn split(&self, planes: &[Arc<Plane>]) -> (Vec<Arc<Plane>>, Vec<Arc<Plane>>) {
        let planes = planes.iter().cloned();
        planes.partition(|plane| self.holds(&plane.plane))
    }
}

/// The names that the operator may write material to, in any namespace that it serves.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenNames {
    /// Of Secrets with leaves.
    pub leaves: BTreeSet<String>,
    /// Of ConfigMaps and Secrets with a bundle.
    pub bundles: BTreeSet<String>,
}

impl Default for WrittenNames {
    /// The guide's.
    fn default() -> Self {
        let leaves = ["cluster-gateway-tls", "cluster-agent-tls"];
        Self {
            leaves: leaves.map(String::from).into(),
            bundles: ["cluster-gateway-ca".to_owned()].into(),
        }
    }
}
