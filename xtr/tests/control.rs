// SPDX-License-Identifier: GPL-2.0-or-later
//! The control half in virtual time, against a Map-Server and Map-Resolver that fit in this file.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod double;

use std::time::Duration;

use double::{Node, RESOLVER, RLOC, SERVER, WithNegative, key, prefix, reply_to, secs};
use proptest::prelude::*;
use wire::address::EidPrefix;
use wire::control::auth::{self, Algorithm, TagForm};
use wire::control::{ControlMessage, MapNotify, MapReply, MapRequest, Nonce};
use wire::record::{Action, Ttl};
use xtr::database::OwnLocator;
use xtr::engine::Input;
use xtr::map_cache::{Event, Forwarding, Update};
use xtr::refusal::Refusal;
use xtr::register::limits;
use xtr::transport::{MapSystem, Via};

const EID: &str = "2001:db8:b::2/128";

// --- resolve

#[test]
fn a_miss_asks_the_resolver_in_an_ecm_and_the_answer_is_installed() {
    let mut node = Node::plain();
    let (to, request) = node.miss(EID);
    assert_eq!(to, RESOLVER);
    assert_eq!(request.records.len(), 1);
    assert_eq!(request.records[0].eid.ip_prefix(), Some(prefix(EID)));
    assert_eq!(request.itr_rlocs, [RLOC.parse::<std::net::IpAddr>().unwrap().into()]);
    node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
    let (installed, entry) = node.upsert();
    assert_eq!(installed, prefix("2001:db8:b::/48"));
    assert!(matches!(entry.forwarding, Forwarding::Locators(locators) if locators.len() == 1));
}

#[test]
fn a_reply_counts_once_and_only_for_its_nonce() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    let right = reply_to(&request, &[("2001:db8:b::/48", 1440)]);
    node.reply(&MapReply { nonce: Nonce(request.nonce.0 ^ 1), ..right.clone() });
    assert_eq!(node.refused(Refusal::ReplyUnasked), 1);
    assert_eq!(node.updates(), []);
    node.reply(&right);
    assert_eq!(node.updates().len(), 1);
    node.reply(&right);
    assert_eq!(node.refused(Refusal::ReplyUnasked), 2);
    assert_eq!(node.updates(), []);
}

#[test]
fn unanswered_requests_are_repeated_ten_times_then_the_eid_rests() {
    let mut node = Node::plain();
    node.miss(EID);
    let start = node.now;
    let mut times = Vec::new();
    while node.updates_pending().is_empty() {
        node.run_to_deadline();
        times.extend(node.requests().iter().map(|_| (node.now - start).as_secs()));
    }
    assert_eq!(times, [1, 2, 4, 6, 10, 14, 22, 30, 38, 46]);
    assert_eq!(node.updates(), [Update::Unresolved { eid: prefix(EID) }]);
    node.event(Event::Miss { eid: prefix(EID), source: "2001:db8:a::2".parse().unwrap() });
    assert_eq!(node.refused(Refusal::RequestPaused), 1);
    assert!(node.requests().is_empty());
    node.advance(secs(30));
    node.miss(EID);
}

#[test]
fn a_late_answer_to_an_earlier_try_counts() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    node.advance(secs(4));
    assert_eq!(node.requests().len(), 3);
    node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
    assert_eq!(node.updates().len(), 1);
}

#[test]
fn resolvers_take_turns_and_the_one_that_answers_is_asked_first() {
    let mut node = Node::with_resolvers(&["203.0.113.53", "203.0.113.54"]);
    assert_eq!(node.miss(EID).0, "203.0.113.53");
    node.advance(secs(1));
    let (to, request) = node.requests().remove(0);
    assert_eq!(to, "203.0.113.54");
    node.reply_from("203.0.113.54", &reply_to(&request, &[("2001:db8:b::/48", 1440)]));
    assert_eq!(node.miss("2001:db8:c::2/128").0, "203.0.113.54");
}

#[test]
fn an_eid_that_was_wanted_while_there_was_no_locator_is_asked_about_when_there_is_one() {
    let mut node = Node::plain();
    let own = node.control.database().locators().to_vec();
    node.input(Input::Locators(vec![]));
    for _ in 0..50 {
        node.event(Event::Miss { eid: prefix(EID), source: "2001:db8:a::2".parse().unwrap() });
        node.advance(secs(1));
    }
    assert!(node.requests().is_empty());
    node.input(Input::Locators(own));
    assert_eq!(node.requests().len(), 1);
    assert!(!node.updates().contains(&Update::Unresolved { eid: prefix(EID) }), "nobody was asked who could be silent");
}

#[test]
fn an_eid_that_rests_is_asked_about_when_another_locator_comes_and_once_a_second_at_most() {
    let mut node = Node::plain();
    let own = node.control.database().locators().to_vec();
    node.miss(EID);
    while node.updates_pending().is_empty() {
        node.run_to_deadline();
    }
    node.sent.clear();
    let locators = [vec![], own.clone(), vec![], own].map(Input::Locators);
    locators.into_iter().for_each(|locators| node.input(locators));
    assert_eq!(node.requests().len(), 1);
    node.advance(secs(1));
    assert_eq!(node.requests().len(), 1);
}

#[test]
fn a_map_resolver_to_which_there_is_no_way_is_passed_over() {
    let mut node = Node::with_resolvers(&["2001:db8:53::1", RESOLVER]);
    assert_eq!(node.miss(EID).0, RESOLVER);
}

#[test]
fn one_eid_is_asked_for_once_a_second_at_most() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    node.reply(&reply_to(&request, &[(EID, 0)]));
    assert!(matches!(node.updates()[..], [Update::Remove { .. }]));
    for _ in 0..100 {
        node.event(Event::Miss { eid: prefix(EID), source: "2001:db8:a::2".parse().unwrap() });
    }
    assert!(node.requests().is_empty());
    node.advance(secs(1));
    assert_eq!(node.requests().len(), 1);
}

