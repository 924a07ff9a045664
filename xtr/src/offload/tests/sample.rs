// SPDX-License-Identifier: GPL-2.0-or-later
//! Super-packets as the kernel would hand them over, and what their sender would have sent without offload.

use std::net::IpAddr;

use proptest::prelude::*;
use wire::data::{IpPacket, Ipv4Header, Ipv6Header, TrafficClass, UdpHeader, checksum};

use crate::offload::checksum::Sum;
use crate::offload::segment::{field, flag};
use crate::offload::{Gso, GsoKind, Partial, VnetHeader};

/// Extension headers of IPv6 (RFC 8200, section 4.1).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;

/// A super-packet, and what a receiver of its segments may rely on.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) is_v6: bool,
    pub(crate) is_tcp: bool,
    pub(crate) class: u8,
    pub(crate) ttl: u8,
    pub(crate) port: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) identification: u16,
    pub(crate) sequence: u32,
    pub(crate) flags: u8,
    /// Words of TCP options.
    pub(crate) options: usize,
    /// Words of IPv4 options.
    pub(crate) ip_options: usize,
    /// The length of each extension header of IPv6, as it says it: eight octets each, without the first.
    pub(crate) extensions: Vec<u8>,
    pub(crate) size: usize,
    pub(crate) payload: Vec<u8>,
}

impl Sample {
    /// The whole packet with the sum of the pseudo-header in its checksum field, and its vnet header.
    pub(crate) fn packet(&self) -> (VnetHeader, Vec<u8>) {
        let mut transport = self.transport(0, self.flags, self.payload.len());
        let ((number, offset), (source, destination)) = (self.protocol(), self.ends());
        let length = transport.len() + self.payload.len();
        let sum = Sum::default().plus_pseudo_header(source, destination, number).plus_word(length as u16);
        transport[offset..offset + 2].copy_from_slice(&sum.partial());
        let ip = self.ip(0, length);
        let kind = match (self.is_tcp, self.is_v6) {
            (true, false) => GsoKind::Tcp4,
            (true, true) => GsoKind::Tcp6,
            (false, _) => GsoKind::Udp,
        };
        let congestion = self.is_tcp && self.flags & flag::CWR != 0;
        let vnet = VnetHeader {
            checksum: Some(Partial { start: ip.len() as u16, offset: offset as u16 }),
            gso: Some(Gso { kind, size: self.size as u16, congestion }),
            header_length: (ip.len() + transport.len()) as u16,
        };
        (vnet, [ip, transport, self.payload.clone()].concat())
    }

    /// Each segment, made for itself.
    pub(crate) fn segments(&self) -> Vec<Vec<u8>> {
        let count = self.payload.len().div_ceil(self.size);
        let segment = |(index, payload): (usize, &[u8])| {
            let mut flags = self.flags;
            if index + 1 < count {
                flags &= !(flag::FIN | flag::PSH);
            }
            if index > 0 {
                flags &= !flag::CWR;
            }
            let mut segment = self.transport((index * self.size) as u32, flags, payload.len());
            segment.extend_from_slice(payload);
            let ((number, offset), (source, destination)) = (self.protocol(), self.ends());
            let sum = match checksum::transport(source, destination, number, &segment) {
                0 if !self.is_tcp => u16::MAX,
                sum => sum,
            };
            segment[offset..offset + 2].copy_from_slice(&sum.to_be_bytes());
            [self.ip(index as u16, segment.len()), segment].concat()
        };
        self.payload.chunks(self.size).enumerate().map(segment).collect()
    }

    /// Its number, and where its checksum is.
    fn protocol(&self) -> (u8, usize) {
        if self.is_tcp { (6, field::TCP_CHECKSUM) } else { (17, field::UDP_CHECKSUM) }
    }

    fn ends(&self) -> (IpAddr, IpAddr) {
        match self.is_v6 {
            true => ("2001:db8:a::1".parse().unwrap(), "2001:db8:b::1".parse().unwrap()),
            false => ([10, 0, 0, 1].into(), [10, 0, 1, 1].into()),
        }
    }

    /// The header behind which so many octets of payload follow, so many after the first; its checksum is 0.
    fn transport(&self, behind: u32, flags: u8, payload: usize) -> Vec<u8> {
        if !self.is_tcp {
            return UdpHeader { source: self.port, destination: 443, checksum: 0 }.emit(payload).unwrap().to_vec();
        }
        let mut header = vec![0; 20];
        header[..2].copy_from_slice(&self.port.to_be_bytes());
        header[2..4].copy_from_slice(&443u16.to_be_bytes());
        header[4..8].copy_from_slice(&self.sequence.wrapping_add(behind).to_be_bytes());
        header[8..12].copy_from_slice(&77u32.to_be_bytes());
        header[12] = ((5 + self.options) << 4) as u8;
        header[13] = flags;
        header[14..16].copy_from_slice(&500u16.to_be_bytes());
        header.extend((0..self.options * 4).map(|octet| octet as u8));
        header
    }

