//! One turn of a trust domain, whatever declared it: observe, plan, apply, report.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus, RENEW_ANNOTATION};
use external_ca_core::Problem;
use external_ca_core::plan::{Consume, Step};
use external_ca_core::report::{Decision, with_failures};
use jiff::Timestamp;
use kube::runtime::controller::Action;

use crate::allocator::give_back_holes;
use crate::apply::{Outcome, apply};
use crate::context::{Context, Memory};
use crate::declaration::Declaration;
use crate::issuers::Answers;
use crate::observe::{Sight, observe};
use crate::report::{STATUS_INTERVAL, Stored};
use crate::rest::Rest;
use crate::writer::Writer;

/// How long first reads may take before a turn looks whether they are in.
const FIRST_READS: Duration = Duration::from_secs(5);
/// The shortest pause between two turns that nothing hurries.
const SHORTEST: Duration = Duration::from_millis(500);
/// How long a write of another may be on its way to us.
const ON_ITS_WAY: Duration = Duration::from_millis(200);

/// One turn, over what is remembered of the issuance. It does not fail: what goes wrong is a condition, and the pause
/// grows.
pub async fn reconcile(
    issuance: Arc<ExternalCAIssuance>,
    context: Arc<Context>,
) -> Result<Action, Infallible> {
    if context.broken.contains(&issuance) {
        return Ok(Action::await_change());
    }
    let declaration = Declaration::Issuance(Arc::clone(&issuance));
    let mut memory = context.recall(&declaration.uid());
    let wait = turn(&context, &declaration, &mut memory).await;
    context.remember(&issuance, memory);
    Ok(Action::requeue(wait))
}

/// Returns in how long the next turn begins, where nothing changes before.
pub async fn turn(context: &Context, cached: &Declaration, memory: &mut Memory) -> Duration {
    let started = Instant::now();
    let rest = memory.rest.take();
    if !read_planes_in_doubt(context, memory).await {
        return STATUS_INTERVAL;
    }
    let may_wait = matches!(cached, Declaration::CertManager(_));
    if (may_wait || context.issuers.answers() == Answers::Later)
        && let Err(error) = context.pending.read_once().await
    {
        // Whoever issues reads it, too, and says why that fails.
        tracing::debug!(%error, "pending requests");
    }
    let (latest, earlier) = latest(context, cached, memory);
    let clock = context.clock.read();
    let now = clock.now;
    let sight = observe(context, &latest, earlier.clone(), clock);
    let Some(Sight { mut basis, issuer }) = sight else {
        // The cluster announces it when the last first read is in.
        return FIRST_READS;
    };
    basis.snapshot_mut().refused = memory.pace.refused();
    if let Some(lasts) = rest.as_ref().and_then(|rest| rest.lasts(&basis, now)) {
        memory.rest = rest;
        return lasts.max(SHORTEST);
    }
    let mut writer = Writer::new(context, cached, &memory.status, earlier.as_ref());
    let mut decision = basis.decide(now);
    if let Some(unstored) = persist_status_first(&mut writer, &decision, memory).await {
        return pause(
            memory,
            &Outcome::default(),
            &unstored,
            decision.next_check,
            now,
        );
    }
    let unstorable = memory.status.unstorable;
    if unstorable {
        decision.steps = basis.without_memory(now);
    }
    if !context.front_end.issues() {
        let left = |step: &Step| latest.is_left_to_others(step);
        decision.steps.retain(|step| !left(step));
    }
    let has_steps = !decision.steps.is_empty();
    let steps = match cached {
        // Thousands, with all that each leaf is to be: they are not held twice.
        Declaration::Issuance(_) => std::mem::take(&mut decision.steps),
        Declaration::CertManager(_) => decision.steps.clone(),
    };
    let (steps, mut failures) = admit(memory, steps, started);
    let outcome = apply(context, &latest, basis.snapshot(), issuer, steps, now).await;
    failures.extend(take_in(context, &latest, memory, &outcome));
    // In one order, whichever of them was tried now: conditions tell the first.
    failures.sort_by_key(|(step, _)| step.object());
    let failed = with_failures(&mut decision.status, &failures, basis.earlier(), now);
    decision.events.extend(failed);
    let next_check = decision.next_check;
    let is_rest = !has_steps && failures.is_empty() && !outcome.unfinished;
    let (status, done) = (&mut memory.status, &outcome.done);
    let stored = writer
        .report(&basis, decision, &failures, done, status)
        .await;
    // What had to wait for a stored status waits no longer.
    let next_check = match unstorable && !memory.status.unstorable {
        true => now,
        false => next_check,
    };
    context.metrics.reconciled(started.elapsed());
    if is_rest && matches!(stored, Stored::Yes) && !memory.status.unstorable {
        memory.rest = Rest::new(basis, next_check).map(Arc::new);
    }
    give_back_holes();
    pause(memory, &outcome, &stored, next_check, now)
}

