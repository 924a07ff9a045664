// SPDX-License-Identifier: GPL-2.0-or-later
//! The header in front of each packet of a TUN device with IFF_VNET_HDR: virtio_net_hdr of the virtio specification 1.2,
//! section 5.1.6, in the byte order of the machine.

use super::Malformed;

/// ```text
///  flags | gso_type |  hdr_len  |  gso_size | csum_start | csum_offset
///    1   |    1     |     2     |     2     |      2     |      2       octets
/// ```
mod bit {
    pub(super) const NEEDS_CSUM: u8 = 1;
    pub(super) const GSO_NONE: u8 = 0;
    pub(super) const GSO_TCPV4: u8 = 1;
    pub(super) const GSO_TCPV6: u8 = 4;
    pub(super) const GSO_UDP_L4: u8 = 5;
    /// Beside a type of TCP: the first segment has CWR.
    pub(super) const GSO_ECN: u8 = 0x80;
}

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VnetHeader {
    /// The checksum that is still to be computed.
    pub checksum: Option<Partial>,
    /// How the packet is to be cut; `None` = it is one packet.
    pub gso: Option<Gso>,
    /// Octets of all headers of a super-packet: a hint.
    pub header_length: u16,
}

/// A checksum of which the field holds the sum of the pseudo-header only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partial {
    /// Where the octets begin that it covers, from the start of the packet; they reach to its end.
    pub start: u16,
    /// Where the field is, from `start`.
    pub offset: u16,
}

/// How a super-packet is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gso {
    /// The transport.
    pub kind: GsoKind,
    /// Octets of payload in each segment but the last.
    pub size: u16,
    /// The first segment has CWR of TCP.
    pub congestion: bool,
}

/// The transport of a super-packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either: each segment is a datagram.
    Udp,
}

impl VnetHeader {
    /// Octets of the header.
    pub const LENGTH: usize = 10;

    /// Header and packet.
    ///
    /// # Errors
    /// Too few octets, or a kind of super-packet that was not asked for.
    pub fn parse(octets: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let Some((header, packet)) = octets.split_first_chunk::<{ Self::LENGTH }>() else {
            return Err(Malformed("vnet header"));
        };
        let [flags, kind, h0, h1, g0, g1, s0, s1, o0, o1] = *header;
        let word = u16::from_ne_bytes;
        let checksum =
            (flags & bit::NEEDS_CSUM != 0).then_some(Partial { start: word([s0, s1]), offset: word([o0, o1]) });
        let gso = match kind & !bit::GSO_ECN {
            bit::GSO_NONE => None,
            bit::GSO_TCPV4 => Some(GsoKind::Tcp4),
            bit::GSO_TCPV6 => Some(GsoKind::Tcp6),
            bit::GSO_UDP_L4 => Some(GsoKind::Udp),
            _ => return Err(Malformed("gso_type")),
        };
        let congestion = kind & bit::GSO_ECN != 0;
        let gso = gso.map(|kind| Gso { kind, size: word([g0, g1]), congestion });
        Ok((Self { checksum, gso, header_length: word([h0, h1]) }, packet))
    }

    /// The ten octets.
    pub fn emit(&self) -> [u8; Self::LENGTH] {
        let flags = if self.checksum.is_some() { bit::NEEDS_CSUM } else { 0 };
        let Partial { start, offset } = self.checksum.unwrap_or(Partial { start: 0, offset: 0 });
        let (kind, size) = self.gso.map_or((bit::GSO_NONE, 0), |gso| {
            let kind = match gso.kind {
                GsoKind::Tcp4 => bit::GSO_TCPV4,
                GsoKind::Tcp6 => bit::GSO_TCPV6,
                GsoKind::Udp => bit::GSO_UDP_L4,
            };
            (kind | if gso.congestion { bit::GSO_ECN } else { 0 }, gso.size)
        });
        let [h, g, s, o] = [self.header_length, size, start, offset].map(u16::to_ne_bytes);
        [flags, kind, h[0], h[1], g[0], g[1], s[0], s[1], o[0], o[1]]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_of_zeros_is_one_whole_packet() {
        let (header, packet) = VnetHeader::parse(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x45]).unwrap();
        assert_eq!((header, packet), (VnetHeader::default(), &[0x45][..]));
        assert_eq!(VnetHeader::default().emit(), [0; 10]);
    }

    #[test]
    fn kinds_that_were_not_asked_for_are_refused() {
        assert_eq!(VnetHeader::parse(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed("gso_type")));
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_emitting_is_its_inverse(octets in proptest::collection::vec(any::<u8>(), 0..12), kind in 0..6u8) {
            let mut octets = octets;
            if let Some(to) = octets.get_mut(1) { *to = *to & 0x80 | kind; }
            if let Ok((header, rest)) = VnetHeader::parse(&octets) {
                prop_assert_eq!(rest, &octets[10..]);
                prop_assert_eq!(VnetHeader::parse(&header.emit()).unwrap().0, header);
            }
        }
    }
}
