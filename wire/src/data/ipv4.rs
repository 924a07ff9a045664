// SPDX-License-Identifier: GPL-2.0-or-later
//! IPv4 (RFC 791): a view, an emitter, and fragmentation.

use std::net::Ipv4Addr;

use super::checksum;
use super::ip::{TrafficClass, truncated};
use crate::error::{DecodeError, Problem};

/// Offsets in the header.
mod field {
    use std::ops::Range;
    pub(super) const TOS: usize = 1;
    pub(super) const TOTAL_LENGTH: Range<usize> = 2..4;
    pub(super) const IDENTIFICATION: Range<usize> = 4..6;
    pub(super) const FLAGS: Range<usize> = 6..8;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const CHECKSUM: Range<usize> = 10..12;
    pub(super) const SOURCE: Range<usize> = 12..16;
    pub(super) const DESTINATION: Range<usize> = 16..20;
    pub(super) const OPTIONS: usize = 20;
}
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;
/// Octets that one step of the fragment offset stands for.
const OFFSET_UNIT: usize = 8;
/// Longest header: a data offset of 15 words.
const LONGEST_HEADER: usize = 60;

/// A checked IPv4 packet. The header checksum is not verified: the kernel has done it, or nobody needs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Packet<'a> {
    /// The start of `octets` once more, of a length that the compiler knows: reading it checks no bounds.
    header: &'a [u8; Ipv4Header::LENGTH],
    octets: &'a [u8],
}

impl<'a> Ipv4Packet<'a> {
    /// # Errors
    /// A header or total length that does not fit `octets`, or another version.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, DecodeError> {
        let Some(header) = octets.first_chunk() else {
            return Err(truncated("IPv4 header", Ipv4Header::LENGTH, octets.len()));
        };
        let packet = Self { header, octets };
        if header[0] >> 4 != 4 {
            let problem = Problem::Value((header[0] >> 4).into());
            return Err(DecodeError { field: "IP version", offset: 0, problem });
        }
        let (length, total) = (packet.header_length(), packet.total_length());
        if length < Ipv4Header::LENGTH || length > total {
            return Err(DecodeError { field: "IPv4 header length", offset: 0, problem: Problem::Length(length) });
        }
        match octets.get(..total) {
            Some(octets) => Ok(Self { header, octets }),
            None => Err(truncated("IPv4 total length", total, octets.len())),
        }
    }

    /// The packet, without trailing octets.
    #[inline]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Octets of the header, 20 to 60.
    #[inline]
    pub fn header_length(&self) -> usize {
        usize::from(self.header[0] & 0x0f) * 4
    }

    #[inline]
    fn total_length(&self) -> usize {
        self.word(field::TOTAL_LENGTH).into()
    }

    /// Source address.
    #[inline]
    pub fn source(&self) -> Ipv4Addr {
        self.address(field::SOURCE)
    }

    /// Destination address.
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        self.address(field::DESTINATION)
    }

    /// Time to live, in hops.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.header[field::TTL]
    }

    /// The TOS octet.
    #[inline]
    pub fn traffic_class(&self) -> TrafficClass {
        TrafficClass(self.header[field::TOS])
    }

    /// Protocol of the payload.
    #[inline]
    pub fn protocol(&self) -> u8 {
        self.header[field::PROTOCOL]
    }

    /// Header checksum.
    pub fn checksum(&self) -> u16 {
        self.word(field::CHECKSUM)
    }

    /// DF.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.word(field::FLAGS) & DONT_FRAGMENT != 0
    }

    /// Whether this is one fragment of several.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.word(field::FLAGS) & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Whether this is a fragment other than the first.
    pub fn is_later_fragment(&self) -> bool {
        self.word(field::FLAGS) & OFFSET_MASK != 0
    }

    /// What follows header and options.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.octets[self.header_length()..]
    }

    /// Sets TTL and TOS of the packet at the start of `octets`, which `parse` has accepted, and corrects its checksum.
    #[inline]
    pub fn rewrite(octets: &mut [u8], ttl: u8, class: TrafficClass) {
        replace(octets, 0, [octets[0], class.0]);
        replace(octets, field::TTL, [ttl, octets[field::PROTOCOL]]);
    }

    #[inline(always)]
    fn word(&self, range: std::ops::Range<usize>) -> u16 {
        u16::from_be_bytes([self.header[range.start], self.header[range.start + 1]])
    }

    #[inline(always)]
    fn address(&self, range: std::ops::Range<usize>) -> Ipv4Addr {
        let at = range.start;
        Ipv4Addr::new(self.header[at], self.header[at + 1], self.header[at + 2], self.header[at + 3])
    }
}

