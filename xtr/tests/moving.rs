// SPDX-License-Identifier: GPL-2.0-or-later
//! An EID-prefix moves to another xTR of the site and back, and Map-Servers and Map-Resolvers change, as the control half has it.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod double;

use std::collections::BTreeSet;
use std::net::IpAddr;

use double::{Node, RESOLVER, RLOC, SERVER, WithNegative, key, prefix, reply_to, secs};
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, Ecm, EidRequest, MapNotify, MapRegister, MapRequest, Nonce};
use wire::data::FlowKey;
use wire::record::{Action, MappingRecord, Ttl};
use xtr::database::{Database, OwnLocator};
use xtr::engine::{Config, Input};
use xtr::interwork::Interworking;
use xtr::map_cache::{Event, Forwarding, Locator, SourceVerdict, Update};
use xtr::refusal::Refusal;
use xtr::register::{Server, limits};
use xtr::trace::Packet;
use xtr::transport::MapSystem;

const ITR: &str = "198.51.100.7";
const LATER_ITR: &str = "198.51.100.8";
const SECOND_SERVER: &str = "203.0.113.11";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A node that is registered, and its Map-Register.
fn registered() -> (Node, MapRegister) {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    (node, register)
}

/// An ITR has asked for something of ours.
fn ask(node: &mut Node) {
    let request = MapRequest {
        itr_rlocs: vec![ip(ITR).into()],
        records: vec![EidRequest { notify: false, eid: prefix("10.1.2.3/32").into() }],
        ..MapRequest::default()
    };
    node.datagram(&format!("{ITR}:4342"), &request.into());
    node.sent.clear();
}

/// What the Map-Server says of its own accord.
fn says(node: &mut Node, nonce: u64, record: MappingRecord) {
    let register = MapRegister { nonce: Nonce((1 << 60) + nonce), records: vec![record], ..MapRegister::default() };
    node.notify(&register, |notify| notify);
    let (_, _, bytes) = node.sent.remove(0);
    assert!(matches!(ControlMessage::decode(&bytes), Ok(ControlMessage::MapNotifyAck(_))), "it is acknowledged");
}

fn behind_other(eid: &str) -> MappingRecord {
    reply_to(&MapRequest::default(), &[(eid, 1440)]).records.remove(0)
}

fn nobodys(eid: &str) -> MappingRecord {
    MappingRecord { ttl: Ttl::WITHDRAWN, locators: vec![], ..behind_other(eid) }
}

fn eids(register: &MapRegister) -> Vec<String> {
    let mut eids: Vec<_> = register.records.iter().map(|record| record.eid.ip_prefix().unwrap().to_string()).collect();
    eids.sort();
    eids
}

/// The EID-prefixes of the SMRs sent.
fn solicited(node: &mut Node) -> Vec<String> {
    let told = std::mem::take(&mut node.smrs);
    told.iter().map(|(_, _, smr)| smr.records[0].eid.ip_prefix().unwrap().to_string()).collect()
}

// --- moving

#[test]
fn what_another_xtr_has_registered_is_left_to_it_and_taken_back_when_it_is_free() {
    let (mut node, _) = registered();
    ask(&mut node);
    says(&mut node, 1, behind_other("10.1.0.0/16"));
    assert_eq!(solicited(&mut node), ["10.1.0.0/16"], "who sends to us asks the mapping system");
    let shown: Vec<_> = node.control.registrations(node.now).filter(|row| row.moved).collect();
    assert_eq!((shown.len(), shown[0].prefixes.as_slice()), (1, [prefix("10.1.0.0/16")].as_slice()));
    for _ in 0..3 {
        node.advance(limits::REFRESH);
        let (_, register) = node.registers().remove(0);
        assert_eq!(eids(&register), ["2001:db8:a::/48"], "it is not taken from the other again");
        node.notify(&register, |notify| notify);
    }
    node.smrs.clear();
    node.packets_from(&[ip(ITR)]);
    says(&mut node, 2, nobodys("10.1.0.0/16"));
    let (_, register) = node.register();
    assert_eq!(eids(&register), ["10.1.0.0/16", "2001:db8:a::/48"]);
    assert!(register.records.iter().all(|record| !record.locators.is_empty()));
    node.notify(&register, |notify| notify);
    assert_eq!(solicited(&mut node), ["10.1.0.0/16"]);
    assert!(node.control.registrations(node.now).all(|row| !row.moved));
}

/// One that has lost both SMRs sees no disagreement otherwise, and goes on to send to the former xTR.
#[test]
fn nobody_is_told_any_more_that_what_has_moved_is_behind_us() {
    let (mut node, _) = registered();
    let heard = |node: &mut Node, probe: bool| {
        node.advance(secs(5));
        node.sent.clear();
        let request = MapRequest {
            probe,
            itr_rlocs: vec![ip(ITR).into()],
            records: vec![EidRequest { notify: false, eid: prefix("10.1.2.3/32").into() }],
            ..MapRequest::default()
        };
        node.datagram(&format!("{ITR}:4342"), &request.into());
        node.replies().pop().map(|(_, reply)| reply.records.len())
    };
    assert_eq!([true, false].map(|probe| heard(&mut node, probe)), [Some(1); 2]);
    says(&mut node, 1, behind_other("10.1.2.0/24"));
    assert_eq!([true, false].map(|probe| heard(&mut node, probe)), [Some(1); 2], "packets to a part are led on");
    says(&mut node, 2, behind_other("10.1.0.0/16"));
    assert_eq!(heard(&mut node, true), Some(0), "the locator works");
    let refused = node.refused(Refusal::RequestNotOurs);
    assert_eq!((heard(&mut node, false), node.refused(Refusal::RequestNotOurs)), (None, refused + 1));
    says(&mut node, 3, nobodys("10.1.0.0/16"));
    assert_eq!([true, false].map(|probe| heard(&mut node, probe)), [Some(1); 2], "it has come back");
}

