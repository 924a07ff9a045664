// SPDX-License-Identifier: GPL-2.0-or-later
//! What an ETR does for NATs: encapsulates again as an RTR, and hears its RTRs behind one.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wire::address::{EidPrefix, InstanceId};
use wire::control::rtr::encode_data_map_notify;
use wire::control::{Ecm, Info, MapNotify};
use wire::data::{Ipv6Header, Ipv6Packet, TrafficClass};

use super::{Arrival, Etr, EtrConfig, OuterInfo, Relayed, SourceMode, SourcePolicy};
use crate::counters::{Count, Counters, DropReason};
use crate::map_cache::{Event, Update};
use crate::nat::limits;

const NAT: &str = "192.0.2.2";
const PEER: &str = "198.51.100.2";
const BOUND: &str = "2001:db8:a::1";
const FAR: &str = "2001:db8:b::1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(net: &str) -> EidPrefix {
    EidPrefix { iid: InstanceId(0), net: net.parse().unwrap() }
}

fn etr() -> (Etr, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    (Etr::new(EtrConfig { relays: true, ..EtrConfig::default() }, counters.clone()), counters)
}

fn outer(source: &str, source_port: u16, ttl: u8) -> OuterInfo {
    OuterInfo { source: ip(source), destination: ip("203.0.113.2"), source_port, ttl, class: TrafficClass(0) }
}

fn packet(source: &str, destination: &str, hop_limit: u8) -> Vec<u8> {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    let header = Ipv6Header { source, destination, next_header: 17, hop_limit, class: TrafficClass(0), flow_label: 0 };
    [&[0; 8], header.emit(4).unwrap().as_slice(), &[1, 2, 3, 4]].concat()
}

