//! What a turn tells: the status that it stores, the Events that it publishes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus};
use external_ca_core::domain::identity;
use external_ca_core::model::lenient::Lenient;
use external_ca_core::report::Notice;
use external_ca_core::report::bounded::bounded as bounded_status;
use external_ca_core::report::status::limit;
use external_ca_core::{Problem, Reason};
use kube::runtime::events::{Event, EventType};
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};

use crate::apply::write::merge_status;
use crate::backoff::backoff;
use crate::context::{Context, StatusMemory};
use crate::declaration::Declaration;
use crate::error::{Error, bounded};

/// The status of one issuance is written at most this often.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// After so many failures in a row work goes on without a stored status.
pub const STATUS_FAILURES: u32 = 3;
/// Dropping an anchor waits for it: it is tried again at the latest after this time.
pub const STATUS_PAUSE: Duration = Duration::from_secs(20);
/// An Event's note is no longer than this.
const NOTE: usize = 1000;

/// What came of storing a status.
pub enum Stored {
    /// It stands at the API server.
    Yes,
    /// It is written after this pause.
    Later(Duration),
    /// The issuance had changed: the next turn rests on what stands there now.
    Changed,
    /// It is written again after this pause.
    Failed(Duration),
}

impl Stored {
    /// Whether a turn ends with what came of storing ahead of its steps: they rest on what is stored, unless it is known that
    /// nothing can be.
    pub fn ends_turn(self, memory: &StatusMemory) -> Option<Self> {
        match self {
            Self::Yes => None,
            // Another leader may have stored an anchor: the next turn rests on it.
            Self::Changed => Some(Self::Changed),
            _ if memory.unstorable => None,
            unstored => Some(unstored),
        }
    }
}

/// Stores the status of one issuance in one turn.
pub struct StatusWriter<'a> {
    context: &'a Context,
    issuance: Arc<ExternalCAIssuance>,
    /// What the API server has stored, as far as is known.
    stored: Option<Arc<ExternalCAIssuanceStatus>>,
}

impl<'a> StatusWriter<'a> {
    /// Rests on what was last stored, and on the cache where that is not known.
    pub fn new(
        context: &'a Context,
        cached: &Arc<ExternalCAIssuance>,
        memory: &StatusMemory,
    ) -> Self {
        let cached_status = || cached.status.clone().map(Arc::new);
        Self {
            context,
            issuance: Arc::clone(cached),
            stored: memory.stored.clone().or_else(cached_status),
        }
    }

    /// Stores a status ahead of the steps that rest on it. What is returned ends the turn.
    pub async fn store_first(
        &mut self,
        status: &ExternalCAIssuanceStatus,
        memory: &mut StatusMemory,
    ) -> Option<Stored> {
        let status = Arc::new(status.clone());
        self.show(&status);
        let stored = self.store(&status, memory).await;
        if matches!(stored, Stored::Yes) {
            memory.concluded = self.stored.clone();
        }
        stored.ends_turn(memory)
    }

    /// Tells what a turn came to: as series, as status, as Events.
    pub async fn report(
        &mut self,
        status: ExternalCAIssuanceStatus,
        turned: Vec<Notice>,
        done: &[Problem],
        memory: &mut StatusMemory,
    ) -> Stored {
        let (context, issuance) = (self.context, Arc::clone(&self.issuance));
        let status = Arc::new(status);
        self.show(&status);
        // One that says the same stays: it is compared at each turn.
        if memory.concluded.as_ref() != Some(&status) {
            memory.concluded = Some(Arc::clone(&status));
        }
        let stored = match memory.may_wait(!done.is_empty(), STATUS_INTERVAL, Instant::now()) {
            Some(rest) => Stored::Later(rest),
            None => self.store(&status, memory).await,
        };
        for notice in turned.into_iter().chain(summary(done)) {
            let declaration = Declaration::Issuance(Arc::clone(&issuance));
            tell(context, &declaration, notice).await;
        }
        stored
    }

    /// As series, before it is stored: whoever reads the status finds metrics that say no less.
    fn show(&self, status: &Arc<ExternalCAIssuanceStatus>) {
        let series = &self.context.metrics.issuances;
        series.report(&self.issuance, Arc::clone(status));
    }

