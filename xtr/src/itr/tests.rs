// SPDX-License-Identifier: GPL-2.0-or-later
//! The rules of the ITR, each a test. ICMP messages are judged by pnet, which is not ours.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pnet::packet::Packet as _;
use pnet::packet::icmp::{
    IcmpPacket, checksum as icmp_checksum, destination_unreachable::DestinationUnreachablePacket,
};
use pnet::packet::icmpv6::{Icmpv6Packet, checksum as icmpv6_checksum};
use pnet::packet::ipv4::{self, Ipv4Packet as PnetV4};
use pnet::packet::ipv6::Ipv6Packet as PnetV6;
use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ecn, IpPacket, Ipv4Header, Ipv6Header, OuterHeader, TrafficClass};
use wire::record::Action;

use super::{Itr, ItrConfig, Output, Verdict};
use crate::counters::{Count, Counters, DropReason};
use crate::ecn::EcnCompatibility;
use crate::map_cache::{Entry, Event, Forwarding, Locator, Update};

const UDP: u8 = 17;
const ICMP: u8 = 1;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

fn packet(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let class = TrafficClass::new(46, Ecn::Ect0);
    match (ip(source), ip(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header { source, destination, protocol, ttl: 16, class, dont_fragment: false };
            [&header.emit(payload.len()).unwrap(), payload].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let next_header = protocol;
            let header = Ipv6Header { source, destination, next_header, hop_limit: 16, class, flow_label: 0 };
            [header.emit(payload.len()).unwrap().as_slice(), payload].concat()
        }
        _ => panic!("mixed families"),
    }
}

fn v6_packet(payload: &[u8]) -> Vec<u8> {
    packet("2001:db8:a::1", "2001:db8:b::1", UDP, payload)
}

fn v4_packet(payload: &[u8]) -> Vec<u8> {
    packet("10.0.0.1", "10.0.1.1", UDP, payload)
}

fn dont_fragment(mut octets: Vec<u8>) -> Vec<u8> {
    octets[6] |= 0x40;
    octets[10..12].fill(0);
    let sum = wire::data::checksum::internet(&octets[..20]);
    octets[10..12].copy_from_slice(&sum.to_be_bytes());
    octets
}

/// An ITR with RLOCs of both families and its counters.
struct Bench {
    itr: Itr,
    counters: Arc<Counters>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::with(InstanceId(0))
    }

    fn with(iid: InstanceId) -> Self {
        Self::with_gpe_peers(iid, vec![])
    }

    fn with_gpe_peers(iid: InstanceId, gpe_peers: Vec<IpAddr>) -> Self {
        let (now, counters) = (Instant::now(), Arc::new(Counters::default()));
        let icmp_sources = vec![ip("10.0.0.254"), ip("2001:db8:a::ff")];
        let config = ItrConfig { iid, icmp_sources, core_mtu: 1500, gpe_peers };
        let mut itr = Itr::new(now, config, counters.clone());
        itr.update(now, Update::LocalRlocs(vec![ip("192.0.2.1"), ip("2001:db8:c1::1")]));
        itr.update(now, Update::LocalEids(vec![prefix("10.0.0.0/24"), prefix("2001:db8:a::/48")]));
        Self { itr, counters, now }
    }

    fn map(&mut self, net: &str, rlocs: &[&str]) {
        let locators = rlocs.iter().map(|rloc| Locator { address: ip(rloc), priority: 1, weight: 1 }).collect();
        self.install(prefix(net), Forwarding::Locators(locators));
    }

    fn negative(&mut self, net: &str, action: Action) {
        self.install(prefix(net), Forwarding::Negative(action));
    }

    fn install(&mut self, prefix: EidPrefix, forwarding: Forwarding) {
        let entry = Entry { forwarding, expires: self.now + Duration::from_secs(100) };
        self.itr.update(self.now, Update::Upsert { prefix, entry });
    }

    fn send<'p>(&mut self, packet: &'p [u8]) -> Verdict<'p> {
        self.itr.handle(self.now, packet)
    }

    fn header(&mut self, packet: &[u8]) -> OuterHeader {
        match self.send(packet) {
            Verdict::Encapsulate(header, inner) if inner == packet => header,
            other => panic!("{other:?}"),
        }
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.itr.poll()).collect()
    }

    fn site(&mut self) -> Vec<u8> {
        match self.outputs().as_slice() {
            [Output::Site(packet)] => packet.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.dropped(reason)
    }
}

#[test]
fn ttl_dscp_and_ecn_are_copied_and_the_lisp_header_is_zero() {
    let mut bench = Bench::new();
    bench.map("2001:db8:b::/48", &["198.51.100.1"]);
    let header = bench.header(&v6_packet(&[0; 20]));
    assert_eq!((header.source, header.destination), (ip("192.0.2.1"), ip("198.51.100.1")));
    assert_eq!((header.ttl, header.class), (16, TrafficClass::new(46, Ecn::Ect0)));
    assert_eq!(header.lisp, [0; 8]);
    assert_eq!(bench.counters.get(Count::Encapsulated), 1);
    assert_eq!(bench.counters.get(Count::EncapsulatedBytes), 60);
}

