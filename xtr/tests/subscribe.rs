// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions to mappings (RFC 9437) as an xTR has them, in virtual time; the test plays the Map-Server.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod double;
#[path = "../../program/tests/support/log.rs"]
mod log;

use std::net::{IpAddr, SocketAddr};

use double::{Node, RESOLVER, RLOC, WithNegative as _, key, prefix, reply_to, secs};
use log::logged;
use proptest::prelude::*;
use wire::address::Address;
use wire::control::auth::{self, Accept, Algorithm, AuthKey, Secret, TagForm};
use wire::control::{ControlMessage, MapNotify, MapReply, MapRequest, Nonce, XtrIdentity};
use wire::record::{Action, MappingRecord, Ttl};
use xtr::database::OwnLocator;
use xtr::engine::{Input, Output};
use xtr::map_cache::{Event, Forwarding, Update};
use xtr::refusal::Refusal;
use xtr::subscribe::{Association, Config, Configured, State, limits};
use xtr::transport::{Destination, MapSystem};

const SITE: &str = "2001:db8:b::/48";
const PART: &str = "2001:db8:b:1::/64";
const SERVER: &str = "203.0.113.53:4342";
const FIRST: &str = "198.51.100.1";
const SECOND: &str = "198.51.100.2";

fn identity() -> XtrIdentity {
    XtrIdentity { xtr_id: [7; 16], site_id: 9 }
}

fn shared() -> AuthKey {
    AuthKey { id: 5, algorithm: Algorithm::HkdfSha256, secret: Secret::new("between xTR and Map-Server") }
}

fn association(resolver: &str) -> Association {
    Association { resolver: MapSystem::Node(resolver.parse().unwrap()), key: shared(), tag: TagForm::Truncated }
}

/// A node that subscribes, with these numbers behind it.
fn subscribing(floor: u64, associations: Vec<Association>) -> Node {
    with(Config { nonce_floor: Nonce(floor), associations, ..config() })
}

fn config() -> Config {
    Config {
        identity: identity(),
        associations: vec![association(RESOLVER)],
        nonce_floor: Nonce(1000),
        seed: [3; 32],
        configured: vec![],
        takes_unsubscribed: false,
    }
}

fn with(config: Config) -> Node {
    let mut node = Node::plain();
    let plain = std::mem::replace(&mut node.control, Node::plain().control);
    node.control = plain.subscribing(node.now, config);
    node
}

/// One that the operators have subscribed to the site after this nonce.
fn configured(nonce: u64) -> Config {
    Config { configured: vec![Configured { prefix: prefix(SITE), nonce, association: 0 }], ..config() }
}

/// One that takes what it has not subscribed to.
fn taking() -> Config {
    Config { takes_unsubscribed: true, ..config() }
}

/// The same node after a restart, with what it has put on disk.
fn again(node: &Node, config: Config) -> Node {
    let mut later = with(config);
    let plain = std::mem::replace(&mut later.control, Node::plain().control);
    later.control = plain.having_been_told(later.now, node.told.clone());
    later
}

/// The node, which has the mapping of a site, and the Map-Request by which it subscribes to that.
fn asking() -> (Node, MapRequest) {
    let mut node = subscribing(1000, vec![association(RESOLVER)]);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    let asked = asked(&mut node);
    assert_eq!(asked.len(), 1, "{asked:?}");
    node.updates();
    (node, asked[0].clone())
}

/// The node, subscribed, and its last nonce.
fn subscribed() -> (Node, u64) {
    let (mut node, asked) = asking();
    let confirmation = notify(asked.nonce.0, vec![record(SITE, &[FIRST])]);
    tell(&mut node, &confirmation);
    assert_eq!(acknowledged(&mut node), [asked.nonce.0]);
    node.updates();
    (node, asked.nonce.0)
}

/// The Map-Requests with the N-bit that were sent, out of their ECMs; all else that was sent is dropped.
fn asked(node: &mut Node) -> Vec<MapRequest> {
    requests(node).into_iter().filter(|request| request.records[0].notify).collect()
}

/// All Map-Requests that were sent.
fn requests(node: &mut Node) -> Vec<MapRequest> {
    let sent = std::mem::take(&mut node.sent);
    let inner = |(_, _, bytes): &(IpAddr, SocketAddr, Vec<u8>)| match ControlMessage::decode(bytes).unwrap() {
        ControlMessage::Ecm(ecm) => Some(MapRequest::decode(&ecm.message).unwrap()),
        _ => None,
    };
    sent.iter().filter_map(inner).collect()
}

