//! What is told of steps that failed.

use std::collections::BTreeSet;

use external_ca_api::ExternalCAIssuanceStatus;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::notice::Notice;
use super::status::limit;
use crate::plan::Step;
use crate::reason::Problem;

/// Puts steps that failed into the status; returns the conditions that turned.
pub fn with_failures(
    status: &mut ExternalCAIssuanceStatus,
    failures: &[(Step, Problem)],
    previous: Option<&ExternalCAIssuanceStatus>,
    now: Timestamp,
) -> Vec<Notice> {
    let before = previous.map_or(&[][..], |status| status.conditions.as_slice());
    let mut turned = Vec::new();
    let mut told = BTreeSet::new();
    for (step, problem) in failures {
        if !told.insert(condition(step)) {
            continue;
        }
        for kind in [condition(step), "Ready"] {
            let Some(condition) = status
                .conditions
                .iter_mut()
                .find(|condition| condition.type_ == kind)
            else {
                continue;
            };
            let old = before.iter().find(|condition| condition.type_ == kind);
            if condition.status != "False" {
                let since = old
                    .filter(|old| old.status == "False")
                    .map(|old| old.last_transition_time.clone());
                condition.last_transition_time = since.unwrap_or(Time(now));
                condition.status = "False".into();
            }
            condition.reason = problem.reason.to_string();
            condition.message = limit(problem.message.clone(), 32_768);
            let news = old.is_none_or(|old| {
                old.reason != condition.reason || old.message != condition.message
            });
            if kind != "Ready" && news {
                turned.push(Notice {
                    is_warning: true,
                    problem: problem.clone(),
                });
            }
        }
    }
    turned
}

/// The condition that a step works for.
fn condition(step: &Step) -> &'static str {
    match step {
        Step::GenerateCa(_) => "IssuerReady",
        Step::WriteBundle(_) | Step::InjectBundle(_) => "TrustDistributed",
        Step::WirePlane(_) => "PlanesWired",
        Step::IssueLeaf(_) | Step::DropRequest(_) | Step::Consume(_) => "CertificatesReady",
        Step::Restart(_) => "RolloutsComplete",
    }
}
