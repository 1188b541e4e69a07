//! A clock that is not the API server's: what it dates begins and ends at other times than for everybody else.

use external_ca_api::RENEW_ANNOTATION;
use jiff::SignedDuration;

use super::draft::{Draft, RETRY};
use super::step::{Consume, Step};
use crate::finding::Area;
use crate::reason::{Problem, Reason};
use crate::x509::BACKDATE;

/// Whether a clock is further off than certificates are backdated.
pub fn is_off(ahead: SignedDuration) -> bool {
    ahead.abs() > BACKDATE
}

/// So that a second more or less is no other message.
fn about(duration: SignedDuration) -> String {
    let (hours, minutes) = (duration.as_hours(), duration.as_mins());
    match (hours / 24, hours) {
        (2.., _) => format!("{:.0} days", duration.as_secs_f64() / 86_400.0),
        (_, 2..) => format!("{:.0} hours", duration.as_secs_f64() / 3600.0),
        _ => format!("{minutes} minutes"),
    }
}

impl Draft<'_> {
    /// Which of the two is right cannot be known here.
    pub(super) fn compare_clocks(&mut self) {
        let ahead = self.observed.clock_ahead;
        if !is_off(ahead) {
            return;
        }
        let by = about(ahead.abs());
        let direction = if ahead.is_negative() {
            "behind"
        } else {
            "ahead of"
        };
        let message = format!(
            "the operator's clock is {by} {direction} the API server's: until they agree to within five minutes, no certificate is \
             issued or renewed, and no CA is made or dropped; set the clocks of their nodes by NTP"
        );
        let problem = Problem::new(Reason::ClockOff, message);
        self.problem(Area::Issuer, self.authority(), problem);
        self.wake_in(RETRY);
    }

    /// What is dated by the clock waits for it, and so does what takes trust away because time has passed.
    pub(super) fn hold_back_by_clock(&mut self) {
        if !is_off(self.observed.clock_ahead) {
            return;
        }
        let grants = Step::Consume(Consume {
            annotation: RENEW_ANNOTATION,
        });
        self.steps.retain(|step| {
            let is_dated = matches!(step, Step::IssueLeaf(_) | Step::GenerateCa(_));
            !is_dated && !step.drops() && *step != grants
        });
    }
}
