// SPDX-License-Identifier: GPL-2.0-or-later
//! The EID-prefixes of others that an RTR takes packets of (draft-ermagan-lisp-nat-traversal, section 5.3.1): those that are registered
//! from behind a NAT through it, as the destination of packets from anywhere or as the source of packets from their NAT.

use std::collections::HashMap;
use std::net::IpAddr;

use wire::address::{EidPrefix, InstanceId};
use wire::data::IpPacket;

/// Why a packet is encapsulated again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relayed {
    /// Its destination is behind a NAT.
    To,
    /// Its source is, and it comes from there.
    From,
}

/// The addresses that the NAT of an EID-prefix shows.
type Nats = [Option<IpAddr>; 2];

/// The prefixes, each with the addresses that its NAT shows.
#[derive(Debug, Default)]
pub(super) struct Relays {
    nats: HashMap<EidPrefix, Nats>,
    /// How many of them have each length, IPv4 and IPv6, the longest first.
    lengths: [Vec<(u8, usize)>; 2],
}

impl Relays {
    /// With no address at all it is behind a NAT no longer.
    pub(super) fn set(&mut self, prefix: EidPrefix, nats: Nats) {
        let is_bound = nats.iter().any(Option::is_some);
        let former = if is_bound { self.nats.insert(prefix, nats) } else { self.nats.remove(&prefix) };
        let lengths = &mut self.lengths[usize::from(prefix.net.addr().is_ipv6())];
        let length = prefix.net.prefix_len();
        let place = lengths.binary_search_by(|(other, _)| length.cmp(other));
        match (former.is_some(), is_bound, place) {
            (false, true, Ok(at)) => lengths[at].1 += 1,
            (false, true, Err(at)) => lengths.insert(at, (length, 1)),
            (true, false, Ok(at)) if lengths[at].1 > 1 => lengths[at].1 -= 1,
            (true, false, Ok(at)) => drop(lengths.remove(at)),
            _ => {}
        }
    }

    /// Whether the packet, which came from `rloc`, is to be encapsulated again.
    #[inline]
    pub(super) fn find(&self, iid: InstanceId, packet: &IpPacket<'_>, rloc: IpAddr) -> Option<Relayed> {
        if self.nats.is_empty() {
            return None;
        }
        if self.is_from(iid, packet.source(), rloc) {
            return Some(Relayed::From);
        }
        self.longest(iid, packet.destination()).map(|_| Relayed::To)
    }

    /// Whether this source is behind a NAT, and `rloc` is that.
    #[inline]
    pub(super) fn is_from(&self, iid: InstanceId, source: IpAddr, rloc: IpAddr) -> bool {
        !self.nats.is_empty() && self.longest(iid, source).is_some_and(|(_, nats)| nats.contains(&Some(rloc)))
    }

    /// The EID-prefix that an address is reached by, and the addresses of its NAT.
    pub(super) fn longest(&self, iid: InstanceId, address: IpAddr) -> Option<(EidPrefix, Nats)> {
        let lengths = self.lengths[usize::from(address.is_ipv6())].iter();
        let mut prefixes = lengths.filter_map(|(length, _)| EidPrefix::new(iid, address, *length));
        prefixes.find_map(|prefix| Some((prefix, *self.nats.get(&prefix)?)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn prefix(text: &str) -> EidPrefix {
        EidPrefix { iid: InstanceId(0), net: text.parse().unwrap() }
    }

    #[test]
    fn the_longest_prefix_says_which_nat() {
        let mut relays = Relays::default();
        let nat = |number: u8| [Some(IpAddr::from([192, 0, 2, number])), None];
        relays.set(prefix("10.0.0.0/8"), nat(1));
        relays.set(prefix("10.1.0.0/16"), nat(2));
        relays.set(prefix("10.2.0.0/16"), nat(3));
        let of = |relays: &Relays, address: [u8; 4]| Some(relays.longest(InstanceId(0), address.into())?.1);
        assert_eq!(of(&relays, [10, 1, 0, 1]), Some(nat(2)));
        assert_eq!(of(&relays, [10, 9, 0, 1]), Some(nat(1)));
        assert_eq!(of(&relays, [11, 0, 0, 1]), None);
        assert_eq!(relays.longest(InstanceId(7), [10, 1, 0, 1].into()), None, "of another instance");
        relays.set(prefix("10.1.0.0/16"), [None; 2]);
        relays.set(prefix("10.1.0.0/16"), [None; 2]);
        assert_eq!(of(&relays, [10, 1, 0, 1]), Some(nat(1)));
        assert_eq!(of(&relays, [10, 2, 0, 1]), Some(nat(3)), "another prefix of that length is still there");
        relays.set(prefix("10.2.0.0/16"), [None; 2]);
        relays.set(prefix("10.0.0.0/8"), [None; 2]);
        assert!(relays.lengths.iter().all(Vec::is_empty));
    }
    #[test]
    fn what_comes_from_either_address_of_a_nat_is_from_behind_it() {
        let mut relays = Relays::default();
        let [four, six, other] = ["192.0.2.1", "2001:db8:f::1", "2001:db8:f::2"].map(|text| text.parse().unwrap());
        let net = prefix("10.1.0.0/16");
        let from = |relays: &Relays| [four, six, other].map(|rloc| relays.is_from(net.iid, [10, 1, 0, 1].into(), rloc));
        relays.set(net, [Some(six), Some(four)]);
        assert_eq!(from(&relays), [true, true, false]);
        relays.set(net, [Some(other), Some(four)]);
        assert_eq!(from(&relays), [true, false, true], "the last word counts");
        relays.set(net, [Some(other), None]);
        assert_eq!(from(&relays), [false, false, true]);
        relays.set(net, [None; 2]);
        assert_eq!(from(&relays), [false; 3]);
        assert!(relays.lengths.iter().all(Vec::is_empty));
    }
}
