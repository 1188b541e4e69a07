//! What the doctor reads beyond the operator's snapshot. Holds no private key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use crate::model::{MaterialKind, MaterialRef, ObjectRef, Read, WorkloadRef};

/// What the doctor reads beyond [`crate::model::Observed`].
#[derive(Clone, Debug, Default)]
pub struct Extra {
    /// The text under `ca.crt` of trust places.
    pub bundles: BTreeMap<MaterialRef, String>,
    /// What stands under the Secret and key that a plane's clientCA refers to; empty where the key is missing.
    pub references: BTreeMap<(ObjectRef, String), Read<String>>,
    /// More of the workloads.
    pub workloads: BTreeMap<WorkloadRef, WorkloadDetail>,
    /// The keys of each Secret and ConfigMap that these workloads mount.
    pub keys: BTreeMap<MaterialRef, Read<BTreeSet<String>>>,
    /// The Services of the issuance's namespace, with their selectors.
    pub services: BTreeMap<ObjectRef, BTreeMap<String, String>>,
    /// The `Certificate` objects of cert-manager.
    pub certificates: Vec<CertManagerCertificate>,
    /// Whether cert-manager's controller runs; none where that is not known.
    pub cert_manager_runs: Option<bool>,
    /// The operator; none where that is not known.
    pub operator: Option<OperatorState>,
    /// What could not be read.
    pub denied: BTreeSet<Denied>,
    /// The API server's time, and ours at the same moment.
    pub clocks: Option<(Timestamp, Timestamp)>,
}

/// More of a workload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadDetail {
    /// What it mounts, volume by volume.
    pub mounts: Vec<Mount>,
    /// Labels of its pods.
    pub labels: BTreeMap<String, String>,
    /// `spec.paused`.
    pub paused: bool,
    /// Whether its arguments are a gateway's (`--server-cert`).
    pub is_gateway: bool,
    /// Hosts in its arguments (`--server-url`, `--cluster-gateway-url`).
    pub dials: BTreeSet<String>,
}

/// One reference from a pod template to a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The volume or variable.
    pub name: String,
    /// What it refers to.
    pub material: MaterialRef,
    /// Pods start without it.
    pub optional: bool,
    /// The keys that it names; empty: all that there are.
    pub keys: BTreeSet<String>,
}

/// A `Certificate` of cert-manager.
#[derive(Clone, Debug, PartialEq)]
pub struct CertManagerCertificate {
    /// Which one.
    pub object: ObjectRef,
    /// `spec.secretName`, in its namespace.
    pub secret: ObjectRef,
    /// Whether a controller other than this operator has looked at it last.
    pub has_status: bool,
}

/// The operator, as far as Deployments and the Lease tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperatorState {
    /// Its Deployments, with how many pods are wanted and available.
    pub deployments: Vec<(ObjectRef, i32, i32)>,
    /// Its Leases: who holds each, and until when.
    pub leases: Vec<(ObjectRef, Option<String>, Option<Timestamp>)>,
}

impl OperatorState {
    /// Whether some operator works.
    pub fn leads(&self, now: Timestamp) -> bool {
        self.leases
            .iter()
            .any(|(_, holder, until)| holder.is_some() && *until > Some(now))
    }
}

/// A read that was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denied {
    /// `get` or `list`.
    pub verb: &'static str,
    /// The resource with its group, as RBAC names it: `deployments.apps`.
    pub resource: String,
    /// The namespace; none: in all.
    pub namespace: Option<String>,
    /// The object, where one was asked for.
    pub name: Option<String>,
}

impl Denied {
    /// A refused read of a Secret or ConfigMap.
    pub fn material(material: &MaterialRef) -> Self {
        let resource = match material.kind {
            MaterialKind::Secret => "secrets",
            MaterialKind::ConfigMap => "configmaps",
        };
        Self {
            verb: "get",
            resource: resource.into(),
            namespace: Some(material.object.namespace.clone()),
            name: Some(material.object.name.clone()),
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(f, "/{name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in {namespace}"),
            None => Ok(()),
        }
    }
}
