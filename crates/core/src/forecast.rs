//! What the operator would do from a snapshot on, turn by turn, to its end: each plan's steps have the effect that they
//! are meant to have, workloads load what is stored, and it is planned again. Nothing is done, and no real key signs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{
    AdditionalAnchor, ExternalCAIssuance, ExternalCAIssuanceStatus, HELD_UNTIL_ANNOTATION, MANAGER,
    RENEWAL_ANNOTATION, REPLACES_ANNOTATION,
};
use jiff::{SignedDuration, Timestamp};

use crate::domain::{generated_ca_profile, identity};
use crate::model::facts::{decode_loaded, hash};
use crate::model::{
    GeneratedCa, Issuer, Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Observed, Plane,
    PlaneRef, Read, RolloutState, Workload, WorkloadRef,
};
use crate::plan::{Step, Wiring};
use crate::report::explain::explain;
use crate::report::{Decision, decide};
use crate::x509::{
    Certificate, CertificateAuthority, KeyAlgorithm, LeafProfile, MintError, PrivateKey, StandIn,
    encode_bundle, generate, parse_bundle, request, self_signed_ca, sign_request,
};

/// A rotation of a thousand planes, one by one, has fewer.
const MAX_TURNS: usize = 10_000;
/// How often time alone must have passed in vain before the end is reached.
const PATIENCE: usize = 10;

/// One thing that would be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// What.
    pub step: Step,
    /// Why.
    pub why: String,
}

/// What would be done at once: one plan.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Not before this; none where it follows at once, or once the workloads restarted before have come back.
    pub not_before: Option<Timestamp>,
    /// In order; those of one round side by side.
    pub moves: Vec<Move>,
    /// What waits meanwhile, and for whom.
    pub waiting: Vec<String>,
    /// The workloads that must finish their rollout before the next turn.
    pub rollouts: Vec<WorkloadRef>,
}

/// The turns to the end, and what would be said then.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// In order.
    pub turns: Vec<Turn>,
    /// The status at the end.
    pub end: ExternalCAIssuanceStatus,
    /// Whether it comes to rest.
    pub at_rest: bool,
}

/// Forecasts. Fails where a CA's certificate cannot be stood in for.
pub fn forecast(observed: &Observed, now: Timestamp) -> Result<Forecast, MintError> {
    let stand_in = observed.issuer.chain().map(StandIn::of).transpose()?;
    let mut world = World {
        observed: observed.clone(),
        now,
        made: 0,
        keys: BTreeMap::new(),
    };
    if let Some(stand_in) = &stand_in {
        world.swap(stand_in)?;
    }
    let real = |certificate: &Certificate| match &stand_in {
        Some(stand_in) => stand_in.restore(certificate),
        None => certificate.clone(),
    };
    let mut turns: Vec<Turn> = Vec::new();
    let (mut vain, mut not_before) = (0, None);
    loop {
        let planned = decide(&world.observed, world.now);
        let news = world.observed.issuance.status.as_ref() != Some(&planned.status);
        let moves: Vec<Move> = planned
            .steps
            .iter()
            .map(|step| Move {
                why: explain(&world.observed, step, real),
                step: restore(step, real),
            })
            .collect();
        let at_rest = moves.is_empty();
        world.say(&planned.status);
        if !at_rest {
            turns.push(Turn {
                not_before: not_before.take(),
                moves,
                waiting: waiting(&planned.status),
                rollouts: Vec::new(),
            });
            vain = 0;
            world.apply(&planned)?;
        } else if let Some(rollouts) = world.finish_rollouts() {
            if let Some(turn) = turns.last_mut() {
                turn.rollouts.extend(rollouts);
            }
            vain = 0;
        } else if vain < PATIENCE && (news || waits_for_time(&planned.status)) {
            // It was said first and is done next; or a window opens, or an overlap passes.
            if !news {
                world.now = planned.next_check.max(world.now);
                not_before = Some(world.now);
            }
            vain += 1;
        } else {
            let end = match &stand_in {
                Some(stand_in) => restore_status(planned.status, stand_in),
                None => planned.status,
            };
            return Ok(Forecast {
                turns,
                end,
                at_rest,
            });
        }
        if turns.len() >= MAX_TURNS {
            return Ok(Forecast {
                turns,
                end: planned.status,
                at_rest: false,
            });
        }
    }
}

