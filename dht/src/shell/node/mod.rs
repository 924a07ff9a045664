// SPDX-License-Identifier: GPL-2.0-or-later
//! A node of the DHT: Kademlia over QUIC, the only place that knows libp2p.
//!
//! The node runs in a thread of its own, so that a flood of QUIC handshakes cannot slow the packet path or the map-server.
//! [`Node`] is the handle: cheap to clone, usable from any async runtime or from none. What the node stores is decided by the
//! [`Records`] that it is given; it asks them before it acknowledges, so that a publisher sees a refusal as one.

mod addresses;
mod admission;
mod behaviour;
pub(in crate::shell) mod caller;
mod clock;
mod closing;
mod discovery;
mod driver;
mod fabric;
mod flood;
mod handing;
mod kademlia;
mod keep;
mod listen;
mod nearest;
mod pace;
pub(in crate::shell) mod protocol;
mod queries;
mod reach;
mod records;
mod redial;
mod region;
mod remembered;
mod renew;
mod requests;
mod values;
mod watched;
mod ways;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cgeid::{Cn, Network, OperationalKey, PuzzleBits, puzzle};
use futures::channel::oneshot as reply;
use libp2p::identity::{Keypair, ed25519};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

pub use libp2p::{Multiaddr, PeerId};

use self::driver::{Command, GetCommand, PutCommand};
use self::renew::Renewal;
use super::limits;
use crate::admit::{Credentials, Rules};

pub(in crate::shell) use self::addresses::{ip, listening};
pub use self::addresses::{parse_anycast, parse_bootstrap};
pub use self::admission::{AdmissionStats, ClockStats};
pub(in crate::shell) use self::admission::{Codec as AdmissionCodec, behaviour as admission_behaviour};
pub(in crate::shell) use self::behaviour::{IDENTIFY_PROTOCOL, KAD_PROTOCOL, connections};
pub use self::clock::Clock;
pub use self::fabric::Fabric;
pub use self::records::{Held, Reason, Records};
pub use self::values::{Given, Values};

/// How a lookup goes about its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    /// One path, with so many requests at once.
    Joint(NonZeroUsize),
    /// So many paths of one request at a time or more, none of which hears of what another was told: liars on one mislead that
    /// one only.
    Disjoint(NonZeroUsize),
}

/// What a node is told at its start.
#[derive(Clone)]
pub struct NodeConfig {
    /// Seed of the Ed25519 key that is the node's identity in the DHT: the operational key.
    pub seed: Zeroizing<[u8; 32]>,
    /// Addresses to listen on.
    pub listen: Vec<IpAddr>,
    /// UDP port to listen on; 0 takes a free one.
    pub port: u16,
    /// Nodes through which the network is found.
    pub bootstrap: Vec<Multiaddr>,
    /// Addresses that several nodes have at once, of which the nearest answers: one more way to find the network. A node that has
    /// such an address itself never announces it.
    pub anycast: Vec<Multiaddr>,
    /// Whether nodes of this network are looked for on the links of this machine, and told that we are here.
    pub discovery: Option<Network>,
    /// File with the peers of the last run.
    pub remember: Option<PathBuf>,
    /// How its lookups go about their way.
    pub paths: Paths,
    /// What carries its connections.
    pub transport: Transport,
    /// Whether the node stores records for others; a one-shot command does not. Without certificates, or with a key that
    /// does not solve the network's puzzle, it does not either.
    pub role: Role,
    /// Whose node it is; a client need not say.
    pub certified: Option<Certified>,
    /// What the network asks of its nodes.
    pub rules: Rules,
    /// What time it is.
    pub clock: Clock,
}

/// Whose node it is.
#[derive(Debug, Clone)]
pub struct Certified {
    /// Its certificates.
    pub credentials: Credentials,
    /// The identity in them.
    pub cn: Cn,
    /// The epoch of the key.
    pub epoch: u32,
    /// What the key has of the network's puzzle.
    pub zero_bits: PuzzleBits,
}

impl Certified {
    /// That of an operational key.
    pub fn of(key: &OperationalKey) -> Self {
        let zero_bits = puzzle::zero_bits(key.certificate().key(), key.epoch());
        Self { credentials: Credentials::of(key), cn: key.cn(), epoch: key.epoch(), zero_bits }
    }
}

impl fmt::Debug for NodeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConfig")
            .field("seed", &"secret")
            .field("listen", &self.listen)
            .field("port", &self.port)
            .field("bootstrap", &self.bootstrap)
            .field("anycast", &self.anycast)
            .field("discovery", &self.discovery)
            .field("remember", &self.remember)
            .field("role", &self.role)
            .field("paths", &self.paths)
            .field("transport", &self.transport)
            .field("certified", &self.certified)
            .field("rules", &self.rules)
            .field("clock", &self.clock)
            .finish()
    }
}