/// The nonces of the Map-Notify-Acks that were sent to the Map-Server; their tags verify.
fn acknowledged(node: &mut Node) -> Vec<u64> {
    let sent = std::mem::take(&mut node.sent);
    let nonce = |(_, remote, bytes): &(IpAddr, SocketAddr, Vec<u8>)| match ControlMessage::decode(bytes).unwrap() {
        ControlMessage::MapNotifyAck(ack) => {
            assert_eq!(auth::verify(bytes, &shared(), Accept::STRICT), Ok(()));
            assert_eq!(remote.to_string(), SERVER);
            Some(ack.nonce.0)
        }
        _ => None,
    };
    sent.iter().filter_map(nonce).collect()
}

fn record(eid: &str, rlocs: &[&str]) -> MappingRecord {
    let mut record = reply_to(&MapRequest::default(), &[(eid, 1440)]).records.remove(0);
    let locator = record.locators.remove(0);
    let with = |rloc: &&str| wire::record::LocatorRecord {
        rloc: Address::from(rloc.parse::<IpAddr>().unwrap()),
        ..locator.clone()
    };
    record.locators = rlocs.iter().map(with).collect();
    record.authoritative = false;
    record
}

fn gone(eid: &str) -> MappingRecord {
    MappingRecord { ttl: Ttl::WITHDRAWN, action: Action::NativelyForward, ..record(eid, &[]) }
}

fn farewell(nonce: u64) -> MapNotify {
    notify(nonce, vec![MappingRecord { action: Action::DropAuthFailure, ttl: Ttl(1), ..record(SITE, &[]) }])
}

fn notify(nonce: u64, records: Vec<MappingRecord>) -> MapNotify {
    MapNotify { nonce: Nonce(nonce), records, ..MapNotify::default() }
}

fn sealed(message: &MapNotify, key: &AuthKey) -> Vec<u8> {
    auth::seal(&ControlMessage::MapNotify(message.clone()), key, TagForm::Truncated).unwrap()
}

fn tell(node: &mut Node, message: &MapNotify) {
    node.bytes(SERVER, &sealed(message, &shared()));
}

fn state(node: &Node) -> Option<State> {
    node.control.subscription(&prefix(SITE))
}

/// The locators that packets to a host of the site go to.
fn led_to(node: &Node, host: &str) -> Vec<String> {
    let found = node.control.mapping_for(node.now, prefix(SITE).iid, host.parse().unwrap());
    found.map_or(vec![], |(_, mapping)| mapping.locators.iter().map(|(address, _)| address.to_string()).collect())
}

// --- beginning

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

// --- changes

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

// --- keeping

#[test]
fn a_request_is_repeated_with_rising_nonces_and_then_the_mapping_is_polled() {
    let (mut node, first) = asking();
    let mut nonces = vec![first.nonce.0];
    node.advance(secs(60));
    nonces.extend(asked(&mut node).iter().map(|request| request.nonce.0));
    assert_eq!(nonces.len(), limits::TRIES as usize);
    assert!(nonces.is_sorted_by(|a, b| a < b), "{nonces:?}");
    assert_eq!(state(&node), Some(State::Unanswered));
    tell(&mut node, &notify(nonces[1], vec![record(SITE, &[SECOND])]));
    assert_eq!(node.refused(Refusal::NotifyNotSubscribed), 1, "too late");
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let polled = requests(&mut node);
    assert_eq!((polled.len(), polled[0].records[0].notify), (1, false));
    node.advance(limits::FIRST_PAUSE);
    assert_eq!(asked(&mut node)[0].nonce.0, nonces.last().unwrap() + 1, "one more than the last (RFC 9437, section 5)");
}

#[test]
fn a_late_confirmation_of_an_earlier_try_counts() {
    let (mut node, first) = asking();
    node.advance(secs(2));
    assert!(!asked(&mut node).is_empty());
    tell(&mut node, &notify(first.nonce.0, vec![record(SITE, &[SECOND])]));
    assert_eq!((state(&node), led_to(&node, "2001:db8:b::2")), (Some(State::Subscribed), vec![SECOND.to_owned()]));
}

