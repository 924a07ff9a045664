// SPDX-License-Identifier: GPL-2.0-or-later
//! What is registered outlives a restart, and is on disk before it is confirmed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::*;
use mapsys::engine::{Config, Mark, Memory, Output};
use mapsys::limits::{LIVE_MORE_SPECIFICS, NONCE_MEMORIES_PER_SITE};
use mapsys::nat::Rtr;
use mapsys::refusal::Refusal;
use mapsys::register::label::grants::LabelRule;
use mapsys::register::label::{AnyEid, Label, Spelling};
use mapsys::register::nonces::{Floor, Last, NonceOwner};
use mapsys::register::site::{Publish, Site, SitePrefix};
use wire::address::InstanceId;
use wire::control::auth::{Algorithm, AuthKey};
use wire::control::{Ecm, MapRegister, XtrIdentity};
use wire::record::{MapVersion, MappingRecord, Ttl};

const ETR: &str = "198.51.100.1:4342";
const OTHER: &str = "198.51.100.2:4342";
const ITR: &str = "192.0.2.1:61000";
const SITE: &str = "2001:db8:a::/48";
const HOST: &str = "2001:db8:a::7";
const MINUTE: Duration = Duration::from_secs(60);

/// What a disk has of it all.
#[derive(Debug, Default, Clone)]
struct Disk {
    nonces: BTreeMap<NonceOwner, Last>,
    floors: Vec<Floor>,
    registrations: BTreeMap<AnyEid, Box<[u8]>>,
    age: Duration,
    /// Since something was written last.
    away: Duration,
    /// Rows of registrations that were written or removed.
    writes: usize,
}

impl Disk {
    fn take(&mut self, outputs: &[Output]) {
        for output in outputs {
            let Output::Persist(mark) = output else { continue };
            self.away = Duration::ZERO;
            match mark.clone() {
                Mark::Nonce(owner, last) => drop(self.nonces.insert(owner, last)),
                Mark::ForgottenNonce(owner) => drop(self.nonces.remove(&owner)),
                Mark::NonceFloor(floor) => {
                    self.floors.retain(|known| (&known.site, known.key_id) != (&floor.site, floor.key_id));
                    self.floors.push(floor);
                }
                Mark::Registration(eid, row) => drop(self.registrations.insert(eid, row)),
                Mark::ForgottenRegistration(eid) => drop(self.registrations.remove(&eid)),
                _ => {}
            }
            self.writes += usize::from(matches!(mark, Mark::Registration(..) | Mark::ForgottenRegistration(_)));
        }
    }

    fn later(&mut self, time: Duration) {
        self.age += time;
        self.away += time;
    }

    fn memory(&self) -> Memory {
        Memory {
            nonces: self.nonces.clone().into_iter().collect(),
            nonce_floors: self.floors.clone(),
            registrations: self.registrations.values().map(|row| (Box::default(), row.clone())).collect(),
            age: self.age,
            away: self.away,
            ..Memory::default()
        }
    }
}

/// A map system and its disk.
struct World {
    config: fn() -> Config,
    bench: Bench,
    disk: Disk,
}

impl World {
    fn new(config: fn() -> Config) -> Self {
        Self { config, bench: Bench::new(config()), disk: Disk::default() }
    }

    fn datagram(&mut self, from: &str, bytes: &[u8]) -> Vec<Output> {
        let outputs = self.bench.datagram(from, bytes);
        self.disk.take(&outputs);
        outputs
    }

    fn pass(&mut self, time: Duration) {
        self.disk.later(time);
        let outputs = self.bench.pass(time);
        self.disk.take(&outputs);
    }

    /// Kills it, and starts it after `time`, by a clock that somebody may have set.
    fn restart(
        &mut self,
        config: fn() -> Config,
        time: Duration,
        clock: impl Fn(std::time::SystemTime) -> std::time::SystemTime,
    ) {
        let mut now = self.bench.now;
        now.monotonic += time;
        self.disk.later(time);
        now.wall = clock(now.wall + time);
        self.config = config;
        let engine = mapsys::engine::Engine::new(now, config(), self.disk.memory()).unwrap();
        self.bench = Bench { engine, now };
        self.pass(Duration::ZERO);
    }

    fn restart_at_once(&mut self) {
        self.restart(self.config, Duration::from_secs(1), |wall| wall);
    }

