//! The operator: the planner and the order of steps that it really runs, over an API server that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{ExternalCAIssuanceStatus, REPLACES_ANNOTATION};
use external_ca_core::desired::desired;
use external_ca_core::observed::{
    Claims, Issuer, Material, MaterialRef, Observed, Plane, Read, WorkloadRef,
};
use external_ca_core::plan::{Plan, Round, Step, Wiring, plan};
use external_ca_core::rollout::{consumers, stamp};
use external_ca_core::x509::{LeafProfile, parse_bundle};
use fastrand::Rng;
use jiff::SignedDuration;

use crate::cluster::{AGENTS, Cluster, HOME, View, ca, gateway_leaf, stranger};
use crate::invariant::Judge;
use crate::mutants::Mutant;

/// How often things go wrong, each between 0 and 1.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// An object's latest version has not reached the operator.
    pub stale: f64,
    /// A read fails.
    pub unknown: f64,
    /// A write is refused.
    pub refused: f64,
    /// A write succeeds, and its answer is lost.
    pub lost: f64,
    /// The operator dies, before or after a write.
    pub crash: f64,
    /// Something else happens between two writes.
    pub meanwhile: f64,
}

/// What the operator remembers.
pub struct Operator {
    view: View,
    said: Option<ExternalCAIssuanceStatus>,
    /// Steps whose write may have happened, or not.
    in_doubt: Vec<Step>,
    pub clock: SignedDuration,
}

enum Call {
    Done,
    /// Nobody knows whether it happened, or it met something unexpected.
    Doubt,
    Died,
}

impl Operator {
    /// It has listed everything once.
    pub fn start(cluster: &Cluster) -> Self {
        Self {
            view: cluster.view(),
            said: None,
            in_doubt: Vec::new(),
            clock: SignedDuration::ZERO,
        }
    }

    /// Watches bring what is new, or do not yet.
    fn watch(&mut self, cluster: &Cluster, faults: &Faults, rng: &mut Rng) {
        let newest = cluster.view();
        let mut late = || rng.f64() < faults.stale;
        refresh(&mut self.view.material, newest.material, &mut late);
        refresh(&mut self.view.planes, newest.planes, &mut late);
        refresh(&mut self.view.workloads, newest.workloads, &mut late);
        if !late() {
            self.view.authority = newest.authority;
        }
    }

    fn observe(&self, cluster: &Cluster, faults: &Faults, rng: &mut Rng) -> Observed {
        let mut issuance = cluster.issuance.clone();
        if self.said.is_some() {
            issuance.status = self.said.clone();
        }
        let planes: Vec<Arc<Plane>> = self.view.planes.values().cloned().map(Arc::new).collect();
        let wanted = desired(&issuance, &planes);
        let leaves = wanted.leaves.values().map(|leaf| leaf.material());
        let material = wanted.trust_places.iter().cloned().chain(leaves);
        let material = material.map(|key| {
            let read = match self.view.material.get(&key) {
                _ if rng.f64() < faults.unknown => Read::Unknown("the read failed".into()),
                Some(found) => Read::Found(found.as_ref().clone()),
                None => Read::Absent,
            };
            (key, Arc::new(read))
        });
        let material = material.collect();
        let blind = rng.f64() < faults.unknown;
        let workloads = self.view.workloads.values().cloned().map(Arc::new);
        Observed {
            issuance: Arc::new(issuance),
            served: Arc::new(served()),
            plane_namespaces: Arc::new(["default".to_owned()].into()),
            issuer: Issuer::Ready(ca(self.view.authority)),
            generated: None,
            anchor_config_maps: BTreeMap::new(),
            material,
            planes,
            workloads: workloads.collect(),
            unreadable: blind
                .then(|| "the list of Deployments".into())
                .into_iter()
                .collect(),
            claims: Claims::default(),
        }
    }

