// SPDX-License-Identifier: GPL-2.0-or-later
//! Alternate CGEIDs: mutual, merged by priority and weight, and bounded.

use std::net::IpAddr;
use std::time::SystemTime;

use crate::common::{LAB, Person, host, rloc, seconds, start};
use cgeid::{Cn, Reason};
use dht::limits;
use dht::memory::Network;
use dht::publish::{self, Publication, Statement};
use dht::record::{Class, Mapping, Rloc, RlocFlags, Service};
use dht::resolve::{Anchors, Found, Outcome, Resolver};
use wire::record::Ttl;

struct World {
    network: Network,
    resolver: Resolver,
    now: SystemTime,
}

impl World {
    fn new() -> Self {
        let resolver = Resolver::new(LAB, Anchors::default());
        Self { network: Network::new(LAB, 8, 4), resolver, now: start() }
    }

    fn put(&mut self, publication: &Publication) {
        self.network.put(self.now, &publication.key, &publication.value).unwrap();
    }

    /// Publishes locators (last octet, priority, weight) and alternates of somebody.
    fn say(&mut self, person: &mut Person, locators: &[(u8, u8, u8)], alternates: &[Cn]) {
        let locators = locators.iter().map(|&(octet, priority, weight)| Rloc { priority, weight, ..rloc(octet) });
        let mut statements = vec![Statement::service(naming(alternates))];
        let mapping = Mapping::new(locators, Ttl(60));
        if !mapping.locators.is_empty() {
            statements.push(Statement::mapping(mapping));
        }
        let said = publish::node(&person.key, LAB, statements, self.now, &mut person.sequence).unwrap();
        self.put(&said);
    }

    fn resolve(&mut self, person: &Person) -> (Outcome, usize) {
        self.network.resolve(&mut self.resolver, self.now, host(&person.key.address().to_string()))
    }

    fn found(&mut self, person: &Person) -> Found {
        match self.resolve(person).0 {
            Outcome::Mapping(found) => *found,
            other => panic!("no mapping: {other:?}"),
        }
    }
}

fn naming(alternates: &[Cn]) -> Service {
    Service { alternates: alternates.iter().copied().collect(), ..Service::default() }
}

/// Last octet, priority and weight of the locators, in the order in which they are used.
fn ways(found: &Found) -> Vec<(u8, u8, u8)> {
    let octet = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(_) => panic!("locators are IPv4 here"),
    };
    found.mapping.locators.iter().map(|one| (octet(one.address), one.priority, one.weight)).collect()
}

#[test]
fn the_locators_of_mutual_alternates_are_one_mapping() {
    let (mut world, mut one, mut two) = (World::new(), Person::new(1), Person::new(2));
    let (first, second) = (one.cn(), two.cn());
    world.say(&mut one, &[(1, 1, 60), (2, 2, 100)], &[second]);
    world.say(&mut two, &[(3, 1, 40), (4, 3, 100)], &[first]);
    let (outcome, gets) = world.resolve(&one);
    let Outcome::Mapping(found) = outcome else { panic!("{outcome:?}") };
    assert_eq!(ways(&found), [(3, 1, 40), (1, 1, 60), (2, 2, 100), (4, 3, 100)], "by priority, then by weight");
    assert_eq!((gets, found.writer, found.alternates.clone()), (2, first, [second].into()));
    // From the other side it is the same.
    let back = world.found(&two);
    assert_eq!((ways(&back), back.writer, back.alternates.clone()), (ways(&found), second, [first].into()));
}

#[test]
fn when_the_primary_is_gone_the_flow_moves() {
    let (mut world, mut one, mut two) = (World::new(), Person::new(1), Person::new(2));
    let (first, second) = (one.cn(), two.cn());
    world.say(&mut one, &[(1, 1, 100)], &[second]);
    world.say(&mut two, &[(2, 2, 100)], &[first]);
    assert_eq!(ways(&world.found(&one)), [(1, 1, 100), (2, 2, 100)]);
    // Killed: nobody renews its mapping, and that of the other is there.
    world.now += seconds(3600);
    world.say(&mut two, &[(2, 2, 100)], &[first]);
    let found = world.found(&one);
    assert_eq!((ways(&found), found.writer), (vec![(2, 2, 100)], first));
    assert!(found.remaining <= seconds(3600));
    // Withdrawn in good order: the same.
    world.say(&mut one, &[(1, 1, 100)], &[second]);
    assert_eq!(ways(&world.found(&one)).len(), 2);
    let gone = publish::withdraw_mapping(&one.key, LAB, world.now, &mut one.sequence).unwrap();
    world.put(&gone);
    assert_eq!(ways(&world.found(&one)), [(2, 2, 100)]);
    // The owner ends it by withdrawing what names the alternate.
    let statement = vec![Statement::withdrawal(Class::Service).unwrap()];
    let ended = publish::node(&one.key, LAB, statement, world.now, &mut one.sequence).unwrap();
    world.put(&ended);
    assert_eq!(world.resolve(&one).0, Outcome::NotFound);
}

