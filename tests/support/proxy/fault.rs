//! What can go wrong with a request, and the points at which a write can be held.

use super::request::RequestInfo;
use super::stream::WatchFault;
use std::time::Duration;
use tokio::sync::oneshot;

/// What the proxy does to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing.
    Pass,
    /// Closes the connection; the API server sees nothing.
    DropBefore,
    /// Has the API server do it, then closes the connection: the answer is lost.
    DropAfter,
    /// Answers by itself, with a Kubernetes `Status`.
    Status {
        /// The HTTP status.
        code: u16,
        /// The `Status`'s reason: `Conflict`, `TooManyRequests`, `InternalError`, …
        reason: &'static str,
        /// Seconds, for the Retry-After header.
        retry_after: Option<u32>,
    },
    /// Forwards it later.
    Delay(Duration),
    /// Has the API server do it, and changes the text of its answer; watches pass.
    Tamper(fn(String) -> String),
    /// Has the API server do it, and closes the connection after so many bytes of the answer's body.
    Cut(usize),
    /// Disturbs an open watch; everything else passes.
    Watch(WatchFault),
}

impl Fault {
    /// 409: somebody else was faster.
    pub const CONFLICT: Self = Self::Status {
        code: 409,
        reason: "Conflict",
        retry_after: None,
    };
    /// 410: the version that a list or a watch is to begin from is gone.
    pub const GONE: Self = Self::Status {
        code: 410,
        reason: "Expired",
        retry_after: None,
    };
    /// 429, with a second's wait.
    pub const TOO_MANY: Self = Self::Status {
        code: 429,
        reason: "TooManyRequests",
        retry_after: Some(1),
    };
    /// 500.
    pub const INTERNAL: Self = Self::Status {
        code: 500,
        reason: "InternalError",
        retry_after: None,
    };
    /// 503.
    pub const UNAVAILABLE: Self = Self::Status {
        code: 503,
        reason: "ServiceUnavailable",
        retry_after: None,
    };
    /// 403.
    pub const FORBIDDEN: Self = Self::Status {
        code: 403,
        reason: "Forbidden",
        retry_after: None,
    };
}

/// On which side of the API server a write is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// It has come, and has not been forwarded.
    Before,
    /// The API server has done it, and the client has no answer yet.
    After,
}

/// A write that is being held. Dropping it lets the write go on.
pub struct Held {
    /// The write.
    pub request: RequestInfo,
    pub(super) verdict: Option<oneshot::Sender<bool>>,
}

impl Held {
    /// Lets it go on.
    pub fn proceed(mut self) {
        self.decide(true);
    }

    /// Closes the connection instead: before, the API server sees nothing; after, the answer is lost.
    pub fn discard(mut self) {
        self.decide(false);
    }

    fn decide(&mut self, proceed: bool) {
        if let Some(verdict) = self.verdict.take() {
            let _ = verdict.send(proceed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.decide(true);
    }
}
