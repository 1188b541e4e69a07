//! One thing to do, as plans name it: what it is about, and when its turn is.

use std::collections::BTreeMap;

use crate::model::{MaterialRef, ObjectRef, PlaneRef, WorkloadRef};
use crate::reason::Problem;
use crate::trust::Place;
use crate::x509::{Certificate, LeafProfile};

/// One thing to do. Steps are in order: a later one may rest on an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make a CA where none exists, or the next one.
    GenerateCa {
        /// The Secret.
        target: ObjectRef,
        /// Only if it is still as it was seen; none where it did not exist.
        resource_version: Option<String>,
        /// Annotations of the Secret: the request that it grants.
        marks: BTreeMap<&'static str, String>,
    },
    /// Write a bundle, and nothing else of the object.
    WriteBundle {
        /// The ConfigMap or Secret.
        target: MaterialRef,
        /// Only if it is still as it was seen; none where it did not exist.
        resource_version: Option<String>,
        /// What it is to hold.
        anchors: Vec<Certificate>,
        /// Annotations of the object: what it may replace.
        marks: BTreeMap<&'static str, String>,
        /// Whether an anchor leaves it.
        drops: bool,
        /// Only if these leaves are still as they were seen: an anchor is dropped.
        rests_on: Vec<MaterialRef>,
    },
    /// Write a plane's clientCA.
    WirePlane {
        /// The plane.
        plane: PlaneRef,
        /// Only if it is still as it was seen.
        resource_version: String,
        /// What it is to say.
        client_ca: Wiring,
        /// Whether an anchor leaves it.
        drops: bool,
        /// Only if these leaves are still as they were seen: an anchor is dropped.
        rests_on: Vec<MaterialRef>,
    },
    /// Make a key, have it signed, verify the chain and write both.
    IssueLeaf {
        /// The Secret.
        target: ObjectRef,
        /// What it is to be.
        profile: LeafProfile,
        /// Keep the key that is stored.
        reuse_key: bool,
        /// Why.
        why: Problem,
        /// Annotations of the Secret: the request for a renewal that it grants, and what it replaces.
        marks: BTreeMap<&'static str, String>,
        /// Only if these still trust the CA.
        trusted_by: Vec<Place>,
    },
    /// Restart a workload by naming what it will load in its pod template.
    Restart {
        /// The workload.
        workload: WorkloadRef,
        /// Only if it is still as it was seen.
        resource_version: String,
        /// The annotation's value.
        material_hash: String,
    },
    /// Remove the issuance's annotation that asked for something: it was granted.
    Consume(&'static str),
}

impl Step {
    /// What the step is about, as messages name it.
    pub fn object(&self) -> String {
        match self {
            Self::GenerateCa { target, .. } | Self::IssueLeaf { target, .. } => {
                format!("Secret {target}")
            }
            Self::WriteBundle { target, .. } => target.to_string(),
            Self::WirePlane { plane, .. } => plane.to_string(),
            Self::Restart { workload, .. } => workload.to_string(),
            Self::Consume(annotation) => format!("annotation {annotation}"),
        }
    }

    /// Leaves that must be as they were seen.
    pub fn rests_on(&self) -> &[MaterialRef] {
        match self {
            Self::WriteBundle { rests_on, .. } | Self::WirePlane { rests_on, .. } => rests_on,
            _ => &[],
        }
    }

    /// Whether it takes trust away.
    pub fn drops(&self) -> bool {
        match self {
            Self::WriteBundle { drops, .. } | Self::WirePlane { drops, .. } => *drops,
            _ => false,
        }
    }

    /// When its turn is: rounds are carried out one after the other, the steps of one side by side, except those of the
    /// last.
    pub fn round(&self) -> Round {
        match self {
            Self::GenerateCa { .. } | Self::WriteBundle { .. } => Round::Trust,
            Self::WirePlane { .. } => Round::Planes,
            Self::IssueLeaf { .. } => Round::Certificates,
            Self::Restart { .. } | Self::Consume(_) => Round::Rest,
        }
    }

    /// The trust place that it writes.
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Self::WriteBundle { target, .. } => Some(Place::Material(target.clone())),
            Self::WirePlane { plane, .. } => Some(Place::ClientCa(plane.clone())),
            _ => None,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = match self {
            Self::GenerateCa { .. } => "make a CA in",
            Self::WriteBundle { .. } => "write the bundle of",
            Self::WirePlane { .. } => "write the clientCA of",
            Self::IssueLeaf { .. } => "issue",
            Self::Restart { .. } => "restart",
            Self::Consume(_) => "take off the",
        };
        write!(f, "{verb} {}", self.object())
    }
}

/// The order of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Round {
    Trust,
    Planes,
    Certificates,
    Rest,
}

/// How a plane is wired.
#[derive(Clone, Debug, PartialEq)]
pub enum Wiring {
    /// The bundle by value.
    Value(String),
    /// A reference to the trust Secret.
    Reference {
        /// `secretRef` or `secretKeyRef`.
        field: &'static str,
        /// The Secret.
        secret: ObjectRef,
        /// What it must hold: all that the plane trusts now, and the CA.
        holds: Vec<Certificate>,
    },
}