    /// The headers in front of a transport header and its payload of `length` octets, of the packet with this number.
    fn ip(&self, index: u16, length: usize) -> Vec<u8> {
        let (ttl, class, (number, _)) = (self.ttl, TrafficClass(self.class), self.protocol());
        match self.ends() {
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let (next_header, extensions) = self.extensions(number);
                Ipv6Header { source, destination, next_header, hop_limit: ttl, class, flow_label: 7 }
                    .emit(extensions.len() + length)
                    .unwrap()
                    .into_iter()
                    .chain(extensions)
                    .collect()
            }
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header =
                    Ipv4Header { source, destination, protocol: number, ttl, class, dont_fragment: self.dont_fragment };
                let mut header = header.emit(4 * self.ip_options + length).unwrap().to_vec();
                header[0] += self.ip_options as u8;
                // No operation (RFC 791, section 3.1).
                header.extend(std::iter::repeat_n(1, 4 * self.ip_options));
                let identification = self.identification.wrapping_add(index);
                header[field::V4_IDENTIFICATION].copy_from_slice(&identification.to_be_bytes());
                header[field::V4_CHECKSUM].fill(0);
                let sum = checksum::internet(&header);
                header[field::V4_CHECKSUM].copy_from_slice(&sum.to_be_bytes());
                header
            }
            _ => unreachable!("both are of one family"),
        }
    }

    /// The extension headers in front of `number`, of padding, and what the first of all is.
    fn extensions(&self, number: u8) -> (u8, Vec<u8>) {
        let kind = |index| match index {
            0 => HOP_BY_HOP,
            index if index % 2 == 1 => DESTINATION_OPTIONS,
            _ => ROUTING,
        };
        let mut octets = Vec::new();
        for (index, length) in self.extensions.iter().enumerate() {
            let next = if index + 1 == self.extensions.len() { number } else { kind(index + 1) };
            octets.extend([next, *length]);
            octets.extend(std::iter::repeat_n(0, 6 + 8 * usize::from(*length)));
        }
        (if self.extensions.is_empty() { number } else { kind(0) }, octets)
    }
}

/// The transport protocol of a packet that is no fragment, and what begins with its header, behind any number of extension headers.
pub(crate) fn transport_of(octets: &[u8]) -> (u8, &[u8]) {
    match IpPacket::parse(octets).unwrap() {
        IpPacket::V4(packet) => (packet.protocol(), packet.payload()),
        IpPacket::V6(packet) => {
            let (mut next, mut rest) = (packet.next_header(), packet.payload());
            while [HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS].contains(&next) {
                (next, rest) = (rest[0], &rest[8 * (1 + usize::from(rest[1]))..]);
            }
            (next, rest)
        }
    }
}

pub(crate) fn sample() -> impl Strategy<Value = Sample> {
    let header = (any::<bool>(), any::<bool>(), any::<u8>(), 1..=255u8, any::<u16>(), any::<bool>());
    // Options of Linux hosts have up to 488 octets or so in one header.
    let extensions = proptest::collection::vec(prop_oneof![4 => 0..=6u8, 1 => 0..=60u8], 0..=10);
    let ip = (any::<u16>(), 0..=10usize, extensions);
    let rest = (any::<u32>(), any::<u8>(), 0..=10usize, 1..1500usize, 1..40usize, 0..1500usize, any::<u8>());
    (header, ip, rest).prop_map(|(header, (identification, ip_options, extensions), rest)| {
        let (is_v6, is_tcp, class, ttl, port, dont_fragment) = header;
        let (sequence, flags, options, size, count, last, fill) = rest;
        let flags = flags & (flag::PSH | flag::FIN | flag::CWR | 0x40) | flag::ACK;
        let length = ((count - 1) * size + 1 + last % size).min(60_000);
        let payload = (0..length).map(|octet| (octet as u8).wrapping_mul(31) ^ fill).collect();
        Sample {
            is_v6,
            is_tcp,
            class,
            ttl,
            port,
            dont_fragment,
            identification,
            sequence,
            flags,
            options,
            ip_options,
            extensions,
            size,
            payload,
        }
    })
}
