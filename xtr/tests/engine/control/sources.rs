// SPDX-License-Identifier: GPL-2.0-or-later
//! What control says of the sources of packets from the core (RFC 9300, section 16), in virtual time.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::double::{Node, WithNegative as _, prefix, reply_to, secs};
use wire::control::{MapReply, MapRequest};
use wire::data::{Ipv6Header, TrafficClass};
use wire::record::Action;
use xtr::counters::Counters;
use xtr::etr::{Arrival, Etr, EtrConfig, OuterInfo, SourceMode, SourcePolicy};
use xtr::map_cache::{Event, SourceVerdict, Update};
use xtr::refusal::Refusal;
use xtr::resolve::limits;

/// The locator of [`reply_to`].
const PEER: &str = "198.51.100.1";
const OTHER: &str = "198.51.100.2";
const EID: &str = "2001:db8:b::2/128";
const SITE: &str = "2001:db8:b::/48";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ask(node: &mut Node, eid: &str, rloc: &str) {
    node.event(Event::Source { eid: prefix(eid), rloc: ip(rloc), is_known: false });
}

/// Prefix, RLOC and verdict of each answer; what else the packet half is told is left out.
fn said(node: &mut Node) -> Vec<(String, String, SourceVerdict)> {
    let source = |update| match update {
        Update::Source { prefix, rloc, verdict, .. } => Some((prefix.to_string(), rloc.to_string(), verdict)),
        _ => None,
    };
    node.updates().into_iter().filter_map(source).collect()
}

fn next_request(node: &mut Node) -> MapRequest {
    node.requests().remove(0).1
}

fn answer(net: &str, rloc: &str, verdict: SourceVerdict) -> Vec<(String, String, SourceVerdict)> {
    vec![(net.to_owned(), rloc.to_owned(), verdict)]
}

#[test]
fn the_mapping_system_says_whether_a_source_is_behind_an_rloc() {
    let mut node = Node::plain();
    node.updates();
    ask(&mut node, EID, PEER);
    ask(&mut node, EID, OTHER);
    let request = next_request(&mut node);
    assert_eq!(request.records[0].eid.ip_prefix(), Some(prefix(EID)));
    assert_eq!(said(&mut node), []);
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    let expected = [answer(SITE, PEER, SourceVerdict::Here), answer(SITE, OTHER, SourceVerdict::Elsewhere)].concat();
    assert_eq!(said(&mut node), expected);
}

#[test]
fn a_cached_mapping_answers_at_once_if_it_says_yes_and_else_the_mapping_system_is_asked_anew() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    node.updates();
    ask(&mut node, EID, PEER);
    assert_eq!(said(&mut node), answer(SITE, PEER, SourceVerdict::Here));
    ask(&mut node, EID, OTHER);
    assert_eq!(said(&mut node), []);
    node.advance(secs(1));
    let request = next_request(&mut node);
    assert_eq!(request.records[0].eid.ip_prefix(), Some(prefix(SITE)), "of the mapping that may be old");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert_eq!(said(&mut node), answer(SITE, OTHER, SourceVerdict::Elsewhere));
}

#[test]
fn a_hole_is_proof_and_does_not_fill_the_map_cache() {
    let mut node = Node::plain();
    node.updates();
    ask(&mut node, EID, PEER);
    let request = next_request(&mut node);
    let hole = MapReply { nonce: request.nonce, ..MapReply::default() };
    node.reply(&hole.with_negative(SITE, Action::NativelyForward, 15));
    let updates = node.updates();
    assert!(matches!(updates[..], [Update::Source { verdict: SourceVerdict::Unmapped, .. }]), "{updates:?}");
    assert_eq!(node.control.map_cache(node.now).count(), 0);
}

#[test]
fn a_part_with_a_mapping_of_its_own_keeps_the_verdict_on_the_rest_to_one_address() {
    let mut node = Node::plain();
    node.updates();
    ask(&mut node, EID, PEER);
    let request = next_request(&mut node);
    node.reply(&reply_to(&request, &[(SITE, 1440), ("2001:db8:b:1::/64", 1440)]));
    assert_eq!(said(&mut node), answer(EID, PEER, SourceVerdict::Here));
}

#[test]
fn nobody_elsewhere_speaks_as_one_of_ours() {
    let mut node = Node::plain();
    let own = node.control.database().prefixes()[0];
    node.updates();
    let host = wire::address::EidPrefix::host(own.iid, own.net.addr());
    node.event(Event::Source { eid: host, rloc: ip(PEER), is_known: false });
    assert_eq!(said(&mut node), answer(&host.to_string(), PEER, SourceVerdict::Elsewhere));
    assert!(node.sent.is_empty(), "nobody is asked");
}

#[test]
fn invented_sources_leave_room_for_what_our_own_hosts_want() {
    let mut node = Node::plain();
    for number in 0..2000 {
        ask(&mut node, &format!("2001:db9::{number:x}/128"), PEER);
    }
    node.sent.clear();
    let (_, request) = node.miss(EID);
    assert_eq!(request.records[0].eid.ip_prefix(), Some(prefix(EID)));
}

/// The CGEID of a member of a mesh.
fn cgeid(number: u32) -> String {
    format!("3fff:ce1::{:x}:{:x}", number >> 16, number & 0xffff)
}