#[test]
fn send_map_request_means_ask_again_while_packets_come() {
    let mut node = Node::plain();
    let (_, mut request) = node.miss(EID);
    let mut waits = Vec::new();
    for _ in 0..8 {
        node.reply(&reply_to(&request, &[]).with_negative(EID, Action::SendMapRequest, 1));
        assert_eq!(node.updates(), [], "packets go on waiting");
        node.event(Event::Miss { eid: prefix(EID), source: "2001:db8:a::2".parse().unwrap() });
        let asked = node.now;
        node.run_to_deadline();
        waits.push((node.now - asked).as_secs());
        request = node.requests().remove(0).1;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    node.reply(&reply_to(&request, &[]).with_negative(EID, Action::SendMapRequest, 1));
    node.advance(secs(120));
    assert!(node.requests().is_empty(), "nobody sends any more");
}

#[test]
fn negative_answers_become_their_actions_for_a_quarter_of_an_hour_at_most() {
    for action in [
        Action::NoAction,
        Action::NativelyForward,
        Action::DropNoReason,
        Action::DropPolicyDenied,
        Action::DropAuthFailure,
    ] {
        let mut node = Node::plain();
        let (_, request) = node.miss("10.100.77.2/32");
        node.reply(&reply_to(&request, &[]).with_negative("10.100.64.0/18", action, 900));
        let (installed, entry) = node.upsert();
        assert_eq!(installed, prefix("10.100.64.0/18"));
        assert_eq!(entry.forwarding, Forwarding::Negative(action));
        assert_eq!(entry.expires - node.now, secs(900));
    }
}

/// RFC 9301, section 5.5.
#[test]
fn what_comes_round_cached_parts_lives_no_longer_than_the_first_of_them() {
    let mut node = Node::plain();
    for (eid, site, minutes) in
        [("2001:db8:b:1::2/128", "2001:db8:b:1::/64", 60), ("2001:db8:b:2::2/128", "2001:db8:b:2::/64", 30)]
    {
        let (_, request) = node.miss(eid);
        node.reply(&reply_to(&request, &[(site, minutes)]));
        assert_eq!(node.upsert().1.expires - node.now, secs(60 * u64::from(minutes)), "a part has its own life");
    }
    node.advance(secs(60));
    let round = |node: &mut Node| {
        node.updates();
        let (_, request) = node.miss("2001:db8:b:3::2/128");
        node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
        let (installed, entry) = node.upsert();
        assert_eq!(installed, prefix("2001:db8:b::/48"));
        let shown: Vec<_> = node.control.map_cache(node.now).map(|(prefix, shown)| (*prefix, shown.expires)).collect();
        assert!(shown.contains(&(installed, entry.expires)), "{shown:?}");
        (entry.expires - node.now).as_secs()
    };
    assert_eq!(round(&mut node), 29 * 60);
    // It ends with the second part, and then lives as long as the first.
    node.advance(secs(29 * 60));
    assert_eq!(round(&mut node), 30 * 60);
    node.advance(secs(30 * 60));
    assert_eq!(round(&mut node), 1440 * 60, "nothing is inside any more");
}

#[test]
fn round_a_part_that_is_about_to_end_a_mapping_is_asked_for_once_more_and_is_never_absent() {
    let mut node = Node::plain();
    let (_, request) = node.miss("10.2.0.33/32");
    node.reply(&reply_to(&request, &[]).with_negative("10.2.0.32/29", Action::DropPolicyDenied, 15));
    node.advance(secs(100));
    let (_, mut request) = node.miss("10.2.0.1/32");
    let mut lives = Vec::new();
    while lives.last() != Some(&(1440 * 60)) {
        node.updates();
        node.reply(&reply_to(&request, &[("10.2.0.0/24", 1440)]));
        let (installed, entry) = node.upsert();
        let life = (entry.expires - node.now).as_secs();
        lives.push(life);
        // Used all the time, it is asked for again when four fifths of its life are over.
        node.advance(secs(life * 4 / 5));
        assert!(node.control.map_cache(node.now).any(|(known, _)| *known == installed));
        node.event(Event::Refresh { prefix: installed });
        request = node.requests().remove(0).1;
    }
    assert_eq!(lives, [800, 160, 60, 1440 * 60]);
}

#[test]
fn what_comes_with_its_parts_ends_with_the_first_of_them() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    let records = [("2001:db8:b::/48", 1440), ("2001:db8:b:1::/64", 60), ("2001:db8:b:2::/64", 90)];
    node.reply(&reply_to(&request, &records));
    let mut lives: Vec<_> = node
        .updates()
        .into_iter()
        .map(|update| match update {
            Update::Upsert { prefix, entry } => (prefix.net.to_string(), (entry.expires - node.now).as_secs() / 60),
            other => panic!("{other:?}"),
        })
        .collect();
    lives.sort();
    let expected = [("2001:db8:b:1::/64", 60), ("2001:db8:b:2::/64", 90), ("2001:db8:b::/48", 60)];
    assert_eq!(lives, expected.map(|(net, minutes)| (net.to_owned(), minutes)));
}

#[test]
fn a_mapping_ends_the_holes_inside_it_and_not_what_is_denied_there() {
    let mut node = Node::plain();
    for (eid, hole, action) in [
        ("10.2.0.9/32", "10.2.0.8/29", Action::NativelyForward),
        ("10.2.0.17/32", "10.2.0.16/29", Action::DropNoReason),
        ("10.2.0.33/32", "10.2.0.32/29", Action::DropPolicyDenied),
        ("10.2.1.9/32", "10.2.1.8/29", Action::NativelyForward),
    ] {
        let (_, request) = node.miss(eid);
        node.reply(&reply_to(&request, &[]).with_negative(hole, action, 15));
        assert_eq!(node.upsert().0, prefix(hole));
    }
    // Somebody has registered what was a hole; another part of the aggregate is still one, as the same answer says.
    let (_, request) = node.miss("10.2.0.1/32");
    let answer = reply_to(&request, &[("10.2.0.0/24", 1440)]);
    node.reply(&answer.with_negative("10.2.0.64/29", Action::NativelyForward, 15));
    let gone = node.updates().into_iter().filter_map(|update| match update {
        Update::Remove { prefix } => Some(prefix),
        _ => None,
    });
    assert_eq!(gone.collect::<Vec<_>>(), [prefix("10.2.0.8/29"), prefix("10.2.0.16/29")]);
    for still in ["10.2.0.0/24", "10.2.0.32/29", "10.2.0.64/29", "10.2.1.8/29"] {
        assert!(node.control.map_cache(node.now).any(|(known, _)| *known == prefix(still)), "{still}");
    }
}

