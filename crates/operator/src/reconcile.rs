//! One turn: observe, plan, apply, say.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus, MANAGER, RENEW_ANNOTATION};
use external_ca_core::domain::identity;
use external_ca_core::model::PlaneRef;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::snapshot::Scope;
use external_ca_core::plan::{Consume, Step};
use external_ca_core::report::bounded::bounded as bounded_status;
use external_ca_core::report::{Decision, Notice, decide, with_failures, without_memory};
use external_ca_core::{Problem, Reason};
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

use crate::apply::{Outcome, apply};
use crate::broken::Broken;
use crate::error::{Error, bounded};
use crate::observe::observe;
use crate::pace::{Pace, backoff};
use crate::store::{Store, is_older};
use crate::telemetry::Metrics;
use crate::watches::Watches;

/// The status of one issuance is written at most this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// After so many failures in a row work goes on without a stored status.
const STATUS_FAILURES: u32 = 3;
/// Dropping an anchor waits for it: it is tried again at the latest after this time.
const STATUS_PAUSE: Duration = Duration::from_secs(20);
/// What every reconcile shares.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What was last seen.
    pub store: Arc<Store>,
    /// What is watched.
    pub watches: Arc<Watches>,
    /// Every issuance.
    pub issuances: reflector::Store<ExternalCAIssuance>,
    /// Where it may work.
    pub scope: Scope,
    /// The series.
    pub metrics: Arc<Metrics>,
    /// The Events.
    pub recorder: Recorder,
    /// How many keys are made at once.
    pub keygen: Semaphore,
    /// The number of cores.
    pub parallel: usize,
    /// Issuances that do not parse.
    pub broken: Broken,
    /// What is remembered of each issuance, by UID.
    pub memory: Mutex<HashMap<String, Memory>>,
}

/// What is remembered of an issuance between two turns: for speed and manners only, never for decisions about trust.
#[derive(Default, Clone)]
pub struct Memory {
    pace: Pace,
    /// What the last turn said, whether it is written yet or not.
    said: Option<Arc<ExternalCAIssuanceStatus>>,
    /// What was last written or read back, and the issuance's version then; the cache may not have seen it yet.
    status: Option<Arc<ExternalCAIssuanceStatus>>,
    version: Option<String>,
    written: Option<Instant>,
    /// Planes whose last write may have happened, or not.
    in_doubt: BTreeSet<PlaneRef>,
    status_failures: u32,
    /// When the status may be written again.
    status_retry: Option<Instant>,
    /// The status cannot be stored, or has not been several times in a row: nothing that takes trust away is done.
    unstorable: bool,
}

/// One turn. It does not fail: what goes wrong is a condition, and the pause grows.
pub async fn reconcile(
    issuance: Arc<ExternalCAIssuance>,
    context: Arc<Context>,
) -> Result<Action, std::convert::Infallible> {
    let started = Instant::now();
    let uid = issuance.uid().unwrap_or_default();
    if context.broken.is(&issuance) {
        return Ok(Action::await_change());
    }
    let mut memory = context.memory().get(&uid).cloned().unwrap_or_default();
    for plane in std::mem::take(&mut memory.in_doubt) {
        if !context.watches.read_plane(&plane).await {
            memory.in_doubt.insert(plane);
        }
    }
    if !memory.in_doubt.is_empty() {
        context.memory().insert(uid, memory);
        return Ok(Action::requeue(STATUS_INTERVAL));
    }
    if let (Some(own), Some(cached)) = (&memory.version, issuance.resource_version())
        && is_older(own, &cached)
    {
        // Somebody else has written it since: what was last said may be behind.
        (memory.said, memory.status, memory.version) = (None, None, None);
    }
    let mut stored = memory
        .status
        .as_deref()
        .or(issuance.status.as_ref())
        .cloned();
    let issuance = with_own_status(issuance, &memory);
    let now = Timestamp::now();
    let Some(observed) = observe(&context, &issuance, now) else {
        // The store rings when the last first read is in.
        return Ok(Action::requeue(Duration::from_secs(5)));
    };
    let Decision {
        steps,
        mut status,
        events,
        next_check,
        persist_status_first,
        problems: _,
    } = decide(&observed, now);
    if persist_status_first && !steps.is_empty() {
        let written =
            write_status(&context, &issuance, stored.as_ref(), &status, &mut memory).await;
        match written {
            Written::Yes => {
                memory.said.clone_from(&memory.status);
                stored = memory.status.as_deref().cloned();
            }
            _ if memory.unstorable => {}
            written => {
                let action = next(&mut memory, &Outcome::default(), written, next_check, now);
                context.memory().insert(uid, memory);
                return Ok(action);
            }
        }
    }
    let forgetful = memory.unstorable;
    let steps = match forgetful {
        true => without_memory(&observed, now),
        false => steps,
    };
    let (mut steps, mut failures) = memory.pace.admit(steps, started);
    if failures
        .iter()
        .any(|(step, _)| matches!(step, Step::IssueLeaf(_)))
    {
        // A request is granted as a whole.
        steps.retain(|step| {
            *step
                != Step::Consume(Consume {
                    annotation: RENEW_ANNOTATION,
                })
        });
    }
    let outcome = apply(&context, &observed, steps, now).await;
    for (step, error) in &outcome.failed {
        let problem = error.problem(step.object());
        context.metrics.failed(problem.reason);
        tracing::warn!(issuance = identity(&issuance), reason = %problem.reason, "{}", problem.message);
        memory.pace.failed(step, &problem, error.retry_after());
        failures.push((step.clone(), problem));
    }
    memory.pace.wrote(&outcome.written);
    memory.in_doubt.clone_from(&outcome.in_doubt);
    if outcome.version.is_some() {
        memory.version.clone_from(&outcome.version);
    }
    let failure_events = with_failures(&mut status, &failures, issuance.status.as_ref(), now);
    let said = Arc::new(status.clone());
    context.metrics.issuances.said(&issuance, Arc::clone(&said));
    memory.said = Some(said);
    let written = write_status(&context, &issuance, stored.as_ref(), &status, &mut memory).await;
    publish(
        &context,
        &issuance,
        events.into_iter().chain(failure_events),
        &outcome,
    )
    .await;

    // What had to wait for a stored status waits no longer.
    let resumed = forgetful && !memory.unstorable;
    let next_check = if resumed { now } else { next_check };
    let action = next(&mut memory, &outcome, written, next_check, now);
    context.memory().insert(uid, memory);
    if context
        .issuances
        .get(&reflector::ObjectRef::from_obj(issuance.as_ref()))
        .is_none()
    {
        // It was deleted meanwhile.
        context.forget(&issuance);
    }
    context.metrics.reconciled(started.elapsed());
    Ok(action)
}

