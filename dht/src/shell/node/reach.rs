// SPDX-License-Identifier: GPL-2.0-or-later
//! Who can be reached: at which addresses a peer was really found, and whether others can find us. Knows no sockets; time is an
//! argument.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use libp2p::{Multiaddr, PeerId};

use super::addresses::{ip, split_peer};
use super::pace::Pace;
use crate::block::Block;
use crate::shell::limits;

/// Where the peers that are connected were found.
#[derive(Debug)]
pub(super) struct Found {
    peers: HashMap<PeerId, Places>,
    tries: Pace,
}

impl Default for Found {
    fn default() -> Self {
        Self { peers: HashMap::new(), tries: Pace::new(limits::TRIES, limits::TRIES_TIME) }
    }
}

#[derive(Debug, Default)]
struct Places {
    /// Addresses that we dialled and at which the peer answered.
    dialled: Vec<Multiaddr>,
    /// Addresses from which it opened a connection.
    came_from: Vec<Multiaddr>,
    /// Addresses that it claims and that are being tried.
    tried: Vec<Try>,
}

/// An address that is tried, twice if need be: who has moved may say where to before its routes lead there.
#[derive(Debug)]
struct Try {
    address: Multiaddr,
    since: Instant,
    second: Second,
}

/// The second look at an address.
#[derive(Debug, PartialEq, Eq)]
enum Second {
    Later,
    Due,
    Done,
}

impl Found {
    /// We dialled the address, and the peer is there.
    pub(super) fn dialled(&mut self, peer: PeerId, address: &Multiaddr) {
        note(&mut self.peers.entry(peer).or_default().dialled, split_peer(address).0);
    }

    /// The peer opened a connection from the address.
    pub(super) fn came_from(&mut self, peer: PeerId, address: &Multiaddr) {
        note(&mut self.peers.entry(peer).or_default().came_from, split_peer(address).0);
    }

    /// The last connection of the peer is gone.
    pub(super) fn lost(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// Whether others may be told of the peer at an address that it claims: we have reached it there, or it has come from the
    /// very address and port.
    pub(super) fn is_proven(&self, peer: &PeerId, claimed: &Multiaddr) -> bool {
        let claimed = split_peer(claimed).0;
        self.peers
            .get(peer)
            .is_some_and(|places| places.dialled.contains(&claimed) || places.came_from.contains(&claimed))
    }

    /// Whether the peer has found us by itself: we have not dialled it.
    pub(super) fn came_unasked(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|places| places.dialled.is_empty() && !places.came_from.is_empty())
    }

    /// Whether the address was dialled because the peer, a server, claims it.
    pub(super) fn is_tried(&self, peer: &PeerId, address: &Multiaddr) -> bool {
        let address = split_peer(address).0;
        self.peers.get(peer).is_some_and(|places| places.tried.iter().any(|tried| tried.address == address))
    }

    /// The claimed addresses that should be dialled to see whether the peer is there: those of a family in which none is proven
    /// yet, few at once, each twice and then not again soon.
    pub(super) fn worth_trying(&mut self, now: Instant, peer: PeerId, claimed: &[Multiaddr]) -> Vec<Multiaddr> {
        let family = |address: &Multiaddr| ip(address).map(|ip| ip.is_ipv4());
        let proven: Vec<_> = claimed.iter().filter(|address| self.is_proven(&peer, address)).map(family).collect();
        let unproven: Vec<_> = claimed.iter().filter(|address| !proven.contains(&family(address))).cloned().collect();
        let Some(places) = self.peers.get_mut(&peer) else { return Vec::new() };
        places.tried.retain(|tried| now.saturating_duration_since(tried.since) < limits::TRY_AGAIN);
        let mut tries = Vec::new();
        for address in unproven {
            let has_room = places.tried.len() < limits::TRIES_PER_PEER;
            let known = places.tried.iter_mut().find(|tried| tried.address == address);
            let is_worth_it = known.as_ref().map_or(has_room, |tried| tried.second == Second::Due);
            if !is_worth_it || !self.tries.take(now) {
                continue;
            }
            match known {
                Some(tried) => tried.second = Second::Done,
                None => places.tried.push(Try { address: address.clone(), since: now, second: Second::Later }),
            }
            tries.push(address);
        }
        tries
    }