#[test]
fn a_refresh_asks_for_the_cached_prefix_and_names_no_source() {
    let mut node = Node::plain();
    let (_, request) = node.miss("2001:db8:22::2/128");
    node.reply(&reply_to(&request, &[("2001:db8:22::/48", 5)]));
    node.updates();
    node.advance(secs(240));
    node.event(Event::Refresh { prefix: prefix("2001:db8:22::/48") });
    let (_, request) = node.requests().remove(0);
    assert_eq!(request.records[0].eid.ip_prefix(), Some(prefix("2001:db8:22::/48")));
    assert_eq!(request.source_eid, wire::address::Address::None);
    node.reply(&reply_to(&request, &[("2001:db8:20::/44", 5)]));
    let updates = node.updates();
    assert!(
        matches!(updates[0], Update::Remove { prefix: gone } if gone == prefix("2001:db8:22::/48")),
        "it has been merged"
    );
}

fn smr(source: &str) -> ControlMessage {
    ControlMessage::from(MapRequest {
        smr: true,
        source_eid: source.parse::<std::net::IpAddr>().unwrap().into(),
        itr_rlocs: vec!["198.51.100.1".parse::<std::net::IpAddr>().unwrap().into()],
        records: vec![wire::control::EidRequest { notify: false, eid: prefix("2001:db8:a::/48").into() }],
        ..MapRequest::default()
    })
}

#[test]
fn an_smr_only_makes_us_ask_about_what_is_cached_once_in_three_seconds() {
    let mut node = Node::plain();
    node.datagram("198.51.100.1:4342", &smr("2001:db8:b::2"));
    assert_eq!(node.refused(Refusal::SmrNotCached), 1);
    let (_, request) = node.miss(EID);
    node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
    node.updates();
    for _ in 0..10 {
        node.datagram("198.51.100.1:4342", &smr("2001:db8:b::2"));
    }
    let requests = node.requests();
    assert_eq!(requests.len(), 1);
    assert!(requests[0].1.smr_invoked);
    assert_eq!(requests[0].1.records[0].eid.ip_prefix(), Some(prefix("2001:db8:b::/48")));
    assert_eq!(node.refused(Refusal::SmrRateLimited), 8, "one is asked about later");
}

/// One EID of a site has moved here: what the site says of its EID-prefix holds for the addresses that were asked for, and its SMRs name the whole.
#[test]
fn an_smr_about_a_prefix_that_has_ours_in_it_is_about_what_was_narrowed_from_it() {
    // The second telling is about those that the first one had no place for, whether it comes at once or three seconds later.
    for pause in [0, 3] {
        let resolvers = vec![MapSystem::Node(RESOLVER.parse().unwrap())];
        let mut node = Node::new(&["10.1.0.7/32"], &[RLOC], vec![], resolvers);
        let narrowed: Vec<String> = (100..150).map(|host| format!("10.1.0.{host}/32")).collect();
        for host in &narrowed {
            let (_, request) = node.miss(host);
            node.reply(&reply_to(&request, &[("10.1.0.0/24", 1440)]));
            assert_eq!(node.upsert().0, prefix(host));
        }
        // What is registered by itself is told of by itself.
        let (_, other) = node.miss("10.1.0.9/32");
        node.reply(&reply_to(&other, &[("10.1.0.9/32", 1440)]));
        node.advance(secs(5));
        let asked = |node: &mut Node| {
            let record = wire::control::EidRequest { notify: false, eid: prefix("10.1.0.0/24").into() };
            let source_eid = "10.1.0.1".parse::<std::net::IpAddr>().unwrap().into();
            let smr = MapRequest { smr: true, source_eid, records: vec![record], ..request("10.1.0.0/24") };
            node.datagram("198.51.100.1:4342", &smr.into());
            let requests: Vec<MapRequest> = node.requests().into_iter().map(|(_, request)| request).collect();
            assert!(requests.iter().all(|request| request.smr_invoked));
            // Each is answered, and narrowed again.
            requests.iter().for_each(|request| node.reply(&reply_to(request, &[("10.1.0.0/24", 1440)])));
            requests.iter().map(|request| request.records[0].eid.ip_prefix().unwrap()).collect::<Vec<_>>()
        };
        let first = asked(&mut node);
        assert_eq!(first.len(), xtr::resolve::limits::SMR_RECORDS, "{first:?}");
        node.advance(secs(pause));
        let mut all = [first, asked(&mut node)].concat();
        all.sort();
        all.dedup();
        assert_eq!(all, narrowed.iter().map(|host| prefix(host)).collect::<Vec<_>>(), "{pause} s later");
        assert_eq!(node.refused(Refusal::SmrNotCached), 0);
    }
}

/// RFC 9301, section 6.1: once in three seconds. What has changed since the first answer is heard at the end of them, and not for ever.
#[test]
fn an_smr_within_three_seconds_of_another_is_asked_about_when_they_are_over() {
    let mut node = Node::plain();
    let (_, request) = node.miss(EID);
    node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
    node.advance(secs(10));
    node.updates();
    let start = node.now;
    let mut asked = Vec::new();
    for tenth in 0..100 {
        // Two that come 2.9 s apart, and one more about which nobody has been asked for three seconds.
        if [0, 29, 70].contains(&tenth) {
            node.datagram("198.51.100.1:4342", &smr("2001:db8:b::2"));
        }
        for (_, request) in node.requests() {
            assert!(request.smr_invoked);
            asked.push((node.now - start).as_millis());
            node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
        }
        node.advance(Duration::from_millis(100));
    }
    assert_eq!(asked, [0, 3000, 7000]);
    assert_eq!(node.refused(Refusal::SmrRateLimited), 0);
}

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

