//! From all that was found to the conditions, the phase and the events.

use external_ca_api::Phase;

use super::Plan;
use super::anchors::known_anchors;
use super::draft::{Area, Draft};
use super::repairs::CONTEST_WINDOW;
use super::step::Step;
use crate::reason::{Problem, Reason};
use crate::report::status::{Finding, limit, merge};

/// So many problems of one kind are told in full.
const JOINED: usize = 3;

impl Draft<'_> {
    pub(super) fn finish(mut self) -> Plan {
        for entry in self.contested() {
            // A field that fits again for an hour is no longer contested.
            let recent = entry.last_time.0.duration_until(self.now) < CONTEST_WINDOW;
            if recent
                && !self
                    .status
                    .contested
                    .iter()
                    .any(|new| new.object == entry.object)
            {
                self.status.contested.push(entry);
            }
        }
        self.status
            .contested
            .sort_by(|a, b| a.object.cmp(&b.object));
        let paused = self.observed.issuance.spec.paused;
        if paused {
            self.steps.clear();
        }
        let stalled = self.problems.values().flatten().next().cloned();
        let (area_of_wait, waiting) = (
            self.waiting.first().map(|(area, _)| *area),
            self.waiting.first().map(|(_, problem)| problem.clone()),
        );
        let mut findings = Vec::new();
        for (area, kind, good) in [
            (Area::Issuer, "IssuerReady", Reason::Ready),
            (Area::Trust, "TrustDistributed", Reason::Ready),
            (Area::Certificates, "CertificatesReady", Reason::Ready),
            (Area::Planes, "PlanesWired", Reason::Ready),
            (Area::Rollouts, "RolloutsComplete", Reason::Ready),
        ] {
            let problems = self.problems.get(&area).map_or(&[][..], Vec::as_slice);
            let wait = self
                .waiting
                .iter()
                .find(|(place, _)| *place == area)
                .map(|(_, problem)| problem);
            let more = match problems.len().saturating_sub(JOINED) {
                0 => String::new(),
                count => format!(" (and {count} more)"),
            };
            findings.push(match (problems.first(), wait, self.warnings.get(&area)) {
                (Some(problem), ..) => finding(
                    kind,
                    false,
                    problem.reason,
                    format!("{}{more}", joined(problems).unwrap_or_default()),
                ),
                (None, Some(wait), _) => finding(kind, false, wait.reason, wait.message.clone()),
                (None, None, Some(warning)) => {
                    finding(kind, true, warning.reason, warning.message.clone())
                }
                (None, None, None) => finding(kind, true, good, good_message(area).into()),
            });
        }
        let issuing = self
            .steps
            .iter()
            .any(|step| matches!(step, Step::IssueLeaf(_) | Step::GenerateCa(_)));
        let ready = stalled.is_none() && waiting.is_none() && !paused;
        let overall = match (&stalled, &waiting) {
            _ if paused => Problem::new(
                Reason::Paused,
                "spec.paused is true: nothing is written or renewed",
            ),
            (Some(problem), _) => problem.clone(),
            (None, Some(problem)) => problem.clone(),
            (None, None) => Problem::new(
                Reason::Ready,
                "certificates, trust, planes and workloads are as wanted",
            ),
        };
        // kstatus calls it in progress while Reconciling is True: what only waits for a person is not.
        let moving = stalled.is_none() || !self.steps.is_empty();
        let progress = waiting.filter(|_| !paused && moving);
        let mut all = vec![
            finding("Ready", ready, overall.reason, overall.message),
            match &progress {
                Some(problem) => {
                    finding("Reconciling", true, problem.reason, problem.message.clone())
                }
                None => finding(
                    "Reconciling",
                    false,
                    Reason::Idle,
                    "nothing is under way".into(),
                ),
            },
            match &stalled {
                Some(problem) => finding("Stalled", true, problem.reason, problem.message.clone()),
                None => finding(
                    "Stalled",
                    false,
                    Reason::Idle,
                    "nothing needs a person".into(),
                ),
            },
            match issuing {
                true => finding(
                    "Issuing",
                    true,
                    Reason::Progressing,
                    "certificates are being issued".into(),
                ),
                false => finding(
                    "Issuing",
                    false,
                    Reason::Idle,
                    "no certificate is due".into(),
                ),
            },
        ];
        all.append(&mut findings);

        self.status.phase = Some(match (paused, &stalled, area_of_wait) {
            (true, ..) => Phase::Paused,
            (_, Some(_), _) => Phase::Stalled,
            (.., None) => Phase::Ready,
            (.., Some(_)) if self.is_rotating() => Phase::Rotating,
            (.., Some(Area::Rollouts)) => Phase::RollingOut,
            (.., Some(_)) => Phase::Issuing,
        });
        let previous = self
            .previous()
            .map_or(&[][..], |status| status.conditions.as_slice());
        let mut events = transitions(previous, &all);
        events.extend(self.dropped());
        self.status.conditions = merge(
            previous,
            all,
            self.observed.issuance.metadata.generation,
            self.now,
        );
        let known = known_anchors(self.previous());
        let say_first = self.immediate || !known_anchors(Some(&self.status)).is_subset(&known);
        Plan {
            steps: self.steps,
            status: self.status,
            events,
            problems: self.noted,
            next_check: self.next_check,
            say_first,
        }
    }
}

fn good_message(area: Area) -> &'static str {
    match area {
        Area::Issuer => "the CA can sign",
        Area::Trust => "every trust place holds the bundle",
        Area::Certificates => "every certificate is as wanted",
        Area::Planes => "every plane trusts the CA",
        Area::Rollouts => "every workload has loaded what is stored",
    }
}

fn finding(kind: &'static str, status: bool, reason: Reason, message: String) -> Finding {
    Finding {
        kind,
        status,
        reason,
        message,
    }
}

/// The first few messages, each once.
fn joined(problems: &[Problem]) -> Option<String> {
    let messages = problems.iter().take(JOINED);
    let messages: Vec<&str> = messages.map(|problem| problem.message.as_str()).collect();
    (!messages.is_empty()).then(|| limit(messages.join("; "), 4096))
}

pub(super) fn list(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    match names.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A condition that turned speaks once; Reconciling and Issuing come and go and say nothing.
fn transitions(
    previous: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    findings: &[Finding],
) -> Vec<(bool, Problem)> {
    findings
        .iter()
        .filter(|finding| {
            !matches!(
                finding.kind,
                "Ready" | "Reconciling" | "Stalled" | "Issuing"
            )
        })
        .filter(|finding| {
            let old = previous
                .iter()
                .find(|condition| condition.type_ == finding.kind);
            old.map(|condition| condition.reason.as_str()) != Some(finding.reason.as_str())
        })
        .filter(|finding| {
            !matches!(
                finding.reason,
                Reason::Ready | Reason::Progressing | Reason::RollingOut
            ) && !is_issue_reason(finding.reason)
        })
        .map(|finding| {
            let bad = !matches!(
                finding.reason,
                Reason::WaitingForPeers | Reason::WaitingForWindow
            );
            (bad, Problem::new(finding.reason, finding.message.clone()))
        })
        .collect()
}

fn is_issue_reason(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SecretMissing | Reason::Renewing | Reason::RenewRequested | Reason::SignerChanged
    )
}
