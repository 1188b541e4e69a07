//! Who could not talk to whom of those that cert-manager's objects serve: the server and its clients, and API servers that call
//! the webhook.

use std::collections::{BTreeSet, HashMap};

use external_ca_core::model::{Leaf, Material, MaterialRef, ObjectRef, Read, Snapshot};
use external_ca_core::plan::Step;
use external_ca_core::x509::{Certificate, Fingerprint, Usages, verify};
use jiff::{SignedDuration, Timestamp};

use super::world::{CA, CLIENTS, SECRETS, SERVER, WEBHOOK, secret};
use crate::cluster::{Cluster, HOME, PEOPLE, content};
use crate::handshakes::{Holder, held};
use crate::operator::material;

/// Verification is pure, and most pairs are met again and again.
#[derive(Default)]
pub struct Calls(HashMap<(Fingerprint, Vec<Fingerprint>), bool>);

impl Calls {
    /// The pairs that would fail: who presents, and who verifies.
    pub fn failing(&mut self, cluster: &Cluster) -> BTreeSet<String> {
        let counted = Counted {
            now: cluster.now,
            of: [true; 2],
            starting: &BTreeSet::new(),
        };
        self.failing_of(cluster, &counted)
    }

    fn failing_of(&mut self, cluster: &Cluster, counted: &Counted<'_>) -> BTreeSet<String> {
        let now = counted.now;
        let [internal, called] = counted.of;
        let mut failing = BTreeSet::new();
        let by = secret(cluster.cert_manager.verifies_by);
        let server = secret(SERVER);
        for client in CLIENTS.map(secret).into_iter().filter(|_| internal) {
            self.peers(
                cluster,
                counted,
                [&client, &by],
                Usages::CLIENT,
                &mut failing,
            );
            self.peers(
                cluster,
                counted,
                [&server, &client],
                Usages::SERVER,
                &mut failing,
            );
        }
        let webhook = secret(WEBHOOK);
        for (object, configuration) in cluster
            .cert_manager
            .configurations
            .iter()
            .filter(|_| called)
        {
            for (place, element, anchors) in configuration.bundles(now) {
                for (holder, presented) in held(cluster, &webhook, None) {
                    // Nobody is called before the first bundle is there, and no longer where others have taken it away.
                    let is_called = !anchors.is_empty();
                    if is_called && !self.accepts(now, content(presented), anchors, Usages::SERVER)
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
        counted: &Counted<'_>,
        [presenter, verifier]: [&MaterialRef; 2],
        usages: Usages,
        failing: &mut BTreeSet<String>,
    ) {
        if is_forgotten(cluster, verifier) {
            return;
        }
        let verifiers = held(cluster, verifier, None);
        let verifiers = verifiers.into_iter();
        let counted_ones = verifiers
            .filter(|(by, trusted)| counted.counts(by) && !is_emptied_by_people(content(trusted)));
        for (by, trusted) in counted_ones {
            for (holder, presented) in held(cluster, presenter, None) {
                let anchors = &content(trusted).anchors;
                if !self.accepts(counted.now, content(presented), anchors, usages) {
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
        observed: &Snapshot,
        step: &Step,
        write: impl FnOnce(&mut Cluster) -> bool,
    ) -> Result<bool, String> {
        let has_ended = has_ended(cluster, step) || is_beyond_help(cluster, observed);
        // What others inject, they inject once it is there.
        let front_end = &cluster.cert_manager;
        let is_called = !(front_end.is_touched && front_end.was_injected_by_others);
        let starting = match is_made_anew(cluster, step) {
            true => waiting(cluster).collect(),
            false => BTreeSet::new(),
        };
        let mut counted = Counted {
            now: cluster.now,
            of: [true, is_called],
            starting: &starting,
        };
        let mut failing = self.failing_of(cluster, &counted);
        // Nor is it to blame for the second that it takes.
        counted.now += SignedDuration::from_secs(1);
        failing.extend(self.failing_of(cluster, &counted));
        if !write(cluster) {
            return Ok(false);
        }
        cluster
            .cert_manager
            .starting
            .extend(starting.iter().cloned());
        counted.now = cluster.now;
        let now_failing = self.failing_of(cluster, &counted);
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
        let starting = waiting(cluster).chain(front_end.starting.iter().cloned());
        let counted = Counted {
            now: cluster.now,
            of,
            starting: &starting.collect(),
        };
        match self.failing_of(cluster, &counted).first() {
            Some(broken) => Err(format!("it was Ready, and fails: {broken}")),
            None => Ok(()),
        }
    }
}

/// Which pairs count, and when.
struct Counted<'a> {
    now: Timestamp,
    /// Those of the internal API, and those of the webhook.
    of: [bool; 2],
    /// Pods that verify nothing yet.
    starting: &'a BTreeSet<ObjectRef>,
}

impl Counted<'_> {
    fn counts(&self, by: &Holder<'_>) -> bool {
        match by {
            Holder::Stored => true,
            Holder::Pod(_, pod) => !self.starting.contains(pod),
        }
    }
}

fn waiting(cluster: &Cluster) -> impl Iterator<Item = ObjectRef> {
    let pods = cluster.pods.iter().filter(|pod| pod.holds.is_none());
    pods.map(|pod| pod.facts.pod.clone())
}

/// Whether people have left nothing to verify by: whoever reads that does not start.
fn is_emptied_by_people(trusted: &Material) -> bool {
    trusted.anchors.is_empty() && trusted.manager.as_deref() == Some(PEOPLE)
}

/// Whether pods hold what people have deleted, and its Certificate with it: nothing tells of it any more.
fn is_forgotten(cluster: &Cluster, object: &MaterialRef) -> bool {
    let is_declared = cluster.cert_manager.certificate(&object.object.name);
    is_declared.is_none() && !cluster.material.contains_key(object)
}

/// Whether a step makes what is not there: it takes nothing from pods that wait for it, or for what waits for it, and may have an
/// older bundle in their volumes.
fn is_made_anew(cluster: &Cluster, step: &Step) -> bool {
    matches!(step, Step::IssueLeaf(_) | Step::GenerateCa(_))
        && !cluster.material.contains_key(&material(step))
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
fn is_beyond_help(cluster: &Cluster, observed: &Snapshot) -> bool {
    let is_gone = |name: &&str| {
        let name = secret(name);
        let seen = observed.material.get(&name).map(AsRef::as_ref);
        !cluster.material.contains_key(&name) || seen == Some(&Read::Absent)
    };
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
