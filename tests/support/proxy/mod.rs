//! A reverse proxy in front of the API server that notes each request and can break it.
//!
//! Plain HTTP on loopback in, HTTPS out; bodies are streamed, so watches work. It adds no identity of its own: clients
//! bring a bearer token (`cluster.kubeconfig_for(ns, name, Some(proxy.url()))`); a client certificate cannot pass.

mod fault;
mod request;
mod stream;

pub use fault::{Fault, Held, When};
pub use request::{RequestInfo, Verb};
pub use stream::WatchFault;

use crate::background::{Tasks, handle};
use crate::wait::{PATIENCE, try_wait_for};
use crate::{ControlPlane, Result};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Config;
use kube::client::ConfigExt;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

type Body = BoxBody<Bytes, BoxError>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Hook = Arc<dyn Fn(&RequestInfo, u64) -> Fault + Send + Sync>;
type Upstream = dyn Fn(Request<Full<Bytes>>) -> futures::future::BoxFuture<'static, Result<Response<Body>>>
    + Send
    + Sync;

/// A running proxy; dropping it closes every connection.
pub struct Proxy {
    url: String,
    shared: Arc<Shared>,
    _tasks: Tasks,
}

struct Shared {
    upstream: Box<Upstream>,
    state: Mutex<State>,
    // Counts up to cut the connections that there are.
    cuts: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    log: Vec<RequestInfo>,
    // Entries that a reset has taken away, so that late answers find their places.
    forgotten: usize,
    writes: u64,
    fault: Option<Hook>,
    // By how much the time in answers is off.
    shift: jiff::SignedDuration,
    points: Vec<Point>,
}

struct Point {
    write: u64,
    when: When,
    notify: oneshot::Sender<Held>,
}

impl Proxy {
    /// Starts one in front of a control plane.
    pub async fn start(cluster: &ControlPlane) -> Result<Self> {
        let config = cluster.admin_config().await;
        Self::to(config.cluster_url, config.root_cert).await
    }

