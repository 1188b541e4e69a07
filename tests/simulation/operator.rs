//! The operator: the planner and the order of steps that it really runs, one write at a time.

use std::collections::{BTreeSet, VecDeque};

use external_ca_api::{ExternalCAIssuanceStatus, MANAGER};
use external_ca_core::model::facts::decode_loaded;
use external_ca_core::model::{MaterialKind, MaterialRef, Observed, PlaneRef, Read, Snapshot};
use external_ca_core::plan::{
    GenerateCa, IssueLeaf, Restart, Round, Step, WirePlane, Wiring, WriteBundle,
};
use external_ca_core::report::{Decision, decide, without_memory};
use external_ca_core::trust::Place;
use external_ca_core::x509::{Certificate, PrivateKey, parse_bundle};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use crate::authority::Authority;
use crate::certificates;
use crate::certificates::judge::Calls;
use crate::certificates::operator::FrontEnd;
use crate::cluster::{Cluster, Content, Object, content, trust_secret};
use crate::digest::Digest;
use crate::issuer::sign;
use crate::mutants::Mutant;
use crate::pki::{ca, key, name, names, signer};
use crate::rules::{self, Judge};
use crate::tickets::{Desk, Next, Phase, afterwards};
use crate::view::View;

/// What one act of an operator meets.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    pub seed: u64,
    /// Of a hundred objects, so many have a version that has not reached the operator.
    pub late: u8,
    /// Of a hundred reads, so many fail.
    pub unknown: u8,
    pub answer: Answer,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// 429: nothing happened.
    Refused,
    /// 5xx: nothing happened, but nobody knows.
    Broken,
    /// It happened, and the answer is lost.
    Lost,
    /// The request arrives twice.
    Twice,
    /// It waits for its turn: backoff, or its second.
    Withheld,
    DiesBefore,
    DiesAfter,
    /// The issuer does not sign.
    Rejected,
    /// The issuer returns what was not asked for.
    WrongChain,
}

pub struct World {
    pub cluster: Cluster,
    /// What signs, where that may take its time; else the CA's key does.
    pub authority: Option<Authority>,
    pub judge: Judge,
    pub mutant: Option<Mutant>,
    /// Of those that cert-manager's objects serve.
    pub calls: Calls,
    /// Of all that is planned, where it is asked for.
    pub digest: Option<Digest>,
}

pub struct Operator {
    pub view: View,
    /// Its turns at cert-manager's objects.
    pub front_end: FrontEnd,
    /// What the last turn said, whether it is stored or not.
    said: Option<ExternalCAIssuanceStatus>,
    /// What it last stored or read back, and the issuance's version then.
    status: Option<ExternalCAIssuanceStatus>,
    version: u64,
    /// The status cannot be stored: nothing is done that takes trust away.
    unstorable: bool,
    /// Planes whose write may have happened, or not.
    in_doubt: BTreeSet<PlaneRef>,
    /// Requests that wait at the authority.
    desk: Desk,
    pub clock: SignedDuration,
    /// Its watch of pods does not bring every new one.
    pub stalls: bool,
    turn: Option<Turn<Observed>>,
}

/// A plan that is being carried out.
pub struct Turn<S> {
    pub observed: S,
    pub planned: Decision,
    pub steps: VecDeque<Step>,
    pub now: Timestamp,
    /// The status must be stored first.
    pub say_first: bool,
    /// The round in which something was left in doubt: what follows rests on who trusts what.
    pub doubt: Option<Round>,
    /// The round before which pods were last listed live.
    pub listed: Option<Round>,
    /// How far the request for the leaf has come that is issued now.
    asking: Option<Phase>,
    issued: Option<Issued>,
}

/// A certificate that is signed and not yet stored, and the version of the Secret that it replaces.
pub struct Issued {
    chain: Vec<Certificate>,
    key: PrivateKey,
    replaces: Option<String>,
    sent: Timestamp,
}

/// No call is on its way for longer.
pub const CALL: SignedDuration = SignedDuration::from_secs(20);