/// RFC 9301, section 5.2: a receiver MUST process Map-Requests of several records.
#[test]
fn every_record_of_an_smr_is_looked_at() {
    let mut node = Node::plain();
    for site in ["2001:db8:b::/48", "2001:db8:c::/48"] {
        let (_, request) = node.miss(&site.replace("/48", "2/128"));
        node.reply(&reply_to(&request, &[(site, 1440)]));
    }
    let records = ["2001:db8:c::/48", "2001:db8:b::/48", "10.77.0.0/16"];
    let record = |eid: &&str| wire::control::EidRequest { notify: false, eid: prefix(eid).into() };
    let smr = MapRequest { smr: true, records: records.iter().map(record).collect(), ..request("10.1.0.0/16") };
    node.datagram("198.51.100.1:4342", &smr.into());
    assert_eq!(node.requests().iter().filter(|(_, request)| request.smr_invoked).count(), 2);
    assert_eq!(node.refused(Refusal::SmrNotCached), 0);
}

#[test]
fn a_host_that_asks_for_what_does_not_resolve_leaves_room_for_others() {
    let mut node = Node::plain();
    let scan = |node: &mut Node, network: u8, source: &str| {
        for host in 0..2000u32 {
            let eid = format!("10.{network}.{}.{}/32", host / 250, host % 250 + 1);
            node.event(Event::Miss { eid: prefix(&eid), source: source.parse().unwrap() });
        }
        node.requests().len()
    };
    let half = xtr::resolve::limits::MISS_CONVERSATIONS / 2;
    let shares = [(200, "10.1.0.1"), (201, "10.1.0.3"), (202, "2001:db8:a::3")]
        .map(|(network, source)| scan(&mut node, network, source));
    assert_eq!(shares, [half, half / 2, half / 4]);
    let refused = (3 * 2000 - shares.iter().sum::<usize>()) as u64;
    assert_eq!((node.refused(Refusal::RequestShareFull), node.refused(Refusal::RequestTableFull)), (refused, 0));
    // Whoever sends what resolves goes on, and so does the scan when it is told that nobody answers.
    for site in 0..2000 {
        let (_, request) = node.miss(&format!("10.{}.{}.1/32", 210 + site / 250, site % 250));
        node.reply(&reply_to(&request, &[(&format!("10.{}.{}.0/24", 210 + site / 250, site % 250), 1440)]));
    }
    node.advance(secs(120));
    node.requests();
    assert_eq!(scan(&mut node, 200, "10.1.0.1"), half);
}

fn scan(node: &mut Node) -> usize {
    for host in 0..3000u32 {
        let [eid, source] = [200, 1].map(|network| format!("10.{network}.{}.{}", host / 250, host % 250 + 1));
        node.event(Event::Miss { eid: prefix(&format!("{eid}/32")), source: source.parse().unwrap() });
    }
    node.requests().len()
}

#[test]
fn a_scan_fills_what_there_is_for_packets_and_no_more() {
    let mut node = Node::plain();
    let most = xtr::resolve::limits::MISS_CONVERSATIONS;
    assert_eq!(scan(&mut node), most);
    assert_eq!(node.refused(Refusal::RequestTableFull), 3000 - most as u64);
}

#[test]
fn what_is_said_of_cached_mappings_and_their_refreshes_find_room_while_a_scan_goes_on() {
    let mut node = Node::plain();
    let sites = ["2001:db8:b::", "2001:db8:c::", "2001:db8:d::"];
    for site in sites {
        let (_, request) = node.miss(&format!("{site}2/128"));
        node.reply(&reply_to(&request, &[(&format!("{site}/48"), 1440)]));
    }
    node.advance(secs(5));
    scan(&mut node);
    let full = node.refused(Refusal::RequestTableFull);
    let asked = |node: &mut Node| {
        node.requests().iter().map(|(_, one)| one.records[0].eid.ip_prefix().unwrap().to_string()).collect::<Vec<_>>()
    };
    smr_about(&mut node, "2001:db8:b::9");
    assert_eq!(asked(&mut node), ["2001:db8:b::/48"]);
    node.event(Event::Source { eid: prefix("10.201.0.1/32"), rloc: "203.0.113.66".parse().unwrap(), is_known: false });
    assert_eq!(asked(&mut node), ["10.201.0.1/32"]);
    node.event(Event::Refresh { prefix: prefix("2001:db8:c::/48") });
    assert_eq!(asked(&mut node), ["2001:db8:c::/48"]);
    assert_eq!(node.refused(Refusal::RequestTableFull), full);
}

#[test]
fn a_packet_that_joins_a_refresh_is_told_when_nobody_answers() {
    let mut node = Node::plain();
    node.event(Event::Refresh { prefix: prefix(EID) });
    assert_eq!(node.requests().len(), 1);
    node.event(Event::Miss { eid: prefix(EID), source: "2001:db8:a::2".parse().unwrap() });
    while node.updates_pending().is_empty() {
        node.run_to_deadline();
    }
    assert_eq!(node.updates(), [Update::Unresolved { eid: prefix(EID) }]);
}

/// Silence of the map system while a mapping of a short life ends.
#[test]
fn a_refresh_that_nobody_answers_goes_on_until_the_mapping_ends_and_a_packet_then_asks_at_once() {
    for minutes in 1..=6 {
        let mut node = Node::plain();
        let (_, request) = node.miss(EID);
        node.reply(&reply_to(&request, &[(EID, minutes)]));
        let end = node.upsert().1.expires;
        node.advance(secs(u64::from(minutes) * 48));
        node.event(Event::Refresh { prefix: prefix(EID) });
        let mut last = node.now;
        while node.now < end {
            if !node.requests().is_empty() {
                last = node.now;
            }
            assert!(node.now - last < secs(15), "{minutes} min: nobody asks");
            node.advance(secs(1));
        }
        node.event(Event::Miss { eid: prefix(EID), source: "2001:db8:a::2".parse().unwrap() });
        node.advance(secs(1));
        assert_eq!(node.refused(Refusal::RequestPaused), 0, "{minutes} min");
        let (_, request) = node.requests().pop().expect("a Map-Request within a second");
        node.reply(&reply_to(&request, &[(EID, minutes)]));
        node.upsert();
    }
}

