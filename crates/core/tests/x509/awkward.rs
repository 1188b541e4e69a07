//! Values that certificates are mutated with: sound ones, odd ones, and those that Go refuses.

use super::awkward_names::{NAME_CONSTRAINTS, SAN, alternative_names, name_constraints};
use super::der::{BITS, BOOLEAN, INTEGER, NULL, OCTETS, OID, SEQUENCE, oid, sequence, tlv};

const ANY_POLICY: &str = "2.5.29.32.0";
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";

/// The extensions that Go looks into, each with contents to put there.
pub fn extensions() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    vec![
        (SAN, alternative_names()),
        (NAME_CONSTRAINTS, name_constraints()),
        ("2.5.29.19", basic_constraints()),
        ("2.5.29.15", key_usages()),
        ("2.5.29.37", extended_key_usages()),
        ("2.5.29.14", key_identifiers()),
        ("2.5.29.35", authority_key_identifiers()),
        ("2.5.29.32", policies()),
        ("2.5.29.33", mappings()),
        ("2.5.29.36", policy_constraints()),
        ("2.5.29.54", integers()),
        ("2.5.29.31", distribution_points()),
        ("1.3.6.1.5.5.7.1.1", access_descriptions()),
        ("1.2.3.4", vec![NULL.to_vec(), Vec::new()]),
        ("2.5.29.18", vec![sequence(&[tlv(0x82, b"a.svc")])]),
    ]
}

/// Whole numbers, as DER has them and as it has not.
pub fn integers() -> Vec<Vec<u8>> {
    let contents: [&[u8]; 16] = [
        &[0],
        &[1],
        &[2],
        &[3],
        &[4],
        &[127],
        &[0, 128],
        &[1, 0],
        &[0x80],
        &[0xff],
        &[0, 1],
        &[0xff, 0xff],
        &[],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[1, 0, 0, 0, 0, 0, 0, 0, 2],
    ];
    contents
        .iter()
        .map(|content| tlv(INTEGER, content))
        .collect()
}

fn basic_constraints() -> Vec<Vec<u8>> {
    let (yes, no) = (tlv(BOOLEAN, &[0xff]), tlv(BOOLEAN, &[0]));
    let mut all: Vec<Vec<u8>> = integers()
        .into_iter()
        .map(|length| sequence(&[yes.clone(), length]))
        .collect();
    all.extend(integers().into_iter().map(|length| sequence(&[length])));
    all.extend([
        sequence(&[]),
        sequence(std::slice::from_ref(&yes)),
        sequence(std::slice::from_ref(&no)),
        sequence(&[no, tlv(INTEGER, &[0])]),
        sequence(&[tlv(BOOLEAN, &[1])]),
        sequence(&[tlv(BOOLEAN, &[])]),
        sequence(&[yes.clone(), yes.clone()]),
        sequence(&[yes.clone(), NULL.to_vec()]),
        [sequence(&[yes]), NULL.to_vec()].concat(),
        Vec::new(),
    ]);
    all
}

fn key_usages() -> Vec<Vec<u8>> {
    let contents: [&[u8]; 16] = [
        &[0],
        &[],
        &[7, 0x80],
        &[5, 0xa0],
        &[2, 4],
        &[1, 6],
        &[0, 6],
        &[0, 0],
        &[7, 0, 0x80],
        &[0, 2, 0x80],
        &[8, 4],
        &[2, 7],
        &[1],
        &[0, 4, 0, 0, 0],
        &[3, 8],
        &[6, 0xc0],
    ];
    let mut all: Vec<Vec<u8>> = contents.iter().map(|content| tlv(BITS, content)).collect();
    all.extend([
        Vec::new(),
        tlv(OCTETS, &[4]),
        tlv(0x23, &tlv(BITS, &[2, 4])),
        [tlv(BITS, &[2, 4]), NULL.to_vec()].concat(),
    ]);
    all
}

