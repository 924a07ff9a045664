// SPDX-License-Identifier: GPL-2.0-or-later
//! From an EID to its mapping, over networks in memory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use crate::common::{LAB, Person, delegation, host, prefix, rloc, seconds, site, start, sub_page};
use cgeid::Reason;
use dht::memory::Network;
use dht::publish::{PageKind, Publication};
use dht::record::{Class, Entry, Index, Mapping, Prefix, RecordKey, Rloc, RlocFlags, Site, Target};
use dht::resolve::{Anchors, Failure, Found, Outcome, Resolution, Resolver, Selection, TrustAnchor, newest};
use proptest::prelude::*;
use wire::address::EidPrefix;
use wire::record::Ttl;

/// A network, a resolver with one anchor for 2001:db8::/32, and who that anchor is.
struct World {
    network: Network,
    resolver: Resolver,
    anchor: Person,
    now: std::time::SystemTime,
}

impl World {
    fn new() -> Self {
        let anchor = Person::new(100);
        let anchors = Anchors::new([TrustAnchor { aggregate: prefix("2001:db8::/32"), cn: anchor.cn() }]);
        Self { network: Network::new(LAB, 8, 4), resolver: Resolver::new(LAB, anchors), anchor, now: start() }
    }

    fn put(&mut self, publication: &Publication) {
        self.network.put(self.now, &publication.key, &publication.value).unwrap();
    }

    fn root(&mut self, entries: Vec<Entry>) {
        let page = self.anchor.page(self.now, "2001:db8::/32", entries, PageKind::Delegations);
        self.put(&page);
    }

    fn resolve(&mut self, eid: &str) -> Outcome {
        self.network.resolve(&mut self.resolver, self.now, host(eid)).0
    }

    fn found(&mut self, eid: &str) -> Found {
        match self.resolve(eid) {
            Outcome::Mapping(found) => *found,
            other => panic!("no mapping: {other:?}"),
        }
    }
}

fn last_octet(found: &Found) -> u8 {
    match found.mapping.locators.first().unwrap().address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => panic!("locators are IPv4 here"),
    }
}

#[test]
fn a_cgeid_takes_one_get() {
    let mut world = World::new();
    let mut person = Person::new(1);
    let eid = person.key.address().to_string();
    assert_eq!(world.resolve(&eid), Outcome::NotFound);
    world.put(&person.mapping(start(), 7));
    let (outcome, gets) = world.network.resolve(&mut world.resolver, start(), host(&eid));
    let Outcome::Mapping(found) = outcome else { panic!("{outcome:?}") };
    assert_eq!((last_octet(&found), gets, found.proxy), (7, 1, true));
    assert_eq!((found.covered, found.remaining), (host(&eid), seconds(3600)));
    // Expiry and withdrawal both mean that there is none.
    world.now += seconds(3600);
    assert_eq!(world.resolve(&eid), Outcome::NotFound);
    let gone = dht::publish::withdraw_mapping(&person.key, LAB, world.now, &mut person.sequence).unwrap();
    world.put(&person.mapping(world.now, 8));
    assert_eq!(last_octet(&world.found(&eid)), 8);
    assert!(world.network.put(world.now, &gone.key, &gone.value).is_err(), "older than the mapping");
    let gone = dht::publish::withdraw_mapping(&person.key, LAB, world.now, &mut person.sequence).unwrap();
    world.put(&gone);
    assert_eq!(world.resolve(&eid), Outcome::NotFound);
    // A reserved address has no owner to ask.
    assert_eq!(world.network.resolve(&mut world.resolver, start(), host("3fff:ce1::1")), (Outcome::NotFound, 0));
}

#[test]
fn a_mapping_without_a_locator_that_a_map_reply_can_say_is_no_mapping() {
    let behind_nat = |port, nat, rtr| Rloc { port, flags: RlocFlags { nat, rtr, ..rloc(9).flags }, ..rloc(9) };
    let unsaid = [behind_nat(4341, false, false), behind_nat(0, true, false), behind_nat(0, false, true)];
    let (mut world, mut person, mut registrar) = (World::new(), Person::new(1), Person::new(2));
    let eid = person.key.address().to_string();
    world.root(vec![site("2001:db8:a::/48", &[registrar.cn()], 48)]);
    for locators in unsaid.iter().map(|locator| vec![*locator]).chain([vec![], unsaid.to_vec()]) {
        world.now += seconds(60);
        let mapping = Mapping::new(locators.clone(), Ttl(60));
        let said = dht::publish::mapping(&person.key, LAB, mapping.clone(), world.now, &mut person.sequence).unwrap();
        world.put(&said);
        assert_eq!(world.resolve(&eid), Outcome::NotFound, "{locators:?}");
        let site = |proxy| Site { proxy, site_id: 7, xtr_ids: [].into() };
        let map_servers = [IpAddr::from([192, 0, 2, 53])].into();
        let body = Prefix { prefix: prefix("2001:db8:a::/48"), mapping, site: site(true), map_servers };
        let (key, sequence) = (&registrar.key, &mut registrar.sequence);
        let said = dht::publish::prefix(key, LAB, body.clone(), world.now, sequence).unwrap();
        world.put(&said);
        let none = Outcome::Unregistered { prefix: prefix("2001:db8:a::/48") };
        assert_eq!(world.resolve("2001:db8:a::1"), none, "{locators:?}");
        // An aggregate, whose Map-Server is asked, has none to tell (P is clear).
        world.now += seconds(60);
        let body = Prefix { site: site(false), ..body };
        world.put(&dht::publish::prefix(key, LAB, body, world.now, sequence).unwrap());
        assert!(!world.found("2001:db8:a::1").proxy);
    }
    world.now += seconds(60);
    let mapping = Mapping::new([unsaid[0], rloc(7)], Ttl(60));
    world.put(&dht::publish::mapping(&person.key, LAB, mapping, world.now, &mut person.sequence).unwrap());
    assert_eq!(world.found(&eid).mapping.locators.len(), 2, "what of it is told is for who tells it");
}

