//! The operator at cert-manager's objects: the compiler, the planner and the order of steps that it really runs, one write at a
//! time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::ExternalCAIssuanceStatus;
use external_ca_core::domain::SelfSigned;
use external_ca_core::domain::certmanager::{DeclaredDomain, Others, compile_all};
use external_ca_core::model::{
    AuthorityState, CertManagerKind, CertManagerObjects, Claims, InjectRef, Injected, Leaf,
    ListRef, ObjectRef, Read, Snapshot,
};
use external_ca_core::plan::{IssueLeaf, Restart, Round, Step};
use external_ca_core::report::bounded::memory as remembered;
use external_ca_core::report::decide_declared;
use external_ca_core::report::{Decision, certificates, declared_without_memory};
use external_ca_core::snapshot::{Declared, Needs, Scope, WrittenNames, authority_of_secret};
use external_ca_core::trust::Place;
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};

use super::signers::authority;
use super::world::{CertManager, SECRETS, catch_up, secret, settings};
use super::writes::{Signed, of_itself, write};
use crate::cluster::{Cluster, HOME, ISSUANCE, content};
use crate::issuer::sign;
use crate::operator::{
    Answer, CALL, Operator, Turn, Weather, World, in_rounds, is_as_seen, material,
};
use crate::rules::repeats_nothing;
use crate::view::refresh;

/// How often the Leases are read.
const LOOKS: SignedDuration = SignedDuration::from_secs(10);

/// What an operator knows of cert-manager's objects, and its turns at their domains.
pub struct FrontEnd {
    objects: CertManagerObjects,
    injected: BTreeMap<InjectRef, Arc<Injected>>,
    memories: BTreeMap<ObjectRef, ExternalCAIssuanceStatus>,
    /// Whether each half of cert-manager is at work, or not known not to be; and when that was read.
    held: [bool; 2],
    looked: Option<Timestamp>,
    domains: BTreeMap<ObjectRef, Memory>,
}

/// What the turns of one domain remember.
#[derive(Default)]
struct Memory {
    concluded: Option<ExternalCAIssuanceStatus>,
    stored: Option<ExternalCAIssuanceStatus>,
    unstorable: bool,
    /// A step of the turn could not be done as it was planned.
    left: bool,
    turn: Option<Turn<Sight>>,
    signed: Option<Signed>,
}

/// What a turn rests on.
pub struct Sight {
    pub declared: Arc<DeclaredDomain>,
    pub earlier: Option<ExternalCAIssuanceStatus>,
    pub snapshot: Snapshot,
}

impl std::ops::Deref for Sight {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl FrontEnd {
    pub fn new(seen: &CertManager) -> Self {
        let mut new = Self {
            objects: CertManagerObjects::default(),
            injected: BTreeMap::new(),
            memories: BTreeMap::new(),
            held: [true; 2],
            looked: None,
            domains: BTreeMap::new(),
        };
        new.watch(seen, &mut || false);
        new
    }

    fn watch(&mut self, seen: &CertManager, late: &mut impl FnMut() -> bool) {
        refresh(&mut self.objects.0, seen.objects.0.iter(), |_| true, late);
        for (object, configuration) in &seen.configurations {
            if !late() {
                self.injected
                    .insert(object.clone(), Arc::new(configuration.facts()));
            }
        }
        self.memories.clone_from(&seen.memories);
    }

    /// Reads the Leases, where it is time to. One that cannot be read counts as held.
    fn look(&mut self, seen: &CertManager, now: Timestamp, fails: &mut impl FnMut() -> bool) {
        if self.looked.is_some_and(|at| at + LOOKS > now) {
            return;
        }
        self.looked = Some(now);
        for (held, lease) in self.held.iter_mut().zip(seen.leases) {
            *held = lease.is_some() || fails();
        }
    }

