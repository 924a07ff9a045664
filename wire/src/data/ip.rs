// SPDX-License-Identifier: GPL-2.0-or-later
//! What IPv4 and IPv6 have in common, and a view over a packet of either.

use std::net::IpAddr;

use super::{FlowKey, Ipv4Packet, Ipv6Packet};
use crate::error::{DecodeError, Problem};

/// Protocol and next-header numbers.
pub mod protocol {
    /// ICMPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// DSCP and ECN: the IPv4 TOS octet, the IPv6 traffic class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrafficClass(pub u8);

impl TrafficClass {
    const ECN_MASK: u8 = 0x03;

    /// The six bits of RFC 2474, and the two of RFC 3168.
    #[inline]
    pub fn new(dscp: u8, ecn: Ecn) -> Self {
        Self(dscp << 2 | ecn as u8)
    }

    /// Differentiated services codepoint, 0 to 63.
    #[inline]
    pub fn dscp(self) -> u8 {
        self.0 >> 2
    }

    /// Explicit congestion notification.
    #[inline]
    pub fn ecn(self) -> Ecn {
        match self.0 & Self::ECN_MASK {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }
}

/// The ECN field (RFC 3168, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable.
    NotEct = 0,
    /// ECN-capable, ECT(1).
    Ect1 = 1,
    /// ECN-capable, ECT(0).
    Ect0 = 2,
    /// Congestion experienced.
    Ce = 3,
}

impl Ecn {
    /// The inner field of a decapsulated packet (RFC 6040, figure 4); `None` = the packet must be dropped.
    #[inline]
    pub fn decapsulate(inner: Self, outer: Self) -> Option<Self> {
        match (inner, outer) {
            (Self::NotEct, Self::Ce) => None,
            (Self::NotEct, _) => Some(Self::NotEct),
            (_, Self::Ce) => Some(Self::Ce),
            (Self::Ect0, Self::Ect1) => Some(Self::Ect1),
            (inner, _) => Some(inner),
        }
    }

    /// Whether no way of encapsulating makes an outer field `outer` of an inner field `inner`: the marked ones of RFC 6040, figure 4.
    #[inline]
    pub fn is_unused(inner: Self, outer: Self) -> bool {
        match inner {
            Self::NotEct => outer != Self::NotEct,
            Self::Ect0 => false,
            Self::Ect1 => outer == Self::Ect0,
            Self::Ce => outer == Self::Ect1,
        }
    }
}

/// A packet of either version; octets behind its total length are not part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpPacket<'a> {
    /// IPv4.
    V4(Ipv4Packet<'a>),
    /// IPv6.
    V6(Ipv6Packet<'a>),
}

impl<'a> IpPacket<'a> {
    /// A view over the packet at the start of `octets`.
    ///
    /// # Errors
    /// A version other than 4 or 6, or a length that does not fit.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, DecodeError> {
        match octets.first().map(|first| first >> 4) {
            Some(4) => Ipv4Packet::parse(octets).map(Self::V4),
            Some(6) => Ipv6Packet::parse(octets).map(Self::V6),
            Some(version) => {
                Err(DecodeError { field: "IP version", offset: 0, problem: Problem::Value(version.into()) })
            }
            None => Err(truncated("IP version", 1, 0)),
        }
    }

    /// The packet, without trailing octets.
    #[inline]
    pub fn octets(&self) -> &'a [u8] {
        match self {
            Self::V4(packet) => packet.octets(),
            Self::V6(packet) => packet.octets(),
        }
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.source().into(),
            Self::V6(packet) => packet.source().into(),
        }
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> IpAddr {
        match self {
            Self::V4(packet) => packet.destination().into(),
            Self::V6(packet) => packet.destination().into(),
        }
    }

    /// TTL or hop limit, in hops.
    #[inline]
    pub fn ttl(&self) -> u8 {
        match self {
            Self::V4(packet) => packet.ttl(),
            Self::V6(packet) => packet.hop_limit(),
        }
    }

    /// DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> TrafficClass {
        match self {
            Self::V4(packet) => packet.traffic_class(),
            Self::V6(packet) => packet.traffic_class(),
        }
    }

    /// The transport protocol and its header with what follows, IPv6 extension headers skipped; `None` where a fragment
    /// or an unknown extension hides it.
    #[inline]
    pub fn transport(&self) -> Option<(u8, &'a [u8])> {
        match self {
            Self::V4(packet) => (!packet.is_fragment()).then(|| (packet.protocol(), packet.payload())),
            Self::V6(packet) => packet.transport(),
        }
    }

    /// What tells this packet's flow from others.
    #[inline]
    pub fn flow(&self) -> FlowKey {
        FlowKey::of(self)
    }
}

pub(super) fn truncated(field: &'static str, needed: usize, available: usize) -> DecodeError {
    DecodeError { field, offset: 0, problem: Problem::Truncated { needed, available } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Ecn::{Ce, Ect0, Ect1, NotEct};
    use proptest::prelude::*;

    #[test]
    fn all_sixteen_combinations_of_rfc_6040() {
        let outers = [NotEct, Ect0, Ect1, Ce];
        let matrix = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in matrix {
            for (outer, expected) in outers.into_iter().zip(row) {
                assert_eq!(Ecn::decapsulate(inner, outer), expected, "inner {inner:?} outer {outer:?}");
            }
        }
    }

    #[test]
    fn the_five_unused_combinations_of_rfc_6040() {
        let outers = [NotEct, Ect0, Ect1, Ce];
        let marked = outers.map(|inner| outers.map(|outer| u8::from(Ecn::is_unused(inner, outer))));
        assert_eq!(marked, [[0, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]);
    }

    #[test]
    fn a_traffic_class_is_dscp_and_ecn() {
        let class = TrafficClass::new(46, Ect0);
        assert_eq!((class.0, class.dscp(), class.ecn()), (0xba, 46, Ect0));
    }

    #[test]
    fn other_versions_are_refused() {
        let error = IpPacket::parse(&[0x75; 40]).map(|_| ()).map_err(|e| e.problem);
        assert_eq!(error, Err(Problem::Value(7)));
    }

    proptest! {
        #[test]
        fn no_accessor_panics_on_any_octets(mut octets in proptest::collection::vec(any::<u8>(), 0..120), version in 0..3u8) {
            if let Some(first) = octets.first_mut() {
                *first = match version { 0 => 0x45, 1 => 0x60, _ => *first };
            }
            if octets.len() > 6 && version < 2 {
                octets[2] = 0; // A small total length (v4) or traffic class (v6): parsing succeeds more often.
                octets[4] = 0;
            }
            if let Ok(packet) = IpPacket::parse(&octets) {
                let _ = (packet.source(), packet.destination(), packet.ttl(), packet.traffic_class());
                let _ = (packet.transport(), packet.flow().hash(), super::super::is_icmp_error(&packet));
                prop_assert!(packet.octets().len() <= octets.len());
            }
        }
    }
}