/// What declared it, and what was last concluded of it: decisions rest on that, and neither on the cache nor on a status that
/// waits for its second.
fn latest(
    context: &Context,
    cached: &Declaration,
    memory: &mut Memory,
) -> (Declaration, Option<Arc<ExternalCAIssuanceStatus>>) {
    match cached {
        Declaration::Issuance(issuance) => {
            memory.status.catch_up(issuance);
            let latest = memory.status.latest(issuance);
            (Declaration::Issuance(latest), None)
        }
        Declaration::CertManager(declared) => {
            let concluded = memory.status.concluded.clone();
            let secret = &declared.authority.secret;
            let earlier = concluded.or_else(|| context.cluster.memory(secret).map(Arc::new));
            (cached.clone(), earlier)
        }
    }
}

/// Reads the planes that an earlier turn may have written, or not; false where one cannot be read.
async fn read_planes_in_doubt(context: &Context, memory: &mut Memory) -> bool {
    for plane in std::mem::take(&mut memory.in_doubt) {
        if !context.cluster.read_plane(&plane).await {
            memory.in_doubt.insert(plane);
        }
    }
    memory.in_doubt.is_empty()
}

/// Where the decision asks for it, its status is stored ahead of its steps. What is returned ends the turn.
async fn persist_status_first(
    writer: &mut Writer<'_>,
    decision: &Decision,
    memory: &mut Memory,
) -> Option<Stored> {
    if !decision.persist_status_first || decision.steps.is_empty() {
        return None;
    }
    writer
        .store_first(&decision.status, &mut memory.status)
        .await
}

/// The steps that may be tried now, and those that still wait after a failure.
fn admit(memory: &mut Memory, steps: Vec<Step>, now: Instant) -> (Vec<Step>, Vec<(Step, Problem)>) {
    let (mut admitted, held) = memory.pace.admit(steps, now);
    let issuing = |(step, _): &(Step, Problem)| matches!(step, Step::IssueLeaf(_));
    if held.iter().any(issuing) {
        // A request is granted as a whole.
        let grants = Step::Consume(Consume {
            annotation: RENEW_ANNOTATION,
        });
        admitted.retain(|step| *step != grants);
    }
    (admitted, held)
}

/// Remembers what came of the steps, and returns those that failed, with why.
fn take_in(
    context: &Context,
    declaration: &Declaration,
    memory: &mut Memory,
    outcome: &Outcome,
) -> Vec<(Step, Problem)> {
    let mut failures = Vec::new();
    for (step, error) in &outcome.failed {
        let problem = error.problem(step.object());
        context.metrics.failed(problem.reason);
        if memory.pace.failed(step, &problem, error.retry_after()) {
            tracing::warn!(issuance = declaration.identity(), reason = %problem.reason, "{}", problem.message);
        }
        failures.push((step.clone(), problem));
    }
    memory.pace.wrote(&outcome.written, Instant::now());
    memory.in_doubt.clone_from(&outcome.in_doubt);
    if outcome.version.is_some() {
        memory.status.version.clone_from(&outcome.version);
    }
    failures
}

/// The shortest of what is waited for.
fn pause(
    memory: &Memory,
    outcome: &Outcome,
    stored: &Stored,
    next_check: Timestamp,
    now: Timestamp,
) -> Duration {
    let planned = Duration::try_from(now.duration_until(next_check)).unwrap_or_default();
    let mut wait = planned.max(SHORTEST);
    if let Some(retry) = memory.pace.next_retry() {
        wait = wait.min(retry);
    }
    if outcome.unfinished {
        wait = if outcome.written.is_empty() {
            wait.min(ON_ITS_WAY)
        } else {
            Duration::ZERO
        };
    }
    match stored {
        Stored::Yes => wait,
        Stored::Later(rest) => wait.min(*rest),
        Stored::Changed => wait.min(STATUS_INTERVAL),
        Stored::Failed(pause) if memory.status.unstorable => wait.min(*pause),
        Stored::Failed(pause) => *pause,
    }
}

/// Stands in the controller's signature only: a turn does not fail.
pub fn on_error(_: Arc<ExternalCAIssuance>, error: &Infallible, _: Arc<Context>) -> Action {
    match *error {}
}
