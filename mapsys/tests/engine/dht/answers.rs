// SPDX-License-Identifier: GPL-2.0-or-later
//! What one map system registers, another answers for: mappings, holes, CGEIDs.

use std::collections::BTreeSet;
use std::time::Duration;

use cgeid::{Cn, Network, OperationalKey};
use dht::publish::{self, PageKind, Sequence};
use dht::record::{Entry, Index, Mapping, Rloc, RlocFlags, Target};
use mapsys::engine::{Config, Input, Output};
use mapsys::register::site::{Site, SitePrefix};
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::Algorithm;
use wire::control::{ControlMessage, MapRegister, MapReply};
use wire::record::{Action, MappingRecord, Ttl};

use super::world::*;
use crate::common::*;

#[test]
fn what_one_map_system_registers_another_answers_for() {
    let mut world = registered();
    let reply = world.ask(1, 7, host("2001:db8:a::2"));
    let [record] = reply.records.as_slice() else { panic!("{reply:?}") };
    assert_eq!(reply.nonce.0, 7);
    assert_eq!(record.eid.ip_prefix(), Some(prefix(SITE)));
    assert_eq!(record.locators[0].rloc.ip(), Some("198.51.100.1".parse().unwrap()));
    assert!(!record.authoritative && !record.locators[0].local && record.locators[0].reachable);
    assert!(record.ttl >= Ttl(1) && record.ttl <= Ttl(60), "not past the signature: {:?}", record.ttl);
}

#[test]
fn a_self_anchored_node_says_which_trust_anchor_to_give() {
    let identity = operational();
    let cn = identity.cn();
    let world = World::new(vec![registrar(identity, vec![site_a()])]);
    assert_eq!(world.benches[0].engine.own_anchors(), [anchor(SITE, cn)]);
    let covered =
        Config { trust_anchors: vec![anchor("2001:db8::/32", cn)], ..registrar(operational(), vec![site_a()]) };
    assert_eq!(World::new(vec![covered]).benches[0].engine.own_anchors(), []);
}

#[test]
fn a_site_that_fell_silent_is_negative_for_a_minute() {
    let mut world = registered();
    world.pass(Duration::from_secs(181));
    let reply = world.ask(1, 1, host("2001:db8:a::2"));
    assert_eq!(negative(&reply), (prefix(SITE), Action::NativelyForward, Ttl(1)));
    world.pass(Duration::from_secs(61));
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.2"])]));
    world.pass(Duration::from_secs(11));
    assert_eq!(world.ask(1, 2, host("2001:db8:a::2")).records[0].locators.len(), 1, "and comes back");
}

/// A page of 2001:db8::/32 that delegates two sites to its signer.
fn publish_two_sites(world: &mut World, identity: &OperationalKey) {
    let entry = |text: &str| Entry {
        prefix: prefix(text),
        target: Target::Site { registrars: BTreeSet::from([identity.cn()]), max_plen: 48 },
    };
    let page = Index::new(prefix("2001:db8::/32"), vec![entry("2001:db8:a::/48"), entry("2001:db8:b::/48")]).unwrap();
    let (now, mut sequence) = (world.now.wall, Sequence::default());
    let page = publish::index(identity, Network::LAB, page, PageKind::Delegations, now, &mut sequence).unwrap();
    world.dht.put(now, &page.key, &page.value).unwrap();
}

#[test]
fn a_hole_of_the_dht_covers_no_site_that_is_configured_here() {
    let identity = operational();
    let trust_anchors = vec![anchor("2001:db8::/32", identity.cn())];
    let here = site("b", 1, "secret of b", &[prefix("2001:db8:41::/48")]);
    let mut world = World::new(vec![Config { trust_anchors, ..registrar(operational(), vec![here]) }]);
    publish_two_sites(&mut world, &identity);
    let hole = world.ask(0, 1, host("2001:db8:77::2"));
    assert_eq!(negative(&hole), (prefix("2001:db8:60::/43"), Action::NativelyForward, Ttl(15)));
}

#[test]
fn a_proven_hole_is_computed_and_lasts_fifteen_minutes() {
    let identity = operational();
    let cn = identity.cn();
    let mut world = World::new(vec![resolver(vec![anchor("2001:db8::/32", cn)])]);
    publish_two_sites(&mut world, &identity);
    let hole = world.ask(0, 1, host("2001:db8:77::2"));
    assert_eq!(negative(&hole), (prefix("2001:db8:40::/42"), Action::NativelyForward, Ttl(15)));
    let delegated = world.ask(0, 2, host("2001:db8:a::2"));
    assert_eq!(negative(&delegated), (prefix("2001:db8:a::/48"), Action::NativelyForward, Ttl(1)));
    let (outside, action, ttl) = negative(&world.ask(0, 3, host("2001:db9::2")));
    assert_eq!((action, ttl), (Action::NativelyForward, Ttl(15)));
    assert!(outside.covers(&host("2001:db9::2")) && !outside.covers(&prefix("2001:db8::/32")), "{outside}");
}

