//! What happens in a story, and when: all of it is drawn from the seed.

use std::fmt;
use std::time::Duration;

use external_ca_tests::openchoreo::PlaneType;
use fastrand::Rng;

use crate::weather::Weather;

/// How many CAs there are to choose from.
pub const CAS: usize = 4;
/// The planes, one of each.
pub const PLANES: [PlaneType; 2] = [PlaneType::Data, PlaneType::Observability];

/// The longest pause between two acts, in milliseconds.
const PAUSE: u64 = 1_500;

/// A story.
#[derive(Clone, Debug)]
pub struct Story {
    /// What it is drawn from.
    pub seed: u64,
    /// Whether a second operator stands by, and the Lease says who works.
    pub stands_by: bool,
    /// Whether planes refer to the bundle's Secret.
    pub by_reference: bool,
    /// Whether it begins before anything was issued.
    pub from_nothing: bool,
    /// For how long processes go on when their pods are told to end.
    pub slow_end: Duration,
    /// What happens, each so long after the one before.
    pub acts: Vec<(Duration, Act)>,
    /// The CA that stands at the end.
    pub last_ca: usize,
    /// The CA that follows when all is at rest, and no watch of what matters most tells of anything any more.
    pub in_the_dark: Option<usize>,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Another CA is written into the CA Secret.
    ReplaceCa(usize),
    /// From now on requests and watches fare so.
    Weather(Weather),
    /// Every connection to the API server breaks.
    Cut,
    /// SIGKILL to an operator; it is started again.
    Kill(usize),
    /// SIGSTOP to the one that works.
    Stop,
    /// SIGCONT to it, when the other one works.
    Continue,
    /// A plane is deleted.
    DeletePlane(PlaneType),
    /// It is made, without any CA, where it is not there.
    MakePlane(PlaneType),
    /// Both, one right after the other.
    RemakePlane(PlaneType),
    /// A leaf's Secret is deleted.
    DeleteLeaf(Leaf),
    /// Its certificate is overwritten.
    DamageLeaf(Leaf),
    /// A bundle is deleted.
    DeleteBundle(Bundle),
    /// A bundle's text is replaced by a comment.
    WipeBundle(Bundle),
    /// Somebody adds an anchor of his own.
    Plant(Place),
    /// The bundle is deleted and made anew (`kubectl replace --force`), with an anchor that is foreign.
    RemakeBundle(Bundle),
    /// `kubectl rollout restart`.
    Restart(Workload),
    /// A container of it starts again in its place, and reads what is stored then.
    RestartContainer(Workload),
    /// A pod of it is deleted.
    DeletePod(Workload),
    /// New pods there do not become ready any more.
    Hold(Workload),
    /// They do again.
    Release(Workload),
}

/// A leaf: the gateway's, or that of a plane's agent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf {
    Gateway,
    Agent(PlaneType),
}

/// A bundle: the control plane's Secret or ConfigMap, or an agent's ConfigMap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bundle {
    Secret,
    Own,
    Agent(PlaneType),
}

/// Where anchors stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place {
    Bundle(Bundle),
    ClientCa(PlaneType),
}

/// A Deployment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Workload {
    Gateway,
    Manager,
    Agent(PlaneType),
}

const LEAVES: [Leaf; 3] = [
    Leaf::Gateway,
    Leaf::Agent(PLANES[0]),
    Leaf::Agent(PLANES[1]),
];
const BUNDLES: [Bundle; 4] = [
    Bundle::Secret,
    Bundle::Own,
    Bundle::Agent(PLANES[0]),
    Bundle::Agent(PLANES[1]),
];
const WORKLOADS: [Workload; 4] = [
    Workload::Gateway,
    Workload::Manager,
    Workload::Agent(PLANES[0]),
    Workload::Agent(PLANES[1]),
];

/// What may still happen.
struct Left {
    /// Where somebody may edit. Whoever edits a field again and again is left alone: each place once.
    edits: Vec<Place>,
    stops: Stops,
}

/// SIGSTOP lasts until the Lease has passed on: once a story.
#[derive(Clone, Copy, PartialEq)]
enum Stops {
    One,
    Stopped,
    None,
}

impl Left {
    fn of(story: &Story, rng: &mut Rng) -> Self {
        let mut edits: Vec<Place> = BUNDLES.map(Place::Bundle).into();
        if !story.by_reference {
            edits.extend(PLANES.map(Place::ClientCa));
        }
        rng.shuffle(&mut edits);
        Self {
            edits,
            stops: Stops::One,
        }
    }

    fn edit(&mut self, rng: &mut Rng) -> Act {
        match (self.edits.pop(), rng.u8(..4)) {
            (Some(Place::Bundle(bundle)), 0) => Act::WipeBundle(bundle),
            (Some(Place::Bundle(bundle)), 1) => Act::RemakeBundle(bundle),
            (Some(place), _) => Act::Plant(place),
            (None, _) => Act::Cut,
        }
    }
}

