// SPDX-License-Identifier: GPL-2.0-or-later
//! Answers about parts of what is cached (RFC 9301, section 5.5).

use super::answering::request;
use super::smr::smr_about;
use crate::double::{Node, RLOC, WithNegative, prefix, reply_to, secs};
use wire::control::{ControlMessage, MapRequest};
use wire::record::Action;
use xtr::engine::Input;
use xtr::map_cache::{Event, Update};
use xtr::refusal::Refusal;
use xtr::transport::{MapSystem, Via};

const EID: &str = "2001:db8:b::2/128";

/// RFC 9301, sections 5.5 and 6.1: nobody has the cached prefix any more, and so nobody can answer for the whole of it.
#[test]
fn a_prefix_that_has_become_several_ends_by_the_answer_about_one_of_them() {
    let mut node = Node::plain();
    let (_, first) = node.miss(EID);
    node.reply(&reply_to(&first, &[("2001:db8:b::/48", 1440)]));
    node.updates();
    node.advance(secs(10));
    let record = wire::control::EidRequest { notify: false, eid: prefix("2001:db8:b:4000::/50").into() };
    node.datagram(
        "198.51.100.1:4342",
        &MapRequest { smr: true, records: vec![record], ..request("10.1.0.0/16") }.into(),
    );
    let (_, asked) = node.requests().remove(0);
    node.reply(&reply_to(&asked, &[("2001:db8:b::/50", 1440), ("2001:db8::/50", 1440)]));
    assert_eq!(node.refused(Refusal::RecordOutsideAnswer), 1);
    assert_eq!(node.upsert().0, prefix("2001:db8:b::/50"));
    // Whoever has the rest says whether there is a whole.
    let (_, mut asked) = node.requests().remove(0);
    assert_eq!(asked.records[0].eid.ip_prefix(), Some(prefix("2001:db8:b:4000::/128")));
    for (part, next) in [("4000", Some("8000")), ("8000", Some("c000")), ("c000", None)] {
        node.updates();
        node.reply(&reply_to(&asked, &[(&format!("2001:db8:b:{part}::/50"), 1440)]));
        let requests = node.requests();
        let next = next.map(|next| prefix(&format!("2001:db8:b:{next}::/128")));
        assert_eq!(requests.first().and_then(|(_, request)| request.records[0].eid.ip_prefix()), next);
        asked = requests.into_iter().next().map_or(asked, |(_, request)| request);
    }
    let updates = node.updates();
    assert!(matches!(updates[0], Update::Upsert { prefix: part, .. } if part == prefix("2001:db8:b:c000::/50")));
    assert_eq!(updates[1..], [Update::Remove { prefix: prefix("2001:db8:b::/48") }]);
    let known: Vec<_> = node.control.map_cache(node.now).map(|(prefix, _)| *prefix).collect();
    let parts = ["2001:db8:b::/50", "2001:db8:b:4000::/50", "2001:db8:b:8000::/50", "2001:db8:b:c000::/50"];
    assert_eq!(known, parts.map(prefix));
    node.advance(secs(2));
    // A hole in the place of one of them is as good: nobody else says that the rest is there.
    node.event(Event::Refresh { prefix: prefix("2001:db8:b:4000::/50") });
    node.advance(secs(1));
    let (_, asked) = node.requests().remove(0);
    node.reply(&reply_to(&asked, &[]).with_negative("2001:db8:b:4000::/52", Action::NativelyForward, 15));
    let (_, asked) = node.requests().remove(0);
    node.reply(&reply_to(&asked, &[]).with_negative("2001:db8:b:5000::/52", Action::NativelyForward, 15));
    let gone = Update::Remove { prefix: prefix("2001:db8:b:4000::/50") };
    assert!(node.updates().contains(&gone));
}

