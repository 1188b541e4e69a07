//! OpenChoreo's plane kinds: the real CustomResourceDefinitions where they are at hand, and our own cut-down ones.

use crate::repository;
use std::fs;
use std::path::PathBuf;

/// A release of OpenChoreo; they differ in kinds and in a field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// BuildPlane and `secretRef`.
    V0_17,
    /// WorkflowPlane and `secretKeyRef`.
    V1_2,
}

/// Where definitions come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrdSource {
    /// As OpenChoreo published them; in `../shared/openchoreo`, which not every machine has.
    Real,
    /// Ours: `tests/support/fixtures`.
    Fixture,
}

impl Release {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::V0_17, Self::V1_2];

    /// The field of `clientCA` that refers to a Secret.
    pub fn reference_field(self) -> &'static str {
        match self {
            Self::V0_17 => "secretRef",
            Self::V1_2 => "secretKeyRef",
        }
    }

    /// The namespaced plane kinds; each has a cluster-scoped sister, `Cluster…`.
    pub fn kinds(self) -> [&'static str; 3] {
        match self {
            Self::V0_17 => ["DataPlane", "BuildPlane", "ObservabilityPlane"],
            Self::V1_2 => ["DataPlane", "WorkflowPlane", "ObservabilityPlane"],
        }
    }

    fn folder(self) -> PathBuf {
        let version = match self {
            Self::V0_17 => "v0.17.0",
            Self::V1_2 => "v1.2.3",
        };
        shared().join("crds").join(version)
    }
}

impl CrdSource {
    /// The sources that this machine has: tests run on each.
    pub fn available(release: Release) -> Vec<Self> {
        if release.folder().is_dir() {
            vec![Self::Real, Self::Fixture]
        } else {
            vec![Self::Fixture]
        }
    }
}

/// The plane kinds of a release as YAML documents: the real ones where they are at hand, else ours.
pub fn openchoreo_crds(release: Release) -> Vec<String> {
    openchoreo_crds_from(CrdSource::available(release)[0], release)
}

/// The plane kinds of a release from a source of one's choice.
pub fn openchoreo_crds_from(source: CrdSource, release: Release) -> Vec<String> {
    match source {
        CrdSource::Fixture => vec![
            match release {
                Release::V0_17 => include_str!("fixtures/planes-v0.17.yaml"),
                Release::V1_2 => include_str!("fixtures/planes-v1.2.yaml"),
            }
            .to_owned(),
        ],
        CrdSource::Real => {
            let folder = release.folder();
            let entries = fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            let mut files: Vec<PathBuf> = entries
                .map(|entry| entry.expect("an entry").path())
                .collect();
            files.sort();
            files
                .iter()
                .map(|file| fs::read_to_string(file).expect("a definition"))
                .collect()
        }
    }
}

/// [`openchoreo_crds`] as one YAML text.
pub fn openchoreo_crds_yaml(release: Release) -> String {
    openchoreo_crds(release).join("\n---\n")
}

/// The folder with OpenChoreo's own files, beside the repository.
pub(crate) fn shared() -> PathBuf {
    repository().join("../shared/openchoreo")
}
