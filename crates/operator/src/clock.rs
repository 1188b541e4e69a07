//! How far the operator's clock is from the API server's, by the `Date` of the answers.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use external_ca_core::plan::is_off;
use futures::TryFutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, header};
use jiff::{SignedDuration, Timestamp};
use tower::{Layer, Service};

/// An answer that took longer says too little of the time.
const PROMPT: Duration = Duration::from_secs(10);
/// `Date` has whole seconds.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// What the API server's answers tell of its clock.
#[derive(Clone, Default)]
pub struct Clock(Arc<Mutex<Option<Heard>>>);

/// A `Date`, and between which moments it was written. Moments pass as they do, whatever is done to the operator's clock.
#[derive(Clone, Copy)]
struct Heard {
    date: Timestamp,
    asked: Instant,
    answered: Instant,
}

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// By the operator's clock, or by the API server's where they are too far apart: whoever reads a status rather finds
    /// there the time by which objects are made.
    pub now: Timestamp,
    /// How far the operator's clock is ahead of the API server's, at least, where that is too far; else nothing.
    pub ahead: SignedDuration,
}

impl Clock {
    /// What time it is.
    pub fn read(&self) -> Reading {
        self.read_at(Timestamp::now(), Instant::now())
    }

    fn read_at(&self, now: Timestamp, moment: Instant) -> Reading {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = heard.map_or(SignedDuration::ZERO, |heard| heard.ahead(now, moment));
        let theirs = now.checked_sub(ahead).unwrap_or(now);
        match is_off(ahead) {
            true => Reading { now: theirs, ahead },
            false => Reading {
                now,
                ahead: SignedDuration::ZERO,
            },
        }
    }

    fn hear(&self, headers: &HeaderMap, asked: Instant, answered: Instant) {
        let date = headers.get(header::DATE).and_then(|date| {
            let date = jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok()?;
            Some(date.timestamp())
        });
        let is_prompt = answered.saturating_duration_since(asked) < PROMPT;
        if let Some(date) = date.filter(|_| is_prompt) {
            let heard = Heard {
                date,
                asked,
                answered,
            };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
        }
    }
}

impl Heard {
    fn ahead(self, now: Timestamp, moment: Instant) -> SignedDuration {
        let since = |then: Instant| {
            let passed = moment.saturating_duration_since(then);
            SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX)
        };
        let by_clock = self.date.duration_until(now);
        let earliest = by_clock
            .saturating_sub(since(self.asked))
            .saturating_sub(SECOND);
        let latest = by_clock.saturating_sub(since(self.answered));
        // Anything between these: that which is nearest to none.
        SignedDuration::ZERO.clamp(earliest, latest)
    }
}

impl<S> Layer<S> for Clock {
    type Service = Listening<S>;

    fn layer(&self, inner: S) -> Listening<S> {
        let clock = self.clone();
        Listening { clock, inner }
    }
}

/// Reads the `Date` of each answer as it passes.
#[derive(Clone)]
pub struct Listening<S> {
    clock: Clock,
    inner: S,
}

impl<S, Body, Answer> Service<Request<Body>> for Listening<S>
where
    S: Service<Request<Body>, Response = Response<Answer>>,
    S::Future: Send + 'static,
{
    type Response = Response<Answer>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (clock, asked) = (self.clock.clone(), Instant::now());
        let answer = self.inner.call(request);
        Box::pin(answer.inspect_ok(move |answer| {
            clock.hear(answer.headers(), asked, Instant::now());
        }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn date() -> Timestamp {
        "2026-11-06T08:49:37Z".parse().unwrap()
    }

    /// A clock that has heard of one answer, which took so long.
    async fn heard(date: &'static str, took: Duration) -> (Clock, Instant) {
        let clock = Clock::default();
        let answer = move |_: Request<()>| async move {
            tokio::time::sleep(took).await;
            let answer = Response::builder().header(header::DATE, date);
            Ok::<_, std::convert::Infallible>(answer.body(()).unwrap())
        };
        let mut service = clock.layer(tower::service_fn(answer));
        service.call(Request::new(())).await.unwrap();
        (clock, Instant::now())
    }

    #[tokio::test]
    async fn answers_tell_how_far_the_clock_is_off() {
        let (clock, moment) = heard("Fri, 06 Nov 2026 08:49:37 GMT", Duration::ZERO).await;
        let read = |clock: &Clock, now, moment| clock.read_at(now, moment);
        for near in [0, 1, 4 * 60, -4 * 60] {
            let now = date() + SignedDuration::from_secs(near);
            assert_eq!(read(&clock, now, moment).now, now, "{near}");
        }
        for far in [DAY * 400, -DAY, SignedDuration::from_secs(303)] {
            let reading = read(&clock, date() + far, moment);
            assert!(is_off(reading.ahead), "{reading:?}");
            let wrong = (reading.ahead - far).abs();
            assert!(wrong <= SignedDuration::from_secs(2), "{reading:?}");
            let now = date().duration_until(reading.now).abs();
            assert!(now <= SignedDuration::from_secs(2), "{reading:?}");
        }
        // A clock that is set between two answers is noticed before the second one.
        let later = moment + Duration::from_secs(3600);
        let right = date() + SignedDuration::from_secs(3600);
        assert!(!is_off(read(&clock, right, later).ahead));
        assert!(is_off(read(&clock, right + DAY, later).ahead));
        assert!(is_off(read(&clock, date(), later).ahead));
    }

    #[tokio::test]
    async fn nothing_is_concluded_from_slow_answers_and_odd_dates() {
        let now = date() + DAY;
        let right = Reading {
            now,
            ahead: SignedDuration::ZERO,
        };
        for odd in ["yesterday", "", "Fri, 06 Nov 2026 08:49 O'CLOCK"] {
            let (clock, moment) = heard(odd, Duration::ZERO).await;
            assert_eq!(clock.read_at(now, moment), right, "{odd}");
        }
        assert_eq!(Clock::default().read_at(now, Instant::now()), right);
        let (clock, asked) = (Clock::default(), Instant::now());
        let mut headers = HeaderMap::new();
        let text = "Fri, 06 Nov 2026 08:49:37 GMT".parse().unwrap();
        headers.insert(header::DATE, text);
        let answered = asked + Duration::from_secs(60);
        clock.hear(&headers, asked, answered);
        assert_eq!(clock.read_at(now, answered), right);
    }
}