#[test]
fn packets_to_what_has_moved_are_led_into_the_tunnel_whoever_sends_them() {
    let (mut node, _) = registered();
    let packet = |iid: u32, source: &str, destination: &str| Packet {
        iid: InstanceId(iid),
        flow: FlowKey { source: ip(source), destination: ip(destination), ports: None },
    };
    let is_led = |node: &Node, packet: Packet| packet.is_led(&node.control, None);
    let from_others = packet(0, "192.168.7.1", "10.1.0.9");
    assert!(!is_led(&node, from_others), "it is delivered here");
    assert!(is_led(&node, packet(0, "10.1.0.2", "198.18.0.1")), "it is from an EID of ours");
    says(&mut node, 1, behind_other("10.1.0.0/16"));
    assert!(is_led(&node, from_others));
    assert!(!is_led(&node, packet(7, "192.168.7.1", "10.1.0.9")), "the rules know one instance");
    assert!(!is_led(&node, packet(0, "192.168.7.1", "10.2.0.9")), "that has not moved");
    says(&mut node, 2, nobodys("10.1.0.0/16"));
    assert!(!is_led(&node, from_others), "it has returned");
}

#[test]
fn who_sends_to_us_is_named_when_a_map_server_has_said_something_and_once_a_second() {
    let (mut node, register) = registered();
    assert_eq!(node.named, 1);
    node.senders = vec![ip(ITR)];
    node.advance(secs(2));
    // Forged, cut short, of no answer, and what was answered before.
    for bytes in [&[0x40][..], &[0x40; 64], &[0x48, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]] {
        node.bytes(&format!("{SERVER}:4342"), bytes);
    }
    node.notify_with(
        &register,
        &AuthKey { secret: Secret::new("of another"), ..key(Algorithm::HkdfSha256) },
        |notify| MapNotify { nonce: Nonce(1 << 61), records: vec![behind_other("10.1.0.0/16")], ..notify },
    );
    node.notify(&register, |notify| notify);
    assert_eq!(node.named, 1, "whoever has not the key makes us look for nobody");
    says(&mut node, 1, behind_other("10.1.2.0/24"));
    assert_eq!(
        (node.named, solicited(&mut node)),
        (2, vec!["10.1.2.0/24".to_owned()]),
        "who sends packets hears of it"
    );
    // Who begins to send in the second after it was asked who does.
    node.senders.push(ip(LATER_ITR));
    says(&mut node, 2, behind_other("10.1.3.0/24"));
    assert_eq!(node.named, 2, "in the same second");
    let third = prefix("10.1.3.0/24").into();
    let is_told =
        |node: &Node, itr: &str| node.smrs.iter().any(|(_, to, smr)| to.ip() == ip(itr) && smr.records[0].eid == third);
    node.advance(secs(1));
    assert_eq!((node.named, is_told(&node, LATER_ITR)), (3, true), "{:?}", node.smrs);
    node.advance(secs(10));
    assert!(is_told(&node, ITR), "it is known to send");
    assert_eq!(node.named, 3, "nothing is left to be told");
}

#[test]
fn of_a_part_that_moves_the_rest_stays_registered() {
    let (mut node, _) = registered();
    ask(&mut node);
    says(&mut node, 1, behind_other("10.1.2.3/32"));
    assert_eq!(solicited(&mut node), ["10.1.2.3/32"]);
    node.advance(limits::REFRESH);
    assert_eq!(eids(&node.registers()[0].1), ["10.1.0.0/16", "2001:db8:a::/48"]);
    node.smrs.clear();
    ask(&mut node);
    says(&mut node, 2, nobodys("10.1.2.3/32"));
    assert_eq!(solicited(&mut node), ["10.1.2.3/32"], "it is behind us again");
}

/// What the packet half was told last of what has moved.
fn moved(node: &mut Node) -> Option<Vec<EidPrefix>> {
    let moved = |update| if let Update::Moved(prefixes) = update { Some(prefixes) } else { None };
    node.updates().into_iter().filter_map(moved).last()
}

/// A registered node that asks a Map-Resolver, and what has moved from it.
fn left_behind(parts: &[&str]) -> Node {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SERVER, ours())], &[RESOLVER]);
    parts.iter().zip(1..).for_each(|(part, nonce)| says(&mut node, nonce, behind_other(part)));
    node
}

#[test]
fn what_has_moved_is_said_to_the_packet_half_until_it_is_back() {
    let mut node = left_behind(&["10.1.2.0/24", "10.1.0.0/16"]);
    assert_eq!(moved(&mut node), Some(vec![prefix("10.1.0.0/16"), prefix("10.1.2.0/24")]));
    assert_eq!(node.control.all_moved(), [prefix("10.1.0.0/16"), prefix("10.1.2.0/24")]);
    assert_eq!(node.control.registrations(node.now).filter(|row| row.moved).count(), 2);
    says(&mut node, 3, nobodys("10.1.0.0/16"));
    node.sent.clear();
    assert_eq!(moved(&mut node), Some(vec![prefix("10.1.2.0/24")]));
    says(&mut node, 4, behind_other("10.1.2.0/24"));
    assert_eq!(moved(&mut node), None, "that is no news");
    says(&mut node, 5, nobodys("10.1.2.0/24"));
    assert_eq!(moved(&mut node), Some(vec![]));
    says(&mut node, 6, behind_other("10.1.2.0/24"));
    node.input(Input::RemoveEid(prefix("10.1.0.0/16")));
    assert_eq!(moved(&mut node), Some(vec![]), "the operator takes the whole away");
}

