use std::collections::HashSet;

use super::certificate::Certificate;
use super::pem;

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The certificates of a PEM text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bundle {
    /// Each once, in the order of the text.
    pub certificates: Vec<Certificate>,
    /// Blocks that were meant to be certificates and are none.
    pub unreadable: Vec<Unreadable>,
}

/// A block that was meant to be a certificate.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct Unreadable {
    /// The line of its BEGIN, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

impl Bundle {
    /// Whether there is neither a certificate nor something meant to be one: nothing, or only comments.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.unreadable.is_empty()
    }
}

/// Reads the certificates that Go would find in a PEM text, whatever else stands in it.
pub fn parse_bundle(text: &[u8]) -> Bundle {
    let mut bundle = Bundle::default();
    let mut seen = HashSet::new();
    let mut blocks = HashSet::new();
    let mut found: Vec<(usize, &'static str)> = Vec::new();
    let mut report = |offset, problem| found.push((offset, problem));
    for block in pem::blocks(text) {
        match block.label.as_str() {
            "CERTIFICATE" => {}
            "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
                report(block.offset, "only blocks labelled CERTIFICATE are read");
                continue;
            }
            _ => continue,
        }
        blocks.insert(block.offset);
        if !block.headers.is_empty() {
            report(block.offset, "a certificate block with headers is not read");
            continue;
        }
        match Certificate::from_der(block.bytes.to_vec()) {
            Ok(certificate) if seen.insert(certificate.fingerprint()) => {
                bundle.certificates.push(certificate)
            }
            Ok(_) => {}
            Err(_) => report(block.offset, "the block is not an X.509 certificate"),
        }
    }

    // What begins like a certificate and is no block at all: cut short, indented, mistyped.
    let mut offset = 0;
    while let Some(at) = text.get(offset..).and_then(|rest| pem::find(rest, BEGIN)) {
        let begin = offset + at;
        if !blocks.contains(&begin) {
            report(begin, "the block is incomplete, indented or not base64");
        }
        offset = begin + BEGIN.len();
    }
    found.sort_unstable();
    let (mut line, mut counted) = (1, 0);
    for (offset, problem) in found {
        let between = text.get(counted..offset).unwrap_or_default();
        line += between.iter().filter(|byte| **byte == b'\n').count();
        counted = offset;
        bundle.unreadable.push(Unreadable { line, problem });
    }
    bundle
}

/// The certificates as PEM blocks, one after the other.
pub fn encode_bundle(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::to_pem).collect()
}
