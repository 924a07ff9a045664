// SPDX-License-Identifier: GPL-2.0-or-later
//! A site that has another name is the same site: no replay is taken, and nothing that is registered ends.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::*;
use mapsys::engine::{Engine, Mark, Memory, Output, Reconfiguration, Reconfigured, Subject};
use mapsys::limit::Foreign;
use mapsys::limits::KNOWN_SITE_KEYS;
use mapsys::refusal::Refusal;
use mapsys::register::label::grants::LabelRule;
use mapsys::register::label::{Label, Spelling};
use mapsys::register::nonces::Floor;
use mapsys::register::renaming::{Fingerprint, KnownKey};
use mapsys::register::site::{Site, SiteKey};
use mapsys::subscribe::subscriber::Policy;
use wire::address::InstanceId;
use wire::control::MapRegister;
use wire::control::auth::{Algorithm, AuthKey, Secret};
use wire::record::MappingRecord;

const ETR: &str = "198.51.100.1:4342";
const OTHER: &str = "198.51.100.2:4342";
const FIRST: &str = "2001:db8:a::/48";
const SECOND: &str = "2001:db8:b::/48";

/// A map system, and what a disk has of it: the last mark about each subject.
struct World {
    bench: Bench,
    disk: BTreeMap<Subject, Mark>,
}

/// Another configuration of a map system that runs, or the next start of one.
type Change = fn(&mut World, Vec<Site>);

impl World {
    fn new(sites: Vec<Site>) -> Self {
        Self { bench: Bench::new(config(sites)), disk: BTreeMap::new() }
    }

    fn keep(&mut self, outputs: &[Output]) {
        for output in outputs {
            if let Output::Persist(mark) = output {
                self.disk.insert(mark.subject(), mark.clone());
            }
        }
    }

    /// How many Map-Notifies a Map-Register leads to.
    fn confirmed(&mut self, from: &str, message: &[u8]) -> usize {
        let outputs = self.bench.datagram(from, message);
        self.keep(&outputs);
        sent(&outputs).iter().filter(|(to, _)| *to == address(from)).count()
    }

    fn reload(&mut self, sites: Vec<Site>) -> Reconfigured {
        let newer = Reconfiguration {
            sites,
            trust_anchors: vec![],
            clients: vec![],
            foreign: Foreign::FromItrRloc,
            subscribers: vec![],
            pubsub: Policy::default(),
            ddt: mapsys::ddt::Config::default(),
            lisp_sec: vec![],
        };
        let done = self.bench.engine.reconfigure(self.bench.now, newer).unwrap();
        let outputs = self.bench.drain();
        self.keep(&outputs);
        done
    }

    fn restart(&mut self, sites: Vec<Site>) {
        let engine = Engine::new(self.bench.now, config(sites), self.memory()).unwrap();
        self.bench = Bench { engine, now: self.bench.now };
        let outputs = self.bench.pass(Duration::ZERO);
        self.keep(&outputs);
    }

    fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for mark in self.disk.values().cloned() {
            match mark {
                Mark::Nonce(owner, last) => memory.nonces.push((owner, last)),
                Mark::NonceFloor(floor) => memory.nonce_floors.push(floor),
                Mark::Seen(seen) => memory.seen.push(seen),
                Mark::SiteKey(key) => memory.site_keys.push(key),
                Mark::Registration(_, row) => memory.registrations.push((Box::default(), row)),
                _ => {}
            }
        }
        memory
    }

    fn rlocs(&self, net: &str) -> Vec<String> {
        let registration = self.bench.engine.server().registrations().get(&prefix(net));
        let locators = registration.map(|registration| registration.merged().locators.clone()).unwrap_or_default();
        locators.iter().map(|locator| locator.rloc.ip().unwrap().to_string()).collect()
    }
}

/// Each of these two.
const CHANGES: [Change; 2] = [
    |world, sites| {
        world.reload(sites);
    },
    World::restart,
];

/// The site that has [`FIRST`].
fn named(name: &str) -> Site {
    site(name, 1, "secret of the first", &[prefix(FIRST)])
}

fn sealed(nonce: u64, net: &str, rloc: &str) -> Vec<u8> {
    sealed_with("secret of the first", nonce, net, rloc)
}

