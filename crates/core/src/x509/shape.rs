//! A certificate taken apart as Go's `ParseCertificate` does it: what Go passes over is passed over, what it refuses is a
//! defect, and where nothing can be known there is no certificate.

use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::der::{BOOLEAN, Der, INTEGER, OCTET_STRING, SEQUENCE};
use super::extensions::Extension;

const UTC_TIME: u8 = 23;
const GENERALIZED_TIME: u8 = 24;

/// The parts of a certificate, each as it stands in its DER.
pub(super) struct Shape<'a> {
    pub(super) tbs: &'a [u8],
    pub(super) version: u32,
    pub(super) serial: &'a [u8],
    /// The algorithm of the signature, whole.
    pub(super) algorithm: &'a [u8],
    /// Whole.
    pub(super) issuer: &'a [u8],
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// Whole.
    pub(super) subject: &'a [u8],
    /// Whole.
    pub(super) spki: &'a [u8],
    pub(super) extensions: Vec<Extension<'a>>,
    /// The signature, whole.
    pub(super) signature: &'a [u8],
    /// Why Go refuses it.
    pub(super) defect: Option<&'static str>,
}

impl<'a> Shape<'a> {
    pub(super) fn read(der: &'a [u8]) -> Option<Self> {
        let mut whole = Der(Der(der).take(SEQUENCE)?);
        let tbs = whole.element(SEQUENCE)?;
        let algorithm = whole.element(SEQUENCE)?;
        let signature = whole.0;
        let signed = whole.bit_string().is_some();

        let mut parts = Der(Der(tbs).take(SEQUENCE)?);
        let version = version(&mut parts);
        let serial = parts.take(INTEGER)?;
        let inner = parts.element(SEQUENCE)?;
        let issuer = parts.element(SEQUENCE)?;
        let mut validity = Der(parts.take(SEQUENCE)?);
        let (not_before, not_after) = (time(&mut validity)?, time(&mut validity)?);
        let subject = parts.element(SEQUENCE)?;
        let spki = parts.element(SEQUENCE)?;
        let extensions = match version {
            Some(3) => extensions(&mut parts),
            Some(2) => identifiers(&mut parts).map(|()| Vec::new()),
            _ => Some(Vec::new()),
        };
        let faults = [
            (!signed, "its signature is malformed"),
            (version.is_none(), "its version is unknown"),
            (!Der::is_integer(serial), "its serial number is malformed"),
            (
                serial.first().is_some_and(|byte| byte & 0x80 != 0),
                "its serial number is negative",
            ),
            (inner != algorithm, "its two signature algorithms differ"),
            (
                !is_algorithm(algorithm),
                "its signature algorithm is malformed",
            ),
            (!is_spki(spki), "its public key is malformed"),
            (extensions.is_none(), "it has a malformed extension"),
        ];
        Some(Self {
            tbs,
            version: version.unwrap_or_default(),
            serial,
            algorithm,
            issuer,
            not_before,
            not_after,
            subject,
            spki,
            extensions: extensions.unwrap_or_default(),
            signature,
            defect: faults
                .into_iter()
                .find_map(|(faulty, fault)| faulty.then_some(fault)),
        })
    }
}

/// Whether a request has the outer shape of one; its signature says the rest.
pub(super) fn is_request(der: &[u8]) -> bool {
    let signed = || {
        let mut outer = Der(der);
        let mut whole = Der(outer.take(SEQUENCE)?);
        whole.take(SEQUENCE)?;
        let algorithm = whole.element(SEQUENCE)?;
        whole.bit_string()?;
        (outer.is_empty() && is_algorithm(algorithm)).then_some(())
    };
    signed().is_some()
}

/// Where a part of `whole` lies in it; an empty range for anything else.
pub(super) fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize);
    match start {
        Some(start) if start.saturating_add(part.len()) <= whole.len() => start..start + part.len(),
        _ => 0..0,
    }
}

/// 1 to 3.
fn version(parts: &mut Der<'_>) -> Option<u32> {
    let Some(version) = parts.optional(0xa0)? else {
        return Some(1);
    };
    let mut version = Der(version);
    let number = version.int64(INTEGER)?;
    let known = version.is_empty() && (0..=2).contains(&number);
    known.then(|| u32::try_from(number + 1).ok())?
}

