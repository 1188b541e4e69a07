//! The snapshot as it would be, and what each step would change in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use external_ca_api::{
    ANCHORS_ANNOTATION, ExternalCAIssuance, ExternalCAIssuanceStatus, HELD_UNTIL_ANNOTATION,
    MANAGER, RENEWAL_ANNOTATION, REPLACES_ANNOTATION, SIGNED_SINCE_ANNOTATION,
};
use jiff::{SignedDuration, Timestamp};

use crate::domain::{generated_ca_profile, identity};
use crate::model::facts::{decode_loaded, handed_out, hash};
use crate::model::{
    Authority, AuthorityState, Controller, GeneratedCa, Leaf, Life, Material, MaterialKind,
    MaterialRef, ObjectRef, Observed, PlaneRef, Pod, Read, RolloutState, Signing, Workload,
    WorkloadRef,
};
use crate::plan::{Step, Wiring};
use crate::report::Decision;
use crate::x509::{
    Certificate, CertificateAuthority, KeyAlgorithm, LeafProfile, MintError, PrivateKey,
    encode_bundle, generate, parse_bundle, request, self_signed_ca, sign_request,
};

type Marks = BTreeMap<&'static str, String>;

/// The snapshot as it would be.
pub(super) struct World {
    pub(super) observed: Observed,
    pub(super) now: Timestamp,
    /// What signs in here: a stand-in, or a CA that was made in here. The snapshot holds its public side.
    signer: Option<Arc<CertificateAuthority>>,
    /// How much was made: resource versions and serial numbers.
    made: u64,
    /// One for each kind; no process uses them.
    keys: BTreeMap<String, Arc<PrivateKey>>,
}

impl World {
    /// The snapshot as it is.
    pub(super) fn new(
        observed: Observed,
        signer: Option<Arc<CertificateAuthority>>,
        now: Timestamp,
    ) -> Self {
        Self {
            observed,
            now,
            signer,
            made: 0,
            keys: BTreeMap::new(),
        }
    }

    /// As the operator does at the end of a turn.
    pub(super) fn store_status(&mut self, status: &ExternalCAIssuanceStatus) {
        self.issuance().status = Some(status.clone());
    }

    fn issuance(&mut self) -> &mut ExternalCAIssuance {
        Arc::make_mut(&mut self.observed.issuance)
    }

    fn version(&mut self) -> String {
        self.made += 1;
        format!("forecast-{}", self.made)
    }

    fn serial(&mut self) -> [u8; 16] {
        self.made += 1;
        let mut serial = [1; 16];
        for (to, from) in serial.iter_mut().skip(8).zip(self.made.to_be_bytes()) {
            *to = from;
        }
        serial
    }

    fn key(&mut self, algorithm: KeyAlgorithm) -> Result<Arc<PrivateKey>, MintError> {
        let name = format!("{algorithm:?}");
        if let Some(key) = self.keys.get(&name) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(generate(algorithm).map_err(|_| MintError::Encoding)?);
        self.keys.insert(name, Arc::clone(&key));
        Ok(key)
    }

    /// The API server tells times in whole seconds.
    fn tick(&mut self) {
        let next = self.now.saturating_add(SignedDuration::from_secs(1));
        self.now = next.unwrap_or(self.now);
    }

    /// Every step has its effect.
    pub(super) fn apply(&mut self, planned: &Decision) -> Result<(), MintError> {
        self.tick();
        for step in &planned.steps {
            match step {
                Step::GenerateCa(step) => self.generate_ca(&step.marks)?,
                Step::WriteBundle(step) => {
                    self.write_bundle(&step.target, &step.anchors, &step.marks)
                }
                Step::WirePlane(step) => self.wire(&step.plane, &step.client_ca),
                // An issuance has none.
                Step::InjectBundle(_) => {}
                Step::IssueLeaf(step) => self.issue(&step.target, &step.profile, &step.marks)?,
                Step::Restart(step) => self.restart(&step.workload, &step.material_hash),
                Step::DropRequest(step) => drop(self.observed.pending.remove(&step.target)),
                Step::Consume(step) => {
                    if let Some(annotations) = &mut self.issuance().metadata.annotations {
                        annotations.remove(step.annotation);
                    }
                }
            }
        }
        let cache = self.observed.issuance.spec.rollout.kubelet_cache.0;
        let next = self.now.saturating_add(cache);
        self.now = next.unwrap_or(self.now);
        self.report_agents();
        Ok(())
    }

