// SPDX-License-Identifier: GPL-2.0-or-later
//! Segments that follow each other into one super-packet: the way back of [`super::segment`].
//!
//! Merged is only what segmentation gives back exactly as it came: equal headers in all but lengths, sequence and
//! checksums, a size that is the same for all but a shorter last one, and checksums that are right (what is wrong is left for
//! its receiver to see). An IPv4 identification counts up, or means nothing because DF is set (RFC 6864, section 4.1).
//! Segments of several flows may lie between each other; those of one flow never overtake each other.

use std::ops::Range;

use wire::data::{Ipv4Header, Ipv6Header, UdpHeader, protocol};

use super::checksum::Sum;
use super::segment::{SHORTEST_TCP_HEADER, field, flag, low_word, set_v4_length, tcp_header_length, word};
use super::{Gso, GsoKind, Partial, VnetHeader};

/// Runs that may still grow: flows that a batch has segments of, beyond which the oldest is ended.
const OPEN_RUNS: usize = 8;
/// Segments of one run: the kernel takes 1024 parts in a write.
pub const MOST_PIECES: usize = 128;
/// Datagrams of one run: UDP_MAX_SEGMENTS of older kernels, which refuse more; later ones take 128.
const MOST_DATAGRAMS: usize = 64;
/// Octets of the longest packet.
const LONGEST_PACKET: usize = 65_535;
/// No piece follows.
const NONE: usize = usize::MAX;

/// The packets of a batch, merged as far as they go together. They lie in memory of the caller, which is lent to each call.
#[derive(Debug, Default)]
pub struct Coalescer {
    runs: Vec<Run>,
    pieces: Vec<Piece>,
    open: Vec<usize>,
    merges_udp: bool,
}

/// What is written to the kernel as one packet.
#[derive(Debug)]
struct Run {
    first: Segment,
    first_piece: usize,
    last_piece: usize,
    pieces: usize,
    /// Octets of the whole packet so far.
    length: usize,
    next_sequence: u32,
    next_identification: u16,
    /// FIN and PSH of its last segment.
    flags: u8,
    is_verified: bool,
}

/// Octets of one segment that a run consists of, and the piece that follows.
#[derive(Debug)]
struct Piece {
    octets: Range<usize>,
    next: usize,
}

/// A packet, as far as merging goes.
#[derive(Debug, Clone, Copy)]
struct Segment {
    start: usize,
    end: usize,
    is_v6: bool,
    /// `None`: neither TCP nor UDP, or nothing that is looked into.
    transport: Option<Transport>,
}

#[derive(Debug, Clone, Copy)]
struct Transport {
    is_tcp: bool,
    start: usize,
    payload: usize,
    /// It may be part of a run at all.
    can_merge: bool,
    /// FIN or PSH: nothing comes behind it.
    ends: bool,
    /// CWR: nothing comes before it.
    begins: bool,
}

impl Coalescer {
    /// One that merges TCP, and UDP if the kernel takes it.
    pub fn new(merges_udp: bool) -> Self {
        Self { merges_udp, ..Self::default() }
    }

    /// From now on UDP is not merged: the kernel has refused it.
    pub fn leave_udp(&mut self) {
        self.merges_udp = false;
    }

    /// Adds the packet at `octets`, an IP packet without trailing octets.
    pub fn push(&mut self, memory: &[u8], octets: Range<usize>) {
        let segment = Segment::of(memory, octets);
        let Some(transport) = segment.transport else {
            // Nobody knows whose it is: what comes later must not overtake it.
            self.open.clear();
            return self.begin(memory, segment, false);
        };
        let Some(at) = self.open.iter().rposition(|run| self.runs[*run].first.is_same_flow(&segment, memory)) else {
            return self.begin(memory, segment, transport.can_merge && !transport.ends);
        };
        let run = self.open[at];
        if !self.continues(run, &segment, transport, memory) {
            self.open.remove(at);
            return self.begin(memory, segment, transport.can_merge && !transport.ends);
        }
        let payload = segment.end - transport.payload;
        self.append(run, &segment, transport, memory);
        let most = if transport.is_tcp { MOST_PIECES } else { MOST_DATAGRAMS };
        if transport.ends || payload < self.runs[run].size() || self.runs[run].pieces == most {
            self.open.remove(at);
        }
    }

