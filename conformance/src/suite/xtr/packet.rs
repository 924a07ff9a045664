// SPDX-License-Identifier: GPL-2.0-or-later
//! IP packets as octets: made with whatever is wrong that has to be, and read.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use wire::data::{Ipv4Packet, checksum, protocol};

const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const LISP_HEADER: usize = 8;
const DONT_FRAGMENT: u16 = 0x4000;
/// An identification that no kernel replaces: of 0 it would make one of its own.
const IDENTIFICATION: u16 = 0x4341;

/// A packet before it is octets.
#[derive(Debug, Clone)]
pub(in crate::suite) struct Packet {
    pub(in crate::suite) source: IpAddr,
    pub(in crate::suite) destination: IpAddr,
    pub(in crate::suite) ttl: u8,
    /// DSCP and ECN.
    pub(in crate::suite) class: u8,
    /// Flags and fragment offset of IPv4.
    pub(in crate::suite) fragment: u16,
    pub(in crate::suite) protocol: u8,
    pub(in crate::suite) payload: Vec<u8>,
}

impl Packet {
    pub(in crate::suite) fn new(source: IpAddr, destination: IpAddr, protocol: u8, payload: Vec<u8>) -> Self {
        Self { source, destination, ttl: 64, class: 0, fragment: DONT_FRAGMENT, protocol, payload }
    }

    /// A UDP datagram with a right checksum.
    pub(in crate::suite) fn udp(source: SocketAddr, destination: SocketAddr, data: &[u8]) -> Self {
        let segment = udp(source, destination, data, Checksum::Right);
        Self::new(source.ip(), destination.ip(), protocol::UDP, segment)
    }

    #[must_use]
    pub(in crate::suite) fn with_ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    #[must_use]
    pub(in crate::suite) fn with_class(self, class: u8) -> Self {
        Self { class, ..self }
    }

    /// Flags and fragment offset of IPv4.
    #[must_use]
    pub(in crate::suite) fn with_fragment(self, fragment: u16) -> Self {
        Self { fragment, ..self }
    }

    pub(in crate::suite) fn octets(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut header = vec![0x45, self.class];
                header.extend(short(V4_HEADER + self.payload.len()).to_be_bytes());
                header.extend(IDENTIFICATION.to_be_bytes());
                header.extend(self.fragment.to_be_bytes());
                header.extend([self.ttl, self.protocol, 0, 0]);
                header.extend(source.octets());
                header.extend(destination.octets());
                let sum = checksum::internet(&header).to_be_bytes();
                header[10..12].copy_from_slice(&sum);
                [&header[..], &self.payload].concat()
            }
            (source, destination) => {
                let mut header = vec![0x60 | self.class >> 4, self.class << 4, 0, 0];
                header.extend(short(self.payload.len()).to_be_bytes());
                header.extend([self.protocol, self.ttl]);
                header.extend(v6(source).octets());
                header.extend(v6(destination).octets());
                [&header[..], &self.payload].concat()
            }
        }
    }
}

/// The checksum of a UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::suite) enum Checksum {
    Right,
    Zero,
    Wrong,
}

