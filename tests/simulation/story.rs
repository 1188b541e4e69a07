//! What happens in one world: a list of events, drawn first and then told, so that it can be told without some of them.

use std::collections::BTreeSet;

use fastrand::Rng;
use jiff::SignedDuration;

use crate::authority::Authority;
use crate::certificates;
use crate::certificates::judge::Calls;
use crate::certificates::world::Setup;
use crate::cluster::{AGENTS, Cluster};
use crate::digest::Digest;
use crate::kubelet;
use crate::mutants::Mutant;
use crate::operator::{Answer, Operator, Weather, World};
use crate::others::{self, Kind, Kinds, Maker, Other};
use crate::people::{self, Deed, Edit, Habits};
use crate::pki::CAS;
use crate::rest::come_to_rest;
use crate::rules::Judge;
use crate::unwanted::{self, Unwanted};

/// How long things go wrong.
const TROUBLE: usize = 60;
/// Two operators may both believe that they lead.
const LEADERS: usize = 2;

#[derive(Clone, Debug)]
pub struct Story {
    pub seed: u64,
    /// Trust was made by hand, with the first CA, before the operator came.
    pub by_hand: bool,
    /// What signs may take its time, and has moods.
    pub has_moods: bool,
    /// Of what kinds the workloads are.
    pub kinds: Kinds,
    /// Whether there are cert-manager's objects, and how they are set up.
    pub certificates: Option<Setup>,
    pub events: Vec<Event>,
}

#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// So many seconds pass, and controllers and kubelets do some of what they would do.
    Pass(u8, u64),
    /// A pod's process starts again.
    Crash(usize, u64),
    /// New pods of a workload do not become ready, or do again.
    Stuck(usize),
    Person(Deed),
    /// A namespace cannot be reached, or can be again.
    Away(usize),
    /// An operator's clock is wrong by so many hours. Never by so much that certificates seem to have ended: who believes
    /// that replaces them at once, and nothing could be promised.
    Clock(usize, i8),
    /// A leader looks, or makes its next call.
    Act(usize, Weather),
    /// A leader's watch lists everything anew.
    Relist(usize),
    /// A second plane wants the Secret of an agent, or no longer does.
    Rival(usize),
    /// Others do something with workloads or pods.
    Other(Other),
    /// A leader's watch of pods does not bring every new one, or goes on.
    Stall(usize),
    /// The spec says what cannot be planned, or is put right.
    Spoil(Spoilt),
    /// Somebody is wanted no longer, or is again.
    Unwanted(Unwanted),
    /// The API server does not store the status, or does again.
    Refuse,
    /// Somebody does something with cert-manager's objects.
    Certificates(certificates::people::Deed),
    /// A leader turns to one of their domains.
    ActOnCertificates(usize, usize, Weather),
    /// A leader starts anew, or stops.
    Start(usize),
    Stop(usize),
}

/// What cannot be planned.
#[derive(Clone, Copy, Debug)]
pub enum Spoilt {
    Gateway,
    Agents,
}

impl Story {
    pub fn draw(seed: u64) -> Self {
        let mut story = Self::plain(seed);
        // A stream of its own: what was drawn before stays as it was.
        let rng = &mut Rng::with_seed(seed ^ 0x5eed_0012);
        for kind in 0..4 {
            if rng.u8(..4) > 0 {
                continue;
            }
            let replace = Event::Person(Deed::ReplaceCa(rng.usize(..CAS)));
            let leaves = AGENTS.len() + 1;
            match kind {
                // The new leaf must wait for who still holds the bundle that was lost.
                0 => {
                    let bundle = Deed::Delete(leaves + rng.usize(..AGENTS.len()));
                    let leaf = Deed::Delete(rng.usize(..leaves));
                    story.weave(rng, [Event::Person(bundle), replace, Event::Person(leaf)]);
                }
                1 => {
                    let what = match rng.bool() {
                        true => Spoilt::Gateway,
                        false => Spoilt::Agents,
                    };
                    story.weave(rng, [Event::Spoil(what), replace]);
                }
                2 => {
                    let which = Event::Rival(rng.usize(..AGENTS.len()));
                    story.weave(rng, [which, replace, which]);
                }
                _ => story.weave(rng, [Event::Refuse, replace, Event::Refuse]),
            }
        }
        story.draw_others();
        story
    }

