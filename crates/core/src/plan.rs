//! One function from the snapshot to what is to be done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{
    ADOPT_ANNOTATION, AnchorState, AnchorStatus, CertificateState, CertificateStatus, ClientCa,
    Contested, ExternalCAIssuanceStatus, HELD_UNTIL_ANNOTATION, Issuer as IssuerSpec, IssuerStatus,
    MANAGER, Phase, PlaneStatus, RENEW_ANNOTATION, RENEWAL_ANNOTATION, REPLACES_ANNOTATION,
    ROTATE_ANNOTATION, RolloutPhase, RolloutStatus, RolloutStrategy, RotationPolicy,
    RotationStatus, RotationStrategy, TrustStatus,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::checks::{self, LeafContext, Verdict};
use crate::desired::{
    Desired, DesiredLeaf, Role, ca_secret, desired, identity, plane_type, renew_before,
    trust_secret,
};
use crate::facts::{encode_loaded, request};
use crate::observed::{
    Issuer, Material, MaterialKind, MaterialRef, ObjectRef, Observed, Plane, PlaneRef, Read,
    RolloutState, WorkloadRef,
};
use crate::overlap::unseen;
use crate::reason::{Problem, Reason};
use crate::rollout::{Consumer, Holders, Load, consumers, restarts, stamp};
use crate::status::{Finding, limit, merge};
use crate::trust::{Place, Trust, Verified, Waiting};
use crate::windows::{Gate, gate, reserve};
use crate::x509::{CaChain, Certificate, Fingerprint, LeafProfile, encode_bundle, parse_bundle};

/// How long a repair counts when somebody puts a field back.
const CONTEST_WINDOW: SignedDuration = SignedDuration::from_hours(1);
/// How often a field is repaired before it is left alone.
const CONTEST_LIMIT: u32 = 2;
/// When a snapshot with something unreadable in it is looked at again.
const RETRY: SignedDuration = SignedDuration::from_secs(60);
/// When an unchanged issuance is looked at again at the latest.
const RESYNC: SignedDuration = SignedDuration::from_hours(12);
/// So many problems of one kind are told in full.
const JOINED: usize = 3;
/// So many anchors that have left are remembered.
const FORMER_ANCHORS: usize = 32;

/// One thing to do. Steps are in order: a later one may rest on an earlier one.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make a CA where none exists, or the next one.
    GenerateCa {
        /// The Secret.
        target: ObjectRef,
        /// Only if it is still as it was seen; none where it did not exist.
        resource_version: Option<String>,
        /// Annotations of the Secret: the request that it grants.
        marks: BTreeMap<&'static str, String>,
    },
    /// Write a bundle, and nothing else of the object.
    WriteBundle {
        /// The ConfigMap or Secret.
        target: MaterialRef,
        /// Only if it is still as it was seen; none where it did not exist.
        resource_version: Option<String>,
        /// What it is to hold.
        anchors: Vec<Certificate>,
        /// Annotations of the object: what it may replace.
        marks: BTreeMap<&'static str, String>,
    },
    /// Write a plane's clientCA.
    WirePlane {
        /// The plane.
        plane: PlaneRef,
        /// Only if it is still as it was seen.
        resource_version: String,
        /// What it is to say.
        client_ca: Wiring,
    },
    /// Make a key, have it signed, verify the chain and write both.
    IssueLeaf {
        /// The Secret.
        target: ObjectRef,
        /// What it is to be.
        profile: LeafProfile,
        /// Keep the key that is stored.
        reuse_key: bool,
        /// Why.
        why: Problem,
        /// Annotations of the Secret: the request for a renewal that it grants, and what it replaces.
        marks: BTreeMap<&'static str, String>,
    },
    /// Restart a workload by naming what it will load in its pod template.
    Restart {
        /// The workload.
        workload: WorkloadRef,
        /// Only if it is still as it was seen.
        resource_version: String,
        /// The annotation's value.
        material_hash: String,
    },
    /// Remove the issuance's annotation that asked for something: it was granted.
    Consume(&'static str),
}

impl Step {
    /// What the step is about, as messages name it.
    pub fn object(&self) -> String {
        match self {
            Self::GenerateCa { target, .. } | Self::IssueLeaf { target, .. } => {
                format!("Secret {target}")
            }
            Self::WriteBundle { target, .. } => target.to_string(),
            Self::WirePlane { plane, .. } => plane.to_string(),
            Self::Restart { workload, .. } => workload.to_string(),
            Self::Consume(annotation) => format!("annotation {annotation}"),
        }
    }

    /// When its turn is: rounds are carried out one after the other, the steps of one side by side, except those of the
    /// last.
    pub fn round(&self) -> Round {
        match self {
            Self::GenerateCa { .. } | Self::WriteBundle { .. } => Round::Trust,
            Self::WirePlane { .. } => Round::Planes,
            Self::IssueLeaf { .. } => Round::Certificates,
            Self::Restart { .. } | Self::Consume(_) => Round::Rest,
        }
    }

    /// The trust place that it writes.
    fn place(&self) -> Option<Place> {
        match self {
            Self::WriteBundle { target, .. } => Some(Place::Material(target.clone())),
            Self::WirePlane { plane, .. } => Some(Place::ClientCa(plane.clone())),
            _ => None,
        }
    }

    fn condition(&self) -> &'static str {
        match self {
            Self::GenerateCa { .. } => "IssuerReady",
            Self::WriteBundle { .. } => "TrustDistributed",
            Self::WirePlane { .. } => "PlanesWired",
            Self::IssueLeaf { .. } | Self::Consume(_) => "CertificatesReady",
            Self::Restart { .. } => "RolloutsComplete",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = match self {
            Self::GenerateCa { .. } => "make a CA in",
            Self::WriteBundle { .. } => "write the bundle of",
            Self::WirePlane { .. } => "write the clientCA of",
            Self::IssueLeaf { .. } => "issue",
            Self::Restart { .. } => "restart",
            Self::Consume(_) => "take off the",
        };
        write!(f, "{verb} {}", self.object())
    }
}

/// The order of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Round {
    Trust,
    Planes,
    Certificates,
    Rest,
}

/// How a plane is wired.
#[derive(Clone, Debug, PartialEq)]
pub enum Wiring {
    /// The bundle by value.
    Value(String),
    /// A reference to the trust Secret.
    Reference {
        /// `secretRef` or `secretKeyRef`.
        field: &'static str,
        /// The Secret.
        secret: ObjectRef,
        /// What it must hold: all that the plane trusts now, and the CA.
        holds: Vec<Certificate>,
    },
}

/// What is to be done, what is to be said, and when to look again.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// What to say.
    pub status: ExternalCAIssuanceStatus,
    /// Conditions that turned: whether for the worse, word and message.
    pub events: Vec<(bool, Problem)>,
    /// What needs a person, or is worth a person's attention, one by one: conditions join these.
    pub problems: Vec<Noted>,
    /// When to look again, if nothing happens before.
    pub next_check: Timestamp,
    /// The status must be stored before the first step: it names an anchor for the first time, and what is once handed
    /// out must never be taken for somebody else's; or it names who is about to be cut off.
    pub say_first: bool,
}

/// A problem, and the object that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    /// The object, as messages name it.
    pub object: String,
    /// Whether the issuance is not ready because of it.
    pub blocks: bool,
    /// What is wrong.
    pub problem: Problem,
}

/// Decides. Neither fails nor signs: bad input becomes a condition.
pub fn plan(observed: &Observed, now: Timestamp) -> Plan {
    let issuance = &observed.issuance;
    let mut draft = Draft {
        observed,
        desired: desired(issuance, &observed.planes),
        now,
        steps: Vec::new(),
        coming: BTreeSet::new(),
        status: ExternalCAIssuanceStatus {
            observed_generation: issuance.metadata.generation,
            ..Default::default()
        },
        next_check: now.saturating_add(RESYNC).unwrap_or(now),
        gate: Gate::Open(Timestamp::MAX),
        reserve: SignedDuration::ZERO,
        urgent: BTreeSet::new(),
        problems: BTreeMap::new(),
        warnings: BTreeMap::new(),
        noted: Vec::new(),
        waiting: Vec::new(),
        immediate: false,
    };
    draft.run();
    draft.finish()
}

