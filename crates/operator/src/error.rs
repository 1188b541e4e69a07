//! What can go wrong outside the plan.

use std::future::Future;
use std::time::Duration;

use external_ca_core::model::lenient::Undecodable;
use external_ca_core::model::refusal::{garbled, refusal_and_way_out};
use external_ca_core::x509::{IssuedError, KeyError, MintError};
use external_ca_core::{Problem, Reason};
use kube::runtime::watcher;

/// The longest that one API call may take: a reconcile goes on without it.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// An error of the shell.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or failed.
    #[error("{}", describe(.0))]
    Api(#[source] Box<kube::Error>),
    /// The API server did not answer.
    #[error("the API server did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    /// The object changed between read and write: read it again.
    #[error("the object changed meanwhile")]
    Changed,
    /// What a step rests on cannot be told.
    #[error("{0}")]
    PodsUnread(#[from] PodsUnread),
    /// An object does not parse.
    #[error("{0}")]
    Undecodable(#[from] Undecodable),
    /// The issuer refused or failed.
    #[error("{0}")]
    Issuer(#[from] crate::issuers::IssuerError),
    /// Requests wait for their certificates, and there is room for no more.
    #[error(
        "the Secret {secret} is full, in which requests wait for their certificates ({requests} do); this one is made once others are answered"
    )]
    PendingFull {
        /// The Secret.
        secret: String,
        /// How many wait.
        requests: usize,
    },
    /// A key could not be made.
    #[error("the private key could not be made or read: {0}")]
    Key(#[from] KeyError),
    /// A request or certificate could not be made.
    #[error("the certificate could not be made: {0}")]
    Mint(#[from] MintError),
    /// What the issuer returned is of no use: nothing was written.
    #[error("{0}; nothing was written")]
    Issued(#[from] IssuedError),
    /// No randomness, or a task that was cancelled.
    #[error("{0}")]
    Internal(&'static str),
}

/// The pods of a namespace could not be listed just before a step that rests on them.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the pods of the namespace {namespace} cannot be listed: {why}; nothing was written")]
pub struct PodsUnread {
    /// Where.
    pub namespace: String,
    /// What the API server said.
    pub why: String,
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if status.code == 409 => Self::Changed,
            _ => Self::Api(Box::new(error)),
        }
    }
}

/// An error of the client, and the way out. Where an answer does not parse, the client's own text quotes it, and it may hold
/// a key.
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => refusal_and_way_out(status),
        kube::Error::SerdeError(error) => garbled(error),
        kube::Error::FromUtf8(_) => "the API server's answer cannot be read: it is no UTF-8".into(),
        error => format!("the API server cannot be reached: {error}"),
    }
}

/// The same, where a watch fails.
pub fn describe_watch(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => describe(error),
        watcher::Error::WatchError(status) => refusal_and_way_out(status),
        watcher::Error::NoResourceVersion => "the list has no resourceVersion".into(),
    }
}

impl Error {
    /// The word and message for conditions and Events.
    pub fn problem(&self, object: impl std::fmt::Display) -> Problem {
        let reason = match self {
            Self::Issuer(_) | Self::Issued(_) | Self::Mint(_) => Reason::IssuerFailed,
            Self::Api(_)
            | Self::Timeout
            | Self::Changed
            | Self::PodsUnread(_)
            | Self::Undecodable(_)
            | Self::Key(_)
            | Self::PendingFull { .. }
            | Self::Internal(_) => Reason::WriteFailed,
        };
        Problem::new(reason, format!("{object}: {self}"))
    }

    /// Whether the write may have happened all the same, or the snapshot that it rests on is old.
    pub fn leaves_doubt(&self) -> bool {
        match self {
            Self::Changed | Self::Timeout | Self::Undecodable(_) => true,
            Self::Api(error) => match error.as_ref() {
                kube::Error::Api(status) => !(400..500).contains(&status.code),
                _ => true,
            },
            _ => false,
        }
    }

    /// Whether the same request can only be refused again: it is not permitted, not valid, or too large.
    pub fn is_final(&self) -> bool {
        let Self::Api(error) = self else { return false };
        match error.as_ref() {
            kube::Error::Api(status) => {
                (400..500).contains(&status.code) && status.code != 429
                    || status.message.contains("request is too large")
                    || status.reason == "ResourceExhausted"
            }
            _ => false,
        }
    }

