// SPDX-License-Identifier: GPL-2.0-or-later
//! The map system and DHT node in this process. The xTR speaks to it through a pipe that carries the same bytes as a
//! socket would, under a key that exists in memory only.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::SystemTime;

use cgeid::{Cn, Network, OperationalKey};
use dht::admit::Rules;
use dht::shell::metrics::NodeFigures;
use dht::shell::node::Clock;
use ipnet::Ipv6Net;
use mapsys::limit::Foreign;
use mapsys::shell::{Service, ServiceConfig};
use mapsys::subscribe::subscriber::Policy;
use tokio::sync::mpsc;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::AuthKey;

/// What the map system wants done.
pub use mapsys::shell::FromService as FromMapSystem;
/// The files of operational keys, and who looks for later ones.
pub use mapsys::shell::identity::{KeyFiles, KeyWatch};
/// Asks the map system what it is doing.
pub use mapsys::shell::service::Status;

use super::state::make_private_directory;
use super::{Failure, say};
use crate::config::{self, Config, TrustAnchor};

/// Directory of the map system's own state, in ours.
const STATE: &str = "map-system";
/// Directory of an identity that this node made for itself, in ours.
const IDENTITY: &str = "identity";

/// What a map system speaks for.
pub struct Identities<'a> {
    /// Operational keys, the node's own first.
    pub keys: Vec<OperationalKey>,
    /// Looks for the keys of later months.
    pub watch: &'a KeyWatch,
}

/// Whether the DHT node in this process can have its port at these addresses: binds them, and closes them again.
///
/// # Errors
/// Names the port, if another program has it.
pub fn probe(config: &Config, rlocs: &[IpAddr]) -> Result<(), Failure> {
    let config::Mapping::Embedded(embedded) = &config.mapping else { return Ok(()) };
    for rloc in rlocs {
        let address = SocketAddr::new(*rloc, embedded.dht_port);
        UdpSocket::bind(address).map_err(|error| {
            let port = embedded.dht_port;
            Failure::Machine(format!("--dht-port {port}: UDP {address}: {error}"))
        })?;
    }
    Ok(())
}

/// The map system, running.
pub struct Embedded {
    service: Service,
    outputs: mpsc::Receiver<FromMapSystem>,
}

impl Embedded {
    /// Starts it on the current runtime, reached at these addresses, the preferred ones first.
    ///
    /// # Errors
    /// Says what the machine or the configuration lacks.
    pub fn start(
        config: &Config,
        embedded: &config::Embedded,
        identities: Identities,
        rlocs: Vec<IpAddr>,
    ) -> Result<Self, Failure> {
        let rules = rules(config, embedded)?;
        let anchors = embedded.trust_anchors.iter().map(|anchor| trust_anchor(config, anchor)).collect();
        let service = ServiceConfig {
            subscribers: Vec::new(),
            pubsub: Policy::default(),
            network: rules.network,
            rules,
            identities: identities.keys,
            key_states: identities.watch.states(),
            sites: Vec::new(),
            own_prefixes: config.eid_prefixes.clone(),
            trust_anchors: anchors,
            clients: Vec::new(),
            foreign: Foreign::Nobody,
            state_dir: config.state_dir.join(STATE),
            sockets: control_sockets(&rlocs),
            dht_listen: rlocs,
            dht_port: embedded.dht_port,
            bootstrap: embedded.bootstrap.clone(),
            anycast: embedded.anycast.clone(),
            discovery: embedded.discovery == config::Switch::On,
            ddt: mapsys::ddt::Config::default(),
            lisp_sec: Vec::new(),
            rtrs: Vec::new(),
            clock: Clock::default(),
        };
        let (service, outputs) =
            Service::start(service).map_err(|error| Failure::Machine(format!("map system: {error:#}")))?;
        Ok(Self { service, outputs })
    }

    /// The key of the pipe.
    pub fn pipe_key(&self) -> AuthKey {
        self.service.pipe_key()
    }

    /// The prefixes that nobody delegated to this node, as others have to name it in their `--trust-anchor`.
    pub fn own_anchors(&self) -> Vec<TrustAnchor> {
        let anchor = |anchor: &dht::resolve::TrustAnchor| TrustAnchor { prefix: anchor.aggregate.net, cn: anchor.cn };
        self.service.own_anchors().iter().map(anchor).collect()
    }

    /// What the map system says about itself.
    pub fn status(&self) -> Status {
        self.service.status()
    }

    /// The figures of the DHT node; one that `is_alone` was given nobody to know.
    pub fn figures(&self, is_alone: bool) -> NodeFigures {
        NodeFigures::new(self.service.node().clone(), is_alone).or_at_fault(self.service.fault())
    }

