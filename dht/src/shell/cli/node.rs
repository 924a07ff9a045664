// SPDX-License-Identifier: GPL-2.0-or-later
//! `lisp-dht node`: the daemon.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use wire::address::InstanceId;

use super::announce::Announcer;
use super::flags::{NodeFlags, Switch};
use super::keys::Keys;
use super::settings::Settings;
use super::{Failure, Outcome, output, publish, query, stats};
use crate::resolve::Resolver;
use crate::shell::control::Control;
use crate::shell::http::Server;
use crate::shell::metrics::NodeFigures;
use crate::shell::node::{Clock, Node, NodeConfig};
use crate::shell::{limits, shelf};

/// The addresses of all interfaces are known this long after the first one.
const SETTLE: Duration = Duration::from_millis(100);

/// The end of the verb's help.
pub(super) const WAYS: &str = "\
Ways into the network, all at once: the nodes of --bootstrap; the peers of the last run, kept in --state-dir; an --anycast \
address; and whoever is on the same link, found without any configuration.

Examples:
  The first node of an isolated network, and each further one on its link:
      lisp-dht node --identity CN.op.p12 --password-file pw --state-dir /var/lib/lisp-dht
  A node that joins by another one, on one address only:
      lisp-dht node --identity CN.op.p12 --listen 192.0.2.1 --bootstrap 192.0.2.9:43420 --state-dir /var/lib/lisp-dht
  One of the nodes that have the anycast address of the network, on a public link where strangers need not know it:
      lisp-dht node --identity CN.op.p12 --anycast 3fff:ce1::1 --discovery off --bootstrap 192.0.2.9:43420
  One that says what it does for others:
      lisp-dht node --identity CN.op.p12 --service 192.0.2.1:43420,boot --ptr node.example.net --state-dir /var/lib/lisp-dht

What the settings say of the node itself (--rloc to --terminal, as in `put`) it publishes for as long as it runs: at the start, each 20 minutes, when it has a quarter more peers, and when SIGHUP has the file and the key read again.

A later key of the same identity, <CN>.op.<EPOCH>.p12 beside the one named or another file in its place, is taken when its \
month has begun, within the hour or at SIGHUP: the node goes on under it, with another peer ID and all that it holds.

A Hello on a link names the node's key and addresses to everybody there: switch --discovery off where that is too much, and on \
a server in a network of strangers, where nobody is to be found anyway. Who hears Hellos dials few, and only on the link. \
Neighbours need addresses beside link-local ones: private, unique local, global, or a CGEID.

A node that others cannot reach (behind NAT) says so and is a client until they can: it reads and publishes, and stores \
nothing for others.";

/// Runs until SIGINT or SIGTERM.
pub(super) async fn run(settings: Settings, flags: &NodeFlags) -> Result<Outcome, Failure> {
    let network = settings.network()?;
    let (keys, key) = Keys::open(&settings, network)?;
    let mut config = NodeConfig::server(&key);
    if !settings.listen.is_empty() {
        config.listen.clone_from(&settings.listen);
    }
    config.port = settings.port.unwrap_or(limits::PORT);
    config.bootstrap = settings.bootstrap()?;
    config.anycast = settings.anycast()?;
    config.discovery = (settings.discovery != Some(Switch::Off)).then_some(network);
    config.rules = settings.rules()?;
    // What is wrong with what the node shall say is said before it starts.
    publish::statements(&settings, &[], network, None)?;
    config.store_bundles = settings.store_bundles()?;
    config.clock = Clock::shifted(flags.clock_offset.unwrap_or_default());
    let (mut resolver, pins) = query::resolver(&settings, "node.pins")?;
    if settings.state_dir.is_none() {
        tracing::warn!("no --state-dir: records are lost when the node stops");
    }
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM").map_err(Failure::Lacking)?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT").map_err(Failure::Lacking)?;
    let control = settings.control().map(|path| Control::listen(&path)).transpose().map_err(Failure::Lacking)?;
    let node = shelf::start_node(config, network, settings.state_dir.as_deref())?;
    let is_alone = settings.bootstrap.is_empty();
    let metrics = match settings.metrics {
        Some(address) => {
            let figures = Arc::new(NodeFigures::new(node.clone(), is_alone));
            Some(Server::start(address, figures).await.map_err(Failure::Lacking)?)
        }
        None => None,
    };
    announce(&node, metrics.as_ref(), flags).await?;
    let mut announcer = Announcer::new(node.clone(), network, flags, settings, (keys, key))?;
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
    let outcome = tokio::select! {
        () = serve => Ok(Outcome::Held),
        ended = announcer.run() => ended.map(|()| Outcome::Held),
        () = node.ended() => Err(Failure::Lacking(anyhow!("the DHT node has ended: the log says why"))),
        _ = terminate.recv() => {
            tracing::info!("SIGTERM");
            Ok(Outcome::Held)
        }
        _ = interrupt.recv() => {
            tracing::info!("SIGINT");
            Ok(Outcome::Held)
        }
    };
    announcer.end().await;
    drop(metrics);
    node.shutdown().await;
    outcome
}

/// Prints what others give as `--bootstrap`, one address a line.
async fn announce(node: &Node, metrics: Option<&Server>, flags: &NodeFlags) -> Result<(), Failure> {
    tokio::time::sleep(SETTLE).await;
    let addresses: Vec<String> = node.listen_addrs().iter().map(ToString::to_string).collect();
    let mut value = json!({ "peer": node.id().to_string(), "addresses": addresses });
    if let Some(metrics) = metrics {
        value["metrics"] = metrics.address().to_string().into();
    }
    output::show(&flags.file.json, &value, &addresses)
}

async fn answer(node: &Node, resolver: &mut Resolver, request: Value) -> Value {
    let outcome = match (request.get("show").and_then(Value::as_str), request.get("resolve").and_then(Value::as_str)) {
        (Some("stats"), _) => stats::collect(node).await,
        (None, Some(eid)) => {
            let iid = request.get("iid").and_then(Value::as_u64).unwrap_or_default();
            match u32::try_from(iid) {
                Ok(iid) => query::resolve_with(node, resolver, eid, InstanceId(iid)).await,
                Err(_) => Err(anyhow::anyhow!("{iid} is not an instance ID")),
            }
        }
        _ => Err(anyhow::anyhow!("ask with {{\"show\": \"stats\"}} or {{\"resolve\": \"EID\"}}")),
    };
    outcome.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }))
}
