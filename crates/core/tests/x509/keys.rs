//! Keys that are the same in every run, and public keys of every kind, sound and not.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;

use super::der::{BITS, INTEGER, NULL, Node, oid, sequence, tlv};

const ED25519: &str = "1.3.101.112";
const EC: &str = "1.2.840.10045.2.1";
const RSA: &str = "1.2.840.113549.1.1.1";

/// An Ed25519 key: its signatures are the same in every run, too.
pub struct Key {
    pair: Ed25519KeyPair,
    seed: [u8; 32],
}

impl Key {
    pub fn number(number: u8) -> Self {
        let seed = [number; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        Self { pair, seed }
    }

    /// The algorithm of its signatures, as of the key itself.
    pub fn algorithm() -> Vec<u8> {
        sequence(&[oid(ED25519)])
    }

    pub fn spki(&self) -> Vec<u8> {
        spki(&Self::algorithm(), self.pair.public_key().as_ref())
    }

    pub fn to_pem(&self) -> String {
        let key = tlv(4, &tlv(4, &self.seed));
        pem(
            "PRIVATE KEY",
            &sequence(&[tlv(INTEGER, &[0]), Self::algorithm(), key]),
        )
    }

    /// The certificate of a TBSCertificate, whatever it says.
    pub fn sign(&self, tbs: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(tbs);
        let bits = [&[0], signature.as_ref()].concat();
        sequence(&[tbs.to_vec(), Self::algorithm(), tlv(BITS, &bits)])
    }
}

/// One PEM block, on one long line.
pub fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    sequence(&[algorithm.to_vec(), tlv(BITS, &[&[0], key].concat())])
}

