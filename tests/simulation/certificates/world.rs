//! What the API server holds of it, besides Secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::ExternalCAIssuanceStatus;
use external_ca_core::domain::certmanager::FrontEnd;
use external_ca_core::model::{
    CertManagerKind, CertManagerObject, CertManagerObjects, CertManagerRef, InjectFrom, InjectKind,
    InjectRef, MaterialKind, MaterialRef, ObjectRef, PendingLeaf,
};
use external_ca_core::x509::{Certificate, Fingerprint};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::api_servers::Configuration;
use super::pods;
use super::signers::{Pair, new_ca};
use crate::cluster::{Cluster, Content, HOME, PEOPLE, Writer, content, material_ref};

/// The CA of the gateway's internal API, and what it signs.
pub const CA: &str = "internal-ca";
pub const SERVER: &str = "internal-server-tls";
pub const CLIENTS: [&str; 2] = ["client-a-tls", "client-b-tls"];
pub const WEBHOOK: &str = "webhook-tls";
pub const SECRETS: [&str; 5] = [CA, SERVER, CLIENTS[0], CLIENTS[1], WEBHOOK];

pub fn secret(name: &str) -> MaterialRef {
    material_ref(MaterialKind::Secret, HOME, name)
}

/// cert-manager's objects, and what has to do with them.
#[derive(Default)]
pub struct CertManager {
    pub objects: CertManagerObjects,
    pub configurations: BTreeMap<InjectRef, Configuration>,
    /// The next self-signed certificates, which wait until they are trusted.
    pub pending: BTreeMap<ObjectRef, Waiting>,
    /// What is remembered beside authorities.
    pub memories: BTreeMap<ObjectRef, ExternalCAIssuanceStatus>,
    /// Since when cert-manager's own programs are at work: the controller, the injector.
    pub leases: [Option<Timestamp>; 2],
    /// The number of each certificate's key.
    pub keys: BTreeMap<Fingerprint, u64>,
    /// The server verifies its clients by the bundle of this Secret.
    pub verifies_by: &'static str,
    /// What people deleted or replaced: of an older anchor nobody may know.
    pub is_touched: bool,
    /// cert-manager's own injector was at work: it reads what is there, when that is there.
    pub was_injected_by_others: bool,
    /// Domains that were Ready once.
    pub ready: BTreeSet<ObjectRef>,
    /// Pods that waited when something that did not exist was made: they may start with an older bundle.
    pub starting: BTreeSet<ObjectRef>,
    created: i64,
}

/// A certificate that waits.
#[derive(Clone)]
pub struct Waiting {
    pub certificate: Certificate,
    pub key: u64,
    pub leaf: PendingLeaf,
}

impl CertManager {
    pub fn is_empty(&self) -> bool {
        self.objects.0.is_empty()
    }

    /// Writes an object, or its spec.
    pub fn put(&mut self, kind: CertManagerKind, name: &str, spec: Value) {
        self.created += 1;
        let object = CertManagerRef {
            kind,
            object: ObjectRef::new(HOME, name),
        };
        let known = self.objects.0.get(&object);
        let created = known.map_or(Timestamp::from_second(self.created).ok(), |old| old.created);
        let found = CertManagerObject {
            resource_version: self.created.to_string(),
            uid: name.into(),
            generation: Some(self.created),
            created,
            spec,
            status: Value::Null,
            written_by_cert_manager: None,
        };
        self.objects.0.insert(object, Arc::new(found));
    }

    pub fn certificate(&self, name: &str) -> Option<&CertManagerObject> {
        self.objects
            .get(CertManagerKind::Certificate, &ObjectRef::new(HOME, name))
    }
}

/// What the chart's values say.
pub fn settings() -> FrontEnd {
    let served = [HOME.to_owned()];
    FrontEnd {
        served: served.into(),
        secrets: SECRETS.map(str::to_owned).into(),
        of_issuances: BTreeSet::from(["cluster-gateway-tls".to_owned()]),
        ..FrontEnd::default()
    }
}

/// What is drawn of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// People have made the CA.
    pub ca_by_hand: bool,
    /// The CA keeps its key.
    pub keeps_key: bool,
    /// The CA signs the webhook's certificate.
    pub webhook_by_ca: bool,
    /// The server verifies by the bundle beside its own certificate, and not by that beside the CA.
    pub verifies_beside: bool,
}

impl Setup {
    pub fn draw(rng: &mut Rng) -> Self {
        let ca_by_hand = rng.u8(..6) == 0;
        Self {
            ca_by_hand,
            keeps_key: rng.bool(),
            webhook_by_ca: rng.u8(..4) == 0,
            verifies_beside: ca_by_hand || rng.u8(..3) == 0,
        }
    }
}

