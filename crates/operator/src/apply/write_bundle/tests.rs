//! A bundle is made where the API server itself says that there is none.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use external_ca_api::ExternalCAIssuance;
use external_ca_core::domain::BundlePlace;
use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef};
use external_ca_core::plan::WriteBundle;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::carry_out;
use crate::cluster::Cluster;
use crate::declaration::Declaration;
use crate::error::Error;

fn bundle() -> Value {
    json!({"metadata": {"name": "cluster-gateway-ca", "namespace": "ns", "resourceVersion": "12"},
        "data": {"ca.crt": "of somebody else"}})
}

/// Writes a bundle that the plan takes to be absent, as a late deletion was told, where the API server answers a GET with this. Returns what came of it,
/// and how it was asked.
async fn written(code: u16, found: Value) -> (Result<(), Error>, Vec<Method>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let answer = move |request: Request<Body>| {
        let method = request.method().clone();
        let (code, body) = match method {
            Method::GET => (code, found.clone()),
            _ => (200, bundle()),
        };
        log.lock().unwrap().push(method);
        let answer = Response::builder().status(code);
        let body = Body::from(body.to_string().into_bytes());
        async move { Ok::<_, Infallible>(answer.body(body).unwrap()) }
    };
    let (cluster, _changes) = Cluster::new(Client::new(tower::service_fn(answer), "ns"));
    let object = ObjectRef::new("ns", "cluster-gateway-ca");
    let issuance = serde_json::from_value::<ExternalCAIssuance>(json!({
        "metadata": {"name": "a", "namespace": "ns"},
        "spec": {"issuer": {"caSecret": {"name": "ca"}}},
    }));
    let step = WriteBundle {
        target: MaterialRef {
            kind: MaterialKind::ConfigMap,
            object,
        },
        anchors: Vec::new(),
        resource_version: None,
        drops: false,
        rests_on: Vec::new(),
        marks: Default::default(),
        place: BundlePlace::Elsewhere,
    };
    let declaration = Declaration::Issuance(Arc::new(issuance.unwrap()));
    let result = carry_out(&cluster, &declaration, &step).await;
    let asked = asked.lock().unwrap().clone();
    (result.map(drop), asked)
}

#[tokio::test]
async fn a_bundle_is_made_only_where_the_api_server_says_that_there_is_none() {
    let status = |code: u16| json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": if code == 404 { "NotFound" } else { "" }, "code": code});
    let (result, asked) = written(200, bundle()).await;
    assert!(matches!(result, Err(Error::Changed)), "{result:?}");
    assert_eq!(asked, [Method::GET], "a foreign anchor would be lost");
    let (result, asked) = written(503, status(503)).await;
    assert!(result.is_err());
    assert_eq!(asked, [Method::GET]);
    let (result, asked) = written(404, status(404)).await;
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(asked, [Method::GET, Method::PATCH]);
}