fn sealed_with(secret: &str, nonce: u64, net: &str, rloc: &str) -> Vec<u8> {
    seal(register(nonce, vec![record(prefix(net), &[rloc])]), &key(1, Algorithm::HmacSha256, secret))
}

#[test]
fn a_site_that_has_another_name_keeps_its_nonces_and_its_registrations_also_over_the_starts_after_that() {
    for change in CHANGES {
        for then in CHANGES {
            let mut world = World::new(vec![named("a")]);
            let first = sealed(100, FIRST, "198.51.100.66");
            let second = sealed(101, FIRST, "198.51.100.20");
            assert_eq!((world.confirmed(ETR, &first), world.confirmed(ETR, &second)), (1, 1));
            for (change, name) in [(change, "b"), (then, "b"), (then, "c"), (change, "a")] {
                change(&mut world, vec![named(name)]);
                assert_eq!(world.rlocs(FIRST), ["198.51.100.20"], "{name}");
                assert_eq!(world.confirmed(OTHER, &first), 0, "{name}");
                assert_eq!(world.confirmed(ETR, &second), 1, "{name}: its Map-Notify was lost");
            }
            assert_eq!(world.confirmed(ETR, &sealed(102, FIRST, "198.51.100.21")), 1);
            assert_eq!(world.memory().nonces.len(), 1, "nothing is left of other names");
            assert_eq!(world.memory().site_keys.len(), 1);
        }
    }
}

#[test]
fn a_reload_that_renames_a_site_ends_nothing() {
    let name = Label::name(InstanceId(5), b"printer").unwrap();
    let with_name = |site: Site| Site { labels: vec![LabelRule::block(name)], ..site };
    let mut world = World::new(vec![with_name(named("a"))]);
    let eid = name.eid(Spelling::default());
    let printer = MappingRecord { eid, ..record(prefix(FIRST), &["198.51.100.1"]) };
    let both = register(1, vec![record(prefix(FIRST), &["198.51.100.1"]), printer]);
    let both = seal(both, &key(1, Algorithm::HmacSha256, "secret of the first"));
    assert_eq!(world.confirmed(ETR, &both), 1);
    let done = world.reload(vec![site("new", 1, "x", &[prefix(SECOND)]), with_name(named("b"))]);
    assert_eq!((done.sites, done.kept, done.ended), (2, 2, 0));
    world.restart(vec![with_name(named("b"))]);
    let server = world.bench.engine.server();
    assert_eq!((server.registrations().len(), server.labels().len()), (1, 1), "nor on disk");
}

#[test]
fn a_site_that_was_gone_for_a_while_is_known_under_another_name() {
    for change in CHANGES {
        let mut world = World::new(vec![named("a")]);
        let first = sealed(100, FIRST, "198.51.100.66");
        assert_eq!(world.confirmed(ETR, &first), 1);
        change(&mut world, vec![site("other", 1, "x", &[prefix(SECOND)])]);
        change(&mut world, vec![named("b")]);
        assert_eq!(world.confirmed(OTHER, &first), 0);
        assert_eq!(world.bench.only_refused(Refusal::RegisterReplayed), 1);
    }
}

#[test]
fn two_sites_that_change_their_names_have_each_its_own_memory() {
    let both = |first: &str, second: &str| vec![named(first), site(second, 1, "of b", &[prefix(SECOND)])];
    for change in CHANGES {
        let mut world = World::new(both("a", "b"));
        let (old, low) = (sealed(1000, FIRST, "198.51.100.1"), sealed_with("of b", 5, SECOND, "198.51.100.2"));
        assert_eq!((world.confirmed(ETR, &old), world.confirmed(OTHER, &low)), (1, 1));
        change(&mut world, both("b", "a"));
        assert_eq!(
            (world.rlocs(FIRST), world.rlocs(SECOND)),
            (vec!["198.51.100.1".into()], vec!["198.51.100.2".into()])
        );
        world.restart(both("b", "a"));
        assert_eq!(world.confirmed(ETR, &sealed(999, FIRST, "198.51.100.1")), 0);
        assert_eq!(world.bench.only_refused(Refusal::RegisterReplayed), 1);
        assert_eq!(world.confirmed(OTHER, &sealed_with("of b", 6, SECOND, "198.51.100.2")), 1);
        assert_eq!(world.confirmed(ETR, &sealed(1001, FIRST, "198.51.100.1")), 1);
    }
}