#[test]
fn resolvers_take_turns_and_one_answers_under_its_own_association() {
    let other = AuthKey { id: 6, ..key(Algorithm::HmacSha256) };
    let second = Association { key: other.clone(), ..association("203.0.113.54") };
    let mut node = subscribing(1000, vec![association(RESOLVER), second]);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    node.sent.clear();
    node.advance(secs(1));
    let (_, to, _) = node.sent[0].clone();
    assert_eq!(to.ip().to_string(), "203.0.113.54");
    let again = asked(&mut node).remove(0);
    let confirmation = notify(again.nonce.0, vec![record(SITE, &[SECOND])]);
    tell(&mut node, &confirmation);
    assert_eq!((node.refused(Refusal::NotifyBadTag), state(&node)), (1, Some(State::Asked)));
    node.bytes("203.0.113.54:4342", &sealed(&confirmation, &other));
    assert_eq!(state(&node), Some(State::Subscribed));
}

/// A node that subscribes behind two Map-Resolvers, the key of the second, and the first two Map-Requests.
fn asking_both() -> (Node, AuthKey, [MapRequest; 2]) {
    let other = AuthKey { id: 6, ..key(Algorithm::HmacSha256) };
    let second = Association { key: other.clone(), ..association("203.0.113.54") };
    let mut node = subscribing(1000, vec![association(RESOLVER), second]);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    let first = asked(&mut node).remove(0);
    node.advance(secs(1));
    let second = asked(&mut node).remove(0);
    (node, other, [first, second])
}

#[test]
fn a_late_answer_is_held_against_the_key_of_who_was_asked() {
    let (mut node, other, [first, _]) = asking_both();
    let confirmation = notify(first.nonce.0, vec![record(SITE, &[FIRST])]);
    node.bytes(SERVER, &sealed(&confirmation, &other));
    assert_eq!((node.refused(Refusal::NotifyBadTag), state(&node)), (1, Some(State::Asked)));
    tell(&mut node, &confirmation);
    assert_eq!((acknowledged(&mut node), state(&node)), (vec![first.nonce.0], Some(State::Subscribed)));
    tell(&mut node, &notify(first.nonce.0 + 1, vec![record(SITE, &[SECOND])]));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND], "it is this one that tells");
}

#[test]
fn who_tells_of_changes_is_asked_to_go_on_and_heard_meanwhile() {
    let (mut node, other, [_, second]) = asking_both();
    let teller = "203.0.113.54:4342";
    node.bytes(teller, &sealed(&notify(second.nonce.0, vec![record(SITE, &[FIRST])]), &other));
    node.sent.clear();
    node.event(Event::Refresh { prefix: prefix(SITE) });
    node.advance(secs(2));
    let to: Vec<String> = node.sent.iter().map(|(_, to, _)| to.to_string()).collect();
    assert!(to.len() > 1 && to.iter().all(|to| to == teller), "{to:?}");
    node.bytes(teller, &sealed(&notify(second.nonce.0 + 1, vec![record(SITE, &[SECOND])]), &other));
    assert_eq!((node.refused(Refusal::NotifyBadTag), led_to(&node, "2001:db8:b::2")), (0, vec![SECOND.to_owned()]));
}

#[test]
fn a_map_reply_instead_means_that_the_mapping_is_polled() {
    for (action, becomes) in [(Action::NoAction, State::Refused), (Action::DropPolicyDenied, State::Denied)] {
        let (mut node, asked_for) = asking();
        let reply = MapReply { nonce: asked_for.nonce, ..MapReply::default() };
        node.reply(&reply.with_negative(SITE, action, 1));
        assert_eq!((state(&node), node.updates()), (Some(becomes), vec![]));
        assert_eq!(led_to(&node, "2001:db8:b::2"), [FIRST], "an answer to that is none to a question");
        node.event(Event::Refresh { prefix: prefix(SITE) });
        assert!(!requests(&mut node)[0].records[0].notify);
        let mut times = Vec::new();
        for minute in 0..60 {
            node.advance(secs(60));
            for again in asked(&mut node) {
                times.push(minute);
                let reply = MapReply { nonce: again.nonce, ..MapReply::default() };
                node.reply(&reply.with_negative(SITE, action, 1));
            }
        }
        assert_eq!(times, [4, 14, 34], "it is tried again, ever more seldom");
    }
}

