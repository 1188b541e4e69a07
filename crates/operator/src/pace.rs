//! Backoff by object: what failed is tried again later and later, and holds nothing else up.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use external_ca_core::plan::Step;
use external_ca_core::{Problem, Reason};

use crate::backoff::backoff;

/// So many turns in a row may write one object. Past that, something undoes what is written.
const MAX_REPEATS: u32 = 5;

/// Which objects must wait.
#[derive(Clone, Default)]
pub struct Pace {
    held: HashMap<String, Held>,
    repeats: HashMap<String, u32>,
}

#[derive(Clone)]
struct Held {
    attempts: u32,
    until: Instant,
    problem: Problem,
}

impl Pace {
    /// Splits steps into those that may be tried now and those that still wait, with why they failed.
    pub fn admit(&mut self, steps: Vec<Step>, now: Instant) -> (Vec<Step>, Vec<(Step, Problem)>) {
        // What is no longer wanted needs no memory.
        self.held
            .retain(|object, _| steps.iter().any(|step| step.object() == *object));
        let (mut admitted, mut waiting) = (Vec::new(), Vec::new());
        for step in steps {
            match self
                .held
                .get(&step.object())
                .filter(|held| held.until > now)
            {
                Some(held) => waiting.push((step, held.problem.clone())),
                None => admitted.push(step),
            }
        }
        (admitted, waiting)
    }

    /// A step failed. Returns whether it failed otherwise before, or not at all.
    pub fn failed(&mut self, step: &Step, problem: &Problem, asked: Option<Duration>) -> bool {
        let before = self.held.get(&step.object());
        let is_news = before.is_none_or(|held| held.problem != *problem);
        let attempts = before.map_or(0, |held| held.attempts).saturating_add(1);
        let until = Instant::now() + backoff(attempts).max(asked.unwrap_or_default());
        self.held.insert(
            step.object(),
            Held {
                attempts,
                until,
                problem: problem.clone(),
            },
        );
        is_news
    }

    /// Objects that were written in this turn: one that is written turn after turn does not stay as written.
    pub fn wrote(&mut self, objects: &[String]) {
        self.repeats.retain(|object, _| objects.contains(object));
        for object in objects {
            let repeats = self.repeats.entry(object.clone()).or_default();
            *repeats += 1;
            let excess = repeats.saturating_sub(MAX_REPEATS);
            if excess == 0 {
                self.held.remove(object);
                continue;
            }
            let message = format!(
                "{object} does not stay as it is written; look for an admission webhook or a controller that changes it"
            );
            let problem = Problem::new(Reason::WriteFailed, message);
            let until = Instant::now() + backoff(excess);
            self.held.insert(
                object.clone(),
                Held {
                    attempts: excess,
                    until,
                    problem,
                },
            );
        }
    }

    /// In how long the next object may be tried again.
    pub fn next_retry(&self) -> Option<Duration> {
        let next = self.held.values().map(|held| held.until).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use external_ca_core::model::ObjectRef;
    use external_ca_core::plan::GenerateCa;

    fn step(name: &str) -> Step {
        Step::GenerateCa(GenerateCa {
            target: ObjectRef::new("ns", name),
            resource_version: None,
            marks: Default::default(),
        })
    }

    #[test]
    fn a_failure_holds_its_own_object_only_and_longer_each_time() {
        let mut pace = Pace::default();
        let problem = Problem::new(Reason::WriteFailed, "no");
        assert!(pace.failed(&step("a"), &problem, None));
        let (admitted, waiting) = pace.admit(vec![step("a"), step("b")], Instant::now());
        assert_eq!(
            (admitted, waiting),
            (vec![step("b")], vec![(step("a"), problem.clone())])
        );
        let later = Instant::now() + Duration::from_secs(2);
        assert_eq!(pace.admit(vec![step("a")], later).0, [step("a")]);
        let minute = Some(Duration::from_secs(60));
        assert!(!pace.failed(&step("a"), &problem, minute), "it is known");
        assert!(
            pace.next_retry().unwrap() > Duration::from_secs(50),
            "Retry-After is honoured"
        );
        assert_eq!(
            [1, 2, 3, 20].map(backoff),
            [1, 2, 4, 300].map(Duration::from_secs)
        );
    }

    #[test]
    fn what_does_not_stay_written_is_left_alone_for_a_while() {
        let mut pace = Pace::default();
        for _ in 0..MAX_REPEATS {
            pace.wrote(&[step("a").object()]);
            assert_eq!(pace.admit(vec![step("a")], Instant::now()).1, []);
        }
        pace.wrote(&[step("a").object()]);
        assert_eq!(pace.admit(vec![step("a")], Instant::now()).1.len(), 1);
        pace.wrote(&[]);
        let later = Instant::now() + Duration::from_secs(5);
        assert_eq!(pace.admit(vec![step("a")], later).0.len(), 1);
    }
}
