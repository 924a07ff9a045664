// SPDX-License-Identifier: GPL-2.0-or-later
//! What control says of the sources of packets from the core (RFC 9300, section 16), in virtual time.
#![allow(clippy::unwrap_used, missing_docs)]

mod double;

use std::net::IpAddr;

use double::{Node, WithNegative as _, prefix, reply_to, secs};
use wire::control::{MapReply, MapRequest};
use wire::record::Action;
use xtr::map_cache::{Event, SourceVerdict, Update};

/// The locator of [`reply_to`].
const PEER: &str = "198.51.100.1";
const OTHER: &str = "198.51.100.2";
const EID: &str = "2001:db8:b::2/128";
const SITE: &str = "2001:db8:b::/48";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ask(node: &mut Node, eid: &str, rloc: &str) {
    node.event(Event::Source { eid: prefix(eid), rloc: ip(rloc) });
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
    node.event(Event::Source { eid: host, rloc: ip(PEER) });
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