#[test]
fn a_prefix_takes_its_pages_and_its_registrar() {
    let (mut world, mut registrar) = (World::new(), Person::new(1));
    world.root(vec![site("2001:db8:a::/48", &[registrar.cn()], 48), site("2001:db8:b::/48", &[registrar.cn()], 48)]);
    world.put(&registrar.prefix(start(), "2001:db8:a::/48", 7));
    let (outcome, gets) = world.network.resolve(&mut world.resolver, start(), host("2001:db8:a::1"));
    let Outcome::Mapping(found) = outcome else { panic!("{outcome:?}") };
    assert_eq!((last_octet(&found), gets), (7, 2));
    assert_eq!((found.prefix, found.covered), (prefix("2001:db8:a::/48"), prefix("2001:db8:a::/48")));
    assert_eq!(found.map_servers, ["192.0.2.53".parse::<IpAddr>().unwrap()]);
    // The page is cached now.
    let (_, gets) = world.network.resolve(&mut world.resolver, start(), host("2001:db8:a::1"));
    assert_eq!(gets, 1);
    assert_eq!(world.resolve("2001:db8:b::1"), Outcome::Unregistered { prefix: prefix("2001:db8:b::/48") });
    assert_eq!(world.resolve("2001:db8:77::2"), Outcome::Hole { prefix: prefix("2001:db8:40::/42") });
    assert_eq!(world.resolve("2001:db9::1"), Outcome::Unanchored { prefix: prefix("2001:db9::/32") });
    assert_eq!(world.resolve("10.0.0.1"), Outcome::Unanchored { prefix: prefix("0.0.0.0/0") });
}

#[test]
fn delegations_and_sub_pages_are_followed_to_a_depth_of_four() {
    let mut world = World::new();
    let (mut child, mut registrar) = (Person::new(1), Person::new(2));
    let mapping = registrar.prefix(start(), "2001:db8:a:b::/64", 7);
    let low = child.page(
        start(),
        "2001:db8:a::/48",
        vec![site("2001:db8:a:b::/64", &[registrar.cn()], 64)],
        PageKind::Delegations,
    );
    let mid =
        child.page(start(), "2001:db8::/40", vec![sub_page("2001:db8:a::/48", low.sequence)], PageKind::Delegations);
    world.root(vec![delegation("2001:db8::/40", child.cn(), mid.sequence)]);
    for publication in [&mapping, &low, &mid] {
        world.put(publication);
    }
    assert_eq!(last_octet(&world.found("2001:db8:a:b::1")), 7);
    // A hole in the lowest page is bounded by what the pages above say.
    assert_eq!(world.resolve("2001:db8:a:c::1"), Outcome::Hole { prefix: prefix("2001:db8:a:c::/62") });
    assert_eq!(world.resolve("2001:db8:ff::1"), Outcome::Hole { prefix: prefix("2001:db8:80::/41") });

    // Two who delegate to each other do not keep a resolver for ever.
    let mut other = Person::new(3);
    let (one, two) = (delegation("2001:db8::/40", other.cn(), 0), delegation("2001:db8::/40", child.cn(), 0));
    world.now += seconds(60);
    let there = child.page(world.now, "2001:db8::/40", vec![one], PageKind::Delegations);
    let back = other.page(world.now, "2001:db8::/40", vec![two], PageKind::Delegations);
    world.put(&there);
    world.put(&back);
    world.resolver.pages = dht::resolve::PageCache::default();
    assert!(matches!(world.resolve("2001:db8:a:b::1"), Outcome::Failed(Failure::TooDeep(_))));
}

#[test]
fn an_outdated_page_makes_no_hole() {
    let (mut world, mut child) = (World::new(), Person::new(1));
    let old = child.page(start(), "2001:db8:a::/48", vec![], PageKind::Delegations);
    let new =
        child.page(start(), "2001:db8:a::/48", vec![site("2001:db8:a::/56", &[child.cn()], 56)], PageKind::Delegations);
    world.root(vec![delegation("2001:db8:a::/48", child.cn(), new.sequence)]);
    // Only the old page can be had: its child does not exist for it, but the parent knows better.
    world.put(&old);
    assert_eq!(world.resolve("2001:db8:a::1"), Outcome::Failed(Failure::PageStale(old.key)));
    world.put(&new);
    assert_eq!(world.resolve("2001:db8:a::1"), Outcome::Unregistered { prefix: prefix("2001:db8:a::/56") });
}

#[test]
fn a_reader_does_not_go_back_to_an_older_page() {
    let mut world = World::new();
    let registrar = Person::new(1);
    let old = world.anchor.page(start(), "2001:db8::/32", vec![], PageKind::Delegations);
    world.root(vec![site("2001:db8:a::/48", &[registrar.cn()], 48)]);
    let unregistered = Outcome::Unregistered { prefix: prefix("2001:db8:a::/48") };
    assert_eq!(world.resolve("2001:db8:a::1"), unregistered);
    let seen = world.resolver.pages.changes();
    assert_eq!(seen.len(), 1);

    // A reader that was restarted remembers, though its page is gone.
    let mut restarted = Resolver::new(LAB, world.resolver.anchors.clone());
    for (key, version) in seen {
        restarted.pages.restore(key, version);
    }
    let outcome = restarted.resolve(host("2001:db8:a::1"), start(), |_| vec![old.value.clone()]).0;
    assert_eq!(outcome, Outcome::Failed(Failure::PageStale(old.key)));
    // One that still holds the page goes on with it, when nothing better can be had.
    let later = start() + seconds(3600);
    let outcome = world.resolver.resolve(host("2001:db8:a::1"), later, |_| Vec::new()).0;
    assert_eq!(outcome, unregistered);
    let too_late = start() + seconds(86_401);
    let outcome = world.resolver.resolve(host("2001:db8:a::1"), too_late, |_| Vec::new()).0;
    assert_eq!(outcome, Outcome::Failed(Failure::PageMissing(old.key)));
}

