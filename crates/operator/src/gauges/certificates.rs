//! The status of each Certificate of cert-manager's that is served here, as gauges.

use std::collections::BTreeMap;
use std::fmt;

use external_ca_core::model::ObjectRef;
use external_ca_core::report::certificates::CertificateReport;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::told::Told;

/// The statuses, by Certificate.
#[derive(Clone, Debug, Default)]
pub struct Certificates(Told<ObjectRef, CertificateReport>);

/// What stands under one name.
struct Family {
    name: &'static str,
    help: &'static str,
    sample: fn(&CertificateReport) -> Option<i64>,
}

const FAMILIES: [Family; 3] = [
    Family {
        name: "cert_manager_certificate_ready",
        help: "1 where the Certificate is Ready, with the reason word",
        sample: |report| Some((ready(report)?.status == "True").into()),
    },
    Family {
        name: "cert_manager_certificate_not_after_timestamp_seconds",
        help: "End of the stored certificate's validity, Unix time",
        sample: |report| Some(report.not_after.as_ref()?.0.as_second()),
    },
    Family {
        name: "cert_manager_certificate_renewal_timestamp_seconds",
        help: "When the stored certificate is due for renewal, Unix time",
        sample: |report| Some(report.renewal_time.as_ref()?.0.as_second()),
    },
];

impl Certificates {
    /// From now on this is what is read.
    pub fn report(&self, certificate: &ObjectRef, report: &CertificateReport) {
        let is_told = self.0.all().get(certificate) == Some(report);
        if !is_told {
            self.0.insert(certificate.clone(), report.clone());
        }
    }

    /// Only these are served.
    pub fn keep(&self, is_served: impl Fn(&ObjectRef) -> bool) {
        self.0.retain(is_served);
    }

    /// Another one means that something changed.
    pub fn version(&self) -> u64 {
        self.0.version()
    }
}

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.all();
        for family in FAMILIES {
            let metric =
                encoder.encode_descriptor(family.name, family.help, None, MetricType::Gauge)?;
            samples(&all, &family, metric)?;
        }
        Ok(())
    }
}

fn samples(
    all: &BTreeMap<ObjectRef, CertificateReport>,
    family: &Family,
    mut metric: MetricEncoder<'_>,
) -> fmt::Result {
    for (name, report) in all {
        let Some(value) = (family.sample)(report) else {
            continue;
        };
        let mut labels = vec![("namespace", &name.namespace), ("name", &name.name)];
        if family.name.ends_with("_ready") {
            labels.extend(ready(report).map(|ready| ("reason", &ready.reason)));
        }
        metric.encode_family(&labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn ready(report: &CertificateReport) -> Option<&Condition> {
    let mut conditions = report.conditions.iter();
    conditions.find(|condition| condition.type_ == "Ready")
}
