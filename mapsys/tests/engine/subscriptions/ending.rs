// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions end (RFC 9437, section 5).

use mapsys::engine::Config;
use mapsys::refusal::Refusal;
use mapsys::subscribe::subscriber::Policy;
use mapsys::subscribe::subscription::Mode;
use wire::control::MapRequest;
use wire::record::{Action, Ttl};

use super::xtr::*;
use crate::common::*;

#[test]
fn a_request_whose_only_itr_rloc_has_afi_0_ends_a_subscription() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    let outputs = bench.datagram(FROM_TWO, &ecm(&leaving(11, prefix(SITE))));
    let (to, notify) = told_once(&outputs);
    assert_eq!((to, notify.nonce.0), (address("192.0.2.2:4342"), 11), "to the source RLOC of the request");
    acknowledge(&mut bench, to, &notify);
    assert_eq!(subscriptions(&bench), []);
    bench.pass(seconds(5));
    assert_eq!(told(&site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])])), []);
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn it_ends_too_by_the_eid_that_it_was_asked_for_with() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    let (to, notify) = told_once(&bench.datagram(FROM_ONE, &ecm(&leaving(11, host(EID)))));
    acknowledge(&mut bench, to, &notify);
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn an_end_is_confirmed_though_there_is_nothing_to_end() {
    let mut bench = registered();
    let (to, notify) = told_once(&bench.datagram(FROM_ONE, &ecm(&leaving(77, prefix(SITE)))));
    assert_eq!(notify.nonce.0, 77);
    acknowledge(&mut bench, to, &notify);
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn the_last_nonce_is_remembered_after_the_end() {
    let mut bench = registered();
    let first = ecm(&subscribing(10, &[host(EID)], &[ONE]));
    let (to, notify) = told_once(&bench.datagram(FROM_ONE, &first));
    acknowledge(&mut bench, to, &notify);
    let (to, notify) = told_once(&bench.datagram(FROM_ONE, &ecm(&leaving(11, prefix(SITE)))));
    acknowledge(&mut bench, to, &notify);
    bench.pass(seconds(5));
    assert_eq!(bench.datagram(FROM_ONE, &first), [], "silently dropped");
    assert_eq!(bench.datagram(FROM_ONE, &ecm(&leaving(11, prefix(SITE)))), []);
    assert_eq!(bench.only_refused(Refusal::SubscribeReplayed), 2);
    subscribe(&mut bench, 12, host(EID));
}

#[test]
fn the_end_of_a_part_of_a_wider_subscription_mutes_that_part() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    let part = prefix("2001:db8:a:1::/64");
    let (to, notify) = told_once(&bench.datagram(FROM_ONE, &ecm(&leaving(1, part))));
    acknowledge(&mut bench, to, &notify);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true), (part, Mode::Mute, true)]);
    bench.pass(seconds(5));
    assert_eq!(told(&site_says(&mut bench, 2, vec![record(part, &["198.51.100.2"])])), []);
    let other = prefix("2001:db8:a:2::/64");
    let (to, notify) = told_once(&site_says(&mut bench, 3, vec![record(other, &["198.51.100.2"])]));
    assert_eq!(about(&notify), other);
    acknowledge(&mut bench, to, &notify);
    // Until it is subscribed to by itself.
    subscribe(&mut bench, 2, part);
    bench.pass(seconds(5));
    let (_, notify) = told_once(&site_says(&mut bench, 4, vec![record(part, &["198.51.100.3"])]));
    assert_eq!((about(&notify), notify.nonce.0), (part, 3));
}

#[test]
fn an_end_from_elsewhere_is_denied_to_its_source() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    let (to, reply) = reply(&bench.datagram("203.0.113.9:5000", &ecm(&leaving(11, prefix(SITE)))));
    assert_eq!((to.ip().to_string().as_str(), reply.records[0].action), ("203.0.113.9", Action::DropPolicyDenied));
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    let stranger = MapRequest { xtr_identity: None, ..leaving(12, prefix(SITE)) };
    assert_eq!(bench.datagram("203.0.113.9:5000", &ecm(&stranger)), []);
    assert_eq!(bench.engine.tally().get(Refusal::RequestNoItrRloc), 1);
}