#[test]
fn a_subscription_that_its_server_has_ended_is_asked_for_again_and_polled_meanwhile() {
    let (mut node, nonce) = subscribed();
    tell(&mut node, &farewell(nonce));
    let polled = requests(&mut node);
    assert_eq!((polled.len(), polled[0].records[0].notify), (1, false));
    assert_eq!(state(&node), Some(State::Asked));
    tell(&mut node, &farewell(nonce));
    assert_eq!(node.refused(Refusal::NotifyNotSubscribed), 1, "it has said so");
    node.advance(secs(1));
    let again = asked(&mut node).remove(0);
    assert_eq!(again.nonce.0, nonce + 1);
    tell(&mut node, &notify(again.nonce.0, vec![record(SITE, &[FIRST])]));
    tell(&mut node, &farewell(nonce));
    assert_eq!(state(&node), Some(State::Subscribed), "an old end ends nothing");
    assert_eq!(node.control.subscription_counts().ended, 1);
    let mut last = again.nonce.0;
    let mut waits = Vec::new();
    for _ in 0..4 {
        tell(&mut node, &farewell(last));
        node.sent.clear();
        let ended = node.now;
        let again = loop {
            node.run_to_deadline();
            if let Some(again) = asked(&mut node).pop() {
                break again;
            }
        };
        waits.push((node.now - ended).as_secs());
        last = again.nonce.0;
        tell(&mut node, &notify(last, vec![record(SITE, &[FIRST])]));
    }
    assert_eq!(waits, [2, 4, 8, 16], "one that goes on to end it is not asked ever faster");
}

#[test]
fn a_silent_subscription_is_renewed_and_one_that_is_gone_polled() {
    let (mut node, nonce) = subscribed();
    node.advance(limits::RENEW * 9 / 10 - secs(1));
    assert_eq!(asked(&mut node), []);
    node.advance(limits::RENEW / 5 + secs(1));
    let renewal = asked(&mut node);
    assert_eq!(renewal[0].nonce.0, nonce + 1);
    node.advance(secs(60));
    let polled = requests(&mut node).into_iter().filter(|request| !request.records[0].notify).count();
    assert!(polled > 0 && state(&node) == Some(State::Unanswered));
}

#[test]
fn a_mapping_in_use_is_renewed_by_its_subscription_and_not_polled() {
    let (mut node, nonce) = subscribed();
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let renewal = requests(&mut node);
    assert_eq!((renewal.len(), renewal[0].records[0].notify, renewal[0].nonce.0), (1, true, nonce + 1));
    tell(&mut node, &notify(nonce + 1, vec![record(SITE, &[SECOND])]));
    let (_, entry) = node.upsert();
    assert!(entry.expires >= node.now + secs(86_400));
}

#[test]
fn one_that_nobody_uses_is_given_back() {
    let mut node = subscribing(1000, vec![association(RESOLVER)]);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 2)]));
    let subscription = asked(&mut node).remove(0);
    let short = MappingRecord { ttl: Ttl(2), ..record(SITE, &[FIRST]) };
    tell(&mut node, &notify(subscription.nonce.0, vec![short]));
    node.sent.clear();
    node.advance(secs(121));
    let leaving = asked(&mut node).remove(0);
    assert_eq!((leaving.itr_rlocs.as_slice(), leaving.nonce.0), ([Address::None].as_slice(), subscription.nonce.0 + 1));
    assert_eq!((leaving.xtr_identity, state(&node)), (Some(identity()), Some(State::Leaving)));
    tell(&mut node, &notify(leaving.nonce.0, vec![gone(SITE)]));
    assert_eq!((acknowledged(&mut node), state(&node)), (vec![leaving.nonce.0], None));
    node.advance(secs(600));
    assert_eq!(asked(&mut node), []);
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 2)]));
    assert!(asked(&mut node)[0].nonce.0 > leaving.nonce.0, "a Map-Server remembers the last one");
}

#[test]
fn renewals_alone_keep_no_mapping_that_nobody_uses() {
    let (mut node, _) = subscribed();
    let (start, mut left) = (node.now, None);
    while node.control.next_deadline().is_some_and(|deadline| deadline < start + secs(3 * 86_400)) {
        node.run_to_deadline();
        for request in asked(&mut node) {
            if request.itr_rlocs == [Address::None] {
                left = left.or(Some(node.now - start));
            }
            tell(&mut node, &notify(request.nonce.0, vec![record(SITE, &[FIRST])]));
        }
    }
    assert_eq!(left.map(|left| left.as_secs()), Some(86_400));
    assert!(node.control.subscription_counts().confirmed > 90, "asked for again every quarter of an hour");
    assert_eq!((state(&node), led_to(&node, "2001:db8:b::2")), (None, vec![]));
}

#[test]
fn a_renewal_that_says_something_else_is_installed() {
    let (mut node, _) = subscribed();
    let renewal = loop {
        node.run_to_deadline();
        if let Some(renewal) = asked(&mut node).pop() {
            break renewal;
        }
    };
    tell(&mut node, &notify(renewal.nonce.0, vec![record(SITE, &[SECOND])]));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND], "a Map-Notify was lost");
}