#[test]
fn all_four_ecn_values_are_copied_in_both_families() {
    let mut bench = Bench::new();
    bench.map("2001:db8:b::/48", &["198.51.100.1"]);
    bench.map("10.0.1.0/24", &["2001:db8:c2::1"]);
    for ecn in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
        let class = TrafficClass::new(10, ecn);
        let (mut v6, mut v4) = (v6_packet(&[]), v4_packet(&[]));
        wire::data::Ipv6Packet::rewrite(&mut v6, 9, class);
        wire::data::Ipv4Packet::rewrite(&mut v4, 9, class);
        assert_eq!(bench.header(&v6).class, class);
        assert_eq!(bench.header(&v4).class, class);
    }
}

#[test]
fn in_compatibility_mode_the_outer_ecn_field_is_00_and_the_rest_of_the_header_as_ever() {
    let compatible = EcnCompatibility::To(vec![ip("198.51.100.7"), ip("198.51.100.9")]);
    for (mode, to_others) in [(compatible, false), (EcnCompatibility::ToAll, true)] {
        let mut bench = Bench::with_gpe_peers(InstanceId(0), vec![ip("198.51.100.9")]);
        bench.itr = bench.itr.with_ecn(mode);
        bench.map("2001:db8:b::/48", &["198.51.100.7"]);
        bench.map("10.0.1.0/24", &["198.51.100.8"]);
        bench.map("10.0.2.0/24", &["198.51.100.9"]);
        for ecn in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
            let (class, zeroed) = (TrafficClass::new(10, ecn), TrafficClass::new(10, Ecn::NotEct));
            let (mut v6, mut v4, mut to_gpe) =
                (v6_packet(&[]), v4_packet(&[]), packet("10.0.0.1", "10.0.2.1", 17, &[]));
            wire::data::Ipv6Packet::rewrite(&mut v6, 9, class);
            wire::data::Ipv4Packet::rewrite(&mut v4, 9, class);
            wire::data::Ipv4Packet::rewrite(&mut to_gpe, 9, class);
            let header = bench.header(&v6);
            let expected = OuterHeader { class: zeroed, ..header };
            assert_eq!(header, expected, "and the inner packet is as it was: {ecn:?}");
            assert_eq!((header.ttl, header.lisp), (9, [0; 8]));
            assert!(header.source_port >= 49152);
            assert_eq!(bench.header(&v4).class, if to_others { zeroed } else { class });
            let to_gpe = bench.header(&to_gpe);
            assert_eq!((to_gpe.class, to_gpe.lisp().next_protocol.is_some()), (zeroed, true));
        }
    }
}

