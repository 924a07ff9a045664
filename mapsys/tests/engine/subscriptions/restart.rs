// SPDX-License-Identifier: GPL-2.0-or-later
//! What survives a restart.

use mapsys::engine::{Config, Memory, Output, Reconfiguration};
use mapsys::limits::REREAD_SHORTEST;
use mapsys::refusal::Refusal;
use mapsys::subscribe::Subscriptions;
use mapsys::subscribe::subscriber::{Policy, Subscriber, Subscribers};
use mapsys::subscribe::subscription::{Kept, Mode};
use mapsys::transport::Sockets;
use wire::control::auth::Algorithm;
use wire::record::{Action, Ttl};

use super::xtr::*;
use crate::common::*;

/// A proven subscription with nonce 40, and what is on disk of it.
fn before() -> (Bench, Memory) {
    let mut bench = registered();
    let mut memory = Memory::default();
    let outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(40, &[host(EID)], &[ONE, TWO])));
    write(&mut memory, &outputs);
    let (to, notify) = told_once(&outputs);
    write(&mut memory, &bench.datagram(&to.to_string(), &ack(&notify)));
    assert_eq!(memory.subscriptions.len(), 1);
    (bench, memory)
}

#[test]
fn a_subscription_survives_with_its_nonce_and_is_told_only_of_what_is_new() {
    let (_, memory) = before();
    let mut bench = Bench::with(served(), memory);
    assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    assert_eq!(bench.datagram(FROM_ONE, &ecm(&subscribing(40, &[host(EID)], &[ONE]))), []);
    assert_eq!(bench.only_refused(Refusal::SubscribeReplayed), 1);
    let outputs = site_says(&mut bench, 1, vec![record(prefix(SITE), &["198.51.100.1"])]);
    assert_eq!(told(&outputs), [], "the same as before");
    bench.pass(seconds(5));
    let (to, notify) = told_once(&site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]));
    assert_eq!((to, notify.nonce.0), (address("192.0.2.1:4342"), 41));
}

#[test]
fn a_replay_before_the_site_has_registered_again_is_one() {
    let part = prefix("2001:db8:a:1::/64");
    let mut bench = registered();
    site_says(&mut bench, 2, vec![record(part, &["198.51.100.2"])]);
    let asked = ecm(&subscribing(40, &[host("2001:db8:a:1::1")], &[ONE]));
    let mut memory = Memory::default();
    let outputs = bench.datagram(FROM_ONE, &asked);
    write(&mut memory, &outputs);
    let (to, notify) = told_once(&outputs);
    assert_eq!(about(&notify), part);
    write(&mut memory, &bench.datagram(&to.to_string(), &ack(&notify)));
    let mut bench = Bench::with(served(), memory);
    assert_eq!(bench.datagram(FROM_ONE, &asked), [], "though the answer would be another one");
    assert_eq!(bench.only_refused(Refusal::SubscribeReplayed), 1);
}

#[test]
fn a_site_that_does_not_come_back_is_told_after_its_silence() {
    let (_, memory) = before();
    let mut bench = Bench::with(served(), memory);
    assert_eq!(told(&bench.pass(seconds(180))), []);
    let (_, notify) = told_once(&bench.pass(seconds(4)));
    assert_eq!((notify.nonce.0, notify.records[0].ttl), (41, Ttl(0)));
}

#[test]
fn what_was_never_acknowledged_is_told_again_when_it_is_registered_again() {
    let (mut bench, mut memory) = before();
    bench.pass(seconds(5));
    write(&mut memory, &site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]));
    let mut bench = Bench::with(served(), memory);
    let (_, notify) = told_once(&site_says(&mut bench, 3, vec![record(prefix(SITE), &["198.51.100.2"])]));
    assert_eq!(notify.nonce.0, 42, "41 was used before the restart");
}

#[test]
fn what_was_not_proven_is_taken_back_and_its_sender_told() {
    let mut bench = registered();
    let mut memory = Memory::default();
    write(&mut memory, &bench.datagram(FROM_ONE, &ecm(&subscribing(40, &[host(EID)], &[ONE]))));
    assert_eq!(memory.subscriptions.len(), 1);
    let mut bench = Bench::with(served(), memory.clone_for_test());
    let outputs = bench.pass(seconds(0));
    write(&mut memory, &outputs);
    let (to, farewell) = told_once(&outputs);
    assert_eq!((to, farewell.nonce.0), (address("192.0.2.1:4342"), 40));
    assert_eq!(farewell.records[0].action, Action::DropAuthFailure);
    assert!(subscriptions(&bench).is_empty() && memory.subscriptions.is_empty());
    subscribe(&mut bench, 41, host(EID));
}