#[test]
fn a_withdrawal_speaks_for_its_own_registrar_only() {
    let (mut world, mut one, mut two) = (World::new(), Person::new(1), Person::new(2));
    world.root(vec![site("2001:db8:a::/48", &[one.cn(), two.cn()], 48)]);
    world.put(&one.prefix(start(), "2001:db8:a::/48", 1));
    world.put(&two.prefix(start() + seconds(1), "2001:db8:a::/48", 2));
    assert_eq!(last_octet(&world.found("2001:db8:a::1")), 2, "the newest wins");
    world.put(&two.withdraw(start() + seconds(2), "2001:db8:a::/48"));
    assert_eq!(last_octet(&world.found("2001:db8:a::1")), 1);
    world.put(&one.withdraw(start() + seconds(3), "2001:db8:a::/48"));
    assert_eq!(world.resolve("2001:db8:a::1"), Outcome::Unregistered { prefix: prefix("2001:db8:a::/48") });
}

#[test]
fn more_specifics_come_from_the_registrars_live_page() {
    let (mut world, mut registrar) = (World::new(), Person::new(1));
    let cn = registrar.cn();
    world.root(vec![site("2001:db8:a::/48", &[cn], 56)]);
    assert_eq!(world.resolve("2001:db8:a::1"), Outcome::Unregistered { prefix: prefix("2001:db8:a::/48") });
    let live = ["2001:db8:a::/48", "2001:db8:a:100::/56", "2001:db8:a:200::/64"];
    let entries = live.iter().map(|net| site(net, &[cn], prefix(net).net.prefix_len())).collect();
    world.put(&registrar.page(start(), "2001:db8:a::/48", entries, PageKind::Live));
    for (last_octet, net) in (1..).zip(live) {
        world.put(&registrar.prefix(start(), net, last_octet));
    }
    let whole = world.found("2001:db8:a:8000::1");
    assert_eq!((last_octet(&whole), whole.prefix), (1, prefix("2001:db8:a::/48")));
    assert_eq!(whole.covered, prefix("2001:db8:a:8000::/49"), "the rest has a more-specific");
    assert_eq!(whole.more_specifics, [prefix("2001:db8:a:100::/56")]);
    assert_eq!(last_octet(&world.found("2001:db8:a:100::1")), 2);
    assert_eq!(last_octet(&world.found("2001:db8:a:200::1")), 1, "longer than the delegation allows");
    // Withdrawn, though the page still lists it: what it was cut from covers the EID again.
    world.put(&registrar.withdraw(start() + seconds(1), "2001:db8:a:100::/56"));
    assert_eq!(last_octet(&world.found("2001:db8:a:100::1")), 1);
}

#[test]
fn rubbish_under_a_registrars_key_is_no_better_than_its_silence() {
    let (mut world, mut one, two) = (World::new(), Person::new(1), Person::new(2));
    world.root(vec![site("2001:db8:a::/48", &[one.cn(), two.cn()], 56)]);
    let live = ["2001:db8:a::/48", "2001:db8:a:100::/56"];
    let entries = live.iter().map(|net| site(net, &[one.cn()], prefix(net).net.prefix_len())).collect();
    world.put(&one.page(start(), "2001:db8:a::/48", entries, PageKind::Live));
    world.put(&one.prefix(start(), live[0], 1));
    world.put(&one.withdraw(start(), live[1]));
    let key = RecordKey::prefix(LAB, two.cn(), prefix(live[1]));
    for node in 0..8 {
        world.network.lie(node, &key, b"rubbish".to_vec());
    }
    assert_eq!(last_octet(&world.found("2001:db8:a:100::1")), 1);
}

#[test]
fn a_delegation_to_itself_ends() {
    let mut world = World::new();
    let cn = world.anchor.cn();
    world.root(vec![delegation("2001:db8::/32", cn, u64::MAX), site("2001:db8:a::/48", &[cn], 48)]);
    let (outcome, gets) = world.network.resolve(&mut world.resolver, world.now, host("2001:db8:b::1"));
    assert!(matches!(outcome, Outcome::Failed(Failure::PageStale(_))), "{outcome:?}");
    assert_eq!(gets, 2);
    world.now += seconds(60);
    world.root(vec![delegation("2001:db8::/32", cn, 0)]);
    world.resolver = Resolver::new(LAB, world.resolver.anchors.clone());
    let (outcome, gets) = world.network.resolve(&mut world.resolver, world.now, host("2001:db8:b::1"));
    assert!(matches!(outcome, Outcome::Failed(Failure::TooDeep(_))), "{outcome:?}");
    assert_eq!(gets, 1);
}

