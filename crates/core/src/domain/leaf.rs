//! The leaves, trust places and planes that a trust domain wants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::renewal::Renewal;
use crate::model::{InjectRef, MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef};
use crate::reason::{Problem, Reason};
use crate::x509::LeafProfile;

/// Where a leaf comes from, and so who verifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The gateway's server certificate: verified by each consumer of a bundle.
    Gateway,
    /// An agent's client certificate: verified by the gateway against the clientCA of its planes.
    Agent,
    /// A further certificate: verified at every trust place.
    Further,
}

/// A leaf that must exist.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredLeaf {
    /// The Secret.
    pub target: ObjectRef,
    /// Where it comes from.
    pub role: Role,
    /// What it must be.
    pub profile: LeafProfile,
    /// The planes whose agents present it.
    pub planes: BTreeSet<PlaneRef>,
    /// It cannot be planned, by a conflict or an invalid spec. What is stored may be presented all the same.
    pub blocked: bool,
    /// When it is issued anew, where it is not as the domain's others are.
    pub renewal: Option<Renewal>,
    /// How its Secret is written.
    pub form: SecretForm,
}

/// How a Secret with a key is written, beyond its certificate and key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecretForm {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations, the operator's own excepted.
    pub annotations: BTreeMap<String, String>,
    /// Where consumers read the bundle.
    pub bundle: BundlePlace,
}

/// Where consumers of a Secret with a key read the bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BundlePlace {
    /// In objects of its own.
    #[default]
    Elsewhere,
    /// Beside the certificate, under `ca.crt`.
    Beside,
}

impl DesiredLeaf {
    /// The Secret, as something that workloads mount.
    pub fn material(&self) -> MaterialRef {
        MaterialRef {
            kind: MaterialKind::Secret,
            object: self.target.clone(),
        }
    }
}

/// All that an issuance wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Leaves, by Secret.
    pub leaves: BTreeMap<ObjectRef, DesiredLeaf>,
    /// Leaves that cannot be planned: only what is stored of them counts.
    pub blocked: Vec<DesiredLeaf>,
    /// Leaves that the spec no longer asks for and that a workload or pod mounts: they count as stored, and are not renewed.
    pub left_behind: Vec<DesiredLeaf>,
    /// Objects that were read besides, and that no peer reads.
    pub ignored: BTreeSet<MaterialRef>,
    /// Leaves that want the same Secret, until `settle.rs` says which of them has it.
    pub contested: BTreeMap<ObjectRef, Vec<DesiredLeaf>>,
    /// ConfigMaps and Secrets that hold the bundle.
    pub trust_places: BTreeSet<MaterialRef>,
    /// Leaves whose readers are known to read them anew: no restart is needed for them.
    pub reloaded: BTreeSet<MaterialRef>,
    /// Objects of the API server that hold it.
    pub injected: BTreeSet<InjectRef>,
    /// Planes that belong to the issuance, sorted.
    pub planes: Vec<Arc<Plane>>,
    /// Planes that it selects and that may not be written: they are told, and nothing else.
    pub strangers: Vec<Arc<Plane>>,
    /// What cannot be wanted, and why.
    pub problems: Vec<(Option<ObjectRef>, Problem)>,
}

impl Desired {
    /// Every leaf that is wanted, also those that cannot be planned.
    pub fn all(&self) -> impl Iterator<Item = &DesiredLeaf> {
        let contested = self.contested.values().flatten();
        self.leaves.values().chain(&self.blocked).chain(contested)
    }

    /// Every leaf that may be presented, once it is settled who has which Secret.
    pub fn presented(&self) -> impl Iterator<Item = &DesiredLeaf> {
        let planned = self.leaves.values().chain(&self.blocked);
        planned.chain(&self.left_behind)
    }

    /// Why a Secret's leaf cannot be planned.
    pub fn problems_of(&self, target: &ObjectRef) -> Option<Reason> {
        let mut problems = self.problems.iter();
        let found = problems.find(|(object, _)| object.as_ref() == Some(target));
        found.map(|(_, problem)| problem.reason)
    }

    pub(super) fn block(&mut self, leaf: DesiredLeaf) {
        self.blocked.push(DesiredLeaf {
            blocked: true,
            ..leaf
        });
    }

    /// Agents with the same planeID may share a Secret.
    pub(super) fn want(&mut self, leaf: DesiredLeaf) {
        let claimants = self.contested.entry(leaf.target.clone()).or_default();
        let mut others = claimants.iter_mut();
        match others.find(|other| other.role == Role::Agent && other.profile == leaf.profile) {
            Some(other) => other.planes.extend(leaf.planes),
            None => claimants.push(leaf),
        }
    }
}

/// A leaf as messages name it.
pub(super) fn describe(leaf: &DesiredLeaf) -> String {
    match leaf.role {
        Role::Gateway => "the gateway".into(),
        Role::Further => format!("the certificate \"{}\"", leaf.profile.common_name),
        Role::Agent => {
            let planes: Vec<String> = leaf.planes.iter().map(ToString::to_string).collect();
            format!(
                "planeID \"{}\" ({})",
                leaf.profile.common_name,
                planes.join(", ")
            )
        }
    }
}
