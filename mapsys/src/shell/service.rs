// SPDX-License-Identifier: GPL-2.0-or-later
//! The map system as a running thing: engine, DHT node, disk and clock.
//!
//! It owns no LISP socket. Whoever hosts it hands datagrams in and sends what comes out: `lisp-mapsys` has sockets of its
//! own, `lisp-xtr` shares its control sockets and speaks for itself through the pipe.

mod journal;
mod run;
mod status;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context as _;
use cgeid::{Cn, Network, OperationalKey};
use dht::admit::Rules;
use dht::resolve::TrustAnchor;
use dht::shell::metrics::Fault;
use dht::shell::node::{Clock, Node, NodeConfig, parse_anycast, parse_bootstrap};
use dht::shell::shelf::start_node;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use wire::address::EidPrefix;
use wire::control::auth::{Algorithm, AuthKey, Secret};

use super::identity::KeyState;
use super::state::State;
use crate::engine::{Config, ConfigError, Engine, Input, Reconfiguration, Reconfigured};
use crate::limit::Foreign;
use crate::limits::{JOURNAL_WAITING, NOTIFICATIONS};
use crate::nat::Rtr;
use crate::register::site::Site;
use crate::resolve::lispsec::Association;
use crate::subscribe::subscriber::{Policy, Subscriber};
use crate::transport::{Now, Via};

pub use status::{Parts, SIZES, Status};

/// Messages waiting for the engine, of clients and of strangers each; what comes beyond is dropped, as a full socket would.
const WAITING: usize = 1024;
/// Messages waiting for their sockets. The engine and the sockets share a thread, as a rule: at one time all may come that wait for a transaction
/// of the journal, at some 300 octets each, and all Map-Notifies for merged xTRs.
const WAITING_OUT: usize = JOURNAL_WAITING + NOTIFICATIONS;

/// What a map system is made of.
#[derive(Debug)]
pub struct ServiceConfig {
    /// The network of the CGEIDs.
    pub network: Network,
    /// What the network asks of its DHT nodes.
    pub rules: Rules,
    /// Operational keys, at least one: each may publish its own CGEID, the first signs for sites and is the DHT node's
    /// identity.
    pub identities: Vec<OperationalKey>,
    /// What is known of the files of their keys, for `show`; now and later.
    pub key_states: watch::Receiver<Vec<KeyState>>,
    /// Sites that register over the network.
    pub sites: Vec<Site>,
    /// EID-prefixes of the node's own xTR, without CGEIDs: only the pipe may register these.
    pub own_prefixes: Vec<EidPrefix>,
    /// Who delegates what.
    pub trust_anchors: Vec<TrustAnchor>,
    /// Sources for whom no limit holds.
    pub clients: Vec<IpNet>,
    /// Who on the network may ask for EIDs that are not registered here.
    pub foreign: Foreign,
    /// The control sockets of the host (address and port 4342): replies leave from these, and their addresses are
    /// published as those of the Map-Server.
    pub sockets: Vec<SocketAddr>,
    /// Folder for nonces, sequences and the record store; made if missing.
    pub state_dir: PathBuf,
    /// Addresses that the DHT node listens on; empty = all.
    pub dht_listen: Vec<IpAddr>,
    /// UDP port of the DHT node; 0 = any.
    pub dht_port: u16,
    /// Nodes to join through: multiaddresses, or `ADDRESS:PORT`.
    pub bootstrap: Vec<String>,
    /// Addresses that several nodes have at once: one more way to find the network.
    pub anycast: Vec<String>,
    /// Who may subscribe to mappings.
    pub subscribers: Vec<Subscriber>,
    /// How subscriptions are dealt with.
    pub pubsub: Policy,
    /// Whether nodes are looked for on the links of this machine, and told of this one.
    pub discovery: bool,
    /// Delegations, and where foreign EIDs are searched for (RFC 8111); its secret is made at the start.
    pub ddt: crate::ddt::Config,
    /// With whom one-time keys of LISP-SEC can be exchanged.
    pub lisp_sec: Vec<Association>,
    /// RTRs for xTRs behind NATs.
    pub rtrs: Vec<Rtr>,
    /// What is gone by for all that is signed.
    pub clock: Clock,
}

/// What the host must send, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromService {
    /// A datagram from one of the host's control sockets.
    Send {
        /// The socket.
        local: SocketAddr,
        /// The receiver.
        remote: SocketAddr,
        /// The UDP payload.
        bytes: Vec<u8>,
    },
    /// A message for the node's own xTR.
    Pipe(Vec<u8>),
    /// An xTR has proven itself at one of the host's addresses: what it is sent unasked best leaves from there. Only told of
    /// sockets that listen on all addresses.
    Proven {
        /// Where it came to.
        local: SocketAddr,
        /// The xTR.
        remote: SocketAddr,
    },
}