/// Each curve with its base point: the coordinates.
const CURVES: [(&str, &str, &str); 5] = [
    (
        "1.2.840.10045.3.1.7",
        "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    ),
    (
        "1.3.132.0.34",
        "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
        "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
    ),
    (
        "1.3.132.0.35",
        "00c6858e06b70404e9cd9e3ecb662395b4429c648139053fb521f828af606b4d3dbaa14b5e77efe75928fe1dc127a2ffa8de3348b3c1856a429bf97e7e31c2e5bd66",
        "011839296a789a3bc0045c8a5fb42c7d1bd998f54449579b446817afbd17273e662c97ee72995ef42640c550b9013fad0761353c7086a272c24088be94769fd16650",
    ),
    (
        "1.3.132.0.33",
        "b70e0cbd6bb4bf7f321390b94a03c1d356c21122343280d6115c1d21",
        "bd376388b5f723fb4c22dfe6cd4375a05a07476444d5819985007e34",
    ),
    (
        "1.3.132.0.10",
        "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn points() -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    for (curve, x, y) in CURVES {
        let algorithm = sequence(&[oid(EC), oid(curve)]);
        let (x, y) = (bytes(x), bytes(y));
        let (mut off, zero, most) = (y.clone(), vec![0; x.len()], vec![0xff; x.len()]);
        off[x.len() - 1] ^= 1;
        for point in [
            [&[4], x.as_slice(), &y].concat(),
            [&[4], x.as_slice(), &off].concat(),
            [&[4], zero.as_slice(), &zero].concat(),
            [&[4], most.as_slice(), &most].concat(),
            [&[4], x.as_slice(), &y[1..]].concat(),
            [&[4], x.as_slice(), &y, &[0]].concat(),
            [&[2], x.as_slice()].concat(),
            [&[6], x.as_slice(), &y].concat(),
            vec![0],
            Vec::new(),
        ] {
            keys.push(spki(&algorithm, &point));
        }
    }
    let (_, x, y) = CURVES[0];
    let point = [&[4], bytes(x).as_slice(), &bytes(y)].concat();
    for parameters in [Vec::new(), NULL.to_vec(), oid("1.2.3"), sequence(&[])] {
        keys.push(spki(&sequence(&[oid(EC), parameters]), &point));
    }
    let trailing = sequence(&[oid(EC), oid(CURVES[0].0), NULL.to_vec()]);
    keys.push(spki(&trailing, &point));
    keys
}

/// RSA keys of 2048 bits, where the number itself is of no account.
fn moduli() -> Vec<Vec<u8>> {
    let algorithm = sequence(&[oid(RSA), NULL.to_vec()]);
    let number = |content: &[u8]| tlv(INTEGER, content);
    let positive = [&[0, 0x90][..], &[0x55; 254], &[0x57]].concat();
    let (modulus, exponent) = (number(&positive), number(&[1, 0, 1]));
    let even = [&[0, 0x90][..], &[0x55; 254], &[0x56]].concat();
    let mut keys: Vec<Vec<u8>> = [
        vec![modulus.clone(), exponent.clone()],
        vec![number(&positive[1..]), exponent.clone()],
        vec![
            number(&[&[0], positive.as_slice()].concat()),
            exponent.clone(),
        ],
        vec![number(&even), exponent.clone()],
        vec![number(&[0]), exponent.clone()],
        vec![number(&[]), exponent.clone()],
        vec![number(&[0x3f; 16]), exponent.clone()],
        vec![number(&[0x3f; 1200]), exponent.clone()],
        vec![modulus.clone()],
        vec![modulus.clone(), exponent.clone(), NULL.to_vec()],
    ]
    .iter()
    .map(|parts| spki(&algorithm, &sequence(parts)))
    .collect();
    let exponents: [&[u8]; 9] = [
        &[3],
        &[0],
        &[1],
        &[2],
        &[0xff],
        &[0, 3],
        &[],
        &[1, 0, 0, 0, 1],
        &[0, 0xff, 0, 0, 0, 0, 0, 0, 1],
    ];
    keys.extend(
        exponents.map(|exponent| spki(&algorithm, &sequence(&[modulus.clone(), number(exponent)]))),
    );
    let sound = sequence(&[modulus, exponent]);
    keys.push(spki(&algorithm, &[sound.clone(), NULL.to_vec()].concat()));
    keys.extend(
        [sequence(&[oid(RSA)]), sequence(&[oid(RSA), sequence(&[])])]
            .map(|algorithm| spki(&algorithm, &sound)),
    );
    keys
}

/// Public keys, whole.
pub fn public_keys() -> Vec<Node> {
    let mut keys = points();
    keys.extend(moduli());
    let with = |algorithm: &str, parameters: &[u8], key: &[u8]| {
        spki(&sequence(&[oid(algorithm), parameters.to_vec()]), key)
    };
    let (number, dsa) = (tlv(INTEGER, &[5]), "1.2.840.10040.4.1");
    let domain = sequence(&[number.clone(), number.clone(), number.clone()]);
    let none = tlv(INTEGER, &[0]);
    keys.extend([
        with(ED25519, &[], &[7; 32]),
        with(ED25519, &[], &[0xff; 32]),
        with(ED25519, &[], &[7; 31]),
        with(ED25519, &NULL, &[7; 32]),
        with("1.3.101.110", &[], &[7; 32]),
        with("1.3.101.110", &[], &[7; 31]),
        with("1.3.101.110", &NULL, &[7; 32]),
        with("1.3.101.113", &[], &[7; 57]),
        with(dsa, &domain, &number),
        with(dsa, &domain, &none),
        with(
            dsa,
            &sequence(&[number.clone(), none, number.clone()]),
            &number,
        ),
        with(dsa, &[], &number),
        with(dsa, &domain, &[]),
        with("1.2.3.4", &[], &[]),
        sequence(&[sequence(&[oid(ED25519)]), tlv(BITS, &[4, 0x70])]),
        sequence(&[sequence(&[oid("1.2.3.4")]), tlv(BITS, &[4, 0x70])]),
        sequence(&[sequence(&[oid("1.2.3.4")]), tlv(BITS, &[4, 0x71])]),
        sequence(&[
            Key::algorithm(),
            tlv(BITS, &[&[0], [7; 32].as_slice()].concat()),
            NULL.to_vec(),
        ]),
        sequence(&[]),
    ]);
    keys.iter().map(|key| Node::parse(key).unwrap()).collect()
}
