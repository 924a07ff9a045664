// SPDX-License-Identifier: GPL-2.0-or-later
//! The ways into the network at work: neighbours, peers of the last run, anycast, and who can be reached where.

use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use libp2p::core::ConnectedPoint;
use libp2p::kad;
use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::addresses::{ip, split_peer};
use super::discovery::{self, Neighbour, Seeker, Strangers};
use super::driver::Driver;
use super::reach::{Found, Standing, is_listening};
use super::redial::Redial;
use super::remembered::{MemoryFile, Remembered, seconds};
use super::{NodeConfig, Role};
use crate::shell::limits;

/// What the driver knows of ways into the network.
pub(super) struct Ways {
    pub(super) found: Found,
    pub(super) standing: Standing,
    pub(super) neighbours: mpsc::Receiver<Neighbour>,
    strangers: Strangers,
    anycast: Vec<IpAddr>,
    /// Whether this node has begun or ceased to serve, or has other addresses, which its peers are still to be told.
    has_turned: bool,
    memory: Option<Memory>,
}

/// The memory of peers, and the writing of it that may be in progress.
struct Memory {
    file: MemoryFile,
    peers: Remembered,
    due: Instant,
    writing: Option<JoinHandle<()>>,
}

impl Ways {
    /// Opens all ways that the configuration names. Must be called in the node's runtime.
    pub(super) fn new(
        config: &NodeConfig,
        own: PeerId,
        redial: &mut Redial,
        listening: watch::Receiver<Vec<Multiaddr>>,
        now: Instant,
    ) -> Self {
        let anycast: Vec<IpAddr> = config.anycast.iter().filter_map(ip).collect();
        config.anycast.iter().for_each(|address| redial.add(now, address, None));
        let memory = config.remember.as_deref().map(|path| {
            let (file, peers) = MemoryFile::open(path);
            let places = peers.addresses().filter(|(peer, _)| *peer != own);
            places.for_each(|(_, address)| redial.add(now, address, Some(limits::KEPT_ATTEMPTS)));
            Memory { file, peers, due: now + limits::KEPT_FIRST, writing: None }
        });
        let (found, neighbours) = mpsc::channel(limits::NEIGHBOURS_WAITING);
        if let Some(network) = config.discovery {
            // Ends when the driver drops its end of the channel.
            tokio::spawn(discovery::run(Seeker { network, own, listening, found }));
        }
        let (found, standing) = (Found::default(), Standing::default());
        Self { found, standing, neighbours, strangers: Strangers::default(), anycast, has_turned: false, memory }
    }

    /// Whether several nodes have the address.
    pub(super) fn is_anycast(&self, address: &Multiaddr) -> bool {
        ip(address).is_some_and(|address| self.anycast.contains(&address))
    }
}

impl Driver {
    /// Somebody is on a link of ours.
    pub(super) fn on_neighbour(&mut self, neighbour: Neighbour) {
        let Neighbour { link, peer, addresses } = neighbour;
        if self.swarm.is_connected(&peer) || !self.ways.strangers.take(Instant::now(), link) {
            return;
        }
        tracing::debug!(%peer, ?addresses, "neighbour");
        self.counters.neighbours_dialled += 1;
        let addresses = addresses.into_iter().filter(|address| !self.ways.is_anycast(address)).collect();
        let condition = PeerCondition::DisconnectedAndNotDialing;
        let options = DialOpts::peer_id(peer).condition(condition).addresses(addresses).build();
        if let Err(error) = self.dial_when_there_is_a_place(options, None) {
            tracing::debug!(%peer, %error, "cannot dial the neighbour");
        }
    }

    /// A connection stands: it shows where the peer is. One that was made only to see that is closed again.
    pub(super) fn on_found(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint, is_second: bool) {
        let ConnectedPoint::Dialer { address, .. } = endpoint else {
            self.ways.found.came_from(peer, endpoint.get_remote_address());
            self.place(peer);
            return;
        };
        let was_tried = self.ways.found.is_tried(&peer, address);
        self.ways.found.dialled(peer, address);
        if was_tried {
            self.place(peer);
            // One that shows the peer where this node is stands until the peer has seen it.
            if is_second && !self.is_showing(id) {
                self.swarm.close_connection(id);
            }
        }
    }