impl Operator {
    pub fn start(cluster: &Cluster) -> Self {
        let view = View::new(cluster);
        Self {
            view,
            front_end: FrontEnd::new(&cluster.cert_manager),
            said: None,
            status: None,
            version: 0,
            unstorable: false,
            in_doubt: BTreeSet::new(),
            desk: Desk::default(),
            clock: SignedDuration::ZERO,
            stalls: false,
            turn: None,
        }
    }

    /// Looks and plans, or makes the next call of what was planned.
    pub fn act(&mut self, world: &mut World, weather: &Weather) -> Result<(), String> {
        let mut rng = Rng::with_seed(weather.seed);
        let Some(mut turn) = self.turn.take() else {
            return self.begin(world, weather, &mut rng);
        };
        if weather.answer == Answer::DiesBefore {
            world.cluster.say(|| "operator: dies");
            return self.die(&world.cluster);
        }
        let lives = if turn.is_to_list() && !turn.say_first {
            self.list_pods(world, &mut turn, weather)
        } else if turn.say_first {
            turn.say_first = false;
            if self.say(world, &turn, weather.answer) {
                self.said.clone_from(&self.status);
            } else if self.unstorable {
                turn.steps = self.admitted(world.mutant, &turn);
            } else {
                return Ok(());
            }
            true
        } else if let Some(step) = turn.next() {
            self.call(world, &mut turn, &step, weather, &mut rng)?;
            true
        } else {
            self.said = Some(turn.planned.status.clone());
            self.say(world, &turn, weather.answer);
            false
        };
        if weather.answer == Answer::DiesAfter {
            world.cluster.say(|| "operator: dies");
            return self.die(&world.cluster);
        }
        self.turn = lives.then_some(turn);
        Ok(())
    }

    /// A whole turn, in which nothing goes wrong.
    pub fn turn(&mut self, world: &mut World) -> Result<Decision, String> {
        let calm = Weather::calm();
        self.turn = None;
        self.act(world, &calm)?;
        let Some(turn) = &self.turn else {
            return Err("no plan, though nothing is in doubt".into());
        };
        let (planned, now) = (turn.planned.clone(), turn.now);
        let whole = !self.unstorable;
        while self.turn.is_some() {
            self.act(world, &calm)?;
        }
        if !planned.steps.is_empty() && whole {
            let mut observed = self.view.observe(self.said.as_ref(), now, &mut || false);
            self.desk.see(&mut observed);
            rules::repeats_nothing(&planned.steps, &decide(&observed, now).steps)?;
        }
        Ok(planned)
    }

    /// Before a round that takes trust away, or rests on what verifiers have loaded, pods are listed live: watches are late. A
    /// round whose plan has not seen one of them is not begun; false ends the turn.
    fn list_pods(&mut self, world: &World, turn: &mut Turn<Observed>, weather: &Weather) -> bool {
        use Answer::{Broken, Lost, Refused, Withheld};
        turn.listed = turn.steps.front().map(Step::round);
        if world.mutant == Some(Mutant::TrustsWatches) {
            return true;
        }
        // A stream of its own, as for the watch.
        let fails = Rng::with_seed(weather.seed ^ 0x5eed_0015).u8(..100) < weather.unknown;
        let answers = !matches!(weather.answer, Broken | Lost | Refused | Withheld);
        // What these do not count, a live list shows them no more.
        let blind = [
            Mutant::EndingIsGone,
            Mutant::OnlyWorkloads,
            Mutant::UnknownIsFine,
            Mutant::OnlyPlanned,
        ];
        let careless = blind.map(Some).contains(&world.mutant);
        answers
            && !fails
            && self
                .view
                .list_pods(&world.cluster, &turn.observed, careless)
    }

    pub fn die(&mut self, cluster: &Cluster) -> Result<(), String> {
        *self = Self::start(cluster);
        Ok(())
    }

    /// A watch is too old (410) and lists everything anew.
    pub fn list_again(&mut self, cluster: &Cluster) {
        self.view = View::new(cluster);
    }