fn waits_for_time(status: &ExternalCAIssuanceStatus) -> bool {
    status.next_window.is_some() || status.rotation.is_some()
}

/// What the conditions say of waiting for others.
fn waiting(status: &ExternalCAIssuanceStatus) -> Vec<String> {
    let words = ["WaitingForPeers", "WaitingForWindow", "CuttingOff"];
    let conditions = status.conditions.iter();
    conditions
        .filter(|condition| condition.type_ != "Ready" && condition.type_ != "Reconciling")
        .filter(|condition| words.contains(&condition.reason.as_str()))
        .map(|condition| condition.message.clone())
        .collect()
}

/// The snapshot as it would be.
struct World {
    observed: Observed,
    now: Timestamp,
    /// How much was made: resource versions and serial numbers.
    made: u64,
    /// One for each kind; nobody uses them.
    keys: BTreeMap<String, Arc<PrivateKey>>,
}

impl World {
    /// Puts the stand-in in the place of the CA.
    fn swap(&mut self, stand_in: &StandIn) -> Result<(), MintError> {
        let all = |found: &[Certificate]| -> Result<Vec<Certificate>, MintError> {
            found.iter().map(|one| stand_in.replace(one)).collect()
        };
        for stored in self.observed.material.values_mut() {
            if let Read::Found(material) = stored.as_ref() {
                let leaf = match &material.leaf {
                    Leaf::Present { chain, key_matches } => Leaf::Present {
                        chain: all(chain)?,
                        key_matches: *key_matches,
                    },
                    other => other.clone(),
                };
                *stored = Arc::new(Read::Found(Material {
                    leaf,
                    anchors: all(&material.anchors)?,
                    ..material.clone()
                }));
            }
        }
        for plane in &mut self.observed.planes {
            let anchors = all(&plane.anchors)?;
            Arc::make_mut(plane).anchors = anchors;
        }
        for read in self.observed.anchor_config_maps.values_mut() {
            if let Read::Found(found) = read {
                *found = all(found)?;
            }
        }
        let issuance = Arc::make_mut(&mut self.observed.issuance);
        for AdditionalAnchor { pem, .. } in &mut issuance.spec.trust.additional_anchors {
            if let Some(text) = pem {
                *text = encode_bundle(&all(&parse_bundle(text.as_bytes()).certificates)?);
            }
        }
        let anchors = self
            .observed
            .issuer
            .chain()
            .map(|real| real.anchor().clone());
        if let (Some(real), Some(status)) = (anchors, &mut issuance.status) {
            let counterpart = stand_in.replace(&real)?;
            rename(status, &real, &counterpart);
        }
        self.observed.issuer = Issuer::Ready(Arc::clone(stand_in.authority()));
        Ok(())
    }

    fn say(&mut self, status: &ExternalCAIssuanceStatus) {
        self.issuance().status = Some(status.clone());
    }

    fn issuance(&mut self) -> &mut ExternalCAIssuance {
        Arc::make_mut(&mut self.observed.issuance)
    }

    fn version(&mut self) -> String {
        self.made += 1;
        format!("forecast-{}", self.made)
    }

    fn serial(&mut self) -> [u8; 16] {
        self.made += 1;
        let mut serial = [1; 16];
        for (to, from) in serial.iter_mut().skip(8).zip(self.made.to_be_bytes()) {
            *to = from;
        }
        serial
    }

    fn key(&mut self, algorithm: KeyAlgorithm) -> Result<Arc<PrivateKey>, MintError> {
        let name = format!("{algorithm:?}");
        if let Some(key) = self.keys.get(&name) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(generate(algorithm).map_err(|_| MintError::Encoding)?);
        self.keys.insert(name, Arc::clone(&key));
        Ok(key)
    }

    /// The API server tells times in whole seconds.
    fn tick(&mut self) {
        let next = self.now.saturating_add(SignedDuration::from_secs(1));
        self.now = next.unwrap_or(self.now);
    }