/// A running map system.
#[derive(Debug)]
pub struct Service {
    inputs: mpsc::Sender<Input>,
    /// For what comes from others than the clients.
    strangers: mpsc::Sender<Input>,
    clients: RwLock<Vec<IpNet>>,
    pipe_key: AuthKey,
    own_anchors: Vec<TrustAnchor>,
    node: Node,
    registrar: Option<Cn>,
    dropped: Arc<AtomicU64>,
    is_failing: Arc<AtomicBool>,
    status: Status,
    reconfigurations: mpsc::Sender<Request>,
    addresses: watch::Sender<Addresses>,
    task: JoinHandle<()>,
}

/// What the host's sockets are bound to, and the addresses that its machine has.
type Addresses = (Vec<SocketAddr>, Vec<IpAddr>);

/// Another configuration for the engine, and where its answer goes.
type Request = (Reconfiguration, oneshot::Sender<Result<Reconfigured, ConfigError>>);

impl Service {
    /// Starts engine and DHT node on the current tokio runtime.
    ///
    /// # Errors
    /// Says what the machine or the configuration lacks.
    pub fn start(config: ServiceConfig) -> anyhow::Result<(Self, mpsc::Receiver<FromService>)> {
        let folder = &config.state_dir;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the state folder {}", folder.display()))?;
        let clock = config.clock;
        let (state, memory) = State::open(&folder.join("mapsys.redb"), clock.now())?;
        let node = join_dht(&config)?;
        let registrar = config.identities.first().map(OperationalKey::cn);
        let pipe_key = AuthKey { id: 1, algorithm: Algorithm::HkdfSha256, secret: random_secret() };
        let (key_states, clients) = (config.key_states.clone(), config.clients.clone());
        let rtrs = config.rtrs.clone();
        let engine = Engine::new(Now::at(clock.now()), engine_config(config, pipe_key.clone()), memory)?;
        let engine = engine.with_rtrs(rtrs);
        let own_anchors = engine.own_anchors();

        let (inputs, inputs_rx) = mpsc::channel(WAITING);
        let (strangers, strangers_rx) = mpsc::channel(WAITING);
        let (outputs, outputs_rx) = mpsc::channel(WAITING_OUT);
        let (questions, questions_rx) = mpsc::channel(1);
        let (reconfigurations, reconfigurations_rx) = mpsc::channel(1);
        let (addresses, addresses_rx) = watch::channel(Addresses::default());
        let (dropped, is_failing) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let status = Status::new(questions, node.clone());
        let ends = run::Ends {
            inputs: inputs_rx,
            strangers: strangers_rx,
            has_clients: !clients.is_empty(),
            outputs,
            questions: questions_rx,
            reconfigurations: reconfigurations_rx,
            addresses: addresses_rx,
            key_states,
            dropped: Arc::clone(&dropped),
            is_failing: Arc::clone(&is_failing),
            clock,
        };
        let task = tokio::spawn(run::run(engine, node.clone(), state, ends));
        let service = Self {
            inputs,
            strangers,
            clients: RwLock::new(clients),
            pipe_key,
            own_anchors,
            node,
            registrar,
            dropped,
            is_failing,
            status,
            reconfigurations,
            addresses,
            task,
        };
        Ok((service, outputs_rx))
    }

    /// The key with which the node's own xTR registers through the pipe: made at start, never stored.
    pub fn pipe_key(&self) -> AuthKey {
        self.pipe_key.clone()
    }

    /// The prefixes for which this node is its own anchor: give `--trust-anchor PREFIX=CN` to others.
    pub fn own_anchors(&self) -> &[TrustAnchor] {
        &self.own_anchors
    }

    /// The DHT node: its listen addresses are what others bootstrap from.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Says what keeps the map system from confirming and publishing, whenever it is asked.
    pub fn fault(&self) -> Fault {
        let is_failing = Arc::clone(&self.is_failing);
        Box::new(move || {
            let why = "the state file cannot be written: no Map-Notify and no record is sent";
            is_failing.load(Ordering::Relaxed).then(|| why.to_owned())
        })
    }

    /// Hands in a control datagram that is for the map system ([`crate::engine::is_for_map_system`]). Never waits;
    /// `false` if it was dropped because there is too much to do.
    pub fn datagram(&self, local: SocketAddr, remote: SocketAddr, bytes: Vec<u8>) -> bool {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        let is_client = clients.iter().any(|net| net.contains(&remote.ip()));
        let queue = if is_client { &self.inputs } else { &self.strangers };
        self.hand_in(queue, Via::Socket { local, remote }, bytes)
    }