#[test]
fn a_cgeid_is_found_by_its_own_key_and_published_through_the_pipe() {
    let identity = operational();
    let own = EidPrefix::host(InstanceId(0), identity.address().into());
    let mut world = World::new(vec![registrar(identity, vec![]), resolver(vec![])]);
    let message = seal(register(1, vec![record(own, &["198.51.100.1"])]), &pipe_key());
    let outputs = world.pipe(0, &message);
    assert!(outputs.iter().any(|output| matches!(output, Output::Pipe { .. })), "{outputs:?}");
    let reply = world.ask(1, 1, own);
    assert_eq!(reply.records[0].eid.ip_prefix(), Some(own));
    assert_eq!(reply.records[0].locators.len(), 1);
    world.pass(Duration::from_secs(3600));
    assert_eq!(negative(&world.ask(1, 2, own)).1, Action::DropNoReason, "withdrawn after three silent minutes");
}

#[test]
fn a_cgeid_with_no_locator_that_a_map_reply_can_say_is_absent_and_such_a_locator_is_left_out() {
    let (owner, mut sequence) = (operational(), Sequence::default());
    let eid = EidPrefix::host(InstanceId(0), owner.address().into());
    let mut world = World::new(vec![resolver(vec![])]);
    let plain = Rloc {
        priority: 1,
        weight: 100,
        mpriority: 255,
        mweight: 0,
        flags: RlocFlags { reachable: true, ..RlocFlags::default() },
        address: [198, 51, 100, 1].into(),
        port: 0,
    };
    let behind = |port, nat, rtr| Rloc {
        flags: RlocFlags { nat, rtr, ..plain.flags },
        address: [198, 51, 100, 2].into(),
        port,
        ..plain
    };
    let unsaid = [behind(4341, false, false), behind(0, true, false), behind(0, false, true)];
    let mut said = |locators: Vec<Rloc>| {
        // Nothing is answered from the cache any more.
        world.pass(Duration::from_secs(61));
        let (mapping, now) = (Mapping::new(locators, Ttl(1)), world.now.wall);
        let publication = publish::mapping(&owner, Network::LAB, mapping, now, &mut sequence).unwrap();
        world.dht.put(now, &publication.key, &publication.value).unwrap();
        world.ask(0, 1, eid)
    };
    for locators in unsaid.map(|locator| vec![locator]).into_iter().chain([vec![], unsaid.to_vec()]) {
        assert_eq!(negative(&said(locators.clone())), (eid, Action::DropNoReason, Ttl(1)), "{locators:?}");
    }
    let reply = said(unsaid.into_iter().chain([plain]).collect());
    assert_eq!(locators(&reply.records[0]), ["198.51.100.1"]);
}

#[test]
fn a_replayed_record_that_has_expired_leads_nobody_out_of_the_tunnel() {
    let (owner, mut sequence) = (operational(), Sequence::default());
    let eid = EidPrefix::host(InstanceId(0), owner.address().into());
    let mut world = World::new(vec![resolver(vec![])]);
    let now = world.now.wall;
    let old = publish::withdraw_mapping(&owner, Network::LAB, now, &mut sequence).unwrap();
    world.pass(Duration::from_secs(3601));
    let junk = b"junk".to_vec();
    let replays = [vec![old.value.clone()], vec![old.value.clone(), junk.clone()], vec![junk, old.value]];
    let expected = [Action::DropNoReason, Action::DropAuthFailure, Action::DropAuthFailure];
    for ((nonce, values), expected) in (1..).zip(replays).zip(expected) {
        world.pass(Duration::from_secs(61));
        world.mode = Mode::Silent;
        world.datagram(0, ITR, &ecm(&request(nonce, &[eid], &[RLOC])));
        world.benches[0].engine.handle(world.now, Input::DhtValues { key: old.key, values: Some(values) });
        assert_eq!(negative(&reply(&world.benches[0].drain()).1), (eid, expected, Ttl(1)));
    }
}

#[test]
fn an_absent_cgeid_is_dropped_on_the_wire_and_asked_again_in_the_process() {
    let absent = EidPrefix::host(InstanceId(0), Cn([7; 12]).address(Network::LAB).into());
    let mut world = World::new(vec![resolver(vec![])]);
    assert_eq!(negative(&world.ask(0, 1, absent)), (absent, Action::DropNoReason, Ttl(1)));
    for nonce in 2..4 {
        let before = world.gets.len();
        let outputs = world.pipe(0, &ecm(&request(nonce, &[absent], &[RLOC])));
        let [Output::Pipe { bytes }] = outputs.as_slice() else { panic!("{outputs:?}") };
        let ControlMessage::MapReply(reply) = ControlMessage::decode(bytes).unwrap() else { panic!() };
        assert_eq!(negative(&reply), (absent, Action::SendMapRequest, Ttl(1)));
        assert_eq!(world.gets.len(), before + 1, "each time the DHT is asked");
    }
    let before = world.gets.len();
    world.ask(0, 9, absent);
    assert_eq!(world.gets.len(), before, "the network is answered from the cache");
}

