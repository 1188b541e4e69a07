//! Names and constraints on names that certificates are mutated with: sound ones, odd ones, and those that Go refuses.

use super::der::{NULL, oid, sequence, tlv};

pub const SAN: &str = "2.5.29.17";
pub const NAME_CONSTRAINTS: &str = "2.5.29.30";

const URIS: &[&str] = &[
    "https://u]p@h/",
    "http://::1:8/",
    "spiffe://a.svc/x",
    "https://a.svc:8/",
    "https://a.svc:/",
    "https://a.svc:x/",
    "https://[::1]/",
    "https://[::1]:8/",
    "https://[::1",
    "https://::1]/",
    "https://[10.0.0.1]/",
    "https://[fe80::1%25e]/",
    "https://10.0.0.1/",
    "https://a:b:c/",
    "spiffe://a:b:8/",
    "urn:a:b",
    "a:",
    ":a",
    "1a://b",
    "a b:c",
    "a/b:c",
    "a:b/c",
    "//a.svc/x",
    "///a",
    "/a",
    "",
    "*",
    "https://a b/",
    "https://a%20b/",
    "https://a%41/",
    "https://a%zz/",
    "https://a.svc/%zz",
    "https://a.svc/%2",
    "https://a.svc/?%zz",
    "https://a.svc/#%zz",
    "https://a.svc?x",
    "https://a.svc#x",
    "https://u:p@a.svc/",
    "https://u%zz@a.svc/",
    "https://u@p@a.svc/",
    "https://u p@a.svc/",
    "https://a..svc/",
    "https://.svc/",
    "https://a.svc./",
    "https://A_b.svc/",
    "https:///x",
    "https://a<b>/",
    "https://a\"b/",
    "https://a\\b/",
    "https://a;b,c!d$e&f'g(h)i*j+k=l/",
    "https://a^b/",
    "https://a|b/",
    "https://%e4.svc/",
    "https://a.svc/\u{7f}",
    "https://a.svc/\n",
    "ldap://a.svc/cn=x?y",
];

const DOMAINS: &[&str] = &[
    "", ".", "svc", ".svc", "a.svc", "*.svc", "a..svc", ".a.", "a b", "a\u{7f}", "A.SVC",
    "10.0.0.1", "a@svc", "*", "-", "_",
];

const MAILBOXES: &[&str] = &[
    "a@svc",
    "@svc",
    "a@",
    "a@b@svc",
    "\"a b\"@svc",
    "\"a@svc",
    "a b@svc",
    ".a@svc",
    "a.@svc",
    "a..b@svc",
    "a\\@b@svc",
    "A@Svc",
    "a@.svc",
    "a@a..svc",
];

const ADDRESSES: &[&[u8]] = &[
    &[10, 0, 0, 1],
    &[],
    &[10, 0, 0],
    &[10, 0, 0, 1, 255, 0, 0, 0],
    &[10, 0, 0, 0, 255, 0, 0, 0],
    &[10, 0, 0, 1, 255, 0, 255, 0],
    &[11, 0, 0, 0, 0xa0, 0, 0, 0],
    &[0; 8],
    &[0; 16],
    &[0; 32],
    &[0xff; 32],
];

/// A general name of any kind; the tags that are none are among them.
fn general_names() -> Vec<Vec<u8>> {
    let texts = |tag, texts: &[&str]| {
        let texts = texts.iter().map(|text| tlv(tag, text.as_bytes()));
        texts.collect::<Vec<_>>()
    };
    let mut names = texts(0x86, URIS);
    names.extend(
        [0x81, 0x82, 0x86]
            .iter()
            .flat_map(|tag| texts(*tag, DOMAINS)),
    );
    names.extend(texts(0x81, MAILBOXES));
    names.extend(ADDRESSES.iter().map(|bytes| tlv(0x87, bytes)));
    names.extend([0x81, 0x82, 0x86].map(|tag| tlv(tag, &[0xe4])));
    names.extend(
        [0xa1, 0xa2, 0xa6, 0xa7, 0xa9, 0x89, 0x16, 0x30, 0x42, 0xc2].map(|tag| tlv(tag, b"svc")),
    );
    let directory = sequence(&[tlv(0x31, &sequence(&[oid("2.5.4.3"), tlv(12, b"x")]))]);
    names.push(tlv(0xa4, &directory));
    names.push(tlv(0xa4, &[]));
    names.push(tlv(0x88, &[0x2a, 3]));
    names.push(tlv(0x88, &[0x80]));
    names.push(tlv(
        0xa0,
        &[oid("1.2.3"), tlv(0xa0, &tlv(12, b"x"))].concat(),
    ));
    names.push(tlv(0xa3, &[]));
    names.push(tlv(0xa5, &[]));
    names
}

pub fn alternative_names() -> Vec<Vec<u8>> {
    let names = general_names();
    let mut all: Vec<Vec<u8>> = names
        .iter()
        .map(|name| sequence(std::slice::from_ref(name)))
        .collect();
    all.extend(
        names
            .iter()
            .map(|name| sequence(&[tlv(0x82, b"a.svc"), name.clone()])),
    );
    all.extend([
        sequence(&[]),
        Vec::new(),
        NULL.to_vec(),
        [sequence(&[tlv(0x82, b"a.svc")]), NULL.to_vec()].concat(),
    ]);
    all
}

pub fn name_constraints() -> Vec<Vec<u8>> {
    let subtree = |name: &Vec<u8>| sequence(std::slice::from_ref(name));
    let mut all = Vec::new();
    for name in general_names() {
        for tag in [0xa0, 0xa1] {
            all.push(sequence(&[tlv(tag, &subtree(&name))]));
        }
        all.push(sequence(&[tlv(
            0xa0,
            &[subtree(&tlv(0x82, b"svc")), subtree(&name)].concat(),
        )]));
    }
    let svc = subtree(&tlv(0x82, b"svc"));
    let with = |more: &[u8]| sequence(&[tlv(0xa0, &sequence(&[tlv(0x82, b"svc"), more.to_vec()]))]);
    all.extend([
        Vec::new(),
        sequence(&[]),
        NULL.to_vec(),
        sequence(&[tlv(0xa0, &[])]),
        sequence(&[tlv(0xa1, &[])]),
        sequence(&[tlv(0xa0, &[]), tlv(0xa1, &svc)]),
        sequence(&[tlv(0xa1, &svc), tlv(0xa0, &svc)]),
        sequence(&[tlv(0xa0, &svc), tlv(0xa0, &svc)]),
        sequence(&[tlv(0x80, &svc)]),
        sequence(&[tlv(0xa2, &svc)]),
        sequence(&[tlv(0xa0, &svc), NULL.to_vec()]),
        [sequence(&[tlv(0xa0, &svc)]), NULL.to_vec()].concat(),
        sequence(&[tlv(0xa0, &sequence(&[]))]),
        sequence(&[tlv(0xa0, &NULL)]),
        sequence(&[tlv(0xa0, &tlv(0x82, b"svc"))]),
        with(&tlv(0x80, &[0])),
        with(&tlv(0x80, &[1])),
        with(&tlv(0x81, &[5])),
        with(&tlv(0x80, &[])),
        with(&NULL),
        with(&[0x80]),
    ]);
    all
}
