// SPDX-License-Identifier: GPL-2.0-or-later
//! Interworking with hosts that know nothing of LISP (RFC 6832), as the control half sees it: PETRs in use, and a PITR.

use std::net::IpAddr;

use crate::double::{Node, RESOLVER, RLOC, WithNegative, prefix, reply_to, secs};
use wire::address::{Address, InstanceId};
use wire::control::{ControlMessage, MapReply, MapRequest};
use wire::data::FlowKey;
use wire::record::Action;
use xtr::counters::DropReason;
use xtr::engine::Input;
use xtr::interwork::Interworking;
use xtr::itr::ItrConfig;
use xtr::map_cache::{Event, Forwarding, Locator, Update};
use xtr::trace::{End, Packet, Standing};
use xtr::transport::MapSystem;

const LEGACY: &str = "203.0.113.200/32";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn locator(address: &str, priority: u8) -> Locator {
    Locator { address: ip(address), priority, weight: 100 }
}

/// A node with these roles.
fn node(eids: &[&str], roles: Interworking) -> Node {
    let mut node = Node::new(eids, &[RLOC], vec![], vec![MapSystem::Node(ip(RESOLVER))]);
    let now = node.now;
    let plain = Node::new(&[], &[RLOC], vec![], vec![]).control;
    node.control = std::mem::replace(&mut node.control, plain).interworking(now, roles, [3; 32]);
    node.collect();
    node
}

fn site_with_petrs() -> Node {
    let petrs = vec![locator("192.0.2.80", 1), locator("192.0.2.81", 2)];
    node(&["2001:db8:a::/48", "10.1.0.0/16"], Interworking { petrs, ..Interworking::default() })
}