    fn begin(&mut self, world: &mut World, weather: &Weather, rng: &mut Rng) -> Result<(), String> {
        let cluster = &world.cluster;
        self.view
            .watch(cluster, &mut || rng.u8(..100) < weather.late);
        // A stream of its own: what was drawn before there were pods stays as it was.
        let pods = &mut Rng::with_seed(weather.seed ^ 0x5eed_0014);
        self.view
            .watch_pods(cluster, self.stalls, &mut || pods.u8(..100) < weather.late);
        if self.version < self.view.issuance_version {
            // Somebody else has written it since: what was last said may be behind.
            (self.said, self.status) = (None, None);
        }
        let mut fails = || rng.u8(..100) < weather.unknown;
        for plane in std::mem::take(&mut self.in_doubt) {
            match fails() {
                true => drop(self.in_doubt.insert(plane)),
                false => self.view.see_plane(cluster, &plane),
            }
        }
        if !self.in_doubt.is_empty() {
            return Ok(());
        }
        let now = cluster.now + self.clock;
        let mut observed = self.view.observe(self.said.as_ref(), now, &mut fails);
        self.desk.read(world);
        self.desk.see(&mut observed);
        if let Some(mutant) = world.mutant {
            mutant.blind(&mut observed);
        }
        let mut planned = decide(&observed, now);
        if rng.u8(..32) == 0 && decide(&observed, now).steps != planned.steps {
            return Err("the same snapshot led to two plans".into());
        }
        if let Some(mutant) = world.mutant {
            mutant.spoil(&observed, &mut planned);
        }
        if let Some(digest) = &mut world.digest {
            digest.add(&planned);
        }
        rules::of_plan(&observed, &planned, now)?;
        let say_first = planned.persist_status_first && !planned.steps.is_empty();
        let forgetful = self.unstorable && !say_first;
        let steps = match forgetful && world.mutant != Some(Mutant::NeedsNoMemory) {
            true => without_memory(&observed, now),
            false => planned.steps.clone(),
        };
        let steps = in_rounds(steps, rng);
        self.turn = Some(Turn::new(observed, planned, steps, now, say_first));
        Ok(())
    }

    /// What is done though the status could not be stored.
    fn admitted(&self, mutant: Option<Mutant>, turn: &Turn<Observed>) -> VecDeque<Step> {
        if mutant == Some(Mutant::NeedsNoMemory) {
            return turn.steps.clone();
        }
        let mut steps = without_memory(&turn.observed, turn.now);
        steps.sort_by_key(Step::round);
        steps.into()
    }

    /// Stores the status; false where it is not, as far as the operator knows. Where the issuance has changed it is read.
    fn say(&mut self, world: &mut World, turn: &Turn<Observed>, answer: Answer) -> bool {
        use Answer::{Broken, Lost, Refused, Withheld};
        let cluster = &mut world.cluster;
        let status = &turn.planned.status;
        let stored = self.status.as_ref().or(self.view.issuance.status.as_ref());
        if stored == Some(status) {
            self.unstorable = false;
            return true;
        }
        if cluster.refuses_status {
            cluster.say(|| "operator: the status is refused");
            self.unstorable = true;
            return false;
        }
        if matches!(answer, Broken | Refused | Withheld) {
            return false;
        }
        if self.version.max(self.view.issuance_version) != cluster.issuance_version {
            cluster.say(|| "operator: the issuance has changed");
            self.status.clone_from(&cluster.issuance.status);
            self.said.clone_from(&self.status);
            self.version = cluster.issuance_version;
            return false;
        }
        cluster.put_status(status.clone());
        cluster.say(|| {
            let anchors = status.anchors().iter();
            let anchors: Vec<String> = anchors
                .map(|anchor| format!("{:?} {}", anchor.state, name(&anchor.fingerprint)))
                .collect();
            format!("operator: says {} ({answer:?})", anchors.join(", "))
        });
        if answer == Lost {
            return false;
        }
        self.status = Some(status.clone());
        self.version = cluster.issuance_version;
        self.unstorable = false;
        true
    }

