//! Maintenance windows: when workloads may be restarted.

use jiff::{SignedDuration, Timestamp};

use crate::domain::{Rollout, Window};
use crate::reason::{Problem, Reason};

/// Whether restarts are welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They are, until then.
    Open(Timestamp),
    /// They are not, before then.
    Closed(Timestamp),
}

impl Gate {
    /// Until when something waits that must be replaced before `end`: the next window, or the last moment that leaves the
    /// `reserve`, whichever comes first. None: it need not wait, or it must not.
    pub fn holds_back(
        self,
        end: Timestamp,
        reserve: SignedDuration,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let Self::Closed(opens) = self else {
            return None;
        };
        let last = end.saturating_sub(reserve).unwrap_or(Timestamp::MIN);
        Some(opens.min(last)).filter(|until| *until > now)
    }
}

/// How long before its end a certificate is no longer held back: half of the time that a renewal comes ahead, or longer
/// where so many workloads may need it, each batch its timeout, the gateway before them.
pub fn reserve(
    rollout: &Rollout<'_>,
    workloads: usize,
    renew_before: SignedDuration,
) -> SignedDuration {
    let batches = workloads.div_ceil(rollout.max_concurrent.max(1)) + 1;
    let batches = i32::try_from(batches).unwrap_or(i32::MAX);
    let one = rollout.timeout.saturating_add(rollout.kubelet_cache);
    let rollouts = one.checked_mul(batches);
    rollouts
        .unwrap_or(SignedDuration::MAX)
        .max(renew_before / 2)
}

/// The state of all windows together. None means that there is no limit; one that cannot be read never opens.
pub fn gate(windows: &[Window<'_>], now: Timestamp) -> (Gate, Vec<Problem>) {
    if windows.is_empty() {
        return (Gate::Open(Timestamp::MAX), Vec::new());
    }
    let mut problems = Vec::new();
    let mut all = Gate::Closed(Timestamp::MAX);
    for window in windows {
        let index = window.index;
        match state(window, now) {
            Ok(one) => all = wider(all, one),
            Err(why) => {
                let message = format!(
                    "spec.rollout.windows[{index}] never opens: {why}; correct it, for example schedule: \"0 2 * * SAT\", timeZone: Europe/Berlin"
                );
                problems.push(Problem::new(Reason::InvalidSpec, message));
            }
        }
    }
    (all, problems)
}

fn wider(a: Gate, b: Gate) -> Gate {
    match (a, b) {
        (Gate::Open(a), Gate::Open(b)) => Gate::Open(a.max(b)),
        (Gate::Closed(a), Gate::Closed(b)) => Gate::Closed(a.min(b)),
        (Gate::Open(until), Gate::Closed(_)) | (Gate::Closed(_), Gate::Open(until)) => {
            Gate::Open(until)
        }
    }
}

fn state(window: &Window<'_>, now: Timestamp) -> Result<Gate, String> {
    let Window {
        schedule,
        duration,
        time_zone,
        ..
    } = window;
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        return Err(format!("the schedule \"{schedule}\" has not five fields"));
    }
    if jiff::tz::TimeZone::get(time_zone).is_err() {
        return Err(format!("there is no time zone \"{time_zone}\""));
    }
    // The crate takes the time zone as a sixth field.
    let crontab = cronexpr::parse_crontab(&format!("{} {time_zone}", fields.join(" ")))
        .map_err(|_| format!("the schedule \"{schedule}\" is no cron expression"))?;
    let next = |after: Timestamp| {
        let found = crontab.find_next(after);
        let never = |_| format!("the schedule \"{schedule}\" names no time within four years");
        found.map(|zoned| zoned.timestamp()).map_err(never)
    };
    let lately = now
        .checked_sub(duration.0)
        .map_err(|_| format!("the duration {duration} is too long"))?;
    let opened = next(lately)?;
    Ok(if opened <= now {
        Gate::Open(opened.saturating_add(duration.0).unwrap_or(now))
    } else {
        Gate::Closed(opened)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use external_ca_api::Duration;
    use proptest::prelude::*;

    fn window<'a>(schedule: &'a str, hours: i64, time_zone: &'a str) -> Window<'a> {
        Window {
            index: 0,
            schedule,
            duration: Duration::from_hours(hours),
            time_zone,
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_start_until_just_before_its_end() {
        // A Saturday in summer: Berlin is two hours ahead.
        let windows = [window("0 2 * * SAT", 4, "Europe/Berlin")];
        let (opens, closes) = (at("2026-07-04T00:00:00Z"), at("2026-07-04T04:00:00Z"));
        let next = at("2026-07-11T00:00:00Z");
        for (now, state) in [
            ("2026-07-03T23:59:59Z", Gate::Closed(opens)),
            ("2026-07-04T00:00:00Z", Gate::Open(closes)),
            ("2026-07-04T03:59:59Z", Gate::Open(closes)),
            ("2026-07-04T04:00:00Z", Gate::Closed(next)),
        ] {
            assert_eq!(gate(&windows, at(now)), (state, vec![]), "{now}");
        }
        // In winter it is one.
        let winter = gate(&windows, at("2026-01-02T12:00:00Z")).0;
        assert_eq!(winter, Gate::Closed(at("2026-01-03T01:00:00Z")));
    }

    #[test]
    fn of_several_windows_the_one_that_is_open_counts_or_the_next_to_open() {
        let windows = [
            window("0 22 * * *", 2, "UTC"),
            window("0 23 1 * *", 6, "UTC"),
        ];
        let state = |now| gate(&windows, at(now)).0;
        assert_eq!(
            state("2026-05-01T23:30:00Z"),
            Gate::Open(at("2026-05-02T05:00:00Z"))
        );
        assert_eq!(
            state("2026-05-02T06:00:00Z"),
            Gate::Closed(at("2026-05-02T22:00:00Z"))
        );
        assert_eq!(
            gate(&[], at("2026-05-02T06:00:00Z")).0,
            Gate::Open(Timestamp::MAX)
        );
    }

    #[test]
    fn what_cannot_be_read_never_opens_and_is_named() {
        for (window, why) in [
            (window("whenever", 1, "UTC"), "five fields"),
            (window("0 2 * * SAT UTC", 1, "UTC"), "five fields"),
            (window("0 25 * * *", 1, "UTC"), "no cron expression"),
            (window("0 2 31 2 *", 1, "UTC"), "no time within four years"),
            (window("0 2 * * *", 1, "Europe/Atlantis"), "Atlantis"),
        ] {
            let (state, problems) = gate(&[window], at("2026-05-02T06:00:00Z"));
            assert_eq!(state, Gate::Closed(Timestamp::MAX));
            let [problem] = problems.as_slice() else {
                panic!("{problems:?}")
            };
            assert!(problem.message.contains(why), "{}", problem.message);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(schedule in "[ -~]{0,24}", zone in "[ -~]{0,8}", hours in 1..10_000i64) {
            gate(&[window(&schedule, hours, &zone)], at("2026-05-02T06:00:00Z"));
        }

        #[test]
        fn no_schedule_makes_it_panic(fields in prop::collection::vec("[0-9*,/LW#H-]{1,6}", 5)) {
            gate(&[window(&fields.join(" "), 1, "UTC")], at("2026-05-02T06:00:00Z"));
        }
    }
}
