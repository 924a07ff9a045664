// SPDX-License-Identifier: GPL-2.0-or-later
//! A super-packet into segments: each gets a header of its own (RFC 9293, section 3.1; RFC 768), its payload stays where it
//! is.

use std::ops::Range;

use wire::data::{IpPacket, Ipv4Header, Ipv6Header, UdpHeader, protocol};

use super::checksum::Sum;
use super::{Gso, GsoKind, Malformed, Partial};

/// Offsets in the headers.
pub(super) mod field {
    use std::ops::Range;
    pub(crate) const V4_TOTAL_LENGTH: Range<usize> = 2..4;
    pub(crate) const V4_IDENTIFICATION: Range<usize> = 4..6;
    pub(crate) const V4_CHECKSUM: Range<usize> = 10..12;
    pub(crate) const V6_PAYLOAD_LENGTH: Range<usize> = 4..6;
    pub(crate) const TCP_SEQUENCE: Range<usize> = 4..8;
    pub(crate) const TCP_DATA_OFFSET: usize = 12;
    pub(crate) const TCP_FLAGS: usize = 13;
    pub(crate) const TCP_CHECKSUM: usize = 16;
    pub(crate) const UDP_LENGTH: Range<usize> = 4..6;
    pub(crate) const UDP_CHECKSUM: usize = 6;
}

/// Flags of TCP (RFC 9293, section 3.1; RFC 3168, section 6.1).
pub(super) mod flag {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const PSH: u8 = 0x08;
    pub(crate) const ACK: u8 = 0x10;
    pub(crate) const URG: u8 = 0x20;
    pub(crate) const CWR: u8 = 0x80;
}

/// Octets of a TCP header without options.
pub(super) const SHORTEST_TCP_HEADER: usize = 20;
/// Segments of one super-packet: 64 KB in the smallest that Linux makes, 8 octets (TCP_MIN_GSO_SIZE of linux/tcp.h). A peer
/// whose MSS is 48, with options, gets 1820.
pub const MOST_SEGMENTS: usize = 65_535 / 8;

/// How a super-packet falls into segments.
#[derive(Debug, Clone, Copy)]
pub struct SuperPacket {
    kind: GsoKind,
    is_v6: bool,
    /// Where the transport header begins, and where the payload.
    transport: usize,
    header: usize,
    length: usize,
    size: usize,
    /// The pseudo-header without its length.
    pseudo_header: Sum,
}

impl SuperPacket {
    /// Reads how `octets`, a whole packet, are to be cut.
    ///
    /// # Errors
    /// The packet is not of that transport, or one of the lengths cannot be meant.
    pub fn parse(gso: Gso, checksum: Option<Partial>, octets: &[u8]) -> Result<Self, Malformed> {
        let packet = IpPacket::parse(octets).map_err(|_| Malformed("IP length"))?;
        if packet.octets().len() != octets.len() {
            return Err(Malformed("IP length"));
        }
        let is_v6 = matches!(packet, IpPacket::V6(_));
        let (number, has_version, checksum_at) = match gso.kind {
            GsoKind::Tcp4 => (protocol::TCP, !is_v6, field::TCP_CHECKSUM),
            GsoKind::Tcp6 => (protocol::TCP, is_v6, field::TCP_CHECKSUM),
            GsoKind::Udp => (protocol::UDP, true, field::UDP_CHECKSUM),
        };
        let found = packet.transport();
        if !has_version || found.is_some_and(|(found, _)| found != number) {
            return Err(Malformed("gso_type"));
        }
        let found = found.map(|(_, segment)| octets.len() - segment.len());
        let transport = match (found, checksum) {
            (Some(start), None) => start,
            (Some(start), Some(partial)) if at(partial) == (start, start + checksum_at) => start,
            // Behind more extension headers than we look at: whoever left the checksum to us has looked at all.
            (None, Some(partial)) if is_v6 && is_behind_ipv6(partial, checksum_at) => partial.start.into(),
            (None, None) => return Err(Malformed("transport")),
            (_, Some(_)) => return Err(Malformed("csum_start")),
        };
        let segment = octets.get(transport..).ok_or(Malformed("csum_start"))?;
        let header = transport + transport_length(gso.kind, segment)?;
        let (size, payload) = (usize::from(gso.size), octets.len() - header);
        if size == 0 || payload.div_ceil(size) > MOST_SEGMENTS {
            return Err(Malformed("gso_size"));
        }
        let pseudo_header = match checksum {
            None => Sum::default().plus_pseudo_header(packet.source(), packet.destination(), number),
            // The field has the sum already. A routing header hides the address that counts, but not from who wrote it.
            Some(_) => {
                let length = u16::try_from(segment.len()).map_err(|_| Malformed("IP length"))?;
                Sum::default().plus(&segment[checksum_at..checksum_at + 2]).plus_word(!length)
            }
        };
        Ok(Self { kind: gso.kind, is_v6, transport, header, length: octets.len(), size, pseudo_header })
    }

