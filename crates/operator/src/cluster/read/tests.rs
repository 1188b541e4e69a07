//! What the API server itself answers, it has.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef};
use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::json;

use super::Reader;
use crate::cluster::store::Store;

/// An API server whose Secret is of this version; 0: it has none.
fn reader(version: &Arc<AtomicU64>) -> Reader {
    let version = Arc::clone(version);
    let answer = move |_: Request<Body>| {
        let (code, body) = match version.load(Ordering::Relaxed) {
            0 => (
                404,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}),
            ),
            version => {
                let metadata =
                    json!({"name": "a", "namespace": "ns", "resourceVersion": version.to_string()});
                (200, json!({"metadata": metadata}))
            }
        };
        let answer = Response::builder().status(code);
        let body = Body::from(body.to_string().into_bytes());
        async move { Ok::<_, Infallible>(answer.body(body).unwrap()) }
    };
    Reader {
        client: Client::new(tower::service_fn(answer), "ns"),
        store: Store::new().0,
    }
}

/// etcd was restored, or a deletion was told that the API server knows nothing of: versions are what they were before.
#[tokio::test]
async fn a_get_that_finds_an_object_wins_over_whatever_was_told_before() {
    let key = MaterialRef {
        kind: MaterialKind::Secret,
        object: ObjectRef::new("ns", "a"),
    };
    let version = Arc::new(AtomicU64::new(100));
    let reader = reader(&version);
    reader.read(&key).await;
    for (deleted, now) in [(None, 50), (Some("90"), 20), (Some("80"), 30)] {
        if let Some(deleted) = deleted {
            reader
                .store
                .update(|facts| facts.material_deleted(&key, Some(deleted)));
        }
        version.store(now, Ordering::Relaxed);
        reader.read(&key).await;
        let known = reader.store.known_version(&key);
        assert_eq!(known, Some(now.to_string()), "deleted in {deleted:?}");
    }
    version.store(0, Ordering::Relaxed);
    reader.read(&key).await;
    assert_eq!(reader.store.known_version(&key), None);
}
