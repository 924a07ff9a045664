// SPDX-License-Identifier: GPL-2.0-or-later
//! Who may come in: bounds on handshakes and on connections that others open, so that strangers neither keep this node busy
//! nor use up the places of those it needs.
//!
//! libp2p-quic answers every Initial and begins its handshake before it asks anybody; what can be decided here is how many
//! of them go on, and who stays. [`Gate`] decides and knows no network; [`Flood`] puts it into the swarm.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::addresses::ip;
use crate::block::Block;
use crate::shell::limits;

/// What was turned away since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Turned {
    /// Handshakes beyond those in progress.
    pub(super) handshakes: u64,
    /// Handshakes and connections beyond those of one block.
    pub(super) blocks: u64,
    /// Newcomers for whom there was no place.
    pub(super) full: u64,
    /// Connections that made room for a newcomer.
    pub(super) replaced: u64,
}

/// Why somebody is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TurnedAway {
    #[error("too many handshakes in progress")]
    Handshakes,
    #[error("too many from one block of addresses")]
    Block,
    #[error("no place for a newcomer")]
    Full,
}

/// A connection that somebody else opened.
#[derive(Debug, Clone, Copy)]
struct Guest {
    peer: PeerId,
    /// None over a transport without addresses.
    block: Option<Block>,
    since: Instant,
}

/// The connections that others opened, and those they are opening.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pending: HashMap<ConnectionId, Option<Block>>,
    standing: HashMap<ConnectionId, Guest>,
    /// Peers of the routing table: they are no guests, and give way to nobody.
    servers: HashSet<PeerId>,
    pub(super) turned: Turned,
}

impl Gate {
    /// A handshake begins.
    fn begin(&mut self, connection: ConnectionId, block: Option<Block>) -> Result<(), TurnedAway> {
        if self.pending.len() >= limits::PENDING_INCOMING {
            self.turned.handshakes += 1;
            return Err(TurnedAway::Handshakes);
        }
        let same = self.pending.values().filter(|other| block.is_some() && **other == block).count();
        if same >= limits::PENDING_PER_BLOCK {
            self.turned.blocks += 1;
            return Err(TurnedAway::Block);
        }
        self.pending.insert(connection, block);
        Ok(())
    }

    /// A handshake has ended, one way or the other.
    fn end(&mut self, connection: ConnectionId) {
        self.pending.remove(&connection);
    }

    /// A handshake has succeeded: says which connection must go for it, if any.
    fn enter(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        peer: PeerId,
        block: Option<Block>,
    ) -> Result<Option<(PeerId, ConnectionId)>, TurnedAway> {
        self.end(connection);
        let is_server = self.servers.contains(&peer);
        if !is_server && block.is_some() && self.of_block(block) >= limits::INCOMING_PER_BLOCK {
            self.turned.blocks += 1;
            return Err(TurnedAway::Block);
        }
        let all = self.standing.len() >= limits::CONNECTIONS_INCOMING as usize;
        let is_full = all || (!is_server && self.guests().count() >= limits::GUESTS);
        let mut leaves = None;
        if is_full {
            leaves = self.least_missed(now, block);
            let Some((_, id)) = leaves else {
                self.turned.full += 1;
                return Err(TurnedAway::Full);
            };
            self.standing.remove(&id);
            self.turned.replaced += 1;
        }
        self.standing.insert(connection, Guest { peer, block, since: now });
        Ok(leaves)
    }

    /// A connection that others opened is gone.
    fn leave(&mut self, connection: ConnectionId) {
        self.standing.remove(&connection);
    }

    fn of_block(&self, block: Option<Block>) -> usize {
        self.standing.values().filter(|guest| guest.block == block).count()
    }

    fn guests(&self) -> impl Iterator<Item = (&ConnectionId, &Guest)> {
        self.standing.iter().filter(|(_, guest)| !self.servers.contains(&guest.peer))
    }

    /// The guest that gives way to a newcomer of this block: the youngest of the block with the most guests, if that has more
    /// than the newcomer's; otherwise the oldest that has had its time.
    fn least_missed(&self, now: Instant, newcomer: Option<Block>) -> Option<(PeerId, ConnectionId)> {
        let mut blocks: HashMap<Block, usize> = HashMap::new();
        for block in self.guests().filter_map(|(_, guest)| guest.block) {
            *blocks.entry(block).or_default() += 1;
        }
        let own = newcomer.and_then(|block| blocks.get(&block)).copied().unwrap_or_default();
        let heaviest = blocks.iter().max_by_key(|(block, count)| (**count, **block));
        if let Some((block, _)) = heaviest.filter(|(_, count)| **count > own + 1) {
            let youngest = self.guests().filter(|(_, guest)| guest.block == Some(*block));
            return youngest.max_by_key(|(id, guest)| (guest.since, **id)).map(|(id, guest)| (guest.peer, *id));
        }
        let oldest = self.guests().min_by_key(|(id, guest)| (guest.since, **id));
        let has_had_its_time = |guest: &Guest| now.saturating_duration_since(guest.since) >= limits::GUEST_TIME;
        oldest.filter(|(_, guest)| has_had_its_time(guest)).map(|(id, guest)| (guest.peer, *id))
    }
}

/// The gate in the swarm.
#[derive(Debug, Default)]
pub(super) struct Flood {
    gate: Gate,
    leaving: VecDeque<(PeerId, ConnectionId)>,
}

impl Flood {
    /// A peer has entered the routing table.
    pub(super) fn is_server(&mut self, peer: PeerId) {
        self.gate.servers.insert(peer);
    }

