//! DER as a tree that can be cut, grafted and written again, well-formed or not.

pub const SEQUENCE: u8 = 0x30;
pub const SET: u8 = 0x31;
pub const OID: u8 = 6;
pub const OCTETS: u8 = 4;
pub const BITS: u8 = 3;
pub const INTEGER: u8 = 2;
pub const BOOLEAN: u8 = 1;
pub const NULL: [u8; 2] = [5, 0];

/// One value: its tag, and what is in it.
#[derive(Clone, Debug)]
pub struct Node {
    pub tag: u8,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Vec<u8>),
    Nodes(Vec<Node>),
}

impl Node {
    pub fn new(tag: u8, bytes: impl Into<Vec<u8>>) -> Self {
        let content = Content::Bytes(bytes.into());
        Self { tag, content }
    }

    pub fn of(tag: u8, nodes: Vec<Node>) -> Self {
        let content = Content::Nodes(nodes);
        Self { tag, content }
    }

    /// A whole value, taken apart as far as constructed tags, and octet strings with one value in them, go.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (tag, content, rest) = split(der)?;
        let inside = match tag {
            OCTETS => Self::parse(content).map(|one| vec![one]),
            tag if tag & 0x20 != 0 => all(content),
            _ => None,
        };
        let content = inside.map_or_else(|| Content::Bytes(content.to_vec()), Content::Nodes);
        rest.is_empty().then_some(Self { tag, content })
    }

    pub fn encode(&self) -> Vec<u8> {
        match &self.content {
            Content::Bytes(bytes) => tlv(self.tag, bytes),
            Content::Nodes(nodes) => {
                let content: Vec<u8> = nodes.iter().flat_map(Node::encode).collect();
                tlv(self.tag, &content)
            }
        }
    }

    pub fn nodes(&mut self) -> &mut Vec<Node> {
        if let Content::Bytes(_) = self.content {
            self.content = Content::Nodes(Vec::new());
        }
        match &mut self.content {
            Content::Nodes(nodes) => nodes,
            Content::Bytes(_) => unreachable!("it has nodes since the line above"),
        }
    }

    /// How many values it is made of, itself included.
    pub fn count(&self) -> usize {
        1 + match &self.content {
            Content::Bytes(_) => 0,
            Content::Nodes(nodes) => nodes.iter().map(Node::count).sum(),
        }
    }

    /// The n-th of those values, counted from itself downwards.
    pub fn nth(&mut self, n: usize) -> Option<&mut Node> {
        let Some(mut left) = n.checked_sub(1) else {
            return Some(self);
        };
        let Content::Nodes(nodes) = &mut self.content else {
            return None;
        };
        for node in nodes {
            let count = node.count();
            if left < count {
                return node.nth(left);
            }
            left -= count;
        }
        None
    }
}

fn all(mut content: &[u8]) -> Option<Vec<Node>> {
    let mut nodes = Vec::new();
    while !content.is_empty() {
        let (_, _, rest) = split(content)?;
        nodes.push(Node::parse(&content[..content.len() - rest.len()])?);
        content = rest;
    }
    Some(nodes)
}

/// Tag, content and what follows.
fn split(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ 0..=0x7f => (short, rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
            let length = bytes.iter().try_fold(0_usize, |length, byte| {
                length.checked_mul(256)?.checked_add(usize::from(*byte))
            });
            (length?, rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    (tag & 0x1f != 0x1f).then_some((*tag, content, rest))
}

pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut der = vec![tag];
    match (content.len(), digits.len()) {
        (0..=0x7f, _) => der.push(digits.first().copied().unwrap_or(0)),
        (_, many) => {
            der.push(0x80 | u8::try_from(many).unwrap());
            der.extend(digits);
        }
    }
    der.extend(content);
    der
}

pub fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &parts.concat())
}

/// An OID from its dotted form.
pub fn oid(dotted: &str) -> Vec<u8> {
    let parts: Vec<u64> = dotted
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    let mut content = Vec::new();
    for part in std::iter::once(parts[0] * 40 + parts[1]).chain(parts[2..].iter().copied()) {
        let mut digits = vec![u8::try_from(part & 0x7f).unwrap()];
        let mut left = part >> 7;
        while left > 0 {
            digits.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        content.extend(digits.iter().rev());
    }
    tlv(OID, &content)
}