/// Replaces a 16-bit word of the header and updates the checksum.
#[inline]
fn replace(octets: &mut [u8], at: usize, new: [u8; 2]) {
    let word = |at: usize, octets: &[u8]| u16::from_be_bytes([octets[at], octets[at + 1]]);
    let checksum = checksum::update(word(field::CHECKSUM.start, octets), word(at, octets), u16::from_be_bytes(new));
    octets[at..at + 2].copy_from_slice(&new);
    octets[field::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
}

/// An IPv4 header without options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Header {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Hops.
    pub ttl: u8,
    /// DSCP and ECN.
    pub class: TrafficClass,
    /// DF.
    pub dont_fragment: bool,
}

impl Ipv4Header {
    /// Octets of a header without options.
    pub const LENGTH: usize = 20;

    /// The header of a packet with `payload` octets behind it, identification 0; `None` if that is too long for IPv4.
    #[inline]
    pub fn emit(&self, payload: usize) -> Option<[u8; Self::LENGTH]> {
        let total = u16::try_from(payload.checked_add(Self::LENGTH)?).ok()?;
        let mut octets = [0; Self::LENGTH];
        octets[0] = 0x45;
        octets[field::TOS] = self.class.0;
        octets[field::TOTAL_LENGTH].copy_from_slice(&total.to_be_bytes());
        octets[field::IDENTIFICATION].copy_from_slice(&[0, 0]);
        let flags = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        octets[field::FLAGS].copy_from_slice(&flags.to_be_bytes());
        octets[field::TTL] = self.ttl;
        octets[field::PROTOCOL] = self.protocol;
        octets[field::SOURCE].copy_from_slice(&self.source.octets());
        octets[field::DESTINATION].copy_from_slice(&self.destination.octets());
        let checksum = checksum::internet(&octets);
        octets[field::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        Some(octets)
    }
}

/// Splits a packet into fragments of at most `limit` octets, near-equal and as few as do (RFC 9300, section 7.1: two,
/// if two do). Each carries the options that RFC 791 wants copied. `None` where DF is set, `limit` leaves no room, or the
/// packet is itself a fragment that reaches beyond the longest packet: its pieces would begin again at the front.
pub fn fragment<'a>(packet: &Ipv4Packet<'a>, limit: usize) -> Option<Fragments<'a>> {
    let room = limit.checked_sub(packet.header_length())? / OFFSET_UNIT * OFFSET_UNIT;
    let payload = packet.payload().len();
    let offset = usize::from(packet.word(field::FLAGS) & OFFSET_MASK) * OFFSET_UNIT;
    if packet.dont_fragment() || room == 0 || offset + payload > usize::from(u16::MAX) {
        return None;
    }
    let pieces = payload.div_ceil(room).max(1);
    let step = payload.div_ceil(pieces).next_multiple_of(OFFSET_UNIT).min(room);
    Some(Fragments { packet: *packet, step, at: 0 })
}

/// The fragments of a packet, in order.
#[derive(Debug, Clone)]
pub struct Fragments<'a> {
    packet: Ipv4Packet<'a>,
    step: usize,
    at: usize,
}

impl Iterator for Fragments<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let payload = self.packet.payload();
        if self.at >= payload.len() {
            return None;
        }
        let end = (self.at + self.step).min(payload.len());
        let header = self.header(end);
        let piece = [header.as_slice(), &payload[self.at..end]].concat();
        self.at = end;
        Some(piece)
    }
}

impl Fragments<'_> {
    fn header(&self, end: usize) -> Vec<u8> {
        let original = &self.packet.octets()[..self.packet.header_length()];
        let mut header = original[..field::OPTIONS].to_vec();
        let options = &original[field::OPTIONS..];
        if self.at == 0 {
            header.extend_from_slice(options);
        } else {
            header.extend(copied_options(options));
        }
        header[0] = 0x40 | u8::try_from(header.len() / 4).expect("a header is 5 to 15 words");
        let total = u16::try_from(header.len() + end - self.at).expect("no fragment is longer than its packet");
        let flags = self.packet.word(field::FLAGS);
        let last = end == self.packet.payload().len() && flags & MORE_FRAGMENTS == 0;
        let steps = u16::try_from(self.at / OFFSET_UNIT).expect("a payload is shorter than 2^16 octets");
        let flags = ((flags & OFFSET_MASK) + steps) | if last { 0 } else { MORE_FRAGMENTS };
        header[field::TOTAL_LENGTH].copy_from_slice(&total.to_be_bytes());
        header[field::FLAGS].copy_from_slice(&flags.to_be_bytes());
        header[field::CHECKSUM].fill(0);
        let checksum = checksum::internet(&header);
        header[field::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        header
    }
}

