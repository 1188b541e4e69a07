//! A cluster, as everything else sees it: what is wanted of it, what was last seen, and what stands there now. How it is
//! read is known in here only: what is wanted is watched or read in turn, lists are watched, kinds are discovered.

mod cert_manager;
mod discovery;
mod facts;
mod front_facts;
mod injected;
mod lists;
mod named;
mod news;
mod plane_kinds;
mod planes;
mod pods;
mod read;
mod reread;
mod share;
mod shared;
mod steady;
mod store;
mod vital;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use external_ca_api::{ExternalCAIssuance, ExternalCAIssuanceStatus, PlaneKind};
use external_ca_core::model::lenient::Lenient;
use external_ca_core::model::{
    CertManagerRef, InjectRef, Injected, ListRef, Material, MaterialKind, MaterialRef, ObjectRef,
    Plane, PlaneRef, Read, Workload,
};
use external_ca_core::snapshot::{ListedPods, Needs, Scope, Seen, Vital};
use external_ca_core::x509::CaPem;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::core::DynamicObject;
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;

use crate::error::{Error, bounded};
use cert_manager::CertManager;
use discovery::Discovery;
use named::NamedWatches;
use planes::Planes;
use read::Reader;
use reread::Reread;
use share::{Wanted, is_contested, share};
use store::Store;
use vital::VitalReads;

pub use news::News;
pub use read::MaterialObject;
pub use steady::{Steady, Told};
pub use watch::smallest_pages;

/// One cluster.
pub struct Cluster {
    reader: Reader,
    store: Arc<Store>,
    /// What each issuance needs.
    needs: Mutex<HashMap<String, Wanted>>,
    named: NamedWatches,
    reread: Arc<Reread>,
    vital: Arc<VitalReads>,
    planes: Arc<Planes>,
}

impl Cluster {
    /// Nothing is read yet. What is returned besides tells that anything has changed.
    pub fn new(client: Client) -> (Arc<Self>, mpsc::Receiver<()>) {
        let (store, changes) = Store::new();
        let reader = Reader {
            client: client.clone(),
            store: Arc::clone(&store),
        };
        let planes = Planes::new(client, Arc::clone(&store));
        let cluster = Self {
            needs: Mutex::default(),
            named: NamedWatches::new(reader.clone()),
            reread: Reread::new(reader.clone()),
            vital: VitalReads::new(reader.clone(), Arc::clone(&planes)),
            planes,
            reader,
            store,
        };
        (Arc::new(cluster), changes)
    }

    /// Begins to read: plane kinds and planes, and the workloads and pods of these namespaces.
    pub fn start(
        &self,
        namespaces: &BTreeSet<String>,
        front_end: Option<BTreeSet<InjectRef>>,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) {
        let Reader { client, store } = &self.reader;
        let planes = Arc::clone(&self.planes);
        let discovery = Discovery::new(client.clone(), Arc::clone(store), planes);
        lists::watch_workloads(client, store, namespaces);
        pods::watch_pods(client, store, namespaces);
        tokio::spawn(discovery.run());
        if let Some(injected) = front_end {
            let (client, store) = (client.clone(), Arc::clone(store));
            let cert_manager = CertManager::new(client, store, namespaces.clone(), injected);
            tokio::spawn(cert_manager.run());
        }
        tokio::spawn(Arc::clone(&self.reread).run());
        tokio::spawn(Arc::clone(&self.vital).run(now));
        tokio::spawn(reread::recover(self.reader.clone()));
    }

    /// Sees to it that what an issuance needs is read from now on, and that what no issuance needs no longer is.
    pub fn want(&self, issuance: &str, needs: &Needs, vital: Vec<Vital>) {
        self.read_for_new_uses(needs);
        self.vital.set(issuance, vital);
        let wanted = Wanted::of(needs);
        let mut all = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(issuance) != Some(&wanted) {
            let others = all.iter().filter(|(other, _)| *other != issuance);
            let others = others.map(|(_, wanted)| wanted);
            if is_contested(all.get(issuance), &wanted, others) {
                self.store.announce_change();
            }
            all.insert(issuance.to_owned(), wanted);
            self.settle(&all);
        }
    }

    /// An issuance is gone.
    pub fn forget(&self, issuance: &str) {
        self.vital.forget(issuance);
        let mut all = self.needs.lock().unwrap_or_else(PoisonError::into_inner);
        if all.remove(issuance).is_some() {
            self.settle(&all);
        }
    }

    /// The planes that were last seen, or nothing while their first lists are under way.
    pub fn planes(&self) -> Option<Vec<Arc<Plane>>> {
        let facts = self.store.facts();
        let awaited = facts.seen.awaited.iter().any(ListRef::is_of_planes);
        (!awaited).then(|| facts.seen.planes.values().cloned().collect())
    }