fn extended_key_usages() -> Vec<Vec<u8>> {
    let (server, client, any, other) = (
        oid(SERVER_AUTH),
        oid("1.3.6.1.5.5.7.3.2"),
        oid("2.5.29.37.0"),
        oid("1.3.6.1.4.1.311.10.3.3"),
    );
    vec![
        sequence(&[]),
        sequence(std::slice::from_ref(&server)),
        sequence(std::slice::from_ref(&client)),
        sequence(&[server.clone(), server.clone()]),
        sequence(&[any]),
        sequence(std::slice::from_ref(&other)),
        sequence(&[other, client.clone()]),
        sequence(&[server.clone(), NULL.to_vec()]),
        sequence(&[tlv(OID, &[])]),
        sequence(&[tlv(OID, &[0x80, 1])]),
        sequence(&[tlv(OID, &[0x2b, 0x86])]),
        sequence(&[
            tlv(
                OID,
                &[0x2b, 0x8f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            ),
            client.clone(),
        ]),
        sequence(&[tlv(0x86, &[0x2a])]),
        [sequence(&[server]), NULL.to_vec()].concat(),
        client,
        Vec::new(),
    ]
}

fn key_identifiers() -> Vec<Vec<u8>> {
    vec![
        tlv(OCTETS, &[1; 20]),
        tlv(OCTETS, &[]),
        Vec::new(),
        NULL.to_vec(),
        [tlv(OCTETS, &[1]), NULL.to_vec()].concat(),
        tlv(0x24, &tlv(OCTETS, &[1])),
    ]
}

fn authority_key_identifiers() -> Vec<Vec<u8>> {
    let id = tlv(0x80, &[1; 20]);
    vec![
        sequence(&[]),
        sequence(std::slice::from_ref(&id)),
        sequence(&[tlv(0x80, &[])]),
        sequence(&[tlv(0xa0, &id)]),
        sequence(&[tlv(0xa1, &tlv(0xa4, &sequence(&[]))), tlv(0x82, &[1])]),
        sequence(&[id.clone(), tlv(0x82, &[1])]),
        sequence(&[id.clone(), NULL.to_vec()]),
        sequence(&[NULL.to_vec()]),
        [sequence(std::slice::from_ref(&id)), NULL.to_vec()].concat(),
        id,
        Vec::new(),
    ]
}

fn policies() -> Vec<Vec<u8>> {
    let (one, any) = (sequence(&[oid("1.2.3")]), sequence(&[oid(ANY_POLICY)]));
    let qualified = |qualifier: Vec<u8>| sequence(&[sequence(&[oid("1.2.3"), qualifier])]);
    vec![
        sequence(&[]),
        sequence(std::slice::from_ref(&one)),
        sequence(std::slice::from_ref(&any)),
        sequence(&[one.clone(), any.clone()]),
        sequence(&[one.clone(), one.clone()]),
        sequence(&[any.clone(), any]),
        qualified(sequence(&[sequence(&[
            oid("1.3.6.1.5.5.7.2.1"),
            tlv(22, b"http://a.svc/"),
        ])])),
        qualified(sequence(&[])),
        qualified(NULL.to_vec()),
        qualified(sequence(&[NULL.to_vec()])),
        sequence(&[sequence(&[])]),
        sequence(&[NULL.to_vec()]),
        sequence(&[sequence(&[tlv(OID, &[])])]),
        sequence(&[sequence(&[tlv(OID, &[0x80, 1])])]),
        sequence(&[sequence(&[tlv(
            OID,
            &[
                0x2b, 0x8f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ],
        )])]),
        [sequence(&[one]), NULL.to_vec()].concat(),
        NULL.to_vec(),
        Vec::new(),
    ]
}

fn mappings() -> Vec<Vec<u8>> {
    let (one, two, any) = (oid("1.2.3"), oid("1.2.4"), oid(ANY_POLICY));
    let pair = |a: &Vec<u8>, b: &Vec<u8>| sequence(&[a.clone(), b.clone()]);
    vec![
        sequence(&[]),
        sequence(&[pair(&one, &two)]),
        sequence(&[pair(&any, &two)]),
        sequence(&[pair(&one, &any)]),
        sequence(&[pair(&one, &two), pair(&one, &one)]),
        sequence(&[sequence(std::slice::from_ref(&one))]),
        sequence(&[sequence(&[one.clone(), two.clone(), NULL.to_vec()])]),
        sequence(&[sequence(&[one, tlv(OID, &[0x80])])]),
        sequence(&[NULL.to_vec()]),
        [sequence(&[]), NULL.to_vec()].concat(),
        Vec::new(),
    ]
}

fn policy_constraints() -> Vec<Vec<u8>> {
    let contents: [&[u8]; 9] = [
        &[0],
        &[1],
        &[2],
        &[5],
        &[0xff],
        &[],
        &[0, 1],
        &[1, 0, 0, 0, 0],
        &[1, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    let of = |tag: u8| contents.map(|content| sequence(&[tlv(tag, content)]));
    let mut all: Vec<Vec<u8>> = [0x80, 0x81, 0xa0].into_iter().flat_map(of).collect();
    all.extend([
        sequence(&[]),
        sequence(&[tlv(0x80, &[0]), tlv(0x81, &[0])]),
        sequence(&[tlv(0x81, &[0]), tlv(0x80, &[0])]),
        sequence(&[tlv(0x80, &[0]), NULL.to_vec()]),
        sequence(&[tlv(INTEGER, &[0])]),
        [sequence(&[tlv(0x80, &[0])]), NULL.to_vec()].concat(),
        Vec::new(),
    ]);
    all
}

fn distribution_points() -> Vec<Vec<u8>> {
    let uri = tlv(0x86, b"http://a.svc/x.crl");
    let point = |inner: &[u8]| sequence(&[sequence(&[inner.to_vec()])]);
    vec![
        point(&tlv(0xa0, &tlv(0xa0, &uri))),
        point(&tlv(0xa0, &tlv(0xa0, &[]))),
        point(&tlv(0xa0, &tlv(0xa1, &[]))),
        point(&tlv(0xa0, &[])),
        point(&tlv(0xa0, &NULL)),
        point(&tlv(0x80, &uri)),
        point(&tlv(0xa0, &tlv(0xa0, &[0x86, 9]))),
        point(&tlv(0x81, &[0, 0x80])),
        point(&tlv(0xa2, &tlv(0xa4, &sequence(&[])))),
        point(&NULL),
        sequence(&[sequence(&[])]),
        sequence(&[]),
        sequence(&[NULL.to_vec()]),
        [sequence(&[]), NULL.to_vec()].concat(),
        Vec::new(),
    ]
}

fn access_descriptions() -> Vec<Vec<u8>> {
    let method = oid("1.3.6.1.5.5.7.48.1");
    let entry = |parts: &[Vec<u8>]| sequence(&[sequence(parts)]);
    vec![
        entry(&[method.clone(), tlv(0x86, b"http://a.svc/")]),
        entry(&[method.clone(), tlv(0x82, b"a.svc")]),
        entry(&[method.clone(), tlv(0x86, &[0xe4])]),
        entry(&[method.clone(), NULL.to_vec()]),
        entry(std::slice::from_ref(&method)),
        entry(&[tlv(OID, &[]), tlv(0x86, b"x")]),
        entry(&[method, tlv(0x86, b"x"), NULL.to_vec()]),
        entry(&[]),
        sequence(&[]),
        sequence(&[NULL.to_vec()]),
        [sequence(&[]), NULL.to_vec()].concat(),
        NULL.to_vec(),
        Vec::new(),
    ]
}

/// Times: tag and content.
pub const TIMES: &[(u8, &[u8])] = &[
    (23, b"260101000000Z"),
    (23, b"491231235959Z"),
    (23, b"500101000000Z"),
    (23, b"2601010000Z"),
    (23, b"260101000000+0100"),
    (23, b"260101000000-0000"),
    (23, b"260230000000Z"),
    (23, b"261301000000Z"),
    (23, b"260101240000Z"),
    (23, b"260101005960Z"),
    (23, b"260101000060Z"),
    (23, b"260001000000Z"),
    (23, b"260100000000Z"),
    (23, b"20260101000000Z"),
    (23, b""),
    (24, b"20260101000000Z"),
    (24, b"99991231235959Z"),
    (24, b"99991230220000Z"),
    (24, b"00000101000000Z"),
    (24, b"00010101000000Z"),
    (24, b"19490101000000Z"),
    (24, b"20260101000000.5Z"),
    (24, b"20260101000000"),
    (24, b"20260101000000+0100"),
    (24, b"202601010000Z"),
    (24, b"20260229000000Z"),
    (24, b"20280229000000Z"),
    (24, b"21000229000000Z"),
    (24, b"20260101000060Z"),
    (24, b"+0260101000000Z"),
    (22, b"260101000000Z"),
    (2, b"1"),
];

/// Values of names: tag and content.
pub const STRINGS: &[(u8, &[u8])] = &[
    (12, "ü中".as_bytes()),
    (12, &[0xff]),
    (12, &[0xed, 0xa0, 0x80]),
    (12, b""),
    (12, b"a\0b"),
    (18, b"12 3"),
    (18, b"a"),
    (19, b"Printable (x) *&"),
    (19, b"a@b"),
    (19, b"a_b"),
    (20, &[0xe4]),
    (22, b"a@b"),
    (22, &[0x80]),
    (26, b"visible"),
    (27, b"general"),
    (28, &[0, 0, 0, 65]),
    (30, &[0, 65]),
    (30, &[0]),
    (30, &[0xd8, 0]),
    (30, &[0, 0]),
    (30, &[0xff, 0xfe]),
    (30, &[0, 0, 0, 0]),
    (4, b"x"),
    (2, &[1]),
    (5, b""),
    (SEQUENCE, b""),
    (0x2c, &[12, 1, b'x']),
    (0x4c, b"x"),
    (0x8c, b"x"),
];