    fn domains(&self) -> BTreeMap<ObjectRef, Arc<DeclaredDomain>> {
        let compiled = compile_all(&self.objects, &settings(), &Others::default());
        let domains = compiled.domains.into_iter();
        domains
            .map(|(secret, domain)| (secret, Arc::new(domain)))
            .collect()
    }
}

/// Whether all is as wanted, where a turn came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    Further,
    ToRest,
}

impl Operator {
    /// A domain's turn begins, or its next call is made.
    pub fn act_on_certificates(
        &mut self,
        world: &mut World,
        index: usize,
        weather: &Weather,
    ) -> Result<(), String> {
        let domains = self.front_end.domains();
        let Some((secret, declared)) = domains.iter().nth(index % domains.len().max(1)) else {
            return self.begin_on(world, None, weather);
        };
        if self.memory(secret).turn.is_none() {
            return self.begin_on(world, Some(index), weather);
        }
        let _ = declared;
        self.go_on(world, secret, weather)
    }

    fn memory(&mut self, secret: &ObjectRef) -> &mut Memory {
        self.front_end.domains.entry(secret.clone()).or_default()
    }

    fn begin_on(
        &mut self,
        world: &mut World,
        index: Option<usize>,
        weather: &Weather,
    ) -> Result<(), String> {
        let mut rng = Rng::with_seed(weather.seed ^ 0x5eed_0020);
        catch_up(&mut world.cluster, &mut rng);
        let cluster = &world.cluster;
        self.view
            .watch(cluster, &mut || rng.u8(..100) < weather.late);
        self.view
            .watch_pods(cluster, self.stalls, &mut || rng.u8(..100) < weather.late);
        self.front_end
            .watch(&cluster.cert_manager, &mut || rng.u8(..100) < weather.late);
        let mut fails = || rng.u8(..100) < weather.unknown;
        self.front_end
            .look(&cluster.cert_manager, cluster.now, &mut fails);
        world.cluster.cert_manager.was_injected_by_others |= self.front_end.held[1];
        let all = self.front_end.domains();
        let aside = self.front_end.held[0]
            && world.mutant_of_certificates() != Some(super::mutants::Mutant::StandsNotAside);
        if aside && self.front_end.held[1] {
            self.front_end.domains.clear();
            return Ok(());
        }
        self.front_end
            .domains
            .retain(|secret, _| all.contains_key(secret));
        let Some(index) = index.filter(|_| !all.is_empty()) else {
            return Ok(());
        };
        let (secret, declared) = all.iter().nth(index % all.len()).unwrap();
        let sight = self.observe_domain(world, declared, &all, &mut fails);
        let now = world.cluster.now;
        let mut decision = decide_declared(
            &sight.declared,
            &sight.snapshot,
            sight.earlier.as_ref(),
            now,
        );
        if let Some(mutant) = world.mutant_of_certificates() {
            mutant.spoil(&sight, &mut decision, now);
        }
        let memory = self.memory(secret);
        let say_first = decision.persist_status_first && !decision.steps.is_empty();
        let mut steps = match memory.unstorable && !say_first {
            true => without_memory(&sight, now),
            false => decision.steps.clone(),
        };
        steps.retain(|step| !aside || matches!(step, Step::InjectBundle(_)));
        let steps = in_rounds(steps, &mut rng);
        (memory.signed, memory.left) = (None, false);
        memory.turn = Some(Turn::new(sight, decision, steps, now, say_first));
        Ok(())
    }

