// SPDX-License-Identifier: GPL-2.0-or-later
//! Kademlia's dials wait for a place. Where all connections are in use libp2p would refuse them, and a lookup would take a peer that
//! was never asked for one that is not there: a node with many neighbours would find nothing at all.

use std::collections::{HashSet, VecDeque};

use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, FromSwarm};

use crate::shell::limits;

/// The dials of lookups.
#[derive(Debug, Default)]
pub(super) struct Dials {
    waiting: VecDeque<DialOpts>,
    under_way: HashSet<ConnectionId>,
    standing: usize,
}

impl Dials {
    /// Takes one more, unless that peer is waited for already: all requests go out on the one connection. Those of a query are as
    /// many as it asks at once.
    pub(super) fn push(&mut self, dial: DialOpts) {
        let peer = dial.get_peer_id();
        if peer.is_none() || self.waiting.iter().all(|waiting| waiting.get_peer_id() != peer) {
            self.waiting.push_back(dial);
        }
    }

    /// Dials that wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The next one, if there is a place for it.
    pub(super) fn pop(&mut self) -> Option<DialOpts> {
        let has_place = self.under_way.len() < limits::LOOKUP_DIALS
            && self.standing + self.under_way.len() < limits::CONNECTIONS as usize;
        let dial = has_place.then(|| self.waiting.pop_front())??;
        self.under_way.insert(dial.connection_id());
        Some(dial)
    }

    pub(super) fn on_swarm_event(&mut self, event: &FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                self.standing += 1;
                self.under_way.remove(&established.connection_id);
            }
            FromSwarm::ConnectionClosed(_) => self.standing = self.standing.saturating_sub(1),
            FromSwarm::DialFailure(failure) => _ = self.under_way.remove(&failure.connection_id),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;
    use libp2p::swarm::DialError;
    use libp2p::swarm::behaviour::DialFailure;

    use super::*;

    #[test]
    fn a_dial_waits_until_another_has_ended() {
        let mut dials = Dials::default();
        for _ in 0..=limits::LOOKUP_DIALS {
            dials.push(PeerId::random().into());
        }
        let begun: Vec<ConnectionId> = std::iter::from_fn(|| dials.pop()).map(|dial| dial.connection_id()).collect();
        assert_eq!((begun.len(), dials.waiting()), (limits::LOOKUP_DIALS, 1));
        let failure = |connection_id| DialFailure { peer_id: None, error: &DialError::Aborted, connection_id };
        dials.on_swarm_event(&FromSwarm::DialFailure(failure(begun[0])));
        assert!(dials.pop().is_some() && dials.pop().is_none());
    }

    #[test]
    fn a_dial_waits_until_a_connection_has_ended() {
        let mut dials = Dials { standing: limits::CONNECTIONS as usize, ..Dials::default() };
        dials.push(PeerId::random().into());
        assert!(dials.pop().is_none());
        dials.standing -= 1;
        assert!(dials.pop().is_some());
    }
}