impl NodeConfig {
    /// A server on the usual port of all addresses, with the operational key as its identity.
    pub fn server(key: &OperationalKey) -> Self {
        let network = key.identity_certificate().network();
        let rules = Rules { network, ..Rules::default() };
        Self { certified: Some(Certified::of(key)), rules, ..Self::with_seed(key.ed25519_seed(), Role::Server) }
    }

    /// A client on a free port, with this seed as its identity.
    pub fn client(seed: Zeroizing<[u8; 32]>) -> Self {
        Self { port: 0, ..Self::with_seed(seed, Role::Client) }
    }

    /// A client on a free port, with a key that nobody has seen before.
    pub fn ephemeral() -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(ed25519::SecretKey::generate().as_ref());
        Self::client(seed)
    }

    /// The node's place in the Kademlia space: SHA-256 of its peer ID.
    pub fn place(&self) -> [u8; 32] {
        // 32 octets are always a secret key.
        self.peer().map(|peer| Sha256::digest(peer.to_bytes()).into()).unwrap_or_default()
    }

    fn peer(&self) -> Result<PeerId, NodeError> {
        // libp2p zeroes what it is given.
        let mut seed = self.seed.clone();
        let pair = Keypair::ed25519_from_bytes(seed.as_mut_slice());
        pair.map(|pair| pair.public().to_peer_id()).map_err(|error| NodeError::Start(error.to_string()))
    }

    /// A node with this seed as its identity, listening on the usual port of all addresses. It is nobody's, so nobody admits it:
    /// a server needs [`NodeConfig::server`].
    pub fn with_seed(seed: Zeroizing<[u8; 32]>, role: Role) -> Self {
        Self {
            seed,
            listen: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            port: limits::PORT,
            bootstrap: Vec::new(),
            anycast: Vec::new(),
            discovery: None,
            remember: None,
            role,
            paths: Paths::Disjoint(limits::PATHS),
            transport: Transport::Quic,
            certified: None,
            rules: Rules::default(),
            clock: Clock::default(),
        }
    }
}

/// What a node does for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Stores records and answers lookups.
    Server,
    /// Only asks: it enters nobody's routing table.
    Client,
}

/// What carries a node's connections.
#[derive(Debug, Clone)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// A fabric within this process, for a bench.
    Memory(Fabric),
}

/// A node that has been frozen; it ends when this is dropped.
#[derive(Debug)]
pub struct Frozen(#[allow(dead_code)] std::sync::mpsc::Sender<()>);

/// How a PUT ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PutReport {
    /// Whether this node itself stores the value.
    pub local: bool,
    /// Other nodes that store the value.
    pub stored: usize,
    /// Other nodes that answered and did not take it.
    pub refused: usize,
    /// Other nodes that did not answer, or could not be reached.
    pub unreachable: usize,
}

impl PutReport {
    /// Whether anybody stores the value.
    pub fn is_stored(&self) -> bool {
        self.local || self.stored > 0
    }
}

/// The peers in the routing table, as seen by who waits for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerSet {
    /// Peers in the routing table.
    pub peers: usize,
    /// Changes since the start.
    pub changes: u64,
}

/// A peer in the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its identity.
    pub id: PeerId,
    /// Addresses by which it is known.
    pub addresses: Vec<Multiaddr>,
    /// Whether a connection to it stands.
    pub connected: bool,
}

/// The node's figures.
#[derive(Debug, Clone, Default)]
pub struct NodeStats {
    /// Peers in the routing table.
    pub peers: Vec<Peer>,
    /// Connections that stand, clients' too.
    pub connections: usize,
    /// Whether others can find this node where it listens, as far as they have said: one behind NAT becomes a client by itself.
    pub reachable: bool,
    /// What the store holds.
    pub held: Held,
    /// What happened since the start.
    pub counters: Counters,
    /// Who was admitted, and how this node stands with its peers.
    pub admission: AdmissionStats,
}