/// Puts steps that failed into the status; returns the conditions that turned.
pub fn with_failures(
    status: &mut ExternalCAIssuanceStatus,
    failures: &[(Step, Problem)],
    previous: Option<&ExternalCAIssuanceStatus>,
    now: Timestamp,
) -> Vec<(bool, Problem)> {
    let before = previous.map_or(&[][..], |status| status.conditions.as_slice());
    let mut turned = Vec::new();
    let mut told = BTreeSet::new();
    for (step, problem) in failures {
        if !told.insert(step.condition()) {
            continue;
        }
        for kind in [step.condition(), "Ready"] {
            let Some(condition) = status
                .conditions
                .iter_mut()
                .find(|condition| condition.type_ == kind)
            else {
                continue;
            };
            let old = before.iter().find(|condition| condition.type_ == kind);
            if condition.status != "False" {
                let since = old
                    .filter(|old| old.status == "False")
                    .map(|old| old.last_transition_time.clone());
                condition.last_transition_time = since.unwrap_or(Time(now));
                condition.status = "False".into();
            }
            condition.reason = problem.reason.to_string();
            condition.message = limit(problem.message.clone(), 32_768);
            let news = old.is_none_or(|old| {
                old.reason != condition.reason || old.message != condition.message
            });
            if kind != "Ready" && news {
                turned.push((true, problem.clone()));
            }
        }
    }
    turned
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Area {
    Issuer,
    Trust,
    Certificates,
    Planes,
    Rollouts,
}

struct Draft<'a> {
    observed: &'a Observed,
    desired: Desired,
    now: Timestamp,
    steps: Vec<Step>,
    /// Leaves that follow as soon as trust is written: a restart before that would be one too many.
    coming: BTreeSet<MaterialRef>,
    status: ExternalCAIssuanceStatus,
    next_check: Timestamp,
    /// Whether workloads may be restarted now.
    gate: Gate,
    /// How long before its end a certificate waits for no window.
    reserve: SignedDuration,
    /// Workloads that such a certificate waits for.
    urgent: BTreeSet<String>,
    /// What needs a person.
    problems: BTreeMap<Area, Vec<Problem>>,
    /// What a person should know though it works.
    warnings: BTreeMap<Area, Problem>,
    /// All of both, with their objects.
    noted: Vec<Noted>,
    /// What time and the operator will bring.
    waiting: Vec<(Area, Problem)>,
    /// Guard 8: who is cut off was said, and guards 1 and 2 are skipped.
    immediate: bool,
}

