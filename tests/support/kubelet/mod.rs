//! Plays node and kubelet, for real where it counts.
//!
//! It binds each pod to its node, reads the pod's Secrets and ConfigMaps **once, when the pod starts**, writes them to
//! files, and runs OpenChoreo's gateway and agents (`tests/peers`) with those files; other pods merely become ready. A pod
//! whose Secret, ConfigMap or key is missing waits, and starts when it is there. A Service becomes a listener that forwards
//! to ready gateway pods, so that agents dial and verify the names that they would in a cluster. When a pod is deleted its
//! process ends, at once or slowly, and then the pod goes.
//!
//! A process that ends by itself is started again with the same files. [`Kubelet::restart`] restarts a container with what is
//! stored then, which may happen to any pod at any time.
//!
//! It needs a cluster without kubelets and scheduler of its own.

mod forward;
mod pod;
mod role;
mod stats;
mod status;
mod volumes;

pub use role::Role;
pub use stats::{AgentStats, GatewayStats, Stats};

use crate::background::{Tasks, handle};
use crate::scratch::Scratch;
use crate::wait::{PATIENCE, try_wait_for, wait_for};
use crate::{ControlPlane, Result, apply, built};
use forward::Forwarders;
use futures::StreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::reflector::{self, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use pod::PodState;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// How pods are run.
#[derive(Clone, Debug)]
pub struct KubeletOptions {
    /// Whose pods; empty: everybody's.
    pub namespaces: Vec<String>,
    /// The agents' pause between dials, instead of OpenChoreo's five seconds.
    pub agent_reconnect_delay: Duration,
    /// How often each agent opens and closes a further connection, to notice at any moment what would fail.
    pub probe_interval: Option<Duration>,
    /// Where host names lead that are no Services of this cluster: another's [`Kubelet::service_address`].
    pub hosts: BTreeMap<String, SocketAddr>,
    /// The gateways' kubeconfig, where it is not the administrator's.
    pub gateway_kubeconfig: Option<PathBuf>,
    /// Further arguments for gateways; they win.
    pub gateway_args: Vec<String>,
    /// Further arguments for agents; they win.
    pub agent_args: Vec<String>,
    /// Namespaces held from the start.
    pub hold: BTreeMap<String, Hold>,
    /// How long the processes of a namespace's pods go on once they are told to end: with the connections that they have,
    /// and out of every Service.
    pub end_takes: BTreeMap<String, Duration>,
    /// Whether controller-manager and openchoreo-api run, too: they call the gateway's internal API all the time, and serve
    /// the webhooks that the API server calls.
    pub managers: bool,
    /// How long what a manager has mounted may be behind what is stored; a kubelet takes up to a minute and a half.
    pub refresh_interval: Duration,
    /// Whether pods run OpenChoreo's programs. Without, a pod is ready when it has read its files: for hundreds of them.
    pub processes: bool,
}

impl Default for KubeletOptions {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            agent_reconnect_delay: Duration::from_millis(200),
            probe_interval: None,
            hosts: BTreeMap::new(),
            gateway_kubeconfig: None,
            gateway_args: Vec::new(),
            agent_args: Vec::new(),
            hold: BTreeMap::new(),
            end_takes: BTreeMap::new(),
            managers: false,
            refresh_interval: Duration::from_secs(1),
            processes: true,
        }
    }
}

/// Where a namespace's new pods get stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Before they read anything: an image that cannot be pulled, a full node.
    Start,
    /// Having read their files and started, but never ready.
    Ready,
}

type Holds = BTreeMap<String, Hold>;

/// What the harness says of a pod.
#[derive(Clone, Debug)]
pub struct PodView {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// What it runs.
    pub role: Role,
    /// Whether it is ready.
    pub ready: bool,
    /// Whether it is gone from the cluster.
    pub gone: bool,
    /// How many times its container has been started.
    pub starts: u32,
    /// Its log, and below `volumes-<n>` the files of its n-th mount.
    pub dir: PathBuf,
    /// The files that it has read: a directory for each volume, by the volume's name.
    pub volumes: PathBuf,
    /// A gateway's TLS port.
    pub port: Option<u16>,
}

/// The running harness; dropping it ends every process.
pub struct Kubelet {
    shared: Arc<Shared>,
    tasks: Tasks,
}