    /// Makes the headers of the runs such that the kernel gives each segment its own again.
    pub fn seal(&self, memory: &mut [u8]) {
        self.runs.iter().filter(|run| run.pieces > 1).for_each(|run| run.seal(memory));
    }

    /// What is to be written, in order: the vnet header, and the parts of the packet.
    pub fn packets(&self) -> impl Iterator<Item = (VnetHeader, impl Iterator<Item = Range<usize>>)> {
        self.runs.iter().map(move |run| {
            let mut at = run.first_piece;
            let parts = std::iter::from_fn(move || {
                let piece = self.pieces.get(at)?;
                at = piece.next;
                Some(piece.octets.clone())
            });
            (run.vnet_header(), parts)
        })
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.pieces.clear();
        self.open.clear();
    }

    fn begin(&mut self, memory: &[u8], segment: Segment, is_open: bool) {
        let piece = self.pieces.len();
        self.pieces.push(Piece { octets: segment.start..segment.end, next: NONE });
        let (next_sequence, flags) = match segment.transport {
            Some(transport) if transport.is_tcp => {
                let length = segment.end - transport.payload;
                (sequence(memory, transport.start).wrapping_add(octet_count(length)), ending_flags(memory, transport))
            }
            _ => (0, 0),
        };
        if is_open {
            if self.open.len() == OPEN_RUNS {
                self.open.remove(0);
            }
            self.open.push(self.runs.len());
        }
        self.runs.push(Run {
            first: segment,
            first_piece: piece,
            last_piece: piece,
            pieces: 1,
            length: segment.end - segment.start,
            next_sequence,
            next_identification: segment.identification(memory).wrapping_add(1),
            flags,
            is_verified: false,
        });
    }

    /// Whether a segment of the same flow can be the next of the run.
    fn continues(&mut self, run: usize, segment: &Segment, transport: Transport, memory: &[u8]) -> bool {
        let merges_udp = self.merges_udp;
        let run = &mut self.runs[run];
        let payload = segment.end - transport.payload;
        let follows = match transport.is_tcp {
            true => sequence(memory, transport.start) == run.next_sequence,
            false => merges_udp,
        };
        let fits = transport.can_merge
            && !transport.begins
            && follows
            && payload <= run.size()
            && run.length + payload <= LONGEST_PACKET
            && (segment.is_v6
                || segment.has_dont_fragment(memory)
                || segment.identification(memory) == run.next_identification)
            && run.first.has_same_headers(segment, memory);
        if !fits || !segment.is_right(memory) {
            return false;
        }
        // That of the first is looked at only when it matters.
        run.is_verified = run.is_verified || run.first.is_right(memory);
        run.is_verified
    }

    fn append(&mut self, run: usize, segment: &Segment, transport: Transport, memory: &[u8]) {
        let piece = self.pieces.len();
        self.pieces.push(Piece { octets: transport.payload..segment.end, next: NONE });
        let run = &mut self.runs[run];
        self.pieces[run.last_piece].next = piece;
        let payload = segment.end - transport.payload;
        run.last_piece = piece;
        run.pieces += 1;
        run.length += payload;
        run.next_sequence = run.next_sequence.wrapping_add(octet_count(payload));
        run.next_identification = run.next_identification.wrapping_add(1);
        if transport.is_tcp {
            run.flags |= ending_flags(memory, transport);
        }
    }
}

impl Run {
    /// Octets of payload in each segment but the last.
    fn size(&self) -> usize {
        self.first.transport.map_or(0, |transport| self.first.end - transport.payload)
    }

    fn vnet_header(&self) -> VnetHeader {
        let Some(transport) = self.first.transport.filter(|_| self.pieces > 1) else { return VnetHeader::default() };
        let (kind, offset) = match (transport.is_tcp, self.first.is_v6) {
            (true, false) => (GsoKind::Tcp4, field::TCP_CHECKSUM),
            (true, true) => (GsoKind::Tcp6, field::TCP_CHECKSUM),
            (false, _) => (GsoKind::Udp, field::UDP_CHECKSUM),
        };
        let start = low_word(transport.start - self.first.start);
        VnetHeader {
            checksum: Some(Partial { start, offset: low_word(offset) }),
            gso: Some(Gso { kind, size: low_word(self.size()), congestion: transport.begins }),
            header_length: low_word(transport.payload - self.first.start),
        }
    }