/// What the second Map-Server says, under one secret with the first; whether it was acknowledged is not looked at.
fn second_says(node: &mut Node, nonce: Nonce, records: Vec<MappingRecord>) {
    let notify = MapNotify { nonce, records, ..MapNotify::default() };
    let bytes = auth::seal(&ControlMessage::from(notify), &ours(), TagForm::Truncated).unwrap();
    node.bytes(&format!("{SECOND_SERVER}:4342"), &bytes);
}

/// A node that is registered with the first of two Map-Servers, and its Map-Register to the second.
fn registered_with_one_of_two() -> (Node, MapRegister) {
    let mut node = left_behind(&[]);
    take(&mut node, vec![server(SERVER, ours()), server(SECOND_SERVER, ours())], &[RESOLVER]);
    let (_, register) = node.register();
    (node, register)
}

/// Each of two Map-Servers may have another xTR of the two: then each would leave the packets to the other.
#[test]
fn a_whole_prefix_is_delivered_here_as_long_as_one_map_server_has_it_from_us() {
    let (mut node, register) = registered_with_one_of_two();
    second_says(&mut node, register.nonce, register.records);
    says(&mut node, 1, behind_other("10.1.0.0/16"));
    assert_eq!(node.control.all_moved(), []);
    let shown: Vec<_> = node.control.registrations(node.now).filter(|row| row.moved).collect();
    assert_eq!((shown.len(), shown[0].asks_in), (1, None), "the answer would lead here");
    second_says(&mut node, Nonce((1 << 60) + 1), vec![behind_other("10.1.0.0/16")]);
    assert_eq!(node.control.all_moved(), [prefix("10.1.0.0/16")]);
    node.sent.clear();
    says(&mut node, 2, nobodys("10.1.0.0/16"));
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    assert_eq!(node.control.all_moved(), [], "the first has it from us again");
    assert_eq!(node.control.registrations(node.now).filter(|row| row.moved).count(), 1);
}

/// RFC 9301, section 8.2: it forgets what is not registered again within three minutes.
#[test]
fn a_map_server_that_confirms_nothing_has_no_prefix_from_us() {
    let (mut node, _) = registered_with_one_of_two();
    says(&mut node, 1, behind_other("10.1.0.0/16"));
    assert_eq!(node.control.all_moved(), [prefix("10.1.0.0/16")], "it never had it");

    let (mut node, register) = registered_with_one_of_two();
    second_says(&mut node, register.nonce, register.records);
    says(&mut node, 1, behind_other("10.1.0.0/16"));
    node.advance(secs(179));
    assert_eq!(node.control.all_moved(), []);
    node.updates();
    node.advance(secs(1));
    assert_eq!(moved(&mut node), Some(vec![prefix("10.1.0.0/16")]), "it has forgotten it");
    node.advance(secs(600));
    let to_second = std::mem::take(&mut node.sent).into_iter().rfind(|(_, to, _)| to.ip() == ip(SECOND_SERVER));
    let register = MapRegister::decode(&to_second.unwrap().2).unwrap();
    second_says(&mut node, register.nonce, register.records);
    assert_eq!(moved(&mut node), Some(vec![]), "it has it again");
}

#[test]
fn a_map_server_has_a_prefix_that_came_later_when_it_has_confirmed_that_one() {
    let (mut node, register) = registered_with_one_of_two();
    second_says(&mut node, register.nonce, register.records);
    node.input(Input::AddEid(prefix("10.9.0.0/16")));
    let to_second = std::mem::take(&mut node.sent).into_iter().rfind(|(_, to, _)| to.ip() == ip(SECOND_SERVER));
    says(&mut node, 1, behind_other("10.9.0.0/16"));
    node.sent.clear();
    says(&mut node, 2, behind_other("10.1.0.0/16"));
    assert_eq!(node.control.all_moved(), [prefix("10.9.0.0/16")], "the second has the other one alone");
    let register = MapRegister::decode(&to_second.unwrap().2).unwrap();
    assert_eq!(eids(&register), ["10.1.0.0/16", "10.9.0.0/16", "2001:db8:a::/48"]);
    second_says(&mut node, register.nonce, register.records);
    assert_eq!(node.control.all_moved(), []);
}

#[test]
fn packets_to_what_has_moved_leave_by_no_petr_when_nobody_has_it() {
    let mut node = left_behind(&["10.1.2.0/24"]);
    let petr = Locator { address: ip("192.0.2.80"), priority: 1, weight: 100 };
    let roles = Interworking { petrs: vec![petr], ..Interworking::default() };
    let (now, plain) = (node.now, Node::plain().control);
    node.control = std::mem::replace(&mut node.control, plain).interworking(now, roles, [3; 32]);
    node.collect();
    node.sent.clear();
    let mut led = |eid: &str, hole: &str| {
        let (_, request) = node.miss(eid);
        node.updates();
        node.reply(&reply_to(&request, &[]).with_negative(hole, Action::NativelyForward, 15));
        let upsert = |update| if let Update::Upsert { entry, .. } = update { Some(entry.forwarding) } else { None };
        node.updates().into_iter().find_map(upsert).unwrap()
    };
    assert_eq!(led("10.1.2.3/32", "10.1.2.0/24"), Forwarding::Negative(Action::NativelyForward));
    assert_eq!(led("203.0.113.200/32", "203.0.113.0/24"), Forwarding::Locators(vec![petr]));
}

