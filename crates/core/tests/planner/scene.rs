//! A little world on which plans are carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{
    ANCHORS_ANNOTATION, ExternalCAIssuance, HELD_UNTIL_ANNOTATION, MANAGER, RENEWAL_ANNOTATION,
    REPLACES_ANNOTATION, SIGNED_SINCE_ANNOTATION,
};
use external_ca_core::model::facts::{decode_loaded, handed_out, hash};
use external_ca_core::model::{
    Authority, Claims, Controller, GeneratedCa, Leaf, Life, Material, MaterialRef, ObjectRef,
    Observed, PendingLeaf, Plane, Pod, Read, RolloutState, Snapshot, Workload,
};
use external_ca_core::plan::{
    GenerateCa, IssueLeaf, Restart, Step, WirePlane, Wiring, WriteBundle,
};
use external_ca_core::report::{Decision, decide};
use external_ca_core::snapshot::{Scope, mounted};
use external_ca_core::x509::{
    Certificate, CertificateAuthority, LeafProfile, encode_bundle, request, sign_request,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::pieces::{
    DATA, HOME, Issuer, agent, blank, ca, config_map_ref, days, gateway, generated, leaf_key,
    plane, pod_of, secret_ref, start, workload,
};

/// A little world: steps are carried out on it as the shell would, rollouts finish when they are told to.
pub struct Scene {
    pub issuance: ExternalCAIssuance,
    pub issuer: Issuer,
    pub generated: Option<GeneratedCa>,
    pub pending: BTreeMap<ObjectRef, Arc<PendingLeaf>>,
    pub material: BTreeMap<MaterialRef, Material>,
    pub unknown: BTreeSet<MaterialRef>,
    pub anchor_config_maps: BTreeMap<(String, String), Read<Vec<Certificate>>>,
    pub claims: Claims,
    /// Objects whose last write was refused.
    pub refused: BTreeSet<String>,
    pub planes: Vec<Plane>,
    pub workloads: Vec<Workload>,
    /// Pods; a workload without any here has one that waits to start.
    pub pods: Vec<Pod>,
    pub now: Timestamp,
    pub serial: u8,
    pub restarts: BTreeMap<String, usize>,
}

impl Scene {
    pub fn new(spec: serde_json::Value) -> Self {
        let mut object = json!({
            "apiVersion": "pki.openchoreo.dev/v1alpha1",
            "kind": "ExternalCAIssuance",
            "metadata": {"name": "cluster-gateway", "namespace": HOME, "generation": 1, "uid": "u"},
            "spec": {
                "issuer": {"caSecret": {"name": "ca"}},
                "certificateDefaults": {"privateKey": {"algorithm": "ECDSA"}},
            },
        });
        if let serde_json::Value::Object(more) = spec {
            object["spec"].as_object_mut().unwrap().extend(more);
        }
        Self {
            issuance: serde_json::from_value(object).unwrap(),
            issuer: Issuer::Ready(ca(0)),
            generated: None,
            pending: BTreeMap::new(),
            material: BTreeMap::new(),
            unknown: BTreeSet::new(),
            anchor_config_maps: BTreeMap::new(),
            claims: Claims::default(),
            refused: BTreeSet::new(),
            planes: vec![plane("eu", "eu-1")],
            workloads: Vec::new(),
            pods: Vec::new(),
            now: start() + days(1),
            serial: 0,
            restarts: BTreeMap::new(),
        }
    }

    /// The guide's world, its agent recognisable by its arguments.
    pub fn local() -> Self {
        Self::local_with(json!({}))
    }

    /// The same by another spec.
    pub fn local_with(spec: serde_json::Value) -> Self {
        let mut scene = Self::new(spec).with_workloads();
        scene.workloads[2].agent = Some(("dataplane".into(), "eu-1".into()));
        scene
    }

    /// The agent runs in another cluster, and OpenChoreo says that it is connected.
    pub fn remote(spec: serde_json::Value) -> Self {
        let mut scene = Self::new(spec).with_workloads();
        scene.workloads.truncate(2);
        scene.planes[0].agent_connected = Some(true);
        scene
    }

    /// From now on the issuance selects no plane.
    pub fn select_no_plane(&mut self) {
        let selector = json!({"matchLabels": {"no": "plane"}});
        self.issuance.spec.planes.selector = Some(serde_json::from_value(selector).unwrap());
    }

    /// Turns in which the agents' rollouts do not finish.
    pub fn turns_without_agents(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
            self.finish_rollouts_of(|workload| workload.workload.object.namespace != DATA);
            self.now += self.kubelet_cache();
        }
    }

    /// How long a restart waits for kubelets.
    pub fn kubelet_cache(&self) -> SignedDuration {
        self.issuance.spec.rollout.kubelet_cache.0
    }

    pub fn with_workloads(mut self) -> Self {
        self.workloads = vec![
            workload(HOME, "cluster-gateway", &[gateway()]),
            workload(
                HOME,
                "controller-manager",
                &[secret_ref(HOME, "cluster-gateway-ca")],
            ),
            workload(
                DATA,
                "cluster-agent-dataplane",
                &[agent(), config_map_ref(DATA)],
            ),
        ];
        self
    }

    pub fn observed(&self) -> Observed {
        let scope = Scope {
            served: Arc::new([HOME, DATA].map(String::from).into()),
            plane_namespaces: Arc::new(["default"].map(String::from).into()),
            ..Scope::default()
        };
        let planes: Vec<Arc<Plane>> = self.planes.iter().cloned().map(Arc::new).collect();
        let (planes, strangers) = scope.split(&planes);
        let wanted = external_ca_core::domain::desired(&self.issuance, &planes);
        let pods = self.all_pods();
        let readers = pods.iter().map(AsRef::as_ref);
        let mounted = mounted(
            &self.issuance,
            &scope,
            self.workloads.iter(),
            readers,
            self.planes.iter(),
        );
        let needs = wanted
            .trust_places
            .iter()
            .cloned()
            .chain(wanted.all().map(|leaf| leaf.material()))
            .chain(mounted);
        let snapshot = Snapshot {
            served: scope.served,
            plane_namespaces: scope.plane_namespaces,
            authority: Authority {
                state: self.issuer.state(),
                generated: self.generated.clone(),
            },
            pending: self.pending.clone(),
            anchor_config_maps: self.anchor_config_maps.clone(),
            material: needs
                .map(|key| {
                    let read = match self.material.get(&key) {
                        _ if self.unknown.contains(&key) => {
                            Read::Unknown("the API server is away".into())
                        }
                        Some(found) => Read::Found(found.clone()),
                        None => Read::Absent,
                    };
                    (key, Arc::new(read))
                })
                .collect(),
            injected: Default::default(),
            planes,
            strangers,
            workloads: self.workloads.iter().cloned().map(Arc::new).collect(),
            pods,
            awaited: Vec::new(),
            unreadable: Vec::new(),
            claims: self.claims.clone(),
            refused: self.refused.clone(),
            clock_ahead: SignedDuration::ZERO,
        };
        Observed {
            issuance: Arc::new(self.issuance.clone()),
            snapshot,
        }
    }

    pub fn plan(&self) -> Decision {
        decide(&self.observed(), self.now)
    }

    /// Carries out one plan.
    pub fn turn(&mut self) -> Decision {
        let planned = self.plan();
        self.carry_out(&planned.steps);
        self.issuance.status = Some(planned.status.clone());
        planned
    }

    /// Carries out steps; no status is stored.
    pub fn carry_out(&mut self, steps: &[Step]) {
        self.now += SignedDuration::from_secs(2);
        for step in steps {
            match step {
                Step::WriteBundle(WriteBundle {
                    target,
                    anchors,
                    marks,
                    ..
                }) => {
                    self.put_bundle(target, anchors, Some("external-ca-operator"));
                    let material = self.material.get_mut(target).unwrap();
                    material.replaces = marks.contains_key(REPLACES_ANNOTATION);
                    material.handed_out = handed_out(&marks[ANCHORS_ANNOTATION]);
                }
                Step::IssueLeaf(IssueLeaf {
                    target,
                    profile,
                    marks,
                    ..
                }) => {
                    let Issuer::Ready(authority) = &self.issuer else {
                        panic!("no issuer")
                    };
                    let authority = Arc::clone(authority);
                    self.put_leaf(
                        &secret_ref(&target.namespace, &target.name),
                        &authority,
                        profile,
                        true,
                    );
                    let key = secret_ref(&target.namespace, &target.name);
                    let material = self.material.get_mut(&key).unwrap();
                    material.renewal = marks.get(RENEWAL_ANNOTATION).cloned();
                    material.replaces = marks.contains_key(REPLACES_ANNOTATION);
                    let held_until = marks.get(HELD_UNTIL_ANNOTATION);
                    material.held_until = held_until.map(|time| time.parse().unwrap());
                    let since = marks.get(SIGNED_SINCE_ANNOTATION);
                    material.signed_since = since.map(|time| time.parse().unwrap());
                }
                Step::WirePlane(WirePlane {
                    plane,
                    client_ca: Wiring::Value(pem),
                    ..
                }) => {
                    let found = self
                        .planes
                        .iter_mut()
                        .find(|known| known.plane == *plane)
                        .unwrap();
                    found.anchors =
                        external_ca_core::x509::parse_bundle(pem.as_bytes()).certificates;
                    found.value = Some(pem.clone());
                    found.manager = Some("external-ca-operator".into());
                    found.changed = Some(self.now);
                }
                Step::WirePlane(WirePlane {
                    plane,
                    client_ca: Wiring::Reference { secret, .. },
                    ..
                }) => {
                    let found = self
                        .planes
                        .iter_mut()
                        .find(|known| known.plane == *plane)
                        .unwrap();
                    (found.value, found.anchors) = (None, Vec::new());
                    found.reference = Some((secret.clone(), "ca.crt".into()));
                }
                Step::Restart(Restart {
                    workload,
                    material_hash,
                    ..
                }) => {
                    let name = workload.object.name.clone();
                    *self.restarts.entry(name).or_default() += 1;
                    let mut workloads = self.workloads.iter_mut();
                    let found = workloads.find(|known| known.workload == *workload);
                    let found = found.unwrap();
                    found.loaded = decode_loaded(&workload.object.namespace, material_hash);
                    found.rollout = RolloutState::Running("rolling".into());
                }
                // An issuance has none.
                Step::InjectBundle(_) => {}
                Step::DropRequest(step) => drop(self.pending.remove(&step.target)),
                Step::Consume(_) => self.issuance.metadata.annotations = None,
                Step::GenerateCa(GenerateCa { marks, .. }) => {
                    let request = marks.get(RENEWAL_ANNOTATION).cloned();
                    (self.issuer, self.generated) = (Issuer::Ready(ca(1)), generated(request));
                }
            }
        }
    }

    /// Turns, with every rollout finishing in between, until nothing is left to do.
    pub fn settle(&mut self) -> Decision {
        for _ in 0..40 {
            let planned = self.turn();
            self.finish_rollouts();
            let soon = planned.next_check.duration_since(self.now) <= SignedDuration::from_secs(5);
            if planned.steps.is_empty() && soon {
                self.now = planned
                    .next_check
                    .max(self.now + SignedDuration::from_secs(1));
                continue;
            }
            if planned.steps.is_empty()
                && self.plan().steps.is_empty()
                && self.plan().status.phase == planned.status.phase
            {
                return self.plan();
            }
        }
        panic!("does not settle: {:#?}", self.plan());
    }

    pub fn finish_rollouts(&mut self) {
        self.finish_rollouts_of(|_| true);
    }

    /// The rollouts of some workloads are complete.
    pub fn finish_rollouts_of(&mut self, which: impl Fn(&Workload) -> bool) {
        // Pods wait for what they mount.
        let startable = |workload: &&mut Workload| {
            workload
                .mounts
                .iter()
                .all(|mount| self.material.contains_key(mount))
        };
        for workload in self.workloads.iter_mut().filter(startable) {
            if !which(workload) || workload.rollout == RolloutState::Complete {
                continue;
            }
            workload.rollout = RolloutState::Complete;
            let made = Controller::Workload(workload.workload.clone());
            let mut old = self.pods.iter().filter(|pod| pod.controller == made);
            let is_restart =
                old.any(|pod| pod.life != Life::Waiting(None)) || !workload.loaded.is_empty();
            let mut pod = pod_of(workload);
            pod.life = Life::Running { ready: true };
            if is_restart {
                pod.created = Some(self.now);
            }
            self.pods.retain(|pod| pod.controller != made);
            self.pods.push(pod);
        }
    }

    /// Every workload runs, with pods that are older than all else.
    pub fn run_old_pods(&mut self) {
        for workload in &mut self.workloads {
            workload.rollout = RolloutState::Complete;
            let mut pod = pod_of(workload);
            pod.life = Life::Running { ready: true };
            self.pods.push(pod);
        }
    }

    /// The pods that there are.
    pub fn all_pods(&self) -> Vec<Arc<Pod>> {
        let waiting = self.workloads.iter().map(pod_of).filter(|pod| {
            let mut pods = self.pods.iter();
            !pods.any(|known| known.controller == pod.controller)
        });
        self.pods
            .iter()
            .cloned()
            .chain(waiting)
            .map(Arc::new)
            .collect()
    }

    /// Since when an object is there, or will be.
    fn created(&self, target: &MaterialRef) -> Timestamp {
        let old = self.material.get(target);
        old.and_then(|old| old.created).unwrap_or(self.now)
    }

    pub fn put_bundle(
        &mut self,
        target: &MaterialRef,
        anchors: &[Certificate],
        manager: Option<&str>,
    ) {
        let pem = encode_bundle(anchors);
        let created = self.created(target);
        self.material.insert(
            target.clone(),
            Material {
                issuance: manager.map(|_| format!("{HOME}/cluster-gateway")),
                manager: manager.map(String::from),
                created: Some(created),
                changed: Some(self.now),
                anchors: anchors.to_vec(),
                hash: hash(&[pem.as_bytes()]),
                ..blank("Opaque")
            },
        );
    }

    pub fn put_leaf(
        &mut self,
        target: &MaterialRef,
        authority: &CertificateAuthority,
        profile: &LeafProfile,
        ours: bool,
    ) {
        self.serial = self.serial.wrapping_add(1).max(1);
        let csr = request(leaf_key(), profile).unwrap();
        let chain =
            sign_request(authority, csr.der(), profile, [self.serial; 16], self.now).unwrap();
        let created = self.created(target);
        self.material.insert(
            target.clone(),
            Material {
                issuance: ours.then(|| format!("{HOME}/cluster-gateway")),
                manager: ours.then(|| MANAGER.to_owned()),
                created: Some(created),
                changed: Some(self.now),
                hash: hash(&[encode_bundle(&chain).as_bytes()]),
                has_key: true,
                leaf: Leaf::Present {
                    chain,
                    key_matches: true,
                },
                ..blank("kubernetes.io/tls")
            },
        );
    }

    pub fn profile(&self, target: &MaterialRef) -> LeafProfile {
        let planes: Vec<Arc<Plane>> = self.planes.iter().cloned().map(Arc::new).collect();
        external_ca_core::domain::desired(&self.issuance, &planes).leaves[&target.object]
            .profile
            .clone()
    }

    /// The guide's end state, made by hand with a CA.
    pub fn hand_made(&mut self, authority: &CertificateAuthority) {
        let anchors = [authority.anchor().clone()];
        for place in [
            config_map_ref(HOME),
            config_map_ref(DATA),
            secret_ref(HOME, "cluster-gateway-ca"),
            secret_ref(DATA, "cluster-gateway-ca"),
        ] {
            self.put_bundle(&place, &anchors, None);
        }
        for target in [gateway(), agent()] {
            let profile = self.profile(&target);
            self.put_leaf(&target, authority, &profile, false);
        }
        self.planes[0].anchors = anchors.to_vec();
        self.planes[0].value = Some(encode_bundle(&anchors));
        self.finish_rollouts();
    }

    pub fn signer(&self, target: &MaterialRef) -> usize {
        let Leaf::Present { chain, .. } = &self.material[target].leaf else {
            panic!("no leaf")
        };
        (0..3)
            .find(|index| chain[0].signed_by(ca(*index).certificate()))
            .unwrap()
    }

    /// The common names of a stored leaf; none where there is no leaf.
    pub fn profile_in(&self, target: &MaterialRef) -> Option<Vec<String>> {
        match &self.material.get(target)?.leaf {
            Leaf::Present { chain, .. } => Some(chain[0].common_names().to_vec()),
            _ => None,
        }
    }

    pub fn anchors(&self, target: &MaterialRef) -> Vec<usize> {
        let has = |index: &usize| self.material[target].anchors.contains(ca(*index).anchor());
        (0..3).filter(has).collect()
    }
}

/// Whether any condition says this.
pub fn says(planned: &Decision, what: &str) -> bool {
    told(planned).values().any(|message| message.contains(what))
}

/// What conditions say.
pub fn told(planned: &Decision) -> BTreeMap<&str, &str> {
    let conditions = planned.status.conditions.iter();
    conditions
        .map(|one| (one.type_.as_str(), one.message.as_str()))
        .collect()
}

pub fn condition(planned: &Decision, kind: &str) -> (String, String, String) {
    let found = planned
        .status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .unwrap();
    (
        found.status.clone(),
        found.reason.clone(),
        found.message.clone(),
    )
}
