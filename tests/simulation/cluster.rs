//! The API server's truth, and everybody in it but the operator and people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{
    ANCHORS_ANNOTATION, ExternalCAIssuance, ExternalCAIssuanceStatus, MANAGER, PlaneKind,
    REPLACES_ANNOTATION,
};
use external_ca_core::domain::{desired, plane_type};
use external_ca_core::model::facts::{handed_out, hash};
use external_ca_core::model::{
    Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef, Read, RolloutState,
    Workload, WorkloadKind, WorkloadRef,
};
use external_ca_core::x509::{
    Certificate, LeafProfile, PrivateKey, encode_bundle, request, sign_request,
};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::certificates::world::{self, CertManager};
use crate::kubelet;
use crate::others::{Kind, Kinds};
use crate::pki::{ca, key, start};
use crate::pods::Process;
use crate::unwanted::Hidden;
use crate::workloads::{Deployment, Moment};

pub const HOME: &str = "openchoreo-control-plane";
/// Where each kind's agent lives; each such namespace stands for a cluster that may drop away.
pub const AGENTS: [(PlaneKind, &str); 2] = [
    (PlaneKind::DataPlane, "openchoreo-data-plane"),
    (
        PlaneKind::ObservabilityPlane,
        "openchoreo-observability-plane",
    ),
];
const BUNDLE: &str = "cluster-gateway-ca";
pub const ISSUANCE: &str = "openchoreo-control-plane/cluster-gateway";
/// Whoever writes with kubectl.
pub const PEOPLE: &str = "kubectl";

/// A Secret or ConfigMap that exists, in the form in which the operator reads it.
pub type Object = Arc<Read<Material>>;

pub fn content(object: &Object) -> &Material {
    object.found().unwrap()
}

pub fn material_ref(kind: MaterialKind, namespace: &str, name: &str) -> MaterialRef {
    MaterialRef {
        kind,
        object: ObjectRef::new(namespace, name),
    }
}

pub fn gateway_leaf() -> MaterialRef {
    material_ref(MaterialKind::Secret, HOME, "cluster-gateway-tls")
}

pub fn agent_leaf(namespace: &str) -> MaterialRef {
    material_ref(MaterialKind::Secret, namespace, "cluster-agent-tls")
}

pub fn bundle(namespace: &str) -> MaterialRef {
    material_ref(MaterialKind::ConfigMap, namespace, BUNDLE)
}

pub fn trust_secret() -> MaterialRef {
    material_ref(MaterialKind::Secret, HOME, BUNDLE)
}

/// The places that workloads read their bundle from.
pub fn bundles() -> Vec<MaterialRef> {
    let agents = AGENTS.iter().map(|(_, namespace)| bundle(namespace));
    agents.chain([bundle(HOME), trust_secret()]).collect()
}

/// Where the agent of a plane lives.
pub fn home_of(plane: &PlaneRef) -> &'static str {
    external_ca_core::domain::default_namespace(plane.kind)
}

