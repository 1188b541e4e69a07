//! What a request to the API server asks for, read off its method and path.

use std::collections::HashMap;
use std::time::Instant;

/// The verbs that tests tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// GET of one object.
    Get,
    /// GET of a collection.
    List,
    /// GET with `watch=true`.
    Watch,
    /// POST.
    Create,
    /// PATCH with an apply patch.
    Apply,
    /// PATCH of another kind.
    Patch,
    /// PUT.
    Update,
    /// DELETE of one object.
    Delete,
    /// DELETE of a collection.
    DeleteCollection,
    /// Whatever addresses no resource: discovery, `/version`, `/readyz`.
    Other,
}

impl Verb {
    /// Whether it changes something.
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List | Self::Watch | Self::Other)
    }
}

/// One request.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// What it asks for.
    pub verb: Verb,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query's parameters, decoded.
    pub query: HashMap<String, String>,
    /// The API group; empty for the core group.
    pub group: String,
    /// The API version.
    pub version: String,
    /// The plural resource: `secrets`.
    pub resource: String,
    /// The subresource: `status`; empty for none.
    pub subresource: String,
    /// The namespace; empty for none.
    pub namespace: String,
    /// The object's name; empty for a collection. For a watch or list by name: the name in the field selector.
    pub name: String,
    /// The User-Agent header.
    pub user_agent: String,
    /// A write's body.
    pub body: bytes::Bytes,
    /// When it came.
    pub at: Instant,
    /// The n-th counted write since the start or the last reset, from 1; nothing for reads, Leases and Events.
    pub write: Option<u64>,
    /// The answer's HTTP status; nothing while there is no answer, or where the client got none.
    pub status: Option<u16>,
}

impl RequestInfo {
    /// Reads a request's head.
    pub(super) fn new(head: &hyper::http::request::Parts) -> Self {
        let header = |name: &str| {
            head.headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default();
        let query: HashMap<String, String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode(name), decode(value)))
            .collect();
        let target = Target::parse(&path);
        let watch = query
            .get("watch")
            .is_some_and(|value| value == "true" || value == "1");
        let verb = match head.method.as_str() {
            _ if target.resource.is_empty() => Verb::Other,
            "GET" if watch => Verb::Watch,
            "GET" if target.name.is_empty() => Verb::List,
            "GET" | "HEAD" => Verb::Get,
            "POST" => Verb::Create,
            "PATCH" if header("content-type").contains("apply-patch") => Verb::Apply,
            "PATCH" => Verb::Patch,
            "PUT" => Verb::Update,
            "DELETE" if target.name.is_empty() => Verb::DeleteCollection,
            "DELETE" => Verb::Delete,
            _ => Verb::Other,
        };
        let selected = query
            .get("fieldSelector")
            .and_then(|selector| selector.strip_prefix("metadata.name="));
        Self {
            verb,
            method: head.method.to_string(),
            name: if target.name.is_empty() {
                selected.unwrap_or_default().to_owned()
            } else {
                target.name.to_owned()
            },
            group: target.group.to_owned(),
            version: target.version.to_owned(),
            resource: target.resource.to_owned(),
            subresource: target.subresource.to_owned(),
            namespace: target.namespace.to_owned(),
            user_agent: header("user-agent").to_owned(),
            query,
            path: path.clone(),
            body: bytes::Bytes::new(),
            at: Instant::now(),
            write: None,
            status: None,
        }
    }

    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        self.verb.is_write()
    }

    /// Whether it is about leader election.
    pub fn is_lease(&self) -> bool {
        self.group == "coordination.k8s.io" && self.resource == "leases"
    }

    /// Whether it is about an Event.
    pub fn is_event(&self) -> bool {
        self.resource == "events"
    }

    /// Whether it changes nothing although it is a POST: reviews of access and tokens.
    pub fn is_review(&self) -> bool {
        self.resource.ends_with("reviews") || self.subresource == "token"
    }

    /// Whether it is a write of the kind that is counted: not of a Lease or an Event.
    pub fn is_counted_write(&self) -> bool {
        self.is_write() && !self.is_lease() && !self.is_event() && !self.is_review()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// As `apply secrets one/leaf -> 200`.
impl std::fmt::Display for RequestInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verb = format!("{:?}", self.verb).to_lowercase();
        if self.resource.is_empty() {
            write!(f, "{verb} {}", self.path)?;
        } else {
            write!(f, "{verb} {}", self.resource)?;
            if !self.subresource.is_empty() {
                write!(f, "/{}", self.subresource)?;
            }
            write!(f, " {}/{}", self.namespace, self.name)?;
        }
        match self.status {
            Some(status) => write!(f, " -> {status}"),
            None => write!(f, " -> no answer"),
        }
    }
}

#[derive(Default)]
struct Target<'a> {
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> Target<'a> {
    fn parse(path: &'a str) -> Self {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match *parts {
            ["api", version, ref rest @ ..] => ("", version, rest),
            ["apis", group, version, ref rest @ ..] => (group, version, rest),
            _ => return Self::default(),
        };
        let (namespace, rest) = match *rest {
            // `/api/v1/namespaces/x/status` and `/finalize` are about the namespace itself.
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest),
            ["namespaces", namespace, ref rest @ ..] => (namespace, rest),
            _ => ("", rest),
        };
        let at = |index: usize| rest.get(index).copied().unwrap_or_default();
        Self {
            group,
            version,
            resource: at(0),
            name: at(1),
            subresource: at(2),
            namespace,
        }
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail
            .get(..2)
            .and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(first),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn read(method: &str, uri: &str, expected: &str) {
        let request = hyper::Request::builder()
            .method(method)
            .uri(uri)
            .body(())
            .unwrap();
        assert_eq!(
            RequestInfo::new(&request.into_parts().0).to_string(),
            format!("{expected} -> no answer")
        );
    }

    #[test]
    fn reads_what_a_request_asks_for() {
        read(
            "GET",
            "/api/v1/namespaces/one/secrets/leaf",
            "get secrets one/leaf",
        );
        read(
            "GET",
            "/api/v1/namespaces/one/secrets?fieldSelector=metadata.name%3Dleaf&watch=true",
            "watch secrets one/leaf",
        );
        read(
            "GET",
            "/apis/apps/v1/deployments?limit=500",
            "list deployments /",
        );
        read("GET", "/api/v1/namespaces/one", "get namespaces /one");
        read(
            "PUT",
            "/api/v1/namespaces/one/finalize",
            "update namespaces/finalize /one",
        );
        read(
            "PATCH",
            "/apis/pki.openchoreo.dev/v1alpha1/namespaces/a/x/b/status",
            "patch x/status a/b",
        );
        read(
            "POST",
            "/apis/coordination.k8s.io/v1/namespaces/a/leases",
            "create leases a/",
        );
        read("GET", "/apis/apps/v1", "other /apis/apps/v1");
        read("GET", "/readyz", "other /readyz");
    }
}
