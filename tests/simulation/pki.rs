//! Certificates and keys that are the same each time: Ed25519, from a number.

use std::sync::{Arc, OnceLock};

use external_ca_core::x509::{
    CaChain, CaProfile, Certificate, CertificateAuthority, PrivateKey, self_signed_ca,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;

/// How many CAs take turns in the CA Secret.
pub const CAS: usize = 3;
const NAMES: [&str; CAS + 1] = ["A", "B", "C", "stranger"];
/// The second one ends before a certificate of the full duration would.
const DAYS: [i64; CAS + 1] = [3650, 200, 3650, 3650];

pub fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

pub fn key(number: u64) -> PrivateKey {
    // PKCS#8 (RFC 8410): what is the same for every Ed25519 key, then its 32 bytes.
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend(number.to_be_bytes().repeat(4));
    let base64 = serde_json::to_value(ByteString(der)).unwrap();
    let line = base64.as_str().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{line}\n-----END PRIVATE KEY-----\n");
    PrivateKey::from_pem(pem.as_bytes()).unwrap()
}

pub fn ca(index: usize) -> Arc<CertificateAuthority> {
    static ALL: OnceLock<Vec<Arc<CertificateAuthority>>> = OnceLock::new();
    let all = ALL.get_or_init(|| (0..=CAS).map(make_ca).collect());
    Arc::clone(&all[index])
}

/// What signs, by its public side.
pub fn signer(seen: &CaChain) -> Arc<CertificateAuthority> {
    let mut all = (0..=CAS).map(ca);
    all.find(|ca| **ca.public_side() == *seen).unwrap()
}

/// An anchor that nobody but people ever has to do with.
pub fn stranger() -> Certificate {
    ca(CAS).anchor().clone()
}

fn make_ca(index: usize) -> Arc<CertificateAuthority> {
    let number = u8::try_from(index).unwrap() + 1;
    let key = key(number.into());
    let profile = CaProfile {
        organizational_units: Vec::new(),
        common_name: "openchoreo-cluster-gateway-ca".into(),
        organizations: vec!["OpenChoreo".into()],
        path_length: None,
        duration: SignedDuration::from_hours(24 * DAYS[index]),
    };
    let certificate = self_signed_ca(&key, &profile, [number; 16], start()).unwrap();
    let (certificate, key) = (certificate.to_pem(), key.to_pem());
    let authority =
        CertificateAuthority::from_pem(certificate.as_bytes(), key.as_bytes(), None, start());
    Arc::new(authority.unwrap())
}

/// Anchors as a trace names them.
pub fn names(anchors: &[Certificate]) -> String {
    let names = anchors
        .iter()
        .map(|anchor| name(&anchor.fingerprint().to_string()));
    names.collect::<Vec<_>>().join(" ")
}

/// An anchor as a trace names it.
pub fn name(fingerprint: &str) -> &'static str {
    let is = |index: &usize| ca(*index).anchor().fingerprint().to_string() == fingerprint;
    (0..=CAS).find(is).map_or("?", |index| NAMES[index])
}
