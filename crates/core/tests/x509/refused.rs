//! Every CA that must not be used is refused with its reason, and no error shows a byte of a key.

use std::fs;
use std::path::Path;

use external_ca_core::x509::{KeyAlgorithm, PrivateKey, encode_bundle};

use super::support::{Question, ask_go, cases, client, load, mint, now, server};

#[test]
fn each_is_refused_with_its_reason() {
    let refused = cases("refused");
    assert!(refused.len() >= 50, "only {} cases", refused.len());
    for (name, path) in refused {
        let (reason, _) = name.split_once('-').unwrap();
        let error = load(&path, now())
            .err()
            .unwrap_or_else(|| panic!("{name} was accepted"));
        assert_eq!(error.reason(), reason, "{name}: {error}");
        for text in [
            error.to_string(),
            format!("{error:?}"),
            format!("{error:#?}"),
        ] {
            assert!(!shows_key(&text, &path), "{name}: {text}");
            assert!(
                !text.contains('\n') || text.contains("{\n"),
                "{name}: {text}"
            );
        }
    }
}

#[test]
fn each_that_forbids_the_server_leaf_says_why_and_verifiers_agree() {
    let now = now();
    let key = KeyAlgorithm::EcdsaP256;
    let mut asked = 0;
    for (name, path) in cases("forbids") {
        let (reason, _) = name.split_once('-').unwrap();
        let ca = load(&path, now).unwrap();
        assert_eq!(
            ca.permits(&server(key)).unwrap_err().reason(),
            reason,
            "{name}"
        );
        assert_eq!(
            mint(&ca, &server(key), now).unwrap_err().reason(),
            reason,
            "{name}"
        );
        // The client has no names and another usage: only a policy is in its way.
        let client = mint(&ca, &client(key), now);
        assert_eq!(client.is_ok(), reason != "PolicyConstraints", "{name}");
        let Ok(chain) = client else { continue };
        let question = |usage| Question {
            roots_pem: ca.anchor().to_pem(),
            chain_pem: encode_bundle(&chain),
            usage,
            dns: String::new(),
            key_pem: String::new(),
            time: now.to_string(),
        };
        let answers = ask_go(&[question("client"), question("server")]);
        assert!(answers[0].ok && !answers[1].ok, "{name}: {answers:?}");
        asked += 1;
    }
    assert!(asked >= 5);
}

#[test]
fn expiry_is_judged_at_the_time_given() {
    let path = super::support::odd_cas().join("good/key-p256");
    let ca = load(&path, now()).unwrap();
    let certificate = ca.certificate();
    let second = jiff::SignedDuration::from_secs(1);
    let reason = |at| load(&path, at).err().map(|error| error.reason());
    assert_eq!(reason(certificate.not_before()), None);
    assert_eq!(
        reason(certificate.not_before() - second),
        Some("NotYetValid")
    );
    assert_eq!(reason(certificate.not_after()), None);
    assert_eq!(reason(certificate.not_after() + second), Some("Expired"));
    // A CA that was loaded in time does not sign once it has ended.
    let late = mint(
        &ca,
        &server(KeyAlgorithm::EcdsaP256),
        certificate.not_after() + second,
    );
    assert_eq!(late.unwrap_err().reason(), "Expired");
}

#[test]
fn debug_shows_no_key() {
    for (name, path) in cases("good") {
        let ca = load(&path, now()).unwrap();
        for text in [format!("{ca:?}"), format!("{ca:#?}")] {
            assert!(!shows_key(&text, &path), "{name}: {text}");
            assert!(text.contains("redacted"));
        }
    }
}

/// Whether a text has a piece of the Secret's key in it: as base64, as hexadecimal digits, or as Rust prints bytes.
fn shows_key(text: &str, directory: &Path) -> bool {
    let pem = fs::read(directory.join("tls.key")).unwrap();
    let plain = String::from_utf8_lossy(&pem).into_owned();
    let mut pieces: Vec<String> = plain
        .lines()
        .filter(|line| line.len() >= 16 && !line.contains(' ') && !line.starts_with('-'))
        .flat_map(|line| {
            line.as_bytes()
                .chunks_exact(8)
                .map(|piece| String::from_utf8_lossy(piece).into_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    if let Ok(key) = PrivateKey::from_pem(&pem) {
        let body: String = key
            .to_pem()
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        pieces.extend(
            body.as_bytes()
                .chunks_exact(8)
                .map(|piece| String::from_utf8_lossy(piece).into_owned()),
        );
    }
    for block in pem.windows(6) {
        pieces.push(format!("{block:?}").trim_matches(['[', ']']).to_owned());
        pieces.push(block.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    pieces.iter().any(|piece| text.contains(piece.as_str()))
}