    fn rlocs(&mut self, eid: &str) -> Vec<String> {
        let (_, reply) = reply(&self.datagram(ITR, &ecm(&request(9, &[host(eid)], &["192.0.2.1"]))));
        reply.records[0].locators.iter().map(|locator| locator.rloc.ip().unwrap().to_string()).collect()
    }
}

fn site_a() -> Site {
    site("a", 1, "secret of a", &[prefix(SITE)])
}

fn one_site() -> Config {
    config(vec![site("of others", 1, "x", &[prefix("10.1.0.0/16")]), site_a()])
}

fn site_key() -> AuthKey {
    key(1, Algorithm::HkdfSha256, "secret of a")
}

fn sealed(nonce: u64, rloc: &str) -> Vec<u8> {
    seal(register(nonce, vec![record(prefix(SITE), &[rloc])]), &site_key())
}

/// With T and a TTL in minutes.
fn timed(nonce: u64, minutes: u32) -> Vec<u8> {
    let record = MappingRecord { ttl: Ttl(minutes), ..record(prefix(SITE), &["198.51.100.1"]) };
    seal(MapRegister { use_ttl: true, ..register(nonce, vec![record]) }, &site_key())
}

fn from_xtr(xtr: u8, message: MapRegister) -> MapRegister {
    MapRegister { xtr_identity: Some(XtrIdentity { xtr_id: [xtr; 16], site_id: 1 }), ..message }
}

#[test]
fn what_is_confirmed_is_answered_right_at_once_after_a_kill() {
    let mut world = World::new(one_site);
    let outputs = world.datagram(ETR, &sealed(1, "198.51.100.1"));
    let of = |wanted: fn(&Output) -> bool| outputs.iter().position(wanted).unwrap();
    let written = of(|output| matches!(output, Output::Persist(Mark::Registration(..))));
    assert!(written < of(|output| matches!(output, Output::Send { .. })), "before the Map-Notify: {outputs:?}");
    world.restart_at_once();
    assert_eq!(world.rlocs(HOST), ["198.51.100.1"]);
    // Its xTR goes on as if nothing had been.
    notify(&world.datagram(ETR, &sealed(2, "198.51.100.1")));
    world.pass(MINUTE);
    assert_eq!(world.rlocs(HOST), ["198.51.100.1"]);
}

#[test]
fn after_a_restart_three_minutes_of_silence_end_it_and_it_is_gone_from_the_disk() {
    let mut world = World::new(one_site);
    world.datagram(ETR, &sealed(1, "198.51.100.1"));
    world.pass(MINUTE);
    world.restart(one_site, MINUTE, |wall| wall);
    world.pass(Duration::from_secs(179));
    assert_eq!(world.rlocs(HOST), ["198.51.100.1"], "it had no way to register again");
    world.pass(Duration::from_secs(2));
    assert_eq!(world.bench.registered(), []);
    assert_eq!(world.disk.registrations, BTreeMap::new());
}

#[test]
fn what_has_ended_while_nobody_was_served_is_not_believed() {
    let day = 1440 * MINUTE;
    // RFC 9301, section 8.2: no Map-Register in three minutes; and with T when that is over, which the end on disk is late for.
    let (minutes, timed) = (sealed(1, "198.51.100.1"), timed(1, 1440));
    let cases = [
        (&minutes, Duration::from_secs(119), true),
        (&minutes, 2 * MINUTE, false),
        (&minutes, 7 * day, false),
        (&timed, day - 2 * MINUTE, true),
        (&timed, day + day / 8, false),
        (&timed, 7 * day, false),
    ];
    for (sealed, down, is_believed) in cases {
        let mut world = World::new(one_site);
        notify(&world.datagram(ETR, sealed));
        world.pass(MINUTE);
        world.restart(one_site, down, |wall| wall);
        assert_eq!(!world.bench.registered().is_empty(), is_believed, "{down:?}");
        assert_eq!(!world.disk.registrations.is_empty(), is_believed, "{down:?}");
        // Its xTR goes on as ever.
        let next = register(2, vec![record(prefix(SITE), &["198.51.100.2"])]);
        notify(&world.datagram(ETR, &seal(next, &site_key())));
        assert_eq!(world.rlocs(HOST), ["198.51.100.2"]);
    }
}

