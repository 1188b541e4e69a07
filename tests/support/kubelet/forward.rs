//! Services: a listener for each port, which forwards connections to the ready pods that its selector matches, one after the
//! other. With no such pod it closes the connection. The API server reaches Services through a socket of its own, as it
//! reaches webhooks through konnectivity elsewhere.

use super::Shared;
use crate::background::Tasks;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Namespace, name and port of a Service.
type Target = (String, String, Option<u16>);

#[derive(Default)]
pub(super) struct Forwarders {
    known: Mutex<HashMap<Target, SocketAddr>>,
    pub(super) tasks: Tasks,
}

impl Forwarders {
    /// Where connections to a port of a Service go, to its first where none is named; the same address each time.
    pub(super) fn address(
        &self,
        shared: &Arc<Shared>,
        namespace: &str,
        name: &str,
        port: Option<u16>,
    ) -> SocketAddr {
        let mut known = self.known.lock().unwrap();
        let address = known.entry((namespace.to_owned(), name.to_owned(), port));
        *address.or_insert_with(|| {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port");
            listener
                .set_nonblocking(true)
                .expect("a non-blocking listener");
            let address = listener.local_addr().expect("an address");
            let (shared, service) = (
                Arc::downgrade(shared),
                ObjectRef::new(name).within(namespace),
            );
            self.tasks.spawn(async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                let connections = Tasks::default();
                let mut turn = 0;
                while let Ok((client, _)) = listener.accept().await {
                    turn += 1;
                    let service = shared
                        .upgrade()
                        .and_then(|shared| shared.services.get(&service));
                    let backend =
                        service.and_then(|service| backend(&shared, &service, port, turn));
                    if let Some(backend) = backend {
                        connections.spawn(connect(client, backend));
                    }
                }
            });
            address
        })
    }
}

/// The address on this machine of a ready pod behind a Service's port.
fn backend(
    shared: &Weak<Shared>,
    service: &Service,
    port: Option<u16>,
    turn: usize,
) -> Option<u16> {
    let shared = shared.upgrade()?;
    let spec = service.spec.as_ref()?;
    let selector = spec.selector.as_ref()?;
    let namespace = service.namespace()?;
    let mut ports = spec.ports.iter().flatten();
    let port = ports.find(|one| port.is_none_or(|port| one.port == i32::from(port)))?;
    let target = port.target_port.clone();
    let target = target.unwrap_or(IntOrString::Int(port.port));
    let ports: Vec<u16> = shared
        .all_pods()
        .iter()
        .filter(|pod| pod.namespace == namespace && pod.is_ready())
        .filter_map(|pod| {
            let object = pod.object();
            let selected = selector
                .iter()
                .all(|(key, value)| object.labels().get(key) == Some(value));
            selected.then(|| pod.port_of(container_port(&object, &target)?))?
        })
        .collect();
    ports.get(turn.checked_rem(ports.len())?).copied()
}

fn container_port(pod: &Pod, target: &IntOrString) -> Option<u16> {
    let port = match target {
        IntOrString::Int(port) => *port,
        IntOrString::String(name) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
            let named = ports.find(|port| port.name.as_ref() == Some(name))?;
            named.container_port
        }
    };
    port.try_into().ok()
}

/// Takes the API server's connections to Services, which it asks for by their address (`CONNECT`).
pub(super) fn serve_api_server(shared: &Arc<Shared>, socket: &Path) -> std::io::Result<()> {
    let _ = std::fs::remove_file(socket); // of an earlier kubelet of this cluster
    let listener = std::os::unix::net::UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    let this = Arc::downgrade(shared);
    shared.forwarders.tasks.spawn(async move {
        let listener = UnixListener::from_std(listener).expect("a listener");
        let connections = Tasks::default();
        while let Ok((client, _)) = listener.accept().await {
            let this = this.clone();
            connections.spawn(async move {
                let _ = tunnel(&this, client).await;
            });
        }
    });
    Ok(())
}

async fn tunnel(shared: &Weak<Shared>, client: UnixStream) -> std::io::Result<()> {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let mut client = BufReader::new(client);
    let (mut head, mut line) = (String::new(), String::new());
    while client.read_line(&mut line).await? > 0 && line != "\r\n" {
        head.push_str(&std::mem::take(&mut line));
    }
    let wanted = head.split_whitespace().nth(1).unwrap_or_default();
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let Some(port) = behind(shared, wanted, turn) else {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        return client.write_all(answer.as_bytes()).await;
    };
    let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
    server.set_nodelay(true)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// A pod behind `<a Service's address>:<its port>`.
fn behind(shared: &Weak<Shared>, wanted: &str, turn: usize) -> Option<u16> {
    let (address, port) = wanted.rsplit_once(':')?;
    let services = shared.upgrade()?.services.state();
    let at = |service: &Service| service.spec.as_ref()?.cluster_ip.clone();
    let service = services
        .iter()
        .find(|service| at(service).as_deref() == Some(address))?;
    backend(shared, service, port.parse().ok(), turn)
}

async fn connect(mut client: TcpStream, port: u16) {
    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
