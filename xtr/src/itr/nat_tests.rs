// SPDX-License-Identifier: GPL-2.0-or-later
//! What an ITR does for NATs: sends through their bindings, and is an RTR's.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ecn, IpPacket, Ipv4Header, Ipv6Header, OuterHeader, TrafficClass};
use wire::record::Action;

use super::{Itr, ItrConfig, Output, Verdict};
use crate::counters::{Count, Counters, DropReason};
use crate::ecn::EcnCompatibility;
use crate::map_cache::{Binding, Entry, Event, Forwarding, FromPort, Update};

const RLOCS: [&str; 3] = ["192.0.2.1", "192.0.2.2", "2001:db8:c::1"];
const BOUND: &str = "10.0.1.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

fn packet(source: &str, destination: &str, length: usize) -> Vec<u8> {
    let class = TrafficClass(0);
    match (ip(source), ip(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header { source, destination, protocol: 17, ttl: 9, class, dont_fragment: true };
            [header.emit(length).unwrap().as_slice(), &vec![1; length]].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header { source, destination, next_header: 17, hop_limit: 9, class, flow_label: 0 };
            [header.emit(length).unwrap().as_slice(), &vec![1; length]].concat()
        }
        _ => panic!("one family"),
    }
}

/// An RTR without a site, PETR for one prefix, that reaches two others through a NAT.
struct Rtr {
    itr: Itr,
    counters: Arc<Counters>,
    now: Instant,
}

impl Rtr {
    fn new() -> Self {
        let (now, counters) = (Instant::now(), Arc::new(Counters::default()));
        let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
        let itr = Itr::new(now, config, counters.clone()).relaying(true, &[prefix("10.0.9.0/24")]);
        let mut rtr = Self { itr, counters, now };
        rtr.itr.update(now, Update::LocalRlocs(RLOCS.map(ip).to_vec()));
        rtr.bind("10.0.1.0/24", 50_001);
        rtr.bind("2001:db8:a::/48", 50_001);
        rtr
    }

    fn bind(&mut self, net: &str, port: u16) {
        let binding = Binding { address: ip("198.51.100.1"), port, from: FromPort::Control, source: ip(RLOCS[1]) };
        self.install(net, Forwarding::Binding(binding));
    }

    fn install(&mut self, net: &str, forwarding: Forwarding) {
        let entry = Entry { forwarding, expires: self.now + Duration::from_secs(100) };
        self.itr.update(self.now, Update::Upsert { prefix: prefix(net), entry });
    }

    fn header(&mut self, packet: &[u8]) -> OuterHeader {
        match self.itr.handle(self.now, packet) {
            Verdict::Encapsulate(header, _) => header,
            other => panic!("{other:?}"),
        }
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.itr.poll()).collect()
    }
}

#[test]
fn a_pitr_without_ipv6_eids_speaks_from_the_locator_that_it_has_now_or_as_the_router_of_what_it_attracts() {
    let (now, counters) = (Instant::now(), Arc::new(Counters::default()));
    let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
    let mut itr = Itr::new(now, config, counters);
    itr.update(now, Update::PitrFor(vec![prefix("10.0.2.0/24"), prefix("2001:db8:a::/48")]));
    let expires = now + Duration::from_secs(100);
    let entry = Entry { forwarding: Forwarding::Negative(Action::DropNoReason), expires };
    itr.update(now, Update::Upsert { prefix: prefix("2001:db8:a::/48"), entry });
    let mut rlocs = |rlocs: &[&str], host: u16| {
        itr.update(now, Update::LocalRlocs(rlocs.iter().map(|rloc| ip(rloc)).collect()));
        // Each of a source of its own, as there is a rate.
        itr.handle(now, &packet(&format!("2001:db8:f::{host}"), "2001:db8:a::9", 8));
        let Some(Output::Site(error)) = itr.poll() else { panic!("{host}") };
        IpPacket::parse(&error).unwrap().source()
    };
    assert_eq!(rlocs(&["192.0.2.1", "2001:db8:c::1"], 1), ip("2001:db8:c::1"));
    assert_eq!(rlocs(&["192.0.2.1", "2001:db8:c::2"], 2), ip("2001:db8:c::2"), "renumbered");
    assert_eq!(rlocs(&["192.0.2.1"], 3), ip("2001:db8:a::"), "its subnet-router anycast address");
}

