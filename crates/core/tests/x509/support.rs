//! The CAs that `odd-cas.sh` makes, the other verifiers, and shorthands.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};

use external_ca_core::x509::{
    CaError, Certificate, CertificateAuthority, KeyAlgorithm, LeafProfile, PrivateKey, San, Style,
    Usages, generate, parse_bundle, request, sign_request,
};
use jiff::{SignedDuration, Timestamp};

/// The directory that `odd-cas.sh` filled, once for this test run.
pub fn odd_cas() -> &'static Path {
    static MADE: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let directory = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/x509/odd-cas.sh");
        let status = Command::new(script)
            .arg(directory.path())
            .status()
            .expect("odd-cas.sh must run");
        let log = fs::read_to_string(directory.path().join("openssl.log")).unwrap_or_default();
        let end: Vec<&str> = log.lines().rev().take(20).collect();
        assert!(
            status.success(),
            "odd-cas.sh needs openssl 3; its last lines, last first: {end:#?}"
        );
        directory
    });
    MADE.path()
}

/// The directories below one of `good`, `refused`, `forbids`, with their names.
pub fn cases(kind: &str) -> Vec<(String, PathBuf)> {
    let mut cases: Vec<_> = fs::read_dir(odd_cas().join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                path,
            )
        })
        .collect();
    cases.sort();
    cases
}

pub fn load(directory: &Path, now: Timestamp) -> Result<CertificateAuthority, CaError> {
    let read = |name: &str| fs::read(directory.join(name)).ok();
    let (certificate, key) = (read("tls.crt").unwrap(), read("tls.key").unwrap());
    CertificateAuthority::from_pem(&certificate, &key, read("ca.crt").as_deref(), now)
}

/// A time at which every certificate of the tests has started: not read before they are made (which takes seconds where
/// other tests run), and a little later, for clocks have seconds.
pub fn now() -> Timestamp {
    odd_cas();
    Timestamp::now() + SignedDuration::from_secs(2)
}

pub fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

/// One key of each kind for the whole run: making RSA keys is what takes time.
pub fn key(algorithm: KeyAlgorithm) -> Arc<PrivateKey> {
    static KEYS: LazyLock<Mutex<HashMap<KeyAlgorithm, Arc<PrivateKey>>>> =
        LazyLock::new(Mutex::default);
    let mut keys = KEYS.lock().unwrap();
    keys.entry(algorithm)
        .or_insert_with(|| Arc::new(generate(algorithm).unwrap()))
        .clone()
}

pub fn serial(number: u8) -> [u8; 16] {
    let mut serial = [0xff; 16];
    serial[15] = number;
    serial
}

pub fn dns(name: &str) -> San {
    San::Dns(name.to_owned())
}

pub fn server(key: KeyAlgorithm) -> LeafProfile {
    LeafProfile {
        common_name: "cluster-gateway".to_owned(),
        organizations: vec!["OpenChoreo".to_owned()],
        sans: vec![
            dns("cluster-gateway.ns.svc"),
            dns("cluster-gateway.ns.svc.cluster.local"),
        ],
        usages: Usages::SERVER,
        key,
        duration: hours(8760),
        style: Style::Guide,
    }
}

pub fn client(key: KeyAlgorithm) -> LeafProfile {
    LeafProfile {
        common_name: "eu-1".to_owned(),
        sans: Vec::new(),
        usages: Usages::CLIENT,
        ..server(key)
    }
}

/// Request and signature in one.
pub fn mint(
    ca: &CertificateAuthority,
    profile: &LeafProfile,
    now: Timestamp,
) -> Result<Vec<Certificate>, external_ca_core::x509::MintError> {
    let csr = request(&key(profile.key), profile)?;
    sign_request(ca, csr.der(), profile, serial(7), now)
}

pub fn certificate(pem: &[u8]) -> Certificate {
    let bundle = parse_bundle(pem);
    assert_eq!(bundle.certificates.len(), 1, "{:?}", bundle.unreadable);
    bundle.certificates[0].clone()
}

/// Runs openssl in a directory; its output if it succeeds, else what it said.
pub fn openssl(directory: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("openssl")
        .current_dir(directory)
        .args(arguments)
        .output()
        .expect("openssl must be installed");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stdout) + &text(&output.stderr))
    }
}

/// What Go is asked: does this chain verify?
#[derive(serde::Serialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    pub roots_pem: String,
    pub chain_pem: String,
    pub usage: &'static str,
    pub dns: String,
    pub key_pem: String,
    pub time: String,
}

#[derive(serde::Deserialize, Debug)]
pub struct Answer {
    pub ok: bool,
    pub error: String,
}

/// Go's answers, from `tests/peers` in one run.
pub fn ask_go(questions: &[Question]) -> Vec<Answer> {
    static PEERS: LazyLock<PathBuf> = LazyLock::new(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/build.sh");
        let output = Command::new(script)
            .stderr(Stdio::inherit())
            .output()
            .expect("tests/peers/build.sh must run");
        assert!(output.status.success(), "tests/peers/build.sh needs Go");
        Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("peers")
    });
    let mut peers = Command::new(&*PEERS)
        .args(["verify", "--batch"])
        // What is the default of programs that are written for Go 1.26.
        .env("GODEBUG", "urlstrictcolons=1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the Go peers must start");
    let mut input = peers.stdin.take().unwrap();
    let lines: String = questions
        .iter()
        .map(|q| serde_json::to_string(q).unwrap() + "\n")
        .collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = peers.wait_with_output().unwrap();
    writer.join().unwrap();
    let answers: Vec<Answer> = serde_json::Deserializer::from_slice(&output.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("Go answers in JSON");
    assert_eq!(answers.len(), questions.len(), "Go answers every question");
    answers
}