    /// How many segments a packet seems to have that [`Self::parse`] refuses: one at least.
    pub fn presumed_count(gso: Gso, checksum: Option<Partial>, octets: &[u8]) -> usize {
        let segment = checksum.and_then(|partial| octets.get(partial.start.into()..)).unwrap_or(octets);
        let payload = segment.len() - transport_length(gso.kind, segment).unwrap_or(0);
        payload.div_ceil(usize::from(gso.size).max(1)).clamp(1, MOST_SEGMENTS)
    }

    /// How many segments there are.
    pub fn count(&self) -> usize {
        (self.length - self.header).div_ceil(self.size).max(1)
    }

    /// Octets of the headers of each segment.
    pub fn header_length(&self) -> usize {
        self.header
    }

    /// Where the payload of a segment is.
    pub fn payload(&self, index: usize) -> Range<usize> {
        let start = (self.header + index * self.size).min(self.length);
        start..(start + self.size).min(self.length)
    }

    /// Appends the headers of a segment, which are right in all that they say: lengths, IPv4 identification, sequence
    /// number, flags and checksums. `octets` is the packet that was parsed.
    pub fn write_header(&self, octets: &[u8], index: usize, headers: &mut Vec<u8>) {
        let start = headers.len();
        headers.extend_from_slice(&octets[..self.header]);
        let header = &mut headers[start..];
        let payload = &octets[self.payload(index)];
        self.write_ip(header, index, payload.len());
        let (last, transport) = (index + 1 == self.count(), &mut header[self.transport..]);
        let length = low_word(transport.len() + payload.len());
        let checksum = match self.kind {
            GsoKind::Tcp4 | GsoKind::Tcp6 => {
                self.write_tcp(transport, index, last);
                field::TCP_CHECKSUM
            }
            GsoKind::Udp => {
                transport[field::UDP_LENGTH].copy_from_slice(&length.to_be_bytes());
                field::UDP_CHECKSUM
            }
        };
        transport[checksum..checksum + 2].fill(0);
        let sum = self.pseudo_header.plus_word(length).plus(transport).plus(payload).field();
        transport[checksum..checksum + 2].copy_from_slice(&never_zero(self.kind == GsoKind::Udp, sum));
    }

    fn write_ip(&self, header: &mut [u8], index: usize, payload: usize) {
        let length = header.len() + payload;
        if self.is_v6 {
            header[field::V6_PAYLOAD_LENGTH].copy_from_slice(&low_word(length - Ipv6Header::LENGTH).to_be_bytes());
            return;
        }
        let identification = word(header, field::V4_IDENTIFICATION).wrapping_add(low_word(index));
        header[field::V4_IDENTIFICATION].copy_from_slice(&identification.to_be_bytes());
        set_v4_length(header, self.transport, length);
    }

