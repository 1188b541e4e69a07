//! Who waits for what does not exist.

use std::collections::{BTreeMap, BTreeSet};

use super::blocker::Blocker;
use super::evidence::Consumers;
use crate::model::{MaterialRef, Read, Snapshot, WorkloadRef};

/// What workloads lack: their next pods cannot start without.
pub(super) struct Waiting<'a> {
    observed: &'a Snapshot,
    workloads: BTreeMap<&'a WorkloadRef, Lacks<'a>>,
}

struct Lacks<'a> {
    /// Whether one of its pods has started.
    has_started: bool,
    what: BTreeSet<&'a MaterialRef>,
}

impl<'a> Waiting<'a> {
    /// Of all consumers.
    pub fn new(observed: &'a Snapshot, consumers: &Consumers<'a>) -> Self {
        let waiting = consumers.workloads.iter().filter(|one| one.is_waiting());
        let waiting = waiting.map(|one| {
            let lacks = Lacks {
                has_started: one.holds_any(),
                what: one.lacks.clone(),
            };
            (&one.workload.workload, lacks)
        });
        Self {
            observed,
            workloads: waiting.collect(),
        }
    }

    /// Whether a missing object need not wait for a reader: that one has not started, and cannot; or it lacks that object, or
    /// another one that waits for such a reader.
    pub fn waits_for<'b>(
        &self,
        reader: &'b Blocker,
        missing: &MaterialRef,
        readers_of: impl Fn(&MaterialRef) -> Vec<&'b Blocker>,
    ) -> bool {
        if self.cannot_start(reader) {
            return true;
        }
        let (mut next, mut seen) = (vec![reader], BTreeSet::new());
        while let Some(reader) = next.pop() {
            for lacking in self.lacks(reader) {
                if lacking == missing {
                    return true;
                }
                if seen.insert(lacking) {
                    let readers = readers_of(lacking).into_iter();
                    next.extend(readers.filter(|reader| !self.cannot_start(reader)));
                }
            }
        }
        false
    }

    fn lacks(&self, reader: &Blocker) -> impl Iterator<Item = &'a MaterialRef> {
        let lacks = match reader {
            Blocker::Workload(workload) => self.workloads.get(workload),
            _ => None,
        };
        lacks.into_iter().flat_map(|lacks| &lacks.what).copied()
    }

    fn cannot_start(&self, reader: &Blocker) -> bool {
        let is_missing = |mount: &MaterialRef| {
            let stored = self.observed.material.get(mount).map(AsRef::as_ref);
            matches!(stored, Some(Read::Absent))
        };
        match reader {
            Blocker::Workload(workload) => {
                let lacks = self.workloads.get(workload);
                lacks.is_some_and(|lacks| !lacks.has_started)
            }
            Blocker::Pod(pod) => {
                !pod.has_started() && pod.mounts.difference(&pod.optional).any(is_missing)
            }
            _ => false,
        }
    }
}
