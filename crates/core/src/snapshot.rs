//! What was seen of a cluster, and the snapshot of one issuance from it.

mod bystanders;
mod claims;
mod mounted;
mod needs;
mod pods;
mod scope;
mod vital;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus, MANAGER};
use jiff::{SignedDuration, Timestamp};

use crate::domain::{ca_secret, identity, namespace};
use crate::model::{
    Authority, AuthorityState, CertManagerObjects, Claims, GeneratedCa, InjectRef, Injected, Leaf,
    ListRef, Material, MaterialKind, MaterialRef, ObjectRef, Observed, Plane, PlaneRef, Pod, Read,
    Signing, Snapshot, Source, Unread, Workload, WorkloadRef,
};
use crate::reason::{Problem, Reason};
use crate::x509::{CaChain, CaError, Certificate};

pub use bystanders::{is_moved_by, plans_alike, reads};
pub use claims::ClaimTable;
pub use mounted::{mounted, mounted_since};
pub use needs::{Needs, Wants};
pub use pods::{ListedPods, namespaces_of_readers, rests_on_pods, unseen};
pub use scope::{Scope, WrittenNames};
pub use vital::Vital;

/// What an authority is called that signs with the key of a CA Secret.
const CA_SECRET: &str = "caSecret";

/// What was seen, by object.
#[derive(Default)]
pub struct Seen {
    /// Secrets and ConfigMaps that issuances have to do with.
    pub material: HashMap<MaterialRef, Arc<Read<Material>>>,
    /// Keys of ConfigMaps with additional anchors.
    pub anchors: HashMap<(ObjectRef, String), Read<Vec<Certificate>>>,
    /// Plane resources.
    pub planes: BTreeMap<PlaneRef, Arc<Plane>>,
    /// Objects of the API server that hold a bundle.
    pub injected: BTreeMap<InjectRef, Arc<Read<Injected>>>,
    /// cert-manager's objects.
    pub cert_manager: CertManagerObjects,
    /// What the annotation of an authority's Secret remembers, by Secret.
    pub memories: BTreeMap<ObjectRef, String>,
    /// Workloads of the served namespaces.
    pub workloads: BTreeMap<WorkloadRef, Arc<Workload>>,
    /// Pods of the served namespaces that read Secrets or ConfigMaps.
    pub pods: BTreeMap<ObjectRef, Arc<Pod>>,
    /// Lists whose first read is still to come.
    pub awaited: BTreeSet<ListRef>,
    /// Lists that could not be read, and why.
    pub unreadable: BTreeMap<ListRef, String>,
    /// Workloads that do not parse, and why.
    pub broken_workloads: BTreeMap<WorkloadRef, String>,
    /// Pods that do not parse, and why.
    pub broken_pods: BTreeMap<ObjectRef, String>,
    /// Planes that do not parse, and why.
    pub broken_planes: BTreeMap<PlaneRef, String>,
}

impl Seen {
    /// What is mounted by names that the operator writes, or that the issuance had before.
    pub fn mounted(&self, issuance: &ExternalCAIssuance, scope: &Scope) -> BTreeSet<MaterialRef> {
        let workloads = self.workloads.values().map(AsRef::as_ref);
        let pods = self.pods.values().map(AsRef::as_ref);
        let planes = self.planes.values().map(AsRef::as_ref);
        mounted(issuance, scope, workloads, pods, planes)
    }

    /// What is mounted by names that the front end writes, or that a domain of it had before.
    pub fn mounted_since(
        &self,
        earlier: Option<&ExternalCAIssuanceStatus>,
        scope: &Scope,
    ) -> BTreeSet<MaterialRef> {
        let workloads = self.workloads.values().map(AsRef::as_ref);
        let pods = self.pods.values().map(AsRef::as_ref);
        mounted_since(earlier, scope, workloads, pods, std::iter::empty())
    }

    /// What could not be read of what an issuance needs.
    fn unread(&self, needs: &Needs, scope: &Scope) -> Vec<Unread> {
        let lists = self.unreadable.iter();
        let lists = lists.filter(|(list, _)| needs.needs(list));
        let lists = lists.map(|(list, why)| Unread::list(list.clone(), why.clone()));
        let workloads = self.broken_workloads.iter().filter(|(workload, _)| {
            let namespace = workload.object.namespace.clone();
            needs.needs(&ListRef::Workloads(
                workload.object.cluster,
                workload.kind,
                namespace,
            ))
        });
        let workloads = workloads.map(|(workload, why)| Unread {
            source: Source::Workload(workload.clone()),
            why: format!("{workload}: {why}"),
        });
        let pods = self
            .broken_pods
            .iter()
            .filter(|(pod, _)| needs.needs(&ListRef::Pods(pod.cluster, pod.namespace.clone())));
        let pods = pods.map(|(pod, why)| Unread {
            source: Source::Pod(pod.clone()),
            why: format!("Pod {pod}: {why}"),
        });
        let planes = self.broken_planes.iter();
        let planes = planes.filter(|(plane, _)| scope.holds(plane));
        let planes = planes.map(|(plane, why)| Unread {
            source: Source::Plane(plane.clone()),
            why: format!("{plane}: {why}"),
        });
        lists.chain(workloads).chain(pods).chain(planes).collect()
    }

    /// The living pods that read what an issuance needs.
    fn pods_of(&self, needs: &Needs) -> Vec<Arc<Pod>> {
        let material: BTreeSet<&MaterialRef> = needs.material.iter().collect();
        let reads = |pod: &Pod| pod.mounts.iter().any(|mount| material.contains(mount));
        let pods = self.pods.values();
        let pods = pods.filter(|pod| pod.is_alive() && reads(pod));
        pods.cloned().collect()
    }

