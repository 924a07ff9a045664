// SPDX-License-Identifier: GPL-2.0-or-later
//! Two nodes joined in memory, with an eavesdropper on the wire between them: the same tests for both tiers.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

mod tier;

use std::net::IpAddr;
use std::time::Duration;

use wire::address::{EidPrefix, InstanceId};
use wire::data::{IpPacket, Ipv4Header, Ipv6Header, TrafficClass, UdpHeader, checksum, protocol};
use wire::record::MapVersion;

use self::tier::{Offered, Tier, TierOne, TierZero};
use super::*;
use crate::ecn::EcnCompatibility;
use crate::etr::{EtrConfig, SourceMode, SourcePolicy};
use crate::itr::ItrConfig;
use crate::map_cache::{Entry, Forwarding, Locator, OwnMapping, SourceVerdict};
use crate::shell::device::TooBig;
use crate::trust::Trust;

/// Each test for both tiers.
macro_rules! for_both_tiers {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        mod tier_zero { $($(#[doc = $doc])* #[test] fn $name() { super::$name::<super::TierZero>(); })+ }
        mod tier_one { $($(#[doc = $doc])* #[test] fn $name() { super::$name::<super::TierOne>(); })+ }
    };
}

for_both_tiers! {
    the_first_packets_cross_in_order_and_the_wire_shows_lisp,
    a_refusal_of_our_own_kernel_teaches_the_mtu_at_once,
    a_report_of_a_router_lowers_the_mtu_of_that_locator,
    a_report_that_a_locator_cannot_be_reached_is_said_to_control,
    that_our_own_kernel_has_no_way_is_said_to_control_once_a_second,
    a_control_half_that_does_not_keep_up_hears_of_each_miss_later,
    a_batch_is_bounded_and_says_that_there_may_be_more,
    the_segments_of_one_connection_cross_as_they_are,
    segments_that_miss_wait_and_leave_in_order,
    segments_too_long_for_the_path_teach_it_and_their_source_hears,
    ipv6_packets_of_1280_leave_by_a_way_that_is_said_to_be_narrow,
    ipv6_packets_of_1280_that_the_kernel_refuses_are_not_offered_again,
    packets_that_the_kernel_refuses_are_dropped_and_nothing_else,
    ipv4_segments_that_may_be_split_are_split,
    a_native_connection_goes_back_to_the_kernel,
    congestion_on_the_way_reaches_the_segments_it_met,
    an_inner_packet_with_a_wrong_checksum_crosses_as_it_is,
    packets_for_others_are_dropped_and_counted_one_by_one,
    packets_wait_for_the_verdict_on_their_source_and_enter_in_order,
    a_nonce_is_echoed_by_the_next_packet_and_all_segments_of_one_ask_for_it,
    of_the_segments_of_one_connection_the_first_alone_has_the_echo,
    segments_with_different_nonces_that_arrive_as_one_are_told_apart,
    packets_with_an_old_version_cross_and_those_with_a_newer_one_do_not,
    what_a_stranger_says_beside_its_payload_changes_nothing,
    what_a_gpe_peer_says_is_no_ip_is_none,
}

mod ecn;
mod headers;
mod interwork;
mod nat;
mod uplinks;

struct Node<T> {
    packets: T,
    events: tokio::sync::mpsc::Receiver<Event>,
    counters: Arc<Counters>,
}

impl<T: Tier> Node<T> {
    fn new(now: Instant, rloc: &str, eids: &[&str], room_for_events: usize) -> Self {
        Self::with_sources(now, rloc, eids, room_for_events, SourceMode::Off)
    }

    fn with_sources(now: Instant, rloc: &str, eids: &[&str], room_for_events: usize, mode: SourceMode) -> Self {
        let etr = EtrConfig { sources: SourcePolicy { mode, ..SourcePolicy::default() }, ..EtrConfig::default() };
        Self::with_etr(now, rloc, eids, room_for_events, etr)
    }

    fn with_etr(now: Instant, rloc: &str, eids: &[&str], room_for_events: usize, etr: EtrConfig) -> Self {
        Self::with_engines(now, rloc, eids, room_for_events, (etr, EcnCompatibility::default()))
    }

    fn with_engines(
        now: Instant,
        rloc: &str,
        eids: &[&str],
        room_for_events: usize,
        (etr, ecn): (EtrConfig, EcnCompatibility),
    ) -> Self {
        let counters = Arc::new(Counters::default());
        let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
        let itr = Itr::new(now, config, counters.clone()).trusting(etr.trust.clone());
        let itr = itr.relaying(etr.relays, &etr.petr_for).with_ecn(ecn);
        let engines = (itr, Etr::new(etr, counters.clone()));
        let (sender, events) = tokio::sync::mpsc::channel(room_for_events);
        let packets = T::new(engines, sender, counters.clone());
        packets.update(Update::LocalRlocs(vec![rloc.parse().unwrap()]));
        packets.update(Update::LocalEids(eids.iter().map(|net| prefix(net)).collect()));
        Self { packets, events, counters }
    }

    fn map(&self, now: Instant, eids: &str, rloc: &str) {
        let locators = vec![Locator { address: rloc.parse().unwrap(), priority: 1, weight: 1 }];
        self.install(now, eids, Forwarding::Locators(locators));
    }

    fn install(&self, now: Instant, eids: &str, forwarding: Forwarding) {
        let entry = Entry { forwarding, expires: now + Duration::from_secs(60) };
        self.packets.update(Update::Upsert { prefix: prefix(eids), entry });
    }

    fn offer(&mut self, packets: impl IntoIterator<Item = Vec<u8>>) {
        packets.into_iter().for_each(|packet| self.packets.offer(Offered::whole(packet)));
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

/// So many segments of a TCP connection, whole and right, each of `size` octets of payload but for a shorter last one.
fn connection(v4: bool, dont_fragment: bool, count: usize, size: usize) -> Vec<Vec<u8>> {
    let (source, destination): (IpAddr, IpAddr) = match v4 {
        true => ([10, 0, 0, 1].into(), [10, 0, 1, 1].into()),
        false => ("2001:db8:a::1".parse().unwrap(), "2001:db8:b::1".parse().unwrap()),
    };
    let segment = |index: usize| {
        let is_last = index + 1 == count;
        let length = if is_last && count > 1 { size / 2 } else { size };
        let mut tcp = vec![0; 20];
        tcp[..4].copy_from_slice(&[0x12, 0x34, 0, 80]);
        tcp[4..8].copy_from_slice(&((index * size) as u32).to_be_bytes());
        tcp[12] = 5 << 4;
        tcp[13] = if is_last { 0x18 } else { 0x10 };
        tcp.extend(std::iter::repeat_n(index as u8, length));
        let sum = checksum::transport(source, destination, protocol::TCP, &tcp);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let class = TrafficClass(0x2a);
        let header = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let header = Ipv4Header { source, destination, protocol: 6, ttl: 63, class, dont_fragment };
                let mut header = header.emit(tcp.len()).unwrap().to_vec();
                header[4..6].copy_from_slice(&(index as u16).to_be_bytes());
                header[10..12].fill(0);
                let sum = checksum::internet(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                header
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                Ipv6Header { source, destination, next_header: 6, hop_limit: 63, class, flow_label: 5 }
                    .emit(tcp.len())
                    .unwrap()
                    .to_vec()
            }
            _ => panic!("one family"),
        };
        [header, tcp].concat()
    };
    (0..count).map(segment).collect()
}

fn pair<T: Tier>(now: Instant) -> (Node<T>, Node<T>) {
    let mut nodes = (
        Node::<T>::new(now, "192.0.2.1", &["2001:db8:a::/48", "10.0.0.0/24"], 8),
        Node::<T>::new(now, "192.0.2.2", &["2001:db8:b::/48", "10.0.1.0/24"], 8),
    );
    nodes.0.packets.turn(now);
    nodes.1.packets.turn(now);
    nodes
}

/// A pair of which the first has mappings of the second.
fn mapped_pair<T: Tier>(now: Instant) -> (Node<T>, Node<T>) {
    let nodes = pair(now);
    nodes.0.map(now, "2001:db8:b::/48", "192.0.2.2");
    nodes.0.map(now, "10.0.1.0/24", "192.0.2.2");
    nodes
}

/// Carries what one node sent to the other, and shows it.
fn carry<T: Tier>(from: &mut Node<T>, to: &mut Node<T>) -> Vec<Vec<u8>> {
    let carried = from.packets.take_sent();
    to.packets.arrive(carried.clone());
    carried
}

fn packets_wait_for_the_verdict_on_their_source_and_enter_in_order<T: Tier>() {
    let now = Instant::now();
    let (mut a, _) = mapped_pair::<T>(now);
    let mut b = Node::<T>::with_sources(now, "192.0.2.2", &["2001:db8:b::/48"], 8, SourceMode::Strict);
    b.packets.turn(now);
    a.offer((0..4).map(|number| packet(number, 64)));
    a.packets.turn(now);
    carry(&mut a, &mut b);
    b.packets.turn(now);
    assert_eq!((b.packets.got().len(), b.counters.get(Count::SourceWaited)), (0, 4));
    let (rloc, source) = ("192.0.2.1".parse().unwrap(), "2001:db8:a::1/128");
    assert_eq!(b.events.try_recv(), Ok(Event::Source { eid: prefix(source), rloc, is_known: false }));
    let (verdict, ask) = (SourceVerdict::Here, now + Duration::from_secs(60));
    let (eid, prefix) = (prefix(source), prefix("2001:db8:a::/48"));
    b.packets.update(Update::Source { eid, prefix, rloc, verdict, ask });
    a.offer([packet(4, 64)]);
    a.packets.turn(now);
    carry(&mut a, &mut b);
    b.packets.turn(now);
    let last_octets: Vec<u8> = b.packets.got().iter().filter_map(|packet| packet.last().copied()).collect();
    assert_eq!(last_octets, [0, 1, 2, 3, 4]);
    assert_eq!(b.counters.get(Count::Decapsulated), 5);
}

fn what_a_gpe_peer_says_is_no_ip_is_none<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut stranger) = mapped_pair::<T>(now);
    let gpe_peers = vec!["192.0.2.1".parse().unwrap()];
    let etr = EtrConfig { gpe_peers, ..EtrConfig::default() };
    let mut b = Node::<T>::with_etr(now, "192.0.2.2", &["2001:db8:b::/48"], 8, etr);
    b.packets.turn(now);
    a.offer([packet(0, 64)]);
    a.packets.turn(now);
    let mut sent = a.packets.take_sent().remove(0);
    // P, and the values of RFC 9305, section 3: IPv4, IPv6, Ethernet, NSH, experiments, a shim.
    let all = [1, 2, 3, 4, 0x7e, 0x80].map(|next| {
        (sent[28], sent[31]) = (sent[28] | 4, next);
        sent.clone()
    });
    for (node, enter) in [(&mut b, 1), (&mut stranger, 6)] {
        node.packets.arrive(all.to_vec());
        node.packets.turn(now);
        let dropped = node.counters.dropped(DropReason::CoreNextProtocol);
        assert_eq!((node.packets.got().len(), dropped), (enter, 6 - enter as u64));
    }
}

/// Two nodes that trust each other, each with mappings of the other, in version 5 and 6.
fn trusting_pair<T: Tier>(now: Instant) -> (Node<T>, Node<T>) {
    let node = |rloc: &str, eids: &[&str]| {
        let trust = Trust::of(&["192.0.2.0/24".parse().unwrap()]).with_echo_nonce(true);
        Node::<T>::with_etr(now, rloc, eids, 8, EtrConfig { trust, ..EtrConfig::default() })
    };
    let (of_a, of_b) = (["2001:db8:a::/48", "10.0.0.0/24"], ["2001:db8:b::/48", "10.0.1.0/24"]);
    let (mut a, mut b) = (node("192.0.2.1", &of_a), node("192.0.2.2", &of_b));
    for (node, others, rloc) in [(&mut a, of_b, "192.0.2.2"), (&mut b, of_a, "192.0.2.1")] {
        node.packets.turn(now);
        others.iter().for_each(|net| node.map(now, net, rloc));
        node.packets.turn(now);
    }
    (a, b)
}

fn own_version(version: u16) -> Update {
    Update::Own(OwnMapping { version: MapVersion(version), status_bits: None, others_end: None })
}

/// The LISP headers of outer packets over IPv4.
fn lisp_headers(packets: &[Vec<u8>]) -> Vec<[u8; 4]> {
    packets.iter().map(|packet| packet[28..32].try_into().unwrap()).collect()
}

fn a_nonce_is_echoed_by_the_next_packet_and_all_segments_of_one_ask_for_it<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = trusting_pair::<T>(now);
    let [rloc_a, rloc_b]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|rloc| rloc.parse().unwrap());
    a.packets.update(Update::EchoRequest { rloc: rloc_b, nonce: Some(0xab_cdef), suspended: false });
    a.packets.offer(Offered::segments(connection(true, true, 4, 1000)));
    a.packets.turn(now);
    assert_eq!(lisp_headers(&carry(&mut a, &mut b)), [[0xa0, 0xab, 0xcd, 0xef]; 4]);
    b.packets.turn(now);
    assert_eq!((b.packets.got(), b.counters.get(Count::Decapsulated)), (connection(true, true, 4, 1000), 4));
    assert_eq!(b.events.try_recv(), Ok(Event::EchoAsked { rloc: rloc_a, nonce: 0xab_cdef }));
    b.packets.update(Update::EchoAnswer { rloc: rloc_a, nonce: 0xab_cdef });
    for number in 0..2 {
        let mut answer = packet(number, 64);
        answer[8..40].rotate_left(16);
        b.offer([answer]);
    }
    b.packets.turn(now);
    assert_eq!(lisp_headers(&carry(&mut b, &mut a)), [[0x80, 0xab, 0xcd, 0xef], [0; 4]]);
    a.packets.turn(now);
    assert_eq!(a.packets.got().len(), 2);
    assert_eq!(a.events.try_recv(), Ok(Event::Echoed { rloc: rloc_b, nonce: 0xab_cdef }));
}

fn of_the_segments_of_one_connection_the_first_alone_has_the_echo<T: Tier>() {
    let now = Instant::now();
    for asks_itself in [false, true] {
        let (mut a, mut b) = trusting_pair::<T>(now);
        let [rloc_a, rloc_b]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|rloc| rloc.parse().unwrap());
        a.packets.update(Update::EchoRequest { rloc: rloc_b, nonce: Some(8), suspended: false });
        a.packets.turn(now);
        let nonce = asks_itself.then_some(7);
        b.packets.update(Update::EchoRequest { rloc: rloc_a, nonce, suspended: false });
        b.packets.update(Update::EchoAnswer { rloc: rloc_a, nonce: 8 });
        let mut segments = connection(true, true, 4, 1000);
        segments.iter_mut().for_each(|segment| segment[12..20].rotate_left(4));
        b.packets.offer(Offered::segments(segments.clone()));
        b.packets.turn(now);
        let behind = if asks_itself { [0xa0, 0, 0, 7] } else { [0; 4] };
        assert_eq!(lisp_headers(&carry(&mut b, &mut a)), [[0x80, 0, 0, 8], behind, behind, behind]);
        a.packets.turn(now);
        assert_eq!(a.packets.got(), segments);
        assert_eq!(a.events.try_recv(), Ok(Event::Echoed { rloc: rloc_b, nonce: 8 }));
        assert_eq!(a.counters.get(Count::NonceUnasked), 0);
    }
}

fn segments_with_different_nonces_that_arrive_as_one_are_told_apart<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = trusting_pair::<T>(now);
    let rloc: IpAddr = "192.0.2.1".parse().unwrap();
    b.packets.update(Update::EchoRequest { rloc, nonce: Some(3), suspended: false });
    b.packets.turn(now);
    let segments = connection(true, true, 6, 1000);
    a.packets.offer(Offered::segments(segments.clone()));
    a.packets.turn(now);
    let mut sent = a.packets.take_sent();
    for (number, octets) in (1..).zip(&mut sent) {
        // One asks, one echoes what was asked for, the others say what nobody asked.
        octets[28..32].copy_from_slice(&[if number == 2 { 0xa0 } else { 0x80 }, 0, 0, number]);
    }
    b.packets.arrive(sent);
    b.packets.turn(now);
    assert_eq!(b.packets.got(), segments);
    let events = [b.events.try_recv(), b.events.try_recv()];
    assert_eq!(events, [Ok(Event::EchoAsked { rloc, nonce: 2 }), Ok(Event::Echoed { rloc, nonce: 3 })]);
    assert_eq!(b.counters.get(Count::NonceUnasked), 4);
}

