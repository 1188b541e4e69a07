//! Times, for people.

use jiff::Timestamp;

/// How long it is until then, or was: `in 243d`, `5m ago`. Two units at most, the way kubectl counts ages.
pub fn until(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.duration_until(then).as_secs();
    let length = length(seconds.unsigned_abs());
    match seconds {
        0 => "now".into(),
        1.. => format!("in {length}"),
        _ => format!("{length} ago"),
    }
}

fn length(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{minutes}m"),
        7200..172_800 => format!("{hours}h"),
        _ if days < 730 => format!("{days}d"),
        _ => format!("{}y{}d", days / 365, days % 365),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_one_number() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (then, text) in [
            ("2026-01-01T00:00:00Z", "now"),
            ("2026-01-01T00:01:30Z", "in 90s"),
            ("2025-12-31T23:50:00Z", "10m ago"),
            ("2026-01-02T06:00:00Z", "in 30h"),
            ("2026-09-01T00:00:00Z", "in 243d"),
            ("2035-12-30T00:00:00Z", "in 10y0d"),
        ] {
            assert_eq!(until(now, then.parse().unwrap()), text, "{then}");
        }
    }
}
