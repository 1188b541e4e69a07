//! A real handshake with the gateway, as an agent that starts now would make it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use external_ca_core::diagnosis::{Answer, Finding, Handshake, connection};
use external_ca_core::domain::{Desired, DesiredLeaf, Role, desired, namespace, plane_type};
use external_ca_core::model::{Leaf, MaterialKind, MaterialRef, ObjectRef, Observed, Plane};
use external_ca_core::x509::{Certificate, San};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::{Error, api_message};

const PATIENCE: Duration = Duration::from_secs(10);
/// Where OpenChoreo's gateway listens for agents.
const PORT: u16 = 8443;
const GATEWAY: &str = "app=cluster-gateway";
/// No answer of a gateway is longer.
const MAX_ANSWER: u64 = 16 * 1024;

/// Tries it with the certificate of every agent: at an address, or through a port-forward.
pub async fn check(
    client: &Client,
    observed: &Observed,
    address: Option<&str>,
) -> Result<Vec<Finding>, Error> {
    let wanted = desired(&observed.issuance, &observed.planes);
    let mut found = Vec::new();
    for leaf in wanted
        .leaves
        .values()
        .filter(|leaf| leaf.role == Role::Agent)
    {
        let api: Api<Secret> = Api::namespaced(client.clone(), &leaf.target.namespace);
        let secret = api.get_opt(&leaf.target.name).await;
        let secret =
            secret.map_err(|error| Error::api(format!("Secret {}", leaf.target), error))?;
        // The doctor has findings of its own for a Secret that is missing or unfit.
        let Some(identity) = secret.as_ref().and_then(identity) else {
            continue;
        };
        for plane in wanted
            .planes
            .iter()
            .filter(|plane| leaf.planes.contains(&plane.plane))
        {
            let subject = Subject {
                observed,
                wanted: &wanted,
                leaf,
                plane,
            };
            let attempt = subject.attempt(client, address, &identity).await;
            for finding in connection(&attempt, Timestamp::now()) {
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
    }
    Ok(found)
}

/// A certificate with its key; wiped by rustls' own types where it can be.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn identity(secret: &Secret) -> Option<Identity> {
    let data = secret.data.as_ref()?;
    let chain = CertificateDer::pem_slice_iter(&data.get("tls.crt")?.0).collect::<Result<_, _>>();
    Some(Identity {
        chain: chain.ok()?,
        key: PrivateKeyDer::from_pem_slice(&data.get("tls.key")?.0).ok()?,
    })
}

/// Whose handshake it is.
struct Subject<'a> {
    observed: &'a Observed,
    wanted: &'a Desired,
    leaf: &'a DesiredLeaf,
    plane: &'a Plane,
}

impl Subject<'_> {
    async fn attempt(
        &self,
        client: &Client,
        address: Option<&str>,
        identity: &Identity,
    ) -> Handshake {
        let home = namespace(&self.observed.issuance);
        let gateway = self
            .wanted
            .leaves
            .values()
            .find(|leaf| leaf.role == Role::Gateway);
        let trust = MaterialRef {
            kind: MaterialKind::ConfigMap,
            object: ObjectRef::new(
                &self.leaf.target.namespace,
                &self.observed.issuance.spec.trust.config_map_name,
            ),
        };
        let host = gateway.and_then(host).unwrap_or_default();
        let seen = Arc::new(Recorder::default());
        let answer = match tokio::time::timeout(
            PATIENCE,
            self.dial(client, home, address, &host, identity, &seen),
        )
        .await
        {
            Ok(answer) => answer,
            Err(_) => Answer::Unreachable(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        Handshake {
            address: address.map_or_else(|| format!("gateway of {home}"), String::from),
            host,
            presented: seen.certificates(),
            stored: gateway.map_or_else(Vec::new, |leaf| self.chain(&leaf.material())),
            anchors: self.anchors(&trust),
            bundle: trust.to_string(),
            server: gateway.map_or_else(String::new, |leaf| leaf.material().to_string()),
            client: self.leaf.material().to_string(),
            plane: self.plane.plane.to_string(),
            answer,
        }
    }

    fn chain(&self, material: &MaterialRef) -> Vec<Certificate> {
        let stored = self
            .observed
            .material
            .get(material)
            .and_then(|read| read.found());
        match stored.map(|stored| &stored.leaf) {
            Some(Leaf::Present { chain, .. }) => chain.clone(),
            _ => Vec::new(),
        }
    }

    fn anchors(&self, bundle: &MaterialRef) -> Vec<Certificate> {
        let stored = self
            .observed
            .material
            .get(bundle)
            .and_then(|read| read.found());
        stored.map_or_else(Vec::new, |stored| stored.anchors.clone())
    }

    async fn dial(
        &self,
        client: &Client,
        home: &str,
        address: Option<&str>,
        host: &str,
        identity: &Identity,
        seen: &Arc<Recorder>,
    ) -> Answer {
        let unreachable = |error: &dyn std::fmt::Display| Answer::Unreachable(error.to_string());
        match address {
            Some(address) => match TcpStream::connect(address).await {
                Ok(stream) => self.talk(stream, host, identity, seen).await,
                Err(error) => unreachable(&error),
            },
            None => match forward(client, home).await {
                Ok(stream) => self.talk(stream, host, identity, seen).await,
                Err(answer) => answer,
            },
        }
    }

    async fn talk(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        host: &str,
        identity: &Identity,
        seen: &Arc<Recorder>,
    ) -> Answer {
        let failed = |error: &dyn std::fmt::Display| Answer::Tls(error.to_string());
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(error) => return failed(&error),
        };
        let config = match config(identity, Arc::clone(seen)) {
            Ok(config) => config,
            Err(error) => return failed(&error),
        };
        let connector = TlsConnector::from(Arc::new(config));
        let mut stream = match connector.connect(name, stream).await {
            Ok(stream) => stream,
            Err(error) => return failed(&error),
        };
        let kind = plane_type(self.plane.plane.kind);
        match upgrade(&mut stream, host, kind, &self.plane.plane_id).await {
            Ok(answer) => answer,
            Err(error) => failed(&error),
        }
    }
}

