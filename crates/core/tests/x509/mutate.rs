//! Certificates that somebody might make: those of `odd-cas.sh`, changed here and there, and signed again.

use super::awkward::{STRINGS, TIMES, extensions, integers};
use super::awkward_names::SAN;
use super::der::{BOOLEAN, Content, NULL, Node, OCTETS, OID, SEQUENCE, SET, oid, tlv};
use super::keys::{Key, public_keys};

/// The same numbers for the same seed.
pub struct Random(u64);

impl Random {
    pub fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let drawn = (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound.max(1) as u64;
        usize::try_from(drawn).unwrap()
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Where the parts of a TBSCertificate with a version stand in it.
pub const SERIAL: usize = 1;
pub const ALGORITHM: usize = 2;
pub const ISSUER: usize = 3;
pub const VALIDITY: usize = 4;
pub const SUBJECT: usize = 5;
pub const SPKI: usize = 6;
const EXTENSIONS: usize = 7;

/// What there is to put into certificates, made once.
pub struct Mutator {
    extensions: Vec<(&'static str, Vec<Vec<u8>>)>,
    keys: Vec<Node>,
    integers: Vec<Vec<u8>>,
}

impl Mutator {
    pub fn new() -> Self {
        Self {
            extensions: extensions(),
            keys: public_keys(),
            integers: integers(),
        }
    }

    /// One to three changes of a TBSCertificate, and perhaps damage to its bytes: the new bytes.
    pub fn mutate(&self, mut tbs: Node, random: &mut Random) -> Vec<u8> {
        for _ in 0..*random.one_of(&[1, 1, 1, 2, 3]) {
            self.change(&mut tbs, random);
        }
        let mut bytes = tbs.encode();
        if random.below(10) == 0 {
            damage(&mut bytes, random);
        }
        bytes
    }

    fn change(&self, tbs: &mut Node, random: &mut Random) {
        // What an earlier change has taken out cannot be changed.
        let Content::Nodes(parts) = &mut tbs.content else {
            return;
        };
        let chosen = random.below(20);
        if parts.len() <= SPKI {
            return anything(tbs, random);
        }
        match chosen {
            0..=8 => self.extension(parts, random),
            9 => parts[0] = Node::of(0xa0, vec![self.integer(random)]),
            10 => parts[SERIAL] = self.integer(random),
            11 | 12 => {
                let (tag, content) = random.one_of(TIMES);
                let times = parts[VALIDITY].nodes();
                let at = random.below(times.len());
                if let Some(time) = times.get_mut(at) {
                    *time = Node::new(*tag, *content);
                }
            }
            13 => parts[SPKI] = random.one_of(&self.keys).clone(),
            14 | 15 => name(
                &mut parts[if random.below(4) == 0 {
                    ISSUER
                } else {
                    SUBJECT
                }],
                random,
            ),
            16 => {
                let unique = *random.one_of(&[0x81, 0x82, 0xa1, 0xa2]);
                parts.insert(
                    (SPKI + 1 + random.below(2)).min(parts.len()),
                    Node::new(unique, [0, 1]),
                );
            }
            _ => anything(tbs, random),
        }
    }

    fn integer(&self, random: &mut Random) -> Node {
        let der: &Vec<u8> = random.one_of(&self.integers);
        Node::parse(der).unwrap()
    }

    /// Another name in a TBSCertificate, for constraints to apply to.
    pub fn rename(&self, tbs: &mut Node, random: &mut Random) {
        let names = self.extensions.iter().find(|(kind, _)| *kind == SAN);
        names
            .into_iter()
            .for_each(|names| put(tbs.nodes(), names, random));
    }

    fn extension(&self, parts: &mut Vec<Node>, random: &mut Random) {
        put(parts, random.one_of(&self.extensions), random);
    }
}

/// Puts an extension there, in the place of its like or besides.
fn put(parts: &mut Vec<Node>, (dotted, values): &(&str, Vec<Vec<u8>>), random: &mut Random) {
    let (kind, value) = (oid(dotted), random.one_of(values).clone());
    let mut nodes = vec![Node::parse(&kind).unwrap()];
    match random.below(9) {
        0..=3 => nodes.push(Node::new(BOOLEAN, [0xff])),
        4 => nodes.push(Node::new(BOOLEAN, [u8::try_from(random.below(2)).unwrap()])),
        _ => {}
    }
    nodes.push(Node::new(OCTETS, value));
    if random.below(40) == 0 {
        nodes.push(Node::new(5, []));
    }
    if parts.len() <= EXTENSIONS {
        parts.push(Node::of(0xa3, vec![Node::of(SEQUENCE, Vec::new())]));
    }
    let Some(list) = parts.last_mut().and_then(|last| last.nodes().first_mut()) else {
        return;
    };
    let list = list.nodes();
    if random.below(12) != 0 {
        list.retain(|one| !holds(one, &kind));
    }
    list.insert(random.below(list.len() + 1), Node::of(SEQUENCE, nodes));
}

fn holds(node: &Node, part: &[u8]) -> bool {
    node.encode()
        .windows(part.len())
        .any(|window| window == part)
}

/// A value of another type in a name, or parts of another shape.
fn name(name: &mut Node, random: &mut Random) {
    let (tag, content) = random.one_of(STRINGS);
    let value = Node::new(*tag, *content);
    let kind = *random.one_of(&[
        "2.5.4.3",
        "2.5.4.10",
        "2.5.4.6",
        "1.2.840.113549.1.9.1",
        "0.9.2342.19200300.100.1.25",
    ]);
    let attribute = Node::of(SEQUENCE, vec![Node::parse(&oid(kind)).unwrap(), value]);
    let parts = name.nodes();
    match random.below(6) {
        0 => parts.clear(),
        1 => parts.push(Node::of(SET, Vec::new())),
        2 if !parts.is_empty() => parts[0].nodes().push(attribute),
        _ => parts.push(Node::of(SET, vec![attribute])),
    }
}

/// A change of any value: what a wrong encoder, or somebody with a grudge, makes of it.
fn anything(tbs: &mut Node, random: &mut Random) {
    let at = 1 + random.below(tbs.count() - 1);
    let Some(node) = tbs.nth(at) else { return };
    let chosen = random.below(12);
    match (&mut node.content, chosen) {
        (_, 0) => {
            node.tag = *random.one_of(&[
                1, 2, 3, 4, 5, 6, 12, 19, 22, 23, 24, 0x30, 0x31, 0x80, 0xa0, 0xa1, 0xa3,
            ])
        }
        (_, 1) => node.tag ^= 1 << random.below(8),
        (_, 2) => node.content = Content::Bytes(Vec::new()),
        (_, 3) => node.content = Content::Bytes(NULL.to_vec()),
        (Content::Nodes(nodes), 4) => nodes.push(Node::new(5, [])),
        (Content::Nodes(nodes), 5..=7) if !nodes.is_empty() => {
            drop(nodes.remove(random.below(nodes.len())))
        }
        (Content::Nodes(nodes), 8 | 9) if !nodes.is_empty() => {
            let twice = random.one_of(nodes).clone();
            nodes.insert(random.below(nodes.len() + 1), twice);
        }
        (Content::Nodes(nodes), _) => nodes.reverse(),
        (Content::Bytes(bytes), _) => damage(bytes, random),
    }
}

/// Bytes flipped, put in, taken out.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len() + 1);
    let byte = *random.one_of(&[0, 1, 0x7f, 0x80, 0xff, b'.', b'@', OID]);
    match random.below(4) {
        0 => bytes.insert(at, byte),
        _ if at >= bytes.len() => bytes.push(byte),
        1 => drop(bytes.remove(at)),
        2 => bytes[at] = byte,
        _ => bytes[at] ^= 1 << random.below(8),
    }
}

/// A certificate's TBSCertificate with everything that another run of OpenSSL would make otherwise made the same: serial
/// number, algorithm, key, times, and who issued it.
pub fn settled(der: &[u8], key: &Key, issuer: Option<&[u8]>) -> Option<Node> {
    let mut certificate = Node::parse(der)?;
    let mut tbs = certificate.nodes().first()?.clone();
    let parts = tbs.nodes();
    if parts.first()?.tag != 0xa0 {
        parts.insert(0, Node::new(0xa0, tlv(2, &[0])));
    }
    parts.get(SPKI)?;
    parts[SERIAL] = Node::new(2, [0x42]);
    parts[ALGORITHM] = Node::parse(&Key::algorithm())?;
    parts[ISSUER] = issuer.map_or_else(|| Some(parts[SUBJECT].clone()), Node::parse)?;
    let times = ["200101000000Z", "491231235959Z"];
    parts[VALIDITY] = Node::of(
        SEQUENCE,
        times.map(|time| Node::new(23, time.as_bytes())).into(),
    );
    parts[SPKI] = Node::parse(&key.spki())?;
    if let Some(extensions) = parts
        .get_mut(EXTENSIONS)
        .and_then(|last| last.nodes().first_mut())
    {
        // Key identifiers follow from keys; the mutator puts others there.
        let of_keys = [oid("2.5.29.14"), oid("2.5.29.35")];
        extensions
            .nodes()
            .retain(|one| !of_keys.iter().any(|kind| holds(one, kind)));
    }
    Some(tbs)
}
