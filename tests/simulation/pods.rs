//! Pods as they are: what the API server tells of one, and what its processes have read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_core::model::{
    Controller, Life, MaterialRef, ObjectRef, Pod, Unready, WorkloadRef,
};
use jiff::Timestamp;

use crate::cluster::Object;

/// What stands in some objects, as somebody has read them.
pub type Contents = BTreeMap<MaterialRef, Object>;

/// A pod, with what its volumes hold and what its process read when it started.
pub struct Process {
    /// What the API server tells of it.
    pub facts: Arc<Pod>,
    /// Which of its workload's templates it was made from.
    pub revision: u64,
    /// Its ordinal or node, where its workload is a StatefulSet or a DaemonSet.
    pub slot: usize,
    /// Whom it was left by.
    pub orphan_of: Option<WorkloadRef>,
    /// Its process ends by itself.
    pub ends: bool,
    /// Each is set up by itself. A container that starts anew reads them again.
    pub volumes: Contents,
    /// None before a container has started.
    pub holds: Option<Contents>,
}

impl Process {
    /// One that was just made, from a template that mounts this and names that.
    pub fn new(
        name: ObjectRef,
        version: u64,
        now: Timestamp,
        controller: Controller,
        mounts: BTreeSet<MaterialRef>,
        loaded: BTreeMap<MaterialRef, String>,
    ) -> Self {
        let facts = Pod {
            pod: name,
            uid: format!("pod-{version}"),
            resource_version: version.to_string(),
            created: Some(now),
            controller,
            revision: None,
            node: Some("node".into()),
            agent: None,
            mounts,
            optional: BTreeSet::new(),
            loaded,
            life: Life::Waiting(None),
            unready: Unready::default(),
            is_terminating: false,
        };
        Self {
            facts: Arc::new(facts),
            revision: 0,
            slot: 0,
            orphan_of: None,
            ends: false,
            volumes: Contents::new(),
            holds: None,
        }
    }

    pub fn is_of(&self, workload: &WorkloadRef) -> bool {
        matches!(&self.facts.controller, Controller::Workload(owner) if owner == workload)
    }

    pub fn is_ready(&self) -> bool {
        self.facts.life == Life::Running { ready: true }
    }

    /// What it has read of an object, and what it would read if it started anew in place.
    pub fn held(&self, object: &MaterialRef) -> impl Iterator<Item = (&'static str, &Object)> {
        let process = self.holds.iter().map(|holds| ("in", holds));
        let volumes = [("in the volumes of", &self.volumes)];
        let all = process.chain(volumes);
        all.filter_map(|(place, holds)| Some((place, holds.get(object)?)))
    }

    pub fn is_available(&self) -> bool {
        self.is_ready() && !self.facts.is_terminating
    }

    pub fn belong(&mut self, controller: Controller, version: u64) {
        let facts = Arc::make_mut(&mut self.facts);
        facts.controller = controller;
        facts.resource_version = version.to_string();
    }

    /// It is told to end.
    pub fn terminate(&mut self, version: u64) {
        let facts = Arc::make_mut(&mut self.facts);
        facts.is_terminating = true;
        facts.resource_version = version.to_string();
    }

    pub fn live(&mut self, life: Life, version: u64) {
        let facts = Arc::make_mut(&mut self.facts);
        facts.life = life;
        facts.resource_version = version.to_string();
    }
}
