//! /metrics, /healthz and /readyz.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Router, routing::get};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::encoding::text::encode;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::telemetry::Metrics;

/// What the endpoints tell.
#[derive(Clone)]
pub struct Health {
    /// Whether the API server serves the resource.
    pub ready: Arc<AtomicBool>,
    /// The series.
    pub metrics: Arc<Metrics>,
    /// Their text.
    pub series: Series,
}

/// Requests are small, and their senders are strangers: so much of a head is read, in so much time.
const HEAD: usize = 8 * 1024;
const HEAD_TIME: Duration = Duration::from_secs(5);
/// So long is the text of the series good.
const FRESH: Duration = Duration::from_secs(1);
/// So many texts are held at once; then whoever asks gets the newest, however old.
const TEXTS: usize = 3;
/// The longest life of a connection.
const LIFE: Duration = Duration::from_secs(30);
/// So many are open at once; the oldest makes way for the next, so that a probe is answered whatever holds the others.
const CONNECTIONS: usize = 128;

/// Serves until the process ends.
pub async fn serve(address: SocketAddr, health: Health) -> std::io::Result<()> {
    accept(TcpListener::bind(address).await?, router(health)).await
}

fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn accept(listener: TcpListener, router: Router) -> std::io::Result<()> {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = listener.accept().await;
        open.retain(|connection| !connection.is_finished());
        if (accepted.is_err() || open.len() >= CONNECTIONS)
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        match accepted {
            Ok((stream, _)) => {
                open.push_back(tokio::spawn(answer(stream, router.clone())).abort_handle());
            }
            // No descriptor is left, or the client has gone again.
            Err(error) => {
                tracing::debug!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// One request a connection: a caller that asks every 30 s needs none in between.
async fn answer(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(LIFE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection"),
        Err(_) => tracing::debug!("a connection took too long"),
    }
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    if health.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the CustomResourceDefinition externalcaissuances.pki.openchoreo.dev is missing or cannot be read",
        )
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    match health.series.text(&health.metrics) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (StatusCode::OK, [(header::CONTENT_TYPE, kind)], text)
        }
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            Bytes::new(),
        ),
    }
}

/// The series as text, as often as it is still held. All who ask within a second in which no status changed share one:
/// they may be many, and slow to read it.
#[derive(Clone, Default)]
pub struct Series(Arc<Mutex<Vec<Text>>>);

struct Text {
    made: Instant,
    /// Which statuses it tells.
    version: u64,
    text: Bytes,
}

impl Series {
    fn text(&self, metrics: &Metrics) -> Result<Bytes, std::fmt::Error> {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let version = metrics.version();
        let is_fresh = |text: &Text| text.made.elapsed() < FRESH && text.version == version;
        texts.retain(|text| is_fresh(text) || !text.text.is_unique());
        if let Some(last) = texts.last()
            && (is_fresh(last) || texts.len() >= TEXTS)
        {
            return Ok(last.text.clone());
        }
        let mut text = String::new();
        encode(&mut text, &metrics.registry)?;
        let (made, text) = (Instant::now(), Bytes::from(text));
        texts.push(Text {
            made,
            version,
            text: text.clone(),
        });
        Ok(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::gauges::tests::example;
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::DescriptorEncoder;
    use std::sync::atomic::AtomicUsize;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Counts how often the series are written down.
    #[derive(Debug)]
    struct Written(Arc<AtomicUsize>);

    impl Collector for Written {
        fn encode(&self, _: DescriptorEncoder<'_>) -> std::fmt::Result {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test]
    async fn who_asks_for_metrics_and_reads_none_takes_no_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mut metrics, written) = (Metrics::new(), Arc::new(AtomicUsize::new(0)));
        let count = Box::new(Written(Arc::clone(&written)));
        metrics.registry.register_collector(count);
        let health = Health {
            ready: Arc::default(),
            metrics: Arc::new(metrics),
            series: Series::default(),
        };
        let server = tokio::spawn(accept(listener, router(health)));
        let asked = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut held = Vec::new();
        for _ in 0..100 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(asked.as_bytes()).await.unwrap();
            held.push(stream);
        }
        assert!(ask(address, asked).await.contains("# EOF"));
        let written = written.load(Ordering::Relaxed);
        assert!((1..5).contains(&written), "{written}");
        server.abort();
    }

    #[test]
    fn no_more_than_three_texts_are_held_at_once() {
        let (series, metrics) = (Series::default(), Metrics::new());
        let old = |text: Bytes| Text {
            made: Instant::now() - FRESH * 2,
            version: 0,
            text,
        };
        let held = ["a", "b", "c"].map(|text| Bytes::from(text.repeat(100)));
        *series.0.lock().unwrap() = held.iter().cloned().map(old).collect();
        assert_eq!(series.text(&metrics).unwrap(), held[2]);
        drop(held);
        let fresh = series.text(&metrics).unwrap();
        assert!(fresh.ends_with(b"# EOF\n"));
        assert_eq!(series.text(&metrics).unwrap().as_ptr(), fresh.as_ptr());
    }

    #[test]
    fn a_status_is_told_by_the_next_text() {
        let (series, metrics) = (Series::default(), Metrics::new());
        let before = series.text(&metrics).unwrap();
        let issuance = example();
        let status = issuance.status.clone().unwrap();
        metrics.issuances.report(&issuance, status.into());
        let after = series.text(&metrics).unwrap();
        let name = issuance.metadata.name.unwrap();
        let tells = |text: &Bytes| String::from_utf8_lossy(text).contains(&name);
        assert!(!tells(&before));
        assert!(tells(&after));
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(accept(listener, Router::new()));
        let started = std::time::Instant::now();
        ask(address, "GET / HTTP/1.1\r\nx: ").await;
        assert!(started.elapsed() < HEAD_TIME * 2, "{:?}", started.elapsed());
        server.abort();
    }

    async fn ask(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It may be refused while it is still being sent.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn who_holds_connections_open_keeps_no_probe_away() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/healthz", get(|| async { "ok" }));
        let server = tokio::spawn(accept(listener, router));
        let mut held = Vec::new();
        for number in 0..600 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if number % 2 == 0 {
                let head = "GET /healthz HTTP/1.1\r\nhost: a\r\nx: ";
                let _ = stream.write_all(head.as_bytes()).await;
            }
            held.push(stream);
        }
        let probe = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
        assert!(ask(address, probe).await.ends_with("\r\n\r\nok"));
        // The first have made way.
        let mut byte = [0];
        let end = held.first_mut().unwrap().read(&mut byte).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");

        let long = format!(
            "GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n",
            "a".repeat(380_000)
        );
        let answer = ask(address, &long).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
        server.abort();
    }
}
