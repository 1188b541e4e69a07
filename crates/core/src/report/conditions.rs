//! From all that was found to the conditions and the phase.

use external_ca_api::{ExternalCAIssuanceStatus, Phase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::notice::Notice;
use super::status::{Stated, limit};
use super::text::message;
use crate::finding::{Area, Finding, Priority, Severity};
use crate::plan::Step;
use crate::reason::{Problem, Reason};
use crate::trust::Blocker;

/// The condition of planes.
pub(super) const PLANES_WIRED: &str = "PlanesWired";
/// So many problems of one kind are told in full.
const JOINED: usize = 3;

/// What a plan's findings say together.
pub(super) struct Outlook<'a> {
    /// What needs a person, area by area.
    problems: Vec<&'a Finding>,
    /// What keeps others from running: the domain is ready all the same.
    of_consumers: Vec<&'a Finding>,
    /// What is waited for, most important first.
    waits: Vec<&'a Finding>,
    /// What a person should know: the latest first, and what waits for a window last.
    warnings: Vec<&'a Finding>,
    halted: Option<&'static str>,
    has_steps: bool,
    is_issuing: bool,
}

impl<'a> Outlook<'a> {
    pub(super) fn new(
        findings: &'a [Finding],
        steps: &[Step],
        halted: Option<&'static str>,
    ) -> Self {
        let of = |severity| {
            let all = findings.iter();
            all.filter(move |finding| finding.severity == severity)
        };
        let is_of_consumers = |finding: &&Finding| finding.area == Area::Consumers;
        let (of_consumers, mut problems): (Vec<_>, Vec<_>) =
            of(Severity::Problem).partition(is_of_consumers);
        problems.sort_by_key(|finding| finding.area);
        let is_first = |finding: &&Finding| finding.priority == Priority::First;
        let waits = of(Severity::Waiting).filter(is_first).rev();
        let others = of(Severity::Waiting).filter(|finding| !is_first(finding));
        Self {
            problems,
            of_consumers,
            waits: waits.chain(others).collect(),
            warnings: of(Severity::Warning)
                .rev()
                .chain(of(Severity::Deferred))
                .collect(),
            halted,
            has_steps: !steps.is_empty(),
            is_issuing: findings.iter().any(waits_for_authority)
                || steps
                    .iter()
                    .any(|step| matches!(step, Step::IssueLeaf(_) | Step::GenerateCa(_))),
        }
    }

    pub(super) fn conditions(&self) -> Vec<Stated> {
        let overall = [
            self.ready(),
            self.reconciling(),
            self.stalled(),
            self.issuing(),
        ];
        let areas = Area::ALL.map(|area| self.area(area));
        overall.into_iter().chain(areas).collect()
    }

    fn ready(&self) -> Stated {
        let first = self.problems.first().or(self.waits.first());
        if let Some(why) = self.halted {
            return Stated::new("Ready", false, Reason::Paused, why);
        }
        match first {
            Some(finding) => Stated::of("Ready", false, finding),
            None => Stated::new(
                "Ready",
                true,
                Reason::Ready,
                "certificates, trust, planes and workloads are as wanted",
            ),
        }
    }

    /// kstatus calls it in progress while Reconciling is True: what only waits for a person is not.
    fn reconciling(&self) -> Stated {
        let moves = self.problems.is_empty() || self.has_steps;
        match self
            .waits
            .first()
            .filter(|_| self.halted.is_none() && moves)
        {
            Some(finding) => Stated::of("Reconciling", true, finding),
            None => Stated::new("Reconciling", false, Reason::Idle, "nothing is under way"),
        }
    }

    fn stalled(&self) -> Stated {
        match self.problems.first() {
            Some(finding) => Stated::of("Stalled", true, finding),
            None => Stated::new("Stalled", false, Reason::Idle, "nothing needs a person"),
        }
    }

    fn issuing(&self) -> Stated {
        if self.is_issuing {
            let message = "certificates are being issued";
            Stated::new("Issuing", true, Reason::Progressing, message)
        } else {
            Stated::new("Issuing", false, Reason::Idle, "no certificate is due")
        }
    }

