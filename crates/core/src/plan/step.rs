//! One thing to do, as plans name it: what it is about, and when its turn is.

use std::collections::BTreeMap;

use crate::domain::{BundlePlace, Generate, SecretForm};
use crate::model::{InjectRef, MaterialRef, ObjectRef, PlaneRef, WorkloadRef};
use crate::reason::Problem;
use crate::trust::Place;
use crate::x509::{Certificate, LeafProfile};

/// One thing to do. Steps are in order: a later one may rest on an earlier one.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Step {
    GenerateCa(GenerateCa),
    WriteBundle(WriteBundle),
    WirePlane(WirePlane),
    InjectBundle(InjectBundle),
    IssueLeaf(IssueLeaf),
    Restart(Restart),
    DropRequest(DropRequest),
    Consume(Consume),
}

/// Make a CA where none exists, or the next one.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerateCa {
    /// The Secret.
    pub target: ObjectRef,
    /// Only if it is still as it was seen; none where it did not exist.
    pub resource_version: Option<String>,
    /// Annotations of the Secret: the request that it grants.
    pub marks: BTreeMap<&'static str, String>,
    /// What it is to be.
    pub ca: Generate,
    /// What its Secret holds under `ca.crt` besides the new certificate, where it does.
    pub bundle: Option<Vec<Certificate>>,
    /// It is kept aside until it is trusted.
    pub aside: bool,
}

/// Write a bundle, and nothing else of the object.
#[derive(Clone, Debug, PartialEq)]
pub struct WriteBundle {
    /// The ConfigMap or Secret.
    pub target: MaterialRef,
    /// Only if it is still as it was seen; none where it did not exist.
    pub resource_version: Option<String>,
    /// What it is to hold.
    pub anchors: Vec<Certificate>,
    /// Annotations of the object: what it may replace.
    pub marks: BTreeMap<&'static str, String>,
    /// Whether an anchor leaves it.
    pub drops: bool,
    /// Only if these leaves are still as they were seen: an anchor is dropped.
    pub rests_on: Vec<MaterialRef>,
    /// What else stands in the object.
    pub place: BundlePlace,
}

/// Write a plane's clientCA.
#[derive(Clone, Debug, PartialEq)]
pub struct WirePlane {
    /// The plane.
    pub plane: PlaneRef,
    /// Only if it is still as it was seen.
    pub resource_version: String,
    /// What it is to say.
    pub client_ca: Wiring,
    /// Whether an anchor leaves it.
    pub drops: bool,
    /// Only if these leaves are still as they were seen: an anchor is dropped.
    pub rests_on: Vec<MaterialRef>,
}

/// Write the `caBundle` of an object that API servers read, wherever it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct InjectBundle {
    /// The object.
    pub target: InjectRef,
    /// Only if it is still as it was seen.
    pub resource_version: String,
    /// The names of its elements that get it.
    pub elements: Vec<String>,
    /// What each is to hold.
    pub anchors: Vec<Certificate>,
    /// Whether an anchor leaves it.
    pub drops: bool,
    /// Only if these leaves are still as they were seen: an anchor is dropped.
    pub rests_on: Vec<MaterialRef>,
}

/// Make a key, have it signed, verify the chain and write both.
#[derive(Clone, Debug, PartialEq)]
pub struct IssueLeaf {
    /// The Secret.
    pub target: ObjectRef,
    /// What it is to be.
    pub profile: LeafProfile,
    /// Keep the key that is stored.
    pub reuse_key: bool,
    /// Why.
    pub why: Problem,
    /// Annotations of the Secret: the request for a renewal that it grants, and what it replaces.
    pub marks: BTreeMap<&'static str, String>,
    /// Only if these still trust the CA.
    pub trusted_by: Vec<Place>,
    /// How its Secret is written.
    pub form: SecretForm,
    /// What it holds under `ca.crt`, where it does.
    pub bundle: Option<Vec<Certificate>>,
}

/// Restart a workload by naming what it will load in its pod template.
#[derive(Clone, Debug, PartialEq)]
pub struct Restart {
    /// The workload.
    pub workload: WorkloadRef,
    /// Only if it is still as it was seen.
    pub resource_version: String,
    /// The annotation's value.
    pub material_hash: String,
}

/// Drop the request that waits at an authority for a leaf, and its key: it serves no longer.
#[derive(Clone, Debug, PartialEq)]
pub struct DropRequest {
    /// The leaf's Secret.
    pub target: ObjectRef,
}

/// Remove the issuance's annotation that asked for something: it was granted.
#[derive(Clone, Debug, PartialEq)]
pub struct Consume {
    /// Which one.
    pub annotation: &'static str,
}

impl Step {
    /// What the step is about, as messages name it.
    pub fn object(&self) -> String {
        match self {
            Self::GenerateCa(step) => format!("Secret {}", step.target),
            Self::IssueLeaf(step) => format!("Secret {}", step.target),
            Self::WriteBundle(step) => step.target.to_string(),
            Self::WirePlane(step) => step.plane.to_string(),
            Self::InjectBundle(step) => step.target.to_string(),
            Self::Restart(step) => step.workload.to_string(),
            Self::DropRequest(step) => format!("request for Secret {}", step.target),
            Self::Consume(step) => format!("annotation {}", step.annotation),
        }
    }

    /// Leaves that must be as they were seen.
    pub fn rests_on(&self) -> &[MaterialRef] {
        match self {
            Self::WriteBundle(step) => &step.rests_on,
            Self::WirePlane(step) => &step.rests_on,
            Self::InjectBundle(step) => &step.rests_on,
            Self::GenerateCa(_)
            | Self::IssueLeaf(_)
            | Self::Restart(_)
            | Self::DropRequest(_)
            | Self::Consume(_) => &[],
        }
    }

    /// Whether it takes trust away.
    pub fn drops(&self) -> bool {
        match self {
            Self::WriteBundle(step) => step.drops,
            Self::WirePlane(step) => step.drops,
            Self::InjectBundle(step) => step.drops,
            // A new CA leaves bundles as they are.
            Self::GenerateCa(_)
            | Self::IssueLeaf(_)
            | Self::Restart(_)
            | Self::DropRequest(_)
            | Self::Consume(_) => false,
        }
    }

    /// When its turn is: rounds are carried out one after the other, the steps of one side by side, except those of the
    /// last.
    pub fn round(&self) -> Round {
        match self {
            Self::GenerateCa(_) | Self::WriteBundle(_) | Self::InjectBundle(_) => Round::Trust,
            Self::WirePlane(_) => Round::Planes,
            Self::IssueLeaf(_) => Round::Certificates,
            Self::Restart(_) | Self::DropRequest(_) | Self::Consume(_) => Round::Rest,
        }
    }

    /// The trust place that it writes.
    pub(super) fn place(&self) -> Option<Place> {
        match self {
            Self::WriteBundle(step) => Some(Place::Material(step.target.clone())),
            Self::WirePlane(step) => Some(Place::ClientCa(step.plane.clone())),
            Self::InjectBundle(step) => Some(Place::Injected(step.target.clone())),
            Self::GenerateCa(_)
            | Self::IssueLeaf(_)
            | Self::Restart(_)
            | Self::DropRequest(_)
            | Self::Consume(_) => None,
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = match self {
            Self::GenerateCa(_) => "make a CA in",
            Self::WriteBundle(_) => "write the bundle of",
            Self::WirePlane(_) => "write the clientCA of",
            Self::InjectBundle(_) => "write the caBundle of",
            Self::IssueLeaf(_) => "issue",
            Self::Restart(_) => "restart",
            Self::DropRequest(_) => "drop the",
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