    /// Whether a datagram at the shared port 4342 is for the map system.
    pub fn takes(&self, bytes: &[u8]) -> bool {
        mapsys::engine::is_for_map_system(bytes)
    }

    /// Hands in a datagram.
    pub fn datagram(&self, local: SocketAddr, remote: SocketAddr, bytes: Vec<u8>) {
        if !self.service.datagram(local, remote, bytes) {
            tracing::debug!(%remote, "the map system has too much to do; a datagram is lost");
        }
    }

    /// Hands in a message of this node.
    pub fn pipe(&self, bytes: Vec<u8>) {
        if !self.service.pipe(bytes) {
            tracing::debug!("the map system has too much to do; a message of our own is lost");
        }
    }

    /// This node can be reached at these addresses from now on, the preferred ones first: the DHT node listens there, and what is published leads
    /// there. While it can be reached nowhere, all stays as it was: what has gone may come back.
    pub fn readdress(&self, rlocs: &[IpAddr]) {
        if rlocs.is_empty() {
            return;
        }
        self.service.node().listen_on(rlocs.to_vec());
        self.service.readdress(control_sockets(rlocs), Vec::new());
    }

    /// Hands in another identity, or the next key of one, after everything handed in before.
    pub async fn add_identity(&self, key: OperationalKey) {
        self.service.add_identity(key).await;
    }

    /// Lets an identity go, after everything handed in before.
    pub async fn remove_identity(&self, cn: Cn) {
        self.service.remove_identity(cn).await;
    }

    /// What it wants done next; `None` when it, or the DHT node in it, has ended by itself.
    pub async fn next(&mut self) -> Option<FromMapSystem> {
        tokio::select! {
            message = self.outputs.recv() => message,
            _ = self.service.ended() => None,
        }
    }

    /// Ends it.
    pub async fn shutdown(self) {
        self.service.shutdown().await;
    }
}

fn control_sockets(rlocs: &[IpAddr]) -> Vec<SocketAddr> {
    rlocs.iter().map(|rloc| SocketAddr::new(*rloc, wire::CONTROL_PORT)).collect()
}

/// The operational keys that the configuration names, which may be none, and their files.
///
/// # Errors
/// Names the file that cannot be read or opened, or the bootstrap address that is none.
pub fn check(config: &Config, embedded: &config::Embedded) -> Result<(KeyFiles, Vec<OperationalKey>), Failure> {
    for address in &embedded.bootstrap {
        dht::shell::node::parse_bootstrap(address).map_err(|error| Failure::key("bootstrap", error))?;
    }
    for address in &embedded.anycast {
        dht::shell::node::parse_anycast(address).map_err(|error| Failure::key("anycast", error))?;
    }
    rules(config, embedded)?;
    let (network, password_file) = (network(config.cgeid_network), embedded.password_file.as_deref());
    let opened = KeyFiles::open(&embedded.identities, password_file, network, SystemTime::now());
    opened.map_err(|error| Failure::key("identity", format!("{error:#}")))
}

/// What the network asks of its DHT nodes.
fn rules(config: &Config, embedded: &config::Embedded) -> Result<Rules, Failure> {
    let network = network(config.cgeid_network);
    let rules = dht::shell::network_key::rules(network, embedded.puzzle_bits, embedded.network_key.as_deref());
    rules.map_err(|error| Failure::Configuration(format!("--{error:#}")))
}

/// The identity of a node that was given none: made at the first start, and kept in the state directory.
///
/// # Errors
/// Says what the directory lacks.
pub fn own_identity(config: &Config, embedded: &config::Embedded) -> Result<(KeyFiles, OperationalKey), Failure> {
    let rules = rules(config, embedded)?;
    let directory = config.state_dir.join(IDENTITY);
    make_private_directory(&directory)?;
    let own = KeyFiles::own(&directory, rules.network, rules.puzzle, SystemTime::now());
    let (files, key, made) = own.map_err(|error| Failure::Machine(format!("own identity: {error:#}")))?;
    if made {
        say(&format!("Made the identity {} (address {}), kept in {}.", key.cn(), key.address(), directory.display()));
    }
    Ok((files, key))
}

/// The EID of a CGEID: one address in instance 0.
pub fn cgeid_prefix(address: Ipv6Addr) -> EidPrefix {
    EidPrefix::host(InstanceId(0), address.into())
}

fn trust_anchor(config: &Config, anchor: &TrustAnchor) -> dht::resolve::TrustAnchor {
    dht::resolve::TrustAnchor { aggregate: EidPrefix { iid: config.iid, net: anchor.prefix }, cn: anchor.cn }
}

/// The network of the CGEIDs, in the words of `cgeid`.
pub fn network(prefix: Ipv6Net) -> Network {
    let octets = prefix.network().octets();
    Network([octets[0], octets[1], octets[2], octets[3]])
}