    fn observe_domain(
        &mut self,
        world: &World,
        declared: &Arc<DeclaredDomain>,
        all: &BTreeMap<ObjectRef, Arc<DeclaredDomain>>,
        fails: &mut impl FnMut() -> bool,
    ) -> Sight {
        let (cluster, key) = (&world.cluster, declared.authority.secret.clone());
        let scope = scope();
        let concluded = self.memory(&key).concluded.clone();
        let earlier = concluded.or_else(|| self.front_end.memories.get(&key).cloned());
        let mut seen = self.view.seen();
        let mounted = seen.mounted_since(earlier.as_ref(), &scope);
        let asks = |found: &Injected| {
            found
                .from
                .as_ref()
                .is_some_and(|from| declared.injects(from))
        };
        let injected = self
            .front_end
            .injected
            .iter()
            .filter(|(_, found)| asks(found));
        let injected: BTreeSet<InjectRef> = injected.map(|(object, _)| object.clone()).collect();
        for object in &injected {
            let read = match fails() {
                true => Read::Unknown("the read failed".into()),
                false => Read::Found(Injected {
                    is_others: self.front_end.held[1],
                    ..self.front_end.injected[object].as_ref().clone()
                }),
            };
            seen.injected.insert(object.clone(), Arc::new(read));
        }
        let needs = Needs::of_declared(declared, &mounted, injected, earlier.as_ref(), &scope);
        for object in needs.objects() {
            let read = self.view.read(&object, fails);
            seen.material.insert(object, read);
        }
        if fails() {
            let pods = ListRef::pods(HOME);
            seen.unreadable.insert(pods, "it failed".into());
        }
        let others = all.values().filter(|other| other.authority.secret != key);
        let claims = Claims {
            issuances: Arc::new(
                others
                    .map(|other| other.identity())
                    .chain([ISSUANCE.to_owned()])
                    .collect(),
            ),
            ..Claims::default()
        };
        let identity = declared.identity();
        let told = Declared {
            secret: &key,
            identity: &identity,
            heir_of: Some("cert-manager"),
        };
        let stored = &seen.material[&secret(&key.name)];
        let next = cluster.cert_manager.pending.get(&key);
        let state = match declared.is_self_signed_leaf() {
            true => self_signed(stored, next.map(|next| next.certificate.clone())),
            false => {
                let open = |found| authority(&cluster.cert_manager.keys, found, cluster.now);
                let read = match stored.as_ref() {
                    Read::Absent => Read::Absent,
                    Read::Unknown(why) => Read::Unknown(why.clone()),
                    Read::Found(found) => {
                        Read::Found(open(found).map(|ca| Arc::clone(ca.public_side())))
                    }
                };
                authority_of_secret(&key, read)
            }
        };
        let mut snapshot = seen.snapshot(&told, claims, &needs, &scope, state);
        let of_this = |target: &ObjectRef| declared.leaves.contains_key(target);
        let pending = cluster
            .cert_manager
            .pending
            .iter()
            .filter(|(target, _)| of_this(target));
        snapshot.pending = pending
            .map(|(target, one)| (target.clone(), Arc::new(one.leaf.clone())))
            .collect();
        if let Some(mutant) = world.mutant_of_certificates() {
            mutant.blind(cluster, declared, &mut snapshot);
        }
        Sight {
            declared: Arc::clone(declared),
            earlier,
            snapshot,
        }
    }

    fn go_on(
        &mut self,
        world: &mut World,
        secret: &ObjectRef,
        weather: &Weather,
    ) -> Result<(), String> {
        let Some(mut turn) = self.memory(secret).turn.take() else {
            return Ok(());
        };
        if weather.answer == Answer::DiesBefore {
            world.cluster.say(|| "operator: dies");
            return self.die(&world.cluster);
        }
        let lives = if turn.is_to_list() && !turn.say_first {
            let asks = !matches!(
                weather.answer,
                Answer::Broken | Answer::Lost | Answer::Refused | Answer::Withheld
            );
            turn.listed = turn.steps.front().map(Step::round);
            asks && self.view.list_pods(&world.cluster, &turn.observed, false)
        } else if turn.say_first {
            turn.say_first = false;
            let is_stored = self.remember(world, secret, &turn, weather.answer);
            let memory = self.memory(secret);
            if is_stored {
                memory.concluded = Some(turn.planned.status.clone());
            } else if memory.unstorable {
                turn.steps = without_memory(&turn.observed, turn.now).into();
            } else {
                return Ok(());
            }
            true
        } else if let Some(step) = turn.next() {
            self.carry_out(world, secret, &mut turn, &step, weather)?;
            true
        } else {
            self.report(world, secret, &turn, weather.answer);
            false
        };
        if weather.answer == Answer::DiesAfter {
            world.cluster.say(|| "operator: dies");
            return self.die(&world.cluster);
        }
        self.memory(secret).turn = lives.then_some(turn);
        Ok(())
    }