fn packets_with_an_old_version_cross_and_those_with_a_newer_one_do_not<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = trusting_pair::<T>(now);
    a.packets.update(own_version(0x123));
    let expires = now + Duration::from_secs(60);
    let peer = |version| {
        let (prefix, version, rlocs) = (prefix("10.0.1.0/24"), MapVersion(version), Arc::default());
        Update::Peer { prefix, version, rlocs, expires }
    };
    for (version, of_b, crosses) in [(6, 6, true), (6, 7, true), (8, 7, false)] {
        a.packets.update(peer(version));
        b.packets.update(own_version(of_b));
        a.packets.offer(Offered::segments(connection(true, true, 3, 1000)));
        a.packets.turn(now);
        let before = b.packets.got().len();
        assert_eq!(lisp_headers(&carry(&mut a, &mut b)), [[0x10, 0x12, 0x30, version as u8]; 3]);
        b.packets.turn(now);
        assert_eq!(b.packets.got().len() - before, if crosses { 3 } else { 0 }, "{version} for {of_b}");
    }
    let rloc = "192.0.2.1".parse().unwrap();
    assert_eq!(b.events.try_recv(), Ok(Event::VersionStale { prefix: prefix("10.0.1.0/24"), rloc }));
    assert_eq!((b.counters.get(Count::VersionOld), b.counters.dropped(DropReason::CoreVersionNewer)), (3, 3));
}

