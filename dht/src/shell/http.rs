// SPDX-License-Identifier: GPL-2.0-or-later
//! Figures for monitoring, over HTTP: `/metrics` in the text format of OpenMetrics, `/health` for whoever restarts what is
//! broken. Both only read; who must not see them is kept away by the address that is listened on.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::future::BoxFuture;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::net::TcpListener;

/// The media type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
        let listener = TcpListener::bind(address).await.with_context(|| format!("--metrics {address}"))?;
        let address = listener.local_addr()?;
        let router = Router::new().route("/metrics", get(metrics)).route("/health", get(health)).with_state(figures);
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

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
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
