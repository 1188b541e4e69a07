//! Pods that read material and do not come up: no certificate helps them, and no restart.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::draft::Draft;
use crate::finding::Area;
use crate::model::{Controller, Life, MaterialRef, Pod, Read};
use crate::reason::{Problem, Reason};

/// So long a pod may take to be ready before it is told of.
const READY_WITHIN: SignedDuration = SignedDuration::from_secs(60);

impl Draft<'_> {
    /// Where none of the pods that one controller has made is ready, though all that this domain makes for them is there. It
    /// says nothing about what this domain does, so that the domain is ready all the same.
    pub(super) fn consumers(&mut self) {
        let mut readers: BTreeMap<_, Vec<&Pod>> = BTreeMap::new();
        let pods = self.observed.pods.iter();
        for pod in pods.filter(|pod| !pod.is_terminating) {
            // What nothing has made stands for itself.
            let itself = (pod.controller == Controller::Nothing).then_some(&pod.pod);
            let made_by = (&pod.pod.namespace, &pod.controller, itself);
            readers.entry(made_by).or_default().push(pod);
        }
        for pods in readers.into_values() {
            let is_ready = |pod: &&Pod| pod.life == Life::Running { ready: true };
            let first = pods.iter().find(|pod| !pod.has_started()).or(pods.first());
            if let Some(pod) = first.filter(|_| !pods.iter().any(is_ready)) {
                self.not_ready(pod);
            }
        }
    }

    fn not_ready(&mut self, pod: &Pod) {
        let ignored = &self.domain.wanted.ignored;
        let material = &self.observed.material;
        let counts = |one: &MaterialRef| material.contains_key(one) && !ignored.contains(one);
        let is_absent =
            |one: &MaterialRef| material.get(one).is_some_and(|one| **one == Read::Absent);
        let needed: BTreeSet<&MaterialRef> = pod.mounts.difference(&pod.optional).collect();
        let missing = needed.iter().filter(|one| is_absent(one));
        let (to_be_made, missing): (Vec<&MaterialRef>, Vec<&MaterialRef>) =
            missing.partition(|one| counts(one));
        let is_ours = pod.mounts.iter().any(counts) || !missing.is_empty();
        if !is_ours || !to_be_made.is_empty() {
            return;
        }
        let since = pod.unready.since.or(pod.created).unwrap_or(self.now);
        let until = since.saturating_add(READY_WITHIN);
        let until = until.unwrap_or(Timestamp::MAX);
        if until > self.now {
            self.wake(until);
            return;
        }
        let of_others = needed
            .into_iter()
            .filter(|one| !material.contains_key(*one));
        let message = not_running(pod, &missing, &of_others.collect::<Vec<_>>());
        let problem = Problem::new(Reason::NotRunning, message);
        self.problem(Area::Consumers, format!("Pod {}", pod.pod), problem);
    }
}

fn not_running(pod: &Pod, missing: &[&MaterialRef], of_others: &[&MaterialRef]) -> String {
    let names = |all: &[&MaterialRef]| {
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    let (what, why) = match &pod.life {
        Life::Waiting(why) => ("has not started", why),
        Life::Running { .. } | Life::Ended => ("is not ready", &pod.unready.why),
    };
    let why = why
        .as_ref()
        .map_or_else(String::new, |why| format!(" ({why})"));
    let mut text = format!("{pod} {what}{why}");
    if !missing.is_empty() {
        text.push_str(&format!(
            "; it mounts {}, which does not exist and which the issuance does not issue there: let it mount what the spec names, or let the spec \
             name it (gateway, agents)",
            names(missing)
        ));
    }
    if !of_others.is_empty() {
        text.push_str(&format!(
            "; besides what is issued here it mounts {}: see that it exists",
            names(of_others)
        ));
    }
    format!(
        "{text}; kubectl -n {} describe pod {} says what it waits for",
        pod.pod.namespace, pod.pod.name
    )
}
