// SPDX-License-Identifier: GPL-2.0-or-later
//! Two packet loops joined in memory, with an eavesdropper on the wire between them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use wire::address::{EidPrefix, InstanceId};
use wire::data::{IpPacket, Ipv6Header, TrafficClass, UdpHeader, overhead};

use super::*;
use crate::counters::Count;
use crate::etr::{EtrConfig, OuterInfo};
use crate::itr::ItrConfig;
use crate::map_cache::{Entry, Forwarding, Locator};
use crate::shell::device::TooBig;

/// Packets that the kernel of the site has for us, and those that it got.
#[derive(Debug, Default)]
struct Kernel {
    out: VecDeque<Vec<u8>>,
    got: Vec<Vec<u8>>,
}

impl SiteDevice for Kernel {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(packet) = self.out.pop_front() else { return Ok(None) };
        buffer[..packet.len()].copy_from_slice(&packet);
        Ok(Some(packet.len()))
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        self.got.push(packet.to_vec());
        Ok(())
    }
}

/// One end of the wire, of this MTU. What it sends waits to be carried to the other end.
#[derive(Debug)]
struct End {
    sent: Vec<Vec<u8>>,
    arrived: VecDeque<Vec<u8>>,
    mtu: usize,
    reports: Vec<TooBig>,
    rlocs: Vec<IpAddr>,
}

impl CoreSockets for End {
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<Option<(OuterInfo, usize)>> {
        let Some(octets) = self.arrived.pop_front() else { return Ok(None) };
        let outer = IpPacket::parse(&octets).unwrap();
        let (udp, payload) = UdpHeader::parse(outer.transport().unwrap().1).unwrap();
        buffer[..payload.len()].copy_from_slice(payload);
        let info = OuterInfo {
            source: outer.source(),
            destination: outer.destination(),
            source_port: udp.source,
            ttl: outer.ttl(),
            class: outer.traffic_class(),
        };
        Ok(Some((info, payload.len())))
    }

    fn send(&mut self, header: &OuterHeader, inner: &[u8]) -> Result<(), SendError> {
        if inner.len() + overhead(header.destination) > self.mtu {
            return Err(SendError::TooBig(self.mtu));
        }
        let mut buffer = [0; OuterHeader::LONGEST];
        self.sent.push([header.emit(inner.len(), &mut buffer).unwrap(), inner].concat());
        Ok(())
    }

    fn report(&mut self) -> Option<TooBig> {
        self.reports.pop()
    }

    fn set_rlocs(&mut self, rlocs: &[IpAddr]) {
        self.rlocs = rlocs.to_vec();
    }
}

struct Node {
    packets: PacketLoop<Kernel, End>,
    updates: SyncSender<Update>,
    events: tokio::sync::mpsc::Receiver<Event>,
    counters: Arc<Counters>,
}

impl Node {
    fn new(now: Instant, rloc: &str, eids: &str, room_for_events: usize) -> Self {
        let counters = Arc::new(Counters::default());
        let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
        let engines = (Itr::new(now, config, counters.clone()), Etr::new(EtrConfig::default(), counters.clone()));
        let end = End { sent: vec![], arrived: VecDeque::new(), mtu: 1500, reports: vec![], rlocs: vec![] };
        let (updates, received) = sync_channel(16);
        let (sender, events) = tokio::sync::mpsc::channel(room_for_events);
        let packets = PacketLoop::new(engines, (Kernel::default(), end), (received, sender), counters.clone());
        updates.send(Update::LocalRlocs(vec![rloc.parse().unwrap()])).unwrap();
        updates.send(Update::LocalEids(vec![prefix(eids)])).unwrap();
        Self { packets, updates, events, counters }
    }

    fn map(&self, now: Instant, eids: &str, rloc: &str) {
        let locators = vec![Locator { address: rloc.parse().unwrap(), priority: 1, weight: 1 }];
        let entry = Entry { forwarding: Forwarding::Locators(locators), expires: now + Duration::from_secs(60) };
        self.updates.send(Update::Upsert { prefix: prefix(eids), entry }).unwrap();
    }
}

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

fn packet(number: u8, length: usize) -> Vec<u8> {
    let header = Ipv6Header {
        source: "2001:db8:a::1".parse().unwrap(),
        destination: "2001:db8:b::1".parse().unwrap(),
        next_header: 17,
        hop_limit: 63,
        class: TrafficClass(0),
        flow_label: 0,
    };
    [header.emit(length).unwrap().as_slice(), &vec![number; length]].concat()
}