    fn apply(&mut self, planned: &Decision) -> Result<(), MintError> {
        self.tick();
        for step in &planned.steps {
            match step {
                Step::GenerateCa(step) => self.generate_ca(&step.marks)?,
                Step::WriteBundle(step) => {
                    self.write_bundle(&step.target, &step.anchors, &step.marks);
                }
                Step::WirePlane(step) => self.wire(&step.plane, &step.client_ca),
                Step::IssueLeaf(step) => {
                    self.issue(&step.target, &step.profile, &step.marks)?;
                }
                Step::Restart(step) => self.restart(&step.workload, &step.material_hash),
                Step::Consume(step) => {
                    if let Some(annotations) = &mut self.issuance().metadata.annotations {
                        annotations.remove(step.annotation);
                    }
                }
            }
        }
        Ok(())
    }

    fn generate_ca(&mut self, marks: &Marks) -> Result<(), MintError> {
        let key = self.key(KeyAlgorithm::EcdsaP256)?;
        let serial = self.serial();
        let certificate = self_signed_ca(&key, &generated_ca_profile(), serial, self.now)?;
        let authority = CertificateAuthority::from_pem(
            certificate.to_pem().as_bytes(),
            key.to_pem().as_bytes(),
            None,
            self.now,
        )?;
        // A CA of its own next time.
        self.keys.clear();
        self.observed.issuer = Issuer::Ready(Arc::new(authority));
        self.observed.generated = Some(GeneratedCa {
            resource_version: self.version(),
            request: marks.get(RENEWAL_ANNOTATION).cloned(),
        });
        Ok(())
    }

    /// What stands there, as if we had just written it.
    fn written(&mut self, target: &MaterialRef, marks: &Marks) -> Material {
        let stored = self.observed.material.get(target);
        let found = stored.and_then(|stored| stored.found().cloned());
        let created = found.as_ref().and_then(|found| found.created);
        Material {
            resource_version: self.version(),
            secret_type: match &found {
                Some(found) => found.secret_type.clone(),
                None => "kubernetes.io/tls".to_owned(),
            },
            issuance: Some(identity(&self.observed.issuance)),
            replaces: marks.contains_key(REPLACES_ANNOTATION),
            renewal: marks.get(RENEWAL_ANNOTATION).cloned(),
            held_until: marks
                .get(HELD_UNTIL_ANNOTATION)
                .and_then(|time| time.parse().ok()),
            controller: None,
            manager: Some(MANAGER.to_owned()),
            created: created.or(Some(self.now)),
            changed: Some(self.now),
            leaf: found
                .as_ref()
                .map_or(Leaf::Empty, |found| found.leaf.clone()),
            anchors: Vec::new(),
            has_key: found.as_ref().is_some_and(|found| found.has_key),
            hash: String::new(),
        }
    }

    fn put(&mut self, target: &MaterialRef, material: Material) {
        let stored = Arc::new(Read::Found(material));
        self.observed.material.insert(target.clone(), stored);
    }

    fn write_bundle(&mut self, target: &MaterialRef, anchors: &[Certificate], marks: &Marks) {
        let material = Material {
            anchors: anchors.to_vec(),
            hash: hash(&[encode_bundle(anchors).as_bytes()]),
            ..self.written(target, marks)
        };
        self.put(target, material);
    }

    fn issue(
        &mut self,
        target: &ObjectRef,
        profile: &LeafProfile,
        marks: &Marks,
    ) -> Result<(), MintError> {
        let Issuer::Ready(authority) = self.observed.issuer.clone() else {
            return Ok(());
        };
        let key = self.key(profile.key)?;
        let csr = request(&key, profile)?;
        let chain = sign_request(&authority, csr.der(), profile, self.serial(), self.now)?;
        let target = MaterialRef {
            kind: MaterialKind::Secret,
            object: target.clone(),
        };
        let material = Material {
            hash: hash(&[encode_bundle(&chain).as_bytes()]),
            has_key: true,
            leaf: Leaf::Present {
                chain,
                key_matches: true,
            },
            ..self.written(&target, marks)
        };
        self.put(&target, material);
        Ok(())
    }

