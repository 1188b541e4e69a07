//! What must hold of each plan and after each write.

use std::collections::BTreeSet;

use external_ca_api::{Phase, RotationStrategy};
use external_ca_core::domain::compile;
use external_ca_core::model::{Leaf, Observed, Read, RolloutState, WorkloadRef};
use external_ca_core::plan::{IssueLeaf, Restart, Step, WirePlane, Wiring, WriteBundle};
use external_ca_core::report::Decision;
use external_ca_core::trust::evidence::Consumers;
use external_ca_core::x509::Certificate;

use jiff::Timestamp;

use crate::cluster::{Cluster, content, retiring, trust_secret};
use crate::handshakes::{Handshakes, edited};
use crate::pki::stranger;

#[derive(Default)]
pub struct Judge(pub Handshakes);

impl Judge {
    /// Lets a write happen, and compares what holds before and after.
    pub fn judged(
        &mut self,
        cluster: &mut Cluster,
        observed: &Observed,
        step: &Step,
        write: impl FnOnce(&mut Cluster) -> bool,
    ) -> Result<bool, String> {
        let strategy = observed.issuance.spec.rotation.strategy;
        let retires = observed.issuance.status.iter().flat_map(retiring).next();
        cluster.cut_off |= strategy == RotationStrategy::Immediate && retires.is_some();
        let failing = self.0.failing(cluster, Some(observed));
        let strangers = strangers(cluster, observed);
        let objects: Vec<_> = cluster.material.keys().cloned().collect();
        let trusted = trusted(cluster, step);
        if !write(cluster) {
            return Ok(false);
        }
        let now_failing = self.0.failing(cluster, Some(observed));
        if let Some(broken) = now_failing.difference(&failing).next() {
            let immediate = cluster.cut_off || strategy == RotationStrategy::Immediate;
            match immediate {
                false => return Err(format!("{} broke: {broken}", step.object())),
                true if !has_said_so(cluster, step, &trusted) => {
                    return Err(format!("{} cut off, unsaid: {broken}", step.object()));
                }
                true => {}
            }
        }
        if let Some(lost) = strangers
            .difference(&self::strangers(cluster, observed))
            .next()
        {
            return Err(format!("{lost} loses a stranger's anchor"));
        }
        if objects
            .iter()
            .any(|key| !cluster.material.contains_key(key))
        {
            return Err(format!("{} deleted something", step.object()));
        }
        of_what_was_written(cluster, step)?;
        Ok(true)
    }
}

/// What stands where a step writes.
fn trusted(cluster: &Cluster, step: &Step) -> BTreeSet<String> {
    let anchors = match step {
        Step::WriteBundle(WriteBundle { target, .. }) => {
            let stored = cluster.material.get(target).map(content);
            stored.map(|stored| stored.anchors.as_slice())
        }
        Step::WirePlane(WirePlane { plane, .. }) => {
            let plane = cluster.planes.get(plane);
            plane.and_then(|plane| cluster.client_ca(plane))
        }
        _ => None,
    };
    let anchors = anchors.unwrap_or_default().iter();
    anchors
        .map(|anchor| anchor.fingerprint().to_string())
        .collect()
}

/// Guard 8: that an anchor is on its way out has stood in the stored status before it was dropped.
fn has_said_so(cluster: &Cluster, step: &Step, before: &BTreeSet<String>) -> bool {
    let after = trusted(cluster, step);
    let mut dropped = before.difference(&after);
    !cluster.announced.is_empty() && dropped.all(|anchor| cluster.announced.contains(anchor))
}

/// Guard 4: where a stranger's anchor stands. Where people have just changed what a reference leads to, nobody can tell.
fn strangers(cluster: &Cluster, observed: &Observed) -> BTreeSet<String> {
    let stranger = stranger();
    let material = cluster.material.iter();
    let material = material.filter(|(_, object)| content(object).anchors.contains(&stranger));
    let planes = cluster.planes.iter().filter(|(_, plane)| {
        let anchors = cluster.client_ca(plane);
        anchors.is_some_and(|anchors| anchors.contains(&stranger))
    });
    let edited = edited(cluster, &trust_secret(), observed);
    material
        .map(|(key, _)| key.to_string())
        .chain(planes.filter(|_| !edited).map(|(key, _)| key.to_string()))
        .collect()
}