fn pair(now: Instant) -> (Node, Node) {
    let mut nodes =
        (Node::new(now, "192.0.2.1", "2001:db8:a::/48", 8), Node::new(now, "192.0.2.2", "2001:db8:b::/48", 8));
    nodes.0.packets.turn(now);
    nodes.1.packets.turn(now);
    nodes
}

/// Carries what one node sent to the other, and shows it.
fn carry(from: &mut Node, to: &mut Node) -> Vec<Vec<u8>> {
    let carried = std::mem::take(&mut from.packets.devices_mut().1.sent);
    to.packets.devices_mut().1.arrived.extend(carried.clone());
    carried
}

#[test]
fn the_first_packets_cross_in_order_and_the_wire_shows_lisp() {
    let now = Instant::now();
    let (mut a, mut b) = pair(now);
    a.packets.devices_mut().0.out.extend((0..8).map(|number| packet(number, 64)));
    a.packets.turn(now);
    assert!(matches!(a.events.try_recv(), Ok(Event::Miss { .. })));
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    a.packets.devices_mut().0.out.push_back(packet(8, 64));
    a.packets.turn(now);
    let seen = carry(&mut a, &mut b);
    assert_eq!(seen.len(), 9);
    for octets in seen {
        let outer = IpPacket::parse(&octets).unwrap();
        assert_eq!((outer.destination().to_string().as_str(), outer.ttl()), ("192.0.2.2", 63));
        assert_eq!(octets[22..24], 4341u16.to_be_bytes());
    }
    b.packets.turn(now);
    let expected: Vec<_> = (0..9).map(|number| packet(number, 64)).collect();
    assert_eq!(b.packets.devices().0.got, expected);
    assert_eq!(b.packets.devices().1.rlocs, ["192.0.2.2".parse::<IpAddr>().unwrap()]);
}

#[test]
fn a_refusal_of_our_own_kernel_teaches_the_mtu_at_once() {
    let now = Instant::now();
    let (mut a, _) = pair(now);
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    a.packets.devices_mut().1.mtu = 1400;
    a.packets.devices_mut().0.out.push_back(packet(1, 1390 - 40));
    a.packets.turn(now);
    let got = &a.packets.devices().0.got;
    assert_eq!((got.len(), got[0][40]), (1, 2), "packet too big");
    assert_eq!(got[0][44..48], 1364u32.to_be_bytes());
    assert_eq!(a.counters.dropped(DropReason::TooBig), 1);
}

#[test]
fn a_report_of_a_router_lowers_the_mtu_of_that_locator() {
    let now = Instant::now();
    let (mut a, _) = pair(now);
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    a.packets.devices_mut().0.out.push_back(packet(1, 1390 - 40));
    a.packets.turn(now);
    let quoted = a.packets.devices().1.sent[0][..36].to_vec();
    a.packets.devices_mut().1.reports.push(TooBig { quoted, mtu: 1400 });
    a.packets.turn(now);
    a.packets.devices_mut().0.out.push_back(packet(1, 1390 - 40));
    a.packets.turn(now);
    assert_eq!((a.counters.get(Count::PathMtu), a.packets.devices().0.got.len()), (1, 1));
}

#[test]
fn a_control_half_that_does_not_keep_up_hears_of_each_miss_later() {
    let now = Instant::now();
    let mut node = Node::new(now, "192.0.2.1", "2001:db8:a::/48", 1);
    for last in 1..=3 {
        let mut octets = packet(0, 8);
        octets[39] = last;
        node.packets.devices_mut().0.out.push_back(octets);
    }
    let mut heard = Vec::new();
    while heard.len() < 3 {
        node.packets.turn(now);
        match node.events.try_recv() {
            Ok(Event::Miss { eid, .. }) => heard.push(eid),
            other => panic!("{other:?}"),
        }
    }
    heard.sort();
    heard.dedup();
    assert_eq!(heard.len(), 3);
    assert!(!node.packets.has_events() && node.counters.get(Count::EventLost) > 0);
}

#[test]
fn a_batch_is_bounded_and_says_that_there_may_be_more() {
    let now = Instant::now();
    let (mut a, _) = pair(now);
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    a.packets.devices_mut().0.out.extend((0..100).map(|number| packet(number, 8)));
    assert!(a.packets.turn(now));
    assert_eq!(a.packets.devices().1.sent.len(), limits::BATCH);
    assert!(!a.packets.turn(now));
    assert_eq!(a.packets.devices().1.sent.len(), 100);
}
