//! Watches that stand and tell nothing hide nothing that matters most.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use external_ca_api::ExternalCAIssuance;
use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef};
use external_ca_core::snapshot::{Needs, Scope};
use http::{Request, Response};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use serde_json::json;

use crate::cluster::Cluster;

const LEAF: &str = "cluster-gateway-tls";

/// An API server that has every Secret and ConfigMap, in one version; no watch of it ever tells anything.
#[derive(Clone)]
struct Server {
    version: Arc<AtomicU64>,
    reads: Arc<AtomicUsize>,
}

impl Server {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let uri = request.uri();
        if uri.query().is_some_and(|query| query.contains("watch=")) {
            std::future::pending::<()>().await;
        }
        let version = self.version.load(Ordering::Relaxed).to_string();
        let object = |name: &str| json!({"metadata": {"name": name, "namespace": "ns", "resourceVersion": version}});
        let body = match uri.path().rsplit_once('/') {
            Some((_, "secrets" | "configmaps")) => {
                let query = uri.query().unwrap_or_default();
                let name = query.split("metadata.name%3D").nth(1).unwrap_or_default();
                let name = name.split('&').next().unwrap_or_default();
                json!({"metadata": {"resourceVersion": version}, "items": [object(name)]})
            }
            Some((path, name)) if path.contains("/namespaces/ns/") => {
                self.reads.fetch_add(1, Ordering::Relaxed);
                object(name)
            }
            _ => json!({"items": [], "metadata": {"resourceVersion": version}}),
        };
        Ok(Response::new(Body::from(body.to_string().into_bytes())))
    }
}

fn secret(name: &str) -> MaterialRef {
    MaterialRef {
        kind: MaterialKind::Secret,
        object: ObjectRef::new("ns", name),
    }
}

fn issuance(anchor: &str, renewal: Timestamp) -> ExternalCAIssuance {
    let anchors =
        json!([{"subject": "CN=a", "fingerprint": "00", "state": anchor, "notAfter": renewal}]);
    let object = json!({
        "metadata": {"name": "a", "namespace": "ns"},
        "spec": {"issuer": {"caSecret": {"name": "ca"}}},
        "status": {
            "trust": {"anchors": anchors},
            "certificates": [
                {"target": format!("ns/{LEAF}"), "commonName": "a", "state": "Ready", "renewalTime": renewal},
            ],
        },
    });
    serde_json::from_value(object).unwrap()
}

/// Has every object change while every watch is silent, and returns once the operator knows these of them anew, and the
/// others for a while not. Minutes are of 60 ms.
async fn notices(issuance: &ExternalCAIssuance, expected: [bool; 3]) -> (Duration, usize) {
    let server = Server {
        version: Arc::new(AtomicU64::new(5)),
        reads: Arc::default(),
    };
    let answering = server.clone();
    let service = tower::service_fn(move |request| answering.clone().answer(request));
    let (cluster, _changes) = Cluster::new(Client::new(service, "ns"));
    cluster.start(&BTreeSet::new(), None, Timestamp::now);
    let served = Arc::new(["ns".to_owned()].into());
    let scope = Scope {
        served,
        ..Scope::default()
    };
    let needs = Needs::of(issuance, Vec::new(), &BTreeSet::new(), &scope);
    cluster.want("ns/a", &needs, needs.vital(issuance));
    let bundle = MaterialRef {
        kind: MaterialKind::ConfigMap,
        ..secret("cluster-gateway-ca")
    };
    let looked_at = [secret("ca"), secret(LEAF), bundle];
    let known = |version: &str| {
        let known = looked_at
            .each_ref()
            .map(|one| cluster.store.known_version(one));
        known.map(|known| known.as_deref() == Some(version))
    };
    let until = async |version: &str, expected: [bool; 3]| {
        let started = Instant::now();
        while known(version) != expected {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "{:?}",
                known(version)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    until("5", [true; 3]).await;
    let started = Instant::now();
    server.reads.store(0, Ordering::Relaxed);
    server.version.store(9, Ordering::Relaxed);
    until("9", expected).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(known("9"), expected);
    (started.elapsed(), server.reads.load(Ordering::Relaxed))
}

#[tokio::test]
async fn silent_watches_hide_neither_the_ca_nor_what_is_about_to_change() {
    let minutes = |count: i64| Timestamp::now() + SignedDuration::from_mins(count);
    let at_rest = issuance("Active", minutes(600));
    let (time, reads) = notices(&at_rest, [true, false, false]).await;
    let most = time.as_millis() / 60 + 1;
    assert!(
        reads as u128 <= most,
        "one a minute at rest: {reads} in {time:?}"
    );
    notices(&issuance("Active", minutes(5)), [true, true, false]).await;
    notices(&issuance("Retiring", minutes(600)), [true; 3]).await;
}