#[test]
fn behind_a_map_resolver_the_source_rloc_is_that_of_the_inner_headers() {
    let pubsub = Policy { resolvers: vec!["203.0.113.53/32".parse().unwrap()], ..Policy::default() };
    let mut bench = Bench::new(Config { pubsub, ..served() });
    let ipv4 = prefix("10.1.0.0/16");
    // The inner source of these ECMs is 192.0.2.1 where the EID is one of IPv4.
    let (to, _) = told_once(&bench.datagram("203.0.113.53:4342", &ecm(&leaving(1, ipv4))));
    assert_eq!(to, address("192.0.2.1:4342"));
}

#[test]
fn a_subscription_that_is_never_acknowledged_ends_and_its_xtr_is_told_once() {
    let mut bench = registered();
    let asked = bench.datagram(FROM_ONE, &ecm(&subscribing(10, &[host(EID)], &[ONE])));
    let confirmed = told_once(&asked).1;
    let later = told(&bench.pass(seconds(76)));
    let (farewell, repeated) = later.split_last().unwrap();
    assert_eq!(repeated.len(), 2, "as often as its request allows: whoever sent it may not be the xTR");
    assert!(repeated.iter().all(|(_, notify)| *notify == confirmed));
    let record = &farewell.1.records[0];
    assert_eq!((farewell.1.nonce.0, about(&farewell.1)), (10, prefix(SITE)), "the same nonce");
    assert_eq!((record.action, record.locators.len()), (Action::DropAuthFailure, 0));
    assert_eq!(subscriptions(&bench), []);
    assert_eq!(bench.only_refused(Refusal::SubscribeUnacknowledged), 1);
    assert_eq!(told(&bench.pass(seconds(90))), [], "not repeated");
    subscribe(&mut bench, 11, host(EID));
}

#[test]
fn an_xtr_that_acknowledges_nothing_for_an_hour_loses_its_subscription() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    let mut last = None;
    for minute in 2..90 {
        let mut outputs = site_says(&mut bench, minute, vec![record(prefix(SITE), &[&format!("198.51.100.{minute}")])]);
        outputs.extend(bench.pass(seconds(180 - 20)));
        last = told(&outputs).into_iter().map(|(_, notify)| notify).next_back().or(last);
        if subscriptions(&bench).is_empty() {
            break;
        }
    }
    assert_eq!(subscriptions(&bench), []);
    assert_eq!(last.unwrap().records[0].action, Action::DropAuthFailure);
    assert_eq!(bench.engine.tally().get(Refusal::SubscriptionEnded), 1);
}

#[test]
fn a_nonce_that_leaves_no_room_begins_no_subscription_and_one_that_comes_to_its_end_ends_it() {
    let mut bench = registered();
    reply(&bench.datagram(FROM_ONE, &ecm(&subscribing(u64::MAX, &[host(EID)], &[ONE]))));
    assert_eq!(bench.only_refused(Refusal::SubscribeNonceEnd), 1);
    bench.pass(seconds(5));
    subscribe(&mut bench, u64::MAX - (1 << 20), host(EID));
    // What is kept on disk says that all but one have been used.
    let mut memory = mapsys::engine::Memory::default();
    let outputs = site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]);
    write(&mut memory, &outputs);
    let outputs = bench.pass(seconds(4));
    write(&mut memory, &outputs);
    for (to, notify) in told(&outputs) {
        write(&mut memory, &bench.datagram(&to.to_string(), &ack(&notify)));
    }
    memory.subscriptions[0].proven.as_mut().unwrap().nonce = u64::MAX - 1;
    let mut bench = Bench::with(served(), memory);
    let (to, notify) = told_once(&site_says(&mut bench, 3, vec![record(prefix(SITE), &["198.51.100.3"])]));
    assert_eq!(notify.nonce.0, u64::MAX);
    acknowledge(&mut bench, to, &notify);
    bench.pass(seconds(4));
    let (_, farewell) = told_once(&site_says(&mut bench, 4, vec![record(prefix(SITE), &["198.51.100.4"])]));
    assert_eq!(
        (farewell.nonce.0, farewell.records[0].action, farewell.records[0].ttl),
        (u64::MAX, Action::DropAuthFailure, Ttl(1))
    );
    assert_eq!(subscriptions(&bench), []);
}
