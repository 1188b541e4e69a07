//! What the API server does with the steps of a domain of cert-manager's objects; false is a conflict.

use external_ca_api::MANAGER;
use external_ca_core::domain::{SelfSigned, asked};
use external_ca_core::model::{Authority, AuthorityState, Leaf, PendingLeaf, Signing};
use external_ca_core::plan::{GenerateCa, IssueLeaf, Step, WriteBundle};
use external_ca_core::x509::{CaChain, Certificate, PrivateKey};
use jiff::Timestamp;

use super::signers::{Pair, sign_itself};
use super::world::Waiting;
use crate::cluster::{Cluster, Content, Writer, content};
use crate::operator::{self, fits, material};

/// What such an authority is called.
pub const SELF_SIGNED: &str = "selfSigned";

/// A certificate that is signed and not yet stored, and the version of the Secret that it replaces.
pub struct Signed {
    pub chain: Vec<Certificate>,
    pub key: PrivateKey,
    pub replaces: Option<String>,
    pub sent: Timestamp,
}

pub fn write(
    cluster: &mut Cluster,
    identity: &str,
    step: &Step,
    signed: Option<&Signed>,
    now: Timestamp,
) -> bool {
    match step {
        Step::GenerateCa(step) => generate(cluster, identity, step, now),
        Step::WriteBundle(WriteBundle {
            target,
            resource_version,
            anchors,
            marks,
            ..
        }) => {
            if resource_version.is_none() || !fits(cluster, target, resource_version.as_ref()) {
                return false;
            }
            let writer = Writer {
                manager: MANAGER,
                identity,
                marks,
            };
            cluster.put_for(target, &Content::Beside(anchors), &writer);
            true
        }
        Step::InjectBundle(step) => {
            let now = cluster.tick();
            let configurations = &mut cluster.cert_manager.configurations;
            let live = configurations.get_mut(&step.target);
            live.is_some_and(|live| {
                live.inject(&step.resource_version, &step.elements, &step.anchors, now)
            })
        }
        Step::IssueLeaf(IssueLeaf { bundle, marks, .. }) => {
            let (target, Some(signed)) = (material(step), signed) else {
                return false;
            };
            if !fits(cluster, &target, signed.replaces.as_ref()) {
                return false;
            }
            let what = match bundle {
                Some(anchors) => Content::Both(&signed.chain, &signed.key, anchors),
                None => Content::Leaf(&signed.chain, &signed.key),
            };
            let writer = Writer {
                manager: MANAGER,
                identity,
                marks,
            };
            cluster.put_for(&target, &what, &writer);
            true
        }
        Step::DropRequest(step) => {
            cluster.cert_manager.pending.remove(&step.target);
            true
        }
        Step::Restart(_) => operator::write(cluster, step, None, false),
        Step::WirePlane(_) | Step::Consume(_) => false,
    }
}

/// Makes what signs itself. The next one of a leaf that is its own anchor is kept aside.
fn generate(cluster: &mut Cluster, identity: &str, step: &GenerateCa, now: Timestamp) -> bool {
    let target = super::world::secret(&step.target.name);
    let live = cluster.material.get(&target).map(content).cloned();
    let version = live.as_ref().map(|live| &live.resource_version);
    if version != step.resource_version.as_ref() {
        return false;
    }
    let stored = live.as_ref().and_then(|live| match &live.leaf {
        Leaf::Present { chain, .. } => chain.first(),
        Leaf::Empty | Leaf::Invalid(_) => None,
    });
    let own = stored.and_then(|first| cluster.cert_manager.keys.get(&first.fingerprint()));
    let kept = own.copied().filter(|_| step.ca.keeps_key);
    let number = kept.unwrap_or_else(|| cluster.next_serial());
    let Pair { certificate, key } = sign_itself(cluster, &step.ca.profile, number, now);
    if step.aside {
        keep(cluster, step, certificate, key, now);
        return true;
    }
    let mut anchors = vec![certificate.clone()];
    anchors.extend(step.bundle.iter().flatten().cloned());
    let (chain, key) = ([certificate], crate::pki::key(key));
    let what = match step.bundle {
        Some(_) => Content::Both(&chain, &key, &anchors),
        None => Content::Leaf(&chain, &key),
    };
    let writer = Writer {
        manager: MANAGER,
        identity,
        marks: &step.marks,
    };
    cluster.put_for(&target, &what, &writer);
    true
}

fn keep(
    cluster: &mut Cluster,
    step: &GenerateCa,
    certificate: Certificate,
    key: u64,
    now: Timestamp,
) {
    let SelfSigned::Leaf(profile) = &step.ca.profile else {
        return;
    };
    let authority = Authority {
        state: of_itself(certificate.clone()),
        generated: None,
    };
    let asked = asked(&authority, profile).unwrap();
    let waiting = Waiting {
        certificate,
        key,
        leaf: PendingLeaf {
            asked,
            since: now,
            ask_again: Some(now),
        },
    };
    cluster.tick();
    cluster
        .cert_manager
        .pending
        .insert(step.target.clone(), waiting);
}

/// A leaf that is its own authority.
pub fn of_itself(certificate: Certificate) -> AuthorityState {
    AuthorityState::Ready {
        chain: CaChain::of_itself(certificate).into(),
        signing: Signing::Now,
        identity: SELF_SIGNED.to_owned(),
    }
}
