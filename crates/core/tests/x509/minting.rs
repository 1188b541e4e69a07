//! Keys, requests, validity, serial numbers, and CAs made here.

use std::fs;

use external_ca_core::x509::{
    BACKDATE, CaProfile, Certificate, CertificateAuthority, KeyAlgorithm, KeyError, LeafProfile,
    PrivateKey, Usages, generate, key_pair_matches, request, self_signed_ca, sign_intermediate,
    sign_request, verify,
};
use jiff::{SignedDuration, Timestamp};

use super::support::{client, hours, key, load, mint, now, odd_cas, openssl, serial, server};

const ALGORITHMS: [KeyAlgorithm; 6] = [
    KeyAlgorithm::Rsa(2048),
    KeyAlgorithm::Rsa(3072),
    KeyAlgorithm::EcdsaP256,
    KeyAlgorithm::EcdsaP384,
    KeyAlgorithm::EcdsaP521,
    KeyAlgorithm::Ed25519,
];

fn ca_profile(path_length: Option<u8>) -> CaProfile {
    CaProfile {
        organizational_units: Vec::new(),
        common_name: "openchoreo-cluster-gateway-ca".to_owned(),
        organizations: vec!["OpenChoreo".to_owned()],
        path_length,
        duration: hours(87_600),
    }
}

fn authority(
    algorithm: KeyAlgorithm,
    path_length: Option<u8>,
    now: Timestamp,
) -> CertificateAuthority {
    let key = key(algorithm);
    let root = self_signed_ca(&key, &ca_profile(path_length), serial(1), now).unwrap();
    CertificateAuthority::from_pem(root.to_pem().as_bytes(), key.to_pem().as_bytes(), None, now)
        .unwrap()
}

#[test]
fn keys_are_pkcs8_version_1_and_openssl_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    for algorithm in ALGORITHMS {
        let key = key(algorithm);
        assert_eq!(key.algorithm(), algorithm);
        assert!(key.to_pem().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        fs::write(directory.path().join("key"), key.to_pem().as_bytes()).unwrap();
        openssl(
            directory.path(),
            &["pkey", "-in", "key", "-check", "-noout"],
        )
        .unwrap();
        let parsed = openssl(directory.path(), &["asn1parse", "-in", "key"]).unwrap();
        assert!(
            parsed.lines().nth(1).unwrap().ends_with(":00"),
            "{algorithm}: version 1 is 0\n{parsed}"
        );
        let again = PrivateKey::from_pem(key.to_pem().as_bytes()).unwrap();
        assert_eq!(again.to_pem(), key.to_pem());
        let shown = format!("{key:?}");
        assert!(
            shown.contains("redacted") && !shown.contains("BEGIN"),
            "{shown}"
        );
    }
    assert_eq!(
        generate(KeyAlgorithm::Rsa(1024)).unwrap_err(),
        KeyError::Weak
    );
    assert_eq!(
        generate(KeyAlgorithm::Rsa(2049)).unwrap_err(),
        KeyError::Unsupported
    );
}

#[test]
fn a_key_fits_its_own_certificate_only() {
    let now = now();
    for algorithm in ALGORITHMS {
        let root = self_signed_ca(&key(algorithm), &ca_profile(None), serial(1), now).unwrap();
        for other in ALGORITHMS {
            let matches = key_pair_matches(&root, key(other).to_pem().as_bytes()).unwrap();
            assert_eq!(matches, algorithm == other, "{algorithm} {other}");
        }
        let fresh = generate(KeyAlgorithm::EcdsaP256).unwrap();
        assert!(!fresh.matches(&root));
    }
    let root = self_signed_ca(
        &key(KeyAlgorithm::EcdsaP256),
        &ca_profile(None),
        serial(1),
        now,
    )
    .unwrap();
    assert_eq!(key_pair_matches(&root, b"nothing"), Err(KeyError::Missing));
    assert_eq!(
        key_pair_matches(&root, root.to_pem().as_bytes()),
        Err(KeyError::Missing)
    );
}

