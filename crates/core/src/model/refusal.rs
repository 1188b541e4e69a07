//! What the API server refuses, and the way out: each kind of refusal has another.

use kube::core::Status;
use kube::core::response::StatusSummary;
use serde_json::error::Category;

/// What the API server says in plain text.
const PLAIN: [&str; 2] = [
    "404 page not found",
    "Too many requests, please try again later.",
];

/// Why something is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The token is not known.
    Unauthenticated,
    /// No Role permits it.
    NotPermitted,
    /// Admission has denied it: a webhook, a policy, a plugin.
    Denied,
    /// The admission webhook that is to decide does not answer.
    WebhookAway,
    /// The namespace has no room for more.
    Quota,
    /// The namespace is being deleted.
    NamespaceEnds,
    /// The namespace does not exist.
    NamespaceMissing,
    /// The kind is not served.
    NotServed,
    /// A list is too old to be gone on with.
    Expired,
    /// There is too much to do.
    Busy,
    /// The API server, or its store, fails.
    Failing,
    /// Anything else: its message must do.
    Other,
}

impl Refusal {
    /// Which one an answer is.
    pub fn of(status: &Status) -> Self {
        let says = |text: &str| status.message.contains(text);
        let is_admission = || says("admission webhook") || says("ValidatingAdmissionPolicy");
        match status.code {
            401 => Self::Unauthenticated,
            403 if says("exceeded quota") || says("failed quota") => Self::Quota,
            403 if says("is being terminated") => Self::NamespaceEnds,
            403 if says(" cannot ") && !is_admission() => Self::NotPermitted,
            403 => Self::Denied,
            400 | 422 if is_admission() => Self::Denied,
            404 if says("namespaces \"") => Self::NamespaceMissing,
            404 if says("the requested resource") || says("page not found") => Self::NotServed,
            410 => Self::Expired,
            429 => Self::Busy,
            500.. if says("failed calling webhook") => Self::WebhookAway,
            500.. => Self::Failing,
            _ => Self::Other,
        }
    }

    /// What the operator's people can do about it.
    fn way_out(self) -> Option<&'static str> {
        Some(match self {
            Self::Unauthenticated => "see that the operator's ServiceAccount exists",
            Self::NotPermitted => {
                "let the chart's values name it (secrets, trust, namespaces), so that its Role allows it"
            }
            Self::Denied => {
                "the cluster's admission decides that: let the policy or webhook allow it to external-ca-operator"
            }
            Self::WebhookAway => "look at the webhook that it names",
            Self::Quota => "raise the namespace's ResourceQuota",
            Self::NamespaceEnds => {
                "the namespace is being deleted: wait and create it anew, or let nothing name it"
            }
            Self::NamespaceMissing => "create the namespace",
            Self::NotServed => {
                "the kind is not served: install its CustomResourceDefinition, or look at its APIService"
            }
            Self::Expired => "it is read anew by itself",
            Self::Busy => "it is tried again by itself",
            Self::Failing => {
                "it is tried again by itself; where it stays so, look at the API server"
            }
            Self::Other => return None,
        })
    }
}

/// What a refusal says, and the way out for the operator's people.
pub fn refusal_and_way_out(status: &Status) -> String {
    let message = refusal(status);
    let way_out = Refusal::of(status).way_out();
    match way_out.filter(|_| is_status(status) || PLAIN.contains(&status.message.as_str())) {
        Some(way_out) => format!("{message}; {way_out}"),
        None => message,
    }
}

/// What a refusal says. The client takes any text for a message, also a page or an object, and these may hold a key.
pub fn refusal(status: &Status) -> String {
    let (message, is_status) = (status.message.as_str(), is_status(status));
    if is_status && !message.is_empty() || PLAIN.contains(&message) {
        return message.to_owned();
    }
    match status.code {
        0 => "the answer is no Kubernetes Status; look at what stands between here and the API server".to_owned(),
        code if is_status => format!("HTTP {code} {}, without a message", status.reason),
        429 => "HTTP 429: the API server, or what stands before it, has too much to do".to_owned(),
        code => format!(
            "HTTP {code}, and the answer is no Kubernetes Status; look at what stands between here and the API server"
        ),
    }
}

/// What is wrong with an answer that does not parse. The error's own text quotes it, and it may hold a key.
pub fn garbled(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        Category::Data => "a field has a value that it cannot have",
        Category::Eof => "it ends too early",
        _ => "it is no JSON",
    };
    format!("the API server's answer cannot be read: {kind}")
}

fn is_status(status: &Status) -> bool {
    let is_parsed = status.reason != "Failed to parse error data";
    is_parsed && status.status == Some(StatusSummary::Failure)
}
