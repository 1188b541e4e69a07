//! Requests that wait at an authority, as everyone may know them: their keys and tickets are the operator's.

use jiff::Timestamp;

/// A leaf that was asked for and may not be stored yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingLeaf {
    /// What was asked of whom, as [`crate::domain::asked`] puts it.
    pub asked: String,
    /// When its key and request were kept, ahead of asking.
    pub since: Timestamp,
    /// When the authority is asked again; none where it has not answered yet.
    pub ask_again: Option<Timestamp>,
}

impl PendingLeaf {
    /// Until when the authority is left alone.
    pub fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.ask_again.filter(|at| *at > now)
    }
}