    /// What others do with workloads and pods, while CAs are replaced.
    fn draw_others(&mut self) {
        let rng = &mut Rng::with_seed(self.seed ^ 0x5eed_0017);
        self.kinds = std::array::from_fn(|_| Kind::draw(rng));
        for kind in 0..7 {
            if rng.u8(..4) > 0 {
                continue;
            }
            let replace = Event::Person(Deed::ReplaceCa(rng.usize(..CAS)));
            let any = rng.usize(..24);
            let other = |other| Event::Other(other);
            match kind {
                0 => self.weave(rng, [Other::Orphan(any); 2].map(other)),
                1 => self.weave(rng, [Other::Pause(any); 2].map(other)),
                2 => {
                    let maker = match rng.u8(..3) {
                        0 => Maker::Nothing,
                        1 => Maker::Job,
                        _ => Maker::Optional,
                    };
                    self.weave(rng, [other(Other::Pod(any, maker)), replace]);
                }
                3 => {
                    let pods = [any, rng.usize(..24), rng.usize(..24)];
                    self.weave(rng, pods.map(Other::DeletePod).map(other));
                }
                4 => {
                    let lacks = other(Other::Lacks(any));
                    self.weave(rng, [lacks, replace, lacks]);
                }
                5 => {
                    let pod = other(Other::Pod(any, Maker::Nothing));
                    self.weave(rng, [Event::Stall(0), pod, replace]);
                }
                _ => self.weave(rng, [other(Other::Replace(any)), replace]),
            }
        }
    }

    /// The same with an authority that has moods, and with more to wait for it.
    pub fn with_moods(seed: u64) -> Self {
        let mut story = Self::draw(seed);
        story.has_moods = true;
        let rng = &mut Rng::with_seed(seed ^ 0x5eed_0013);
        let leaves = AGENTS.len() + 1;
        for _ in 0..rng.u8(1..4) {
            let lost = Event::Person(Deed::Delete(rng.usize(..leaves)));
            let replace = Event::Person(Deed::ReplaceCa(rng.usize(..CAS)));
            match rng.bool() {
                true => story.weave(rng, [lost, replace]),
                false => story.weave(rng, [lost]),
            }
        }
        story
    }

    /// The same with peers that nobody wants while a CA is replaced, made by hand before, so that each has what it needs.
    pub fn with_unwanted(seed: u64) -> Self {
        let mut story = Self::draw(seed);
        story.by_hand = true;
        let rng = &mut Rng::with_seed(seed ^ 0x5eed_0018);
        if (seed / 4).is_multiple_of(2) {
            let goes_on = |event: &Event| matches!(event, Event::Pass(..) | Event::Act(..));
            story.events.retain(goes_on);
        }
        let what = Event::Unwanted(Unwanted::of(seed, rng.usize(..24)));
        let replace = Event::Person(Deed::ReplaceCa(rng.usize(1..CAS)));
        story.weave(rng, [what, replace]);
        // Long enough for a rotation to come to its end meanwhile.
        for _ in 0..TROUBLE {
            let calm = |rng: &mut Rng| Weather {
                seed: rng.u64(..1 << 32),
                late: 0,
                unknown: 0,
                answer: Answer::Done,
            };
            story
                .events
                .push(Event::Pass(rng.u8(10..30), rng.u64(..1 << 32)));
            story
                .events
                .extend((0..4).map(|_| Event::Act(0, calm(rng))));
        }
        story
    }

    /// Puts events between those that there are, in their order.
    fn weave<const N: usize>(&mut self, rng: &mut Rng, events: [Event; N]) {
        let mut at = rng.usize(..self.events.len());
        for event in events {
            self.events.insert(at, event);
            at = (at + rng.usize(1..24)).min(self.events.len());
        }
    }

