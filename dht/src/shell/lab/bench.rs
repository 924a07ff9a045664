// SPDX-License-Identifier: GPL-2.0-or-later
//! The nodes of a bench: how they start, find each other, publish, die and stop.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime};

use cgeid::Network;
use futures::StreamExt as _;
use futures::stream;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::folder::Folder;
use super::people::Person;
use super::{LabError, limits};
use crate::publish::Publication;
use crate::record::{CertificateCache, Class, RecordKey, Version};
use crate::resolve::{Selection, newest};
use crate::shell::node::{Fabric, Frozen, Multiaddr, Node, NodeConfig, PutReport, Transport};
use crate::shell::{limits as node_limits, lookup, shelf};

/// A node that serves, and who runs it.
pub(super) struct Member {
    pub(super) node: Node,
    pub(super) person: Person,
    address: Ipv4Addr,
    /// Held while it is dead.
    frozen: Option<Frozen>,
}

/// A record that somebody looks for, and what is right.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) key: RecordKey,
    pub(super) version: Version,
    /// What was right before.
    pub(super) old: Vec<u8>,
}

/// All nodes, with what they have published.
pub(super) struct Bench {
    pub(super) network: Network,
    pub(super) transport: Transport,
    pub(super) members: Vec<Member>,
    pub(super) clients: Vec<Node>,
    pub(super) records: Vec<Expected>,
    /// Where their databases are; over memory they have none, which would measure the disk.
    folder: Option<Folder>,
}

/// The address of a node in a block of its own, so that no rule takes two for one party.
pub(super) fn place(number: usize) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(127, high.saturating_add(1), low, 1)
}

impl Bench {
    pub(super) fn new(network: Network, transport: Transport) -> Result<Self, LabError> {
        let folder = matches!(transport, Transport::Quic).then(Folder::new).transpose()?;
        Ok(Self { network, transport, members: Vec::new(), clients: Vec::new(), records: Vec::new(), folder })
    }

    /// Starts nodes that serve, each with some of the earlier ones as bootstrap.
    pub(super) fn start(&mut self, nodes: usize, random: &mut StdRng) -> Result<(), LabError> {
        for _ in 0..nodes {
            let person = Person::new(self.network, random)?;
            let address = place(self.members.len());
            let config = NodeConfig { bootstrap: self.some(random), ..NodeConfig::server(&person.key) };
            let node = self.start_node(config, address)?;
            self.members.push(Member { node, person, address, frozen: None });
        }
        Ok(())
    }

    /// Starts nodes that only ask.
    pub(super) fn start_clients(&mut self, random: &mut StdRng) -> Result<(), LabError> {
        for number in 0..limits::CLIENTS {
            let config = NodeConfig { bootstrap: self.some(random), ..NodeConfig::ephemeral() };
            let client = self.start_node(config, place(limits::NODES + number))?;
            self.clients.push(client);
        }
        Ok(())
    }

    fn start_node(&self, config: NodeConfig, address: Ipv4Addr) -> Result<Node, LabError> {
        let (listen, transport) = (vec![IpAddr::V4(address)], self.transport.clone());
        let config = NodeConfig { listen, port: 0, transport, ..config };
        let folder = self.folder.as_ref().map(|folder| folder.of(&address.to_string())).transpose()?;
        Ok(shelf::start_node(config, self.network, folder.as_deref())?)
    }

    /// Addresses of some nodes that live.
    pub(super) fn some(&self, random: &mut StdRng) -> Vec<Multiaddr> {
        let mut live: Vec<&Member> = self.live().collect();
        let (chosen, _) = live.partial_shuffle(random, limits::BOOTSTRAPS);
        chosen.iter().flat_map(|member| member.node.listen_addrs()).collect()
    }