fn what_a_stranger_says_beside_its_payload_changes_nothing<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = mapped_pair::<T>(now);
    b.packets.update(own_version(7));
    let segments = connection(true, true, 8, 1000);
    a.packets.offer(Offered::segments(segments.clone()));
    a.packets.turn(now);
    let mut sent = a.packets.take_sent();
    for (octets, flags) in sent.iter_mut().zip([0x80, 0xa0, 0x10, 0x40, 0xc0, 0x50, 0xe0, 0x90]) {
        octets[28..36].copy_from_slice(&[flags, 1, 2, 3, 0, 0, 0, 0]);
    }
    b.packets.arrive(sent);
    b.packets.turn(now);
    assert_eq!(b.packets.got(), segments);
    assert!(b.events.try_recv().is_err());
    assert_eq!((b.counters.get(Count::FlagsIgnored), b.counters.get(Count::FlagsForbidden)), (7, 1));
}

fn the_first_packets_cross_in_order_and_the_wire_shows_lisp<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = pair::<T>(now);
    a.offer((0..8).map(|number| packet(number, 64)));
    a.packets.turn(now);
    assert!(matches!(a.events.try_recv(), Ok(Event::Miss { .. })));
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    a.offer([packet(8, 64)]);
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
    assert_eq!(b.packets.got(), expected);
    assert_eq!(b.packets.rlocs(), ["192.0.2.2".parse::<IpAddr>().unwrap()]);
}

