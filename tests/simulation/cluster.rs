//! The API server's truth, and everybody in it but the operator: controllers, kubelets, people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use external_ca_api::{ExternalCAIssuance, MANAGER, PlaneKind};
use external_ca_core::facts::hash;
use external_ca_core::observed::{
    Leaf, Material, MaterialKind, MaterialRef, ObjectRef, Plane, PlaneRef, RolloutState, Workload,
    WorkloadKind, WorkloadRef,
};
use external_ca_core::x509::{
    CaProfile, Certificate, CertificateAuthority, KeyAlgorithm, LeafProfile, PrivateKey,
    encode_bundle, generate, request, self_signed_ca, sign_request,
};
use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

pub const HOME: &str = "openchoreo-control-plane";
pub const AGENTS: [(PlaneKind, &str); 2] = [
    (PlaneKind::DataPlane, "openchoreo-data-plane"),
    (
        PlaneKind::ObservabilityPlane,
        "openchoreo-observability-plane",
    ),
];
const BUNDLE: &str = "cluster-gateway-ca";
const CAS: u8 = 4;

pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

/// A CA, the same each time. The last one is a stranger's.
pub fn ca(index: usize) -> Arc<CertificateAuthority> {
    static ALL: OnceLock<Vec<Arc<CertificateAuthority>>> = OnceLock::new();
    let all = ALL.get_or_init(|| (0..CAS).map(make_ca).collect());
    Arc::clone(&all[index])
}

pub fn stranger() -> Certificate {
    ca(usize::from(CAS) - 1).anchor().clone()
}

fn make_ca(index: u8) -> Arc<CertificateAuthority> {
    let key = generate(KeyAlgorithm::EcdsaP256).unwrap();
    let profile = CaProfile {
        common_name: "openchoreo-cluster-gateway-ca".into(),
        organizations: vec!["OpenChoreo".into()],
        path_length: None,
        duration: SignedDuration::from_hours(87_600),
    };
    let certificate = self_signed_ca(&key, &profile, [index + 1; 16], start()).unwrap();
    let (certificate, key) = (certificate.to_pem(), key.to_pem());
    let authority =
        CertificateAuthority::from_pem(certificate.as_bytes(), key.as_bytes(), None, start());
    Arc::new(authority.unwrap())
}

fn leaf_key() -> &'static PrivateKey {
    static KEY: OnceLock<PrivateKey> = OnceLock::new();
    KEY.get_or_init(|| generate(KeyAlgorithm::EcdsaP256).unwrap())
}

pub fn secret(namespace: &str, name: &str) -> MaterialRef {
    material_ref(MaterialKind::Secret, namespace, name)
}

fn material_ref(kind: MaterialKind, namespace: &str, name: &str) -> MaterialRef {
    MaterialRef {
        kind,
        object: ObjectRef::new(namespace, name),
    }
}

pub fn gateway_leaf() -> MaterialRef {
    secret(HOME, "cluster-gateway-tls")
}

pub fn agent_leaf(namespace: &str) -> MaterialRef {
    secret(namespace, "cluster-agent-tls")
}

pub fn bundle(namespace: &str) -> MaterialRef {
    material_ref(MaterialKind::ConfigMap, namespace, BUNDLE)
}

pub fn trust_secret() -> MaterialRef {
    secret(HOME, BUNDLE)
}

/// A running pod, with what it read when it started.
#[derive(Clone)]
pub struct Pod {
    pub revision: u64,
    pub ready: bool,
    pub holds: BTreeMap<MaterialRef, Arc<Material>>,
}

pub struct Deployment {
    pub facts: Workload,
    /// Counts changes of the pod template.
    pub revision: u64,
    pub replicas: usize,
    pub pods: Vec<Pod>,
    /// Its new pods do not become ready.
    pub stuck: bool,
}

/// What the operator can see of it.
#[derive(Clone, Default)]
pub struct View {
    pub material: BTreeMap<MaterialRef, Arc<Material>>,
    pub planes: BTreeMap<PlaneRef, Plane>,
    pub workloads: BTreeMap<WorkloadRef, Workload>,
    pub authority: usize,
}

pub struct Cluster {
    pub now: Timestamp,
    version: u64,
    pub issuance: ExternalCAIssuance,
    pub authority: usize,
    pub material: BTreeMap<MaterialRef, Arc<Material>>,
    pub planes: BTreeMap<PlaneRef, Plane>,
    pub deployments: BTreeMap<WorkloadRef, Deployment>,
    pub trace: Vec<String>,
}

