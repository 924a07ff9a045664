// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions begin, and changes are told (RFC 9437, sections 5 and 6).

use std::net::{IpAddr, SocketAddr};

use wire::address::Address;
use wire::control::auth::{AlgorithmId, AuthKey, Authentication, Secret};
use wire::control::{ControlMessage, MapNotify, MapReply, MapRequest, XtrIdentity};
use wire::record::{Action, MappingRecord, Ttl};
use xtr::map_cache::{Event, Forwarding, Update};
use xtr::refusal::Refusal;
use xtr::subscribe::{Config, State, limits};
use xtr::transport::MapSystem;

use super::node::*;
use crate::double::{Node, RESOLVER, RLOC, WithNegative as _, prefix, reply_to, secs};

const UPLINKS: [&str; 2] = ["192.0.2.1", "192.0.2.129"];

#[test]
fn a_mapping_in_use_is_subscribed_to_with_the_n_bit_xtr_id_and_site_id() {
    let (node, request) = asking();
    assert_eq!(request.xtr_identity, Some(identity()));
    assert_eq!(request.itr_rlocs, [Address::from(RLOC.parse::<IpAddr>().unwrap())]);
    let [only] = request.records.as_slice() else { panic!("{request:?}") };
    assert_eq!((only.notify, only.eid.ip_prefix()), (true, Some(prefix(SITE))));
    assert_eq!((request.source_eid.clone(), state(&node)), (Address::None, Some(State::Asked)));
    assert!(!node.persisted.is_empty(), "the nonce was on disk first");
}

#[test]
fn the_map_notify_with_the_nonce_of_the_request_confirms_is_acknowledged_and_installed() {
    let (mut node, request) = asking();
    tell(&mut node, &notify(request.nonce.0, vec![record(SITE, &[SECOND])]));
    assert_eq!(acknowledged(&mut node), [request.nonce.0]);
    assert_eq!((state(&node), led_to(&node, "2001:db8:b::2")), (Some(State::Subscribed), vec![SECOND.to_owned()]));
    assert_eq!(node.control.tally().total(), 0);
    assert_eq!(node.control.subscription_counts().confirmed, 1);
}

/// lispers.net confirms a subscription so, with its records behind an empty tag: anybody could.
#[test]
fn a_confirmation_under_algorithm_0_is_refused_and_the_mapping_is_polled() {
    let (mut node, mut request) = asking();
    let auth = Authentication { key_id: 0, algorithm: AlgorithmId(0), tag: vec![] };
    for refused in 1..=u64::from(limits::TRIES) {
        if refused > 1 {
            request = std::iter::repeat_with(|| {
                node.run_to_deadline();
                asked(&mut node).pop()
            })
            .flatten()
            .next()
            .unwrap();
        }
        let bare = MapNotify { auth: auth.clone(), ..notify(request.nonce.0, vec![record(SITE, &[SECOND])]) };
        node.bytes(SERVER, &bare.encode().unwrap());
        assert_eq!(node.refused(Refusal::NotifyBadTag), refused);
        assert_eq!((state(&node), node.updates(), node.sent.len()), (Some(State::Asked), vec![], 0));
    }
    node.advance(secs(60));
    assert_eq!((state(&node), led_to(&node, "2001:db8:b::2")), (Some(State::Unanswered), vec![FIRST.to_owned()]));
}

#[test]
fn holes_are_not_subscribed_to_and_without_a_setting_nothing_is() {
    let mut node = subscribing(1000, vec![association(RESOLVER)]);
    let (_, request) = node.miss("2001:db8:77::2/128");
    let hole = MapReply { nonce: request.nonce, ..MapReply::default() };
    node.reply(&hole.with_negative("2001:db8:77::/48", Action::NativelyForward, 15));
    assert_eq!(requests(&mut node), []);
    let mut node = Node::plain();
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert_eq!(requests(&mut node), []);
    tell(&mut node, &notify(1 << 62, vec![record(SITE, &[SECOND])]));
    assert_eq!(node.refused(Refusal::NotifyUnasked), 1);
}

/// The same with two uplinks.
fn subscribing_from_two(config: Config) -> Node {
    subscribing_from(&UPLINKS, config)
}

fn subscribing_from(rlocs: &[&str], config: Config) -> Node {
    let resolvers = vec![MapSystem::Node(RESOLVER.parse().unwrap())];
    let mut node = Node::new(&["2001:db8:a::/48"], rlocs, vec![], resolvers);
    let plain = std::mem::replace(&mut node.control, Node::plain().control);
    node.control = plain.subscribing(node.now, config);
    node
}