    /// What a turn came to.
    fn report(
        &mut self,
        world: &mut World,
        secret: &ObjectRef,
        turn: &Turn<Sight>,
        answer: Answer,
    ) {
        self.memory(secret).concluded = Some(turn.planned.status.clone());
        self.remember(world, secret, turn, answer);
        if !self.front_end.held[0] && is_ready(world, turn) {
            world.cluster.cert_manager.ready.insert(secret.clone());
        }
    }

    /// Stores what the guards are to remember beside the authority; false where it is not, as far as the operator knows.
    fn remember(
        &mut self,
        world: &mut World,
        secret: &ObjectRef,
        turn: &Turn<Sight>,
        answer: Answer,
    ) -> bool {
        if self.front_end.held[0] {
            // The Secret is cert-manager's.
            return true;
        }
        let new = remembered(&turn.planned.status);
        let target = super::world::secret(&secret.name);
        let known = self.memory(secret).stored.clone();
        let known = known.or_else(|| self.front_end.memories.get(secret).cloned());
        let Some(version) = self
            .view
            .version(&target)
            .filter(|_| known.as_ref() != Some(&new))
        else {
            self.memory(secret).unstorable = false;
            return true;
        };
        let forgets = world.mutant_of_certificates() == Some(super::mutants::Mutant::Forgetful);
        let cluster = &mut world.cluster;
        if cluster.refuses_status {
            cluster.say(|| "operator: what is to be remembered is refused");
            self.memory(secret).unstorable = true;
            return false;
        }
        let fails = matches!(answer, Answer::Broken | Answer::Refused | Answer::Withheld);
        if fails || !cluster.annotate(&target, &version) {
            return false;
        }
        if !forgets {
            cluster
                .cert_manager
                .memories
                .insert(secret.clone(), new.clone());
        }
        if answer == Answer::Lost {
            return false;
        }
        self.view.see_material(cluster, &target);
        let memory = self.memory(secret);
        (memory.stored, memory.unstorable) = (Some(new), false);
        true
    }