struct Shared {
    client: Client,
    options: KubeletOptions,
    gateway_kubeconfig: PathBuf,
    peers: PathBuf,
    node: String,
    holds: watch::Sender<Holds>,
    pods: Mutex<BTreeMap<String, Arc<PodState>>>,
    pod_tasks: Tasks,
    services: Store<Service>,
    forwarders: Forwarders,
    this: std::sync::Weak<Shared>,
    dir: Scratch,
}

impl Kubelet {
    /// Starts it for a control plane; returns when it watches.
    pub async fn start(cluster: &ControlPlane, options: KubeletOptions) -> Result<Self> {
        let peers = built::peers().await?;
        let config = cluster.admin_config().await;
        let client = {
            let _background = handle().enter();
            Client::try_from(config)?
        };
        let node = "node-1".to_owned();
        let (services, services_writer) = reflector::store();
        let shared = Arc::new_cyclic(|this| Shared {
            gateway_kubeconfig: options
                .gateway_kubeconfig
                .clone()
                .unwrap_or_else(|| cluster.admin_kubeconfig().to_owned()),
            holds: watch::Sender::new(options.hold.clone()),
            options,
            peers,
            node,
            pods: Mutex::default(),
            pod_tasks: Tasks::default(),
            services,
            forwarders: Forwarders::default(),
            this: this.clone(),
            dir: Scratch::new("kubelet").expect("a directory"),
            client,
        });
        let kubelet = Self {
            shared: shared.clone(),
            tasks: Tasks::default(),
        };
        forward::serve_api_server(&shared, &cluster.egress_socket())?;
        make_node(&cluster.admin().await, &shared.node).await?;
        let services = watcher(
            Api::<Service>::all(shared.client.clone()),
            watcher::Config::default(),
        );
        let services = services.default_backoff().reflect(services_writer);
        kubelet.tasks.spawn(services.for_each(async |_| {}));
        let (listed, mut has_listed) = watch::channel(false);
        kubelet.tasks.spawn(watch_pods(shared.clone(), listed));
        tokio::time::timeout(PATIENCE, has_listed.wait_for(|listed| *listed)).await??;
        tokio::time::timeout(PATIENCE, shared.services.wait_until_ready()).await??;
        Ok(kubelet)
    }

    /// Makes the pods that start in a namespace from now on get stuck before they read anything.
    pub fn hold(&self, namespace: &str) {
        self.hold_at(namespace, Hold::Start);
    }

    /// Makes them get stuck where one says.
    pub fn hold_at(&self, namespace: &str, stage: Hold) {
        self.shared.holds.send_modify(|holds| {
            holds.insert(namespace.to_owned(), stage);
        });
    }

    /// Undoes [`Kubelet::hold`]; the stuck pods go on.
    pub fn release(&self, namespace: &str) {
        self.shared.holds.send_modify(|holds| {
            holds.remove(namespace);
        });
    }

    /// The pods of a namespace that are there now.
    pub fn pods(&self, namespace: &str) -> Vec<PodView> {
        let mut pods = self.all_pods_ever();
        pods.retain(|pod| !pod.gone && pod.namespace == namespace);
        pods
    }

    /// All pods that have been, also those that are gone.
    pub fn all_pods_ever(&self) -> Vec<PodView> {
        let view = |pod: &Arc<PodState>| PodView {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            role: pod.role(),
            ready: pod.is_ready(),
            gone: pod.is_gone(),
            starts: pod.starts(),
            dir: pod.dir.clone(),
            volumes: pod.volumes(),
            port: pod.port_of(pod::GATEWAY_PORT),
        };
        self.shared.all_pods().iter().map(view).collect()
    }

    /// What a pod's process has printed; also when the pod is gone.
    pub fn log_of(&self, namespace: &str, name: &str) -> String {
        self.shared
            .find(namespace, name)
            .map(|pod| pod.log())
            .unwrap_or_default()
    }

    /// All agents' counters, up to 100 ms old while agents run; [`Kubelet::stop`] has the final ones.
    pub fn stats(&self) -> Stats {
        self.stats_of(Role::Agent)
    }

    /// The counters of all clients of gateways' internal APIs, likewise.
    pub fn internal_stats(&self) -> Stats {
        self.stats_of(Role::Manager)
    }