    /// How long the API server or the issuer asks to wait (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Issuer(error) = self {
            return error.retry_after();
        }
        let Self::Api(error) = self else { return None };
        let kube::Error::Api(status) = error.as_ref() else {
            return None;
        };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
    }
}

/// Bounds one API call.
pub async fn bounded<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::Timeout),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Secret;
    use kube::client::Body;
    use kube::{Api, Client};

    /// The text that an answer becomes, by way of the real client.
    async fn text_of(code: u16, body: &'static str) -> String {
        let answer = move |_: http::Request<Body>| async move {
            let body = Body::from(body.as_bytes().to_vec());
            Ok::<_, std::convert::Infallible>(
                http::Response::builder().status(code).body(body).unwrap(),
            )
        };
        let client = Client::new(tower::service_fn(answer), "default");
        let error = Api::<Secret>::default_namespaced(client).get("one").await;
        let error = error.unwrap_err();
        describe(&error)
    }

    #[tokio::test]
    async fn each_kind_of_refusal_has_its_own_way_out() {
        let status = |code: u16, message: &str| {
            let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "message": message, "code": code});
            &*status.to_string().leak()
        };
        let chart = "the chart's values";
        let rbac = r#"secrets "one" is forbidden: User "system:serviceaccount:a:b" cannot get resource "secrets" in API group "" in the namespace "n""#;
        for (code, message, way_out) in [
            (403, rbac, chart),
            (
                403,
                r#"admission webhook "policy.example" denied the request: no"#,
                "admission",
            ),
            (
                403,
                r#"secrets "one" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"#,
                "admission",
            ),
            (
                422,
                r#"secrets "one" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"#,
                "admission",
            ),
            (
                400,
                r#"admission webhook "policy.example" denied the request: no"#,
                "admission",
            ),
            (
                500,
                r#"Internal error occurred: failed calling webhook "policy.example": refused"#,
                "webhook",
            ),
            (
                403,
                r#"secrets "one" is forbidden: exceeded quota: q, requested: secrets=1, used: secrets=1, limited: secrets=1"#,
                "ResourceQuota",
            ),
            (
                403,
                r#"secrets "one" is forbidden: unable to create new content in namespace n because it is being terminated"#,
                "is being deleted",
            ),
            (401, "Unauthorized", "ServiceAccount"),
            (404, r#"namespaces "n" not found"#, "create the namespace"),
            (
                404,
                "the server could not find the requested resource",
                "CustomResourceDefinition",
            ),
            (
                410,
                "The provided continue parameter is too old",
                "is read anew by itself",
            ),
            (429, "slow down", "by itself"),
            (500, "etcdserver: leader changed", "by itself"),
            (503, "apiserver is shutting down", "by itself"),
            (504, "Timeout: request did not complete", "by itself"),
        ] {
            let text = text_of(code, status(code, message)).await;
            assert!(
                text.starts_with(message) && text.contains(way_out),
                "{code}: {text}"
            );
            assert_eq!(text.contains(chart), way_out == chart, "{code}: {text}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_told_only_in_the_words_of_a_kubernetes_status() {
        let status = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"namespaces \"a\" not found","code":404}"#;
        let text = text_of(404, status).await;
        assert_eq!(text, "namespaces \"a\" not found; create the namespace");
        let plain = "Too many requests, please try again later.";
        assert!(text_of(429, plain).await.starts_with(plain));
        let mute = r#"{"kind":"Status","status":"Failure","reason":"Conflict","code":410}"#;
        assert_eq!(
            text_of(410, mute).await,
            "HTTP 410 Conflict, without a message; it is read anew by itself"
        );
        // A proxy that echoes the request, an object, a page: each may hold a key.
        for body in [
            "the request was: -----BEGIN PRIVATE KEY-----",
            r#"{"kind":"Secret","data":{"tls.key":"S0VZ"},"message":"S0VZ","code":502}"#,
            r#"{"data":{"tls.key":"S0VZ"}}"#,
            r#"["S0VZ"]"#,
            "",
        ] {
            let text = text_of(502, body).await;
            assert!(
                !text.contains("KEY") && !text.contains("S0VZ"),
                "{body}: {text}"
            );
            assert!(text.contains("no Kubernetes Status"), "{body}: {text}");
        }
    }
}
