// SPDX-License-Identifier: GPL-2.0-or-later
//! ICMP errors about an inner packet (RFC 792, RFC 1191, RFC 4443), and which packets must not cause any.

use std::net::IpAddr;

use super::ip::{Ecn, TrafficClass, protocol};
use super::ipv6::MINIMUM_MTU;
use super::{IpPacket, Ipv4Header, Ipv6Header, checksum};

/// ICMPv4 types and codes (RFC 792, RFC 1191).
mod v4 {
    pub(super) const UNREACHABLE: u8 = 3;
    pub(super) const CODE_HOST: u8 = 1;
    pub(super) const CODE_FRAGMENTATION_NEEDED: u8 = 4;
    pub(super) const CODE_PROHIBITED: u8 = 13;
    pub(super) const TIME_EXCEEDED: u8 = 11;
    pub(super) const CODE_IN_TRANSIT: u8 = 0;
    /// Errors: unreachable, source quench, redirect, time exceeded, parameter problem.
    pub(super) const ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
}
/// ICMPv6 types and codes (RFC 4443); types below 128 are errors.
mod v6 {
    pub(super) const UNREACHABLE: u8 = 1;
    pub(super) const CODE_PROHIBITED: u8 = 1;
    pub(super) const CODE_ADDRESS: u8 = 3;
    pub(super) const PACKET_TOO_BIG: u8 = 2;
    pub(super) const TIME_EXCEEDED: u8 = 3;
    pub(super) const CODE_IN_TRANSIT: u8 = 0;
    pub(super) const FIRST_INFORMATIONAL: u8 = 128;
    /// A redirect is no error, but RFC 4443, section 2.4 (e) treats it as one.
    pub(super) const REDIRECT: u8 = 137;
}
const ICMP_HEADER: usize = 8;
/// The longest ICMPv4 error: 576 octets in all (RFC 1812, section 4.3.2.3).
const LONGEST_V4: usize = 576;
/// Of a message that we originate.
const TTL: u8 = 64;

/// Why a packet did not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpError {
    /// No way to this address is known.
    Unreachable,
    /// Policy forbids it.
    Prohibited,
    /// It does not fit; the largest inner packet that does, in octets.
    TooBig(usize),
    /// It had no hops left.
    TimeExceeded,
}

impl IcmpError {
    /// The whole IP packet that tells the source of `packet`; `None` where no message may be sent: about ICMP errors,
    /// later fragments, and packets from or to addresses that are not unicast (RFC 1122, section 3.2.2), or when
    /// `source` is of the other family.
    pub fn about(self, packet: &IpPacket<'_>, source: IpAddr) -> Option<Vec<u8>> {
        if is_icmp_error(packet) || !may_be_told(packet) {
            return None;
        }
        match (packet, source) {
            (IpPacket::V4(_), IpAddr::V4(_)) => self.emit_v4(packet, source),
            (IpPacket::V6(_), IpAddr::V6(_)) => self.emit_v6(packet, source),
            _ => None,
        }
    }