#[test]
fn a_muted_part_stays_muted_in_whatever_order_the_disk_has_it() {
    let part = prefix("2001:db8:a:1::/64");
    let (mut bench, mut memory) = before();
    let outputs = bench.datagram(FROM_ONE, &ecm(&leaving(41, part)));
    write(&mut memory, &outputs);
    let (to, notify) = told_once(&outputs);
    write(&mut memory, &bench.datagram(&to.to_string(), &ack(&notify)));
    memory.subscriptions.sort_by_key(|kept| std::cmp::Reverse(kept.net.prefix_len()));
    assert_eq!(memory.subscriptions[0].net, part.net, "the part comes first");
    let mut bench = Bench::with(served(), memory);
    let both = [(prefix(SITE), Mode::Publish, true), (part, Mode::Mute, true)];
    assert_eq!(subscriptions(&bench), both);
    let outputs = site_says(&mut bench, 3, vec![record(part, &["198.51.100.2"])]);
    assert!(told(&outputs).iter().all(|(_, notify)| about(notify) != part));
}

#[test]
fn under_a_new_key_nonces_begin_anew() {
    let (_, mut memory) = before();
    let key_6 = key(6, Algorithm::HkdfSha256, "another one");
    let config = Config { subscribers: vec![Subscriber { key: Some(key_6), ..subscriber() }], ..served() };
    let mut bench = Bench::with(config, memory.clone_for_test());
    let outputs = bench.pass(seconds(0));
    write(&mut memory, &outputs);
    assert!(memory.subscriptions.is_empty(), "the old security association is gone, on disk too");
    let outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(1, &[host(EID)], &[ONE])));
    assert_eq!(sent(&outputs).len(), 1);
    assert_eq!(bench.engine.tally().total(), 0);
}

/// Takes another configuration of who subscribes.
fn reload(bench: &mut Bench, subscriber: Subscriber) -> Vec<mapsys::engine::Output> {
    let Config { sites, trust_anchors, clients, foreign, pubsub, ddt, lisp_sec, .. } = served();
    let subscribers = vec![subscriber];
    let newer = Reconfiguration { sites, trust_anchors, clients, foreign, subscribers, pubsub, ddt, lisp_sec };
    bench.engine.reconfigure(bench.now, newer).unwrap();
    bench.drain()
}

#[test]
fn a_change_that_was_not_acknowledged_is_told_after_a_reload() {
    let (mut bench, _) = before();
    bench.pass(seconds(5));
    let part = prefix("2001:db8:a:1::/64");
    let both = vec![record(prefix(SITE), &["198.51.100.2"]), record(part, &["198.51.100.2"])];
    assert_eq!(told(&site_says(&mut bench, 2, both)).len(), 2);
    let mut outputs = reload(&mut bench, subscriber());
    outputs.extend(bench.pass(seconds(4)));
    let again = told(&outputs);
    let heard: Vec<_> = again.iter().map(|(_, notify)| (about(notify), rlocs(&notify.records[0]))).collect();
    for prefix in [prefix(SITE), part] {
        assert!(heard.contains(&(prefix, vec!["198.51.100.2".into()])), "{heard:?}");
    }
    assert!(again.iter().all(|(_, notify)| notify.nonce.0 > 42), "41 and 42 were used before");
}

#[test]
fn a_change_that_waits_is_told_after_a_reload() {
    let (mut bench, _) = before();
    bench.pass(seconds(5));
    let (to, notify) = told_once(&site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]));
    acknowledge(&mut bench, to, &notify);
    assert_eq!(told(&site_says(&mut bench, 3, vec![record(prefix(SITE), &["198.51.100.3"])])), [], "too soon");
    assert_eq!(told(&reload(&mut bench, subscriber())), []);
    let (_, notify) = told_once(&bench.pass(seconds(4)));
    assert_eq!((notify.nonce.0, rlocs(&notify.records[0])), (42, vec!["198.51.100.3".to_owned()]));
}

#[test]
fn what_is_owed_when_the_configuration_is_read_again_is_told() {
    let (sent, waits, part) = (prefix("2001:db8:a:1::/64"), prefix("2001:db8:a:2::/64"), prefix("2001:db8:a:8::/61"));
    let forged =
        [leaving(1 << 60, prefix(SITE)), subscribing(1 << 60, &[prefix(SITE)], &[TWO]), leaving(1 << 60, part)];
    for request in forged {
        let (mut bench, _) = before();
        bench.pass(seconds(5));
        told_once(&site_says(&mut bench, 2, vec![record(sent, &["198.51.100.2"])]));
        bench.datagram(FROM_TWO, &ecm(&request));
        let inside = prefix("2001:db8:a:9::/64");
        site_says(&mut bench, 3, [waits, inside].map(|eid| record(eid, &["198.51.100.3"])).to_vec());
        let mut outputs = reload(&mut bench, subscriber());
        outputs.extend(bench.pass(seconds(4)));
        let own: Vec<_> = told(&outputs).into_iter().filter(|(to, _)| *to == address("192.0.2.1:4342")).collect();
        let heard: Vec<_> = own.iter().map(|(_, notify)| (about(notify), rlocs(&notify.records[0]))).collect();
        for (eid, rloc) in [(sent, "198.51.100.2"), (waits, "198.51.100.3"), (inside, "198.51.100.3")] {
            assert!(heard.contains(&(eid, vec![rloc.to_owned()])), "{eid}: {heard:?}");
        }
        assert_eq!(subscriptions(&bench), [(prefix(SITE), Mode::Publish, true)]);
    }
}