fn of_objects(rng: &mut Rng) -> Act {
    match rng.u8(..3) {
        0 => Act::DeleteLeaf(*choose(rng, &LEAVES)),
        1 => Act::DamageLeaf(*choose(rng, &LEAVES)),
        _ => Act::DeleteBundle(*choose(rng, &BUNDLES)),
    }
}

fn of_planes(rng: &mut Rng) -> Act {
    let plane = *choose(rng, &PLANES);
    match rng.u8(..3) {
        0 => Act::DeletePlane(plane),
        1 => Act::RemakePlane(plane),
        _ => Act::MakePlane(plane),
    }
}

fn of_workloads(rng: &mut Rng) -> Act {
    let workload = *choose(rng, &WORKLOADS);
    match rng.u8(..5) {
        0 => Act::Restart(workload),
        1 => Act::RestartContainer(workload),
        2 => Act::DeletePod(workload),
        3 => Act::Hold(workload),
        _ => Act::Release(workload),
    }
}

impl Story {
    pub fn draw(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let mut story = Self {
            seed,
            stands_by: rng.u8(..4) == 0,
            by_reference: rng.u8(..4) == 0,
            from_nothing: rng.u8(..4) == 0,
            slow_end: Duration::from_millis(rng.u64(..1_500)),
            acts: Vec::new(),
            last_ca: 0,
            in_the_dark: None,
        };
        let mut left = Left::of(&story, rng);
        for _ in 0..rng.usize(12..24) {
            let act = story.act(rng, &mut left);
            story.then(rng, act);
        }
        story.finish(rng, left);
        story
    }

    fn then(&mut self, rng: &mut Rng, act: Act) {
        if let Act::ReplaceCa(ca) = act {
            self.last_ca = ca;
        }
        self.acts
            .push((Duration::from_millis(rng.u64(..PAUSE)), act));
    }

    /// Another CA than the one that stands.
    fn another_ca(&self, rng: &mut Rng) -> Act {
        Act::ReplaceCa((self.last_ca + rng.usize(1..CAS)) % CAS)
    }

    fn act(&self, rng: &mut Rng, left: &mut Left) -> Act {
        match rng.u8(..8) {
            0 => self.another_ca(rng),
            1 | 2 => Act::Weather(Weather::draw(rng)),
            3 => self.of_operators(rng, left),
            4 => left.edit(rng),
            5 => of_objects(rng),
            6 => of_planes(rng),
            _ => of_workloads(rng),
        }
    }

    fn of_operators(&self, rng: &mut Rng, left: &mut Left) -> Act {
        match left.stops {
            // One that is stopped is not killed: it goes on.
            Stops::Stopped => {
                left.stops = Stops::None;
                Act::Continue
            }
            Stops::One if self.stands_by => {
                left.stops = Stops::Stopped;
                Act::Stop
            }
            Stops::One | Stops::None => match rng.u8(..3) {
                0 => Act::Cut,
                _ => Act::Kill(usize::from(self.stands_by && rng.bool())),
            },
        }
    }

    /// All that is held is let go, and the last word on the CA is spoken; what is wrong with watches stays.
    fn finish(&mut self, rng: &mut Rng, mut left: Left) {
        let continues = (left.stops == Stops::Stopped).then_some(Act::Continue);
        let all = continues.into_iter().chain(WORKLOADS.map(Act::Release));
        self.acts.extend(all.map(|act| (Duration::ZERO, act)));
        let last = Weather::of_watches(rng);
        self.then(rng, Act::Weather(last));
        for plane in PLANES {
            let act = if rng.bool() {
                Act::RemakePlane
            } else {
                Act::MakePlane
            };
            self.then(rng, act(plane));
        }
        if let Some(Place::Bundle(bundle)) = left.edits.pop() {
            self.then(rng, Act::RemakeBundle(bundle));
        }
        let ca = self.another_ca(rng);
        if rng.bool() {
            self.then(rng, ca);
        }
        if rng.u8(..8) == 0 {
            self.in_the_dark = Some((self.last_ca + 1) % CAS);
        }
    }
}

pub fn choose<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[rng.usize(..all.len())]
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let traits = [
            (self.stands_by, "a second operator stands by"),
            (self.by_reference, "planes refer to a Secret"),
            (self.from_nothing, "from nothing"),
            (
                self.in_the_dark.is_some(),
                "a CA is replaced in the dark at the end",
            ),
        ];
        let traits: Vec<&str> = traits.iter().filter(|one| one.0).map(|one| one.1).collect();
        writeln!(
            f,
            "seed {}: {} ({:?} to end)",
            self.seed,
            traits.join(", "),
            self.slow_end
        )?;
        for (after, act) in &self.acts {
            writeln!(f, "  +{:>4} ms {act:?}", after.as_millis())?;
        }
        Ok(())
    }
}
