// SPDX-License-Identifier: GPL-2.0-or-later
//! What `lisp-mapsys` does: check a configuration, run it, show what a running one does.

mod parts;
mod shared;
mod told;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow, bail};
use cgeid::{Network, OperationalKey};
use dht::admit::Rules;
use dht::resolve::TrustAnchor;
use dht::shell::control::Control;
use dht::shell::http::Server;
use dht::shell::metrics::{Ask, NodeFigures};
use dht::shell::network_key::rules;
use dht::shell::node::Clock;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::parts::Parts;
use super::identity::{KeyFiles, KeyWatch};
use super::reload::{Reloader, Reloads};
use super::service::{SIZES, Status};
use super::settings::{Settings, Switch};
use super::sockets::Listening;
use super::{Service, ServiceConfig, bootstrap, control, manager, sockets};
use crate::ddt::keys::SigningKey;
use crate::ddt::{self, Kind};
use crate::engine::Reconfiguration;
use crate::limit::Foreign;
use crate::nat::Rtr;
use crate::register::site::{LispSec, Site, SiteTable};
use crate::resolve::lispsec::{Association, Associations};
use crate::subscribe::configured::Configured;
use crate::subscribe::subscriber::{Policy, Subscriber, Subscribers};

/// A configuration that was checked.
#[derive(Debug)]
pub struct Plan {
    network: Network,
    rules: Rules,
    listen: Vec<SocketAddr>,
    dht_listen: Vec<IpAddr>,
    identities: Vec<OperationalKey>,
    key_files: KeyFiles,
    sites: Vec<Site>,
    trust_anchors: Vec<TrustAnchor>,
    clients: Vec<ipnet::IpNet>,
    foreign: Foreign,
    state_dir: PathBuf,
    control: PathBuf,
    dht_port: u16,
    bootstrap: Vec<String>,
    anycast: Vec<String>,
    discovery: bool,
    metrics: Option<SocketAddr>,
    workers: usize,
    subscribers: Vec<Subscriber>,
    pubsub: Policy,
    ddt: ddt::Config,
    lisp_sec: Vec<Association>,
    rtrs: Vec<Rtr>,
    clock: Clock,
}

impl Plan {
    /// Reads all that the settings name, and checks it.
    ///
    /// # Errors
    /// Names the key and what is wrong with it.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        let network = match &settings.prefix {
            Some(text) => text.parse().with_context(|| format!("prefix {text:?}"))?,
            None => Network::default(),
        };
        let listen = settings.listen().context("listen")?;
        if listen.is_empty() {
            bail!("listen: give at least one address (--listen ADDR)");
        }
        let parse = |text: &String| text.parse::<TrustAnchor>().with_context(|| format!("trust-anchor {text:?}"));
        let trust_anchors = settings.trust_anchor.iter().map(parse).collect::<anyhow::Result<_>>()?;
        for text in &settings.bootstrap {
            dht::shell::node::parse_bootstrap(text).context("bootstrap")?;
        }
        for text in &settings.anycast {
            dht::shell::node::parse_anycast(text).context("anycast")?;
        }
        let sites = settings.sites()?;
        told::refuse_unreachable(network, &sites, &listen)?;
        let password_file = settings.password_file.as_deref();
        let (key_files, identities) = KeyFiles::open(&settings.identity, password_file, network, SystemTime::now())?;
        let lisp_sec = settings.lisp_sec()?;
        let subscribers = subscribers(settings, &sites, &lisp_sec)?;
        let pubsub = settings.pubsub.build().context("pubsub")?;
        let table = SiteTable::new(network, sites.clone(), None)?;
        let ddt = settings.ddt()?;
        ddt.check(&table)?;
        Associations::new(lisp_sec.clone(), &table)?;
        let rules = rules(network, settings.puzzle_bits, settings.network_key.as_deref())?;
        Ok(Self {
            network,
            rules,
            listen,
            dht_listen: settings.dht_listen.clone(),
            identities,
            key_files,
            sites,
            trust_anchors,
            clients: settings.clients.clone(),
            foreign: settings.foreign(),
            state_dir: settings.state_dir(),
            control: settings.control(),
            dht_port: settings.dht_port.unwrap_or(dht::shell::limits::PORT),
            bootstrap: settings.bootstrap.clone(),
            anycast: settings.anycast.clone(),
            discovery: settings.discovery == Some(Switch::On),
            metrics: settings.metrics,
            workers: settings.workers().context("workers")?,
            subscribers,
            pubsub,
            ddt,
            lisp_sec,
            rtrs: settings.rtrs()?,
            clock: Clock::default(),
        })
    }
}

