//! What happens in one world.

use external_ca_api::{AnchorState, Phase};
use external_ca_core::observed::Leaf;
use fastrand::Rng;
use jiff::SignedDuration;

use crate::cluster::{
    AGENTS, Cluster, HOME, agent_leaf, bundle, ca, gateway_leaf, stranger, trust_secret,
};
use crate::cluster_name;
use crate::invariant::Judge;
use crate::mutants::Mutant;
use crate::operator::{Faults, Operator};

/// How long things go wrong, and how long it may then take to come to rest.
const TROUBLE: usize = 60;
const REST: usize = 200;

/// Tells the story of a seed; the error is what broke, and the last of the trace.
pub fn tell(seed: u64, mutant: Option<Mutant>) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let mut cluster = Cluster::new(&mut rng);
    let ended = Story::new(&mut cluster, &mut rng, mutant).run();
    ended.map_err(|failure| {
        let from = cluster.trace.len().saturating_sub(60);
        format!("{failure}\n{}", cluster.trace[from..].join("\n"))
    })
}

struct Story<'a> {
    cluster: &'a mut Cluster,
    rng: &'a mut Rng,
    judge: Judge,
    mutant: Option<Mutant>,
    faults: Faults,
    deleted: usize,
}

impl<'a> Story<'a> {
    fn new(cluster: &'a mut Cluster, rng: &'a mut Rng, mutant: Option<Mutant>) -> Self {
        let mut often = |most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        let faults = Faults {
            stale: often(0.5),
            unknown: often(0.1),
            refused: often(0.2),
            lost: often(0.2),
            crash: often(0.1),
            meanwhile: often(0.5),
        };
        if rng.u8(..3) == 0 {
            cluster.by_hand(0);
            cluster.authority = rng.usize(0..2);
            if rng.bool() {
                let anchors = [ca(0).anchor().clone(), stranger()];
                cluster.put_bundle(&bundle(AGENTS[0].1), &anchors, false);
            }
        }
        Self {
            cluster,
            rng,
            judge: Judge::default(),
            mutant,
            faults,
            deleted: 0,
        }
    }

    fn run(mut self) -> Result<(), String> {
        let mut operator = Operator::start(self.cluster);
        for _ in 0..TROUBLE {
            self.something_happens();
            if self.rng.u8(..20) == 0 {
                // Further ahead than certificates are backdated, and their first minutes would fail.
                operator.clock = SignedDuration::from_mins(self.rng.i64(-10..5));
            }
            let faults = self.faults;
            let turn = operator.turn(
                self.cluster,
                &mut self.judge,
                &faults,
                self.mutant,
                self.rng,
            )?;
            if turn.is_none() || self.rng.u8(..50) == 0 {
                operator = Operator::start(self.cluster);
            }
        }
        self.come_to_rest()
    }

    /// Time passes; pods, people and clocks do what they do.
    fn something_happens(&mut self) {
        let rng = &mut *self.rng;
        let cluster = &mut *self.cluster;
        cluster.now += SignedDuration::from_secs(rng.i64(1..30));
        cluster.run_pods(rng, 0.6);
        match rng.u8(..40) {
            0..=3 => cluster.crash_a_pod(rng),
            4 | 5 => {
                cluster.authority = rng.usize(0..3);
                let name = cluster_name(ca(cluster.authority).anchor());
                cluster.say(format!("somebody: the CA Secret holds {name}"));
            }
            6 | 7 => {
                let index = rng.usize(0..cluster.deployments.len());
                let (key, deployment) = cluster.deployments.iter_mut().nth(index).unwrap();
                deployment.stuck = !deployment.stuck;
                let line = format!("{key}: new pods become ready: {}", !deployment.stuck);
                cluster.say(line);
            }
            8 if self.deleted < 2 => {
                self.deleted += 1;
                let index = rng.usize(..cluster.material.len().max(1));
                let key = cluster.material.keys().nth(index).cloned();
                if let Some(key) = key {
                    cluster.material.remove(&key);
                    cluster.say(format!("somebody: deletes {key}"));
                }
            }
            _ => {}
        }
    }

    /// Nothing goes wrong any more.
    fn come_to_rest(mut self) -> Result<(), String> {
        self.cluster.say("the faults end");
        for deployment in self.cluster.deployments.values_mut() {
            deployment.stuck = false;
        }
        let mut operator = Operator::start(self.cluster);
        for _ in 0..REST {
            self.cluster.now += SignedDuration::from_secs(10);
            self.cluster.run_pods(self.rng, 1.0);
            let calm = Faults::default();
            let planned =
                operator.turn(self.cluster, &mut self.judge, &calm, self.mutant, self.rng)?;
            let Some(planned) = planned else { continue };
            if planned.steps.is_empty() && planned.status.phase == Some(Phase::Ready) {
                let anchors = planned.status.trust.unwrap_or_default().anchors;
                if anchors
                    .iter()
                    .any(|anchor| anchor.state != AnchorState::Active)
                {
                    return Err("Ready, and an old anchor is still on its way out".into());
                }
                return self.is_as_wanted();
            }
        }
        let status = self.cluster.issuance.status.clone().unwrap_or_default();
        let conditions = status.conditions.iter().filter(|one| one.status == "False");
        let lines: Vec<String> = conditions
            .map(|one| format!("{} {}: {}", one.type_, one.reason, one.message))
            .collect();
        Err(format!("does not come to rest: {}", lines.join("\n")))
    }

    fn is_as_wanted(&mut self) -> Result<(), String> {
        if let Some(broken) = self.judge.failing(self.cluster).first() {
            return Err(format!("at rest, and fails: {broken}"));
        }
        let authority = ca(self.cluster.authority);
        let namespaces = AGENTS.map(|(_, namespace)| namespace);
        let bundles = namespaces
            .map(bundle)
            .into_iter()
            .chain([bundle(HOME), trust_secret()]);
        let material = bundles.map(|place| {
            let anchors = self.cluster.material[&place].anchors.clone();
            (place.to_string(), anchors)
        });
        let planes = self.cluster.planes.values();
        let planes = planes.map(|plane| (plane.plane.to_string(), plane.anchors.clone()));
        for (place, anchors) in material.chain(planes) {
            let ours: Vec<_> = anchors
                .iter()
                .filter(|anchor| **anchor != stranger())
                .collect();
            if ours != [authority.anchor()] {
                let names: Vec<String> = anchors.iter().map(cluster_name).collect();
                return Err(format!("at rest, and {place} trusts {}", names.join(" ")));
            }
        }
        for leaf in namespaces.map(agent_leaf).iter().chain([&gateway_leaf()]) {
            let Leaf::Present { chain, .. } = &self.cluster.material[leaf].leaf else {
                return Err(format!("at rest, and {leaf} is empty"));
            };
            if !chain[0].signed_by(authority.certificate()) {
                return Err(format!("at rest, and {leaf} is signed by another CA"));
            }
        }
        for (key, deployment) in &self.cluster.deployments {
            for pod in &deployment.pods {
                for (object, held) in &pod.holds {
                    // What others wrote, the operator need not see loaded. A certificate that was deleted before any pod
                    // of the workload was ever available may go on being used: it works, and is renewed in time.
                    let ours = self.cluster.material[object].issuance.is_some();
                    if ours && !held.has_key && held.hash != self.cluster.material[object].hash {
                        return Err(format!("at rest, and a pod of {key} holds an old {object}"));
                    }
                }
            }
        }
        Ok(())
    }
}