    /// Stores a status over what was read, and over nothing else: another operator that leads may have stored something
    /// that must not be lost.
    async fn store(
        &mut self,
        status: &Arc<ExternalCAIssuanceStatus>,
        memory: &mut StatusMemory,
    ) -> Stored {
        let told = memory.told.take().filter(|(whole, _)| whole == status);
        let told = told.unwrap_or_else(|| {
            let part = Arc::new(bounded_status(status));
            (Arc::clone(status), part)
        });
        let status = Arc::clone(&told.1);
        memory.told = Some(told);
        if self.stored.as_ref() == Some(&status) {
            memory.note_stored();
            return Stored::Yes;
        }
        let now = Instant::now();
        let interval = memory.written.map(|last| last + STATUS_INTERVAL);
        let earliest = interval.into_iter().chain(memory.retry).max();
        if let Some(earliest) = earliest.filter(|earliest| *earliest > now) {
            return Stored::Later(earliest - now);
        }
        let version = memory.version.clone();
        let patch = json!({
            "metadata": {"resourceVersion": version.or_else(|| self.issuance.resource_version())},
            "status": replacement(self.stored.as_deref(), &status),
        });
        memory.written = Some(Instant::now());
        match merge_status(&self.api(), &self.issuance.name_any(), patch).await {
            Ok(written) => {
                memory.version = written.resource_version();
                memory.stored = Some(Arc::clone(&status));
                self.stored = Some(status);
                memory.retry = None;
                memory.note_stored();
                Stored::Yes
            }
            Err(Error::Changed) => match self.read_back(memory).await {
                Ok(()) => Stored::Changed,
                Err(error) => self.failed(&error, memory).await,
            },
            Err(error) => self.failed(&error, memory).await,
        }
    }

    fn api(&self) -> Api<Lenient<ExternalCAIssuance>> {
        let namespace = self.issuance.namespace().unwrap_or_default();
        Api::namespaced(self.context.client.clone(), &namespace)
    }

    async fn read_back(&self, memory: &mut StatusMemory) -> Result<(), Error> {
        let live = bounded(self.api().get(&self.issuance.name_any())).await?;
        let live = live.into_decoded()?;
        memory.version = live.resource_version();
        memory.stored = live.status.map(Arc::new);
        memory.concluded.clone_from(&memory.stored);
        Ok(())
    }

    /// No condition can tell it: an Event does, a log and a metric.
    async fn failed(&self, error: &Error, memory: &mut StatusMemory) -> Stored {
        memory.failures = memory.failures.saturating_add(1);
        memory.unstorable |= error.is_final() || memory.failures >= STATUS_FAILURES;
        let shortest = backoff(memory.failures).min(STATUS_PAUSE);
        let pause = shortest.max(error.retry_after().unwrap_or_default());
        memory.retry = Some(Instant::now() + pause);
        let rest = if memory.unstorable {
            "; until it is stored, no anchor is dropped and nothing is cut off at once"
        } else {
            ""
        };
        let message = format!(
            "ExternalCAIssuance {}: the status cannot be stored: {error}{rest}",
            identity(&self.issuance)
        );
        let problem = Problem::new(Reason::WriteFailed, message);
        self.context.metrics.failed(problem.reason);
        let notice = Notice {
            is_warning: true,
            problem,
        };
        let declaration = Declaration::Issuance(Arc::clone(&self.issuance));
        tell(self.context, &declaration, notice).await;
        Stored::Failed(pause)
    }
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

/// What was done, one entry for each kind of thing.
pub fn summary(done: &[Problem]) -> Vec<Notice> {
    let kinds = [
        Reason::Issued,
        Reason::TrustUpdated,
        Reason::PlaneWired,
        Reason::Restarted,
    ];
    let summarized = kinds.into_iter().filter_map(|reason| {
        let mut all = done.iter().filter(|problem| problem.reason == reason);
        let first = all.next()?;
        let more = match all.count() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        Some(Notice {
            is_warning: false,
            problem: Problem::new(reason, format!("{}{more}", first.message)),
        })
    });
    summarized.collect()
}

/// As log and as Event.
pub async fn tell(context: &Context, declaration: &Declaration, notice: Notice) {
    let Notice {
        is_warning,
        problem,
    } = notice;
    let type_ = if is_warning {
        tracing::warn!(issuance = declaration.identity(), reason = %problem.reason, "{}", problem.message);
        EventType::Warning
    } else {
        tracing::info!(issuance = declaration.identity(), reason = %problem.reason, "{}", problem.message);
        EventType::Normal
    };
    let event = Event {
        type_,
        reason: problem.reason.to_string(),
        note: Some(limit(problem.message, NOTE)),
        action: "Reconcile".into(),
        secondary: None,
    };
    context.publish(&event, &declaration.reference()).await;
}
