//! The kinds of plane resource.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kind of an OpenChoreo plane resource.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[allow(missing_docs)]
pub enum PlaneKind {
    DataPlane,
    BuildPlane,
    WorkflowPlane,
    ObservabilityPlane,
    ClusterDataPlane,
    ClusterBuildPlane,
    ClusterWorkflowPlane,
    ClusterObservabilityPlane,
}