#[test]
fn every_form_of_a_key_comes_out_as_the_same_pkcs8() {
    let keys = odd_cas().join("keys");
    let read = |name: &str| PrivateKey::from_pem(&fs::read(keys.join(name)).unwrap()).unwrap();
    for (one, other) in [
        ("rsa2048", "rsa2048.pkcs1"),
        ("rsa4096", "rsa4096.pkcs1"),
        ("p256", "p256.sec1"),
        ("p384", "p384.sec1"),
        ("p521", "p521.sec1"),
    ] {
        assert_eq!(read(one).to_pem(), read(other).to_pem(), "{one}");
        assert_eq!(
            read(one).to_pem().as_bytes(),
            fs::read(keys.join(one)).unwrap(),
            "{one}: as OpenSSL writes it"
        );
    }
    assert_eq!(
        read("ed25519").to_pem().as_bytes(),
        fs::read(keys.join("ed25519")).unwrap()
    );
}

#[test]
fn pkcs8_version_2_is_read_and_written_as_version_1() {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let version_2 = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let body = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        version_2.as_ref(),
    );
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    let key = PrivateKey::from_pem(pem.as_bytes()).unwrap();
    assert_eq!(key.algorithm(), KeyAlgorithm::Ed25519);
    assert!(key.to_pem().len() < pem.len());
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("key"), key.to_pem().as_bytes()).unwrap();
    openssl(directory.path(), &["pkey", "-in", "key", "-noout"]).unwrap();
}

#[test]
fn generated_cas_sign_leaves_that_openssl_takes_strictly() {
    let now = now();
    let directory = tempfile::tempdir().unwrap();
    for algorithm in ALGORITHMS {
        let ca = authority(algorithm, Some(0), now);
        assert!(ca.certificate().is_self_signed() && ca.certificate().is_ca());
        assert_eq!(ca.anchor(), ca.certificate());
        assert_eq!(ca.intermediates(), []);
        assert_eq!(ca.key_algorithm(), algorithm);
        let chain = mint(&ca, &server(KeyAlgorithm::EcdsaP256), now).unwrap();
        fs::write(directory.path().join("ca"), ca.anchor().to_pem()).unwrap();
        fs::write(directory.path().join("leaf"), chain[0].to_pem()).unwrap();
        let arguments = [
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-CAfile",
            "ca",
            "leaf",
        ];
        openssl(directory.path(), &arguments).unwrap();
    }
}

#[test]
fn validity_is_backdated_and_kept_within_the_chain() {
    let second = SignedDuration::from_secs(1);
    let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let ca = authority(KeyAlgorithm::EcdsaP256, None, start);
    assert_eq!(ca.not_before(), start - BACKDATE);
    assert_eq!(ca.not_after(), start + hours(87_600));

    let leaf = |now: Timestamp, duration| {
        let profile = LeafProfile {
            duration,
            ..client(KeyAlgorithm::EcdsaP256)
        };
        mint(&ca, &profile, now).map(|chain| (chain[0].not_before(), chain[0].not_after()))
    };
    let later = start + hours(24);
    assert_eq!(
        leaf(later, hours(1)),
        Ok((later - BACKDATE, later + hours(1)))
    );
    // Never before the CA starts, never after it ends.
    assert_eq!(
        leaf(start - second, hours(1)),
        Ok((ca.not_before(), start - second + hours(1)))
    );
    assert_eq!(
        leaf(later, hours(200_000)),
        Ok((later - BACKDATE, ca.not_after()))
    );
    assert_eq!(
        leaf(later, SignedDuration::MAX),
        Ok((later - BACKDATE, ca.not_after()))
    );
    assert_eq!(
        leaf(ca.not_after() + second, hours(1))
            .unwrap_err()
            .reason(),
        "Expired"
    );
    assert_eq!(
        leaf(ca.not_before() - second, hours(1))
            .unwrap_err()
            .reason(),
        "NotYetValid"
    );
    // Certificates know whole seconds: what is cut off is cut off downwards.
    let fraction = later + SignedDuration::from_millis(900);
    assert_eq!(
        leaf(fraction, hours(1)),
        Ok((later - BACKDATE, later + hours(1)))
    );
}

#[test]
fn validity_after_2049_is_generalized_time() {
    let now: Timestamp = "2049-12-31T23:58:00Z".parse().unwrap();
    let ca = authority(KeyAlgorithm::EcdsaP256, None, now);
    let profile = LeafProfile {
        duration: SignedDuration::from_mins(2),
        ..client(KeyAlgorithm::EcdsaP256)
    };
    let leaf = &mint(&ca, &profile, now).unwrap()[0];
    assert_eq!(leaf.not_after(), "2050-01-01T00:00:00Z".parse().unwrap());
    let position = |needle: &[u8]| {
        leaf.der()
            .windows(needle.len())
            .position(|window| window == needle)
    };
    assert!(position(b"\x17\x0d491231235300Z").is_some());
    assert!(position(b"\x18\x0f20500101000000Z").is_some());
}