    /// The peers of whose addresses one is due for its second look; again, until it has had it.
    pub(super) fn once_more(&mut self, now: Instant) -> Vec<PeerId> {
        let mut peers = Vec::new();
        for (peer, places) in &mut self.peers {
            let is_due = |tried: &&mut Try| tried.second != Second::Done && tried.since + limits::TRY_ONCE_MORE <= now;
            let due: Vec<&mut Try> = places.tried.iter_mut().filter(is_due).collect();
            if !due.is_empty() {
                peers.push(*peer);
            }
            due.into_iter().for_each(|tried| tried.second = Second::Due);
        }
        peers
    }
}

/// Adds an address; the oldest goes when there are too many.
fn note(addresses: &mut Vec<Multiaddr>, address: Multiaddr) {
    if addresses.contains(&address) {
        return;
    }
    if addresses.len() >= limits::ADDRESSES_PER_PEER {
        addresses.remove(0);
    }
    addresses.push(address);
}

/// Whether others can find this node where it listens, by what they see of it. A node behind NAT is seen at an address that is
/// not its own; nobody could dial it at those that it has.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The last thing that each block of addresses saw: when, and whether it was one of our own addresses.
    seen: HashMap<Block, (Instant, bool)>,
    unreachable: bool,
}

impl Standing {
    /// A peer at `observer` says where it sees us. Returns whether we are reachable, if that has changed.
    pub(super) fn observe(&mut self, now: Instant, observer: IpAddr, is_own: bool) -> Option<bool> {
        self.seen.retain(|_, (since, _)| now.saturating_duration_since(*since) < limits::OBSERVED_FOR);
        let block = Block::of(observer);
        if self.seen.len() >= limits::OBSERVERS && !self.seen.contains_key(&block) {
            let oldest = self.seen.iter().min_by_key(|(_, (since, _))| *since).map(|(block, _)| *block);
            oldest.map(|oldest| self.seen.remove(&oldest));
        }
        self.seen.insert(block, (now, is_own));
        self.judge()
    }

    /// Our addresses have changed: what was seen before says nothing. What we take ourselves for stands until it is seen anew.
    pub(super) fn moved(&mut self) {
        self.seen.clear();
    }

    /// Whether others can find us, as far as is known.
    pub(super) fn is_reachable(&self) -> bool {
        !self.unreachable
    }

    /// Unreachable needs enough observers of different blocks that all but a few say so; any doubt is for reachable, since a
    /// server that is missing is dearer than one that a peer tries in vain.
    fn judge(&mut self) -> Option<bool> {
        let elsewhere = self.seen.values().filter(|(_, is_own)| !is_own).count();
        let at_home = self.seen.len() - elsewhere;
        let unreachable = elsewhere >= limits::UNREACHABLE_BLOCKS && elsewhere > 2 * at_home;
        // It takes one who reached us to come back: otherwise what is forgotten would turn us to and fro.
        let changes = if self.unreachable { !unreachable && at_home > 0 } else { unreachable };
        if !changes {
            return None;
        }
        self.unreachable = unreachable;
        Some(!unreachable)
    }
}

