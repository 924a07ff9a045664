// SPDX-License-Identifier: GPL-2.0-or-later
//! The way that a packet would take, beside the way that the ITR of the packet threads sends it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::double::{Node, RESOLVER, RLOC, WithNegative, prefix, reply_to, secs};
use wire::address::InstanceId;
use wire::control::{MapReply, MapRequest};
use wire::data::{FlowKey, Ipv6Header, TrafficClass, protocol};
use wire::record::Action;
use xtr::counters::{Counters, DropReason};
use xtr::itr::{Itr, ItrConfig, Verdict};
use xtr::map_cache::Update;
use xtr::trace::{End, Packet, Standing};
use xtr::transport::Via;

const EID: &str = "2001:db8:b::2/128";
const SITE: &str = "2001:db8:b::/48";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn itr_config() -> ItrConfig {
    ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] }
}

fn packet(destination: &str, port: u16) -> Packet {
    let destination = ip(destination);
    let source = ip(if destination.is_ipv4() { "10.1.0.2" } else { "2001:db8:a::2" });
    let ports = Some((protocol::UDP, port, 53));
    Packet { iid: InstanceId(0), flow: FlowKey { source, destination, ports } }
}

fn end(node: &Node, packet: Packet) -> End {
    packet.trace(node.now, &node.control, &itr_config(), &[]).end
}

/// An answer with the locators (address, priority, weight) of the far site.
fn reply(request: &MapRequest, locators: &[(&str, u8, u8)]) -> MapReply {
    let mut reply = reply_to(request, &[(SITE, 60)]);
    let model = reply.records[0].locators[0].clone();
    reply.records[0].locators = locators
        .iter()
        .map(|(address, priority, weight)| {
            let rloc = ip(address).into();
            wire::record::LocatorRecord { rloc, priority: *priority, weight: *weight, ..model.clone() }
        })
        .collect();
    reply
}

fn octets(packet: &Packet) -> Vec<u8> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.flow.source, packet.flow.destination) else { panic!() };
    let (number, from, to) = packet.flow.ports.unwrap();
    let class = TrafficClass::default();
    let header = Ipv6Header { source, destination, next_header: number, hop_limit: 64, class, flow_label: 0 };
    [header.emit(8).unwrap().as_slice(), &from.to_be_bytes(), &to.to_be_bytes(), &[0; 4]].concat()
}

#[test]
fn a_trace_ends_where_the_packet_threads_send_the_packet() {
    let mut node = Node::new(&["2001:db8:a::/48"], &[RLOC, "2001:db8:ffff::1"], vec![], vec![resolver()]);
    let (_, request) = node.miss(EID);
    let locators =
        [("198.51.100.1", 1, 30), ("198.51.100.2", 1, 10), ("2001:db8:fff::3", 1, 60), ("198.51.100.4", 2, 100)];
    node.reply(&reply(&request, &locators));
    let mut itr = Itr::new(node.now, itr_config(), Arc::new(Counters::default()));
    let database = node.control.database();
    itr.update(node.now, Update::LocalEids(database.prefixes().to_vec()));
    itr.update(node.now, Update::LocalRlocs(database.preferred_rlocs()));
    let silent = loop {
        for update in node.updates() {
            itr.update(node.now, update);
        }
        for port in 0..500 {
            let packet = packet("2001:db8:b::2", port);
            let octets = octets(&packet);
            let Verdict::Encapsulate(outer, _) = itr.handle(node.now, &octets) else { panic!("{port}") };
            assert_eq!(end(&node, packet), End::Encapsulated(outer), "port {port}");
        }
        if !node.control.is_usable(ip("198.51.100.1")) {
            break true;
        }
        // Nobody answers the probes, and the packet threads complain until the locator counts as silent.
        node.event(xtr::map_cache::Event::Silent { rloc: ip("198.51.100.1") });
        node.run_to_deadline();
    };
    assert!(silent);
}

fn resolver() -> xtr::transport::MapSystem {
    xtr::transport::MapSystem::Node(ip(RESOLVER))
}

#[test]
fn each_locator_says_why_it_is_chosen_or_not() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    let locators = [
        ("198.51.100.1", 1, 75),
        ("198.51.100.2", 1, 25),
        ("198.51.100.3", 1, 0),
        ("198.51.100.4", 2, 9),
        ("198.51.100.5", 255, 9),
        ("2001:db8:fff::6", 1, 9),
    ];
    node.reply(&reply(&request, &locators));
    node.advance(secs(3));
    let packet = packet("2001:db8:b::2", 1);
    let trace = packet.trace(node.now, &node.control, &itr_config(), &[]);
    let (found, installed) = trace.entry.unwrap();
    assert_eq!((found, installed.locators.len()), (prefix(SITE), locators.len()));
    assert_eq!(node.now - installed.since, secs(3));
    assert!(
        matches!(installed.from, Via::Socket { remote, .. } if remote.ip() == ip(RESOLVER)),
        "{:?}",
        installed.from
    );
    let said = |address: &str| {
        let index = installed.locators.iter().position(|(locator, _)| *locator == ip(address)).unwrap();
        trace.locator(&node.control, index)
    };
    let shares = [said("198.51.100.1"), said("198.51.100.2")];
    assert_eq!(shares.map(|(_, share)| share), [Some((75, 100)), Some((25, 100))]);
    let mut standings = shares.map(|(standing, _)| standing);
    let End::Encapsulated(outer) = trace.end else { panic!("{:?}", trace.end) };
    if outer.destination == ip("198.51.100.2") {
        standings.reverse();
    }
    assert_eq!(standings, [Standing::Chosen, Standing::OtherFlows]);
    assert_eq!(said("198.51.100.3"), (Standing::NoWeight, None));
    assert_eq!(said("198.51.100.4"), (Standing::LessPreferred, None));
    assert_eq!(said("198.51.100.5"), (Standing::NotUsable, None));
    assert_eq!(said("2001:db8:fff::6"), (Standing::OtherFamily, None));
}

#[test]
fn what_is_not_encapsulated_says_where_it_ends() {
    let mut node = Node::plain();
    assert_eq!(end(&node, packet("2001:db8:b::2", 1)), End::Miss);
    assert_eq!(end(&node, packet("10.1.0.9", 1)), End::Local(prefix("10.1.0.0/16")));
    assert_eq!(end(&node, packet("127.0.0.1", 1)), End::Dropped(DropReason::SiteNotUnicast));
    let mut mixed = packet("10.2.0.9", 1);
    mixed.flow.source = ip("2001:db8:a::2");
    assert_eq!(end(&node, mixed), End::Dropped(DropReason::SiteMalformed));
    let elsewhere = Packet { iid: InstanceId(7), ..packet("10.1.0.9", 1) };
    assert_eq!(end(&node, elsewhere), End::Miss, "another instance has other EIDs");
    let (_, request) = node.miss(EID);
    let negative = MapReply { nonce: request.nonce, ..MapReply::default() };
    node.reply(&negative.clone().with_negative("2001:db8:b::/48", Action::NativelyForward, 15));
    assert_eq!(end(&node, packet("2001:db8:b::2", 1)), End::Native);
    let (_, request) = node.miss("2001:db8:c::2/128");
    let negative = MapReply { nonce: request.nonce, ..MapReply::default() };
    node.reply(&negative.with_negative("2001:db8:c::/48", Action::DropPolicyDenied, 15));
    assert_eq!(end(&node, packet("2001:db8:c::2", 1)), End::Dropped(DropReason::NegativePolicy));
}