/// The name that OpenChoreo's charts let agents dial: the longest.
fn host(gateway: &DesiredLeaf) -> Option<String> {
    let names = gateway.profile.sans.iter().filter_map(|san| match san {
        San::Dns(name) => Some(name.clone()),
        San::Ip(_) | San::Uri(_) => None,
    });
    names.max_by_key(String::len)
}

async fn forward(
    client: &Client,
    namespace: &str,
) -> Result<impl AsyncRead + AsyncWrite + Unpin + use<>, Answer> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = api.list(&ListParams::default().labels(GATEWAY)).await;
    let pods = pods.map_err(|error| refused(&error))?;
    let running = |pod: &&Pod| {
        let status = pod.status.as_ref();
        status.and_then(|status| status.phase.as_deref()) == Some("Running")
    };
    let pod = pods.iter().find(running).ok_or_else(|| {
        Answer::Unreachable(format!(
            "no running pod with the label {GATEWAY} in {namespace}"
        ))
    })?;
    let forwarded = api.portforward(&pod.name_any(), &[PORT]).await;
    let mut forwarded = forwarded.map_err(|error| refused(&error))?;
    forwarded
        .take_stream(PORT)
        .ok_or_else(|| Answer::Unreachable("the API server forwards nothing".into()))
}

/// Why there is no port-forward.
fn refused(error: &kube::Error) -> Answer {
    let message = api_message(error);
    match error {
        kube::Error::Api(status) if status.code == 403 => Answer::Denied(message),
        _ => Answer::Unreachable(message),
    }
}

/// Asks for the WebSocket, and leaves politely where it is granted.
async fn upgrade(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &str,
    plane_type: &str,
    plane_id: &str,
) -> std::io::Result<Answer> {
    let request = format!(
        "GET /ws?planeType={plane_type}&planeID={plane_id} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ZXh0ZXJuYWwtY2EtY2hlYw==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") && (answer.len() as u64) < MAX_ANSWER {
        let read = stream.read(&mut part).await?;
        if read == 0 {
            break;
        }
        answer.extend(part.iter().take(read));
    }
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok());
    let Some(status) = status else {
        return Ok(Answer::Tls("the answer is no HTTP".into()));
    };
    if status == 101 {
        // A masked close frame: 1000, normal closure.
        stream
            .write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8])
            .await?;
    }
    stream.shutdown().await.ok();
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(Answer::Http(
        status,
        body.lines().next().unwrap_or_default().to_owned(),
    ))
}

fn config(identity: &Identity, seen: Arc<Recorder>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Recording { seen, provider }));
    config.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())
}

/// What the server presents is written down and judged afterwards, as an agent would: nothing secret is sent meanwhile.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Certificate>>);

impl Recorder {
    fn certificates(&self) -> Vec<Certificate> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[derive(Debug)]
struct Recording {
    seen: Arc<Recorder>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Recording {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        let parsed = all.filter_map(|der| Certificate::from_der(der.to_vec()).ok());
        *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner) = parsed.collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
