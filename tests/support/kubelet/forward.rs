//! Services: a listener for each, which forwards connections to the ready pods that its selector matches, one after the
//! other. With no such pod it closes the connection.

use super::Shared;
use crate::background::Tasks;
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
pub(super) struct Forwarders {
    known: Mutex<HashMap<(String, String), SocketAddr>>,
    pub(super) tasks: Tasks,
}

impl Forwarders {
    /// Where connections to a Service go; the same address each time.
    pub(super) fn address(&self, shared: &Arc<Shared>, namespace: &str, name: &str) -> SocketAddr {
        let mut known = self.known.lock().unwrap();
        let address = known.entry((namespace.to_owned(), name.to_owned()));
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
                    if let Some(backend) = backend(&shared, &service, turn) {
                        connections.spawn(connect(client, backend));
                    }
                }
            });
            address
        })
    }
}

fn backend(
    shared: &Weak<Shared>,
    service: &ObjectRef<k8s_openapi::api::core::v1::Service>,
    turn: usize,
) -> Option<u16> {
    let shared = shared.upgrade()?;
    let service = shared.services.get(service)?;
    let selector = service.spec.as_ref()?.selector.as_ref()?;
    let namespace = service.namespace()?;
    let ports: Vec<u16> = shared
        .all_pods()
        .iter()
        .filter(|pod| pod.namespace == namespace && pod.is_ready())
        .filter(|pod| {
            let object = pod.object();
            selector
                .iter()
                .all(|(key, value)| object.labels().get(key) == Some(value))
        })
        .filter_map(|pod| pod.port())
        .collect();
    ports.get(turn.checked_rem(ports.len())?).copied()
}

async fn connect(mut client: TcpStream, port: u16) {
    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}