    fn seal(&self, memory: &mut [u8]) {
        let Some(transport) = self.first.transport else { return };
        let sum = self.first.pseudo_header(transport, memory);
        let (ip, at) = memory[self.first.start..self.first.end].split_at_mut(transport.start - self.first.start);
        if self.first.is_v6 {
            ip[field::V6_PAYLOAD_LENGTH].copy_from_slice(&low_word(self.length - Ipv6Header::LENGTH).to_be_bytes());
        } else {
            set_v4_length(ip, Ipv4Header::LENGTH, self.length);
        }
        let length = low_word(self.length - ip.len());
        let checksum = if transport.is_tcp {
            at[field::TCP_FLAGS] |= self.flags;
            field::TCP_CHECKSUM
        } else {
            at[field::UDP_LENGTH].copy_from_slice(&length.to_be_bytes());
            field::UDP_CHECKSUM
        };
        at[checksum..checksum + 2].copy_from_slice(&sum.plus_word(length).partial());
    }
}

impl Segment {
    fn of(memory: &[u8], octets: Range<usize>) -> Self {
        let packet = &memory[octets.clone()];
        let is_v6 = packet.first().is_some_and(|first| first >> 4 == 6);
        let found = if is_v6 { v6_transport(packet) } else { v4_transport(packet) };
        let transport = found.and_then(|(number, at)| match number {
            protocol::TCP => tcp(packet, at),
            protocol::UDP => udp(packet, at),
            _ => None,
        });
        let transport = transport.map(|found| Transport {
            start: found.start + octets.start,
            payload: found.payload + octets.start,
            ..found
        });
        Self { start: octets.start, end: octets.end, is_v6, transport }
    }

    /// The same addresses, transport and ports.
    fn is_same_flow(&self, other: &Self, memory: &[u8]) -> bool {
        let (Some(ours), Some(theirs)) = (self.transport, other.transport) else { return false };
        let addresses = if self.is_v6 { V6_ADDRESSES } else { V4_ADDRESSES };
        self.is_v6 == other.is_v6
            && ours.is_tcp == theirs.is_tcp
            && memory[ours.start..][PORTS] == memory[theirs.start..][PORTS]
            && memory[self.start..][addresses.clone()] == memory[other.start..][addresses]
    }

    /// Of two segments of one flow: whether all else is equal that segmentation would copy from the first.
    fn has_same_headers(&self, other: &Self, memory: &[u8]) -> bool {
        let (Some(ours), Some(theirs)) = (self.transport, other.transport) else { return false };
        let same = |parts: &[Range<usize>]| {
            parts.iter().all(|part| memory[self.start..][part.clone()] == memory[other.start..][part.clone()])
        };
        let same_ip = if self.is_v6 { same(&[0..4, 6..8]) } else { same(&[0..2, 6..10]) };
        if !same_ip || !ours.is_tcp {
            return same_ip;
        }
        let (ours, theirs) = (&memory[ours.start..ours.payload], &memory[theirs.start..theirs.payload]);
        let may_differ = flag::FIN | flag::PSH | flag::CWR;
        // Acknowledgment and data offset; window; urgent pointer and options.
        ours.len() == theirs.len()
            && ours[8..13] == theirs[8..13]
            && (ours[field::TCP_FLAGS] ^ theirs[field::TCP_FLAGS]) & !may_differ == 0
            && ours[14..16] == theirs[14..16]
            && ours[18..] == theirs[18..]
    }

    /// Whether its checksums are right: that of the transport, and that of an IPv4 header, which would be made anew.
    fn is_right(&self, memory: &[u8]) -> bool {
        let Some(transport) = self.transport else { return false };
        let header_is_right = || Sum::default().plus(&memory[self.start..transport.start]).is_right();
        let octets = &memory[transport.start..self.end];
        let sum = self.pseudo_header(transport, memory).plus_word(low_word(octets.len())).plus(octets);
        sum.is_right() && (self.is_v6 || header_is_right())
    }

