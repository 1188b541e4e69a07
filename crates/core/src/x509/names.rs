//! Distinguished names, whatever string type their values have.

use std::fmt::Write as _;

use x509_parser::asn1_rs::{Oid, oid};

use super::der::{Der, SEQUENCE, SET, dotted};
use super::hex::hex;

pub(super) const COMMON_NAME: Oid<'static> = oid!(2.5.4.3);
pub(super) const ORGANIZATION: Oid<'static> = oid!(2.5.4.10);
pub(super) const ORGANIZATIONAL_UNIT: Oid<'static> = oid!(2.5.4.11);

/// The descriptors of RFC 4514 and those that openssl and LDAP servers print besides.
const DESCRIPTORS: &[(Oid<'static>, &str)] = &[
    (COMMON_NAME, "CN"),
    (ORGANIZATION, "O"),
    (ORGANIZATIONAL_UNIT, "OU"),
    (oid!(2.5.4.6), "C"),
    (oid!(2.5.4.8), "ST"),
    (oid!(2.5.4.7), "L"),
    (oid!(2.5.4.9), "STREET"),
    (oid!(0.9.2342.19200300.100.1.25), "DC"),
    (oid!(0.9.2342.19200300.100.1.1), "UID"),
    (oid!(2.5.4.5), "serialNumber"),
    (oid!(1.2.840.113549.1.9.1), "emailAddress"),
];

/// A name, as it stands in a certificate.
pub(super) struct Name<'a>(Vec<Vec<Attribute<'a>>>);

struct Attribute<'a> {
    kind: &'a [u8],
    tag: u8,
    value: &'a [u8],
    /// The value with its tag and length.
    whole: &'a [u8],
}

impl<'a> Name<'a> {
    pub(super) fn read(whole: &'a [u8]) -> Option<Self> {
        let mut content = Der(Der(whole).take(SEQUENCE)?);
        let mut parts = Vec::new();
        while !content.is_empty() {
            let mut part = Der(content.take(SET)?);
            let mut attributes = Vec::new();
            while !part.is_empty() {
                let mut attribute = Der(part.take(SEQUENCE)?);
                let kind = attribute.oid()?;
                let whole = attribute.0;
                let (tag, value) = attribute.any()?;
                let whole = whole.get(..whole.len() - attribute.0.len())?;
                attributes.push(Attribute {
                    kind,
                    tag,
                    value,
                    whole,
                });
            }
            parts.push(attributes);
        }
        Some(Self(parts))
    }

    /// The values of one attribute, in the order of the name.
    pub(super) fn values(&self, kind: &Oid<'_>) -> Vec<String> {
        let all = self.0.iter().flatten();
        all.filter(|one| one.kind == kind.as_bytes())
            .map(|one| one.text().unwrap_or_else(|| one.hex()))
            .collect()
    }

    /// The name as RFC 4514 writes it: most specific part first.
    pub(super) fn rfc4514(&self) -> String {
        let parts = self.0.iter().rev().map(|part| {
            let attributes: Vec<String> = part.iter().map(Attribute::rfc4514).collect();
            attributes.join("+")
        });
        parts.collect::<Vec<_>>().join(",")
    }

    /// Whether Go can read every value; it refuses the whole certificate where it cannot.
    pub(super) fn is_readable(&self) -> bool {
        self.0.iter().flatten().all(|one| one.text().is_some())
    }
}

impl Attribute<'_> {
    fn rfc4514(&self) -> String {
        let value = self.text().map_or_else(|| self.hex(), |text| escape(&text));
        let descriptor = DESCRIPTORS
            .iter()
            .find(|(oid, _)| oid.as_bytes() == self.kind);
        match descriptor {
            Some((_, descriptor)) => format!("{descriptor}={value}"),
            None => format!("{}={value}", dotted(self.kind)),
        }
    }

    /// The string types that Go knows, decoded as Go does: T.61 as Latin-1, BMPString as UCS-2.
    fn text(&self) -> Option<String> {
        let bytes = self.value;
        let ascii = |permitted: fn(u8) -> bool| {
            bytes
                .iter()
                .all(|byte| permitted(*byte))
                .then(|| bytes.iter().copied().map(char::from).collect())
        };
        match self.tag {
            12 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            18 => ascii(|byte| byte.is_ascii_digit() || byte == b' '),
            19 => ascii(|byte| byte.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(&byte)),
            20 => Some(bytes.iter().copied().map(char::from).collect()),
            22 => ascii(|byte| byte.is_ascii()),
            30 => bmp(bytes),
            _ => None,
        }
    }

    fn hex(&self) -> String {
        format!("#{}", hex(self.whole))
    }
}