#[test]
fn an_alternate_that_does_not_agree_counts_for_nothing() {
    let (mut world, mut one, mut two, mut three) = (World::new(), Person::new(1), Person::new(2), Person::new(3));
    let (second, third) = (two.cn(), three.cn());
    world.say(&mut one, &[(1, 5, 100)], &[second, third]);
    // One names nobody, one names somebody else.
    world.say(&mut two, &[(2, 1, 100)], &[third]);
    let alone = three.mapping(start(), 3);
    world.put(&alone);
    let (outcome, gets) = world.resolve(&one);
    let Outcome::Mapping(found) = outcome else { panic!("{outcome:?}") };
    assert_eq!((ways(&found), gets, found.alternates.len()), (vec![(1, 5, 100)], 3, 0));
    // Who is not named draws nothing to itself by naming.
    assert_eq!(ways(&world.found(&two)), [(2, 1, 100)]);
    assert_eq!(ways(&world.found(&three)).len(), 1);
}

#[test]
fn only_who_names_alternates_costs_more_gets_and_never_more_than_four() {
    let (mut world, mut one) = (World::new(), Person::new(1));
    world.say(&mut one, &[(1, 1, 100)], &[]);
    assert_eq!(world.resolve(&one).1, 1);
    let own = one.cn();
    world.say(&mut one, &[(1, 1, 100)], &[own]);
    assert_eq!(world.resolve(&one).1, 1, "oneself is no alternate");
    let mut others: Vec<Person> = (2..=6).map(Person::new).collect();
    let cns: Vec<Cn> = others.iter().map(Person::cn).collect();
    let all = vec![Statement::service(naming(&cns))];
    assert!(publish::node(&one.key, LAB, all, world.now, &mut one.sequence).is_err(), "five are too many");
    world.say(&mut one, &[(1, 1, 100)], &cns[..limits::ALTERNATES]);
    for (octet, other) in (100..).zip(&mut others) {
        // Together more locators than a mapping has, and chains are not followed.
        let many: Vec<(u8, u8, u8)> = (0..10).map(|n| (octet + 20 * (n % 5) + n, 1 + n, 100)).collect();
        world.say(other, &many, &[own, cns[4]]);
    }
    let (outcome, gets) = world.resolve(&one);
    let Outcome::Mapping(found) = outcome else { panic!("{outcome:?}") };
    assert_eq!((gets, found.alternates.len()), (1 + limits::ALTERNATES, limits::ALTERNATES));
    assert!(found.mapping.locators.len() <= limits::LOCATORS);
    assert!(found.mapping.locators.contains(&rloc(1)), "its own are not pushed out");
}

#[test]
fn a_revoked_alternate_is_none_and_a_revoked_owner_has_none() {
    let (mut world, mut one, mut two) = (World::new(), Person::new(1), Person::new(2));
    let (first, second) = (one.cn(), two.cn());
    world.say(&mut one, &[(1, 1, 100)], &[second]);
    world.say(&mut two, &[(2, 2, 100)], &[first]);
    world.put(&two.revoke(Reason::UNSPECIFIED, 0));
    assert_eq!(ways(&world.found(&one)), [(1, 1, 100)]);
    assert_eq!(world.resolve(&two), (Outcome::Revoked, 1));
}

#[test]
fn lies_about_alternates_are_seen_through() {
    let (mut world, mut one, mut two, mut liar) = (World::new(), Person::new(1), Person::new(2), Person::new(3));
    let (first, second) = (one.cn(), two.cn());
    world.say(&mut one, &[(1, 1, 100)], &[second]);
    world.say(&mut liar, &[(66, 1, 100)], &[first]);
    let forged = world.network.get(world.now, &liar.mapping(start(), 66).key).remove(0);
    let key = two.mapping(start(), 2).key;
    for node in 0..8 {
        world.network.lie(node, &key, forged.clone());
    }
    assert_eq!(ways(&world.found(&one)), [(1, 1, 100)]);
}

#[test]
fn a_joined_mapping_says_nothing_of_sessions_with_the_alternate() {
    let (mut world, mut one, mut two) = (World::new(), Person::new(1), Person::new(2));
    let (first, second) = (one.cn(), two.cn());
    world.say(&mut one, &[(1, 1, 100)], &[second]);
    let direct = Rloc { flags: RlocFlags { direct: true, ..rloc(2).flags }, priority: 2, ..rloc(2) };
    // The same address as the first one's own stays as the first one says.
    let twice = Rloc { priority: 9, ..rloc(1) };
    let statements =
        vec![Statement::mapping(Mapping::new([direct, twice], Ttl(5))), Statement::service(naming(&[first]))];
    let said = publish::node(&two.key, LAB, statements, world.now, &mut two.sequence).unwrap();
    world.put(&said);
    let found = world.found(&one);
    assert_eq!(ways(&found), [(1, 1, 100), (2, 2, 100)]);
    assert_eq!(found.mapping.ttl, Ttl(5), "as long as each part may be kept");
    assert!(found.mapping.locators.iter().all(|locator| !locator.flags.direct));
}