#[test]
fn a_reload_takes_itr_rlocs_away() {
    let (mut bench, mut memory) = before();
    bench.pass(seconds(5));
    reload(&mut bench, Subscriber { rlocs: vec!["192.0.2.2/32".parse().unwrap()], ..subscriber() });
    let (to, notify) = told_once(&site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]));
    assert_eq!(to, address("192.0.2.2:4342"), "the one that is left");
    acknowledge(&mut bench, to, &notify);
    let elsewhere = Subscriber { rlocs: vec!["203.0.113.0/24".parse().unwrap()], ..subscriber() };
    let outputs = reload(&mut bench, elsewhere);
    assert_eq!(subscriptions(&bench), []);
    write(&mut memory, &outputs);
    let left = memory.subscriptions[0].proven.as_ref().unwrap();
    assert_eq!((left.mode, left.nonce), (Mode::Gone, 41), "on disk too");
    assert_eq!(told(&site_says(&mut bench, 3, vec![record(prefix(SITE), &["198.51.100.3"])])), []);
}

#[test]
fn a_reload_takes_eids_away() {
    let (mut bench, _) = before();
    bench.pass(seconds(5));
    let (own, other) = (prefix("2001:db8:a:1::/64"), prefix("2001:db8:a:2::/64"));
    reload(&mut bench, Subscriber { eids: vec![own], ..subscriber() });
    let both = [own, other].map(|prefix| record(prefix, &["198.51.100.2"]));
    let (_, notify) = told_once(&site_says(&mut bench, 2, both.to_vec()));
    assert_eq!(about(&notify), own);
    reload(&mut bench, Subscriber { eids: vec![prefix("2001:db8:b::/48")], ..subscriber() });
    assert_eq!(subscriptions(&bench), []);
}

#[test]
fn the_dht_is_not_asked_for_all_at_once() {
    let (bench, memory) = before();
    let foreign = |n: usize| {
        let net = format!("2001:db8:b:{n:x}::/64").parse().unwrap();
        Kept { net, is_foreign: true, ..memory.subscriptions[0].clone() }
    };
    let subscribers = Subscribers::new(vec![subscriber()]).unwrap();
    let sockets = Sockets(vec![address(SERVER)]);
    let mut now = bench.now;
    let mut restored = Subscriptions::restore(now, subscribers, Policy::default(), sockets, (0..1000).map(foreign));
    now.monotonic += REREAD_SHORTEST + seconds(1);
    let first = std::iter::from_fn(|| restored.poll_watch(now)).count();
    assert_eq!(first, 21, "twenty a second");
    now.monotonic += seconds(1);
    restored.pause_watches(now);
    assert!(restored.next_deadline().unwrap() > now.monotonic, "where there is no room, it is not tried in a circle");
    assert!(restored.poll_watch(now).is_some(), "and nothing is lost");
}

#[test]
fn a_temporary_subscription_does_not_live_longer_for_a_restart() {
    let mut bench = Bench::new(served());
    let mut memory = Memory::default();
    let outputs = bench.datagram(FROM_ONE, &ecm(&subscribing(40, &[host(EID)], &[ONE])));
    write(&mut memory, &outputs);
    let (to, notify) = told_once(&outputs);
    write(&mut memory, &bench.datagram(&to.to_string(), &ack(&notify)));
    bench.pass(seconds(600));
    let now = bench.now;
    let mut bench = Bench::with(served(), memory);
    let skew = now.wall.duration_since(bench.now.wall).unwrap_or_default();
    bench.pass(seconds(898));
    assert_eq!(subscriptions(&bench).len(), usize::from(skew >= seconds(599)));
    bench.pass(seconds(4));
    assert_eq!(subscriptions(&bench), []);
}

/// A copy, so that a test can compare.
trait CloneForTest {
    fn clone_for_test(&self) -> Self;
}

impl CloneForTest for Memory {
    fn clone_for_test(&self) -> Self {
        Self { subscriptions: self.subscriptions.clone(), ..Self::default() }
    }
}

#[test]
fn the_address_that_a_subscription_was_made_at_is_kept_behind_a_socket_on_all_addresses() {
    let (_, memory) = before();
    let sockets = vec![address("0.0.0.0:4342"), address("192.0.2.99:4342")];
    let mut bench = Bench::with(Config { sockets, ..served() }, memory);
    let outputs = site_says(&mut bench, 2, vec![record(prefix(SITE), &["198.51.100.2"])]);
    let from = outputs.iter().find_map(|output| match output {
        Output::Send { local, remote, .. } if *remote == address("192.0.2.1:4342") => Some(*local),
        _ => None,
    });
    assert_eq!(from, Some(address(SERVER)));
}
