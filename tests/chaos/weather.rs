//! How requests and watches fare: what befalls each is drawn from the seed, the request, and how often it was made.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

use external_ca_tests::proxy::{Fault, RequestInfo, Verb, WatchFault};
use fastrand::Rng;

use crate::story::choose;

/// What may befall a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// 409, 429, 500 or 503.
    Refused,
    /// 410, for lists and watches.
    Gone,
    /// It, or its answer, never arrives; or half of the answer does.
    Lost,
    /// It arrives late, perhaps when whoever sent it is dead.
    Slow,
    /// A watch tells late, out of order, or again.
    Disturbed,
    /// A watch stays open and tells nothing.
    Dead,
    /// The same for whatever is watched by its name, and for planes.
    Dark,
}

/// The faults that there are, and how many of a hundred requests each befalls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weather(Vec<(Kind, u8)>);

impl Weather {
    /// One to three kinds, or none: it clears up.
    pub fn draw(rng: &mut Rng) -> Self {
        const KINDS: [Kind; 6] = [
            Kind::Refused,
            Kind::Gone,
            Kind::Lost,
            Kind::Slow,
            Kind::Disturbed,
            Kind::Dead,
        ];
        let kinds = (0..rng.usize(..4)).map(|_| (*choose(rng, &KINDS), rng.u8(10..50)));
        Self(kinds.collect())
    }

    /// Nothing but watches that tell late, out of order, or again.
    pub fn of_watches(rng: &mut Rng) -> Self {
        Self(vec![(Kind::Disturbed, rng.u8(10..100))])
    }

    /// What matters most is not told of any more.
    pub fn dark() -> Self {
        Self(vec![(Kind::Dark, 100)])
    }

    /// For [`external_ca_tests::Proxy::set_fault`].
    pub fn faults(&self, seed: u64) -> impl Fn(&RequestInfo, u64) -> Fault + Send + Sync + use<> {
        let (all, made) = (self.0.clone(), Mutex::new(HashMap::<u64, u64>::new()));
        move |request, _| {
            // How soon another takes over must not hang on luck.
            if request.is_lease() {
                return Fault::Pass;
            }
            let question = digest((&request.method, &request.path, &request.name, seed));
            let mut made = made.lock().unwrap();
            let times = made.entry(question).or_default();
            *times += 1;
            let rng = &mut Rng::with_seed(digest((question, *times)));
            let mut faults = all.iter().filter(|(_, share)| rng.u8(..100) < *share);
            let kind = faults.next().map(|(kind, _)| *kind);
            kind.map_or(Fault::Pass, |kind| fault(kind, request, rng))
        }
    }
}

fn fault(kind: Kind, request: &RequestInfo, rng: &mut Rng) -> Fault {
    let some_time = |rng: &mut Rng| Duration::from_millis(rng.u64(20..1_500));
    match (kind, request.verb) {
        (Kind::Refused, verb) => match rng.u8(..4) {
            0 if verb.is_write() => Fault::CONFLICT,
            0 | 1 => Fault::TOO_MANY,
            2 => Fault::INTERNAL,
            _ => Fault::UNAVAILABLE,
        },
        (Kind::Gone, Verb::List | Verb::Watch) => Fault::GONE,
        (Kind::Lost, _) => match rng.u8(..3) {
            0 => Fault::DropBefore,
            1 => Fault::DropAfter,
            _ => Fault::Cut(rng.usize(..2_000)),
        },
        (Kind::Slow, _) => Fault::Delay(some_time(rng)),
        (Kind::Disturbed, Verb::Watch) => Fault::Watch(match rng.u8(..5) {
            0 => WatchFault::Late(some_time(rng)),
            1 => WatchFault::Swapped(some_time(rng)),
            2 | 3 => WatchFault::DeletedAgain(some_time(rng)),
            _ => WatchFault::Repeated(some_time(rng)),
        }),
        (Kind::Dead, Verb::Watch) => Fault::Watch(WatchFault::Silent),
        (Kind::Dark, Verb::Watch)
            if !request.name.is_empty() || request.resource.ends_with("planes") =>
        {
            Fault::Watch(WatchFault::Silent)
        }
        _ => Fault::Pass,
    }
}

/// The same in each process.
fn digest(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
