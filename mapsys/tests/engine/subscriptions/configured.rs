// SPDX-License-Identifier: GPL-2.0-or-later
//! Subscriptions that the operator makes (RFC 9437, section 5).

use std::net::SocketAddr;

use mapsys::engine::{Config, Input, Mark, Memory, Output, Reconfiguration};
use mapsys::limits::CONFIGURED_LONGEST;
use mapsys::refusal::Refusal;
use mapsys::subscribe::configured::Configured;
use mapsys::subscribe::subscriber::{Subscriber, SubscriberError, Subscribers};
use mapsys::subscribe::subscription::Mode;
use mapsys::transport::Via;
use wire::control::MapNotify;
use wire::control::auth::{self, Accept, Algorithm};
use wire::record::{Action, Ttl};

use super::xtr::*;
use crate::common::*;

const PART: &str = "2001:db8:a:1::/64";

/// The xTR with a subscription to the site after this nonce.
fn told_after(nonce: u64) -> Subscriber {
    let rlocs = [ONE, TWO].map(|rloc| rloc.parse().unwrap()).to_vec();
    Subscriber { configured: vec![Configured { prefix: prefix(SITE), nonce, rlocs, is_fixed: false }], ..subscriber() }
}

/// The same, and the xTR may not change it.
fn fixed_after(nonce: u64) -> Subscriber {
    let mut subscriber = told_after(nonce);
    subscriber.configured[0].is_fixed = true;
    subscriber
}

fn with(subscriber: Subscriber) -> Config {
    Config { subscribers: vec![subscriber], ..served() }
}

fn says(bench: &mut Bench, nonce: u64, rloc: &str) -> Vec<Output> {
    site_says(bench, nonce, vec![record(prefix(SITE), &[rloc])])
}

fn reload(bench: &mut Bench, subscriber: Subscriber) -> Vec<Output> {
    let Config { sites, trust_anchors, clients, foreign, pubsub, ddt, lisp_sec, .. } = served();
    let subscribers = vec![subscriber];
    let newer = Reconfiguration { sites, trust_anchors, clients, foreign, subscribers, pubsub, ddt, lisp_sec };
    bench.engine.reconfigure(bench.now, newer).unwrap();
    bench.drain()
}

/// A Map-Server that has told its subscriber of the site under nonce 41, and what is on its disk.
fn before() -> (Bench, Memory) {
    let mut bench = Bench::new(with(told_after(40)));
    let mut memory = Memory::default();
    write(&mut memory, &bench.drain());
    let outputs = says(&mut bench, 1, "198.51.100.1");
    write(&mut memory, &outputs);
    let (to, notify) = told_once(&outputs);
    assert_eq!((to, notify.nonce.0), (address("192.0.2.1:4342"), 41));
    write(&mut memory, &bench.datagram(&to.to_string(), &ack(&notify)));
    (bench, memory)
}

fn copy(memory: &Memory) -> Memory {
    Memory { subscriptions: memory.subscriptions.clone(), ..Memory::default() }
}

fn nonces(told: &[(SocketAddr, MapNotify)]) -> Vec<u64> {
    told.iter().map(|(_, notify)| notify.nonce.0).collect()
}

#[test]
fn what_is_told_anew_while_a_forged_end_is_open_is_told_when_that_is_over() {
    for ended in [SITE, PART, "2001:db8:a::/60"] {
        let both = vec![record(prefix(SITE), &["198.51.100.1"]), record(prefix(PART), &["198.51.100.2"])];
        let rows = site_says(&mut Bench::new(served()), 1, both).into_iter().filter_map(|output| match output {
            Output::Persist(Mark::Registration(_, row)) => Some((Box::default(), row)),
            _ => None,
        });
        let memory = Memory { registrations: rows.collect(), ..Memory::default() };
        let mut bench = Bench::with(with(told_after(40)), memory);
        // Before anything that is due.
        let via = Via::Socket { local: address(SERVER), remote: address(FROM_TWO) };
        let bytes = ecm(&leaving(1 << 60, prefix(ended)));
        bench.engine.take(bench.now, Input::Datagram { via, bytes });
        let later = told(&bench.pass(seconds(80)));
        let own = later.iter().filter(|(to, notify)| *to == address("192.0.2.1:4342") && notify.nonce.0 < 60);
        let heard: std::collections::BTreeSet<_> = own.map(|(_, it)| (about(it), rlocs(&it.records[0]))).collect();
        for (eid, rloc) in [(SITE, "198.51.100.1"), (PART, "198.51.100.2")] {
            assert!(heard.contains(&(prefix(eid), vec![rloc.to_owned()])), "{ended}: {heard:?}");
        }
    }
}