    /// Agents that are connected go on being reported so.
    fn report_agents(&mut self) {
        for plane in &mut self.observed.planes {
            if plane.agent_connected == Some(true) && plane.agent_heartbeat.is_some() {
                Arc::make_mut(plane).agent_heartbeat = Some(self.now);
            }
        }
    }

    fn generate_ca(&mut self, marks: &Marks) -> Result<(), MintError> {
        let key = self.key(KeyAlgorithm::EcdsaP256)?;
        let serial = self.serial();
        let certificate = self_signed_ca(&key, &generated_ca_profile(), serial, self.now)?;
        let authority = CertificateAuthority::from_pem(
            certificate.to_pem().as_bytes(),
            key.to_pem().as_bytes(),
            None,
            self.now,
        )?;
        // A CA of its own next time.
        self.keys.clear();
        self.observed.authority = Authority {
            state: AuthorityState::Ready {
                chain: Arc::clone(authority.public_side()),
                signing: Signing::Now,
                identity: "caSecret".to_owned(),
            },
            generated: Some(GeneratedCa {
                resource_version: self.version(),
                request: marks.get(RENEWAL_ANNOTATION).cloned(),
            }),
        };
        self.signer = Some(Arc::new(authority));
        Ok(())
    }

    /// What stands there, as if we had just written it.
    fn written(&mut self, target: &MaterialRef, marks: &Marks) -> Material {
        let stored = self.observed.material.get(target);
        let found = stored.and_then(|stored| stored.found().cloned());
        let created = found.as_ref().and_then(|found| found.created);
        Material {
            resource_version: self.version(),
            secret_type: match &found {
                Some(found) => found.secret_type.clone(),
                None => "kubernetes.io/tls".to_owned(),
            },
            issuance: Some(identity(&self.observed.issuance)),
            replaces: marks.contains_key(REPLACES_ANNOTATION),
            renewal: marks.get(RENEWAL_ANNOTATION).cloned(),
            held_until: marks
                .get(HELD_UNTIL_ANNOTATION)
                .and_then(|time| time.parse().ok()),
            signed_since: marks
                .get(SIGNED_SINCE_ANNOTATION)
                .and_then(|time| time.parse().ok()),
            controller: None,
            manager: Some(MANAGER.to_owned()),
            created: created.or(Some(self.now)),
            changed: Some(self.now),
            leaf: found
                .as_ref()
                .map_or(Leaf::Empty, |found| found.leaf.clone()),
            anchors: Vec::new(),
            handed_out: marks
                .get(ANCHORS_ANNOTATION)
                .map_or_else(BTreeSet::new, |names| handed_out(names)),
            has_key: found.as_ref().is_some_and(|found| found.has_key),
            hash: String::new(),
        }
    }

    fn put(&mut self, target: &MaterialRef, material: Material) {
        let stored = Arc::new(Read::Found(material));
        self.observed.material.insert(target.clone(), stored);
    }

    fn write_bundle(&mut self, target: &MaterialRef, anchors: &[Certificate], marks: &Marks) {
        let material = Material {
            anchors: anchors.to_vec(),
            hash: hash(&[encode_bundle(anchors).as_bytes()]),
            ..self.written(target, marks)
        };
        self.put(target, material);
    }