/// Somebody has registered a more-specific at the beginning of a site's EID-prefix, and solicits about that, or another does in its name.
#[test]
fn a_more_specific_at_its_beginning_does_not_end_the_mapping_of_the_whole() {
    for answer in [Some("2001:db8:b::/48"), None] {
        let mut node = Node::plain();
        let (_, first) = node.miss(EID);
        node.reply(&reply_to(&first, &[("2001:db8:b::/48", 1440)]));
        node.advance(secs(10));
        smr_about(&mut node, "2001:db8:b::1");
        let (_, asked) = node.requests().remove(0);
        node.updates();
        node.reply(&reply_to(&asked, &[("2001:db8:b::/64", 1440)]));
        assert_eq!(node.upsert().0, prefix("2001:db8:b::/64"));
        let (_, rest) = node.requests().remove(0);
        assert!(rest.smr_invoked);
        assert_eq!(rest.records[0].eid.ip_prefix(), Some(prefix("2001:db8:b:1::/128")));
        let gone = Update::Remove { prefix: prefix("2001:db8:b::/48") };
        if let Some(whole) = answer {
            node.reply(&reply_to(&rest, &[(whole, 1440)]));
            assert_eq!(node.upsert().0, prefix(whole));
            node.advance(secs(100));
            assert!(node.updates().is_empty());
        } else {
            node.advance(secs(40));
            assert_eq!(node.updates(), []);
            node.advance(secs(20));
            assert_eq!(node.updates(), [gone], "as nobody says that there is a whole");
        }
    }
}

/// A node that has this cached, and asks about it because of an SMR.
fn node_that_asks_about(whole: &str) -> (Node, MapRequest) {
    let mut node = Node::plain();
    let (_, first) = node.miss(EID);
    node.reply(&reply_to(&first, &[(whole, 1440)]));
    node.advance(secs(10));
    smr_about(&mut node, "2001:db8:b::1");
    let (_, asked) = node.requests().remove(0);
    node.updates();
    (node, asked)
}

#[test]
fn several_more_specifics_at_its_beginning_do_not_end_the_mapping_of_the_whole() {
    let (mut node, mut asked) = node_that_asks_about("2001:db8:b::/48");
    for part in ["2001:db8:b::/64", "2001:db8:b:1::/64", "2001:db8:b:2::/64"] {
        node.reply(&reply_to(&asked, &[(part, 1440)]));
        assert_eq!(node.upsert().0, prefix(part));
        asked = node.requests().remove(0).1;
    }
    assert_eq!(asked.records[0].eid.ip_prefix(), Some(prefix("2001:db8:b:3::/128")));
    node.reply(&reply_to(&asked, &[("2001:db8:b::/48", 1440)]));
    node.advance(secs(100));
    assert_eq!(node.upsert().0, prefix("2001:db8:b::/48"));
}

#[test]
fn of_a_prefix_that_has_become_very_many_some_are_asked_about_and_it_ends() {
    let (mut node, asked) = node_that_asks_about("2001:db8:b::/48");
    let mut open = vec![asked];
    let mut questions = 0;
    while let Some(request) = open.pop() {
        node.reply(&reply_to(&request, &[(&format!("2001:db8:b:{questions:x}::/64"), 1440)]));
        questions += 1;
        open.extend(node.requests().into_iter().map(|(_, request)| request));
    }
    assert_eq!(questions, 1 + xtr::resolve::limits::REST_QUESTIONS);
    assert!(node.updates().contains(&Update::Remove { prefix: prefix("2001:db8:b::/48") }));
}

#[test]
fn a_whole_that_was_installed_anew_meanwhile_does_not_end_with_the_question_about_its_rest() {
    let (mut node, asked) = node_that_asks_about("2001:db8:b::/48");
    node.reply(&reply_to(&asked, &[("2001:db8:b::/64", 1440)]));
    node.advance(secs(10));
    node.requests();
    node.event(Event::Refresh { prefix: prefix("2001:db8:b::/48") });
    let (_, refresh) = node.requests().remove(0);
    node.reply(&reply_to(&refresh, &[("2001:db8:b::/48", 1440)]));
    node.updates();
    node.advance(secs(100));
    assert_eq!(node.updates(), []);
}

