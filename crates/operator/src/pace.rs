//! Backoff by object: what failed is tried again later and later, and holds nothing else up.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use external_ca_core::plan::{Step, Wiring};
use external_ca_core::x509::Certificate;
use external_ca_core::{Problem, Reason};

use crate::backoff::backoff;

/// So often may an object be written alike with less than [`QUIET`] in between. Past that, something undoes what is written.
const MAX_REPEATS: u32 = 5;
/// After so long without a write an object counts as settled: longer than the longest pause.
const QUIET: Duration = Duration::from_secs(15 * 60);

/// Which objects must wait.
#[derive(Clone, Default)]
pub struct Pace {
    held: HashMap<String, Held>,
    repeats: HashMap<String, Repeats>,
    /// What the steps of this turn write, by object.
    contents: HashMap<String, Content>,
}

/// What is written: alike is what is equal.
#[derive(Clone, PartialEq, Eq)]
enum Content {
    /// A certificate, whatever for: each costs a key and a signature.
    Certificate,
    /// Anything else, by its hash: of ten thousand planes the texts would be as many bundles.
    Text(u64),
}

/// How often an object was written alike, and when last.
#[derive(Clone)]
struct Repeats {
    content: Content,
    count: u32,
    last: Instant,
}

/// What a step writes, as far as writing it twice means that it was undone, or is wanted too often. A renewal that time
/// brings never does.
fn content(step: &Step) -> Option<Content> {
    let names = |anchors: &[Certificate]| {
        let names = anchors.iter().map(|anchor| anchor.fingerprint().short());
        names.collect::<String>()
    };
    let text = match step {
        Step::IssueLeaf(step) => {
            return (step.why.reason != Reason::Renewing).then_some(Content::Certificate);
        }
        Step::WriteBundle(step) => names(&step.anchors),
        Step::WirePlane(step) => match &step.client_ca {
            Wiring::Value(bundle) => bundle.clone(),
            Wiring::Reference { secret, .. } => secret.to_string(),
        },
        Step::InjectBundle(step) => names(&step.anchors),
        Step::Restart(step) => step.material_hash.clone(),
        Step::GenerateCa(_) | Step::DropRequest(_) | Step::Consume(_) => String::new(),
    };
    let mut hash = DefaultHasher::new();
    text.hash(&mut hash);
    Some(Content::Text(hash.finish()))
}

impl Content {
    /// Why what is written like this again and again must wait.
    fn problem(&self, object: &str) -> Problem {
        match self {
            Self::Certificate => Problem::new(
                Reason::IssuedTooOften,
                format!(
                    "{object} was issued again and again within a quarter of an hour, and waits a while now; look for what changes the                      issuance's names or keys, asks for renewals, or changes the Secret"
                ),
            ),
            Self::Text(_) => Problem::new(
                Reason::WriteFailed,
                format!(
                    "{object} does not stay as it is written; look for an admission webhook or a controller that changes it"
                ),
            ),
        }
    }
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
        // What is no longer wanted needs no memory; what is undone again and again may only seem so for a turn.
        self.held.retain(|object, held| {
            held.until > now || steps.iter().any(|step| step.object() == *object)
        });
        let contents = steps
            .iter()
            .filter_map(|step| Some((step.object(), content(step)?)));
        self.contents = contents.collect();
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