#[test]
fn what_waited_and_fragments_go_in_compatibility_mode_too() {
    let mut bench = Bench::new();
    bench.itr = bench.itr.with_ecn(EcnCompatibility::ToAll);
    let mut waits = packet("10.0.0.1", "10.0.1.1", 17, &[0; 1480]);
    wire::data::Ipv4Packet::rewrite(&mut waits, 9, TrafficClass::new(10, Ecn::Ect0));
    assert_eq!(bench.send(&waits), Verdict::Later);
    bench.map("10.0.1.0/24", &["198.51.100.1"]);
    let classes: Vec<_> = bench
        .outputs()
        .iter()
        .map(|output| match output {
            Output::Core(header, inner) => (header.class, inner[1]),
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = (TrafficClass::new(10, Ecn::NotEct), TrafficClass::new(10, Ecn::Ect0).0);
    assert_eq!(classes, [expected; 2], "two fragments");
}

#[test]
fn a_gpe_peer_is_told_the_protocol_of_the_inner_packet_and_others_are_not() {
    let mut bench = Bench::with_gpe_peers(InstanceId(0), vec![ip("198.51.100.7")]);
    bench.map("2001:db8:b::/48", &["198.51.100.7"]);
    bench.map("10.0.1.0/24", &["198.51.100.7"]);
    bench.map("10.0.2.0/24", &["198.51.100.8"]);
    let to_v6 = bench.header(&v6_packet(&[]));
    assert_eq!(to_v6.lisp, [0x0c, 0, 0, 2, 0, 0, 0, 0], "I and P, IPv6, instance 0 (RFC 9305, section 3)");
    assert_eq!(bench.header(&v4_packet(&[])).lisp, [0x0c, 0, 0, 1, 0, 0, 0, 0]);
    let elsewhere = packet("10.0.0.1", "10.0.2.1", 17, &[]);
    assert_eq!(bench.header(&elsewhere).lisp, [0; 8]);
    // What a router quotes of it is believed as of any other packet of ours.
    let mut buffer = [0; OuterHeader::LONGEST];
    let quoted = to_v6.emit(1400, &mut buffer).unwrap().to_vec();
    bench.itr.handle_too_big(bench.now, &quoted, 1400);
    assert_eq!(bench.counters.get(Count::PathMtu), 1);
}

#[test]
fn an_instance_other_than_zero_is_in_the_header() {
    let mut bench = Bench::with(InstanceId(0xab_cdef));
    let inside = EidPrefix { iid: InstanceId(0xab_cdef), ..prefix("2001:db8:b::/48") };
    let locators = vec![Locator { address: ip("198.51.100.1"), priority: 1, weight: 1 }];
    bench.install(inside, Forwarding::Locators(locators));
    assert_eq!(bench.header(&v6_packet(&[])).lisp, [8, 0, 0, 0, 0xab, 0xcd, 0xef, 0]);
}

#[test]
fn source_ports_are_dynamic_steady_for_a_flow_and_spread_over_flows() {
    let mut bench = Bench::new();
    bench.map("2001:db8:b::/48", &["198.51.100.1"]);
    let mut ports = HashSet::new();
    for flow in 0..1000u16 {
        let octets = v6_packet(&[flow.to_be_bytes(), 53u16.to_be_bytes(), [0, 8], [0, 0]].concat());
        let port = bench.header(&octets).source_port;
        assert!(port >= 49152);
        assert_eq!(bench.header(&octets).source_port, port);
        ports.insert(port);
    }
    assert!(ports.len() > 300, "{}", ports.len());
}

#[test]
fn the_source_port_of_icmp_and_fragments_comes_from_addresses_only() {
    let mut bench = Bench::new();
    bench.map("10.0.1.0/24", &["198.51.100.1"]);
    let echo = |id: u8| packet("10.0.0.1", "10.0.1.1", ICMP, &[8, 0, 0, 0, 0, id, 0, 0]);
    assert_eq!(bench.header(&echo(1)).source_port, bench.header(&echo(2)).source_port);
    let (mut first, mut second) = (v4_packet(&[1, 2, 3, 4, 5, 6, 7, 8]), v4_packet(&[9; 8]));
    first[6] = 0x20;
    second[7] = 1;
    assert_eq!(bench.header(&first).source_port, bench.header(&second).source_port);
}

#[test]
fn a_flow_stays_on_one_locator_of_a_family_that_we_have() {
    let mut bench = Bench::new();
    bench.map("2001:db8:b::/48", &["198.51.100.1", "2001:db8:c2::1"]);
    let octets = v6_packet(&[0, 1, 0, 2, 0, 8, 0, 0]);
    let first = bench.header(&octets).destination;
    assert!((0..50).all(|_| bench.header(&octets).destination == first));
    bench.itr.update(bench.now, Update::LocalRlocs(vec![ip("2001:db8:c1::1")]));
    let header = bench.header(&octets);
    assert_eq!((header.source, header.destination), (ip("2001:db8:c1::1"), ip("2001:db8:c2::1")));
    bench.itr.update(bench.now, Update::LocalRlocs(vec![]));
    assert_eq!(bench.send(&octets), Verdict::Dropped(DropReason::NoLocator));
}

#[test]
fn queued_packets_leave_in_order_and_nothing_overtakes_them() {
    let mut bench = Bench::new();
    for n in 0..8 {
        assert_eq!(bench.send(&v6_packet(&[n])), Verdict::Later);
    }
    let miss = Event::Miss { eid: prefix("2001:db8:b::1/128"), source: ip("2001:db8:a::1") };
    assert_eq!(bench.itr.poll_event(), Some(miss));
    assert_eq!(bench.itr.poll_event(), None, "one event for eight packets");
    bench.map("2001:db8:b::/48", &["198.51.100.1"]);
    assert_eq!(bench.send(&v6_packet(&[8])), Verdict::Later, "the queue has not been drained yet");
    let last: Vec<u8> = bench
        .outputs()
        .iter()
        .map(|output| match output {
            Output::Core(header, inner) if header.destination == ip("198.51.100.1") => inner[40],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(last, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    bench.header(&v6_packet(&[9]));
    assert_eq!((bench.counters.get(Count::Queued), bench.counters.get(Count::Flushed)), (8, 8));
}

#[test]
fn a_mapping_of_another_prefix_flushes_nothing() {
    let mut bench = Bench::new();
    bench.send(&v6_packet(&[1]));
    bench.map("2001:db8:bb::/48", &["198.51.100.1"]);
    assert_eq!(bench.outputs(), []);
    bench.map("2001:db8:b::1/128", &["198.51.100.1"]);
    assert_eq!(bench.outputs().len(), 1);
}

#[test]
fn given_up_packets_are_counted_and_their_source_hears_unreachable() {
    let mut bench = Bench::new();
    bench.send(&v6_packet(&[1, 2, 3]));
    bench.itr.update(bench.now, Update::Unresolved { eid: prefix("2001:db8:b::1/128") });
    let answer = bench.site();
    let outer = PnetV6::new(&answer).unwrap();
    assert_eq!(
        (outer.get_source(), outer.get_destination()),
        ("2001:db8:a::ff".parse().unwrap(), "2001:db8:a::1".parse().unwrap())
    );
    let icmp = Icmpv6Packet::new(outer.payload()).unwrap();
    assert_eq!((icmp.get_icmpv6_type().0, icmp.get_icmpv6_code().0), (1, 3));
    assert_eq!(icmp.get_checksum(), icmpv6_checksum(&icmp, &outer.get_source(), &outer.get_destination()));
    assert_eq!(&icmp.payload()[4..], v6_packet(&[1, 2, 3]));
    assert_eq!((bench.dropped(DropReason::Unresolved), bench.counters.get(Count::IcmpSent)), (1, 1));
    assert_eq!(bench.send(&v6_packet(&[4])), Verdict::Later);
    assert!(matches!(bench.itr.poll_event(), Some(Event::Miss { .. })));
}

#[test]
fn packets_that_wait_too_long_are_given_up() {
    let mut bench = Bench::new();
    bench.send(&v4_packet(&[1]));
    let deadline = bench.itr.next_deadline().unwrap();
    assert_eq!(deadline, bench.now + Duration::from_secs(3));
    bench.itr.handle_timeout(deadline);
    assert_eq!(bench.dropped(DropReason::QueueTimeout), 1);
    let answer = bench.site();
    let outer = PnetV4::new(&answer).unwrap();
    assert_eq!(outer.get_checksum(), ipv4::checksum(&outer));
    let icmp = IcmpPacket::new(outer.payload()).unwrap();
    assert_eq!((icmp.get_icmp_type().0, icmp.get_icmp_code().0, icmp.get_checksum()), (3, 1, icmp_checksum(&icmp)));
}

#[test]
fn each_negative_action_is_obeyed() {
    let mut bench = Bench::new();
    let octets = v6_packet(&[7]);
    bench.negative("2001:db8:b::/48", Action::NativelyForward);
    assert_eq!(bench.send(&octets), Verdict::Native(&octets));
    for (action, reason, told) in [
        (Action::NoAction, DropReason::NoAction, 0),
        (Action::DropNoReason, DropReason::NegativeDrop, 1),
        (Action::DropPolicyDenied, DropReason::NegativePolicy, 0),
        (Action::DropAuthFailure, DropReason::NegativeAuth, 0),
    ] {
        bench.negative("2001:db8:b::/48", action);
        assert_eq!(bench.send(&octets), Verdict::Dropped(reason));
        assert_eq!((bench.dropped(reason), bench.outputs().len()), (1, told), "{action:?}");
    }
    bench.negative("2001:db8:b::/48", Action::SendMapRequest);
    assert_eq!(bench.send(&octets), Verdict::Later);
    assert!(matches!(bench.itr.poll_event(), Some(Event::Miss { .. })));
    bench.negative("2001:db8:b::/48", Action::SendMapRequest);
    assert_eq!((bench.outputs(), bench.itr.poll_event()), (vec![], None), "the packet waits on, without a loop");
    bench.map("2001:db8:b::/48", &["198.51.100.1"]);
    assert_eq!(bench.outputs().len(), 1);
}

#[test]
fn ipv6_over_the_limit_draws_packet_too_big_and_the_limit_itself_passes() {
    let mut bench = Bench::new();
    bench.map("2001:db8:b::/48", &["198.51.100.1"]);
    bench.header(&v6_packet(&[0; 1464 - 40]));
    let octets = v6_packet(&[0; 1465 - 40]);
    assert_eq!(bench.send(&octets), Verdict::Dropped(DropReason::TooBig));
    let answer = bench.site();
    let outer = PnetV6::new(&answer).unwrap();
    let icmp = Icmpv6Packet::new(outer.payload()).unwrap();
    assert_eq!((icmp.get_icmpv6_type().0, &icmp.payload()[..4]), (2, &1464u32.to_be_bytes()[..]));
    assert_eq!(icmp.get_checksum(), icmpv6_checksum(&icmp, &outer.get_source(), &outer.get_destination()));
}

#[test]
fn ipv4_with_dont_fragment_over_the_limit_draws_fragmentation_needed() {
    let mut bench = Bench::new();
    bench.map("10.0.1.0/24", &["2001:db8:c2::1"]);
    bench.header(&dont_fragment(v4_packet(&[0; 1444 - 20])));
    let octets = dont_fragment(v4_packet(&[0; 1445 - 20]));
    assert_eq!(bench.send(&octets), Verdict::Dropped(DropReason::TooBig));
    let answer = bench.site();
    let outer = PnetV4::new(&answer).unwrap();
    assert_eq!(outer.get_source(), std::net::Ipv4Addr::new(10, 0, 0, 254));
    let icmp = DestinationUnreachablePacket::new(outer.payload()).unwrap();
    assert_eq!((icmp.get_icmp_type().0, icmp.get_icmp_code().0, icmp.get_next_hop_mtu()), (3, 4, 1444));
    assert!(icmp.payload().len() >= 28 && octets.starts_with(icmp.payload()));
}

#[test]
fn ipv4_without_dont_fragment_is_split_in_two_that_reassemble() {
    let mut bench = Bench::new();
    bench.map("10.0.1.0/24", &["198.51.100.1"]);
    let payload: Vec<u8> = (0..1480u32).map(|n| n as u8).collect();
    assert_eq!(bench.send(&v4_packet(&payload)), Verdict::Later);
    let fragments: Vec<(u16, Vec<u8>)> = bench
        .outputs()
        .into_iter()
        .map(|output| match output {
            Output::Core(header, inner) => (header.source_port, inner),
            other @ Output::Site(_) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(fragments.len(), 2);
    let mut rebuilt = Vec::new();
    for (_, fragment) in &fragments {
        let view = PnetV4::new(fragment).unwrap();
        assert_eq!(view.get_checksum(), ipv4::checksum(&view));
        assert_eq!(usize::from(view.get_fragment_offset()) * 8, rebuilt.len());
        rebuilt.extend_from_slice(view.payload());
    }
    assert_eq!(PnetV4::new(&fragments[1].1).unwrap().get_fragment_offset(), 744 / 8);
    assert_eq!(rebuilt, payload);
    assert_eq!(bench.counters.get(Count::Fragmented), 1);
}

#[test]
fn a_reported_path_mtu_counts_only_if_the_quoted_packet_is_ours() {
    let mut bench = Bench::new();
    bench.map("10.0.1.0/24", &["198.51.100.1"]);
    let header = bench.header(&v4_packet(&[]));
    let mut buffer = [0; OuterHeader::LONGEST];
    let real = header.emit(1464, &mut buffer).unwrap().to_vec();
    let forgeries = [
        ("source RLOC", 15, 9),
        ("an RLOC of no mapping", 19, 9),
        ("source port", 20, 0x10),
        ("destination port", 23, 0),
        ("LISP header", 28, 8),
    ];
    for (what, at, value) in forgeries {
        let mut forged = real.clone();
        forged[at] = value;
        bench.itr.handle_too_big(bench.now, &forged, 1400);
        assert_eq!(bench.counters.get(Count::PathMtu), 0, "{what}");
    }
    assert_eq!(bench.counters.get(Count::PathMtuRefused), 5);
    bench.itr.handle_too_big(bench.now, &real[..28], 1400);
    let octets = dont_fragment(v4_packet(&[0; 1400 - 20]));
    assert_eq!(bench.send(&octets), Verdict::Dropped(DropReason::TooBig));
    let answer = bench.site();
    assert_eq!(DestinationUnreachablePacket::new(&answer[20..]).unwrap().get_next_hop_mtu(), 1364);
    bench.now += Duration::from_secs(99);
    bench.header(&dont_fragment(v4_packet(&[0; 1364 - 20])));
}

#[test]
fn a_report_over_ipv6_of_less_than_every_link_takes_is_discarded() {
    let mut bench = Bench::new();
    bench.map("2001:db8:b::/48", &["2001:db8:c2::1"]);
    let rloc = ip("2001:db8:c2::1");
    let full = v6_packet(&[0; 1444 - 40]);
    let mut buffer = [0; OuterHeader::LONGEST];
    let quoted = bench.header(&full).emit(1444, &mut buffer).unwrap().to_vec();
    let counts = |bench: &Bench| {
        [Count::PathMtu, Count::PathMtuRefused, Count::PathMtuDoubted].map(|count| bench.counters.get(count))
    };
    for mtu in [0, 68, 1279] {
        bench.itr.handle_report(bench.now, &quoted, mtu);
    }
    assert_eq!((counts(&bench), bench.itr.poll_event()), ([0, 3, 0], None));
    bench.header(&full);
    bench.itr.update(bench.now, Update::PathProven { rloc, until: bench.now + Duration::from_secs(60) });
    bench.itr.handle_report(bench.now, &quoted, 1279);
    assert_eq!((counts(&bench), bench.itr.poll_event()), ([0, 4, 0], None), "nor is it worth a probe");
    bench.now += Duration::from_secs(61);
    bench.itr.handle_report(bench.now, &quoted, 1280);
    assert_eq!(counts(&bench), [1, 4, 0]);
    let events: Vec<_> = std::iter::from_fn(|| bench.itr.poll_event()).collect();
    assert!(events.contains(&Event::PathMtu { rloc, mtu: 1280 }), "{events:?}");
    assert_eq!(bench.send(&full), Verdict::Dropped(DropReason::TooBig));
    // What our own kernel says is believed as far as may be.
    bench.itr.handle_too_big(bench.now, &quoted, 1000);
    assert_eq!(counts(&bench), [1, 4, 0], "it is known");
}

#[test]
fn no_packet_is_longer_than_its_interface_takes_and_longer_than_usual_only_where_it_is_known_to_get_there() {
    let mut bench = Bench::new();
    bench.map("10.0.1.0/24", &["198.51.100.1"]);
    let (ours, rloc) = (ip("192.0.2.1"), ip("198.51.100.1"));
    let room = |bench: &mut Bench| {
        let takes = |bench: &mut Bench, length: usize| {
            let packet = dont_fragment(v4_packet(&vec![0; length - 20]));
            bench.now += Duration::from_secs(1);
            let taken = matches!(bench.send(&packet), Verdict::Encapsulate(..));
            bench.outputs();
            taken
        };
        let longest =
            [500, 1264, 1364, 1464, 3964, 8964].into_iter().rev().find(|length| takes(bench, *length)).unwrap();
        assert!(!takes(bench, longest + 1));
        longest + 36
    };
    assert_eq!(room(&mut bench), 1500);
    let interface = |bench: &mut Bench, mtu| bench.itr.update(bench.now, Update::InterfaceMtus([(ours, mtu)].into()));
    let path = |bench: &mut Bench, mtu| bench.itr.update(bench.now, Update::PathMtu { rloc, mtu });
    interface(&mut bench, 9000);
    assert_eq!(room(&mut bench), 1500, "nobody knows of more");
    path(&mut bench, Some(9000));
    assert_eq!(room(&mut bench), 9000);
    interface(&mut bench, 4000);
    assert_eq!(room(&mut bench), 4000);
    path(&mut bench, Some(1400));
    assert_eq!(room(&mut bench), 1400);
    interface(&mut bench, 1300);
    assert_eq!(room(&mut bench), 1300);
    interface(&mut bench, 1500);
    assert_eq!(room(&mut bench), 1400, "it is not forgotten");
    path(&mut bench, None);
    assert_eq!(room(&mut bench), 1500);
}

#[test]
fn against_what_a_long_probe_has_shown_a_report_is_a_hint_once_a_second() {
    let mut bench = Bench::new();
    bench.map("10.0.1.0/24", &["198.51.100.1"]);
    let rloc = ip("198.51.100.1");
    let mut buffer = [0; OuterHeader::LONGEST];
    let quoted = bench.header(&v4_packet(&[])).emit(1464, &mut buffer).unwrap().to_vec();
    bench.itr.update(bench.now, Update::PathProven { rloc, until: bench.now + Duration::from_secs(60) });
    let full = dont_fragment(v4_packet(&[0; 1400 - 20]));
    for mtu in [1300, 100, usize::MAX] {
        bench.itr.handle_report(bench.now, &quoted, mtu);
        bench.header(&full);
    }
    let hint = |mtu| Event::MtuReported { rloc, mtu };
    assert_eq!((bench.itr.poll_event(), bench.itr.poll_event()), (Some(hint(1300)), None));
    assert_eq!((bench.counters.get(Count::PathMtuDoubted), bench.counters.get(Count::PathMtu)), (3, 0));
    bench.now += Duration::from_secs(1);
    bench.itr.handle_report(bench.now, &quoted, 100);
    assert_eq!(bench.itr.poll_event(), Some(hint(576)), "as low as is ever believed");
    bench.itr.handle_too_big(bench.now, &quoted, 1450);
    assert_eq!(bench.counters.get(Count::PathMtu), 1, "our own kernel knows");
    bench.now += Duration::from_secs(59);
    bench.itr.handle_report(bench.now, &quoted, 1300);
    assert_eq!(bench.counters.get(Count::PathMtu), 2, "that was too long ago");
}

#[test]
fn an_unreachable_locator_is_a_hint_once_a_second_and_only_of_what_we_sent() {
    let mut bench = Bench::new();
    bench.map("10.0.1.0/24", &["198.51.100.1"]);
    let mut buffer = [0; OuterHeader::LONGEST];
    let header = bench.header(&v4_packet(&[0; 8]));
    let real = header.emit(28, &mut buffer).unwrap().to_vec();
    for (what, at, value) in
        [("source RLOC", 15, 9), ("an RLOC of no mapping", 19, 9), ("source port", 20, 0x10), ("LISP header", 28, 8)]
    {
        let mut forged = real.clone();
        forged[at] = value;
        bench.itr.handle_unreachable(bench.now, &forged);
        assert_eq!(bench.itr.poll_event(), None, "{what}");
    }
    for _ in 0..10 {
        bench.itr.handle_unreachable(bench.now, &real[..28]);
    }
    let hint = Event::Silent { rloc: ip("198.51.100.1") };
    assert_eq!((bench.itr.poll_event(), bench.itr.poll_event()), (Some(hint), None));
    bench.now += Duration::from_millis(999);
    bench.itr.handle_unreachable(bench.now, &real);
    assert_eq!(bench.counters.get(Count::Unreachable), 1);
    assert_eq!(bench.counters.get(Count::UnreachableRefused), 14);
    bench.now += Duration::from_millis(1);
    bench.itr.handle_unreachable(bench.now, &real);
    assert_eq!(bench.counters.get(Count::Unreachable), 2);
    // Packets go there still: probes decide.
    bench.header(&v4_packet(&[0; 8]));
}

#[test]
fn a_path_below_1280_never_makes_an_ipv6_limit_below_1280() {
    let mut bench = Bench::new();
    bench.map("2001:db8:b::/48", &["198.51.100.1"]);
    let mut buffer = [0; OuterHeader::LONGEST];
    let header = bench.header(&v6_packet(&[]));
    let quoted = header.emit(1400, &mut buffer).unwrap().to_vec();
    bench.itr.handle_too_big(bench.now, &quoted, 600);
    assert_eq!(bench.send(&v6_packet(&[0; 1300 - 40])), Verdict::Dropped(DropReason::TooBig));
    assert_eq!(bench.site()[44..48], 1280u32.to_be_bytes());
    assert_eq!(bench.outputs(), []);
}

#[test]
fn an_ipv6_packet_of_1280_is_sent_whatever_was_said_of_the_way_and_may_be_fragmented_over_ipv4() {
    for (rloc, ours, overhead) in [("198.51.100.1", "192.0.2.1", 36), ("2001:db8:f::1", "2001:db8:c1::1", 56)] {
        let mut bench = Bench::new();
        bench.map("2001:db8:b::/48", &[rloc]);
        let mut buffer = [0; OuterHeader::LONGEST];
        let least = v6_packet(&[0; 1280 - 40]);
        let whole = bench.header(&least);
        let quoted = whole.emit(1400, &mut buffer).unwrap().to_vec();
        // The least that is believed of a router.
        bench.itr.handle_report(bench.now, &quoted, if whole.destination.is_ipv6() { 1280 } else { 600 });
        assert_eq!(bench.counters.get(Count::PathMtu), 1);
        let may_be_fragmented = OuterHeader { dont_fragment: whole.destination.is_ipv6(), ..whole };
        assert_eq!(bench.header(&least), may_be_fragmented);
        assert_eq!(bench.header(&v6_packet(&[0; 8])), whole, "what fits is not fragmented");
        assert_eq!(bench.send(&v6_packet(&[0; 1281 - 40])), Verdict::Dropped(DropReason::TooBig));
        // What stands behind others goes the same way.
        assert_eq!(bench.send(&least), Verdict::Later);
        let Some(Output::Core(header, inner)) = bench.outputs().pop() else { panic!() };
        assert_eq!((header, inner.len()), (may_be_fragmented, 1280));
        let mut leaves_by = |mtu| {
            bench.itr.update(bench.now, Update::InterfaceMtus([(ip(ours), mtu)].into()));
            matches!(bench.send(&least), Verdict::Encapsulate(..))
        };
        assert!(leaves_by(1280 + overhead) && !leaves_by(1280 + overhead - 1));
        assert_eq!(bench.dropped(DropReason::PathTooNarrow), 1, "our own interface is no hearsay");
    }
}

#[test]
fn icmp_errors_are_rate_limited_and_never_about_icmp_errors() {
    let mut bench = Bench::new();
    bench.negative("2001:db8:b::/48", Action::DropNoReason);
    let error = packet("2001:db8:a::1", "2001:db8:b::1", 58, &[3, 0, 0, 0, 0, 0, 0, 0]);
    bench.send(&error);
    assert_eq!(bench.outputs(), []);
    for _ in 0..1000 {
        bench.send(&v6_packet(&[]));
    }
    assert_eq!(bench.outputs().len(), 10);
    assert_eq!(bench.counters.get(Count::IcmpSuppressed), 991);
}

#[test]
fn packets_that_belong_in_no_tunnel_are_dropped_and_named() {
    let mut bench = Bench::new();
    let cases = [
        (vec![], DropReason::SiteMalformed),
        (vec![0x75; 40], DropReason::SiteMalformed),
        (v6_packet(&[0; 8])[..44].to_vec(), DropReason::SiteMalformed),
        (packet("2001:db8:a::1", "ff02::2", 58, &[133, 0]), DropReason::SiteNotUnicast),
        (packet("fe80::1", "2001:db8:b::1", UDP, &[]), DropReason::SiteNotUnicast),
        (packet("10.0.0.1", "255.255.255.255", UDP, &[]), DropReason::SiteNotUnicast),
        (packet("10.0.0.1", "10.0.0.77", UDP, &[]), DropReason::SiteOwnEid),
    ];
    for (octets, reason) in cases {
        let before = bench.dropped(reason);
        assert_eq!(bench.send(&octets), Verdict::Dropped(reason));
        assert_eq!(bench.dropped(reason), before + 1);
    }
    let mut no_hops = v6_packet(&[]);
    no_hops[7] = 0;
    assert_eq!(bench.send(&no_hops), Verdict::Dropped(DropReason::SiteTtl));
    assert_eq!(bench.itr.poll_event(), None);
}

#[test]
fn packets_to_a_part_of_ours_that_has_moved_go_after_it_and_never_back_here() {
    let mut bench = Bench::new();
    let to_part = packet("10.0.0.1", "10.0.0.77", UDP, &[]);
    bench.itr.update(bench.now, Update::Moved(vec![prefix("10.0.0.64/26")]));
    assert_eq!(bench.send(&packet("10.0.0.1", "10.0.0.2", UDP, &[])), Verdict::Dropped(DropReason::SiteOwnEid));
    bench.site();
    assert_eq!(bench.send(&to_part), Verdict::Later);
    let asked = Event::Miss { eid: prefix("10.0.0.77/32"), source: ip("10.0.0.1") };
    assert_eq!(bench.itr.poll_event(), Some(asked));
    bench.map("10.0.0.64/26", &["198.51.100.1"]);
    let outputs = bench.outputs();
    let [Output::Core(header, _)] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((header.destination, bench.header(&to_part).ttl), (ip("198.51.100.1"), 16));
    // An old answer, which has us as its locator, and one that has nobody.
    bench.map("10.0.0.64/26", &["192.0.2.1"]);
    assert_eq!(bench.send(&to_part), Verdict::Dropped(DropReason::MovedNowhere));
    assert_eq!(PnetV4::new(&bench.site()).unwrap().get_destination().to_string(), "10.0.0.1", "it is told");
    bench.negative("10.0.0.64/26", Action::NativelyForward);
    assert_eq!(bench.send(&to_part), Verdict::Dropped(DropReason::MovedNowhere), "it would come back");
    bench.site();
    bench.itr.update(bench.now, Update::Moved(vec![]));
    assert_eq!(bench.send(&to_part), Verdict::Dropped(DropReason::SiteOwnEid));
}

#[test]
fn an_entry_used_late_in_its_life_is_asked_for_once() {
    let mut bench = Bench::new();
    bench.map("2001:db8:b::/48", &["198.51.100.1"]);
    bench.header(&v6_packet(&[]));
    assert_eq!(bench.itr.poll_event(), None);
    bench.now += Duration::from_secs(81);
    bench.header(&v6_packet(&[]));
    bench.header(&v6_packet(&[]));
    let mut events =
        std::iter::from_fn(|| bench.itr.poll_event()).filter(|event| !matches!(event, Event::Silent { .. }));
    assert_eq!(events.next(), Some(Event::Refresh { prefix: prefix("2001:db8:b::/48") }));
    assert_eq!(events.next(), None);
    bench.now += Duration::from_secs(19);
    assert_eq!(bench.send(&v6_packet(&[])), Verdict::Later, "expired");
}

#[test]
fn an_event_that_control_had_no_room_for_is_said_again() {
    let mut bench = Bench::new();
    bench.send(&v6_packet(&[]));
    let event = bench.itr.poll_event().unwrap();
    bench.itr.event_lost(event.clone());
    assert_eq!(bench.itr.poll_event(), Some(event));
}

#[test]
fn trailing_octets_do_not_enter_the_tunnel() {
    let mut bench = Bench::new();
    bench.map("2001:db8:b::/48", &["198.51.100.1"]);
    let mut octets = v6_packet(&[1, 2, 3]);
    octets.extend([0; 7]);
    match bench.send(&octets) {
        Verdict::Encapsulate(header, inner) => {
            assert_eq!((inner.len(), header.lisp), (43, [0; 8]));
            assert!(IpPacket::parse(inner).is_ok());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn flows_leave_a_locator_that_cannot_be_reached_and_come_back() {
    let mut bench = Bench::new();
    let reachable = |rloc: &str, reachable| Update::Reachable { rloc: ip(rloc), reachable };
    bench.itr.update(bench.now, reachable("198.51.100.1", false));
    bench.map("2001:db8:b::/48", &["198.51.100.1", "198.51.100.2"]);
    let octets: Vec<Vec<u8>> = (0..50).map(|port| v6_packet(&[0, port, 0, 2, 0, 8, 0, 0])).collect();
    assert!(octets.iter().all(|octets| bench.header(octets).destination == ip("198.51.100.2")));
    bench.map("2001:db8:b::/48", &["198.51.100.2", "198.51.100.1"]);
    assert!(
        octets.iter().all(|octets| bench.header(octets).destination == ip("198.51.100.2")),
        "also of a new mapping"
    );
    bench.itr.update(bench.now, reachable("198.51.100.2", false));
    assert_ne!(bench.send(&octets[0]), Verdict::Dropped(DropReason::NoLocator), "with none left they are tried");
    bench.itr.update(bench.now, reachable("198.51.100.1", true));
    assert!(octets.iter().all(|octets| bench.header(octets).destination == ip("198.51.100.1")));
}

#[test]
fn however_many_locators_of_ours_come_and_go_packets_leave_from_the_one_that_leads_there() {
    let mut bench = Bench::new();
    let first = ip("192.0.2.1");
    let rlocs = ["198.51.100.1", "198.51.100.2"];
    for (net, rloc) in ["10.0.1.0/24", "10.0.2.0/24"].into_iter().zip(rlocs) {
        bench.map(net, &[rloc]);
    }
    let [one, other] = ["10.0.1.1", "10.0.2.1"].map(|to| packet("10.0.0.1", to, UDP, &[0; 20]));
    for number in 0..100 {
        let source = IpAddr::V4([203, 0, 113, number].into());
        bench.itr.update(bench.now, Update::LocalRlocs(vec![first, source]));
        let rloc = ip(rlocs[usize::from(number % 2)]);
        bench.itr.update(bench.now, Update::From { rloc, source });
        let (led, not_led) = if number % 2 == 0 { (&one, &other) } else { (&other, &one) };
        assert_eq!(bench.header(led).source, source);
        assert_eq!(bench.header(not_led).source, first, "it was led by one that is gone");
    }
}

#[test]
fn a_locator_that_packets_go_to_in_vain_is_called_silent_and_its_packets_are_published() {
    let mut bench = Bench::new();
    bench.map("2001:db8:b::/48", &["198.51.100.1"]);
    for _ in 0..25 {
        bench.header(&v6_packet(&[0; 60]));
        bench.now += Duration::from_millis(100);
    }
    let silent = Event::Silent { rloc: ip("198.51.100.1") };
    let events: Vec<Event> = std::iter::from_fn(|| bench.itr.poll_event()).collect();
    assert_eq!(events, [silent.clone(), silent.clone()]);
    let deadline = bench.itr.next_deadline().unwrap();
    assert!(deadline <= bench.now + Duration::from_secs(1));
    bench.itr.handle_timeout(deadline);
    assert_eq!(bench.itr.poll_event(), Some(silent));
    let [count] = bench.counters.locators()[..] else { panic!() };
    assert_eq!((count.address, count.packets, count.octets), (ip("198.51.100.1"), 25, 2500));
    assert_eq!((count.reachable, count.path_mtu), (true, 1500));
    assert_eq!(bench.itr.next_deadline(), Some(bench.now + Duration::from_millis(100_000 - 2500)), "only the expiry");
}
