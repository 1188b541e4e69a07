//! Every odd CA signs every kind of leaf, and OpenSSL, Go and we ourselves accept all of them.

use std::fs;

use external_ca_core::x509::{
    Certificate, CertificateAuthority, KeyAlgorithm, LeafProfile, Usages, encode_bundle, verify,
};

use super::support::{Question, ask_go, cases, client, key, load, mint, now, openssl, server};

const LEAF_KEYS: [KeyAlgorithm; 5] = [
    KeyAlgorithm::Rsa(2048),
    KeyAlgorithm::EcdsaP256,
    KeyAlgorithm::EcdsaP384,
    KeyAlgorithm::EcdsaP521,
    KeyAlgorithm::Ed25519,
];

fn profiles() -> Vec<LeafProfile> {
    LEAF_KEYS
        .into_iter()
        .flat_map(|key| {
            let both = LeafProfile {
                usages: Usages::BOTH,
                ..server(key)
            };
            [server(key), client(key), both]
        })
        .collect()
}

#[test]
fn every_odd_ca_loads_and_its_leaves_verify_everywhere() {
    let now = now();
    let directory = tempfile::tempdir().unwrap();
    let cas = cases("good");
    assert!(cas.len() >= 41, "only {} CAs", cas.len());

    let (mut questions, mut asked, mut minted, mut by_openssl) = (Vec::new(), Vec::new(), 0, 0);
    for (name, path) in &cas {
        let ca = load(path, now).unwrap_or_else(|error| panic!("{name}: {error}"));
        let anchor = directory.path().join("anchor.pem");
        let above = directory.path().join("above.pem");
        fs::write(&anchor, ca.anchor().to_pem()).unwrap();
        fs::write(&above, encode_bundle(ca.intermediates())).unwrap();
        let (mut servers, mut clients) = (Vec::new(), Vec::new());

        for (index, profile) in profiles().into_iter().enumerate() {
            let chain = mint(&ca, &profile, now)
                .unwrap_or_else(|error| panic!("{name} {profile:?}: {error}"));
            check_leaf(name, &ca, &chain[0], &profile);
            assert_eq!(chain[1..], *ca.intermediates(), "{name}");
            assert!(
                chain[1..]
                    .iter()
                    .all(|certificate| !certificate.is_self_signed()),
                "{name}: a root is presented"
            );

            let file = format!("leaf-{index}.pem");
            fs::write(directory.path().join(&file), chain[0].to_pem()).unwrap();
            for (usage, name_of, files, single) in [
                (
                    profile.usages.server_auth,
                    "server",
                    &mut servers,
                    Usages::SERVER,
                ),
                (
                    profile.usages.client_auth,
                    "client",
                    &mut clients,
                    Usages::CLIENT,
                ),
            ] {
                let verdict = verify(&chain, std::slice::from_ref(ca.anchor()), single, now);
                assert_eq!(
                    verdict.is_ok(),
                    usage,
                    "{name} {profile:?} as a {name_of}: {verdict:?}"
                );
                let is_server = profile.usages.server_auth;
                questions.push(Question {
                    roots_pem: ca.anchor().to_pem(),
                    chain_pem: encode_bundle(&chain),
                    usage: name_of,
                    dns: if is_server {
                        "cluster-gateway.ns.svc,cluster-gateway.ns.svc.cluster.local"
                    } else {
                        ""
                    }
                    .to_owned(),
                    key_pem: key(profile.key).to_pem().to_string(),
                    time: now.to_string(),
                });
                asked.push((name.clone(), usage));
                if usage {
                    files.push(file.clone());
                }
            }
            minted += 1;
        }

        for (purpose, files) in [("sslserver", servers), ("sslclient", clients)] {
            by_openssl += files.len();
            let mut arguments = vec!["verify", "-purpose", purpose, "-CAfile", "anchor.pem"];
            // OpenSSL's strict rules are for the CA as well: no SKI or no keyUsage on it, and they refuse everything.
            if !path.join("lenient").exists() {
                arguments.push("-x509_strict");
            }
            if !ca.anchor().is_self_signed() {
                arguments.push("-partial_chain");
            }
            if !ca.intermediates().is_empty() {
                arguments.extend(["-untrusted", "above.pem"]);
            }
            arguments.extend(files.iter().map(String::as_str));
            openssl(directory.path(), &arguments)
                .unwrap_or_else(|said| panic!("{name}, {purpose}: {said}"));
        }
    }

    for ((name, expected), answer) in asked.iter().zip(ask_go(&questions)) {
        assert_eq!(answer.ok, *expected, "{name}: Go says {:?}", answer.error);
    }
    println!(
        "{} CAs, {minted} leaves, {by_openssl} verified by OpenSSL, {} by Go",
        cas.len(),
        questions.len()
    );
}

