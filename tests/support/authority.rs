//! The authority that the operator for tests asks (`--test-authority`): a small HTTP server with a CA, which counts requests by
//! their CSR, keeps tickets for as long as it lives, and has every mood that an authority may have.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use external_ca_core::x509::{
    Certificate, CertificateAuthority, Fingerprint, KeyAlgorithm, LeafProfile, San, Style, Usages,
    encode_bundle, generate, request, sign_request,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Result;
use crate::background::{Tasks, handle};
use crate::openssl::{Ca, KeyKind};

/// What the authority makes of a request at present, whether it is asked for the first time or again.
#[derive(Clone, Debug, PartialEq)]
pub enum Mood {
    /// It signs at once.
    Signs,
    /// It signs after so long.
    Slow(Duration),
    /// It leaves each request pending until it was asked so often again, this many seconds apart.
    Pending(u32, i64),
    /// It refuses.
    Rejects(&'static str),
    /// It is away for a while, and says for how many seconds.
    Down(i64),
    /// It does not know the operator.
    Unauthorized(&'static str),
    /// Its certificates live so many seconds.
    Short(i64),
    /// It signs with another CA.
    WrongChain,
    /// It certifies a key of its own.
    WrongKey,
    /// It drops the organization, and adds to the common name.
    WrongName,
}

/// One request that it knows, by its CSR.
#[derive(Clone, Debug)]
pub struct Known {
    /// The common name that it is for.
    pub common_name: String,
    /// SHA-256 over the CSR.
    pub token: String,
    /// How often the operator has made it.
    pub made: u32,
    /// How often it was asked for by its ticket.
    pub polled: u32,
    /// What was issued for it at last: leaf first.
    pub issued: Option<Vec<Certificate>>,
    ticket: String,
    csr: Vec<u8>,
    profile: LeafProfile,
}

/// A running authority; dropping it closes it.
pub struct TestAuthority {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: Tasks,
}

struct Shared {
    stranger: CertificateAuthority,
    state: Mutex<State>,
}

struct State {
    ca: Arc<CertificateAuthority>,
    mood: Mood,
    known: BTreeMap<String, Known>,
    serial: u128,
}

#[derive(Deserialize)]
struct Asked {
    csr: ByteString,
    token: String,
    profile: Profile,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    common_name: String,
    organizations: Vec<String>,
    sans: Vec<String>,
    server_auth: bool,
    client_auth: bool,
    key: String,
    seconds: i64,
}

impl TestAuthority {
    /// Starts one that signs with this CA.
    pub async fn start(ca: &Ca) -> Result<Self> {
        let shared = Arc::new(Shared {
            stranger: signer(&Ca::new("/CN=stranger", KeyKind::P256))?,
            state: Mutex::new(State {
                ca: Arc::new(signer(ca)?),
                mood: Mood::Signs,
                known: BTreeMap::new(),
                serial: 1,
            }),
        });
        let listener = {
            let _background = handle().enter();
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
            listener.set_nonblocking(true)?;
            TcpListener::from_std(listener)?
        };
        let address = listener.local_addr()?;
        let tasks = Tasks::default();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _tasks: tasks,
        })
    }

    /// The operator's argument.
    pub fn argument(&self) -> String {
        format!("--test-authority={}", self.address)
    }

    /// From now on it is like that.
    pub fn be(&self, mood: Mood) {
        self.shared.state().mood = mood;
    }

    /// From now on it signs with this CA.
    pub fn sign_with(&self, ca: &Ca) -> Result<()> {
        self.shared.state().ca = Arc::new(signer(ca)?);
        Ok(())
    }

    /// Forgets every request.
    pub fn forget(&self) {
        self.shared.state().known.clear();
    }

    /// Every request that it knows.
    pub fn known(&self) -> Vec<Known> {
        self.shared.state().known.values().cloned().collect()
    }