    /// The pseudo-header without its length.
    fn pseudo_header(&self, transport: Transport, memory: &[u8]) -> Sum {
        let addresses = if self.is_v6 { V6_ADDRESSES } else { V4_ADDRESSES };
        let number = if transport.is_tcp { protocol::TCP } else { protocol::UDP };
        Sum::default().plus(&memory[self.start..][addresses]).plus_word(number.into())
    }

    fn identification(&self, memory: &[u8]) -> u16 {
        if self.is_v6 || self.transport.is_none() { 0 } else { word(&memory[self.start..], field::V4_IDENTIFICATION) }
    }

    fn has_dont_fragment(&self, memory: &[u8]) -> bool {
        memory[self.start + V4_FLAGS] & V4_DONT_FRAGMENT != 0
    }
}

const V4_ADDRESSES: Range<usize> = 12..20;
const V6_ADDRESSES: Range<usize> = 8..40;
/// Source and destination port of TCP and UDP.
const PORTS: Range<usize> = 0..4;
/// Flags and fragment offset of IPv4.
const V4_FLAGS: usize = 6;
const V4_DONT_FRAGMENT: u8 = 0x40;
const V4_FRAGMENT_MASK: u16 = 0x3fff;
/// Version 4 and a header without options.
const V4_PLAIN: u8 = 0x45;

/// Protocol and start of the transport header, if nothing stands between it and the addresses.
fn v4_transport(packet: &[u8]) -> Option<(u8, usize)> {
    let is_plain = packet.len() >= Ipv4Header::LENGTH
        && packet[0] == V4_PLAIN
        && usize::from(word(packet, field::V4_TOTAL_LENGTH)) == packet.len()
        && word(packet, V4_FLAGS..V4_FLAGS + 2) & V4_FRAGMENT_MASK == 0;
    is_plain.then(|| (packet[9], Ipv4Header::LENGTH))
}

fn v6_transport(packet: &[u8]) -> Option<(u8, usize)> {
    let is_plain = packet.len() >= Ipv6Header::LENGTH
        && usize::from(word(packet, field::V6_PAYLOAD_LENGTH)) == packet.len() - Ipv6Header::LENGTH;
    is_plain.then(|| (packet[6], Ipv6Header::LENGTH))
}

fn tcp(packet: &[u8], start: usize) -> Option<Transport> {
    let segment = &packet[start..];
    if segment.len() < SHORTEST_TCP_HEADER {
        return None;
    }
    let payload = start + tcp_header_length(segment)?;
    let flags = segment[field::TCP_FLAGS];
    let is_plain = flags & (flag::SYN | flag::RST | flag::URG) == 0 && flags & flag::ACK != 0;
    Some(Transport {
        is_tcp: true,
        start,
        payload,
        can_merge: is_plain && payload < packet.len(),
        ends: flags & (flag::FIN | flag::PSH) != 0,
        begins: flags & flag::CWR != 0,
    })
}

fn udp(packet: &[u8], start: usize) -> Option<Transport> {
    let segment = &packet[start..];
    if segment.len() < UdpHeader::LENGTH || usize::from(word(segment, field::UDP_LENGTH)) != segment.len() {
        return None;
    }
    let payload = start + UdpHeader::LENGTH;
    // Without a checksum nobody can tell whether it is right.
    let has_checksum = word(segment, field::UDP_CHECKSUM..field::UDP_CHECKSUM + 2) != 0;
    let can_merge = has_checksum && payload < packet.len();
    Some(Transport { is_tcp: false, start, payload, can_merge, ends: false, begins: false })
}

fn sequence(memory: &[u8], transport: usize) -> u32 {
    let mut octets = [0; 4];
    octets.copy_from_slice(&memory[transport..][field::TCP_SEQUENCE]);
    u32::from_be_bytes(octets)
}

fn ending_flags(memory: &[u8], transport: Transport) -> u8 {
    memory[transport.start + field::TCP_FLAGS] & (flag::FIN | flag::PSH)
}

/// A number of octets of a packet, which has fewer than 2^16.
fn octet_count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or_default()
}