#[test]
fn nobody_answers_outside_of_what_it_was_given() {
    let (mut world, mut child) = (World::new(), Person::new(1));
    let anchors = ["2001:db8::/32", "3fff:ce1::/32", "::/0"].map(prefix);
    let anchors = anchors.map(|aggregate| TrustAnchor { aggregate, cn: world.anchor.cn() });
    world.resolver.anchors = Anchors::new(anchors);
    world.root(vec![delegation("2001:db8:a::/48", child.cn(), 0)]);
    // The child's page of more than it was given is not asked for, and does not fit under the key that is.
    let wide = child.page(start(), "2001:db8::/32", vec![site("2001:db8:b::/48", &[child.cn()], 48)], PageKind::Live);
    world.put(&wide);
    world.put(&child.prefix(start(), "2001:db8:b::/48", 66));
    let asked = RecordKey::index(LAB, child.cn(), prefix("2001:db8:a::/48"));
    for node in 0..8 {
        world.network.lie(node, &asked, wide.value.clone());
    }
    assert_eq!(world.resolve("2001:db8:b::1"), Outcome::Hole { prefix: prefix("2001:db8:b::/48") });
    let refused = world.resolve("2001:db8:a::1");
    assert!(matches!(refused, Outcome::Failed(Failure::Refused { .. })), "{refused:?}");
    // An anchor has no say about CGEIDs, nor a hole of one about them.
    let space = world.anchor.page(start(), "3fff:ce1::/32", vec![], PageKind::Delegations);
    let everything = world.anchor.page(start(), "::/0", vec![], PageKind::Delegations);
    world.put(&space);
    world.put(&everything);
    assert_eq!(world.resolve(&child.key.address().to_string()), Outcome::NotFound);
    assert_eq!(world.resolve("3fff:ce0::1"), Outcome::Hole { prefix: prefix("3fff:ce0::/32") });
    // Families and instances do not mix.
    assert_eq!(world.resolve("32.1.13.184"), Outcome::Unanchored { prefix: prefix("0.0.0.0/0") });
    let elsewhere = EidPrefix { iid: wire::address::InstanceId(7), ..host("2001:db8:a::1") };
    let outcome = world.network.resolve(&mut world.resolver, start(), elsewhere).0;
    assert!(matches!(outcome, Outcome::Unanchored { .. }), "{outcome:?}");
}

#[test]
fn a_node_is_its_own_anchor() {
    let mut node = Person::new(1);
    let text = format!("2001:db8:a::/48={}", node.cn());
    let anchor: TrustAnchor = text.parse().unwrap();
    assert_eq!(anchor.to_string(), text);
    let mut world = World::new();
    world.resolver.anchors = Anchors::new([anchor]);
    world.put(&node.page(start(), "2001:db8:a::/48", vec![site("2001:db8:a::/48", &[node.cn()], 64)], PageKind::Live));
    world.put(&node.prefix(start(), "2001:db8:a::/48", 7));
    assert_eq!(last_octet(&world.found("2001:db8:a::1")), 7);
    assert!("2001:db8:a::1/48=0f2c8a3454a468b75f32e76a".parse::<TrustAnchor>().is_err());
    assert!("[7]10.0.0.0/8=0f2c8a3454a468b75f32e76a".parse::<TrustAnchor>().is_ok());
}

#[test]
fn a_sub_page_is_a_part_of_the_page_that_points_to_it() {
    let (mut world, mut child) = (World::new(), Person::new(1));
    // The anchor's site holds where its sub-page lists nothing, and its delegation too; another writer's page ends that.
    let part = world.anchor.page(
        start(),
        "2001:db8:a::/48",
        vec![site("2001:db8:a:1::/64", &[child.cn()], 64)],
        PageKind::Delegations,
    );
    let below = world.anchor.page(
        start(),
        "2001:db8:4000::/36",
        vec![site("2001:db8:4000::/48", &[child.cn()], 48)],
        PageKind::Delegations,
    );
    let given = child.page(start(), "2001:db8:4000::/34", vec![], PageKind::Delegations);
    for page in [&part, &below, &given] {
        world.put(page);
    }
    world.root(vec![
        site("2001:db8::/34", &[world.anchor.cn()], 34),
        sub_page("2001:db8:a::/48", part.sequence),
        delegation("2001:db8:4000::/34", child.cn(), given.sequence),
        sub_page("2001:db8:4000::/36", below.sequence),
        site("2001:db8:8000::/33", &[world.anchor.cn()], 33),
    ]);
    assert_eq!(world.resolve("2001:db8:a:1::9"), Outcome::Unregistered { prefix: prefix("2001:db8:a:1::/64") });
    assert_eq!(world.resolve("2001:db8:a:2::9"), Outcome::Unregistered { prefix: prefix("2001:db8:a:2::/63") });
    assert_eq!(world.resolve("2001:db8:4000::9"), Outcome::Unregistered { prefix: prefix("2001:db8:4000::/48") });
    // The child was given it, and has nothing there: no part of the anchor's word.
    assert_eq!(world.resolve("2001:db8:4001::9"), Outcome::Hole { prefix: prefix("2001:db8:4001::/48") });
}

#[test]
fn a_sub_page_that_its_writer_has_withdrawn_is_no_hole() {
    let mut world = World::new();
    let cn = world.anchor.cn();
    let part = world.anchor.page(
        start(),
        "2001:db8:a::/48",
        vec![site("2001:db8:a:1::/64", &[cn], 64)],
        PageKind::Delegations,
    );
    world.put(&part);
    world.root(vec![sub_page("2001:db8:a::/48", part.sequence)]);
    let person = &mut world.anchor;
    let gone = dht::publish::withdraw_index(&person.key, LAB, prefix("2001:db8:a::/48"), start(), &mut person.sequence);
    let gone = gone.unwrap();
    world.put(&gone);
    assert_eq!(world.resolve("2001:db8:a:1::9"), Outcome::Failed(Failure::PageStale(gone.key)));
    // Of a child it is: whoever delegated to it has nothing to add.
    let mut child = Person::new(1);
    world.now += seconds(60);
    world.root(vec![delegation("2001:db8:b::/48", child.cn(), 0)]);
    let gone = dht::publish::withdraw_index(&child.key, LAB, prefix("2001:db8:b::/48"), world.now, &mut child.sequence);
    world.put(&gone.unwrap());
    world.resolver = Resolver::new(LAB, world.resolver.anchors.clone());
    assert_eq!(world.resolve("2001:db8:b::1"), Outcome::Hole { prefix: prefix("2001:db8:b::/48") });
}

