//! The faults end: each Certificate is Ready, and nothing is trusted that need not be.

use external_ca_core::model::Leaf;
use external_ca_core::x509::{Certificate, Usages, verify};

use super::world::{CA, CLIENTS, SECRETS, SERVER, WEBHOOK, secret};
use crate::cluster::{Cluster, content};
use crate::operator::World;
use crate::pki::stranger;

/// Whether all stands as it should.
pub fn is_as_wanted(world: &mut World) -> Result<(), String> {
    if let Some(broken) = world.calls.failing(&world.cluster).first() {
        return Err(format!("at rest, and fails: {broken}"));
    }
    let cluster = &world.cluster;
    let anchor = |name: &str| first(cluster, name);
    let ca = anchor(CA)?;
    let by_ca = |name: &str| {
        let verifies = |chain: &[Certificate]| {
            verify(
                chain,
                std::slice::from_ref(&ca),
                Usages::default(),
                cluster.now,
            )
            .is_ok()
        };
        chain(cluster, name).is_some_and(verifies)
    };
    if let Some(name) = CLIENTS
        .into_iter()
        .chain([SERVER])
        .find(|name| !by_ca(name))
    {
        return Err(format!("at rest, and {name} is not as wanted"));
    }
    let webhook = match by_ca(WEBHOOK) {
        true => ca.clone(),
        false => anchor(WEBHOOK)?,
    };
    for name in SECRETS {
        let wanted = if name == WEBHOOK { &webhook } else { &ca };
        let stored = content(&cluster.material[&secret(name)]);
        let is_by_people = name == CA && stored.issuance.is_none();
        if !is_by_people {
            holds(cluster, name, &stored.anchors, wanted)?;
        }
    }
    for (object, configuration) in &cluster.cert_manager.configurations {
        for (place, element, anchors) in configuration.bundles(cluster.now) {
            holds(
                cluster,
                &format!("{object} {element} ({place})"),
                anchors,
                &webhook,
            )?;
        }
    }
    if !cluster.cert_manager.pending.is_empty() {
        return Err("at rest, and a certificate waits".into());
    }
    Ok(())
}

fn chain<'a>(cluster: &'a Cluster, name: &str) -> Option<&'a [Certificate]> {
    match &content(cluster.material.get(&secret(name))?).leaf {
        Leaf::Present { chain, .. } => Some(chain),
        Leaf::Empty | Leaf::Invalid(_) => None,
    }
}

fn first(cluster: &Cluster, name: &str) -> Result<Certificate, String> {
    let found = chain(cluster, name).and_then(<[_]>::first);
    found
        .cloned()
        .ok_or_else(|| format!("at rest, and {name} is empty"))
}

/// What is wanted, and besides it what somebody else put there; more only where nobody may remember it.
fn holds(
    cluster: &Cluster,
    place: &str,
    anchors: &[Certificate],
    wanted: &Certificate,
) -> Result<(), String> {
    let is_touched = cluster.cert_manager.is_touched;
    let mut others = anchors
        .iter()
        .filter(|anchor| *anchor != wanted && **anchor != stranger());
    match anchors.contains(wanted) && (is_touched || others.next().is_none()) {
        true => Ok(()),
        false => Err(format!(
            "at rest, and {place} holds {} anchors, the wanted one: {}",
            anchors.len(),
            anchors.contains(wanted)
        )),
    }
}
