// SPDX-License-Identifier: GPL-2.0-or-later
//! Nodes over real QUIC on loopback whose stores are doubles: some do as they should, some lie. For tests and for a bench.
#![allow(dead_code, clippy::unwrap_used, reason = "each program uses a part")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, OperationalKey};
use dht::publish::{self, Publication, Sequence};
use dht::record::{CertificateCache, Class, RecordKey};
use dht::resolve::{Selection, newest};
use dht::shell::limits;
use dht::shell::node::{Held, Multiaddr, Node, NodeConfig, Paths, Reason, Records, Role};
use dht::store::Origin;
use zeroize::Zeroizing;

use crate::common::{LAB, key_of, mapping};

/// What a node does that does not do as it should.
#[derive(Clone, Default)]
pub(crate) enum Manner {
    /// Stores what it is given and gives what it stores.
    #[default]
    Honest,
    /// Acknowledges, stores nothing, and gives this.
    Gives(Vec<u8>),
    /// The same, after so long.
    Slow(Duration, Vec<u8>),
}

#[derive(Default)]
struct Double {
    held: HashMap<Vec<u8>, Vec<u8>>,
    manner: Manner,
}

impl Records for Double {
    fn get(&self, _now: SystemTime, key: &[u8]) -> Option<Vec<u8>> {
        match &self.manner {
            Manner::Honest => self.held.get(key).cloned(),
            Manner::Gives(value) => Some(value.clone()),
            Manner::Slow(wait, value) => {
                std::thread::sleep(*wait);
                Some(value.clone())
            }
        }
    }

    fn put(&mut self, _now: SystemTime, _origin: Origin, key: &[u8], value: &[u8]) -> Result<(), Reason> {
        self.held.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn housekeep(&mut self, _now: SystemTime) {}

    fn held(&self) -> Held {
        Held { records: self.held.len(), ..Held::default() }
    }
}

/// A node on 127.`network`.`number`.1: each in a block of its own, each test in a network of its own.
pub(crate) fn node(network: u8, number: u8, role: Role, bootstrap: &[Multiaddr], manner: Manner, paths: Paths) -> Node {
    let mut seed = [number; 32];
    seed[0] = network;
    // A server has certificates, a client shows nothing.
    let config = match role {
        Role::Server => NodeConfig::server(&key_of(seed)),
        Role::Client => NodeConfig::client(Zeroizing::new(seed)),
    };
    let config = NodeConfig {
        listen: vec![IpAddr::V4(Ipv4Addr::new(127, network, number, 1))],
        port: 0,
        bootstrap: bootstrap.to_vec(),
        paths,
        ..config
    };
    Node::start(config, Box::new(Double { manner, ..Double::default() })).unwrap()
}

pub(crate) async fn mesh(network: u8, manners: Vec<Manner>, paths: Paths) -> Vec<Node> {
    let count = manners.len();
    let mut nodes: Vec<Node> = Vec::new();
    for (number, manner) in (1..).zip(manners) {
        let bootstrap = nodes.first().map_or_else(Vec::new, Node::listen_addrs);
        nodes.push(node(network, number, Role::Server, &bootstrap, manner, paths));
    }
    let begun = Instant::now();
    // Of more than that a bucket may be full.
    while nodes.iter().any(|node| node.peer_set().peers < (count - 1).min(20)) {
        assert!(begun.elapsed() < Duration::from_secs(60), "the nodes do not meet");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    nodes
}

/// Stores at this node, a server, and so many others; see [`put_until`].
pub(crate) async fn put_everywhere(node: &Node, key: &[u8], value: &[u8], others: usize) {
    put_until(node, key, value, (true, others, 0)).await;
}

/// PUTs until so many have answered, and returns how often: whoever did not find all of them, or did not hear of them in time, on a
/// machine that does much else, tries again. Then it is stored here or not, and so many have stored and refused it.
pub(crate) async fn put_until(
    node: &Node,
    key: &[u8],
    value: &[u8],
    (local, stored, refused): (bool, usize, usize),
) -> u64 {
    let begun = Instant::now();
    for puts in 1.. {
        let report = node.put(key.to_vec(), value.to_vec()).await.unwrap();
        let has_refused = report.refused - report.busy;
        if report.stored + has_refused >= stored + refused {
            assert_eq!((report.local, report.stored, has_refused), (local, stored, refused), "{report:?}");
            return puts;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{report:?}");
    }
    unreachable!("there are more PUTs than that")
}

pub(crate) fn disjoint() -> Paths {
    Paths::Disjoint(limits::PATHS)
}

/// Somebody whose keys hold now.
pub(crate) struct Owner {
    key: OperationalKey,
    sequence: Sequence,
}

impl Owner {
    pub(crate) fn new(number: u8) -> Self {
        let since = SystemTime::now() - Duration::from_secs(3600);
        let identity = Identity::from_seed(&[number; 32], LAB, since).unwrap();
        Self { key: identity.delegate(since, 0).unwrap(), sequence: Sequence::default() }
    }

    pub(crate) fn says(&mut self, ago: u64, last_octet: u8) -> Publication {
        let at = SystemTime::now() - Duration::from_secs(ago);
        publish::mapping(&self.key, LAB, mapping(last_octet), at, &mut self.sequence).unwrap()
    }
}

pub(crate) fn octet(key: &RecordKey, values: &[Vec<u8>]) -> Option<u8> {
    let mut cache = CertificateCache::new();
    match newest(LAB, key, Class::Mapping, values, SystemTime::now(), &mut cache) {
        Selection::Newest(verified) => match verified.bundle.mapping()?.locators.first()?.address {
            IpAddr::V4(v4) => Some(v4.octets()[3]),
            IpAddr::V6(_) => None,
        },
        _ => None,
    }
}