    fn wire(&mut self, plane: &PlaneRef, client_ca: &Wiring) {
        let version = self.version();
        let now = self.now;
        let found = self.observed.planes.iter_mut();
        for found in found.filter(|found| found.plane == *plane) {
            let found: &mut Plane = Arc::make_mut(found);
            found.resource_version.clone_from(&version);
            found.manager = Some(MANAGER.to_owned());
            found.changed = Some(now);
            match client_ca {
                Wiring::Value(pem) => {
                    found.anchors = parse_bundle(pem.as_bytes()).certificates;
                    found.value = Some(pem.clone());
                }
                Wiring::Reference { secret, .. } => {
                    found.anchors = Vec::new();
                    found.value = None;
                    found.reference = Some((secret.clone(), "ca.crt".to_owned()));
                }
            }
        }
    }

    fn restart(&mut self, workload: &WorkloadRef, material_hash: &str) {
        let version = self.version();
        let now = self.now;
        let found = self.observed.workloads.iter_mut();
        for found in found.filter(|found| found.workload == *workload) {
            let found: &mut Workload = Arc::make_mut(found);
            found.resource_version.clone_from(&version);
            found.loaded = decode_loaded(&workload.object.namespace, material_hash);
            found.rollout = RolloutState::Running("its template changed".to_owned());
            found.rollout_since = Some(now);
        }
    }

    /// Every workload whose material is there comes to run what is stored; none where there is nothing to finish.
    fn finish_rollouts(&mut self) -> Option<Vec<WorkloadRef>> {
        let absent: BTreeSet<&MaterialRef> = self
            .observed
            .material
            .iter()
            .filter(|(_, stored)| matches!(stored.as_ref(), Read::Absent))
            .map(|(object, _)| object)
            .collect();
        let runs = |workload: &Workload| {
            let mounts = &workload.mounts;
            let ours = mounts
                .iter()
                .any(|mount| self.observed.material.contains_key(mount));
            ours && workload.rollout != RolloutState::Complete
                && !mounts.iter().any(|mount| absent.contains(mount))
        };
        let all = self.observed.workloads.iter();
        let running: Vec<WorkloadRef> = all
            .filter(|workload| runs(workload))
            .map(|workload| workload.workload.clone())
            .collect();
        if running.is_empty() {
            return None;
        }
        self.tick();
        let now = self.now;
        for workload in &mut self.observed.workloads {
            if running.contains(&workload.workload) {
                let workload = Arc::make_mut(workload);
                workload.rollout = RolloutState::Complete;
                workload.available_since.get_or_insert(now);
            }
        }
        Some(running)
    }
}

type Marks = BTreeMap<&'static str, String>;

fn restore(step: &Step, real: impl Fn(&Certificate) -> Certificate) -> Step {
    let all = |found: &[Certificate]| found.iter().map(&real).collect::<Vec<_>>();
    let mut step = step.clone();
    match &mut step {
        Step::WriteBundle(step) => step.anchors = all(&step.anchors),
        Step::WirePlane(step) => match &mut step.client_ca {
            Wiring::Value(pem) => {
                *pem = encode_bundle(&all(&parse_bundle(pem.as_bytes()).certificates));
            }
            Wiring::Reference { holds, .. } => *holds = all(holds),
        },
        _ => {}
    }
    step
}

fn restore_status(
    mut status: ExternalCAIssuanceStatus,
    stand_in: &StandIn,
) -> ExternalCAIssuanceStatus {
    let authority = stand_in.authority();
    for counterpart in [authority.anchor(), authority.certificate()] {
        rename(&mut status, counterpart, &stand_in.restore(counterpart));
    }
    status
}

/// The fingerprint of one certificate in the place of another's.
fn rename(status: &mut ExternalCAIssuanceStatus, from: &Certificate, to: &Certificate) {
    let (old, new) = (from.fingerprint(), to.fingerprint());
    let issuer = status
        .issuer
        .iter_mut()
        .map(|issuer| &mut issuer.fingerprint);
    let trust = status.trust.iter_mut().flat_map(|trust| {
        let anchors = trust.anchors.iter_mut();
        let anchors = anchors.map(|anchor| &mut anchor.fingerprint);
        anchors.chain(&mut trust.former)
    });
    for found in issuer.chain(trust) {
        if *found == old.to_string() {
            *found = new.to_string();
        }
    }
    let signers = status.certificates.iter_mut();
    for found in signers.filter_map(|certificate| certificate.signer.as_mut()) {
        if *found == old.short() {
            *found = new.short();
        }
    }
}
