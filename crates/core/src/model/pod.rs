//! Pods: who really reads material, and what that proves.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use derive_where::derive_where;
use jiff::Timestamp;

use super::refs::{MaterialRef, ObjectRef, WorkloadRef};

/// A pod that mounts Secrets or ConfigMaps, or takes them into its environment.
#[derive(Clone, Debug)]
#[derive_where(PartialEq, Eq)]
pub struct Pod {
    /// Which one.
    pub pod: ObjectRef,
    /// Tells it from one of the same name.
    pub uid: String,
    /// Of two versions the newer one counts.
    #[derive_where(skip(EqHashOrd))]
    pub resource_version: String,
    /// When it was made, by the API server's clock.
    pub created: Option<Timestamp>,
    /// What made it.
    pub controller: Controller,
    /// Which of its workload's templates it was made from, as its labels tell.
    pub revision: Option<String>,
    /// Its node, once it has one.
    pub node: Option<String>,
    /// `--plane-type` and `--plane-id` of its containers' arguments.
    pub agent: Option<(String, String)>,
    /// What it reads.
    pub mounts: BTreeSet<MaterialRef>,
    /// What of that it can start without.
    pub optional: BTreeSet<MaterialRef>,
    /// What its annotation, which it has from its template, says it loaded: versions by object.
    pub loaded: BTreeMap<MaterialRef, String>,
    /// How far its life has come.
    pub life: Life,
    /// Where it is not ready: since when, by its node's clock, and what its containers wait for.
    pub unready: Unready,
    /// Whether it is told to end.
    pub is_terminating: bool,
}

/// What made a pod, and makes a new one in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// A workload that can be restarted.
    Workload(WorkloadRef),
    /// Another object (`<Kind> <name>`).
    Other(String),
    /// Nothing: it was made by hand.
    Nothing,
}

/// Why a pod is not ready, as far as its status says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unready {
    /// Since when it is not ready any more.
    pub since: Option<Timestamp>,
    /// What keeps it from being ready.
    pub why: Option<String>,
}

/// How far a pod's life has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// None of its containers has started yet; why, where its status says so.
    Waiting(Option<String>),
    /// A container runs, or may run again.
    Running {
        /// Whether it counts as ready.
        ready: bool,
    },
    /// Every container has ended, and none will start again: it holds nothing.
    Ended,
}

impl Pod {
    /// Whether any of its containers has started: then it has read what it mounts.
    pub fn has_started(&self) -> bool {
        !matches!(self.life, Life::Waiting(_))
    }

    /// Whether any of its processes may hold anything, now or later.
    pub fn is_alive(&self) -> bool {
        self.life != Life::Ended
    }
}

impl fmt::Display for Pod {
    /// Its name, with what made it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pod {}", self.pod)?;
        match &self.controller {
            Controller::Workload(owner) => write!(f, " of {owner}"),
            Controller::Other(owner) => write!(f, " of {owner}"),
            Controller::Nothing => Ok(()),
        }
    }
}
