//! Carries a plan out, round by round: trust, planes, certificates, and the rest. Material, planes and workloads are written
//! in here only.

mod consume;
mod drop_request;
mod generate_ca;
mod inject_bundle;
mod issue_later;
mod issue_leaf;
mod keys;
mod leaf;
mod preconditions;
mod restart;
mod wire_plane;
pub mod write;
mod write_bundle;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use external_ca_api::RENEW_ANNOTATION;
use external_ca_core::model::{PlaneRef, Snapshot};
use external_ca_core::plan::{Consume, Round, Step};
use external_ca_core::snapshot::rests_on_pods;
use external_ca_core::{Problem, Reason};
use futures::StreamExt;
use jiff::Timestamp;

use crate::context::Context;
use crate::declaration::Declaration;
use crate::error::Error;
use crate::issuers::Issuer;
use leaf::Asking;

/// After this long no further certificate is begun: the status is written and the rest planned anew.
const SLICE: Duration = Duration::from_secs(2);
/// So many writes that cost only the API server anything run at once.
const WRITES: usize = 8;

/// What came of a plan.
#[derive(Default)]
pub struct Outcome {
    /// What was done.
    pub done: Vec<Problem>,
    /// Which objects were written.
    pub written: Vec<String>,
    /// What failed.
    pub failed: Vec<(Step, Error)>,
    /// Leaves whose requests the authority has left pending.
    pub pending: BTreeSet<String>,
    /// Whether anything is left to do, or must be looked at again.
    pub unfinished: bool,
    /// Planes that may have been written, or not: to be read before anything is decided.
    pub in_doubt: BTreeSet<PlaneRef>,
    /// The issuance's version, where it was written.
    pub version: Option<String>,
}

/// What came of a step.
enum Done {
    /// What there is to tell of it.
    Told(Problem),
    /// An annotation was taken off the issuance, which has this version now.
    Consumed(Option<String>),
    /// The authority has the request, and has not signed yet.
    Pending,
    /// There was nothing to do.
    Nothing,
}

/// What the steps of a plan rest on.
#[derive(Clone, Copy)]
struct Basis<'a> {
    context: &'a Context,
    declaration: &'a Declaration,
    observed: &'a Snapshot,
    issuer: Option<&'a Issuer>,
    now: Timestamp,
}

/// Carries the steps out in order, those of a round side by side, and those of the last one by one.
pub async fn apply(
    context: &Context,
    declaration: &Declaration,
    observed: &Snapshot,
    issuer: Option<Issuer>,
    steps: Vec<Step>,
    now: Timestamp,
) -> Outcome {
    let basis = Basis {
        context,
        declaration,
        observed,
        issuer: issuer.as_ref(),
        now,
    };
    let mut outcome = Outcome::default();
    let mut rounds: BTreeMap<Round, Vec<Step>> = BTreeMap::new();
    for step in steps {
        rounds.entry(step.round()).or_default().push(step);
    }
    let mut round = |round| rounds.remove(&round).unwrap_or_default();
    for writes in [round(Round::Trust), round(Round::Planes)] {
        if !basis.change_trust(writes, &mut outcome).await {
            // What follows rests on who trusts what.
            return outcome;
        }
    }
    if !basis.issue(round(Round::Certificates), &mut outcome).await {
        return outcome;
    }
    basis.finish(round(Round::Rest), &mut outcome).await;
    outcome
}