#[test]
fn what_is_left_at_a_restart_is_enough_to_register_again_and_the_time_between_two_runs_counts() {
    let mut world = World::new(one_site);
    notify(&world.datagram(ETR, &timed(1, 1440)));
    // An eighth of a day is what the end on disk may be late.
    world.restart(one_site, 1439 * MINUTE, |wall| wall);
    world.pass(2 * MINUTE);
    assert_eq!(world.rlocs(HOST), ["198.51.100.1"]);
    world.restart(one_site, 181 * MINUTE, |wall| wall);
    assert_eq!(world.bench.registered(), []);
}

#[test]
fn what_is_withdrawn_or_silent_is_not_there_after_a_restart() {
    for is_withdrawn in [true, false] {
        let mut world = World::new(one_site);
        world.datagram(ETR, &sealed(1, "198.51.100.1"));
        assert_eq!(world.disk.registrations.len(), 1);
        if is_withdrawn {
            notify(&world.datagram(ETR, &seal(register(2, vec![record(prefix(SITE), &[])]), &site_key())));
        } else {
            world.pass(4 * MINUTE);
        }
        assert_eq!(world.disk.registrations, BTreeMap::new());
        world.restart_at_once();
        assert_eq!(world.bench.registered(), []);
    }
}

#[test]
fn a_registration_with_t_lives_on_for_what_was_left_whatever_is_done_to_the_clock() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    for clock in [|wall| wall, |wall| wall + 30 * DAY, |wall| wall - 30 * DAY] {
        let mut world = World::new(one_site);
        world.pass(MINUTE);
        notify(&world.datagram(ETR, &timed(1, 1440)));
        world.pass(DAY - 60 * MINUTE);
        world.restart(one_site, 10 * MINUTE, clock);
        world.pass(49 * MINUTE);
        assert_eq!(world.rlocs(HOST), ["198.51.100.1"]);
        // What is kept on disk is up to an eighth of the time later than it is.
        world.pass(DAY / 8 + 2 * MINUTE);
        assert_eq!(world.bench.registered(), []);
    }
}

#[test]
fn a_registration_with_t_lives_no_longer_after_a_restart_than_it_was_asked_for() {
    let mut world = World::new(one_site);
    notify(&world.datagram(ETR, &timed(1, 480)));
    world.restart_at_once();
    world.pass(479 * MINUTE);
    assert_eq!(world.rlocs(HOST), ["198.51.100.1"]);
    world.pass(MINUTE);
    assert_eq!(world.bench.registered(), []);
}

#[test]
fn what_an_rtr_relayed_before_a_restart_is_not_confirmed_once_more() {
    let with_rtr = |world: World| {
        let World { config, bench: Bench { engine, now }, disk } = world;
        let key = key(7, Algorithm::HmacSha256, "of the rtr");
        let rtr = Rtr { addresses: vec!["203.0.113.9".parse().unwrap()], key };
        World { config, bench: Bench { engine: engine.with_rtrs(vec![rtr]), now }, disk }
    };
    for use_ttl in [false, true] {
        let relayed = |nonce| {
            let record = MappingRecord { ttl: Ttl(480), ..record(prefix(SITE), &["203.0.113.9"]) };
            let message = seal(MapRegister { use_ttl, ..register(nonce, vec![record]) }, &site_key());
            Ecm { by_rtr: true, ..Ecm::wrap(address("10.0.0.5:4342"), address(SERVER), message) }.encode().unwrap()
        };
        let confirmed = |world: &mut World, nonce| sent(&world.datagram("203.0.113.9:4342", &relayed(nonce))).len();
        let mut world = with_rtr(World::new(one_site));
        assert_eq!([1, 1].map(|nonce| confirmed(&mut world, nonce)), [1, 1]);
        world.restart_at_once();
        let mut world = with_rtr(world);
        assert_eq!(world.rlocs(HOST), ["203.0.113.9"]);
        assert_eq!(confirmed(&mut world, 1), 0, "it would believe it of whoever has seen it go by");
        assert_eq!(world.bench.only_refused(Refusal::RegisterReplayed), 1);
        assert_eq!([2, 2].map(|nonce| confirmed(&mut world, nonce)), [1, 1], "its next one, and that once more");
    }
}