/// The subscribers, checked.
fn subscribers(settings: &Settings, sites: &[Site], lisp_sec: &[Association]) -> anyhow::Result<Vec<Subscriber>> {
    let built = settings.subscriber.iter().map(|subscriber| {
        subscriber.build(sites, lisp_sec).with_context(|| format!("subscriber {:?}", subscriber.name))
    });
    let built = built.collect::<anyhow::Result<Vec<_>>>()?;
    Subscribers::new(built.clone())?;
    Ok(built)
}

impl Plan {
    /// Has it go by another clock than the system's: to see what a wrong clock does.
    #[must_use]
    pub fn by(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Says what is allowed in it and ought not to be.
    pub fn warn(&self) {
        for sentence in shared::sentences(&self.sites) {
            tracing::warn!("{sentence}");
        }
    }

    /// What of it a running map system can take.
    pub fn reconfiguration(self) -> Reconfiguration {
        Reconfiguration {
            sites: self.sites,
            trust_anchors: self.trust_anchors,
            clients: self.clients,
            foreign: self.foreign,
            subscribers: self.subscribers,
            pubsub: self.pubsub,
            ddt: ddt::Config { secret: rand::random::<[u8; 32]>().into(), ..self.ddt },
            lisp_sec: self.lisp_sec,
        }
    }
}

/// What a configuration means, in words.
///
/// # Errors
/// As [`Plan::new`].
pub fn check(settings: &Settings) -> anyhow::Result<String> {
    let plan = Plan::new(settings)?;
    let mut text = String::new();
    for address in &plan.listen {
        writeln!(text, "serves Map-Registers and Map-Requests at UDP {address}")?;
    }
    writeln!(text, "DHT node at UDP port {}, joins through {} nodes", plan.dht_port, plan.bootstrap.len())?;
    writeln!(text, "CGEIDs are in {}", plan.network)?;
    if plan.workers > 1 {
        writeln!(text, "serves in {} threads", plan.workers)?;
    }
    match plan.identities.first() {
        Some(first) => writeln!(text, "signs for its sites as {}", first.cn())?,
        None => writeln!(text, "signs with an identity of its own, kept in {}", plan.state_dir.display())?,
    }
    for sentence in plan.key_files.explain(SystemTime::now()) {
        writeln!(text, "{sentence}")?;
    }
    for site in &plan.sites {
        let labels = site.labels.iter().map(ToString::to_string);
        let prefixes: Vec<String> =
            site.prefixes.iter().map(|prefix| prefix.prefix.to_string()).chain(labels).collect();
        let legacy = if site.legacy { ", legacy: HMAC-SHA-1 and any nonce order" } else { "" };
        let required = if site.lisp_sec == LispSec::Required { ", with LISP-SEC only" } else { "" };
        writeln!(text, "site {:?}: {} ({} keys{legacy}{required})", site.name, prefixes.join(", "), site.keys.len())?;
    }
    for sentence in shared::sentences(&plan.sites) {
        writeln!(text, "warning: {sentence}")?;
    }
    for Association { name, peers, keys, protected_path } in &plan.lisp_sec {
        let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
        let path = if *protected_path { ", unencrypted one-time keys are taken" } else { "" };
        writeln!(text, "LISP-SEC with {name:?}: {} ({} keys{path})", peers.join(", "), keys.len())?;
    }
    for Rtr { addresses, .. } in &plan.rtrs {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        writeln!(text, "xTRs behind NATs are reached through the RTR {}", addresses.join(", "))?;
    }
    for subscriber in &plan.subscribers {
        let rlocs: Vec<String> = subscriber.rlocs.iter().map(ToString::to_string).collect();
        let made = if subscriber.key.is_none() { ", under keys that LISP-SEC makes" } else { "" };
        let of = subscriber.lisp_sec.as_ref().map(|name| format!(" of the secrets of {name:?}")).unwrap_or_default();
        writeln!(text, "subscriber {:?}: may subscribe from {}{made}{of}", subscriber.name, rlocs.join(", "))?;
        for Configured { prefix, nonce, rlocs, is_fixed } in &subscriber.configured {
            let rlocs: Vec<String> = rlocs.iter().map(ToString::to_string).collect();
            let at = rlocs.join(", ");
            let fixed = if *is_fixed { ", and may not change that" } else { "" };
            writeln!(text, "subscriber {:?}: is told of {prefix} at {at} after nonce {nonce}{fixed}", subscriber.name)?;
        }
    }
    for anchor in &plan.trust_anchors {
        writeln!(text, "trusts {} for {}", anchor.cn, anchor.aggregate)?;
    }
    let foreign = match plan.foreign {
        Foreign::Nobody => "clients only",
        Foreign::FromItrRloc => "clients, and whoever asks from one of its ITR-RLOCs or from behind a NAT",
    };
    writeln!(text, "answers for EIDs not registered here: {foreign}")?;
    check_ddt(&mut text, &plan.ddt)?;
    Ok(text)
}

/// What is configured of the tree, and of other ways to foreign EIDs, in words.
fn check_ddt(text: &mut String, ddt: &ddt::Config) -> std::fmt::Result {
    for prefix in &ddt.authoritative {
        writeln!(text, "answers as DDT node for {prefix}")?;
    }
    for delegation in &ddt.delegations {
        let kind = match delegation.kind {
            Kind::Node => "DDT nodes",
            Kind::MapServer => "DDT Map-Servers",
        };
        let servers: Vec<String> = delegation.servers.iter().map(|server| server.address.to_string()).collect();
        writeln!(text, "refers for {} to the {kind} {}", delegation.prefix, servers.join(", "))?;
    }
    for resolver in &ddt.resolvers {
        let addresses: Vec<String> = resolver.addresses.iter().map(SocketAddr::to_string).collect();
        writeln!(text, "hands requests for foreign EIDs in {} on to {}", resolver.prefix, addresses.join(", "))?;
    }
    if !ddt.roots.is_empty() {
        let roots: Vec<String> = ddt.roots.iter().map(SocketAddr::to_string).collect();
        writeln!(text, "searches for foreign EIDs from the DDT roots {}", roots.join(", "))?;
    }
    for key in &ddt.signing.keys {
        writeln!(
            text,
            "signs Map-Referrals{} with the key of tag {}, for {} hours",
            about(key),
            key.tag(),
            ddt.signing.life.as_secs() / 3600
        )?;
    }
    for key in &ddt.signing.revoked {
        writeln!(text, "says that its key of tag {} is revoked{}", key.tag(), about(key))?;
    }
    if !ddt.anchors.is_empty() {
        writeln!(text, "takes only Map-Referrals that {} trust anchors vouch for", ddt.anchors.len())?;
    }
    Ok(())
}

/// What a key is for, if that is not all.
fn about(key: &SigningKey) -> String {
    let prefixes: Vec<String> = key.prefixes().iter().map(ToString::to_string).collect();
    if prefixes.is_empty() { String::new() } else { format!(" about {}", prefixes.join(", ")) }
}

/// Serves until SIGTERM or SIGINT. At SIGHUP, and when `reload` asks, the settings are read again.
///
/// # Errors
/// Says what the machine lacks, or which part has ended by itself: a process without it would go on as if it served.
pub fn run(plan: Plan, reloading: (Reloader, Reloads)) -> anyhow::Result<()> {
    plan.warn();
    let runtime = runtime(plan.workers)?;
    ask_for_short_turns();
    let outcome = runtime.block_on(serve(plan, reloading));
    // A disk that hangs keeps nobody from ending.
    runtime.shutdown_background();
    outcome
}

/// What sockets, engine and senders take turns in. One thread is the best on two processors: handing each datagram from one thread to
/// another costs more than the engine spends on it. Where there are more, several do these parts at the same time; the engine is
/// one of them, and who writes to the disk has short turns too then.
fn runtime(workers: usize) -> io::Result<Runtime> {
    if workers == 1 {
        return Builder::new_current_thread().enable_all().build();
    }
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).thread_name("serve").on_thread_start(ask_for_short_turns).enable_all().build()
}

