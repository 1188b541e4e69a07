//! Go is the yardstick, for Go is what verifies: certificates of every kind, mutated and signed again, so that nothing but
//! what they say decides. What Go refuses must not be accepted here; where Go accepts more, `STRICTER` says why.
//!
//! `make differential SEEDS=200000` compares as many as wanted; a seed is one certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use external_ca_core::x509::{
    Certificate, CertificateAuthority, Csr, KeyAlgorithm, LeafProfile, Usages, encode_bundle,
    parse_bundle, request, sign_request, verify,
};
use jiff::Timestamp;

use super::der::{Content, Node};
use super::keys::{Key, pem};
use super::mutate::{ISSUER, Mutator, Random, SUBJECT, settled};
use super::support::{Question, ask_go, cases, dns, key, odd_cas, serial, server};

/// What is refused here although Go accepts it.
const STRICTER: &[&str] = &[
    // A root of version 1 or 2 cannot say that it is a CA. OpenSSL and webpki refuse it; as an anchor it is taken, as the
    // operator's own CA it is not.
    "CA: NotACertificateAuthority",
    // P-224, DSA and X25519: crypto/x509 reads them, no TLS 1.3 peer signs with them.
    "its public key is malformed, or of a kind that TLS does not know",
    // Of version 2^63 Go makes a negative one.
    "its version is unknown",
];

/// As many as are asked about at once.
const BATCH: u64 = 5_000;

const NOW: &str = "2026-06-01T00:00:00Z";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Leaf,
    Pinned,
    Intermediate,
    Root,
}

/// One question, and what is said here.
struct Asked {
    seed: u64,
    role: Role,
    question: Question,
    ours: Result<(), String>,
}

/// What every comparison needs: what there is to mutate, and those who sign.
struct Scene {
    leaves: Vec<Node>,
    authorities: Vec<Node>,
    mutator: Mutator,
    root: Key,
    other: Key,
    root_pem: String,
    root_name: Vec<u8>,
    csr: Csr,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        let (root, other) = (Key::number(1), Key::number(2));
        let (mut leaves, mut authorities, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
        for certificate in kinds() {
            let Some(tbs) = settled(certificate.der(), &other, None) else {
                continue;
            };
            if seen.insert(tbs.encode()) {
                if certificate.is_ca() {
                    authorities.push(tbs)
                } else {
                    leaves.push(tbs)
                }
            }
        }
        let plain = parse_bundle(&fs::read(odd_cas().join("verify/root")).unwrap()).certificates;
        let tbs = settled(plain[0].der(), &root, None).unwrap();
        let profile = profile();
        Self {
            root_pem: pem("CERTIFICATE", &root.sign(&tbs.encode())),
            root_name: plain[0].subject_der().to_vec(),
            csr: request(&key(profile.key), &profile).unwrap(),
            mutator: Mutator::new(),
            now: NOW.parse().unwrap(),
            leaves,
            authorities,
            root,
            other,
        }
    }

    /// The questions about the certificate of one seed.
    fn ask(&self, seed: u64) -> Vec<Asked> {
        let mut random = Random::of(seed);
        let role = *random.one_of(&[
            Role::Leaf,
            Role::Pinned,
            Role::Intermediate,
            Role::Root,
            Role::Root,
        ]);
        let of_leaves = match role {
            Role::Leaf | Role::Pinned => random.below(6) != 0,
            Role::Intermediate | Role::Root => random.below(20) == 0,
        };
        let kinds = if of_leaves {
            &self.leaves
        } else {
            &self.authorities
        };
        let mut tbs = random.one_of(kinds).clone();
        let signer = if matches!(role, Role::Leaf | Role::Intermediate) {
            tbs.nodes()[ISSUER] = Node::parse(&self.root_name).unwrap();
            &self.root
        } else {
            &self.other
        };
        let mutated = signer.sign(&self.mutator.mutate(tbs, &mut random));
        let text = pem("CERTIFICATE", &mutated);
        let ask =
            |roots: &str, chain: String, usages| self.asked(seed, role, (roots, chain), usages);
        match role {
            Role::Leaf => [Usages::SERVER, Usages::CLIENT]
                .map(|usages| ask(&self.root_pem, text.clone(), usages))
                .into(),
            Role::Pinned => vec![ask(&text, text.clone(), Usages::CLIENT)],
            Role::Root | Role::Intermediate => {
                let leaf = self.leaf_below(&mutated, &mut random);
                let (roots, chain) = match role {
                    Role::Root => (&text, leaf),
                    _ => (&self.root_pem, format!("{leaf}{text}")),
                };
                let verified = ask(roots, chain, Usages::SERVER);
                vec![verified, self.loaded(seed, role, &mutated)]
            }
        }
    }