fn is_algorithm(whole: &[u8]) -> bool {
    let read = || {
        let mut content = Der(Der(whole).take(SEQUENCE)?);
        content.oid()?;
        (content.is_empty() || content.any().is_some()).then_some(())
    };
    read().is_some()
}

fn is_spki(whole: &[u8]) -> bool {
    let read = || {
        let mut spki = Der(Der(whole).take(SEQUENCE)?);
        let algorithm = spki.element(SEQUENCE)?;
        spki.bit_string()?;
        is_algorithm(algorithm).then_some(())
    };
    read().is_some()
}

/// The unique identifiers that nobody uses.
fn identifiers(parts: &mut Der<'_>) -> Option<()> {
    parts.optional(0x81)?;
    parts.optional(0x82).map(drop)
}

/// Each extension, whatever stands in it.
fn extensions<'a>(parts: &mut Der<'a>) -> Option<Vec<Extension<'a>>> {
    identifiers(parts)?;
    let mut extensions = Vec::new();
    if let Some(list) = parts.optional(0xa3)? {
        let mut list = Der(Der(list).take(SEQUENCE)?);
        while !list.is_empty() {
            let mut one = Der(list.take(SEQUENCE)?);
            extensions.push(Extension {
                oid: one.oid()?,
                critical: one.has(BOOLEAN) && one.boolean()?,
                value: one.take(OCTET_STRING)?,
            });
        }
    }
    Some(extensions)
}

/// UTCTime and GeneralizedTime, in UTC or with an offset; a UTCTime may lack its seconds, as Go has it.
fn time(validity: &mut Der<'_>) -> Option<Timestamp> {
    let (tag, content) = validity.any()?;
    let content = std::str::from_utf8(content).ok()?;
    let (digits, offset) = match content.strip_suffix('Z') {
        Some(digits) => (digits, 0),
        None => content
            .split_at_checked(content.len().checked_sub(5)?)
            .and_then(|(digits, zone)| Some((digits, offset(zone)?)))?,
    };
    let mut pairs = digits.as_bytes().chunks(2).map(number);
    let mut next = || pairs.next().unwrap_or(Some(0));
    let year = match (tag, digits.len()) {
        (UTC_TIME, 10 | 12) => match next()? {
            this @ 0..=49 => 2000 + this,
            last => 1900 + last,
        },
        (GENERALIZED_TIME, 14) => next()? * 100 + next()?,
        _ => return None,
    };
    let (month, day) = (i8::try_from(next()?).ok()?, i8::try_from(next()?).ok()?);
    let hour = i8::try_from(next()?).ok()?;
    let (minute, second) = (i8::try_from(next()?).ok()?, i8::try_from(next()?).ok()?);
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    // jiff ends a day before year 10000 does, and RFC 5280's "no end" is that year's last second.
    let utc = Offset::UTC.to_timestamp(civil).unwrap_or(Timestamp::MAX);
    let shift = jiff::SignedDuration::from_secs(offset);
    Some(utc.checked_sub(shift).unwrap_or(utc))
}

/// Two digits.
fn number(pair: &[u8]) -> Option<i16> {
    let text = std::str::from_utf8(pair).ok()?;
    let digits = pair.len() == 2 && pair.iter().all(u8::is_ascii_digit);
    digits.then(|| text.parse().ok())?
}

/// `+hhmm` or `-hhmm`, and not nothing, in seconds.
fn offset(zone: &str) -> Option<i64> {
    let (sign, digits) = zone.split_at_checked(1)?;
    let (hours, minutes) = digits.split_at_checked(2)?;
    let seconds = i64::from(number(hours.as_bytes())?) * 3600
        + i64::from(number(minutes.as_bytes()).filter(|minutes| *minutes < 60)?) * 60;
    let seconds = match sign {
        "+" => seconds,
        "-" => -seconds,
        _ => return None,
    };
    (seconds != 0 && seconds.abs() < 86_400).then_some(seconds)
}
