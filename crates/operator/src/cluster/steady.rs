//! A watch that says when it is none: one that may not be begun is as blind as a list that may not be read, and a watch from a
//! version that is gone begins with a new list.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use external_ca_core::model::lenient::Lenient;
use futures::{Stream, StreamExt, TryStreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use crate::backoff::backoff;
use crate::error::{describe, describe_watch};

/// So often in a row a watch may fail to begin by a fault that passes: a restart of the API server is none to tell.
const PASSING: u32 = 5;
/// A watch that has not been refused for so long stands.
const STANDS: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 5_000 });
/// In how long at the latest a watch that is refused is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

type Events<K> = Pin<Box<dyn Stream<Item = watcher::Result<Event<Lenient<K>>>> + Send>>;

/// A watch of a list, or of one object.
pub struct Steady<K> {
    api: Api<Lenient<K>>,
    config: watcher::Config,
    events: Events<K>,
    /// How long to wait before the first of them.
    pause: Option<Duration>,
    /// How often in a row it could not be begun.
    failures: u32,
    /// Whether it is told to be none.
    is_refused: bool,
    /// Whether the list is read, so that the watch begins.
    is_listed: bool,
    /// Whether the watch has told something.
    has_told: bool,
}

/// What it tells: there is one at a time.
#[allow(clippy::large_enum_variant)]
pub enum Told<K> {
    /// Something has happened.
    Event(Event<Lenient<K>>),
    /// It was refused, and stands now.
    Watched,
    /// A fault that may pass.
    Failed(String),
    /// What it is about cannot be read: why.
    Unreadable(String),
    /// It can be read, and not watched: why.
    Unwatched(String),
}

impl<K> Steady<K>
where
    Lenient<K>: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    /// Nothing is asked yet.
    pub fn new(api: Api<Lenient<K>>, config: watcher::Config) -> Self {
        Self {
            events: events(&api, &config),
            api,
            config,
            pause: None,
            failures: 0,
            is_refused: false,
            is_listed: false,
            has_told: false,
        }
    }

    /// Whether it may be a watch: only what was refused is none.
    pub fn is_watched(&self) -> bool {
        !self.is_refused
    }

    /// Waits for what comes next.
    pub async fn next(&mut self) -> Told<K> {
        if let Some(pause) = self.pause.take() {
            sleep(pause).await;
        }
        let next = self.events.try_next();
        let next = if self.is_refused && self.is_listed {
            let stands = if self.has_told {
                Duration::ZERO
            } else {
                STANDS
            };
            match timeout(stands, next).await {
                Ok(next) => next,
                Err(_) => {
                    (self.is_refused, self.failures) = (false, 0);
                    return Told::Watched;
                }
            }
        } else {
            next.await
        };
        match next {
            Ok(Some(event)) => {
                self.is_listed = !matches!(event, Event::Init | Event::InitApply(_));
                self.has_told = matches!(event, Event::Apply(_) | Event::Delete(_));
                Told::Event(event)
            }
            Ok(None) => self.begin_anew("it has ended".to_owned()),
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &watcher::Error) -> Told<K> {
        let why = describe_watch(error);
        match error {
            watcher::Error::InitialListFailed(error) => {
                Told::Unreadable(format!("cannot be read: {}", describe(error)))
            }
            watcher::Error::WatchStartFailed(error) => {
                self.failures = self.failures.saturating_add(1);
                match is_final(error) {
                    true => self.begin_anew(why),
                    false if self.failures < PASSING => Told::Failed(why),
                    false => self.begin_anew(why),
                }
            }
            // What was told then is lost.
            watcher::Error::WatchFailed(kube::Error::SerdeError(_)) => self.begin_anew(why),
            // It had begun: it is gone on with.
            _ => {
                self.failures = 0;
                Told::Failed(why)
            }
        }
    }

    /// Lists again, and tells that there is no watch, where the last attempt failed alike.
    fn begin_anew(&mut self, why: String) -> Told<K> {
        self.events = events(&self.api, &self.config);
        self.is_listed = false;
        let pause = backoff(self.failures.max(1)).min(LONGEST_PAUSE);
        self.pause = Some(if cfg!(test) { pause / 100 } else { pause });
        if self.failures < 2 {
            return Told::Failed(why);
        }
        self.is_refused = true;
        Told::Unwatched(format!("cannot be watched: {why}"))
    }
}

/// Whether the same question gets the same answer.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
}

fn events<K>(api: &Api<Lenient<K>>, config: &watcher::Config) -> Events<K>
where
    Lenient<K>: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    watcher(api.clone(), config.clone())
        .default_backoff()
        .boxed()
}