    pub(super) fn live(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.frozen.is_none())
    }

    /// The address of every node that lives.
    pub(super) fn addresses(&self) -> Vec<Multiaddr> {
        self.live().flat_map(|member| member.node.listen_addrs()).collect()
    }

    /// Waits until the routing tables of the living hardly change any more; says how many peers each has on average.
    pub(super) async fn settle(&self) -> usize {
        let all = || self.live().map(|member| &member.node).chain(&self.clients);
        let known = || all().map(|node| node.peer_set().peers).sum::<usize>();
        let until = Instant::now() + limits::MESH;
        let (mut before, mut since) = (known(), Instant::now());
        while since.elapsed() < limits::QUIET && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = known();
            if now.abs_diff(before) * 100 > before * limits::QUIET_PERCENT {
                (before, since) = (now, Instant::now());
            }
        }
        known() / all().count().max(1)
    }

    /// Lets every member publish its mapping, anew if it has one.
    pub(super) async fn publish(&mut self) -> Result<Published, LabError> {
        let mut publications = Vec::new();
        for member in &mut self.members {
            publications.push((member.node.clone(), member.person.mapping(member.address.into())?));
        }
        let records = publications.iter().map(|(_, publication)| {
            let old = self.records.iter().find(|known| known.key == publication.key);
            let version = Version { epoch: 0, sequence: publication.sequence };
            let old = old.map(|known| known.old.clone());
            Expected { key: publication.key, version, old: old.unwrap_or_else(|| publication.value.clone()) }
        });
        self.records = records.collect();
        let puts = publications.into_iter().map(async |(node, publication)| put(&node, &publication).await);
        let puts = stream::iter(puts).buffer_unordered(limits::PUTS_AT_ONCE);
        Ok(puts.fold(Published::default(), async |sum, report| sum.and(report)).await)
    }

    /// Kills so many members at once, without goodbye. Over memory the bench does what QUIC's idle timeout does.
    pub(super) async fn kill(&mut self, count: usize, random: &mut StdRng) {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.shuffle(random);
        for &index in order.iter().take(count) {
            // An error says that it has stopped already.
            self.members[index].frozen = self.members[index].node.freeze().await.ok();
        }
        if let Transport::Memory(fabric) = &self.transport {
            tokio::time::sleep(node_limits::QUIC_IDLE).await;
            self.cut(fabric);
        }
    }

    fn cut(&self, fabric: &Fabric) {
        for member in self.members.iter().filter(|member| member.frozen.is_some()) {
            for at in member.node.sockets() {
                fabric.cut(at);
            }
        }
    }

    /// Somebody who asks: a client as often as a node that serves.
    pub(super) fn reader(&self, random: &mut StdRng) -> Option<Node> {
        let live: Vec<&Node> = self.live().map(|member| &member.node).collect();
        let from = if random.random() { live } else { self.clients.iter().collect() };
        let chosen = from.get(random.random_range(0..from.len().max(1)));
        chosen.map(|&node| node.clone())
    }

    /// From nothing to a first mapping: a key, a node, and a lookup that is right. None when it takes too long.
    pub(super) async fn cold_start(&self, random: &mut StdRng) -> Result<Option<Duration>, LabError> {
        let Some(expected) = self.records.first() else { return Ok(None) };
        let bootstrap = self.some(random);
        let begun = Instant::now();
        let person = Person::new(self.network, random)?;
        let config = NodeConfig { bootstrap, ..NodeConfig::server(&person.key) };
        let node = self.start_node(config, place(limits::NODES + limits::CLIENTS))?;
        let mut found = false;
        while !found && begun.elapsed() < limits::COLD_START {
            let report = lookup::get(&node, self.network, &expected.key).await.unwrap_or_default();
            found = version(self.network, &expected.key, &report.values).is_some();
        }
        let took = begun.elapsed();
        node.shutdown().await;
        Ok(found.then_some(took))
    }

    /// Stops all nodes; the dead ones end here.
    pub(super) async fn stop(self) {
        let (dead, live): (Vec<Member>, Vec<Member>) =
            self.members.into_iter().partition(|member| member.frozen.is_some());
        let nodes = live.into_iter().map(|member| member.node).chain(self.clients);
        stream::iter(nodes).for_each_concurrent(None, async |node| node.shutdown().await).await;
        for Member { node, frozen, .. } in dead {
            drop(frozen);
            node.shutdown().await;
        }
    }
}

/// What became of the PUTs of all members.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Published {
    /// Records that no other node took.
    pub(super) unstored: usize,
    /// Copies at other nodes.
    pub(super) copies: usize,
    /// Copies that others did not take.
    pub(super) refused: usize,
    /// Copies for others that did not answer.
    pub(super) unreachable: usize,
}

impl Published {
    fn and(self, report: PutReport) -> Self {
        Self {
            unstored: self.unstored + usize::from(report.stored == 0),
            copies: self.copies + report.stored,
            refused: self.refused + report.refused,
            unreachable: self.unreachable + report.unreachable,
        }
    }
}

/// Puts one record, again if nobody takes it.
async fn put(node: &Node, publication: &Publication) -> PutReport {
    let mut last = PutReport::default();
    for _ in 0..limits::PUT_TRIES {
        last = node.put(publication.key.encode(), publication.value.clone()).await.unwrap_or_default();
        if last.stored > 0 {
            break;
        }
    }
    last
}

/// The version of the newest mapping among the values of a key, if any holds.
pub(super) fn version(network: Network, key: &RecordKey, values: &[Vec<u8>]) -> Option<Version> {
    match newest(network, key, Class::Mapping, values, SystemTime::now(), &mut CertificateCache::new()) {
        Selection::Newest(found) => found.bundle.section(Class::Mapping).map(|section| section.version),
        _ => None,
    }
}