    /// What is mounted by names that the operator writes, or that the issuance had before.
    pub fn mounted(&self, issuance: &ExternalCAIssuance, scope: &Scope) -> BTreeSet<MaterialRef> {
        self.store.facts().seen.mounted(issuance, scope)
    }

    /// What is mounted by names that the front end writes, or that a domain of it had before.
    pub fn mounted_since(
        &self,
        earlier: Option<&ExternalCAIssuanceStatus>,
        scope: &Scope,
    ) -> BTreeSet<MaterialRef> {
        self.store.facts().seen.mounted_since(earlier, scope)
    }

    /// A look at cert-manager's objects, once all are read, and at all else that was seen.
    pub fn cert_manager<T>(&self, look: impl FnOnce(&Seen) -> T) -> Option<T> {
        let facts = self.store.facts();
        facts.has_read_cert_manager().then(|| look(&facts.seen))
    }

    /// What the annotation of an authority's Secret remembers of its trust domain.
    pub fn memory(&self, secret: &ObjectRef) -> Option<ExternalCAIssuanceStatus> {
        let facts = self.store.facts();
        let memory = facts.seen.memories.get(secret)?;
        serde_json::from_str(memory).ok()
    }

    /// Whether a CA Secret that is watched holds a CA that can sign, or why not.
    pub fn verify_ca(&self, secret: &ObjectRef, now: Timestamp) -> Result<(), String> {
        let known = self.store.facts().ca_secrets.get(secret).cloned();
        match known {
            Some(Read::Found(pem)) => {
                let opened = pem.authority(now).map(drop);
                opened.map_err(|error| format!("Secret {secret}: {error}"))
            }
            Some(Read::Unknown(why)) => Err(format!("Secret {secret}: {why}")),
            Some(Read::Absent) | None => Err(format!(
                "Secret {secret} does not exist, or is not asked for yet"
            )),
        }
    }

    /// The version of a Secret, where it is known to exist.
    pub fn version(&self, secret: &ObjectRef) -> Option<String> {
        self.store.known_version(&MaterialRef {
            kind: MaterialKind::Secret,
            object: secret.clone(),
        })
    }

    /// Whether any of cert-manager's kinds is served.
    pub fn serves_cert_manager(&self) -> bool {
        self.store.facts().serves_cert_manager
    }

    /// Waits until one is.
    pub async fn cert_manager_served(&self) {
        self.store.cert_manager_served.notified().await;
    }

    /// Waits until anything has changed.
    pub async fn changed(&self) {
        self.store.for_front_end.notified().await;
    }

    /// Where an object of cert-manager's is written.
    pub fn cert_manager_api(&self, name: &CertManagerRef) -> Api<Lenient<DynamicObject>> {
        cert_manager::api(&self.reader.client, name.kind, &name.object.namespace)
    }

    /// Where an object that holds a `caBundle` is written.
    pub fn injected_api(&self, object: &InjectRef) -> Api<Lenient<DynamicObject>> {
        injected::api(&self.reader.client, object)
    }

    /// Notes an object that holds a `caBundle` as the answer to a write shows it.
    pub fn wrote_injected(&self, object: &InjectRef, found: &DynamicObject) {
        let read = Read::Found(injected::facts_of(object, found));
        self.store.update(|facts| facts.injected_seen(object, read));
    }

    /// Notes an object of cert-manager's as the answer to a write shows it.
    pub fn wrote_cert_manager(&self, name: &CertManagerRef, found: &DynamicObject) {
        let read = external_ca_core::model::facts::cert_manager(&found.metadata, &found.data);
        self.store
            .update(|facts| facts.cert_manager_seen(name.clone(), read));
    }

    /// An object that holds a `caBundle` as it stands now; none where it does not exist.
    pub async fn read_injected(&self, object: &InjectRef) -> Result<Option<Injected>, Error> {
        let found = bounded(self.injected_api(object).get_opt(&object.name)).await?;
        let found = found.map(Lenient::into_decoded).transpose()?;
        let read = found.map(|found| injected::facts_of(object, &found));
        let known = read.clone().map_or(Read::Absent, Read::Found);
        self.store
            .update(|facts| facts.injected_seen(object, known));
        Ok(read)
    }

    /// A plane as it was last seen.
    pub fn plane(&self, plane: &PlaneRef) -> Option<Arc<Plane>> {
        self.store.facts().seen.planes.get(plane).cloned()
    }