#[test]
fn a_flood_of_smrs_leaves_room_for_packets() {
    let mut node = Node::plain();
    let cached: Vec<String> = (0..600).map(|site| format!("10.{}.{}.0/24", 100 + site / 256, site % 256)).collect();
    for site in &cached {
        let (_, request) = node.miss(&site.replace(".0/24", ".1/32"));
        node.reply(&reply_to(&request, &[(site, 1440)]));
    }
    node.advance(secs(5));
    node.requests();
    for site in &cached {
        let source: std::net::IpAddr = site.replace(".0/24", ".9").parse().unwrap();
        let smr = MapRequest { smr: true, source_eid: source.into(), ..request("10.1.0.0/16") };
        node.datagram("198.51.100.9:4342", &smr.into());
    }
    let requests = node.requests();
    assert_eq!(requests.len(), xtr::resolve::limits::SMR_CONVERSATIONS);
    assert_eq!(node.refused(Refusal::RequestTableFull), 0, "the others wait");
    node.miss(EID);
    assert_eq!(scan(&mut node), xtr::resolve::limits::MISS_CONVERSATIONS - 1, "none less for packets");

    // As others are answered, those that wait are asked about, once each.
    let mut asked: Vec<_> = requests.iter().map(|(_, request)| request.records[0].eid.ip_prefix().unwrap()).collect();
    let mut open = requests;
    while !open.is_empty() {
        for (_, request) in std::mem::take(&mut open) {
            let prefix = request.records[0].eid.ip_prefix().unwrap();
            node.reply(&reply_to(&request, &[(&prefix.net.to_string(), 1440)]));
        }
        open = node.requests();
        assert!(open.len() <= xtr::resolve::limits::SMR_CONVERSATIONS && open.iter().all(|(_, one)| one.smr_invoked));
        asked.extend(open.iter().map(|(_, request)| request.records[0].eid.ip_prefix().unwrap()));
    }
    asked.sort();
    assert_eq!(asked, cached.iter().map(|site| prefix(site)).collect::<Vec<_>>());
}

fn smr_about(node: &mut Node, eid: &str) {
    let smr =
        MapRequest { smr: true, source_eid: eid.parse::<std::net::IpAddr>().unwrap().into(), ..request("10.1.0.0/16") };
    node.datagram("198.51.100.9:4342", &smr.into());
}

/// The map system is silent when an SMR comes, or has been for so long that the EID-prefix rests.
#[test]
fn what_is_said_to_have_changed_is_asked_about_until_somebody_answers() {
    for is_resting in [false, true] {
        let mut node = Node::plain();
        let (_, first) = node.miss(EID);
        node.reply(&reply_to(&first, &[("2001:db8:b::/48", 1440)]));
        node.advance(secs(5));
        if is_resting {
            node.event(Event::Refresh { prefix: prefix("2001:db8:b::/48") });
            node.advance(secs(60));
        }
        node.requests();
        smr_about(&mut node, "2001:db8:b::2");
        assert_eq!(node.requests().len(), usize::from(!is_resting));
        // Eleven tries and a rest, or what is left of it.
        node.advance(secs(if is_resting { 25 } else { 85 }));
        node.requests();
        node.advance(secs(10));
        let (_, request) = node.requests().pop().expect("it is asked on");
        assert!(request.smr_invoked);
        node.reply(&reply_to(&request, &[("2001:db8:b::/48", 1440)]));
        node.advance(secs(300));
        assert_eq!(node.requests().len(), 0, "it is known now");
    }
}

/// Whoever sends packets from the core with a new source has it looked for in time.
#[test]
fn what_is_said_to_have_changed_and_nobody_answers_for_makes_room_and_is_asked_about_in_turn() {
    let mut node = Node::plain();
    let cached: Vec<String> = (0..400).map(|site| format!("10.{}.{}.0/24", 100 + site / 256, site % 256)).collect();
    for site in &cached {
        let (_, request) = node.miss(&site.replace(".0/24", ".1/32"));
        node.reply(&reply_to(&request, &[(site, 1440)]));
    }
    node.advance(secs(5));
    node.requests();
    let tell = |node: &mut Node| cached.iter().for_each(|site| smr_about(node, &site.replace(".0/24", ".9")));
    tell(&mut node);
    // All tries, and the rest.
    node.advance(secs(100));
    tell(&mut node);
    let full = node.refused(Refusal::RequestTableFull);
    let (eid, rloc) = (prefix("10.200.0.1/32"), "203.0.113.66".parse().unwrap());
    node.event(Event::Source { eid, rloc, is_known: false });
    assert_eq!(node.refused(Refusal::RequestTableFull), full);
    node.requests();
    let mut asked = std::collections::BTreeSet::new();
    for _ in 0..700 {
        node.advance(secs(1));
        let requests = node.requests();
        asked.extend(requests.iter().map(|(_, request)| request.records[0].eid.ip_prefix().unwrap()));
    }
    assert!(cached.iter().all(|site| asked.contains(&prefix(site))), "{}", asked.len());
}

/// The rate limit for Map-Requests still holds it back then, and the map system falls silent.
#[test]
fn an_smr_within_a_second_of_an_answer_is_asked_about_until_somebody_answers() {
    let mut node = Node::plain();
    let (_, first) = node.miss(EID);
    node.reply(&reply_to(&first, &[("2001:db8:b::/48", 1440)]));
    node.advance(secs(5));
    node.event(Event::Refresh { prefix: prefix("2001:db8:b::/48") });
    let (_, refresh) = node.requests().remove(0);
    node.reply(&reply_to(&refresh, &[("2001:db8:b::/48", 1440)]));
    smr_about(&mut node, "2001:db8:b::2");
    assert_eq!(node.requests().len(), 0);
    node.advance(secs(80));
    assert!(node.requests().len() > 1);
    node.advance(secs(30));
    assert!(!node.requests().is_empty(), "it is asked on");
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

// --- register

#[test]
fn registers_are_repeated_until_confirmed_then_every_minute() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let start = node.now;
    let mut times = Vec::new();
    let mut last = Nonce(0);
    for _ in 0..8 {
        let register = node.register();
        assert!(register.1.nonce > last, "each has a greater nonce");
        last = register.1.nonce;
        times.push((node.now - start).as_secs());
        node.run_to_deadline();
    }
    assert_eq!(times, [0, 1, 3, 7, 15, 31, 63, 123]);
    let (_, register) = node.register();
    let confirmed = node.now;
    node.notify(&register, |notify| notify);
    node.run_to_deadline();
    assert_eq!(node.now - confirmed, secs(60));
    assert_eq!(node.register().1.records.len(), 2);
}