fn trace(node: &Node, source: &str, destination: &str) -> (End, Vec<Standing>) {
    let config = ItrConfig { iid: InstanceId(0), icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
    let flow = FlowKey { source: ip(source), destination: ip(destination), ports: Some((17, 9, 9)) };
    let trace = Packet { iid: InstanceId(0), flow }.trace(node.now, &node.control, &config, &[]);
    let standings = (0..trace.locators.len()).map(|index| trace.locator(&node.control, index).0).collect();
    (trace.end, standings)
}

fn destination(end: &End) -> IpAddr {
    let End::Encapsulated(outer) = end else { panic!("{end:?}") };
    outer.destination
}

/// Answers the probes of these locators, and no others, as an ETR without the EID-prefix does.
fn answer_probes(node: &mut Node, alive: &[&str]) {
    for (_, to, probe) in std::mem::take(&mut node.probes) {
        if alive.iter().any(|address| ip(address) == to.ip()) {
            let reply = MapReply { probe: true, nonce: probe.nonce, ..MapReply::default() };
            node.datagram(&to.to_string(), &ControlMessage::from(reply));
        }
    }
}

/// So many seconds, in which packets go to this locator and nothing comes back.
fn one_way_traffic(node: &mut Node, to: &str, alive: &[&str], seconds: u64) {
    for _ in 0..seconds * 10 {
        node.advance(secs(1) / 10);
        answer_probes(node, alive);
        node.event(Event::Silent { rloc: ip(to) });
    }
}

#[test]
fn a_negative_answer_that_says_natively_forward_leads_to_the_petr() {
    let mut node = site_with_petrs();
    let (_, request) = node.miss(LEGACY);
    assert!(!request.pitr);
    node.reply(&reply_to(&request, &[]).with_negative("203.0.113.0/24", Action::NativelyForward, 15));
    let Some(Update::Upsert { entry, .. }) = node.updates().pop() else { panic!() };
    assert_eq!(entry.forwarding, Forwarding::Locators(vec![locator("192.0.2.80", 1), locator("192.0.2.81", 2)]));
    let (end, standings) = trace(&node, "10.1.0.2", "203.0.113.200");
    assert_eq!((destination(&end), standings), (ip("192.0.2.80"), vec![Standing::Chosen, Standing::LessPreferred]));
    // What is dropped stays dropped, and a site is reached as ever.
    let (_, request) = node.miss("198.18.9.9/32");
    node.reply(&reply_to(&request, &[]).with_negative("198.18.0.0/16", Action::DropPolicyDenied, 15));
    assert_eq!(trace(&node, "10.1.0.2", "198.18.9.9").0, End::Dropped(DropReason::NegativePolicy));
    let (_, request) = node.miss("198.19.9.9/32");
    node.reply(&reply_to(&request, &[("198.19.0.0/16", 60)]));
    assert_eq!(destination(&trace(&node, "10.1.0.2", "198.19.9.9").0), ip("198.51.100.1"));
}

#[test]
fn a_petr_that_falls_silent_is_left_for_the_next_within_four_seconds_and_taken_again() {
    let mut node = site_with_petrs();
    let both = ["192.0.2.80", "192.0.2.81"];
    node.advance(secs(2));
    let probed = |address: &str| node.probes.iter().any(|(_, to, _)| to.ip() == ip(address));
    assert!(both.iter().all(|petr| probed(petr)), "before a packet goes there: {:?}", node.probes);
    assert!(node.probes.iter().all(|(_, _, probe)| probe.records[0].eid.ip_prefix().unwrap().net.prefix_len() == 0));
    answer_probes(&mut node, &both);
    let (_, request) = node.miss(LEGACY);
    node.reply(&reply_to(&request, &[]).with_negative("203.0.113.0/24", Action::NativelyForward, 15));
    // Nothing ever comes back from a PETR: that it answers probes is enough.
    one_way_traffic(&mut node, both[0], &both, 20);
    assert_eq!(destination(&trace(&node, "10.1.0.2", "203.0.113.200").0), ip(both[0]));
    one_way_traffic(&mut node, both[0], &both[1..], 4);
    assert_eq!(destination(&trace(&node, "10.1.0.2", "203.0.113.200").0), ip(both[1]));
    one_way_traffic(&mut node, both[1], &both, 40);
    assert_eq!(destination(&trace(&node, "10.1.0.2", "203.0.113.200").0), ip(both[0]));
    let requests = node.requests();
    assert!(requests.is_empty(), "the answers to probes of PETRs say nothing about mappings: {requests:?}");
}

/// As a PETR does that says what the mapping system would.
fn answer_probes_with_a_hole(node: &mut Node) {
    for (_, to, probe) in std::mem::take(&mut node.probes) {
        let all = probe.records[0].eid.ip_prefix().unwrap().net.to_string();
        let reply = MapReply { probe: true, nonce: probe.nonce, ..MapReply::default() };
        node.datagram(&to.to_string(), &reply.with_negative(&all, Action::NativelyForward, 15).into());
    }
}

#[test]
fn a_petr_that_answers_without_authority_is_heard() {
    let mut node = site_with_petrs();
    node.advance(secs(2));
    answer_probes_with_a_hole(&mut node);
    let standings: Vec<_> = node.control.probed_locators(node.now).map(|probed| probed.standing).collect();
    assert_eq!(standings, [xtr::reach::Standing::Up; 2]);
    let refused = node.refused(xtr::refusal::Refusal::ReplyProbeNotAuthoritative);
    assert_eq!((refused, node.requests().len()), (0, 0));
}

#[test]
fn a_petr_that_has_never_answered_is_left_for_one_that_does_and_for_nothing_else() {
    let mut node = site_with_petrs();
    let (_, request) = node.miss(LEGACY);
    node.reply(&reply_to(&request, &[]).with_negative("203.0.113.0/24", Action::NativelyForward, 15));
    let both = ["192.0.2.80", "192.0.2.81"];
    one_way_traffic(&mut node, both[0], &[], 60);
    assert!(both.iter().all(|petr| node.control.is_usable(ip(petr))));
    assert_eq!(node.control.counts().locators_lost, 0);
    one_way_traffic(&mut node, both[0], &both[1..], 60);
    assert_eq!(both.map(|petr| node.control.is_usable(ip(petr))), [false, true]);
}

#[test]
fn a_petr_of_a_family_that_we_have_no_locator_of_leads_nowhere() {
    let petrs = vec![locator("2001:db8:ff::80", 1)];
    let mut node = node(&["10.1.0.0/16"], Interworking { petrs, ..Interworking::default() });
    let (_, request) = node.miss(LEGACY);
    node.reply(&reply_to(&request, &[]).with_negative("203.0.113.0/24", Action::NativelyForward, 15));
    let (end, standings) = trace(&node, "10.1.0.2", "203.0.113.200");
    assert_eq!((end, standings), (End::Dropped(DropReason::NoLocator), vec![Standing::OtherFamily]));
}

fn pitr(pitr_in: &[&str]) -> Node {
    let pitr_in = pitr_in.iter().map(|net| prefix(net)).collect();
    node(&[], Interworking { pitr_for: vec![prefix("10.1.0.0/16")], pitr_in, ..Interworking::default() })
}

fn led(node: &mut Node) -> Vec<String> {
    let mut lists = node.updates().into_iter().rev().filter_map(|update| match update {
        Update::PitrFor(prefixes) => Some(prefixes.iter().map(ToString::to_string).collect()),
        _ => None,
    });
    lists.next().unwrap_or_default()
}

#[test]
fn a_pitr_asks_with_the_p_bit_and_names_no_source_that_is_no_eid() {
    let mut node = pitr(&[]);
    assert_eq!(led(&mut node), ["10.1.0.0/16"]);
    node.event(Event::Miss { eid: prefix("10.1.2.3/32"), source: ip("203.0.113.200") });
    let (to, request) = node.requests().remove(0);
    assert_eq!((to.as_str(), request.pitr, request.source_eid.clone()), (RESOLVER, true, Address::None));
    node.reply(&reply_to(&request, &[("10.1.0.0/16", 60)]));
    assert_eq!(destination(&trace(&node, "203.0.113.200", "10.1.2.3").0), ip("198.51.100.1"));
    // A node with a site of its own asks for that as ever.
    let roles = Interworking { pitr_for: vec![prefix("10.2.0.0/16")], ..Interworking::default() };
    let mut both = self::node(&["10.1.0.0/16"], roles);
    let (_, request) = both.miss("10.2.0.9/32");
    assert_eq!((request.pitr, request.source_eid), (false, Address::from(ip("10.1.0.2"))));
}

#[test]
fn a_locator_in_what_a_pitr_attracts_is_none() {
    let mut node = pitr(&[]);
    node.event(Event::Miss { eid: prefix("10.1.2.3/32"), source: ip("203.0.113.200") });
    let (_, request) = node.requests().remove(0);
    let mut reply = reply_to(&request, &[("10.1.2.0/24", 60)]);
    reply.records[0].locators[0].rloc = ip("10.1.9.9").into();
    node.reply(&reply);
    assert_eq!(trace(&node, "203.0.113.200", "10.1.2.3").0, End::Dropped(DropReason::NoAction));
}

/// The questions of the finder, answered as a map system with these sites would.
fn walk(node: &mut Node, sites: &[&str]) {
    let sites: Vec<_> = sites.iter().map(|net| prefix(net)).collect();
    for _ in 0..200 {
        node.advance(secs(1) / 10);
        for (_, request) in node.requests() {
            let host = request.records[0].eid.ip_prefix().unwrap();
            node.reply(&answer(&sites, &request, host));
        }
    }
}

fn answer(sites: &[wire::address::EidPrefix], request: &MapRequest, host: wire::address::EidPrefix) -> MapReply {
    if let Some(site) = sites.iter().find(|site| site.covers(&host)) {
        return reply_to(request, &[(&site.net.to_string(), 60)]);
    }
    let mut holes = (0..=host.net.max_prefix_len())
        .filter_map(|len| wire::address::EidPrefix::new(InstanceId(0), host.net.addr(), len));
    let hole = holes.find(|hole| !sites.iter().any(|site| hole.covers(site))).unwrap();
    reply_to(request, &[]).with_negative(&hole.net.to_string(), Action::NativelyForward, 15)
}

#[test]
fn a_pitr_leads_what_it_finds_and_lets_go_of_what_is_gone() {
    let mut node = pitr(&["198.18.0.0/15", "192.0.2.0/23"]);
    assert_eq!(led(&mut node), ["10.1.0.0/16"]);
    // One of them is where a locator of ours lies, and would take its own packets in again.
    walk(&mut node, &["198.18.4.0/24", "198.19.0.0/16", "192.0.2.0/24", "192.0.3.0/24"]);
    assert_eq!(led(&mut node), ["10.1.0.0/16", "192.0.3.0/24", "198.18.4.0/24", "198.19.0.0/16"]);
    let found: Vec<usize> = node.control.aggregates().iter().map(|aggregate| aggregate.sites.len()).collect();
    assert_eq!(found, [2, 2]);
    assert!(node.control.map_cache(node.now).next().is_none(), "what it finds is in no packet's way");
    node.advance(secs(40));
    (0..3).for_each(|_| walk(&mut node, &["198.19.0.0/16"]));
    assert_eq!(led(&mut node), ["10.1.0.0/16", "198.19.0.0/16"]);
    node.input(Input::Event(Event::Miss { eid: prefix("198.19.0.1/32"), source: ip("203.0.113.200") }));
    assert!(node.requests()[0].1.pitr);
}

#[test]
fn a_site_that_a_map_server_or_a_new_map_resolver_lies_in_is_not_led() {
    let server = xtr::register::Server {
        to: MapSystem::Node(ip("198.18.4.9")),
        key: crate::double::key(wire::control::auth::Algorithm::HkdfSha256),
        tag: wire::control::auth::TagForm::Truncated,
        narrow_coverage: false,
        proxy_reply: true,
        identity: None,
        prefixes: vec![],
    };
    let mut node = Node::new(&[], &[RLOC], vec![server], vec![MapSystem::Node(ip(RESOLVER))]);
    let (now, plain) = (node.now, Node::new(&[], &[RLOC], vec![], vec![]).control);
    let roles = Interworking { pitr_in: vec![prefix("198.18.0.0/15")], ..Interworking::default() };
    node.control = std::mem::replace(&mut node.control, plain).interworking(now, roles, [3; 32]);
    node.collect();
    let sites = ["198.18.4.0/24", "198.18.8.0/24", "198.19.0.0/16"];
    walk(&mut node, &sites);
    assert_eq!(led(&mut node), ["198.18.8.0/24", "198.19.0.0/16"], "Map-Registers leave the tunnel");
    let resolvers = vec![MapSystem::Node(ip("198.18.8.53"))];
    node.input(Input::MapSystems { servers: vec![], resolvers, subscriptions: vec![] });
    assert_eq!(led(&mut node), ["198.18.4.0/24", "198.19.0.0/16"]);
    let mut questions = node.requests();
    while questions.is_empty() {
        node.run_to_deadline();
        questions = node.requests();
    }
    assert_eq!(questions[0].0, "198.18.8.53");
}

#[test]
fn the_map_system_in_this_process_is_asked_through_the_pipe() {
    let mut node = Node::new(&[], &[RLOC], vec![], vec![MapSystem::Pipe]);
    let (now, plain) = (node.now, Node::new(&[], &[RLOC], vec![], vec![]).control);
    let roles = Interworking { pitr_in: vec![prefix("198.18.0.0/15")], ..Interworking::default() };
    node.control = std::mem::replace(&mut node.control, plain).interworking(now, roles, [3; 32]);
    node.collect();
    assert_eq!(led(&mut node), Vec::<String>::new(), "nothing is known yet");
    for _ in 0..2 {
        node.advance(secs(1));
        let ControlMessage::Ecm(ecm) = ControlMessage::decode(&node.piped.remove(0)).unwrap() else { panic!() };
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else { panic!() };
        let host = request.records[0].eid.ip_prefix().unwrap();
        let reply = ControlMessage::from(answer(&[prefix("198.18.0.0/16")], &request, host)).encode().unwrap();
        node.input(Input::Datagram { via: xtr::transport::Via::Pipe, bytes: &reply });
    }
    assert_eq!(led(&mut node), ["198.18.0.0/16"]);
}