    fn area(&self, area: Area) -> Stated {
        let here = |finding: &&&Finding| finding.area == area;
        let (kind, good) = condition_of(area);
        let problems = self.problems.iter().chain(&self.of_consumers);
        let problems: Vec<&Finding> = problems.filter(here).copied().collect();
        if let Some(first) = problems.first() {
            let message = joined(&problems, JOINED);
            return Stated::new(kind, false, first.problem.reason, message);
        }
        let cut_off = self.cut_off(area);
        if let Some(wait) = self.waits.iter().find(here) {
            let also = cut_off.map_or_else(String::new, |text| format!("; {text}"));
            let message = format!("{}{also}", message(wait));
            return Stated::new(kind, false, wait.problem.reason, message);
        }
        match (cut_off, self.warnings.iter().find(here)) {
            (Some(text), _) => Stated::new(kind, true, Reason::AgentsUnproven, text),
            (None, Some(warning)) => Stated::of(kind, true, warning),
            (None, None) => Stated::new(kind, true, Reason::Ready, good),
        }
    }

    /// Who is about to be cut off: each is named.
    fn cut_off(&self, area: Area) -> Option<String> {
        let warnings = self.warnings.iter().rev().copied();
        let cut_off = warnings.filter(|finding| {
            finding.area == area && finding.problem.reason == Reason::AgentsUnproven
        });
        let cut_off: Vec<&Finding> = cut_off.collect();
        (!cut_off.is_empty()).then(|| joined(&cut_off, usize::MAX))
    }

    /// What is waited for during a rotation in which no step is due.
    pub(super) fn next(&self) -> String {
        let mut waits = self.waits.iter();
        // That the next CA is being made belongs to the rotation after this one.
        let first = waits.find(|finding| finding.area != Area::Issuer);
        first.map_or_else(String::new, |finding| limit(message(finding), 1024))
    }

    pub(super) fn phase(&self, status: &ExternalCAIssuanceStatus) -> Phase {
        let is_rotating = status.retiring().next().is_some();
        match self.waits.first() {
            _ if self.halted.is_some() => Phase::Paused,
            _ if !self.problems.is_empty() => Phase::Stalled,
            None => Phase::Ready,
            Some(_) if is_rotating => Phase::Rotating,
            Some(finding) if finding.area == Area::Rollouts => Phase::RollingOut,
            Some(_) => Phase::Issuing,
        }
    }
}

/// The condition of an area, and what it says where all is well.
fn condition_of(area: Area) -> (&'static str, &'static str) {
    match area {
        Area::Issuer => ("IssuerReady", "the CA can sign"),
        Area::Trust => ("TrustDistributed", "every trust place holds the bundle"),
        Area::Certificates => ("CertificatesReady", "every certificate is as wanted"),
        Area::Planes => (PLANES_WIRED, "every plane trusts the CA"),
        Area::Rollouts => (
            "RolloutsComplete",
            "every workload has loaded what is stored",
        ),
        Area::Consumers => (
            "ConsumersRunning",
            "whatever reads certificates or bundles runs, or is about to",
        ),
    }
}

/// Whether the authority has been asked, and has not answered yet.
fn waits_for_authority(finding: &Finding) -> bool {
    let is_authority = |blocker: &Blocker| matches!(blocker, Blocker::Authority { .. });
    finding.blockers.iter().any(is_authority)
}

/// The first few messages, and how many more there are.
fn joined(problems: &[&Finding], count: usize) -> String {
    let messages = problems.iter().take(count);
    let messages: Vec<String> = messages.map(|finding| message(finding)).collect();
    let text = limit(messages.join("; "), 16_384);
    match problems.len().saturating_sub(count) {
        0 => text,
        count => format!("{text} (and {count} more)"),
    }
}

/// A condition that turned speaks once; those over all come and go and say nothing.
pub(super) fn transitions(earlier: &[Condition], conditions: &[Stated]) -> Vec<Notice> {
    let is_over_all = |condition: &&Stated| {
        matches!(
            condition.kind,
            "Ready" | "Reconciling" | "Stalled" | "Issuing"
        )
    };
    let turned = |condition: &&Stated| {
        let mut earlier = earlier.iter();
        let old = earlier.find(|old| old.type_ == condition.kind);
        old.map(|old| old.reason.as_str()) != Some(condition.reason.as_str())
    };
    let conditions = conditions
        .iter()
        .filter(|condition| !is_over_all(condition));
    conditions
        .filter(turned)
        .filter(|condition| !is_routine(condition.reason))
        .map(|condition| Notice {
            is_warning: !matches!(
                condition.reason,
                Reason::WaitingForPeers | Reason::WaitingForWindow | Reason::IssuerPending
            ),
            problem: Problem::new(condition.reason, condition.message.clone()),
        })
        .collect()
}

/// Words of daily work.
fn is_routine(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Ready
            | Reason::Progressing
            | Reason::RollingOut
            | Reason::SecretMissing
            | Reason::Renewing
            | Reason::RenewRequested
            | Reason::SignerChanged
    )
}