#[test]
fn a_site_of_another_secret_key_id_or_eid_is_another_site() {
    let others = [
        (site("b", 1, "another secret", &[prefix(FIRST)]), 1, "another secret", FIRST),
        (site("b", 2, "secret of the first", &[prefix(FIRST)]), 2, "secret of the first", FIRST),
        (site("b", 1, "secret of the first", &[prefix(SECOND)]), 1, "secret of the first", SECOND),
    ];
    for change in CHANGES {
        for (other, key_id, secret, net) in others.clone() {
            let mut world = World::new(vec![named("a")]);
            assert_eq!(world.confirmed(ETR, &sealed(100, FIRST, "198.51.100.1")), 1);
            change(&mut world, vec![other]);
            assert_eq!(world.rlocs(FIRST), Vec::<String>::new());
            let message = register(1, vec![record(prefix(net), &["198.51.100.2"])]);
            let message = seal(message, &key(key_id, Algorithm::HmacSha256, secret));
            assert_eq!(world.confirmed(OTHER, &message), 1, "it begins anew");
            assert_eq!(world.memory().nonces.len(), 2, "the other one may come back");
        }
    }
}

#[test]
fn of_two_keys_each_goes_by_itself() {
    let second = |secret: &str| SiteKey { id: 2, algorithm: None, secret: Secret::new(secret) };
    let with = |name: &str, secret: &str| {
        let first = named(name);
        vec![Site { keys: [first.keys.clone(), vec![second(secret)]].concat(), ..first }]
    };
    let of = |key: &AuthKey, nonce| seal(register(nonce, vec![record(prefix(FIRST), &["198.51.100.1"])]), key);
    for change in CHANGES {
        let mut world = World::new(with("a", "second"));
        let (one, two) =
            (key(1, Algorithm::HmacSha256, "secret of the first"), key(2, Algorithm::HmacSha256, "second"));
        assert_eq!((world.confirmed(ETR, &of(&one, 100)), world.confirmed(ETR, &of(&two, 200))), (1, 1));
        change(&mut world, with("b", "of now"));
        let two = key(2, Algorithm::HmacSha256, "of now");
        assert_eq!((world.confirmed(ETR, &of(&one, 99)), world.confirmed(ETR, &of(&two, 1))), (0, 1));
        assert_eq!(world.confirmed(ETR, &of(&one, 101)), 1);
    }
}

#[test]
fn a_former_key_of_a_name_that_another_site_has_now_takes_nothing_of_that() {
    let second = |secret: &str| SiteKey { id: 2, algorithm: None, secret: Secret::new(secret) };
    let with = |name: &str, secret: &str| {
        let first = named(name);
        Site { keys: [first.keys.clone(), vec![second(secret)]].concat(), ..first }
    };
    let of = |key: &AuthKey, nonce, eid| seal(register(nonce, vec![record(prefix(eid), &["198.51.100.1"])]), key);
    let other = || site("a", 1, "of another", &[prefix(SECOND)]);
    let (two, third) = (key(2, Algorithm::HmacSha256, "second"), key(1, Algorithm::HmacSha256, "of another"));
    for change in CHANGES {
        let mut world = World::new(vec![with("a", "second")]);
        assert_eq!(world.confirmed(ETR, &of(&two, 200, FIRST)), 1);
        change(&mut world, vec![with("b", "of now")]);
        change(&mut world, vec![with("b", "of now"), other()]);
        assert_eq!(world.confirmed(OTHER, &of(&third, 5, SECOND)), 1);
        change(&mut world, vec![with("b", "second"), other()]);
        assert!(world.bench.registered().contains(&prefix(SECOND)));
        assert_eq!(world.confirmed(ETR, &of(&two, 199, FIRST)), 0, "a replay");
        assert_eq!(world.confirmed(OTHER, &of(&third, 6, SECOND)), 1);
    }
}