    /// Without what was added since the first seeds were kept.
    pub fn plain(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed);
        let by_hand = rng.u8(..3) == 0;
        let mut habits: Habits = std::array::from_fn(|_| rng.u8(..3) == 0);
        habits[0] = true;
        let mut often = |most: u8| if rng.bool() { rng.u8(..most) } else { 0 };
        let (late, unknown, bad) = (often(50), often(10), often(30));
        let second = (rng.u8(..4) == 0).then(|| {
            let from = rng.usize(..TROUBLE);
            (from, from + rng.usize(5..30))
        });
        let two_lead =
            |moment: usize| second.is_some_and(|(from, to)| (from..=to).contains(&moment));
        let (clocks, away) = (rng.u8(..3) == 0, rng.u8(..3) == 0);
        let mut events = Vec::new();
        for moment in 0..TROUBLE {
            events.push(Event::Pass(rng.u8(1..30), rng.u64(..1 << 32)));
            events.extend(match rng.u8(..40) {
                0..=3 => Some(Event::Crash(rng.usize(..24), rng.u64(..1 << 32))),
                4 | 5 => Some(Event::Stuck(rng.usize(..24))),
                6 if away => Some(Event::Away(rng.usize(..AGENTS.len()))),
                7 if clocks => Some(Event::Clock(rng.usize(..LEADERS), rng.i8(-72..72))),
                8 => Some(Event::Relist(rng.usize(..LEADERS))),
                9 => Some(Event::Start(0)),
                10..=20 => people::draw(rng, &habits).map(Event::Person),
                _ => None,
            });
            if let Some((from, to)) = second {
                if moment == from {
                    events.extend([Event::Start(0), Event::Start(1)]);
                }
                events.extend((moment == to).then_some(Event::Stop(1)));
            }
            let leads = |leader: &usize| *leader == 0 || two_lead(moment);
            for _ in 0..rng.u8(2..6) {
                let leader = rng.usize(..LEADERS);
                let answer = if rng.u8(..100) < bad {
                    bad_answer(rng)
                } else {
                    Answer::Done
                };
                let weather = Weather {
                    seed: rng.u64(..1 << 32),
                    late,
                    unknown,
                    answer,
                };
                let leader = if leads(&leader) { leader } else { 0 };
                events.push(Event::Act(leader, weather));
            }
        }
        Self {
            seed,
            by_hand,
            has_moods: false,
            kinds: Kinds::default(),
            certificates: None,
            events,
        }
    }

    /// Tells it; the error is what broke. A world that is traced can be asked how it came to that.
    pub fn tell(&self, mutant: Option<Mutant>, traced: bool) -> Result<(), (String, Vec<String>)> {
        let mut world = self.world(mutant, traced);
        let told = self.happens(&mut world);
        told.map_err(|failure| (failure, world.cluster.trace().to_vec()))
    }

    /// What is planned in it, in one number.
    pub fn digest(&self) -> u64 {
        let mut world = self.world(None, false);
        world.digest = Some(Digest::default());
        let _ = self.happens(&mut world);
        world.digest.map_or(0, |digest| digest.number())
    }

    /// How many certificates came later than they were asked for, and how often it was asked in vain.
    pub fn waits(&self) -> (usize, usize) {
        let mut world = self.world(None, false);
        let _ = self.happens(&mut world);
        let authority = world.authority;
        authority.map_or((0, 0), |one| (one.late, one.in_vain))
    }

    fn world(&self, mutant: Option<Mutant>, traced: bool) -> World {
        World {
            cluster: Cluster::new(&mut Rng::with_seed(self.seed), traced),
            authority: self.has_moods.then(|| Authority::new(self.seed)),
            judge: Judge::default(),
            calls: Calls::default(),
            mutant,
            digest: None,
        }
    }

    fn happens(&self, world: &mut World) -> Result<(), String> {
        world.cluster.become_of(&self.kinds);
        if let Some(setup) = self.certificates {
            certificates::world::install(&mut world.cluster, setup);
        }
        if self.by_hand {
            world.cluster.by_hand(0);
        }
        let mut leaders = [Some(Operator::start(&world.cluster)), None];
        let mut by_people = BTreeSet::new();
        for event in &self.events {
            let cluster = &mut world.cluster;
            match *event {
                Event::Pass(seconds, seed) => {
                    cluster.now += SignedDuration::from_secs(seconds.into());
                    cluster.run_pods(&mut Rng::with_seed(seed), 0.6);
                }
                Event::Crash(index, seed) => {
                    let workload = cluster.workload(index);
                    cluster.say(|| format!("{workload}: a pod's process starts again"));
                    kubelet::crash(cluster, &workload, seed);
                }
                Event::Stuck(index) => {
                    let workload = cluster.workload(index);
                    let deployment = cluster.deployments.get_mut(&workload).unwrap();
                    deployment.stuck = !deployment.stuck;
                    let stuck = deployment.stuck;
                    cluster.say(|| format!("{workload}: new pods become ready: {}", !stuck));
                }
                Event::Person(deed) => {
                    if let Deed::EditBundle(_, Edit::Restore(index))
                    | Deed::EditClientCa(_, Edit::Restore(index)) = deed
                    {
                        by_people.insert(index);
                    }
                    if let Deed::Plane(_) = deed {
                        // One that comes back after a rotation brings an anchor that nobody remembers.
                        by_people.extend(0..CAS);
                    }
                    people::carry_out(cluster, deed);
                }
                Event::Away(index) => {
                    let (_, namespace) = AGENTS[index];
                    if !cluster.away.remove(namespace) {
                        cluster.away.insert(namespace.into());
                    }
                    let away = cluster.away.contains(namespace);
                    cluster.say(|| format!("{namespace} is away: {away}"));
                }
                Event::Clock(leader, hours) => {
                    if let Some(operator) = &mut leaders[leader] {
                        operator.clock = SignedDuration::from_hours(hours.into());
                        cluster.say(|| format!("operator {leader}: clock {hours:+} h"));
                    }
                }
                Event::Act(leader, weather) => {
                    if let Some(operator) = &mut leaders[leader] {
                        operator.act(world, &weather)?;
                    }
                }
                Event::Relist(leader) => {
                    if let Some(operator) = &mut leaders[leader] {
                        operator.list_again(cluster);
                    }
                }
                Event::Rival(index) => people::rival(cluster, index),
                Event::Other(other) => others::carry_out(cluster, other),
                Event::Stall(leader) => {
                    if let Some(operator) = &mut leaders[leader] {
                        operator.stalls = !operator.stalls;
                        let stalls = operator.stalls;
                        cluster.say(|| {
                            format!("operator {leader}: its watch of pods stalls: {stalls}")
                        });
                    }
                }
                Event::Certificates(deed) => certificates::people::carry_out(cluster, deed),
                Event::ActOnCertificates(leader, index, weather) => {
                    if let Some(operator) = &mut leaders[leader] {
                        operator.act_on_certificates(world, index, &weather)?;
                        world.calls.serves(&world.cluster)?;
                    }
                }
                Event::Unwanted(what) => unwanted::carry_out(cluster, what),
                Event::Spoil(what) => people::spoil(cluster, what),
                Event::Refuse => {
                    cluster.refuses_status = !cluster.refuses_status;
                    let refuses = cluster.refuses_status;
                    cluster.say(|| format!("the API server stores a status: {}", !refuses));
                    // What is handed out and not remembered is later taken for somebody else's.
                    by_people.extend(0..CAS);
                }
                Event::Start(leader) => {
                    cluster.say(|| format!("operator {leader} starts"));
                    leaders[leader] = Some(Operator::start(cluster));
                    cluster.two_led |= leaders.iter().all(Option::is_some);
                }
                Event::Stop(leader) => leaders[leader] = None,
            }
        }
        let [first, _] = leaders;
        let mut operator = first.unwrap_or_else(|| Operator::start(&world.cluster));
        come_to_rest(world, &mut operator, &by_people)
    }
}

fn bad_answer(rng: &mut Rng) -> Answer {
    use Answer::*;
    let all = [
        Refused, Broken, Lost, Twice, Withheld, DiesBefore, DiesAfter, Rejected, WrongChain,
    ];
    rng.choice(all).unwrap_or(Done)
}
