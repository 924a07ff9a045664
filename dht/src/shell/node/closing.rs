// SPDX-License-Identifier: GPL-2.0-or-later
//! Which connections stay. A node has more peers than places, so that who is full closes what is idle before it has to refuse
//! anybody, and who is closed on that way is not taken for dead: it stays in the routing table, and is dialled when it is asked.

use std::error::Error as _;
use std::time::Instant;

use libp2p::swarm::{ConnectionError, SwarmEvent};
use libp2p::{PeerId, identify, kad};

use super::Role;
use super::behaviour::BehaviourEvent;
use super::driver::Driver;
use crate::shell::limits;

impl Driver {
    /// Closes connections when they are many: first those to peers that are not in the routing table, then the others, of each
    /// the one that was not used for longest. Only of those that nobody has used for a while, or that have served their purpose:
    /// one lookup after the other would find no place otherwise.
    pub(super) fn make_room(&mut self, now: Instant) {
        // Connections count and not peers: where both sides dialled, there are two.
        let standing = self.swarm.network_info().connection_counters().num_established() as usize;
        let connected: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        let incoming = self.swarm.behaviour().flood.incoming();
        let too_many = incoming.len().saturating_sub(limits::INCOMING_KEPT);
        let excess = standing.saturating_sub(limits::CONNECTIONS_KEPT).max(too_many).saturating_sub(self.closing.len());
        if excess == 0 {
            return;
        }
        let mut idle = Vec::new();
        for peer in connected {
            let Some(used) = self.last_use(&peer).filter(|_| !self.closing.contains(&peer)) else { continue };
            let is_opened_here = !incoming.contains(&peer);
            let is_idle = now.saturating_duration_since(used) >= limits::CONNECTION_IDLE;
            if is_idle || is_opened_here && self.is_spent(&peer) {
                let is_placed = !self.addresses_of(&peer).is_empty();
                idle.push((is_placed, is_opened_here && too_many > 0, used, peer));
            }
        }
        idle.sort_unstable_by_key(|(is_placed, is_opened_here, used, _)| (*is_placed, *is_opened_here, *used));
        for (.., peer) in idle.into_iter().take(excess) {
            tracing::debug!(%peer, "idle connection closed");
            self.counters.idle_closed += 1;
            self.closing.insert(peer);
            // An error says that it has gone by itself.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// When something was last heard of a peer or said to it, its coming included.
    fn last_use(&mut self, peer: &PeerId) -> Option<Instant> {
        let since = self.admission.connected_since(peer)?;
        Some(self.kad().used(peer).map_or(since, |used| used.max(since)))
    }

    /// Whether a peer was admitted and has answered all that it was asked, and has what it asked for: nothing is on its way.
    fn is_spent(&mut self, peer: &PeerId) -> bool {
        self.admission.is_member(peer) && self.kad().is_spent(peer)
    }

    /// Tells the peers that this node serves no more, so that nobody looks for it: a connection that ends says nothing.
    pub(super) async fn take_leave(&mut self) {
        if self.role != Role::Server {
            return;
        }
        let mut untold = self.swarm.connected_peers().count();
        self.kad().set_mode(Some(kad::Mode::Client));
        let until = tokio::time::Instant::now() + limits::GOODBYE;
        while untold > 0 {
            let event = tokio::time::timeout_at(until, futures::StreamExt::select_next_some(&mut self.swarm)).await;
            match event {
                Ok(
                    SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Pushed { .. }))
                    | SwarmEvent::ConnectionClosed { num_established: 0, .. },
                ) => untold -= 1,
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}

/// Whether a connection that has ended this way says that the peer is gone: not if either side has closed it. Of QUIC as of
/// yamux there is but the text that says so; of a peer that has died it is "timed out".
pub(super) fn is_loss(cause: Option<&ConnectionError>) -> bool {
    let Some(ConnectionError::IO(error)) = cause else { return false };
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    !text.contains("closed")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn who_closes_is_not_dead_and_who_is_silent_is() {
        let of = |text: &str| ConnectionError::IO(io::Error::other(text.to_owned()));
        // What quinn and yamux say.
        assert!(!is_loss(Some(&of("closed by peer: 0"))) && !is_loss(Some(&of("connection is closed"))));
        assert!(is_loss(Some(&of("timed out"))) && is_loss(Some(&of("reset by peer"))));
        assert!(!is_loss(Some(&ConnectionError::KeepAliveTimeout)) && !is_loss(None));
    }
}