/// A UDP header and what follows it.
pub(in crate::suite) fn udp(source: SocketAddr, destination: SocketAddr, data: &[u8], sum: Checksum) -> Vec<u8> {
    let mut segment = Vec::with_capacity(UDP_HEADER + data.len());
    segment.extend(source.port().to_be_bytes());
    segment.extend(destination.port().to_be_bytes());
    segment.extend(short(UDP_HEADER + data.len()).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend_from_slice(data);
    let right = checksum::udp(source.ip(), destination.ip(), &segment);
    let sum = match sum {
        Checksum::Right => right,
        Checksum::Zero => 0,
        // 0 would mean that there is none.
        Checksum::Wrong => {
            if right == 0x5555 {
                0x5556
            } else {
                0x5555
            }
        }
    };
    segment[6..UDP_HEADER].copy_from_slice(&sum.to_be_bytes());
    segment
}

/// An ICMP message of either version: type, code, the second word and what follows it.
pub(in crate::suite) fn icmp(ends: (IpAddr, IpAddr), kind: (u8, u8), word: u32, body: &[u8]) -> Packet {
    let (source, destination) = ends;
    let mut message = vec![kind.0, kind.1, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend_from_slice(body);
    let is_v4 = source.is_ipv4();
    let (number, sum) = match is_v4 {
        true => (protocol::ICMP, checksum::internet(&message)),
        false => (protocol::ICMPV6, checksum::transport(source, destination, protocol::ICMPV6, &message)),
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    Packet::new(source, destination, number, message)
}

/// What goes in front of an inner packet.
#[derive(Debug, Clone)]
pub(in crate::suite) struct Outer {
    pub(in crate::suite) source: IpAddr,
    pub(in crate::suite) destination: IpAddr,
    pub(in crate::suite) ttl: u8,
    pub(in crate::suite) class: u8,
    pub(in crate::suite) lisp: [u8; LISP_HEADER],
    pub(in crate::suite) checksum: Checksum,
}

impl Outer {
    pub(in crate::suite) fn new(source: IpAddr, destination: IpAddr) -> Self {
        Self { source, destination, ttl: 64, class: 0, lisp: [0; LISP_HEADER], checksum: Checksum::Zero }
    }

    #[must_use]
    pub(in crate::suite) fn with_lisp(self, lisp: [u8; LISP_HEADER]) -> Self {
        Self { lisp, ..self }
    }

    #[must_use]
    pub(in crate::suite) fn with_checksum(self, checksum: Checksum) -> Self {
        Self { checksum, ..self }
    }

    /// The packet with this inner one.
    pub(in crate::suite) fn around(&self, inner: &[u8]) -> Vec<u8> {
        self.with_payload(&[&self.lisp[..], inner].concat())
    }

    /// The packet with these octets in the place of a LISP header and an inner packet.
    pub(in crate::suite) fn with_payload(&self, payload: &[u8]) -> Vec<u8> {
        let from = SocketAddr::new(self.source, 0xf0b1);
        let to = SocketAddr::new(self.destination, wire::DATA_PORT);
        let segment = udp(from, to, payload, self.checksum);
        let packet = Packet::new(self.source, self.destination, protocol::UDP, segment);
        packet.with_ttl(self.ttl).with_class(self.class).octets()
    }
}

/// An encapsulated packet, taken apart.
#[derive(Debug, Clone)]
pub(in crate::suite) struct Encapsulated {
    pub(in crate::suite) source: IpAddr,
    pub(in crate::suite) destination: IpAddr,
    pub(in crate::suite) ttl: u8,
    pub(in crate::suite) class: u8,
    /// Flags and fragment offset of IPv4; of IPv6, DF.
    pub(in crate::suite) fragment: u16,
    pub(in crate::suite) flow_label: u32,
    pub(in crate::suite) source_port: u16,
    /// As it is written.
    pub(in crate::suite) udp_length: usize,
    pub(in crate::suite) checksum: u16,
    pub(in crate::suite) is_checksum_right: bool,
    pub(in crate::suite) lisp: [u8; LISP_HEADER],
    pub(in crate::suite) inner: Vec<u8>,
    /// All of it.
    pub(in crate::suite) octets: Vec<u8>,
}

impl Encapsulated {
    /// None of what is no UDP datagram to port 4341 with a LISP header.
    pub(in crate::suite) fn read(octets: &[u8]) -> Option<Self> {
        let (source, destination) = ends(octets)?;
        let is_v4 = source.is_ipv4();
        let (ttl, class, number, header) = match is_v4 {
            true => (octets[8], octets[1], octets[9], usize::from(octets[0] & 0x0f) * 4),
            false => (octets[7], octets[0] << 4 | octets[1] >> 4, octets[6], V6_HEADER),
        };
        let segment = octets.get(header..)?;
        let (udp, payload) = segment.split_at_checked(UDP_HEADER)?;
        let word = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let (lisp, inner) = payload.split_first_chunk::<LISP_HEADER>()?;
        if number != protocol::UDP || word(2) != wire::DATA_PORT {
            return None;
        }
        // Summed with the checksum itself a right segment gives zero, which is written as all ones.
        let mut blank = segment.to_vec();
        blank[6..UDP_HEADER].fill(0);
        Some(Self {
            source,
            destination,
            ttl,
            class,
            fragment: if is_v4 { u16::from_be_bytes([octets[6], octets[7]]) } else { DONT_FRAGMENT },
            flow_label: if is_v4 { 0 } else { u32::from_be_bytes([0, octets[1] & 0x0f, octets[2], octets[3]]) },
            source_port: word(0),
            udp_length: usize::from(word(4)),
            checksum: word(6),
            is_checksum_right: checksum::udp(source, destination, &blank) == word(6),
            lisp: *lisp,
            inner: inner.to_vec(),
            octets: octets.to_vec(),
        })
    }

    /// IPv4: DF set, no fragment.
    pub(in crate::suite) fn is_whole(&self) -> bool {
        self.fragment == DONT_FRAGMENT
    }
}

/// Source and destination of a packet, however little of it is right.
pub(in crate::suite) fn ends(octets: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match octets.first()? >> 4 {
        4 if octets.len() >= V4_HEADER => {
            let address = |at: usize| <[u8; 4]>::try_from(&octets[at..at + 4]).ok().map(IpAddr::from);
            Some((address(12)?, address(16)?))
        }
        6 if octets.len() >= V6_HEADER => {
            let address = |at: usize| <[u8; 16]>::try_from(&octets[at..at + 16]).ok().map(IpAddr::from);
            Some((address(8)?, address(24)?))
        }
        _ => None,
    }
}

/// The packet behind a router: one hop less.
pub(in crate::suite) fn forwarded(mut octets: Vec<u8>) -> Vec<u8> {
    if octets[0] >> 4 == 6 {
        octets[7] -= 1;
        return octets;
    }
    octets[8] -= 1;
    octets[10..12].fill(0);
    let header = Ipv4Packet::parse(&octets).map_or(V4_HEADER, |packet| packet.header_length());
    let sum = checksum::internet(&octets[..header]).to_be_bytes();
    octets[10..12].copy_from_slice(&sum);
    octets
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_read() {
        for (source, destination) in [("192.0.2.1", "198.51.100.1"), ("2001:db8::1", "2001:db8::2")] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let inner = Packet::udp(SocketAddr::new(source, 1), SocketAddr::new(destination, 2), b"data").octets();
            for (sum, is_right) in [(Checksum::Right, true), (Checksum::Zero, false), (Checksum::Wrong, false)] {
                let mut outer = Outer::new(source, destination).with_lisp([8, 0, 0, 0, 1, 2, 3, 0]).with_checksum(sum);
                (outer.ttl, outer.class) = (9, 0xb9);
                let read = Encapsulated::read(&outer.around(&inner)).unwrap();
                assert_eq!((read.ttl, read.class, read.lisp, &read.inner), (9, 0xb9, outer.lisp, &inner));
                assert_eq!((read.is_checksum_right, read.udp_length), (is_right, 16 + inner.len()), "{sum:?}");
                assert!(read.is_whole());
            }
        }
    }

    #[test]
    fn the_vectors_are_packets_as_these_are() {
        let vectors = crate::vectors::shipped().unwrap().vectors;
        let d10 = vectors.iter().find(|vector| vector.id == "D10").unwrap();
        let read = Encapsulated::read(&d10.packet).unwrap();
        assert_eq!((read.ttl, read.class, read.inner[8], read.inner[1]), (5, 3, 64, 2));
        assert_eq!(ends(&forwarded(read.inner.clone())), ends(&read.inner));
        assert_eq!(checksum::internet(&forwarded(read.inner)[..20]), 0);
    }
}