#[test]
fn a_packet_through_a_nat_leaves_from_the_address_that_it_was_opened_to() {
    let mut rtr = Rtr::new();
    let packet = packet("10.0.2.1", BOUND, 8);
    let header = rtr.header(&packet);
    assert_eq!((header.source, header.source_port), (ip(RLOCS[1]), 4342), "not from the preferred one");
    assert_eq!((header.destination, header.destination_port), (ip("198.51.100.1"), 50_001));
    rtr.itr.update(rtr.now, Update::LocalRlocs(vec![ip(RLOCS[0])]));
    assert_eq!(rtr.header(&packet).source, ip(RLOCS[0]), "it is gone");
}

#[test]
fn a_way_through_a_nat_has_the_mode_of_ecn_of_the_address_that_it_shows() {
    for (rloc, ecn) in [("198.51.100.1", Ecn::NotEct), ("198.51.100.2", Ecn::Ect0)] {
        let mut rtr = Rtr::new();
        rtr.itr = rtr.itr.with_ecn(EcnCompatibility::To(vec![ip(rloc)]));
        // The mode is that of a locator from its beginning.
        rtr.bind("10.0.2.0/24", 50_002);
        let class = TrafficClass::new(10, Ecn::Ect0);
        let mut packet = packet("10.0.3.1", "10.0.2.1", 8);
        wire::data::Ipv4Packet::rewrite(&mut packet, 9, class);
        let header = rtr.header(&packet);
        assert_eq!((header.class, header.destination_port), (TrafficClass::new(10, ecn), 50_002));
    }
}

#[test]
fn the_mtu_of_a_way_through_a_nat_is_learned_for_that_way() {
    let mut rtr = Rtr::new();
    rtr.bind("10.0.2.0/24", 50_002);
    let header = rtr.header(&packet("10.0.3.1", BOUND, 1300));
    let mut buffer = [0; OuterHeader::LONGEST];
    let quoted = header.emit(1320, &mut buffer).unwrap().to_vec();
    for (what, at, value) in [("source", 15, 1), ("source port", 21, 9), ("destination port", 23, 0)] {
        let mut forged = quoted.clone();
        forged[at] = value;
        rtr.itr.handle_too_big(rtr.now, &forged, 1200);
        assert_eq!(rtr.counters.get(Count::PathMtu), 0, "{what}");
    }
    rtr.itr.handle_too_big(rtr.now, &quoted, 1200);
    assert_eq!(rtr.counters.get(Count::PathMtu), 1);
    let verdict = |rtr: &mut Rtr, to: &str| {
        let packet = packet("10.0.3.1", to, 1300);
        matches!(rtr.itr.handle(rtr.now, &packet), Verdict::Encapsulate(..))
    };
    assert!(!verdict(&mut rtr, BOUND) && verdict(&mut rtr, "10.0.2.1"));
}

#[test]
fn what_the_kernel_refuses_of_packets_through_a_nat_is_taken_back_from_that_way() {
    let mut rtr = Rtr::new();
    rtr.bind("10.0.2.0/24", 50_002);
    let to_rtr = Binding { address: ip("198.51.100.1"), port: 4341, from: FromPort::Data, source: ip(RLOCS[0]) };
    rtr.install("10.0.3.0/24", Forwarding::Binding(to_rtr));
    let mut refused = Vec::new();
    for (to, sent) in [(BOUND, 5), ("10.0.2.1", 7), ("10.0.3.1", 9)] {
        let packet = packet("10.0.9.1", to, 80);
        (0..sent).for_each(|_| refused.push(rtr.header(&packet)));
    }
    refused.into_iter().step_by(2).for_each(|header| rtr.itr.not_sent(&header, 1, 100));
    rtr.itr.handle_timeout(rtr.now + Duration::from_secs(2));
    let shown: Vec<_> = rtr.counters.locators().iter().map(|way| (way.packets, way.octets)).collect();
    assert_eq!(shown, [(2, 200), (4, 400), (4, 400)]);
    assert_eq!((rtr.counters.get(Count::Encapsulated), rtr.counters.get(Count::EncapsulatedBytes)), (10, 1000));
}

