//! A plan in the making: what has been found so far, and when to look again.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::{CertificateStatus, ExternalCAIssuanceStatus, PlaneStatus};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::maintenance::Gate;
use super::step::Step;
use crate::domain::{DesiredLeaf, TrustDomain};
use crate::finding::{Area, Finding, Severity};
use crate::model::{MaterialRef, PlaneRef, Snapshot, WorkloadRef};
use crate::reason::{Problem, Reason};
use crate::trust::Blocker;

/// When an unchanged domain is looked at again at the latest.
const RESYNC: SignedDuration = SignedDuration::from_hours(12);
/// When a snapshot with something unreadable in it is looked at again.
pub(super) const RETRY: SignedDuration = SignedDuration::from_secs(60);

pub(super) struct Draft<'a> {
    pub(super) domain: &'a TrustDomain<'a>,
    pub(super) observed: &'a Snapshot,
    pub(super) now: Timestamp,
    pub(super) steps: Vec<Step>,
    /// What the earlier status says of each certificate, by target.
    told: BTreeMap<&'a str, &'a CertificateStatus>,
    /// The planes that the earlier status calls wired.
    pub(super) wired_before: BTreeSet<PlaneRef>,
    /// Leaves that follow as soon as trust is written: a restart before that would be one too many.
    pub(super) coming: BTreeSet<MaterialRef>,
    /// What stands where, to be reported; its conditions come later.
    pub(super) status: ExternalCAIssuanceStatus,
    pub(super) next_check: Timestamp,
    /// Whether workloads may be restarted now.
    pub(super) gate: Gate,
    /// How long before its end a certificate waits for no window.
    pub(super) reserve: SignedDuration,
    /// Workloads that such a certificate waits for.
    pub(super) urgent: BTreeSet<WorkloadRef>,
    pub(super) findings: Vec<Finding>,
    /// Objects that fit, by the hand of another manager.
    pub(super) put_right: BTreeSet<String>,
    /// What each anchor on its way out waits for, by fingerprint.
    pub(super) retiring: BTreeMap<String, Vec<Blocker>>,
    /// Guard 8: who is cut off was announced, and guards 1 and 2 are skipped.
    pub(super) immediate: bool,
}

impl<'a> Draft<'a> {
    pub(super) fn new(domain: &'a TrustDomain<'a>, observed: &'a Snapshot, now: Timestamp) -> Self {
        let earlier = domain.owner.earlier;
        Self {
            domain,
            observed,
            now,
            steps: Vec::new(),
            told: earlier.map_or_else(BTreeMap::new, told),
            wired_before: earlier.map_or_else(BTreeSet::new, wired),
            coming: BTreeSet::new(),
            status: ExternalCAIssuanceStatus {
                observed_generation: domain.owner.generation,
                ..Default::default()
            },
            next_check: now.saturating_add(RESYNC).unwrap_or(now),
            gate: Gate::Open(Timestamp::MAX),
            reserve: SignedDuration::ZERO,
            urgent: BTreeSet::new(),
            findings: Vec::new(),
            put_right: BTreeSet::new(),
            retiring: BTreeMap::new(),
            immediate: false,
        }
    }

    /// What needs a person.
    pub(super) fn problem(&mut self, area: Area, object: impl ToString, problem: Problem) {
        let finding = Finding::new(area, Severity::Problem, object, problem);
        self.findings.push(finding);
    }

    /// What a person should know though it works.
    pub(super) fn warn(&mut self, area: Area, object: impl ToString, problem: Problem) {
        let finding = Finding::new(area, Severity::Warning, object, problem);
        self.findings.push(finding);
    }

    /// What time and the operator bring.
    pub(super) fn wait(&mut self, area: Area, object: impl ToString, problem: Problem) {
        let finding = Finding::new(area, Severity::Waiting, object, problem);
        self.findings.push(finding);
    }

    /// What waits for the next window; it is no defect, unless a move to another CA waits with it.
    pub(super) fn wait_for_window(
        &mut self,
        area: Area,
        until: Timestamp,
        what: String,
        is_rotating: bool,
    ) {
        self.wake(until);
        let next = self.status.next_window.take();
        let next = next.map_or(until, |next| next.0.min(until));
        self.status.next_window = Some(Time(next));
        let opens = !matches!(self.gate, Gate::Closed(opens) if opens > until);
        let window = vec![Blocker::Window { until, opens }];
        let problem = Problem::new(Reason::WaitingForWindow, what);
        let finding = if is_rotating {
            Finding::new(area, Severity::Waiting, self.owner(), problem).first()
        } else {
            Finding::new(area, Severity::Deferred, self.owner(), problem)
        };
        self.findings.push(finding.blocked_by(window));
    }

    pub(super) fn owner(&self) -> String {
        self.domain.owner.to_string()
    }

    pub(super) fn authority(&self) -> String {
        format!("Secret {}", self.domain.authority.secret)
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        self.next_check = self.next_check.min(at.max(self.now));
    }

    /// Looks again at a time that has not come yet.
    pub(super) fn wake_ahead(&mut self, at: Timestamp) {
        if at > self.now {
            self.wake(at);
        }
    }

    pub(super) fn wake_in(&mut self, delay: SignedDuration) {
        self.wake(self.now.saturating_add(delay).unwrap_or(Timestamp::MAX));
    }

    /// What the earlier status says of a leaf.
    pub(super) fn told_of(&self, leaf: &DesiredLeaf) -> Option<&'a CertificateStatus> {
        self.told.get(leaf.target.to_string().as_str()).copied()
    }

    /// Whether the earlier status does not name every certificate: no guard may conclude anything from what it lacks.
    pub(super) fn was_cut(&self) -> bool {
        self.previous()
            .is_some_and(|status| status.omitted.is_some())
    }

    pub(super) fn previous(&self) -> Option<&'a ExternalCAIssuanceStatus> {
        self.domain.owner.earlier
    }
}

fn told(status: &ExternalCAIssuanceStatus) -> BTreeMap<&str, &CertificateStatus> {
    let certificates = status.certificates.iter();
    certificates.map(|one| (one.target.as_str(), one)).collect()
}

fn wired(status: &ExternalCAIssuanceStatus) -> BTreeSet<PlaneRef> {
    let planes = status.planes.iter().filter(|plane| plane.wired);
    let reference = |plane: &PlaneStatus| PlaneRef {
        kind: plane.kind,
        namespace: plane.namespace.clone(),
        name: plane.name.clone(),
    };
    planes.map(reference).collect()
}