#[test]
fn who_does_not_confirm_an_end_is_left_all_the_same() {
    let (mut node, nonce) = subscribed();
    tell(&mut node, &notify(nonce + 1, vec![gone(SITE)]));
    node.advance(limits::TEMPORARY * 2);
    let ends = asked(&mut node).into_iter().filter(|request| request.itr_rlocs == [Address::None]).count();
    assert_eq!((ends, state(&node)), (limits::LEAVING_TRIES as usize, None));
}

#[test]
fn the_map_server_hears_of_new_locators() {
    let (mut node, nonce) = subscribed();
    let moved = OwnLocator { address: "192.0.2.77".parse().unwrap(), priority: 1, weight: 100 };
    node.input(Input::Locators(vec![moved]));
    let request = asked(&mut node).remove(0);
    assert_eq!((request.itr_rlocs, request.nonce.0), (vec![Address::from(moved.address)], nonce + 1));
}

#[test]
fn another_key_is_taken_over_and_who_was_not_understood_is_asked_anew() {
    let newer = AuthKey { id: 6, secret: Secret::new("renewed"), ..shared() };
    let take = |node: &mut Node| {
        let subscriptions = vec![Association { key: newer.clone(), ..association(RESOLVER) }];
        let resolvers = vec![MapSystem::Node(RESOLVER.parse().unwrap())];
        node.input(Input::MapSystems { servers: vec![], resolvers, subscriptions });
    };
    let (mut node, nonce) = subscribed();
    take(&mut node);
    assert_eq!(asked(&mut node), [], "a subscription goes on");
    tell(&mut node, &notify(nonce + 1, vec![record(SITE, &[SECOND])]));
    assert_eq!((node.refused(Refusal::NotifyBadTag), led_to(&node, "2001:db8:b::2")), (1, vec![FIRST.to_owned()]));
    node.bytes(SERVER, &sealed(&notify(nonce + 1, vec![record(SITE, &[SECOND])]), &newer));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND]);

    let (mut node, _) = asking();
    node.advance(secs(60));
    node.sent.clear();
    assert_eq!(state(&node), Some(State::Unanswered));
    take(&mut node);
    let again = asked(&mut node).remove(0);
    node.bytes(SERVER, &sealed(&notify(again.nonce.0, vec![record(SITE, &[SECOND])]), &newer));
    assert_eq!(state(&node), Some(State::Subscribed));
}

// --- nonces and bounds

#[test]
fn nonces_are_on_disk_before_they_are_used_and_rise_over_a_restart() {
    let mut node = subscribing(1000, vec![association(RESOLVER)]);
    node.persisted.clear();
    let (_, request) = node.miss("2001:db8:b::2/128");
    let reply = ControlMessage::from(reply_to(&request, &[(SITE, 1440)])).encode().unwrap();
    let via =
        xtr::transport::Via::Socket { local: format!("{RLOC}:4342").parse().unwrap(), remote: SERVER.parse().unwrap() };
    node.control.handle(node.now, Input::Datagram { via, bytes: &reply });
    let mut bound = None;
    let mut used = 0;
    while let Some(output) = node.control.poll() {
        match output {
            Output::PersistNonce(nonce) => bound = Some(nonce),
            Output::Send(outgoing) if matches!(outgoing.to, Destination::Socket { .. }) => {
                let Ok(ControlMessage::Ecm(ecm)) = ControlMessage::decode(&outgoing.bytes) else { continue };
                let request = MapRequest::decode(&ecm.message).unwrap();
                if request.records[0].notify {
                    assert!(bound.is_some(), "not yet on disk");
                    used = request.nonce.0;
                }
            }
            _ => {}
        }
    }
    // The Map-Server counts far beyond what the node has asked with, and that is noted too.
    let far = used + (1 << 30);
    tell(&mut node, &notify(used, vec![record(SITE, &[FIRST])]));
    tell(&mut node, &notify(far, vec![record(SITE, &[SECOND])]));
    let floor = node.persisted.last().unwrap().0;
    assert!(floor > bound.unwrap().0);
    let mut later = subscribing(floor, vec![association(RESOLVER)]);
    let (_, request) = later.miss("2001:db8:b::2/128");
    later.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert!(asked(&mut later)[0].nonce.0 > far);
}

