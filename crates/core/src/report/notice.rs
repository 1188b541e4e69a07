//! What becomes an Event.

use crate::reason::Problem;

/// Something that is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether it is for the worse.
    pub is_warning: bool,
    /// Word and message.
    pub problem: Problem,
}
