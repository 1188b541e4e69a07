//! Whether bytes have a certificate's shape as strictly as Go wants it. The parser in use lets through what Go does
//! not: other tags in an OID's place, lengths that are not minimal, stray bits.

const BOOLEAN: u8 = 1;
const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const OCTET_STRING: u8 = 4;
const OBJECT_IDENTIFIER: u8 = 6;
const UTC_TIME: u8 = 23;
const GENERALIZED_TIME: u8 = 24;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// A certificate, down to its names, algorithms and extensions.
pub(super) fn is_certificate(der: &[u8]) -> bool {
    signed(der, |mut tbs| {
        tbs.optional(0xa0)
            .map_or(Some(()), |version| Der(version).take(INTEGER).map(drop))?;
        tbs.take(INTEGER)?;
        algorithm(tbs.take(SEQUENCE)?)?;
        name(tbs.take(SEQUENCE)?)?;
        let mut validity = Der(tbs.take(SEQUENCE)?);
        time(&mut validity)?;
        time(&mut validity)?;
        name(tbs.take(SEQUENCE)?)?;
        let mut spki = Der(tbs.take(SEQUENCE)?);
        algorithm(spki.take(SEQUENCE)?)?;
        spki.take(BIT_STRING)?;
        tbs.optional(0x81);
        tbs.optional(0x82);
        if tbs.0.is_empty() {
            return Some(());
        }
        let extensions = tbs.take(0xa3)?;
        each(Der(extensions).take(SEQUENCE)?, SEQUENCE, |extension| {
            let mut extension = Der(extension);
            let oid = extension.take(OBJECT_IDENTIFIER)?;
            extension.optional(BOOLEAN);
            extension_value(oid, extension.take(OCTET_STRING)?)
        })
    })
    .is_some()
}

/// A request, as far as its signature.
pub(super) fn is_request(der: &[u8]) -> bool {
    signed(der, |_| Some(())).is_some()
}

fn signed(der: &[u8], content: impl FnOnce(Der<'_>) -> Option<()>) -> Option<()> {
    let mut outer = Der(der);
    let mut inner = Der(outer.take(SEQUENCE)?);
    content(Der(inner.take(SEQUENCE)?))?;
    algorithm(inner.take(SEQUENCE)?)?;
    inner.take(BIT_STRING)?;
    outer.0.is_empty().then_some(())
}

/// The extensions that trust rests on; the parser reads the others as strictly as is needed.
fn extension_value(oid: &[u8], value: &[u8]) -> Option<()> {
    let mut value = Der(value);
    match oid {
        [0x55, 0x1d, 14] => value.take(OCTET_STRING).map(drop),
        [0x55, 0x1d, 15] => value.take(BIT_STRING).map(drop),
        [0x55, 0x1d, 19] => {
            let mut constraints = Der(value.take(SEQUENCE)?);
            constraints.optional(BOOLEAN);
            constraints.optional(INTEGER);
            constraints.0.is_empty().then_some(())
        }
        [0x55, 0x1d, 37] => each(value.take(SEQUENCE)?, OBJECT_IDENTIFIER, |_| Some(())),
        _ => Some(()),
    }
}

fn algorithm(content: &[u8]) -> Option<()> {
    let mut content = Der(content);
    content.take(OBJECT_IDENTIFIER)?;
    if content.0.is_empty() {
        Some(())
    } else {
        content.any().map(drop)
    }
}

fn name(content: &[u8]) -> Option<()> {
    each(content, SET, |part| {
        each(part, SEQUENCE, |attribute| {
            let mut attribute = Der(attribute);
            attribute.take(OBJECT_IDENTIFIER)?;
            attribute.any().map(drop)
        })
    })
}

/// UTCTime and GeneralizedTime as DER has them: with seconds, in UTC.
fn time(validity: &mut Der<'_>) -> Option<()> {
    let (tag, content) = validity.any()?;
    let digits = match tag {
        UTC_TIME => 12,
        GENERALIZED_TIME => 14,
        _ => return None,
    };
    let (last, rest) = content.split_last()?;
    (*last == b'Z' && rest.len() == digits && rest.iter().all(u8::is_ascii_digit)).then_some(())
}

fn each(content: &[u8], tag: u8, check: impl Fn(&[u8]) -> Option<()>) -> Option<()> {
    let mut content = Der(content);
    while !content.0.is_empty() {
        check(content.take(tag)?)?;
    }
    Some(())
}

/// What is left to read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
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
        let well_formed = match *tag {
            INTEGER => is_integer(content),
            OBJECT_IDENTIFIER => is_oid(content),
            BIT_STRING => is_bit_string(content),
            BOOLEAN => matches!(content, [0 | 0xff]),
            tag => tag & 0x1f != 0x1f,
        };
        // What is malformed stays, so that it cannot be passed over as an optional part.
        well_formed.then(|| {
            self.0 = rest;
            (*tag, content)
        })
    }

    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.any()
            .filter(|(tag, _)| *tag == wanted)
            .map(|(_, content)| content)
    }

    fn optional(&mut self, wanted: u8) -> Option<&'a [u8]> {
        if self.0.first() == Some(&wanted) {
            self.take(wanted)
        } else {
            None
        }
    }
}

fn is_integer(content: &[u8]) -> bool {
    match content {
        [] => false,
        [0, second, ..] => second & 0x80 != 0,
        [0xff, second, ..] => second & 0x80 == 0,
        _ => true,
    }
}

/// The bits that do not count are at most seven, and zero.
fn is_bit_string(content: &[u8]) -> bool {
    match content {
        [] => false,
        [unused] => *unused == 0,
        [unused, .., last] => {
            *unused <= 7 && u32::from(*last).trailing_zeros() >= u32::from(*unused)
        }
    }
}

/// Base-128 parts without a leading zero, the last one ended.
fn is_oid(content: &[u8]) -> bool {
    let mut at_start = true;
    for byte in content {
        if at_start && *byte == 0x80 {
            return false;
        }
        at_start = byte & 0x80 == 0;
    }
    !content.is_empty() && at_start
}