#[test]
fn each_algorithm_verifies_at_the_server() {
    let cases = [
        (Algorithm::HkdfSha256, TagForm::Truncated, 16),
        (Algorithm::HmacSha256, TagForm::Truncated, 16),
        (Algorithm::HmacSha256, TagForm::Untruncated, 32),
        (Algorithm::HmacSha1, TagForm::Untruncated, 20),
    ];
    for (algorithm, form, length) in cases {
        let mut node = Node::registering(algorithm, form);
        let (payload, register) = node.register();
        assert_eq!(register.auth.tag.len(), length);
        let accept = auth::Accept { untruncated: true, narrow_coverage: false };
        assert_eq!(auth::verify(&payload, &key(algorithm), accept), Ok(()));
        assert!(register.want_notify);
    }
}

#[test]
fn forged_and_foreign_notifies_change_nothing() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| MapNotify { nonce: Nonce(0), ..notify });
    assert_eq!(node.refused(Refusal::NotifyUnasked), 1);
    node.notify_with(
        &register,
        &auth::AuthKey { secret: auth::Secret::new("wrongkey"), ..key(Algorithm::HmacSha256) },
        |n| n,
    );
    assert_eq!(node.refused(Refusal::NotifyBadTag), 1);
    node.notify(&register, |notify| MapNotify { records: notify.records[..1].to_vec(), ..notify });
    assert_eq!(node.refused(Refusal::NotifyIncomplete), 1);
    node.advance(secs(1));
    assert_eq!(node.registers().len(), 1, "it goes on trying");
    node.notify(&register, |notify| notify);
    node.advance(secs(59));
    assert!(node.registers().is_empty(), "the answer to the first try confirms too");
    node.notify(&register, |notify| notify);
    assert_eq!(node.refused(Refusal::NotifyUnasked), 2, "once");
}

/// A Map-Server that takes longer than a second answers each of two Map-Registers, and one that has changed meanwhile.
#[test]
fn answers_that_come_late_are_not_taken_for_unasked_ones_and_each_counts_once() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Truncated);
    let (_, first) = node.register();
    node.advance(secs(1));
    let (_, second) = node.register();
    let count = |node: &Node| [Refusal::NotifyLate, Refusal::NotifyUnasked].map(|refusal| node.refused(refusal));
    node.notify(&first, |notify| notify);
    assert_eq!(count(&node), [0, 0]);
    node.notify_with(
        &second,
        &auth::AuthKey { secret: auth::Secret::new("wrongkey"), ..key(Algorithm::HmacSha256) },
        |n| n,
    );
    assert_eq!(count(&node), [0, 1], "anybody says so");
    node.notify(&second, |notify| notify);
    assert_eq!(count(&node), [1, 1]);
    node.notify(&second, |notify| notify);
    node.notify(&first, |notify| notify);
    assert_eq!(count(&node), [1, 3], "somebody says it again");
    node.advance(secs(60));
    let (_, before) = node.register();
    let locators = vec![OwnLocator::new("192.0.2.77".parse().unwrap(), 1, 100)];
    node.input(Input::Locators(locators));
    let (_, after) = node.register();
    node.notify(&before, |notify| notify);
    assert_eq!(count(&node), [2, 3]);
    let is_confirmed = |node: &Node| node.control.registrations(node.now).all(|row| row.unanswered == 0);
    assert!(!is_confirmed(&node), "that of the former locators");
    node.notify(&after, |notify| notify);
    assert!(is_confirmed(&node) && node.sent.is_empty(), "late ones are not acknowledged");
}

#[test]
fn an_answer_that_lacks_an_eid_prefix_is_an_answer_and_is_not_late_when_it_comes_again() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Truncated);
    let count = |node: &Node| [Refusal::NotifyLate, Refusal::NotifyUnasked].map(|refusal| node.refused(refusal));
    let (_, first) = node.register();
    node.notify(&first, |notify| MapNotify { records: notify.records[..1].to_vec(), ..notify });
    assert_eq!(node.refused(Refusal::NotifyIncomplete), 1);
    node.advance(limits::FIRST_RETRY);
    let (_, second) = node.register();
    node.notify(&second, |notify| notify);
    node.notify(&first, |notify| notify);
    assert_eq!(count(&node), [0, 1]);
}

#[test]
fn what_is_added_to_a_registration_is_unconfirmed_until_the_map_server_has_confirmed_it() {
    let mut node = Node::registering(Algorithm::HmacSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    // Whether each is confirmed, and whether it is changing.
    let rows = |node: &Node| -> Vec<(Vec<String>, bool, bool)> {
        let names = |prefixes: &[EidPrefix]| prefixes.iter().map(ToString::to_string).collect();
        let rows = node.control.registrations(node.now);
        rows.map(|row| (names(&row.prefixes), row.confirmed_ago.is_some(), row.changing)).collect()
    };
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let before = names(&["2001:db8:a::/48", "10.1.0.0/16"]);
    assert_eq!(rows(&node), [(before, true, false)]);
    node.input(Input::AddEid(prefix("10.9.0.0/16")));
    let (held, added) = (names(&["10.1.0.0/16", "2001:db8:a::/48"]), names(&["10.9.0.0/16"]));
    assert_eq!(rows(&node), [(held.clone(), true, false), (added.clone(), false, false)]);
    let (_, register) = node.register();
    assert_eq!(register.records.len(), 3, "one message");
    node.input(Input::Locators(vec![OwnLocator::new("192.0.2.77".parse().unwrap(), 1, 100)]));
    assert_eq!(rows(&node), [(held, true, true), (added, false, false)], "what it has it has with another locator");
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    assert_eq!(rows(&node), [(names(&["10.1.0.0/16", "10.9.0.0/16", "2001:db8:a::/48"]), true, false)]);
}

#[test]
fn a_nonce_is_on_disk_before_it_is_used() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let mut bound = node.persisted.pop().unwrap();
    for _ in 0..600 {
        for (_, register) in node.registers() {
            assert!(register.nonce <= bound);
        }
        node.run_to_deadline();
        bound = node.persisted.pop().unwrap_or(bound);
    }
}