/// Two anchors for one aggregate.
fn two_anchors() -> (World, Person) {
    let (mut world, other) = (World::new(), Person::new(101));
    let both = [world.anchor.cn(), other.cn()].map(|cn| TrustAnchor { aggregate: prefix("2001:db8::/32"), cn });
    world.resolver = Resolver::new(LAB, Anchors::new(both));
    (world, other)
}

#[test]
fn another_anchor_speaks_where_the_first_is_silent() {
    let (mut world, mut other) = two_anchors();
    let first = RecordKey::index(LAB, world.anchor.cn(), prefix("2001:db8::/32"));
    assert_eq!(world.resolve("2001:db8:a::1"), Outcome::Failed(Failure::PageMissing(first)), "both are silent");
    let page =
        other.page(start(), "2001:db8::/32", vec![site("2001:db8:a::/48", &[other.cn()], 48)], PageKind::Delegations);
    world.put(&page);
    let unregistered = Outcome::Unregistered { prefix: prefix("2001:db8:a::/48") };
    let (outcome, gets) = world.network.resolve(&mut world.resolver, start(), host("2001:db8:a::1"));
    assert_eq!((outcome, gets), (unregistered.clone(), 3));
    // The one that is known to be alive is asked first from then on.
    let (outcome, gets) = world.network.resolve(&mut world.resolver, start(), host("2001:db8:a::1"));
    assert_eq!((outcome, gets), (unregistered.clone(), 1));
    // When both are there, the first one counts.
    world.root(vec![]);
    world.resolver = Resolver::new(LAB, world.resolver.anchors.clone());
    assert_eq!(world.resolve("2001:db8:a::1"), Outcome::Hole { prefix: prefix("2001:db8::/32") });
    // Nothing that the first has said counts for the second: here a delegation whose page cannot be had.
    world.now += seconds(60);
    world.root(vec![delegation("2001:db8::/33", Person::new(1).cn(), 0), site("2001:db8:a:1::/64", &[other.cn()], 64)]);
    world.resolver = Resolver::new(LAB, world.resolver.anchors.clone());
    assert_eq!(world.resolve("2001:db8:a::1"), unregistered);
    // A first one that has withdrawn its page, or is revoked, stands in nobody's way.
    let person = &mut world.anchor;
    let gone = dht::publish::withdraw_index(&person.key, LAB, prefix("2001:db8::/32"), world.now, &mut person.sequence);
    world.put(&gone.unwrap());
    world.resolver = Resolver::new(LAB, world.resolver.anchors.clone());
    assert_eq!(world.resolve("2001:db8:a::1"), unregistered);
    let revocation = world.anchor.revoke(Reason::KEY_COMPROMISE, 60);
    let outcome = world.resolver.resolve(host("2001:db8:a::1"), world.now + seconds(1000), |key| {
        if key.writer == revocation.key.writer { vec![] } else { world.network.get(world.now, key) }
    });
    assert_eq!(outcome.0, unregistered);
}

#[test]
fn two_anchors_that_have_both_withdrawn_are_a_hole() {
    let (mut world, mut other) = two_anchors();
    for person in [&mut world.anchor, &mut other] {
        let gone =
            dht::publish::withdraw_index(&person.key, LAB, prefix("2001:db8::/32"), start(), &mut person.sequence);
        let gone = gone.unwrap();
        world.network.put(start(), &gone.key, &gone.value).unwrap();
    }
    assert_eq!(world.resolve("2001:db8:a::1"), Outcome::Hole { prefix: prefix("2001:db8::/32") });
    // One that has withdrawn is no proof beside one that cannot be had.
    let second = RecordKey::index(LAB, other.cn(), prefix("2001:db8::/32"));
    world.resolver = Resolver::new(LAB, world.resolver.anchors.clone());
    let outcome = world.resolver.resolve(host("2001:db8:a::1"), start(), |key| {
        if *key == second { vec![] } else { world.network.get(start(), key) }
    });
    assert_eq!(outcome.0, Outcome::Failed(Failure::PageMissing(second)));
}

#[test]
fn the_longest_anchor_alone_has_the_word() {
    let (mut world, mut other) = (World::new(), Person::new(101));
    let narrow = TrustAnchor { aggregate: prefix("2001:db8:a::/48"), cn: other.cn() };
    assert!(world.resolver.anchors.add(narrow) && !world.resolver.anchors.add(narrow));
    world.root(vec![site("2001:db8:a::/48", &[world.anchor.cn()], 48)]);
    let key = RecordKey::index(LAB, other.cn(), prefix("2001:db8:a::/48"));
    assert_eq!(world.resolve("2001:db8:a::1"), Outcome::Failed(Failure::PageMissing(key)), "the /32 has no say there");
    world.put(&other.page(start(), "2001:db8:a::/48", vec![], PageKind::Delegations));
    assert_eq!(world.resolve("2001:db8:a::1"), Outcome::Hole { prefix: prefix("2001:db8:a::/48") });
    assert_eq!(world.resolve("2001:db8:b::1"), Outcome::Hole { prefix: prefix("2001:db8:b::/48") });
    // More anchors than one aggregate may have are left out.
    let more = (0..9).map(|number| TrustAnchor { cn: cgeid::Cn([number; 12]), ..narrow });
    assert_eq!(Anchors::new(more).longest(&host("2001:db8:a::1")).count(), dht::limits::ANCHORS_OF_ONE);
}