#[test]
fn a_leaf_of_an_endless_ca_may_be_endless() {
    let now = now();
    let ca = load(&odd_cas().join("good/never-ends"), now).unwrap();
    let profile = LeafProfile {
        duration: SignedDuration::MAX,
        ..client(KeyAlgorithm::EcdsaP256)
    };
    let leaf = &mint(&ca, &profile, now).unwrap()[0];
    assert!(leaf.not_after() > "9999-12-30T00:00:00Z".parse().unwrap());
}

#[test]
fn serial_numbers_are_128_bits_positive_and_not_zero() {
    let now = now();
    let ca = authority(KeyAlgorithm::EcdsaP256, None, now);
    let profile = client(KeyAlgorithm::EcdsaP256);
    let csr = request(&key(profile.key), &profile).unwrap();
    let serial_of = |serial: [u8; 16]| {
        sign_request(&ca, csr.der(), &profile, serial, now).map(|c| c[0].serial_hex())
    };
    assert_eq!(
        serial_of([0xff; 16]).as_deref(),
        Ok("7fffffffffffffffffffffffffffffff")
    );
    assert_eq!(
        serial_of(serial(9)).as_deref(),
        Ok("7fffffffffffffffffffffffffffff09")
    );
    let mut one = [0; 16];
    one[15] = 1;
    assert_eq!(serial_of(one).as_deref(), Ok("01"));
    one[15] = 0x80;
    assert_eq!(serial_of(one).as_deref(), Ok("0080"));
    assert_eq!(serial_of([0; 16]).unwrap_err().reason(), "SerialInvalid");
    let mut only_sign = [0; 16];
    only_sign[0] = 0x80;
    assert_eq!(serial_of(only_sign).unwrap_err().reason(), "SerialInvalid");
}

#[test]
fn only_the_public_key_is_taken_from_a_request() {
    let now = now();
    let ca = authority(KeyAlgorithm::EcdsaP256, None, now);
    let asked = LeafProfile {
        common_name: "somebody else".to_owned(),
        ..server(KeyAlgorithm::EcdsaP256)
    };
    let csr = request(&key(KeyAlgorithm::EcdsaP256), &asked).unwrap();
    let given = client(KeyAlgorithm::EcdsaP256);
    let leaf = &sign_request(&ca, csr.der(), &given, serial(1), now).unwrap()[0];
    assert_eq!(leaf.common_names(), ["eu-1"]);
    assert_eq!(leaf.sans(), []);
    assert_eq!(leaf.usages(), Usages::CLIENT);
    assert!(key(KeyAlgorithm::EcdsaP256).matches(leaf));
}

#[test]
fn requests_carry_what_other_issuers_need() {
    let directory = tempfile::tempdir().unwrap();
    for algorithm in ALGORITHMS {
        let csr = request(&key(algorithm), &server(algorithm)).unwrap();
        fs::write(directory.path().join("csr"), csr.to_pem()).unwrap();
        let text = openssl(
            directory.path(),
            &["req", "-in", "csr", "-verify", "-noout", "-text"],
        )
        .unwrap();
        assert!(
            text.contains("CN = cluster-gateway, O = OpenChoreo"),
            "{text}"
        );
        assert!(
            text.contains("DNS:cluster-gateway.ns.svc, DNS:cluster-gateway.ns.svc.cluster.local"),
            "{text}"
        );
        assert!(text.contains("TLS Web Server Authentication"), "{text}");
    }
}