#[test]
fn what_a_map_server_that_goes_has_said_of_moves_goes_with_it() {
    let mut node = left_behind(&["10.1.2.0/24"]);
    node.updates();
    take(&mut node, vec![], &[RESOLVER]);
    assert_eq!(moved(&mut node), Some(vec![]));
}

#[test]
fn no_more_parts_are_noted_than_there_is_room_for() {
    let mut node = left_behind(&[]);
    for part in 0..=limits::MOVED_PARTS {
        let part = format!("10.1.{}.{}/32", part / 256, part % 256);
        says(&mut node, 1, behind_other(&part));
    }
    assert_eq!(node.control.all_moved().len(), limits::MOVED_PARTS);
    assert_eq!(node.refused(Refusal::MovedTableFull), 1);
}

#[test]
fn a_mapping_of_what_has_moved_is_taken_as_far_as_it_has_and_its_packets_may_come() {
    let mut node = left_behind(&["10.1.2.0/24"]);
    let (_, request) = node.miss("10.1.2.3/32");
    node.updates();
    node.reply(&reply_to(&request, &[("10.1.2.0/24", 1440)]));
    assert_eq!(node.upsert().0, prefix("10.1.2.0/24"));
    let come = |node: &mut Node, eid: &str, rloc: &str| {
        node.event(Event::Source { eid: prefix(eid), rloc: ip(rloc), is_known: false });
        match node.updates().as_slice() {
            [Update::Source { verdict, .. }] => *verdict,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(come(&mut node, "10.1.2.9/32", "198.51.100.1"), SourceVerdict::Here);
    assert_eq!(come(&mut node, "10.1.3.9/32", "198.51.100.1"), SourceVerdict::Elsewhere, "that one is ours");
    says(&mut node, 2, nobodys("10.1.2.0/24"));
    assert!(node.updates().contains(&Update::Remove { prefix: prefix("10.1.2.0/24") }));
    assert_eq!(come(&mut node, "10.1.2.9/32", "198.51.100.1"), SourceVerdict::Elsewhere);
}

#[test]
fn an_answer_that_leads_back_is_not_kept_and_believed_of_a_part_when_the_move_is_a_minute_ago() {
    let mut node = left_behind(&["10.1.2.3/32"]);
    let leads_back = |node: &mut Node| {
        let (_, request) = node.miss("10.1.2.3/32");
        let mut reply = reply_to(&request, &[("10.1.0.0/16", 1440)]);
        reply.records[0].locators[0].rloc = ip(RLOC).into();
        node.updates();
        node.reply(&reply);
        let upserts = node.updates().into_iter().filter_map(|update| match update {
            Update::Upsert { prefix, entry } => Some((prefix, entry.expires - node.now)),
            _ => None,
        });
        upserts.collect::<Vec<_>>()
    };
    let soon_over = [(prefix("10.1.2.3/32"), secs(10))];
    assert_eq!(leads_back(&mut node), soon_over);
    assert_eq!(node.control.all_moved(), [prefix("10.1.2.3/32")], "it may be from before the move");
    node.advance(limits::MOVE_SETTLES);
    node.sent.clear();
    assert_eq!(leads_back(&mut node), soon_over);
    assert_eq!(node.control.all_moved(), [], "it came back, and nobody said so");
}

#[test]
fn that_a_part_has_come_back_is_passed_on_at_once() {
    let mut node = left_behind(&["10.1.2.3/32"]);
    node.advance(limits::MOVE_SETTLES);
    node.packets_from(&[ip(ITR)]);
    node.sent.clear();
    let (_, request) = node.miss("10.1.2.3/32");
    let mut reply = reply_to(&request, &[("10.1.0.0/16", 1440)]);
    reply.records[0].locators[0].rloc = ip(RLOC).into();
    (_, _) = (moved(&mut node), solicited(&mut node));
    node.reply(&reply);
    let updates = node.updates_pending().to_vec();
    assert!(updates.contains(&Update::Remove { prefix: prefix("10.1.2.3/32") }), "it is delivered here: {updates:?}");
    assert_eq!(moved(&mut node), Some(vec![]), "packets of our hosts to it stay here");
    assert_eq!(solicited(&mut node), ["10.1.2.3/32"], "who sends to us asks who has it");
}

/// A Map-Register that is on its way when the other's comes takes the EID-prefix from it again.
#[test]
fn of_two_parts_that_move_at_once_each_is_heard_in_whatever_order_and_of_one_nothing_older() {
    let (mut node, _) = registered();
    ask(&mut node);
    says(&mut node, 2, behind_other("10.1.2.3/32"));
    says(&mut node, 1, behind_other("10.1.2.4/32"));
    node.advance(secs(10));
    let mut parts = solicited(&mut node);
    parts.sort();
    parts.dedup();
    assert_eq!(parts, ["10.1.2.3/32", "10.1.2.4/32"]);
    let older =
        MapRegister { nonce: Nonce((1 << 60) + 1), records: vec![nobodys("10.1.2.3/32")], ..Default::default() };
    node.notify(&older, |notify| notify);
    assert!(node.sent.is_empty(), "{:?}", node.sent);
    assert_eq!(node.control.tally().get(Refusal::NotifyUnasked), 1);
}

#[test]
fn a_map_register_on_its_way_is_withdrawn() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    let moved = MapRegister { nonce: Nonce(1 << 60), records: vec![behind_other("10.1.0.0/16")], ..register };
    node.notify(&moved, |notify| notify);
    let registers: Vec<MapRegister> =
        node.sent.drain(1..).map(|(.., bytes)| MapRegister::decode(&bytes).unwrap()).collect();
    let [withdrawal] = registers.as_slice() else { panic!("{registers:?}") };
    assert_eq!((eids(withdrawal), withdrawal.records[0].ttl), (vec!["10.1.0.0/16".to_owned()], Ttl::WITHDRAWN));
}

#[test]
fn what_is_not_ours_or_still_behind_us_too_moves_nothing() {
    let (mut node, register) = registered();
    ask(&mut node);
    says(&mut node, 1, behind_other("10.2.0.0/16"));
    let mut both = behind_other("10.1.0.0/16");
    both.locators.extend(register.records[0].locators.clone());
    says(&mut node, 2, both);
    says(&mut node, 3, nobodys("10.1.0.0/16"));
    assert_eq!(solicited(&mut node), Vec::<String>::new());
    let stale = MapRegister { nonce: Nonce(1 << 60), records: vec![behind_other("10.1.0.0/16")], ..register };
    node.notify(&stale, |notify| notify);
    assert_eq!((node.refused(Refusal::NotifyUnasked), node.sent.len()), (1, 0), "older than what was said last");
    node.advance(limits::REFRESH);
    assert_eq!(eids(&node.registers()[0].1), ["10.1.0.0/16", "2001:db8:a::/48"]);
}

#[test]
fn what_was_said_before_a_restart_or_a_reload_moves_nothing_when_somebody_says_it_again() {
    let (mut before, _) = registered();
    says(&mut before, 1, behind_other("10.1.0.0/16"));
    says(&mut before, 2, nobodys("10.1.0.0/16"));
    let records = vec![behind_other("10.1.0.0/16")];
    let old = MapRegister { nonce: Nonce((1 << 60) + 1), records, ..MapRegister::default() };
    let (mut node, _) = registered();
    node.control = std::mem::replace(&mut node.control, Node::plain().control).having_heard(before.heard);
    node.notify(&old, |notify| notify);
    take(&mut node, vec![], &[RESOLVER]);
    node.advance(secs(600));
    take(&mut node, vec![server(SERVER, ours())], &[RESOLVER]);
    node.notify(&old, |notify| notify);
    assert_eq!(node.refused(Refusal::NotifyUnasked), 2);
    node.sent.clear();
    node.advance(limits::REFRESH);
    assert_eq!(eids(&node.registers()[0].1), ["10.1.0.0/16", "2001:db8:a::/48"]);
    says(&mut node, 3, behind_other("10.1.0.0/16"));
    assert_eq!(node.control.registrations(node.now).filter(|row| row.moved).count(), 1, "what is new is taken");
}

/// What confirmed a Map-Register of a former run, when the locators were others, and is said again by somebody who has recorded it.
#[test]
fn the_answer_to_a_map_register_of_a_former_run_moves_nothing() {
    const CLOCK: u64 = 1_800_000_000_000;
    let prefixes = ["2001:db8:a::/48", "10.1.0.0/16"];
    let mut node = Node::from_config(Config {
        database: Database::new(prefixes.map(prefix).to_vec(), vec![OwnLocator::new(ip(RLOC), 1, 100)], Ttl::DEFAULT),
        cgeid_network: None,
        servers: vec![double::server(Algorithm::HkdfSha256, TagForm::Truncated, &prefixes)],
        resolvers: vec![],
        nonce_floor: Nonce(CLOCK),
        seed: [7; 32],
    });
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    let moved =
        |nonce| MapRegister { nonce: Nonce(nonce), records: vec![behind_other("10.1.0.0/16")], ..Default::default() };
    for (count, former) in [(1, CLOCK - 86_400_000), (2, CLOCK)] {
        node.notify(&moved(former), |notify| notify);
        assert_eq!((node.refused(Refusal::NotifyUnasked), node.sent.len()), (count, 0), "{former}");
        assert_eq!(node.control.all_moved(), []);
    }
    // Map-Servers count from one, or by the clock in microseconds.
    for own in [5, CLOCK * 1000] {
        node.notify(&moved(own), |notify| notify);
        assert_eq!(node.control.all_moved(), [prefix("10.1.0.0/16")], "{own}");
        node.notify(&MapRegister { records: vec![nobodys("10.1.0.0/16")], ..moved(own + 1) }, |notify| notify);
        assert_eq!(node.control.all_moved(), []);
    }
}

#[test]
fn a_prefix_that_the_operator_takes_away_and_gives_again_is_registered_whoever_has_it() {
    let (mut node, _) = registered();
    says(&mut node, 1, behind_other("10.1.0.0/16"));
    node.input(Input::RemoveEid(prefix("10.1.0.0/16")));
    node.input(Input::AddEid(prefix("10.1.0.0/16")));
    assert_eq!(eids(&node.registers().pop().unwrap().1), ["10.1.0.0/16", "2001:db8:a::/48"]);
}

// --- moves that are none

/// The Map-Requests to the Map-Resolver since the last call.
fn asked(node: &mut Node) -> Vec<MapRequest> {
    let sent = std::mem::take(&mut node.sent).into_iter();
    let request = |(_, to, bytes): (IpAddr, std::net::SocketAddr, Vec<u8>)| {
        let ecm = (to.ip() == ip(RESOLVER)).then(|| Ecm::decode(&bytes).unwrap())?;
        Some(MapRequest::decode(&ecm.message).unwrap())
    };
    sent.filter_map(request).collect()
}

/// A node that a Map-Server has told of a move three minutes ago, and what it asks then.
fn doubting() -> (Node, MapRequest) {
    let mut node = left_behind(&["10.1.0.0/16"]);
    let first = node.control.registrations(node.now).find(|row| row.moved).unwrap();
    assert_eq!(first.asks_in, Some(limits::MOVE_DOUBTED));
    node.advance(limits::MOVE_DOUBTED - secs(1));
    assert_eq!(asked(&mut node).len(), 0, "it may be so");
    node.advance(secs(1));
    let request = asked(&mut node).remove(0);
    assert_eq!(request.records[0].eid, prefix("10.1.0.0/16").into());
    node.packets_from(&[ip(ITR)]);
    node.smrs.clear();
    (node, request)
}

/// The mapping system answers, and the node does what is due at once. Whether the EID-prefix is registered again.
fn answers(node: &mut Node, reply: &wire::control::MapReply) -> bool {
    node.reply(reply);
    node.advance(secs(0));
    let is_left = node.control.all_moved() == [prefix("10.1.0.0/16")];
    let sent = std::mem::take(&mut node.sent);
    let registers: Vec<_> = sent.iter().filter_map(|(.., bytes)| MapRegister::decode(bytes).ok()).collect();
    assert_eq!(registers.iter().flat_map(eids).collect::<Vec<_>>(), if is_left { vec![] } else { both() });
    registers.iter().for_each(|register| node.notify(register, |notify| notify));
    assert_eq!(solicited(node).is_empty(), is_left, "who sends asks again");
    assert_eq!(node.control.registrations(node.now).any(|row| row.moved), is_left);
    !is_left
}

/// One that signs what strangers send it, as lispers.net does, or whose word somebody has recorded.
#[test]
fn what_a_map_server_says_has_moved_is_registered_again_if_nobody_has_it_three_minutes_later() {
    for (hole, minutes) in [("10.1.0.0/16", 1), ("10.0.0.0/8", 15)] {
        let (mut node, request) = doubting();
        let reply = reply_to(&request, &[]).with_negative(hole, Action::NativelyForward, minutes);
        assert!(answers(&mut node, &reply), "{hole}");
    }
}

#[test]
fn what_a_map_server_says_has_moved_is_registered_again_if_the_mapping_system_leads_here() {
    let (mut node, request) = doubting();
    let mut reply = reply_to(&request, &[("10.1.0.0/16", 1440)]);
    reply.records[0].locators[0].rloc = ip(RLOC).into();
    assert!(answers(&mut node, &reply));
}

#[test]
fn what_has_moved_stays_with_who_has_it_and_is_asked_about_each_three_minutes() {
    let (mut node, mut request) = doubting();
    for _ in 0..3 {
        assert!(!answers(&mut node, &reply_to(&request, &[("10.1.0.0/16", 1440)])));
        node.advance(limits::MOVE_DOUBTED);
        request = asked(&mut node).remove(0);
    }
    // Nothing follows from what is no answer, or says that we are not to know, or not why.
    let (_, late) = (request.nonce, MapRequest { nonce: Nonce(7), ..request.clone() });
    assert!(!answers(&mut node, &reply_to(&late, &[]).with_negative("10.1.0.0/16", Action::NativelyForward, 1)));
    for action in [Action::DropPolicyDenied, Action::DropNoReason] {
        assert!(!answers(&mut node, &reply_to(&request, &[]).with_negative("10.1.0.0/16", action, 1)), "{action:?}");
        node.advance(limits::MOVE_DOUBTED);
        request = asked(&mut node).remove(0);
    }
    assert!(!answers(&mut node, &reply_to(&request, &[("10.1.0.0/16", 1440)])));
    // It is said again: it is looked into three minutes later.
    says(&mut node, 9, behind_other("10.1.0.0/16"));
    node.sent.clear();
    node.advance(limits::MOVE_DOUBTED - secs(1));
    assert_eq!(asked(&mut node).len(), 0);
}

/// Of what the first one has from us again nothing would be asked, and the second would be left to nobody.
#[test]
fn what_two_map_servers_have_said_one_after_the_other_is_registered_again_with_both() {
    let (mut node, register) = registered_with_one_of_two();
    second_says(&mut node, register.nonce, register.records);
    says(&mut node, 1, behind_other("10.1.0.0/16"));
    node.advance(secs(2));
    second_says(&mut node, Nonce((1 << 60) + 1), vec![behind_other("10.1.0.0/16")]);
    let (mut questions, mut registered) = (0, BTreeSet::new());
    for _ in 0..2 * limits::MOVE_DOUBTED.as_secs() {
        node.advance(secs(1));
        for (_, to, bytes) in std::mem::take(&mut node.sent) {
            match ControlMessage::decode(&bytes).unwrap() {
                ControlMessage::Ecm(ecm) => {
                    let request = MapRequest::decode(&ecm.message).unwrap();
                    questions += 1;
                    node.reply(&reply_to(&request, &[]).with_negative("10.1.0.0/16", Action::NativelyForward, 1));
                }
                ControlMessage::MapRegister(register) => {
                    registered.extend(eids(&register).contains(&both()[0]).then_some(to.ip()));
                    if to.ip() == ip(SECOND_SERVER) {
                        second_says(&mut node, register.nonce, register.records);
                    } else {
                        node.notify(&register, |notify| notify);
                    }
                }
                other => assert!(matches!(other, ControlMessage::MapNotifyAck(_)), "{other:?}"),
            }
        }
    }
    assert_eq!(registered, [SERVER, SECOND_SERVER].map(ip).into());
    assert!(node.control.registrations(node.now).all(|row| !row.moved));
    assert_eq!(questions, 1);
}

/// A Map-Resolver may not have heard of it yet.
#[test]
fn that_nobody_has_what_has_just_moved_is_not_believed() {
    let mut node = left_behind(&["10.1.0.0/16"]);
    node.advance(secs(60));
    node.sent.clear();
    let (_, request) = node.miss("10.1.2.3/32");
    assert!(!answers(&mut node, &reply_to(&request, &[]).with_negative("10.1.0.0/16", Action::NativelyForward, 1)));
}

#[test]
fn of_what_another_map_server_has_from_us_the_mapping_system_is_not_asked() {
    let (mut node, register) = registered_with_one_of_two();
    second_says(&mut node, register.nonce, register.records);
    says(&mut node, 1, behind_other("10.1.0.0/16"));
    for _ in 0..7 {
        node.advance(limits::REFRESH / 2);
        for (_, to, bytes) in std::mem::take(&mut node.sent) {
            assert_ne!(to.ip(), ip(RESOLVER));
            let Ok(register) = MapRegister::decode(&bytes) else { panic!("{bytes:?}") };
            if to.ip() == ip(SECOND_SERVER) {
                second_says(&mut node, register.nonce, register.records);
            }
        }
    }
    assert_eq!(node.control.all_moved(), []);
}

// --- other map systems

fn server(address: &str, key: AuthKey) -> Server {
    let (to, tag) = (MapSystem::Node(ip(address)), TagForm::Truncated);
    Server { to, key, tag, narrow_coverage: false, proxy_reply: true, identity: None, prefixes: vec![] }
}

fn ours() -> AuthKey {
    key(Algorithm::HkdfSha256)
}

fn other_key() -> AuthKey {
    AuthKey { id: 2, secret: Secret::new("another"), ..ours() }
}

fn take(node: &mut Node, servers: Vec<Server>, resolvers: &[&str]) {
    let resolvers = resolvers.iter().map(|text| MapSystem::Node(ip(text))).collect();
    node.input(Input::MapSystems { servers, resolvers, subscriptions: vec![] });
}

/// The Map-Registers that were sent: to whom, for what, and whether they take it back.
fn sent(node: &mut Node, under: &AuthKey) -> Vec<(String, Vec<String>, bool)> {
    let register = |(_, to, bytes): (IpAddr, std::net::SocketAddr, Vec<u8>)| {
        assert_eq!(auth::verify(&bytes, under, Accept::STRICT), Ok(()));
        let register = MapRegister::decode(&bytes).unwrap();
        let is_over = register.records.iter().all(|record| record.ttl == Ttl::WITHDRAWN && record.locators.is_empty());
        (to.ip().to_string(), eids(&register), is_over)
    };
    std::mem::take(&mut node.sent).into_iter().map(register).collect()
}

fn both() -> Vec<String> {
    ["10.1.0.0/16", "2001:db8:a::/48"].map(str::to_owned).to_vec()
}

#[test]
fn a_map_server_that_comes_is_registered_with_and_nothing_is_sent_to_those_that_stay() {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SERVER, ours()), server(SECOND_SERVER, ours())], &[RESOLVER]);
    assert_eq!(sent(&mut node, &ours()), [(SECOND_SERVER.to_owned(), both(), false)]);
    take(&mut node, vec![server(SERVER, ours()), server(SECOND_SERVER, ours())], &[RESOLVER]);
    assert_eq!(node.sent.len(), 0, "the same again is no news");
    node.input(Input::AddEid(prefix("10.9.0.0/16")));
    assert_eq!(sent(&mut node, &ours()).len(), 2, "what comes later goes to both");
}