    fn carry_out(
        &mut self,
        world: &mut World,
        domain: &ObjectRef,
        turn: &mut Turn<Sight>,
        step: &Step,
        weather: &Weather,
    ) -> Result<(), String> {
        if self.memory(domain).unstorable && step.drops() {
            return Err(format!(
                "{} drops an anchor, and nothing remembers it",
                step.object()
            ));
        }
        stands_aside(&world.cluster, step, turn.now)?;
        let answer = weather.answer;
        let mut done = match answer {
            Answer::Withheld | Answer::Refused => {
                self.memory(domain).signed = None;
                return Ok(());
            }
            Answer::Broken => {
                self.memory(domain).signed = None;
                false
            }
            _ => {
                if let (Step::IssueLeaf(leaf), None) = (step, &self.memory(domain).signed) {
                    if let Some(signed) = self.have_signed(world, turn, leaf, answer) {
                        self.memory(domain).signed = Some(signed);
                        turn.steps.push_front(step.clone());
                    } else {
                        self.memory(domain).left = true;
                    }
                    return Ok(());
                }
                if step.round() <= Round::Planes && !still_signs(&world.cluster, turn) {
                    turn.steps.clear();
                    return Ok(());
                }
                if !self.leaves_are_as_seen(&world.cluster, &turn.observed, step) {
                    turn.doubt = Some(step.round());
                    return Ok(());
                }
                if !is_untrusted(&world.cluster, &turn.observed, step) {
                    return Ok(());
                }
                let signed = self.memory(domain).signed.take();
                let signed = signed.filter(|signed| world.cluster.now <= signed.sent + CALL);
                let times = if answer == Answer::Twice { 2 } else { 1 };
                let identity = turn.observed.declared.identity();
                let mut done = false;
                for _ in 0..times {
                    let World { cluster, calls, .. } = &mut *world;
                    done = calls.judged(cluster, &turn.observed.snapshot, step, |cluster| {
                        write(cluster, &identity, step, signed.as_ref(), turn.now)
                    })?;
                }
                done
            }
        };
        let text = || {
            format!(
                "operator: {} ({answer:?}: {done})",
                describe(&world.cluster.cert_manager, step)
            )
        };
        let text = text();
        world.cluster.say(|| text);
        self.memory(domain).left |= !done;
        let stored_next = done && self_signed_is_stored(turn, step);
        done &= answer != Answer::Lost;
        if stored_next && answer != Answer::Lost {
            turn.steps.extend(crate::tickets::afterwards(step));
        }
        let blind = Rng::with_seed(weather.seed ^ 0x5eed_0021).u8(..100) < weather.unknown;
        self.hear_of(&world.cluster, turn, step, done, blind);
        Ok(())
    }

    fn hear_of(
        &mut self,
        cluster: &Cluster,
        turn: &mut Turn<Sight>,
        step: &Step,
        done: bool,
        blind: bool,
    ) {
        if !done && step.round() <= Round::Planes {
            turn.doubt = Some(step.round());
        }
        match step {
            Step::WriteBundle(_) | Step::IssueLeaf(_) | Step::GenerateCa(_) => {
                let target = material(step);
                self.view.see_written(cluster, &target, done || !blind);
            }
            Step::InjectBundle(step) if done => {
                let facts = cluster.cert_manager.configurations.get(&step.target);
                let facts = facts.map(|found| Arc::new(found.facts()));
                self.front_end
                    .injected
                    .extend(facts.map(|facts| (step.target.clone(), facts)));
            }
            Step::Restart(Restart { workload, .. }) if done => {
                self.view.see_workload(cluster, workload)
            }
            _ => {}
        }
    }

    /// The live Secret is compared with the snapshot, and a certificate signed, or taken from where it waits.
    fn have_signed(
        &mut self,
        world: &mut World,
        turn: &Turn<Sight>,
        leaf: &IssueLeaf,
        answer: Answer,
    ) -> Option<Signed> {
        let target = secret(&leaf.target.name);
        let cluster = &mut world.cluster;
        if !is_as_seen(&turn.observed, cluster, &target) {
            self.view.see_material(cluster, &target);
            return None;
        }
        if !still_signs(cluster, turn) {
            return None;
        }
        let seen = turn.observed.authority.chain()?;
        let trusts = |place: &Place| match place {
            Place::Material(bundle) => {
                let stored = cluster.material.get(bundle).map(content);
                stored.is_some_and(|stored| stored.anchors.contains(seen.anchor()))
            }
            Place::Injected(object) => {
                let live = cluster.cert_manager.configurations.get(object);
                live.is_none_or(|live| live.facts().anchors().contains(seen.anchor()))
            }
            Place::ClientCa(_) => false,
        };
        if !leaf.trusted_by.iter().all(trusts) {
            return None;
        }
        let replaces = cluster
            .material
            .get(&target)
            .map(|live| content(live).resource_version.clone());
        let sent = cluster.now;
        if turn.observed.declared.is_self_signed_leaf() {
            let waits = cluster.cert_manager.pending.get(&leaf.target)?;
            return Some(Signed {
                chain: vec![waits.certificate.clone()],
                key: crate::pki::key(waits.key),
                replaces,
                sent,
            });
        }
        let stored = cluster
            .material
            .get(&secret(&turn.observed.declared.authority.secret.name))?;
        let ca = authority(&cluster.cert_manager.keys, content(stored), cluster.now).ok()?;
        let number = cluster.next_serial();
        let signed = sign(&ca, &leaf.profile, number, turn.now, answer, false);
        let (chain, key) = signed
            .inspect_err(|why| cluster.say(|| format!("operator: {target}: {why}")))
            .ok()?;
        Some(Signed {
            chain,
            key,
            replaces,
            sent,
        })
    }