#[test]
fn a_hostile_child_can_spoil_no_more_than_what_it_was_given() {
    let (mut world, mut child, mut honest) = (World::new(), Person::new(1), Person::new(2));
    let net = "2001:db8:a::/48";
    world.root(vec![delegation(net, child.cn(), 0), site("2001:db8:b::/48", &[honest.cn()], 48)]);
    // It points upwards, to itself, to its delegator, and to a page that will never be new enough.
    let key = RecordKey::index(LAB, child.cn(), prefix(net));
    let asked = |world: &mut World| world.network.resolve(&mut world.resolver, world.now, host("2001:db8:a::1"));
    for (entries, most) in [
        (vec![delegation(net, child.cn(), 0)], 2),
        (vec![delegation(net, world.anchor.cn(), 0)], 3),
        (vec![sub_page("2001:db8:a::/49", u64::MAX)], 3),
        (vec![site(net, &[honest.cn()], 128)], 4),
    ] {
        world.now += seconds(1000);
        let page = child.page(world.now, net, entries, PageKind::Delegations);
        world.put(&page);
        world.put(&honest.prefix(world.now, "2001:db8:b::/48", 7));
        let (outcome, gets) = asked(&mut world);
        assert!(matches!(outcome, Outcome::Failed(_) | Outcome::Unregistered { .. }), "{outcome:?}");
        assert!(gets <= most, "{gets} GETs: {outcome:?}");
        assert_eq!(last_octet(&world.found("2001:db8:b::1")), 7);
    }
    // It claims a hole in all that it has: no wider than that.
    world.now += seconds(1000);
    let page = child.page(world.now, net, vec![], PageKind::Delegations);
    world.put(&page);
    assert_eq!(asked(&mut world).0, Outcome::Hole { prefix: prefix(net) });
    assert_eq!(world.resolver.pages.mark(&key).map(|version| version.sequence), Some(page.sequence));
    // It names a registrar that never heard of it: that one's record of its own prefix does not fit under the key asked for.
    let stolen = RecordKey::prefix(LAB, honest.cn(), prefix(net));
    let value = honest.prefix(world.now, "2001:db8:b::/48", 8).value;
    world.now += seconds(1000);
    world.put(&child.page(world.now, net, vec![site(net, &[honest.cn()], 48)], PageKind::Delegations));
    (0..8).for_each(|node| world.network.lie(node, &stolen, value.clone()));
    let outcome = asked(&mut world).0;
    assert!(matches!(outcome, Outcome::Failed(Failure::Refused { .. })), "{outcome:?}");
}

#[test]
fn instances_and_families_have_pages_of_their_own() {
    let (mut world, registrar) = (World::new(), Person::new(1));
    let iid = wire::address::InstanceId(7);
    let at = |text: &str, iid| EidPrefix { iid, ..prefix(text) };
    let anchors = [at("10.0.0.0/8", iid), at("10.0.0.0/8", wire::address::InstanceId(0)), at("::/0", iid)];
    let anchors = anchors.map(|aggregate| TrustAnchor { aggregate, cn: world.anchor.cn() });
    world.resolver = Resolver::new(LAB, Anchors::new(anchors));
    let target = || Target::Site { registrars: [registrar.cn()].into(), max_plen: 16 };
    let entries = vec![Entry { prefix: at("10.1.0.0/16", iid), target: target() }];
    let page = Index::new(at("10.0.0.0/8", iid), entries).unwrap();
    let person = &mut world.anchor;
    let kind = PageKind::Delegations;
    let page = dht::publish::index(&person.key, LAB, page, kind, start(), &mut person.sequence).unwrap();
    world.put(&page);
    let mut ask = |text: &str, iid| world.network.resolve(&mut world.resolver, start(), at(text, iid)).0;
    assert_eq!(ask("10.1.2.3/32", iid), Outcome::Unregistered { prefix: at("10.1.0.0/16", iid) });
    assert_eq!(ask("10.2.2.3/32", iid), Outcome::Hole { prefix: at("10.2.0.0/15", iid) });
    // An IPv6 prefix covers no IPv4, whatever its length; and the same prefix of another instance is another one.
    assert!(matches!(ask("2001:db8::1/128", iid), Outcome::Failed(Failure::PageMissing(_))));
    assert!(matches!(ask("10.1.2.3/32", wire::address::InstanceId(0)), Outcome::Failed(Failure::PageMissing(_))));
    assert_eq!(ask("11.1.2.3/32", iid), Outcome::Unanchored { prefix: at("11.0.0.0/8", iid) });
    // Entries of another family or instance have no place in a page.
    for net in [at("10.1.0.0/16", wire::address::InstanceId(8)), at("::/16", iid)] {
        assert!(Index::new(at("10.0.0.0/8", iid), vec![Entry { prefix: net, target: target() }]).is_err());
    }
}