/// What happened at a node since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counters {
    /// Values taken into the store, our own too.
    pub puts_stored: u64,
    /// Values that the store refused.
    pub puts_refused: u64,
    /// Provider records offered; the DHT has none.
    pub providers_refused: u64,
    /// Values handed out of the store.
    pub values_served: u64,
    /// Requests of peers, of whatever kind.
    pub requests_answered: u64,
    /// GETs begun here.
    pub gets: u64,
    /// PUTs begun here.
    pub puts: u64,
    /// GETs and PUTs refused because too many are in progress.
    pub overload: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Addresses of peers that cannot be theirs.
    pub addresses_refused: u64,
    /// Records that were handed on to peers that are new in their region.
    pub handed_over: u64,
    /// Neighbours on a link that were dialled.
    pub neighbours_dialled: u64,
    /// Addresses claimed by peers that were dialled to see whether they are there.
    pub claims_tried: u64,
    /// Handshakes of others beyond those in progress.
    pub handshakes_refused: u64,
    /// Handshakes and connections of others beyond those of one block of addresses.
    pub block_refused: u64,
    /// Connections of others for which there was no place.
    pub full_refused: u64,
    /// Connections of others that made room for a newcomer.
    pub guests_replaced: u64,
    /// Idle connections closed before the last place was taken.
    pub idle_closed: u64,
    /// Times that the node went on under another key.
    pub keys_renewed: u64,
}

/// Why a node does not start, or does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Not the address of a node.
    #[error(
        "{text:?} is not a bootstrap address ({reason}); write /ip4/192.0.2.1/udp/43420/quic-v1 or 192.0.2.1:43420"
    )]
    Address {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No socket of ours could be opened.
    #[error("cannot listen on {address} port {port}: {reason}")]
    Listen {
        /// The address.
        address: IpAddr,
        /// The UDP port.
        port: u16,
        /// What the system said.
        reason: String,
    },
    /// The network stack could not be set up.
    #[error("cannot start the DHT node: {0}")]
    Start(String),
    /// Our own store does not take the value.
    #[error("the record is not valid: {0}")]
    Refused(Reason),
    /// The peers' clocks say that ours is wrong: what is signed now would be refused everywhere.
    #[error("the clock of this machine is {}: set it, until then nothing is published", clock::difference(*.0))]
    Clock(i64),
    /// Too many requests are in progress.
    #[error("the DHT node is busy with {0} requests")]
    Busy(usize),
    /// No key to go on under.
    #[error(
        "the key is not a later one of this identity that solves the puzzle of the network: the DHT node goes on under the \
         one it has"
    )]
    Unfit,
    /// The node has been shut down.
    #[error("the DHT node has stopped")]
    Stopped,
}