/// Its own share of the processor is enough for a thread that answers, but not a millisecond later: with the usual turns who floods it
/// from the same machine, or the DHT node, made each answer wait for the end of theirs.
fn ask_for_short_turns() {
    if let Err(error) = program::turns::ask_for(program::turns::SHORT) {
        tracing::debug!(%error, "no short turns of the processor");
    }
}

async fn serve(mut plan: Plan, (reloader, reloads): (Reloader, Reloads)) -> anyhow::Result<()> {
    // From here on none of them ends the process by itself.
    let hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    std::fs::create_dir_all(&plan.state_dir)
        .with_context(|| format!("cannot make the state folder {}", plan.state_dir.display()))?;
    if plan.identities.is_empty() {
        let (files, key, made) = KeyFiles::own(&plan.state_dir, plan.network, plan.rules.puzzle, plan.clock.now())?;
        let how = if made { "made" } else { "kept" };
        println!("identity {} ({how} in {})", key.cn(), plan.state_dir.display());
        plan.identities.push(key);
        plan.key_files = files;
    }
    let bound = bind_all(&plan.listen)?;
    let control = Control::listen(&plan.control)?;
    let (dht_listen, metrics, is_alone) = (plan.dht_listen.clone(), plan.metrics, plan.bootstrap.is_empty());
    let keys = KeyWatch::start(std::mem::take(&mut plan.key_files))?;
    let config = service_config(plan, &bound, &keys);
    let (service, outputs) = Service::start(config)?;

    let metrics = match metrics {
        Some(address) => Some(serve_metrics(&service, address, is_alone).await?),
        None => None,
    };
    let service = Arc::new(service);
    let locals: Vec<SocketAddr> = bound.keys().copied().collect();
    let mut parts = Parts::default();
    for (local, socket) in &bound {
        let (socket, local, service) = (Arc::clone(socket), *local, Arc::clone(&service));
        let receive = sockets::receive(socket, local, move |local, remote, bytes| {
            service.datagram(local, remote, bytes);
        });
        parts.start("who receives at a socket", receive);
    }
    parts.start("who takes later keys", take_keys(keys, Arc::clone(&service)));
    if locals.iter().any(|local| local.ip().is_unspecified()) {
        parts.start("who follows the addresses", told::follow(Arc::clone(&service), locals.clone()));
    }
    parts.start("who sends", sockets::send(outputs, bound));
    parts.start("who reads the settings again", reloader.run(Arc::clone(&service)));
    parts.start("who answers at the control socket", control::serve(control, service.status(), reloads.clone()));
    parts.start("who listens for SIGHUP", reload_at(hangup, reloads));
    if let Some(pause) = manager::watchdog() {
        parts.start("who shows signs of life", show_life(service.status(), pause));
    }
    announce(&service, &locals, &dht_listen).await;
    manager::ready();
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        which = parts.ended() => Err(anyhow!("{which} has ended: the log says why")),
        which = service.ended() => Err(anyhow!("{which} has ended: the log says why")),
    };
    manager::stopping();
    drop(metrics);
    parts.stop().await;
    // Every other holder was one of the parts.
    if let Some(service) = Arc::into_inner(service) {
        service.shutdown().await;
    }
    outcome
}