#[test]
fn it_is_told_without_a_map_request_and_its_nonces_follow_the_configured_one() {
    let (mut bench, memory) = before();
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    assert!(memory.subscriptions[0].is_configured);
    bench.pass(seconds(5));
    let (to, notify) = told_once(&says(&mut bench, 2, "198.51.100.2"));
    assert_eq!((notify.nonce.0, rlocs(&notify.records[0])), (42, vec!["198.51.100.2".to_owned()]));
    acknowledge(&mut bench, to, &notify);
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn of_what_is_never_registered_it_hears_when_sites_have_had_their_time() {
    let mut bench = Bench::new(with(told_after(40)));
    assert_eq!(told(&bench.pass(seconds(180))), []);
    let (to, notify) = told_once(&bench.pass(seconds(4)));
    assert_eq!((notify.nonce.0, notify.records[0].ttl, about(&notify)), (41, Ttl(0), prefix(SITE)));
    acknowledge(&mut bench, to, &notify);
    bench.pass(seconds(3600));
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)], "it is no temporary one");
}

#[test]
fn nonces_survive_a_restart_and_never_fall_under_one_key() {
    for (configured, next) in [(40, 42), (7, 42), (1000, 1001)] {
        let (_, memory) = before();
        let mut bench = Bench::with(with(told_after(configured)), memory);
        assert_eq!(told(&says(&mut bench, 1, "198.51.100.1")), [], "the same as before");
        bench.pass(seconds(5));
        let (_, notify) = told_once(&says(&mut bench, 2, "198.51.100.2"));
        assert_eq!(notify.nonce.0, next, "{configured}");
    }
}

#[test]
fn under_a_new_key_nonces_begin_at_the_configured_one() {
    let (_, memory) = before();
    let key_6 = key(6, Algorithm::HkdfSha256, "another one");
    let mut bench = Bench::with(with(Subscriber { key: Some(key_6.clone()), ..told_after(7) }), memory);
    let outputs = says(&mut bench, 1, "198.51.100.1");
    let nonce = outputs.iter().find_map(|output| match output {
        Output::Send { bytes, .. } if auth::verify(bytes, &key_6, Accept::STRICT).is_ok() => {
            let Ok(wire::control::ControlMessage::MapNotify(notify)) = wire::control::ControlMessage::decode(bytes)
            else {
                return None;
            };
            Some(notify.nonce.0)
        }
        _ => None,
    });
    assert_eq!(nonce, Some(8));
}

#[test]
fn no_silence_ends_it_and_it_is_told_less_and_less_often() {
    let (mut bench, _) = before();
    bench.pass(seconds(5));
    let mut told_of = told(&says(&mut bench, 2, "198.51.100.2"));
    told_of.extend(told(&bench.pass(seconds(5 * 3600))));
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    let mut distinct = nonces(&told_of);
    distinct.dedup();
    let most = 5 * 3600 / CONFIGURED_LONGEST.as_secs();
    assert!((10..=usize::try_from(most).unwrap() + 6).contains(&distinct.len()), "{distinct:?}");
    assert!(distinct.is_sorted());
    assert_eq!(bench.engine.tally().get(Refusal::SubscriptionEnded), 0);
    // The site has fallen silent meanwhile; when it is there again, the xTR hears that.
    let mut last = told(&says(&mut bench, 3, "198.51.100.3"));
    last.extend(told(&bench.pass(seconds(60))));
    let (to, notify) = last.last().unwrap().clone();
    assert_eq!(rlocs(&notify.records[0]), ["198.51.100.3"]);
    let nonce = notify.nonce.0;
    acknowledge(&mut bench, to, &notify);
    bench.pass(seconds(5));
    assert_eq!(told_once(&says(&mut bench, 4, "198.51.100.4")).1.nonce.0, nonce + 1);
}

