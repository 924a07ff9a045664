// SPDX-License-Identifier: GPL-2.0-or-later
//! The nearest peers: connections to them stand, so that they are missed as soon as they die. What lies farther is connected
//! while there is something to say.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use libp2p::swarm::ConnectionId;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};

use super::Role;
use super::addresses::is_same_family;
use super::driver::Driver;
use super::requests::place;
use super::visits::Visits;
use crate::lookup::distance;
use crate::shell::limits;

/// What is remembered of them.
#[derive(Debug, Default)]
pub(super) struct Nearest {
    /// All peers of the routing table.
    pub(super) members: HashSet<PeerId>,
    /// The same, the nearest first.
    by_distance: Vec<PeerId>,
    /// When those of the nearest that are not connected were last dialled.
    dialled: HashMap<PeerId, Instant>,
    /// When the own place was walked to because somebody came back, and when that is due again.
    walked: Option<Instant>,
    /// Neighbours that may have gone with one that was lost, and when was last looked.
    suspects: Vec<PeerId>,
    looked: Option<Instant>,
    /// Whether another was lost since, so soon that the next look waits.
    is_suspicious: bool,
    walk_at: Option<Instant>,
    visits: Visits,
    /// Connections of this round that are made so that a peer that is connected over the other family sees where this node is.
    shown: HashSet<ConnectionId>,
}

impl Driver {
    /// Somebody who was lost for long was reached: on its side there may be others near to our place, whom nobody on ours knows.
    pub(super) fn walk_through(&mut self, now: Instant, peer: PeerId) {
        if self.role != Role::Server || self.nearest.walked.is_some_and(|at| at + limits::WALK_PAUSE > now) {
            return;
        }
        self.nearest.walked = Some(now);
        self.nearest.walk_at = Some(now + limits::WALK_AGAIN);
        let own = *self.swarm.local_peer_id();
        self.kad().walk_through(peer, own);
    }

    /// Connects those that were named, who get to know us by it, and goes on from there.
    fn walk_on(&mut self, now: Instant) {
        for (peer, addresses) in std::mem::take(&mut self.kad().shown) {
            let condition = PeerCondition::DisconnectedAndNotDialing;
            let options = DialOpts::peer_id(peer).condition(condition).addresses(addresses).build();
            // The error says that it is connected, or is ourselves.
            let _ = self.dial_when_there_is_a_place(options, None);
        }
        if self.nearest.walk_at.is_some_and(|at| at <= now) {
            self.nearest.walk_at = None;
            let own = *self.swarm.local_peer_id();
            self.kad().get_closest_peers(own);
        }
    }

    /// One of the nearest was lost: others that are not connected may be gone as well, behind a cut above all. Records count as held
    /// by them until they are missed, and where many come and go a lookup that begins with eight who are gone waits for them.
    pub(super) fn suspect(&mut self, now: Instant) {
        self.nearest.is_suspicious = self.nearest.looked.is_some_and(|at| at + limits::SUSPECT_PAUSE > now);
        if self.nearest.is_suspicious {
            return;
        }
        self.nearest.looked = Some(now);
        self.redial.doubt(now);
        // The nearest are taken first, from the end.
        self.nearest.suspects = self.nearest.by_distance.iter().rev().copied().collect();
    }

    /// This node is elsewhere than it was: all that it knows are dialled, the nearest first, and so learn where it is; and who did not
    /// answer may do so here.
    pub(super) fn visit_all(&mut self, now: Instant) {
        self.nearest.dialled.clear();
        self.redial.try_all(now);
        self.nearest.visits.moved();
        self.begin_visits(now);
    }

    fn begin_visits(&mut self, now: Instant) {
        if !self.nearest.by_distance.is_empty() && self.nearest.visits.is_due(now) {
            self.nearest.visits.begin(&self.nearest.by_distance);
            self.nearest.shown.clear();
        }
    }

