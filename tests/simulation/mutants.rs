//! Planners that lack a guard: the simulation must catch each.

use std::collections::BTreeMap;
use std::sync::Arc;

use external_ca_api::{AnchorState, AnchorStatus, CertificateState};
use external_ca_core::domain::{DesiredLeaf, compile, desired};
use external_ca_core::model::facts::encode_loaded;
use external_ca_core::model::{
    Controller, ListRef, MaterialKind, Observed, Pod, Read, RolloutState, Source,
};
use external_ca_core::plan::{IssueLeaf, Restart, Step, WirePlane, Wiring, WriteBundle};
use external_ca_core::reason::{Problem, Reason};
use external_ca_core::report::Decision;
use external_ca_core::x509::{Certificate, encode_bundle};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::certificates;
use crate::pki::{CAS, ca, start};

/// What is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Guard 1: certificates are signed at once.
    TrustLater,
    /// Guard 2: an old anchor is dropped as soon as there is a new one.
    DistrustEarly,
    /// Guard 3: what cannot be read is taken for absent, also a list's pods.
    UnknownIsFine,
    /// Guard 4: what others put into a trust place is dropped.
    OnlyOurs,
    /// Guard 5: what was once handed out is forgotten.
    Forgetful,
    /// Guard 6: what is stored counts as loaded.
    StoredIsLoaded,
    /// Guard 7: everything that is out of date restarts at once.
    AllAtOnce,
    /// Guard 8: what is cut off at once was not said before.
    Unsaid,
    /// A bundle that replaces one that was deleted counts as the first.
    IgnoresReplaces,
    /// Writes do not care what changed since the snapshot.
    Unconditional,
    /// What the issuer returns is stored as it is.
    TrustsIssuer,
    /// What is stored of leaves that cannot be planned is forgotten, and who holds it.
    OnlyPlanned,
    /// Anchors are dropped though the status could not be stored.
    NeedsNoMemory,
    /// Guard 6: pods that are told to end count no more.
    EndingIsGone,
    /// Guard 6: a pod that was made within the second of a write has loaded it.
    SameSecondProves,
    /// Guard 6: pods are not listed live before a round that rests on them.
    TrustsWatches,
    /// Guard 6: pods that no workload has made do not count.
    OnlyWorkloads,
    /// Guard 6: a complete rollout has loaded what its template names.
    RolloutProves,
    /// What is mounted and no longer wanted is not looked at.
    OnlyWanted,
    /// A request that is kept is not gone on with.
    AsksAnew,
    /// A certificate that comes late is stored, whatever has become of what was asked for and of who trusts it.
    StoresUnseen,
    /// One of what cert-manager's objects need.
    OfCertificates(certificates::mutants::Mutant),
}

impl Mutant {
    pub const ALL: [Self; 13] = [
        Self::TrustLater,
        Self::DistrustEarly,
        Self::UnknownIsFine,
        Self::OnlyOurs,
        Self::Forgetful,
        Self::StoredIsLoaded,
        Self::AllAtOnce,
        Self::Unsaid,
        Self::IgnoresReplaces,
        Self::Unconditional,
        Self::TrustsIssuer,
        Self::OnlyPlanned,
        Self::NeedsNoMemory,
    ];

    /// Those whose idea of what pods have loaded is wrong.
    pub const OF_PODS: [Self; 5] = [
        Self::EndingIsGone,
        Self::SameSecondProves,
        Self::TrustsWatches,
        Self::OnlyWorkloads,
        Self::RolloutProves,
    ];

    /// Those that do not see peers whom nobody wants.
    pub const OF_PEERS: [Self; 1] = [Self::OnlyWanted];

    /// Those that an authority catches which answers later.
    pub const OF_TICKETS: [Self; 2] = [Self::AsksAnew, Self::StoresUnseen];

