// SPDX-License-Identifier: GPL-2.0-or-later
//! What is asked about EID-prefixes that are said to have moved.

use super::map_systems::both;
use super::moving::{behind_other, eids, ip, left_behind, registered_with_one_of_two, says, second_says, solicited};
use crate::double::{Node, RESOLVER, RLOC, SERVER, WithNegative, prefix, reply_to, secs};
use std::collections::BTreeSet;
use std::net::IpAddr;
use wire::control::{ControlMessage, Ecm, MapRegister, MapRequest, Nonce};
use wire::record::Action;
use xtr::register::limits;

const ITR: &str = "198.51.100.7";
const SECOND_SERVER: &str = "203.0.113.11";

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