/// With the map system in this process, requests go through the pipe; a Map-Reply may come from an ETR all the same, to
/// which the request was forwarded.
#[test]
fn without_the_map_systems_word_an_etr_speaks_for_the_address_asked_only() {
    let mut node = Node::new(&["10.1.0.0/16"], &[RLOC], vec![], vec![MapSystem::Pipe]);
    let ask = |node: &mut Node, eid: &str| {
        node.event(Event::Miss { eid: prefix(eid), source: "10.1.0.2".parse().unwrap() });
        let bytes = node.piped.pop().unwrap();
        let ControlMessage::Ecm(ecm) = ControlMessage::decode(&bytes).unwrap() else { panic!("not an ECM") };
        let ControlMessage::MapRequest(request) = ControlMessage::decode(&ecm.message).unwrap() else {
            panic!("{ecm:?}")
        };
        request
    };
    let request = ask(&mut node, "10.66.1.1/32");
    node.reply_from("198.51.100.66", &reply_to(&request, &[("10.0.0.0/8", 1440), ("10.66.0.0/16", 1440)]));
    assert_eq!(node.upsert().0, prefix("10.66.1.1/32"));
    let request = ask(&mut node, "10.67.1.1/32");
    let reply = ControlMessage::from(reply_to(&request, &[("10.67.0.0/16", 1440)])).encode().unwrap();
    node.input(Input::Datagram { via: Via::Pipe, bytes: &reply });
    assert_eq!(node.upsert().0, prefix("10.67.0.0/16"));
}

/// The /48 is A's, the first /64 B's and the next one C's, who has forged the SMR and says of the rest that he has all of it.
#[test]
fn without_the_map_systems_word_the_rest_of_a_prefix_is_nobodys_but_who_had_it() {
    let mut node = Node::new(&["10.1.0.0/16"], &[RLOC], vec![], vec![MapSystem::Pipe]);
    let piped = |node: &mut Node| {
        let ControlMessage::Ecm(ecm) = ControlMessage::decode(&node.piped.pop().unwrap()).unwrap() else {
            panic!("not an ECM")
        };
        MapRequest::decode(&ecm.message).unwrap()
    };
    let vouch = |node: &mut Node, request: &MapRequest, eid: &str| {
        let reply = ControlMessage::from(reply_to(request, &[(eid, 1440)])).encode().unwrap();
        node.input(Input::Datagram { via: Via::Pipe, bytes: &reply });
    };
    let locators = |node: &Node, eid: &str| {
        let of =
            |entry: &xtr::resolve::Installed| entry.locators.iter().map(|(address, _)| address.to_string()).collect();
        let known: Option<Vec<String>> =
            node.control.map_cache(node.now).find(|(known, _)| **known == prefix(eid)).map(|(_, entry)| of(entry));
        known.unwrap_or_default()
    };
    node.event(Event::Miss { eid: prefix(EID), source: "10.1.0.2".parse().unwrap() });
    let request = piped(&mut node);
    vouch(&mut node, &request, "2001:db8:b::/48");
    let before = locators(&node, "2001:db8:b::/48");
    node.advance(secs(10));
    smr_about(&mut node, "2001:db8:b::1");
    let request = piped(&mut node);
    vouch(&mut node, &request, "2001:db8:b::/64");
    let request = piped(&mut node);
    assert_eq!(request.records[0].eid.ip_prefix(), Some(prefix("2001:db8:b:1::/128")));
    let mut reply = reply_to(&request, &[("2001:db8:b::/48", 1440)]);
    reply.records[0].locators[0].rloc = "198.51.100.66".parse::<std::net::IpAddr>().unwrap().into();
    node.reply_from("198.51.100.66", &reply);
    node.advance(secs(100));
    assert_eq!(locators(&node, "2001:db8:b::/48"), before);
    assert_eq!(locators(&node, "2001:db8:b:1::/128"), ["198.51.100.66"]);
}