#[test]
fn its_xtr_may_change_it_by_a_map_request() {
    let (mut bench, _) = before();
    bench.pass(seconds(4));
    let (to, notify) = told_once(&bench.datagram(FROM_TWO, &ecm(&subscribing(60, &[host(EID)], &[TWO]))));
    acknowledge(&mut bench, to, &notify);
    bench.pass(seconds(5));
    let (to, notify) = told_once(&says(&mut bench, 2, "198.51.100.2"));
    assert_eq!((to, notify.nonce.0), (address("192.0.2.2:4342"), 61));
}

#[test]
fn its_xtr_may_end_it_over_a_restart_too_and_ask_for_it_again() {
    let (mut bench, mut memory) = before();
    bench.pass(seconds(4));
    let outputs = bench.datagram(FROM_ONE, &ecm(&leaving(50, prefix(SITE))));
    write(&mut memory, &outputs);
    let (to, notify) = told_once(&outputs);
    write(&mut memory, &bench.datagram(&to.to_string(), &ack(&notify)));
    assert_eq!(subscriptions(&bench), []);
    assert_eq!(told(&reload(&mut bench, told_after(40))), []);
    assert_eq!(told(&says(&mut bench, 2, "198.51.100.2")), []);
    let mut bench = Bench::with(with(told_after(40)), copy(&memory));
    assert_eq!((subscriptions(&bench), told(&says(&mut bench, 3, "198.51.100.3"))), (vec![], vec![]));
    assert_eq!(told(&bench.pass(CONFIGURED_LONGEST + seconds(300))), []);
    subscribe(&mut bench, 60, host(EID));
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    // Whoever takes it out and puts it in again makes it anew, and so does another key.
    let mut bench = Bench::with(with(told_after(40)), copy(&memory));
    assert_eq!(told(&reload(&mut bench, subscriber())), []);
    reload(&mut bench, told_after(40));
    assert_eq!(told_once(&says(&mut bench, 3, "198.51.100.3")).1.nonce.0, 51);
}

#[test]
fn an_end_that_nobody_acknowledges_ends_nothing() {
    let (mut bench, _) = before();
    bench.pass(seconds(4));
    assert_eq!(told(&bench.datagram(FROM_ONE, &ecm(&leaving(50, prefix(SITE))))).len(), 1);
    bench.pass(seconds(120));
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
}

#[test]
fn where_that_is_set_its_xtr_may_neither_change_nor_end_it_nor_keep_a_part_quiet() {
    let mut bench = Bench::new(with(fixed_after(40)));
    let (to, notify) = told_once(&says(&mut bench, 1, "198.51.100.1"));
    acknowledge(&mut bench, to, &notify);
    let wishes = [leaving(50, prefix(SITE)), leaving(51, prefix(PART)), subscribing(52, &[host(EID)], &[TWO])];
    for wish in wishes {
        bench.pass(seconds(4));
        let from = if wish.nonce.0 == 52 { FROM_TWO } else { FROM_ONE };
        let (to, answer) = reply(&bench.datagram(from, &ecm(&wish)));
        assert_eq!((to.ip(), answer.nonce), (address(from).ip(), wish.nonce), "to the source of the Map-Request");
        assert_eq!((answer.records[0].action, answer.records[0].locators.len()), (Action::DropPolicyDenied, 0));
    }
    assert_eq!(bench.only_refused(Refusal::SubscribeDenied), 3);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    let (to, notify) = told_once(&says(&mut bench, 2, "198.51.100.2"));
    assert_eq!((to, notify.nonce.0), (address("192.0.2.1:4342"), 42));
}

/// A replay is dropped in silence before policy says anything (RFC 9437, section 5).
#[test]
fn a_nonce_that_is_not_above_the_last_is_silently_dropped_there_too() {
    let mut bench = Bench::new(with(fixed_after(40)));
    let (to, notify) = told_once(&says(&mut bench, 1, "198.51.100.1"));
    acknowledge(&mut bench, to, &notify);
    for wish in [subscribing(41, &[prefix(SITE)], &[ONE]), leaving(41, prefix(SITE))] {
        assert!(bench.datagram(FROM_ONE, &ecm(&wish)).is_empty());
    }
    assert_eq!(bench.only_refused(Refusal::SubscribeReplayed), 2);
}

