//! Logs and metrics.

use std::time::Duration;

use external_ca_core::Reason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info,
};
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;
use crate::gauges::Issuances;

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Word {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Signature {
    issuer: &'static str,
    result: &'static str,
}

/// What the operator counts.
pub struct Metrics {
    /// All of it, for encoding.
    pub registry: Registry,
    /// What each issuance last said.
    pub issuances: Issuances,
    /// 1 where this process may work.
    pub leader: Gauge,
    /// Certificates written.
    pub issued: Counter,
    /// Workloads restarted.
    pub restarts: Counter,
    reconciles: Counter,
    duration: Histogram,
    errors: Family<Word, Counter>,
    signatures: Family<Signature, Histogram>,
}

impl Metrics {
    /// Registers all series.
    pub fn new() -> Self {
        let histogram = || Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]);
        let metrics = Self {
            registry: Registry::default(),
            issuances: Issuances::default(),
            leader: Gauge::default(),
            issued: Counter::default(),
            restarts: Counter::default(),
            reconciles: Counter::default(),
            duration: histogram(),
            errors: Family::default(),
            signatures: Family::new_with_constructor(histogram),
        };
        // A rate sees the first error only if there was a zero before.
        for reason in [Reason::WriteFailed, Reason::IssuerFailed] {
            metrics.errors(reason);
        }
        let mut registry = Registry::with_prefix("external_ca");
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The operator's version", version);
        registry.register(
            "leader",
            "1 where this process holds the Lease",
            metrics.leader.clone(),
        );
        registry.register("reconciles", "Reconciles", metrics.reconciles.clone());
        registry.register(
            "reconcile_duration_seconds",
            "Time of a reconcile",
            metrics.duration.clone(),
        );
        registry.register(
            "errors",
            "Failed steps by reason word",
            metrics.errors.clone(),
        );
        registry.register(
            "issuer_sign_duration_seconds",
            "Time that the issuer took to sign or refuse",
            metrics.signatures.clone(),
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
        registry.register_collector(Box::new(metrics.issuances.clone()));
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

    /// Counts a failed step.
    pub fn failed(&self, reason: Reason) {
        self.errors(reason).inc();
    }

    fn errors(&self, reason: Reason) -> Counter {
        let reason = reason.as_str();
        self.errors.get_or_create_owned(&Word { reason })
    }

    /// Counts an answer of an issuer.
    pub fn signed(&self, issuer: &'static str, signed: bool, took: Duration) {
        let result = if signed { "signed" } else { "error" };
        let labels = Signature { issuer, result };
        self.signatures
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }
}