    /// Hands in a message of the node's own xTR. Never waits; `false` if it was dropped.
    pub fn pipe(&self, bytes: Vec<u8>) -> bool {
        self.hand_in(&self.inputs, Via::Pipe, bytes)
    }

    fn hand_in(&self, queue: &mpsc::Sender<Input>, via: Via, bytes: Vec<u8>) -> bool {
        let taken = queue.try_send(Input::Datagram { via, bytes }).is_ok();
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Hands in another identity, or the next operational key of one, after everything handed in before; waits for room.
    /// What the engine refuses is logged with the reason, and counted.
    ///
    /// Under the first identity's next key the DHT node goes on as well: peers would end its admission with the last one's
    /// certificate. For some seconds its requests wait.
    pub async fn add_identity(&self, key: OperationalKey) {
        if self.registrar == Some(key.cn()) {
            let renewed = self.node.renew(&key);
            tokio::spawn(async move {
                match renewed.await {
                    Ok(peer) => tracing::info!(%peer, "the DHT node has its new key"),
                    Err(error) => tracing::warn!(%error, "the DHT node has not taken the new key"),
                }
            });
        }
        // An error means that the engine has ended, of which its host hears elsewhere.
        let _ = self.inputs.send(Input::AddIdentity(key)).await;
    }

    /// Lets an identity go, after everything handed in before; waits for room. What it published is withdrawn.
    pub async fn remove_identity(&self, cn: Cn) {
        let _ = self.inputs.send(Input::RemoveIdentity(cn)).await;
    }

    /// Lets the engine take another configuration.
    ///
    /// # Errors
    /// Names the contradiction in it, and nothing has changed; or says that the service has ended.
    pub async fn reconfigure(&self, newer: Reconfiguration) -> anyhow::Result<Reconfigured> {
        let (answer, answered) = oneshot::channel();
        let clients = newer.clients.clone();
        self.reconfigurations.send((newer, answer)).await.context("the map system has ended")?;
        let done = answered.await.context("the map system has ended")??;
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
        Ok(done)
    }

    /// Says what the host's sockets are bound to by now, as [`ServiceConfig::sockets`], and which addresses the machine has: where a socket
    /// listens on all of them, others are told of these. Never waits; what is said last holds.
    pub fn readdress(&self, bound: Vec<SocketAddr>, own: Vec<IpAddr>) {
        self.addresses.send_replace((bound, own));
    }

    /// What `show` shows; cheap to clone.
    pub fn status(&self) -> Status {
        self.status.clone()
    }

    /// Waits until the engine or the DHT node has ended by itself, by a panic that is in the log; says which. A host goes on no longer than
    /// both.
    pub async fn ended(&self) -> &'static str {
        tokio::select! {
            () = self.inputs.closed() => "the map system",
            () = self.node.ended() => "the DHT node",
        }
    }

    /// Ends engine and DHT node. What was handed in before is still done, and withdrawals get two seconds to be stored.
    pub async fn shutdown(self) {
        drop(self.inputs);
        // The task ends by itself when its inputs do; a panic in it has been reported.
        let _ = self.task.await;
        self.node.shutdown().await;
    }
}

fn engine_config(config: ServiceConfig, pipe_key: AuthKey) -> Config {
    Config {
        network: config.network,
        identities: config.identities,
        sites: config.sites,
        own_prefixes: config.own_prefixes,
        pipe_key: Some(pipe_key),
        trust_anchors: config.trust_anchors,
        clients: config.clients,
        foreign: config.foreign,
        sockets: config.sockets,
        subscribers: config.subscribers,
        pubsub: config.pubsub,
        ddt: crate::ddt::Config { secret: rand::random::<[u8; 32]>().into(), ..config.ddt },
        lisp_sec: config.lisp_sec,
    }
}

fn join_dht(config: &ServiceConfig) -> anyhow::Result<Node> {
    let identity = config.identities.first().context("a map system needs an identity to sign with")?;
    let mut node = NodeConfig::server(identity);
    if !config.dht_listen.is_empty() {
        node.listen.clone_from(&config.dht_listen);
    }
    node.port = config.dht_port;
    node.clock = config.clock;
    node.rules = config.rules.clone();
    node.bootstrap = config.bootstrap.iter().map(|text| parse_bootstrap(text)).collect::<Result<_, _>>()?;
    node.anycast = config.anycast.iter().map(|text| parse_anycast(text)).collect::<Result<_, _>>()?;
    node.discovery = config.discovery.then_some(config.network);
    node.nice = crate::limits::DHT_NICE;
    Ok(start_node(node, config.network, Some(&config.state_dir))?)
}

fn random_secret() -> Secret {
    Secret::new(rand::random::<[u8; 32]>().to_vec())
}