#[test]
fn a_map_server_that_goes_gets_a_withdrawal_until_it_confirms() {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SECOND_SERVER, ours())], &[RESOLVER]);
    let withdrawn = (SERVER.to_owned(), both(), true);
    let registers: Vec<(_, MapRegister)> =
        node.sent.iter().map(|(_, to, bytes)| (to.ip().to_string(), MapRegister::decode(bytes).unwrap())).collect();
    assert_eq!(sent(&mut node, &ours()), [withdrawn.clone(), (SECOND_SERVER.to_owned(), both(), false)]);
    node.advance(secs(1));
    assert!(sent(&mut node, &ours()).contains(&withdrawn), "not confirmed: once more");
    let (_, withdrawal) = registers.iter().find(|(to, _)| to == SERVER).unwrap();
    node.notify(withdrawal, |notify| notify);
    let rows: Vec<_> = node.control.registrations(node.now).collect();
    assert_eq!((rows.len(), rows[0].server), (1, MapSystem::Node(ip(SECOND_SERVER))));
    // What is learned about the one that is left is not mixed up with the one that has gone.
    let (_, register) = registers.iter().find(|(to, _)| to == SECOND_SERVER).unwrap();
    node.notify(register, |notify| notify);
    assert_eq!(node.control.registrations(node.now).next().unwrap().confirmed_ago, Some(secs(0)));
    node.advance(limits::REFRESH);
    assert_eq!(sent(&mut node, &ours()), [(SECOND_SERVER.to_owned(), both(), false)]);
}

