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
    let of_a_snapshot = ["model/", "reason.", "snapshot."];
    let is_checked = |path: &str| {
        STORED.contains(&path) || of_a_snapshot.iter().any(|floor| path.starts_with(floor))
    };
    let aliases = aliases(sources);
    let is_holder = |name: &str| HOLDERS.contains(&name) || aliases.iter().any(|one| one == name);
    let mut findings = Vec::new();
    for (path, source) in sources.iter().filter(|(path, _)| is_checked(path)) {
        let tokens = tokens(source);
        let found = tokens.iter().filter(|token| is_holder(&token.text));
        findings.extend(found.map(|token| {
            format!(
                "crates/core/src/{path}:{}: {}: a snapshot holds public sides only; keys stay with who signs",
                token.line, token.text
            )
        }));
    }
    findings
}

/// Other names of what holds a key: `type Name = …Holder…;`
fn aliases(sources: &Sources) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources.values() {
        let tokens = tokens(source);
        for (at, token) in tokens.iter().enumerate() {
            let of = tokens[at..].iter().skip(2);
            let mut of = of.take_while(|token| token.text != ";");
            if token.text == "type" && of.any(|token| HOLDERS.contains(&token.text.as_str())) {
                found.extend(tokens.get(at + 1).map(|name| name.text.clone()));
            }
        }
    }
    found
}

#[test]
fn another_name_is_found_too() {
    let sources = [
        ("x509/ca.rs", "pub type Signer = CertificateAuthority;"),
        ("reason.rs", "struct Problem { by: crate::x509::Signer }"),
    ];
    let sources = sources.map(|(path, text)| (path.to_owned(), text.to_owned()));
    let found = mentions(&sources.into());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("reason.rs:1: Signer"), "{found:?}");
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