fn a_refusal_of_our_own_kernel_teaches_the_mtu_at_once<T: Tier>() {
    let now = Instant::now();
    let (mut a, _) = pair::<T>(now);
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    a.packets.set_mtu(1400);
    a.offer([packet(1, 1390 - 40)]);
    a.packets.turn(now);
    let got = a.packets.got();
    assert_eq!((got.len(), got[0][40]), (1, 2), "packet too big");
    assert_eq!(got[0][44..48], 1364u32.to_be_bytes());
    assert_eq!(a.counters.dropped(DropReason::TooBig), 1);
}

fn a_report_of_a_router_lowers_the_mtu_of_that_locator<T: Tier>() {
    let now = Instant::now();
    let (mut a, _) = pair::<T>(now);
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    a.offer([packet(1, 1390 - 40)]);
    a.packets.turn(now);
    let quoted = a.packets.take_sent()[0][..36].to_vec();
    a.packets.report(TooBig { quoted, mtu: 1400 });
    a.packets.turn(now);
    a.offer([packet(1, 1390 - 40)]);
    a.packets.turn(now);
    assert_eq!((a.counters.get(Count::PathMtu), a.packets.got().len()), (1, 1));
}

fn a_report_that_a_locator_cannot_be_reached_is_said_to_control<T: Tier>() {
    let now = Instant::now();
    let (mut a, _) = pair::<T>(now);
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    a.offer([packet(1, 64)]);
    a.packets.turn(now);
    let quoted = a.packets.take_sent()[0][..28].to_vec();
    a.packets.report_unreachable(quoted);
    a.packets.turn(now);
    assert_eq!(a.events.try_recv(), Ok(Event::Silent { rloc: "192.0.2.2".parse().unwrap() }));
}

