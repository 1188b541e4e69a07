//! DER, read as strictly as Go's `cryptobyte` does, and no more strictly.

use std::fmt::Write as _;

pub(super) const BOOLEAN: u8 = 1;
pub(super) const INTEGER: u8 = 2;
pub(super) const BIT_STRING: u8 = 3;
pub(super) const OCTET_STRING: u8 = 4;
pub(super) const OBJECT_IDENTIFIER: u8 = 6;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// What is left to read.
pub(super) struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    /// The next value: its tag and its content. What is malformed stays.
    pub(super) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match usize::from(*first) {
            short @ 0..=0x7f => (short, rest),
            // Longer than four bytes nothing is; zero would be an indefinite length.
            long @ 0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(long - 0x80)?;
                let length = bytes
                    .iter()
                    .fold(0, |length, byte| (length << 8) | usize::from(*byte));
                let minimal = length > 0x7f && bytes.first() != Some(&0);
                (minimal.then_some(length)?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        (tag & 0x1f != 0x1f).then(|| {
            self.0 = rest;
            (*tag, content)
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The content of the next value, which has that tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if self.has(tag) {
            self.any().map(|(_, content)| content)
        } else {
            None
        }
    }

    /// The whole of it.
    pub(super) fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let before = self.0;
        self.take(tag)?;
        before.get(..before.len() - self.0.len())
    }

    /// The same where the next value has that tag; an outer `None` where it has and is malformed.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Option<&'a [u8]>> {
        if self.has(tag) {
            self.take(tag).map(Some)
        } else {
            Some(None)
        }
    }

    /// A whole number of any length: its bytes.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        self.take(INTEGER)
            .filter(|content| Self::is_integer(content))
    }

    /// A whole number that fits into 64 bits, whatever its tag.
    pub(super) fn int64(&mut self, tag: u8) -> Option<i64> {
        let content = self.take(tag).filter(|content| Self::is_integer(content))?;
        let sign = if content.first()? & 0x80 == 0 { 0 } else { -1 };
        (content.len() <= 8).then(|| {
            content
                .iter()
                .fold(sign, |number, byte| (number << 8) | i64::from(*byte))
        })
    }

    pub(super) fn is_integer(content: &[u8]) -> bool {
        match content {
            [] => false,
            [0, second, ..] => second & 0x80 != 0,
            [0xff, second, ..] => second & 0x80 == 0,
            _ => true,
        }
    }

    pub(super) fn boolean(&mut self) -> Option<bool> {
        match self.take(BOOLEAN)? {
            [0] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// An object identifier whose parts fit into 31 bits: its bytes.
    pub(super) fn oid(&mut self) -> Option<&'a [u8]> {
        self.take(OBJECT_IDENTIFIER)
            .filter(|content| is_oid(content) && has_small_parts(content))
    }

    /// The bits that do not count are at most seven, and zero.
    pub(super) fn bit_string(&mut self) -> Option<&'a [u8]> {
        let (unused, bits) = self.take(BIT_STRING)?.split_first()?;
        let sound = match bits.last() {
            None => *unused == 0,
            Some(last) => *unused <= 7 && last.trailing_zeros() >= u32::from(*unused),
        };
        sound.then_some(bits)
    }
}

/// Base-128 parts without a leading zero, the last one ended.
pub(super) fn is_oid(content: &[u8]) -> bool {
    let mut at_start = true;
    for byte in content {
        if at_start && *byte == 0x80 {
            return false;
        }
        at_start = byte & 0x80 == 0;
    }
    !content.is_empty() && at_start
}

fn has_small_parts(oid: &[u8]) -> bool {
    oid.split_inclusive(|byte| byte & 0x80 == 0).all(|part| {
        let number = part
            .iter()
            .take(6)
            .fold(0_u64, |number, byte| (number << 7) | u64::from(byte & 0x7f));
        part.len() <= 5 && number <= 0x7fff_ffff
    })
}

/// Whether all values of a list have that tag and pass.
pub(super) fn each(content: &[u8], tag: u8, check: impl Fn(&[u8]) -> Option<()>) -> Option<()> {
    let mut content = Der(content);
    while !content.is_empty() {
        check(content.take(tag)?)?;
    }
    Some(())
}

/// An IA5String's text.
pub(super) fn ascii(bytes: &[u8]) -> Option<&str> {
    let ascii = bytes.is_ascii().then_some(bytes)?;
    std::str::from_utf8(ascii).ok()
}

/// An OID as people write it.
pub(super) fn dotted(oid: &[u8]) -> String {
    let mut parts = oid.split_inclusive(|byte| byte & 0x80 == 0).map(|part| {
        part.iter()
            .fold(0_u64, |number, byte| (number << 7) | u64::from(byte & 0x7f))
    });
    let first = parts.next().unwrap_or_default();
    let mut text = format!(
        "{}.{}",
        (first / 40).min(2),
        first - (first / 40).min(2) * 40
    );
    for part in parts {
        let _ = write!(text, ".{part}");
    }
    text
}
