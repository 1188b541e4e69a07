//! When a certificate is issued anew.

use external_ca_api::ExternalCAIssuanceSpec;
use jiff::{SignedDuration, Timestamp};

use crate::x509::{BACKDATE, Certificate};

/// When leaves are issued anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// How long before its end a leaf of the full duration is renewed.
    pub before: SignedDuration,
    /// Whether it keeps its key then.
    pub keeps_key: bool,
}

/// Whatever is asked for, a certificate serves so much of its life before the next one is issued: one part of this many.
const LEAST_SERVICE: i32 = 10;

/// How long before its end a certificate of the full duration is renewed: nine tenths of it at most, also where the schema
/// that admitted the issuance knew no limit.
pub fn renew_before(spec: &ExternalCAIssuanceSpec) -> SignedDuration {
    let defaults = &spec.certificate_defaults;
    let duration = defaults.duration.0;
    let before = match (defaults.renew_before, defaults.renew_before_percentage) {
        (Some(before), _) => before.0,
        (None, Some(percent)) => duration / 100 * i32::from(percent),
        (None, None) => duration / 3,
    };
    before.min(duration - duration / LEAST_SERVICE)
}

/// When a certificate is renewed: `renew_before` of the wanted duration, in proportion to the time it really has, and a
/// little earlier, by its fingerprint, so that certificates of one batch spread: by a twentieth of that time at most, and
/// of the time that it serves. Never before it has served a tenth of its life.
pub fn renewal_time(
    certificate: &Certificate,
    renew_before: SignedDuration,
    duration: SignedDuration,
) -> Timestamp {
    let (begin, end) = (served_since(certificate, duration), certificate.not_after());
    let life = begin.duration_until(end);
    let share = life.as_secs_f64() / duration.as_secs_f64().max(1.0);
    let before = renew_before.mul_f64(share.clamp(0.0, 1.0)).min(life);
    let served = life - before;
    let jitter = before
        .min(served)
        .mul_f64(f64::from(spread(certificate)) / 65536.0 / 20.0);
    let least = life / LEAST_SERVICE;
    let time = begin
        .saturating_add((served - jitter).max(least))
        .unwrap_or(Timestamp::MAX);
    // The API keeps whole seconds.
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// When a certificate was issued: it is dated back, by five minutes where the operator made it.
fn served_since(certificate: &Certificate, duration: SignedDuration) -> Timestamp {
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    let issued = begin.saturating_add(BACKDATE).unwrap_or(begin);
    let full = end.saturating_sub(duration).unwrap_or(begin);
    // One that is as long as its backdating was not dated back so much.
    if issued < end {
        issued.max(full)
    } else {
        begin.max(full)
    }
}

fn spread(certificate: &Certificate) -> u16 {
    let [first, second, ..] = *certificate.fingerprint().as_bytes();
    u16::from_be_bytes([first, second])
}