fn that_our_own_kernel_has_no_way_is_said_to_control_once_a_second<T: Tier>() {
    let now = Instant::now();
    let (mut a, _) = pair::<T>(now);
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    let hints = |a: &mut Node<T>, errno: i32, at: u64| {
        a.packets.set_errno(Some(errno));
        a.offer([packet(1, 64), packet(2, 64)]);
        a.packets.offer(Offered::segments(connection(false, true, 8, 1000)));
        a.packets.turn(now + Duration::from_millis(at));
        std::iter::from_fn(|| a.events.try_recv().ok()).collect::<Vec<_>>()
    };
    let silent = || vec![Event::Silent { rloc: "192.0.2.2".parse().unwrap() }];
    assert_eq!(hints(&mut a, libc::ENOBUFS, 0), [], "the next packet may leave");
    assert_eq!(a.counters.dropped(DropReason::CoreSend), 10);
    // Long before a second without an answer has gone by.
    assert_eq!(hints(&mut a, libc::ENETUNREACH, 10), silent());
    assert_eq!(hints(&mut a, libc::EHOSTUNREACH, 20), [], "once a second");
    assert_eq!(a.counters.dropped(DropReason::CoreSend), 30);
}

fn a_control_half_that_does_not_keep_up_hears_of_each_miss_later<T: Tier>() {
    let now = Instant::now();
    let mut node = Node::<T>::new(now, "192.0.2.1", &["2001:db8:a::/48"], 1);
    for last in 1..=3 {
        let mut octets = packet(0, 8);
        octets[39] = last;
        node.offer([octets]);
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

fn a_batch_is_bounded_and_says_that_there_may_be_more<T: Tier>() {
    let now = Instant::now();
    let (mut a, _) = pair::<T>(now);
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    a.offer((0..100).map(|number| packet(number, 8)));
    assert!(a.packets.turn(now));
    let first = a.packets.take_sent().len();
    assert_eq!(first, limits::BATCH);
    assert!(!a.packets.turn(now));
    assert_eq!(first + a.packets.take_sent().len(), 100);
}

fn the_segments_of_one_connection_cross_as_they_are<T: Tier>() {
    for v4 in [true, false] {
        let now = Instant::now();
        let (mut a, mut b) = mapped_pair::<T>(now);
        let segments = connection(v4, true, 40, 1400);
        a.packets.offer(Offered::segments(segments.clone()));
        a.packets.turn(now);
        let seen = carry(&mut a, &mut b);
        assert_eq!(seen.len(), 40);
        for (octets, segment) in seen.iter().zip(&segments) {
            let outer = IpPacket::parse(octets).unwrap();
            assert_eq!((outer.ttl(), outer.traffic_class()), (63, TrafficClass(0x2a)));
            assert_eq!(octets[36..], segment[..]);
        }
        b.packets.turn(now);
        assert_eq!(b.packets.got(), segments);
        let octets: usize = segments.iter().map(Vec::len).sum();
        let counts = [Count::Encapsulated, Count::EncapsulatedBytes].map(|count| a.counters.get(count));
        assert_eq!(counts, [40, octets as u64]);
        // The next second of traffic, in which what was sent to each locator is published.
        a.packets.turn(now + Duration::from_secs(2));
        let locators = a.counters.locators();
        assert_eq!((locators.len(), locators[0].packets, locators[0].octets), (1, 40, octets as u64));
        let counts = [Count::Decapsulated, Count::DecapsulatedBytes].map(|count| b.counters.get(count));
        assert_eq!(counts, [40, octets as u64]);
    }
}

fn segments_that_miss_wait_and_leave_in_order<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = pair::<T>(now);
    let segments = connection(false, true, 40, 1400);
    a.packets.offer(Offered::segments(segments.clone()));
    a.packets.turn(now);
    assert!(matches!(a.events.try_recv(), Ok(Event::Miss { .. })));
    assert_eq!((a.events.try_recv().is_err(), a.counters.get(Count::Queued)), (true, 40));
    a.map(now, "2001:db8:b::/48", "192.0.2.2");
    a.packets.turn(now);
    carry(&mut a, &mut b);
    b.packets.turn(now);
    assert_eq!(b.packets.got(), segments);
}

fn segments_too_long_for_the_path_teach_it_and_their_source_hears<T: Tier>() {
    let now = Instant::now();
    let (mut a, _) = mapped_pair::<T>(now);
    a.packets.set_mtu(1300);
    let segments = connection(false, true, 4, 1400);
    a.packets.offer(Offered::segments(segments.clone()));
    a.packets.turn(now);
    // The last and shorter one fits.
    let sent = a.packets.take_sent();
    assert_eq!((sent.len(), &sent[0][36..]), (1, &segments[3][..]));
    let got = a.packets.got();
    assert_eq!((got.len(), got[0][40], a.counters.dropped(DropReason::TooBig)), (3, 2, 3));
    assert_eq!(got[0][44..48], 1280u32.to_be_bytes());
    assert_eq!(a.counters.get(Count::Encapsulated), 1, "what has not left is not counted");
    assert_eq!(a.counters.get(Count::PathMtu), 1);
    a.packets.offer(Offered::segments(segments));
    a.packets.turn(now);
    assert_eq!(a.packets.take_sent().len(), 1);
    assert_eq!(a.counters.dropped(DropReason::CoreSend), 0);
}

fn ipv6_packets_of_1280_leave_by_a_way_that_is_said_to_be_narrow<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = mapped_pair::<T>(now);
    // 40 octets of IPv6 and 20 of TCP in front of them: 1280 in all.
    let segments = connection(false, true, 4, 1220);
    for (dont_fragment, forged) in [(0x40, false), (0, true)] {
        a.packets.offer(Offered::segments(segments.clone()));
        a.offer([packet(9, 1240)]);
        a.packets.turn(now);
        let sent = carry(&mut a, &mut b);
        let shape: Vec<_> = sent.iter().map(|outer| (outer.len(), outer[6])).collect();
        // The last segment is half as long, and fits.
        let long = (1280 + 36, dont_fragment);
        assert_eq!(shape, [long, long, long, (670 + 36, 0x40), long], "{forged}");
        b.packets.turn(now);
        if !forged {
            a.packets.report(TooBig { quoted: sent[0][..64].to_vec(), mtu: 1000 });
            a.packets.turn(now);
            assert_eq!(a.counters.get(Count::PathMtu), 1);
        }
    }
    assert_eq!((b.packets.got().len(), a.counters.get(Count::Encapsulated)), (10, 10));
    assert_eq!(a.packets.got(), Vec::<Vec<u8>>::new(), "nothing is said about what leaves");
}

