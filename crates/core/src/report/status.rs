//! Conditions: merged so that a transition time moves only when the status does.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::reason::Reason;

/// The condition types, in the order in which they are shown.
pub const CONDITIONS: [&str; 9] = [
    "Ready",
    "Reconciling",
    "Stalled",
    "Issuing",
    "IssuerReady",
    "TrustDistributed",
    "CertificatesReady",
    "PlanesWired",
    "RolloutsComplete",
];

/// A condition before it is merged with what was.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// One of [`CONDITIONS`].
    pub kind: &'static str,
    /// Its status.
    pub status: bool,
    /// Its word.
    pub reason: Reason,
    /// The object, what is wrong, and the fix.
    pub message: String,
}

/// Conditions as the API conventions want them: `lastTransitionTime` stays while the status does.
pub fn merge(
    previous: &[Condition],
    findings: Vec<Finding>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    findings
        .into_iter()
        .map(|finding| {
            let status = if finding.status { "True" } else { "False" };
            let since = previous
                .iter()
                .find(|condition| condition.type_ == finding.kind && condition.status == status)
                .map_or(Time(now), |condition| {
                    condition.last_transition_time.clone()
                });
            Condition {
                type_: finding.kind.into(),
                status: status.into(),
                reason: finding.reason.as_str().into(),
                message: limit(finding.message, 32_768),
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
