// SPDX-License-Identifier: GPL-2.0-or-later
//! The rules of the ETR, and what goes through an ITR and an ETR.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use wire::address::{EidPrefix, InstanceId};
use wire::data::{
    Ecn, IpPacket, Ipv4Header, Ipv6Header, LispHeader, NextProtocol, OuterHeader, TrafficClass, checksum,
};

use super::{Etr, EtrConfig, OuterInfo};
use crate::counters::{Counters, DropReason};
use crate::itr::{Itr, ItrConfig, Verdict};
use crate::map_cache::{Entry, Forwarding, Locator, Update};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn etr(gpe: bool) -> Etr {
    let gpe_peers = if gpe { vec![outer(1, TrafficClass(0)).source] } else { vec![] };
    let mut etr = Etr::new(EtrConfig { gpe_peers, ..EtrConfig::default() }, Arc::new(Counters::default()));
    let prefix = |net: &str| EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() };
    etr.set_local_eids(&[prefix("10.0.1.0/24"), prefix("2001:db8:b::/48")]);
    etr
}

fn outer(ttl: u8, class: TrafficClass) -> OuterInfo {
    OuterInfo { source: ip("192.0.2.1"), destination: ip("198.51.100.1"), source_port: 50_000, ttl, class }
}

fn inner(source: &str, destination: &str, ttl: u8, class: TrafficClass, payload: &[u8]) -> Vec<u8> {
    match (ip(source), ip(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4Header { source, destination, protocol: 17, ttl, class, dont_fragment: false };
            [&header.emit(payload.len()).unwrap(), payload].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6Header { source, destination, next_header: 17, hop_limit: ttl, class, flow_label: 9 };
            [header.emit(payload.len()).unwrap().as_slice(), payload].concat()
        }
        _ => panic!("mixed families"),
    }
}

fn v4(ttl: u8, class: TrafficClass) -> Vec<u8> {
    inner("10.0.0.1", "10.0.1.1", ttl, class, &[1, 2, 3, 4])
}

fn v6(ttl: u8, class: TrafficClass) -> Vec<u8> {
    inner("2001:db8:a::1", "2001:db8:b::1", ttl, class, &[1, 2, 3, 4])
}

fn judge(etr: &Etr, outer: &OuterInfo, lisp: [u8; 8], inner: &[u8]) -> Result<Vec<u8>, DropReason> {
    etr.handle(outer, &mut [&lisp, inner].concat()).map(|packet| packet.inner.to_vec())
}

#[test]
fn the_fewer_hops_of_the_two_headers_are_left() {
    let plain = TrafficClass(0);
    for make in [v4, v6] {
        for (outer_ttl, inner_ttl, expected) in
            [(5, 64, Ok(5)), (64, 5, Ok(5)), (0, 9, Err(DropReason::CoreTtl)), (9, 0, Err(DropReason::CoreTtl))]
        {
            let judged = judge(&etr(false), &outer(outer_ttl, plain), [0; 8], &make(inner_ttl, plain));
            assert_eq!(judged.map(|inner| IpPacket::parse(&inner).unwrap().ttl()), expected);
        }
    }
}

#[test]
fn dscp_comes_from_the_outer_header_and_ecn_from_both() {
    use Ecn::{Ce, Ect0, Ect1, NotEct};
    let etr = etr(false);
    for make in [v4, v6] {
        for inner_ecn in [NotEct, Ect0, Ect1, Ce] {
            for outer_ecn in [NotEct, Ect0, Ect1, Ce] {
                let packet = make(64, TrafficClass::new(46, inner_ecn));
                let judged = judge(&etr, &outer(64, TrafficClass::new(10, outer_ecn)), [0; 8], &packet);
                match Ecn::decapsulate(inner_ecn, outer_ecn) {
                    Some(ecn) => {
                        let octets = judged.unwrap();
                        let packet = IpPacket::parse(&octets).unwrap();
                        assert_eq!(packet.traffic_class(), TrafficClass::new(10, ecn), "{inner_ecn:?} {outer_ecn:?}");
                        assert!(matches!(packet, IpPacket::V6(_)) || checksum::internet(&octets[..20]) == 0);
                    }
                    None => assert_eq!(judged, Err(DropReason::CoreEcn)),
                }
            }
        }
    }
}

