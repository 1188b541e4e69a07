//! Planners that lack a rule of this front end: the simulation must catch each.

use std::sync::Arc;

use external_ca_api::CertificateState;
use external_ca_core::domain::certmanager::{DeclaredDomain, trust_domain};
use external_ca_core::model::{Read, Snapshot};
use external_ca_core::plan::Step;
use external_ca_core::report::Decision;
use jiff::{SignedDuration, Timestamp};

use super::operator::Sight;
use crate::cluster::Cluster;
use crate::mutants::issued;

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A `caBundle` is replaced, and not added to.
    InjectReplaces,
    /// A bundle beside a leaf holds the newest anchor only.
    DropsEarly,
    /// A certificate that signs itself is put in place before it is trusted.
    PutInPlaceAtOnce,
    /// What is written into a `caBundle` counts as read at once.
    InformedAtOnce,
    /// What one API server has read counts as read by the other.
    OneApiServer,
    /// A webhook's server counts as having read its certificate anew at once.
    ReloadedAtOnce,
    /// Nothing is remembered beside the authority.
    Forgetful,
    /// cert-manager's Leases are not looked at.
    StandsNotAside,
}

impl Mutant {
    pub const ALL: [Self; 8] = [
        Self::InjectReplaces,
        Self::DropsEarly,
        Self::PutInPlaceAtOnce,
        Self::InformedAtOnce,
        Self::OneApiServer,
        Self::ReloadedAtOnce,
        Self::Forgetful,
        Self::StandsNotAside,
    ];

    /// It does not see what it should.
    pub fn blind(self, cluster: &Cluster, declared: &DeclaredDomain, snapshot: &mut Snapshot) {
        let long_ago = |at: Timestamp| at.saturating_sub(SignedDuration::from_hours(1)).ok();
        match self {
            Self::InformedAtOnce | Self::OneApiServer => {
                for (object, read) in &mut snapshot.injected {
                    let configuration = &cluster.cert_manager.configurations[object];
                    let counts = self == Self::InformedAtOnce
                        || configuration.is_read_by_the_first(cluster.now);
                    if let (true, Read::Found(found)) = (counts, Arc::make_mut(read)) {
                        found.changed = found.changed.and_then(long_ago);
                    }
                }
            }
            Self::ReloadedAtOnce => {
                let reloaded = trust_domain(declared, snapshot, None).wanted.reloaded;
                for one in reloaded {
                    let read = snapshot.material.get_mut(&one);
                    if let Some(Read::Found(found)) = read.map(Arc::make_mut) {
                        found.changed = found.changed.and_then(long_ago);
                    }
                }
            }
            _ => {}
        }
    }

    /// It does what it should not.
    pub fn spoil(self, sight: &Sight, planned: &mut Decision, _now: Timestamp) {
        let Some(authority) = sight.authority.chain() else {
            return;
        };
        let only = vec![authority.anchor().clone()];
        match self {
            Self::InjectReplaces => {
                for step in &mut planned.steps {
                    if let Step::InjectBundle(step) = step {
                        step.anchors.clone_from(&only);
                    }
                }
            }
            Self::DropsEarly => {
                for step in &mut planned.steps {
                    match step {
                        Step::WriteBundle(step) => step.anchors.clone_from(&only),
                        Step::IssueLeaf(step) => step.bundle = Some(only.clone()),
                        _ => {}
                    }
                }
            }
            Self::PutInPlaceAtOnce if sight.declared.is_self_signed_leaf() => {
                let waits = |target: &str| {
                    let mut told = planned.status.certificates.iter();
                    told.any(|one| one.target == target && one.state == CertificateState::Waiting)
                };
                let leaves = sight.declared.leaves.values().map(|leaf| &leaf.leaf);
                let waiting = leaves.filter(|leaf| waits(&leaf.target.to_string()));
                let steps: Vec<Step> = waiting
                    .map(|leaf| issued(leaf, Some(only.clone())))
                    .collect();
                planned.steps.extend(steps);
            }
            _ => {}
        }
    }
}