#[test]
fn an_rtr_is_no_way_out_but_for_its_own_site_and_those_that_it_is_petr_for() {
    let mut rtr = Rtr::new();
    rtr.itr.update(rtr.now, Update::LocalEids(vec![prefix("10.0.8.0/24")]));
    rtr.install("203.0.113.0/24", Forwarding::Negative(Action::NativelyForward));
    let mut out = |source: &str| {
        let packet = packet(source, "203.0.113.9", 8);
        while rtr.itr.poll().is_some() {}
        match rtr.itr.handle(rtr.now, &packet) {
            Verdict::Native(_) => true,
            Verdict::Dropped(DropReason::RelayNative) => false,
            other => panic!("{other:?}"),
        }
    };
    assert!(!out(BOUND), "registered here or not: it is nobody's way to the Internet");
    assert!(out("10.0.9.1") && out("10.0.8.1"));
    assert_eq!(rtr.counters.dropped(DropReason::RelayNative), 1);
    assert_eq!(rtr.counters.get(Count::Native), 2);
}

#[test]
fn an_error_of_an_rtr_takes_the_way_of_what_it_relays() {
    for (source, destination) in [(BOUND, "10.0.2.1"), ("2001:db8:a::1", "2001:db8:b::1")] {
        let mut rtr = Rtr::new();
        let net = if source == BOUND { "10.0.2.0/24" } else { "2001:db8:b::/48" };
        rtr.install(net, Forwarding::Negative(Action::DropNoReason));
        let packet = packet(source, destination, 8);
        assert_eq!(rtr.itr.handle(rtr.now, &packet), Verdict::Dropped(DropReason::NegativeDrop));
        let outputs = rtr.outputs();
        let [Output::Core(header, error)] = outputs.as_slice() else { panic!("{outputs:?}") };
        assert_eq!((header.destination_port, header.source), (50_001, ip(RLOCS[1])));
        assert_eq!(IpPacket::parse(error).unwrap().destination(), ip(source));
    }
    // Whoever has sent without a tunnel hears of it without one.
    let mut rtr = Rtr::new();
    rtr.install("203.0.113.0/24", Forwarding::Negative(Action::NativelyForward));
    let packet = packet("203.0.113.9", BOUND, 1500);
    assert_eq!(rtr.itr.handle(rtr.now, &packet), Verdict::Dropped(DropReason::TooBig));
    assert!(matches!(rtr.outputs().as_slice(), [Output::Site(_)]));
}