impl Basis<'_> {
    /// Writes bundles or planes; false where it is not known what stands there now.
    async fn change_trust(self, mut writes: Vec<Step>, outcome: &mut Outcome) -> bool {
        let cluster = &self.context.cluster;
        if writes.is_empty() {
            return true;
        }
        let authority = self.declaration.authority();
        if !preconditions::still_signs(cluster, &authority, self.observed, self.now).await {
            outcome.unfinished = true;
            return false;
        }
        let mut is_known = self.hold_back(&mut writes, outcome).await;
        let results = futures::stream::iter(writes)
            .map(|step| async move { (self.carry_out(&step).await, step) })
            .buffer_unordered(WRITES);
        for (result, step) in results.collect::<Vec<_>>().await {
            is_known &= !result.as_ref().is_err_and(Error::leaves_doubt);
            self.take_in(result, step, outcome).await;
        }
        is_known
    }

    /// Keeps those steps back that rest on pods, where one was overlooked or they cannot be listed; returns whether none was.
    async fn hold_back(self, steps: &mut Vec<Step>, outcome: &mut Outcome) -> bool {
        let asks = !self.declaration.is_immediate();
        let rests_on_pods = |step: &mut Step| asks && rests_on_pods(step);
        if !steps.iter_mut().any(rests_on_pods) {
            return true;
        }
        let known = preconditions::knows_every_pod(&self.context.cluster, self.observed).await;
        if matches!(known, Ok(true)) {
            return true;
        }
        outcome.unfinished = true;
        let held = steps.extract_if(.., rests_on_pods);
        if let Err(unread) = known {
            outcome
                .failed
                .extend(held.map(|step| (step, unread.clone().into())));
        } else {
            held.for_each(drop);
        }
        false
    }

    /// Issues certificates for as long as a slice lasts; false where some have to be planned anew.
    async fn issue(self, mut leaves: Vec<Step>, outcome: &mut Outcome) -> bool {
        let is_known = self.hold_back(&mut leaves, outcome).await;
        // A renewal that was asked for is granted as a whole, or asked for again.
        let asked = leaves.iter().any(
            |step| matches!(step, Step::IssueLeaf(leaf) if leaf.why.reason == Reason::RenewRequested),
        );
        let started = Instant::now();
        let results = futures::stream::iter(leaves)
            .map(|step| async move {
                if !asked && started.elapsed() > SLICE {
                    return (None, step);
                }
                (Some(self.carry_out(&step).await), step)
            })
            .buffer_unordered(self.context.parallel * 2);
        for (result, step) in results.collect::<Vec<_>>().await {
            match result {
                Some(result) => self.take_in(result, step, outcome).await,
                None => outcome.unfinished = true,
            }
        }
        is_known
    }

    /// Restarts workloads, and takes off the annotations whose requests are granted.
    async fn finish(self, rest: Vec<Step>, outcome: &mut Outcome) {
        let grants = Step::Consume(Consume {
            annotation: RENEW_ANNOTATION,
        });
        for step in rest {
            let issuing = |(step, _): &(Step, Error)| matches!(step, Step::IssueLeaf(_));
            let waits = !outcome.pending.is_empty() || outcome.failed.iter().any(issuing);
            if step == grants && waits {
                continue;
            }
            let result = self.carry_out(&step).await;
            outcome.add(result, step);
        }
    }

    /// Has one step carried out by the writer of its kind.
    async fn carry_out(self, step: &Step) -> Result<Done, Error> {
        let Self {
            context,
            declaration,
            observed,
            issuer,
            now,
        } = self;
        let cluster = &context.cluster;
        if !preconditions::are_as_seen(cluster, observed, step.rests_on()).await {
            return Err(Error::Changed);
        }
        let told = match step {
            Step::GenerateCa(step) => {
                if !preconditions::is_untrusted(cluster, observed, step).await? {
                    return Err(Error::Changed);
                }
                generate_ca::carry_out(context, declaration, step, now).await?
            }
            Step::WriteBundle(step) => write_bundle::carry_out(cluster, declaration, step).await?,
            Step::WirePlane(step) => wire_plane::carry_out(cluster, step).await?,
            Step::InjectBundle(step) => inject_bundle::carry_out(cluster, step).await?,
            Step::IssueLeaf(step) => {
                let Some(issuer) = issuer else {
                    return Ok(Done::Nothing);
                };
                let asking = Asking {
                    context,
                    declaration,
                    observed,
                    issuer,
                    step,
                    now,
                };
                match issue_leaf::carry_out(&asking).await? {
                    Some(told) => told,
                    None => return Ok(Done::Pending),
                }
            }
            Step::Restart(step) => restart::carry_out(context, declaration, step).await?,
            Step::DropRequest(step) => {
                drop_request::carry_out(&context.pending, &declaration.uid(), step).await?;
                return Ok(Done::Nothing);
            }
            Step::Consume(step) => {
                // Only an issuance can be asked for something.
                let Declaration::Issuance(issuance) = declaration else {
                    return Ok(Done::Nothing);
                };
                let version = consume::carry_out(&context.client, issuance, step).await?;
                return Ok(Done::Consumed(version));
            }
        };
        Ok(Done::Told(told))
    }

    /// Puts what came of a step into the outcome.
    async fn take_in(self, result: Result<Done, Error>, step: Step, outcome: &mut Outcome) {
        if result.as_ref().is_err_and(Error::leaves_doubt) {
            let plane = write::read_in_doubt(&self.context.cluster, &step).await;
            outcome.in_doubt.extend(plane);
        }
        outcome.add(result, step);
    }
}

impl Outcome {
    fn add(&mut self, result: Result<Done, Error>, step: Step) {
        self.unfinished = true;
        match result {
            Ok(Done::Pending) => drop(self.pending.insert(step.object())),
            Ok(done) => {
                self.written.push(step.object());
                match done {
                    Done::Told(problem) => self.done.push(problem),
                    Done::Consumed(version) => self.version = version,
                    Done::Pending | Done::Nothing => {}
                }
            }
            Err(Error::Changed) => {}
            Err(error) => self.failed.push((step, error)),
        }
    }
}