    fn asked(
        &self,
        seed: u64,
        role: Role,
        (roots, chain): (&str, String),
        usages: Usages,
    ) -> Asked {
        let presented = parse_bundle(chain.as_bytes());
        let anchors = parse_bundle(roots.as_bytes()).certificates;
        let all = presented.certificates.iter().chain(&anchors);
        let defect = all.filter_map(Certificate::defect).next();
        let ours = match presented.unreadable.first() {
            Some(_) => Err("it cannot be read".to_owned()),
            None => verify(&presented.certificates, &anchors, usages, self.now)
                .map_err(|error| defect.unwrap_or(error.reason()).to_owned()),
        };
        Asked {
            seed,
            role,
            question: question(roots, chain, usages),
            ours,
        }
    }

    /// The CA is loaded as from its Secret, and signs: Go must accept what comes out, or would refuse what any other made.
    fn loaded(&self, seed: u64, role: Role, mutated: &[u8]) -> Asked {
        let text = pem("CERTIFICATE", mutated);
        let above = (role == Role::Intermediate).then_some(self.root_pem.as_bytes());
        let loaded = CertificateAuthority::from_pem(
            text.as_bytes(),
            self.other.to_pem().as_bytes(),
            above,
            self.now,
        );
        let profile = profile();
        let minted = loaded
            .map_err(|error| format!("CA: {}", error.reason()))
            .and_then(|ca| {
                let chain = sign_request(&ca, self.csr.der(), &profile, serial(7), self.now);
                chain
                    .map(|chain| (ca.anchor().to_pem(), encode_bundle(&chain)))
                    .map_err(|error| format!("leaf: {}", error.reason()))
            });
        let (roots, chain, ours) = match minted {
            Ok((anchor, chain)) => (anchor, chain, Ok(())),
            Err(reason) => {
                let leaf = self.signed_below(self.leaves[self.plain()].clone(), mutated);
                match above {
                    Some(_) => (self.root_pem.clone(), format!("{leaf}{text}"), Err(reason)),
                    None => (text, leaf, Err(reason)),
                }
            }
        };
        Asked {
            seed,
            role,
            question: question(&roots, chain, Usages::SERVER),
            ours,
        }
    }

    /// The leaf that has the names of the gateway.
    fn plain(&self) -> usize {
        let named = |leaf: &Node| {
            leaf.encode()
                .windows(11)
                .any(|window| window == b"leaf-direct")
        };
        self.leaves.iter().position(named).unwrap()
    }

    fn leaf_below(&self, issuer: &[u8], random: &mut Random) -> String {
        let mut tbs = random.one_of(&self.leaves).clone();
        if random.below(2) == 0 {
            self.mutator.rename(&mut tbs, random);
        }
        self.signed_below(tbs, issuer)
    }

    /// A leaf that names this issuer, and is signed with its key.
    fn signed_below(&self, mut tbs: Node, issuer: &[u8]) -> String {
        if let Some(subject) = subject(issuer) {
            tbs.nodes()[ISSUER] = subject;
        }
        pem("CERTIFICATE", &self.other.sign(&tbs.encode()))
    }
}