#[test]
fn one_that_never_confirms_its_withdrawal_is_forgotten_and_one_that_comes_back_meanwhile_is_not() {
    let (mut node, _) = registered();
    take(&mut node, vec![], &[RESOLVER]);
    node.advance(secs(600));
    let withdrawals = sent(&mut node, &ours()).len();
    assert_eq!((withdrawals, node.control.registrations(node.now).count()), (limits::WITHDRAWALS as usize, 0));
    take(&mut node, vec![server(SERVER, ours())], &[RESOLVER]);
    assert_eq!(sent(&mut node, &ours()), [(SERVER.to_owned(), both(), false)]);
    take(&mut node, vec![], &[RESOLVER]);
    take(&mut node, vec![server(SERVER, ours())], &[RESOLVER]);
    assert_eq!(sent(&mut node, &ours()).pop(), Some((SERVER.to_owned(), both(), false)));
    node.advance(secs(600));
    assert!(sent(&mut node, &ours()).iter().all(|(_, _, is_over)| !is_over));
}

#[test]
fn another_key_is_taken_at_once() {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SERVER, other_key())], &[RESOLVER]);
    let (_, register) = {
        let (_, _, bytes) = node.sent[0].clone();
        (0, MapRegister::decode(&bytes).unwrap())
    };
    assert_eq!(sent(&mut node, &other_key()), [(SERVER.to_owned(), both(), false)]);
    let under = |node: &mut Node, key: &AuthKey| node.notify_with(&register, key, |notify: MapNotify| notify);
    under(&mut node, &ours());
    assert_eq!(node.refused(Refusal::NotifyBadTag), 1);
    under(&mut node, &other_key());
    assert_eq!(node.control.registrations(node.now).next().unwrap().confirmed_ago, Some(secs(0)));
}