fn ipv6_packets_of_1280_that_the_kernel_refuses_are_not_offered_again<T: Tier>() {
    let now = Instant::now();
    // Over IPv4 the first one is offered with DF, and without.
    for (ours, locator, first) in [("192.0.2.1", "192.0.2.2", 2), ("2001:db8:f::1", "2001:db8:f::2", 1)] {
        let mut node = Node::<T>::new(now, ours, &["2001:db8:a::/48"], 8);
        node.map(now, "2001:db8:b::/48", locator);
        node.packets.set_mtu(1300);
        for refused in [first, first + 1] {
            node.offer([packet(9, 1240)]);
            node.packets.turn(now);
            assert_eq!(node.packets.refused(), refused);
        }
        node.packets.offer(Offered::segments(connection(false, true, 4, 1220)));
        node.packets.turn(now);
        assert_eq!(node.packets.refused(), first + 4);
        // The last segment is half as long.
        assert_eq!((node.packets.take_sent().len(), node.counters.get(Count::Encapsulated)), (1, 1));
        let dropped = [DropReason::PathTooNarrow, DropReason::CoreSend].map(|reason| node.counters.dropped(reason));
        assert_eq!((dropped, node.packets.got().len()), ([5, 0], 0));
    }
}

fn packets_that_the_kernel_refuses_are_dropped_and_nothing_else<T: Tier>() {
    for errno in [libc::ENETUNREACH, libc::EPERM, libc::ENOBUFS, libc::EINVAL] {
        let now = Instant::now();
        let (mut a, _) = mapped_pair::<T>(now);
        a.packets.set_errno(Some(errno));
        // The segments of one connection, a packet, and one that is split into two.
        a.packets.offer(Offered::segments(connection(true, true, 10, 1000)));
        a.offer([packet(1, 64), connection(true, false, 1, 1450).remove(0)]);
        a.packets.turn(now);
        a.packets.turn(now + Duration::from_secs(2));
        let counts = [Count::Encapsulated, Count::EncapsulatedBytes].map(|count| a.counters.get(count));
        assert_eq!((counts, a.counters.dropped(DropReason::CoreSend)), ([0, 0], 13), "errno {errno}");
        assert!(a.counters.locators().iter().all(|locator| (locator.packets, locator.octets) == (0, 0)));
    }
}

