//! Logs and metrics.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
};
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Starts logging to standard error.
pub fn init(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => builder.json().flatten_event(true).init(),
        LogFormat::Text => builder.init(),
    }
}

/// A label with one of a few words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Word {
    /// The word.
    pub reason: &'static str,
}

/// The issuance that a series is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Issuance {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What the operator counts.
pub struct Metrics {
    /// All of it, for encoding.
    pub registry: Registry,
    /// Reconciles.
    pub reconciles: Counter,
    /// Errors by reason word.
    pub errors: Family<Word, Counter>,
    /// Seconds that a reconcile took.
    pub duration: Histogram,
    /// Certificates written.
    pub issued: Counter,
    /// Workloads restarted.
    pub restarts: Counter,
    /// 1 where an issuance is Ready.
    pub ready: Family<Issuance, Gauge>,
    /// End of the CA's validity.
    pub ca_expiry: Family<Issuance, Gauge>,
    /// Next renewal.
    pub next_renewal: Family<Issuance, Gauge>,
}

impl Metrics {
    /// Registers all series.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("external_ca");
        let buckets = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];
        let metrics = Self {
            reconciles: Counter::default(),
            errors: Family::default(),
            duration: Histogram::new(buckets),
            issued: Counter::default(),
            restarts: Counter::default(),
            ready: Family::default(),
            ca_expiry: Family::default(),
            next_renewal: Family::default(),
            registry: Registry::default(),
        };
        registry.register("reconciles", "Reconciles", metrics.reconciles.clone());
        registry.register("errors", "Failed steps by reason", metrics.errors.clone());
        registry.register(
            "reconcile_duration_seconds",
            "Time of a reconcile",
            metrics.duration.clone(),
        );
        registry.register(
            "certificates_issued",
            "Certificates written",
            metrics.issued.clone(),
        );
        registry.register(
            "workload_restarts",
            "Workloads restarted",
            metrics.restarts.clone(),
        );
        registry.register(
            "issuance_ready",
            "1 where the issuance is Ready",
            metrics.ready.clone(),
        );
        registry.register(
            "issuer_not_after_timestamp_seconds",
            "End of the CA's validity, Unix time",
            metrics.ca_expiry.clone(),
        );
        registry.register(
            "next_renewal_timestamp_seconds",
            "When the next certificate is due for renewal, Unix time",
            metrics.next_renewal.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }

    /// Counts a reconcile.
    pub fn reconciled(&self, took: Duration) {
        self.reconciles.inc();
        self.duration.observe(took.as_secs_f64());
    }
}