/// The mapping of each of so many CGEIDs is cached.
fn with_cached_cgeids(count: u32) -> Node {
    let mut node = Node::plain();
    for number in 0..count {
        let host = format!("{}/128", cgeid(number));
        let (_, request) = node.miss(&host);
        node.reply(&reply_to(&request, &[(&host, 1440)]));
    }
    node.advance(secs(10));
    node.updates();
    node
}

/// A packet with this inner source comes from [`PEER`]. Whether it enters at once.
fn comes(etr: &mut Etr, source: &str) -> bool {
    let header = Ipv6Header {
        source: source.parse().unwrap(),
        destination: "2001:db8:a::1".parse().unwrap(),
        next_header: 59,
        hop_limit: 9,
        class: TrafficClass(0),
        flow_label: 0,
    };
    let mut payload = [&[0; 8], header.emit(0).unwrap().as_slice()].concat();
    let class = TrafficClass(0);
    let outer =
        OuterInfo { source: ip(PEER), destination: ip(crate::double::RLOC), source_port: 50_000, ttl: 9, class };
    matches!(etr.receive(&outer, &mut payload), Arrival::Enters(_))
}

/// A cloud of a mesh is behind one border xTR, and we have started again.
#[test]
fn two_thousand_cgeids_behind_one_locator_are_heard_within_five_seconds_if_their_mappings_are_cached() {
    const COUNT: u32 = 2000;
    let mut node = with_cached_cgeids(COUNT);
    let network = Some("3fff:ce1::/32".parse().unwrap());
    let sources = SourcePolicy { mode: SourceMode::Strict, cgeid_network: network, pitrs: vec![] };
    let mut etr = Etr::new(EtrConfig { sources, ..EtrConfig::default() }, Arc::new(Counters::default()));
    etr.set_local_eids(&[prefix("2001:db8:a::/48")]);
    let (start, mut silent) = (node.now, (0..COUNT).collect::<BTreeSet<u32>>());
    while !silent.is_empty() {
        etr.advance(node.now);
        silent.retain(|number| {
            let enters = comes(&mut etr, &cgeid(*number));
            while let Some(event) = etr.poll_event() {
                node.event(event);
            }
            node.updates().iter().for_each(|update| etr.update(update));
            // What has waited enters too.
            !enters && etr.poll().is_none()
        });
        node.advance(Duration::from_millis(100));
        assert!(node.now - start < secs(5), "{} are not heard", silent.len());
    }
    assert!(node.sent.is_empty(), "nobody is asked");
}

#[test]
fn sources_that_are_made_up_cost_the_mapping_system_two_hundred_questions_a_second_and_nobody_else_anything() {
    let mut node = with_cached_cgeids(1);
    let mut invented = 0;
    for _ in 0..5 {
        let mut asked = 0;
        for number in 0..2000 {
            let rloc = format!("198.18.{}.{}", number % 500 / 250, number % 250 + 1);
            ask(&mut node, &format!("2001:db9:{invented:x}::/128"), &rloc);
            invented += 1;
            // Somebody answers, as a rule.
            for (_, request) in node.requests() {
                asked += 1;
                let hole = MapReply { nonce: request.nonce, ..MapReply::default() };
                let eid = request.records[0].eid.ip_prefix().unwrap().to_string();
                node.reply(&hole.with_negative(&eid, Action::NativelyForward, 15));
            }
        }
        assert_eq!(asked, limits::SOURCES_ASKED);
        let updates = node.updates();
        let is_put_off =
            |update: &&Update| matches!(update, Update::SourcePutOff { ask, .. } if *ask == node.now + secs(1));
        assert_eq!(updates.iter().filter(is_put_off).count(), 1800, "each of the others hears so");
        // Who is cached is heard, and what our own hosts want is asked for.
        ask(&mut node, &format!("{}/128", cgeid(0)), PEER);
        assert_eq!(said(&mut node).len(), 1);
        let (_, request) = node.miss(&format!("2001:db8:c::{invented:x}/128"));
        node.reply(&reply_to(&request, &[("2001:db8:c::/48", 1)]));
        node.updates();
        node.advance(secs(1));
    }
    assert_eq!(node.refused(Refusal::SourceRateLimited), 5 * 1800);
}

#[test]
fn one_rloc_costs_the_mapping_system_twenty_questions_a_second_but_for_who_is_known() {
    let mut node = Node::plain();
    let asked = |node: &mut Node, is_known: bool| {
        for number in 0..100 {
            let eid = prefix(&format!("2001:db9:{number:x}:{}::/128", u8::from(is_known)));
            node.event(Event::Source { eid, rloc: ip(PEER), is_known });
        }
        node.requests().len()
    };
    assert_eq!(asked(&mut node, false), limits::SOURCES_ASKED_EACH as usize);
    assert_eq!(asked(&mut node, true), 100);
}

/// A site with many hosts sends from a new locator.
#[test]
fn sources_of_one_cached_prefix_are_one_question_however_many_they_are() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    node.advance(secs(10));
    node.updates();
    for host in 0..400 {
        ask(&mut node, &format!("2001:db8:b::{host:x}/128"), OTHER);
    }
    let request = next_request(&mut node);
    assert!(node.sent.is_empty() && said(&mut node).is_empty());
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert_eq!(said(&mut node).len(), 400);
}