    /// A whole turn of each domain, in which nothing goes wrong.
    pub fn turn_of_certificates(&mut self, world: &mut World) -> Result<Came, String> {
        let calm = Weather::calm();
        let mut came = Came::ToRest;
        for index in 0..self.front_end.domains().len() {
            let secret = self.front_end.domains().keys().nth(index).cloned().unwrap();
            self.memory(&secret).turn = None;
            self.act_on_certificates(world, index, &calm)?;
            let Some(turn) = &self.memory(&secret).turn else {
                came = Came::Further;
                continue;
            };
            let planned = turn.planned.clone();
            let rests = planned.steps.is_empty()
                && planned.status.retiring().next().is_none()
                && planned.status.rollouts.is_empty()
                && is_ready(world, turn);
            let whole = !self.memory(&secret).unstorable;
            while self.memory(&secret).turn.is_some() {
                self.act_on_certificates(world, index, &calm)?;
            }
            // What has changed within a turn waits for the next one: what is remembered changes the authority's Secret.
            if !planned.steps.is_empty() && whole && !self.memory(&secret).left {
                let again = self.plan_again(world, &secret);
                repeats_nothing(&planned.steps, &again)?;
            }
            if !rests {
                came = Came::Further;
                world
                    .cluster
                    .say(|| format!("{secret} is on its way: {}", on_its_way(&planned)));
            }
        }
        Ok(came)
    }

    fn plan_again(&mut self, world: &World, secret: &ObjectRef) -> Vec<Step> {
        let all = self.front_end.domains();
        let Some(declared) = all.get(secret) else {
            return Vec::new();
        };
        let sight = self.observe_domain(world, declared, &all, &mut || false);
        let now = world.cluster.now;
        decide_declared(
            &sight.declared,
            &sight.snapshot,
            sight.earlier.as_ref(),
            now,
        )
        .steps
    }
}

/// What a plan says of what does not rest yet.
fn on_its_way(planned: &Decision) -> String {
    let conditions = planned.status.conditions.iter();
    let conditions = conditions.filter(|one| one.status == "False");
    let lines = conditions.map(|one| format!("{}: {}", one.reason, one.message));
    lines.collect::<Vec<_>>().join("; ")
}

fn scope() -> Scope {
    let names = WrittenNames {
        leaves: SECRETS.map(str::to_owned).into(),
        bundles: BTreeSet::new(),
    };
    Scope {
        served: Arc::new([HOME.to_owned()].into()),
        names: Arc::new(names),
        ..Scope::default()
    }
}

fn without_memory(sight: &Sight, now: Timestamp) -> Vec<Step> {
    let mut steps = declared_without_memory(
        &sight.declared,
        &sight.snapshot,
        sight.earlier.as_ref(),
        now,
    );
    steps.sort_by_key(Step::round);
    steps
}

/// As `observe.rs` has it.
fn self_signed(
    stored: &Read<external_ca_core::model::Material>,
    next: Option<external_ca_core::x509::Certificate>,
) -> AuthorityState {
    let stored = stored.found().and_then(|found| match &found.leaf {
        Leaf::Present { chain, key_matches } if *key_matches => chain.first().cloned(),
        _ => None,
    });
    next.or(stored).map_or(AuthorityState::Absent, of_itself)
}