#[test]
fn its_xtr_may_keep_a_part_of_it_quiet() {
    let (mut bench, _) = before();
    let (to, notify) = told_once(&bench.datagram(FROM_ONE, &ecm(&leaving(50, prefix(PART)))));
    acknowledge(&mut bench, to, &notify);
    let outputs = site_says(&mut bench, 2, vec![record(prefix(PART), &["198.51.100.2"])]);
    assert_eq!(told(&outputs), []);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true), (prefix(PART), Mode::Mute, true)]);
}

#[test]
fn whoever_takes_it_out_ends_it_and_its_last_nonce_is_remembered() {
    let (mut bench, mut memory) = before();
    let outputs = reload(&mut bench, subscriber());
    write(&mut memory, &outputs);
    let (_, farewell) = told_once(&outputs);
    assert_eq!((farewell.nonce.0, farewell.records[0].action), (41, Action::DropAuthFailure));
    assert_eq!(subscriptions(&bench), []);
    let mut later = Bench::with(with(told_after(40)), copy(&memory));
    assert_eq!(told_once(&says(&mut later, 1, "198.51.100.1")).1.nonce.0, 42);
    // Taken out while it was not running.
    let (_, memory) = before();
    let mut bench = Bench::with(served(), memory);
    assert_eq!(told_once(&bench.pass(seconds(0))).1.records[0].action, Action::DropAuthFailure);
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn one_that_a_reload_brings_is_told_at_once_of_all_that_is_registered() {
    let mut bench = registered();
    site_says(&mut bench, 2, vec![record(prefix(PART), &["198.51.100.2"])]);
    let told_of = told(&reload(&mut bench, told_after(40)));
    let mut heard: Vec<_> = told_of.iter().map(|(_, notify)| about(notify)).collect();
    heard.sort();
    assert_eq!((heard, nonces(&told_of)), (vec![prefix(SITE), prefix(PART)], vec![41, 42]));
    for (to, notify) in &told_of {
        acknowledge(&mut bench, *to, notify);
    }
    bench.pass(seconds(5));
    assert_eq!(told(&reload(&mut bench, told_after(40))), [], "nothing is new");
    assert_eq!(bench.engine.tally().total(), 0);
}

#[test]
fn of_two_one_inside_the_other_each_is_told_under_its_own_nonces() {
    let rlocs: Vec<_> = [ONE, TWO].map(|rloc| rloc.parse().unwrap()).to_vec();
    let one = |text: &str, nonce| Configured { prefix: prefix(text), nonce, rlocs: rlocs.clone(), is_fixed: false };
    let both = Subscriber { configured: vec![one(SITE, 5000), one(PART, 40)], ..subscriber() };
    let mut bench = Bench::new(with(both));
    let all = [SITE, PART].map(|text| record(prefix(text), &["198.51.100.1"])).to_vec();
    let mut heard = told(&site_says(&mut bench, 1, all.clone()));
    // Nothing is acknowledged, so that all is told anew.
    for nonce in 2..50 {
        heard.extend(told(&bench.pass(seconds(60))));
        heard.extend(told(&site_says(&mut bench, nonce, all.clone())));
    }
    let of = |text: &str| -> Vec<u64> {
        heard.iter().filter(|(_, notify)| about(notify) == prefix(text)).map(|(_, notify)| notify.nonce.0).collect()
    };
    assert!(of(SITE).iter().all(|nonce| *nonce > 5000) && of(SITE).last() > of(SITE).first());
    assert!(of(PART).iter().all(|nonce| (41..5000).contains(nonce)) && of(PART).last() > of(PART).first(), "{heard:?}");
}

#[test]
fn it_comes_back_when_its_locators_change_wholly_and_goes_on_above_its_nonce() {
    let newer = || {
        let (rlocs, nets) = (vec!["198.51.100.77".parse().unwrap()], vec!["198.51.100.77/32".parse().unwrap()]);
        let mut subscriber = Subscriber { rlocs: nets, ..told_after(40) };
        subscriber.configured[0].rlocs = rlocs;
        subscriber
    };
    for restarts in [false, true] {
        let (mut bench, memory) = before();
        bench.pass(seconds(5));
        let mut outputs = if restarts {
            bench = Bench::with(with(newer()), memory);
            bench.drain()
        } else {
            reload(&mut bench, newer())
        };
        outputs.extend(bench.pass(seconds(1)));
        outputs.extend(says(&mut bench, 2, "198.51.100.2"));
        let mut heard = Vec::new();
        for _ in 0..3 {
            for (to, notify) in told(&outputs) {
                bench.datagram(&to.to_string(), &ack(&notify));
                heard.push((to, notify));
            }
            outputs = bench.pass(seconds(5));
        }
        let at_new =
            |(to, notify): &(SocketAddr, MapNotify)| *to == address("198.51.100.77:4342") && notify.nonce.0 > 41;
        assert!(heard.iter().all(at_new), "{heard:?}");
        let last = heard.last().map(|(_, notify)| rlocs(&notify.records[0]));
        assert_eq!(last, Some(vec!["198.51.100.2".to_owned()]), "{restarts}: {heard:?}");
        assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)], "{restarts}");
        // And once more, as a reload of something else has it.
        reload(&mut bench, newer());
        bench.pass(seconds(5));
        assert_eq!(told(&says(&mut bench, 3, "198.51.100.3")).len(), 1, "{restarts}");
    }
}