    /// Starts one in front of an API server, whose certificate these roots (DER) sign.
    pub async fn to(server: Uri, roots: Option<Vec<Vec<u8>>>) -> Result<Self> {
        let mut config = Config::new(server.clone());
        config.root_cert = roots;
        config.read_timeout = None;
        config.write_timeout = None;
        let (listener, client) = {
            let _background = handle().enter();
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
            listener.set_nonblocking(true)?;
            let connector = config.rustls_https_connector()?;
            (
                TcpListener::from_std(listener)?,
                HttpClient::builder(TokioExecutor::new()).build(connector),
            )
        };
        let url = format!("http://{}", listener.local_addr()?);
        let upstream = move |mut request: Request<Full<Bytes>>| -> futures::future::BoxFuture<'static, Result<Response<Body>>> {
            let client = client.clone();
            let mut parts = server.clone().into_parts();
            parts.path_and_query = request.uri().path_and_query().cloned();
            Box::pin(async move {
                *request.uri_mut() = Uri::from_parts(parts)?;
                let answer = client.request(request).await?;
                Ok(answer.map(|body| body.map_err(Into::into).boxed()))
            })
        };
        let shared = Arc::new(Shared {
            upstream: Box::new(upstream),
            state: Mutex::default(),
            cuts: watch::Sender::new(0),
        });
        let tasks = Tasks::default();
        tasks.spawn(accept(listener, shared.clone()));
        Ok(Self {
            url,
            shared,
            _tasks: tasks,
        })
    }

    /// Where it listens: `http://127.0.0.1:port`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All requests since the start or the last reset, in the order in which they came.
    pub fn log(&self) -> Vec<RequestInfo> {
        self.state().log.clone()
    }

    /// The requests that a filter lets through.
    pub fn requests(&self, filter: impl Fn(&RequestInfo) -> bool) -> Vec<RequestInfo> {
        self.state()
            .log
            .iter()
            .filter(|request| filter(request))
            .cloned()
            .collect()
    }

    /// How many requests a filter lets through.
    pub fn count(&self, filter: impl Fn(&RequestInfo) -> bool) -> usize {
        self.state()
            .log
            .iter()
            .filter(|request| filter(request))
            .count()
    }

    /// Reads of objects (get, list, watch), without Leases and Events.
    pub fn reads(&self) -> usize {
        self.count(|r| !r.is_write() && r.verb != Verb::Other && !r.is_lease() && !r.is_event())
    }

    /// Writes, without Leases, Events and reviews.
    pub fn writes(&self) -> usize {
        self.count(RequestInfo::is_counted_write)
    }

    /// Forgets the log and counts writes from 1 again. Faults and points stay.
    pub fn reset(&self) {
        let mut state = self.state();
        state.forgotten += state.log.len();
        state.log.clear();
        state.writes = 0;
    }

    /// Asks this function what to do to each request. Its second argument is the number of the counted write, from 1,
    /// or 0 for what is not one: reads, Leases, Events. It is called once for each request.
    pub fn set_fault(&self, fault: impl Fn(&RequestInfo, u64) -> Fault + Send + Sync + 'static) {
        self.state().fault = Some(Arc::new(fault));
    }

    /// Shifts the `Date` of every answer from now on: whoever reads it takes its own clock for one that is off.
    pub fn shift_dates(&self, by: jiff::SignedDuration) {
        self.state().shift = by;
    }

    /// Undoes [`Proxy::set_fault`].
    pub fn clear_fault(&self) {
        self.state().fault = None;
    }

    /// Cuts every open connection, watches among them, and until [`Proxy::clear_fault`] every new request.
    pub fn partition(&self) {
        self.set_fault(|_, _| Fault::DropBefore);
        self.cut();
    }

    /// Cuts every open connection, watches among them; clients may come back at once.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|n| *n += 1);
    }

    /// Holds the n-th counted write from the last reset (from 1), and hands it over when it is there.
    ///
    /// The returned future need not be awaited for the point to be armed. To kill the operator around a write:
    /// `let held = proxy.on_write(3, When::Before).await; operator.kill(); held.discard();`
    pub fn on_write(&self, write: u64, when: When) -> impl Future<Output = Held> + Send + use<> {
        let (notify, held) = oneshot::channel();
        self.state().points.push(Point {
            write,
            when,
            notify,
        });
        async move {
            held.await
                .expect("the proxy runs while one waits for a write")
        }
    }

    /// Takes back all points that have not been reached.
    pub fn disarm(&self) {
        self.state().points.clear();
    }

    /// Waits until no counted write has come for this long; returns their number then.
    pub async fn quiet(&self, time: std::time::Duration) -> Result<usize> {
        let last = || {
            self.state()
                .log
                .iter()
                .filter(|r| r.is_counted_write())
                .map(|r| r.at)
                .next_back()
        };
        let start = std::time::Instant::now();
        try_wait_for("writes to end", PATIENCE + time, async || {
            match last().unwrap_or(start).elapsed() {
                age if age >= time => Ok(self.writes()),
                age => Err(format!("a write {age:?} ago, {} in all", self.writes())),
            }
        })
        .await
        .map_err(Into::into)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with this task.
    let connections = Tasks::default();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(serve(stream, shared.clone()));
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut cuts = shared.cuts.subscribe();
    let service = service_fn(move |request| {
        let shared = shared.clone();
        // In a task of its own: a client that goes away takes nothing back.
        async move {
            let answer = handle().spawn(async move {
                shared
                    .pass(request)
                    .await
                    .map_err(|error| error.to_string())
            });
            answer.await.unwrap_or_else(|end| Err(end.to_string()))
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        _ = cuts.changed() => {}
    }
}

impl Shared {
    /// Does to a request what is to be done; an error closes the connection without an answer.
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (mut head, body) = request.into_parts();
        let mut info = RequestInfo::new(&head);
        let body = body.collect().await?.to_bytes();
        if info.is_write() {
            info.body = body.clone();
        }
        let (index, fault) = self.note(&mut info);
        let (before, after) = self.points(&info);
        if let Some(point) = before {
            hold(point, &info).await?;
        }
        match fault {
            Fault::Pass | Fault::DropAfter | Fault::Tamper(_) | Fault::Cut(_) | Fault::Watch(_) => {
            }
            Fault::DropBefore => return Err("dropped before".into()),
            Fault::Delay(time) => tokio::time::sleep(time).await,
            Fault::Status {
                code,
                reason,
                retry_after,
            } => {
                self.answered(index, code);
                return Ok(status(code, reason, retry_after));
            }
        }
        head.headers.remove(HOST);
        head.headers.remove(CONNECTION);
        let mut answer = (self.upstream)(Request::from_parts(head, Full::new(body))).await?;
        self.shift_date(answer.headers_mut());
        let answer = if let (Fault::Tamper(change), false) = (&fault, info.verb == Verb::Watch) {
            let (mut head, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            head.headers.remove(CONTENT_LENGTH);
            let body = change(String::from_utf8(body.to_vec())?);
            Response::from_parts(head, full(body.into()))
        } else if after.is_some() || matches!(fault, Fault::DropAfter) {
            // The API server has done all of it only when all of its answer is here.
            let (head, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            Response::from_parts(head, full(body))
        } else {
            answer
        };
        if let Some(point) = after {
            info.status = Some(answer.status().as_u16());
            hold(point, &info).await?;
        }
        if matches!(fault, Fault::DropAfter) {
            return Err("dropped after".into());
        }
        self.answered(index, answer.status().as_u16());
        Ok(match fault {
            Fault::Cut(bytes) => answer.map(|body| stream::cut(body, bytes)),
            Fault::Watch(fault) if info.verb == Verb::Watch => {
                answer.map(|body| stream::disturbed(body, fault))
            }
            _ => answer,
        })
    }

    fn shift_date(&self, headers: &mut hyper::HeaderMap) {
        let shift = self.state.lock().unwrap().shift;
        let date = headers
            .get(hyper::header::DATE)
            .filter(|_| !shift.is_zero());
        let shifted = date.and_then(|date| {
            let date = jiff::fmt::rfc2822::parse(date.to_str().ok()?)
                .ok()?
                .timestamp();
            let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
            printer
                .timestamp_to_rfc9110_string(&(date + shift))
                .ok()?
                .parse()
                .ok()
        });
        if let Some(shifted) = shifted {
            headers.insert(hyper::header::DATE, shifted);
        }
    }

    fn note(&self, info: &mut RequestInfo) -> (usize, Fault) {
        let mut state = self.state.lock().unwrap();
        if info.is_counted_write() {
            state.writes += 1;
            info.write = Some(state.writes);
        }
        state.log.push(info.clone());
        let index = state.forgotten + state.log.len() - 1;
        let hook = state.fault.clone();
        // The hook may ask the proxy something.
        drop(state);
        (
            index,
            hook.map_or(Fault::Pass, |hook| {
                hook(info, info.write.unwrap_or_default())
            }),
        )
    }

    fn points(&self, info: &RequestInfo) -> (Option<Point>, Option<Point>) {
        let mut state = self.state.lock().unwrap();
        let mut take = |when| {
            let at = state
                .points
                .iter()
                .position(|point| point.when == when && Some(point.write) == info.write)?;
            Some(state.points.swap_remove(at))
        };
        (take(When::Before), take(When::After))
    }

    fn answered(&self, index: usize, status: u16) {
        let mut state = self.state.lock().unwrap();
        let index = index.checked_sub(state.forgotten);
        if let Some(entry) = index.and_then(|index| state.log.get_mut(index)) {
            entry.status = Some(status);
        }
    }
}

/// Hands a request over and waits for what becomes of it.
async fn hold(point: Point, info: &RequestInfo) -> Result<()> {
    let (verdict, decided) = oneshot::channel();
    let held = Held {
        request: info.clone(),
        verdict: Some(verdict),
    };
    if point.notify.send(held).is_err() {
        return Ok(()); // nobody waits any more
    }
    match decided.await {
        Ok(false) => Err("discarded".into()),
        Ok(true) | Err(_) => Ok(()),
    }
}

fn status(code: u16, reason: &str, retry_after: Option<u32>) -> Response<Body> {
    let body = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("injected: {reason}"), "reason": reason, "code": code,
    });
    let mut answer = Response::builder()
        .status(code)
        .header("content-type", "application/json");
    if let Some(seconds) = retry_after {
        answer = answer.header(RETRY_AFTER, seconds);
    }
    answer
        .body(full(Bytes::from(body.to_string())))
        .expect("an answer")
}

fn full(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed()
}
