// SPDX-License-Identifier: GPL-2.0-or-later
//! Sites of which the DHT knows the configured prefixes only.

use std::collections::BTreeSet;
use std::time::Duration;

use cgeid::Network;
use dht::publish::{self, PageKind, Sequence};
use dht::record::{Entry, Index, Subject, Target};
use mapsys::engine::{Config, Output};
use mapsys::register::site::{Publish, Site, SitePrefix};

use super::world::*;
use crate::common::*;

fn aggregated() -> Site {
    let prefixes = vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }];
    Site { publish: Publish::Aggregate, prefixes, ..site_a() }
}

#[test]
fn a_resolver_elsewhere_sends_the_request_on_and_the_map_server_answers() {
    let mut world = two(aggregated());
    world.datagram(0, ETR, &sealed(1, vec![record(prefix("2001:db8:a:5::/64"), &["198.51.100.1"])]));
    for (nonce, eid, found) in [(5, "2001:db8:a:5::2", true), (6, "2001:db8:a:6::2", false)] {
        let asked = ecm(&request(nonce, &[host(eid)], &[RLOC]));
        let outputs = world.datagram(1, ITR, &asked);
        let sends: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Send { .. })).collect();
        let [Output::Send { remote, bytes, .. }] = sends.as_slice() else { panic!("{outputs:?}") };
        assert_eq!((*remote, bytes), (address("203.0.113.1:4342"), &asked));
        let (to, reply) = reply(&world.datagram(0, SERVER, bytes));
        assert_eq!(to, address("192.0.2.1:61000"));
        assert_eq!(!reply.records[0].locators.is_empty(), found, "{eid}");
    }
}

#[test]
fn an_itr_may_ask_for_many_of_them_at_once() {
    let mut world = two(aggregated());
    for n in 0..20u64 {
        let asked = ecm(&request(n, &[host(&format!("2001:db8:a:{n:x}::2"))], &[RLOC]));
        assert_eq!(sent(&world.datagram(1, ITR, &asked)).len(), 1, "{n}");
    }
}

#[test]
fn registrations_come_and_go_without_a_put() {
    let mut world = two(aggregated());
    let before = world.puts.len();
    assert_eq!(world.puts_of(Subject::Prefix(prefix(SITE))), 1);
    for n in 0..40u64 {
        let batch = (0..50).map(|m| record(prefix(&format!("2001:db8:a:{:x}::/64", n * 50 + m)), &["198.51.100.1"]));
        notify(&world.datagram(0, ETR, &sealed(n + 1, batch.collect())));
    }
    assert_eq!(world.benches[0].registered().len(), 2000, "more than a page of the DHT holds");
    world.pass(Duration::from_secs(600));
    assert_eq!(world.benches[0].registered(), []);
    assert_eq!(world.puts.len(), before);
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.puts_of(Subject::Prefix(prefix(SITE))), 4, "signed again, registered or not");
}

/// A registrar of [`SITE`] and a resolver, under the anchor of somebody else, who has delegated the site to the registrar with
/// more-specifics up to a length.
fn delegated(site: Site, max_plen: u8) -> World {
    let (delegator, registrar_key) = (operational(), operational());
    let trusted = anchor("2001:db8::/32", delegator.cn());
    let registrars = BTreeSet::from([registrar_key.cn()]);
    let registrar = Config { trust_anchors: vec![trusted], ..registrar(registrar_key, vec![site]) };
    let mut world = World::new(vec![registrar, resolver(vec![trusted])]);
    let entry = Entry { prefix: prefix(SITE), target: Target::Site { registrars, max_plen } };
    let page = Index::new(trusted.aggregate, vec![entry]).unwrap();
    let mut sequence = Sequence::default();
    let (now, kind) = (world.now.wall, PageKind::Delegations);
    let publication = publish::index(&delegator, Network::LAB, page, kind, now, &mut sequence).unwrap();
    world.dht.put(now, &publication.key, &publication.value).unwrap();
    world
}

