// SPDX-License-Identifier: GPL-2.0-or-later
//! Figures for monitoring, over HTTP: `/metrics` in the text format of OpenMetrics, `/health` for whoever restarts what is
//! broken. Both only read; who must not see them is kept away by the address that is listened on.

mod bounded;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;

use self::bounded::Bounded;

/// The media type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections at once, each for one question: some who monitor, and some to spare. For whoever comes beyond them the oldest one of the machine
/// that has most is given up.
const CONNECTIONS: usize = 32;
/// How long one may take for its question and the answer: as long as Prometheus waits.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked of a daemon each time.
pub trait Figures: Send + Sync + 'static {
    /// All figures, now.
    fn registry(&self) -> BoxFuture<'_, anyhow::Result<Registry>>;

    /// Whether the daemon does what it is for; otherwise what keeps it.
    fn health(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// Answers at an address until it is dropped.
#[derive(Debug)]
pub struct Server {
    task: tokio::task::JoinHandle<()>,
    address: SocketAddr,
}

impl Server {
    /// Listens at `address`.
    ///
    /// # Errors
    /// When that cannot be had.
    pub async fn start(address: SocketAddr, figures: Arc<dyn Figures>) -> anyhow::Result<Self> {
        Self::at(listen(address).await?, figures)
    }

    /// Answers who comes to `listener`.
    ///
    /// # Errors
    /// When the system does not say where that is.
    pub fn at(listener: TcpListener, figures: Arc<dyn Figures>) -> anyhow::Result<Self> {
        Self::at_within(PATIENCE, listener, figures)
    }

    fn at_within(patience: Duration, listener: TcpListener, figures: Arc<dyn Figures>) -> anyhow::Result<Self> {
        let address = listener.local_addr()?;
        let router = Router::new().route("/metrics", get(metrics)).route("/health", get(health)).with_state(figures);
        let router = router.layer(map_response(as_the_last));
        let listener = Bounded::new(listener, CONNECTIONS, patience);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "metrics are not served any more");
            }
        });
        tracing::info!(%address, "metrics");
        Ok(Self { task, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Listens at the address of `--metrics`, before there is anything to tell.
///
/// # Errors
/// When that cannot be had.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("--metrics {address}"))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection ends with its first answer, so that it has an end, and no answer is cut off by that.
async fn as_the_last(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn metrics(State(figures): State<Arc<dyn Figures>>) -> Result<impl IntoResponse, (StatusCode, String)> {
    let failed = |error: String| (StatusCode::SERVICE_UNAVAILABLE, error);
    let registry = figures.registry().await.map_err(|error| failed(format!("{error:#}\n")))?;
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| failed(format!("{error}\n")))?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text))
}

async fn health(State(figures): State<Arc<dyn Figures>>) -> impl IntoResponse {
    let (status, body) = match figures.health().await {
        Ok(()) => (StatusCode::OK, json!({ "ok": true })),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, json!({ "ok": false, "why": why })),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use futures::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpSocket, TcpStream};

    use super::*;

    /// A daemon that is well, or hangs.
    struct Daemon {
        hangs: bool,
    }

    impl Figures for Daemon {
        fn registry(&self) -> BoxFuture<'_, anyhow::Result<Registry>> {
            async { Ok(Registry::default()) }.boxed()
        }

        fn health(&self) -> BoxFuture<'_, Result<(), String>> {
            if self.hangs { std::future::pending().boxed() } else { async { Ok(()) }.boxed() }
        }
    }

    async fn server(patience: Duration, hangs: bool) -> Server {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Server::at_within(patience, listen(any).await.unwrap(), Arc::new(Daemon { hangs })).unwrap()
    }

    /// What comes until the server hangs up, which it does in time.
    async fn heard(stream: &mut TcpStream) -> String {
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        // One that was hung up on with something unread is reset.
        let _ = tokio::time::timeout(Duration::from_secs(10), read).await.unwrap();
        answer
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        heard(&mut stream).await
    }

    /// One that begins to ask, and says no more.
    async fn silent(from: [u8; 4], server: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((from, 0))).unwrap();
        let mut stream = socket.connect(server).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHo").await.unwrap();
        stream
    }

    async fn is_open(stream: &mut TcpStream) -> bool {
        tokio::time::timeout(Duration::from_millis(50), stream.read(&mut [0; 1])).await.is_err()
    }

    #[tokio::test]
    async fn who_says_nothing_is_hung_up_on_in_time() {
        const SHORT: Duration = Duration::from_millis(500);
        let server = server(SHORT, false).await;
        let begun = Instant::now();
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS / 2 {
            streams.push(TcpStream::connect(server.address()).await.unwrap());
            streams.push(silent([127, 0, 0, 1], server.address()).await);
        }
        for stream in &mut streams {
            assert_eq!(heard(stream).await, "");
        }
        assert!(begun.elapsed() >= SHORT, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn who_takes_all_places_keeps_nobody_waiting_and_gives_up_his_own() {
        const ANOTHER: [u8; 4] = [127, 0, 0, 2];
        for hangs in [false, true] {
            let server = server(Duration::from_secs(60), hangs).await;
            let mut slow = silent(ANOTHER, server.address()).await;
            let mut taken = Vec::new();
            for number in 0..3 * CONNECTIONS {
                let mut stream = silent([127, 0, 0, 1], server.address()).await;
                if hangs && number % 2 == 0 {
                    stream.write_all(b"st: localhost\r\n\r\n").await.unwrap();
                }
                taken.push(stream);
            }
            // All places but one, and one of them is another's by the time that he has asked.
            let (gone, left) = taken.split_at_mut(2 * CONNECTIONS + 1);
            for stream in gone {
                assert_eq!(heard(stream).await, "");
            }
            for stream in left {
                assert!(is_open(stream).await);
            }
            assert!(is_open(&mut slow).await, "who has one place keeps it");
            let answer = tokio::time::timeout(Duration::from_secs(10), ask(server.address(), "/metrics"));
            assert!(answer.await.unwrap().starts_with("HTTP/1.1 200"), "also from the address that has all places");
        }
    }

    #[tokio::test]
    async fn a_connection_ends_with_its_answer_and_with_none_in_time() {
        let well = server(Duration::from_secs(60), false).await;
        for path in ["/health", "/metrics", "/other"] {
            let answer = ask(well.address(), path).await;
            assert!(answer.contains("connection: close"), "{path}: {answer}");
        }
        let hanging = server(Duration::from_millis(200), true).await;
        assert_eq!(ask(hanging.address(), "/health").await, "");
    }
}
