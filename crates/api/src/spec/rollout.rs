//! How workloads are restarted, and how one CA takes the place of another.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::Duration;

/// How workloads that mount changed material are restarted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Restart: Deployments, StatefulSets and DaemonSets that mount changed material are rolled. None: others restart
    /// them; until that is seen they count as holding the old material.
    pub strategy: RolloutStrategy,

    /// How many agents' workloads are restarted at once. The gateway is always restarted alone.
    #[schemars(range(min = 1, max = 1000))]
    pub max_concurrent: u32,

    /// After this long a rollout that has not completed is reported as stuck. The operator goes on waiting for it.
    pub timeout: Duration,

    /// How long a kubelet may hand out what a Secret or ConfigMap held before: a workload is restarted so long after the
    /// write that it is to load, at the earliest, and a pod that was made sooner after it proves nothing. The default suits kubelet's default configMapAndSecretChangeDetectionStrategy
    /// (Watch); set `90s` where kubelets run with Cache, `0s` where they run with Get.
    pub kubelet_cache: Duration,

    /// When workloads may be restarted, and certificates that they hold be replaced. Empty: at any time. A certificate
    /// that is closer to its end than half of `renewBefore` waits for no window; nor does what no workload runs with yet, nor
    /// anything where `rotation.strategy` is Immediate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub windows: Vec<MaintenanceWindow>,
}

/// A recurring maintenance window.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("duration(self.duration) >= duration('5m')").message("duration must be at least 5m"))]
pub struct MaintenanceWindow {
    /// When it opens, as a cron expression of five fields (minute, hour, day of month, month, day of week), for example
    /// `0 2 * * SAT`.
    #[schemars(length(min = 9, max = 128))]
    pub schedule: String,

    /// How long it stays open, for example `4h`.
    pub duration: Duration,

    /// Time zone of the schedule by its name in the IANA database, for example `Europe/Berlin`.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: String,
}

fn utc() -> String {
    "UTC".into()
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            strategy: RolloutStrategy::Restart,
            max_concurrent: 1,
            timeout: Duration::from_mins(10),
            kubelet_cache: Duration::from_secs(5),
            windows: Vec::new(),
        }
    }
}

/// Whether the operator restarts workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutStrategy {
    /// The operator restarts them.
    #[default]
    Restart,
    /// Others restart them.
    None,
}

/// How one CA takes the place of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Rotation {
    /// Staged: the old CA stays trusted until nothing depends on it, and no handshake fails. Immediate: the old CA is
    /// compromised and leaves every trust place at once; who still needs it is named, then cut off until it restarts.
    pub strategy: RotationStrategy,

    /// How long a peer that is connected, but that no workload of a served namespace runs, is given to load what has
    /// changed: nothing here tells when it did. After that the annotation `pki.openchoreo.dev/proceed` on the issuance says
    /// that it has. All others are waited for by what can be seen.
    pub overlap: Duration,
}

impl Default for Rotation {
    fn default() -> Self {
        Self {
            strategy: RotationStrategy::Staged,
            overlap: Duration::from_hours(24),
        }
    }
}

/// How one CA takes the place of another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RotationStrategy {
    /// The old CA stays trusted until nothing depends on it.
    #[default]
    Staged,
    /// The old CA leaves every trust place at once.
    Immediate,
}
