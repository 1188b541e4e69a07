//! Findings and blockers in words.

use std::collections::BTreeSet;
use std::fmt;

use external_ca_api::PROCEED_ANNOTATION;

use crate::finding::{Area, Finding};
use crate::model::Pod;
use crate::trust::Blocker;

/// So many names stand in a message, or in a status entry.
const NAMED: usize = 5;
/// So many of the blockers of an anchor are told.
const TOLD: usize = 10;

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread(unread) => write!(f, "{unread}"),
            Self::AnchorUnread(origin) => write!(f, "{origin}"),
            Self::Workload(workload) => write!(f, "{workload}"),
            Self::Pod(pod) => write_pod(f, pod),
            Self::Leaf(target) => write!(f, "Secret {target}"),
            Self::Place(place) => write!(f, "{place}"),
            Self::Agent(plane) => write!(f, "the agent of {plane}"),
            Self::Peer { peer, until } => write!(
                f,
                "{peer}, which no served workload runs (waits until {until}: rotation.overlap)"
            ),
            Self::Unconfirmed(peer) => write!(
                f,
                "{peer}, which no served workload runs (waits for the annotation {PROCEED_ANNOTATION})"
            ),
            Self::CallUnderWay { until } => {
                write!(f, "writes that may be under way (until {until:.0})")
            }
            Self::ApiServers { until } => {
                write!(
                    f,
                    "API servers that may not have read it yet (until {until:.0})"
                )
            }
            Self::Authority { since } => {
                write!(f, "for the issuer's answer, since {since:.0}")
            }
            Self::Window { until, opens: true } => {
                write!(f, "for the maintenance window that opens at {until}")
            }
            Self::Window { until, .. } => {
                write!(f, "until {until}: no maintenance window opens before")
            }
        }
    }
}

/// A pod that holds something up, and what a person can do about it.
fn write_pod(f: &mut fmt::Formatter<'_>, pod: &Pod) -> fmt::Result {
    write!(f, "{pod}")?;
    if let Some(node) = &pod.node {
        write!(f, " on node {node}")?;
    }
    match pod.is_terminating {
        true => write!(
            f,
            ", which is still ending (delete it by force only where its node is known to be gone)"
        ),
        false => write!(f, ", which no restart renews: delete it, or let it end"),
    }
}

/// A finding's message, with what it waits for.
pub fn message(finding: &Finding) -> String {
    let message = &finding.problem.message;
    match finding.blockers.as_slice() {
        [] => message.clone(),
        [window @ Blocker::Window { .. }] => format!("{message} waits {window}"),
        [answer @ Blocker::Authority { .. }] => format!("{message}; it waits {answer}"),
        // The same may hold an anchor in several places.
        blockers if finding.area == Area::Trust => {
            format!("{message}: {}", list(&names(blockers)))
        }
        blockers => {
            let names: Vec<String> = blockers.iter().map(ToString::to_string).collect();
            format!("{message}: {}", list(&names))
        }
    }
}

/// The names of an anchor's blockers, each once; those of places alone in their own order.
pub(super) fn names(blockers: &[Blocker]) -> Vec<String> {
    if blockers.iter().all(|one| matches!(one, Blocker::Place(_))) {
        let names = blockers.iter().map(ToString::to_string);
        return names.take(TOLD).collect();
    }
    let names: BTreeSet<String> = blockers.iter().map(ToString::to_string).collect();
    names.into_iter().take(TOLD).collect()
}

/// The first few names, and how many more there are.
pub(super) fn list(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    match names.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
