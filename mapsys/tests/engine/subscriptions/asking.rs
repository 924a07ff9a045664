// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions begin, change, and fail (RFC 9437, section 5).

use mapsys::engine::{Config, Output};
use mapsys::refusal::Refusal;
use mapsys::subscribe::subscriber::{Policy, Subscriber};
use mapsys::subscribe::subscription::Mode;
use wire::address::Address;
use wire::control::{MapRegister, MapRequest, XtrIdentity};
use wire::record::{Action, MappingRecord, Ttl};

use super::xtr::*;
use crate::common::*;

#[test]
fn a_subscription_is_confirmed_by_a_map_notify_with_the_nonce_of_the_request() {
    let mut bench = registered();
    let outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(40, &[host(EID)], &[ONE])));
    let (to, notify) = told_once(&outputs);
    assert_eq!((to, notify.nonce.0, notify.auth.key_id), (address("192.0.2.1:4342"), 40, 5));
    assert_eq!((about(&notify), rlocs(&notify.records[0])), (prefix(SITE), vec!["198.51.100.1".to_owned()]));
    assert!(!notify.records[0].authoritative && notify.records[0].ttl == Ttl(1440));
    assert_eq!(sent(&outputs).len(), 1, "and by nothing else");
    let persist = outputs.iter().position(|output| matches!(output, Output::Persist(_))).unwrap();
    let send = outputs.iter().position(|output| matches!(output, Output::Send { .. })).unwrap();
    assert!(persist < send, "on disk before anybody hears of it");
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, false)]);
    acknowledge(&mut bench, to, &notify);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    assert_eq!(told(&bench.pass(seconds(170))), [], "acknowledged: not sent again");
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn a_request_without_the_n_bit_or_with_the_i_bit_only_gets_a_map_reply() {
    let mut bench = registered();
    let plain = MapRequest { xtr_identity: Some(identity()), ..request(1, &[host(EID)], &[ONE]) };
    assert_eq!(reply(&bench.datagram(FROM_ONE, &ecm(&plain))).1.nonce.0, 1);
    let outputs =
        bench.datagram(FROM_ONE, &ecm(&MapRequest { xtr_identity: None, ..subscribing(2, &[host(EID)], &[ONE]) }));
    assert_eq!(reply(&outputs).1.records[0].locators.len(), 1);
    assert_eq!(bench.only_refused(Refusal::SubscribeNoIdentity), 1);
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn an_xtr_without_a_security_association_gets_a_map_reply() {
    let mut bench = registered();
    for stranger in [XtrIdentity { xtr_id: [8; 16], site_id: 9 }, XtrIdentity { site_id: 10, ..identity() }] {
        let asked = MapRequest { xtr_identity: Some(stranger), ..subscribing(7, &[host(EID)], &[ONE]) };
        assert_eq!(reply(&bench.datagram(FROM_ONE, &ecm(&asked))).1.records[0].action, Action::NoAction);
        bench.pass(seconds(4));
    }
    assert_eq!(bench.only_refused(Refusal::SubscribeUnknownXtr), 2);
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn what_is_against_the_configuration_is_denied_by_policy() {
    let limited = Subscriber { eids: vec![prefix("2001:db8:b::/48")], ..subscriber() };
    let mut bench = Bench::new(Config { subscribers: vec![limited], ..served() });
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    let denied = |outputs: &[Output]| {
        let (_, reply) = reply(outputs);
        let [MappingRecord { action, locators, .. }] = reply.records.as_slice() else { panic!("{reply:?}") };
        assert_eq!((*action, locators.len()), (Action::DropPolicyDenied, 0));
    };
    denied(&bench.datagram(FROM_ONE, &ecm(&subscribing(1, &[host(EID)], &[ONE]))));
    let mut bench = registered();
    // An ITR-RLOC of somebody else, one that is no address, and a sender that is none of them.
    denied(&bench.datagram(FROM_ONE, &ecm(&subscribing(2, &[host(EID)], &[ONE, "203.0.113.9"]))));
    bench.pass(seconds(4));
    let strange = MapRequest {
        itr_rlocs: vec![ONE.parse::<std::net::IpAddr>().unwrap().into(), Address::Name(Box::from(*b"here"))],
        ..subscribing(3, &[host(EID)], &[ONE])
    };
    denied(&bench.datagram(FROM_ONE, &ecm(&strange)));
    bench.pass(seconds(4));
    denied(&bench.datagram("192.0.2.7:5000", &ecm(&subscribing(4, &[host(EID)], &[ONE]))));
    assert_eq!(bench.only_refused(Refusal::SubscribeDenied), 3);
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn a_configured_map_resolver_may_send_a_subscription_on() {
    let pubsub = Policy { resolvers: vec!["203.0.113.53/32".parse().unwrap()], ..Policy::default() };
    let mut bench = Bench::new(Config { pubsub, ..served() });
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    let outputs = bench.datagram("203.0.113.53:4342", &ecm(&subscribing(1, &[host(EID)], &[TWO])));
    assert_eq!(told_once(&outputs).0, address("192.0.2.2:4342"));
}

#[test]
fn the_itr_rloc_that_asked_is_told_first() {
    let mut bench = registered();
    let outputs = bench.datagram(FROM_TWO, &ecm(&subscribing(1, &[host(EID)], &[ONE, TWO])));
    assert_eq!(told_once(&outputs).0, address("192.0.2.2:4342"));
}

#[test]
fn behind_a_nat_the_source_port_of_the_request_is_told() {
    let source = Subscriber { port: mapsys::register::site::NotifyPort::Source, ..subscriber() };
    let mut bench = Bench::new(Config { subscribers: vec![source], ..served() });
    site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    let outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(1, &[host(EID)], &[ONE])));
    assert_eq!(told_once(&outputs).0, address("192.0.2.1:61000"));
}

#[test]
fn each_record_with_the_n_bit_is_a_subscription_and_the_others_are_answered() {
    let mut bench = registered();
    site_says(&mut bench, 2, vec![record(prefix("2001:db8:a:1::/64"), &["198.51.100.2"])]);
    let mut asked = subscribing(5, &[host("2001:db8:a:1::1"), host("2001:db8:a:8000::1")], &[ONE]);
    asked.records.push(request(5, &[host("2001:db8:a:1::7")], &[ONE]).records[0].clone());
    let outputs = bench.datagram(FROM_ONE, &ecm(&asked));
    let confirmed = told(&outputs);
    assert_eq!(confirmed.len(), 2);
    assert!(confirmed.iter().all(|(_, notify)| notify.nonce.0 == 5));
    assert_eq!(sent(&outputs).len(), 3, "and one Map-Reply");
    for (to, notify) in &confirmed {
        acknowledge(&mut bench, *to, notify);
    }
    assert!(subscriptions(&bench).iter().all(|(_, _, is_proven)| *is_proven), "each has its own acknowledgement");
    assert_eq!(subscriptions(&bench).len(), 2);
}

#[test]
fn a_later_request_replaces_the_itr_rlocs() {
    let mut bench = registered();
    subscribe(&mut bench, 10, host(EID));
    let outputs = bench.datagram(FROM_TWO, &ecm(&subscribing(11, &[host(EID)], &[TWO])));
    let (to, notify) = told_once(&outputs);
    assert_eq!((to, notify.nonce.0), (address("192.0.2.2:4342"), 11));
    acknowledge(&mut bench, to, &notify);
    bench.pass(seconds(4));
    let outputs = site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.3"])]);
    let (to, notify) = told_once(&outputs);
    assert_eq!((to, notify.nonce.0), (address("192.0.2.2:4342"), 12));
    assert_eq!(subscriptions(&bench).len(), 1);
}

#[test]
fn what_a_site_answers_itself_cannot_be_subscribed_to() {
    let mut bench = Bench::new(served());
    let own = MapRegister { proxy_reply: false, ..register(1, vec![record(prefix(SITE), &["198.51.100.1"])]) };
    bench.datagram(ETR, &seal(own, &site_key()));
    let asked = ecm(&subscribing(1, &[host(EID)], &[ONE]));
    let outputs = bench.datagram(FROM_ONE, &asked);
    let [Output::Send { remote, bytes, .. }] = outputs.as_slice() else { panic!("{outputs:?}") };
    assert_eq!((*remote, bytes), (address(ETR), &asked), "forwarded as it came");
    assert_eq!(bench.only_refused(Refusal::SubscribeNotProxied), 1);
}

#[test]
fn an_eid_that_nothing_is_registered_for_has_a_temporary_subscription_of_fifteen_minutes() {
    let mut bench = Bench::new(served());
    let notify = subscribe(&mut bench, 3, host(EID));
    let [negative] = notify.records.as_slice() else { panic!("{notify:?}") };
    assert_eq!((negative.action, negative.ttl, negative.locators.len()), (Action::NativelyForward, Ttl(15), 0));
    assert_eq!((about(&notify), subscriptions(&bench).len()), (prefix(SITE), 1));
    bench.pass(seconds(899));
    assert_eq!(subscriptions(&bench).len(), 1);
    assert_eq!(told(&bench.pass(seconds(2))), [], "both ends know when");
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn a_temporary_subscription_hears_of_the_registration_and_stays() {
    let mut bench = Bench::new(served());
    subscribe(&mut bench, 3, host(EID));
    bench.pass(seconds(60));
    let outputs = site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    let (to, notify) = told_once(&outputs);
    assert_eq!((notify.nonce.0, about(&notify), notify.records[0].locators.len()), (4, prefix(SITE), 1));
    acknowledge(&mut bench, to, &notify);
    for minute in 2..20 {
        site_says(&mut bench, minute, vec![record(prefix(SITE), &["198.51.100.1"])]);
        assert_eq!(told(&bench.pass(seconds(60))), []);
    }
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

#[test]
fn the_life_of_a_temporary_subscription_can_be_set() {
    let pubsub = Policy { temporary: seconds(120), ..Policy::default() };
    let mut bench = Bench::new(Config { pubsub, ..served() });
    assert_eq!(subscribe(&mut bench, 3, host(EID)).records[0].ttl, Ttl(2));
    bench.pass(seconds(121));
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn a_wide_subscription_hears_of_all_that_is_inside() {
    let mut bench = Bench::new(served());
    let inside: Vec<_> = (1..=20).map(|n| prefix(&format!("2001:db8:a:{n}::/64"))).collect();
    site_says(&mut bench, 1, inside.iter().map(|prefix| record(*prefix, &["198.51.100.1"])).collect());
    let outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(1, &[prefix(SITE)], &[ONE])));
    let (to, confirmation) = told_once(&outputs);
    assert_eq!(told(&bench.pass(seconds(1))), [], "before it is proven that the xTR has asked there is nothing more");
    let mut told = told(&bench.datagram(&to.to_string(), &ack(&confirmation)));
    told.insert(0, (to, confirmation));
    let heard: std::collections::BTreeSet<_> = told
        .iter()
        .flat_map(|(_, notify)| notify.records.iter().map(|record| record.eid.ip_prefix().unwrap()))
        .collect();
    assert!(inside.iter().all(|prefix| heard.contains(prefix)), "{heard:?}");
    let nonces: Vec<u64> = told.iter().map(|(_, notify)| notify.nonce.0).collect();
    assert_eq!(nonces, (1..=told.len() as u64).collect::<Vec<_>>(), "one by one");
    assert_eq!(subscriptions(&bench)[0].0, prefix(SITE));
    // What is said to be nothing covers nothing that is there.
    let empty = told.iter().flat_map(|(_, notify)| &notify.records).filter(|record| record.locators.is_empty());
    for record in empty {
        assert!(inside.iter().all(|there| !record.eid.ip_prefix().unwrap().covers(there)), "{record:?}");
    }
}

#[test]
fn the_number_of_subscriptions_is_bounded_and_beyond_it_there_is_a_map_reply() {
    for pubsub in [Policy { most: 2, ..Policy::default() }, Policy { most_per_xtr: 2, ..Policy::default() }] {
        let mut bench = Bench::new(Config { pubsub, ..served() });
        let inside: Vec<_> = (1..=3).map(|n| prefix(&format!("2001:db8:a:{n}::/64"))).collect();
        site_says(&mut bench, 1, inside.iter().map(|prefix| record(*prefix, &["198.51.100.1"])).collect());
        subscribe(&mut bench, 1, inside[0]);
        subscribe(&mut bench, 1, inside[1]);
        reply(&bench.datagram(FROM_ONE, &ecm(&subscribing(1, &[inside[2]], &[ONE]))));
        assert_eq!(bench.only_refused(Refusal::SubscribeTableFull), 1);
        bench.pass(seconds(4));
        subscribe(&mut bench, 2, inside[1]);
    }
}

#[test]
fn a_part_of_which_nothing_is_to_be_heard_takes_a_place_too() {
    for pubsub in [Policy { most: 3, ..Policy::default() }, Policy { most_per_xtr: 3, ..Policy::default() }] {
        let mut bench = Bench::new(Config { pubsub, ..served() });
        site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
        subscribe(&mut bench, 1, prefix(SITE));
        let end =
            |bench: &mut Bench, nonce, eid: &str| told(&bench.datagram(FROM_ONE, &ecm(&leaving(nonce, host(eid)))));
        for eid in ["2001:db8:a::1", "2001:db8:a::2"] {
            let told = end(&mut bench, 2, eid);
            acknowledge(&mut bench, told[0].0, &told[0].1);
        }
        assert_eq!(end(&mut bench, 3, "2001:db8:a::3"), []);
        assert_eq!((bench.only_refused(Refusal::SubscribeTableFull), subscriptions(&bench).len()), (1, 3));
        // One that there is may be asked for again, and the end of a whole subscription takes no place.
        bench.pass(seconds(4));
        assert_eq!(end(&mut bench, 3, "2001:db8:a::2").len(), 1);
        let told = told(&bench.datagram(FROM_ONE, &ecm(&leaving(4, prefix(SITE)))));
        acknowledge(&mut bench, told[0].0, &told[0].1);
        assert_eq!(subscriptions(&bench), []);
    }
}
