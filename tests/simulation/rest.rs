//! The faults end: everything comes to rest with the newest CA, and with it alone.

use std::collections::BTreeSet;

use external_ca_api::{ExternalCAIssuanceStatus, Phase};
use external_ca_core::model::Leaf;
use external_ca_core::x509::{Certificate, Usages, verify};
use fastrand::Rng;
use jiff::SignedDuration;

use crate::certificates;
use crate::certificates::operator::Came;
use crate::cluster::{
    AGENTS, agent_leaf, bundle, bundles, content, gateway_leaf, home_of, trust_secret,
};
use crate::operator::{Operator, World};
use crate::others;
use crate::people;
use crate::pki::{CAS, ca, names, stranger};
use crate::pods::Process;
use crate::unwanted;

/// So many turns it may take.
const TURNS: usize = 250;
/// For so many turns nothing more may happen then.
const QUIET: usize = 3;

pub fn come_to_rest(
    world: &mut World,
    operator: &mut Operator,
    by_people: &BTreeSet<usize>,
) -> Result<(), String> {
    let cluster = &mut world.cluster;
    cluster.say(|| "the faults end");
    // Whoever changes the spec also says by it that contested fields may be written again.
    people::put_right(cluster);
    unwanted::put_right(cluster);
    people::spec(cluster).paused = false;
    cluster.away.clear();
    others::put_right(cluster);
    certificates::people::put_right(cluster);
    operator.clock = SignedDuration::ZERO;
    operator.stalls = false;
    if let Some(authority) = &mut world.authority {
        authority.be_kind();
    }
    let mut rng = Rng::with_seed(0);
    let (mut quiet, mut known) = (0, BTreeSet::new());
    for _ in 0..TURNS {
        world.cluster.now += SignedDuration::from_secs(10);
        others::delete_old(&mut world.cluster);
        (0..3).for_each(|_| world.cluster.run_pods(&mut rng, 1.0));
        let planned = operator.turn(world)?;
        let came = operator.turn_of_certificates(world)?;
        let ready = planned.steps.is_empty() && is_ready(&planned.status) && came == Came::ToRest;
        let running = started(&world.cluster.pods);
        // What a pod holds is asked once it has started.
        if running.difference(&known).next().is_some() {
            quiet = 0;
        }
        known = running;
        // A certificate of cert-manager's objects may just be due.
        if quiet > 0 && !ready && came == Came::ToRest {
            let step = planned.steps.first();
            let why = failing(&planned.status);
            return Err(format!("at rest, and then {step:?}: {why}"));
        }
        if !ready {
            quiet = 0;
            continue;
        }
        quiet += 1;
        if planned.status.retiring().next().is_some() {
            return Err("Ready, and an old anchor is still on its way out".into());
        }
        if quiet > QUIET {
            // Rollouts that people began may still be under way.
            (0..20).for_each(|_| world.cluster.run_pods(&mut rng, 1.0));
            let ends = |pod: &Process| pod.facts.is_terminating;
            while world.cluster.pods.iter().any(ends) {
                world.cluster.run_pods(&mut rng, 1.0);
            }
            let mut kept = world.authority.iter().flat_map(|one| &one.pending.kept);
            // What one leader has kept, another that leads may never have read.
            if let Some((target, _)) = kept.find(|_| !world.cluster.two_led) {
                return Err(format!("at rest, and a request for {target} is kept"));
            }
            if !world.cluster.cert_manager.is_empty() {
                certificates::rest::is_as_wanted(world)?;
            }
            return is_as_wanted(world, by_people);
        }
    }
    let status = world.cluster.issuance.status.clone().unwrap_or_default();
    Err(format!("does not come to rest: {}", failing(&status)))
}

fn started(pods: &[Process]) -> BTreeSet<String> {
    let running = pods.iter().filter(|pod| pod.facts.has_started());
    running.map(|pod| pod.facts.uid.clone()).collect()
}

/// The conditions that do not hold.
fn failing(status: &ExternalCAIssuanceStatus) -> String {
    let conditions = status.conditions.iter().filter(|one| one.status == "False");
    let lines: Vec<String> = conditions
        .map(|one| format!("{} {}: {}", one.type_, one.reason, one.message))
        .collect();
    lines.join("\n")
}

/// Ready, but for agents whose planes people have deleted. That they do not run is no part of it.
fn is_ready(status: &ExternalCAIssuanceStatus) -> bool {
    let areas = status.conditions.iter().filter(|one| {
        let others = ["Reconciling", "Stalled", "Issuing", "ConsumersRunning"];
        !others.contains(&one.type_.as_str()) && one.status == "False"
    });
    status.phase == Some(Phase::Ready)
        || status.phase == Some(Phase::Stalled)
            && areas.clone().all(|one| one.reason == "PlaneNotFound")
}

