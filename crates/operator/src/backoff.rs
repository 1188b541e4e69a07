//! How long to wait after failures in a row.

use std::time::Duration;

/// The first and the longest pause.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// The pause after so many failures in a row.
pub fn backoff(attempts: u32) -> Duration {
    SHORTEST
        .saturating_mul(1 << attempts.saturating_sub(1).min(16))
        .min(LONGEST)
}