    /// A peer has left the routing table.
    pub(super) fn is_no_server(&mut self, peer: &PeerId) {
        self.gate.servers.remove(peer);
    }

    /// Whose connections others opened, each as often as it has one.
    pub(super) fn incoming(&self) -> Vec<PeerId> {
        self.gate.standing.values().map(|guest| guest.peer).collect()
    }

    /// Counts on from there.
    pub(super) fn begin_at(&mut self, turned: Turned) {
        self.gate.turned = turned;
    }

    /// What was turned away.
    pub(super) fn turned(&self) -> Turned {
        self.gate.turned
    }
}

fn block(address: &Multiaddr) -> Option<Block> {
    ip(address).map(Block::of)
}

impl NetworkBehaviour for Flood {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.gate.begin(connection, block(remote)).map_err(ConnectionDenied::new)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let leaves = self.gate.enter(Instant::now(), connection, peer, block(remote)).map_err(ConnectionDenied::new)?;
        self.leaving.extend(leaves);
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _connection: ConnectionId,
        _peer: PeerId,
        _remote: &Multiaddr,
        _role: Endpoint,
        _port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.gate.leave(closed.connection_id),
            // Others than this may have refused it after it was let in here.
            FromSwarm::ListenFailure(failed) => {
                self.gate.end(failed.connection_id);
                self.gate.leave(failed.connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _peer: PeerId, _id: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Whoever lets somebody in is polled afterwards: no waker is needed.
        match self.leaving.pop_front() {
            Some((peer_id, connection)) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(connection) })
            }
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    fn block(number: usize) -> Option<Block> {
        let number = u32::try_from(number).unwrap();
        Some(Block::of(std::net::Ipv4Addr::from_bits((198 << 24) + (number << 8) + 1).into()))
    }

    #[test]
    fn handshakes_are_bounded_in_all_and_of_one_block() {
        let mut gate = Gate::default();
        for number in 0..limits::PENDING_PER_BLOCK {
            gate.begin(id(number), block(0)).unwrap();
        }
        assert_eq!(gate.begin(id(99), block(0)), Err(TurnedAway::Block));
        for number in limits::PENDING_PER_BLOCK..limits::PENDING_INCOMING {
            gate.begin(id(number), block(number)).unwrap();
        }
        assert_eq!(gate.begin(id(99), block(99)), Err(TurnedAway::Handshakes));
        gate.end(id(0));
        gate.begin(id(99), block(99)).unwrap();
        assert_eq!((gate.turned.handshakes, gate.turned.blocks), (1, 1));
    }

    #[test]
    fn one_block_has_few_of_the_places() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for number in 0..limits::INCOMING_PER_BLOCK {
            gate.enter(now, id(number), PeerId::random(), block(0)).unwrap();
        }
        assert_eq!(gate.enter(now, id(99), PeerId::random(), block(0)), Err(TurnedAway::Block));
        let known = PeerId::random();
        gate.servers.insert(known);
        assert_eq!(gate.enter(now, id(99), known, block(0)), Ok(None), "a peer of ours is no stranger");
    }

    #[test]
    fn a_newcomer_of_another_block_finds_room_among_many_of_few_blocks() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for number in 0..limits::GUESTS {
            let block = block(number / limits::INCOMING_PER_BLOCK);
            gate.enter(now + Duration::from_millis(number as u64), id(number), PeerId::random(), block).unwrap();
        }
        for newcomer in 0..8 {
            let (_, leaves) =
                gate.enter(now, id(1000 + newcomer), PeerId::random(), block(500 + newcomer)).unwrap().unwrap();
            assert!(!gate.standing.contains_key(&leaves));
        }
        assert_eq!(gate.standing.len(), limits::GUESTS);
        assert_eq!(gate.turned.replaced, 8);
        assert!((500..508).all(|number| gate.of_block(block(number)) == 1), "newcomers do not push each other out");
    }

    #[test]
    fn among_equals_the_oldest_gives_way_when_it_has_had_its_time() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for number in 0..limits::GUESTS {
            gate.enter(now, id(number), PeerId::random(), block(number)).unwrap();
        }
        assert_eq!(gate.enter(now, id(900), PeerId::random(), block(900)), Err(TurnedAway::Full));
        let later = now + limits::GUEST_TIME;
        assert_eq!(gate.enter(later, id(901), PeerId::random(), block(901)).unwrap().unwrap().1, id(0));
    }

    #[test]
    fn guests_cannot_take_the_places_of_servers() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        let places = limits::CONNECTIONS_INCOMING as usize;
        for number in 0..limits::GUESTS {
            gate.enter(now, id(number), PeerId::random(), block(number)).unwrap();
        }
        for number in limits::GUESTS..places {
            let server = PeerId::random();
            gate.servers.insert(server);
            assert_eq!(gate.enter(now, id(number), server, block(number)), Ok(None));
        }
        let later = now + limits::GUEST_TIME * 2;
        for number in places..places + limits::GUESTS * 2 {
            // Whoever comes as a guest takes a guest's place.
            let entered = gate.enter(
                later + limits::GUEST_TIME * u32::try_from(number).unwrap(),
                id(number),
                PeerId::random(),
                block(number),
            );
            assert!(entered.unwrap().is_some());
        }
        let servers = gate.standing.values().filter(|guest| gate.servers.contains(&guest.peer)).count();
        assert_eq!(servers, places - limits::GUESTS);
    }
}