    fn call(
        &mut self,
        world: &mut World,
        turn: &mut Turn<Observed>,
        step: &Step,
        weather: &Weather,
        rng: &mut Rng,
    ) -> Result<(), String> {
        if self.unstorable && step.drops() {
            return Err(format!(
                "{} drops an anchor, and nothing remembers it",
                step.object()
            ));
        }
        if let (Step::DropRequest(step), Some(_)) = (step, &world.authority) {
            return self.desk.drop_request(world, step, weather.answer);
        }
        if let (Step::IssueLeaf(_), None, Some(_)) = (step, &turn.issued, &world.authority) {
            return self.ask(world, turn, step, weather.answer);
        }
        let away = namespace(step).is_some_and(|name| world.cluster.away.contains(name));
        let answer = if away { Answer::Broken } else { weather.answer };
        let mut done = match answer {
            Answer::Withheld | Answer::Refused => {
                turn.issued = None;
                return Ok(());
            }
            Answer::Broken => false,
            _ => {
                if let (Step::IssueLeaf(_), None) = (step, &turn.issued) {
                    let seen = self.look(world, turn, step, answer);
                    if let Some(issued) = seen {
                        turn.issued = Some(issued);
                        turn.steps.push_front(step.clone());
                    }
                    return Ok(());
                }
                if step.round() <= Round::Planes && !self.still_signs(&world.cluster, turn) {
                    turn.steps.clear();
                    return Ok(());
                }
                if !self.leaves_are_as_seen(&world.cluster, &turn.observed, step) {
                    turn.doubt = Some(step.round());
                    return Ok(());
                }
                let late = |issued: &Issued| world.cluster.now > issued.sent + CALL;
                let issued = turn.issued.take().filter(|issued| !late(issued));
                world
                    .cluster
                    .say(|| format!("operator: {}?", describe(step)));
                let mut write = || -> Result<bool, String> {
                    let unconditional = world.mutant == Some(Mutant::Unconditional);
                    let cluster = &mut world.cluster;
                    world
                        .judge
                        .judged(cluster, &turn.observed, step, |cluster| {
                            write(cluster, step, issued.as_ref(), unconditional)
                        })
                };
                let done = write()?;
                if answer == Answer::Twice {
                    write()?
                } else {
                    done
                }
            }
        };
        world
            .cluster
            .say(|| format!("operator: {} ({answer:?}: {done})", describe(step)));
        if done && world.authority.is_some() {
            turn.steps.extend(afterwards(step));
        }
        done &= answer != Answer::Lost;
        turn.issued = None;
        self.hear(
            &world.cluster,
            turn,
            step,
            done,
            away || rng.u8(..100) < weather.unknown,
        );
        Ok(())
    }

    /// What an answer tells; without one the object is read again.
    fn hear(
        &mut self,
        cluster: &Cluster,
        turn: &mut Turn<Observed>,
        step: &Step,
        done: bool,
        blind: bool,
    ) {
        if !done && step.round() <= Round::Planes {
            turn.doubt = Some(step.round());
        }
        match step {
            Step::WriteBundle(_) | Step::IssueLeaf(_) => {
                let target = &material(step);
                self.view.see_written(cluster, target, done || !blind);
            }
            Step::WirePlane(WirePlane { plane, .. }) => match done {
                true => self.view.see_plane(cluster, plane),
                false => drop(self.in_doubt.insert(plane.clone())),
            },
            Step::Restart(Restart { workload, .. }) if done => {
                self.view.see_workload(cluster, workload)
            }
            Step::Restart(_)
            | Step::GenerateCa(_)
            | Step::InjectBundle(_)
            | Step::DropRequest(_)
            | Step::Consume(_) => {}
        }
    }

    /// Whether the CA is still what the plan rests on.
    fn still_signs(&mut self, cluster: &Cluster, turn: &Turn<Observed>) -> bool {
        self.view.authority = cluster.authority;
        let Some(seen) = turn.observed.authority.chain() else {
            return true;
        };
        ca(cluster.authority).public_side() == seen
    }

    /// Whether the leaves that a drop rests on are stored as they were seen.
    pub fn leaves_are_as_seen(
        &mut self,
        cluster: &Cluster,
        observed: &Snapshot,
        step: &Step,
    ) -> bool {
        let leaf = |read: &Object| {
            read.found()
                .map(|found| (found.leaf.clone(), found.created))
        };
        step.rests_on().iter().all(|one| {
            self.view.see_material(cluster, one);
            let seen = observed.material.get(one).and_then(leaf);
            seen.is_some() && cluster.material.get(one).and_then(leaf) == seen
        })
    }

