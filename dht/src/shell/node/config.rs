// SPDX-License-Identifier: GPL-2.0-or-later
//! What a node is told at its start.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use cgeid::{Cn, Network, OperationalKey, PuzzleBits, puzzle};
use libp2p::identity::{Keypair, ed25519};
use libp2p::{Multiaddr, PeerId};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Clock, Fabric, NodeError};
use crate::admit::{Credentials, Rules};
use crate::shell::limits;

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
    /// Bundles that are kept for the network, at most.
    pub store_bundles: usize,
    /// How much the node's thread yields to others that want its processor, as nice(2) has it: 0 as little as the process does, 19 most.
    pub nice: u8,
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
            .field("store_bundles", &self.store_bundles)
            .field("nice", &self.nice)
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

    pub(super) fn peer(&self) -> Result<PeerId, NodeError> {
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
            store_bundles: crate::limits::STORE_BUNDLES,
            nice: 0,
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
