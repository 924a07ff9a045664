// SPDX-License-Identifier: GPL-2.0-or-later
//! IPv6 (RFC 8200): a view and an emitter.

use std::net::Ipv6Addr;

use super::ip::{TrafficClass, truncated};
use crate::error::{DecodeError, Problem};

/// Smallest MTU that every IPv6 link has, in octets (RFC 8200, section 5).
pub const MINIMUM_MTU: usize = 1280;

/// Offsets in the header.
mod field {
    use std::ops::Range;
    pub(super) const PAYLOAD_LENGTH: Range<usize> = 4..6;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SOURCE: Range<usize> = 8..24;
    pub(super) const DESTINATION: Range<usize> = 24..40;
}
/// Extension headers that are skipped in search of the transport header.
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
}
/// More extension headers than any packet has use for; the rest is not looked at.
const MOST_EXTENSIONS: usize = 8;

/// A checked IPv6 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Packet<'a> {
    /// The start of `octets` once more, of a length that the compiler knows: reading it checks no bounds.
    header: &'a [u8; Ipv6Header::LENGTH],
    octets: &'a [u8],
}

impl<'a> Ipv6Packet<'a> {
    /// # Errors
    /// A payload length that does not fit `octets`, or another version.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, DecodeError> {
        let Some(header) = octets.first_chunk::<{ Ipv6Header::LENGTH }>() else {
            return Err(truncated("IPv6 header", Ipv6Header::LENGTH, octets.len()));
        };
        if header[0] >> 4 != 6 {
            let problem = Problem::Value((header[0] >> 4).into());
            return Err(DecodeError { field: "IP version", offset: 0, problem });
        }
        let at = field::PAYLOAD_LENGTH.start;
        let total = Ipv6Header::LENGTH + usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        match octets.get(..total) {
            Some(octets) => Ok(Self { header, octets }),
            None => Err(truncated("IPv6 payload length", total, octets.len())),
        }
    }

    /// The packet, without trailing octets.
    #[inline]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        self.address(field::SOURCE.start)
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        self.address(field::DESTINATION.start)
    }

    /// Hops.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.header[field::HOP_LIMIT]
    }

    /// DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> TrafficClass {
        TrafficClass(self.header[0] << 4 | self.header[1] >> 4)
    }

    /// Flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        u32::from_be_bytes([0, self.header[1] & 0x0f, self.header[2], self.header[3]])
    }

    /// The first next-header value.
    #[inline]
    pub fn next_header(&self) -> u8 {
        self.header[field::NEXT_HEADER]
    }

    /// What follows the fixed header.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.octets[Ipv6Header::LENGTH..]
    }

    /// The transport protocol and what starts with its header; `None` in fragments and behind unknown extensions.
    #[inline]
    pub fn transport(&self) -> Option<(u8, &'a [u8])> {
        match self.next_header() {
            extension::HOP_BY_HOP | extension::ROUTING | extension::FRAGMENT | extension::DESTINATION_OPTIONS => {
                self.behind_extensions()
            }
            transport => Some((transport, self.payload())),
        }
    }

    /// Few packets have extension headers: the search is out of the way of all others.
    #[inline(never)]
    fn behind_extensions(&self) -> Option<(u8, &'a [u8])> {
        let (mut next, mut rest) = (self.next_header(), self.payload());
        for _ in 0..MOST_EXTENSIONS {
            match next {
                extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION_OPTIONS => {
                    let [following, length, ..] = *rest else { return None };
                    rest = rest.get((usize::from(length) + 1) * 8..)?;
                    next = following;
                }
                extension::FRAGMENT => return None,
                transport => return Some((transport, rest)),
            }
        }
        None
    }

    /// Sets hop limit and traffic class of the packet at the start of `octets`, which `parse` has accepted.
    #[inline]
    pub fn rewrite(octets: &mut [u8], hop_limit: u8, class: TrafficClass) {
        octets[0] = 0x60 | class.0 >> 4;
        octets[1] = class.0 << 4 | octets[1] & 0x0f;
        octets[field::HOP_LIMIT] = hop_limit;
    }

    #[inline(always)]
    fn address(&self, at: usize) -> Ipv6Addr {
        let mut octets = [0; 16];
        octets.copy_from_slice(&self.header[at..at + 16]);
        octets.into()
    }
}

/// An IPv6 header without extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Header {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Protocol of the payload.
    pub next_header: u8,
    /// Hops.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub class: TrafficClass,
    /// 20 bits, the same for all packets of a flow (RFC 6437).
    pub flow_label: u32,
}

impl Ipv6Header {
    /// Octets of the header.
    pub const LENGTH: usize = 40;

    /// The header of a packet with `payload` octets behind it; `None` if that is too long without a jumbo option.
    #[inline]
    pub fn emit(&self, payload: usize) -> Option<[u8; Self::LENGTH]> {
        let length = u16::try_from(payload).ok()?;
        let mut octets = [0; Self::LENGTH];
        let first = 6 << 28 | u32::from(self.class.0) << 20 | self.flow_label & 0x000f_ffff;
        octets[..4].copy_from_slice(&first.to_be_bytes());
        octets[field::PAYLOAD_LENGTH].copy_from_slice(&length.to_be_bytes());
        octets[field::NEXT_HEADER] = self.next_header;
        octets[field::HOP_LIMIT] = self.hop_limit;
        octets[field::SOURCE].copy_from_slice(&self.source.octets());
        octets[field::DESTINATION].copy_from_slice(&self.destination.octets());
        Some(octets)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn packet(next_header: u8, payload: &[u8]) -> Vec<u8> {
        let header = Ipv6Header {
            source: "2001:db8::1".parse().unwrap(),
            destination: "2001:db8::2".parse().unwrap(),
            next_header,
            hop_limit: 64,
            class: TrafficClass(0xb9),
            flow_label: 0xa_bcde,
        };
        [header.emit(payload.len()).unwrap().as_slice(), payload].concat()
    }

    #[test]
    fn emitted_fields_are_read_back() {
        let octets = packet(17, &[0; 8]);
        let view = Ipv6Packet::parse(&octets).unwrap();
        assert_eq!((view.traffic_class(), view.flow_label(), view.hop_limit()), (TrafficClass(0xb9), 0xa_bcde, 64));
        assert_eq!((view.source(), view.next_header()), ("2001:db8::1".parse().unwrap(), 17));
    }

    #[test]
    fn a_rewrite_leaves_the_flow_label() {
        let mut octets = packet(17, &[]);
        Ipv6Packet::rewrite(&mut octets, 3, TrafficClass(0x46));
        let view = Ipv6Packet::parse(&octets).unwrap();
        assert_eq!((view.hop_limit(), view.traffic_class(), view.flow_label()), (3, TrafficClass(0x46), 0xa_bcde));
    }

    #[test]
    fn transport_is_found_behind_extensions_but_not_in_fragments() {
        let extension = [6, 0, 0, 0, 0, 0, 0, 0, 0xaa];
        let octets = packet(extension::HOP_BY_HOP, &extension);
        assert_eq!(Ipv6Packet::parse(&octets).unwrap().transport(), Some((6, &[0xaa][..])));
        let octets = packet(extension::FRAGMENT, &extension);
        assert_eq!(Ipv6Packet::parse(&octets).unwrap().transport(), None);
        let octets = packet(extension::ROUTING, &[6, 9]);
        assert_eq!(Ipv6Packet::parse(&octets).unwrap().transport(), None);
    }
}