/// What CAs are asked for: a server's certificate, of the name that the plain leaf has.
fn profile() -> LeafProfile {
    LeafProfile {
        sans: vec![dns("cluster-gateway.ns.svc")],
        ..server(KeyAlgorithm::EcdsaP256)
    }
}

fn question(roots: &str, chain: String, usages: Usages) -> Question {
    Question {
        roots_pem: roots.to_owned(),
        chain_pem: chain,
        usage: if usages == Usages::SERVER {
            "server"
        } else {
            "client"
        },
        dns: String::new(),
        key_pem: String::new(),
        time: NOW.to_owned(),
    }
}

/// The subject of a certificate, wherever its mutations have left it.
fn subject(der: &[u8]) -> Option<Node> {
    if let Ok(read) = Certificate::from_der(der.to_vec()) {
        return Node::parse(read.subject_der());
    }
    let mut certificate = Node::parse(der)?;
    match &certificate.nodes().first()?.content {
        Content::Nodes(parts) => parts.get(SUBJECT).cloned(),
        Content::Bytes(_) => None,
    }
}

/// Every certificate that `odd-cas.sh` makes, always in the same order.
fn kinds() -> Vec<Certificate> {
    let mut files: Vec<_> = fs::read_dir(odd_cas().join("verify"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for kind in ["good", "refused", "forbids"] {
        files.extend(
            cases(kind)
                .into_iter()
                .map(|(_, path)| path.join("tls.crt")),
        );
    }
    files
        .iter()
        .flat_map(|path| parse_bundle(&fs::read(path).unwrap()).certificates)
        .collect()
}

/// How often both accept, both refuse, and one alone does.
#[derive(Default, Debug)]
struct Tally {
    accepted: BTreeMap<Role, usize>,
    refused: BTreeMap<Role, usize>,
    stricter: BTreeMap<String, (usize, u64)>,
    wrong: BTreeMap<String, (usize, u64)>,
}

impl Tally {
    fn count(&mut self, asked: &[Asked]) {
        let questions: Vec<Question> = asked.iter().map(|asked| asked.question.clone()).collect();
        for (asked, go) in asked.iter().zip(ask_go(&questions)) {
            match (&asked.ours, go.ok) {
                (Ok(()), true) => *self.accepted.entry(asked.role).or_default() += 1,
                (Err(_), false) => *self.refused.entry(asked.role).or_default() += 1,
                (Err(reason), true) => {
                    self.stricter
                        .entry(reason.clone())
                        .or_insert((0, asked.seed))
                        .0 += 1
                }
                (Ok(()), false) => {
                    self.wrong
                        .entry(kind_of(&go.error))
                        .or_insert((0, asked.seed))
                        .0 += 1
                }
            }
        }
    }
}

/// Go's error without what it quotes.
fn kind_of(error: &str) -> String {
    error.split('"').step_by(2).collect::<Vec<_>>().join("…")
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number"))
    })
}

#[test]
fn nothing_is_accepted_that_go_refuses() {
    let scene = Scene::new();
    let (first, many) = (number("FIRST_SEED", 1), number("SEEDS", 3_000));
    let mut tally = Tally::default();
    let mut seed = first;
    while seed < first + many {
        let next = (seed + BATCH).min(first + many);
        let asked: Vec<Asked> = (seed..next).flat_map(|seed| scene.ask(seed)).collect();
        tally.count(&asked);
        seed = next;
    }
    println!(
        "{many} certificates of {} and {} kinds: {tally:#?}",
        scene.leaves.len(),
        scene.authorities.len()
    );
    assert!(
        tally.wrong.is_empty(),
        "accepted here and refused by Go (how often, a seed): {:#?}",
        tally.wrong
    );
    let unknown: Vec<_> = tally
        .stricter
        .iter()
        .filter(|(reason, _)| !STRICTER.contains(&reason.as_str()))
        .collect();
    assert!(
        unknown.is_empty(),
        "refused here and accepted by Go (how often, a seed): {unknown:#?}"
    );
}