#[test]
fn a_refresh_that_changes_nothing_writes_no_row() {
    let mut world = World::new(one_site);
    for nonce in 1..=240 {
        notify(&world.datagram(ETR, &sealed(nonce, "198.51.100.1")));
        world.pass(MINUTE);
    }
    assert_eq!(world.disk.writes, 1);
    // With T the end moves, and is written some times in a life.
    for nonce in 241..=241 + 1440 {
        notify(&world.datagram(ETR, &timed(nonce, 1440)));
        world.pass(MINUTE);
    }
    assert!((8..=11).contains(&world.disk.writes), "{}", world.disk.writes);
    let before = world.disk.writes;
    notify(&world.datagram(ETR, &sealed(2000, "198.51.100.2")));
    assert_eq!(world.disk.writes, before + 1);
    world.restart_at_once();
    notify(&world.datagram(ETR, &sealed(2001, "198.51.100.2")));
    assert_eq!(world.disk.writes, before + 1, "nor after a restart");
    assert_eq!(world.rlocs(HOST), ["198.51.100.2"]);
}

#[test]
fn the_parts_of_xtrs_that_merge_come_back_and_are_told_of_each_other() {
    let mut world = World::new(one_site);
    let merging = |nonce, xtr, rloc: &str, version| {
        let record = MappingRecord { map_version: MapVersion(version), ..record(prefix(SITE), &[rloc]) };
        seal(from_xtr(xtr, MapRegister { merge: true, ..register(nonce, vec![record]) }), &site_key())
    };
    world.datagram(ETR, &merging(1, 1, "198.51.100.1", 5));
    world.datagram(OTHER, &merging(1, 2, "198.51.100.2", 9));
    world.pass(MINUTE);
    world.restart_at_once();
    assert_eq!(world.rlocs(HOST), ["198.51.100.1", "198.51.100.2"]);
    // One leaves: the other is told, where it registered, before it has registered again.
    let told = sent(&world.datagram(OTHER, &merging(2, 2, "198.51.100.3", 10)));
    assert!(told.iter().any(|(to, _)| *to == address(ETR)), "{told:?}");
    world.datagram(
        OTHER,
        &seal(from_xtr(2, MapRegister { merge: true, ..register(3, vec![record(prefix(SITE), &[])]) }), &site_key()),
    );
    world.restart_at_once();
    let registration = world.bench.engine.server().registrations().get(&prefix(SITE)).unwrap();
    assert_eq!(registration.merged().map_version, MapVersion(10), "it does not become older again");
    assert_eq!(world.rlocs(HOST), ["198.51.100.1"]);
}

#[test]
fn the_whole_of_a_part_comes_back() {
    fn with_labels() -> Config {
        let name = Label::name(InstanceId(5), b"printer").unwrap();
        let mac = Label::mac(InstanceId(0), [2, 0, 0x5e, 0, 0, 1], 48).unwrap();
        config(vec![Site { labels: vec![LabelRule::block(name), LabelRule::block(mac)], ..site_a() }])
    }
    let rtr = || {
        vec![Rtr { addresses: vec!["203.0.113.9".parse().unwrap()], key: key(7, Algorithm::HmacSha256, "of the rtr") }]
    };
    let mut world = World::new(with_labels);
    world.bench.engine =
        mapsys::engine::Engine::new(world.bench.now, with_labels(), Memory::default()).unwrap().with_rtrs(rtr());
    let locators = ["198.51.100.1", "2001:db8:ffff::1"];
    let version = |record: MappingRecord| MappingRecord { map_version: MapVersion(7), ttl: Ttl(3), ..record };
    let of =
        |eid: Label, spelling| version(MappingRecord { eid: eid.eid(spelling), ..record(prefix(SITE), &locators) });
    let name = Label::name(InstanceId(5), b"printer").unwrap();
    let mac = Label::mac(InstanceId(0), [2, 0, 0x5e, 0, 0, 1], 48).unwrap();
    let plain = Spelling { counts_nul: false, is_ieee_802: false };
    let records = vec![version(record(prefix(SITE), &locators)), of(name, plain), of(mac, Spelling::default())];
    let message = MapRegister { merge: true, security_capable: true, proxy_reply: false, ..register(1, records) };
    let register = seal(from_xtr(3, message), &site_key());
    let relayed = Ecm { by_rtr: true, ..Ecm::wrap(address("10.0.0.5:4342"), address(SERVER), register) };
    assert_eq!(sent(&world.datagram("203.0.113.9:4342", &relayed.encode().unwrap())).len(), 1);
    let shown = |world: &World| -> Vec<String> {
        let server = world.bench.engine.server();
        let prefixes = server.registrations().iter().map(|(prefix, entry)| (AnyEid::Prefix(prefix), entry));
        let labels = server.labels().after(None).map(|(label, entry)| (AnyEid::Label(label), entry));
        let all = prefixes.chain(labels).flat_map(|(eid, entry)| entry.parts().map(move |part| (eid, part)));
        all.map(|(eid, part)| {
            let mut part = part.clone();
            part.expires = world.bench.now.monotonic;
            format!("{eid} {part:?}").replace(&format!("{:?}", part.expires), "")
        })
        .collect()
    };
    let before = shown(&world);
    assert_eq!(before.len(), 3);
    assert!(before[0].contains("203.0.113.9") && before[1].contains("Reach"), "{before:?}");
    world.restart_at_once();
    assert_eq!(shown(&world), before);
}

