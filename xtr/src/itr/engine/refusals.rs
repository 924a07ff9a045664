// SPDX-License-Identifier: GPL-2.0-or-later
//! Packets that go no further: they are counted, and their source is told where it may be (RFC 9300, section 5.3; ICMP).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use wire::data::{IcmpError, IpPacket};

use super::{Decision, Itr, Output, Verdict};
use crate::counters::{Count, DropReason};
use crate::itr::miss_queue::Lost;

/// Where ICMPv4 errors come from if we have no IPv4 EID-side address: the dummy address of RFC 7600, section 4.8.
const DUMMY_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));

impl Itr {
    pub(super) fn give_up(&mut self, now: Instant, lost: impl IntoIterator<Item = Lost>) {
        for Lost { packet, reason } in lost {
            match IpPacket::parse(&packet) {
                Ok(packet) => self.refuse(now, &packet, reason, Some(IcmpError::Unreachable)),
                Err(_) => self.counters.count_drop(reason),
            }
        }
    }

    /// No kernel gives us packets without hops: what an RTR relays comes so, when it is the last hop, and its source is told (RFC 9300,
    /// section 5.3).
    #[cold]
    pub(super) fn reject<'p>(&mut self, now: Instant, octets: &[u8], reason: DropReason) -> Verdict<'p> {
        match IpPacket::parse(octets) {
            Ok(packet) if reason == DropReason::SiteTtl && self.relays.is_some() => {
                self.refuse(now, &packet, DropReason::CoreTtl, Some(IcmpError::TimeExceeded));
                Verdict::Dropped(DropReason::CoreTtl)
            }
            _ => {
                self.counters.count_drop(reason);
                Verdict::Dropped(reason)
            }
        }
    }

    /// Counts a drop, and tells the source of the packet if it may be told.
    pub(super) fn refuse(&mut self, now: Instant, packet: &IpPacket<'_>, reason: DropReason, error: Option<IcmpError>) {
        self.counters.count_drop(reason);
        let Some(error) = error else { return };
        let message = self.icmp_source(packet).and_then(|source| error.about(packet, source));
        match message.filter(|_| self.icmp_rate.permit(now, packet.source())) {
            Some(message) => {
                self.counters.add(Count::IcmpSent, 1);
                self.tell(now, packet.source(), message);
            }
            None => self.counters.add(Count::IcmpSuppressed, 1),
        }
    }

    /// An RTR's error about what it relays goes through the tunnel too: its kernel knows no way to that source.
    fn tell(&mut self, now: Instant, to: IpAddr, message: Vec<u8>) {
        let is_elsewhere = self.relays.is_some() && !self.local_eids.contains(self.config.iid, to);
        let error = IpPacket::parse(&message).ok().filter(|_| is_elsewhere);
        let decision = error.as_ref().map_or(Decision::Native, |error| self.decide(error));
        match (error, decision) {
            (
                Some(error),
                decision @ (Decision::Core(..) | Decision::Minimum(..) | Decision::Split(..) | Decision::Ask),
            ) => {
                self.carry_out(now, &error, decision);
            }
            // It is no EID, and has sent without a tunnel.
            (_, Decision::Native | Decision::Drop(DropReason::RelayNative, _)) | (None, _) => {
                self.outputs.push_back(Output::Site(message));
            }
            // There is no error about an error.
            (Some(_), Decision::Drop(reason, _)) => self.counters.count_drop(reason),
        }
    }

    fn icmp_source(&self, packet: &IpPacket<'_>) -> Option<IpAddr> {
        let wants_v4 = matches!(packet, IpPacket::V4(_));
        let configured = self.config.icmp_sources.iter().copied().find(|address| address.is_ipv4() == wants_v4);
        configured.or_else(|| match wants_v4 {
            true => Some(DUMMY_V4),
            false => {
                let of_site = self.local_eids.prefixes().iter().map(|prefix| prefix.net.addr()).find(IpAddr::is_ipv6);
                of_site.or_else(|| self.proxy_source())
            }
        })
    }

    /// An RTR or a PITR need not have a site: IPv6 errors come from the locator that it has then, or from the router of what it attracts.
    fn proxy_source(&self) -> Option<IpAddr> {
        let attracted = self.pitr_for.prefixes().iter().map(|prefix| prefix.net.addr()).find(IpAddr::is_ipv6);
        let rloc = self.rlocs.v6.filter(|_| self.relays.is_some() || attracted.is_some());
        rloc.map(IpAddr::V6).or(attracted)
    }
}
