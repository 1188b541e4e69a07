//! What a plan found: about which object, how grave, and what it waits for.

use crate::reason::Problem;
use crate::trust::Blocker;

/// The part of the work that a finding belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// What signs.
    Issuer,
    /// Trust places, planes excepted.
    Trust,
    /// Leaves.
    Certificates,
    /// The clientCA of planes, and their agents.
    Planes,
    /// What workloads have loaded.
    Rollouts,
    /// Whether what reads material runs: no part of being ready.
    Consumers,
}

impl Area {
    /// Every area, in the order in which they are told.
    pub const ALL: [Self; 6] = [
        Self::Issuer,
        Self::Trust,
        Self::Certificates,
        Self::Planes,
        Self::Rollouts,
        Self::Consumers,
    ];
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It needs a person, and the domain is not ready because of it.
    Problem,
    /// Time and the operator bring it; the domain is not ready meanwhile.
    Waiting,
    /// A person should know, though it works.
    Warning,
    /// It is due, and works until its maintenance window opens.
    Deferred,
}

/// Which of several things that are waited for is told first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// In the order of the plan.
    #[default]
    Normal,
    /// Before all else, the latest step of the plan first: the others follow from it.
    First,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Where it belongs.
    pub area: Area,
    /// The object that it is about, as messages name it.
    pub object: String,
    /// How grave it is.
    pub severity: Severity,
    /// Whether it is told before others.
    pub priority: Priority,
    /// Word and text; [`crate::report::message`] adds the blockers.
    pub problem: Problem,
    /// What it waits for.
    pub blockers: Vec<Blocker>,
}

impl Finding {
    /// One that waits for nothing that has a name.
    pub fn new(area: Area, severity: Severity, object: impl ToString, problem: Problem) -> Self {
        Self {
            area,
            object: object.to_string(),
            severity,
            priority: Priority::Normal,
            problem,
            blockers: Vec::new(),
        }
    }

    /// The same, waiting for these.
    pub fn blocked_by(mut self, blockers: Vec<Blocker>) -> Self {
        self.blockers = blockers;
        self
    }

    /// The same, told before others.
    pub fn first(mut self) -> Self {
        self.priority = Priority::First;
        self
    }
}