/// At each SIGHUP, and once for those that come meanwhile.
async fn reload_at(mut hangup: Signal, reloads: Reloads) {
    while hangup.recv().await.is_some() {
        // What came of it is in the log.
        drop(reloads.reload().await);
    }
}

/// The figures of the DHT node, and the counters of the map system.
async fn serve_metrics(service: &Service, address: SocketAddr, is_alone: bool) -> anyhow::Result<Server> {
    let status = service.status();
    let ask: Ask = Box::new(move || {
        let status = status.clone();
        Box::pin(async move { status.show("counters").await.unwrap_or_default() })
    });
    let figures =
        NodeFigures::new(service.node().clone(), is_alone).with("lisp_mapsys", ask, SIZES).or_at_fault(service.fault());
    let server = Server::start(address, Arc::new(figures)).await?;
    println!("metrics {}", server.address());
    Ok(server)
}

fn bind_all(listen: &[SocketAddr]) -> anyhow::Result<HashMap<SocketAddr, Arc<Listening>>> {
    let mut bound = HashMap::new();
    for address in listen {
        let socket = sockets::bind(*address)?;
        bound.insert(socket.local_addr()?, socket);
    }
    Ok(bound)
}

fn service_config(plan: Plan, bound: &HashMap<SocketAddr, Arc<Listening>>, keys: &KeyWatch) -> ServiceConfig {
    let mut sockets: Vec<SocketAddr> = bound.keys().copied().collect();
    sockets.sort_unstable();
    sockets.extend(told::addresses(plan.network, &plan.sites, &sockets));
    ServiceConfig {
        network: plan.network,
        rules: plan.rules,
        identities: plan.identities,
        key_states: keys.states(),
        sites: plan.sites,
        own_prefixes: Vec::new(),
        trust_anchors: plan.trust_anchors,
        clients: plan.clients,
        foreign: plan.foreign,
        sockets,
        state_dir: plan.state_dir,
        dht_listen: plan.dht_listen,
        dht_port: plan.dht_port,
        bootstrap: plan.bootstrap,
        anycast: plan.anycast,
        discovery: plan.discovery,
        subscribers: plan.subscribers,
        pubsub: plan.pubsub,
        ddt: plan.ddt,
        lisp_sec: plan.lisp_sec,
        rtrs: plan.rtrs,
        clock: plan.clock,
    }
}