#[test]
fn what_the_site_may_not_have_any_more_is_forgotten() {
    fn narrower() -> Config {
        config(vec![
            site("a", 1, "secret of a", &[prefix("2001:db8:b::/48")]),
            site("b", 1, "secret of b", &[prefix(SITE)]),
        ])
    }
    let mut world = World::new(one_site);
    world.datagram(ETR, &sealed(1, "198.51.100.1"));
    world.restart(narrower, MINUTE, |wall| wall);
    assert_eq!(world.bench.registered(), []);
    assert_eq!(world.disk.registrations, BTreeMap::new());
}

#[test]
fn a_row_that_is_cut_or_changed_is_no_registration_of_another_kind_and_nothing_panics() {
    let mut world = World::new(one_site);
    world.datagram(ETR, &timed(1, 1440));
    let whole = world.disk.registrations.values().next().unwrap().clone();
    for length in 0..whole.len() {
        for flipped in [None, Some(0x01), Some(0x80)] {
            let mut row = whole.to_vec();
            match flipped {
                None => row.truncate(length),
                Some(bit) => row[length] ^= bit,
            }
            let key: Box<[u8]> = [7; 3].into();
            let memory = Memory { registrations: vec![(key.clone(), row.into())], ..Memory::default() };
            let mut bench = Bench::with(one_site(), memory);
            let is_forgotten = bench.pass(Duration::ZERO).contains(&Output::Persist(Mark::UnreadableRegistration(key)));
            assert!(!is_forgotten || bench.registered().is_empty());
            // Cut, or of another format.
            assert!(is_forgotten || flipped.is_some() && length > 0, "{length} {flipped:?}");
        }
    }
}

#[test]
fn more_specifics_of_an_aggregate_come_back_too() {
    fn wide() -> Config {
        let prefixes = vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }];
        config(vec![Site { prefixes, publish: Publish::Aggregate, ..site_a() }])
    }
    let mut world = World::new(wide);
    let all: Vec<_> = (0..600).map(|n| prefix(&format!("2001:db8:a:{n:x}::/64"))).collect();
    for (nonce, some) in (1..).zip(all.chunks(20)) {
        let records = some.iter().map(|prefix| record(*prefix, &["198.51.100.1"])).collect();
        notify(&world.datagram(ETR, &seal(register(nonce, records), &site_key())));
    }
    world.restart_at_once();
    assert_eq!(world.bench.registered(), all);
    // Each by itself they have no more room after a restart than when they register.
    fn each() -> Config {
        let Config { sites, .. } = wide();
        config(sites.into_iter().map(|site| Site { publish: Publish::Each, ..site }).collect())
    }
    world.restart(each, MINUTE, |wall| wall);
    assert_eq!(world.bench.registered(), all[..LIVE_MORE_SPECIFICS]);
    assert_eq!(world.disk.registrations.len(), LIVE_MORE_SPECIFICS);
    let mut says = |nonce, prefix| {
        let records = vec![record(prefix, &["198.51.100.1"])];
        sent(&world.datagram(ETR, &seal(register(nonce, records), &site_key()))).len()
    };
    assert_eq!((says(100, all[LIVE_MORE_SPECIFICS]), says(101, all[0])), (0, 1));
    assert_eq!(world.bench.only_refused(Refusal::RegisterTableFull), 1);
}

