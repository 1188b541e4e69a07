//! The status of every issuance, as gauges. They are made from the statuses at each scrape, so a series is gone with its
//! leaf, anchor, workload or issuance.

mod certificates;
mod families;
#[cfg(test)]
pub mod tests;
mod told;

use std::fmt;
use std::sync::Arc;

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus};
use external_ca_core::domain::renew_before;
use kube::ResourceExt;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

pub use certificates::Certificates;
use families::{Entry, FAMILIES, Samples};
use told::Told;

/// Namespace and name.
type Key = (String, String);

/// The statuses, by issuance.
#[derive(Clone, Debug, Default)]
pub struct Issuances(Told<Key, Entry>);

impl Issuances {
    /// From now on this is what is read.
    pub fn report(&self, issuance: &ExternalCAIssuance, status: Arc<ExternalCAIssuanceStatus>) {
        let entry = Entry {
            status,
            renew_before: renew_before(&issuance.spec),
        };
        self.0.insert(key(issuance), entry);
    }

    /// Another one means that something changed.
    pub fn version(&self) -> u64 {
        self.0.version()
    }

    /// An issuance is gone.
    pub fn forget(&self, issuance: &ExternalCAIssuance) {
        let gone = key(issuance);
        self.0.retain(|known| *known != gone);
    }
}

fn key(issuance: &ExternalCAIssuance) -> Key {
    (
        issuance.namespace().unwrap_or_default(),
        issuance.name_any(),
    )
}

impl Collector for Issuances {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.all();
        for family in FAMILIES {
            let metric =
                encoder.encode_descriptor(family.name, family.help, None, MetricType::Gauge)?;
            let mut out = Samples {
                metric,
                namespace: "",
                name: "",
            };
            for ((namespace, name), entry) in all.iter() {
                (out.namespace, out.name) = (namespace, name);
                (family.samples)(entry, &mut out)?;
            }
        }
        Ok(())
    }
}
