// SPDX-License-Identifier: GPL-2.0-or-later
//! Another configuration while the map system runs.

use std::time::Duration;

use dht::record::Subject;
use mapsys::engine::Reconfiguration;
use mapsys::limit::Foreign;
use mapsys::limits::LIVE_MORE_SPECIFICS;
use mapsys::register::site::{Publish, Site, SiteKey, SitePrefix};
use wire::control::auth::Secret;
use wire::record::Action;

use super::world::*;
use crate::common::*;

fn newer(sites: Vec<Site>) -> Reconfiguration {
    let (trust_anchors, clients, subscribers) = (vec![], vec![], vec![]);
    let (foreign, pubsub) = (Foreign::FromItrRloc, mapsys::subscribe::subscriber::Policy::default());
    let (ddt, lisp_sec) = (mapsys::ddt::Config::default(), vec![]);
    Reconfiguration { sites, trust_anchors, clients, foreign, subscribers, pubsub, ddt, lisp_sec }
}

fn wide(publish: Publish) -> Site {
    let prefixes = vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }];
    Site { publish, prefixes, ..site_a() }
}

/// Reconfigures the registrar, and lets what follows happen.
fn reload(world: &mut World, sites: Vec<Site>) -> (usize, usize) {
    let done = world.benches[0].engine.reconfigure(world.now, newer(sites)).unwrap();
    // Changes of one prefix are published ten seconds apart.
    world.pass(Duration::from_secs(11));
    (done.kept, done.ended)
}

#[test]
fn a_site_that_stays_keeps_what_it_registered_and_its_nonce() {
    let mut world = registered();
    assert_eq!(reload(&mut world, vec![site("b", 2, "secret of b", &[prefix("10.2.0.0/16")]), site_a()]), (1, 0));
    assert_eq!(locators(&world.ask(1, 5, host("2001:db8:a::7")).records[0]), ["198.51.100.1"]);
    let replayed = sealed(1, vec![record(prefix(SITE), &["198.51.100.9"])]);
    assert_eq!(sent(&world.datagram(0, ETR, &replayed)), [], "its nonce is remembered");
}

