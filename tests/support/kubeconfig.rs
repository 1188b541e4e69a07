//! Kubeconfig files.

use serde_json::{Value, json};

/// Who a kubeconfig speaks as.
pub enum Identity<'a> {
    /// A bearer token.
    Token(&'a str),
    /// A client certificate and its key, both PEM.
    Certificate {
        /// The certificate.
        certificate: &'a str,
        /// Its key.
        key: &'a str,
    },
}

/// A kubeconfig with one cluster and one user. JSON is YAML, too.
pub fn render(server: &str, ca_pem: &str, identity: &Identity<'_>) -> String {
    let user = match identity {
        Identity::Token(token) => json!({ "token": token }),
        Identity::Certificate { certificate, key } => json!({
            "client-certificate-data": base64(certificate.as_bytes()),
            "client-key-data": base64(key.as_bytes()),
        }),
    };
    let mut cluster = json!({ "server": server });
    if server.starts_with("https:") && !ca_pem.is_empty() {
        cluster["certificate-authority-data"] = base64(ca_pem.as_bytes());
    }
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": "test", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    });
    serde_json::to_string_pretty(&config).expect("JSON is written")
}

fn base64(bytes: &[u8]) -> Value {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec())).expect("bytes become base64")
}
