//! The doctor without a cluster: PEM files, and the role that the certificate is to play.

use jiff::Timestamp;

use super::certificates::{common_name, inherent, name_missing};
use super::chains::{is_unknown, issuer_name, misnamed, refused_chain, verdict};
use super::finding::{Finding, FindingWord, Symptom};
use super::trust::emptiness;
use crate::model::Leaf;
use crate::x509::{Usages, VerifyError, key_pair_matches, parse_bundle, verify};

/// What the certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The gateway's.
    Server,
    /// An agent's.
    Client,
}

/// Files of a team that has only these.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// The CA bundle, with its name for messages.
    pub ca: (&'a str, &'a [u8]),
    /// The certificate, leaf first.
    pub certificate: (&'a str, &'a [u8]),
    /// Its key, where it is at hand.
    pub key: Option<&'a [u8]>,
    /// What it is for.
    pub role: Role,
    /// The plane that a client's is for.
    pub plane_id: Option<&'a str>,
    /// The names by which a server is dialled.
    pub dns: &'a [String],
}

/// What is wrong with the files.
pub fn files(files: &Files<'_>, now: Timestamp) -> Vec<Finding> {
    let (ca_name, ca_text) = files.ca;
    let (name, text) = files.certificate;
    let anchors = parse_bundle(ca_text).certificates;
    let mut found = Vec::new();
    if anchors.is_empty() {
        let what = format!("the file {}", emptiness(&String::from_utf8_lossy(ca_text)));
        found.push(
            Finding::error(FindingWord::BundleEmpty, ca_name, what)
                .cause("a verifier that reads it trusts no CA")
                .fix("put the CA's certificate there, in PEM")
                .symptom(Symptom::UnknownAuthority),
        );
    }
    let chain = parse_bundle(text).certificates;
    let usages = match files.role {
        Role::Server => Usages::SERVER,
        Role::Client => Usages::CLIENT,
    };
    let leaf = match chain.first() {
        None => Leaf::Invalid(format!(
            "the file {}",
            emptiness(&String::from_utf8_lossy(text))
        )),
        Some(first) => Leaf::Present {
            key_matches: files
                .key
                .is_none_or(|key| key_pair_matches(first, key).unwrap_or(false)),
            chain: chain.clone(),
        },
    };
    if let Some(finding) = inherent(name, &leaf, true, usages, now) {
        found.push(finding);
        return found;
    }
    let Some(first) = chain.first() else {
        return found;
    };
    match files.role {
        Role::Server => {
            let missing = files.dns.iter().find(|host| !first.is_valid_for(host));
            found.extend(missing.map(|host| name_missing(name, first, host, "--dns")));
            if files.dns.is_empty() && first.sans().is_empty() {
                found.push(name_missing(name, first, "any name", "a server needs one"));
            }
        }
        Role::Client => {
            found.extend(files.plane_id.and_then(|id| common_name(name, first, id)));
        }
    }
    if anchors.is_empty() {
        return found;
    }
    let Err(error) = verify(&chain, &anchors, usages, now) else {
        return found;
    };
    let known: Vec<_> = anchors.iter().collect();
    found.push(match (misnamed(first, &known), is_unknown(&error)) {
        (Some(ca), _) => issuer_name(name, first, ca),
        (None, true) => distrusted(ca_name, files.role, &error),
        (None, false) => refused_chain(ca_name, verdict(&error).0, &error),
    });
    found
}

fn distrusted(object: &str, role: Role, error: &VerifyError) -> Finding {
    Finding::error(FindingWord::TrustMismatch, object, error.to_string())
        .cause("the certificate was signed by another CA, perhaps one of the same name with another key; or an intermediate is missing after the leaf")
        .fix("use the CA file that belongs to the CA that signed it, append the intermediates to the certificate, or have it signed again")
        .symptom(match role {
            Role::Server => Symptom::UnknownAuthority,
            Role::Client => Symptom::NotValidForAnyPlane,
        })
}
