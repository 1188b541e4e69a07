//! Bundles as they stand in ConfigMaps, Secrets and plane resources.

use std::sync::LazyLock;

use external_ca_core::x509::{Bundle, Certificate, CertificateError, encode_bundle, parse_bundle};
use proptest::prelude::*;

use super::support::{cases, load, now, odd_cas};

/// Twelve that differ.
fn certificates() -> Vec<Certificate> {
    let mut certificates: Vec<Certificate> = Vec::new();
    for (_, path) in cases("good").into_iter().rev() {
        let anchor = load(&path, now()).unwrap().anchor().clone();
        if certificates.len() < 12 && !certificates.contains(&anchor) {
            certificates.push(anchor);
        }
    }
    certificates
}

#[test]
fn comments_alone_are_an_empty_bundle() {
    for text in [
        "",
        "\n",
        "# filled in by the operator\n# later\n",
        "not PEM at all",
        "-----",
    ] {
        assert_eq!(parse_bundle(text.as_bytes()), Bundle::default(), "{text:?}");
        assert!(parse_bundle(text.as_bytes()).is_empty());
    }
}

#[test]
fn text_between_blocks_and_repetitions_do_not_matter() {
    let [a, b] = [&certificates()[0], &certificates()[1]];
    let text = format!(
        "first\n{}\n# key follows\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n{}{}the end",
        a.to_pem(),
        b.to_pem(),
        a.to_pem()
    );
    for text in [text.clone(), text.replace('\n', "\r\n")] {
        let bundle = parse_bundle(text.as_bytes());
        assert_eq!(bundle.certificates, [a.clone(), b.clone()]);
        assert_eq!(bundle.unreadable, []);
    }
}

#[test]
fn what_was_meant_to_be_a_certificate_is_reported_with_its_line() {
    let good = certificates()[0].to_pem();
    let lines = good.lines().count();
    let cut: String = good
        .lines()
        .take(3)
        .map(|line| format!("{line}\n"))
        .collect();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases = [
        (format!("{good}{cut}"), vec![lines + 1]),
        (format!("{cut}{good}"), vec![1]),
        (format!("# x\n{garbage}{good}{garbage}"), vec![2, lines + 5]),
        (format!("{good}  {good}"), vec![lines + 1]),
        (good.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), vec![1]),
        (
            good.replace("CERTIFICATE-----\nM", "CERTIFICATE-----\nK: v\n\nM"),
            vec![1],
        ),
    ];
    for (text, expected) in cases {
        let bundle = parse_bundle(text.as_bytes());
        let found: Vec<usize> = bundle
            .unreadable
            .iter()
            .map(|unreadable| unreadable.line)
            .collect();
        assert_eq!(found, expected, "{:?}\n{text}", bundle.unreadable);
        assert!(!bundle.is_empty());
    }
}

#[test]
fn der_is_read_whole_or_not_at_all() {
    let certificate = &certificates()[0];
    let der = certificate.der().to_vec();
    assert_eq!(Certificate::from_der(der.clone()).as_ref(), Ok(certificate));
    assert_eq!(
        Certificate::from_der([der.clone(), vec![0, 0]].concat()),
        Err(CertificateError::TrailingData(2))
    );
    for length in 0..der.len() {
        assert_eq!(
            Certificate::from_der(der[..length].to_vec()),
            Err(CertificateError::Malformed)
        );
    }
}

#[test]
fn a_flipped_bit_never_panics_and_never_verifies() {
    // One of each kind of key: checking a signature of RSA for every byte takes its time.
    for name in [
        "key-rsa2048",
        "key-p256",
        "key-p521",
        "key-ed25519",
        "signed-pss",
    ] {
        let certificate = load(&odd_cas().join("good").join(name), now())
            .unwrap()
            .certificate()
            .clone();
        for index in 0..certificate.der().len() {
            let mut der = certificate.der().to_vec();
            der[index] ^= 1 << (index % 8);
            if let Ok(flipped) = Certificate::from_der(der) {
                let _ = (
                    flipped.subject(),
                    flipped.serial_hex(),
                    flipped.sans(),
                    flipped.defect(),
                );
                assert_ne!(flipped, certificate);
                // RSA's signature algorithm stands twice; the outer one is not signed, and a difference is a defect.
                assert!(
                    !flipped.is_self_signed() || flipped.defect().is_some(),
                    "{certificate:?} at {index}"
                );
            }
        }
    }
}

static ALL: LazyLock<Vec<Certificate>> = LazyLock::new(certificates);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_is_parsed_again(picks in proptest::collection::vec(0_usize..12, 0..20), noise in "[ -,.-~\n]{0,40}") {
        let all = &*ALL;
        let chosen: Vec<Certificate> = picks.iter().map(|pick| all[*pick].clone()).collect();
        let mut once: Vec<Certificate> = Vec::new();
        for certificate in &chosen {
            if !once.contains(certificate) {
                once.push(certificate.clone());
            }
        }
        let text = format!("{noise}\n{}{noise}", encode_bundle(&chosen));
        let bundle = parse_bundle(text.as_bytes());
        prop_assert_eq!(&bundle.certificates, &once);
        prop_assert_eq!(parse_bundle(encode_bundle(&bundle.certificates).as_bytes()).certificates, once);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        parse_bundle(&bytes);
        prop_assert!(Certificate::from_der(bytes).is_err());
    }
}
