// SPDX-License-Identifier: GPL-2.0-or-later
//! An EID-prefix moves to another xTR of the site and back.

use super::map_systems::{ours, server, take};
use crate::double::{Node, RESOLVER, RLOC, SERVER, WithNegative, key, prefix, reply_to, secs};
use std::net::IpAddr;
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{self, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, EidRequest, MapNotify, MapRegister, MapRequest, Nonce};
use wire::data::FlowKey;
use wire::record::{Action, MappingRecord, Ttl};
use xtr::database::{Database, OwnLocator};
use xtr::engine::{Config, Input};
use xtr::interwork::Interworking;
use xtr::map_cache::{Event, Forwarding, Locator, SourceVerdict, Update};
use xtr::refusal::Refusal;
use xtr::register::limits;
use xtr::trace::Packet;

const ITR: &str = "198.51.100.7";
const LATER_ITR: &str = "198.51.100.8";
const SECOND_SERVER: &str = "203.0.113.11";

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A node that is registered, and its Map-Register.
pub(super) fn registered() -> (Node, MapRegister) {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    (node, register)
}

/// An ITR has asked for something of ours.
pub(super) fn ask(node: &mut Node) {
    let request = MapRequest {
        itr_rlocs: vec![ip(ITR).into()],
        records: vec![EidRequest { notify: false, eid: prefix("10.1.2.3/32").into() }],
        ..MapRequest::default()
    };
    node.datagram(&format!("{ITR}:4342"), &request.into());
    node.sent.clear();
}

/// What the Map-Server says of its own accord.
pub(super) fn says(node: &mut Node, nonce: u64, record: MappingRecord) {
    let register = MapRegister { nonce: Nonce((1 << 60) + nonce), records: vec![record], ..MapRegister::default() };
    node.notify(&register, |notify| notify);
    let (_, _, bytes) = node.sent.remove(0);
    assert!(matches!(ControlMessage::decode(&bytes), Ok(ControlMessage::MapNotifyAck(_))), "it is acknowledged");
}

pub(super) fn behind_other(eid: &str) -> MappingRecord {
    reply_to(&MapRequest::default(), &[(eid, 1440)]).records.remove(0)
}

fn nobodys(eid: &str) -> MappingRecord {
    MappingRecord { ttl: Ttl::WITHDRAWN, locators: vec![], ..behind_other(eid) }
}

pub(super) fn eids(register: &MapRegister) -> Vec<String> {
    let mut eids: Vec<_> = register.records.iter().map(|record| record.eid.ip_prefix().unwrap().to_string()).collect();
    eids.sort();
    eids
}

/// The EID-prefixes of the SMRs sent.
pub(super) fn solicited(node: &mut Node) -> Vec<String> {
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
pub(super) fn left_behind(parts: &[&str]) -> Node {
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
pub(super) fn second_says(node: &mut Node, nonce: Nonce, records: Vec<MappingRecord>) {
    let notify = MapNotify { nonce, records, ..MapNotify::default() };
    let bytes = auth::seal(&ControlMessage::from(notify), &ours(), TagForm::Truncated).unwrap();
    node.bytes(&format!("{SECOND_SERVER}:4342"), &bytes);
}

/// A node that is registered with the first of two Map-Servers, and its Map-Register to the second.
pub(super) fn registered_with_one_of_two() -> (Node, MapRegister) {
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
        servers: vec![crate::double::server(Algorithm::HkdfSha256, TagForm::Truncated, &prefixes)],
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