#[test]
fn other_map_resolvers_are_asked_from_then_on() {
    let mut node = Node::plain();
    take(&mut node, vec![], &["203.0.113.54"]);
    assert_eq!(node.miss("2001:db8:b::2/128").0, "203.0.113.54");
}

#[test]
fn other_map_resolvers_are_asked_about_what_rests() {
    let mut node = Node::plain();
    node.miss("2001:db8:b::2/128");
    node.advance(secs(60));
    node.sent.clear();
    take(&mut node, vec![], &[RESOLVER]);
    assert!(node.sent.is_empty(), "they are the same");
    take(&mut node, vec![], &["203.0.113.54"]);
    assert_eq!(node.requests()[0].0, "203.0.113.54");
}

const V6_SERVER: &str = "2001:db8:53::1";
const V6_RLOC: &str = "2001:db8:1::1";

/// The node has these locators from now on.
fn located(node: &mut Node, rlocs: &[&str]) {
    node.input(Input::Locators(rlocs.iter().map(|rloc| OwnLocator::new(ip(rloc), 1, 100)).collect()));
}

#[test]
fn itrs_are_told_at_once_though_a_map_server_is_of_a_family_that_the_node_lacks() {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SERVER, ours()), server(V6_SERVER, ours())], &[RESOLVER]);
    ask(&mut node);
    located(&mut node, &["192.0.2.9"]);
    assert_eq!(solicited(&mut node), Vec::<String>::new(), "not before the other has confirmed it");
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    assert_eq!(solicited(&mut node), ["10.1.0.0/16"]);
    // One that is of both waits for both.
    ask(&mut node);
    located(&mut node, &["192.0.2.9", V6_RLOC]);
    let (_, register) = node.registers().remove(0);
    node.notify(&register, |notify| notify);
    assert_eq!(solicited(&mut node), Vec::<String>::new());
}