    /// One call of those that issuing takes where the authority may answer later.
    fn ask(
        &mut self,
        world: &mut World,
        turn: &mut Turn<Observed>,
        step: &Step,
        answer: Answer,
    ) -> Result<(), String> {
        let Step::IssueLeaf(leaf) = step else {
            return Ok(());
        };
        let (desk, now) = (&mut self.desk, world.cluster.now + self.clock);
        let next = match turn.asking.take() {
            None => {
                if self.still_holds(world, turn, leaf).is_none() {
                    return Ok(());
                }
                let observed = &turn.observed;
                self.desk.keep(world, observed, leaf, answer, turn.now)?
            }
            Some(Phase::Kept(kept)) => desk.ask(world, leaf, kept, answer)?,
            Some(Phase::Ticket(kept, at)) => desk.keep_ticket(world, leaf, kept, at, answer)?,
            Some(Phase::Signed(kept, chain)) => {
                let is_blind = world.mutant == Some(Mutant::StoresUnseen);
                if !is_blind && self.still_holds(world, turn, leaf).is_none() {
                    return Ok(());
                }
                let observed = &turn.observed;
                self.desk.check(world, observed, leaf, kept, chain, now)?
            }
        };
        match next {
            Next::Phase(phase) => turn.asking = Some(phase),
            Next::Store(number, chain) => {
                let live = world.cluster.material.get(&material(step));
                turn.issued = Some(Issued {
                    chain,
                    key: key(number),
                    replaces: live.map(|live| content(live).resource_version.clone()),
                    sent: world.cluster.now,
                });
            }
            Next::Later => return Ok(()),
        }
        turn.steps.push_front(step.clone());
        Ok(())
    }

    /// The live Secret is compared with the snapshot, and a certificate signed. What follows may take a while.
    fn look(
        &mut self,
        world: &mut World,
        turn: &Turn<Observed>,
        step: &Step,
        answer: Answer,
    ) -> Option<Issued> {
        let (Step::IssueLeaf(leaf), Some(seen)) = (step, turn.observed.authority.chain()) else {
            return None;
        };
        let (target, profile) = (material(step), &leaf.profile);
        let replaces = self.still_holds(world, turn, leaf)?;
        let number = world.cluster.next_serial();
        let trusting = world.mutant == Some(Mutant::TrustsIssuer);
        let signed = sign(&signer(seen), profile, number, turn.now, answer, trusting);
        let (chain, key) = signed
            .inspect_err(|why| world.cluster.say(|| format!("operator: {target}: {why}")))
            .ok()?;
        Some(Issued {
            chain,
            key,
            replaces,
            sent: world.cluster.now,
        })
    }

    /// Whether the live Secret is as it was seen, the CA still signs, and whoever verifies the leaf trusts it: the version that
    /// is replaced, or nothing.
    fn still_holds(
        &mut self,
        world: &World,
        turn: &Turn<Observed>,
        leaf: &IssueLeaf,
    ) -> Option<Option<String>> {
        let seen = turn.observed.authority.chain()?;
        let target = MaterialRef {
            kind: MaterialKind::Secret,
            object: leaf.target.clone(),
        };
        let same = is_as_seen(&turn.observed, &world.cluster, &target);
        let live = world.cluster.material.get(&target);
        let replaces = live.map(|live| content(live).resource_version.clone());
        if !same {
            self.view.see_material(&world.cluster, &target);
            return None;
        }
        if !self.still_signs(&world.cluster, turn) {
            return None;
        }
        for place in &leaf.trusted_by {
            match place {
                Place::Material(bundle) => self.view.see_material(&world.cluster, bundle),
                Place::ClientCa(plane) => self.view.see_plane(&world.cluster, plane),
                Place::Injected(_) => {}
            }
            if !is_trusted_by(&world.cluster, place, seen.anchor()) {
                return None;
            }
        }
        Some(replaces)
    }
}