    /// A look at what was last seen, the CA Secret beside it, or nothing while first reads of what is needed are under way.
    pub fn seen<T>(
        &self,
        needs: &Needs,
        look: impl FnOnce(&Seen, &Read<Arc<CaPem>>) -> T,
    ) -> Option<T> {
        let facts = self.store.facts();
        let is_read = |need: MaterialRef| facts.seen.material.contains_key(&need);
        let all_read = needs.objects().all(is_read)
            && facts.seen.awaited.iter().all(|list| !needs.needs(list));
        let secret = needs.authority.as_ref();
        let authority = secret.and_then(|secret| facts.ca_secrets.get(secret));
        all_read.then(|| look(&facts.seen, authority.unwrap_or(&Read::Absent)))
    }

    /// What stands in a Secret or ConfigMap now; nothing where it is not wanted.
    pub async fn read(&self, material: &MaterialRef) -> Option<Arc<Read<Material>>> {
        self.reader.read(material).await;
        self.store.facts().seen.material.get(material).cloned()
    }

    /// What stands in a CA Secret now; nothing where that cannot be read.
    pub async fn read_authority(&self, secret: &ObjectRef) -> Option<Arc<CaPem>> {
        let material = MaterialRef {
            kind: MaterialKind::Secret,
            object: secret.clone(),
        };
        self.reader.read(&material).await;
        match self.store.facts().ca_secrets.get(secret) {
            Some(Read::Found(pem)) => Some(Arc::clone(pem)),
            _ => None,
        }
    }

    /// Reads a plane; false where that fails.
    pub async fn read_plane(&self, plane: &PlaneRef) -> bool {
        self.planes.read(plane).await
    }

    /// The pods of a namespace as they are now: what was last seen of them may be behind.
    pub async fn read_pods(&self, namespace: &str) -> Result<ListedPods, Error> {
        let listed = pods::list_pods(&self.reader.client, namespace).await?;
        self.store.update(|facts| facts.pods_listed(&listed));
        Ok(listed)
    }

    /// A Secret or ConfigMap itself, by the API server's own answer.
    pub async fn get<K: MaterialObject>(&self, target: &ObjectRef) -> Result<Option<K>, Error> {
        self.reader.get(target).await
    }

    /// Where objects of a namespace are written.
    pub fn api<K>(&self, namespace: &str) -> Api<Lenient<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.reader.client.clone(), namespace)
    }

    /// Where a plane is written, where its kind is served.
    pub fn plane_api(&self, plane: &PlaneRef) -> Option<Api<Lenient<DynamicObject>>> {
        self.planes.api(plane)
    }

    /// Notes a Secret or ConfigMap as the answer to a write shows it.
    pub fn wrote<K: MaterialObject>(&self, target: &ObjectRef, object: &K) {
        K::note(&self.store, target, Read::Found(object));
    }

    /// Notes a plane as the answer to a write shows it.
    pub fn wrote_plane(&self, kind: PlaneKind, object: &DynamicObject) {
        self.planes.answered(kind, object);
    }

    /// Notes a workload as the answer to a write shows it.
    pub fn wrote_workload(&self, workload: Workload) {
        self.store.update(|facts| facts.workload_answered(workload));
    }

    /// Asks for cert-manager's objects to be looked at: an issuance has changed.
    pub fn announce_to_front_end(&self) {
        self.store.for_front_end.notify_one();
    }

    /// Asks for every issuance to be looked at.
    pub fn announce_change(&self) {
        self.store.announce_change();
    }

    /// What has changed since this was last asked.
    pub fn news(&self) -> News {
        self.store.news()
    }

    /// Watches or reads in turn what issuances need, and forgets all else.
    fn settle(&self, needs: &HashMap<String, Wanted>) {
        let shared = share(needs.values());
        let all = shared.watched.union(&shared.reread).cloned().collect();
        self.named.keep(&shared.watched);
        self.store.facts().keep_material(&all);
        self.named.start(shared.watched);
        self.reread.set(shared.reread);
    }

    /// What was read before it was known to hold a CA or anchors is read again for that. A watch or read that is already
    /// running fills in what is new.
    fn read_for_new_uses(&self, needs: &Needs) {
        let mut facts = self.store.facts();
        let mut new = Vec::new();
        if let Some(authority) = &needs.authority
            && !facts.ca_secrets.contains_key(authority)
        {
            let known = &mut facts.ca_secrets;
            known.insert(authority.clone(), Read::Absent);
            new.push(MaterialRef {
                kind: MaterialKind::Secret,
                object: authority.clone(),
            });
        }
        for entry in &needs.anchors {
            if !facts.seen.anchors.contains_key(entry) {
                facts.seen.anchors.insert(entry.clone(), Read::Absent);
                new.push(MaterialRef {
                    kind: MaterialKind::ConfigMap,
                    object: entry.0.clone(),
                });
            }
        }
        for material in new {
            if facts.seen.material.contains_key(&material) {
                facts.invalidate(&material);
                let reader = self.reader.clone();
                tokio::spawn(async move { reader.read(&material).await });
            }
        }
    }
}