fn ipv4_segments_that_may_be_split_are_split<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = mapped_pair::<T>(now);
    a.packets.set_mtu(1300);
    a.packets.offer(Offered::segments(connection(true, false, 3, 1400)));
    a.packets.turn(now);
    let sent = carry(&mut a, &mut b);
    assert_eq!((sent.len(), a.counters.get(Count::Fragmented)), (5, 2));
    assert!(sent.iter().all(|packet| packet.len() <= 1300));
    b.packets.turn(now);
    assert_eq!(b.packets.got().len(), 5);
}

fn a_native_connection_goes_back_to_the_kernel<T: Tier>() {
    let now = Instant::now();
    let (mut a, _) = pair::<T>(now);
    a.install(now, "2001:db8:b::/48", Forwarding::Negative(wire::record::Action::NativelyForward));
    let segments = connection(false, true, 10, 1400);
    a.packets.offer(Offered::segments(segments.clone()));
    a.packets.turn(now);
    assert_eq!(a.packets.got(), segments);
    assert_eq!((a.counters.get(Count::Native), a.packets.take_sent().len()), (10, 0));
}

fn congestion_on_the_way_reaches_the_segments_it_met<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = mapped_pair::<T>(now);
    a.packets.offer(Offered::segments(connection(true, true, 10, 1000)));
    a.packets.turn(now);
    let mut sent = a.packets.take_sent();
    for packet in &mut sent[3..6] {
        packet[1] |= 3;
    }
    // A long way for one of them.
    sent[8][8] = 7;
    b.packets.arrive(sent);
    b.packets.turn(now);
    let got = b.packets.got();
    let seen: Vec<(u8, u8)> = got.iter().map(|packet| (packet[1] & 3, packet[8])).collect();
    let expected: Vec<(u8, u8)> =
        (0..10).map(|n| (if (3..6).contains(&n) { 3 } else { 2 }, if n == 8 { 7 } else { 63 })).collect();
    assert_eq!(seen, expected);
    assert!(got.iter().all(|packet| checksum::internet(&packet[..20]) == 0));
}

fn an_inner_packet_with_a_wrong_checksum_crosses_as_it_is<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = mapped_pair::<T>(now);
    a.packets.offer(Offered::segments(connection(true, true, 10, 1000)));
    a.packets.turn(now);
    let mut sent = a.packets.take_sent();
    sent[4][36 + 500] ^= 1;
    let expected: Vec<Vec<u8>> = sent.iter().map(|packet| packet[36..].to_vec()).collect();
    b.packets.arrive(sent);
    b.packets.turn(now);
    assert_eq!(b.packets.got(), expected);
}

fn packets_for_others_are_dropped_and_counted_one_by_one<T: Tier>() {
    let now = Instant::now();
    let (mut a, mut b) = mapped_pair::<T>(now);
    b.packets.update(Update::LocalEids(vec![prefix("10.9.0.0/16")]));
    a.packets.offer(Offered::segments(connection(true, true, 10, 1000)));
    a.packets.turn(now);
    carry(&mut a, &mut b);
    b.packets.turn(now);
    assert_eq!((b.packets.got().len(), b.counters.dropped(DropReason::CoreNotOurs)), (0, 10));
}

/// Runs both tiers over the same packets of the site: what leaves, and what the far site gets of it.
fn run<T: Tier>(offered: &[Offered]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let now = Instant::now();
    let (mut a, mut b) = mapped_pair::<T>(now);
    offered.iter().cloned().for_each(|packet| a.packets.offer(packet));
    while a.packets.turn(now) {}
    let sent = carry(&mut a, &mut b);
    while b.packets.turn(now) {}
    (sent, b.packets.got())
}

