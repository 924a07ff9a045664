// SPDX-License-Identifier: GPL-2.0-or-later
//! What the counters say of super-packets, and of packets that the kernel does not take.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ipv4Header, TrafficClass, UdpHeader, checksum, overhead};
use wire::record::Action;

use super::*;
use crate::counters::Count;
use crate::itr::ItrConfig;
use crate::map_cache::{Entry, Forwarding, Locator};
use crate::offload::{Gso, GsoKind, Partial};
use crate::shell::device::TooBig;

/// Hands over packets, and takes what it is given but for UDP that was put together.
#[derive(Debug, Default)]
struct Site {
    packets: VecDeque<Vec<u8>>,
    got: Vec<Vec<u8>>,
}

impl SuperDevice for Site {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(packet) = self.packets.pop_front() else { return Ok(None) };
        buffer[..packet.len()].copy_from_slice(&packet);
        Ok(Some(packet.len()))
    }

    fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let written: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let (vnet, octets) = VnetHeader::parse(&written).unwrap();
        if vnet.gso.is_some_and(|gso| gso.kind == GsoKind::Udp) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.got.push(octets.to_vec());
        Ok(())
    }
}

/// Takes packets up to an MTU, or none.
#[derive(Debug)]
struct Core {
    mtu: usize,
    errno: Option<i32>,
    /// How many packets each message had that was taken, and how many messages were tried.
    taken: Vec<usize>,
    tried: usize,
}

impl GroupSockets for Core {
    fn longest_group(&self) -> usize {
        64
    }

    fn ungrouped(&mut self, _: Instant) -> &[IpAddr] {
        &[]
    }