impl Context {
    fn memory(&self) -> std::sync::MutexGuard<'_, HashMap<String, Memory>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An issuance is gone: what it needed is no longer watched. Its material stays.
    pub fn forget(&self, issuance: &ExternalCAIssuance) {
        self.watches.forget(&identity(issuance));
        self.memory().remove(&issuance.uid().unwrap_or_default());
        self.metrics.issuances.forget(issuance);
    }
}

/// A decision rests on what was last said: neither the cache nor a status that waits for its second is behind.
fn with_own_status(issuance: Arc<ExternalCAIssuance>, memory: &Memory) -> Arc<ExternalCAIssuance> {
    match &memory.said {
        Some(status) => {
            let mut own = issuance.as_ref().clone();
            own.status = Some(status.as_ref().clone());
            Arc::new(own)
        }
        None => issuance,
    }
}

enum Written {
    Yes,
    Later(Duration),
    /// The issuance had changed: what it says now is what the next turn rests on.
    Changed,
    /// It is written again after this pause.
    Failed(Duration),
}

/// Nothing is said over what was not read: another operator that leads may have said something that must not be lost.
async fn write_status(
    context: &Context,
    issuance: &ExternalCAIssuance,
    stored: Option<&ExternalCAIssuanceStatus>,
    status: &ExternalCAIssuanceStatus,
    memory: &mut Memory,
) -> Written {
    let status = &bounded_status(status);
    if stored == Some(status) {
        (memory.status_failures, memory.unstorable) = (0, false);
        return Written::Yes;
    }
    let now = Instant::now();
    let interval = memory.written.map(|last| last + STATUS_INTERVAL);
    let earliest = interval.into_iter().chain(memory.status_retry).max();
    if let Some(earliest) = earliest.filter(|earliest| *earliest > now) {
        return Written::Later(earliest - now);
    }
    let api: Api<Lenient<ExternalCAIssuance>> = Api::namespaced(
        context.client.clone(),
        &issuance.namespace().unwrap_or_default(),
    );
    let params = PatchParams {
        field_manager: Some(MANAGER.into()),
        ..PatchParams::default()
    };
    let version = memory.version.clone();
    let version = version.or_else(|| issuance.resource_version());
    let patch = Patch::Merge(json!({
        "metadata": {"resourceVersion": version},
        "status": replacement(stored, status),
    }));
    memory.written = Some(Instant::now());
    let name = issuance.name_any();
    match bounded(api.patch_status(&name, &params, &patch)).await {
        Err(Error::Changed) => {
            let live = bounded(api.get(&name)).await;
            match live.and_then(|live| Ok(live.into_decoded()?)) {
                Ok(live) => {
                    memory.version = live.resource_version();
                    memory.status = live.status.map(Arc::new);
                    memory.said.clone_from(&memory.status);
                    Written::Changed
                }
                Err(error) => not_written(context, issuance, &error, memory).await,
            }
        }
        Ok(written) => {
            memory.version = written.resource_version();
            memory.status = Some(Arc::new(status.clone()));
            (memory.status_failures, memory.unstorable) = (0, false);
            memory.status_retry = None;
            Written::Yes
        }
        Err(error) => not_written(context, issuance, &error, memory).await,
    }
}