pub fn leaf_spec(secret: &str, issuer: &str, usage: &str) -> Value {
    json!({
        "secretName": secret, "commonName": secret, "dnsNames": [format!("{secret}.svc")],
        "usages": ["digital signature", usage], "duration": "2h", "renewBefore": "1h",
        "privateKey": {"algorithm": "Ed25519"}, "issuerRef": {"name": issuer},
    })
}

/// People install a chart.
pub fn install(cluster: &mut Cluster, setup: Setup) {
    use CertManagerKind::{Certificate, Issuer};
    let new = &mut cluster.cert_manager;
    new.put(Issuer, "self", json!({"selfSigned": {}}));
    new.put(Issuer, "internal", json!({"ca": {"secretName": CA}}));
    if !setup.ca_by_hand {
        let policy = if setup.keeps_key { "Never" } else { "Always" };
        let spec = json!({
            "isCA": true, "secretName": CA, "commonName": CA, "duration": "6h", "renewBefore": "2h",
            "privateKey": {"algorithm": "Ed25519", "rotationPolicy": policy},
            "issuerRef": {"name": "self"},
        });
        new.put(Certificate, CA, spec);
    }
    new.put(
        Certificate,
        SERVER,
        leaf_spec(SERVER, "internal", "server auth"),
    );
    for client in CLIENTS {
        new.put(
            Certificate,
            client,
            leaf_spec(client, "internal", "client auth"),
        );
    }
    let issuer = if setup.webhook_by_ca {
        "internal"
    } else {
        "self"
    };
    new.put(
        Certificate,
        WEBHOOK,
        leaf_spec(WEBHOOK, issuer, "server auth"),
    );
    new.verifies_by = if setup.verifies_beside { SERVER } else { CA };
    let now = cluster.now;
    for (kind, name, elements) in [
        (InjectKind::ValidatingWebhookConfiguration, "validating", 2),
        (InjectKind::MutatingWebhookConfiguration, "mutating", 1),
    ] {
        let object = InjectRef {
            kind,
            name: name.into(),
        };
        let from = InjectFrom::Certificate(format!("{HOME}/{WEBHOOK}"));
        let configuration = Configuration::new(from, elements, now);
        cluster
            .cert_manager
            .configurations
            .insert(object, configuration);
    }
    if setup.ca_by_hand {
        put_ca_by_hand(cluster, false);
    }
    deploy(cluster);
}

/// Who mounts them: the issuance's workloads do, and one more.
fn deploy(cluster: &mut Cluster) {
    let gateway = [secret(SERVER), secret(cluster.cert_manager.verifies_by)];
    for (name, mounts) in [
        ("cluster-gateway", gateway),
        ("controller-manager", [secret(CLIENTS[0]), secret(WEBHOOK)]),
    ] {
        cluster.mount(name, &mounts);
    }
    cluster.deploy(
        HOME,
        "openchoreo-api",
        &[secret(CLIENTS[1])],
        None,
        &mut Rng::with_seed(0),
    );
}

/// Another CA is put into the Secret, and nothing else is changed; or all is replaced.
pub fn put_ca_by_hand(cluster: &mut Cluster, as_a_whole: bool) {
    let Pair { certificate, key } = new_ca(cluster);
    let target = secret(CA);
    let old = cluster.material.get(&target).map(content);
    let anchors = old.map_or_else(Vec::new, |old| old.anchors.clone());
    let chain = [certificate];
    let key = crate::pki::key(key);
    if as_a_whole {
        cluster.forget(&target);
    }
    let writer = Writer {
        manager: PEOPLE,
        identity: "",
        marks: &BTreeMap::new(),
    };
    let what = match as_a_whole {
        true => Content::Leaf(&chain, &key),
        false => Content::Both(&chain, &key, &anchors),
    };
    cluster.put_for(&target, &what, &writer);
}

/// Time has passed: API servers and servers that read anew have caught up.
pub fn catch_up(cluster: &mut Cluster, rng: &mut Rng) {
    let now = cluster.now;
    for configuration in cluster.cert_manager.configurations.values_mut() {
        configuration.catch_up(now, rng);
    }
    pods::reload(cluster, rng);
    let [_, injector] = cluster.cert_manager.leases;
    cluster.cert_manager.was_injected_by_others |= injector.is_some();
    if injector.is_some() && rng.bool() {
        copy(cluster);
    }
}

/// cert-manager's own injector is at work.
fn copy(cluster: &mut Cluster) {
    let stored = cluster.material.get(&secret(WEBHOOK)).map(content);
    let anchors = stored.map_or_else(Vec::new, |stored| stored.anchors.clone());
    for configuration in cluster.cert_manager.configurations.values_mut() {
        configuration.copy(&anchors, cluster.now);
    }
}

/// Nothing but time passes: certificates come near their ends.
pub fn leap(cluster: &mut Cluster, minutes: u8) {
    cluster.now += SignedDuration::from_mins(minutes.into());
    catch_up(cluster, &mut Rng::with_seed(minutes.into()));
    cluster.say(|| format!("{minutes} minutes pass"));
}