    /// The request whose certificate this is.
    pub fn request_of(&self, certificate: &Certificate) -> Option<Known> {
        let is_its = |known: &Known| {
            let issued = known.issued.as_ref().and_then(|chain| chain.first());
            issued == Some(certificate)
        };
        self.known().into_iter().find(is_its)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn sign(&self, asked: Asked) -> (u16, Value) {
        let token = Fingerprint::of(&asked.csr.0).to_string();
        if token != asked.token {
            return (
                400,
                json!({"message": "the token is not that of the request"}),
            );
        }
        let mut state = self.state();
        let number = state.known.len();
        let known = state.known.entry(token.clone()).or_insert_with(|| Known {
            common_name: asked.profile.common_name.clone(),
            token: token.clone(),
            made: 0,
            polled: 0,
            issued: None,
            ticket: format!("ticket-{number}"),
            csr: asked.csr.0,
            profile: asked.profile.into(),
        });
        known.made += 1;
        self.answer(&mut state, &token)
    }

    fn poll(&self, ticket: &str) -> (u16, Value) {
        let mut state = self.state();
        let found = state
            .known
            .values_mut()
            .find(|known| known.ticket == ticket);
        let Some(known) = found else {
            return (404, json!({"message": "no such ticket"}));
        };
        known.polled += 1;
        let token = known.token.clone();
        self.answer(&mut state, &token)
    }

    fn answer(&self, state: &mut State, token: &str) -> (u16, Value) {
        let (mood, ca) = (state.mood.clone(), Arc::clone(&state.ca));
        state.serial += 1;
        let serial = state.serial.to_be_bytes();
        let known = state.known.get_mut(token).expect("it was just made");
        let message = |message: &str| json!({"message": message});
        match mood {
            Mood::Pending(polls, seconds) if known.polled < polls => {
                return (202, json!({"ticket": known.ticket, "seconds": seconds}));
            }
            Mood::Rejects(why) => return (403, message(why)),
            Mood::Unauthorized(why) => return (401, message(why)),
            Mood::Down(seconds) => {
                return (503, json!({"message": "come again", "seconds": seconds}));
            }
            _ => {}
        }
        // What was issued for a request once is what it gets.
        let usual = matches!(mood, Mood::Signs | Mood::Slow(_) | Mood::Pending(..));
        let chain = match known.issued.clone().filter(|_| usual) {
            Some(chain) => chain,
            None => self.issue(&ca, known, &mood, serial),
        };
        known.issued = Some(chain.clone());
        (200, json!({"certificates": encode_bundle(&chain)}))
    }

    fn issue<'a>(
        &'a self,
        mut ca: &'a CertificateAuthority,
        known: &Known,
        mood: &Mood,
        serial: [u8; 16],
    ) -> Vec<Certificate> {
        let mut profile = known.profile.clone();
        let mut csr = known.csr.clone();
        match mood {
            Mood::Short(seconds) => profile.duration = SignedDuration::from_secs(*seconds),
            Mood::WrongChain => ca = &self.stranger,
            Mood::WrongKey => {
                let key = generate(profile.key).unwrap();
                csr = request(&key, &profile).unwrap().der().to_vec();
            }
            Mood::WrongName => {
                profile.organizations.clear();
                profile.common_name.push('x');
            }
            _ => {}
        }
        sign_request(ca, &csr, &profile, serial, Timestamp::now()).unwrap()
    }
}

fn signer(ca: &Ca) -> Result<CertificateAuthority> {
    let (certificate, key) = (ca.certificate.as_bytes(), ca.key.as_bytes());
    let signer = CertificateAuthority::from_pem(certificate, key, None, Timestamp::now())?;
    Ok(signer)
}

impl From<Profile> for LeafProfile {
    fn from(profile: Profile) -> Self {
        let san = |text: &String| match text.split_once(':') {
            Some(("DNS", name)) => San::Dns(name.to_owned()),
            Some(("IP", address)) => San::Ip(address.parse().unwrap()),
            Some(("URI", uri)) => San::Uri(uri.to_owned()),
            _ => panic!("{text}"),
        };
        Self {
            sans: profile.sans.iter().map(san).collect(),
            common_name: profile.common_name,
            organizations: profile.organizations,
            usages: Usages {
                server_auth: profile.server_auth,
                client_auth: profile.client_auth,
            },
            key: match profile.key.as_str() {
                "ECDSA P-256" => KeyAlgorithm::EcdsaP256,
                other => panic!("tests use ECDSA P-256, not {other}"),
            },
            duration: SignedDuration::from_secs(profile.seconds),
            style: Style::Guide,
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        // An operator that is killed closes its connection.
        drop(handle().spawn(serve(stream, Arc::clone(&shared))));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut read = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let value = line.strip_prefix("Content-Length: ")?;
            value.parse::<usize>().ok()
        });
        if body.len() >= length.unwrap_or_default() {
            break (head.to_owned(), body.to_owned());
        }
    };
    let slow = match &shared.state().mood {
        Mood::Slow(pause) => Some(*pause),
        _ => None,
    };
    if let Some(pause) = slow {
        tokio::time::sleep(pause).await;
    }
    let path = head.split_whitespace().nth(1).unwrap_or_default();
    let (status, answer) = match path.strip_prefix("/tickets/") {
        Some(ticket) => shared.poll(ticket),
        None => match serde_json::from_str(&body) {
            Ok(asked) => shared.sign(asked),
            Err(error) => (400, json!({"message": error.to_string()})),
        },
    };
    let answer = format!("HTTP/1.0 {status} Answer\r\n\r\n{answer}");
    stream.write_all(answer.as_bytes()).await
}
