// SPDX-License-Identifier: GPL-2.0-or-later
//! Peers as they come and go: connections, addresses, and their places in the routing table.

use std::collections::BTreeSet;
use std::time::Instant;

use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionError, ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, identify};

use super::addresses::{believable, ip, socket, split_peer};
use super::behaviour::KAD_PROTOCOL;
use super::closing::is_loss;
use super::driver::Driver;
use crate::block::Block;
use crate::limits::WITNESSES;
use crate::shell::limits;

impl Driver {
    pub(super) fn on_connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        self.counters.connections_opened += 1;
        self.closing.remove(&peer);
        self.seen.opened(peer, id, endpoint.get_remote_address());
        if let ConnectedPoint::Dialer { address, .. } = endpoint {
            let now = Instant::now();
            if self.redial.reached(now, address, peer) {
                self.walk_through(now, peer);
            }
        }
        self.greet(peer, endpoint);
    }

    /// Takes a lost peer out of the routing table, so that no lookup waits for it, and tries to get it back.
    /// Connections that ended because nobody used them say nothing about the peer, nor do those that it closed itself: it needs
    /// the place for others, and who leaves the network says so before.
    pub(super) fn on_disconnected(&mut self, peer: PeerId, id: ConnectionId, cause: Option<&ConnectionError>) {
        let seen_at = self.seen.closed(&peer, id);
        self.closing.remove(&peer);
        self.part(&peer);
        self.ways.found.lost(&peer);
        if self.ends.peers_tx.borrow().peers == 0 {
            self.redial.lost(Instant::now(), &peer);
            self.redial.refused(Instant::now(), &peer);
        }
        if !is_loss(cause) {
            return;
        }
        self.redial.lost(Instant::now(), &peer);
        self.forget(peer, seen_at.as_ref());
        self.suspect(Instant::now());
    }

    /// A connection has ended and another one to the peer stands, which may be to somewhere else: then it is there.
    pub(super) fn on_one_closed(&mut self, peer: PeerId, id: ConnectionId) {
        let before = self.seen.at(&peer).cloned();
        self.seen.closed(&peer, id);
        let at = self.seen.at(&peer).cloned();
        if at != before {
            self.is_seen_at(peer, at.as_ref().and_then(ip));
            self.place(peer);
        }
    }

    /// Takes a peer out of the routing table. It is dialled again where it was seen, for long; where it only said to be, a
    /// few times: otherwise a stranger could send us against whomever it names.
    fn forget(&mut self, peer: PeerId, seen_at: Option<&Multiaddr>) {
        let Some(entry) = self.kad().remove_peer(&peer) else { return };
        self.swarm.behaviour_mut().flood.is_no_server(&peer);
        tracing::debug!(%peer, "peer lost");
        self.on_vacancy();
        let seen_at = seen_at.and_then(socket).map(|(ip, _)| ip);
        let now = Instant::now();
        for address in entry.node.value.iter().take(limits::REMEMBERED_ADDRESSES) {
            let proven = seen_at.is_some() && socket(address).map(|(ip, _)| ip) == seen_at;
            let attempts = if proven { limits::REMEMBERED_ATTEMPTS } else { limits::CLAIMED_ATTEMPTS };
            self.redial.remember(now, peer, address, attempts);
        }
        self.peers_changed();
    }

    pub(super) fn on_dial_failed(&mut self, peer: Option<PeerId>, error: &DialError) {
        match error {
            DialError::LocalPeerId { address } => self.redial.is_own(address),
            DialError::Denied { cause } => {
                self.counters.dials_denied += 1;
                tracing::debug!(peer = ?peer, %cause, "no place for a connection of our own");
            }
            DialError::DialPeerConditionFalse(_) | DialError::Aborted => {}
            DialError::WrongPeerId { .. } | DialError::Transport(_) | DialError::NoAddresses => {
                self.counters.dials_failed += 1;
                tracing::debug!(peer = ?peer, %error, "dial failed");
                if let Some(peer) = peer
                    && !self.swarm.is_connected(&peer)
                {
                    self.forget(peer, None);
                }
            }
        }
    }

    /// A peer has said what it speaks and where it listens. What it said before does not hold any more: a peer that names ever
    /// new addresses must not fill our table and our answers.
    pub(super) fn on_identified(&mut self, peer: PeerId, info: &identify::Info) {
        if !info.protocols.contains(&KAD_PROTOCOL) {
            self.on_addresses(peer, None);
            return;
        }
        self.on_observed(peer, &info.observed_addr);
        let Some(seen_at) = self.seen.at(&peer).cloned() else { return };
        let (believed, refused): (Vec<&Multiaddr>, Vec<&Multiaddr>) =
            info.listen_addrs.iter().partition(|address| believable(address, &seen_at));
        self.counters.addresses_refused += refused.len() as u64;
        let mut believed: Vec<Multiaddr> = believed.into_iter().map(|address| split_peer(address).0).collect();
        believed.truncate(limits::ADDRESSES_PER_PEER);
        self.on_addresses(peer, Some(believed));
    }

    /// Takes a peer out of the routing table; whether it was there.
    pub(super) fn unplace(&mut self, peer: &PeerId) -> bool {
        let was_there = self.kad().remove_peer(peer).is_some();
        if was_there {
            self.swarm.behaviour_mut().flood.is_no_server(peer);
        }
        was_there
    }

    /// The addresses of a peer in the routing table, without identity.
    pub(super) fn addresses_of(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        let bucket = self.kad().kbucket(*peer);
        let entry = bucket.as_ref().and_then(|bucket| bucket.iter().find(|entry| entry.node.key.preimage() == peer));
        entry.map_or_else(Vec::new, |entry| entry.node.value.iter().map(|address| split_peer(address).0).collect())
    }

    /// In how many blocks the peers in the routing table lie, as far as it matters. One that is known by several addresses counts
    /// once, and where one of them is in a block that counts already, not at all: from there it may answer.
    pub(super) fn known_blocks(&mut self) -> usize {
        let mut blocks = BTreeSet::new();
        for bucket in self.swarm.behaviour_mut().kad.kbuckets() {
            for entry in bucket.iter() {
                let seen = self.seen.at(entry.node.key.preimage());
                let known = entry.node.value.iter().filter(|_| seen.is_none());
                let its: BTreeSet<Block> = seen.into_iter().chain(known).filter_map(ip).map(Block::of).collect();
                if its.is_disjoint(&blocks) {
                    blocks.extend(its.first());
                }
                if blocks.len() >= WITNESSES {
                    return blocks.len();
                }
            }
        }
        blocks.len()
    }

    pub(super) fn peers_changed(&mut self) {
        self.whole = None;
        self.handing.peers_changed();
        let peers = self.kad().kbuckets().map(|bucket| bucket.num_entries()).sum();
        self.ends.peers_tx.send_modify(|set| {
            set.peers = peers;
            set.changes += 1;
        });
        if peers == 0 {
            self.redial.doubt(Instant::now());
        } else {
            let parked = std::mem::take(&mut self.parked);
            self.resume(parked);
        }
    }
}
