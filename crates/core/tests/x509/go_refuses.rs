//! Certificates that Go refuses, each for one reason, and signed as they should be: what got through once, and its like.

use external_ca_core::x509::{Usages, parse_bundle, verify};

use super::awkward_names::{NAME_CONSTRAINTS, SAN};
use super::der::{BITS, BOOLEAN, INTEGER, Node, OCTETS, OID, SEQUENCE, SET, oid, sequence, tlv};
use super::keys::{Key, pem};
use super::mutate::{SPKI, SUBJECT};
use super::support::{Question, ask_go};

/// A certificate of version 3 without extensions, whose own key signs it.
fn plain(key: &Key) -> Node {
    let name = sequence(&[tlv(SET, &sequence(&[oid("2.5.4.3"), tlv(12, b"agent")]))]);
    let times = ["200101000000Z", "491231235959Z"].map(|time| tlv(23, time.as_bytes()));
    let tbs = sequence(&[
        tlv(0xa0, &tlv(INTEGER, &[2])),
        tlv(INTEGER, &[0x42]),
        Key::algorithm(),
        name.clone(),
        sequence(&times),
        name,
        key.spki(),
        tlv(0xa3, &sequence(&[])),
    ]);
    Node::parse(&tbs).unwrap()
}

fn with_part(at: usize, part: &[u8]) -> Node {
    let mut tbs = plain(&Key::number(2));
    tbs.nodes()[at] = Node::parse(part).unwrap();
    tbs
}

fn with_extension(kind: &str, critical: bool, value: Vec<u8>) -> Node {
    let mut nodes = vec![Node::parse(&oid(kind)).unwrap(), Node::new(OCTETS, value)];
    if critical {
        nodes.insert(1, Node::new(BOOLEAN, [0xff]));
    }
    let mut tbs = plain(&Key::number(2));
    tbs.nodes().last_mut().unwrap().nodes()[0]
        .nodes()
        .push(Node::of(SEQUENCE, nodes));
    tbs
}

fn uri(text: &str) -> Node {
    with_extension(SAN, false, sequence(&[tlv(0x86, text.as_bytes())]))
}

fn constraint(base: Vec<u8>) -> Node {
    let subtrees = tlv(0xa0, &sequence(&[base]));
    with_extension(NAME_CONSTRAINTS, true, sequence(&[subtrees]))
}

/// A public key on a curve, of these coordinates.
fn point(curve: &str, x: &[u8], y: &[u8]) -> Node {
    let bits = tlv(BITS, &[&[0, 4], x, y].concat());
    with_part(
        SPKI,
        &sequence(&[sequence(&[oid("1.2.840.10045.2.1"), oid(curve)]), bits]),
    )
}

fn rsa(exponent: &[u8]) -> Node {
    let modulus = [&[0, 0x90][..], &[0x55; 254], &[0x57]].concat();
    let key = sequence(&[tlv(INTEGER, &modulus), tlv(INTEGER, exponent)]);
    let algorithm = sequence(&[oid("1.2.840.113549.1.1.1"), tlv(5, &[])]);
    with_part(
        SPKI,
        &sequence(&[algorithm, tlv(BITS, &[&[0], key.as_slice()].concat())]),
    )
}

fn dsa() -> Node {
    let (number, zero) = (tlv(INTEGER, &[5]), tlv(INTEGER, &[0]));
    let domain = sequence(&[number.clone(), zero, number.clone()]);
    let algorithm = sequence(&[oid("1.2.840.10040.4.1"), domain]);
    with_part(
        SPKI,
        &sequence(&[algorithm, tlv(BITS, &[&[0], number.as_slice()].concat())]),
    )
}