#[test]
fn the_newest_live_word_of_four_registrars_counts() {
    let mut world = World::new();
    let mut registrars: Vec<Person> = (1..=4).map(Person::new).collect();
    let cns: Vec<_> = registrars.iter().map(Person::cn).collect();
    let net = "2001:db8:a::/48";
    world.root(vec![site(net, &cns, 56)]);
    // Two list a more-specific, one lists the site alone, one is silent.
    for (number, person) in (0_u8..).zip(registrars.iter_mut().take(3)) {
        let mut entries = vec![site(net, &[person.cn()], 48)];
        if number < 2 {
            entries.push(site("2001:db8:a:100::/56", &[person.cn()], 56));
        }
        let record = person.prefix(start() + seconds(number.into()), "2001:db8:a:100::/56", number + 1);
        let whole = person.prefix(start() + seconds(number.into()), net, number + 10);
        let live = person.page(world.now + seconds(9), net, entries, PageKind::Live);
        for publication in [live, record, whole] {
            world.network.put(world.now + seconds(9), &publication.key, &publication.value).unwrap();
        }
    }
    world.now += seconds(9);
    // The third one's record of the more-specific is not on its list, and counts all the same: it is a registrar of the site.
    assert_eq!(last_octet(&world.found("2001:db8:a:100::1")), 3);
    assert_eq!(last_octet(&world.found("2001:db8:a::1")), 12);
    world.put(&registrars[2].withdraw(world.now, "2001:db8:a:100::/56"));
    assert_eq!(last_octet(&world.found("2001:db8:a:100::1")), 2);
    // An expired word is none, however new.
    world.now = start() + seconds(3600);
    assert_eq!(last_octet(&world.found("2001:db8:a:100::1")), 2);
    // With none left for the more-specific, and one withdrawn, the whole site's holds.
    world.now += seconds(1);
    assert_eq!(last_octet(&world.found("2001:db8:a:100::1")), 12);
}

#[test]
fn lies_are_seen_through() {
    let (mut world, mut honest, mut liar) = (World::new(), Person::new(1), Person::new(2));
    let truth = honest.mapping(start(), 7);
    world.put(&truth);
    let eid = honest.key.address().to_string();
    let mut forged = truth.value.clone();
    *forged.last_mut().unwrap() ^= 1;
    let nearest = world.network.nearest(&truth.key);
    world.network.lie(nearest[0], &truth.key, forged.clone());
    world.network.lie(nearest[1], &truth.key, liar.mapping(start() + seconds(1), 66).value);
    assert_eq!(last_octet(&world.found(&eid)), 7);
    // With nobody left to tell the truth, there is a reason and no mapping.
    let only_lies = world.resolver.resolve(host(&eid), start(), |_| vec![forged.clone()]).0;
    assert!(matches!(only_lies, Outcome::Failed(Failure::Refused { .. })), "{only_lies:?}");
    // Killing nodes loses nothing while one that holds it lives.
    for &node in &nearest[..3] {
        world.network.kill(node);
    }
    assert_eq!(last_octet(&world.found(&eid)), 7);
}

#[test]
fn an_owner_that_contradicts_itself_is_not_believed() {
    let one = Person::new(1);
    let publish = |last_octet| {
        let mut sequence = dht::publish::Sequence::default();
        dht::publish::mapping(&one.key, LAB, crate::common::mapping(last_octet), start(), &mut sequence).unwrap()
    };
    let values = vec![publish(1).value, publish(2).value];
    let mut resolver = Resolver::new(LAB, Anchors::default());
    let eid = host(&one.key.address().to_string());
    assert_eq!(resolver.resolve(eid, start(), |_| values.clone()).0, Outcome::Conflict);
}

#[test]
fn a_second_key_under_one_name_is_not_believed_although_the_first_is_gone() {
    let mut world = World::new();
    let (mut writer, mut registrar) = (Person::new(1), Person::new(2));
    let eid = writer.key.address().to_string();
    world.put(&writer.mapping(start(), 7));
    world.root(vec![site("2001:db8:a::/48", &[registrar.cn()], 48)]);
    world.put(&registrar.prefix(start(), "2001:db8:a::/48", 8));
    // Whoever is resolved is pinned with the whole hash: the host, the registrar, and the anchor.
    world.found(&eid);
    world.found("2001:db8:a::1");
    for person in [&writer, &registrar, &world.anchor] {
        let pinned = world.resolver.pins.get(person.cn());
        assert_eq!(pinned, Some(person.identity.certificate().fingerprint()));
    }
    // A reader that has met another key under these names, which takes 2⁴⁸ tries to make: only its hash is needed here.
    world.resolver = Resolver::new(LAB, world.resolver.anchors.clone());
    for person in [&writer, &registrar] {
        let mut first = *person.identity.certificate().fingerprint();
        first[63] ^= 1;
        world.resolver.pins.see(&first, start());
    }
    assert_eq!(world.resolve(&eid), Outcome::Conflict);
    assert_eq!(world.resolve("2001:db8:a::1"), Outcome::Conflict);
    // The next statement of the second key changes nothing.
    world.put(&writer.mapping(start() + seconds(60), 9));
    world.now += seconds(60);
    assert_eq!(world.resolve(&eid), Outcome::Conflict);
}

#[test]
fn a_key_that_was_not_verified_is_not_pinned() {
    let mut world = World::new();
    let mut writer = Person::new(1);
    let publication = writer.mapping(start(), 7);
    let mut forged = publication.value.clone();
    *forged.last_mut().unwrap() ^= 1;
    for (value, pin) in [(forged, None), (publication.value, Some(writer.identity.certificate().fingerprint()))] {
        let mut resolution = Resolution::new(&mut world.resolver, host(&writer.key.address().to_string()), start());
        let asked = resolution.poll().unwrap();
        resolution.handle(&mut world.resolver, start(), &asked, &[value]);
        assert_eq!(world.resolver.pins.get(writer.cn()), pin);
    }
}

#[test]
fn a_revoked_identity_is_seen() {
    let mut person = Person::new(1);
    let (mapping, revocation) = (person.mapping(start(), 1), person.revoke(Reason::UNSPECIFIED, 0));
    let eid = person.key.address().to_string();
    let mut world = World::new();
    world.put(&mapping);
    world.found(&eid);
    world.put(&revocation);
    assert_eq!(world.resolve(&eid), Outcome::Revoked);
    // Also long after every certificate of it has ended.
    world.now += seconds(29 * 86_400);
    assert_eq!(world.resolve(&eid), Outcome::Revoked);
    world.now += seconds(86_400);
    assert_eq!(world.resolve(&eid), Outcome::NotFound);
}