#[test]
fn the_source_of_what_an_rtr_is_the_last_hop_of_is_told_through_its_nat_or_without_a_tunnel() {
    let cases = [
        (BOUND, "10.0.2.1", 1, [11, 0]),
        ("2001:db8:a::1", "2001:db8:b::1", 1, [3, 0]),
        ("203.0.113.9", BOUND, 0, [11, 0]),
    ];
    for (source, destination, tunnels, kind) in cases {
        let mut rtr = Rtr::new();
        rtr.install("203.0.113.0/24", Forwarding::Negative(Action::NativelyForward));
        let mut packet = packet(source, destination, 8);
        let (hops, header) = if packet[0] >> 4 == 4 { (8, 20) } else { (7, 40) };
        packet[hops] = 0;
        assert_eq!(rtr.itr.handle(rtr.now, &packet), Verdict::Dropped(DropReason::CoreTtl));
        assert_eq!((rtr.counters.dropped(DropReason::CoreTtl), rtr.counters.get(Count::Encapsulated)), (1, tunnels));
        let outputs = rtr.outputs();
        let error = match outputs.as_slice() {
            [Output::Core(to, error)] if to.destination_port == 50_001 => error,
            [Output::Site(error)] if tunnels == 0 => error,
            _ => panic!("{outputs:?}"),
        };
        assert_eq!(IpPacket::parse(error).unwrap().destination(), ip(source));
        assert_eq!((&error[header..header + 2], &error[header + 8..]), (kind.as_slice(), packet.as_slice()));
        // As of all errors there are ten a second, and none about an error.
        for _ in 0..20 {
            rtr.itr.handle(rtr.now, &packet);
        }
        assert_eq!(rtr.outputs().len(), 9);
        let mut about_error = error.clone();
        about_error[hops] = 0;
        assert_eq!(rtr.itr.handle(rtr.now, &about_error), Verdict::Dropped(DropReason::CoreTtl));
        assert_eq!(rtr.outputs(), []);
    }
}

#[test]
fn behind_a_nat_an_rtr_that_cannot_be_reached_is_said_once_a_second_and_an_rtr_says_nothing_of_its_nats() {
    let mut node = Rtr::new();
    let to_rtr = Binding { address: ip("198.51.100.1"), port: 4341, from: FromPort::Data, source: ip(RLOCS[0]) };
    node.install("10.0.3.0/24", Forwarding::Binding(to_rtr));
    let mut quoted = |to: &str| {
        let header = node.header(&packet("10.0.2.1", to, 8));
        header.emit(28, &mut [0; OuterHeader::LONGEST]).unwrap().to_vec()
    };
    let (mut of_rtr, of_nat) = (quoted("10.0.3.1"), quoted(BOUND));
    let unreachable = |node: &mut Rtr, quoted: &[u8]| {
        let before = node.counters.get(Count::Unreachable);
        (0..20).for_each(|_| node.itr.handle_unreachable(node.now, quoted));
        node.counters.get(Count::Unreachable) - before
    };
    assert_eq!(unreachable(&mut node, &of_nat), 0);
    assert_eq!(unreachable(&mut node, &of_rtr), 1);
    assert_eq!(node.itr.poll_event(), Some(Event::Silent { rloc: ip("198.51.100.1") }));
    node.now += Duration::from_secs(1);
    // Another port there.
    of_rtr[23] ^= 1;
    assert_eq!(unreachable(&mut node, &of_rtr), 0);
    of_rtr[23] ^= 1;
    assert_eq!(unreachable(&mut node, &of_rtr), 1);
}

#[test]
fn behind_a_nat_what_came_by_the_rtr_for_a_part_that_has_moved_does_not_go_back_to_it() {
    let mut node = Rtr::new();
    let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
    node.itr = Itr::new(node.now, config, node.counters.clone());
    node.itr.update(node.now, Update::LocalRlocs(vec![ip(RLOCS[0])]));
    node.itr.update(node.now, Update::LocalEids(vec![prefix("10.0.0.0/16")]));
    node.itr.update(node.now, Update::Moved(vec![prefix("10.0.1.0/24")]));
    let to_rtr = Binding { address: ip("198.51.100.1"), port: 4341, from: FromPort::Data, source: ip(RLOCS[0]) };
    node.install("0.0.0.0/0", Forwarding::Binding(to_rtr));
    for source in ["10.7.0.1", "10.0.1.9"] {
        let verdict =
            node.itr.handle(node.now, &packet(source, BOUND, 8)) == Verdict::Dropped(DropReason::MovedNowhere);
        assert!(verdict, "{source}");
    }
    while node.itr.poll().is_some() {}
    assert_eq!(node.header(&packet("10.0.2.1", BOUND, 8)).destination, ip("198.51.100.1"), "of a host that stayed");
}