fn is_as_wanted(world: &mut World, by_people: &BTreeSet<usize>) -> Result<(), String> {
    let cluster = &world.cluster;
    // While what people made stands there as it should and no rotation is under way, nobody asks for the proof that it is
    // loaded: a pod may still hold what people had put there before.
    let by_hand = |object| {
        let stored = cluster.material.get(object).map(content);
        stored.is_some_and(|stored| stored.issuance.is_none())
    };
    let unproven = cluster.profiles.keys().any(by_hand) || bundles().iter().any(by_hand);
    let failing = world.judge.0.failing(cluster, None);
    if let Some(broken) = failing.first().filter(|_| !unproven) {
        return Err(format!("at rest, and fails: {broken}"));
    }
    let authority = ca(cluster.authority);
    let mut wanted = vec![authority.anchor().clone()];
    let additional = &cluster.issuance.spec.trust.additional_anchors;
    let additional: Vec<&str> = additional
        .iter()
        .filter_map(|one| one.pem.as_deref())
        .collect();
    wanted.extend(
        (0..CAS)
            .map(|index| ca(index).anchor().clone())
            .filter(|anchor| {
                additional.contains(&anchor.to_pem().as_str()) && anchor != authority.anchor()
            }),
    );
    let planes: Vec<_> = cluster.planes.values().collect();
    let lives = |namespace: &str| {
        planes
            .iter()
            .any(|plane| home_of(&plane.plane) == namespace)
    };
    let agents: Vec<&str> = AGENTS
        .iter()
        .map(|(_, namespace)| *namespace)
        .filter(|name| lives(name))
        .collect();
    let bundles = agents
        .iter()
        .map(|namespace| bundle(namespace))
        .chain([trust_secret()]);
    let material = bundles.map(|place| {
        let stored = cluster.material.get(&place);
        (
            place.to_string(),
            stored.map(|stored| content(stored).anchors.clone()),
        )
    });
    let places = planes.iter().map(|plane| {
        (
            plane.plane.to_string(),
            cluster.client_ca(plane).map(<[Certificate]>::to_vec),
        )
    });
    for (place, anchors) in material.chain(places) {
        let anchors = anchors.unwrap_or_default();
        // What people put somewhere may be taken for a stranger's.
        let strange = |anchor: &Certificate| {
            *anchor == stranger() || by_people.iter().any(|index| ca(*index).anchor() == anchor)
        };
        let lacks = wanted.iter().any(|anchor| !anchors.contains(anchor));
        let too_much = anchors
            .iter()
            .any(|anchor| !wanted.contains(anchor) && !strange(anchor));
        if lacks || too_much {
            return Err(format!("at rest, and {place} trusts {}", names(&anchors)));
        }
    }
    let leaves = agents
        .iter()
        .map(|namespace| agent_leaf(namespace))
        .chain([gateway_leaf()]);
    for leaf in leaves {
        let found = cluster
            .material
            .get(&leaf)
            .map(|found| &content(found).leaf);
        let Some(Leaf::Present { chain, key_matches }) = found else {
            return Err(format!("at rest, and {leaf} is empty"));
        };
        let anchors = [authority.anchor().clone()];
        // Here the clocks are right again, and validity counts.
        if !key_matches || verify(chain, &anchors, Usages::default(), cluster.now).is_err() {
            return Err(format!("at rest, and {leaf} is not as wanted"));
        }
    }
    for (key, deployment) in &cluster.deployments {
        if !lives(&key.object.namespace) && key.object.namespace != crate::cluster::HOME {
            continue;
        }
        let own = cluster.pods.iter().filter(|pod| pod.is_of(key));
        let held = |mount| own.clone().flat_map(move |pod| pod.held(mount));
        let mounts = deployment.facts.mounts.iter();
        for (object, (_, held)) in mounts.flat_map(|one| held(one).map(move |held| (one, held))) {
            let (held, stored) = (content(held), content(&cluster.material[object]));
            // Of a bundle that was deleted before any pod was available the operator may never have known, as long as no
            // other CA was ever handed out.
            // What others wrote, the operator need not see loaded. A certificate that was deleted before any pod of the
            // workload was ever available may go on being used: it works, and is renewed in time.
            if stored.issuance.is_some()
                && !held.has_key
                && held.created == stored.created
                && held.hash != stored.hash
            {
                return Err(format!("at rest, and a pod of {key} holds an old {object}"));
            }
        }
    }
    Ok(())
}