/// What a Secret or ConfigMap is to hold.
pub enum Content<'a> {
    Bundle(&'a [Certificate]),
    Leaf(&'a [Certificate], &'a PrivateKey),
    /// A leaf, and the bundle beside it.
    Both(&'a [Certificate], &'a PrivateKey, &'a [Certificate]),
    /// The bundle beside a leaf that stays.
    Beside(&'a [Certificate]),
}

/// Who writes, and what for.
pub struct Writer<'a> {
    pub manager: &'a str,
    /// Whose the object is then, where the operator writes.
    pub identity: &'a str,
    pub marks: &'a BTreeMap<&'static str, String>,
}

pub struct Cluster {
    /// The API server's clock. The times that it stamps on objects are taken for granted, so it only goes ahead.
    pub now: Timestamp,
    version: u64,
    /// When anything but a pod was last written.
    written: Timestamp,
    /// Which version it had when the operator came.
    pub begun: u64,
    serial: u64,
    pub issuance: Arc<ExternalCAIssuance>,
    /// Changes with each write of the issuance.
    pub issuance_version: u64,
    /// Which CA the CA Secret holds.
    pub authority: usize,
    /// Anchors of which the stored status has said that they are on their way out.
    pub announced: BTreeSet<String>,
    /// An anchor was dropped at once: pods may be without what they need until they have restarted.
    pub cut_off: bool,
    pub material: BTreeMap<MaterialRef, Object>,
    pub planes: BTreeMap<PlaneRef, Arc<Plane>>,
    pub deployments: BTreeMap<WorkloadRef, Deployment>,
    /// Whoever made them.
    pub pods: Vec<Process>,
    /// Two operators have led: each may restart what the other has restarted, until both see the same.
    pub two_led: bool,
    /// Plane kinds that are not found.
    pub hidden: Hidden,
    /// The API server does not store the issuance's status.
    pub refuses_status: bool,
    /// Namespaces that cannot be reached.
    pub away: BTreeSet<String>,
    /// Whether the key that stands beside each certificate is its key.
    pub wrong_keys: BTreeSet<MaterialRef>,
    pub profiles: BTreeMap<MaterialRef, LeafProfile>,
    /// cert-manager's objects, where there are any.
    pub cert_manager: CertManager,
    trace: Option<Vec<String>>,
}

/// Over all that is read of an object.
fn hash_of(leaf: &Leaf, anchors: &[Certificate]) -> String {
    let bundle = encode_bundle(anchors);
    match leaf {
        Leaf::Present { chain, .. } if anchors.is_empty() => {
            hash(&[encode_bundle(chain).as_bytes()])
        }
        Leaf::Present { chain, .. } => hash(&[encode_bundle(chain).as_bytes(), bundle.as_bytes()]),
        Leaf::Empty | Leaf::Invalid(_) => hash(&[bundle.as_bytes()]),
    }
}

/// The anchors that a status says to be on their way out.
pub fn retiring(status: &ExternalCAIssuanceStatus) -> impl Iterator<Item = &String> {
    status.retiring().map(|anchor| &anchor.fingerprint)
}

impl Cluster {
    pub fn new(rng: &mut Rng, traced: bool) -> Self {
        let mut cluster = Self {
            now: start() + SignedDuration::from_hours(240),
            version: 1,
            written: start(),
            begun: 0,
            serial: 100,
            issuance: Arc::new(serde_json::from_value(json!({
                "apiVersion": "pki.openchoreo.dev/v1alpha1",
                "kind": "ExternalCAIssuance",
                "metadata": {"name": "cluster-gateway", "namespace": HOME, "generation": 1, "uid": "u"},
                "spec": {
                    "issuer": {"caSecret": {"name": "ca"}},
                    "certificateDefaults": {"privateKey": {"algorithm": "Ed25519"}},
                },
            }))
            .unwrap()),
            issuance_version: 1,
            authority: 0,
            announced: BTreeSet::new(),
            cut_off: false,
            material: BTreeMap::new(),
            planes: BTreeMap::new(),
            deployments: BTreeMap::new(),
            pods: Vec::new(),
            two_led: false,
            hidden: Hidden::new(),
            refuses_status: false,
            away: BTreeSet::new(),
            wrong_keys: BTreeSet::new(),
            profiles: BTreeMap::new(),
            cert_manager: CertManager::default(),
            trace: traced.then(Vec::new),
        };
        cluster.deploy(HOME, "cluster-gateway", &[gateway_leaf()], None, rng);
        cluster.deploy(HOME, "controller-manager", &[trust_secret()], None, rng);
        for (kind, namespace) in AGENTS {
            let mounts = [agent_leaf(namespace), bundle(namespace)];
            let agent = (plane_type(kind).to_owned(), "plane".to_owned());
            cluster.deploy(namespace, "cluster-agent", &mounts, Some(agent), rng);
            cluster.add_plane(PlaneRef {
                kind,
                namespace: Some("default".into()),
                name: "plane".into(),
            });
        }
        let planes: Vec<Arc<Plane>> = cluster.planes.values().cloned().collect();
        let wanted = desired(&cluster.issuance, &planes).leaves;
        cluster.profiles = wanted
            .into_values()
            .map(|leaf| (leaf.material(), leaf.profile))
            .collect();
        cluster
    }

    pub fn deploy(
        &mut self,
        namespace: &str,
        name: &str,
        mounts: &[MaterialRef],
        agent: Option<(String, String)>,
        rng: &mut Rng,
    ) {
        let workload = WorkloadRef {
            kind: WorkloadKind::Deployment,
            object: ObjectRef::new(namespace, name),
        };
        let facts = Workload {
            workload: workload.clone(),
            resource_version: "1".into(),
            mounts: mounts.iter().cloned().collect(),
            optional: BTreeSet::new(),
            loaded: BTreeMap::new(),
            rollout: RolloutState::Running("no pod yet".into()),
            rollout_since: None,
            agent,
        };
        let deployment = Deployment::new(facts, rng.usize(1..3));
        self.deployments.insert(workload, deployment);
    }

    /// A workload mounts more than it did; before it has any pod.
    pub fn mount(&mut self, name: &str, mounts: &[MaterialRef]) {
        let mut all = self.deployments.values_mut();
        let found = all.find(|one| one.facts.workload.object.name == name);
        let facts = Arc::make_mut(&mut found.unwrap().facts);
        facts.mounts.extend(mounts.iter().cloned());
    }

    /// What a trace shows; costs nothing where there is none.
    pub fn say<T: Into<String>>(&mut self, line: impl FnOnce() -> T) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{} {}", self.now, line().into()));
        }
    }

    pub fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    /// The API server tells times in whole seconds: two writes within one are beyond what can be told apart.
    fn next_version(&mut self) -> String {
        self.now += SignedDuration::from_secs(1);
        self.written = self.now;
        self.next_number().to_string()
    }

    /// The same for what pods mount, which is written within the second in which a pod was made, now and then: the pod may
    /// hold what stood there before.
    fn next_version_of_material(&mut self) -> String {
        let is_new = |pod: &Process| pod.facts.created == Some(self.now);
        if self.written < self.now && self.version.is_multiple_of(2) && self.pods.iter().any(is_new)
        {
            self.written = self.now;
            return self.next_number().to_string();
        }
        self.next_version()
    }

    /// A version that tells no time.
    pub fn next_number(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub fn put_status(&mut self, status: ExternalCAIssuanceStatus) {
        self.announced.extend(retiring(&status).cloned());
        self.issuance_version += 1;
        Arc::make_mut(&mut self.issuance).status = Some(status);
    }

    /// Writes an object of the issuance's, by its field manager; only the operator writes annotations.
    pub fn put(
        &mut self,
        target: &MaterialRef,
        what: &Content<'_>,
        manager: &str,
        marks: &BTreeMap<&'static str, String>,
    ) {
        let writer = Writer {
            manager,
            identity: ISSUANCE,
            marks,
        };
        self.put_for(target, what, &writer);
    }

    /// The same for whoever has the object.
    pub fn put_for(&mut self, target: &MaterialRef, what: &Content<'_>, writer: &Writer<'_>) {
        let ours = writer.manager == MANAGER;
        let old = self.material.get(target).map(content).cloned();
        let (leaf, anchors, has_key) = match what {
            Content::Bundle(anchors) => (Leaf::Empty, anchors.to_vec(), false),
            Content::Leaf(chain, key) => (self.leaf(target, chain, key), Vec::new(), true),
            Content::Both(chain, key, anchors) => {
                (self.leaf(target, chain, key), anchors.to_vec(), true)
            }
            Content::Beside(anchors) => {
                let Some(old) = &old else { return };
                (old.leaf.clone(), anchors.to_vec(), old.has_key)
            }
        };
        let is_beside = matches!(what, Content::Beside(_));
        let marked = writer.marks.contains_key(REPLACES_ANNOTATION);
        // A merge takes no annotation away.
        let replaces = marked || is_beside && old.as_ref().is_some_and(|old| old.replaces);
        // It is the certificate's, where there is one.
        let manager = match &old {
            Some(old) if is_beside => old.manager.clone(),
            _ => Some(writer.manager.to_owned()),
        };
        let hash = hash_of(&leaf, &anchors);
        let same =
            |old: &Material| old.hash == hash && old.manager == manager && old.replaces == replaces;
        if old.as_ref().is_some_and(same) {
            return;
        }
        let told = writer.marks.get(ANCHORS_ANNOTATION);
        let told = told.map_or_else(BTreeSet::new, |names| handed_out(names));
        let resource_version = self.next_version_of_material();
        let (issuance, replaced, created, known) = match old {
            Some(old) => (old.issuance, old.replaces, old.created, old.handed_out),
            None => (None, false, Some(self.now), BTreeSet::new()),
        };
        // Whoever writes a leaf names no anchors, and leaves them named that were.
        let keeps_names = matches!(what, Content::Both(..));
        let material = Material {
            resource_version,
            secret_type: if has_key { "kubernetes.io/tls" } else { "" }.into(),
            issuance: if ours {
                Some(writer.identity.into())
            } else {
                issuance
            },
            replaces: if ours { replaces } else { replaced },
            renewal: None,
            held_until: None,
            controller: None,
            manager,
            created,
            changed: Some(self.now),
            leaf,
            anchors,
            signed_since: None,
            handed_out: if ours && !keeps_names { told } else { known },
            has_key,
            hash,
        };
        self.material
            .insert(target.clone(), Arc::new(Read::Found(material)));
        self.count_change(target);
    }

    fn leaf(&mut self, target: &MaterialRef, chain: &[Certificate], key: &PrivateKey) -> Leaf {
        let key_matches = chain.first().is_some_and(|leaf| key.matches(leaf));
        match key_matches {
            true => self.wrong_keys.remove(target),
            false => self.wrong_keys.insert(target.clone()),
        };
        let chain = chain.to_vec();
        Leaf::Present { chain, key_matches }
    }

    /// Something is written that no pod mounts, a second after all else.
    pub fn tick(&mut self) -> Timestamp {
        self.next_version();
        self.now
    }

    /// Annotates a Secret, whose content stays as it is; false where it has changed since.
    pub fn annotate(&mut self, target: &MaterialRef, seen: &str) -> bool {
        let is_seen = |stored: &Object| content(stored).resource_version == seen;
        if !self.material.get(target).is_some_and(is_seen) {
            return false;
        }
        let version = self.next_version();
        if let Some(Read::Found(stored)) = self.material.get_mut(target).map(Arc::make_mut) {
            stored.resource_version = version;
        }
        true
    }

    /// What stood in an object is gone with it.
    pub fn forget(&mut self, target: &MaterialRef) {
        self.cert_manager.memories.remove(&target.object);
        if self.material.contains_key(target) {
            self.delete(target);
        }
    }

    pub fn delete(&mut self, target: &MaterialRef) {
        self.next_version();
        self.material.remove(target);
        self.wrong_keys.remove(target);
        self.count_change(target);
    }

    fn count_change(&mut self, target: &MaterialRef) {
        for deployment in self.deployments.values_mut() {
            deployment.changes += usize::from(deployment.facts.mounts.contains(target));
        }
    }

    /// A certificate that people made themselves.
    pub fn put_leaf_by_hand(&mut self, target: &MaterialRef, authority: usize) {
        let Some(profile) = self.profiles.get(target).cloned() else {
            return;
        };
        let serial = self.next_serial();
        let key = key(serial);
        let csr = request(&key, &profile).unwrap();
        let bytes = u128::from(serial).to_be_bytes();
        let chain = sign_request(&ca(authority), csr.der(), &profile, bytes, self.now).unwrap();
        self.put(
            target,
            &Content::Leaf(&chain, &key),
            PEOPLE,
            &BTreeMap::new(),
        );
    }

    pub fn add_plane(&mut self, plane: PlaneRef) {
        self.add_plane_with(plane, "plane");
    }

    pub fn add_plane_with(&mut self, plane: PlaneRef, plane_id: &str) {
        let facts = Plane {
            plane: plane.clone(),
            resource_version: self.next_version(),
            plane_id: plane_id.into(),
            labels: BTreeMap::new(),
            created: None,
            value: None,
            anchors: Vec::new(),
            reference: None,
            reference_field: Some("secretRef"),
            manager: None,
            changed: None,
            agent_connected: None,
            agent_disconnected: None,
            agent_heartbeat: None,
        };
        self.planes.insert(plane, Arc::new(facts));
    }

    pub fn remove_plane(&mut self, plane: &PlaneRef) {
        self.next_version();
        self.planes.remove(plane);
    }

    pub fn put_client_ca(&mut self, plane: &PlaneRef, anchors: &[Certificate], manager: &str) {
        self.change_plane(plane, manager, |plane| {
            plane.value = Some(encode_bundle(anchors)).filter(|text| !text.is_empty());
            plane.anchors = anchors.to_vec();
        });
    }

    pub fn refer(&mut self, plane: &PlaneRef, secret: &ObjectRef) {
        self.change_plane(plane, MANAGER, |plane| {
            plane.value = None;
            plane.anchors = Vec::new();
            plane.reference = Some((secret.clone(), "ca.crt".into()));
        });
    }

    fn change_plane(&mut self, plane: &PlaneRef, by: &str, change: impl FnOnce(&mut Plane)) {
        let version = self.next_version();
        let plane = Arc::make_mut(self.planes.get_mut(plane).unwrap());
        change(plane);
        plane.resource_version = version;
        plane.manager = Some(by.into());
        plane.changed = Some(self.now);
    }

    /// The anchors that the gateway verifies a plane's agent by: it looks at each connection.
    pub fn client_ca<'a>(&'a self, plane: &'a Plane) -> Option<&'a [Certificate]> {
        if plane.value.is_some() {
            return Some(&plane.anchors);
        }
        plane.reference.as_ref()?;
        let trusted = self.material.get(&trust_secret());
        Some(trusted.map_or(&[][..], |trusted| &content(trusted).anchors))
    }

    /// The workloads, made anew with these kinds; before anybody has seen them.
    pub fn become_of(&mut self, kinds: &Kinds) {
        let all = std::mem::take(&mut self.deployments);
        for ((mut key, mut deployment), kind) in all.into_iter().zip(kinds) {
            key.kind = match kind {
                Kind::Deployment => WorkloadKind::Deployment,
                Kind::StatefulSet => WorkloadKind::StatefulSet,
                Kind::DaemonSet | Kind::OnDelete => WorkloadKind::DaemonSet,
            };
            deployment.by_hand = *kind == Kind::OnDelete;
            Arc::make_mut(&mut deployment.facts).workload = key.clone();
            self.deployments.insert(key, deployment);
        }
    }

    /// Changes a workload, and gives it its new version.
    pub fn touch(&mut self, workload: &WorkloadRef, change: impl FnOnce(&mut Deployment)) {
        let version = self.next_version();
        let deployment = self.deployments.get_mut(workload).unwrap();
        change(deployment);
        Arc::make_mut(&mut deployment.facts).resource_version = version;
    }

    /// A workload by any number.
    pub fn workload(&self, index: usize) -> WorkloadRef {
        let all = self.deployments.keys();
        all.cycle()
            .nth(index % self.deployments.len())
            .unwrap()
            .clone()
    }

    /// The guide's end state, made by hand with a CA, and running.
    pub fn by_hand(&mut self, index: usize) {
        let anchors = [ca(index).anchor().clone()];
        for place in bundles() {
            self.put(&place, &Content::Bundle(&anchors), PEOPLE, &BTreeMap::new());
        }
        for leaf in self.profiles.keys().cloned().collect::<Vec<_>>() {
            self.put_leaf_by_hand(&leaf, index);
        }
        for plane in self.planes.keys().cloned().collect::<Vec<_>>() {
            self.put_client_ca(&plane, &anchors, PEOPLE);
        }
        self.begun = self.version;
        let mut calm = Rng::with_seed(0);
        for _ in 0..20 {
            self.run_pods(&mut calm, 1.0);
        }
    }

    /// Controllers and kubelets do some of what they would do.
    pub fn run_pods(&mut self, rng: &mut Rng, eagerness: f64) {
        // A stream of their own: what was drawn before there were kubelets stays as it was.
        let mut kubelets = Rng::with_seed(rng.clone().u64(..));
        for index in 0..self.deployments.len() {
            if rng.f64() >= eagerness {
                continue;
            }
            self.now += SignedDuration::from_secs(1);
            let version = self.next_number();
            let (key, deployment) = self.deployments.iter_mut().nth(index).unwrap();
            let moment = Moment {
                now: self.now,
                version,
            };
            if let Some(what) = deployment.advance(&mut self.pods, &moment, rng) {
                Arc::make_mut(&mut deployment.facts).resource_version = version.to_string();
                let key = key.clone();
                self.say(|| format!("{key}: {what}"));
            }
        }
        kubelet::run(self, &mut kubelets, eagerness);
        world::catch_up(self, &mut kubelets);
    }
}