    /// One turn. Nothing where the operator died; an error where it broke what must hold.
    pub fn turn(
        &mut self,
        cluster: &mut Cluster,
        judge: &mut Judge,
        faults: &Faults,
        mutant: Option<Mutant>,
        rng: &mut Rng,
    ) -> Result<Option<Plan>, String> {
        self.watch(cluster, faults, rng);
        for step in std::mem::take(&mut self.in_doubt) {
            if rng.f64() < faults.refused {
                self.in_doubt.push(step);
            } else {
                self.see(cluster, &step);
            }
        }
        if !self.in_doubt.is_empty() {
            return Ok(Some(Plan {
                steps: Vec::new(),
                status: ExternalCAIssuanceStatus::default(),
                problems: Vec::new(),
                events: Vec::new(),
                next_check: cluster.now,
                say_first: false,
            }));
        }
        let mut observed = self.observe(cluster, faults, rng);
        if let Some(mutant) = mutant {
            mutant.blind(&mut observed);
        }
        let now = cluster.now + self.clock;
        let mut planned = plan(&observed, now);
        if rng.u8(..16) == 0 && plan(&observed, now).steps != planned.steps {
            return Err("the same snapshot led to two plans".into());
        }
        if let Some(mutant) = mutant {
            mutant.spoil(&observed, &mut planned);
        }
        one_side_at_a_time(&planned)?;
        if planned.say_first && !planned.steps.is_empty() {
            if rng.f64() < faults.refused {
                return Ok(Some(planned));
            }
            cluster.issuance.status = Some(planned.status.clone());
        }
        let mut steps = planned.steps.clone();
        steps.sort_by_key(Step::round);
        let mut doubt = None;
        for step in &steps {
            if doubt.is_some_and(|round| step.round() > round) {
                break;
            }
            if rng.f64() < faults.meanwhile {
                cluster.run_pods(rng, 0.5);
            }
            let before = judge.failing(cluster);
            let call = self.call(cluster, &observed, step, faults, rng)?;
            let after = judge.failing(cluster);
            if let Some(broken) = after.difference(&before).next() {
                return Err(format!("{} broke: {broken}", step.object()));
            }
            match call {
                Call::Done => {}
                Call::Died => return Ok(None),
                Call::Doubt => {
                    if step.round() <= Round::Certificates {
                        self.in_doubt.push(step.clone());
                        // What follows rests on who trusts what.
                        if step.round() <= Round::Planes {
                            doubt = Some(step.round());
                        }
                    }
                }
            }
        }
        self.said = Some(planned.status.clone());
        if rng.f64() >= faults.refused {
            cluster.issuance.status = Some(planned.status.clone());
        }
        Ok(Some(planned))
    }

    fn call(
        &mut self,
        cluster: &mut Cluster,
        observed: &Observed,
        step: &Step,
        faults: &Faults,
        rng: &mut Rng,
    ) -> Result<Call, String> {
        if rng.f64() < faults.crash {
            cluster.say(format!("operator: dies before {}", step.object()));
            return Ok(Call::Died);
        }
        if rng.f64() < faults.refused {
            return Ok(Call::Doubt);
        }
        let done = self.write(cluster, observed, step, rng)?;
        if !done {
            cluster.say(format!("operator: {} has changed meanwhile", step.object()));
            return Ok(Call::Doubt);
        }
        cluster.say(format!("operator: {}", describe(step)));
        if rng.f64() < faults.crash {
            cluster.say("operator: dies");
            return Ok(Call::Died);
        }
        if rng.f64() < faults.lost {
            return Ok(Call::Doubt);
        }
        self.see(cluster, step);
        Ok(Call::Done)
    }

    /// What a write's answer says.
    fn see(&mut self, cluster: &Cluster, step: &Step) {
        match step {
            Step::WriteBundle { target, .. } => self.see_material(cluster, target),
            Step::IssueLeaf { target, .. } => {
                self.see_material(
                    cluster,
                    &crate::cluster::secret(&target.namespace, &target.name),
                );
            }
            Step::WirePlane { plane, .. } => {
                let found = cluster.planes[plane].clone();
                self.view.planes.insert(plane.clone(), found);
            }
            Step::Restart { workload, .. } => {
                let found = cluster.deployments[workload].facts.clone();
                self.view.workloads.insert(workload.clone(), found);
            }
            Step::GenerateCa { .. } | Step::Consume(_) => {}
        }
    }

    fn see_material(&mut self, cluster: &Cluster, target: &MaterialRef) {
        match cluster.material.get(target) {
            Some(found) => self.view.material.insert(target.clone(), found.clone()),
            None => self.view.material.remove(target),
        };
    }

    /// What the API server does with a step's write; false is a conflict.
    fn write(
        &mut self,
        cluster: &mut Cluster,
        observed: &Observed,
        step: &Step,
        rng: &mut Rng,
    ) -> Result<bool, String> {
        match step {
            Step::WriteBundle {
                target,
                resource_version,
                anchors,
                marks,
            } => {
                let stored = cluster.material.get(target);
                if anchors.is_empty() {
                    return Err(format!("{target} would be empty"));
                }
                let fits = match (resource_version, stored) {
                    (Some(seen), Some(stored)) => *seen == stored.resource_version,
                    (Some(_), None) => false,
                    (None, Some(stored)) => applies(stored),
                    (None, None) => true,
                };
                if !fits {
                    self.see_material(cluster, target);
                    return Ok(false);
                }
                let had = stored.is_some_and(|stored| stored.anchors.contains(&stranger()));
                if had && !anchors.contains(&stranger()) {
                    return Err(format!("{target} loses a stranger's anchor"));
                }
                cluster.put_bundle(target, anchors, true);
                mark(cluster, target, marks);
            }
            Step::WirePlane {
                plane,
                resource_version,
                client_ca,
            } => {
                if cluster.planes[plane].resource_version != *resource_version {
                    return Ok(false);
                }
                let Wiring::Value(pem) = client_ca else {
                    return Err("a reference was not asked for".into());
                };
                let anchors = parse_bundle(pem.as_bytes()).certificates;
                cluster.put_client_ca(plane, &anchors, true);
            }
            Step::IssueLeaf {
                target,
                profile,
                marks,
                ..
            } => {
                let target = crate::cluster::secret(&target.namespace, &target.name);
                if !self.issue(cluster, observed, &target, profile, rng) {
                    self.see_material(cluster, &target);
                    return Ok(false);
                }
                mark(cluster, &target, marks);
            }
            Step::Restart {
                workload,
                resource_version,
                ..
            } => return Ok(restart(cluster, observed, workload, resource_version)),
            Step::GenerateCa { .. } | Step::Consume(_) => {}
        }
        Ok(true)
    }

