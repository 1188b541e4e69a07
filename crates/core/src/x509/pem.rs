use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";

/// As lenient as Go's base64: padding is required, stray bits after it are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// One PEM block. Its bytes may be a private key, so they are wiped when dropped.
pub(super) struct Block {
    /// Where its BEGIN line starts in the text.
    pub(super) offset: usize,
    pub(super) label: String,
    /// `Proc-Type: 4,ENCRYPTED` and the like.
    pub(super) headers: Vec<(String, String)>,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// The PEM blocks of a text.
///
/// This follows Go's `encoding/pem` step by step, not RFC 7468: Go decides which certificates
/// a gateway or an agent takes from a file, and guards hold only for a bundle that is read in the same way.
pub(super) fn blocks(text: &[u8]) -> impl Iterator<Item = Block> {
    let mut position = Some(0);
    std::iter::from_fn(move || {
        let (block, next) = next_block(text, position?)?;
        position = Some(next);
        Some(block)
    })
}

fn next_block(text: &[u8], mut position: usize) -> Option<(Block, usize)> {
    loop {
        // The first END line, then the last BEGIN before it: a BEGIN without an END is thus passed over.
        let end = position + find(text.get(position..)?, END)?;
        let after_end = end + END.len();
        let start = position;
        position = after_end;

        let Some(begin) = rfind(text.get(start..end)?, BEGIN).map(|found| start + found) else {
            continue;
        };
        if begin > start && text.get(begin - 1) != Some(&b'\n') {
            continue;
        }
        let (type_line, mut cursor) = line(text, begin + BEGIN.len());
        let Some(label) = type_line.strip_suffix(DASHES) else {
            continue;
        };

        let mut headers = Vec::new();
        loop {
            if cursor >= text.len() {
                return None;
            }
            let (header, next) = line(text, cursor);
            let Some(colon) = header.iter().position(|byte| *byte == b':') else {
                break;
            };
            let (key, value) = header.split_at(colon);
            headers.push((trimmed(key), trimmed(value.get(1..).unwrap_or_default())));
            cursor = next;
        }
        if !headers.is_empty() && end < cursor {
            if after_end < cursor {
                return None;
            }
            continue;
        }

        let Some(trailer) = text
            .get(after_end..)
            .and_then(|rest| rest.strip_prefix(label))
        else {
            continue;
        };
        let Some(rest) = trailer.strip_prefix(DASHES) else {
            continue;
        };
        if !line(rest, 0).0.is_empty() {
            continue;
        }

        let Some(bytes) = decode(text.get(cursor..end).unwrap_or_default()) else {
            continue;
        };
        let (_, next) = line(text, end + 1);
        let label = String::from_utf8_lossy(label).into_owned();
        return Some((
            Block {
                offset: begin,
                label,
                headers,
                bytes,
            },
            next,
        ));
    }
}

fn decode(body: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let compact: Zeroizing<Vec<u8>> = Zeroizing::new(
        body.iter()
            .copied()
            .filter(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'))
            .collect(),
    );
    let mut bytes = Zeroizing::new(vec![0; compact.len() / 4 * 3 + 3]);
    let length = BASE64
        .decode_slice(compact.as_slice(), bytes.as_mut_slice())
        .ok()?;
    bytes.truncate(length);
    Some(bytes)
}

/// One PEM block with lines of 64 characters. Wiped when dropped, for it may hold a private key.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let mut body = Zeroizing::new(vec![0; der.len().div_ceil(3) * 4]);
    let length = BASE64
        .encode_slice(der, body.as_mut_slice())
        .unwrap_or_default();
    // Sized beforehand: a buffer that grows leaves copies of a key behind.
    let mut text = Zeroizing::new(String::with_capacity(
        length + length / 64 + 2 * label.len() + 40,
    ));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for chunk in body.get(..length).unwrap_or_default().chunks(64) {
        text.extend(chunk.iter().copied().map(char::from));
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// The line at `start` without its end and trailing blanks, and where the next one starts.
fn line(text: &[u8], start: usize) -> (&[u8], usize) {
    let rest = text.get(start..).unwrap_or_default();
    let (mut content, next) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let content = rest.get(..end).unwrap_or_default();
            (
                content.strip_suffix(b"\r").unwrap_or(content),
                start + end + 1,
            )
        }
        None => (rest, text.len()),
    };
    while let Some(shorter) = content
        .strip_suffix(b" ")
        .or_else(|| content.strip_suffix(b"\t"))
    {
        content = shorter;
    }
    (content, next)
}

fn trimmed(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

pub(super) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len())
        .position(|window| window == needle)
}