/// The condition cannot tell it: an Event does, a log and a metric.
async fn not_written(
    context: &Context,
    issuance: &ExternalCAIssuance,
    error: &Error,
    memory: &mut Memory,
) -> Written {
    memory.status_failures = memory.status_failures.saturating_add(1);
    memory.unstorable |= error.is_final() || memory.status_failures >= STATUS_FAILURES;
    let pause = backoff(memory.status_failures).min(STATUS_PAUSE);
    let pause = pause.max(error.retry_after().unwrap_or_default());
    memory.status_retry = Some(Instant::now() + pause);
    let rest = match memory.unstorable {
        true => "; until it is stored, no anchor is dropped and nothing is cut off at once",
        false => "",
    };
    let message = format!(
        "ExternalCAIssuance {}: the status cannot be stored: {error}{rest}",
        identity(issuance)
    );
    let problem = Problem::new(Reason::WriteFailed, message);
    context.metrics.failed(problem.reason);
    tell(context, issuance, true, problem).await;
    Written::Failed(pause)
}

/// A merge patch keeps what it does not name, so fields that are gone are named as null.
fn replacement(old: Option<&ExternalCAIssuanceStatus>, new: &ExternalCAIssuanceStatus) -> Value {
    let fields = |status: &ExternalCAIssuanceStatus| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let mut patch = fields(new);
    for (field, _) in old.map(fields).unwrap_or_default() {
        patch.entry(field).or_insert(Value::Null);
    }
    Value::Object(patch)
}

fn next(
    memory: &mut Memory,
    outcome: &Outcome,
    written: Written,
    next_check: Timestamp,
    now: Timestamp,
) -> Action {
    let planned = Duration::try_from(now.duration_until(next_check)).unwrap_or_default();
    let mut wait = planned.max(Duration::from_millis(500));
    if let Some(retry) = memory.pace.next_retry() {
        wait = wait.min(retry);
    }
    if outcome.unfinished {
        // Somebody else's write may still be on its way to us.
        wait = if outcome.written.is_empty() {
            wait.min(Duration::from_millis(200))
        } else {
            Duration::ZERO
        };
    }
    match written {
        Written::Yes => {}
        Written::Later(rest) => wait = wait.min(rest),
        Written::Changed => wait = wait.min(STATUS_INTERVAL),
        Written::Failed(pause) if memory.unstorable => wait = wait.min(pause),
        Written::Failed(pause) => wait = pause,
    }
    Action::requeue(wait)
}

/// One Event for each condition that turned, and one for each kind of thing that was done.
async fn publish(
    context: &Context,
    issuance: &ExternalCAIssuance,
    turned: impl Iterator<Item = Notice>,
    outcome: &Outcome,
) {
    let mut done: Vec<Notice> = Vec::new();
    for reason in [
        Reason::Issued,
        Reason::TrustUpdated,
        Reason::PlaneWired,
        Reason::Restarted,
    ] {
        let all: Vec<&Problem> = outcome
            .done
            .iter()
            .filter(|problem| problem.reason == reason)
            .collect();
        let Some(first) = all.first() else { continue };
        let more = match all.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        done.push(Notice {
            is_warning: false,
            problem: Problem::new(reason, format!("{}{more}", first.message)),
        });
    }
    for notice in turned.chain(done) {
        tell(context, issuance, notice.is_warning, notice.problem).await;
    }
}

/// As log and as Event.
async fn tell(context: &Context, issuance: &ExternalCAIssuance, bad: bool, problem: Problem) {
    let type_ = if bad {
        tracing::warn!(issuance = identity(issuance), reason = %problem.reason, "{}", problem.message);
        EventType::Warning
    } else {
        tracing::info!(issuance = identity(issuance), reason = %problem.reason, "{}", problem.message);
        EventType::Normal
    };
    let event = Event {
        type_,
        reason: problem.reason.to_string(),
        note: Some(external_ca_core::report::status::limit(
            problem.message,
            1000,
        )),
        action: "Reconcile".into(),
        secondary: None,
    };
    let reference = issuance.object_ref(&());
    if let Err(error) = bounded(context.recorder.publish(&event, &reference)).await {
        tracing::debug!(%error, "event");
    }
}

/// Never called: a turn does not fail.
pub fn on_error(
    _: Arc<ExternalCAIssuance>,
    error: &std::convert::Infallible,
    _: Arc<Context>,
) -> Action {
    match *error {}
}
