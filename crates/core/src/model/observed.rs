//! The snapshot that every decision reads. Objects are equal that say the same, whichever versions of them were read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use derive_where::derive_where;
use external_ca_api::ExternalCAIssuance;
use jiff::{SignedDuration, Timestamp};

use super::authority::Authority;
use super::injected::{InjectRef, Injected};
use super::list::{ListRef, Unread};
use super::pending::PendingLeaf;
use super::pod::Pod;
use super::refs::{MaterialKind, MaterialRef, ObjectRef, PlaneRef, WorkloadRef};
use crate::x509::Certificate;

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// It does not exist.
    Absent,
    /// It exists.
    Found(T),
    /// It could not be read: nothing may be concluded.
    Unknown(String),
}

impl<T> Read<T> {
    /// The object, where it was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(value) => Some(value),
            _ => None,
        }
    }
}

/// What is known of a Secret or ConfigMap that the issuance has to do with. Holds no private key.
#[derive(Clone, Debug)]
#[derive_where(PartialEq, Eq)]
pub struct Material {
    /// For a conditional write.
    #[derive_where(skip(EqHashOrd))]
    pub resource_version: String,
    /// The Secret's type; empty for a ConfigMap.
    pub secret_type: String,
    /// The issuance that manages it, as its annotation says.
    pub issuance: Option<String>,
    /// Whether it stands in place of one that was deleted, or was its first content, and that pods may still hold.
    pub replaces: bool,
    /// The request for a renewal that it was issued for, as its annotation says.
    pub renewal: Option<String>,
    /// When the first certificate ends that pods may still hold from before, as its annotation says.
    pub held_until: Option<Timestamp>,
    /// The object that controls it (`<Kind> <name>`), if an ownerReference says so.
    pub controller: Option<String>,
    /// The field manager that last wrote the certificate or bundle.
    pub manager: Option<String>,
    /// Since when its certificates are signed by the CA that has signed this one, where an earlier one was, too.
    pub signed_since: Option<Timestamp>,
    /// When the object was made.
    pub created: Option<Timestamp>,
    /// When its data last changed.
    pub changed: Option<Timestamp>,
    /// The certificate it holds under `tls.crt`.
    pub leaf: Leaf,
    /// The anchors it holds under `ca.crt`.
    pub anchors: Vec<Certificate>,
    /// Which of them this operator put there: the first 16 hex digits of their fingerprints.
    pub handed_out: BTreeSet<String>,
    /// Whether there is anything under `tls.key`.
    pub has_key: bool,
    /// Hash over all that a workload reads from it, keys excepted.
    pub hash: String,
}

impl Material {
    /// Whether its first content may be its only one. Times are whole seconds: what was written over it within the second
    /// looks the same, and is marked as one that replaces another.
    pub fn is_first_content(&self) -> bool {
        self.changed == self.created
    }

    /// What a pod template names: the content, and since when it stands there. What was changed and changed back is not
    /// the same, for pods may have started in between.
    pub fn version(&self) -> String {
        let since = self.changed.map_or(0, Timestamp::as_second);
        format!("{}.{since}", self.hash)
    }
}

/// What stands under `tls.crt` and `tls.key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Nothing.
    Empty,
    /// Something that is no certificate.
    Invalid(String),
    /// A certificate.
    Present {
        /// Leaf first, then what follows it in `tls.crt`.
        chain: Vec<Certificate>,
        /// Whether `tls.key` is its key.
        key_matches: bool,
    },
}

/// A plane resource.
#[derive(Clone, Debug)]
#[derive_where(PartialEq, Eq)]
pub struct Plane {
    /// Which one.
    pub plane: PlaneRef,
    /// For a conditional write.
    #[derive_where(skip(EqHashOrd))]
    pub resource_version: String,
    /// `spec.planeID`, or the name.
    pub plane_id: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Text of `clientCA.value`, if not empty.
    pub value: Option<String>,
    /// When the resource was made.
    pub created: Option<Timestamp>,
    /// Certificates in `clientCA.value`.
    pub anchors: Vec<Certificate>,
    /// The Secret and key that clientCA refers to.
    pub reference: Option<(ObjectRef, String)>,
    /// How this version spells a reference: `secretRef` or `secretKeyRef`; none where it knows neither.
    pub reference_field: Option<&'static str>,
    /// The field manager that last wrote `clientCA.value`.
    pub manager: Option<String>,
    /// When it did.
    pub changed: Option<Timestamp>,
    /// `status.agentConnection.connected`.
    pub agent_connected: Option<bool>,
    /// `status.agentConnection.lastDisconnectedTime`.
    pub agent_disconnected: Option<Timestamp>,
    /// `status.agentConnection.lastHeartbeatTime`: how old the report is.
    pub agent_heartbeat: Option<Timestamp>,
}

impl Plane {
    /// The Secret under whose `ca.crt` the gateway reads its anchors, where it refers to one.
    pub fn bundle(&self) -> Option<MaterialRef> {
        let (secret, key) = self.reference.as_ref()?;
        (self.value.is_none() && key == "ca.crt").then(|| MaterialRef {
            kind: MaterialKind::Secret,
            object: secret.clone(),
        })
    }
}

