// SPDX-License-Identifier: GPL-2.0-or-later
//! Nodes on the same link find each other without any configuration: each says a Hello to a multicast group of the link, at
//! its start and then seldom, and answers newcomers. Who hears of an unknown node dials it; QUIC proves who is there.
//!
//! libp2p-quic cannot dial a link-local address, which needs a zone. So what is announced are the other addresses of a node:
//! global, unique local and private ones, and CGEIDs; the source address of a Hello counts too where it is one of these. On a
//! link where nodes have nothing but link-local addresses, a CGEID each (and Babel) makes them reachable.

mod hello;
mod sockets;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use cgeid::Network;
use ipnet::IpNet;
use libp2p::{Multiaddr, PeerId};

pub(super) use self::hello::Hello;
pub(super) use self::sockets::{Seeker, run};
use super::addresses::quic;
use super::pace::Pace;
use crate::shell::limits;

/// An interface, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) index: u32,
    pub(super) nets: Vec<IpNet>,
}

/// Somebody on a link, and where to dial it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) link: u32,
    pub(super) peer: PeerId,
    pub(super) addresses: Vec<Multiaddr>,
}

/// How many strangers are dialled because of Hellos on each link.
#[derive(Debug, Default)]
pub(super) struct Strangers(HashMap<u32, Pace>);

impl Strangers {
    /// Whether one more may be dialled on the link.
    pub(super) fn take(&mut self, now: Instant, link: u32) -> bool {
        if self.0.len() >= limits::LINKS && !self.0.contains_key(&link) {
            self.0.clear();
        }
        self.0.entry(link).or_insert_with(|| Pace::new(limits::HELLO_DIALS, limits::HELLO_DIALS_TIME)).take(now)
    }
}

/// When to say a Hello on one link, and what a Hello that comes there is worth.
#[derive(Debug)]
pub(super) struct Talk {
    network: Network,
    own: PeerId,
    /// Hellos that still ask who is there.
    asks: usize,
    next: Instant,
    said: Option<Instant>,
    heard: Pace,
}

impl Talk {
    /// A link that has come up.
    pub(super) fn new(network: Network, own: PeerId, now: Instant) -> Self {
        let heard = Pace::new(limits::HELLOS_HEARD, limits::HELLOS_HEARD_TIME);
        Self { network, own, asks: 0, next: now, said: None, heard }
    }

    /// When the next Hello is due.
    pub(super) fn next_deadline(&self) -> Instant {
        self.next
    }

    /// Whether a Hello is due, and whether it asks. `spread` (0..1) makes this node's pauses its own.
    pub(super) fn due(&mut self, now: Instant, spread: f64) -> Option<bool> {
        if now < self.next {
            return None;
        }
        let asks = limits::HELLO_ASKS.get(self.asks);
        self.next = now + asks.copied().unwrap_or_else(|| limits::HELLO_INTERVAL.mul_f64(0.75 + spread / 2.0));
        self.asks += usize::from(asks.is_some());
        self.said = Some(now);
        Some(asks.is_some())
    }

    /// A Hello from `source` on the link; `None` if it is nothing to us, or too many come.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        spread: f64,
        link: &Link,
        source: IpAddr,
        hello: &Hello,
    ) -> Option<Neighbour> {
        if !self.heard.take(now) || hello.network != self.network || hello.peer == self.own {
            return None;
        }
        if hello.asks && self.said.is_none_or(|said| now.saturating_duration_since(said) >= limits::HELLO_PAUSE) {
            self.next = self.next.min(now + limits::HELLO_ANSWER.mul_f64(spread));
        }
        let mut places = vec![source];
        places.extend(hello.addresses.iter().copied().filter(|address| *address != source));
        let addresses: Vec<_> = places
            .into_iter()
            .filter(|place| is_near(self.network, link, *place))
            .take(limits::HELLO_DIALLED)
            .map(|place| quic(place, hello.port))
            .collect();
        (!addresses.is_empty()).then_some(Neighbour { link: link.index, peer: hello.peer, addresses })
    }
}

/// Whether an address can be that of a neighbour: on the link itself, or a CGEID of this network. So nobody on the link can send
/// us against a third party beyond it.
fn is_near(network: Network, link: &Link, address: IpAddr) -> bool {
    if !is_dialable(address) {
        return false;
    }
    let is_cgeid = matches!(address, IpAddr::V6(v6) if network.cn_of(v6).is_some());
    let on_link = |net: &IpNet| net.prefix_len() > 0 && net.contains(&address) && net.addr() != address;
    is_cgeid || link.nets.iter().any(on_link)
}

/// Whether libp2p-quic can dial the address, from another machine.
fn is_dialable(address: IpAddr) -> bool {
    let special = match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some(),
    };
    !special && !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

