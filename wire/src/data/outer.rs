// SPDX-License-Identifier: GPL-2.0-or-later
//! The outer header of an encapsulated packet: IP, UDP and LISP (RFC 9300, sections 5.1 to 5.3).

use std::net::IpAddr;

use super::ip::protocol;
use super::{Ipv4Header, Ipv6Header, LispHeader, TrafficClass, UdpHeader};

/// All three headers in front of an inner packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OuterHeader {
    /// Our RLOC.
    pub source: IpAddr,
    /// The RLOC that the packet goes to, of the same family.
    pub destination: IpAddr,
    /// UDP source port, from the flow of the inner packet.
    pub source_port: u16,
    /// UDP destination port: 4341, but for an xTR behind a NAT, which is reached at the port that the NAT has given it.
    pub destination_port: u16,
    /// Hops, from the inner packet.
    pub ttl: u8,
    /// DSCP and ECN, from the inner packet.
    pub class: TrafficClass,
    /// IPv6 flow label, 20 bits; unused over IPv4.
    pub flow_label: u32,
    /// DF of IPv4, so that no router fragments the packet; unused over IPv6, where none does.
    pub dont_fragment: bool,
    /// The octets of the LISP header: it is made for few packets, and the same for all others.
    pub lisp: [u8; LispHeader::LENGTH],
}

/// Octets in front of an inner packet over an RLOC: 36 over IPv4, 56 over IPv6 (RFC 9300, section 7.1).
pub const fn overhead(rloc: IpAddr) -> usize {
    let ip = match rloc {
        IpAddr::V4(_) => Ipv4Header::LENGTH,
        IpAddr::V6(_) => Ipv6Header::LENGTH,
    };
    ip + UdpHeader::LENGTH + LispHeader::LENGTH
}

impl OuterHeader {
    /// Octets of the longest header.
    pub const LONGEST: usize = Ipv6Header::LENGTH + UdpHeader::LENGTH + LispHeader::LENGTH;

    /// What the LISP header says.
    pub fn lisp(&self) -> LispHeader {
        LispHeader::read(self.lisp)
    }

    /// Writes the header of a packet with `inner` octets behind it and returns what was written. The UDP checksum
    /// is 0 in both families (RFC 9300, section 5.3), and so is the identification of IPv4, which the kernel fills in where there is no
    /// DF. `None` if the packet gets too long, or if the families differ.
    #[inline]
    pub fn emit<'b>(&self, inner: usize, buffer: &'b mut [u8; Self::LONGEST]) -> Option<&'b [u8]> {
        let payload = LispHeader::LENGTH.checked_add(inner)?;
        let udp =
            UdpHeader { source: self.source_port, destination: self.destination_port, checksum: 0 }.emit(payload)?;
        let (ip, rest) = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (ttl, class, dont_fragment) = (self.ttl, self.class, self.dont_fragment);
                let header = Ipv4Header { source, destination, protocol: protocol::UDP, ttl, class, dont_fragment };
                let (ip, rest) = buffer.split_at_mut(Ipv4Header::LENGTH);
                ip.copy_from_slice(&header.emit(UdpHeader::LENGTH + payload)?);
                (Ipv4Header::LENGTH, rest)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (hop_limit, class, flow_label) = (self.ttl, self.class, self.flow_label);
                let next_header = protocol::UDP;
                let header = Ipv6Header { source, destination, next_header, hop_limit, class, flow_label };
                let (ip, rest) = buffer.split_at_mut(Ipv6Header::LENGTH);
                ip.copy_from_slice(&header.emit(UdpHeader::LENGTH + payload)?);
                (Ipv6Header::LENGTH, rest)
            }
            _ => return None,
        };
        rest[..UdpHeader::LENGTH].copy_from_slice(&udp);
        rest[UdpHeader::LENGTH..][..LispHeader::LENGTH].copy_from_slice(&self.lisp);
        Some(&buffer[..ip + UdpHeader::LENGTH + LispHeader::LENGTH])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::DATA_PORT;
    use crate::data::{Ipv4Packet, Ipv6Packet, checksum};

    fn header(source: &str, destination: &str) -> OuterHeader {
        OuterHeader {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            source_port: 50000,
            destination_port: DATA_PORT,
            ttl: 16,
            class: TrafficClass(0xb9),
            flow_label: 77,
            dont_fragment: true,
            lisp: [0; LispHeader::LENGTH],
        }
    }

    #[test]
    fn only_what_routers_may_fragment_has_no_dont_fragment() {
        let [mut whole, mut parts] = [[0; OuterHeader::LONGEST]; 2];
        for destination in ["198.51.100.1", "2001:db8::2"] {
            let source = if destination.contains(':') { "2001:db8::1" } else { "192.0.2.1" };
            let header = header(source, destination);
            let whole = header.emit(1280, &mut whole).unwrap();
            let parts = OuterHeader { dont_fragment: false, ..header }.emit(1280, &mut parts).unwrap();
            let differ: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != parts[*at]).collect();
            // Flags and checksum of IPv4.
            assert_eq!(differ, if header.destination.is_ipv4() { vec![6, 10] } else { vec![] });
            assert!(header.destination.is_ipv6() || checksum::internet(&parts[..20]) == 0 && parts[6] == 0);
        }
    }

    #[test]
    fn ipv4_has_dont_fragment_and_a_zero_udp_checksum() {
        let mut buffer = [0xff; OuterHeader::LONGEST];
        let octets = header("192.0.2.1", "198.51.100.1").emit(100, &mut buffer).unwrap();
        assert_eq!(octets.len(), 36);
        let packet = [octets, &[0; 100]].concat();
        let ip = Ipv4Packet::parse(&packet).unwrap();
        assert_eq!((ip.ttl(), ip.traffic_class(), ip.dont_fragment()), (16, TrafficClass(0xb9), true));
        assert_eq!(checksum::internet(&octets[..20]), 0);
        let (udp, payload) = UdpHeader::parse(ip.payload()).unwrap();
        assert_eq!((udp.source, udp.destination, udp.checksum, payload.len()), (50000, 4341, 0, 108));
        assert_eq!(payload[..8], [0; 8]);
    }

    #[test]
    fn ipv6_has_the_flow_label_and_a_zero_udp_checksum() {
        let mut buffer = [0xff; OuterHeader::LONGEST];
        let octets = header("2001:db8::1", "2001:db8::2").emit(100, &mut buffer).unwrap();
        assert_eq!(octets.len(), 56);
        let packet = [octets, &[0; 100]].concat();
        let ip = Ipv6Packet::parse(&packet).unwrap();
        assert_eq!((ip.hop_limit(), ip.flow_label(), ip.payload().len()), (16, 77, 116));
        assert_eq!(UdpHeader::parse(ip.payload()).unwrap().0.checksum, 0);
    }

    #[test]
    fn mixed_families_and_oversize_have_no_header() {
        let mut buffer = [0; OuterHeader::LONGEST];
        assert_eq!(header("192.0.2.1", "2001:db8::2").emit(1, &mut buffer), None);
        assert_eq!(header("192.0.2.1", "192.0.2.2").emit(65_535 - 35, &mut buffer), None);
        assert!(header("192.0.2.1", "192.0.2.2").emit(65_535 - 36, &mut buffer).is_some());
    }
}
