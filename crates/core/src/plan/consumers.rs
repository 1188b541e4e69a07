//! Pods that read material and do not come up: no certificate helps them, and no restart.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::draft::Draft;
use crate::finding::Area;
use crate::model::{Life, MaterialRef, Pod};
use crate::reason::{Problem, Reason};
use crate::trust::evidence::Consumers;

/// So long a pod may take to start before it is told of.
const STARTS_WITHIN: SignedDuration = SignedDuration::from_secs(60);

impl Draft<'_> {
    /// Where none of a workload's pods has started, though all that this domain makes for them is there. It says nothing about
    /// what this domain does, so that the domain is ready all the same.
    pub(super) fn consumers(&mut self, consumers: &Consumers<'_>) {
        let workloads = consumers.workloads.iter();
        let waiting = workloads.filter(|one| !one.blocked);
        let waiting = waiting.filter_map(|one| one.cannot_start());
        let strays = consumers.strays.iter().copied();
        let strays = strays.filter(|pod| !pod.has_started());
        for pod in waiting.chain(strays) {
            let since = pod.created.unwrap_or(self.now);
            let until = since
                .saturating_add(STARTS_WITHIN)
                .unwrap_or(Timestamp::MAX);
            if until > self.now {
                self.wake(until);
                continue;
            }
            let message = not_running(pod, &self.of_others(pod));
            let problem = Problem::new(Reason::NotRunning, message);
            self.problem(Area::Consumers, format!("Pod {}", pod.pod), problem);
        }
    }

    /// What a pod cannot start without, and others make.
    fn of_others(&self, pod: &Pod) -> BTreeSet<MaterialRef> {
        let ours = |one: &MaterialRef| self.observed.material.contains_key(one);
        let needed = pod.mounts.difference(&pod.optional);
        needed.filter(|one| !ours(one)).cloned().collect()
    }
}

fn not_running(pod: &Pod, of_others: &BTreeSet<MaterialRef>) -> String {
    let why = match &pod.life {
        Life::Waiting(Some(why)) => format!(" ({why})"),
        _ => String::new(),
    };
    let names: Vec<String> = of_others.iter().map(ToString::to_string).collect();
    let missing = match names.as_slice() {
        [] => String::new(),
        names => format!(
            "; besides what is issued here it mounts {}: see that it exists",
            names.join(", ")
        ),
    };
    format!(
        "{pod} has not started{why}{missing}; kubectl -n {} describe pod {} says what it waits for",
        pod.pod.namespace, pod.pod.name
    )
}
