//! One pod's life, from its binding to its end.

use super::role::{
    GATEWAY_CA, GATEWAY_CLIENT, Role, WEBHOOK_CERTIFICATE, arguments, mounts, role, service_of,
    split_url, value,
};
use super::stats::{AgentStats, GatewayStats};
use super::status::{Containers, status};
use super::{Hold, Shared, volumes};
use crate::http;
use crate::process::{Process, Program};
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// The gateway's port where its arguments name none.
pub(super) const GATEWAY_PORT: u16 = 8443;
/// Where controller-runtime serves webhooks.
const WEBHOOK_PORT: u16 = 9443;
/// How often the gateway's internal API is called by each of its clients.
const CALL_INTERVAL: Duration = Duration::from_millis(50);

/// A pod, as the harness knows it; kept when the pod is gone.
pub(super) struct PodState {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) dir: PathBuf,
    // Nothing once the API server has forgotten it.
    latest: watch::Sender<Option<Arc<Pod>>>,
    object: Mutex<Arc<Pod>>,
    ready: AtomicBool,
    // Where its containers' ports are on this machine.
    ports: Mutex<HashMap<u16, u16>>,
    health_port: Mutex<Option<u16>>,
    process: Mutex<Option<Arc<Process>>>,
    containers: Mutex<Containers>,
    // How many times the container has been started, and its volumes been mounted.
    starts: AtomicU32,
    mounts: AtomicU32,
    // Requests to restart, and those that have been followed.
    restarts_asked: AtomicU64,
    restart: Notify,
    gateway: Mutex<GatewayStats>,
}