#[test]
fn both_tiers_send_and_deliver_the_same_packets() {
    let mut offered = Vec::new();
    for round in 0..20u8 {
        offered.push(Offered::segments(connection(round % 2 == 0, round % 3 == 0, 1 + usize::from(round), 1400)));
        offered.push(Offered::whole(packet(round, 100)));
        let datagram = UdpHeader { source: 9, destination: u16::from(round), checksum: 0xffff }.emit(0).unwrap();
        let mut other = packet(0, 8);
        other[40..].copy_from_slice(&datagram);
        other[1] = round << 4;
        other[7] = 1 + round;
        offered.push(Offered::whole(other));
        // Damage: a length beyond the packet, a version of the future, no octets at all.
        offered.push(Offered::whole(packet(round, 20)[..30].to_vec()));
        offered.push(Offered::whole(vec![0x75; 60]));
        offered.push(Offered::whole(vec![]));
    }
    let (of_zero, of_one) = (run::<TierZero>(&offered), run::<TierOne>(&offered));
    // Flows may overtake each other.
    let sorted = |mut packets: Vec<Vec<u8>>| {
        packets.sort();
        packets
    };
    assert!(of_zero.0.len() > 200, "{}", of_zero.0.len());
    assert_eq!(sorted(of_zero.0), sorted(of_one.0));
    assert_eq!(sorted(of_zero.1), sorted(of_one.1));
}

#[test]
fn a_batch_of_one_connection_leaves_with_one_call() {
    let now = Instant::now();
    let (mut a, _) = mapped_pair::<TierOne>(now);
    let before = a.packets.calls();
    a.offer(connection(false, true, 60, 500));
    a.packets.turn(now);
    assert_eq!((a.packets.take_sent().len(), a.packets.calls() - before), (60, 1));
}

#[test]
fn a_locator_that_the_kernel_takes_no_groups_to_gets_packets_one_by_one_and_others_groups() {
    const COUNT: usize = 40;
    let now = Instant::now();
    let (mut a, _) = mapped_pair::<TierOne>(now);
    let (alone, grouped): (IpAddr, IpAddr) = ([192, 0, 2, 2].into(), [192, 0, 2, 3].into());
    let segments = [connection(true, true, COUNT, 1400), connection(false, true, COUNT, 1400)];
    let mut send = |now, refused: &[IpAddr]| {
        a.packets.refuse_groups_to(refused);
        a.map(now, "10.0.1.0/24", "192.0.2.2");
        a.map(now, "2001:db8:b::/48", "192.0.2.3");
        segments.iter().for_each(|segments| a.packets.offer(Offered::segments(segments.clone())));
        a.packets.turn(now);
        let sent: Vec<Vec<u8>> = a.packets.take_sent().iter().map(|packet| packet[36..].to_vec()).collect();
        // What was refused is behind the others of its batch, in its order.
        let of = |version| sent.iter().filter(move |packet| packet[0] >> 4 == version).cloned().collect::<Vec<_>>();
        assert!([of(4), of(6)] == segments, "none is lost");
        assert_eq!(a.counters.dropped(DropReason::CoreSend), 0);
        [alone, grouped].map(|locator| a.packets.taken(locator))
    };
    for _ in 0..3 {
        assert_eq!(send(now, &[alone]), [vec![1; COUNT], vec![COUNT]]);
    }
    // The reason is gone, and after a while that is found.
    assert_eq!(send(now, &[]), [vec![1; COUNT], vec![COUNT]]);
    let later = Instant::now() + crate::limits::UNGROUPED_TIME;
    assert_eq!(send(later, &[])[0].len(), COUNT, "when it is looked at");
    assert_eq!(send(later, &[]), [vec![COUNT], vec![COUNT]]);
}

#[test]
fn an_interface_that_takes_no_groups_gets_packets_one_by_one() {
    let now = Instant::now();
    let (mut a, _) = mapped_pair::<TierOne>(now);
    let locators: Vec<IpAddr> = (2..200).map(|host| [192, 0, 2, host].into()).collect();
    a.packets.refuse_groups_to(&locators);
    let segments = connection(true, true, 40, 1400);
    for locator in &locators {
        a.map(now, "10.0.1.0/24", &locator.to_string());
        a.packets.offer(Offered::segments(segments.clone()));
        a.packets.turn(now);
        let sent: Vec<Vec<u8>> = a.packets.take_sent().iter().map(|packet| packet[36..].to_vec()).collect();
        assert!(sent == segments, "none is lost");
        assert_eq!(a.packets.taken(*locator), vec![1; 40]);
    }
    // One that refuses none: the interface seems to.
    a.map(now, "10.0.1.0/24", "192.0.2.250");
    a.packets.offer(Offered::segments(segments.clone()));
    a.packets.turn(now);
    assert_eq!(a.packets.taken([192, 0, 2, 250].into()), vec![1; 40]);
    assert_eq!(a.counters.dropped(DropReason::CoreSend), 0);
}