#[test]
fn a_new_secret_holds_at_once_and_the_old_one_no_more() {
    let mut world = registered();
    let key = SiteKey { id: 2, algorithm: None, secret: Secret::new(b"new".to_vec()) };
    assert_eq!(reload(&mut world, vec![Site { keys: vec![key], ..site_a() }]), (1, 0));
    assert_eq!(sent(&world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.2"])]))), []);
    let message = register(1, vec![record(prefix(SITE), &["198.51.100.3"])]);
    let sealed = seal(message, &key_of(2, "new"));
    notify(&world.datagram(0, ETR, &sealed));
}

fn key_of(id: u8, secret: &str) -> wire::control::auth::AuthKey {
    key(id, wire::control::auth::Algorithm::HmacSha256, secret)
}

#[test]
fn what_a_site_may_not_have_any_more_is_withdrawn_for_everybody() {
    let mut world = registered();
    assert_eq!(world.ask(1, 4, host("2001:db8:a::7")).records[0].locators.len(), 1);
    assert_eq!(reload(&mut world, vec![]), (0, 1));
    world.pass(Duration::from_secs(3600));
    let (covering, action, _) = negative(&world.ask(1, 5, host("2001:db8:a::7")));
    assert_eq!((covering.covers(&prefix(SITE)), action), (true, Action::NativelyForward), "the page is empty");
    assert!(world.puts_of(Subject::Prefix(prefix(SITE))) >= 2);
    let puts = world.puts.len();
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.puts.len(), puts, "nothing is kept up that nobody has");
}

#[test]
fn a_prefix_that_moves_to_another_site_is_registered_anew() {
    let mut world = registered();
    assert_eq!(reload(&mut world, vec![site("b", 1, "secret of b", &[prefix(SITE)])]), (0, 1));
    assert!(world.benches[0].registered().is_empty());
    let anew = register(1, vec![record(prefix(SITE), &["198.51.100.2"])]);
    notify(&world.datagram(0, ETR, &seal(anew, &key_of(1, "secret of b"))));
}

#[test]
fn contradictions_change_nothing() {
    let mut world = registered();
    let twice = vec![site_a(), site("b", 1, "secret of b", &[prefix(SITE)])];
    assert!(world.benches[0].engine.reconfigure(world.now, newer(twice)).is_err());
    assert_eq!(world.benches[0].registered(), [prefix(SITE)]);
    notify(&world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.2"])])));
}

#[test]
fn each_becomes_aggregate_and_aggregate_each_without_a_registration() {
    let mut world = two(wide(Publish::Each));
    let inner = prefix("2001:db8:a:5::/64");
    notify(&world.datagram(0, ETR, &sealed(1, vec![record(inner, &["198.51.100.1"])])));
    world.pass(Duration::from_secs(11));
    assert_eq!(world.puts_of(Subject::Prefix(inner)), 1);

    assert_eq!(reload(&mut world, vec![wide(Publish::Aggregate)]), (1, 0));
    assert_eq!(world.puts_of(Subject::Prefix(inner)), 2, "withdrawn: the aggregate stands for it");
    assert_eq!(world.puts_of(Subject::Prefix(prefix(SITE))), 1);
    let asked = ecm(&request(5, &[host("2001:db8:a:5::2")], &[RLOC]));
    world.pass(Duration::from_secs(3600));
    notify(&world.datagram(0, ETR, &sealed(2, vec![record(inner, &["198.51.100.1"])])));
    assert_eq!(sent(&world.datagram(1, ITR, &asked)).len(), 1);

    assert_eq!(reload(&mut world, vec![wide(Publish::Each)]), (1, 0));
    assert_eq!(world.puts_of(Subject::Prefix(inner)), 3, "and again by itself");
    world.pass(Duration::from_secs(3600));
    notify(&world.datagram(0, ETR, &sealed(3, vec![record(inner, &["198.51.100.1"])])));
    world.pass(Duration::from_secs(11));
    assert_eq!(locators(&world.ask(1, 7, host("2001:db8:a:5::2")).records[0]), ["198.51.100.1"]);
}

#[test]
fn an_anchor_that_is_not_trusted_any_more_says_nothing_any_more() {
    let mut world = registered();
    assert_eq!(world.ask(1, 4, host("2001:db8:a::7")).records[0].locators.len(), 1);
    world.benches[1].engine.reconfigure(world.now, newer(vec![])).unwrap();
    let (_, action, _) = negative(&world.ask(1, 5, host("2001:db8:a::7")));
    assert_eq!(action, Action::NativelyForward, "nobody is trusted for it: nothing of the cache is told");
}

#[test]
fn of_an_aggregate_that_is_published_each_by_itself_no_more_stays_than_its_page_has_room_for() {
    let mut world = two(wide(Publish::Aggregate));
    let all: Vec<_> = (0..LIVE_MORE_SPECIFICS + 20).map(|n| prefix(&format!("2001:db8:a:{n:x}::/64"))).collect();
    for (nonce, some) in (1..).zip(all.chunks(46)) {
        let records = some.iter().map(|prefix| record(*prefix, &["198.51.100.1"])).collect();
        notify(&world.datagram(0, ETR, &sealed(nonce, records)));
    }
    assert_eq!(reload(&mut world, vec![wide(Publish::Each)]), (LIVE_MORE_SPECIFICS, 20));
    assert_eq!(world.benches[0].registered(), all[..LIVE_MORE_SPECIFICS]);
    let last = |n: usize| host(&format!("2001:db8:a:{n:x}::7"));
    let found = world.ask(1, 5, last(LIVE_MORE_SPECIFICS - 1));
    assert_eq!(locators(&found.records[0]), ["198.51.100.1"], "its page can be read");
    assert_eq!(negative(&world.ask(1, 6, last(LIVE_MORE_SPECIFICS))).1, Action::NativelyForward);
}