impl Draft<'_> {
    fn problem(&mut self, area: Area, object: impl ToString, problem: Problem) {
        self.note(object, true, &problem);
        self.problems.entry(area).or_default().push(problem);
    }

    fn warn(&mut self, area: Area, object: impl ToString, problem: Problem) {
        self.note(object, false, &problem);
        self.warnings.insert(area, problem);
    }

    fn note(&mut self, object: impl ToString, blocks: bool, problem: &Problem) {
        self.noted.push(Noted {
            object: object.to_string(),
            blocks,
            problem: problem.clone(),
        });
    }

    fn issuance(&self) -> String {
        format!("ExternalCAIssuance {}", identity(&self.observed.issuance))
    }

    fn authority(&self) -> String {
        format!("Secret {}", ca_secret(&self.observed.issuance))
    }

    fn wake(&mut self, at: Timestamp) {
        self.next_check = self.next_check.min(at.max(self.now));
    }

    fn wake_in(&mut self, delay: SignedDuration) {
        self.wake(self.now.saturating_add(delay).unwrap_or(Timestamp::MAX));
    }

    fn previous(&self) -> Option<&ExternalCAIssuanceStatus> {
        self.observed.issuance.status.as_ref()
    }

    fn run(&mut self) {
        for (target, problem) in std::mem::take(&mut self.desired.problems) {
            let object =
                target.map_or_else(|| self.issuance(), |target| format!("Secret {target}"));
            self.problem(Area::Certificates, object, problem);
        }
        let (additional, unknown) = self.additional_anchors();
        let issuer = self.observed.issuer.clone();
        match (issuer.chain(), &issuer) {
            (Some(ca), _) => match self.unfit(ca) {
                Some(problem) => self.refuse(problem),
                None => self.with_issuer(ca, &additional, &unknown),
            },
            (None, Issuer::Refused(problem)) => self.refuse(problem.clone()),
            (None, _) => self.without_issuer(),
        }
        if !self.observed.unreadable.is_empty() {
            self.wake_in(RETRY);
        }
    }

    /// A CA that may not sign what the gateway or every agent needs would end in half a setup: it is no CA for this.
    fn unfit(&self, ca: &CaChain) -> Option<Problem> {
        let forbidden = |role: Role| {
            let mut leaves = self
                .desired
                .leaves
                .values()
                .filter(move |leaf| leaf.role == role)
                .map(|leaf| ca.permits(&leaf.profile).err().map(|error| (leaf, error)));
            let first = leaves.next()??;
            leaves.all(|error| error.is_some()).then_some(first)
        };
        let (leaf, error) = forbidden(Role::Gateway).or_else(|| forbidden(Role::Agent))?;
        let message = format!(
            "the CA Secret {} cannot sign Secret {}: {error}",
            ca_secret(&self.observed.issuance),
            leaf.target
        );
        Some(Problem::new(checks::ca_reason(&error), message))
    }

    fn refuse(&mut self, problem: Problem) {
        // Time alone may mend these.
        if matches!(
            problem.reason,
            Reason::CASecretUnreadable | Reason::CANotYetValid
        ) {
            self.wake_in(RETRY);
        }
        self.problem(Area::Issuer, self.authority(), problem);
        self.keep_status();
    }

    fn without_issuer(&mut self) {
        let target = ca_secret(&self.observed.issuance);
        let IssuerSpec::CaSecret(secret) = &self.observed.issuance.spec.issuer;
        if !self.observed.served.contains(&target.namespace) {
            let message = format!(
                "the operator is not told to serve the namespace {}; add it to the chart's namespaces.serve",
                target.namespace
            );
            self.problem(
                Area::Issuer,
                self.authority(),
                Problem::new(Reason::NamespaceNotServed, message),
            );
        } else if secret.generate {
            self.waiting.push((
                Area::Issuer,
                Problem::new(
                    Reason::Progressing,
                    format!("making the CA Secret {target}"),
                ),
            ));
            self.steps.push(Step::GenerateCa {
                target,
                resource_version: None,
                marks: BTreeMap::new(),
            });
        } else {
            let message = format!(
                "the CA Secret {target} does not exist; create it with tls.crt and tls.key, or set issuer.caSecret.generate"
            );
            self.problem(
                Area::Issuer,
                self.authority(),
                Problem::new(Reason::CASecretNotFound, message),
            );
        }
        self.keep_status();
    }

    /// Without an issuer nothing is judged, so what was said of certificates and anchors stays.
    fn keep_status(&mut self) {
        if let Some(previous) = self.observed.issuance.status.clone() {
            self.status.issuer = previous.issuer;
            self.status.trust = previous.trust;
            self.status.certificates = previous.certificates;
            self.status.certificates_ready = previous.certificates_ready;
            self.status.planes = previous.planes;
            self.status.contested = previous.contested;
            self.status.next_renewal = previous.next_renewal;
        }
        for area in [Area::Trust, Area::Certificates, Area::Planes] {
            self.waiting.push((
                area,
                Problem::new(Reason::Progressing, "waiting for the issuer"),
            ));
        }
    }

    /// The additional anchors, and the entries that cannot be read: guard 3 counts those.
    fn additional_anchors(&mut self) -> (Vec<Certificate>, Vec<String>) {
        let (mut anchors, mut unknown) = (Vec::new(), Vec::new());
        for (index, entry) in self
            .observed
            .issuance
            .spec
            .trust
            .additional_anchors
            .iter()
            .enumerate()
        {
            let origin = format!("spec.trust.additionalAnchors[{index}]");
            let found = match (&entry.pem, &entry.config_map_ref) {
                (Some(pem), _) => Ok(parse_bundle(pem.as_bytes()).certificates),
                (None, Some(reference)) => {
                    let key = (reference.name.clone(), reference.key.clone());
                    match self.observed.anchor_config_maps.get(&key) {
                        Some(Read::Found(found)) => Ok(found.clone()),
                        Some(Read::Unknown(why)) => Err(why.clone()),
                        Some(Read::Absent) | None => {
                            Err(format!("ConfigMap {} does not exist", reference.name))
                        }
                    }
                }
                (None, None) => Ok(Vec::new()),
            };
            let problem = match found {
                Ok(found) if found.is_empty() => "it holds no PEM certificate".to_owned(),
                Ok(found) => {
                    anchors.extend(found);
                    continue;
                }
                Err(why) => why,
            };
            let message = format!("{origin}: {problem}; correct it or remove the entry");
            let problem = Problem::new(Reason::AnchorUnreadable, message);
            self.problem(Area::Trust, self.issuance(), problem);
            unknown.push(origin);
        }
        (anchors, unknown)
    }

    fn with_issuer(
        &mut self,
        ca: &CaChain,
        additional: &[Certificate],
        unknown_anchors: &[String],
    ) {
        let issuance = Arc::clone(&self.observed.issuance);
        let trust_secret = trust_secret(&issuance);
        let desired = self.desired.clone();
        let gateway = MaterialRef {
            kind: MaterialKind::Secret,
            object: ObjectRef::new(
                &trust_secret.object.namespace,
                &issuance.spec.gateway.secret_name,
            ),
        };
        let known = known_anchors(self.previous());
        let former = former_anchors(self.previous());
        let mut retiring_since = retiring_since(self.previous());
        retiring_since.retain(|_, since| *since <= self.now);
        let (verified, nobody) = (Verified::new(&desired), Holders::default());
        let trust = Trust {
            observed: self.observed,
            desired: &desired,
            ca,
            additional,
            unknown_anchors,
            verified: &verified,
            holders: &nobody,
            known: &known,
            former: &former,
            retiring_since: &retiring_since,
            unseen: &[],
            trust_secret: &trust_secret,
            by_reference: issuance.spec.planes.client_ca == ClientCa::SecretRef,
            immediate: false,
            now: self.now,
        };
        let retiring = trust.retiring();
        let consumers = consumers(
            &self.observed.workloads,
            &self.observed.material,
            Some(&gateway),
        );
        self.immediate = issuance.spec.rotation.strategy == RotationStrategy::Immediate
            && self.announced(&retiring);
        let holders = Holders::new(&consumers);
        let unseen = unseen(self.observed, &desired, &holders, self.now);
        let trust = Trust {
            holders: &holders,
            unseen: &unseen,
            immediate: self.immediate,
            ..trust
        };
        for end in unseen
            .iter()
            .flat_map(|peer| [peer.presents_until, peer.trusts_until])
        {
            if end > self.now {
                self.wake(end);
            }
        }
        self.maintenance(consumers.len());
        self.issuer_status(ca);
        self.bundles(&trust, &retiring);
        self.planes(&trust, &retiring);
        self.leaves(&trust, &retiring);
        self.anchors(&trust, &retiring);
        self.agents_without_plane();
        self.rollouts(&consumers, &trust, &retiring);
        self.progress(&consumers);
        let strategy = issuance.spec.rotation.strategy;
        if strategy == RotationStrategy::Immediate && !self.immediate && !retiring.is_empty() {
            // It is said first, and done in the next turn.
            self.steps.clear();
            self.wake_in(SignedDuration::from_secs(1));
        }
        self.next_ca(ca, &retiring);
    }

    /// Windows bind what the operator restarts by itself; a compromised CA does not wait.
    fn maintenance(&mut self, workloads: usize) {
        let spec = &self.observed.issuance.spec;
        let (gate, problems) = gate(&spec.rollout.windows, self.now);
        for problem in problems {
            self.problem(Area::Rollouts, self.issuance(), problem);
        }
        if spec.rollout.strategy == RolloutStrategy::Restart
            && spec.rotation.strategy == RotationStrategy::Staged
        {
            self.gate = gate;
            self.reserve = reserve(&spec.rollout, workloads, renew_before(spec));
        }
    }

    /// What waits for the next window is said; it is no defect, unless a move to another CA waits with it.
    fn wait_for_window(&mut self, area: Area, until: Timestamp, what: &str, rotating: bool) {
        self.wake(until);
        let message = match self.gate {
            Gate::Closed(opens) if opens > until => {
                format!("{what} waits until {until}: no maintenance window opens before")
            }
            _ => format!("{what} waits for the maintenance window that opens at {until}"),
        };
        let next = self.status.next_window.take().map_or(until, |next| next.0);
        self.status.next_window = Some(Time(next.min(until)));
        let problem = Problem::new(Reason::WaitingForWindow, message);
        if rotating {
            self.waiting.insert(0, (area, problem));
        } else {
            self.warnings.entry(area).or_insert(problem);
        }
    }

    /// The CA that the operator made is replaced by the next one when somebody asks for it, and early enough before its end
    /// that no certificate must be shortened; one rotation after the other. The rest follows from the new CA.
    fn next_ca(&mut self, ca: &CaChain, retiring: &[Certificate]) {
        let issuance = Arc::clone(&self.observed.issuance);
        let IssuerSpec::CaSecret(secret) = &issuance.spec.issuer;
        let target = ca_secret(&issuance);
        let asked = request(&issuance, ROTATE_ANNOTATION);
        let generated = self.observed.generated.as_ref();
        let Some(generated) = generated.filter(|_| secret.generate) else {
            if asked.is_some() {
                let message = format!(
                    "the annotation {ROTATE_ANNOTATION} asks for a new CA, but the one in Secret {target} is not the operator's to \
                     replace; replace the Secret's content, and remove the annotation"
                );
                let problem = Problem::new(Reason::CANotGenerated, message);
                self.warn(Area::Issuer, self.authority(), problem);
            }
            return;
        };
        let granted = asked.is_some() && generated.request == asked;
        if granted {
            self.steps.push(Step::Consume(ROTATE_ANNOTATION));
        }
        let due = self.ca_due(ca);
        if due > self.now {
            self.wake(due);
        }
        let is_due = due <= self.now && retiring.is_empty();
        if !is_due && (granted || asked.is_none()) {
            return;
        }
        let message = format!("making the next CA in Secret {target}");
        let progress = Problem::new(Reason::Progressing, message);
        self.waiting.insert(0, (Area::Issuer, progress));
        self.steps = vec![Step::GenerateCa {
            target,
            resource_version: Some(generated.resource_version.clone()),
            marks: asked
                .map(|asked| (RENEWAL_ANNOTATION, asked))
                .into_iter()
                .collect(),
        }];
    }

    /// From when on a certificate might outlive the CA; never in the first half of the CA's life.
    fn ca_due(&self, ca: &CaChain) -> Timestamp {
        let leaves = self.desired.leaves.values();
        let longest = leaves.map(|leaf| leaf.profile.duration).max();
        let margin = longest.unwrap_or_default() + renew_before(&self.observed.issuance.spec);
        let begin = ca.certificate().not_before();
        let half = begin.duration_until(ca.not_after()) / 2;
        let early = ca.not_after().saturating_sub(margin);
        let middle = begin.saturating_add(half);
        early
            .unwrap_or(Timestamp::MIN)
            .max(middle.unwrap_or(Timestamp::MAX))
    }

    fn issuer_status(&mut self, ca: &CaChain) {
        let end = ca.not_after();
        self.status.issuer = Some(IssuerStatus {
            subject: ca.certificate().subject().to_owned(),
            fingerprint: ca.certificate().fingerprint().to_string(),
            not_after: Time(end),
        });
        self.wake(end);
        let warn = end
            .saturating_sub(renew_before(&self.observed.issuance.spec))
            .unwrap_or(Timestamp::MIN);
        if warn <= self.now {
            let message = format!(
                "the CA {} ends at {end}, and certificates end with it; replace the CA",
                ca.certificate().subject()
            );
            let problem = Problem::new(Reason::CAExpiring, message);
            self.warn(Area::Issuer, self.authority(), problem);
        } else {
            self.wake(warn);
        }
    }

    fn bundles(&mut self, trust: &Trust<'_>, retiring: &[Certificate]) {
        let issuance = identity(&self.observed.issuance);
        for target in &trust.desired.trust_places {
            if !self.observed.served.contains(&target.object.namespace) {
                let message = format!(
                    "{target}: the operator is not told to serve the namespace {}; add it to the chart's namespaces.serve",
                    target.object.namespace
                );
                self.problem(
                    Area::Trust,
                    target,
                    Problem::new(Reason::NamespaceNotServed, message),
                );
                continue;
            }
            if let Some(owner) = self.observed.claims.material.get(target) {
                let message = format!(
                    "{target}: the older issuance {owner} owns it; name another in spec.trust, or give this issuance other namespaces"
                );
                self.problem(Area::Trust, target, Problem::new(Reason::Conflict, message));
                continue;
            }
            let stored = self.observed.material.get(target).map(AsRef::as_ref);
            if let Some(Read::Unknown(why)) = stored {
                self.problem(
                    Area::Trust,
                    target,
                    Problem::new(Reason::Unreadable, format!("{target}: {why}")),
                );
                self.wake_in(RETRY);
                continue;
            }
            let found = stored.and_then(Read::found);
            if let Some(owner) = found.and_then(|found| found.controller.as_ref()) {
                let message = format!(
                    "{target}: {owner} controls it (ownerReferences); delete that object or name another in spec.trust"
                );
                self.problem(Area::Trust, target, Problem::new(Reason::NotOwned, message));
                continue;
            }
            if found.is_some_and(|found| found.has_key) {
                let message = format!(
                    "{target} holds a private key, and workloads mount it; move the CA to a Secret of another name and leave only ca.crt there"
                );
                let problem = Problem::new(Reason::CAKeyExposed, message);
                self.warn(Area::Trust, target, problem);
            }
            let Some(wanted) = trust.wanted(&Place::Material(target.clone()), retiring) else {
                continue;
            };
            if found.is_some_and(|found| same(&found.anchors, &wanted)) {
                continue;
            }
            let ours = found.is_some_and(|found| {
                found.issuance.as_ref() == Some(&issuance) && found.has_ca_crt
            });
            let manager = found.and_then(|found| found.manager.clone());
            let written = found.and_then(|found| found.changed);
            let object = target.to_string();
            if let Err(problem) =
                self.may_repair(&object, "data[\"ca.crt\"]", ours, manager, written)
            {
                self.problem(Area::Trust, target, problem);
                continue;
            }
            self.waiting.push((
                Area::Trust,
                Problem::new(Reason::Progressing, format!("writing {target}")),
            ));
            let lost = match self.was_there(target) {
                true => trust.other_anchors(),
                false => trust.lost_anchors(),
            };
            self.steps.push(Step::WriteBundle {
                target: target.clone(),
                resource_version: found.map(|found| found.resource_version.clone()),
                anchors: wanted,
                marks: lost
                    .filter(|_| found.is_none())
                    .map(|lost| (REPLACES_ANNOTATION, lost))
                    .into_iter()
                    .collect(),
            });
        }
    }

    /// Whether there has been a bundle, going by what was said of its namespace.
    fn was_there(&self, bundle: &MaterialRef) -> bool {
        let said = self
            .previous()
            .map_or(&[][..], |status| &status.certificates);
        let targets = said.iter().filter_map(|said| said.target.split_once('/'));
        let mut namespaces = targets.map(|(namespace, _)| namespace);
        namespaces.any(|namespace| namespace == bundle.object.namespace)
    }

    /// Repairs that still count: those of the last hour, and fields that are left alone until the spec changes.
    fn contested(&self) -> Vec<Contested> {
        self.previous()
            .filter(|status| {
                status.observed_generation == self.observed.issuance.metadata.generation
            })
            .map_or(&[][..], |status| &status.contested)
            .iter()
            .filter(|entry| {
                entry.count >= CONTEST_LIMIT
                    || entry.last_time.0.duration_until(self.now) < CONTEST_WINDOW
            })
            .cloned()
            .collect()
    }

    /// Never fight: a field that another manager puts back is repaired twice within the hour, then left alone.
    fn may_repair(
        &mut self,
        object: &str,
        field: &str,
        ours: bool,
        manager: Option<String>,
        written: Option<Timestamp>,
    ) -> Result<(), Problem> {
        let ours = ours || self.contested().iter().any(|entry| entry.object == object);
        let Some(manager) = manager.filter(|manager| ours && manager != MANAGER) else {
            return Ok(());
        };
        let previous = self
            .contested()
            .iter()
            .find(|entry| entry.object == object)
            .cloned();
        let written = written.map(Time);
        if let Some(entry) = previous
            .as_ref()
            .filter(|entry| entry.written.is_some() && entry.written == written)
        {
            // The repair has not arrived yet.
            self.status.contested.push(entry.clone());
            return Ok(());
        }
        let count = previous.as_ref().map_or(0, |entry| entry.count);
        if count >= CONTEST_LIMIT {
            let message = format!(
                "{object}: the field manager \"{manager}\" keeps putting back {field}; let it leave the field to {MANAGER} (planes may \
                 refer to the trust Secret instead: planes.clientCA: SecretRef)"
            );
            self.status.contested.extend(previous);
            return Err(Problem::new(Reason::FieldConflict, message));
        }
        self.status.contested.push(Contested {
            object: object.to_owned(),
            manager,
            written,
            count: count + 1,
            last_time: Time(self.now),
        });
        Ok(())
    }

    fn planes(&mut self, trust: &Trust<'_>, retiring: &[Certificate]) {
        let mode = self.observed.issuance.spec.planes.client_ca;
        for plane in &trust.desired.planes {
            let result = self.wire(trust, plane, mode, retiring);
            let (wired, reason) = match result {
                Ok(None) => (true, None),
                Ok(Some(client_ca)) => {
                    let message = format!("writing the clientCA of {}", plane.plane);
                    self.waiting
                        .push((Area::Planes, Problem::new(Reason::Progressing, message)));
                    self.steps.push(Step::WirePlane {
                        plane: plane.plane.clone(),
                        resource_version: plane.resource_version.clone(),
                        client_ca,
                    });
                    (false, Some(Reason::Progressing))
                }
                Err(problem) => {
                    let reason = problem.reason;
                    // The trust Secret comes first; that is under way.
                    if reason == Reason::Progressing {
                        self.waiting.push((Area::Planes, problem));
                    } else {
                        self.problem(Area::Planes, &plane.plane, problem);
                    }
                    (false, Some(reason))
                }
            };
            self.status.planes.push(PlaneStatus {
                kind: plane.plane.kind,
                namespace: plane.plane.namespace.clone(),
                name: plane.plane.name.clone(),
                plane_id: plane.plane_id.clone(),
                wired,
                reason: reason.map(|reason| reason.to_string()),
                agent_connected: plane.agent_connected,
            });
        }
    }

    fn wire(
        &mut self,
        trust: &Trust<'_>,
        plane: &Plane,
        mode: ClientCa,
        retiring: &[Certificate],
    ) -> Result<Option<Wiring>, Problem> {
        let name = &plane.plane;
        let anchor = trust.ca.anchor();
        if trust.refers_to_trust_secret(plane) {
            let place = Place::Material(trust.trust_secret.clone());
            return match trust
                .stored(&place)
                .is_some_and(|stored| stored.contains(anchor))
            {
                true => Ok(None),
                false => Err(Problem::new(
                    Reason::Progressing,
                    format!("{name} waits for {}", trust.trust_secret),
                )),
            };
        }
        if mode == ClientCa::Unmanaged {
            return if plane.anchors.contains(anchor) {
                Ok(None)
            } else {
                Err(Problem::new(
                    Reason::ClientCAMismatch,
                    format!(
                        "{name}: spec.clusterAgent.clientCA does not contain the CA that signs its agent's certificate ({}), so the \
                         gateway would say \"certificate not valid for any CR\" and agents see \"x509: certificate signed by unknown authority\"; \
                         add that CA to the clientCA, or let planes.clientCA be Value or SecretRef",
                        anchor.subject()
                    ),
                ))
            };
        }
        if let Some(owner) = self.observed.claims.planes.get(name) {
            return Err(Problem::new(
                Reason::Conflict,
                format!(
                    "{name}: the older issuance {owner} writes its clientCA; exclude the plane from one of the two by planes.selector"
                ),
            ));
        }
        let served = name.namespace.as_ref().is_none_or(|namespace| {
            self.observed.served.contains(namespace)
                || self.observed.plane_namespaces.contains(namespace)
        });
        if !served {
            return Err(Problem::new(
                Reason::NamespaceNotServed,
                format!(
                    "{name}: the operator is not told to write planes in its namespace; add it to the chart's namespaces.planes, or exclude the plane by planes.selector"
                ),
            ));
        }
        if let (None, Some((secret, key))) = (&plane.value, &plane.reference) {
            return Err(Problem::new(
                Reason::ForeignClientCA,
                format!(
                    "{name}: spec.clusterAgent.clientCA refers to the key {key} of the Secret {secret}, which this issuance does not manage; let it \
                     refer to {} (key ca.crt), remove the reference, or exclude the plane by planes.selector",
                    trust.trust_secret
                ),
            ));
        }
        let wiring = match mode {
            ClientCa::SecretRef => {
                let Some(field) = plane.reference_field else {
                    return Err(Problem::new(
                        Reason::ClientCAMismatch,
                        format!(
                            "{name}: this version of the resource knows no Secret reference; use planes.clientCA: Value"
                        ),
                    ));
                };
                let stored = trust
                    .stored(&Place::Material(trust.trust_secret.clone()))
                    .unwrap_or_default();
                let may_leave = |old: &&Certificate| trust.immediate && retiring.contains(old);
                let kept = plane.anchors.iter().filter(|old| !may_leave(old));
                let holds: Vec<Certificate> = kept.chain([anchor]).cloned().collect();
                if holds.iter().any(|one| !stored.contains(one)) {
                    return Err(Problem::new(
                        Reason::Progressing,
                        format!("{name} waits for {}", trust.trust_secret),
                    ));
                }
                Wiring::Reference {
                    field,
                    secret: trust.trust_secret.object.clone(),
                    holds,
                }
            }
            _ => {
                let Some(wanted) = trust.wanted(&Place::ClientCa(name.clone()), retiring) else {
                    return Err(Problem::new(
                        Reason::Progressing,
                        format!("{name} waits until its agent's certificate can be read"),
                    ));
                };
                if same(&plane.anchors, &wanted) {
                    return Ok(None);
                }
                Wiring::Value(encode_bundle(&wanted))
            }
        };
        let was_wired = self.previous().is_some_and(|status| {
            status.planes.iter().any(|old| {
                old.wired
                    && old.kind == name.kind
                    && old.namespace == name.namespace
                    && old.name == name.name
            })
        });
        let lacks_ours = !plane.anchors.contains(anchor);
        let object = name.to_string();
        self.may_repair(
            &object,
            "spec.clusterAgent.clientCA",
            was_wired && lacks_ours,
            plane.manager.clone(),
            plane.changed,
        )?;
        Ok(Some(wiring))
    }

    fn leaves(&mut self, trust: &Trust<'_>, retiring: &[Certificate]) {
        let issuance = Arc::clone(&self.observed.issuance);
        let annotations = issuance.metadata.annotations.clone().unwrap_or_default();
        let (renew, adopt) = (
            annotations.get(RENEW_ANNOTATION),
            annotations.get(ADOPT_ANNOTATION),
        );
        let named = |text: Option<&String>, target: &ObjectRef| {
            text.is_some_and(|text| {
                text.split(',')
                    .map(str::trim)
                    .any(|word| word == "all" || word == target.to_string() || word == target.name)
            })
        };
        let request = request(&issuance, RENEW_ANNOTATION);
        let owner = identity(&issuance);
        let before = renew_before(&issuance.spec);
        let policy: RotationPolicy = issuance
            .spec
            .certificate_defaults
            .private_key
            .rotation_policy;
        let (mut ready, mut renewals, mut granted) = (0, Vec::new(), true);
        let being_written: BTreeSet<Place> = self.steps.iter().filter_map(Step::place).collect();
        for leaf in trust.desired.leaves.values() {
            // Objects of namespaces that are not served are not read.
            let unread = Read::Unknown("it was not read".into());
            let stored = self.observed.material.get(&leaf.material());
            let stored = stored.map_or(&unread, AsRef::as_ref);
            let context = LeafContext {
                leaf,
                stored,
                ca: trust.ca,
                renew_before: before,
                issuance: &owner,
                claimed_by: self
                    .observed
                    .claims
                    .material
                    .get(&leaf.material())
                    .map(String::as_str),
                served: self.observed.served.contains(&leaf.target.namespace),
                adopt: named(adopt, &leaf.target),
                renew: request.as_deref().filter(|_| named(renew, &leaf.target)),
                now: self.now,
            };
            let mut opens = None;
            let (state, reason) = match self.contest(checks::judge(&context), leaf, stored) {
                Verdict::Fit => {
                    ready += 1;
                    (CertificateState::Ready, None)
                }
                Verdict::Blocked(problem) => {
                    let reason = problem.reason;
                    if reason == Reason::Unreadable {
                        self.wake_in(RETRY);
                    }
                    self.problem(Area::Certificates, leaf.material(), problem);
                    (CertificateState::Failed, Some(reason))
                }
                Verdict::Issue(why) => match self.when(trust, retiring, &context, &why) {
                    When::Now => {
                        let reason = why.reason;
                        let marks = self.marks(trust, &context, reason, request.clone());
                        self.waiting.push((Area::Certificates, why.clone()));
                        self.steps.push(Step::IssueLeaf {
                            target: leaf.target.clone(),
                            profile: leaf.profile.clone(),
                            reuse_key: checks::reuses_key(policy, &context),
                            why,
                            marks,
                        });
                        (CertificateState::Pending, Some(reason))
                    }
                    When::Trusted(waiting) => {
                        let reason = why.reason;
                        self.wait_for_peers(leaf, stored, why, waiting, &being_written);
                        (CertificateState::Waiting, Some(reason))
                    }
                    When::Window(at) => {
                        opens = Some(at);
                        let renewal =
                            matches!(why.reason, Reason::Renewing | Reason::RenewRequested);
                        let what = format!("{}; it", why.message);
                        self.wait_for_window(Area::Certificates, at, &what, !renewal);
                        granted &= why.reason != Reason::RenewRequested;
                        ready += usize::from(renewal);
                        let state = match renewal {
                            true => CertificateState::Ready,
                            false => CertificateState::Waiting,
                        };
                        (state, Some(Reason::WaitingForWindow))
                    }
                },
            };
            let mut entry = self.certificate_status(trust, leaf, stored, before, state, reason);
            entry.renewal_time = opens.map(Time).or(entry.renewal_time);
            renewals.extend(entry.renewal_time.as_ref().map(|time| time.0));
            self.status.certificates.push(entry);
        }
        if renew.is_some() && granted {
            // One round of issuing grants the request: the annotation goes with it, and later steps do not depend on it.
            self.steps.push(Step::Consume(RENEW_ANNOTATION));
        }
        let wanted = trust.desired.leaves.len();
        self.status.certificates_ready = Some(format!("{ready}/{wanted}"));
        let next = renewals.into_iter().min();
        if let Some(next) = next.filter(|next| *next > self.now) {
            self.wake(next);
        }
        self.status.next_renewal = next.map(Time);
    }

    /// A leaf that somebody else keeps replacing is no better off when it is issued again and again.
    fn contest(
        &mut self,
        verdict: Verdict,
        leaf: &DesiredLeaf,
        stored: &Read<Material>,
    ) -> Verdict {
        let (Verdict::Issue(_), Some(found)) = (&verdict, stored.found()) else {
            return verdict;
        };
        let ours = found.issuance.as_deref() == Some(identity(&self.observed.issuance).as_str());
        let object = leaf.material().to_string();
        let manager = found.manager.clone();
        match self.may_repair(&object, "data[\"tls.crt\"]", ours, manager, found.changed) {
            Ok(()) => verdict,
            Err(problem) => Verdict::Blocked(problem),
        }
    }

    /// When a leaf may be issued: once its verifiers trust the CA, and once the workloads that hold what is stored may be
    /// restarted.
    fn when(
        &mut self,
        trust: &Trust<'_>,
        retiring: &[Certificate],
        context: &LeafContext<'_>,
        why: &Problem,
    ) -> When {
        let serves_until = serves_until(context, why.reason);
        let waiting = trust.must_load_first(context.leaf, retiring);
        if waiting != Waiting::default() {
            let waits = |end| self.gate.holds_back(end, self.reserve, self.now).is_some();
            if serves_until.is_some_and(|end| !waits(end)) {
                self.urgent.extend(waiting.loads.iter().cloned());
            }
            return When::Trusted(waiting);
        }
        serves_until
            .and_then(|end| self.gate.holds_back(end, self.reserve, self.now))
            .filter(|_| !trust.holders.of(&context.leaf.material()).is_empty())
            .map_or(When::Now, When::Window)
    }

    fn wait_for_peers(
        &mut self,
        leaf: &DesiredLeaf,
        stored: &Read<Material>,
        why: Problem,
        waiting: Waiting,
        being_written: &BTreeSet<Place>,
    ) {
        // A new leaf's agent cannot do without. One that has a leaf is not kept waiting for a place that nobody writes.
        let mut places = waiting.places.iter();
        let follows = checks::certificate(stored).is_none()
            || places.all(|place| being_written.contains(place));
        if waiting.loads.is_empty() && follows {
            self.coming.insert(leaf.material());
        }
        let places = waiting.places.iter().map(ToString::to_string);
        let whom: Vec<String> = places.chain(waiting.loads).collect();
        let message = format!(
            "{}; it is signed by the CA once these trust it: {}",
            why.message,
            list(&whom)
        );
        let word = match is_defect(why.reason) {
            true => why.reason,
            false => Reason::WaitingForPeers,
        };
        self.waiting
            .push((Area::Certificates, Problem::new(word, message)));
    }

    /// What is told with a leaf: the request that it grants, what it replaces, and how long that may be held.
    fn marks(
        &self,
        trust: &Trust<'_>,
        context: &LeafContext<'_>,
        reason: Reason,
        request: Option<String>,
    ) -> BTreeMap<&'static str, String> {
        let lost = match context.stored {
            Read::Absent => self.last_seen(context.leaf),
            _ => None,
        };
        // One that was never told of may have been deleted, too.
        let replaces = match context.stored {
            Read::Absent => lost
                .and_then(|lost| lost.serial.clone())
                .or_else(|| trust.lost_anchors()),
            _ => None,
        };
        let end = match lost {
            Some(lost) => lost.not_after.as_ref().map(|end| end.0),
            None => serves_until(context, reason),
        };
        let older = context.stored.found().and_then(|found| found.held_until);
        let material = context.leaf.material();
        let older = older.filter(|_| !trust.holders.not_current(&material).is_empty());
        let held_until = end.into_iter().chain(older).min();
        [
            (RENEWAL_ANNOTATION, request),
            (REPLACES_ANNOTATION, replaces),
            (HELD_UNTIL_ANNOTATION, held_until.map(|end| end.to_string())),
        ]
        .into_iter()
        .filter_map(|(mark, value)| Some((mark, value?)))
        .collect()
    }

    /// What was last said of a leaf.
    fn last_seen(&self, leaf: &DesiredLeaf) -> Option<&CertificateStatus> {
        let target = leaf.target.to_string();
        let mut entries = self.previous()?.certificates.iter();
        entries.find(|old| old.target == target)
    }

    /// Until when a workload waits for a window; none where one is open, or where it cannot wait, for its own sake or for
    /// that of others.
    fn held_back(&self, consumer: &Consumer<'_>) -> Option<Timestamp> {
        let held = |(object, load): (&&MaterialRef, &Load)| {
            let stored = self.observed.material.get(*object)?.found()?;
            stored.held_until.filter(|_| *load == Load::Stale)
        };
        let end = consumer.loads.iter().filter_map(held).min();
        let end = end.unwrap_or(Timestamp::MAX);
        self.gate
            .holds_back(end, self.reserve, self.now)
            .filter(|_| {
                !self
                    .urgent
                    .contains(&consumer.workload.workload.to_string())
            })
    }

    fn certificate_status(
        &self,
        trust: &Trust<'_>,
        leaf: &DesiredLeaf,
        stored: &Read<Material>,
        before: SignedDuration,
        state: CertificateState,
        reason: Option<Reason>,
    ) -> CertificateStatus {
        let found = checks::certificate(stored);
        let lost = match found {
            Some(_) => None,
            None => self.last_seen(leaf),
        };
        let by_issuer = found.is_some_and(|found| found.signed_by(trust.ca.certificate()));
        CertificateStatus {
            target: leaf.target.to_string(),
            common_name: leaf.profile.common_name.clone(),
            serial: found
                .map(Certificate::serial_hex)
                .or_else(|| lost?.serial.clone()),
            signer: by_issuer.then(|| trust.ca.anchor().fingerprint().short()),
            not_after: found
                .map(|found| Time(found.not_after()))
                .or_else(|| lost?.not_after.clone()),
            renewal_time: found
                .map(|found| Time(checks::renewal_time(found, before, leaf.profile.duration))),
            state,
            reason: reason.map(|reason| reason.to_string()),
        }
    }

    /// Whether status has said of each of these that it is on its way out, and of any at all: where nothing is, nobody was
    /// told that he will be cut off.
    fn announced(&self, retiring: &[Certificate]) -> bool {
        let said = self.previous().and_then(|status| status.trust.as_ref());
        let said = said.map_or(&[][..], |trust| &trust.anchors);
        let said: BTreeSet<&str> = said
            .iter()
            .filter(|old| old.state == AnchorState::Retiring)
            .map(|old| old.fingerprint.as_str())
            .collect();
        !said.is_empty()
            && retiring
                .iter()
                .all(|anchor| said.contains(anchor.fingerprint().to_string().as_str()))
    }

    fn anchors(&mut self, trust: &Trust<'_>, retiring: &[Certificate]) {
        let immediate =
            self.observed.issuance.spec.rotation.strategy == RotationStrategy::Immediate;
        let said = self.previous().and_then(|status| status.trust.clone());
        let said = said.unwrap_or_default().anchors;
        let now = self.now;
        let entry = |anchor: &Certificate, state, waiting_for| {
            let fingerprint = anchor.fingerprint().to_string();
            let before = said
                .iter()
                .find(|old| old.fingerprint == fingerprint && old.state == state);
            // Of a clock that was ahead.
            let since = before.and_then(|old| old.since.clone());
            let since = since.filter(|since| since.0 <= now);
            AnchorStatus {
                subject: anchor.subject().to_owned(),
                state,
                not_after: Time(anchor.not_after()),
                since: since.or(Some(Time(now))),
                waiting_for,
                fingerprint,
            }
        };
        let mut anchors = vec![entry(trust.ca.anchor(), AnchorState::Active, Vec::new())];
        for anchor in trust
            .additional
            .iter()
            .filter(|anchor| *anchor != trust.ca.anchor())
        {
            anchors.push(entry(anchor, AnchorState::Next, Vec::new()));
        }
        for anchor in retiring {
            let mut waiting: BTreeSet<String> = BTreeSet::new();
            for place in trust.places().filter(|place| {
                trust
                    .stored(place)
                    .is_some_and(|stored| stored.contains(anchor))
            }) {
                waiting.extend(trust.dependents(&place, anchor));
            }
            let waiting: Vec<String> = waiting.into_iter().take(10).collect();
            if !waiting.is_empty() {
                let until = trust.signed_until(anchor);
                if until > self.now {
                    self.wake(until);
                }
                let (reason, what) = match immediate {
                    true => (
                        Reason::CuttingOff,
                        "leaves every trust place at once (rotation.strategy: Immediate); cut off until they have moved",
                    ),
                    false => (
                        Reason::WaitingForPeers,
                        "stays trusted until these have moved",
                    ),
                };
                let message = format!("the old CA {} {what}: {}", anchor.subject(), list(&waiting));
                // Before all else: who is cut off must be in the first line.
                let entry = (Area::Trust, Problem::new(reason, message));
                match immediate {
                    true => self.waiting.insert(0, entry),
                    false => self.waiting.push(entry),
                }
            }
            anchors.push(entry(anchor, AnchorState::Retiring, waiting));
        }
        anchors.extend(self.unseen_anchors(trust, &anchors));
        let former = self.former_anchors(&anchors);
        self.status.trust = Some(TrustStatus { anchors, former });
    }

    /// Anchors that may stand where nothing can be read now, or may have stood where nothing is: once forgotten, they would
    /// be taken for somebody else's.
    fn unseen_anchors(&self, trust: &Trust<'_>, seen: &[AnchorStatus]) -> Vec<AnchorStatus> {
        let places = trust.desired.trust_places.iter();
        let unread: Vec<String> = places
            .filter(|place| {
                trust
                    .stored(&Place::Material((*place).clone()))
                    .is_none_or(<[_]>::is_empty)
            })
            .map(ToString::to_string)
            .take(10)
            .collect();
        let previous = self.previous().and_then(|status| status.trust.as_ref());
        let previous = previous.map_or(&[][..], |trust| &trust.anchors);
        let unseen = previous.iter().filter(|old| {
            !unread.is_empty() && seen.iter().all(|new| new.fingerprint != old.fingerprint)
        });
        let keep = |old: &AnchorStatus| AnchorStatus {
            state: AnchorState::Retiring,
            waiting_for: unread.clone(),
            ..old.clone()
        };
        unseen.map(keep).collect()
    }

    /// Guard 5: whatever was once handed out may come back, by a late write or an old manifest.
    fn former_anchors(&self, anchors: &[AnchorStatus]) -> Vec<String> {
        let previous = self.previous().and_then(|status| status.trust.as_ref());
        let previous = previous.into_iter().flat_map(|trust| {
            let named = trust.anchors.iter().map(|anchor| &anchor.fingerprint);
            trust.former.iter().chain(named)
        });
        let here = |former: &&String| anchors.iter().any(|anchor| anchor.fingerprint == **former);
        let mut former: Vec<String> = previous.filter(|one| !here(one)).cloned().collect();
        former.drain(..former.len().saturating_sub(FORMER_ANCHORS));
        former
    }

    /// How far the move to another CA has come.
    fn progress(&mut self, consumers: &[Consumer<'_>]) {
        let trust = self.status.trust.iter().flat_map(|trust| &trust.anchors);
        let retiring = trust.filter(|anchor| anchor.state == AnchorState::Retiring);
        let Some(since) = retiring.filter_map(|anchor| anchor.since.clone()).min() else {
            return;
        };
        let leaves = &self.status.certificates;
        let signed = leaves.iter().filter(|leaf| leaf.signer.is_some()).count();
        let loaded = consumers
            .iter()
            .filter(|one| one.loads.values().all(|load| *load == Load::Current))
            .count();
        let next = match (self.steps.first(), self.waiting.first()) {
            (Some(step), _) => step.to_string(),
            (None, Some((_, problem))) => limit(problem.message.clone(), 1024),
            (None, None) => String::new(),
        };
        self.status.rotation = Some(RotationStatus {
            since,
            certificates: format!("{signed}/{}", leaves.len()),
            workloads: format!("{loaded}/{}", consumers.len()),
            next,
        });
    }

    /// An agent whose plane ID no plane resource has is refused by the gateway.
    fn agents_without_plane(&mut self) {
        let observed = self.observed;
        let bundle = &observed.issuance.spec.trust.config_map_name;
        let planes = observed.planes.iter();
        let known: BTreeSet<(&str, &str)> = planes
            .map(|plane| (plane_type(plane.plane.kind), plane.plane_id.as_str()))
            .collect();
        let lost: Vec<(&WorkloadRef, Problem)> = observed
            .workloads
            .iter()
            .filter(|workload| {
                workload.mounts.iter().any(|mount| mount.kind == MaterialKind::ConfigMap && mount.object.name == *bundle)
            })
            .filter_map(|workload| {
                let (kind, id) = workload.agent.as_ref()?;
                (!known.contains(&(kind.as_str(), id.as_str()))).then(|| {
                    let message = format!(
                        "{} runs an agent with --plane-type={kind} --plane-id={id}, but no plane resource has that planeID, so the gateway \
                         would say \"no {kind} CRs found with planeID '{id}'\"; create the plane resource, or let its spec.planeID equal the agent's --plane-id",
                        workload.workload
                    );
                    (&workload.workload, Problem::new(Reason::PlaneNotFound, message))
                })
            })
            .collect();
        for (workload, problem) in lost {
            self.problem(Area::Planes, workload, problem);
        }
    }

    /// Material that stays as it is while something waits for its consumers: who has not proven to have loaded it is
    /// restarted, or all would wait for ever.
    fn to_be_proven(&self, trust: &Trust<'_>, retiring: &[Certificate]) -> BTreeSet<MaterialRef> {
        let leaves = trust.desired.leaves.values();
        let states = self.status.certificates.iter().map(|said| said.state);
        let fit = leaves
            .zip(states.clone())
            .filter(|(_, state)| !retiring.is_empty() && *state == CertificateState::Ready)
            .map(|(leaf, _)| leaf.material());
        let mut prove: BTreeSet<MaterialRef> = fit.collect();
        if states
            .into_iter()
            .any(|state| state == CertificateState::Waiting)
        {
            prove.extend(trust.desired.trust_places.iter().cloned());
        }
        prove
    }

    fn rollouts(
        &mut self,
        consumers: &[Consumer<'_>],
        trust: &Trust<'_>,
        retiring: &[Certificate],
    ) {
        let prove = self.to_be_proven(trust, retiring);
        let spec = &self.observed.issuance.spec.rollout;
        let timeout = spec.timeout.0;
        let about_to_change: BTreeSet<MaterialRef> = self
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::WriteBundle { target, .. } => Some(target.clone()),
                Step::IssueLeaf { target, .. } => Some(MaterialRef {
                    kind: MaterialKind::Secret,
                    object: target.clone(),
                }),
                _ => None,
            })
            .chain(std::mem::take(&mut self.coming))
            .collect();
        let rotating = !retiring.is_empty();
        let waits: BTreeMap<&WorkloadRef, Timestamp> = consumers
            .iter()
            .filter(|consumer| consumer.is_stale(&prove))
            .filter_map(|one| Some((&one.workload.workload, self.held_back(one)?)))
            .collect();
        let wanted = |consumer: &Consumer<'_>| {
            consumer.is_stale(&prove) && !waits.contains_key(&consumer.workload.workload)
        };
        if spec.strategy == RolloutStrategy::Restart {
            for consumer in restarts(
                consumers,
                &about_to_change,
                wanted,
                spec.max_concurrent as usize,
                timeout,
                self.now,
            ) {
                self.steps.push(Step::Restart {
                    workload: consumer.workload.workload.clone(),
                    resource_version: consumer.workload.resource_version.clone(),
                    material_hash: encode_loaded(&stamp(consumer, &self.observed.material)),
                });
            }
        }
        let previous = self.observed.issuance.status.as_ref();
        let previous: BTreeMap<&str, (RolloutPhase, Timestamp)> = previous
            .map_or(&[][..], |status| &status.rollouts)
            .iter()
            .map(|old| (old.workload.as_str(), (old.phase, old.since.0)))
            .collect();
        for consumer in consumers
            .iter()
            .filter(|consumer| consumer.is_stale(&prove) || consumer.is_busy())
        {
            let workload = consumer.workload.workload.to_string();
            if let Some(until) = waits.get(&consumer.workload.workload) {
                let what = format!("{workload} holds old material; its restart");
                self.wait_for_window(Area::Rollouts, *until, &what, rotating);
            }
            let (reason, mut phase, state) = match (&consumer.workload.rollout, consumer.is_stale(&prove)) {
                (_, true) if spec.strategy == RolloutStrategy::None => (
                    Reason::RestartNeeded,
                    RolloutPhase::RestartNeeded,
                    "holds old material, and rollout.strategy is None; restart it".to_owned(),
                ),
                (RolloutState::Running(why), _) if consumer.is_busy() => {
                    (Reason::RollingOut, RolloutPhase::Running, why.clone())
                }
                _ if waits.contains_key(&consumer.workload.workload) => (
                    Reason::WaitingForWindow,
                    RolloutPhase::Waiting,
                    "waits for the maintenance window".to_owned(),
                ),
                (_, true) if matches!(self.gate, Gate::Closed(_)) => (
                    Reason::OutsideWindow,
                    RolloutPhase::Waiting,
                    "is restarted outside the maintenance windows: a certificate cannot wait for the next one".to_owned(),
                ),
                _ => (Reason::RollingOut, RolloutPhase::Waiting, "waits for its restart".to_owned()),
            };
            // The time in the queue is no part of a rollout.
            let same = |(old, _): &&(RolloutPhase, Timestamp)| {
                let began = *old == RolloutPhase::Stuck && phase == RolloutPhase::Running;
                began || *old == phase
            };
            let since = previous.get(workload.as_str()).filter(same);
            let since = since.map_or(self.now, |(_, since)| *since);
            let late = since.saturating_add(timeout).unwrap_or(Timestamp::MAX);
            let said = format!("{workload} {state}");
            if phase == RolloutPhase::RestartNeeded {
                let problem = Problem::new(Reason::RestartNeeded, said);
                self.problem(Area::Rollouts, &workload, problem);
            } else if late <= self.now && consumer.is_busy() {
                phase = RolloutPhase::Stuck;
                let message = format!(
                    "{workload} has not finished its rollout since {since}: {state}; look at its pods (kubectl describe) and mend what keeps them from being available"
                );
                let problem = Problem::new(Reason::RolloutStuck, message);
                self.problem(Area::Rollouts, &workload, problem);
            } else if reason != Reason::WaitingForWindow {
                match late > self.now {
                    true => self.wake(late),
                    false => self.wake_in(RETRY),
                }
                let problem = Problem::new(reason, said);
                self.waiting.push((Area::Rollouts, problem));
            }
            self.status.rollouts.push(RolloutStatus {
                workload,
                phase,
                state,
                since: Time(since),
            });
        }
        if let Gate::Open(until) = self.gate {
            self.wake(until);
        }
    }

    fn finish(mut self) -> Plan {
        for entry in self.contested() {
            // A field that fits again for an hour is no longer contested.
            let recent = entry.last_time.0.duration_until(self.now) < CONTEST_WINDOW;
            if recent
                && !self
                    .status
                    .contested
                    .iter()
                    .any(|new| new.object == entry.object)
            {
                self.status.contested.push(entry);
            }
        }
        self.status
            .contested
            .sort_by(|a, b| a.object.cmp(&b.object));
        let paused = self.observed.issuance.spec.paused;
        if paused {
            self.steps.clear();
        }
        let stalled = self.problems.values().flatten().next().cloned();
        let (area_of_wait, waiting) = (
            self.waiting.first().map(|(area, _)| *area),
            self.waiting.first().map(|(_, problem)| problem.clone()),
        );
        let mut findings = Vec::new();
        for (area, kind, good) in [
            (Area::Issuer, "IssuerReady", Reason::Ready),
            (Area::Trust, "TrustDistributed", Reason::Ready),
            (Area::Certificates, "CertificatesReady", Reason::Ready),
            (Area::Planes, "PlanesWired", Reason::Ready),
            (Area::Rollouts, "RolloutsComplete", Reason::Ready),
        ] {
            let problems = self.problems.get(&area).map_or(&[][..], Vec::as_slice);
            let wait = self
                .waiting
                .iter()
                .find(|(place, _)| *place == area)
                .map(|(_, problem)| problem);
            let more = match problems.len().saturating_sub(JOINED) {
                0 => String::new(),
                count => format!(" (and {count} more)"),
            };
            findings.push(match (problems.first(), wait, self.warnings.get(&area)) {
                (Some(problem), ..) => finding(
                    kind,
                    false,
                    problem.reason,
                    format!("{}{more}", joined(problems).unwrap_or_default()),
                ),
                (None, Some(wait), _) => finding(kind, false, wait.reason, wait.message.clone()),
                (None, None, Some(warning)) => {
                    finding(kind, true, warning.reason, warning.message.clone())
                }
                (None, None, None) => finding(kind, true, good, good_message(area).into()),
            });
        }
        let issuing = self
            .steps
            .iter()
            .any(|step| matches!(step, Step::IssueLeaf { .. } | Step::GenerateCa { .. }));
        let ready = stalled.is_none() && waiting.is_none() && !paused;
        let overall = match (&stalled, &waiting) {
            _ if paused => Problem::new(
                Reason::Paused,
                "spec.paused is true: nothing is written or renewed",
            ),
            (Some(problem), _) => problem.clone(),
            (None, Some(problem)) => problem.clone(),
            (None, None) => Problem::new(
                Reason::Ready,
                "certificates, trust, planes and workloads are as wanted",
            ),
        };
        // kstatus calls it in progress while Reconciling is True: what only waits for a person is not.
        let moving = stalled.is_none() || !self.steps.is_empty();
        let progress = waiting.filter(|_| !paused && moving);
        let mut all = vec![
            finding("Ready", ready, overall.reason, overall.message),
            match &progress {
                Some(problem) => {
                    finding("Reconciling", true, problem.reason, problem.message.clone())
                }
                None => finding(
                    "Reconciling",
                    false,
                    Reason::Idle,
                    "nothing is under way".into(),
                ),
            },
            match &stalled {
                Some(problem) => finding("Stalled", true, problem.reason, problem.message.clone()),
                None => finding(
                    "Stalled",
                    false,
                    Reason::Idle,
                    "nothing needs a person".into(),
                ),
            },
            match issuing {
                true => finding(
                    "Issuing",
                    true,
                    Reason::Progressing,
                    "certificates are being issued".into(),
                ),
                false => finding(
                    "Issuing",
                    false,
                    Reason::Idle,
                    "no certificate is due".into(),
                ),
            },
        ];
        all.append(&mut findings);

        self.status.phase = Some(match (paused, &stalled, area_of_wait) {
            (true, ..) => Phase::Paused,
            (_, Some(_), _) => Phase::Stalled,
            (.., None) => Phase::Ready,
            (.., Some(_)) if self.is_rotating() => Phase::Rotating,
            (.., Some(Area::Rollouts)) => Phase::RollingOut,
            (.., Some(_)) => Phase::Issuing,
        });
        let previous = self
            .previous()
            .map_or(&[][..], |status| status.conditions.as_slice());
        let mut events = transitions(previous, &all);
        events.extend(self.dropped());
        self.status.conditions = merge(
            previous,
            all,
            self.observed.issuance.metadata.generation,
            self.now,
        );
        let known = known_anchors(self.previous());
        let say_first = self.immediate || !known_anchors(Some(&self.status)).is_subset(&known);
        Plan {
            steps: self.steps,
            status: self.status,
            events,
            problems: self.noted,
            next_check: self.next_check,
            say_first,
        }
    }

    /// Anchors that were on their way out and have left every trust place.
    fn dropped(&self) -> Vec<(bool, Problem)> {
        let anchors = |status: Option<&ExternalCAIssuanceStatus>| {
            let trust = status.and_then(|status| status.trust.clone());
            trust.map_or_else(Vec::new, |trust| trust.anchors)
        };
        let left = anchors(Some(&self.status));
        anchors(self.previous())
            .into_iter()
            .filter(|old| old.state == AnchorState::Retiring)
            .filter(|old| left.iter().all(|new| new.fingerprint != old.fingerprint))
            .map(|old| {
                let message = format!(
                    "{} ({}) is no longer trusted anywhere: nobody depends on it",
                    old.subject, old.fingerprint
                );
                (false, Problem::new(Reason::AnchorDropped, message))
            })
            .collect()
    }

    fn is_rotating(&self) -> bool {
        let anchors = self
            .status
            .trust
            .as_ref()
            .map_or(&[][..], |trust| &trust.anchors);
        anchors
            .iter()
            .any(|anchor| anchor.state == AnchorState::Retiring)
    }
}

