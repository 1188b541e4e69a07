//! The extensions of minted certificates, as OpenSSL prints them: the guide's profiles, to the letter.

use std::fs;

use external_ca_core::x509::{KeyAlgorithm, LeafProfile, San, Usages};

use super::support::{client, load, mint, now, odd_cas, openssl, server};

fn printed(profile: &LeafProfile) -> String {
    let ca = load(&odd_cas().join("good/key-p256"), now()).unwrap();
    let chain = mint(&ca, profile, now()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("leaf.pem"), chain[0].to_pem()).unwrap();
    let extensions = "basicConstraints,keyUsage,extendedKeyUsage,subjectAltName";
    let text = openssl(
        directory.path(),
        &[
            "x509", "-in", "leaf.pem", "-noout", "-subject", "-nameopt", "RFC2253", "-ext",
            extensions,
        ],
    )
    .unwrap();
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_server_leaf() {
    assert_eq!(
        printed(&server(KeyAlgorithm::Rsa(2048))),
        "subject=O=OpenChoreo,CN=cluster-gateway\n\
         X509v3 Basic Constraints: critical\nCA:FALSE\n\
         X509v3 Key Usage: critical\nDigital Signature, Key Encipherment\n\
         X509v3 Extended Key Usage:\nTLS Web Server Authentication\n\
         X509v3 Subject Alternative Name:\n\
         DNS:cluster-gateway.ns.svc, DNS:cluster-gateway.ns.svc.cluster.local"
    );
}

#[test]
fn only_rsa_keys_encipher() {
    for key in [
        KeyAlgorithm::EcdsaP256,
        KeyAlgorithm::EcdsaP384,
        KeyAlgorithm::EcdsaP521,
        KeyAlgorithm::Ed25519,
    ] {
        assert!(
            printed(&server(key)).contains("Key Usage: critical\nDigital Signature\n"),
            "{key}"
        );
    }
}

#[test]
fn the_client_leaf() {
    assert_eq!(
        printed(&client(KeyAlgorithm::Rsa(2048))),
        "subject=O=OpenChoreo,CN=eu-1\n\
         X509v3 Basic Constraints: critical\nCA:FALSE\n\
         X509v3 Key Usage: critical\nDigital Signature\n\
         X509v3 Extended Key Usage:\nTLS Web Client Authentication"
    );
}

#[test]
fn both_usages_and_every_kind_of_name() {
    let profile = LeafProfile {
        common_name: "Grüße, \"Welt\"".to_owned(),
        organizations: vec!["One".to_owned(), "Two".to_owned()],
        sans: vec![
            San::Dns("*.example.com".to_owned()),
            San::Dns("Example.com".to_owned()),
            San::Dns("example.COM".to_owned()),
            San::Ip("10.0.0.1".parse().unwrap()),
            San::Ip("fd00::1".parse().unwrap()),
            San::Uri("spiffe://example.com/gateway".to_owned()),
        ],
        usages: Usages::BOTH,
        ..server(KeyAlgorithm::Rsa(2048))
    };
    assert_eq!(
        printed(&profile),
        "subject=O=Two,O=One,CN=Gr\\C3\\BC\\C3\\9Fe\\, \\\"Welt\\\"\n\
         X509v3 Basic Constraints: critical\nCA:FALSE\n\
         X509v3 Key Usage: critical\nDigital Signature, Key Encipherment\n\
         X509v3 Extended Key Usage:\nTLS Web Server Authentication, TLS Web Client Authentication\n\
         X509v3 Subject Alternative Name:\n\
         DNS:*.example.com, DNS:Example.com, IP Address:10.0.0.1, IP Address:FD00:0:0:0:0:0:0:1, \
         URI:spiffe://example.com/gateway"
    );
}