    fn stats_of(&self, role: Role) -> Stats {
        let mut all = Stats::default();
        for pod in self
            .shared
            .all_pods()
            .iter()
            .filter(|pod| pod.role() == role)
        {
            let processes = pod.agent_stats();
            processes.iter().for_each(|stats| all.add(stats));
            let Some(last) = processes.last() else {
                continue;
            };
            if !last.last_error.is_empty() {
                all.last_errors.insert(pod.key(), last.last_error.clone());
            }
            if !pod.is_gone() {
                all.connected
                    .insert(pod.key(), last.connected && pod.process().is_some());
            }
        }
        all
    }

    /// The gateways' counters by pod, of the last process of each; also of pods that are gone.
    pub async fn gateways(&self) -> BTreeMap<String, GatewayStats> {
        let mut all = BTreeMap::new();
        for pod in self
            .shared
            .all_pods()
            .iter()
            .filter(|pod| pod.role() == Role::Gateway)
        {
            all.insert(pod.key(), pod.gateway_stats().await);
        }
        all
    }

    /// Waits until exactly this many agents are there, and all of them are connected.
    pub async fn connected(&self, agents: usize) -> Stats {
        wait_for(
            &format!("{agents} agents to be connected"),
            PATIENCE,
            async || {
                let stats = self.stats();
                let all = stats.connected.len() == agents && stats.connected_agents() == agents;
                if all {
                    Ok(stats)
                } else {
                    Err(format!("{stats:#?}"))
                }
            },
        )
        .await
    }

    /// Ends a pod's process and starts it anew with the volumes as they are stored now; returns when it has started.
    pub async fn restart(&self, namespace: &str, name: &str) -> Result<()> {
        let pod = self
            .shared
            .find(namespace, name)
            .ok_or_else(|| format!("no pod {namespace}/{name}"))?;
        let starts = pod.starts();
        pod.ask_for_restart();
        let what = format!("pod {namespace}/{name} to restart");
        try_wait_for(&what, PATIENCE, async || {
            match pod.starts() > starts && pod.is_ready() {
                true => Ok(()),
                false => Err(format!(
                    "started {} times, ready: {}",
                    pod.starts(),
                    pod.is_ready()
                )),
            }
        })
        .await
        .map_err(Into::into)
    }

    /// The same without waiting: whatever the pod mounts may be away for now. A pod that is gone hears nothing.
    pub fn ask_for_restart(&self, namespace: &str, name: &str) {
        if let Some(pod) = self.shared.find(namespace, name) {
            pod.ask_for_restart();
        }
    }

    /// Kills a pod's process; it is started again with the files that it had.
    pub fn crash(&self, namespace: &str, name: &str) {
        let process = self
            .shared
            .find(namespace, name)
            .and_then(|pod| pod.process());
        process.expect("the pod runs a process").kill();
    }

    /// Where connections to a Service of this cluster go: for another cluster's [`KubeletOptions::hosts`].
    pub fn service_address(&self, namespace: &str, name: &str) -> SocketAddr {
        self.shared.service_address(namespace, name, None)
    }

    /// Ends every process in order, and returns what the agents have counted in all.
    pub async fn stop(self) -> Stats {
        self.tasks.abort();
        self.shared.pod_tasks.abort();
        // Agents first: what they see of the gateways' end is no news.
        for role in [Role::Agent, Role::Manager, Role::Gateway] {
            let pods = self.shared.all_pods();
            let processes: Vec<_> = pods
                .iter()
                .filter(|pod| pod.role() == role)
                .filter_map(|pod| pod.process())
                .collect();
            let end = processes
                .iter()
                .map(|process| process.terminate(Duration::from_secs(2)));
            futures::future::join_all(end).await;
        }
        self.stats()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.tasks.abort();
        self.shared.pod_tasks.abort();
        self.shared.forwarders.tasks.abort();
        for pod in self.shared.all_pods() {
            if let Some(process) = pod.process() {
                process.kill();
            }
        }
    }
}

impl Shared {
    fn all_pods(&self) -> Vec<Arc<PodState>> {
        self.pods.lock().unwrap().values().cloned().collect()
    }

    /// The pod of this name; of several that have been, the one that is there.
    fn find(&self, namespace: &str, name: &str) -> Option<Arc<PodState>> {
        let mut pods = self.all_pods();
        pods.retain(|pod| pod.namespace == namespace && pod.name == name);
        pods.sort_by_key(|pod| !pod.is_gone());
        pods.pop()
    }

    fn service_address(&self, namespace: &str, name: &str, port: Option<u16>) -> SocketAddr {
        let this = self.this.upgrade().expect("it is borrowed");
        self.forwarders.address(&this, namespace, name, port)
    }