fn bmp(bytes: &[u8]) -> Option<String> {
    let mut units = bytes.chunks_exact(2);
    let mut text: String = units
        .by_ref()
        .map(|unit| {
            let code = unit
                .iter()
                .fold(0_u32, |code, byte| (code << 8) | u32::from(*byte));
            // Surrogates are no characters, and these code points never will be.
            char::from_u32(code).filter(|_| !matches!(code, 0xfffe | 0xffff | 0xfdd0..=0xfdef))
        })
        .collect::<Option<_>>()?;
    if text.ends_with('\0') {
        text.pop();
    }
    units.remainder().is_empty().then_some(text)
}

fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (index == 0 && matches!(character, ' ' | '#'))
            || (index == last && character == ' ');
        if special {
            escaped.push('\\');
            escaped.push(character);
        } else if character.is_control() {
            // Also keeps a hostile name from breaking lines in a log.
            for byte in character.to_string().bytes() {
                let _ = write!(escaped, "\\{byte:02X}");
            }
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{COMMON_NAME, Name};

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = vec![tag, u8::try_from(content.len()).unwrap()];
        der.extend_from_slice(content);
        der
    }

    /// A name of one-valued parts, each a common name of that string type.
    fn name(parts: &[(u8, &[u8])]) -> Vec<u8> {
        let parts: Vec<u8> = parts
            .iter()
            .flat_map(|(tag, value)| {
                let attribute = [tlv(6, &[0x55, 0x04, 0x03]), tlv(*tag, value)].concat();
                tlv(0x31, &tlv(0x30, &attribute))
            })
            .collect();
        tlv(0x30, &parts)
    }

    #[test]
    fn writes_every_string_type_and_escapes() {
        let cases: &[(u8, &[u8], &str)] = &[
            (12, "Grüße".as_bytes(), "CN=Grüße"),
            (12, b"", "CN="),
            (
                12,
                b"a,b+c;d<e>f\"g\\h",
                "CN=a\\,b\\+c\\;d\\<e\\>f\\\"g\\\\h",
            ),
            (12, b" #x ", "CN=\\ #x\\ "),
            (12, b"#x", "CN=\\#x"),
            (12, b" ", "CN=\\ "),
            (12, b"a\nb\0", "CN=a\\0Ab\\00"),
            (19, b"Example (CA) *", "CN=Example (CA) *"),
            (20, &[b'M', 0xfc, b'l', b'l'], "CN=Müll"),
            (22, b"a@b.c", "CN=a@b.c"),
            (30, &[0, b'M', 0, 0xfc, 0x4e, 0x2d], "CN=Mü中"),
            (30, &[0, b'M', 0, 0], "CN=M"),
            (18, b"12 3", "CN=12 3"),
        ];
        for (tag, value, expected) in cases {
            let der = name(&[(*tag, value)]);
            let parsed = Name::read(&der).unwrap();
            assert_eq!(parsed.rfc4514(), *expected);
            assert!(parsed.is_readable());
        }
    }

    #[test]
    fn writes_values_that_go_cannot_read_as_hex() {
        let cases: &[(u8, &[u8], &str)] = &[
            (12, &[0xff], "CN=#0c01ff"),
            (19, b"a@b", "CN=#1303614062"),
            (22, &[0x80], "CN=#160180"),
            (30, &[0], "CN=#1e0100"),
            (30, &[0xd8, 0x00], "CN=#1e02d800"),
            (28, &[0, 0, 0, 65], "CN=#1c0400000041"),
            (4, b"x", "CN=#040178"),
            // An application tag with a string's number, and a string in pieces.
            (0x4c, b"x", "CN=#4c0178"),
            (0x2c, &[12, 1, b'x'], "CN=#2c030c0178"),
        ];
        for (tag, value, expected) in cases {
            let der = name(&[(*tag, value)]);
            let parsed = Name::read(&der).unwrap();
            assert_eq!(parsed.rfc4514(), *expected);
            assert!(!parsed.is_readable());
        }
    }

    #[test]
    fn repeats_and_reverses() {
        let der = name(&[(12, b"first"), (12, b"second")]);
        let parsed = Name::read(&der).unwrap();
        assert_eq!(parsed.rfc4514(), "CN=second,CN=first");
        assert_eq!(parsed.values(&COMMON_NAME), ["first", "second"]);
    }
}
