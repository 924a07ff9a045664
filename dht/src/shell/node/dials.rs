// SPDX-License-Identifier: GPL-2.0-or-later
//! Kademlia's dials wait for a place. Where all connections are in use libp2p would refuse them, and a lookup would take a peer that
//! was never asked for one that is not there: a node with many neighbours would find nothing at all.
//!
//! All other dials (of lost peers, of the nearest, of addresses to be tried) are put off while there is no place, and come after those
//! of lookups. They do not count among the places that lookups wait for: one to a peer that has died takes three seconds, which is all
//! that a lookup has. Of the dials in progress each kind has its own part, so that neither waits for the other there.

use std::collections::{HashSet, VecDeque};

use libp2p::Multiaddr;

use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, FromSwarm};

use crate::shell::limits;

/// The dials of lookups, and the others.
#[derive(Debug, Default)]
pub(super) struct Dials {
    waiting: VecDeque<DialOpts>,
    under_way: HashSet<ConnectionId>,
    standing: usize,
    others: VecDeque<Other>,
    others_under_way: HashSet<ConnectionId>,
    /// Others for which there was neither a place nor room to wait.
    dropped: u64,
}

/// A dial that no lookup has begun; with its address where that is what it is for.
#[derive(Debug)]
struct Other {
    dial: DialOpts,
    address: Option<Multiaddr>,
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

    /// Dials that wait for a place, those of lookups and the others.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.others.len()
    }

    /// Others for which there was neither a place nor room to wait.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The next one, if there is a place for it.
    pub(super) fn pop(&mut self) -> Option<DialOpts> {
        let has_place = self.under_way.len() < limits::LOOKUP_DIALS
            && self.standing + self.under_way.len() < limits::CONNECTIONS as usize;
        if has_place && let Some(dial) = self.waiting.pop_front() {
            self.under_way.insert(dial.connection_id());
            return Some(dial);
        }
        let other = self.has_place_for_others().then(|| self.others.pop_front())??;
        self.others_under_way.insert(other.dial.connection_id());
        Some(other.dial)
    }

    /// A dial that no lookup has begun, to be made now; none if it is put off, or waits already.
    pub(super) fn take_other(&mut self, dial: DialOpts, address: Option<&Multiaddr>) -> Option<DialOpts> {
        if self.has_place_for_others() {
            self.others_under_way.insert(dial.connection_id());
            return Some(dial);
        }
        let address = address.cloned();
        let is_same = |other: &Other| other.dial.get_peer_id() == dial.get_peer_id() && other.address == address;
        if self.others.iter().any(is_same) {
            return None;
        }
        if self.others.len() < limits::DIALS_PUT_OFF {
            self.others.push_back(Other { dial, address });
        } else {
            self.dropped += 1;
        }
        None
    }

    /// A dial could not even be begun.
    pub(super) fn give_up(&mut self, id: ConnectionId) {
        self.others_under_way.remove(&id);
    }

    fn has_place_for_others(&self) -> bool {
        let taken = self.standing + self.under_way.len() + self.others_under_way.len();
        // Lookups that wait for others of lookups have all that they may have.
        let is_after_lookups = self.waiting.is_empty() || self.under_way.len() >= limits::LOOKUP_DIALS;
        let is_within_part = self.others_under_way.len() < limits::OTHER_DIALS;
        is_after_lookups && is_within_part && taken < limits::CONNECTIONS as usize
    }

    pub(super) fn on_swarm_event(&mut self, event: &FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                self.standing += 1;
                self.under_way.remove(&established.connection_id);
                self.others_under_way.remove(&established.connection_id);
            }
            FromSwarm::ConnectionClosed(_) => self.standing = self.standing.saturating_sub(1),
            FromSwarm::DialFailure(failure) => {
                self.under_way.remove(&failure.connection_id);
                self.others_under_way.remove(&failure.connection_id);
            }
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

    #[test]
    fn what_no_lookup_began_waits_for_a_place_and_comes_after_lookups() {
        let full = limits::CONNECTIONS as usize;
        let mut dials = Dials { standing: full - 1, ..Dials::default() };
        let (lost, sought) = (PeerId::random(), PeerId::random());
        let first = dials.take_other(PeerId::random().into(), None).expect("there is a place").connection_id();
        assert!(dials.take_other(lost.into(), None).is_none() && dials.take_other(lost.into(), None).is_none());
        // One that may take three seconds to fail keeps no lookup waiting.
        dials.push(sought.into());
        let dial = dials.pop().expect("a place for a lookup");
        assert_eq!(dial.get_peer_id(), Some(sought));
        let failed = |dials: &mut Dials, connection_id| {
            let failure = DialFailure { peer_id: None, error: &DialError::Aborted, connection_id };
            dials.on_swarm_event(&FromSwarm::DialFailure(failure));
        };
        failed(&mut dials, first);
        assert!(dials.pop().is_none(), "the lookup has the last place");
        failed(&mut dials, dial.connection_id());
        assert_eq!(dials.pop().and_then(|dial| dial.get_peer_id()), Some(lost));
        assert_eq!((dials.pop().is_none(), dials.dropped()), (true, 0), "it waited once");
    }

    #[test]
    fn while_connections_are_free_and_lookups_wait_others_are_dialled() {
        let mut dials = Dials::default();
        for _ in 0..=limits::LOOKUP_DIALS {
            dials.push(PeerId::random().into());
        }
        assert!(dials.take_other(PeerId::random().into(), None).is_none(), "lookups come first");
        let begun = std::iter::from_fn(|| dials.pop()).count();
        assert_eq!((begun, dials.waiting.len()), (limits::LOOKUP_DIALS + 1, 1), "the other one too");
        assert!(dials.take_other(PeerId::random().into(), None).is_some());
    }

    #[test]
    fn others_never_take_the_places_of_lookups() {
        let mut dials = Dials::default();
        let others = (0..limits::PENDING_CONNECTIONS).filter_map(|_| dials.take_other(PeerId::random().into(), None));
        assert_eq!(others.count(), limits::OTHER_DIALS);
        for _ in 0..=limits::LOOKUP_DIALS {
            dials.push(PeerId::random().into());
        }
        assert_eq!(std::iter::from_fn(|| dials.pop()).count(), limits::LOOKUP_DIALS);
        let in_progress = dials.under_way.len() + dials.others_under_way.len();
        assert_eq!(in_progress, limits::PENDING_CONNECTIONS as usize, "libp2p refuses none of them");
    }

    #[test]
    fn room_is_made_for_others_too() {
        let mut dials = Dials { standing: limits::CONNECTIONS as usize, ..Dials::default() };
        assert_eq!(dials.waiting(), 0);
        assert!(dials.take_other(PeerId::random().into(), None).is_none());
        assert_eq!(dials.waiting(), 1);
        dials.standing -= 1;
        assert!(dials.pop().is_some());
        assert_eq!(dials.waiting(), 0);
    }

    #[test]
    fn so_many_dials_are_put_off_and_no_more() {
        let mut dials = Dials { standing: limits::CONNECTIONS as usize, ..Dials::default() };
        for port in 0..=limits::DIALS_PUT_OFF {
            let address: Multiaddr = format!("/ip4/192.0.2.1/udp/{}/quic-v1", port + 1).parse().expect("an address");
            for _ in 0..2 {
                let dial = DialOpts::unknown_peer_id().address(address.clone()).build();
                assert!(dials.take_other(dial, Some(&address)).is_none());
            }
        }
        assert_eq!((dials.others.len(), dials.dropped()), (limits::DIALS_PUT_OFF, 2));
    }
}
