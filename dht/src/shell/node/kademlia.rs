// SPDX-License-Identifier: GPL-2.0-or-later
//! libp2p's Kademlia does not tell its store who puts. This stands before it, knows from which address each connection
//! comes, and says so before it hands a message on.
//!
//! In a closed network it also keeps both sides' messages back until the peer has proven that it knows the network's key:
//! records are neither given to strangers nor taken from them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::kad;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::addresses::ip;
use super::records::KadRecords;
use crate::shell::limits;
use crate::store::Origin;

/// Kademlia, and the address at the other end of each of its connections.
pub(super) struct Kademlia {
    inner: kad::Behaviour<KadRecords>,
    from: HashMap<ConnectionId, IpAddr>,
    is_closed: bool,
    proven: HashSet<PeerId>,
    /// What peers have said that are not proven yet.
    unheard: Vec<(PeerId, ConnectionId, FromHandler)>,
    /// What is to be said to peers that are not proven yet.
    unsaid: VecDeque<(PeerId, ToHandler)>,
}

type FromHandler = THandlerOutEvent<kad::Behaviour<KadRecords>>;
type ToHandler = ToSwarm<kad::Event, THandlerInEvent<kad::Behaviour<KadRecords>>>;

impl Kademlia {
    pub(super) fn new(inner: kad::Behaviour<KadRecords>, is_closed: bool) -> Self {
        let (proven, unheard, unsaid) = (HashSet::new(), Vec::new(), VecDeque::new());
        Self { inner, from: HashMap::new(), is_closed, proven, unheard, unsaid }
    }

    /// The peer belongs to the network: what was kept back is heard now; what is to be said goes out at the next poll.
    pub(super) fn prove(&mut self, peer: PeerId) {
        if !self.is_closed || !self.proven.insert(peer) {
            return;
        }
        let (now, later) = std::mem::take(&mut self.unheard).into_iter().partition(|(from, ..)| *from == peer);
        self.unheard = later;
        for (peer, connection, event) in now {
            self.hear(peer, connection, event);
        }
    }

    /// The peer is gone; another connection begins anew.
    pub(super) fn unprove(&mut self, peer: &PeerId) {
        self.proven.remove(peer);
        self.unheard.retain(|(from, ..)| from != peer);
        self.unsaid.retain(|(to, _)| to != peer);
    }

    fn is_heard(&self, peer: &PeerId) -> bool {
        !self.is_closed || self.proven.contains(peer)
    }

    fn hear(&mut self, peer: PeerId, connection: ConnectionId, event: FromHandler) {
        let origin = self.from.get(&connection).map_or(Origin::Unknown, |ip| Origin::Peer(*ip));
        self.inner.store_mut().origin = origin;
        self.inner.on_connection_handler_event(peer, connection, event);
        self.inner.store_mut().origin = Origin::Own;
    }

    /// What was kept back for a peer that is proven now.
    fn released(&mut self) -> Option<ToHandler> {
        let index = self.unsaid.iter().position(|(peer, _)| self.proven.contains(peer))?;
        self.unsaid.remove(index).map(|(_, event)| event)
    }
}

impl Deref for Kademlia {
    type Target = kad::Behaviour<KadRecords>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl DerefMut for Kademlia {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

impl NetworkBehaviour for Kademlia {
    type ConnectionHandler = <kad::Behaviour<KadRecords> as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = kad::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, remote, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(established) => {
                if let Some(ip) = ip(established.endpoint.get_remote_address()) {
                    self.from.insert(established.connection_id, ip);
                }
            }
            FromSwarm::ConnectionClosed(closed) => _ = self.from.remove(&closed.connection_id),
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        if self.is_heard(&peer) {
            self.hear(peer, connection, event);
        } else if self.unheard.len() < limits::UNPROVEN {
            self.unheard.push((peer, connection, event));
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.released() {
            return Poll::Ready(event);
        }
        loop {
            match self.inner.poll(context) {
                Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event }) if !self.is_heard(&peer_id) => {
                    if self.unsaid.len() < limits::UNPROVEN {
                        self.unsaid.push_back((peer_id, ToSwarm::NotifyHandler { peer_id, handler, event }));
                    }
                }
                other => return other,
            }
        }
    }
}