/// What others need to know to use this node.
async fn announce(service: &Service, locals: &[SocketAddr], dht_listen: &[IpAddr]) {
    for local in locals {
        println!("listening {local}");
    }
    let serves: Vec<IpAddr> = locals.iter().map(SocketAddr::ip).collect();
    for address in bootstrap::addresses(service.node(), &serves, dht_listen).await {
        println!("--bootstrap {address}");
    }
    for anchor in service.own_anchors() {
        println!("--trust-anchor {anchor}");
    }
    println!("ready");
}

/// Tells the service manager that the engine takes its turns, as long as it does.
async fn show_life(status: Status, pause: Duration) {
    while status.is_alive().await {
        manager::alive();
        tokio::time::sleep(pause).await;
    }
}

/// The keys of later months, as their time comes.
async fn take_keys(mut keys: KeyWatch, service: Arc<Service>) {
    while let Some(key) = keys.found().await {
        service.add_identity(key).await;
    }
    // Who looks for them has ended, which the log says: all else goes on under the keys that are known.
    std::future::pending().await
}

/// Lets the running process read its settings again; what came of it, and that in words.
///
/// # Errors
/// When nobody answers, or the process keeps the configuration that it had.
pub fn reload(settings: &Settings) -> anyhow::Result<(Value, String)> {
    let value = control::ask(&settings.control(), &json!({ "reload": true }))?;
    let count = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (sites, kept, ended) = (count("sites"), count("kept"), count("ended"));
    let mut text = format!("{sites} sites; {kept} registered prefixes kept, {ended} ended\n");
    let waiting: Vec<&str> =
        value.get("needs_restart").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    if !waiting.is_empty() {
        writeln!(text, "changed, and wait for a restart: {}", waiting.join(", "))?;
    }
    Ok((value, text))
}

/// Asks the running process; the answer, and the table that it makes.
///
/// # Errors
/// When nobody answers.
pub fn show(settings: &Settings, what: &str) -> anyhow::Result<(Value, String)> {
    let value = control::ask(&settings.control(), &json!({ "show": what }))?;
    let table = table(&value);
    Ok((value, table))
}

/// One line an entry, its keys in order.
fn table(value: &Value) -> String {
    match value {
        Value::Array(rows) if rows.is_empty() => "none\n".into(),
        Value::Array(rows) => rows.iter().map(|row| format!("{}\n", line(row))).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| match value {
                Value::Object(inner) => {
                    let counted = inner.iter().filter(|(_, count)| **count != 0);
                    let inner: String = counted.map(|(name, count)| format!("  {name}: {}\n", line(count))).collect();
                    format!("{key}:\n{inner}")
                }
                other => format!("{key}: {}\n", line(other)),
            })
            .collect(),
        other => format!("{other}\n"),
    }
}

fn line(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}={}", line(value))).collect::<Vec<_>>().join(" ")
        }
        Value::Array(items) => items.iter().map(|item| format!("[{}]", line(item))).collect(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