#[test]
fn a_retransmission_of_what_has_ended_is_not_confirmed() {
    let mut world = World::new(one_site);
    let first = sealed(1, "198.51.100.1");
    notify(&world.datagram(ETR, &first));
    notify(&world.datagram(ETR, &first));
    world.pass(4 * MINUTE);
    assert_eq!(world.bench.registered(), []);
    assert_eq!(sent(&world.datagram(ETR, &first)), [], "it would say that it is registered");
    assert_eq!(world.bench.registered(), [], "and an old nonce registers nothing");
    assert_eq!(world.bench.only_refused(Refusal::RegisterReplayed), 1);
    notify(&world.datagram(ETR, &sealed(2, "198.51.100.1")));
    // What takes back what is not there is as it says.
    let withdrawal = seal(register(3, vec![record(prefix(SITE), &[])]), &site_key());
    notify(&world.datagram(ETR, &withdrawal));
    notify(&world.datagram(ETR, &withdrawal));
}

#[test]
fn a_retransmission_of_what_another_xtr_or_key_has_since_is_not_confirmed() {
    fn two_keys() -> Config {
        let mut site = site_a();
        site.keys.extend(site_a().keys.into_iter().map(|key| mapsys::register::site::SiteKey { id: 2, ..key }));
        config(vec![site])
    }
    let of = |xtr, key_id, nonce| {
        let key = AuthKey { id: key_id, ..site_key() };
        seal(from_xtr(xtr, register(nonce, vec![record(prefix(SITE), &["198.51.100.1"])])), &key)
    };
    for later in [of(2, 1, 1), of(1, 2, 1)] {
        let mut world = World::new(two_keys);
        let first = of(1, 1, 1);
        notify(&world.datagram(ETR, &first));
        notify(&world.datagram(ETR, &first));
        let told = sent(&world.datagram(OTHER, &later));
        assert!(told.iter().any(|(to, _)| *to == address(OTHER)), "{told:?}");
        assert_eq!(sent(&world.datagram(ETR, &first)), []);
        assert_eq!(world.bench.only_refused(Refusal::RegisterReplayed), 1);
    }
}

#[test]
fn a_site_whose_xtrs_have_used_up_its_share_has_room_under_its_next_key_and_what_was_recorded_stays_old() {
    fn with_key(id: u8) -> Config {
        let mut site = site_a();
        site.keys[0].id = id;
        config(vec![site])
    }
    let (first, second): (fn() -> Config, fn() -> Config) = (|| with_key(1), || with_key(2));
    let of = |xtr: usize, key_id: u8, nonce| {
        let xtr_id = u128::try_from(xtr).unwrap().to_be_bytes();
        // What takes back what is not there has a nonce too.
        let message = register(nonce, vec![record(prefix(SITE), &[])]);
        let identity = Some(XtrIdentity { xtr_id, site_id: 1 });
        seal(MapRegister { xtr_identity: identity, ..message }, &AuthKey { id: key_id, ..site_key() })
    };
    let mut world = World::new(first);
    for xtr in 0..NONCE_MEMORIES_PER_SITE {
        world.datagram(ETR, &of(xtr, 1, 100 + xtr as u64));
    }
    let more = |world: &mut World, key_id, nonce| {
        let outputs = world.datagram(OTHER, &of(usize::MAX, key_id, nonce));
        sent(&outputs).iter().any(|(to, _)| *to == address(OTHER))
    };
    assert!(!more(&mut world, 1, 1), "no room for one more");
    world.restart(second, MINUTE, |wall| wall);
    assert!(more(&mut world, 2, 1), "there is under the next key");
    assert_eq!((world.disk.nonces.len(), world.disk.floors.len()), (1, 1));
    // The first key again, whoever sends.
    world.restart(first, MINUTE, |wall| wall);
    let highest = 99 + NONCE_MEMORIES_PER_SITE as u64;
    assert_eq!(sent(&world.datagram(ETR, &of(3, 1, 103))), [], "recorded before");
    assert!(!more(&mut world, 1, highest));
    assert!(more(&mut world, 1, highest + 1));
}