#[test]
fn a_legacy_site_that_has_another_name_keeps_its_ten_minutes() {
    let legacy = |name: &str| vec![Site { legacy: true, ..named(name) }];
    for change in CHANGES {
        let mut world = World::new(legacy("a"));
        let all: Vec<_> = [7, 3, 9].map(|nonce| sealed(nonce, FIRST, "198.51.100.66")).into();
        for message in &all {
            assert_eq!(world.confirmed(ETR, message), 1);
            let outputs = world.bench.pass(Duration::from_secs(100));
            world.keep(&outputs);
        }
        change(&mut world, legacy("b"));
        assert_eq!(world.memory().seen.len(), 3);
        world.restart(legacy("b"));
        for message in &all {
            assert_eq!(world.confirmed(OTHER, message), usize::from(message == &all[2]));
        }
        let forgotten = world.bench.pass(Duration::from_secs(1200));
        world.keep(&forgotten);
        assert_eq!(world.memory().seen, []);
    }
}

#[test]
fn what_is_left_of_xtrs_that_made_room_counts_under_the_other_name_too() {
    for change in CHANGES {
        let mut world = World::new(vec![named("a")]);
        assert_eq!(world.confirmed(ETR, &sealed(1, FIRST, "198.51.100.1")), 1);
        let floor = Mark::NonceFloor(Floor { site: "a".into(), key_id: 1, nonce: 500 });
        world.disk.insert(floor.subject(), floor);
        world.restart(vec![named("a")]);
        change(&mut world, vec![named("b")]);
        world.restart(vec![named("b")]);
        assert_eq!(world.confirmed(ETR, &sealed(500, FIRST, "198.51.100.1")), 0);
        assert_eq!(world.confirmed(ETR, &sealed(501, FIRST, "198.51.100.1")), 1);
    }
}

#[test]
fn a_state_of_a_former_version_knows_a_site_when_it_has_registered_once() {
    let mut world = World::new(vec![named("a")]);
    assert_eq!(world.confirmed(ETR, &sealed(100, FIRST, "198.51.100.1")), 1);
    world.disk.retain(|_, mark| !matches!(mark, Mark::SiteKey(_)));
    world.restart(vec![named("a")]);
    assert_eq!(world.rlocs(FIRST), ["198.51.100.1"]);
    assert_eq!(world.confirmed(ETR, &sealed(101, FIRST, "198.51.100.1")), 1);
    world.restart(vec![named("b")]);
    assert_eq!(world.confirmed(OTHER, &sealed(101, FIRST, "198.51.100.9")), 0);
}

#[test]
fn keys_of_sites_that_are_gone_are_forgotten_when_there_are_too_many() {
    let mut world = World::new(vec![named("a")]);
    assert_eq!(world.confirmed(ETR, &sealed(100, FIRST, "198.51.100.1")), 1);
    for number in 0..KNOWN_SITE_KEYS {
        let site = format!("gone {number}");
        let mark = Mark::SiteKey(KnownKey { site, key_id: 1, fingerprint: Fingerprint([9; 16]) });
        world.disk.insert(mark.subject(), mark);
    }
    world.restart(vec![named("b")]);
    assert_eq!(world.memory().site_keys.iter().map(|key| &*key.site).collect::<Vec<_>>(), ["b"]);
    assert_eq!(world.confirmed(OTHER, &sealed(100, FIRST, "198.51.100.9")), 0);
}

#[test]
fn what_is_kept_of_a_key_does_not_tell_it_without_the_salt() {
    let kept = |salt| {
        let mut bench = Bench::with(config(vec![named("a")]), Memory { salt, ..Memory::default() });
        let message = MapRegister { want_notify: false, ..register(1, vec![record(prefix(FIRST), &["198.51.100.1"])]) };
        let outputs = bench.datagram(ETR, &seal(message, &key(1, Algorithm::HmacSha256, "secret of the first")));
        let kept = outputs.into_iter().find_map(|output| match output {
            Output::Persist(Mark::SiteKey(KnownKey { fingerprint, .. })) => Some(fingerprint),
            _ => None,
        });
        kept.unwrap()
    };
    assert_eq!(kept([1; 16]), kept([1; 16]));
    assert_ne!(kept([1; 16]), kept([2; 16]));
}
