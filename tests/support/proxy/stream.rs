//! What can go wrong with an answer that is under way: one that breaks off, and a watch whose events come late, out of
//! order, once more, or not at all.
//!
//! No event is lost for good, for no API server does that: a client that comes back to where it was told of something is
//! told the rest.

use super::{Body, BoxError};
use bytes::Bytes;
use futures::stream::{self, Stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What is done to an open watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchFault {
    /// It stays open and tells nothing more, not even its end.
    Silent,
    /// Each event comes so much later.
    Late(Duration),
    /// Neighbours change places. One that has had no neighbour for so long comes alone.
    Swapped(Duration),
    /// Each event comes in its time, and so much later once more.
    Repeated(Duration),
    /// Each deletion does: what was made anew since is deleted again, and nothing more is told of it.
    DeletedAgain(Duration),
}

/// A body that breaks off after so many bytes.
pub(super) fn cut(body: Body, bytes: usize) -> Body {
    let frames = stream::unfold((body, bytes, false), async |(mut body, left, is_cut)| {
        if is_cut {
            return None;
        }
        let data = match next(&mut body).await? {
            Ok(data) => data,
            Err(error) => return Some((Err(error), (body, 0, true))),
        };
        // Less than what there was: the client must not take it for the whole.
        match left.checked_sub(data.len()) {
            Some(left) if left > 0 => Some((Ok(data), (body, left, false))),
            _ if left == 0 => Some((Err("cut".into()), (body, 0, true))),
            _ => Some((Ok(data.slice(..left.min(data.len()))), (body, 0, false))),
        }
    });
    of_frames(frames)
}

/// The events of a watch, disturbed.
pub(super) fn disturbed(body: Body, fault: WatchFault) -> Body {
    if fault == WatchFault::Silent {
        return of_frames(stream::pending());
    }
    let events = Events {
        body,
        fault,
        begun: Vec::new(),
        held: VecDeque::new(),
        has_ended: false,
    };
    of_frames(stream::unfold(events, async |mut events| {
        Some((events.next().await?, events))
    }))
}

struct Events {
    body: Body,
    fault: WatchFault,
    /// The beginning of an event whose end has not come yet.
    begun: Vec<u8>,
    /// Events that are still to be told, and when.
    held: VecDeque<(Instant, Bytes)>,
    has_ended: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            if self.has_ended {
                return self.held.pop_front().map(|(_, event)| Ok(event));
            }
            let due = self.held.front().map(|(due, _)| *due);
            let line = tokio::select! {
                line = line(&mut self.body, &mut self.begun) => line,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    return self.held.pop_front().map(|(_, event)| Ok(event));
                }
            };
            match line {
                Some(Ok(event)) => {
                    if let Some(told) = self.comes(event) {
                        return Some(Ok(told));
                    }
                }
                Some(Err(error)) => return Some(Err(error)),
                None => self.has_ended = true,
            }
        }
    }

    /// What is told at once when an event comes.
    fn comes(&mut self, event: Bytes) -> Option<Bytes> {
        let later = |after| (Instant::now() + after, event.clone());
        match self.fault {
            WatchFault::Silent => None,
            WatchFault::Late(after) => {
                self.held.push_back(later(after));
                None
            }
            WatchFault::Repeated(after) => {
                self.held.push_back(later(after));
                Some(event)
            }
            WatchFault::DeletedAgain(after) => {
                if event.starts_with(br#"{"type":"DELETED""#) {
                    self.held.push_back(later(after));
                }
                Some(event)
            }
            WatchFault::Swapped(after) => match self.held.pop_front() {
                // In one piece: a client that loses the connection in between would not ask for the earlier one again.
                Some((_, earlier)) => Some([event, earlier].concat().into()),
                None => {
                    self.held.push_back(later(after));
                    None
                }
            },
        }
    }
}

/// The next whole line. What has come of one stays in `begun` where this is not awaited to its end.
async fn line(body: &mut Body, begun: &mut Vec<u8>) -> Option<Result<Bytes, BoxError>> {
    loop {
        if let Some(end) = begun.iter().position(|byte| *byte == b'\n') {
            return Some(Ok(begun.drain(..=end).collect::<Vec<u8>>().into()));
        }
        match next(body).await? {
            Ok(data) => begun.extend_from_slice(&data),
            Err(error) => return Some(Err(error)),
        }
    }
}

async fn next(body: &mut Body) -> Option<Result<Bytes, BoxError>> {
    let frame = body.frame().await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

fn of_frames(frames: impl Stream<Item = Result<Bytes, BoxError>> + Send + Sync + 'static) -> Body {
    use futures::TryStreamExt;
    BodyExt::boxed(StreamBody::new(frames.map_ok(Frame::data)))
}