    fn holds(&self, namespace: &str, stage: Hold) -> bool {
        self.holds.borrow().get(namespace) == Some(&stage)
    }

    fn end_takes(&self, namespace: &str) -> Duration {
        let takes = self.options.end_takes.get(namespace);
        takes.copied().unwrap_or_default()
    }

    fn is_mine(&self, pod: &Pod) -> bool {
        let namespaces = &self.options.namespaces;
        namespaces.is_empty()
            || pod
                .namespace()
                .is_some_and(|namespace| namespaces.contains(&namespace))
    }

    fn seen(self: &Arc<Self>, pod: Pod) {
        let Some(uid) = pod.uid().filter(|_| self.is_mine(&pod)) else {
            return;
        };
        let mut pods = self.pods.lock().unwrap();
        if let Some(known) = pods.get(&uid) {
            known.update(pod);
            return;
        }
        let dir = self.dir.path().join(format!(
            "{}-{}",
            pod.namespace().unwrap_or_default(),
            pod.name_any()
        ));
        let dir = if dir.exists() {
            self.dir.path().join(&uid)
        } else {
            dir
        };
        std::fs::create_dir_all(&dir).expect("a pod's directory");
        let state = Arc::new(PodState::new(pod, dir));
        pods.insert(uid, state.clone());
        self.pod_tasks.spawn(state.run(self.clone()));
    }
}

async fn watch_pods(shared: Arc<Shared>, listed: watch::Sender<bool>) {
    let api = Api::<Pod>::all(shared.client.clone());
    let mut events = watcher(api, watcher::Config::default())
        .default_backoff()
        .boxed();
    let mut initial = BTreeSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => initial.clear(),
            Ok(watcher::Event::InitApply(pod)) => {
                initial.extend(pod.uid());
                shared.seen(pod);
            }
            Ok(watcher::Event::InitDone) => {
                let pods = shared.all_pods();
                pods.iter()
                    .filter(|pod| !initial.contains(&pod.uid))
                    .for_each(|pod| pod.forgotten());
                listed.send_replace(true);
            }
            Ok(watcher::Event::Apply(pod)) => shared.seen(pod),
            Ok(watcher::Event::Delete(pod)) => {
                let known = pod
                    .uid()
                    .and_then(|uid| shared.pods.lock().unwrap().get(&uid).cloned());
                if let Some(known) = known {
                    known.forgotten();
                }
            }
            Err(_) => {} // the watcher comes back
        }
    }
}

async fn make_node(client: &Client, name: &str) -> Result<()> {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {
        "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "topology.kubernetes.io/zone": "zone-1",
    }}});
    apply::apply_documents(client, vec![node], apply::MANAGER).await?;
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    let resources = json!({"cpu": "64", "memory": "256Gi", "pods": "1000"});
    let status = json!({"status": {
        "capacity": resources,
        "allocatable": resources,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": name}],
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "played by the test bed",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
    }});
    let nodes: Api<Node> = Api::all(client.clone());
    nodes
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await?;
    Ok(())
}

/// Waits until a Deployment's rollout is complete, as `kubectl rollout status` does, and its old pods are gone.
pub async fn rolled_out(
    client: &Client,
    namespace: &str,
    name: &str,
    patience: Duration,
) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let what = format!("Deployment {namespace}/{name} to be rolled out");
    try_wait_for(&what, patience, async || {
        let deployment = deployments
            .get(name)
            .await
            .map_err(|error| error.to_string())?;
        let wanted = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let status = deployment.status.clone().unwrap_or_default();
        let seen = status.observed_generation >= deployment.metadata.generation;
        let counts = [
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
        ];
        let counts = counts.map(Option::unwrap_or_default);
        if !seen || counts.iter().any(|count| *count != wanted) {
            return Err(format!("wanted {wanted}; {status:?}"));
        }
        // The status does not count the pods that are on their way out.
        let labels = deployment
            .spec
            .and_then(|spec| spec.selector.match_labels)
            .unwrap_or_default();
        let selector: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let pods = pods
            .list(&ListParams::default().labels(&selector.join(",")))
            .await;
        match pods.map_err(|error| error.to_string())?.items.len() {
            count if count == wanted as usize => Ok(()),
            count => Err(format!("wanted {wanted}; there are {count} pods")),
        }
    })
    .await?;
    Ok(())
}