fn table() -> Vec<(&'static str, Node)> {
    let mut empty_set = Node::parse(&sequence(&[tlv(SET, &[])])).unwrap();
    let unreadable = sequence(&[oid("2.5.4.3"), tlv(12, &[0xff])]);
    empty_set
        .nodes()
        .push(Node::parse(&tlv(SET, &unreadable)).unwrap());
    let svc = sequence(&[tlv(0x82, b"svc")]);
    let policy = sequence(&[oid("1.2.3")]);
    let uris = [
        "https://u]p@h/",
        "http://::1:8/",
        "https://[::1",
        "https://[10.0.0.1]/",
        "https://a^b/",
        "https://a.svc:x/",
        "https://a.svc/%zz",
        "https://a.svc/#%zz",
        "https://u%zz@a.svc/",
        "1a://b",
        ":a",
        "a\u{7f}",
    ];
    let mut table: Vec<(&str, Node)> = uris.map(|text| (text, uri(text))).into();
    table.extend([
        (
            "a mailbox constraint that is none",
            constraint(tlv(0x81, b".a@svc")),
        ),
        (
            "a mailbox constraint in open quotes",
            constraint(tlv(0x81, b"\"a@svc")),
        ),
        (
            "a critical constraint in a URI's place, constructed",
            constraint(tlv(0xa6, b"svc")),
        ),
        (
            "something behind the constraints",
            with_extension(
                NAME_CONSTRAINTS,
                true,
                [sequence(&[tlv(0xa0, &svc)]), tlv(5, &[])].concat(),
            ),
        ),
        (
            "two permitted lists",
            with_extension(
                NAME_CONSTRAINTS,
                true,
                sequence(&[tlv(0xa0, &svc), tlv(0xa0, &svc)]),
            ),
        ),
        (
            "empty lists of constraints",
            with_extension(NAME_CONSTRAINTS, false, sequence(&[tlv(0xa0, &[])])),
        ),
        (
            "a version with something behind it",
            with_part(0, &tlv(0xa0, &[tlv(INTEGER, &[2]), tlv(5, &[])].concat())),
        ),
        (
            "a negative version",
            with_part(0, &tlv(0xa0, &tlv(INTEGER, &[0x80]))),
        ),
        (
            "a point of P-256 that is not on it",
            point("1.2.840.10045.3.1.7", &[1; 32], &[1; 32]),
        ),
        (
            "a point of P-384 that is not on it",
            point("1.3.132.0.34", &[1; 48], &[1; 48]),
        ),
        (
            "a point of P-521 that is not on it",
            point("1.3.132.0.35", &[0; 66], &[0; 66]),
        ),
        (
            "a point of P-224 that is not on it",
            point("1.3.132.0.33", &[1; 28], &[1; 28]),
        ),
        (
            "coordinates beyond the field",
            point("1.2.840.10045.3.1.7", &[0xff; 32], &[0xff; 32]),
        ),
        ("an RSA exponent of nothing", rsa(&[0])),
        ("a negative RSA exponent", rsa(&[0xff])),
        (
            "an RSA exponent of 65 bits",
            rsa(&[1, 0, 0, 0, 0, 0, 0, 0, 1]),
        ),
        ("a DSA parameter of nothing", dsa()),
        (
            "an unreadable value behind an empty part of a name",
            with_part(SUBJECT, &empty_set.encode()),
        ),
        (
            "a policy twice",
            with_extension("2.5.29.32", false, sequence(&[policy.clone(), policy])),
        ),
        (
            "a policy that is no OID",
            with_extension(
                "2.5.29.32",
                false,
                sequence(&[sequence(&[tlv(OID, &[0x80, 1])])]),
            ),
        ),
        (
            "a usage with a part beyond 31 bits",
            with_extension(
                "2.5.29.37",
                false,
                sequence(&[tlv(OID, &[0x2b, 0x8f, 0xff, 0xff, 0xff, 0x7f])]),
            ),
        ),
        (
            "a distribution point without its name",
            with_extension("2.5.29.31", false, sequence(&[sequence(&[tlv(0xa0, &[])])])),
        ),
        (
            "an access description without a method",
            with_extension("1.3.6.1.5.5.7.1.1", false, sequence(&[sequence(&[])])),
        ),
    ]);
    table
}

#[test]
fn each_is_refused() {
    let key = Key::number(2);
    let mut rows = vec![("nothing", plain(&key))];
    rows.extend(table());
    let texts: Vec<String> = rows
        .iter()
        .map(|(_, tbs)| pem("CERTIFICATE", &key.sign(&tbs.encode())))
        .collect();
    let questions: Vec<Question> = texts.iter().map(|text| question(text)).collect();
    let mut accepted = Vec::new();
    for ((what, _), (text, go)) in rows.iter().zip(texts.iter().zip(ask_go(&questions))) {
        let read = parse_bundle(text.as_bytes()).certificates;
        let ours = verify(
            &read,
            &read,
            Usages::CLIENT,
            "2026-06-01T00:00:00Z".parse().unwrap(),
        );
        assert_eq!(go.ok, *what == "nothing", "{what}: Go says {:?}", go.error);
        if ours.is_ok() {
            accepted.push(*what);
        }
    }
    assert_eq!(accepted, ["nothing"]);
}

fn question(text: &str) -> Question {
    Question {
        roots_pem: text.to_owned(),
        chain_pem: text.to_owned(),
        usage: "client",
        dns: String::new(),
        key_pem: String::new(),
        time: "2026-06-01T00:00:00Z".to_owned(),
    }
}