    /// Of the addresses that a server claims, those at which it was found; some of the others are tried.
    pub(super) fn proven(&mut self, peer: PeerId, claimed: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let claimed: Vec<Multiaddr> = claimed.into_iter().filter(|address| !self.ways.is_anycast(address)).collect();
        for address in self.ways.found.worth_trying(Instant::now(), peer, &claimed) {
            self.counters.claims_tried += 1;
            let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![address.clone()]);
            if let Err(error) = self.dial_when_there_is_a_place(options.build(), Some(&address)) {
                tracing::debug!(%address, %error, "cannot try");
            }
        }
        claimed.into_iter().filter(|address| self.ways.found.is_proven(&peer, address)).collect()
    }

    /// Looks a second time at addresses at which peers were not found.
    pub(super) fn try_once_more(&mut self, now: Instant) {
        for peer in self.ways.found.once_more(now) {
            self.place(peer);
        }
    }

    /// An anycast address is of nobody in particular, and must not be handed on as a peer's; libp2p enters what it has dialled.
    pub(super) fn leave_out_anycast(&mut self, peer: PeerId) {
        for address in self.addresses_of(&peer) {
            if self.ways.is_anycast(&address) && self.kad().remove_address(&peer, &address).is_some() {
                self.swarm.behaviour_mut().flood.is_no_server(&peer);
                self.peers_changed();
            }
        }
    }

    /// The peer serves nobody, or not any more.
    pub(super) fn is_client(&mut self, peer: PeerId) {
        if self.unplace(&peer) {
            tracing::debug!(%peer, "peer serves no more");
            self.on_vacancy();
            self.peers_changed();
        }
    }

    /// A server says where it sees us. Who sees us where nobody can dial us speaks for our being a client. Only members are
    /// believed: anybody has addresses in a few blocks, and would turn servers into clients with them.
    pub(super) fn on_observed(&mut self, peer: PeerId, observed: &Multiaddr) {
        let Some(observer) = self.seen.at(&peer).and_then(ip) else { return };
        if self.role != Role::Server || self.ways.is_anycast(observed) || !self.counts_as_observer(peer, observed) {
            return;
        }
        let at_home = is_listening(&self.ends.listening_tx.borrow(), observed);
        let is_own = at_home || self.ways.found.came_unasked(&peer);
        match self.ways.standing.observe(Instant::now(), observer, is_own) {
            Some(true) => {
                tracing::info!("others can reach this node again: it stores records for them");
                self.kad().set_mode(Some(kad::Mode::Server));
                self.ways.has_turned = true;
            }
            Some(false) => {
                tracing::warn!(seen_at = %observed, "others cannot reach this node (NAT?): it is a client until they can");
                self.kad().set_mode(Some(kad::Mode::Client));
                self.ways.has_turned = true;
            }
            None => {}
        }
    }

    /// Our addresses have changed.
    pub(super) fn moved(&mut self) {
        self.ways.standing.moved();
        self.ways.has_turned |= self.swarm.connected_peers().next().is_some();
    }

    /// Tells the peers what this node speaks and where it is, once its connections have taken it over. By itself identify tells them of a
    /// change only where it has told them something before, and of an address before it is one of those that we announce.
    pub(super) fn tell_turn(&mut self) {
        if std::mem::take(&mut self.ways.has_turned) {
            let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
            self.swarm.behaviour_mut().identify.push(peers);
        }
    }

    /// Writes down the peers of the routing table from time to time, beside the node's thread.
    pub(super) fn remember(&mut self, now: Instant) {
        let Some(memory) = &self.ways.memory else { return };
        if memory.due > now || memory.writing.as_ref().is_some_and(|writing| !writing.is_finished()) {
            return;
        }
        let present = self.present();
        let Some(memory) = &mut self.ways.memory else { return };
        memory.due = now + limits::KEPT_INTERVAL;
        if present.is_empty() {
            return;
        }
        memory.peers.see(seconds(SystemTime::now()), present);
        let (file, text) = (memory.file.clone(), memory.peers.to_text());
        memory.writing = Some(tokio::task::spawn_blocking(move || file.save(&text)));
    }

    /// Writes down the peers at the end.
    pub(super) fn remember_last(&mut self) {
        let present = self.present();
        if let Some(memory) = &mut self.ways.memory
            && !present.is_empty()
        {
            memory.peers.see(seconds(SystemTime::now()), present);
            memory.file.save(&memory.peers.to_text());
        }
    }

    /// The peers of the routing table that are connected, each where it was found.
    pub(super) fn present(&mut self) -> Vec<(PeerId, Multiaddr)> {
        let mut peers: Vec<(PeerId, Multiaddr)> = Vec::new();
        for bucket in self.swarm.behaviour_mut().kad.kbuckets() {
            for entry in bucket.iter() {
                let id = *entry.node.key.preimage();
                peers.extend(entry.node.value.iter().map(|address| (id, split_peer(address).0)));
            }
        }
        peers.retain(|(peer, address)| self.swarm.is_connected(peer) && self.ways.found.is_proven(peer, address));
        peers.dedup_by_key(|(peer, _)| *peer);
        peers
    }
}