    fn issue(
        &mut self,
        target: &ObjectRef,
        profile: &LeafProfile,
        marks: &Marks,
    ) -> Result<(), MintError> {
        let Some(authority) = self.signer.clone() else {
            return Ok(());
        };
        let key = self.key(profile.key)?;
        let csr = request(&key, profile)?;
        let chain = sign_request(&authority, csr.der(), profile, self.serial(), self.now)?;
        self.observed.pending.remove(target);
        let target = MaterialRef {
            kind: MaterialKind::Secret,
            object: target.clone(),
        };
        let material = Material {
            hash: hash(&[encode_bundle(&chain).as_bytes()]),
            has_key: true,
            leaf: Leaf::Present {
                chain,
                key_matches: true,
            },
            ..self.written(&target, marks)
        };
        self.put(&target, material);
        Ok(())
    }

    fn wire(&mut self, plane: &PlaneRef, client_ca: &Wiring) {
        let version = self.version();
        let now = self.now;
        let planes = self.observed.planes.iter_mut();
        for shared in planes.filter(|known| known.plane == *plane) {
            let found = Arc::make_mut(shared);
            found.resource_version.clone_from(&version);
            found.manager = Some(MANAGER.to_owned());
            found.changed = Some(now);
            match client_ca {
                Wiring::Value(pem) => {
                    found.anchors = parse_bundle(pem.as_bytes()).certificates;
                    found.value = Some(pem.clone());
                }
                Wiring::Reference { secret, .. } => {
                    found.anchors = Vec::new();
                    found.value = None;
                    found.reference = Some((secret.clone(), "ca.crt".to_owned()));
                }
            }
        }
    }

    fn restart(&mut self, workload: &WorkloadRef, material_hash: &str) {
        let version = self.version();
        let workloads = self.observed.workloads.iter_mut();
        for shared in workloads.filter(|known| known.workload == *workload) {
            let found = Arc::make_mut(shared);
            found.resource_version.clone_from(&version);
            found.loaded = decode_loaded(&workload.object.namespace, material_hash);
            found.rollout = RolloutState::Running("its template changed".to_owned());
        }
    }

    /// Every workload whose material is there comes to run what is stored; none where there is nothing to finish.
    pub(super) fn finish_rollouts(&mut self) -> Option<Vec<WorkloadRef>> {
        let absent: BTreeSet<&MaterialRef> = self
            .observed
            .material
            .iter()
            .filter(|(_, stored)| matches!(stored.as_ref(), Read::Absent))
            .map(|(object, _)| object)
            .collect();
        let runs = |workload: &Workload| {
            let mounts = &workload.mounts;
            let ours = mounts
                .iter()
                .any(|mount| self.observed.material.contains_key(mount));
            ours && workload.rollout != RolloutState::Complete
                && !mounts.iter().any(|mount| absent.contains(mount))
        };
        let all = self.observed.workloads.iter();
        let running: Vec<WorkloadRef> = all
            .filter(|workload| runs(workload))
            .map(|workload| workload.workload.clone())
            .collect();
        if running.is_empty() {
            return None;
        }
        self.tick();
        let now = self.now;
        let snapshot = &mut self.observed.snapshot;
        for workload in &mut snapshot.workloads {
            if running.contains(&workload.workload) {
                Arc::make_mut(workload).rollout = RolloutState::Complete;
                renew(&mut snapshot.pods, workload, now);
            }
        }
        snapshot.pods.retain(|pod| !pod.is_terminating);
        Some(running)
    }
}

/// New pods stand in the place of a workload's old ones.
fn renew(pods: &mut [Arc<Pod>], workload: &Workload, now: Timestamp) {
    let made = Controller::Workload(workload.workload.clone());
    for pod in pods.iter_mut().filter(|pod| pod.controller == made) {
        let pod = Arc::make_mut(pod);
        pod.created = Some(now);
        pod.mounts.clone_from(&workload.mounts);
        pod.loaded.clone_from(&workload.loaded);
        pod.life = Life::Running { ready: true };
    }
}