fn check_leaf(name: &str, ca: &CertificateAuthority, leaf: &Certificate, profile: &LeafProfile) {
    let issuer = ca.certificate();
    assert_eq!(
        leaf.issuer_der(),
        issuer.subject_der(),
        "{name}: the issuer is the CA's subject, byte for byte"
    );
    assert!(leaf.signed_by(issuer), "{name}");
    if let Some(identifier) = issuer.subject_key_id() {
        assert_eq!(leaf.authority_key_id(), Some(identifier), "{name}: AKI");
    }
    assert_eq!(
        leaf.authority_key_id().map(<[u8]>::is_empty),
        Some(false),
        "{name}: AKI"
    );
    assert_eq!(
        leaf.subject_key_id().map(<[u8]>::len),
        Some(20),
        "{name}: SKI"
    );
    assert_eq!(
        leaf.common_names(),
        std::slice::from_ref(&profile.common_name),
        "{name}"
    );
    assert_eq!(leaf.organizations(), profile.organizations, "{name}");
    assert_eq!(leaf.sans(), profile.sans, "{name}");
    assert_eq!(leaf.usages(), profile.usages, "{name}");
    assert_eq!(leaf.key_algorithm(), Some(profile.key), "{name}");
    assert!(key(profile.key).matches(leaf), "{name}");
    assert!(
        leaf.not_before() >= ca.not_before() && leaf.not_after() <= ca.not_after(),
        "{name}: validity"
    );
    assert_eq!(leaf.defect(), None, "{name}");
    assert!(!leaf.is_ca(), "{name}");
    let usage = leaf.key_usage().unwrap();
    assert!(
        usage.digital_signature && !usage.key_cert_sign && !usage.crl_sign && !usage.other,
        "{name}"
    );
    let encipher = profile.usages.server_auth && matches!(profile.key, KeyAlgorithm::Rsa(_));
    assert_eq!(
        usage.key_encipherment, encipher,
        "{name}: keyEncipherment is for RSA servers"
    );
}

#[test]
fn the_chain_is_told_apart() {
    let now = now();
    let ca = |name: &str| load(&super::support::odd_cas().join("good").join(name), now).unwrap();
    let names = |certificates: &[Certificate]| -> Vec<String> {
        certificates
            .iter()
            .map(|certificate| certificate.common_names().join(" "))
            .collect()
    };
    let cases: &[(&str, &str, &[&str], &str)] = &[
        (
            "guide",
            "openchoreo-cluster-gateway-ca",
            &[],
            "openchoreo-cluster-gateway-ca",
        ),
        (
            "chain-issuer-first",
            "Intermediate",
            &["Intermediate"],
            "Root",
        ),
        (
            "chain-root-first",
            "Intermediate",
            &["Intermediate"],
            "Root",
        ),
        (
            "chain-root-in-ca-crt",
            "Intermediate",
            &["Intermediate"],
            "Root",
        ),
        (
            "chain-root-in-both",
            "Intermediate",
            &["Intermediate"],
            "Root",
        ),
        (
            "chain-with-strangers",
            "Intermediate",
            &["Intermediate"],
            "Root",
        ),
        (
            "chain-without-root",
            "Intermediate",
            &["Intermediate"],
            "Intermediate",
        ),
        (
            "chain-unrelated-ca-crt",
            "Intermediate",
            &["Intermediate"],
            "Intermediate",
        ),
        ("chain-three-levels", "third", &["third", "second"], "top"),
        (
            "chain-three-levels-without-root",
            "third",
            &["third", "second"],
            "second",
        ),
        ("chain-middle-of-three", "second", &["second"], "top"),
        ("chain-cross-signed", "Cross", &["Cross"], "Root"),
        ("chain-renewed-with-the-same-key", "Renewed", &[], "Renewed"),
    ];
    for (name, issuing, intermediates, anchor) in cases {
        let ca = ca(name);
        assert_eq!(
            ca.certificate().common_names().join(" "),
            *issuing,
            "{name}"
        );
        assert_eq!(names(ca.intermediates()), *intermediates, "{name}");
        assert_eq!(ca.anchor().common_names().join(" "), *anchor, "{name}");
        assert_eq!(ca.chain().next(), Some(ca.certificate()), "{name}");
        assert_eq!(ca.chain().last(), Some(ca.anchor()), "{name}");
        assert_eq!(
            Some(ca.not_after()),
            ca.chain().map(Certificate::not_after).min(),
            "{name}"
        );
    }
    let endless = ca("never-ends");
    assert_eq!(endless.not_after(), jiff::Timestamp::MAX);
}

#[test]
fn subjects_are_printed_as_openssl_prints_them() {
    let directory = super::support::odd_cas();
    let mut compared = 0;
    for (name, path) in cases("good") {
        let ca = load(&path, now()).unwrap();
        fs::write(directory.join("subject.pem"), ca.certificate().to_pem()).unwrap();
        let arguments = [
            "x509",
            "-in",
            "subject.pem",
            "-noout",
            "-subject",
            "-nameopt",
            "RFC2253,-esc_msb,utf8,-dump_unknown,sname",
        ];
        let printed = openssl(directory, &arguments).unwrap();
        let printed = printed
            .trim_end_matches('\n')
            .strip_prefix("subject=")
            .unwrap();
        // OpenSSL turns a part of several attributes around as well; a set has no order.
        let sorted = |subject: &str| {
            let parts = subject.split(',').map(|part| {
                let mut attributes: Vec<&str> = part.split('+').collect();
                attributes.sort_unstable();
                attributes.join("+")
            });
            parts.collect::<Vec<_>>().join(",")
        };
        assert_eq!(
            sorted(ca.certificate().subject()),
            sorted(printed),
            "{name}"
        );
        compared += 1;
    }
    assert!(compared >= 41);
}