    /// The snapshot of an issuance, once all that it needs was seen. `claims` are those of others, `authority` is the state of
    /// what it names to sign.
    pub fn observed(
        &self,
        issuance: &Arc<ExternalCAIssuance>,
        claims: Claims,
        needs: &Needs,
        scope: &Scope,
        authority: AuthorityState,
    ) -> Observed {
        let home = namespace(issuance);
        let state = match needs.authority {
            Some(_) => authority,
            None => {
                let message = format!(
                    "the operator is not told to serve the namespace {home}; add it to the chart's namespaces.serve"
                );
                AuthorityState::Refused(Problem::new(Reason::NamespaceNotServed, message))
            }
        };
        let declared = Declared {
            secret: &ca_secret(issuance),
            identity: &identity(issuance),
            heir_of: None,
        };
        Observed {
            issuance: Arc::clone(issuance),
            snapshot: self.snapshot(&declared, claims, needs, scope, state),
        }
    }

    /// The snapshot of a trust domain, whatever declared it.
    pub fn snapshot(
        &self,
        declared: &Declared<'_>,
        claims: Claims,
        needs: &Needs,
        scope: &Scope,
        state: AuthorityState,
    ) -> Snapshot {
        let generated = self.material.get(&MaterialRef {
            kind: MaterialKind::Secret,
            object: declared.secret.clone(),
        });
        let generated = generated.and_then(|read| generated_ca(read.found()?, declared));
        Snapshot {
            served: Arc::clone(&scope.served),
            plane_namespaces: Arc::clone(&scope.plane_namespaces),
            authority: Authority { state, generated },
            pending: BTreeMap::new(),
            anchor_config_maps: needs
                .anchors
                .iter()
                .map(|entry| {
                    let read = self.anchors.get(entry).cloned();
                    let (object, key) = entry;
                    let place = (object.name.clone(), key.clone());
                    (place, read.unwrap_or(Read::Absent))
                })
                .collect(),
            material: needs
                .material
                .iter()
                .filter_map(|key| Some((key.clone(), Arc::clone(self.material.get(key)?))))
                .collect(),
            injected: needs
                .injected
                .iter()
                .filter_map(|key| Some((key.clone(), Arc::clone(self.injected.get(key)?))))
                .collect(),
            planes: needs.planes.clone(),
            strangers: needs.strangers.clone(),
            workloads: self.workloads.values().cloned().collect(),
            pods: self.pods_of(needs),
            awaited: self.awaited.iter().filter(is_of_peers).cloned().collect(),
            unreadable: self.unread(needs, scope),
            claims,
            refused: BTreeSet::new(),
            clock_ahead: SignedDuration::ZERO,
        }
    }
}

/// What tells a trust domain from others.
pub struct Declared<'a> {
    /// The Secret of its authority.
    pub secret: &'a ObjectRef,
    /// How annotations name it.
    pub identity: &'a str,
    /// How the names of those begin whose work it takes over, besides its own.
    pub heir_of: Option<&'static str>,
}

/// Whether peers may be found on a list.
fn is_of_peers(list: &&ListRef) -> bool {
    !list.is_of_cert_manager()
}

/// What others have put into the Secret since is theirs.
fn generated_ca(stored: &Material, declared: &Declared<'_>) -> Option<GeneratedCa> {
    let manager = stored.manager.as_deref();
    let ours = stored.issuance.as_deref() == Some(declared.identity) && manager == Some(MANAGER);
    let heir_of = declared.heir_of.zip(manager);
    let inherited = heir_of.is_some_and(|(before, manager)| manager.starts_with(before));
    (ours || inherited).then(|| GeneratedCa {
        resource_version: stored.resource_version.clone(),
        request: stored.renewal.clone(),
    })
}

/// The state of an authority whose key stands in a Secret: its certificates and the key were looked at together.
pub fn authority_of_secret(
    secret: &ObjectRef,
    read: Read<Result<Arc<CaChain>, CaError>>,
) -> AuthorityState {
    match read {
        Read::Absent => AuthorityState::Absent,
        Read::Unknown(why) => AuthorityState::Refused(Problem::new(
            Reason::CASecretUnreadable,
            format!("the CA Secret {secret}: {why}"),
        )),
        Read::Found(Ok(chain)) => AuthorityState::Ready {
            chain,
            signing: Signing::Now,
            identity: CA_SECRET.to_owned(),
        },
        Read::Found(Err(error)) => AuthorityState::Refused(Problem::new(
            Reason::from(&error),
            format!("the CA Secret {secret}: {error}"),
        )),
    }
}

/// The issuer's certificates as the snapshot shows them elsewhere, for who may not read the CA Secret: in bundles and in
/// what the CA has signed. Status says which certificate it is.
pub fn public_chain(observed: &Observed, now: Timestamp) -> Option<CaChain> {
    let issuer = observed.issuance.status.as_ref()?.issuer.as_ref()?;
    let found = observed.material.values().filter_map(|read| read.found());
    let in_material = found.flat_map(|material| {
        let chain = match &material.leaf {
            Leaf::Present { chain, .. } => chain.as_slice(),
            Leaf::Empty | Leaf::Invalid(_) => &[],
        };
        chain.iter().chain(&material.anchors)
    });
    let in_planes = observed.planes.iter().flat_map(|plane| &plane.anchors);
    let pool: Vec<Certificate> = in_material
        .chain(in_planes)
        .filter(|found| found.is_ca())
        .cloned()
        .collect();
    let mut issuing = pool.iter();
    let issuing = issuing.find(|found| found.fingerprint().to_string() == issuer.fingerprint)?;
    CaChain::of(issuing, &pool, now).ok()
}
