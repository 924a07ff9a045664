// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht node`: the daemon.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::flags::NodeFlags;
use super::settings::Settings;
use super::{Failure, Outcome, identity, output, query, stats};
use crate::resolve::Resolver;
use crate::shell::control::Control;
use crate::shell::node::{Clock, Node, NodeConfig};
use crate::shell::{limits, shelf};

/// The addresses of all interfaces are known this long after the first one.
const SETTLE: Duration = Duration::from_millis(100);

/// Runs until SIGINT or SIGTERM.
pub(super) async fn run(settings: Settings, flags: &NodeFlags) -> Result<Outcome, Failure> {
    let network = settings.network()?;
    let key = identity::load(&settings, network)?;
    let mut config = NodeConfig::server(&key);
    if !settings.listen.is_empty() {
        config.listen.clone_from(&settings.listen);
    }
    config.port = settings.port.unwrap_or(limits::PORT);
    config.bootstrap = settings.bootstrap()?;
    config.rules = settings.rules()?;
    config.clock = Clock::shifted(flags.clock_offset.unwrap_or_default());
    let (mut resolver, pins) = query::resolver(&settings, "node.pins")?;
    if settings.state_dir.is_none() {
        tracing::warn!("no --state-dir: records are lost when the node stops");
    }
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM").map_err(Failure::Lacking)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT").map_err(Failure::Lacking)?;
    let control = settings.control().map(|path| Control::listen(&path)).transpose().map_err(Failure::Lacking)?;
    let node = shelf::start_node(config, network, settings.state_dir.as_deref())?;
    announce(&node, flags).await?;
    let serve = async {
        match &control {
            Some(control) => {
                let answer = async |request| {
                    let answered = answer(&node, &mut resolver, request).await;
                    if let Some(Err(error)) = pins.as_ref().map(|file| file.save(&mut resolver.pins)) {
                        tracing::warn!(%error, "keys seen are forgotten when the node stops");
                    }
                    answered
                };
                control.serve(answer).await
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = serve => {}
        _ = terminate.recv() => tracing::info!("SIGTERM"),
        _ = interrupt.recv() => tracing::info!("SIGINT"),
    }
    node.shutdown().await;
    Ok(Outcome::Held)
}

/// Prints what others give as `--bootstrap`, one address a line.
async fn announce(node: &Node, flags: &NodeFlags) -> Result<(), Failure> {
    tokio::time::sleep(SETTLE).await;
    let addresses: Vec<String> = node.listen_addrs().iter().map(ToString::to_string).collect();
    let value = json!({ "peer": node.id().to_string(), "addresses": addresses });
    Ok(output::show(flags.file.json.as_deref(), &value, &addresses)?)
}

async fn answer(node: &Node, resolver: &mut Resolver, request: Value) -> Value {
    let outcome = match (request.get("show").and_then(Value::as_str), request.get("resolve").and_then(Value::as_str)) {
        (Some("stats"), _) => stats::collect(node).await,
        (None, Some(eid)) => query::resolve_with(node, resolver, eid).await,
        _ => Err(anyhow::anyhow!("ask with {{\"show\": \"stats\"}} or {{\"resolve\": \"EID\"}}")),
    };
    outcome.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }))
}
