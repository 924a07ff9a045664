// SPDX-License-Identifier: GPL-2.0-or-later
//! Where the peers that are connected are, by our own eyes: the other ends of the connections that stand. One that has ended, as one that
//! was only there to see whether the peer is at an address, shows nothing any more.

use std::collections::HashMap;

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

/// The other ends of the connections of each peer, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<PeerId, Vec<(ConnectionId, Multiaddr)>>);

impl Seen {
    /// A connection stands.
    pub(super) fn opened(&mut self, peer: PeerId, id: ConnectionId, address: &Multiaddr) {
        self.0.entry(peer).or_default().push((id, address.clone()));
    }

    /// A connection has ended; where its other end was.
    pub(super) fn closed(&mut self, peer: &PeerId, id: ConnectionId) -> Option<Multiaddr> {
        let ends = self.0.get_mut(peer)?;
        let closed = ends.iter().position(|(other, _)| *other == id).map(|index| ends.remove(index).1);
        if ends.is_empty() {
            self.0.remove(peer);
        }
        closed
    }

    /// Where a connected peer is: by a later connection from elsewhere it would free the share of a block that it has used up.
    pub(super) fn at(&self, peer: &PeerId) -> Option<&Multiaddr> {
        self.all(peer).next()
    }

    /// The other ends of all its connections.
    pub(super) fn all(&self, peer: &PeerId) -> impl Iterator<Item = &Multiaddr> {
        self.0.get(peer).into_iter().flatten().map(|(_, address)| address)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_where_its_oldest_connection_that_stands_comes_from() {
        let (mut seen, peer) = (Seen::default(), PeerId::random());
        let at = |last: u16| format!("/ip4/192.0.2.{last}/udp/43420/quic-v1").parse::<Multiaddr>().unwrap();
        let id = |number| ConnectionId::new_unchecked(number);
        for (number, last) in [(1, 1), (2, 2), (3, 3)] {
            seen.opened(peer, id(number), &at(last));
            assert_eq!(seen.at(&peer), Some(&at(1)));
        }
        assert_eq!(seen.closed(&peer, id(2)), Some(at(2)));
        assert_eq!(seen.closed(&peer, id(2)), None);
        assert_eq!(seen.closed(&peer, id(1)), Some(at(1)));
        assert_eq!(seen.at(&peer), Some(&at(3)));
        assert_eq!((seen.closed(&peer, id(3)), seen.at(&peer), seen.0.len()), (Some(at(3)), None, 0));
    }
}