impl Cluster {
    pub fn new(rng: &mut Rng) -> Self {
        let mut cluster = Self {
            now: start() + SignedDuration::from_hours(24),
            version: 1,
            issuance: serde_json::from_value(json!({
                "apiVersion": "pki.openchoreo.dev/v1alpha1",
                "kind": "ExternalCAIssuance",
                "metadata": {"name": "cluster-gateway", "namespace": HOME, "generation": 1, "uid": "u"},
                "spec": {
                    "issuer": {"caSecret": {"name": "ca"}},
                    "certificateDefaults": {"privateKey": {"algorithm": "ECDSA"}},
                },
            }))
            .unwrap(),
            authority: 0,
            material: BTreeMap::new(),
            planes: BTreeMap::new(),
            deployments: BTreeMap::new(),
            trace: Vec::new(),
        };
        cluster.deploy(HOME, "cluster-gateway", &[gateway_leaf()], rng);
        cluster.deploy(HOME, "controller-manager", &[trust_secret()], rng);
        for (kind, namespace) in AGENTS {
            let mounts = [agent_leaf(namespace), bundle(namespace)];
            cluster.deploy(namespace, "cluster-agent", &mounts, rng);
            let plane = Plane {
                plane: PlaneRef {
                    kind,
                    namespace: Some("default".into()),
                    name: "plane".into(),
                },
                resource_version: "1".into(),
                plane_id: "plane".into(),
                labels: BTreeMap::new(),
                value: None,
                anchors: Vec::new(),
                reference: None,
                reference_field: Some("secretRef"),
                manager: None,
                changed: None,
                agent_connected: None,
                agent_disconnected: None,
            };
            cluster.planes.insert(plane.plane.clone(), plane);
        }
        cluster
    }

    fn deploy(&mut self, namespace: &str, name: &str, mounts: &[MaterialRef], rng: &mut Rng) {
        let workload = WorkloadRef {
            kind: WorkloadKind::Deployment,
            object: ObjectRef::new(namespace, name),
        };
        let facts = Workload {
            workload: workload.clone(),
            resource_version: "1".into(),
            created: Some(self.now),
            available_since: None,
            restarted: None,
            mounts: mounts.iter().cloned().collect(),
            loaded: BTreeMap::new(),
            rollout: RolloutState::Running("no pod yet".into()),
            rollout_since: None,
            agent: None,
        };
        let deployment = Deployment {
            facts,
            revision: 0,
            replicas: rng.usize(1..3),
            pods: Vec::new(),
            stuck: false,
        };
        self.deployments.insert(workload, deployment);
    }

    pub fn say(&mut self, line: impl Into<String>) {
        let line = format!("{} {}", self.now, line.into());
        self.trace.push(line);
    }

    /// The API server tells times in whole seconds: two writes within one are beyond what can be told apart.
    pub fn next_version(&mut self) -> String {
        self.version += 1;
        self.now += SignedDuration::from_secs(1);
        self.version.to_string()
    }

    pub fn view(&self) -> View {
        let workloads = self.deployments.iter();
        View {
            material: self.material.clone(),
            planes: self.planes.clone(),
            workloads: workloads
                .map(|(key, deployment)| (key.clone(), deployment.facts.clone()))
                .collect(),
            authority: self.authority,
        }
    }

    fn blank(&mut self, target: &MaterialRef, ours: bool) -> Material {
        let resource_version = self.next_version();
        let old = self.material.get(target);
        let created = old.and_then(|old| old.created).unwrap_or(self.now);
        Material {
            resource_version,
            secret_type: String::new(),
            issuance: ours.then(|| format!("{HOME}/cluster-gateway")),
            replaces: false,
            renewal: None,
            held_until: None,
            controller: None,
            manager: Some(if ours { MANAGER } else { "kubectl" }.into()),
            created: Some(created),
            changed: Some(self.now),
            leaf: Leaf::Empty,
            anchors: Vec::new(),
            has_ca_crt: false,
            has_key: false,
            hash: String::new(),
        }
    }

    pub fn put_bundle(&mut self, target: &MaterialRef, anchors: &[Certificate], ours: bool) {
        let material = Material {
            anchors: anchors.to_vec(),
            has_ca_crt: true,
            hash: hash(&[encode_bundle(anchors).as_bytes()]),
            ..self.blank(target, ours)
        };
        self.material.insert(target.clone(), Arc::new(material));
    }

    pub fn put_leaf(
        &mut self,
        target: &MaterialRef,
        authority: &CertificateAuthority,
        profile: &LeafProfile,
        (serial, now): ([u8; 16], Timestamp),
        ours: bool,
    ) {
        let csr = request(leaf_key(), profile).unwrap();
        let chain = sign_request(authority, csr.der(), profile, serial, now).unwrap();
        let material = Material {
            secret_type: "kubernetes.io/tls".into(),
            hash: hash(&[encode_bundle(&chain).as_bytes()]),
            has_key: true,
            leaf: Leaf::Present {
                chain,
                key_matches: true,
            },
            ..self.blank(target, ours)
        };
        self.material.insert(target.clone(), Arc::new(material));
    }

