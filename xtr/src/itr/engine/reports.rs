// SPDX-License-Identifier: GPL-2.0-or-later
//! What routers, hosts and our own kernel report of packets that were encapsulated: too long, or not to be delivered.

use std::net::IpAddr;
use std::time::Instant;

use wire::data::{IpPacket, MINIMUM_MTU, OuterHeader};

use super::Itr;
use crate::counters::{Count, DropReason};
use crate::itr::quoted;
use crate::limits;
use crate::map_cache::{Binding, Event, FromPort, Learned, smallest_path_mtu};

impl Itr {
    /// Takes a report of a router that `quoted`, the start of an encapsulated packet with its outer IP header, was longer than `mtu`
    /// octets. It is believed, as what our own kernel says ([`Self::handle_too_big`]), unless a long probe has lately shown the opposite: then
    /// probes decide (RFC 8899, section 4.6.1), as anybody can send one who guesses a port. One that says less than every link of IPv6
    /// takes is discarded (RFC 8201, section 4).
    pub fn handle_report(&mut self, now: Instant, quoted: &[u8], mtu: usize) {
        let is_v6 = quoted.first().is_some_and(|octet| octet >> 4 == 6);
        if is_v6 && mtu < MINIMUM_MTU {
            self.counters.add(Count::PathMtuRefused, 1);
            return;
        }
        let Some(quoted::Way::Rloc(rloc)) = self.quoted_way(quoted).filter(|way| self.is_proven(now, *way)) else {
            return self.handle_too_big(now, quoted, mtu);
        };
        self.counters.add(Count::PathMtuDoubted, 1);
        if self.events.len() < limits::EVENTS && self.proven.is_to_be_looked_into(now, rloc) {
            let mtu = u16::try_from(mtu).unwrap_or(u16::MAX).max(smallest_path_mtu(rloc));
            self.events.push_back(Event::MtuReported { rloc, mtu });
        }
    }

    fn is_proven(&self, now: Instant, way: quoted::Way) -> bool {
        // Ways through NATs are not probed.
        matches!(way, quoted::Way::Rloc(rloc) if self.proven.holds(now, rloc))
    }

    /// Takes what our own kernel says, or a router, if that is to be believed: that `quoted`, the start of an encapsulated packet with its
    /// outer IP header, was longer than `mtu` octets. What fits nothing we send is refused (RFC 9300, section 7.2).
    pub fn handle_too_big(&mut self, now: Instant, quoted: &[u8], mtu: usize) {
        self.handle_timeout(now);
        let way = self.quoted_way(quoted);
        let learned = match way {
            Some(quoted::Way::Rloc(rloc)) => self.cache.learn_mtu(rloc, mtu),
            Some(quoted::Way::Binding(binding)) => self.cache.learn_binding_mtu(binding, mtu),
            None => Learned::Stranger,
        };
        match learned {
            Learned::Changed(mtu) => {
                self.counters.add(Count::PathMtu, 1);
                // Without room the long probes of control find it.
                if let (Some(quoted::Way::Rloc(rloc)), true) = (way, self.events.len() < limits::EVENTS) {
                    self.events.push_back(Event::PathMtu { rloc, mtu });
                }
            }
            Learned::Known => {}
            Learned::Stranger => self.counters.add(Count::PathMtuRefused, 1),
        }
    }

    /// Takes what our own kernel says of a packet with so many octets behind `header`, which was longer than `mtu` octets.
    pub fn handle_refused(&mut self, now: Instant, header: &OuterHeader, inner: usize, mtu: usize) {
        if let Some(quoted) = header.emit(inner, &mut [0; OuterHeader::LONGEST]) {
            self.handle_too_big(now, quoted, mtu);
        }
    }

    /// The packet that was refused is not counted as encapsulated. Whether it is to be handled once more, to be split, or to have its source told.
    /// One that its source can make no shorter, and that would leave again as it was to, is dropped and counted here.
    #[must_use]
    pub fn take_back(&mut self, header: &OuterHeader, inner: &[u8]) -> bool {
        self.not_sent(header, 1, inner.len());
        let is_minimum = inner.len() <= MINIMUM_MTU && matches!(IpPacket::parse(inner), Ok(IpPacket::V6(_)));
        // With DF it is sent once more without: an IPsec policy has a fragmented packet.
        let is_last = is_minimum && (header.destination.is_ipv6() || !header.dont_fragment);
        if is_last {
            self.counters.count_drop(DropReason::PathTooNarrow);
        }
        !is_last
    }

    /// So many packets behind `header`, of so many octets in all, did not leave: they are not counted as encapsulated.
    pub fn not_sent(&mut self, header: &OuterHeader, packets: usize, octets: usize) {
        self.counters.take_back_alone(Count::Encapsulated, packets);
        self.counters.take_back_alone(Count::EncapsulatedBytes, octets);
        let locators = self.cache.locators_mut();
        match quoted::way_of(header) {
            Some(quoted::Way::Rloc(rloc)) => locators.not_sent(rloc, packets, octets),
            Some(quoted::Way::Binding(binding)) => locators.not_sent_through(binding, packets, octets),
            None => {}
        }
    }

    /// Takes a report of a router or host that `quoted`, the start of an encapsulated packet with its outer IP header, cannot
    /// reach its locator, or that nobody takes LISP there. Anybody can send one, so it is a hint: probes decide (RFC 9301,
    /// section 7, items 1 and 3), and of an RTR Info-Requests.
    pub fn handle_unreachable(&mut self, now: Instant, quoted: &[u8]) {
        self.handle_timeout(now);
        let to = match self.quoted_way(quoted) {
            Some(quoted::Way::Rloc(rloc)) => Some(rloc).filter(|rloc| self.cache.has_locator(*rloc)),
            Some(quoted::Way::Binding(binding)) => self.rtr_of(binding),
            None => None,
        };
        match to {
            Some(rloc) if self.events.len() < limits::EVENTS && self.unreachable.allow(now, rloc) => {
                self.counters.add(Count::Unreachable, 1);
                self.events.push_back(Event::Silent { rloc });
            }
            _ => self.counters.add(Count::UnreachableRefused, 1),
        }
    }

    /// The RTR that packets go to, behind a NAT. Of what an RTR itself sends through NATs nobody looks after the ways.
    fn rtr_of(&self, binding: Binding) -> Option<IpAddr> {
        (binding.from == FromPort::Data && self.cache.has_binding(binding)).then_some(binding.address)
    }

    /// Our own kernel has no way to this RLOC from the locator that a packet had as its source. Another locator of ours may have one, and to find
    /// that out is for probes: a hint, as what routers say, and no more often.
    pub fn handle_no_way(&mut self, now: Instant, rloc: IpAddr) {
        // Ways through NATs are not probed.
        let has_room = self.cache.has_locator(rloc) && self.events.len() < limits::EVENTS;
        if has_room && self.unreachable.allow(now, rloc) {
            self.events.push_back(Event::Silent { rloc });
        }
    }

    fn quoted_way(&self, quoted: &[u8]) -> Option<quoted::Way> {
        quoted::way(quoted, self.rlocs.all(), self.config.iid, &self.config.gpe_peers, &self.trust)
    }
}