#[test]
fn a_clean_shutdown_takes_the_registration_back() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    node.input(Input::Shutdown);
    let (_, withdrawal) = node.register();
    assert!(withdrawal.records.iter().all(|record| record.ttl == Ttl::WITHDRAWN && record.locators.is_empty()));
    assert!(!node.control.is_withdrawn());
    node.notify(&withdrawal, |notify| notify);
    assert!(node.control.is_withdrawn());
    node.advance(secs(300));
    assert!(node.registers().is_empty());
}

#[test]
fn a_change_of_locators_is_registered_at_once() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let (_, register) = node.register();
    node.notify(&register, |notify| notify);
    let moved = xtr::database::OwnLocator::new("192.0.2.77".parse().unwrap(), 1, 100);
    node.input(Input::Locators(vec![moved]));
    let (_, register) = node.register();
    assert_eq!(register.records[0].locators[0].rloc.ip(), Some(moved.address));
}

#[test]
fn what_a_map_server_has_confirmed_otherwise_than_it_is_now_is_said_to_be_changing() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let changing = |node: &Node| {
        let row = node.control.registrations(node.now).next().unwrap();
        row.confirmed_ago.map(|_| row.changing)
    };
    assert_eq!(changing(&node), None, "there is nothing that could change");
    let confirms = |node: &mut Node| {
        let (_, register) = node.register();
        node.notify(&register, |notify| notify);
    };
    confirms(&mut node);
    assert_eq!(changing(&node), Some(false));
    let another = OwnLocator::new("192.0.2.77".parse().unwrap(), 1, 100);
    node.input(Input::Locators(vec![another]));
    assert_eq!(changing(&node), Some(true));
    let (_, register) = node.register();
    node.notify(&register, |notify| MapNotify { records: notify.records[..1].to_vec(), ..notify });
    assert_eq!(changing(&node), Some(true), "not all of it");
    node.advance(limits::FIRST_RETRY);
    confirms(&mut node);
    assert_eq!(changing(&node), Some(false));
    node.advance(limits::REFRESH);
    assert_eq!(changing(&node), Some(false), "a Map-Register that is to be confirmed again says nothing new");
}

#[test]
fn many_prefixes_are_split_over_packets_of_576_octets() {
    let prefixes: Vec<String> = (0..50).map(|n| format!("10.{n}.0.0/16")).collect();
    let mut node = Node::registering_prefixes(&prefixes.iter().map(String::as_str).collect::<Vec<_>>());
    let registers = node.registers();
    assert!(registers.len() > 1);
    assert!(registers.iter().all(|(payload, _)| payload.len() + 28 <= 576));
    let mut seen: Vec<_> =
        registers.iter().flat_map(|(_, register)| &register.records).filter_map(|r| r.eid.ip_prefix()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 50);
}

#[test]
fn what_no_longer_fits_a_packet_with_more_locators_goes_on_as_several_messages() {
    let prefixes: Vec<String> = (0..18).map(|n| format!("10.{n}.0.0/16")).collect();
    let mut node = Node::registering_prefixes(&prefixes.iter().map(String::as_str).collect::<Vec<_>>());
    let (payload, register) = node.register();
    assert!(payload.len() + 28 <= 576 && register.records.len() == 18, "{}", payload.len());
    node.notify(&register, |notify| notify);
    let locators = ["192.0.2.1", "192.0.2.129", "2001:db8::1", "2001:db8::2"];
    let locators = locators.map(|text| OwnLocator::new(text.parse().unwrap(), 1, 100));
    node.input(Input::Locators(locators.to_vec()));
    for round in 0..2 {
        let registers = node.registers();
        assert!(registers.iter().all(|(payload, _)| payload.len() + 28 <= 576), "{round}");
        let records = || registers.iter().flat_map(|(_, register)| &register.records);
        assert!(records().all(|record| record.locators.len() == locators.len()));
        let mut seen: Vec<_> = records().filter_map(|record| record.eid.ip_prefix()).collect();
        seen.sort_unstable();
        assert_eq!(seen, node.control.database().prefixes(), "{round}");
        registers.iter().for_each(|(_, register)| node.notify(register, |notify| notify));
        node.advance(limits::REFRESH);
    }
    assert!(node.control.registrations(node.now).all(|row| row.confirmed_ago.is_some()));
}

#[test]
fn cgeids_are_never_registered_elsewhere() {
    let mut node = Node::registering_prefixes(&["2001:db8:a::/48", "3fff:ce1::5/128"]);
    let records: Vec<_> = node.register().1.records.iter().filter_map(|record| record.eid.ip_prefix()).collect();
    assert_eq!(records, [prefix("2001:db8:a::/48")]);
}

// --- reply

fn request(eid: &str) -> MapRequest {
    MapRequest {
        nonce: Nonce(0x0011_2233_4455_6677),
        itr_rlocs: vec!["198.51.100.1".parse::<std::net::IpAddr>().unwrap().into()],
        records: vec![wire::control::EidRequest { notify: false, eid: prefix(eid).into() }],
        ..MapRequest::default()
    }
}

