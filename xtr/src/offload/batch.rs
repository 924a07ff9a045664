// SPDX-License-Identifier: GPL-2.0-or-later
//! Packets on their way to the core, in groups that leave with one call of UDP_SEGMENT (udp(7)): one outer header, one size
//! for all but a shorter last one.
//!
//! A flow has at most one open group, so its packets leave in order; those of other flows may lie between them.

use std::io::IoSlice;
use std::net::IpAddr;
use std::ops::Range;

use wire::data::{LispHeader, OuterHeader};

/// Packets of one group: what every kernel with UDP_SEGMENT takes.
pub const MOST_SEGMENTS: usize = 64;
/// Octets of one group, the LISP headers among them: what fits into one UDP datagram.
const MOST_OCTETS_V4: usize = 65_535 - 20 - 8;
const MOST_OCTETS_V6: usize = 65_535 - 40 - 8;
/// Groups that may still grow, beyond which the oldest is ended.
const OPEN_GROUPS: usize = 8;
/// No segment follows.
const NONE: usize = usize::MAX;

/// The packets of a batch. Their octets lie in memory of the caller, but for LISP headers and the inner headers of segments.
#[derive(Debug)]
pub struct Batch {
    headers: Vec<u8>,
    segments: Vec<Segment>,
    groups: Vec<Group>,
    open: Vec<usize>,
    longest_group: usize,
    /// Locators to which packets leave one by one.
    ungrouped: Vec<IpAddr>,
}

/// One packet behind its outer header.
#[derive(Debug)]
struct Segment {
    /// LISP header, and the inner headers if the payload alone is in the memory of the caller.
    header: Range<usize>,
    payload: Range<usize>,
    /// The next of its group.
    next: usize,
}

#[derive(Debug)]
struct Group {
    outer: OuterHeader,
    first: usize,
    last: usize,
    count: usize,
    /// LISP header and inner packet of the first.
    size: usize,
    octets: usize,
}

/// A group, ready to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Message<'m> {
    /// The outer header of each of its packets.
    pub outer: &'m OuterHeader,
    /// All LISP headers and inner packets, one behind the other.
    pub parts: &'m [IoSlice<'m>],
    /// Octets of LISP header and inner packet, in all packets but the last, which may be shorter.
    pub size: usize,
    /// How many packets there are.
    pub count: usize,
}

impl Batch {
    /// An empty batch. Groups have at most so many packets: 1 where the kernel does not segment.
    pub fn new(longest_group: usize) -> Self {
        Self {
            headers: Vec::new(),
            segments: Vec::new(),
            groups: Vec::new(),
            open: Vec::new(),
            longest_group: longest_group.clamp(1, MOST_SEGMENTS),
            ungrouped: Vec::new(),
        }
    }

    /// From now on groups have at most so many packets.
    pub fn set_longest_group(&mut self, longest_group: usize) {
        self.longest_group = longest_group.clamp(1, MOST_SEGMENTS);
    }

