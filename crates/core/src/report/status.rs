//! Conditions: merged so that a transition time moves only when the status does.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::text::message;
use crate::finding::Finding;
use crate::reason::Reason;

/// A condition before it is merged with what was.
#[derive(Clone, Debug, PartialEq)]
pub struct Stated {
    /// Its type.
    pub kind: &'static str,
    /// Its status.
    pub status: bool,
    /// Its word.
    pub reason: Reason,
    /// The object, what is wrong, and the fix.
    pub message: String,
}

impl Stated {
    /// From its parts.
    pub fn new(
        kind: &'static str,
        status: bool,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status,
            reason,
            message: message.into(),
        }
    }

    /// In the words of a finding.
    pub fn of(kind: &'static str, status: bool, finding: &Finding) -> Self {
        Self::new(kind, status, finding.problem.reason, message(finding))
    }
}

/// Conditions as the API conventions want them: `lastTransitionTime` stays while the status does.
pub fn merge(
    previous: &[Condition],
    conditions: Vec<Stated>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    conditions
        .into_iter()
        .map(|stated| {
            let status = if stated.status { "True" } else { "False" };
            let since = previous
                .iter()
                .find(|condition| condition.type_ == stated.kind && condition.status == status)
                .map_or(Time(now), |condition| {
                    condition.last_transition_time.clone()
                });
            Condition {
                type_: stated.kind.into(),
                status: status.into(),
                reason: stated.reason.as_str().into(),
                message: limit(stated.message, 32_768),
                last_transition_time: since,
                observed_generation: generation,
            }
        })
        .collect()
}

/// Shortens text to what the API takes, at a character boundary.
pub fn limit(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes.saturating_sub(3))
            .rev()
            .find(|index| text.is_char_boundary(*index))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