#[test]
fn requests_for_our_eids_are_answered_to_the_itr_rloc_and_the_port_they_came_from() {
    let mut node = Node::plain();
    node.datagram("198.51.100.9:61000", &request("2001:db8:a::2/128").into());
    let (remote, reply) = node.reply_sent();
    assert_eq!(remote, "198.51.100.1:61000".parse().unwrap());
    assert_eq!(reply.nonce, Nonce(0x0011_2233_4455_6677));
    assert!(reply.records[0].authoritative && !reply.probe);
    assert_eq!(reply.records[0].eid.ip_prefix(), Some(prefix("2001:db8:a::/48")));
    assert!(reply.records[0].locators.iter().all(|locator| locator.local && locator.reachable && !locator.probed));
}

#[test]
fn a_forwarded_request_is_answered_to_its_inner_port() {
    let mut node = Node::plain();
    let message = ControlMessage::from(request("2001:db8:a::2/128")).encode().unwrap();
    let inner = |text: &str| text.parse().unwrap();
    let ecm = wire::control::Ecm::wrap(inner("[2001:db8:99::1]:41001"), inner("[2001:db8:a::2]:4342"), message);
    node.datagram("203.0.113.10:50000", &ControlMessage::from(ecm));
    assert_eq!(node.reply_sent().0, "198.51.100.1:41001".parse().unwrap());
}

#[test]
fn a_probe_is_answered_with_the_probed_locator_marked() {
    let mut node = Node::plain();
    node.datagram("198.51.100.1:4342", &MapRequest { probe: true, ..request("2001:db8:a::/48") }.into());
    let (_, reply) = node.reply_sent();
    assert!(reply.probe && reply.records[0].authoritative);
    let probed: Vec<_> = reply.records[0].locators.iter().filter(|l| l.probed).filter_map(|l| l.rloc.ip()).collect();
    assert_eq!(probed, [RLOC.parse::<std::net::IpAddr>().unwrap()]);
}

#[test]
fn answers_are_limited_per_receiver_and_prefix() {
    let mut node = Node::plain();
    for _ in 0..100 {
        node.datagram("198.51.100.1:4342", &request("2001:db8:a::2/128").into());
        node.datagram("198.51.100.1:4342", &MapRequest { probe: true, ..request("2001:db8:a::/48") }.into());
    }
    assert_eq!(node.replies().len(), 4 + 6);
    assert_eq!((node.refused(Refusal::RequestRateLimited), node.refused(Refusal::ProbeRateLimited)), (96, 94));
    node.datagram("198.51.100.1:4342", &request("10.1.2.3/32").into());
    assert_eq!(node.replies().len(), 1, "another prefix");
    node.advance(secs(3));
    node.datagram("198.51.100.1:4342", &request("2001:db8:a::2/128").into());
    assert_eq!(node.replies().len(), 1, "a new window");
}

#[test]
fn what_is_not_ours_or_not_to_be_answered_is_dropped_and_counted() {
    let cases = [
        (request("2001:db8:99::1/128"), Refusal::RequestNotOurs),
        (MapRequest { records: vec![], ..request("2001:db8:a::2/128") }, Refusal::RequestWithoutRecord),
        (MapRequest { dont_map_reply: true, ..request("2001:db8:a::2/128") }, Refusal::RequestWantsNoReply),
        (
            MapRequest {
                itr_rlocs: vec!["224.0.0.1".parse::<std::net::IpAddr>().unwrap().into()],
                ..request("2001:db8:a::2/128")
            },
            Refusal::RequestNoItrRloc,
        ),
    ];
    for (message, refusal) in cases {
        let mut node = Node::plain();
        let bytes = ControlMessage::from(message).encode();
        let Ok(bytes) = bytes else { continue };
        node.bytes("198.51.100.1:4342", &bytes);
        assert!(node.replies().is_empty());
        let refused = node.refused(refusal) + node.refused(Refusal::Malformed);
        assert_eq!(refused, 1, "{}", refusal.name());
    }
}

#[test]
fn a_piggybacked_record_is_not_believed() {
    let mut node = Node::plain();
    let record = reply_to(&request(EID), &[("2001:db8:b::/48", 1440)]).records.remove(0);
    node.datagram(
        "198.51.100.1:4342",
        &MapRequest { map_reply_record: Some(record), ..request("2001:db8:a::2/128") }.into(),
    );
    assert_eq!(node.replies().len(), 1);
    assert_eq!(node.updates(), []);
}

// --- anything

proptest! {
    #[test]
    fn no_datagram_panics_or_changes_state(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..16) {
        let mut node = Node::plain();
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x0f | kind << 4;
        }
        node.bytes("198.51.100.1:4342", &bytes);
        prop_assert_eq!(node.updates(), []);
    }

    #[test]
    fn no_flipped_bit_of_a_reply_installs_what_was_not_asked(bit in 0usize..8 * 60) {
        let mut node = Node::plain();
        let (_, request) = node.miss(EID);
        let mut bytes = ControlMessage::from(reply_to(&request, &[("2001:db8:b::/48", 1440)])).encode().unwrap();
        let index = bit / 8 % bytes.len();
        bytes[index] ^= 1 << (bit % 8);
        node.bytes("203.0.113.53:4342", &bytes);
        for update in node.updates() {
            let (Update::Upsert { prefix: touched, .. } | Update::Remove { prefix: touched }) = update else { panic!("{update:?}") };
            prop_assert!(touched.covers(&prefix(EID)), "{touched}");
        }
    }
}

#[test]
fn a_virtual_day_is_quiet() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    let mut registers = 0;
    let start = node.now;
    while node.now - start < Duration::from_secs(24 * 3600) {
        for (_, register) in node.registers() {
            registers += 1;
            node.notify(&register, |notify| notify);
        }
        node.run_to_deadline();
    }
    assert_eq!(registers, 24 * 60);
    assert_eq!(node.control.tally().total(), 0);
}

#[test]
fn the_server_is_spoken_to_from_and_to_the_control_port() {
    let mut node = Node::registering(Algorithm::HkdfSha256, TagForm::Truncated);
    node.collect();
    let (local, remote, _) = node.sent.remove(0);
    assert_eq!(local, RLOC.parse::<std::net::IpAddr>().unwrap());
    assert_eq!(remote, format!("{SERVER}:4342").parse().unwrap());
}