#[test]
fn what_is_withdrawn_inside_one_that_its_xtr_ends_is_told_by_the_one_around() {
    let configured = [(SITE, 5000), ("2001:db8:a::/60", 40)].map(|(text, nonce)| {
        let rlocs = [ONE, TWO].map(|rloc| rloc.parse().unwrap()).to_vec();
        Configured { prefix: prefix(text), nonce, rlocs, is_fixed: false }
    });
    for is_real in [true, false] {
        let mut bench = Bench::new(with(Subscriber { configured: configured.to_vec(), ..subscriber() }));
        let both = vec![record(prefix(SITE), &["198.51.100.1"]), record(prefix(PART), &["198.51.100.2"])];
        let mut outputs = site_says(&mut bench, 1, both);
        outputs.extend(bench.pass(seconds(1)));
        for (to, notify) in told(&outputs) {
            bench.datagram(&to.to_string(), &ack(&notify));
        }
        bench.pass(seconds(10));
        // That it is withdrawn is on its way, and the xTR, or somebody else, ends the inner one meanwhile.
        let lost = told(&site_says(&mut bench, 2, vec![gone(prefix(PART))]));
        assert!(lost.iter().all(|(_, notify)| about(notify) == prefix(PART) && notify.nonce.0 < 5000), "{lost:?}");
        let ended = bench.datagram(FROM_ONE, &ecm(&leaving(1 << 50, prefix("2001:db8:a::/60"))));
        if is_real {
            for (to, notify) in told(&ended) {
                bench.datagram(&to.to_string(), &ack(&notify));
            }
        }
        let later = told(&bench.pass(seconds(120)));
        let by = |is_by: fn(u64) -> bool| {
            let mut told = later.iter().filter(|(_, it)| about(it) == prefix(PART) && is_by(it.nonce.0));
            told.any(|(_, notify)| notify.records[0].ttl == Ttl(0))
        };
        assert_eq!(by(|nonce| (5000..1 << 50).contains(&nonce)), is_real, "by the outer one: {later:?}");
        assert_eq!(by(|nonce| nonce < 5000), !is_real, "by the inner one: {later:?}");
    }
}

/// As [`before`], and the xTR has acknowledged a part of the site too.
fn before_with_a_part() -> (Bench, Memory) {
    let (mut bench, mut memory) = before();
    bench.pass(seconds(5));
    let outputs = site_says(&mut bench, 2, vec![record(prefix(PART), &["198.51.100.2"])]);
    write(&mut memory, &outputs);
    let (to, notify) = told_once(&outputs);
    write(&mut memory, &bench.datagram(&to.to_string(), &ack(&notify)));
    bench.pass(seconds(5));
    (bench, memory)
}

