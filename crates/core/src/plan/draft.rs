//! A plan in the making: what has been found so far, and when to look again.

use std::collections::{BTreeMap, BTreeSet};

use external_ca_api::ExternalCAIssuanceStatus;
use jiff::{SignedDuration, Timestamp};

use super::Noted;
use super::step::Step;
use crate::domain::{Desired, ca_secret, identity};
use crate::model::{MaterialRef, Observed};
use crate::plan::maintenance::Gate;
use crate::reason::Problem;

/// When a snapshot with something unreadable in it is looked at again.
pub(super) const RETRY: SignedDuration = SignedDuration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Area {
    Issuer,
    Trust,
    Certificates,
    Planes,
    Rollouts,
}

pub(super) struct Draft<'a> {
    pub(super) observed: &'a Observed,
    pub(super) desired: Desired,
    pub(super) now: Timestamp,
    pub(super) steps: Vec<Step>,
    /// Leaves that follow as soon as trust is written: a restart before that would be one too many.
    pub(super) coming: BTreeSet<MaterialRef>,
    pub(super) status: ExternalCAIssuanceStatus,
    pub(super) next_check: Timestamp,
    /// Whether workloads may be restarted now.
    pub(super) gate: Gate,
    /// How long before its end a certificate waits for no window.
    pub(super) reserve: SignedDuration,
    /// Workloads that such a certificate waits for.
    pub(super) urgent: BTreeSet<String>,
    /// What needs a person.
    pub(super) problems: BTreeMap<Area, Vec<Problem>>,
    /// What a person should know though it works.
    pub(super) warnings: BTreeMap<Area, Problem>,
    /// All of both, with their objects.
    pub(super) noted: Vec<Noted>,
    /// What time and the operator will bring.
    pub(super) waiting: Vec<(Area, Problem)>,
    /// Guard 8: who is cut off was said, and guards 1 and 2 are skipped.
    pub(super) immediate: bool,
}

impl Draft<'_> {
    pub(super) fn problem(&mut self, area: Area, object: impl ToString, problem: Problem) {
        self.note(object, true, &problem);
        self.problems.entry(area).or_default().push(problem);
    }

    pub(super) fn warn(&mut self, area: Area, object: impl ToString, problem: Problem) {
        self.note(object, false, &problem);
        self.warnings.insert(area, problem);
    }

    fn note(&mut self, object: impl ToString, blocks: bool, problem: &Problem) {
        self.noted.push(Noted {
            object: object.to_string(),
            blocks,
            problem: problem.clone(),
        });
    }

    pub(super) fn issuance(&self) -> String {
        format!("ExternalCAIssuance {}", identity(&self.observed.issuance))
    }

    pub(super) fn authority(&self) -> String {
        format!("Secret {}", ca_secret(&self.observed.issuance))
    }

    pub(super) fn wake(&mut self, at: Timestamp) {
        self.next_check = self.next_check.min(at.max(self.now));
    }

    pub(super) fn wake_in(&mut self, delay: SignedDuration) {
        self.wake(self.now.saturating_add(delay).unwrap_or(Timestamp::MAX));
    }

    /// Whether the earlier status does not name every certificate: no guard may conclude anything from what it lacks.
    pub(super) fn was_cut(&self) -> bool {
        self.previous()
            .is_some_and(|status| status.omitted.is_some())
    }

    pub(super) fn previous(&self) -> Option<&ExternalCAIssuanceStatus> {
        self.observed.issuance.status.as_ref()
    }
}