#[test]
fn an_rtr_relays_to_a_bound_prefix_and_from_it_if_the_packet_comes_from_its_nat() {
    let (mut etr, counters) = etr();
    etr.update(&Update::Relayed { prefix: prefix("2001:db8:a::/48"), nats: [Some(ip(NAT)), None] });
    let mut come = |from: &str, source: &str, destination: &str| match etr
        .receive(&outer(from, 50_000, 60), &mut packet(source, destination, 64))
    {
        Arrival::Relayed(packet) => {
            assert_eq!(Ipv6Packet::parse(packet.inner).unwrap().hop_limit(), 59, "one hop is here");
            Ok(packet.relayed.unwrap())
        }
        Arrival::Dropped(reason) => Err(reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(come(PEER, FAR, BOUND), Ok(Relayed::To));
    assert_eq!(come(NAT, BOUND, FAR), Ok(Relayed::From));
    assert_eq!(come(NAT, BOUND, "2001:db8:a::2"), Ok(Relayed::From), "from one to the other of them");
    assert_eq!(come(PEER, BOUND, FAR), Err(DropReason::CoreInstance), "from elsewhere than its NAT");
    assert_eq!(come(PEER, FAR, FAR), Err(DropReason::CoreInstance), "neither is bound");
    assert_eq!(come(PEER, "ff02::1", BOUND), Err(DropReason::CoreSource));
    assert_eq!(counters.get(Count::Relayed), 3);
    for (inner, outside) in [(1, 60), (64, 1)] {
        let mut octets = packet(FAR, BOUND, inner);
        let Arrival::Relayed(last_hop) = etr.receive(&outer(PEER, 50_000, outside), &mut octets) else { panic!() };
        assert_eq!(Ipv6Packet::parse(last_hop.inner).unwrap().hop_limit(), 0, "the ITR tells its source");
    }
    etr.update(&Update::Relayed { prefix: prefix("2001:db8:a::/48"), nats: [None; 2] });
    let mut late = packet(FAR, BOUND, 64);
    assert_eq!(etr.receive(&outer(PEER, 50_000, 60), &mut late), Arrival::Dropped(DropReason::CoreInstance));
}

#[test]
fn what_is_for_this_node_itself_is_not_relayed() {
    let (mut etr, _) = etr();
    etr.set_local_eids(&[prefix("2001:db8:b::/48")]);
    etr.update(&Update::Relayed { prefix: prefix("2001:db8:a::/48"), nats: [Some(ip(NAT)), None] });
    let mut octets = packet(BOUND, FAR, 64);
    assert!(
        matches!(etr.receive(&outer(NAT, 4341, 60), &mut octets), Arrival::Enters(packet) if packet.relayed.is_none())
    );
}

#[test]
fn control_messages_at_the_data_port_are_those_of_rtrs_and_bounded() {
    let (mut etr, counters) = etr();
    etr.set_local_eids(&[prefix("2001:db8:b::/48")]);
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let notify = MapNotify::default().encode().unwrap();
    let notify = Ecm::wrap(address("203.0.113.53:4342"), address("10.0.0.2:4342"), notify);
    let notify = encode_data_map_notify(&notify).unwrap();
    let reply = Info::default().answer(address("192.0.2.2:50001"), address("203.0.113.2:4342"), &[]).encode().unwrap();
    let come = |etr: &mut Etr, from: &str, port: u16, message: &[u8]| {
        matches!(etr.receive(&outer(from, port, 60), &mut message.to_vec()), Arrival::Control)
    };
    assert!(!come(&mut etr, PEER, 4342, &notify) && !come(&mut etr, PEER, 4342, &reply), "no RTR of ours");
    etr.update(&Update::Rtrs(vec![ip(PEER)]));
    assert!(!come(&mut etr, PEER, 4341, &notify), "not from its control port");
    assert!(!come(&mut etr, PEER, 4342, &packet(BOUND, FAR, 9)), "a packet");
    assert!(come(&mut etr, PEER, 4342, &notify) && come(&mut etr, PEER, 4342, &reply));
    let event = |bytes: &[u8]| {
        let (from, to) = (SocketAddr::new(ip(PEER), 4342), ip("203.0.113.2"));
        Some(Event::Control { from, to, bytes: bytes.to_vec() })
    };
    assert_eq!(etr.poll_event(), event(&notify));
    let lost = etr.poll_event();
    assert_eq!(lost, event(&reply));
    etr.event_lost(lost.unwrap());
    for _ in 0..1000 {
        come(&mut etr, PEER, 4342, &reply);
    }
    assert_eq!(std::iter::from_fn(|| etr.poll_event()).count(), limits::LETTERS);
    assert_eq!(counters.get(Count::ControlMessages), 1002);
}

#[test]
fn what_comes_from_an_rtr_is_taken_unchecked_behind_a_nat_only_and_from_its_ports() {
    let sources = SourcePolicy { mode: SourceMode::Strict, ..SourcePolicy::default() };
    let mut etr = Etr::new(EtrConfig { sources, ..EtrConfig::default() }, Arc::new(Counters::default()));
    etr.advance(Instant::now());
    etr.set_local_eids(&[prefix("2001:db8:b::/48")]);
    etr.update(&Update::Rtrs(vec![ip(PEER)]));
    let enters = |etr: &mut Etr, from: &str, port: u16| {
        matches!(etr.receive(&outer(from, port, 60), &mut packet(BOUND, FAR, 9)), Arrival::Enters(_))
    };
    assert!(!enters(&mut etr, PEER, 4342), "it is asked, and that is all");
    etr.update(&Update::Behind(true));
    assert!(enters(&mut etr, PEER, 4342) && enters(&mut etr, PEER, 4341));
    let mut as_ours = packet("2001:db8:b::2", FAR, 9);
    let dropped = Arrival::Dropped(DropReason::CoreSourceElsewhere);
    assert_eq!(etr.receive(&outer(PEER, 4341, 60), &mut as_ours), dropped, "what is ours this node knows better");
    assert!(!enters(&mut etr, PEER, 50_000) && !enters(&mut etr, NAT, 4342));
    etr.update(&Update::Behind(false));
    assert!(!enters(&mut etr, PEER, 4342));
}

#[test]
fn a_site_behind_a_nat_reaches_the_eids_of_its_rtr() {
    let sources = SourcePolicy { mode: SourceMode::Strict, ..SourcePolicy::default() };
    let mut etr = Etr::new(EtrConfig { sources, relays: true, ..EtrConfig::default() }, Arc::new(Counters::default()));
    etr.advance(Instant::now());
    etr.set_local_eids(&[prefix("2001:db8:b::/48")]);
    etr.update(&Update::Relayed { prefix: prefix("2001:db8:a::/48"), nats: [Some(ip(NAT)), None] });
    let mut octets = [packet(BOUND, FAR, 9), packet(BOUND, FAR, 9)];
    let [from_elsewhere, from_nat] = &mut octets;
    assert_eq!(etr.receive(&outer(PEER, 50_001, 60), from_elsewhere), Arrival::Later, "its source is asked about");
    let arrival = etr.receive(&outer(NAT, 50_001, 60), from_nat);
    assert!(matches!(arrival, Arrival::Enters(_)), "the mapping has this RTR, and not the NAT: {arrival:?}");
}

#[test]
fn an_rtr_remembers_for_each_binding_who_sent_to_it() {
    let (mut etr, counters) = etr();
    let (bound, other) = (prefix("2001:db8:a::/48"), prefix("2001:db8:c::/48"));
    for prefix in [bound, other] {
        etr.update(&Update::Relayed { prefix, nats: [Some(ip(NAT)), None] });
    }
    let now = Instant::now();
    let sends = |etr: &mut Etr, second, from: &str, source: &str, destination: &str| {
        etr.advance(now + Duration::from_secs(second));
        let mut octets = packet(source, destination, 64);
        let arrival = etr.receive(&outer(from, 50_000, 60), &mut octets);
        assert!(matches!(arrival, Arrival::Relayed(_)), "{arrival:?}");
    };
    for (second, host) in [(0, BOUND), (0, BOUND), (0, "2001:db8:a::2"), (1, BOUND), (1, BOUND)] {
        sends(&mut etr, second, PEER, FAR, host);
    }
    sends(&mut etr, 1, NAT, BOUND, FAR);
    assert_eq!(counters.senders_to(now, &other, &other), []);
    assert_eq!(counters.senders_to(now, &bound, &bound), [(ip(PEER), 2)], "in two seconds, and not from behind it");
    assert_eq!(counters.senders_lately(now), [], "none of them sends to this node");
    sends(&mut etr, 2, PEER, FAR, "2001:db8:c::1");
    assert_eq!(counters.senders_to(now, &other, &other), [(ip(PEER), 1)]);
}