/// How far a workload's rollout has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloutState {
    /// Every wanted pod runs the current template, and no other pod is left.
    Complete,
    /// It does not; why.
    Running(String),
}

/// A workload that mounts Secrets or ConfigMaps.
#[derive(Clone, Debug)]
#[derive_where(PartialEq, Eq)]
pub struct Workload {
    /// Which one.
    pub workload: WorkloadRef,
    /// For a conditional write.
    #[derive_where(skip(EqHashOrd))]
    pub resource_version: String,
    /// What its pod template mounts or takes into its environment.
    pub mounts: BTreeSet<MaterialRef>,
    /// What of that a pod can start without.
    pub optional: BTreeSet<MaterialRef>,
    /// What its pod template names: versions by object.
    pub loaded: BTreeMap<MaterialRef, String>,
    /// How far its rollout has come.
    pub rollout: RolloutState,
    /// Since when its rollout has been running, where its status says so.
    pub rollout_since: Option<Timestamp>,
    /// `--plane-type` and `--plane-id` of its containers' arguments.
    pub agent: Option<(String, String)>,
}

/// What older issuances own, with the owner's `<namespace>/<name>`: nothing has two owners.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// Leaves and bundles.
    pub material: BTreeMap<MaterialRef, String>,
    /// Planes whose clientCA it writes.
    pub planes: BTreeMap<PlaneRef, String>,
    /// Every issuance that there is.
    pub issuances: Arc<BTreeSet<String>>,
    /// CA Secrets among what is needed: also those of younger issuances, where the Secret is in their own namespace and not in
    /// this one's.
    pub authorities: BTreeMap<ObjectRef, String>,
}

/// An issuance, and the snapshot that it is planned from.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The issuance.
    pub issuance: Arc<ExternalCAIssuance>,
    /// What it is planned from.
    pub snapshot: Snapshot,
}

/// An issuance is asked for what was seen far more often than for itself.
impl Deref for Observed {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl DerefMut for Observed {
    fn deref_mut(&mut self) -> &mut Snapshot {
        &mut self.snapshot
    }
}

/// All that the plan of a trust domain reads, whatever declared it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Namespaces that the operator is told to serve.
    pub served: Arc<BTreeSet<String>>,
    /// Further namespaces whose plane resources may be wired.
    pub plane_namespaces: Arc<BTreeSet<String>>,
    /// What signs.
    pub authority: Authority,
    /// Leaves of the issuance that wait at an authority for their certificate.
    pub pending: BTreeMap<ObjectRef, Arc<PendingLeaf>>,
    /// The anchors of each ConfigMap under `trust.additionalAnchors`, by the ConfigMap's name.
    pub anchor_config_maps: BTreeMap<(String, String), Read<Vec<Certificate>>>,
    /// Secrets and ConfigMaps that the issuance has to do with.
    pub material: BTreeMap<MaterialRef, Arc<Read<Material>>>,
    /// Objects of the API server that the domain's bundle is injected into.
    pub injected: BTreeMap<InjectRef, Arc<Read<Injected>>>,
    /// Every plane resource of every served kind that may be written.
    pub planes: Vec<Arc<Plane>>,
    /// Planes of other namespaces: whatever stands there, nothing is wanted, read or held up for it. A connected agent is
    /// given the overlap.
    pub strangers: Vec<Arc<Plane>>,
    /// Every workload of the served namespaces.
    pub workloads: Vec<Arc<Workload>>,
    /// Every living pod of the served namespaces that reads any of the material.
    pub pods: Vec<Arc<Pod>>,
    /// Lists whose first read is still to come; nothing that is wanted needs them.
    pub awaited: Vec<ListRef>,
    /// Lists and objects that could not be read.
    pub unreadable: Vec<Unread>,
    /// What another, older issuance owns: its `<namespace>/<name>`.
    pub claims: Claims,
    /// Objects whose last write was refused, as steps name them.
    pub refused: BTreeSet<String>,
    /// How far the clock that tells the time of the plan is ahead of the API server's.
    pub clock_ahead: SignedDuration,
}

impl Snapshot {
    /// Whether a plane's clientCA may be written.
    pub fn may_write(&self, plane: &PlaneRef) -> bool {
        may_write(&self.served, &self.plane_namespaces, plane)
    }

    /// Whether a pod has started with this: it reads it also where it was deleted since.
    pub fn has_started_reader(&self, material: &MaterialRef) -> bool {
        let mut pods = self.pods.iter();
        pods.any(|pod| pod.has_started() && pod.mounts.contains(material))
    }
}

/// Whether a plane lies where its clientCA may be written; cluster-scoped ones may.
pub fn may_write(
    served: &BTreeSet<String>,
    plane_namespaces: &BTreeSet<String>,
    plane: &PlaneRef,
) -> bool {
    let namespace = plane.namespace.as_ref();
    namespace.is_none_or(|name| served.contains(name) || plane_namespaces.contains(name))
}