    fn look_for_suspects(&mut self, now: Instant) {
        if self.nearest.is_suspicious {
            self.suspect(now);
        }
        self.begin_visits(now);
        for _ in 0..limits::SUSPECTS {
            let visited = self.nearest.visits.next(now);
            let Some(peer) = visited.or_else(|| self.nearest.suspects.pop()) else { return };
            if !self.nearest.members.contains(&peer) {
                continue;
            }
            if visited.is_some() && self.swarm.is_connected(&peer) {
                self.show_itself(peer);
            } else {
                self.dial_member(peer);
            }
        }
    }

    /// Dials a connected peer over a family of addresses over which it is not connected, as this node does when it has moved: where the dial
    /// comes from the peer needs no look to believe.
    fn show_itself(&mut self, peer: PeerId) {
        if self.seen.all(&peer).count() >= limits::CONNECTIONS_PER_PEER as usize {
            return;
        }
        let listening = self.ends.listening_tx.borrow().clone();
        let addresses: Vec<Multiaddr> = self
            .addresses_of(&peer)
            .into_iter()
            .filter(|address| listening.iter().any(|own| is_same_family(own, address)))
            .filter(|address| !self.seen.all(&peer).any(|end| is_same_family(end, address)))
            .collect();
        if addresses.is_empty() {
            return;
        }
        let options = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).build();
        self.nearest.shown.insert(options.connection_id());
        // The error says that it cannot be dialled now; the next round does.
        let _ = self.dial_when_there_is_a_place(options, None);
    }

    /// Whether a connection shows its peer where this node is, and the peer has said nothing on it yet.
    pub(super) fn is_showing(&self, id: ConnectionId) -> bool {
        self.nearest.shown.contains(&id)
    }

    /// The peer has said something on this connection. If that was made to show it where this node is, it has seen it, and where another
    /// one stands it has done what it was for.
    pub(super) fn on_shown(&mut self, peer: PeerId, id: ConnectionId) {
        if self.nearest.shown.remove(&id) && self.seen.all(&peer).count() > 1 {
            self.swarm.close_connection(id);
        }
    }

    /// Connects a peer of the routing table; one that is not there is taken out of it.
    fn dial_member(&mut self, peer: PeerId) {
        let condition = PeerCondition::DisconnectedAndNotDialing;
        // The error says that it is connected, or about to be.
        let _ = self.dial_when_there_is_a_place(DialOpts::peer_id(peer).condition(condition).build(), None);
    }

    /// Sees to it that connections to the nearest peers stand. A node that is not in the tables of others is nobody's neighbour.
    pub(super) fn keep_nearest(&mut self, now: Instant) {
        self.walk_on(now);
        self.look_for_suspects(now);
        let own = place(self.swarm.local_peer_id());
        let mut members: Vec<PeerId> = Vec::new();
        for bucket in self.kad().kbuckets() {
            members.extend(bucket.iter().map(|entry| *entry.node.key.preimage()));
        }
        members.sort_by_cached_key(|peer| distance(&own, &place(peer)));
        let is_neighbour = self.role == Role::Server && self.ways.standing.is_reachable();
        let count = if is_neighbour { limits::NEAREST } else { 0 };
        let nearest: HashSet<PeerId> = members.iter().take(count).copied().collect();
        self.nearest.members = members.iter().copied().collect();
        self.nearest.dialled.retain(|peer, at| nearest.contains(peer) && *at + limits::NEAREST_PAUSE > now);
        let missing = members
            .iter()
            .take(count)
            .find(|peer| !self.swarm.is_connected(peer) && !self.nearest.dialled.contains_key(peer));
        if let Some(peer) = missing.copied() {
            self.nearest.dialled.insert(peer, now);
            self.dial_member(peer);
        }
        self.nearest.by_distance = members;
        let all = self.nearest.members.clone();
        self.swarm.behaviour_mut().keep.set(nearest, all);
    }
}
