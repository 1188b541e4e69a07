//! Who could not talk to whom of those that cert-manager's objects serve: the server and its clients, and API servers that call
//! the webhook.

use std::collections::{BTreeSet, HashMap};

use external_ca_core::model::{Leaf, Material, MaterialRef, ObjectRef};
use external_ca_core::plan::Step;
use external_ca_core::x509::{Certificate, Fingerprint, Usages, verify};
use jiff::Timestamp;

use super::world::{CA, CLIENTS, SECRETS, SERVER, WEBHOOK, secret};
use crate::cluster::{Cluster, HOME, content};
use crate::handshakes::held;

/// Verification is pure, and most pairs are met again and again.
#[derive(Default)]
pub struct Calls(HashMap<(Fingerprint, Vec<Fingerprint>), bool>);

impl Calls {
    /// The pairs that would fail: who presents, and who verifies.
    pub fn failing(&mut self, cluster: &Cluster) -> BTreeSet<String> {
        self.failing_of(cluster, [true; 2])
    }

    /// Those of the internal API, and those of the webhook.
    fn failing_of(&mut self, cluster: &Cluster, [internal, called]: [bool; 2]) -> BTreeSet<String> {
        let mut failing = BTreeSet::new();
        let by = secret(cluster.cert_manager.verifies_by);
        let server = secret(SERVER);
        for client in CLIENTS.map(secret).into_iter().filter(|_| internal) {
            self.peers(cluster, &client, &by, Usages::CLIENT, &mut failing);
            self.peers(cluster, &server, &client, Usages::SERVER, &mut failing);
        }
        let webhook = secret(WEBHOOK);
        for (object, configuration) in cluster
            .cert_manager
            .configurations
            .iter()
            .filter(|_| called)
        {
            for (place, element, anchors) in configuration.bundles(cluster.now) {
                for (holder, presented) in held(cluster, &webhook, None) {
                    // Nobody is called before the first bundle is there, and no longer where others have taken it away.
                    let is_called = !anchors.is_empty();
                    if is_called
                        && !self.accepts(cluster.now, content(presented), anchors, Usages::SERVER)
                    {
                        failing.insert(format!(
                            "the webhook's certificate {holder} at {object} {element} ({place})"
                        ));
                    }
                }
            }
        }
        failing
    }

    fn peers(
        &mut self,
        cluster: &Cluster,
        presenter: &MaterialRef,
        verifier: &MaterialRef,
        usages: Usages,
        failing: &mut BTreeSet<String>,
    ) {
        for (by, trusted) in held(cluster, verifier, None) {
            for (holder, presented) in held(cluster, presenter, None) {
                let anchors = &content(trusted).anchors;
                if !self.accepts(cluster.now, content(presented), anchors, usages) {
                    failing.insert(format!("{presenter} {holder} at {verifier} {by}"));
                }
            }
        }
    }

    /// At a time at which the certificate is valid: only trust counts.
    fn accepts(
        &mut self,
        now: Timestamp,
        presented: &Material,
        anchors: &[Certificate],
        usages: Usages,
    ) -> bool {
        let Leaf::Present { chain, .. } = &presented.leaf else {
            return true;
        };
        let Some(leaf) = chain.first() else {
            return false;
        };
        let trusted = anchors.iter().map(Certificate::fingerprint).collect();
        let then = now.min(leaf.not_after()).max(leaf.not_before());
        let judge = || verify(chain, anchors, usages, then).is_ok();
        *self
            .0
            .entry((leaf.fingerprint(), trusted))
            .or_insert_with(judge)
    }

    /// Lets a write happen, and compares what holds before and after.
    pub fn judged(
        &mut self,
        cluster: &mut Cluster,
        step: &Step,
        write: impl FnOnce(&mut Cluster) -> bool,
    ) -> Result<bool, String> {
        let has_ended = has_ended(cluster, step) || is_beyond_help(cluster);
        // What others inject, they inject once it is there.
        let front_end = &cluster.cert_manager;
        let is_called = !(front_end.is_touched && front_end.was_injected_by_others);
        let failing = self.failing_of(cluster, [true, is_called]);
        if !write(cluster) {
            return Ok(false);
        }
        let now_failing = self.failing_of(cluster, [true, is_called]);
        // One that has ended serves nobody: what takes its place cannot make it worse.
        let mut news = now_failing.difference(&failing).filter(|_| !has_ended);
        match news.next() {
            Some(broken) => Err(format!("{} broke: {broken}", step.object())),
            None => Ok(true),
        }
    }

    /// What served once goes on serving, as long as people leave it alone.
    pub fn serves(&mut self, cluster: &Cluster) -> Result<(), String> {
        let front_end = &cluster.cert_manager;
        if front_end.is_touched {
            return Ok(());
        }
        let is_ready = |name: &str| front_end.ready.contains(&ObjectRef::new(HOME, name));
        let of = [is_ready(CA), is_ready(webhook_authority(cluster))];
        match self.failing_of(cluster, of).first() {
            Some(broken) => Err(format!("it was Ready, and fails: {broken}")),
            None => Ok(()),
        }
    }
}

/// The Secret of the authority that signs the webhook's certificate.
fn webhook_authority(cluster: &Cluster) -> &'static str {
    let webhook = cluster.cert_manager.certificate(WEBHOOK);
    let issuer = webhook.and_then(|one| one.spec.pointer("/issuerRef/name"));
    match issuer == Some(&"internal".into()) {
        true => CA,
        false => WEBHOOK,
    }
}

/// Of two that people have deleted, each may be waited for by whoever waits for the other: one has to go first.
fn is_beyond_help(cluster: &Cluster) -> bool {
    let is_gone = |name: &&str| !cluster.material.contains_key(&secret(name));
    cluster.cert_manager.is_touched && SECRETS.iter().filter(|name| is_gone(name)).count() > 1
}

/// Whether what a step replaces has ended.
fn has_ended(cluster: &Cluster, step: &Step) -> bool {
    let target = match step {
        Step::IssueLeaf(step) => &step.target,
        Step::GenerateCa(step) => &step.target,
        _ => return false,
    };
    let stored = cluster
        .material
        .iter()
        .find(|(key, _)| key.object == *target);
    let Some((_, stored)) = stored else {
        return false;
    };
    match &content(stored).leaf {
        Leaf::Present { chain, .. } => chain
            .first()
            .is_some_and(|first| first.not_after() <= cluster.now),
        Leaf::Empty | Leaf::Invalid(_) => false,
    }
}
