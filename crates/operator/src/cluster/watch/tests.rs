//! A watch that cannot be begun is told, and one that cannot go on begins anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use external_ca_core::model::{ListRef, WorkloadKind};
use http::{Request, Response};
use jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::cluster::Cluster;

/// An API server with one Deployment in its first list, and none in later ones.
#[derive(Clone, Default)]
struct Server {
    /// How a watch is answered: 410 once; 0 is a watch that stands and tells nothing.
    watch: Arc<AtomicU16>,
    lists: Arc<AtomicUsize>,
}

impl Server {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let uri = request.uri();
        let status = |code: u16| {
            let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "message": "deployments.apps is forbidden: User \"x\" cannot watch resource \"deployments\""});
            (code, body)
        };
        let is_ours = uri.path().ends_with("/namespaces/ns/deployments");
        let is_watch = uri.query().is_some_and(|query| query.contains("watch="));
        let (code, body) = match (is_ours, is_watch) {
            (false, _) => status(404),
            (true, true) => match self.watch.load(Ordering::Relaxed) {
                0 => std::future::pending().await,
                410 => status(self.watch.swap(0, Ordering::Relaxed)),
                code => status(code),
            },
            (true, false) => {
                let first = self.lists.fetch_add(1, Ordering::Relaxed) == 0;
                let items = if first {
                    vec![deployment()]
                } else {
                    Vec::new()
                };
                let list = json!({"metadata": {"resourceVersion": "9"}, "items": items});
                (200, list)
            }
        };
        let answer = Response::builder().status(code);
        Ok(answer
            .body(Body::from(body.to_string().into_bytes()))
            .unwrap())
    }

    fn cluster(&self) -> (Arc<Cluster>, mpsc::Receiver<()>) {
        let server = self.clone();
        let service = tower::service_fn(move |request| server.clone().answer(request));
        let (cluster, changes) = Cluster::new(Client::new(service, "ns"));
        cluster.start(&["ns".to_owned()].into(), None, Timestamp::now);
        (cluster, changes)
    }
}

fn deployment() -> Value {
    json!({"metadata": {"name": "agent", "namespace": "ns", "resourceVersion": "7"},
    "spec": {"selector": {}, "template": {"spec": {"containers": [], "volumes": [
        {"name": "tls", "secret": {"secretName": "cluster-agent-tls"}},
    ]}}}})
}

fn list() -> ListRef {
    ListRef::workloads(WorkloadKind::Deployment, "ns")
}

/// Why the list is not known, where it is not.
fn unread(cluster: &Cluster) -> Option<String> {
    let facts = cluster.store.facts();
    let awaited = facts
        .seen
        .awaited
        .contains(&list())
        .then(|| "awaited".to_owned());
    facts.seen.unreadable.get(&list()).cloned().or(awaited)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(10), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_list_that_may_be_read_and_not_watched_is_told_until_it_may() {
    let server = Server::default();
    server.watch.store(403, Ordering::Relaxed);
    let (cluster, _changes) = server.cluster();
    let is_told = || unread(&cluster).is_some_and(|why| why.contains("cannot watch resource"));
    until("it is told", is_told).await;
    // Neither a list nor time makes it well.
    let lists = server.lists.load(Ordering::Relaxed);
    until("it is listed again", || {
        server.lists.load(Ordering::Relaxed) > lists + 1
    })
    .await;
    for _ in 0..50 {
        assert!(is_told(), "{:?}", unread(&cluster));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.watch.store(0, Ordering::Relaxed);
    until("it is well again", || unread(&cluster).is_none()).await;
}

#[tokio::test]
async fn a_watch_from_a_version_that_is_gone_begins_with_a_new_list() {
    let server = Server::default();
    server.watch.store(410, Ordering::Relaxed);
    let (cluster, _changes) = server.cluster();
    let known = || cluster.store.facts().seen.workloads.len();
    until("the first list", || known() == 1).await;
    until("another list", || known() == 0).await;
    until("it is well", || unread(&cluster).is_none()).await;
    assert_eq!(server.lists.load(Ordering::Relaxed), 2);
}
