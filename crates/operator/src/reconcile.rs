//! One turn of an issuance: observe, plan, apply, report.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use external_ca_api::{ExternalCAIssuance, RENEW_ANNOTATION};
use external_ca_core::Problem;
use external_ca_core::domain::identity;
use external_ca_core::plan::{Consume, Step};
use external_ca_core::report::{Decision, decide, with_failures, without_memory};
use jiff::Timestamp;
use kube::runtime::controller::Action;

use crate::apply::{Outcome, apply};
use crate::context::{Context, Memory};
use crate::issuers::Answers;
use crate::observe::{Sight, observe};
use crate::report::{STATUS_INTERVAL, StatusWriter, Stored};

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
    let mut memory = context.recall(&issuance);
    let wait = turn(&context, &issuance, &mut memory).await;
    context.remember(&issuance, memory);
    Ok(Action::requeue(wait))
}

/// Returns in how long the next turn begins, where nothing changes before.
async fn turn(
    context: &Context,
    cached: &Arc<ExternalCAIssuance>,
    memory: &mut Memory,
) -> Duration {
    let started = Instant::now();
    if !read_planes_in_doubt(context, memory).await {
        return STATUS_INTERVAL;
    }
    if context.issuers.answers() == Answers::Later
        && let Err(error) = context.pending.read_once().await
    {
        // Whoever issues reads it, too, and says why that fails.
        tracing::debug!(%error, "pending requests");
    }
    memory.status.catch_up(cached);
    let mut writer = StatusWriter::new(context, cached, &memory.status);
    let issuance = memory.status.latest(cached);
    let clock = context.clock.read();
    let now = clock.now;
    let Some(Sight {
        mut observed,
        issuer,
    }) = observe(context, &issuance, clock)
    else {
        // The cluster announces it when the last first read is in.
        return FIRST_READS;
    };
    observed.refused = memory.pace.refused();
    let mut decision = decide(&observed, now);
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
        decision.steps = without_memory(&observed, now);
    }
    let (steps, mut failures) = admit(memory, decision.steps, started);
    let outcome = apply(context, &observed, issuer, steps, now).await;
    failures.extend(take_in(context, &issuance, memory, &outcome));
    // In one order, whichever of them was tried now: conditions tell the first.
    failures.sort_by_key(|(step, _)| step.object());
    let earlier = issuance.status.as_ref();
    let failed = with_failures(&mut decision.status, &failures, earlier, now);
    decision.events.extend(failed);
    let (status, done) = (&mut memory.status, &outcome.done);
    let stored = writer
        .report(decision.status, decision.events, done, status)
        .await;
    if unstorable && !memory.status.unstorable {
        // What had to wait for a stored status waits no longer.
        decision.next_check = now;
    }
    context.metrics.reconciled(started.elapsed());
    pause(memory, &outcome, &stored, decision.next_check, now)
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
    writer: &mut StatusWriter<'_>,
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
    issuance: &ExternalCAIssuance,
    memory: &mut Memory,
    outcome: &Outcome,
) -> Vec<(Step, Problem)> {
    let mut failures = Vec::new();
    for (step, error) in &outcome.failed {
        let problem = error.problem(step.object());
        context.metrics.failed(problem.reason);
        if memory.pace.failed(step, &problem, error.retry_after()) {
            tracing::warn!(issuance = identity(issuance), reason = %problem.reason, "{}", problem.message);
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
