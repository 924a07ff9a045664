// SPDX-License-Identifier: GPL-2.0-or-later
//! A node of the DHT: Kademlia over QUIC. Only it, the survey (`shell/crawl`) and the hostile nodes of a bench know libp2p.
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
mod config;
mod crowds;
mod dials;
mod discovery;
#[cfg(test)]
mod drafted;
mod driver;
mod fabric;
mod figures;
mod flood;
mod handing;
mod kademlia;
mod keep;
mod listen;
mod nearest;
mod pace;
mod patience;
mod peers;
pub(in crate::shell) mod protocol;
mod queries;
mod rate;
mod reach;
mod records;
mod redial;
mod region;
mod remembered;
mod renew;
mod requests;
mod seen;
mod values;
mod visits;
mod watched;
mod ways;
mod whole;

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use cgeid::OperationalKey;
use futures::channel::oneshot as reply;
use tokio::sync::{mpsc, watch};

pub use libp2p::{Multiaddr, PeerId};

use self::driver::{Command, GetCommand, PutCommand};
use self::renew::Renewal;
use super::limits;

pub(in crate::shell) use self::addresses::{identity_in, ip, listening};
pub use self::addresses::{parse_anycast, parse_bootstrap};
pub use self::admission::{AdmissionStats, ClockStats};
pub(in crate::shell) use self::admission::{Codec as AdmissionCodec, behaviour as admission_behaviour};
pub(in crate::shell) use self::behaviour::{IDENTIFY_PROTOCOL, KAD_PROTOCOL, connections};
pub use self::clock::{Clock, Hand};
pub use self::config::{Certified, NodeConfig, Paths, Role, Transport};
pub use self::fabric::Fabric;
pub use self::figures::{Counters, NodeStats, Peer, PeerSet, PutReport};
pub use self::records::{Held, MARK_AHEAD, Reason, Records};
pub use self::values::{Given, Values};

/// A node that has been frozen; it ends when this is dropped.
#[derive(Debug)]
pub struct Frozen(#[allow(dead_code)] std::sync::mpsc::Sender<()>);

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
    listen: watch::Sender<Vec<IpAddr>>,
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
        let (listen, listen_rx) = watch::channel(config.listen.clone());
        let (listening_tx, listening) = watch::channel(Vec::new());
        let (id_tx, id) = watch::channel(config.peer()?);
        let (ready_tx, ready) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("dht".to_owned())
            .spawn(move || {
                let waiting = VecDeque::new();
                let ends = driver::Ends { commands_rx, waiting, peers_tx, listen_rx, listening_tx, ready_tx, id_tx };
                if config.nice > 0 {
                    // Of this thread alone, and those it starts; where it is refused the node runs all the same.
                    if let Err(error) = rustix::process::setpriority_process(None, config.nice.into()) {
                        tracing::warn!(%error, nice = config.nice, "the thread of the DHT node does not yield");
                    }
                }
                driver::run(config, records, ends);
            })
            .map_err(|error| NodeError::Start(error.to_string()))?;
        ready.recv().map_err(|_| NodeError::Stopped)??;
        Ok(Self { commands, peers, listen, listening, id, thread: Arc::new(Mutex::new(Some(thread))) })
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

    /// Listens on these addresses from now on, and on no others, on the port that it has; never waits. What is held and whom the node knows
    /// stays. Connections to other addresses end, and this node dials its peers from the new ones, who learn by it where it is; what cannot be
    /// listened on yet is tried each second.
    pub fn listen_on(&self, addresses: Vec<IpAddr>) {
        self.listen.send_if_modified(|known| {
            let is_other = *known != addresses;
            *known = addresses;
            is_other
        });
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
    /// and ends the lookup by returning true. Takes at most [`limits::GET`] after the first peer is known, and what the node is held up.
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
        self.put_at(Vec::new(), key, value).await
    }

    /// Asks these nodes to store a value, wherever its key belongs, and no others; without any it is [`Node::put`].
    ///
    /// # Errors
    /// As of [`Node::put`].
    pub async fn put_at(&self, at: Vec<PeerId>, key: Vec<u8>, value: Vec<u8>) -> Result<PutReport, NodeError> {
        let (done_tx, done) = reply::channel();
        let command = Command::Put(PutCommand { key, value, at, done: done_tx });
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

    /// Waits until the node has stopped: by [`Node::shutdown`], or because its thread has panicked.
    pub async fn ended(&self) {
        let mut peers = self.subscribe();
        while peers.changed().await.is_ok() {}
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