#[test]
fn damaged_requests_are_refused() {
    let now = now();
    let ca = authority(KeyAlgorithm::EcdsaP256, None, now);
    let profile = client(KeyAlgorithm::EcdsaP256);
    let csr = request(&key(profile.key), &profile).unwrap();
    let reason = |der: &[u8]| {
        sign_request(&ca, der, &profile, serial(1), now)
            .err()
            .map(|error| error.reason())
    };
    assert_eq!(reason(csr.der()), None);
    assert_eq!(reason(b""), Some("RequestInvalid"));
    assert_eq!(reason(&[csr.der(), b"x"].concat()), Some("RequestInvalid"));
    for index in 0..csr.der().len() {
        let mut damaged = csr.der().to_vec();
        damaged[index] ^= 1;
        assert!(
            reason(&damaged).is_some(),
            "a bit at {index} was not noticed"
        );
    }
    let rsa = request(
        &key(KeyAlgorithm::Rsa(2048)),
        &client(KeyAlgorithm::Rsa(2048)),
    )
    .unwrap();
    assert_eq!(reason(rsa.der()), Some("KeyAlgorithmMismatch"));
    let other = request(&key(KeyAlgorithm::Rsa(2048)), &profile);
    assert_eq!(other.unwrap_err().reason(), "KeyAlgorithmMismatch");
}

#[test]
fn a_bad_profile_is_neither_requested_nor_signed() {
    let now = now();
    let ca = authority(KeyAlgorithm::EcdsaP256, None, now);
    let good = server(KeyAlgorithm::EcdsaP256);
    let bad = LeafProfile {
        sans: vec![super::support::dns("a b")],
        ..good.clone()
    };
    assert_eq!(
        request(&key(good.key), &bad).unwrap_err().reason(),
        "NamesInvalid"
    );
    let csr = request(&key(good.key), &good).unwrap();
    assert_eq!(
        sign_request(&ca, csr.der(), &bad, serial(1), now)
            .unwrap_err()
            .reason(),
        "NamesInvalid"
    );
    let nameless = CaProfile {
        common_name: String::new(),
        ..ca_profile(None)
    };
    let made = self_signed_ca(&key(good.key), &nameless, serial(1), now);
    assert_eq!(made.unwrap_err().reason(), "SubjectInvalid");
}

#[test]
fn an_intermediate_for_one_plane_isolates_it() {
    let now = now();
    let root = authority(KeyAlgorithm::EcdsaP256, None, now);
    let plane = |name: &str, algorithm| {
        let profile = CaProfile {
            common_name: name.to_owned(),
            ..ca_profile(Some(0))
        };
        let csr = profile.request(&key(algorithm)).unwrap();
        let chain = sign_intermediate(&root, csr.der(), &profile, serial(3), now).unwrap();
        let pem: String = chain.iter().map(Certificate::to_pem).collect();
        let root = root.anchor().to_pem();
        CertificateAuthority::from_pem(
            pem.as_bytes(),
            key(algorithm).to_pem().as_bytes(),
            Some(root.as_bytes()),
            now,
        )
        .unwrap()
    };
    let (one, two) = (
        plane("plane one", KeyAlgorithm::EcdsaP384),
        plane("plane two", KeyAlgorithm::Rsa(2048)),
    );
    assert_eq!(one.anchor(), root.anchor());
    let leaf = mint(&one, &client(KeyAlgorithm::EcdsaP256), now).unwrap();
    assert_eq!(leaf.len(), 2);
    let trusting =
        |anchor: &Certificate| verify(&leaf, std::slice::from_ref(anchor), Usages::CLIENT, now);
    assert_eq!(trusting(root.anchor()), Ok(()));
    assert_eq!(trusting(one.certificate()), Ok(()));
    assert_eq!(
        trusting(two.certificate()).unwrap_err().reason(),
        "UnknownAuthority"
    );
    // Its path length is zero: no CA below it.
    let below = ca_profile(None);
    let csr = below.request(&key(KeyAlgorithm::EcdsaP521)).unwrap();
    let refused = sign_intermediate(&one, csr.der(), &below, serial(4), now);
    assert_eq!(refused.unwrap_err().reason(), "PathLengthExceeded");
}

#[test]
fn a_client_may_not_pass_for_a_server() {
    let now = now();
    let ca = authority(KeyAlgorithm::EcdsaP256, None, now);
    let chain = mint(&ca, &client(KeyAlgorithm::EcdsaP256), now).unwrap();
    let verdict = |usages| {
        verify(&chain, std::slice::from_ref(ca.anchor()), usages, now).map_err(|e| e.reason())
    };
    assert_eq!(verdict(Usages::CLIENT), Ok(()));
    assert_eq!(verdict(Usages::default()), Ok(()));
    assert_eq!(verdict(Usages::SERVER), Err("IncompatibleUsage"));
    assert_eq!(verdict(Usages::BOTH), Err("IncompatibleUsage"));
}