/// The Map-Requests with the N-bit that were sent, from where, and to whom. Map-Notifies are to come first to where they came from.
fn asked_from(node: &mut Node) -> Vec<(IpAddr, IpAddr, MapRequest)> {
    let mut asked = Vec::new();
    for (from, to, bytes) in std::mem::take(&mut node.sent) {
        let ControlMessage::Ecm(ecm) = ControlMessage::decode(&bytes).unwrap() else { continue };
        let request = MapRequest::decode(&ecm.message).unwrap();
        if request.records[0].notify {
            assert!(request.itr_rlocs.len() >= 2 && request.itr_rlocs[0].ip() == Some(from));
            asked.push((from, to.ip(), request));
        }
    }
    asked
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_subscription_that_is_not_answered_is_asked_for_from_the_next_uplink_and_others_from_the_one_that_is() {
    let mut node = subscribing_from_two(config());
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert_eq!(asked_from(&mut node)[0].0, ip(UPLINKS[0]));
    node.advance(limits::FIRST_RETRY);
    let (from, _, again) = asked_from(&mut node).remove(0);
    assert_eq!(from, ip(UPLINKS[1]));
    let confirmation = notify(again.nonce.0, vec![record(SITE, &[FIRST])]);
    node.bytes_at(SocketAddr::new(from, 4342), SERVER, &sealed(&confirmation, &shared()));
    assert_eq!((state(&node), acknowledged(&mut node)), (Some(State::Subscribed), vec![again.nonce.0]));
    let (_, request) = node.miss("2001:db8:c::2/128");
    node.reply(&reply_to(&request, &[("2001:db8:c::/48", 1440)]));
    assert_eq!(asked_from(&mut node)[0].0, ip(UPLINKS[1]), "by the one that was answered");
    node.advance(limits::RENEW + limits::RENEW / 10);
    let of_site: Vec<_> =
        asked_from(&mut node).into_iter().filter(|(.., of)| of.records[0].eid == again.records[0].eid).collect();
    let from: Vec<_> = of_site.iter().take(2).map(|(from, ..)| *from).collect();
    assert_eq!(from, [UPLINKS[1], UPLINKS[0]].map(ip), "who tells of changes too");
}

#[test]
fn each_map_resolver_is_asked_from_each_uplink() {
    let other = "203.0.113.54";
    let way = |uplink: usize, resolver| (ip(UPLINKS[uplink]), ip(resolver));
    let dual_stack = [UPLINKS[0], UPLINKS[1], "2001:db8:1::1", "2001:db8:2::1"];
    for rlocs in [&UPLINKS[..], &dual_stack] {
        let associations = vec![association(RESOLVER), association(other)];
        let mut node = subscribing_from(rlocs, Config { associations, ..config() });
        let (_, request) = node.miss("2001:db8:b::2/128");
        node.reply(&reply_to(&request, &[(SITE, 1440)]));
        node.advance(secs(5));
        let ways: Vec<_> = asked_from(&mut node).into_iter().map(|(from, to, _)| (from, to)).collect();
        assert_eq!(ways, [way(0, RESOLVER), way(0, other), way(1, RESOLVER), way(1, other)], "{rlocs:?}");
    }
}

/// More than there are tries.
#[test]
fn of_many_map_resolvers_not_all_are_asked_before_the_other_uplink() {
    let resolvers: Vec<String> = (54..60).map(|host| format!("203.0.113.{host}")).collect();
    let associations = resolvers.iter().map(|resolver| association(resolver)).collect();
    let mut node = subscribing_from_two(Config { associations, ..config() });
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    node.advance(secs(15));
    assert_eq!(state(&node), Some(State::Unanswered));
    let ways: Vec<_> = asked_from(&mut node).into_iter().map(|(from, to, _)| (from, to)).collect();
    let from = |way: usize| ip(UPLINKS[usize::from(way > 2)]);
    let expected: Vec<_> = (0..limits::TRIES as usize).map(|way| (from(way), ip(&resolvers[way]))).collect();
    assert_eq!(ways, expected);
}

#[test]
fn a_map_notify_about_the_registered_prefix_around_it_subscribes_to_that() {
    let (mut node, request) = asking();
    let wide = "2001:db8::/33";
    tell(&mut node, &notify(request.nonce.0, vec![record(wide, &[FIRST])]));
    assert_eq!(acknowledged(&mut node), [request.nonce.0]);
    assert_eq!(node.control.subscription(&prefix("2001:db8:7::/48")), Some(State::Subscribed));
    tell(&mut node, &notify(request.nonce.0 + 1, vec![record(SITE, &[SECOND])]));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND]);
    // It covers ours, so nothing of it but what was asked for is believed.
    tell(&mut node, &notify(request.nonce.0 + 2, vec![record(wide, &[SECOND])]));
    assert_eq!(led_to(&node, "2001:db8:7::2"), Vec::<String>::new());
    assert!(node.refused(Refusal::RecordOverclaims) > 0);
}