#[test]
fn subscriptions_have_a_bound_and_a_pace_and_what_is_beyond_is_polled() {
    let beyond = limits::SUBSCRIPTIONS + 3;
    let mut node = subscribing(1000, vec![association(RESOLVER)]);
    let mut at_once = 0;
    for site in 0..beyond {
        let eid = format!("10.{}.{}.1/32", 100 + site / 250, site % 250);
        node.event(Event::Miss { eid: prefix(&eid), source: "10.1.0.2".parse().unwrap() });
        let sent = requests(&mut node);
        at_once += sent.iter().filter(|request| request.records[0].notify).count();
        let request = sent.into_iter().find(|request| !request.records[0].notify).unwrap();
        node.reply(&reply_to(&request, &[(eid.as_str(), 1440)]));
    }
    at_once += asked(&mut node).len();
    assert_eq!(at_once, limits::REQUESTS_PER_SECOND as usize);
    assert_eq!(node.refused(Refusal::SubscriptionTableFull), 3);
    assert_eq!(node.control.map_cache(node.now).count(), beyond);
    node.advance(secs(10));
    assert!(asked(&mut node).len() <= 11 * limits::REQUESTS_PER_SECOND as usize);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_octet_makes_a_map_notify_none(at: prop::sample::Index, bit in 0..8u32, length: prop::sample::Index) {
        let (mut node, nonce) = subscribed();
        let whole = sealed(&notify(nonce + 1, vec![record(SITE, &[SECOND]), record(PART, &[SECOND])]), &shared());
        let mut changed = whole.clone();
        changed[at.index(whole.len())] ^= 1 << bit;
        node.bytes(SERVER, &changed);
        node.bytes(SERVER, &whole[..length.index(whole.len())]);
        prop_assert_eq!(led_to(&node, "2001:db8:b::2"), vec![FIRST.to_owned()]);
        prop_assert_eq!((node.updates(), state(&node)), (vec![], Some(State::Subscribed)));
    }
}

// --- what is told unasked

#[test]
fn a_configured_subscription_takes_what_is_above_its_first_nonce_and_asks_for_nothing() {
    let mut node = with(configured(40));
    assert_eq!(state(&node), Some(State::Configured));
    for old in [39, 40] {
        tell(&mut node, &notify(old, vec![record(SITE, &[FIRST])]));
    }
    assert_eq!((node.refused(Refusal::NotifyReplayed), node.sent.len()), (2, 0));
    tell(&mut node, &notify(41, vec![record(SITE, &[FIRST])]));
    assert_eq!((acknowledged(&mut node), led_to(&node, "2001:db8:b::2")), (vec![41], vec![FIRST.to_owned()]));
    tell(&mut node, &notify(42, vec![record(SITE, &[SECOND]), record(PART, &[FIRST])]));
    assert_eq!((acknowledged(&mut node), led_to(&node, "2001:db8:b::2")), (vec![42], vec![SECOND.to_owned()]));
    tell(&mut node, &notify(42, vec![record(SITE, &[SECOND]), record(PART, &[FIRST])]));
    assert_eq!(acknowledged(&mut node), [42], "the Map-Server has not heard the acknowledgement");
    let forged = AuthKey { secret: Secret::new("a guess"), ..shared() };
    node.bytes(SERVER, &sealed(&notify(43, vec![record(SITE, &[FIRST])]), &forged));
    tell(&mut node, &notify(43, vec![record("2001:db8:c::/48", &[FIRST])]));
    assert_eq!((node.refused(Refusal::NotifyBadTag), led_to(&node, "2001:db8:b::2")), (1, vec![SECOND.to_owned()]));
    assert_eq!(led_to(&node, "2001:db8:c::2"), Vec::<String>::new());
    node.advance(limits::RENEW * 10);
    assert_eq!((asked(&mut node), state(&node)), (vec![], Some(State::Configured)), "neither renewed nor given back");
}

#[test]
fn a_mapping_of_a_configured_subscription_is_asked_for_as_any_other_and_never_with_the_n_bit() {
    let mut node = with(configured(40));
    let (_, request) = node.miss("2001:db8:b::2/128");
    node.reply(&reply_to(&request, &[(SITE, 1440)]));
    assert_eq!((requests(&mut node), state(&node)), (vec![], Some(State::Configured)));
    node.advance(secs(5));
    node.event(Event::Refresh { prefix: prefix(SITE) });
    let polled = requests(&mut node);
    assert_eq!((polled.len(), polled[0].records[0].notify), (1, false));
}