    /// The live object is compared with the snapshot first, as the operator does.
    fn issue(
        &self,
        cluster: &mut Cluster,
        observed: &Observed,
        target: &MaterialRef,
        profile: &LeafProfile,
        rng: &mut Rng,
    ) -> bool {
        let Issuer::Ready(authority) = &observed.issuer else {
            return false;
        };
        let seen = observed.material.get(target).map(AsRef::as_ref);
        let same = match (seen, cluster.material.get(target)) {
            (Some(Read::Found(seen)), Some(live)) => {
                seen.hash == live.hash && seen.created == live.created
            }
            (Some(Read::Absent), None) => true,
            _ => false,
        };
        if same {
            let serial = std::array::from_fn(|_| rng.u8(1..=127));
            cluster.put_leaf(
                target,
                authority,
                profile,
                (serial, cluster.now + self.clock),
                true,
            );
        }
        same
    }
}

fn mark(cluster: &mut Cluster, target: &MaterialRef, marks: &BTreeMap<&'static str, String>) {
    let written = cluster.material.get_mut(target).unwrap();
    Arc::make_mut(written).replaces = marks.contains_key(REPLACES_ANNOTATION);
}

/// An apply that does not force meets an object that it did not expect: its own field manager's, or another's.
fn applies(stored: &Material) -> bool {
    stored.manager.as_deref() == Some(external_ca_api::MANAGER)
}

fn restart(
    cluster: &mut Cluster,
    observed: &Observed,
    workload: &WorkloadRef,
    resource_version: &str,
) -> bool {
    if cluster.deployments[workload].facts.resource_version != resource_version {
        return false;
    }
    let leaf = gateway_leaf();
    let all = consumers(&observed.workloads, &observed.material, Some(&leaf));
    let consumer = all
        .iter()
        .find(|consumer| consumer.workload.workload == *workload);
    let loaded = stamp(consumer.unwrap(), &observed.material);
    let version = cluster.next_version();
    let deployment = cluster.deployments.get_mut(workload).unwrap();
    deployment.restart(loaded, version);
    true
}

/// Guard 7.
fn one_side_at_a_time(planned: &Plan) -> Result<(), String> {
    let restarts = planned.steps.iter().filter_map(|step| match step {
        Step::Restart { workload, .. } => Some(workload.to_string()),
        _ => None,
    });
    let restarts: Vec<String> = restarts.collect();
    match restarts.len() {
        0 | 1 => Ok(()),
        _ => Err(format!("restarted at once: {}", restarts.join(", "))),
    }
}

pub fn served() -> BTreeSet<String> {
    let namespaces = AGENTS.map(|(_, namespace)| namespace);
    namespaces
        .into_iter()
        .chain([HOME])
        .map(String::from)
        .collect()
}

fn describe(step: &Step) -> String {
    match step {
        Step::WriteBundle {
            target, anchors, ..
        } => {
            let names: Vec<String> = anchors.iter().map(crate::cluster_name).collect();
            format!("{target} trusts {}", names.join(" "))
        }
        Step::WirePlane {
            plane,
            client_ca: Wiring::Value(pem),
            ..
        } => {
            let anchors = parse_bundle(pem.as_bytes()).certificates;
            let names: Vec<String> = anchors.iter().map(crate::cluster_name).collect();
            format!("{plane} trusts {}", names.join(" "))
        }
        Step::IssueLeaf { target, why, .. } => format!("issues {target} ({})", why.reason),
        Step::Restart { workload, .. } => format!("restarts {workload}"),
        other => other.object(),
    }
}

fn refresh<K: Ord + Clone, V>(
    seen: &mut BTreeMap<K, V>,
    newest: BTreeMap<K, V>,
    late: &mut impl FnMut() -> bool,
) {
    let gone: Vec<K> = seen
        .keys()
        .filter(|key| !newest.contains_key(key))
        .cloned()
        .collect();
    for key in gone {
        if !late() {
            seen.remove(&key);
        }
    }
    for (key, value) in newest {
        if !late() {
            seen.insert(key, value);
        }
    }
}