#[test]
fn a_change_is_installed_at_once_without_any_map_request() {
    let (mut node, nonce) = subscribed();
    tell(&mut node, &notify(nonce + 1, vec![record(SITE, &[SECOND])]));
    let updates = node.updates();
    let [Update::Upsert { prefix: told, entry }] = updates.as_slice() else { panic!("{updates:?}") };
    let Forwarding::Locators(locators) = &entry.forwarding else { panic!("{entry:?}") };
    assert_eq!((*told, locators[0].address), (prefix(SITE), SECOND.parse::<IpAddr>().unwrap()));
    assert_eq!(node.sent.len(), 1, "the acknowledgement, and no request");
    assert_eq!(acknowledged(&mut node), [nonce + 1]);
    assert_eq!(node.control.subscription_counts().published, 1);
}

/// What is round a part ends with it (RFC 9301, section 5.5), whichever came first.
#[test]
fn the_packets_to_a_part_that_was_told_of_ask_again_when_it_has_ended() {
    let (mut node, nonce) = subscribed();
    let part = MappingRecord { ttl: Ttl(5), ..record(PART, &[SECOND]) };
    tell(&mut node, &notify(nonce + 1, vec![part]));
    assert_eq!(led_to(&node, "2001:db8:b:1::2"), [SECOND]);
    assert_eq!(led_to(&node, "2001:db8:b::2"), [FIRST]);
    node.advance(secs(5 * 60 + 1));
    assert_eq!(led_to(&node, "2001:db8:b:1::2"), Vec::<String>::new());
}

#[test]
fn what_is_forged_old_of_another_xtr_or_not_subscribed_to_changes_nothing_but_a_counter() {
    let (mut node, nonce) = subscribed();
    let lie = |nonce| notify(nonce, vec![record(SITE, &["198.51.100.66"])]);
    let guess = AuthKey { secret: Secret::new("a guess"), ..shared() };
    node.bytes(SERVER, &sealed(&lie(nonce + 1), &guess));
    assert_eq!(node.refused(Refusal::NotifyBadTag), 1);
    tell(&mut node, &lie(nonce - 1));
    assert_eq!(node.refused(Refusal::NotifyReplayed), 1);
    let elsewhere = notify(nonce + 1, vec![record("2001:db8:c::/48", &[FIRST])]);
    tell(&mut node, &elsewhere);
    // Beside what is subscribed to, in one message with it.
    tell(&mut node, &notify(nonce + 1, vec![record(SITE, &[SECOND]), record("2001:db8:c::/48", &[FIRST])]));
    let other = XtrIdentity { xtr_id: [8; 16], site_id: 9 };
    tell(&mut node, &MapNotify { xtr_identity: Some(other), ..lie(nonce + 1) });
    assert_eq!(node.refused(Refusal::NotifyNotSubscribed), 3);
    tell(&mut node, &farewell(nonce - 1));
    assert_eq!(node.refused(Refusal::NotifyReplayed), 2);
    assert_eq!((node.updates(), node.sent.len(), state(&node)), (vec![], 0, Some(State::Subscribed)));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [FIRST]);
    tell(&mut node, &notify(nonce + 1, vec![record(SITE, &[SECOND])]));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND], "none of them has used up a nonce");
}

#[test]
fn the_last_word_is_acknowledged_again_to_its_server_only() {
    let (mut node, nonce) = subscribed();
    let change = notify(nonce + 1, vec![record(SITE, &[SECOND])]);
    tell(&mut node, &change);
    node.updates();
    assert_eq!(acknowledged(&mut node), [nonce + 1]);
    tell(&mut node, &change);
    assert_eq!((acknowledged(&mut node), node.updates()), (vec![nonce + 1], vec![]));
    node.bytes("198.51.100.66:4342", &sealed(&change, &shared()));
    assert_eq!(node.sent.len(), 0, "nobody else is sent anything");
    assert_eq!(node.refused(Refusal::NotifyReplayed), 2);
    tell(&mut node, &notify(nonce, vec![record(SITE, &[FIRST])]));
    assert_eq!((node.sent.len(), led_to(&node, "2001:db8:b::2")), (0, vec![SECOND.to_owned()]));
}