    fn write_tcp(&self, transport: &mut [u8], index: usize, last: bool) {
        let steps = u32::try_from(index * self.size).unwrap_or_default();
        let mut sequence = [0; 4];
        sequence.copy_from_slice(&transport[field::TCP_SEQUENCE]);
        let sequence = u32::from_be_bytes(sequence).wrapping_add(steps);
        transport[field::TCP_SEQUENCE].copy_from_slice(&sequence.to_be_bytes());
        if !last {
            transport[field::TCP_FLAGS] &= !(flag::FIN | flag::PSH);
        }
        if index > 0 {
            transport[field::TCP_FLAGS] &= !flag::CWR;
        }
    }
}

/// Computes the checksum of a packet that is none of several, where the kernel has left that to us.
///
/// # Errors
/// The field does not lie in the packet.
pub fn complete(partial: Partial, packet: &mut [u8]) -> Result<(), Malformed> {
    let (start, field) = at(partial);
    if field + 2 > packet.len() {
        return Err(Malformed("csum_start"));
    }
    let sum = Sum::default().plus(&packet[start..]).field();
    // Of the two transports that Linux leaves to us only UDP has its field there, and no checksum where it is 0.
    let is_udp = usize::from(partial.offset) == self::field::UDP_CHECKSUM;
    packet[field..field + 2].copy_from_slice(&never_zero(is_udp, sum));
    Ok(())
}

/// Start of what a checksum covers, and its field.
fn at(partial: Partial) -> (usize, usize) {
    let start = usize::from(partial.start);
    (start, start + usize::from(partial.offset))
}

/// Whether the checksum is one of the transport behind an IPv6 header, whatever is between them.
fn is_behind_ipv6(partial: Partial, checksum_at: usize) -> bool {
    usize::from(partial.start) >= Ipv6Header::LENGTH && usize::from(partial.offset) == checksum_at
}

fn transport_length(kind: GsoKind, segment: &[u8]) -> Result<usize, Malformed> {
    let length = match kind {
        GsoKind::Udp => UdpHeader::LENGTH,
        GsoKind::Tcp4 | GsoKind::Tcp6 => tcp_header_length(segment).ok_or(Malformed("TCP header"))?,
    };
    if length <= segment.len() { Ok(length) } else { Err(Malformed("transport header")) }
}

/// Octets of the TCP header at the start of `segment`, if it says so many that it has any sense.
pub(super) fn tcp_header_length(segment: &[u8]) -> Option<usize> {
    let length = usize::from(segment.get(field::TCP_DATA_OFFSET)? >> 4) * 4;
    (SHORTEST_TCP_HEADER..=segment.len()).contains(&length).then_some(length)
}

/// Sets the total length of an IPv4 header of `header_length` octets, and its checksum.
pub(super) fn set_v4_length(packet: &mut [u8], header_length: usize, total: usize) {
    debug_assert!(header_length >= Ipv4Header::LENGTH);
    packet[field::V4_TOTAL_LENGTH].copy_from_slice(&low_word(total).to_be_bytes());
    packet[field::V4_CHECKSUM].fill(0);
    let sum = Sum::default().plus(&packet[..header_length]).field();
    packet[field::V4_CHECKSUM].copy_from_slice(&sum);
}

/// A checksum of UDP is never 0, which means "none" (RFC 768).
fn never_zero(is_udp: bool, checksum: [u8; 2]) -> [u8; 2] {
    if is_udp && checksum == [0, 0] { [0xff, 0xff] } else { checksum }
}

pub(super) fn word(octets: &[u8], at: Range<usize>) -> u16 {
    u16::from_be_bytes([octets[at.start], octets[at.start + 1]])
}

/// The low 16 bits; no length in a packet has more.
pub(super) fn low_word(length: usize) -> u16 {
    u16::try_from(length & 0xffff).unwrap_or_default()
}
