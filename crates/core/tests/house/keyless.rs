//! Files whose types no key can reach.

use super::code::tokens;
use super::imports::Sources;

/// What holds a key, and what wipes one.
const HOLDERS: [&str; 5] = [
    "CertificateAuthority",
    "PrivateKey",
    "CaPem",
    "StandIn",
    "Zeroizing",
];

/// The parts of what is stored in a snapshot that x509 defines.
const STORED: [&str; 5] = [
    "x509/ca_chain.rs",
    "x509/ca_error.rs",
    "x509/certificate.rs",
    "x509/facts.rs",
    "x509/fingerprint.rs",
];

/// Each mention of what holds a key, in a file that defines what a snapshot is made of.
pub fn mentions(sources: &Sources) -> Vec<String> {
    let is_checked = |path: &str| path.starts_with("model/") || STORED.contains(&path);
    let mut findings = Vec::new();
    for (path, source) in sources.iter().filter(|(path, _)| is_checked(path)) {
        let tokens = tokens(source);
        let found = tokens
            .iter()
            .filter(|token| HOLDERS.contains(&token.text.as_str()));
        findings.extend(found.map(|token| {
            format!(
                "crates/core/src/{path}:{}: {}: a snapshot holds public sides only; keys stay with who signs",
                token.line, token.text
            )
        }));
    }
    findings
}

#[test]
fn a_mention_is_found_and_one_in_a_comment_is_none() {
    let found = |path: &str, source: &str| {
        let sources = [(path.to_owned(), source.to_owned())].into();
        mentions(&sources)
    };
    let holder = "// no PrivateKey\nuse crate::x509::CaPem;";
    assert_eq!(found("model/observed.rs", holder).len(), 1);
    assert!(found("model/observed.rs", holder)[0].contains("model/observed.rs:2: CaPem"));
    assert_eq!(found("plan/mod.rs", holder), [""; 0]);
}
