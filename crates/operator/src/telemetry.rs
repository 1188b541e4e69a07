//! What the operator counts.

use std::time::Duration;

use external_ca_core::Reason;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info,
};
use prometheus_client::registry::Registry;

use crate::gauges::{Certificates, Issuances};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Word {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Signature {
    issuer: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Half {
    half: &'static str,
}

/// What the operator counts.
pub struct Metrics {
    /// All of it, for encoding.
    pub registry: Registry,
    /// The status of each issuance.
    pub issuances: Issuances,
    /// The status of each Certificate of cert-manager's.
    pub certificates: Certificates,
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
    aside: Family<Half, Gauge>,
}

impl Metrics {
    /// Another one means that something was told of an issuance or Certificate.
    pub fn version(&self) -> u64 {
        let (issuances, certificates) = (self.issuances.version(), self.certificates.version());
        issuances.wrapping_add(certificates)
    }

    /// Registers all series.
    pub fn new() -> Self {
        let histogram = || Histogram::new([0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0]);
        let metrics = Self {
            registry: Registry::default(),
            issuances: Issuances::default(),
            certificates: Certificates::default(),
            leader: Gauge::default(),
            issued: Counter::default(),
            restarts: Counter::default(),
            reconciles: Counter::default(),
            duration: histogram(),
            errors: Family::default(),
            signatures: Family::new_with_constructor(histogram),
            aside: Family::default(),
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
            "Time that the issuer took to answer",
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
        registry.register(
            "cert_manager_stands_aside",
            "1 where cert-manager is at work, or may be, and this half does nothing",
            metrics.aside.clone(),
        );
        registry.register_collector(Box::new(metrics.issuances.clone()));
        registry.register_collector(Box::new(metrics.certificates.clone()));
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

    /// Tells whether a half leaves its work to cert-manager.
    pub fn stands_aside(&self, half: &'static str, aside: bool) {
        let gauge = self.aside.get_or_create_owned(&Half { half });
        gauge.set(aside.into());
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
    pub fn signed(&self, issuer: &'static str, result: &'static str, took: Duration) {
        let labels = Signature { issuer, result };
        self.signatures
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use external_ca_core::model::ObjectRef;
    use external_ca_core::report::certificates::CertificateReport;
    use prometheus_client::encoding::text::encode;
    use serde_json::json;

    use super::*;
    use crate::gauges::tests::example;

    fn read(path: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        std::fs::read_to_string(root.join(path)).unwrap()
    }

    fn certificate_report() -> CertificateReport {
        let condition = json!({
            "type": "Ready", "status": "False", "reason": "IssuerNotFound", "message": "",
            "lastTransitionTime": "2026-03-01T00:00:00Z",
        });
        let times = json!({
            "conditions": [condition], "notAfter": "2026-06-01T00:00:00Z", "renewalTime": "2026-05-01T00:00:00Z",
        });
        serde_json::from_value(times).unwrap()
    }

    /// Each series that there can be, with its labels.
    fn series() -> BTreeSet<(String, BTreeSet<String>)> {
        let metrics = Metrics::new();
        metrics.reconciled(Duration::from_millis(3));
        metrics.signed("caSecret", "signed", Duration::from_millis(3));
        let issuance = example();
        let status = issuance.status.clone().unwrap();
        metrics.issuances.report(&issuance, status.into());
        let certificate = ObjectRef::new("openchoreo-control-plane", "webhook");
        metrics
            .certificates
            .report(&certificate, &certificate_report());
        metrics.stands_aside("controller", false);
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.flat_map(selectors).collect()
    }

    /// What a text says of our metrics: each name, with the labels between the braces that follow it.
    fn selectors(text: &str) -> Vec<(String, BTreeSet<String>)> {
        let parts = text.split("external_ca_").skip(1);
        parts
            .map(|part| {
                let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
                let (name, rest) = part.split_at(part.find(word).unwrap_or(part.len()));
                let inside = rest
                    .strip_prefix('{')
                    .and_then(|rest| rest.split_once('}'))
                    .map_or("", |(inside, _)| inside);
                let labels = inside.split(',').filter_map(|pair| pair.split_once('='));
                let labels = labels.map(|(label, _)| label.trim_end_matches(['!', '=']).trim());
                (name.to_owned(), labels.map(String::from).collect())
            })
            .collect()
    }

    fn assert_known(file: &str, more: &[&str]) {
        let known = series();
        let text = read(file).replace("\\\"", "\"");
        let used: Vec<_> = selectors(&text)
            .into_iter()
            .filter(|(name, _)| name != "operator")
            .collect();
        assert!(used.len() > 10, "{file}: {used:?}");
        for (name, labels) in used {
            let exists = known.iter().any(|(other, has)| {
                *other == name
                    && labels
                        .iter()
                        .all(|label| has.contains(label) || more.contains(&label.as_str()))
            });
            assert!(
                exists,
                "{file}: no series external_ca_{name} with {labels:?}"
            );
        }
    }

    #[test]
    fn the_dashboard_the_alerts_and_their_tests_know_only_series_that_there_are() {
        let chart = "charts/external-ca-operator/files";
        assert_known(&format!("{chart}/dashboard.json"), &[]);
        assert_known(&format!("{chart}/alerts.yaml"), &[]);
        // Prometheus adds the label of the pod.
        assert_known("tests/alerts/fires.yaml", &["pod"]);
        assert_known("tests/alerts/quiet.yaml", &["pod"]);
    }

    #[test]
    fn the_series_of_the_tests_have_all_labels_that_the_operator_gives_them() {
        let known = series();
        for file in ["tests/alerts/fires.yaml", "tests/alerts/quiet.yaml"] {
            let text = read(file);
            for line in text.lines().filter(|line| line.contains("{series:")) {
                for (name, mut labels) in selectors(line) {
                    labels.remove("pod");
                    let same = known.contains(&(name.clone(), labels.clone()));
                    assert!(same, "{file}: external_ca_{name} with {labels:?}");
                }
            }
        }
    }

    #[test]
    fn the_documentation_lists_every_series_and_no_other() {
        let base = |name: &str| {
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            let name = name.strip_suffix("_sum").unwrap_or(name);
            name.strip_suffix("_count").unwrap_or(name).to_owned()
        };
        let known: BTreeSet<String> = series().iter().map(|(name, _)| base(name)).collect();
        let text = read("docs/observability.md");
        let rows = text
            .lines()
            .filter_map(|line| line.strip_prefix("| `external_ca_")?.split('`').next());
        let told: BTreeSet<String> = rows.map(String::from).collect();
        assert_eq!(told, known);
    }
}