/// The handle of a node. The node stops when the last handle is dropped; [`Node::shutdown`] also waits for it.
#[derive(Clone)]
pub struct Node {
    commands: mpsc::Sender<Command>,
    peers: watch::Receiver<PeerSet>,
    listening: watch::Receiver<Vec<Multiaddr>>,
    id: watch::Receiver<PeerId>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts a node in a thread of its own; returns when it listens.
    ///
    /// # Errors
    /// When no address can be listened on, or the thread cannot be had.
    pub fn start(config: NodeConfig, records: Box<dyn Records>) -> Result<Self, NodeError> {
        let (commands, commands_rx) = mpsc::channel(limits::COMMANDS);
        let (peers_tx, peers) = watch::channel(PeerSet::default());
        let (listening_tx, listening) = watch::channel(Vec::new());
        let (id_tx, id) = watch::channel(config.peer()?);
        let (ready_tx, ready) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("dht".to_owned())
            .spawn(move || {
                driver::run(config, records, driver::Ends { commands_rx, peers_tx, listening_tx, ready_tx, id_tx });
            })
            .map_err(|error| NodeError::Start(error.to_string()))?;
        ready.recv().map_err(|_| NodeError::Stopped)??;
        Ok(Self { commands, peers, listening, id, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// The node's identity in the DHT, which is its key: another one after [`Node::renew`].
    pub fn id(&self) -> PeerId {
        *self.id.borrow()
    }

    /// Goes on under a later operational key of the same identity: peers end the admission of a key with its certificate. What
    /// is held and whom the node knows stays, requests under way are finished first and new ones wait, for a few seconds; all
    /// connections are made anew. Returns the new identity in the DHT when the node listens again.
    ///
    /// # Errors
    /// [`NodeError::Unfit`] for a key that is no later one of this identity, or with which a server would be a client; when the
    /// node has stopped.
    pub fn renew(&self, key: &OperationalKey) -> impl Future<Output = Result<PeerId, NodeError>> + Send + use<> {
        let (done_tx, done) = reply::channel();
        let renewal = Renewal { seed: key.ed25519_seed(), certified: Certified::of(key), done: done_tx };
        let commands = self.commands.clone();
        async move {
            commands.send(Command::Renew(renewal)).await.map_err(|_| NodeError::Stopped)?;
            drop(commands);
            done.await.map_err(|_| NodeError::Stopped)?
        }
    }

    /// The addresses the node listens on, each with its identity: what others give as `--bootstrap`. Those of one link only,
    /// which are of no use without a zone, are left out.
    pub fn listen_addrs(&self) -> Vec<Multiaddr> {
        let listening = self.listening.borrow();
        let shareable = listening.iter().filter(|address| addresses::is_shareable(address));
        shareable.map(|address| addresses::with_peer(address, self.id())).collect()
    }

    /// The IPv4 sockets that the node listens on, or what stands for them within a process.
    pub fn sockets(&self) -> Vec<SocketAddrV4> {
        let listening = self.listening.borrow();
        let socket = |address| match addresses::socket(address)? {
            (IpAddr::V4(v4), port) => Some(SocketAddrV4::new(v4, port)),
            (IpAddr::V6(_), _) => None,
        };
        listening.iter().filter_map(socket).collect()
    }

    /// Asks for the values under a key. They come unverified, those of different nodes one after the other; `enough` sees each
    /// and ends the lookup by returning true. Takes at most [`limits::GET`] after the first peer is known.
    ///
    /// # Errors
    /// When the node is busy or has stopped.
    pub async fn get(&self, key: Vec<u8>, enough: impl FnMut(&[u8]) -> bool) -> Result<Vec<Vec<u8>>, NodeError> {
        self.get_within(key, limits::GET, enough).await
    }

    /// [`Node::get`] with a time limit of the caller's.
    ///
    /// # Errors
    /// When the node is busy or has stopped.
    pub async fn get_within(
        &self,
        key: Vec<u8>,
        limit: Duration,
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<Vec<Vec<u8>>, NodeError> {
        let mut values = self.values(key, limit).await?;
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while let Some(Given { value, .. }) = values.next().await {
            let satisfied = enough(&value);
            seen.push(value);
            if satisfied || seen.len() == limits::VALUES {
                break;
            }
        }
        Ok(seen)
    }

    /// The values under a key as they come, unverified; dropping what is returned ends the lookup.
    ///
    /// # Errors
    /// When the node is busy or has stopped.
    pub async fn values(&self, key: Vec<u8>, limit: Duration) -> Result<Values, NodeError> {
        let (values_tx, values) = mpsc::channel(limits::VALUES);
        let (begun_tx, begun) = reply::channel();
        let command = Command::Get(GetCommand { key, limit, values: values_tx, begun: begun_tx });
        self.commands.send(command).await.map_err(|_| NodeError::Stopped)?;
        let effort = begun.await.map_err(|_| NodeError::Stopped)??;
        Ok(Values::new(values, effort))
    }

    /// Stores a value under a key: here, if this node is a server, and at the nodes nearest to the key.
    ///
    /// # Errors
    /// When our own store refuses the value, or the node is busy or has stopped. That others refuse it is in the report.
    pub async fn put(&self, key: Vec<u8>, value: Vec<u8>) -> Result<PutReport, NodeError> {
        let (done_tx, done) = reply::channel();
        let command = Command::Put(PutCommand { key, value, done: done_tx });
        self.commands.send(command).await.map_err(|_| NodeError::Stopped)?;
        done.await.map_err(|_| NodeError::Stopped)?
    }

    /// Changes of the peer set: who publishes does so again when it has grown.
    pub fn subscribe(&self) -> watch::Receiver<PeerSet> {
        self.peers.clone()
    }

    /// The peer set now.
    pub fn peer_set(&self) -> PeerSet {
        *self.peers.borrow()
    }

    /// The node's figures.
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn stats(&self) -> Result<NodeStats, NodeError> {
        let (done_tx, done) = reply::channel();
        self.commands.send(Command::Stats(done_tx)).await.map_err(|_| NodeError::Stopped)?;
        done.await.map_err(|_| NodeError::Stopped)
    }

    /// Stops the node's thread where it is, for a bench: its sockets stay, and nothing is answered any more, as if the machine
    /// had lost its power.
    ///
    /// # Errors
    /// When the node has stopped.
    pub async fn freeze(&self) -> Result<Frozen, NodeError> {
        let (release, until) = std::sync::mpsc::channel();
        self.commands.send(Command::Freeze(until)).await.map_err(|_| NodeError::Stopped)?;
        Ok(Frozen(release))
    }

    /// Closes all connections, writes what is not yet written, and waits for the thread to end.
    pub async fn shutdown(&self) {
        let (done_tx, done) = reply::channel();
        if self.commands.send(Command::Shutdown(done_tx)).await.is_ok() {
            // An error means that the node had stopped already: that is what is asked for.
            let _ = done.await;
        }
        self.join();
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the DHT thread has panicked");
        }
    }
}