/// The steps of one round run side by side, except those of the last.
pub fn in_rounds(planned: Vec<Step>, rng: &mut Rng) -> VecDeque<Step> {
    let last = |step: &Step| step.round() == Round::Rest;
    let rest: Vec<Step> = planned.iter().filter(|step| last(step)).cloned().collect();
    let mut steps = planned;
    rng.shuffle(&mut steps);
    steps.retain(|step| !last(step));
    steps.extend(rest);
    steps.sort_by_key(Step::round);
    steps.into()
}

impl Weather {
    /// In which nothing goes wrong.
    pub fn calm() -> Self {
        Self {
            seed: 0,
            late: 0,
            unknown: 0,
            answer: Answer::Done,
        }
    }
}

impl World {
    pub fn mutant_of_certificates(&self) -> Option<certificates::mutants::Mutant> {
        match self.mutant {
            Some(Mutant::OfCertificates(mutant)) => Some(mutant),
            _ => None,
        }
    }
}

impl<S> Turn<S> {
    pub fn new(
        observed: S,
        planned: Decision,
        steps: VecDeque<Step>,
        now: Timestamp,
        say_first: bool,
    ) -> Self {
        Self {
            observed,
            planned,
            steps,
            now,
            say_first,
            doubt: None,
            listed: None,
            asking: None,
            issued: None,
        }
    }

    /// Whether the next round rests on which pods there are.
    pub fn is_to_list(&self) -> bool {
        let Some(round) = self.steps.front().map(Step::round) else {
            return false;
        };
        let rests = |step: &Step| match step {
            Step::IssueLeaf(leaf) => !leaf.trusted_by.is_empty(),
            step => step.drops(),
        };
        let of_round = |step: &&Step| step.round() == round;
        self.listed < Some(round) && self.steps.iter().filter(of_round).any(rests)
    }

    pub fn next(&mut self) -> Option<Step> {
        let step = self.steps.pop_front()?;
        let follows = |doubt: Round| step.round() > doubt;
        (!self.doubt.is_some_and(follows)).then_some(step)
    }
}

/// What the API server does with a step's write; false is a conflict. No step deletes anything.
pub fn write(
    cluster: &mut Cluster,
    step: &Step,
    issued: Option<&Issued>,
    unconditional: bool,
) -> bool {
    match step {
        Step::WriteBundle(WriteBundle {
            resource_version,
            anchors,
            marks,
            ..
        }) => {
            let target = material(step);
            let made = resource_version.is_none() && cluster.material.contains_key(&target);
            if !unconditional && (made || !fits(cluster, &target, resource_version.as_ref())) {
                return false;
            }
            cluster.put(&target, &Content::Bundle(anchors), MANAGER, marks);
        }
        Step::WirePlane(WirePlane {
            plane,
            resource_version,
            client_ca,
            ..
        }) => {
            let version = cluster
                .planes
                .get(plane)
                .map(|plane| &plane.resource_version);
            if version.is_none() || !unconditional && version != Some(resource_version) {
                return false;
            }
            match client_ca {
                Wiring::Value(pem) => {
                    let anchors = parse_bundle(pem.as_bytes()).certificates;
                    cluster.put_client_ca(plane, &anchors, MANAGER);
                }
                Wiring::Reference { secret, holds, .. } => {
                    let stored = cluster.material.get(&trust_secret()).map(content);
                    let has = |anchor| stored.is_some_and(|stored| stored.anchors.contains(anchor));
                    if !unconditional && !holds.iter().all(has) {
                        return false;
                    }
                    cluster.refer(plane, secret);
                }
            }
        }
        Step::IssueLeaf(IssueLeaf { marks, .. }) => {
            let (target, Some(issued)) = (material(step), issued) else {
                return false;
            };
            if !unconditional && !fits(cluster, &target, issued.replaces.as_ref()) {
                return false;
            }
            let leaf = Content::Leaf(&issued.chain, &issued.key);
            cluster.put(&target, &leaf, MANAGER, marks);
        }
        Step::Restart(Restart {
            workload,
            resource_version,
            material_hash,
        }) => {
            let live = &cluster.deployments[workload];
            let is_seen = live.facts.resource_version == *resource_version;
            if live.is_gone || !unconditional && !is_seen {
                return false;
            }
            let loaded = decode_loaded(&workload.object.namespace, material_hash);
            cluster.touch(workload, |deployment| {
                deployment.restarts += 1;
                deployment.restart(|facts| facts.loaded = loaded);
            });
        }
        Step::GenerateCa(_) | Step::InjectBundle(_) | Step::DropRequest(_) | Step::Consume(_) => {}
    }
    true
}

