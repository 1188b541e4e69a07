//! What declared a trust domain: an issuance, or cert-manager's objects. Whoever carries a plan out asks it for its names.

use std::sync::Arc;

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus, RotationStrategy};
use external_ca_core::domain::certmanager::DeclaredDomain;
use external_ca_core::domain::{ca_secret, identity};
use external_ca_core::model::{
    CERT_MANAGER_GROUP, CERT_MANAGER_VERSION, ObjectRef, Observed, Snapshot,
};
use external_ca_core::plan::Step;
use external_ca_core::report::{
    Decision, decide, decide_declared, declared_without_memory, without_memory,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Resource, ResourceExt};

use crate::pending::Owner;

/// What declared a trust domain.
#[derive(Clone)]
pub enum Declaration {
    /// An issuance.
    Issuance(Arc<ExternalCAIssuance>),
    /// cert-manager's objects.
    CertManager(Arc<DeclaredDomain>),
}

impl Declaration {
    /// How annotations name it.
    pub fn identity(&self) -> String {
        match self {
            Self::Issuance(issuance) => identity(issuance),
            Self::CertManager(declared) => declared.identity(),
        }
    }

    /// How messages name it.
    pub fn name(&self) -> String {
        match self {
            Self::Issuance(issuance) => format!("ExternalCAIssuance {}", identity(issuance)),
            Self::CertManager(declared) => format!("Certificates of {}", declared.authority.secret),
        }
    }

    /// What is told apart from others: one that is made anew under the same name is another.
    pub fn uid(&self) -> String {
        match self {
            Self::Issuance(issuance) => issuance.uid().unwrap_or_default(),
            Self::CertManager(declared) => declared.identity(),
        }
    }

    /// The owner of requests that wait.
    pub fn owner(&self) -> Owner {
        Owner {
            identity: self.identity(),
            uid: self.uid(),
        }
    }

    /// The Secret of its authority.
    pub fn authority(&self) -> ObjectRef {
        match self {
            Self::Issuance(issuance) => ca_secret(issuance),
            Self::CertManager(declared) => declared.authority.secret.clone(),
        }
    }

    /// Whether an anchor leaves at once, and nobody is asked.
    pub fn is_immediate(&self) -> bool {
        match self {
            Self::Issuance(issuance) => {
                issuance.spec.rotation.strategy == RotationStrategy::Immediate
            }
            Self::CertManager(_) => false,
        }
    }

    /// Whether a step is left to cert-manager, where that issues.
    pub fn is_left_to_others(&self, step: &Step) -> bool {
        matches!(self, Self::CertManager(_)) && !matches!(step, Step::InjectBundle(_))
    }

    /// The object that Events are about.
    pub fn reference(&self) -> ObjectReference {
        match self {
            Self::Issuance(issuance) => issuance.object_ref(&()),
            Self::CertManager(declared) => {
                let made = declared.authority.made.as_ref().map(|(name, _)| name);
                let first = declared.leaves.values().map(|leaf| &leaf.certificate);
                let name = made.or(first.into_iter().next());
                ObjectReference {
                    api_version: Some(format!("{CERT_MANAGER_GROUP}/{CERT_MANAGER_VERSION}")),
                    kind: Some("Certificate".to_owned()),
                    name: name.map(|name| name.name.clone()),
                    namespace: name.map(|name| name.namespace.clone()),
                    ..ObjectReference::default()
                }
            }
        }
    }
}

/// What is decided from.
pub enum Basis {
    /// An issuance, and what was seen for it.
    Issuance(Box<Observed>),
    /// A domain that cert-manager's objects declare, and what was seen for it.
    CertManager {
        /// The domain.
        declared: Arc<DeclaredDomain>,
        /// What was said of it before.
        earlier: Option<Arc<ExternalCAIssuanceStatus>>,
        /// What was seen.
        snapshot: Box<Snapshot>,
    },
}

impl Basis {
    /// What was seen.
    pub fn snapshot(&self) -> &Snapshot {
        match self {
            Self::Issuance(observed) => observed,
            Self::CertManager { snapshot, .. } => snapshot,
        }
    }

    /// The same, to be changed.
    pub fn snapshot_mut(&mut self) -> &mut Snapshot {
        match self {
            Self::Issuance(observed) => observed,
            Self::CertManager { snapshot, .. } => snapshot,
        }
    }

    /// Decides.
    pub fn decide(&self, now: Timestamp) -> Decision {
        match self {
            Self::Issuance(observed) => decide(observed, now),
            Self::CertManager {
                declared,
                earlier,
                snapshot,
            } => decide_declared(declared, snapshot, earlier.as_deref(), now),
        }
    }

    /// What may be done while nothing can be remembered.
    pub fn without_memory(&self, now: Timestamp) -> Vec<Step> {
        match self {
            Self::Issuance(observed) => without_memory(observed, now),
            Self::CertManager {
                declared,
                earlier,
                snapshot,
            } => declared_without_memory(declared, snapshot, earlier.as_deref(), now),
        }
    }

    /// What was said before.
    pub fn earlier(&self) -> Option<&ExternalCAIssuanceStatus> {
        match self {
            Self::Issuance(observed) => observed.issuance.status.as_ref(),
            Self::CertManager { earlier, .. } => earlier.as_deref(),
        }
    }
}