    /// It does not see what it should.
    pub fn blind(self, observed: &mut Observed) {
        match self {
            Self::UnknownIsFine => {
                for unread in std::mem::take(&mut observed.unreadable) {
                    if let Source::List(ListRef::Pods(_, namespace)) = unread.source {
                        observed.pods.retain(|pod| pod.pod.namespace != namespace);
                    }
                }
                for read in observed.material.values_mut() {
                    if matches!(read.as_ref(), Read::Unknown(_)) {
                        *read = Arc::new(Read::Absent);
                    }
                }
            }
            Self::StoredIsLoaded => {
                let hashes: BTreeMap<_, _> = observed
                    .material
                    .iter()
                    .filter_map(|(key, read)| Some((key.clone(), read.found()?.version())))
                    .collect();
                for workload in &mut observed.workloads {
                    let workload = Arc::make_mut(workload);
                    workload.rollout = RolloutState::Complete;
                    let mounts = workload.mounts.iter();
                    workload.loaded = mounts
                        .filter_map(|mount| Some((mount.clone(), hashes.get(mount)?.clone())))
                        .collect();
                }
                for pod in &mut observed.pods {
                    let pod = Arc::make_mut(pod);
                    let mounts = pod.mounts.iter();
                    pod.loaded = mounts
                        .filter_map(|mount| Some((mount.clone(), hashes.get(mount)?.clone())))
                        .collect();
                }
            }
            Self::EndingIsGone => observed.pods.retain(|pod| !pod.is_terminating),
            Self::SameSecondProves => {
                // As if no kubelet were ever behind, and seconds were exact.
                let cache = observed.issuance.spec.rollout.kubelet_cache.0;
                let second = SignedDuration::from_secs(1);
                for pod in &mut observed.pods {
                    let pod = Arc::make_mut(pod);
                    pod.created = pod.created.map(|created| created + cache + second);
                }
            }
            Self::OnlyWorkloads => observed.pods = made_by_workloads(observed),
            Self::RolloutProves => {
                let seen = &mut observed.snapshot;
                for workload in &seen.workloads {
                    if workload.rollout != RolloutState::Complete {
                        continue;
                    }
                    let owner = Controller::Workload(workload.workload.clone());
                    let pods = seen.pods.iter_mut();
                    for pod in pods.filter(|pod| pod.controller == owner) {
                        Arc::make_mut(pod).loaded = workload.loaded.clone();
                    }
                }
            }
            Self::Forgetful => {
                if let Some(status) = &mut Arc::make_mut(&mut observed.issuance).status {
                    status.trust = None;
                }
                for read in observed.material.values_mut() {
                    if let Read::Found(found) = Arc::make_mut(read) {
                        found.handed_out.clear();
                    }
                }
            }
            Self::Unsaid => {
                let status = &mut Arc::make_mut(&mut observed.issuance).status;
                let trust = status.get_or_insert_default().trust.get_or_insert_default();
                trust.anchors = (0..CAS)
                    .map(|index| announced(ca(index).anchor()))
                    .collect();
            }
            Self::OnlyWanted => {
                let wanted = desired(&observed.issuance, &observed.planes);
                let leaves = wanted.leaves.values().chain(&wanted.blocked);
                let leaves: Vec<_> = leaves.map(|leaf| leaf.material()).collect();
                let is_wanted = |one: &_| leaves.contains(one) || wanted.trust_places.contains(one);
                observed.material.retain(|one, _| is_wanted(one));
            }
            Self::IgnoresReplaces => {
                for read in observed.material.values_mut() {
                    if let Read::Found(found) = Arc::make_mut(read) {
                        found.replaces = false;
                    }
                }
            }
            Self::OnlyPlanned => {
                let wanted = compile(&observed.issuance, observed).wanted;
                for leaf in &wanted.blocked {
                    if !wanted.leaves.contains_key(&leaf.target) {
                        observed
                            .material
                            .insert(leaf.material(), Arc::new(Read::Absent));
                        let material = leaf.material();
                        observed.pods.retain(|pod| !pod.mounts.contains(&material));
                        let target = leaf.target.to_string();
                        if let Some(status) = &mut Arc::make_mut(&mut observed.issuance).status {
                            status.certificates.retain(|told| told.target != target);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// It does what it should not.
    pub fn spoil(self, observed: &Observed, planned: &mut Decision) {
        let Some(authority) = observed.authority.chain() else {
            return;
        };
        let ours = || vec![authority.anchor().clone()];
        match self {
            Self::TrustLater => {
                let wanted = desired(&observed.issuance, &observed.planes);
                for entry in &planned.status.certificates {
                    let waits = entry.state == CertificateState::Waiting;
                    let leaf = wanted
                        .leaves
                        .iter()
                        .find(|(target, _)| waits && target.to_string() == entry.target);
                    planned
                        .steps
                        .extend(leaf.map(|(_, leaf)| issued(leaf, None)));
                }
            }
            Self::DistrustEarly | Self::OnlyOurs => {
                for step in &mut planned.steps {
                    match step {
                        Step::WriteBundle(WriteBundle {
                            target, anchors, ..
                        }) => {
                            let only_foreign =
                                self == Self::OnlyOurs && target.kind == MaterialKind::ConfigMap;
                            if only_foreign || self == Self::DistrustEarly {
                                *anchors = ours();
                            }
                        }
                        Step::WirePlane(WirePlane { client_ca, .. })
                            if self == Self::DistrustEarly =>
                        {
                            *client_ca = Wiring::Value(encode_bundle(&ours()));
                        }
                        _ => {}
                    }
                }
            }
            Self::AllAtOnce => {
                for workload in &observed.workloads {
                    let stale = planned.status.rollouts.iter();
                    let named = |entry: &external_ca_api::RolloutStatus| {
                        entry.workload == workload.workload.to_string()
                    };
                    if stale.filter(|entry| named(entry)).count() > 0 {
                        planned.steps.push(Step::Restart(Restart {
                            workload: workload.workload.clone(),
                            resource_version: workload.resource_version.clone(),
                            material_hash: encode_loaded(&workload.loaded),
                        }));
                    }
                }
            }
            Self::Unsaid => planned.persist_status_first = false,
            Self::OnlyPlanned => {
                for step in &mut planned.steps {
                    if let Step::WriteBundle(WriteBundle { rests_on, .. })
                    | Step::WirePlane(WirePlane { rests_on, .. }) = step
                    {
                        rests_on.retain(|leaf| observed.material[leaf].found().is_some());
                    }
                }
            }
            Self::UnknownIsFine
            | Self::Forgetful
            | Self::StoredIsLoaded
            | Self::IgnoresReplaces
            | Self::Unconditional
            | Self::TrustsIssuer
            | Self::NeedsNoMemory
            | Self::EndingIsGone
            | Self::SameSecondProves
            | Self::TrustsWatches
            | Self::OnlyWorkloads
            | Self::RolloutProves
            | Self::OnlyWanted
            | Self::AsksAnew
            | Self::StoresUnseen
            | Self::OfCertificates(_) => {}
        }
    }
}

fn made_by_workloads(observed: &Observed) -> Vec<Arc<Pod>> {
    let is_made = |pod: &&Arc<Pod>| match &pod.controller {
        Controller::Workload(owner) => {
            let mut workloads = observed.workloads.iter();
            workloads.any(|workload| workload.workload == *owner)
        }
        Controller::Other(_) | Controller::Nothing => false,
    };
    observed.pods.iter().filter(is_made).cloned().collect()
}

fn announced(anchor: &Certificate) -> AnchorStatus {
    AnchorStatus {
        subject: anchor.subject().to_owned(),
        fingerprint: anchor.fingerprint().to_string(),
        state: AnchorState::Retiring,
        not_after: Time(anchor.not_after()),
        since: Some(Time(start())),
        waiting_for: Vec::new(),
    }
}

/// A leaf, issued whatever the guards say.
pub fn issued(leaf: &DesiredLeaf, bundle: Option<Vec<Certificate>>) -> Step {
    Step::IssueLeaf(IssueLeaf {
        target: leaf.target.clone(),
        profile: leaf.profile.clone(),
        reuse_key: false,
        why: Problem::new(Reason::SignerChanged, "mutant"),
        marks: BTreeMap::new(),
        trusted_by: Vec::new(),
        form: leaf.form.clone(),
        bundle,
    })
}