fn good_message(area: Area) -> &'static str {
    match area {
        Area::Issuer => "the CA can sign",
        Area::Trust => "every trust place holds the bundle",
        Area::Certificates => "every certificate is as wanted",
        Area::Planes => "every plane trusts the CA",
        Area::Rollouts => "every workload has loaded what is stored",
    }
}

fn finding(kind: &'static str, status: bool, reason: Reason, message: String) -> Finding {
    Finding {
        kind,
        status,
        reason,
        message,
    }
}

/// The first few messages, each once.
fn joined(problems: &[Problem]) -> Option<String> {
    let messages = problems.iter().take(JOINED);
    let messages: Vec<&str> = messages.map(|problem| problem.message.as_str()).collect();
    (!messages.is_empty()).then(|| limit(messages.join("; "), 4096))
}

fn list(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    match names.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A condition that turned speaks once; Reconciling and Issuing come and go and say nothing.
fn transitions(
    previous: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    findings: &[Finding],
) -> Vec<(bool, Problem)> {
    findings
        .iter()
        .filter(|finding| {
            !matches!(
                finding.kind,
                "Ready" | "Reconciling" | "Stalled" | "Issuing"
            )
        })
        .filter(|finding| {
            let old = previous
                .iter()
                .find(|condition| condition.type_ == finding.kind);
            old.map(|condition| condition.reason.as_str()) != Some(finding.reason.as_str())
        })
        .filter(|finding| {
            !matches!(
                finding.reason,
                Reason::Ready | Reason::Progressing | Reason::RollingOut
            ) && !is_issue_reason(finding.reason)
        })
        .map(|finding| {
            let bad = !matches!(
                finding.reason,
                Reason::WaitingForPeers | Reason::WaitingForWindow
            );
            (bad, Problem::new(finding.reason, finding.message.clone()))
        })
        .collect()
}

/// When a leaf is issued.
enum When {
    Now,
    /// Once these trust the CA.
    Trusted(Waiting),
    /// Once the next maintenance window is open.
    Window(Timestamp),
}

/// Until when the stored certificate does its work.
fn serves_until(context: &LeafContext<'_>, reason: Reason) -> Option<Timestamp> {
    let end = checks::certificate(context.stored)?.not_after();
    Some(if is_defect(reason) { context.now } else { end })
}

/// The certificate that is stored serves nobody.
fn is_defect(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UsageWrong | Reason::Expired | Reason::KeyMismatch | Reason::CertificateInvalid
    )
}