#[test]
fn the_last_nonce_of_a_configured_subscription_outlives_a_restart_and_never_falls_under_one_key() {
    let mut node = with(configured(40));
    tell(&mut node, &notify(41, vec![record(SITE, &[FIRST])]));
    assert!(!node.told.is_empty());
    for (first, next) in [(40, 42), (7, 42), (1000, 1001)] {
        let mut later = again(&node, configured(first));
        tell(&mut later, &notify(next - 1, vec![record(SITE, &[SECOND])]));
        assert_eq!((later.refused(Refusal::NotifyReplayed), later.updates()), (1, vec![]), "{first}");
        tell(&mut later, &notify(next, vec![record(SITE, &[SECOND])]));
        assert_eq!(led_to(&later, "2001:db8:b::2"), [SECOND], "{first}");
    }
    let other = AuthKey { id: 6, ..shared() };
    let renewed =
        Config { associations: vec![Association { key: other.clone(), ..association(RESOLVER) }], ..configured(7) };
    let mut later = again(&node, renewed);
    later.bytes(SERVER, &sealed(&notify(8, vec![record(SITE, &[SECOND])]), &other));
    assert_eq!(led_to(&later, "2001:db8:b::2"), [SECOND], "under another key nonces begin anew");
}

#[test]
fn when_a_configured_subscription_rests_its_mapping_is_asked_for_once() {
    let mut node = with(configured(40));
    tell(&mut node, &notify(41, vec![record(SITE, &[FIRST])]));
    node.advance(secs(5));
    node.sent.clear();
    for _ in 0..3 {
        tell(&mut node, &farewell(41));
    }
    let polled = requests(&mut node);
    assert_eq!((polled.len(), polled[0].records[0].notify, state(&node)), (1, false, Some(State::Configured)));
    assert_eq!(node.refused(Refusal::NotifyReplayed), 2);
    tell(&mut node, &notify(42, vec![record(SITE, &[SECOND])]));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [SECOND], "it is heard again");
}

#[test]
fn a_second_end_with_a_higher_nonce_is_no_replay() {
    let mut node = with(configured(40));
    tell(&mut node, &notify(41, vec![record(SITE, &[FIRST])]));
    // Under the second one is asked for again: what was told in between did not come.
    for (nonce, polls, replays) in [(41, 1, false), (43, 1, false), (43, 0, true), (42, 0, true)] {
        node.advance(secs(60));
        node.sent.clear();
        let lines = logged(|| tell(&mut node, &farewell(nonce)));
        let replayed = lines.iter().any(|line| line.contains("replayed"));
        let polled = requests(&mut node);
        assert_eq!((polled.len(), replayed), (polls, replays), "{nonce}");
        polled.iter().for_each(|request| node.reply(&reply_to(request, &[(SITE, 1440)])));
    }
    assert_eq!((node.refused(Refusal::NotifyReplayed), node.control.subscription_counts().ended), (2, 2));
    let mut later = again(&node, configured(40));
    tell(&mut later, &notify(43, vec![record(SITE, &[SECOND])]));
    assert_eq!(later.refused(Refusal::NotifyReplayed), 1, "its nonce is remembered");
}

#[test]
fn what_is_not_subscribed_to_is_taken_only_where_that_is_set() {
    let told = notify(7, vec![record(SITE, &[FIRST])]);
    let mut node = with(config());
    tell(&mut node, &told);
    assert_eq!((state(&node), led_to(&node, "2001:db8:b::2"), node.sent.len()), (None, vec![], 0));
    assert_eq!(node.refused(Refusal::NotifyUnasked), 1);
    let mut node = with(taking());
    tell(&mut node, &told);
    assert_eq!((acknowledged(&mut node), state(&node)), (vec![7], Some(State::Unasked)));
    assert_eq!(led_to(&node, "2001:db8:b::2"), [FIRST]);
    node.updates();
    tell(&mut node, &notify(6, vec![record(SITE, &[SECOND])]));
    assert_eq!((node.refused(Refusal::NotifyReplayed), node.updates()), (1, vec![]));
    // Under no key of ours, and about what is ours.
    let guess = AuthKey { secret: Secret::new("a guess"), ..shared() };
    node.bytes(SERVER, &sealed(&notify(8, vec![record("2001:db8:c::/48", &[FIRST])]), &guess));
    assert_eq!(node.refused(Refusal::NotifyBadTag), 1);
    tell(&mut node, &notify(9, vec![record("2001:db8::/32", &[FIRST])]));
    assert_eq!(node.refused(Refusal::NotifyNotSubscribed), 1);
    assert_eq!((node.updates(), node.sent.len()), (vec![], 0));
}

