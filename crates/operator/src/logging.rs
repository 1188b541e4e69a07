//! Who may log.

use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry as Spans, fmt};

use crate::cli::LogFormat;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// What may log: this program, and the keeper of its Lease. A client logs bodies that it cannot parse, and errors that
/// quote them; keys stand in those.
const MAY_LOG: [&str; 3] = [
    env!("CARGO_CRATE_NAME"),
    "external_ca_core",
    "kube_lease_manager",
];

/// Starts logging to standard error.
pub fn init(format: LogFormat, filter: &str) {
    log_to(std::io::stderr, format, filter).init();
}

/// Logs to a writer. `filter` chooses among what [`MAY_LOG`] leaves, and cannot widen it.
fn log_to<W>(writer: W, format: LogFormat, filter: &str) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let plain = fmt::layer().with_writer(writer);
    let formatted: Box<dyn Layer<Spans> + Send + Sync> = match format {
        LogFormat::Json => plain.json().flatten_event(true).boxed(),
        LogFormat::Text => plain.boxed(),
    };
    let filtered = formatted
        .with_filter(filter)
        .with_filter(filter_fn(may_log));
    tracing_subscriber::registry().with(filtered)
}

fn may_log(event: &Metadata<'_>) -> bool {
    let target = event.target();
    let root = target.split("::").next().unwrap_or(target);
    MAY_LOG.contains(&root)
}