fn rfind(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len())
        .rposition(|window| window == needle)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::{blocks, encode};

    fn labels(text: &str) -> Vec<String> {
        blocks(text.as_bytes()).map(|block| block.label).collect()
    }

    // Go 1.26's encoding/pem was given the same texts; the second column is what it found.
    #[test]
    fn finds_what_go_finds() {
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("# only a comment\n", &[]),
            ("-----BEGIN A-----\nAAAA\n-----END A-----\n", &["A"]),
            ("-----BEGIN A-----\r\nAAAA\r\n-----END A-----\r\n", &["A"]),
            ("-----BEGIN A-----\nAAAA\n-----END A-----", &["A"]),
            ("-----BEGIN A-----  \n  AA AA\t\n-----END A----- \n", &["A"]),
            ("-----BEGIN A-----\n-----END A-----\n", &["A"]),
            ("-----BEGIN -----\nAAAA\n-----END -----\n", &[""]),
            (
                "text\n-----BEGIN A-----\nAAAA\n-----END A-----\nmore",
                &["A"],
            ),
            ("text -----BEGIN A-----\nAAAA\n-----END A-----\n", &[]),
            ("\u{feff}-----BEGIN A-----\nAAAA\n-----END A-----\n", &[]),
            ("  -----BEGIN A-----\n  AAAA\n  -----END A-----\n", &[]),
            ("-----BEGIN A-----\nAAAA\n-----END B-----\n", &[]),
            (
                "-----BEGIN A-----\nAA!A\n-----END A-----\n-----BEGIN B-----\nAAAA\n-----END B-----\n",
                &["B"],
            ),
            ("-----BEGIN A-----\nAAA\n-----END A-----\n", &[]),
            (
                "-----BEGIN A-----\nAAAA\n-----BEGIN B-----\nAAAA\n-----END B-----\n",
                &["B"],
            ),
            ("-----BEGIN A-----\nK: v\n\nAAAA\n-----END A-----\n", &["A"]),
            (
                "-----BEGIN A-----\nAAAA\n-----END A-----x\n-----BEGIN B-----\nAAAA\n-----END B-----\n",
                &["B"],
            ),
            ("-----BEGIN A-----\nAAAA-----END A-----\n", &[]),
            ("-----BEGIN A-----\rAAAA\r-----END A-----\r", &[]),
            (
                "-----END A-----\n-----BEGIN A-----\nAAAA\n-----END A-----\n",
                &["A"],
            ),
            ("-----BEGIN A----\nAAAA\n-----END A-----\n", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(&labels(text), expected, "{text:?}");
        }
    }

    #[test]
    fn keeps_headers_and_offsets() {
        let text = "hello\n-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n-----END A-----\n";
        let block = blocks(text.as_bytes()).next().unwrap();
        assert_eq!(block.offset, 6);
        assert_eq!(
            block.headers[0],
            ("Proc-Type".to_owned(), "4,ENCRYPTED".to_owned())
        );
        assert_eq!(block.bytes.as_slice(), [0, 0, 0]);
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(der in proptest::collection::vec(any::<u8>(), 0..300), before in "[a-z \n]{0,20}") {
            let text = format!("{before}\n{}", encode("SOME THING", &der).as_str());
            let found: Vec<_> = blocks(text.as_bytes()).collect();
            prop_assert_eq!(found.len(), 1);
            prop_assert_eq!(found[0].bytes.as_slice(), der.as_slice());
            prop_assert!(text.lines().all(|line| line.len() <= 64));
        }

        #[test]
        fn rubbish_never_panics(text in "(-----BEGIN |-----END |-----|A|\n|\r|:|=|[ -~]){0,60}") {
            blocks(text.as_bytes()).for_each(drop);
        }
    }
}