    fn emit_v4(self, packet: &IpPacket<'_>, source: IpAddr) -> Option<Vec<u8>> {
        let (IpAddr::V4(from), IpAddr::V4(to)) = (source, packet.source()) else { return None };
        let (kind, code, mtu) = match self {
            Self::Unreachable => (v4::UNREACHABLE, v4::CODE_HOST, 0),
            Self::Prohibited => (v4::UNREACHABLE, v4::CODE_PROHIBITED, 0),
            Self::TooBig(mtu) => {
                (v4::UNREACHABLE, v4::CODE_FRAGMENTATION_NEEDED, u16::try_from(mtu).unwrap_or(u16::MAX))
            }
            Self::TimeExceeded => (v4::TIME_EXCEEDED, v4::CODE_IN_TRANSIT, 0),
        };
        let quoted = quote(packet, LONGEST_V4 - Ipv4Header::LENGTH - ICMP_HEADER);
        let mut message = vec![kind, code, 0, 0, 0, 0];
        message.extend_from_slice(&mtu.to_be_bytes());
        message.extend_from_slice(quoted);
        let sum = checksum::internet(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let header = Ipv4Header {
            source: from,
            destination: to,
            protocol: protocol::ICMP,
            ttl: TTL,
            class: TrafficClass::new(0, Ecn::NotEct),
            dont_fragment: false,
        };
        Some([header.emit(message.len())?.as_slice(), &message].concat())
    }

    fn emit_v6(self, packet: &IpPacket<'_>, source: IpAddr) -> Option<Vec<u8>> {
        let (IpAddr::V6(from), IpAddr::V6(to)) = (source, packet.source()) else { return None };
        let (kind, code, mtu) = match self {
            Self::Unreachable => (v6::UNREACHABLE, v6::CODE_ADDRESS, 0),
            Self::Prohibited => (v6::UNREACHABLE, v6::CODE_PROHIBITED, 0),
            Self::TooBig(mtu) => (v6::PACKET_TOO_BIG, 0, u32::try_from(mtu.max(MINIMUM_MTU)).unwrap_or(u32::MAX)),
            Self::TimeExceeded => (v6::TIME_EXCEEDED, v6::CODE_IN_TRANSIT, 0),
        };
        let mut message = vec![kind, code, 0, 0];
        message.extend_from_slice(&mtu.to_be_bytes());
        message.extend_from_slice(quote(packet, MINIMUM_MTU - Ipv6Header::LENGTH - ICMP_HEADER));
        let sum = checksum::transport(source, packet.source(), protocol::ICMPV6, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let header = Ipv6Header {
            source: from,
            destination: to,
            next_header: protocol::ICMPV6,
            hop_limit: TTL,
            class: TrafficClass::new(0, Ecn::NotEct),
            flow_label: 0,
        };
        Some([header.emit(message.len())?.as_slice(), &message].concat())
    }
}

/// Whether a packet is itself an ICMP error, or the first fragment of one over IPv4: about these no error may be sent (RFC 1122, section 3.2.2; RFC
/// 4443, section 2.4). One over IPv6 has no fragments.
pub fn is_icmp_error(packet: &IpPacket<'_>) -> bool {
    match packet {
        IpPacket::V4(packet) => {
            let is_of_icmp = packet.protocol() == protocol::ICMP && !packet.is_later_fragment();
            is_of_icmp && packet.payload().first().is_some_and(|kind| v4::ERRORS.contains(kind))
        }
        IpPacket::V6(packet) => match packet.transport() {
            Some((protocol::ICMPV6, [kind, ..])) => *kind < v6::FIRST_INFORMATIONAL || *kind == v6::REDIRECT,
            _ => false,
        },
    }
}

fn may_be_told(packet: &IpPacket<'_>) -> bool {
    match packet {
        IpPacket::V4(packet) => {
            let (source, destination) = (packet.source(), packet.destination());
            let no_host = source.is_unspecified() || source.is_loopback() || source.is_multicast();
            !packet.is_later_fragment()
                && !no_host
                && !source.is_broadcast()
                && !destination.is_multicast()
                && !destination.is_broadcast()
        }
        IpPacket::V6(packet) => !packet.source().is_unspecified() && !packet.source().is_multicast(),
    }
}

fn quote<'a>(packet: &IpPacket<'a>, limit: usize) -> &'a [u8] {
    let octets = packet.octets();
    &octets[..octets.len().min(limit)]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn v6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let header = Ipv6Header {
            source: "2001:db8:a::1".parse().unwrap(),
            destination: "2001:db8:b::1".parse().unwrap(),
            next_header,
            hop_limit: 9,
            class: TrafficClass(0),
            flow_label: 0,
        };
        [header.emit(payload.len()).unwrap().as_slice(), payload].concat()
    }

    #[test]
    fn packet_too_big_is_never_below_1280_and_never_longer() {
        let octets = v6(17, &[7; 1400]);
        let from = "2001:db8:a::ff".parse().unwrap();
        let message = IcmpError::TooBig(1000).about(&IpPacket::parse(&octets).unwrap(), from).unwrap();
        assert_eq!(message.len(), 1280);
        assert_eq!(message[40..42], [2, 0]);
        assert_eq!(message[44..48], 1280u32.to_be_bytes());
        let to = "2001:db8:a::1".parse().unwrap();
        assert_eq!(checksum::transport(from, to, 58, &message[40..]), 0);
        assert_eq!(&message[48..], &octets[..1232]);
    }

    #[test]
    fn nothing_is_said_about_icmp_errors() {
        let from = "2001:db8:a::ff".parse().unwrap();
        for (kind, told) in [(1, false), (2, false), (128, true), (137, false)] {
            let octets = v6(58, &[kind, 0, 0, 0, 0, 0, 0, 0]);
            let message = IcmpError::Unreachable.about(&IpPacket::parse(&octets).unwrap(), from);
            assert_eq!(message.is_some(), told, "type {kind}");
        }
    }

    #[test]
    fn nothing_is_said_about_a_fragment_that_an_icmp_error_begins_in() {
        for (kind, told) in [(3, false), (8, true)] {
            let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 1, 1].into());
            let (ttl, class) = (9, TrafficClass(0));
            let header = Ipv4Header { source, destination, protocol: 1, ttl, class, dont_fragment: false };
            let mut octets = [header.emit(8).unwrap().as_slice(), &[kind, 0, 0, 0, 0, 0, 0, 0]].concat();
            // More fragments follow.
            octets[6] |= 0x20;
            let sum = u16::from_be_bytes([octets[10], octets[11]]);
            octets[10..12].copy_from_slice(&(sum - 0x2000).to_be_bytes());
            let message = IcmpError::Unreachable.about(&IpPacket::parse(&octets).unwrap(), [192, 0, 2, 1].into());
            assert_eq!(message.is_some(), told, "type {kind}");
        }
    }

    #[test]
    fn time_exceeded_is_eleven_in_ipv4_and_three_in_ipv6_without_a_value() {
        let header = Ipv4Header {
            source: [10, 0, 0, 1].into(),
            destination: [10, 0, 1, 1].into(),
            protocol: 17,
            ttl: 0,
            class: TrafficClass(0),
            dont_fragment: true,
        };
        let octets = [header.emit(4).unwrap().as_slice(), &[7; 4]].concat();
        for (octets, from, kind) in [(octets, "192.0.0.8", 11), (v6(17, &[7; 4]), "2001:db8:a::ff", 3)] {
            let message = IcmpError::TimeExceeded.about(&IpPacket::parse(&octets).unwrap(), from.parse().unwrap());
            let message = message.unwrap();
            let icmp = &message[if kind == 11 { 20 } else { 40 }..];
            assert_eq!((icmp[..2].as_ref(), icmp[4..8].as_ref()), ([kind, 0].as_slice(), [0; 4].as_slice()));
            assert_eq!(&icmp[8..], &octets);
        }
    }

    #[test]
    fn a_source_of_the_other_family_says_nothing() {
        let octets = v6(17, &[0; 8]);
        assert_eq!(IcmpError::Unreachable.about(&IpPacket::parse(&octets).unwrap(), [192, 0, 2, 1].into()), None);
    }
}
