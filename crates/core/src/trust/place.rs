//! Where verifiers read their bundle.

use std::fmt;

use crate::model::{InjectRef, MaterialRef, PlaneRef};

/// A trust place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A ConfigMap or Secret that workloads mount.
    Material(MaterialRef),
    /// The clientCA of a plane resource.
    ClientCa(PlaneRef),
    /// The `caBundle` of an object that API servers read.
    Injected(InjectRef),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Material(material) => write!(f, "{material}"),
            Self::ClientCa(plane) => write!(f, "{plane} spec.clusterAgent.clientCA"),
            Self::Injected(object) => write!(f, "{object} caBundle"),
        }
    }
}