/// The options with the "copied" flag, padded to words; malformed options end the list.
fn copied_options(mut options: &[u8]) -> Vec<u8> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut copied = Vec::with_capacity(LONGEST_HEADER - field::OPTIONS);
    while let [kind, rest @ ..] = options {
        let length = match (*kind, rest.first()) {
            (END, _) => break,
            (NO_OPERATION, _) => 1,
            (_, Some(length)) if *length >= 2 => usize::from(*length),
            _ => break,
        };
        let Some((option, rest)) = options.split_at_checked(length) else { break };
        if kind & COPIED != 0 {
            copied.extend_from_slice(option);
        }
        options = rest;
    }
    copied.resize(copied.len().next_multiple_of(4), END);
    copied
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
    use super::*;
    use proptest::prelude::*;

    fn packet(options: &[u8], payload: &[u8]) -> Vec<u8> {
        let header = Ipv4Header {
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 1, 2),
            protocol: 17,
            ttl: 64,
            class: TrafficClass(0),
            dont_fragment: false,
        };
        let mut octets = header.emit(options.len() + payload.len()).unwrap().to_vec();
        octets.extend_from_slice(options);
        octets[0] += (options.len() / 4) as u8;
        octets[10..12].fill(0);
        let checksum = checksum::internet(&octets);
        octets[10..12].copy_from_slice(&checksum.to_be_bytes());
        octets.extend_from_slice(payload);
        octets
    }

    #[test]
    fn trailing_octets_are_not_part_of_the_packet() {
        let mut octets = packet(&[], &[1, 2, 3]);
        octets.extend([0; 7]);
        assert_eq!(Ipv4Packet::parse(&octets).unwrap().octets().len(), 23);
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let octets = packet(&[], &[1, 2, 3]);
        assert!(Ipv4Packet::parse(&octets[..22]).is_err());
        assert!(Ipv4Packet::parse(&octets[..19]).is_err());
        let mut short_header = octets.clone();
        short_header[0] = 0x44;
        assert!(Ipv4Packet::parse(&short_header).is_err());
        let mut long_header = octets;
        long_header[0] = 0x46;
        assert!(Ipv4Packet::parse(&long_header).is_err());
    }

    #[test]
    fn a_rewritten_header_keeps_a_right_checksum() {
        let mut octets = packet(&[], &[0; 8]);
        Ipv4Packet::rewrite(&mut octets, 5, TrafficClass(0xb9));
        let packet = Ipv4Packet::parse(&octets).unwrap();
        assert_eq!((packet.ttl(), packet.traffic_class()), (5, TrafficClass(0xb9)));
        assert_eq!(checksum::internet(&octets[..20]), 0);
    }

    #[test]
    fn only_options_with_the_copied_flag_are_in_later_fragments() {
        // Record route (7, not copied) of 7 octets, NOP, router alert (148, copied).
        let options = [7, 7, 4, 0, 0, 0, 0, 1, 148, 4, 0, 0];
        let octets = packet(&options, &[9; 64]);
        let fragments: Vec<_> = fragment(&Ipv4Packet::parse(&octets).unwrap(), 72).unwrap().collect();
        assert_eq!(fragments.len(), 2);
        assert_eq!(&fragments[0][20..32], &options);
        assert_eq!(Ipv4Packet::parse(&fragments[1]).unwrap().header_length(), 24);
        assert_eq!(&fragments[1][20..24], &[148, 4, 0, 0]);
    }

    #[test]
    fn dont_fragment_is_obeyed() {
        let mut octets = packet(&[], &[0; 100]);
        octets[6] = 0x40;
        assert!(fragment(&Ipv4Packet::parse(&octets).unwrap(), 60).is_none());
    }

    #[test]
    fn a_fragment_beyond_the_longest_packet_is_not_split() {
        let mut octets = packet(&[], &[0; 100]);
        octets[6..8].copy_from_slice(&OFFSET_MASK.to_be_bytes());
        assert!(fragment(&Ipv4Packet::parse(&octets).unwrap(), 60).is_none());
        octets[6..8].copy_from_slice(&(OFFSET_MASK - 13).to_be_bytes());
        assert!(fragment(&Ipv4Packet::parse(&octets).unwrap(), 60).is_some());
    }

    proptest! {
        #[test]
        fn fragments_reassemble_and_fit(payload in proptest::collection::vec(any::<u8>(), 1..3000), limit in 28..1600usize) {
            let octets = packet(&[], &payload);
            let mut rebuilt = Vec::new();
            let fragments: Vec<_> = fragment(&Ipv4Packet::parse(&octets).unwrap(), limit).unwrap().collect();
            for (index, piece) in fragments.iter().enumerate() {
                prop_assert!(piece.len() <= limit);
                prop_assert_eq!(checksum::internet(&piece[..20]), 0);
                let view = Ipv4Packet::parse(piece).unwrap();
                let flags = view.word(field::FLAGS);
                prop_assert_eq!(usize::from(flags & OFFSET_MASK) * 8, rebuilt.len());
                prop_assert_eq!(flags & MORE_FRAGMENTS == 0, index + 1 == fragments.len());
                rebuilt.extend_from_slice(view.payload());
            }
            prop_assert_eq!(rebuilt, payload);
        }
    }
}