#[test]
fn only_packets_for_our_eids_with_a_unicast_source_enter_the_site() {
    let (etr, outer, class) = (etr(false), outer(64, TrafficClass(0)), TrafficClass(0));
    let enters =
        |source, destination| judge(&etr, &outer, [0; 8], &inner(source, destination, 9, class, &[])).map(drop);
    assert_eq!(enters("10.0.0.1", "10.0.1.9"), Ok(()));
    assert_eq!(enters("10.0.0.1", "10.0.2.9"), Err(DropReason::CoreNotOurs));
    assert_eq!(enters("2001:db8:a::1", "ff02::1"), Err(DropReason::CoreNotOurs));
    assert_eq!(enters("127.0.0.1", "10.0.1.9"), Err(DropReason::CoreSource));
    assert_eq!(enters("ff0e::1", "2001:db8:b::1"), Err(DropReason::CoreSource));
    let foreign = LispHeader::plain(InstanceId(2)).emit();
    assert_eq!(judge(&etr, &outer, foreign, &v4(9, class)), Err(DropReason::CoreInstance));
}

#[test]
fn trailing_octets_are_cut_off_and_missing_ones_are_a_drop() {
    let (etr, outer) = (etr(false), outer(64, TrafficClass(0)));
    let whole = v6(64, TrafficClass(0));
    let padded = [whole.as_slice(), &[0xee; 7]].concat();
    assert_eq!(judge(&etr, &outer, [0; 8], &padded), Ok(whole.clone()));
    assert_eq!(judge(&etr, &outer, [0; 8], &whole[..43]), Err(DropReason::CoreLength));
    assert_eq!(judge(&etr, &outer, [0; 8], &whole[..39]), Err(DropReason::CoreLength));
    assert_eq!(judge(&etr, &outer, [0; 8], &[]), Err(DropReason::CoreShort));
}

#[test]
fn with_gpe_the_next_protocol_must_be_that_of_the_inner_packet() {
    let (outer, packet) = (outer(64, TrafficClass(0)), v6(64, TrafficClass(0)));
    for (next, with_gpe) in
        [(1, Err(DropReason::CoreNextProtocol)), (2, Ok(())), (3, Err(DropReason::CoreNextProtocol))]
    {
        let lisp = LispHeader { next_protocol: Some(NextProtocol(next)), ..LispHeader::default() }.emit();
        assert_eq!(judge(&etr(true), &outer, lisp, &packet).map(drop), with_gpe, "{next}");
        assert_eq!(judge(&etr(false), &outer, lisp, &packet).map(drop), Ok(()), "bit 5 is R without GPE");
    }
}

#[test]
fn what_a_gpe_peer_sends_that_is_no_ip_is_named_by_its_next_protocol_and_not_by_how_it_looks() {
    // Ethernet (3) and NSH (4), which begin as they like; and IPv6 (2) that is none.
    let ethernet = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0], v6(64, TrafficClass(0)).as_slice()].concat();
    let cases = [(3, DropReason::CoreNextProtocol), (4, DropReason::CoreNextProtocol), (2, DropReason::CoreVersion)];
    for (next, expected) in cases {
        let lisp = LispHeader { next_protocol: Some(NextProtocol(next)), ..LispHeader::default() }.emit();
        assert_eq!(judge(&etr(true), &outer(64, TrafficClass(0)), lisp, &ethernet), Err(expected), "{next}");
        assert_eq!(judge(&etr(false), &outer(64, TrafficClass(0)), lisp, &ethernet), Err(DropReason::CoreVersion));
    }
}

#[test]
fn echo_nonce_versions_and_status_bits_change_nothing() {
    let (etr, outer, packet) = (etr(false), outer(64, TrafficClass(0)), v6(64, TrafficClass(0)));
    for flags in [0x80, 0xa0, 0x20, 0x40, 0x10, 0x90, 0xf0] {
        assert_eq!(judge(&etr, &outer, [flags, 1, 2, 3, 0, 0, 0, 0xff], &packet), Ok(packet.clone()), "{flags:#x}");
    }
    for key_id in 1..=3 {
        assert_eq!(judge(&etr, &outer, [key_id, 0, 0, 0, 0, 0, 0, 0], &packet), Err(DropReason::CoreEncrypted));
    }
}