    pub fn put_client_ca(&mut self, plane: &PlaneRef, anchors: &[Certificate], ours: bool) {
        let version = self.next_version();
        let plane = self.planes.get_mut(plane).unwrap();
        plane.resource_version = version;
        plane.value = Some(encode_bundle(anchors));
        plane.anchors = anchors.to_vec();
        plane.manager = Some(if ours { MANAGER } else { "kubectl" }.into());
        plane.changed = Some(self.now);
    }

    /// The guide's end state, made by hand with a CA, and running.
    pub fn by_hand(&mut self, index: usize) {
        let authority = ca(index);
        let anchors = [authority.anchor().clone()];
        let namespaces = AGENTS.map(|(_, namespace)| bundle(namespace));
        for place in namespaces.into_iter().chain([bundle(HOME), trust_secret()]) {
            self.put_bundle(&place, &anchors, false);
        }
        let planes: Vec<Arc<Plane>> = self.planes.values().cloned().map(Arc::new).collect();
        let wanted = external_ca_core::desired::desired(&self.issuance, &planes);
        for (index, leaf) in (1u8..).zip(wanted.leaves.values()) {
            self.put_leaf(
                &leaf.material(),
                &authority,
                &leaf.profile,
                ([index; 16], self.now),
                false,
            );
        }
        for plane in self.planes.keys().cloned().collect::<Vec<_>>() {
            self.put_client_ca(&plane, &anchors, false);
        }
        let mut calm = Rng::with_seed(0);
        for _ in 0..20 {
            self.run_pods(&mut calm, 1.0);
        }
    }

    /// Controllers and kubelets do some of what they would do.
    pub fn run_pods(&mut self, rng: &mut Rng, eagerness: f64) {
        let keys: Vec<WorkloadRef> = self.deployments.keys().cloned().collect();
        for key in keys {
            if rng.f64() >= eagerness {
                continue;
            }
            let version = self.next_version();
            let deployment = self.deployments.get_mut(&key).unwrap();
            if let Some(what) = deployment.advance(&self.material, self.now, rng) {
                deployment.facts.resource_version = version;
                self.say(format!("{key}: {what}"));
            }
        }
    }

    /// A pod's process ends and starts again with what is stored now.
    pub fn crash_a_pod(&mut self, rng: &mut Rng) {
        let index = rng.usize(0..self.deployments.len());
        let (key, deployment) = self.deployments.iter_mut().nth(index).unwrap();
        let holds = read(&deployment.facts.mounts, &self.material);
        if let (Some(holds), false) = (holds, deployment.pods.is_empty()) {
            let index = rng.usize(0..deployment.pods.len());
            deployment.pods[index].holds = holds;
            let line = format!("{key}: a pod's process starts again");
            self.say(line);
        }
    }
}

fn read(
    mounts: &BTreeSet<MaterialRef>,
    stored: &BTreeMap<MaterialRef, Arc<Material>>,
) -> Option<BTreeMap<MaterialRef, Arc<Material>>> {
    let read = |mount: &MaterialRef| Some((mount.clone(), Arc::clone(stored.get(mount)?)));
    mounts.iter().map(read).collect()
}

impl Deployment {
    /// One thing that its controller or a kubelet does: start a pod, find it ready, end an old one.
    fn advance(
        &mut self,
        stored: &BTreeMap<MaterialRef, Arc<Material>>,
        now: Timestamp,
        rng: &mut Rng,
    ) -> Option<&'static str> {
        let current = |pod: &&mut Pod| pod.revision == self.revision;
        let what = if self.pods.iter_mut().filter(current).count() < self.replicas
            && self.pods.len() <= self.replicas
        {
            let holds = read(&self.facts.mounts, stored)?;
            self.pods.push(Pod {
                revision: self.revision,
                ready: false,
                holds,
            });
            "a pod starts"
        } else if let Some(pod) = self.pods.iter_mut().find(|pod| !pod.ready) {
            if self.stuck {
                return None;
            }
            pod.ready = true;
            "a pod is ready"
        } else {
            let old: Vec<usize> = (0..self.pods.len())
                .filter(|index| self.pods[*index].revision != self.revision)
                .collect();
            self.pods.remove(*rng.choice(&old)?);
            "an old pod ends"
        };
        self.update_status(now);
        Some(what)
    }

    fn update_status(&mut self, now: Timestamp) {
        let done = self.pods.len() == self.replicas
            && self
                .pods
                .iter()
                .all(|pod| pod.ready && pod.revision == self.revision);
        self.facts.rollout = match done {
            true => RolloutState::Complete,
            false => RolloutState::Running("pods are on their way".into()),
        };
        if done {
            self.facts.available_since.get_or_insert(now);
        }
    }

    /// Its pod template changes.
    pub fn restart(&mut self, loaded: BTreeMap<MaterialRef, String>, version: String) {
        self.facts.loaded = loaded;
        self.facts.resource_version = version;
        self.revision += 1;
        self.facts.rollout = RolloutState::Running("its template changed".into());
    }
}
