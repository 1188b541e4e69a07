//! One function from the snapshot to what is to be done.

mod anchors;
mod bundles;
mod conditions;
mod draft;
mod issuer;
mod leaves;
pub mod maintenance;
mod planes;
mod repairs;
mod rollouts;
mod rotation;
mod step;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{ClientCa, ExternalCAIssuanceStatus, RotationStrategy};
use jiff::{SignedDuration, Timestamp};

pub use step::{
    Consume, GenerateCa, IssueLeaf, Restart, Round, Step, WirePlane, Wiring, WriteBundle,
};

use anchors::{former_anchors, known_anchors, retiring_since};
use draft::{Area, Draft, RETRY};

use crate::domain::{desired, selector_defect, trust_secret};
use crate::model::{Issuer, MaterialKind, MaterialRef, ObjectRef, Observed};
use crate::plan::maintenance::Gate;
use crate::reason::{Problem, Reason};
use crate::trust::evidence::{Holders, consumers};
use crate::trust::overlap::unseen;
use crate::trust::{Trust, Verified};
use crate::x509::{CaChain, Certificate};

/// When an unchanged issuance is looked at again at the latest.
const RESYNC: SignedDuration = SignedDuration::from_hours(12);

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
    let mut desired = desired(issuance, &observed.planes);
    desired.settle(observed);
    let mut draft = Draft {
        observed,
        desired,
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

/// What may be done while the status cannot be stored: all but what takes trust away. What is handed out and not remembered
/// is later taken for somebody else's, so that bundles only grow.
pub fn without_memory(observed: &Observed, now: Timestamp) -> Vec<Step> {
    let mut staged = observed.clone();
    let spec = &mut Arc::make_mut(&mut staged.issuance).spec;
    spec.rotation.strategy = RotationStrategy::Staged;
    let mut steps = plan(&staged, now).steps;
    steps.retain(|step| !step.drops());
    steps
}

impl Draft<'_> {
    fn run(&mut self) {
        for (target, problem) in self.desired.problems.clone() {
            let object =
                target.map_or_else(|| self.issuance(), |target| format!("Secret {target}"));
            self.problem(Area::Certificates, object, problem);
        }
        let (additional, unknown) = self.additional_anchors();
        let issuer = self.observed.issuer.clone();
        match (
            selector_defect(&self.observed.issuance),
            issuer.chain(),
            &issuer,
        ) {
            // Which planes are meant is not known, nor what they trust.
            (Some(problem), ..) => {
                self.problem(Area::Planes, self.issuance(), problem);
                self.keep_status();
            }
            (None, Some(ca), _) => match self.unfit(ca) {
                Some(problem) => self.refuse(problem),
                None => self.with_issuer(ca, &additional, &unknown),
            },
            (None, None, Issuer::Refused(problem)) => self.refuse(problem.clone()),
            (None, None, _) => self.without_issuer(),
        }
        for unread in &self.observed.unreadable {
            let area = match unread.planes {
                true => Area::Planes,
                false => Area::Rollouts,
            };
            let object = self.issuance();
            let problem = Problem::new(Reason::Unreadable, unread.why.clone());
            self.problem(area, object, problem);
            self.wake_in(RETRY);
        }
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
        let retiring_since = retiring_since(self.previous(), self.now);
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
}