    /// From now on packets to these locators, a few, are in no groups.
    pub fn send_alone_to(&mut self, locators: &[IpAddr]) {
        self.ungrouped.clear();
        self.ungrouped.extend_from_slice(locators);
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// How many packets wait to be sent.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// Octets of LISP headers, and of inner headers of segments.
    pub fn header_octets(&self) -> usize {
        self.headers.len()
    }

    /// Adds an inner packet that lies whole in the memory of the caller.
    pub fn push(&mut self, outer: &OuterHeader, inner: Range<usize>) {
        let header = self.headers.len();
        self.headers.extend_from_slice(&outer.lisp);
        self.add(outer, header..header + LispHeader::LENGTH, inner);
    }

    /// Room for headers that [`Self::push_segment`] is given then: writes them with `write`, which appends, and says where.
    pub fn write_header(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.headers.len();
        self.headers.extend_from_slice(&[0; LispHeader::LENGTH]);
        write(&mut self.headers);
        start..self.headers.len()
    }

    /// The inner headers that were written.
    pub fn inner_header(&self, header: &Range<usize>) -> &[u8] {
        &self.headers[header.start + LispHeader::LENGTH..header.end]
    }

    /// Forgets headers that were written last and not used.
    pub fn unwrite(&mut self, start: usize) {
        self.headers.truncate(start);
    }

    /// Adds a segment: its headers as written before, its payload in the memory of the caller.
    pub fn push_segment(&mut self, outer: &OuterHeader, header: Range<usize>, payload: Range<usize>) {
        self.headers[header.start..][..LispHeader::LENGTH].copy_from_slice(&outer.lisp);
        self.add(outer, header, payload);
    }

    fn add(&mut self, outer: &OuterHeader, header: Range<usize>, payload: Range<usize>) {
        let (segment, octets) = (self.segments.len(), header.len() + payload.len());
        self.segments.push(Segment { header, payload, next: NONE });
        let found = self.open.iter().rposition(|group| is_same_flow(&self.groups[*group].outer, outer));
        if let Some(at) = found {
            let group = &mut self.groups[self.open[at]];
            // With another TTL or class it needs a header of its own, and what comes behind it must not overtake it.
            if group.outer == *outer && octets <= group.size && group.octets + octets <= most_octets(outer.destination)
            {
                self.segments[group.last].next = segment;
                (group.last, group.count, group.octets) = (segment, group.count + 1, group.octets + octets);
                if octets < group.size || group.count >= self.longest_group {
                    self.open.remove(at);
                }
                return;
            }
            self.open.remove(at);
        }
        // Of a packet that begins a group only. One that may be fragmented has none: its packets would have identifications that others
        // have too, as the kernel draws one for a group and counts up from there.
        if self.longest_group > 1 && outer.dont_fragment && !self.ungrouped.contains(&outer.destination) {
            if self.open.len() == OPEN_GROUPS {
                self.open.remove(0);
            }
            self.open.push(self.groups.len());
        }
        self.groups.push(Group { outer: *outer, first: segment, last: segment, count: 1, size: octets, octets });
    }

    /// All parts of all groups, in the order of the groups: for [`Self::messages`].
    pub fn parts<'m>(&'m self, memory: &'m [u8]) -> Vec<IoSlice<'m>> {
        let mut parts = Vec::with_capacity(2 * self.segments.len());
        for group in 0..self.groups.len() {
            for segment in self.segments_of(group) {
                parts.push(IoSlice::new(&self.headers[segment.header.clone()]));
                parts.push(IoSlice::new(&memory[segment.payload.clone()]));
            }
        }
        parts
    }

    /// The groups, in the order in which they were begun.
    pub fn messages<'m>(&'m self, parts: &'m [IoSlice<'m>]) -> Vec<Message<'m>> {
        let mut rest = parts;
        let message = |group: &'m Group| {
            let (parts, behind) = rest.split_at(2 * group.count);
            rest = behind;
            Message { outer: &group.outer, parts, size: group.size, count: group.count }
        };
        self.groups.iter().map(message).collect()
    }

    /// How many packets a group has.
    pub fn count(&self, group: usize) -> usize {
        self.groups[group].count
    }

    /// Octets of the inner packets of a group.
    pub fn inner_octets(&self, group: usize) -> usize {
        let group = &self.groups[group];
        group.octets - group.count * LispHeader::LENGTH
    }

    /// The outer header of a group.
    pub fn outer(&self, group: usize) -> OuterHeader {
        self.groups[group].outer
    }

    /// Each inner packet of a group, whole: for what goes wrong.
    pub fn inner_packets(&self, group: usize, memory: &[u8]) -> Vec<Vec<u8>> {
        let whole = |segment: &Segment| {
            let header = &self.headers[segment.header.start + LispHeader::LENGTH..segment.header.end];
            [header, &memory[segment.payload.clone()]].concat()
        };
        self.segments_of(group).map(whole).collect()
    }

    /// Forgets all packets; the room stays.
    pub fn clear(&mut self) {
        self.headers.clear();
        self.segments.clear();
        self.groups.clear();
        self.open.clear();
    }

    fn segments_of(&self, group: usize) -> impl Iterator<Item = &Segment> {
        let mut at = self.groups[group].first;
        std::iter::from_fn(move || {
            let segment = self.segments.get(at)?;
            at = segment.next;
            Some(segment)
        })
    }
}

/// Of two outer headers: whether the packets belong to one flow, whatever TTL and class they have.
fn is_same_flow(one: &OuterHeader, other: &OuterHeader) -> bool {
    one.source_port == other.source_port
        && one.flow_label == other.flow_label
        && one.destination == other.destination
        && one.source == other.source
}

fn most_octets(rloc: IpAddr) -> usize {
    match rloc {
        IpAddr::V4(_) => MOST_OCTETS_V4,
        IpAddr::V6(_) => MOST_OCTETS_V6,
    }
}