#[test]
fn a_withdrawal_that_cannot_be_sent_ends_like_one_that_nobody_answers() {
    let (mut node, _) = registered();
    located(&mut node, &[RLOC, V6_RLOC]);
    take(&mut node, vec![server(SERVER, ours()), server(V6_SERVER, ours())], &[RESOLVER]);
    located(&mut node, &[RLOC]);
    node.sent.clear();
    take(&mut node, vec![server(SERVER, ours())], &[RESOLVER]);
    let withdrawn = |node: &Node| node.control.registrations(node.now).filter(|row| row.withdrawing).count();
    assert_eq!(withdrawn(&node), 1);
    node.advance(limits::LONGEST_RETRY * (limits::WITHDRAWALS - 1));
    assert_eq!(withdrawn(&node), 1, "the node may get a locator of that family");
    node.advance(limits::LONGEST_RETRY);
    assert_eq!(withdrawn(&node), 0);
}

#[test]
fn a_node_that_goes_away_withdraws_from_those_that_are_left_and_from_those_that_go() {
    let (mut node, _) = registered();
    take(&mut node, vec![server(SECOND_SERVER, ours())], &[RESOLVER]);
    node.sent.clear();
    node.input(Input::Shutdown);
    let mut to: Vec<String> =
        sent(&mut node, &ours()).into_iter().map(|(to, _, is_over)| format!("{to} {is_over}")).collect();
    to.sort();
    assert_eq!(to, [format!("{SERVER} true"), format!("{SECOND_SERVER} true")]);
}