fn of_what_was_written(cluster: &Cluster, step: &Step) -> Result<(), String> {
    let object = step.object();
    match step {
        Step::WriteBundle(WriteBundle { target, .. }) => {
            if content(&cluster.material[target]).anchors.is_empty() {
                return Err(format!("{object} is empty"));
            }
        }
        // What a reference leads to, somebody may just have deleted.
        Step::WirePlane(WirePlane {
            client_ca: Wiring::Reference { .. },
            ..
        }) => {}
        Step::WirePlane(WirePlane { plane, .. }) => {
            let anchors = cluster.client_ca(&cluster.planes[plane]);
            if anchors.is_none_or(<[Certificate]>::is_empty) {
                return Err(format!("{object} is empty"));
            }
        }
        Step::IssueLeaf(IssueLeaf { target, .. }) => {
            let written = cluster.material.iter().find(|(key, _)| {
                key.object == *target
                    && matches!(content(&cluster.material[*key]).leaf, Leaf::Present { .. })
            });
            let Some((key, written)) = written else {
                return Err(format!("{object} holds no certificate"));
            };
            if cluster.wrong_keys.contains(key) {
                return Err(format!("{object}: the key is not the certificate's"));
            }
            if outlives_its_chain(&content(written).leaf) {
                return Err(format!("{object} outlives its chain"));
            }
        }
        Step::Restart(Restart { workload, .. }) => {
            let deployment = &cluster.deployments[workload];
            // One more than changes: the proof of what was there before the operator came.
            if deployment.restarts > deployment.changes + 1 && !cluster.two_led {
                let (restarts, changes) = (deployment.restarts, deployment.changes);
                return Err(format!(
                    "{object}: {restarts} restarts for {changes} changes"
                ));
            }
        }
        Step::GenerateCa(_) | Step::InjectBundle(_) | Step::DropRequest(_) | Step::Consume(_) => {}
    }
    Ok(())
}

fn outlives_its_chain(leaf: &Leaf) -> bool {
    let Leaf::Present { chain, .. } = leaf else {
        return false;
    };
    let Some((leaf, rest)) = chain.split_first() else {
        return true;
    };
    let anchors = (0..=crate::pki::CAS).map(|index| crate::pki::ca(index).anchor().clone());
    let signers = anchors.filter(|anchor| leaf.signed_by(anchor));
    let mut above = rest.iter().cloned().chain(signers);
    above.any(|above| above.not_after() < leaf.not_after())
}

pub fn of_plan(observed: &Observed, planned: &Decision, now: Timestamp) -> Result<(), String> {
    let ignored = compile(&observed.issuance, observed).wanted.ignored;
    let mut material = observed.material.iter();
    let unknown = material
        .any(|(key, read)| matches!(read.as_ref(), Read::Unknown(_)) && !ignored.contains(key));
    if unknown && planned.status.phase == Some(Phase::Ready) {
        return Err("Ready, though something cannot be read".into());
    }
    one_side_at_a_time(observed, planned, now)
}

/// Guard 7: one restart, and none while the other side is restarting.
fn one_side_at_a_time(
    observed: &Observed,
    planned: &Decision,
    now: Timestamp,
) -> Result<(), String> {
    let restarts: Vec<_> = planned
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Restart(Restart { workload, .. }) => Some(workload),
            _ => None,
        })
        .collect();
    if restarts.len() > 1 {
        return Err(format!("restarted at once: {restarts:?}"));
    }
    let domain = compile(&observed.issuance, observed);
    let all = Consumers::new(&domain, observed, now).workloads;
    let busy = all.iter().filter(|consumer| {
        !consumer.workload.loaded.is_empty()
            && !consumer.is_waiting()
            && consumer.workload.rollout != RolloutState::Complete
    });
    let Some(restarted) = restarts.first() else {
        return Ok(());
    };
    // One that is restarting already, or is stuck in that, may be helped by the next restart.
    let again = busy
        .clone()
        .any(|consumer| consumer.workload.workload == **restarted);
    let mut moving = busy.filter(|consumer| !is_stuck(observed, &consumer.workload.workload, now));
    match moving.find(|consumer| !again && consumer.workload.workload != **restarted) {
        Some(busy) => Err(format!(
            "{restarted} restarted while {} restarts",
            busy.workload.workload
        )),
        None => Ok(()),
    }
}

/// Whoever has been restarting for longer than `rollout.timeout`, as the stored status says, holds up nobody.
fn is_stuck(observed: &Observed, workload: &WorkloadRef, now: Timestamp) -> bool {
    let timeout = observed.issuance.spec.rollout.timeout.0;
    let told = observed.issuance.status.iter();
    let mut told = told.flat_map(|status| &status.rollouts);
    let name = workload.to_string();
    told.any(|one| one.workload == name && one.since.0.duration_until(now) > timeout)
}

/// What was done leads to a plan that does not do it again.
pub fn repeats_nothing(done: &[Step], again: &[Step]) -> Result<(), String> {
    let same = |a: &Step, b: &Step| match (a, b) {
        (Step::WriteBundle(a), Step::WriteBundle(b)) => {
            a.target == b.target && a.anchors == b.anchors
        }
        (Step::WirePlane(a), Step::WirePlane(b)) => {
            a.plane == b.plane && a.client_ca == b.client_ca
        }
        (Step::IssueLeaf(a), Step::IssueLeaf(b)) => a.target == b.target,
        (Step::Restart(a), Step::Restart(b)) => {
            a.workload == b.workload && a.material_hash == b.material_hash
        }
        _ => false,
    };
    let repeated = done.iter().find(|a| again.iter().any(|b| same(a, b)));
    match repeated {
        Some(step) => Err(format!(
            "planned again right after it was done: {}",
            step.object()
        )),
        None => Ok(()),
    }
}
