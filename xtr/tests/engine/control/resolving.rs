// SPDX-License-Identifier: GPL-2.0-or-later
//! How a mapping is asked for, kept, refreshed and forgotten (RFC 9301, sections 5.3 to 5.5, and 9).

use super::smr::smr_about;
use crate::double::{Node, RESOLVER, RLOC, WithNegative, prefix, reply_to, secs};
use wire::control::{MapReply, Nonce};
use wire::record::Action;
use xtr::engine::Input;
use xtr::map_cache::{Event, Forwarding, Update};
use xtr::refusal::Refusal;

const EID: &str = "2001:db8:b::2/128";

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

pub(super) fn scan(node: &mut Node) -> usize {
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