/// Whether a Secret is what was seen of it.
pub fn is_as_seen(observed: &Snapshot, cluster: &Cluster, target: &MaterialRef) -> bool {
    let live = cluster.material.get(target);
    match (observed.material.get(target).map(AsRef::as_ref), live) {
        (Some(Read::Absent), None) => true,
        (Some(Read::Found(seen)), Some(live)) => {
            let live = content(live);
            seen.hash == live.hash && seen.leaf == live.leaf && seen.created == live.created
        }
        _ => false,
    }
}

/// Whether what verifies a certificate trusts its CA, by what is stored now.
fn is_trusted_by(cluster: &Cluster, place: &Place, anchor: &Certificate) -> bool {
    match place {
        Place::Material(bundle) => {
            let stored = cluster.material.get(bundle).map(content);
            stored.is_some_and(|stored| stored.anchors.contains(anchor))
        }
        Place::ClientCa(plane) => {
            let plane = cluster.planes.get(plane);
            plane.is_some_and(|plane| plane.value.is_none() || plane.anchors.contains(anchor))
        }
        // An issuance has none.
        Place::Injected(_) => false,
    }
}

/// Whether a server-side apply goes through: of what was seen, as long as it is unchanged; of what was not there, unless
/// somebody made it meanwhile.
pub fn fits(cluster: &Cluster, target: &MaterialRef, seen: Option<&String>) -> bool {
    let stored = cluster.material.get(target).map(content);
    match (seen, stored) {
        (None, None) => true,
        (Some(seen), Some(stored)) => *seen == stored.resource_version,
        (Some(_), None) => false,
        // It does not force: only a field manager of another name is a conflict.
        (None, Some(stored)) => stored.manager.as_deref() == Some(MANAGER),
    }
}

/// The object that a step writes, where it is a Secret or ConfigMap.
pub fn material(step: &Step) -> MaterialRef {
    match step {
        Step::WriteBundle(WriteBundle { target, .. }) => target.clone(),
        Step::IssueLeaf(IssueLeaf { target, .. }) | Step::GenerateCa(GenerateCa { target, .. }) => {
            MaterialRef {
                kind: MaterialKind::Secret,
                object: target.clone(),
            }
        }
        _ => unreachable!("not material: {step:?}"),
    }
}

fn namespace(step: &Step) -> Option<&str> {
    match step {
        Step::WriteBundle(WriteBundle { target, .. }) => Some(&target.object.namespace),
        Step::IssueLeaf(IssueLeaf { target, .. }) => Some(&target.namespace),
        Step::Restart(Restart { workload, .. }) => Some(&workload.object.namespace),
        Step::WirePlane(_)
        | Step::GenerateCa(_)
        | Step::InjectBundle(_)
        | Step::DropRequest(_)
        | Step::Consume(_) => None,
    }
}

fn describe(step: &Step) -> String {
    match step {
        Step::WriteBundle(WriteBundle { anchors, .. }) => {
            format!("{} trusts {}", step.object(), names(anchors))
        }
        Step::WirePlane(WirePlane {
            client_ca: Wiring::Value(pem),
            ..
        }) => {
            let anchors = parse_bundle(pem.as_bytes()).certificates;
            format!("{} trusts {}", step.object(), names(&anchors))
        }
        Step::IssueLeaf(IssueLeaf { why, .. }) => {
            format!("issues {} ({})", step.object(), why.reason)
        }
        Step::Restart(_) => format!("restarts {}", step.object()),
        _ => step.object(),
    }
}