fn is_issue_reason(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::SecretMissing | Reason::Renewing | Reason::RenewRequested | Reason::SignerChanged
    )
}

fn known_anchors(status: Option<&ExternalCAIssuanceStatus>) -> BTreeSet<Fingerprint> {
    let trust = status.and_then(|status| status.trust.as_ref());
    let anchors = trust.map_or(&[][..], |trust| &trust.anchors);
    fingerprints(anchors.iter().map(|anchor| &anchor.fingerprint))
}

fn former_anchors(status: Option<&ExternalCAIssuanceStatus>) -> BTreeSet<Fingerprint> {
    let trust = status.and_then(|status| status.trust.as_ref());
    fingerprints(trust.into_iter().flat_map(|trust| &trust.former))
}

fn retiring_since(status: Option<&ExternalCAIssuanceStatus>) -> BTreeMap<Fingerprint, Timestamp> {
    let trust = status.and_then(|status| status.trust.as_ref());
    let anchors = trust.map_or(&[][..], |trust| &trust.anchors);
    let retiring = anchors
        .iter()
        .filter(|anchor| anchor.state == AnchorState::Retiring);
    let since = retiring.filter_map(|anchor| {
        let fingerprint = Fingerprint::parse(&anchor.fingerprint)?;
        Some((fingerprint, anchor.since.as_ref()?.0))
    });
    since.collect()
}

fn fingerprints<'a>(texts: impl Iterator<Item = &'a String>) -> BTreeSet<Fingerprint> {
    texts.filter_map(|text| Fingerprint::parse(text)).collect()
}

fn same(stored: &[Certificate], wanted: &[Certificate]) -> bool {
    stored.len() == wanted.len() && wanted.iter().all(|anchor| stored.contains(anchor))
}