#[test]
fn what_was_withdrawn_inside_it_and_not_acknowledged_is_told_after_a_restart() {
    let (mut bench, mut memory) = before_with_a_part();
    let outputs = site_says(&mut bench, 3, vec![gone(prefix(PART))]);
    write(&mut memory, &outputs);
    assert_eq!(told_once(&outputs).1.nonce.0, 43);
    let mut bench = Bench::with(with(told_after(40)), copy(&memory));
    says(&mut bench, 1, "198.51.100.1");
    assert_eq!(told(&bench.pass(seconds(170))), [], "the site may register it again");
    says(&mut bench, 2, "198.51.100.1");
    let outputs = bench.pass(seconds(14));
    write(&mut memory, &outputs);
    let (to, notify) = told_once(&outputs);
    assert_eq!((notify.nonce.0, about(&notify), notify.records[0].ttl), (44, prefix(PART), Ttl(0)));
    // Once it is acknowledged, no further restart tells it.
    write(&mut memory, &bench.datagram(&to.to_string(), &ack(&notify)));
    let mut bench = Bench::with(with(told_after(40)), memory);
    says(&mut bench, 1, "198.51.100.1");
    bench.pass(seconds(170));
    says(&mut bench, 2, "198.51.100.1");
    assert_eq!(told(&bench.pass(seconds(60))), []);
}

#[test]
fn a_part_that_nobody_registers_after_a_restart_is_withdrawn_and_one_that_is_there_is_told_once() {
    for (is_there, last) in [(false, Ttl(0)), (true, Ttl(1440))] {
        let (_, memory) = before_with_a_part();
        let mut bench = Bench::with(with(told_after(40)), memory);
        let parts: &[&str] = if is_there { &[SITE, PART] } else { &[SITE] };
        let all = |rloc: &str| parts.iter().map(|text| record(prefix(text), &[rloc])).collect::<Vec<_>>();
        let mut heard = Vec::new();
        for nonce in 1..5 {
            heard.extend(told(&site_says(&mut bench, nonce, all("198.51.100.1"))));
            heard.iter().for_each(|(to, notify)| drop(bench.datagram(&to.to_string(), &ack(notify))));
            heard.extend(told(&bench.pass(seconds(100))));
        }
        // One that is not acknowledged comes again as it was.
        heard.dedup();
        let heard: Vec<_> = heard.iter().map(|(_, notify)| (about(notify), notify.records[0].ttl)).collect();
        assert_eq!(heard, [(prefix(PART), last)]);
    }
}

#[test]
fn a_part_that_nobody_registers_after_a_restart_is_withdrawn_though_an_end_or_the_part_is_forged_then() {
    let forged = [SITE, PART, "2001:db8:a::/60"].map(|eid| leaving(1 << 60, prefix(eid)));
    for request in forged.into_iter().chain([subscribing(1 << 60, &[prefix(PART)], &[TWO])]) {
        let (_, memory) = before_with_a_part();
        let mut bench = Bench::with(with(told_after(40)), memory);
        says(&mut bench, 1, "198.51.100.1");
        bench.pass(seconds(170));
        says(&mut bench, 2, "198.51.100.1");
        bench.pass(seconds(11));
        bench.datagram(FROM_TWO, &ecm(&request));
        let mut heard = Vec::new();
        for nonce in 3..6 {
            heard.extend(told(&bench.pass(seconds(100))));
            says(&mut bench, nonce, "198.51.100.1");
        }
        let own = heard.iter().filter(|(to, it)| *to == address("192.0.2.1:4342") && it.nonce.0 < 1 << 50);
        let heard: Vec<_> = own.map(|(_, it)| (about(it), it.records[0].ttl)).collect();
        assert!(heard.contains(&(prefix(PART), Ttl(0))), "{request:?}: {heard:?}");
    }
}

