//! What people do with cert-manager's objects, with what is made of them, and with cert-manager itself.

use external_ca_core::model::{CertManagerKind, CertManagerRef, InjectFrom, InjectRef, ObjectRef};
use fastrand::Rng;
use serde_json::{Value, json};

use super::world::{CA, CLIENTS, SECRETS, WEBHOOK, leaf_spec, leap, put_ca_by_hand, secret};
use crate::cluster::{Cluster, Content, HOME, PEOPLE, Writer, content};
use crate::pki::stranger;

#[derive(Clone, Copy, Debug)]
pub enum Deed {
    /// Time passes: minutes.
    Leap(u8),
    /// A Certificate's spec changes: its names, or how long it is to serve.
    Names(usize),
    Duration(usize),
    /// A client's Certificate goes, or comes back.
    Certificate(usize),
    /// A Secret is deleted.
    Delete(usize),
    /// Another CA is put into the CA's Secret, or the Secret is replaced as a whole.
    ReplaceCa(bool),
    /// A webhook comes or goes.
    Webhook(usize),
    /// `helm upgrade` puts a placeholder back.
    Placeholder(usize),
    /// An annotation that asks for a bundle goes, or comes back.
    Annotation(usize),
    /// Somebody trusts a CA of his own besides.
    Stranger(usize),
    /// One of cert-manager's programs starts, or ends.
    Lease(usize),
}

/// Of what kinds people's deeds are in one story.
pub type Habits = [bool; 11];

pub fn draw(rng: &mut Rng, habits: &Habits) -> Option<Deed> {
    let kind = rng.usize(..habits.len());
    let any = rng.usize(..24);
    habits[kind].then(|| match kind {
        0 => Deed::Leap(rng.u8(1..25)),
        1 => Deed::Names(any),
        2 => Deed::Duration(any),
        3 => Deed::Certificate(any),
        4 => Deed::Delete(any),
        5 => Deed::ReplaceCa(rng.bool()),
        6 => Deed::Webhook(any),
        7 => Deed::Placeholder(any),
        8 => Deed::Annotation(any),
        9 => Deed::Stranger(any),
        _ => Deed::Lease(any),
    })
}

pub fn carry_out(cluster: &mut Cluster, deed: Deed) {
    cluster.say(|| format!("somebody: {deed:?}"));
    let now = cluster.now;
    match deed {
        Deed::Leap(minutes) => leap(cluster, minutes),
        Deed::Names(index) => edit(cluster, index, |spec| {
            let name = format!("v{}.svc", now.as_second());
            match spec.get("isCA") {
                Some(_) => spec["commonName"] = json!(name),
                None => spec["dnsNames"] = json!([spec["commonName"], name]),
            }
        }),
        Deed::Duration(index) => edit(cluster, index, |spec| {
            let [short, long] = match spec.get("isCA") {
                Some(_) => ["6h", "8h"],
                None => ["2h", "3h"],
            };
            spec["duration"] = json!(if spec["duration"] == json!(short) {
                long
            } else {
                short
            });
        }),
        Deed::Certificate(index) => come_or_go(cluster, CLIENTS[index % CLIENTS.len()]),
        Deed::Delete(index) => {
            let target = secret(SECRETS[index % SECRETS.len()]);
            if !cluster
                .cert_manager
                .memories
                .contains_key(&ObjectRef::new(HOME, CA))
            {
                // Of what is gone before anything is known of it nobody can tell that it was there.
                return;
            }
            cluster.cert_manager.is_touched = true;
            cluster.cert_manager.memories.remove(&target.object);
            if cluster.material.contains_key(&target) {
                cluster.delete(&target);
            }
        }
        Deed::ReplaceCa(as_a_whole) => {
            cluster.cert_manager.is_touched |= as_a_whole;
            put_ca_by_hand(cluster, as_a_whole);
        }
        Deed::Webhook(index) => configure(cluster, index, |one| one.grow_or_shrink(now)),
        Deed::Placeholder(index) => {
            configure(cluster, index, |one| one.put_placeholder(index, now))
        }
        Deed::Annotation(index) => configure(cluster, index, |one| {
            one.toggle(InjectFrom::Certificate(format!("{HOME}/{WEBHOOK}")), now);
        }),
        Deed::Stranger(index) => add_stranger(cluster, index),
        Deed::Lease(half) => {
            let lease = &mut cluster.cert_manager.leases[half % 2];
            *lease = match lease {
                Some(_) => None,
                None => Some(now),
            };
        }
    }
}

fn configure(
    cluster: &mut Cluster,
    index: usize,
    change: impl FnOnce(&mut super::api_servers::Configuration),
) {
    let all: Vec<InjectRef> = cluster
        .cert_manager
        .configurations
        .keys()
        .cloned()
        .collect();
    let name = &all[index % all.len()];
    change(cluster.cert_manager.configurations.get_mut(name).unwrap());
}

fn edit(cluster: &mut Cluster, index: usize, change: impl FnOnce(&mut Value)) {
    let name = SECRETS[index % SECRETS.len()];
    let Some(found) = cluster.cert_manager.certificate(name) else {
        return;
    };
    let mut spec = found.spec.clone();
    change(&mut spec);
    cluster
        .cert_manager
        .put(CertManagerKind::Certificate, name, spec);
}

fn come_or_go(cluster: &mut Cluster, name: &'static str) {
    let object = CertManagerRef {
        kind: CertManagerKind::Certificate,
        object: ObjectRef::new(HOME, name),
    };
    let objects = &mut cluster.cert_manager;
    if objects.objects.0.remove(&object).is_none() {
        let spec = leaf_spec(name, "internal", "client auth");
        objects.put(CertManagerKind::Certificate, name, spec);
    }
}

fn add_stranger(cluster: &mut Cluster, index: usize) {
    let (now, stranger) = (cluster.now, stranger());
    if index.is_multiple_of(2) {
        configure(cluster, index / 2, |one| one.add(&stranger, now));
        return;
    }
    let target = secret(SECRETS[index / 2 % SECRETS.len()]);
    let Some(stored) = cluster.material.get(&target).map(content) else {
        return;
    };
    let mut anchors = stored.anchors.clone();
    anchors.retain(|anchor| *anchor != stranger);
    anchors.push(stranger);
    let writer = Writer {
        manager: PEOPLE,
        identity: "",
        marks: &std::collections::BTreeMap::new(),
    };
    cluster.put_for(&target, &Content::Beside(&anchors), &writer);
}

/// In the end each Certificate is there, each webhook asks for its bundle, and cert-manager is gone.
pub fn put_right(cluster: &mut Cluster) {
    if cluster.cert_manager.is_empty() {
        return;
    }
    let now = cluster.now;
    cluster.cert_manager.leases = [None; 2];
    for client in CLIENTS {
        if cluster.cert_manager.certificate(client).is_none() {
            come_or_go(cluster, client);
        }
    }
    let from = InjectFrom::Certificate(format!("{HOME}/{WEBHOOK}"));
    for configuration in cluster.cert_manager.configurations.values_mut() {
        if !configuration.asks() {
            configuration.toggle(from.clone(), now);
        }
    }
    // Nobody but people makes that CA.
    if cluster.cert_manager.certificate(CA).is_none() && !cluster.material.contains_key(&secret(CA))
    {
        put_ca_by_hand(cluster, true);
    }
}