impl PodState {
    pub(super) fn new(pod: Pod, dir: PathBuf) -> Self {
        let pod = Arc::new(pod);
        Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            dir,
            latest: watch::Sender::new(Some(pod.clone())),
            object: Mutex::new(pod),
            ready: AtomicBool::new(false),
            ports: Mutex::default(),
            health_port: Mutex::default(),
            process: Mutex::default(),
            containers: Mutex::default(),
            starts: AtomicU32::new(0),
            mounts: AtomicU32::new(0),
            restarts_asked: AtomicU64::new(0),
            restart: Notify::new(),
            gateway: Mutex::default(),
        }
    }

    pub(super) fn update(&self, pod: Pod) {
        let pod = Arc::new(pod);
        *self.object.lock().unwrap() = pod.clone();
        self.latest.send_replace(Some(pod));
    }

    pub(super) fn forgotten(&self) {
        self.latest.send_replace(None);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.latest.borrow().is_none()
    }

    pub(super) fn object(&self) -> Arc<Pod> {
        self.object.lock().unwrap().clone()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// Where the port of a container is on this machine.
    pub(super) fn port_of(&self, port: u16) -> Option<u16> {
        self.ports.lock().unwrap().get(&port).copied()
    }

    /// Takes a port of this machine for a container's.
    fn listen_at(&self, port: Option<&str>, otherwise: u16) -> u16 {
        let port = port.and_then(|port| port.parse().ok());
        let free = crate::ports::free();
        let mut ports = self.ports.lock().unwrap();
        ports.insert(port.unwrap_or(otherwise), free);
        free
    }

    pub(super) fn role(&self) -> Role {
        role(&self.object()).0
    }

    pub(super) fn starts(&self) -> u32 {
        self.starts.load(Ordering::SeqCst)
    }

    pub(super) fn process(&self) -> Option<Arc<Process>> {
        self.process.lock().unwrap().clone()
    }

    fn containers(&self) -> MutexGuard<'_, Containers> {
        self.containers.lock().unwrap()
    }

    pub(super) fn log(&self) -> String {
        std::fs::read(self.dir.join("log"))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The counters of each process that has run here.
    pub(super) fn agent_stats(&self) -> Vec<AgentStats> {
        (0..self.starts())
            .filter_map(|n| AgentStats::read(&self.stats_file(n)))
            .collect()
    }

    /// The counters of the gateway that runs here, or of the last that did.
    pub(super) async fn gateway_stats(&self) -> GatewayStats {
        let port = *self.health_port.lock().unwrap();
        if let (Some(port), true) = (port, self.process().is_some())
            && let Ok((200, text)) = http::get(port, "/stats").await
            && let Ok(stats) = serde_json::from_str(&text)
        {
            *self.gateway.lock().unwrap() = stats;
        }
        self.gateway.lock().unwrap().clone()
    }

    /// The files that the container has now.
    pub(super) fn volumes(&self) -> PathBuf {
        self.dir
            .join(format!("volumes-{}", self.mounts.load(Ordering::SeqCst)))
    }

    pub(super) fn ask_for_restart(&self) -> u64 {
        let number = self.restarts_asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.restart.notify_one();
        number
    }

    fn stats_file(&self, start: u32) -> PathBuf {
        self.dir.join(format!("stats-{start}.json"))
    }

    /// Runs the pod until it is gone.
    pub(super) async fn run(self: Arc<Self>, shared: Arc<Shared>) {
        let mut latest = self.latest.subscribe();
        let ended = |pod: &Option<Arc<Pod>>| {
            pod.as_ref()
                .is_none_or(|pod| pod.metadata.deletion_timestamp.is_some())
        };
        tokio::select! {
            () = self.live(&shared) => {}
            _ = latest.wait_for(ended) => {}
        }
        self.stop(&shared).await;
    }

    async fn live(&self, shared: &Shared) {
        self.bind(shared).await;
        self.pass(shared, Hold::Start).await;
        self.mount(shared).await;
        let mut crashes = 0;
        loop {
            let asked = self.restarts_asked.load(Ordering::SeqCst);
            self.start(shared);
            self.containers().start();
            if self.is_probed() || shared.holds(&self.namespace, Hold::Ready) {
                // It runs for a while before it is ready.
                self.persist(|| self.report(shared)).await;
            }
            if self.becomes_ready().await {
                self.pass(shared, Hold::Ready).await;
                self.set_ready(shared, true).await;
            }
            let process = self.process();
            let crashed = async {
                match &process {
                    Some(process) => drop(process.exited().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.refresh(shared) => {}
                () = crashed => {
                    self.containers().fall(exit_code(process.as_deref()));
                    // As it was: a kubelet would have brought the files up to date by and by, or not.
                    self.set_ready(shared, false).await;
                    crashes += 1;
                    sleep(Duration::from_millis(100) * crashes.min(20)).await;
                }
                () = self.restart_asked(asked) => {
                    if let Some(process) = &process {
                        self.gateway_stats().await;
                        process.terminate(Duration::from_secs(2)).await;
                    }
                    self.containers().fall(0);
                    self.set_ready(shared, false).await;
                    self.mount(shared).await;
                }
            }
        }
    }

    /// Brings the files up to date by and by, as a kubelet does, where something reads them anew.
    async fn refresh(&self, shared: &Shared) {
        if self.role() != Role::Manager || self.process().is_none() {
            return std::future::pending().await;
        }
        loop {
            sleep(shared.options.refresh_interval).await;
            // What is away now stays as it was.
            let _ = volumes::mount(&shared.client, &self.object(), &self.volumes()).await;
        }
    }

    async fn restart_asked(&self, before: u64) {
        while self.restarts_asked.load(Ordering::SeqCst) == before {
            self.restart.notified().await;
        }
    }

    async fn bind(&self, shared: &Shared) {
        if self
            .object()
            .spec
            .as_ref()
            .is_some_and(|spec| spec.node_name.is_some())
        {
            return;
        }
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": shared.node},
        });
        self.persist(|| async {
            let api = self.api(&shared.client);
            let bound: kube::Result<Value> = api
                .create_subresource("binding", &self.name, &PostParams::default(), &binding)
                .await;
            bound.map(drop)
        })
        .await;
    }

    /// Waits until the namespace is not held at this stage.
    async fn pass(&self, shared: &Shared, stage: Hold) {
        let mut holds = shared.holds.subscribe();
        let held = |holds: &super::Holds| holds.get(&self.namespace) == Some(&stage);
        if held(&holds.borrow_and_update()) {
            if stage == Hold::Start {
                self.containers().wait_for("held by the test");
            }
            let _ = self.report(shared).await;
        }
        let _ = holds.wait_for(|holds| !held(holds)).await;
    }

    /// Mounts the volumes, as soon as everything is there that they need.
    async fn mount(&self, shared: &Shared) {
        let next = self.dir.join(format!(
            "volumes-{}",
            self.mounts.load(Ordering::SeqCst) + 1
        ));
        let mut said = String::new();
        loop {
            match volumes::mount(&shared.client, &self.object(), &next).await {
                Ok(()) => break,
                Err(missing) => {
                    if missing != said {
                        self.containers().wait_for(&missing);
                        let _ = self.report(shared).await;
                        said = missing;
                    }
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        self.mounts.fetch_add(1, Ordering::SeqCst);
    }

    /// Starts the container's process, if it has one.
    fn start(&self, shared: &Shared) {
        let pod = self.object();
        let start = self.starts.fetch_add(1, Ordering::SeqCst);
        let (role, container) = role(&pod);
        let runs = shared.options.processes && (role != Role::Manager || shared.options.managers);
        let Some(container) = container.filter(|_| runs) else {
            return;
        };
        let files = arguments(&pod, container, &self.volumes());
        // A flag that is given twice has its last value.
        let (command, more) = match role {
            Role::Gateway => ("gateway", self.gateway_arguments(shared, container)),
            Role::Agent => ("agent", self.agent_arguments(shared, container, start)),
            Role::Manager => ("manager", self.manager_arguments(shared, container, start)),
            Role::Other => return,
        };
        let args = [command.to_owned()].into_iter().chain(files).chain(more);
        let process = Program::new(&shared.peers)
            .args(args)
            .start(&self.name, &self.dir.join("log"));
        *self.process.lock().unwrap() = Some(Arc::new(process.expect("peers starts")));
    }

    fn health_argument(&self) -> String {
        let health = crate::ports::free();
        *self.health_port.lock().unwrap() = Some(health);
        format!("--health-port={health}")
    }

    fn gateway_arguments(&self, shared: &Shared, container: &Container) -> Vec<String> {
        let port = self.listen_at(value(container, "--port"), GATEWAY_PORT);
        let mut args = vec![
            format!("--port={port}"),
            self.health_argument(),
            format!("--kubeconfig={}", shared.gateway_kubeconfig.display()),
        ];
        if let Some(internal) = value(container, "--internal-port") {
            let port = self.listen_at(Some(internal), GATEWAY_PORT);
            args.push(format!("--internal-port={port}"));
        }
        args.extend(shared.options.gateway_args.iter().cloned());
        args
    }

    fn agent_arguments(&self, shared: &Shared, container: &Container, start: u32) -> Vec<String> {
        let url = value(container, "--server-url").unwrap_or_default();
        let mut args = Vec::new();
        args.extend(dial(shared, "--server-url", url).into_iter().flatten());
        args.push(format!(
            "--reconnect-delay={}ms",
            shared.options.agent_reconnect_delay.as_millis()
        ));
        let probe = shared.options.probe_interval.unwrap_or_default();
        args.push(format!("--probe-interval={}ms", probe.as_millis()));
        args.push(format!("--stats-file={}", self.stats_file(start).display()));
        args.extend(shared.options.agent_args.iter().cloned());
        args
    }

    fn manager_arguments(&self, shared: &Shared, container: &Container, start: u32) -> Vec<String> {
        let pod = self.object();
        let volumes = self.volumes();
        let file = |dir: &str, name: &str| {
            let path = format!("{dir}/{name}");
            let found = volumes::locate(&pod, &container.name, &path, &volumes);
            found.unwrap_or_default().display().to_string()
        };
        let mut args = vec![
            self.health_argument(),
            format!("--stats-file={}", self.stats_file(start).display()),
            format!("--call-interval={}ms", CALL_INTERVAL.as_millis()),
        ];
        if mounts(container, WEBHOOK_CERTIFICATE) {
            let port = self.listen_at(None, WEBHOOK_PORT);
            args.push(format!("--webhook-port={port}"));
            args.push(format!(
                "--webhook-cert-dir={}",
                file(WEBHOOK_CERTIFICATE, "")
            ));
        }
        if mounts(container, GATEWAY_CLIENT) {
            // openchoreo-api has all of it from a file of its own.
            for (flag, name) in [("cert", "tls.crt"), ("key", "tls.key")] {
                let path = file(GATEWAY_CLIENT, name);
                args.push(format!("--cluster-gateway-client-{flag}={path}"));
            }
        }
        if mounts(container, GATEWAY_CA) {
            let url = format!(
                "https://cluster-gateway.{}.svc.cluster.local:8444",
                self.namespace
            );
            let url = value(container, "--cluster-gateway-url").unwrap_or(&url);
            let ca = file(GATEWAY_CA, "ca.crt");
            args.push(format!("--cluster-gateway-ca-cert={ca}"));
            args.extend(
                dial(shared, "--cluster-gateway-url", url)
                    .into_iter()
                    .flatten(),
            );
        }
        args
    }

    /// Whether it is asked if it is ready.
    fn is_probed(&self) -> bool {
        matches!(self.role(), Role::Gateway | Role::Manager)
    }

    /// Waits until the container may count as ready: a gateway or manager when it answers, anything else when it has started. False
    /// where it ended before.
    async fn becomes_ready(&self) -> bool {
        let Some(process) = self.process().filter(|_| self.is_probed()) else {
            return true;
        };
        let port = self.health_port.lock().unwrap().unwrap_or_default();
        while process.exit_status().is_none() {
            if matches!(http::get(port, "/health").await, Ok((200, _))) {
                return true;
            }
            sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn set_ready(&self, shared: &Shared, ready: bool) {
        self.ready.store(ready, Ordering::SeqCst);
        self.persist(|| self.report(shared)).await;
    }

    /// Writes the pod's status.
    async fn report(&self, shared: &Shared) -> kube::Result<()> {
        let containers = self.containers().clone();
        let (ready, starts) = (self.is_ready(), self.starts());
        let status = status(&self.object(), &containers, ready, starts);
        let patch = Patch::Merge(json!({ "status": status }));
        self.api(&shared.client)
            .patch_status(&self.name, &PatchParams::default(), &patch)
            .await
            .map(drop)
    }

    /// Ends the containers, and then the pod. The API server shows it until then.
    async fn stop(&self, shared: &Shared) {
        // No new connections first, as endpoints do it.
        self.ready.store(false, Ordering::SeqCst);
        if self.starts() > 0 {
            let mut latest = self.latest.subscribe();
            tokio::select! {
                () = sleep(shared.end_takes(&self.namespace)) => {}
                // Deleted by force.
                _ = latest.wait_for(Option::is_none) => {}
            }
        }
        if let Some(process) = self.process() {
            if self.role() == Role::Gateway {
                self.gateway_stats().await;
            }
            process.terminate(Duration::from_secs(2)).await;
            *self.process.lock().unwrap() = None;
        }
        if self.starts() > 0 {
            self.containers().end(0);
            self.persist(|| self.report(shared)).await;
        }
        let preconditions = Preconditions {
            uid: Some(self.uid.clone()),
            resource_version: None,
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default().grace_period(0)
        };
        self.persist(|| async {
            self.api(&shared.client)
                .delete(&self.name, &params)
                .await
                .map(drop)
        })
        .await;
    }

    /// Repeats a call until it succeeds, or cannot any more because the pod is gone or another's.
    async fn persist<F: Future<Output = kube::Result<()>>>(&self, call: impl Fn() -> F) {
        while let Err(error) = call().await {
            if matches!(&error, kube::Error::Api(status) if status.is_not_found() || status.is_conflict())
                || self.is_gone()
            {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn api(&self, client: &Client) -> Api<Pod> {
        Api::namespaced(client.clone(), &self.namespace)
    }
}

/// The arguments that lead to a URL: to its address on this machine, by its own name.
fn dial(shared: &Shared, flag: &str, url: &str) -> Option<[String; 2]> {
    let (scheme, host, port, path) = split_url(url)?;
    let known = shared.options.hosts.get(host).copied();
    let service = || {
        let (name, namespace) = service_of(host)?;
        Some(shared.service_address(namespace, name, port.parse().ok()))
    };
    // Nobody listens on port 1: a name that does not resolve.
    let address = known
        .or_else(service)
        .map_or("127.0.0.1:1".to_owned(), |address| address.to_string());
    let literal = host.parse::<std::net::IpAddr>().is_ok();
    let address = if literal && known.is_none() {
        format!("{host}:{port}")
    } else {
        address
    };
    Some([
        format!("{flag}={scheme}://{address}{path}"),
        format!("--server-name={host}"),
    ])
}

fn exit_code(process: Option<&Process>) -> i32 {
    let status = process.and_then(Process::exit_status);
    // Killed by a signal.
    status.map_or(0, |status| status.code().unwrap_or(137))
}
