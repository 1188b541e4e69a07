//! What agents and gateways have counted.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// One agent process's counters, as it writes them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentStats {
    /// Dials.
    pub attempts: u64,
    /// Whether it is connected now.
    pub connected: bool,
    /// Dials that led to a connection.
    pub connects: u64,
    /// Dials that failed because a certificate did not verify, on either side.
    pub failed_by_certificate: u64,
    /// Dials that failed otherwise: nobody there.
    pub failed_other: u64,
    /// The last failure's text; empty for none.
    pub last_error: String,
    /// Dials that were probes.
    pub probes: u64,
}

impl AgentStats {
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

/// One gateway process's counters, as it serves them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct GatewayStats {
    /// TLS handshakes that came as far as the client's certificate.
    pub handshakes: u64,
    /// TLS handshakes that failed.
    #[serde(rename = "tlsErrors")]
    pub tls_errors: u64,
    /// Upgrades refused, and why.
    pub rejected: u64,
    /// By reason.
    pub reject_reasons: BTreeMap<String, u64>,
    /// Upgrades granted.
    pub connected: u64,
    /// Open connections that lost their last authorisation.
    pub deauthorized: u64,
    /// Connections open now.
    pub open: u64,
    /// Of which authorised.
    pub authorized: u64,
}

/// All agents' counters together, those of pods that are gone included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Dials.
    pub attempts: u64,
    /// Dials that led to a connection.
    pub connects: u64,
    /// Dials that failed because a certificate did not verify, on either side. What must be 0.
    pub failed_by_certificate: u64,
    /// Dials that failed because nobody was there: what a gateway's restart costs.
    pub failed_other: u64,
    /// Dials that were probes.
    pub probes: u64,
    /// Which agents of pods that still are there are connected, by `namespace/pod`.
    pub connected: BTreeMap<String, bool>,
    /// The last failure of each agent that had one, by `namespace/pod`.
    pub last_errors: BTreeMap<String, String>,
}

impl Stats {
    pub(super) fn add(&mut self, stats: &AgentStats) {
        self.attempts += stats.attempts;
        self.connects += stats.connects;
        self.failed_by_certificate += stats.failed_by_certificate;
        self.failed_other += stats.failed_other;
        self.probes += stats.probes;
    }

    /// How many agents are connected now.
    pub fn connected_agents(&self) -> usize {
        self.connected
            .values()
            .filter(|connected| **connected)
            .count()
    }

    /// What has been counted since an earlier look; `connected` and `last_errors` stay as they are now.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            attempts: self.attempts - earlier.attempts,
            connects: self.connects - earlier.connects,
            failed_by_certificate: self.failed_by_certificate - earlier.failed_by_certificate,
            failed_other: self.failed_other - earlier.failed_other,
            probes: self.probes - earlier.probes,
            ..self.clone()
        }
    }
}