#[test]
fn registered_more_specifics_go_with_their_best_match_or_narrow_it() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut world = two(open);
    let records = vec![
        record(prefix(SITE), &["198.51.100.1"]),
        record(prefix("2001:db8:a:1::/64"), &["198.51.100.2"]),
        record(prefix("2001:db8:a:8000::/64"), &["198.51.100.3"]),
    ];
    world.datagram(0, ETR, &sealed(1, records));
    world.pass(Duration::from_secs(11));
    let rlocs =
        |reply: &MapReply| -> Vec<_> { reply.records[0].locators.iter().map(|l| l.rloc.ip().unwrap()).collect() };

    let specific = world.ask(1, 1, host("2001:db8:a:1::5"));
    assert_eq!(specific.records[0].eid.ip_prefix(), Some(prefix("2001:db8:a:1::/64")));
    assert_eq!(rlocs(&specific), ["198.51.100.2".parse::<std::net::IpAddr>().unwrap()]);

    let rest = world.ask(1, 2, host("2001:db8:a:4000::5"));
    let told = rest.records[0].eid.ip_prefix().unwrap();
    assert_eq!(rlocs(&rest), ["198.51.100.1".parse::<std::net::IpAddr>().unwrap()]);
    assert!(!told.covers(&prefix("2001:db8:a:1::/64")) && !told.covers(&prefix("2001:db8:a:8000::/64")), "{told}");

    // At home there is room for all three in a reply (RFC 9301, section 5.5), if the request is long enough.
    world.pass(Duration::from_secs(11));
    let many: Vec<_> = (0..4).map(|n| host(&format!("2001:db8:a:4000::{n}"))).collect();
    let outputs = world.datagram(0, ITR, &ecm(&request(3, &many, &[RLOC])));
    let (_, all) = reply(&outputs);
    assert_eq!(all.records.len(), 3, "{all:?}");
    assert!(all.records.iter().all(|record| record.ttl == all.records[0].ttl));
}

#[test]
fn a_live_more_specific_that_is_withdrawn_gives_way_to_its_cover() {
    let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut world = two(open);
    let specific = prefix("2001:db8:a:1::/64");
    let both = vec![record(prefix(SITE), &["198.51.100.1"]), record(specific, &["198.51.100.2"])];
    world.datagram(0, ETR, &sealed(1, both));
    world.pass(Duration::from_secs(11));
    let gone = MappingRecord { ttl: Ttl(0), ..record(specific, &[]) };
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.1"]), gone]));
    world.pass(Duration::from_secs(11));
    let reply = world.ask(1, 1, host("2001:db8:a:1::5"));
    assert_eq!(reply.records[0].locators[0].rloc.ip(), Some("198.51.100.1".parse().unwrap()));
}

#[test]
fn a_site_inside_another_is_neither_answered_for_nor_covered() {
    let inner = site("b", 2, "secret of b", &[prefix("2001:db8:a:8000::/56")]);
    let key_b = key(2, Algorithm::HmacSha256, "secret of b");
    let mut bench = Bench::new(config(vec![site_a(), inner]));
    notify(&bench.datagram(ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])])));
    let ask = |bench: &mut Bench, nonce, eid: &str| {
        bench.pass(Duration::from_secs(4));
        bench.datagram(ITR, &ecm(&request(nonce, &[host(eid)], &[RLOC])))
    };
    let told = |outputs: &[Output]| reply(outputs).1.records;
    // Site b is silent: what site a registered says nothing about it.
    let records = told(&ask(&mut bench, 1, "2001:db8:a::2"));
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].eid.ip_prefix(), Some(prefix("2001:db8:a::/49")));
    let records = told(&ask(&mut bench, 2, "2001:db8:a:8000::2"));
    assert_eq!(records[0].eid.ip_prefix(), Some(prefix("2001:db8:a:8000::/56")));
    assert!(records[0].locators.is_empty());
    // Site b answers for itself: its record is not ours to give.
    let message = MapRegister {
        proxy_reply: false,
        ..register(1, vec![record(prefix("2001:db8:a:8000::/56"), &["198.51.100.7"])])
    };
    notify(&bench.datagram("198.51.100.7:4342", &seal(message, &key_b)));
    assert_eq!(told(&ask(&mut bench, 3, "2001:db8:a::2")), told(&ask(&mut bench, 4, "2001:db8:a::2")));
    let records = told(&ask(&mut bench, 5, "2001:db8:a:ffff::2"));
    assert_eq!(records.len(), 1);
    assert!(!records[0].eid.ip_prefix().unwrap().covers(&prefix("2001:db8:a:8000::/56")));
    let outputs = ask(&mut bench, 6, "2001:db8:a:8000::2");
    assert_eq!(sent(&outputs)[0].0, address("198.51.100.7:4342"));
}