/// Whether each Certificate of a turn's domain is told to be Ready.
fn is_ready(world: &World, turn: &Turn<Sight>) -> bool {
    let (sight, decision): (&Sight, &Decision) = (&turn.observed, &turn.planned);
    let objects = &world.cluster.cert_manager.objects;
    sight.declared.certificates().all(|(certificate, target)| {
        let object = objects.get(CertManagerKind::Certificate, certificate);
        object.is_none_or(|object| {
            let report = certificates::planned(
                object,
                target,
                &sight.declared,
                &sight.snapshot,
                decision,
                turn.now,
            );
            let mut conditions = report.conditions.iter();
            conditions.any(|one| one.type_ == "Ready" && one.status == "True")
        })
    })
}

/// Whether the CA is still what the plan rests on. One that is no CA signs itself only.
fn still_signs(cluster: &Cluster, turn: &Turn<Sight>) -> bool {
    let seen = turn.observed.authority.chain();
    let Some(seen) = seen.filter(|seen| seen.certificate().is_ca()) else {
        return true;
    };
    let stored = cluster
        .material
        .get(&secret(&turn.observed.declared.authority.secret.name));
    let Some(stored) = stored else { return false };
    let open = authority(&cluster.cert_manager.keys, content(stored), cluster.now);
    open.is_ok_and(|ca| ca.public_side() == seen)
}

/// Whether a certificate that signs itself may take its place at once: no API server trusts another.
fn is_untrusted(cluster: &Cluster, seen: &Snapshot, step: &Step) -> bool {
    let Step::GenerateCa(step) = step else {
        return true;
    };
    let is_others = |read: &Arc<Read<Injected>>| read.found().is_some_and(|one| one.is_others);
    let mut injected = seen.injected.iter().filter(|(_, read)| !is_others(read));
    let trusts = injected.any(|(object, _)| {
        let live = cluster.cert_manager.configurations[object].facts();
        live.elements.iter().any(|one| !one.anchors.is_empty())
    });
    step.aside || !matches!(step.ca.profile, SelfSigned::Leaf(_)) || !trusts
}

/// While cert-manager is at work for longer than a look takes, nothing is written.
fn stands_aside(cluster: &Cluster, step: &Step, begun: Timestamp) -> Result<(), String> {
    let long = |lease: Option<Timestamp>| lease.is_some_and(|since| since + LOOKS + LOOKS < begun);
    let [controller, injector] = cluster.cert_manager.leases.map(long);
    let is_injection = matches!(step, Step::InjectBundle(_));
    let is_others = match is_injection {
        true => injector,
        false => controller,
    };
    match is_others {
        true => Err(format!(
            "{} is written while cert-manager is at work",
            step.object()
        )),
        false => Ok(()),
    }
}

fn self_signed_is_stored(turn: &Turn<Sight>, step: &Step) -> bool {
    matches!(step, Step::IssueLeaf(_)) && turn.observed.declared.is_self_signed_leaf()
}

fn describe(front_end: &CertManager, step: &Step) -> String {
    let names = |anchors: &[external_ca_core::x509::Certificate]| {
        let name = |anchor: &external_ca_core::x509::Certificate| {
            let number = front_end.keys.get(&anchor.fingerprint());
            let number = number.map_or("?".into(), ToString::to_string);
            format!("{number}/{}", anchor.fingerprint().short())
        };
        anchors.iter().map(name).collect::<Vec<_>>().join(" ")
    };
    match step {
        Step::WriteBundle(step) => format!("{} trusts {}", step.target, names(&step.anchors)),
        Step::InjectBundle(step) => format!("{} trusts {}", step.target, names(&step.anchors)),
        Step::IssueLeaf(step) => format!(
            "issues {} ({}) with {}",
            step.target,
            step.why.reason,
            names(step.bundle.as_deref().unwrap_or_default())
        ),
        _ => step.to_string(),
    }
}
