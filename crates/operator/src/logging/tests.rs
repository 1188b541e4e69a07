//! Whatever answers do not parse, and whatever a user asks the log to tell: no key is told.

use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use external_ca_core::model::{MaterialKind, MaterialRef, ObjectRef};
use external_ca_core::snapshot::{Needs, Scope};
use http::{Request, Response};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::client::Body;
use serde_json::json;
use tracing::subscriber::with_default;

use super::*;
use crate::cluster::Cluster;
use crate::pending::Pending;

/// As PEM in base64 and as it stands in JSON that was escaped once more, parts of it stay as they are.
const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg";
/// So much of a key is enough to know it by.
const PART: usize = 12;
const NAMES: [&str; 2] = ["ca", "cluster-gateway-tls"];

/// Which answers are broken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    List,
    Watch,
    Object,
}

type Break = fn(&str) -> Vec<u8>;

const BROKEN: [(&str, Break); 6] = [
    ("cut", |text| {
        text.chars()
            .take(text.len() * 5 / 6)
            .collect::<String>()
            .into()
    }),
    ("mistyped", |text| {
        text.replace(r#"{"tls.key":"#, "")
            .replace(r#""}}"#, r#""}"#)
            .into()
    }),
    ("trailing", |text| format!("{text}}}").into()),
    ("no text", |text| [text.as_bytes(), b"\xff\xfe"].concat()),
    ("late", |text| text.replace("2026-", "99999-").into()),
    ("nested", |text| {
        text.replace(
            "\"nest\"",
            &format!("{}1{}", "[".repeat(300), "]".repeat(300)),
        )
        .into()
    }),
];

fn secret() -> String {
    let metadata = json!({"name": "ca", "namespace": "ns", "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": {"x": 1}, "managedFields": ["nest"]});
    format!(
        r#"{{"apiVersion":"v1","kind":"Secret","metadata":{metadata},"data":{{"tls.key":"{KEY}"}}}}"#
    )
}

/// An API server that answers with Secrets, and breaks some of the answers.
fn server(place: Where, broken: Break) -> Client {
    let answer = move |request: Request<Body>| async move {
        let uri = request.uri();
        let asked = match uri.query().unwrap_or_default() {
            query if query.contains("watch=") => Where::Watch,
            _ if uri.path().ends_with("/secrets") => Where::List,
            _ => Where::Object,
        };
        let secret = secret();
        let whole = match asked {
            Where::Watch => format!(r#"{{"type":"ADDED","object":{secret}}}"#),
            Where::List if place == Where::List => {
                format!(r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{secret}]}}"#)
            }
            Where::List => r#"{"metadata":{"resourceVersion":"5"},"items":[]}"#.to_owned(),
            Where::Object => secret,
        };
        let mut body = if asked == place {
            broken(&whole)
        } else {
            whole.into()
        };
        if asked == Where::Watch {
            body.push(b'\n');
        }
        Ok::<_, Infallible>(Response::new(Body::from(body)))
    };
    Client::new(tower::service_fn(answer), "ns")
}

/// Reads Secrets in every way in which the operator does. Returns all that is told of it.
async fn read_all(client: Client) -> String {
    let (cluster, _changes) = Cluster::new(client.clone());
    let issuance = serde_json::from_value(json!({
        "apiVersion": "pki.openchoreo.dev/v1alpha1", "kind": "ExternalCAIssuance",
        "metadata": {"name": "a", "namespace": "ns"},
        "spec": {"issuer": {"caSecret": {"name": "ca"}}},
    }));
    let served = Arc::new(["ns".to_owned()].into());
    let scope = Scope {
        served,
        ..Scope::default()
    };
    let needs = Needs::of(&issuance.unwrap(), Vec::new(), &Default::default(), &scope);
    cluster.want("ns/a", &needs, Vec::new());
    let mut told = String::new();
    for name in NAMES {
        let target = ObjectRef::new("ns", name);
        let key = MaterialRef {
            kind: MaterialKind::Secret,
            object: target.clone(),
        };
        told += &format!("{:?}", cluster.read(&key).await);
        if let Err(error) = cluster.get::<Secret>(&target).await {
            told += &format!("{error} {error:?}");
        }
        let patch = Patch::Apply(json!({}));
        let api = cluster.api::<Secret>("ns");
        let written = api.patch(name, &PatchParams::apply("x"), &patch).await;
        if let Err(error) = written.map_err(crate::error::Error::from) {
            told += &format!("{error} {}", error.problem(&target).message);
        }
    }
    if let Err(error) = Pending::new(client, "ns".into()).read_once().await {
        told += &error.to_string();
    }
    // The watches have begun meanwhile, and have met what there is.
    tokio::time::sleep(Duration::from_millis(10)).await;
    let seen = cluster.seen(&needs, |seen, authority| {
        format!("{:?} {authority:?}", seen.material)
    });
    told + &seen.unwrap_or_default()
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

fn has_key(text: &str) -> bool {
    let parts = KEY.as_bytes().chunks(PART);
    let mut parts = parts.map(|part| std::str::from_utf8(part).unwrap());
    parts.any(|part| text.contains(part))
}

/// What is told while everything is read.
fn told(
    subscriber: impl Subscriber + Send + Sync + 'static,
    client: impl FnOnce() -> Client,
) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    with_default(subscriber, || {
        runtime.block_on(async { read_all(client()).await })
    })
}

#[test]
fn no_filter_shows_a_key_of_any_answer_that_does_not_parse() {
    let filters = [
        "trace",
        "info",
        "kube_client=trace,kube_client::client=trace,kube_runtime=trace,hyper=trace",
        "[{}]=trace",
    ];
    for place in [Where::List, Where::Watch, Where::Object] {
        for (name, broken) in BROKEN {
            for filter in filters {
                let log = Log::default();
                let writer = log.clone();
                let subscriber = log_to(move || writer.clone(), LogFormat::Json, filter);
                let told = told(subscriber, || server(place, broken));
                let case = format!("{place:?}, {name}, {filter}");
                assert!(!has_key(&told), "{case}: {told}");
                assert!(!has_key(&log.text()), "{case}: {}", log.text());
            }
        }
    }
}

#[test]
fn who_may_log_is_what_keeps_it_out() {
    let log = Log::default();
    let writer = log.clone();
    let all = fmt::layer().with_writer(move || writer.clone());
    let all = tracing_subscriber::registry().with(all);
    let told = told(all, || {
        server(Where::Object, |text| format!("{text}}}").into())
    });
    assert!(!has_key(&told), "{told}");
    assert!(
        has_key(&log.text()),
        "the client logs no more what it cannot parse"
    );
}