#[test]
fn under_the_anchor_of_others_it_is_found_whatever_more_specifics_were_delegated() {
    for max_plen in [48, 64] {
        let mut world = delegated(aggregated(), max_plen);
        assert_eq!(world.benches[0].engine.own_anchors(), [], "the delegator is the anchor");
        world.datagram(0, ETR, &sealed(1, vec![record(prefix("2001:db8:a:5::/64"), &["198.51.100.1"])]));
        for (nonce, eid, found) in [(5, "2001:db8:a:5::2", true), (6, "2001:db8:a:6::2", false)] {
            let asked = ecm(&request(nonce, &[host(eid)], &[RLOC]));
            let outputs = world.datagram(1, ITR, &asked);
            let sends: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Send { .. })).collect();
            let [Output::Send { remote, bytes, .. }] = sends.as_slice() else { panic!("{max_plen}: {outputs:?}") };
            assert_eq!((*remote, bytes), (address("203.0.113.1:4342"), &asked));
            let (_, reply) = reply(&world.datagram(0, SERVER, bytes));
            assert_eq!(!reply.records[0].locators.is_empty(), found, "{max_plen}: {eid}");
        }
        // What is delegated beside it is none of its business.
        let beside = ecm(&request(7, &[host("2001:db8:b::2")], &[RLOC]));
        let (hole, ..) = negative(&reply(&world.datagram(1, ITR, &beside)).1);
        assert!(hole.covers(&host("2001:db8:b::2")) && !hole.covers(&prefix(SITE)), "{hole}");
    }
}

#[test]
fn under_the_anchor_of_others_a_site_that_registers_itself_is_listed_beside_its_more_specifics_at_once() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut world = delegated(open, 64);
    world.datagram(0, ETR, &sealed(1, vec![record(prefix("2001:db8:a:5::/64"), &["198.51.100.1"])]));
    world.pass(Duration::from_secs(11));
    let before = world.puts_of(Subject::Index(prefix(SITE)));
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.1"])]));
    world.pass(Duration::from_secs(11));
    assert_eq!(world.puts_of(Subject::Index(prefix(SITE))), before + 1);
    assert_eq!(world.ask(1, 5, host("2001:db8:a:6::2")).records[0].locators.len(), 1);
}

#[test]
fn an_address_that_comes_in_the_place_of_another_is_where_others_ask() {
    let mut world = two(aggregated());
    world.datagram(0, ETR, &sealed(1, vec![record(prefix("2001:db8:a:5::/64"), &["198.51.100.1"])]));
    let asked_at = |world: &mut World, nonce| {
        let asked = ecm(&request(nonce, &[host("2001:db8:a:5::2")], &[RLOC]));
        let outputs = world.datagram(1, ITR, &asked);
        let sends = outputs.into_iter().filter_map(|output| match output {
            Output::Send { remote, .. } => Some(remote),
            _ => None,
        });
        sends.collect::<Vec<_>>()
    };
    assert_eq!(asked_at(&mut world, 5), [address("203.0.113.1:4342")]);
    let readdress = |world: &mut World, sockets: &[&str]| {
        let sockets = sockets.iter().map(|socket| address(socket)).collect();
        let now = world.now;
        world.benches[0].engine.readdress(now, sockets);
        let outputs = world.benches[0].drain();
        world.settle(0, outputs);
        // Longer than what was read of it is kept.
        world.pass(Duration::from_secs(2 * 3600));
    };
    readdress(&mut world, &["203.0.113.9:4342"]);
    assert_eq!(asked_at(&mut world, 6), [address("203.0.113.9:4342")]);
    // With none for the moment it is where it was.
    readdress(&mut world, &["0.0.0.0:4342"]);
    assert_eq!(asked_at(&mut world, 7), [address("203.0.113.9:4342")]);
}