    fn send(&mut self, messages: &[Message<'_>], failures: &mut Vec<(usize, SendError)>) {
        for (index, message) in messages.iter().enumerate() {
            self.tried += 1;
            let length = message.size - LispHeader::LENGTH + overhead(message.outer.destination);
            match self.errno {
                // The pool of sockets says it itself of a locator that it has no more.
                Some(libc::EADDRNOTAVAIL) => {
                    failures.push((index, io::Error::from(io::ErrorKind::AddrNotAvailable).into()));
                }
                Some(errno) => failures.push((index, io::Error::from_raw_os_error(errno).into())),
                None if length > self.mtu => failures.push((index, SendError::TooBig(self.mtu))),
                None => self.taken.push(message.count),
            }
        }
    }

    fn read_errors(&mut self) {}

    fn report(&mut self) -> Option<TooBig> {
        None
    }

    fn unreachable(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn set_rlocs(&mut self, _: &[IpAddr]) {}
}

const RLOC: [u8; 4] = [192, 0, 2, 2];

/// Gives the loop one TCP super-packet, and says what it has counted.
fn give(mtu: usize, errno: Option<i32>, dont_fragment: bool, size: u16, payload: usize) -> (Arc<Counters>, Core) {
    let core = Core { mtu, errno, taken: vec![], tried: 0 };
    give_packet(core, super_packet(dont_fragment, size, payload, 16))
}

/// Behind its vnet header, which says that the checksum is at this offset of the TCP header.
fn super_packet(dont_fragment: bool, size: u16, payload: usize, offset: u16) -> Vec<u8> {
    let mut segment = vec![0; 20 + payload];
    (segment[12], segment[13]) = (5 << 4, 0x10);
    let header = Ipv4Header {
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 1, 1].into(),
        protocol: 6,
        ttl: 9,
        class: TrafficClass(0),
        dont_fragment,
    };
    let vnet = VnetHeader {
        checksum: Some(Partial { start: 20, offset }),
        gso: Some(Gso { kind: GsoKind::Tcp4, size, congestion: false }),
        header_length: 40,
    };
    [vnet.emit().as_slice(), &header.emit(segment.len()).unwrap(), &segment].concat()
}

fn give_packet(core: Core, packet: Vec<u8>) -> (Arc<Counters>, Core) {
    let locators = vec![Locator { address: RLOC.into(), priority: 1, weight: 1 }];
    let (counters, encap, _) = give_towards(Forwarding::Locators(locators), core, packet);
    (counters, encap.core)
}

/// What was counted, the loop, and what it has said to control at once.
fn give_towards(
    forwarding: Forwarding,
    core: Core,
    packet: Vec<u8>,
) -> (Arc<Counters>, EncapLoop<Site, Core>, Vec<Event>) {
    let (now, counters) = (Instant::now(), Arc::new(Counters::default()));
    let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
    let mut itr = Itr::new(now, config, counters.clone());
    itr.update(now, Update::LocalRlocs(vec![[192, 0, 2, 1].into()]));
    let entry = Entry { forwarding, expires: now + Duration::from_secs(60) };
    let prefix = EidPrefix { iid: InstanceId(0), net: "10.0.1.0/24".parse().unwrap() };
    itr.update(now, Update::Upsert { prefix, entry });
    let (_updates, received) = sync_channel(1);
    let (events, mut said) = tokio::sync::mpsc::channel(limits::BATCH);
    let mut encap = EncapLoop::new(
        itr,
        (Site { packets: [packet].into(), got: vec![] }, core),
        (received, events),
        counters.clone(),
    );
    encap.turn(now);
    let said = std::iter::from_fn(|| said.try_recv().ok()).collect();
    // The next second, in which what was sent to each locator is published.
    encap.turn(now + Duration::from_secs(2));
    (counters, encap, said)
}

#[test]
fn each_segment_is_counted_once_where_its_locator_is_too() {
    let (counters, core) = give(1500, None, true, 1000, 10_000);
    assert_eq!(core.taken, [10]);
    let octets = 10 * 1040;
    assert_eq!((counters.get(Count::Encapsulated), counters.get(Count::EncapsulatedBytes)), (10, octets));
    let locators = counters.locators();
    let [of_rloc] = &locators[..] else { unreachable!("{locators:?}") };
    assert_eq!((of_rloc.packets, of_rloc.octets), (10, octets));
}

#[test]
fn packets_that_teach_an_mtu_are_counted_as_dropped_or_as_fragments_and_as_nothing_else() {
    let (counters, core) = give(1000, None, true, 1000, 10_000);
    assert_eq!((core.taken.len(), counters.get(Count::Encapsulated)), (0, 0));
    assert_eq!((counters.get(Count::EncapsulatedBytes), counters.dropped(DropReason::TooBig)), (0, 10));
    let (counters, core) = give(1000, None, false, 1000, 10_000);
    assert_eq!(core.taken.len(), 20, "two fragments of each");
    assert_eq!((counters.get(Count::Encapsulated), counters.get(Count::Fragmented)), (20, 10));
    let packets: u64 = counters.locators().iter().map(|locator| locator.packets).sum();
    assert_eq!((packets, counters.dropped(DropReason::CoreSend)), (20, 0));
}

#[test]
fn what_has_no_way_to_the_core_is_not_tried_packet_by_packet() {
    for (errno, tries) in [(libc::ENETUNREACH, 1), (libc::EHOSTUNREACH, 1), (libc::EPERM, 1), (libc::EINVAL, 2)] {
        let (counters, core) = give(1500, Some(errno), true, 1000, 10_000);
        assert_eq!((core.tried, counters.dropped(DropReason::CoreSend)), (tries, 10), "errno {errno}");
        let counts = [Count::Encapsulated, Count::EncapsulatedBytes].map(|count| counters.get(count));
        let sent: u64 = counters.locators().iter().map(|locator| locator.packets + locator.octets).sum();
        assert_eq!((counts, sent), ([0, 0], 0), "what has not left is not counted");
    }
}

#[test]
fn a_locator_of_ours_whose_address_has_left_is_a_hint_that_the_way_is_gone() {
    let locators = vec![Locator { address: RLOC.into(), priority: 1, weight: 1 }];
    let core = Core { mtu: 1500, errno: Some(libc::EADDRNOTAVAIL), taken: vec![], tried: 0 };
    let (counters, encap, said) =
        give_towards(Forwarding::Locators(locators), core, super_packet(true, 1000, 10_000, 16));
    assert_eq!((encap.core.tried, counters.dropped(DropReason::CoreSend)), (1, 10));
    let hints: Vec<_> = said.iter().filter(|event| matches!(event, Event::Silent { .. })).collect();
    assert_eq!(hints, [&Event::Silent { rloc: RLOC.into() }]);
}

#[test]
fn the_smallest_segments_that_linux_makes_all_leave() {
    let (counters, core) = give(1500, None, true, 8, 65_000);
    assert_eq!(core.taken.iter().sum::<usize>(), 8125);
    assert_eq!(counters.get(Count::Encapsulated), 8125);
}

#[test]
fn a_super_packet_that_cannot_be_cut_is_as_many_drops_as_it_has_segments() {
    let core = Core { mtu: 1500, errno: None, taken: vec![], tried: 0 };
    let (counters, core) = give_packet(core, super_packet(true, 1000, 9500, 6));
    assert_eq!((core.tried, counters.dropped(DropReason::SiteMalformed)), (0, 10));
}

#[test]
fn datagrams_that_the_kernel_does_not_take_back_as_one_are_written_one_by_one() {
    let (size, count) = (100, 10);
    let [source, destination] = [[10, 0, 0, 1], [10, 0, 1, 1]].map(IpAddr::from);
    let udp = UdpHeader { source: 9, destination: 99, checksum: 0 };
    let mut segment = [udp.emit(size * count).unwrap().as_slice(), &vec![7; size * count]].concat();
    let sum = checksum::udp(source, destination, &segment);
    segment[6..8].copy_from_slice(&sum.to_be_bytes());
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) else { unreachable!() };
    let class = TrafficClass(0);
    let header = Ipv4Header { source, destination, protocol: 17, ttl: 9, class, dont_fragment: true };
    let gso = Gso { kind: GsoKind::Udp, size: u16::try_from(size).unwrap(), congestion: false };
    let vnet = VnetHeader { checksum: None, gso: Some(gso), header_length: 28 };
    let packet = [vnet.emit().as_slice(), &header.emit(segment.len()).unwrap(), &segment].concat();
    let core = Core { mtu: 1500, errno: None, taken: vec![], tried: 0 };
    let (counters, encap, _) = give_towards(Forwarding::Negative(Action::NativelyForward), core, packet);
    let got = &encap.site.got;
    assert_eq!((got.len(), got.iter().all(|packet| packet.len() == 28 + size)), (count, true));
    assert!(got.iter().all(|packet| checksum::internet(&packet[..20]) == 0));
    let is_right = |packet: &Vec<u8>| {
        let mut udp = packet[20..].to_vec();
        udp[6..8].fill(0);
        checksum::udp(source.into(), destination.into(), &udp).to_be_bytes() == packet[26..28]
    };
    assert!(got.iter().all(is_right));
    assert_eq!((counters.get(Count::Native), counters.dropped(DropReason::SiteSend)), (10, 0));
}