    /// The objects whose last write failed: others come first.
    pub fn refused(&self) -> BTreeSet<String> {
        self.held.keys().cloned().collect()
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

    /// Objects that were written in this turn: one that is written alike again and again does not stay as written.
    pub fn wrote(&mut self, objects: &[String], now: Instant) {
        self.repeats.retain(|_, repeats| now < repeats.last + QUIET);
        for object in objects {
            let repeated = self.repeated(object, now);
            let excess = repeated.filter(|repeats| repeats.count > MAX_REPEATS);
            let Some(repeats) = excess else {
                self.held.remove(object);
                continue;
            };
            let attempts = repeats.count - MAX_REPEATS;
            self.held.insert(
                object.clone(),
                Held {
                    attempts,
                    until: now + backoff(attempts),
                    problem: repeats.content.problem(object),
                },
            );
        }
    }

    /// How often an object has been written alike.
    fn repeated(&mut self, object: &str, now: Instant) -> Option<Repeats> {
        let content = self.contents.remove(object)?;
        let before = self.repeats.remove(object);
        let alike = before.filter(|before| before.content == content);
        let count = alike.map_or(0, |before| before.count).saturating_add(1);
        let repeats = Repeats {
            content,
            count,
            last: now,
        };
        self.repeats.insert(object.to_owned(), repeats.clone());
        Some(repeats)
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
    use external_ca_core::model::{ObjectRef, WorkloadKind, WorkloadRef};
    use external_ca_core::plan::{DropRequest, IssueLeaf, Restart};
    use external_ca_core::x509::{KeyAlgorithm, LeafProfile, Style, Usages};
    use jiff::SignedDuration;

    fn step(name: &str) -> Step {
        Step::DropRequest(DropRequest {
            target: ObjectRef::new("ns", name),
        })
    }

    #[test]
    fn a_failure_holds_its_own_object_only_and_longer_each_time() {
        let mut pace = Pace::default();
        let problem = Problem::new(Reason::WriteFailed, "no");
        assert!(pace.failed(&step("a"), &problem, None));
        assert_eq!(pace.refused(), [step("a").object()].into());
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
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut writes = 0;
        // A restart whose annotation a webhook strips: wanted in every second turn, for an hour.
        for turn in 0..1_800 {
            now += Duration::from_secs(2);
            let wanted = if turn % 2 == 0 {
                vec![step("a")]
            } else {
                Vec::new()
            };
            let (admitted, waiting) = pace.admit(wanted, now);
            let told = waiting
                .iter()
                .all(|(_, problem)| problem.message.contains("webhook"));
            assert!(told, "{waiting:?}");
            writes += admitted.len();
            let objects: Vec<String> = admitted.iter().map(Step::object).collect();
            pace.wrote(&objects, now);
        }
        assert!((MAX_REPEATS as usize + 1..30).contains(&writes), "{writes}");
        now += QUIET + Duration::from_secs(300);
        for _ in 0..MAX_REPEATS {
            assert_eq!(pace.admit(vec![step("a")], now).0.len(), 1, "it is settled");
            pace.wrote(&[step("a").object()], now);
        }
    }

    /// A leaf that is due for this reason.
    fn leaf(reason: Reason) -> Step {
        Step::IssueLeaf(IssueLeaf {
            target: ObjectRef::new("ns", "leaf"),
            profile: LeafProfile {
                common_name: "a".into(),
                organizations: Vec::new(),
                sans: Vec::new(),
                usages: Usages::CLIENT,
                key: KeyAlgorithm::EcdsaP256,
                duration: SignedDuration::from_hours(24),
                style: Style::Guide,
            },
            reuse_key: false,
            why: Problem::new(reason, "it is due"),
            marks: Default::default(),
            trusted_by: Vec::new(),
            form: Default::default(),
            bundle: None,
        })
    }

    /// How many certificates are issued in an hour in which each turn finds another reason.
    fn issued_in_an_hour(reasons: &[Reason], apart: Duration) -> usize {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let (mut now, mut issued) = (start, 0);
        for reason in reasons.iter().cycle() {
            now += apart;
            if now > start + Duration::from_secs(3600) {
                break;
            }
            let (admitted, waiting) = pace.admit(vec![leaf(*reason)], now);
            let told = waiting.iter().map(|(_, problem)| problem.reason);
            assert!(
                told.clone().all(|word| word == Reason::IssuedTooOften),
                "{waiting:?}"
            );
            issued += admitted.len();
            let objects: Vec<String> = admitted.iter().map(Step::object).collect();
            pace.wrote(&objects, now);
        }
        issued
    }

    #[test]
    fn a_leaf_that_is_wanted_otherwise_again_and_again_is_issued_less_and_less_often() {
        let fast = Duration::from_millis(400);
        for reasons in [
            &[Reason::NamesChanged][..],
            &[Reason::NamesChanged, Reason::KeyPolicyChanged],
            &[Reason::RenewRequested],
            &[
                Reason::RenewRequested,
                Reason::NamesChanged,
                Reason::SecretMissing,
            ],
        ] {
            let issued = issued_in_an_hour(reasons, fast);
            assert!(
                (MAX_REPEATS as usize + 1..30).contains(&issued),
                "{reasons:?}: {issued}"
            );
        }
        // What time brings is not held up, and what a person does is not noticed.
        let minute = Duration::from_secs(60);
        assert_eq!(issued_in_an_hour(&[Reason::Renewing], minute), 60);
        let slow = Duration::from_secs(16 * 60);
        assert_eq!(issued_in_an_hour(&[Reason::NamesChanged], slow), 3);
    }

    #[test]
    fn what_is_written_anew_each_time_is_not_undone() {
        let mut pace = Pace::default();
        let now = Instant::now();
        for turn in 0..20 {
            let restart = Step::Restart(Restart {
                workload: WorkloadRef {
                    kind: WorkloadKind::Deployment,
                    object: ObjectRef::new("ns", "a"),
                },
                resource_version: turn.to_string(),
                material_hash: format!("after renewal {turn}"),
            });
            let object = restart.object();
            assert_eq!(pace.admit(vec![restart], now).0.len(), 1, "{turn}");
            pace.wrote(&[object], now);
        }
    }
}