/// What a Hello on this link announces: the addresses of the link first, then the others that can be dialled.
pub(super) fn announced(link: &Link, listening: &[IpAddr]) -> Vec<IpAddr> {
    let mut places: Vec<IpAddr> = listening.iter().copied().filter(|address| is_dialable(*address)).collect();
    places.sort_by_key(|address| !link.nets.iter().any(|net| net.addr() == *address));
    places.truncate(limits::HELLO_ADDRESSES);
    places
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn link() -> Link {
        let nets = ["10.0.0.1/24", "fe80::1/64", "2001:db8:1::1/64"].map(|net| net.parse().unwrap()).to_vec();
        Link { name: "eth0".into(), index: 2, nets }
    }

    fn hello(addresses: &[&str]) -> Hello {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Hello { asks: true, network: Network::LAB, peer: PeerId::random(), port: 43420, addresses }
    }

    fn heard(talk: &mut Talk, now: Instant, source: &str, hello: &Hello) -> Vec<String> {
        let neighbour = talk.hear(now, 0.5, &link(), source.parse().unwrap(), hello);
        neighbour.map_or_else(Vec::new, |found| found.addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_neighbour_is_dialled_on_the_link_or_at_its_cgeid_and_nowhere_else() {
        let now = Instant::now();
        let mut talk = Talk::new(Network::LAB, PeerId::random(), now);
        let claims = ["10.0.0.9", "192.0.2.1", "2001:db8:2::9", "3fff:ce1:1:2:3:4:5:6", "fe80::9", "10.0.0.1"];
        assert_eq!(
            heard(&mut talk, now, "10.0.0.9", &hello(&claims)),
            ["/ip4/10.0.0.9/udp/43420/quic-v1", "/ip6/3fff:ce1:1:2:3:4:5:6/udp/43420/quic-v1"]
        );
        assert!(heard(&mut talk, now, "fe80::9", &hello(&["198.51.100.1"])).is_empty());
        assert_eq!(heard(&mut talk, now, "fe80::9", &hello(&["2001:db8:1::7"])).len(), 1);
    }

    #[test]
    fn other_networks_and_our_own_voice_are_not_heard() {
        let (now, own) = (Instant::now(), PeerId::random());
        let mut talk = Talk::new(Network::LAB, own, now);
        let foreign = Hello { network: Network([1, 2, 3, 4]), ..hello(&["10.0.0.9"]) };
        assert!(heard(&mut talk, now, "10.0.0.9", &foreign).is_empty());
        let echo = Hello { peer: own, ..hello(&["10.0.0.9"]) };
        assert!(heard(&mut talk, now, "10.0.0.9", &echo).is_empty());
    }

    #[test]
    fn a_start_asks_a_few_times_and_then_seldom() {
        let now = Instant::now();
        let mut talk = Talk::new(Network::LAB, PeerId::random(), now);
        let mut at = now;
        for _ in limits::HELLO_ASKS {
            assert_eq!(talk.due(at, 0.5), Some(true));
            assert_eq!(talk.due(at, 0.5), None);
            at = talk.next_deadline();
        }
        assert_eq!(talk.due(at, 0.5), Some(false));
        assert_eq!(talk.next_deadline(), at + limits::HELLO_INTERVAL);
    }

    #[test]
    fn a_newcomer_is_answered_soon_and_a_crowd_once() {
        let now = Instant::now();
        let mut talk = Talk::new(Network::LAB, PeerId::random(), now);
        while talk.due(talk.next_deadline(), 0.5) != Some(false) {}
        let quiet = talk.next_deadline() - limits::HELLO_INTERVAL + limits::HELLO_PAUSE;
        heard(&mut talk, quiet, "10.0.0.9", &hello(&[]));
        assert_eq!(talk.next_deadline(), quiet + limits::HELLO_ANSWER / 2);
        assert_eq!(talk.due(talk.next_deadline(), 0.5), Some(false));
        let after = quiet + limits::HELLO_ANSWER;
        for _ in 0..100 {
            heard(&mut talk, after, "10.0.0.9", &hello(&[]));
        }
        assert!(talk.next_deadline() > after + limits::HELLO_PAUSE, "one answer was for all");
    }

    #[test]
    fn a_flood_of_hellos_makes_few_dials() {
        let now = Instant::now();
        let mut talk = Talk::new(Network::LAB, PeerId::random(), now);
        let found = (0..10_000).filter(|_| !heard(&mut talk, now, "10.0.0.9", &hello(&[])).is_empty()).count();
        assert_eq!(found, limits::HELLOS_HEARD as usize);
        let mut pace = Strangers::default();
        assert_eq!((0..1000).filter(|_| pace.take(now, 2)).count(), limits::HELLO_DIALS as usize);
        assert!(pace.take(now, 3), "another link has its own");
        assert!(pace.take(now + limits::HELLO_DIALS_TIME, 2));
        (0..1000).for_each(|link| _ = pace.take(now, link));
        assert!(pace.0.len() <= limits::LINKS);
    }

    #[test]
    fn what_cannot_be_dialled_is_not_announced() {
        let listening: Vec<IpAddr> =
            ["127.0.0.1", "fe80::1", "192.0.2.9", "10.0.0.1", "::1"].map(|text| text.parse().unwrap()).to_vec();
        let said: Vec<_> = announced(&link(), &listening).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["10.0.0.1", "192.0.2.9"]);
    }
}