/// What an ITR makes of a packet for this locator.
fn encapsulate(packet: &[u8], local: &str, remote: &str) -> (OuterHeader, Vec<u8>) {
    let now = Instant::now();
    let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
    let mut itr = Itr::new(now, config, Arc::new(Counters::default()));
    itr.update(now, Update::LocalRlocs(vec![ip(local)]));
    for net in ["0.0.0.0/0", "::/0"] {
        let prefix = EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() };
        let locators = vec![Locator { address: ip(remote), priority: 1, weight: 1 }];
        let entry = Entry { forwarding: Forwarding::Locators(locators), expires: now + Duration::from_secs(9) };
        itr.update(now, Update::Upsert { prefix, entry });
    }
    match itr.handle(now, packet) {
        Verdict::Encapsulate(header, inner) => (header, inner.to_vec()),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn what_an_itr_sends_an_etr_gets_unchanged(
        is_v4: bool, over_v4: bool, ttl in 1..=255u8, class: u8, payload in proptest::collection::vec(any::<u8>(), 0..1300),
    ) {
        let (source, destination) = if is_v4 { ("10.0.0.1", "10.0.1.1") } else { ("2001:db8:a::1", "2001:db8:b::1") };
        let packet = inner(source, destination, ttl, TrafficClass(class), &payload);
        let (local, remote) = if over_v4 { ("192.0.2.1", "198.51.100.1") } else { ("2001:db8:c1::1", "2001:db8:c2::1") };
        let (header, inner) = encapsulate(&packet, local, remote);
        let mut buffer = [0; OuterHeader::LONGEST];
        let wire = [header.emit(inner.len(), &mut buffer).unwrap(), &inner].concat();
        let outer = IpPacket::parse(&wire).unwrap();
        let info = OuterInfo {
            source: outer.source(),
            destination: outer.destination(),
            source_port: header.source_port,
            ttl: outer.ttl(),
            class: outer.traffic_class(),
        };
        let (17, segment) = outer.transport().unwrap() else { panic!() };
        let mut payload = segment[8..].to_vec();
        let etr = etr(false);
        prop_assert_eq!(etr.handle(&info, &mut payload).unwrap().inner, packet.as_slice());
    }

    #[test]
    fn no_payload_makes_the_etr_panic(mut payload in proptest::collection::vec(any::<u8>(), 0..200), ttl: u8, class: u8, version in 0..3) {
        if let Some(first) = payload.get_mut(8) {
            *first = match version { 0 => 0x45, 1 => 0x60, _ => *first };
        }
        let mut etr = etr(class & 1 == 0);
        let all = ["0.0.0.0/0", "::/0"].map(|net| EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() });
        etr.set_local_eids(&all);
        if payload.len() > 11 {
            payload[0] &= !0x0b;
            payload[10] = 0;
        }
        let _ = etr.handle(&outer(ttl, TrafficClass(class)), &mut payload);
    }
}

#[test]
fn a_locator_that_answers_is_not_called_silent() {
    let (mut now, counters) = (Instant::now(), Arc::new(Counters::default()));
    let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
    let mut itr = Itr::new(now, config, counters.clone());
    let mut etr = Etr::new(EtrConfig::default(), counters);
    etr.set_local_eids(&[EidPrefix { iid: InstanceId(0), net: "10.0.1.0/24".parse().unwrap() }]);
    itr.update(now, Update::LocalRlocs(vec![ip("198.51.100.1")]));
    let locators = vec![Locator { address: ip("192.0.2.1"), priority: 1, weight: 1 }];
    let entry = Entry { forwarding: Forwarding::Locators(locators), expires: now + Duration::from_secs(99) };
    let prefix = EidPrefix { iid: InstanceId(0), net: "10.0.0.0/24".parse().unwrap() };
    itr.update(now, Update::Upsert { prefix, entry });
    let out = inner("10.0.1.1", "10.0.0.1", 64, TrafficClass(0), &[]);
    let mut silent = |answers: bool| {
        for _ in 0..25 {
            assert!(matches!(itr.handle(now, &out), Verdict::Encapsulate(..)));
            if answers {
                judge(&etr, &outer(64, TrafficClass(0)), [0; 8], &v4(64, TrafficClass(0))).unwrap();
            } else {
                // What is dropped is no sign of life.
                judge(&etr, &outer(64, TrafficClass(0)), [1; 8], &v4(64, TrafficClass(0))).unwrap_err();
            }
            now += Duration::from_millis(100);
        }
        std::iter::from_fn(|| itr.poll_event()).count()
    };
    // In two seconds and a half, once for each second.
    assert_eq!((silent(true), silent(false)), (0, 2));
}

/// RFC 6832, section 6: what leaves through a PETR comes from the sites that it is the PETR of.
#[test]
fn a_petr_sends_on_packets_of_its_sites_only() {
    let petr_for = vec![EidPrefix { iid: InstanceId(0), net: "10.0.0.0/24".parse().unwrap() }];
    let etr = Etr::new(EtrConfig { petr_for, ..EtrConfig::default() }, Arc::new(Counters::default()));
    let to_the_outside = |source| {
        let packet = inner(source, "203.0.113.9", 64, TrafficClass(0), &[1, 2, 3, 4]);
        judge(&etr, &outer(64, TrafficClass(0)), [0; 8], &packet)
    };
    assert!(to_the_outside("10.0.0.1").is_ok());
    for foreign in ["10.0.2.1", "203.0.113.7", "192.0.2.1"] {
        assert!(to_the_outside(foreign).is_err(), "{foreign}");
    }
}