#[test]
fn one_copy_of_a_revocation_outweighs_all_mappings() {
    let mut person = Person::new(1);
    let revocation = person.revoke(Reason::KEY_COMPROMISE, 0);
    let later: Vec<Vec<u8>> =
        (1..=3).map(|octet| person.mapping(start() + seconds(octet.into()), octet).value).collect();
    let mut forged = revocation.value.clone();
    *forged.last_mut().unwrap() ^= 1;
    for at in 0..=later.len() {
        let choose = |one: &Vec<u8>| {
            let mut values = later.clone();
            values.insert(at, one.clone());
            let mut cache = dht::record::CertificateCache::new();
            newest(LAB, &revocation.key, Class::Mapping, &values, start() + seconds(9), &mut cache)
        };
        assert!(matches!(choose(&revocation.value), Selection::Revoked));
        assert!(matches!(choose(&forged), Selection::Newest(_)));
    }
}

#[test]
fn a_node_that_has_not_heard_of_it_does_not_hide_a_revocation() {
    let mut person = Person::new(1);
    let (mapping, revocation) = (person.mapping(start(), 1), person.revoke(Reason::UNSPECIFIED, 0));
    let eid = person.key.address().to_string();
    let mut world = World::new();
    world.put(&revocation);
    let nearest = world.network.nearest(&mapping.key);
    for node in &nearest[..nearest.len() - 1] {
        world.network.lie(*node, &mapping.key, mapping.value.clone());
    }
    assert!(nearest.len() > 1);
    assert_eq!(world.resolve(&eid), Outcome::Revoked);
    world.network.lie(nearest[nearest.len() - 1], &mapping.key, mapping.value.clone());
    world.found(&eid);
}

#[test]
fn the_newest_of_several_values_counts() {
    let mut person = Person::new(1);
    let (old, new) = (person.mapping(start(), 1), person.mapping(start(), 2));
    let values = vec![vec![0; 7], old.value.clone(), new.value.clone(), old.value];
    let mut cache = dht::record::CertificateCache::new();
    let Selection::Newest(verified) = newest(LAB, &new.key, Class::Mapping, &values, start(), &mut cache) else {
        panic!("nothing chosen")
    };
    assert_eq!(verified.bundle.encode().unwrap(), new.value);
}

#[test]
fn answers_not_asked_for_change_nothing() {
    let mut resolver = Resolver::new(LAB, Anchors::default());
    let mut person = Person::new(1);
    let mut resolution = Resolution::new(&mut resolver, host(&person.key.address().to_string()), start());
    let other = Person::new(2).mapping(start(), 66);
    resolution.handle(&mut resolver, start(), &other.key, &[other.value]);
    assert_eq!(resolution.outcome(), None);
    let asked = resolution.poll().unwrap();
    assert_eq!(asked, RecordKey::node(LAB, person.cn()));
    resolution.handle(&mut resolver, start(), &asked, &[person.mapping(start(), 1).value]);
    assert!(matches!(resolution.outcome(), Some(Outcome::Mapping(_))));
}

/// Sites with few bits, so that they nest and leave holes.
fn nets() -> impl Strategy<Value = BTreeMap<EidPrefix, u8>> {
    let net = (0u16..256, 32u8..=40).prop_map(|(bits, plen)| {
        let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits) << 88);
        EidPrefix::new(wire::address::InstanceId(0), address.into(), plen).unwrap()
    });
    proptest::collection::btree_map(net, 1u8..=200, 0..8)
}

/// An EID of the 256 that matter.
fn eid(bits: u16) -> EidPrefix {
    let address = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(bits) << 88 | 1);
    EidPrefix::host(wire::address::InstanceId(0), address.into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Against the obvious: the longest of all prefixes that covers the EID, and a hole that meets none of them and is
    /// not part of a larger one.
    #[test]
    fn longest_match_agrees_with_the_obvious(sites in nets()) {
        let (mut world, mut registrar) = (World::new(), Person::new(1));
        let cn = registrar.cn();
        world.root(sites.keys().map(|net| site(&net.net.to_string(), &[cn], net.net.prefix_len())).collect());
        for (net, last_octet) in &sites {
            world.put(&registrar.prefix(start(), &net.net.to_string(), *last_octet));
        }
        for bits in (0..256).step_by(7) {
            let eid = eid(bits);
            let longest = sites.iter().filter(|(net, _)| net.covers(&eid)).max_by_key(|(net, _)| net.net.prefix_len());
            let disjoint = |candidate: &EidPrefix| {
                sites.keys().filter(|net| !net.covers(&eid)).all(|net| !candidate.covers(net))
            };
            let wider = |one: &EidPrefix| {
                EidPrefix::new(one.iid, one.net.addr(), one.net.prefix_len() - 1).unwrap()
            };
            match (world.network.resolve(&mut world.resolver, start(), eid).0, longest) {
                (Outcome::Mapping(found), Some((net, octet))) => {
                    prop_assert_eq!((found.prefix, last_octet(&found)), (*net, *octet));
                    prop_assert!(found.covered.covers(&eid) && net.covers(&found.covered) && disjoint(&found.covered));
                    prop_assert!(found.covered == *net || !disjoint(&wider(&found.covered)));
                }
                (Outcome::Hole { prefix: hole }, None) => {
                    prop_assert!(hole.covers(&eid) && disjoint(&hole));
                    prop_assert!(hole.net.prefix_len() == 32 || !disjoint(&wider(&hole)));
                }
                (outcome, expected) => prop_assert!(false, "{:?} instead of {:?}", outcome, expected),
            }
        }
    }
}