#[test]
fn what_was_taken_unasked_is_no_news_after_a_restart() {
    let mut node = with(taking());
    tell(&mut node, &notify(7, vec![record(SITE, &[FIRST])]));
    // Also when it was not taken in between, and something else written.
    let other = Configured { prefix: prefix("2001:db8:c::/48"), nonce: 1, association: 0 };
    let mut between = again(&node, Config { configured: vec![other], ..config() });
    assert_eq!(state(&between), None);
    tell(&mut between, &notify(2, vec![record("2001:db8:c::/48", &[FIRST])]));
    assert_eq!(between.told.len(), 2);
    let mut later = again(&between, taking());
    tell(&mut later, &notify(7, vec![record(SITE, &[SECOND])]));
    tell(&mut later, &notify(6, vec![record(PART, &[SECOND])]));
    assert_eq!((later.refused(Refusal::NotifyReplayed), later.updates()), (2, vec![]));
    tell(&mut later, &notify(8, vec![record(SITE, &[SECOND])]));
    assert_eq!(led_to(&later, "2001:db8:b::2"), [SECOND]);
}

#[test]
fn what_a_subscription_that_was_asked_for_may_have_said_is_not_taken_unasked() {
    let mut node = with(taking());
    tell(&mut node, &notify((1 << 62) + 5, vec![record(SITE, &[FIRST])]));
    assert_eq!((node.refused(Refusal::NotifyReplayed), node.updates(), state(&node)), (1, vec![], None));
}

#[test]
fn what_is_taken_unasked_is_bounded() {
    let mut node = with(taking());
    for n in 0..=limits::TOLD_ONLY {
        let eid = format!("2001:db8:{:x}::/48", 0x1000 + n);
        tell(&mut node, &notify(7, vec![record(&eid, &[FIRST])]));
    }
    assert_eq!(node.refused(Refusal::SubscriptionTableFull), 1);
    assert_eq!(node.told.len(), limits::TOLD_ONLY);
}

fn nth(n: usize) -> String {
    format!("2001:db8:{:x}::/48", 0x1000 + n)
}

fn is_heard(node: &Node, n: usize) -> bool {
    node.control.subscription(&prefix(&nth(n))).is_some()
}

#[test]
fn what_was_told_unasked_and_has_ended_gives_its_place_up_the_oldest_first() {
    let mut node = with(taking());
    for n in 0..limits::TOLD_ONLY {
        tell(&mut node, &notify(7, vec![record(&nth(n), &[FIRST])]));
    }
    for ended in [5, 3] {
        node.advance(secs(1));
        tell(&mut node, &notify(7, vec![MappingRecord { action: Action::DropAuthFailure, ..gone(&nth(ended)) }]));
    }
    let mut newer = limits::TOLD_ONLY..;
    let mut one_more = |node: &mut Node| {
        let n = newer.next().unwrap();
        tell(node, &notify(7, vec![record(&nth(n), &[FIRST])]));
        is_heard(node, n)
    };
    assert!(one_more(&mut node) && !is_heard(&node, 5) && is_heard(&node, 3));
    assert!(one_more(&mut node) && !is_heard(&node, 3));
    assert!(!one_more(&mut node) && node.refused(Refusal::SubscriptionTableFull) == 1, "the others have not ended");
    // What was said of one that has given its place up is no news: it takes no other's.
    tell(&mut node, &notify(7, vec![record(&nth(5), &[SECOND])]));
    assert!(!is_heard(&node, 5) && node.refused(Refusal::NotifyReplayed) == 1);
    // Mappings that nobody has told again for longer than they live have ended too.
    node.advance(secs(1441 * 60));
    assert!(one_more(&mut node) && !is_heard(&node, 0) && is_heard(&node, 1));
}

#[test]
fn each_map_server_has_its_share_of_what_is_taken_unasked() {
    let other = AuthKey { id: 6, secret: Secret::new("of the other"), ..shared() };
    let both = vec![association(RESOLVER), Association { key: other.clone(), ..association("198.51.100.54") }];
    let mut node = with(Config { associations: both, ..taking() });
    for n in 0..limits::TOLD_ONLY {
        tell(&mut node, &notify(7, vec![record(&nth(n), &[FIRST])]));
    }
    let half = limits::TOLD_ONLY / 2;
    assert_eq!(node.refused(Refusal::SubscriptionTableFull), u64::try_from(half).unwrap());
    let told = notify(7, vec![record(&nth(half), &[FIRST])]);
    node.bytes("198.51.100.54:4342", &sealed(&told, &other));
    assert!(is_heard(&node, half) && is_heard(&node, 0));
}
