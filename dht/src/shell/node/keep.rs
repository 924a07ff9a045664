// SPDX-License-Identifier: GPL-2.0-or-later
//! Which connections stand though nobody uses them.
//!
//! Those to the nearest peers do, so that their death is noticed at once and their records are handed on: they cost a keep-alive
//! every other second. All others are closed soon after their last request. Who has dialled decides: a peer of the routing
//! table that connected to us is not hung up on, since it may count us among its nearest though it is none of ours.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::DeniedUpgrade;
use libp2p::swarm::handler::ConnectionEvent;
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

/// Who is kept, and the connections there are.
#[derive(Debug, Default)]
pub(super) struct Keep {
    nearest: HashSet<PeerId>,
    members: HashSet<PeerId>,
    connections: HashMap<ConnectionId, Connection>,
    /// What connections are to be told; at most one message for each and change.
    news: VecDeque<(PeerId, ConnectionId, bool)>,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    peer: PeerId,
    is_dialled: bool,
    is_kept: bool,
}

impl Keep {
    /// These are the nearest peers and all peers of the routing table now.
    pub(super) fn set(&mut self, nearest: HashSet<PeerId>, members: HashSet<PeerId>) {
        (self.nearest, self.members) = (nearest, members);
        for (id, connection) in &mut self.connections {
            let Connection { peer, is_dialled, is_kept } = *connection;
            let wanted = is_wanted(&self.nearest, &self.members, &peer, is_dialled);
            if wanted != is_kept {
                connection.is_kept = wanted;
                self.news.push_back((peer, *id, wanted));
            }
        }
    }

    fn begin(&mut self, id: ConnectionId, peer: PeerId, is_dialled: bool) -> Keeper {
        let is_kept = is_wanted(&self.nearest, &self.members, &peer, is_dialled);
        self.connections.insert(id, Connection { peer, is_dialled, is_kept });
        Keeper { is_kept }
    }
}

fn is_wanted(nearest: &HashSet<PeerId>, members: &HashSet<PeerId>, peer: &PeerId, is_dialled: bool) -> bool {
    nearest.contains(peer) || !is_dialled && members.contains(peer)
}

impl NetworkBehaviour for Keep {
    type ConnectionHandler = Keeper;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.begin(connection, peer, false))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.begin(connection, peer, true))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => _ = self.connections.remove(&closed.connection_id),
            // Another behaviour has refused it.
            FromSwarm::ListenFailure(failure) => _ = self.connections.remove(&failure.connection_id),
            FromSwarm::DialFailure(failure) => _ = self.connections.remove(&failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Some((peer_id, connection, event)) = self.news.pop_front() {
            if self.connections.contains_key(&connection) {
                let handler = NotifyHandler::One(connection);
                return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler, event });
            }
        }
        Poll::Pending
    }
}

/// One connection: it speaks no protocol.
#[derive(Debug)]
pub(super) struct Keeper {
    is_kept: bool,
}

impl ConnectionHandler for Keeper {
    type FromBehaviour = bool;
    type ToBehaviour = Infallible;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.is_kept
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, is_kept: bool) {
        self.is_kept = is_kept;
    }

    fn on_connection_event(&mut self, _: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), ()>) {}
}