/// A Map-Server repeats what is not acknowledged, while it tells of other EID-prefixes under later nonces.
#[test]
fn the_order_of_nonces_is_that_of_each_eid_prefix() {
    let (mut node, nonce) = subscribed();
    tell(&mut node, &notify(nonce + 2, vec![record(PART, &[SECOND])]));
    tell(&mut node, &notify(nonce + 1, vec![record(SITE, &["198.51.100.3"])]));
    assert_eq!(led_to(&node, "2001:db8:b:1::2"), [SECOND]);
    assert_eq!(led_to(&node, "2001:db8:b::2"), ["198.51.100.3"]);
    tell(&mut node, &notify(nonce + 1, vec![record(PART, &["198.51.100.3"])]));
    assert_eq!(led_to(&node, "2001:db8:b:1::2"), [SECOND], "older than what is known of it");
    for n in 0..200 {
        let part = format!("2001:db8:b:{:x}::/64", 0x100 + n);
        tell(&mut node, &notify(nonce + 10 + n, vec![record(&part, &[SECOND])]));
    }
    assert_eq!(node.refused(Refusal::NotifyReplayed), 1, "however many there are");
    tell(&mut node, &notify(nonce + 5, vec![record(SITE, &[FIRST])]));
    assert_eq!(node.refused(Refusal::NotifyReplayed), 2);
}

#[test]
fn a_change_that_overtakes_the_confirmation_is_not_undone_by_it() {
    let (mut node, nonce) = subscribed();
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let renewal = asked(&mut node).remove(0);
    assert!(renewal.nonce.0 > nonce);
    tell(&mut node, &notify(renewal.nonce.0 + 1, vec![record(SITE, &[SECOND])]));
    tell(&mut node, &notify(renewal.nonce.0, vec![record(SITE, &[FIRST])]));
    assert_eq!((led_to(&node, "2001:db8:b::2"), state(&node)), (vec![SECOND.to_owned()], Some(State::Subscribed)));
}

#[test]
fn a_withdrawn_mapping_leaves_the_map_cache_and_may_come_again() {
    let (mut node, nonce) = subscribed();
    tell(&mut node, &notify(nonce + 1, vec![gone(SITE)]));
    assert_eq!(node.updates(), [Update::Remove { prefix: prefix(SITE) }]);
    assert_eq!(acknowledged(&mut node), [nonce + 1]);
    node.advance(secs(60));
    tell(&mut node, &notify(nonce + 2, vec![record(SITE, &[SECOND])]));
    assert_eq!((led_to(&node, "2001:db8:b::2"), state(&node)), (vec![SECOND.to_owned()], Some(State::Subscribed)));
    tell(&mut node, &notify(nonce + 3, vec![gone(SITE)]));
    node.advance(limits::TEMPORARY * 2);
    assert_eq!(asked(&mut node).last().unwrap().itr_rlocs, [Address::None]);
    assert_eq!(state(&node), None, "both ends have forgotten it");
}

#[test]
fn what_is_published_is_checked_as_a_map_reply_is() {
    let (mut node, request) = asking();
    tell(&mut node, &notify(request.nonce.0, vec![record("2001:db8::/32", &[FIRST])]));
    node.updates();
    let own = record("2001:db8:a:1::/64", &[SECOND]);
    tell(&mut node, &notify(request.nonce.0 + 1, vec![own, record("2001:db8:c::/48", &[SECOND])]));
    assert_eq!(led_to(&node, "2001:db8:a:1::2"), Vec::<String>::new());
    assert_eq!(led_to(&node, "2001:db8:c::2"), [SECOND]);
    assert!(node.refused(Refusal::RecordOverclaims) > 0);
}

/// What is told of the whole cannot be taken, as ours is in it, and was acknowledged.
#[test]
fn a_change_of_a_prefix_that_has_ours_in_it_is_asked_about_where_it_was_narrowed() {
    let (wide, hosts) = ("2001:db8::/33", ["2001:db8:7::2", "2001:db8:b::2"]);
    let (mut node, mut nonce) = (subscribing(1000, vec![association(RESOLVER)]), 0);
    for host in hosts {
        let (_, request) = node.miss(&format!("{host}/128"));
        node.reply(&reply_to(&request, &[(wide, 1440)]));
        for asked in asked(&mut node) {
            nonce = asked.nonce.0;
            tell(&mut node, &notify(nonce, vec![record(wide, &[FIRST])]));
        }
        node.advance(secs(5));
        node.sent.clear();
    }
    assert_eq!(node.control.subscription(&prefix(wide)), Some(State::Subscribed));
    let change = |node: &mut Node, nonce, rloc| {
        tell(node, &notify(nonce, vec![record(wide, &[rloc])]));
        requests(node)
    };
    assert_eq!(change(&mut node, nonce + 1, FIRST), [], "it is as it was");
    let asked = change(&mut node, nonce + 2, SECOND);
    let mut about: Vec<_> = asked.iter().map(|request| request.records[0].eid.ip_prefix().unwrap()).collect();
    about.sort();
    assert_eq!(about, hosts.map(|host| prefix(&format!("{host}/128"))));
    for request in asked {
        let reply = MapReply { nonce: request.nonce, records: vec![record(wide, &[SECOND])], ..MapReply::default() };
        node.reply(&reply);
    }
    assert_eq!(hosts.map(|host| led_to(&node, host)), [vec![SECOND.to_owned()], vec![SECOND.to_owned()]]);
}