/// The addresses we listen on.
pub(super) fn is_listening(listening: &[Multiaddr], observed: &Multiaddr) -> bool {
    let own: HashSet<&Multiaddr> = listening.iter().collect();
    own.contains(&split_peer(observed).0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(last: u8, port: u16) -> Multiaddr {
        format!("/ip4/198.51.100.{last}/udp/{port}/quic-v1").parse().unwrap()
    }

    fn observer(block: u8) -> IpAddr {
        [198, 51, block, 1].into()
    }

    #[test]
    fn an_address_is_proven_by_a_dial_or_by_its_very_port() {
        let (mut found, peer) = (Found::default(), PeerId::random());
        found.came_from(peer, &at(1, 43420));
        assert!(found.is_proven(&peer, &at(1, 43420)));
        assert!(!found.is_proven(&peer, &at(1, 43421)), "another port: there may be NAT");
        assert!(!found.is_proven(&peer, &at(2, 43420)));
        found.dialled(peer, &at(2, 43420));
        assert!(found.is_proven(&peer, &at(2, 43420).with_p2p(peer).unwrap()));
        assert!(!found.is_proven(&PeerId::random(), &at(2, 43420)));
        assert!(!found.came_unasked(&peer), "we have dialled it");
        found.lost(&peer);
        assert!(!found.is_proven(&peer, &at(1, 43420)));
    }

    #[test]
    fn claims_are_tried_few_at_once_and_not_again_soon() {
        let (mut found, peer, now) = (Found::default(), PeerId::random(), Instant::now());
        found.came_from(peer, &at(1, 999));
        let claims: Vec<_> = (0..100).map(|port| at(9, port + 1)).collect();
        assert_eq!(found.worth_trying(now, peer, &claims).len(), limits::TRIES_PER_PEER);
        assert!(found.worth_trying(now, peer, &claims).is_empty(), "whatever it claims next");
        let later = now + limits::TRY_ONCE_MORE;
        assert!(found.once_more(later - Duration::from_secs(1)).is_empty(), "it has not had its time");
        assert_eq!(found.once_more(later), [peer]);
        assert_eq!(found.worth_trying(later, peer, &claims), &claims[..limits::TRIES_PER_PEER], "the same once more");
        assert!(
            found.once_more(later + limits::TRY_ONCE_MORE).is_empty()
                && found.worth_trying(later, peer, &claims).is_empty(),
            "and no more"
        );
        assert!(!found.worth_trying(now + limits::TRY_AGAIN, peer, &claims).is_empty());
        let now = now + limits::TRY_AGAIN;
        assert!(found.worth_trying(now, PeerId::random(), &claims).is_empty(), "a stranger");
        let honest = PeerId::random();
        found.came_from(honest, &at(3, 43420));
        assert!(
            found.worth_trying(now, honest, &[at(3, 43420), at(4, 43420)]).is_empty(),
            "one of the family is proven"
        );
        assert!(found.came_unasked(&honest) && !found.is_tried(&honest, &at(4, 43420)));
        for _ in 0..limits::TRIES * 2 {
            let peer = PeerId::random();
            found.came_from(peer, &at(1, 999));
            found.worth_trying(now, peer, &claims);
        }
        assert!(!found.tries.take(now), "all peers together are bounded");
        for last in 0..=u8::MAX {
            found.came_from(peer, &at(last, 1));
        }
        assert_eq!(found.peers[&peer].came_from.len(), limits::ADDRESSES_PER_PEER);
    }

    #[test]
    fn behind_nat_is_who_is_seen_elsewhere_by_enough_blocks() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(standing.observe(now, observer(1), false), None, "one block is one voice");
        }
        for block in 2..u8::try_from(limits::UNREACHABLE_BLOCKS).unwrap() {
            assert_eq!(standing.observe(now, observer(block), false), None);
        }
        assert_eq!(standing.observe(now, observer(99), false), Some(false));
        assert_eq!(standing.observe(now, observer(98), false), None, "said once");
        assert_eq!(standing.observe(now, observer(1), true), None, "most still see us elsewhere");
        assert_eq!(standing.observe(now, observer(2), true), Some(true));
    }

    #[test]
    fn a_few_liars_do_not_make_a_server_a_client() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        for block in 0..5 {
            assert_eq!(standing.observe(now, observer(block), true), None);
        }
        for block in 100..110 {
            assert_eq!(standing.observe(now, observer(block), false), None);
        }
        assert_eq!(standing.observe(now, observer(110), false), Some(false), "two thirds are no few");
    }

    #[test]
    fn a_new_address_is_a_new_beginning() {
        let (mut standing, now) = (Standing::default(), Instant::now());
        for block in 1..=3 {
            standing.observe(now, observer(block), false);
        }
        standing.moved();
        assert!(!standing.is_reachable(), "until somebody says so");
        assert_eq!(standing.observe(now, observer(1), false), None);
        let later = now + limits::OBSERVED_FOR + Duration::from_secs(1);
        assert_eq!(standing.observe(later, observer(4), false), None, "nobody has reached us yet");
        assert_eq!(standing.observe(later, observer(5), true), Some(true));
        for block in 0..=u8::MAX {
            standing.observe(later, observer(block), true);
        }
        assert!(standing.seen.len() <= limits::OBSERVERS);
    }
}
