//! An authority for tests: a server of the test bed, asked over HTTP. It has every mood that an authority may have. No release
//! has it (the cargo feature `test-authority`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use external_ca_core::x509::{Certificate, LeafProfile, parse_bundle};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::request::{IssuerError, Shown, Signed, SigningRequest, Ticket};

/// The longest that an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where it is.
#[derive(Clone, Debug)]
pub struct TestAuthority {
    address: SocketAddr,
}

/// What it answers, by its HTTP status.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    certificates: String,
    #[serde(default)]
    ticket: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    seconds: i64,
}

impl TestAuthority {
    /// The one at this address.
    pub fn at(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self { address })
    }

    /// Which one it is.
    pub fn identity(&self) -> String {
        format!("testAuthority {}", self.address)
    }

    /// Asks for a certificate.
    pub async fn sign(&self, request: &SigningRequest<'_>) -> Result<Signed, IssuerError> {
        let body = json!({
            "csr": ByteString(request.csr.der().to_vec()),
            "token": request.token,
            "profile": profile(request.profile),
        });
        let (status, answer) = self.call("POST", "/sign", &body).await?;
        outcome(status, answer)
    }

    /// Asks for what a ticket stands for.
    pub async fn ask_again(
        &self,
        ticket: &Ticket,
        request: &SigningRequest<'_>,
    ) -> Result<Signed, IssuerError> {
        let path = format!("/tickets/{}", ticket.id);
        match self.call("GET", &path, &Value::Null).await? {
            (404, _) => self.sign(request).await,
            (status, answer) => outcome(status, answer),
        }
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<(u16, Answer), IssuerError> {
        let answered = tokio::time::timeout(TIMEOUT, self.exchange(method, path, body)).await;
        let text = match answered {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => return Err(IssuerError::transient(error.to_string())),
            Err(_) => return Err(IssuerError::transient("it does not answer")),
        };
        read(&text).ok_or_else(|| IssuerError::transient("its answer cannot be read"))
    }

    async fn exchange(&self, method: &str, path: &str, body: &Value) -> std::io::Result<String> {
        let body = body.to_string();
        // HTTP/1.0: the answer ends with the connection.
        let head = format!(
            "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

fn read(answer: &str) -> Option<(u16, Answer)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

fn outcome(status: u16, answer: Answer) -> Result<Signed, IssuerError> {
    let shown = Shown::new(&answer.message);
    match status {
        200 => Ok(Signed::Issued(certificates(&answer.certificates))),
        202 => Ok(Signed::Pending(Ticket {
            id: answer.ticket,
            ask_again: in_seconds(answer.seconds),
        })),
        401 => Err(IssuerError::Misconfigured(shown)),
        403 => Err(IssuerError::Rejected(shown)),
        _ => Err(IssuerError::Transient {
            why: shown,
            retry_after: u64::try_from(answer.seconds).ok().map(Duration::from_secs),
        }),
    }
}

fn certificates(pem: &str) -> Vec<Certificate> {
    parse_bundle(pem.as_bytes()).certificates
}

fn in_seconds(seconds: i64) -> Timestamp {
    let now = Timestamp::now();
    let pause = SignedDuration::from_secs(seconds);
    now.saturating_add(pause).unwrap_or(now)
}

fn profile(profile: &LeafProfile) -> Value {
    let sans: Vec<String> = profile.sans.iter().map(ToString::to_string).collect();
    json!({
        "commonName": profile.common_name,
        "organizations": profile.organizations,
        "sans": sans,
        "serverAuth": profile.usages.server_auth,
        "clientAuth": profile.usages.client_auth,
        "key": profile.key.to_string(),
        "seconds": profile.duration.as_secs(),
    })
}
