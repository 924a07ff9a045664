// SPDX-License-Identifier: GPL-2.0-or-later
//! What a node tells of itself and of what it did.

use libp2p::{Multiaddr, PeerId};

use super::{AdmissionStats, Held};

/// How a PUT ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PutReport {
    /// Whether this node itself stores the value.
    pub local: bool,
    /// Other nodes that store the value.
    pub stored: usize,
    /// Other nodes that answered and did not take it.
    pub refused: usize,
    /// Of these, those that did not look at it, since they are asked too often.
    pub busy: usize,
    /// Other nodes that did not answer, or could not be reached.
    pub unreachable: usize,
}

impl PutReport {
    /// Whether anybody stores the value.
    pub fn is_stored(&self) -> bool {
        self.local || self.stored > 0
    }

    /// Other nodes that were asked.
    pub fn asked(&self) -> usize {
        self.stored + self.refused + self.unreachable
    }
}

/// The peers in the routing table, as seen by who waits for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerSet {
    /// Peers in the routing table.
    pub peers: usize,
    /// Changes since the start.
    pub changes: u64,
    /// Whether enough of them say that this node's clock is right.
    pub is_clock_right: bool,
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
    /// Dials of ours for which there was no place among our connections.
    pub dials_denied: u64,
    /// Addresses of peers that cannot be theirs.
    pub addresses_refused: u64,
    /// Records that were handed on to peers that are new in their region.
    pub handed_over: u64,
    /// Hand-overs that found no room in the queue; they are found missing later.
    pub handovers_dropped: u64,
    /// Hand-overs given up because their receiver said again and again that it is asked too often.
    pub handovers_given_up: u64,
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
    /// Requests of others beyond the rate of their block of addresses.
    pub rate_refused: u64,
    /// Connections closed because of that, and handshakes refused to the address afterwards.
    pub rate_closed: u64,
    /// Idle connections closed before the last place was taken.
    pub idle_closed: u64,
    /// Times that the node went on under another key.
    pub keys_renewed: u64,
}
