//! What the targets assert, over the corpus and mutations of it: a fixed number, the same in every run. `make fuzz` goes
//! on from there, guided by coverage.

use std::fs;
use std::path::Path;

/// For each target: some twenty seconds of processor time for all of them.
const ROUNDS: usize = 16_000;

/// Pieces that are worth more than a random byte.
const PIECES: &[&[u8]] = &[
    b"\n-----BEGIN CERTIFICATE-----\n",
    b"\n-----END CERTIFICATE-----\n",
    b"-----",
    b"null",
    b"{}",
    b"[]",
    b"{\"a\":1}",
    b"\"9999-12-31T23:59:59Z\"",
    b"1e999",
    b"99999999999",
    b"-1",
    b"\"\"",
    b"\\u0000",
    b"h",
    b"m",
    b" ago",
    b"\x30\x80",
    b"\x05\x00",
    b"\x00",
    b"\xff",
];

fn run(name: &str, target: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(&directory)
        .expect("every target has a corpus")
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    files.sort();
    let corpus: Vec<Vec<u8>> = files
        .iter()
        .map(|path| fs::read(path).expect("it can be read"))
        .collect();
    target(b"");
    corpus.iter().for_each(|text| target(text));
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..ROUNDS {
        let mut text = corpus[random.usize(..corpus.len())].clone();
        for _ in 0..=random.usize(..3) {
            mutate(&mut text, &corpus, &mut random);
        }
        target(&text);
    }
}

fn mutate(text: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut fastrand::Rng) {
    let at = random.usize(..=text.len());
    let to = (at + random.usize(..12)).min(text.len());
    let other = &corpus[random.usize(..corpus.len())];
    let from = random.usize(..=other.len());
    match random.usize(..6) {
        0 if at < text.len() => text[at] ^= 1 << random.u32(..8),
        1 => drop(text.drain(at..to)),
        2 => drop(text.splice(at..to, PIECES[random.usize(..PIECES.len())].iter().copied())),
        3 => drop(text.splice(at..at, PIECES[random.usize(..PIECES.len())].iter().copied())),
        4 => drop(text.splice(at..to, other[from..].iter().copied())),
        _ => text.insert(at, random.u8(..)),
    }
}

#[test]
fn pem() {
    run("pem", external_ca_fuzz::pem);
}

#[test]
fn certificate() {
    run("certificate", external_ca_fuzz::certificate);
}

#[test]
fn plane() {
    run("plane", external_ca_fuzz::plane);
}

#[test]
fn deployment() {
    run("deployment", external_ca_fuzz::deployment);
}

#[test]
fn pod() {
    run("pod", external_ca_fuzz::pod);
}

#[test]
fn duration() {
    run("duration", external_ca_fuzz::duration);
}