#[test]
fn what_its_xtr_has_ended_no_forged_request_and_reload_bring_back() {
    let (mut bench, _) = before();
    let (to, confirmed) = told_once(&bench.datagram(FROM_ONE, &ecm(&leaving(50, prefix(SITE)))));
    bench.datagram(&to.to_string(), &ack(&confirmed));
    assert_eq!(subscriptions(&bench), []);
    bench.pass(seconds(5));
    told_once(&bench.datagram(FROM_TWO, &ecm(&subscribing(1 << 60, &[prefix(SITE)], &[TWO]))));
    let mut outputs = reload(&mut bench, told_after(40));
    outputs.extend(bench.pass(seconds(80)));
    outputs.extend(says(&mut bench, 2, "198.51.100.2"));
    assert_eq!(told(&outputs).into_iter().filter(|(_, it)| it.nonce.0 < 1 << 50).collect::<Vec<_>>(), []);
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn what_its_xtr_may_have_outlives_a_new_key() {
    for ends in [false, true] {
        let (_, memory) = before_with_a_part();
        let key_6 = key(6, Algorithm::HkdfSha256, "another one");
        let configured = if ends { vec![] } else { told_after(7).configured };
        let mut bench = Bench::with(with(Subscriber { key: Some(key_6.clone()), configured, ..subscriber() }), memory);
        let mut outputs = says(&mut bench, 1, "198.51.100.1");
        outputs.extend(bench.pass(seconds(170)));
        outputs.extend(says(&mut bench, 2, "198.51.100.1"));
        outputs.extend(bench.pass(seconds(60)));
        let told = outputs.iter().filter_map(|output| match output {
            Output::Send { bytes, .. } if auth::verify(bytes, &key_6, Accept::STRICT).is_ok() => {
                MapNotify::decode(bytes).ok().map(|notify| (about(&notify), notify.records[0].ttl))
            }
            _ => None,
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told.contains(&(prefix(PART), Ttl(0))), !ends, "{told:?}");
        assert_eq!(subscriptions(&bench).len(), usize::from(!ends));
    }
}

#[test]
fn a_reload_tells_nothing_anew_of_parts_that_are_as_they_were() {
    let (mut bench, _) = before_with_a_part();
    let mut heard = told(&reload(&mut bench, told_after(40)));
    for nonce in [3, 5] {
        heard.extend(told(&says(&mut bench, nonce, "198.51.100.1")));
        let part = vec![record(prefix(PART), &["198.51.100.2"])];
        heard.extend(told(&site_says(&mut bench, nonce + 1, part)));
        heard.extend(told(&bench.pass(seconds(170))));
    }
    assert_eq!(heard, []);
}

#[test]
fn a_reload_before_sites_have_had_their_time_leaves_what_they_do_not_register_for_then() {
    let (_, memory) = before_with_a_part();
    let mut bench = Bench::with(with(told_after(40)), memory);
    let mut early = told(&says(&mut bench, 1, "198.51.100.1"));
    early.extend(told(&bench.pass(seconds(90))));
    early.extend(told(&reload(&mut bench, told_after(40))));
    early.extend(told(&says(&mut bench, 2, "198.51.100.1")));
    early.extend(told(&bench.pass(seconds(85))));
    assert_eq!(early, [], "neither at the reload");
    let mut heard = told(&bench.pass(seconds(8)));
    heard.iter().for_each(|(to, notify)| drop(bench.datagram(&to.to_string(), &ack(notify))));
    for nonce in 3..6 {
        heard.extend(told(&says(&mut bench, nonce, "198.51.100.1")));
        heard.extend(told(&bench.pass(seconds(100))));
    }
    heard.dedup();
    let heard: Vec<_> = heard.iter().map(|(_, notify)| (about(notify), notify.records[0].ttl)).collect();
    assert_eq!(heard, [(prefix(PART), Ttl(0))], "nor again");
}

#[test]
fn a_second_one_to_the_same_prefix_is_refused() {
    let twice = [told_after(1).configured, told_after(2).configured].concat();
    let refused = Subscribers::new(vec![Subscriber { configured: twice, ..subscriber() }]).unwrap_err();
    let keyless = Subscribers::new(vec![Subscriber { key: None, ..told_after(1) }]).unwrap_err();
    assert_eq!(keyless, SubscriberError::NoSharedKey("x".into()));
    assert_eq!(refused, SubscriberError::SubscriptionTwice { name: "x".into(), prefix: prefix(SITE) });
}
