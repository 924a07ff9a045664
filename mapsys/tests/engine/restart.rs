// SPDX-License-Identifier: GPL-2.0-or-later
//! What is registered outlives a restart, and is on disk before it is confirmed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::*;
use mapsys::engine::{Config, Mark, Memory, Output};
use mapsys::limits::{LIVE_MORE_SPECIFICS, NONCE_MEMORIES_PER_SITE};
use mapsys::nat::Rtr;
use mapsys::refusal::Refusal;
use mapsys::register::label::grants::LabelRule;
use mapsys::register::label::{AnyEid, Label, Spelling};
use mapsys::register::nonces::{Floor, Last, NonceOwner};
use mapsys::register::site::{Publish, Site, SitePrefix};
use wire::address::{EidPrefix, InstanceId};
use wire::control::auth::{Algorithm, AuthKey};
use wire::control::{Ecm, EidRequest, MapRegister, MapRequest, XtrIdentity};
use wire::record::{Action, MapVersion, MappingRecord, Ttl};

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
        assert_eq!(world.bench.engine.server().lapsed().is_empty(), is_believed, "{down:?}");
        // Its xTR goes on as ever.
        let next = register(2, vec![record(prefix(SITE), &["198.51.100.2"])]);
        notify(&world.datagram(ETR, &seal(next, &site_key())));
        assert_eq!(world.rlocs(HOST), ["198.51.100.2"]);
        world.restart_at_once();
        assert_eq!(world.rlocs(HOST), ["198.51.100.2"]);
    }
}

/// A site whose xTRs register /64s of it.
fn open_site() -> Config {
    config(vec![Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() }])
}

const PART: &str = "2001:db8:a:1::/64";
const IN_PART: &str = "2001:db8:a:1::7";
const BESIDE: &str = "2001:db8:a:2::7";

/// A world that was down for ten minutes, in which /64s were registered.
fn lapsed(parts: &[&str]) -> World {
    let mut world = World::new(open_site);
    for (nonce, part) in (1..).zip(parts) {
        world.datagram(ETR, &seal(register(nonce, vec![record(prefix(part), &["198.51.100.1"])]), &site_key()));
    }
    world.restart(open_site, 10 * MINUTE, |wall| wall);
    world
}

/// The EID-prefix, the action and the TTL in minutes of the only record of an answer.
fn told(world: &mut World, eid: &str) -> (EidPrefix, Action, u32) {
    world.pass(Duration::from_secs(1));
    let (_, reply) = reply(&world.datagram(ITR, &ecm(&request(9, &[host(eid)], &["192.0.2.1"]))));
    let [record] = reply.records.as_slice() else { panic!("{reply:?}") };
    (record.eid.ip_prefix().unwrap(), record.action, record.ttl.0)
}

#[test]
fn who_asks_for_what_ended_while_nobody_was_served_is_told_to_ask_again_until_it_may_be_gone() {
    let mut world = lapsed(&[PART]);
    let ask_again = (prefix(PART), Action::SendMapRequest, 1);
    assert_eq!(told(&mut world, IN_PART), ask_again);
    let (beside, action, _) = told(&mut world, BESIDE);
    assert_eq!((action, beside.covers(&prefix(PART))), (Action::NativelyForward, false), "{beside}");
    world.pass(Duration::from_secs(170));
    assert_eq!(told(&mut world, IN_PART), ask_again);
    world.pass(Duration::from_secs(10));
    for eid in [IN_PART, BESIDE] {
        assert_eq!(told(&mut world, eid), (prefix(SITE), Action::NativelyForward, 1));
    }
    assert_eq!(world.disk.registrations, BTreeMap::new());
    world.restart_at_once();
    assert_eq!(told(&mut world, IN_PART), (prefix(SITE), Action::NativelyForward, 1));
}

#[test]
fn what_ended_while_nobody_was_served_is_not_believed_by_the_start_after_that_either() {
    let mut world = lapsed(&[PART]);
    for _ in 0..3 {
        world.pass(MINUTE);
        world.restart_at_once();
        assert_eq!(world.bench.registered(), []);
        assert_eq!(told(&mut world, IN_PART), (prefix(PART), Action::SendMapRequest, 1));
    }
    // Each start writes such a row once at most.
    assert_eq!(world.disk.writes, 2);
    world.pass(3 * MINUTE);
    assert_eq!((told(&mut world, IN_PART).1, world.disk.writes), (Action::NativelyForward, 3));
}

#[test]
fn what_is_registered_anew_is_answered_at_once_and_says_nothing_of_the_parts_that_are_not() {
    let mut world = lapsed(&[PART, "2001:db8:a:3::/64"]);
    let (whole, part) = (record(prefix(SITE), &["198.51.100.2"]), record(prefix(PART), &["198.51.100.3"]));
    notify(&world.datagram(ETR, &seal(register(8, vec![whole]), &site_key())));
    assert_eq!(told(&mut world, IN_PART).1, Action::SendMapRequest);
    let (beside, action, _) = told(&mut world, BESIDE);
    let is_told = |part: &str| beside.covers(&prefix(part));
    assert_eq!((action, is_told(PART), is_told("2001:db8:a:3::/64")), (Action::NoAction, false, false), "{beside}");
    assert_eq!(world.rlocs(BESIDE), ["198.51.100.2"]);
    notify(&world.datagram(ETR, &seal(register(9, vec![part]), &site_key())));
    assert_eq!(world.rlocs(IN_PART), ["198.51.100.3"]);
    // What has come back stays when the others are given up.
    world.pass(2 * MINUTE);
    for (nonce, net, rloc) in [(10, SITE, "198.51.100.2"), (11, PART, "198.51.100.3")] {
        notify(&world.datagram(ETR, &seal(register(nonce, vec![record(prefix(net), &[rloc])]), &site_key())));
    }
    world.pass(2 * MINUTE);
    assert_eq!(world.rlocs(IN_PART), ["198.51.100.3"]);
    assert_eq!((world.rlocs("2001:db8:a:3::7"), world.disk.registrations.len()), (vec!["198.51.100.2".to_owned()], 2));
}

#[test]
fn what_its_xtr_takes_back_is_not_waited_for_but_of_xtrs_that_merge_another_may_come() {
    for merge in [false, true] {
        let mut world = lapsed(&[PART]);
        let message = MapRegister { merge, ..register(2, vec![record(prefix(PART), &[])]) };
        notify(&world.datagram(ETR, &seal(message, &site_key())));
        let expected = if merge { Action::SendMapRequest } else { Action::NativelyForward };
        assert_eq!((told(&mut world, IN_PART).1, world.disk.registrations.is_empty()), (expected, !merge));
    }
}

#[test]
fn many_that_are_not_registered_anew_are_given_up_little_by_little() {
    let parts: Vec<String> = (0..600).map(|n| format!("2001:db8:a:{n:x}::/64")).collect();
    let mut world = World::new(aggregate_site);
    for (nonce, parts) in (1..).zip(parts.chunks(50)) {
        let records = parts.iter().map(|part| record(prefix(part), &["198.51.100.1"])).collect();
        world.datagram(ETR, &seal(register(nonce, records), &site_key()));
    }
    world.restart(aggregate_site, 10 * MINUTE, |wall| wall);
    assert_eq!((world.bench.engine.server().lapsed().len(), world.disk.registrations.len()), (600, 600));
    world.bench.now.monotonic += 3 * MINUTE;
    let mut left = Vec::new();
    while !world.bench.engine.server().lapsed().is_empty() {
        world.bench.engine.handle_timeout(world.bench.now);
        world.disk.take(&world.bench.drain());
        left.push(world.bench.engine.server().lapsed().len());
    }
    assert_eq!((left, world.disk.registrations.len()), (vec![344, 88, 0], 0));
}

fn aggregate_site() -> Config {
    let prefixes = vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }];
    config(vec![Site { prefixes, publish: Publish::Aggregate, ..site_a() }])
}

#[test]
fn names_and_mac_addresses_that_ended_while_nobody_was_served_are_to_be_asked_for_again_too() {
    fn with_labels() -> Config {
        let all_names = LabelRule { label: Label::name(InstanceId(0), b"").unwrap(), is_open: true };
        let mac = Label::mac(InstanceId(0), [2, 0, 0x5e, 0, 0, 0], 24).unwrap();
        config(vec![Site { labels: vec![all_names, LabelRule::block(mac)], ..site_a() }])
    }
    let name = |text: &[u8]| Label::name(InstanceId(0), text).unwrap();
    let mac = |last| Label::mac(InstanceId(0), [2, 0, 0x5e, 0, 0, last], 48).unwrap();
    let record_of =
        |label: Label| MappingRecord { eid: label.eid(Spelling::default()), ..record(prefix(SITE), &["198.51.100.1"]) };
    let mut world = World::new(with_labels);
    world.datagram(ETR, &seal(register(1, vec![record_of(name(b"printer")), record_of(mac(1))]), &site_key()));
    world.restart(with_labels, 10 * MINUTE, |wall| wall);
    let told = |world: &mut World, label: Label| {
        world.pass(Duration::from_secs(1));
        let records = vec![EidRequest { notify: false, eid: label.eid(Spelling::default()) }];
        let asked = MapRequest { records, ..request(9, &[], &["192.0.2.1"]) };
        let asked = Ecm::wrap(address(ITR), address("192.0.2.2:4342"), asked.encode().unwrap());
        let (_, reply) = reply(&world.datagram(ITR, &asked.encode().unwrap()));
        (Label::of(&reply.records[0].eid).unwrap(), reply.records[0].action)
    };
    assert_eq!(told(&mut world, name(b"printer")), (name(b"printer"), Action::SendMapRequest));
    assert_eq!(told(&mut world, mac(1)), (mac(1), Action::SendMapRequest));
    assert_eq!(told(&mut world, name(b"scanner")).1, Action::NativelyForward);
    let (beside, action) = told(&mut world, mac(0x80));
    assert_eq!((action, beside.covers(&mac(0x81)), beside.covers(&mac(1))), (Action::NativelyForward, true, false));
    // What is registered around it says nothing of it.
    let block = Label::mac(InstanceId(0), [2, 0, 0x5e, 0, 0, 0], 24).unwrap();
    notify(&world.datagram(ETR, &seal(register(2, vec![record_of(block)]), &site_key())));
    assert_eq!(told(&mut world, mac(1)).1, Action::SendMapRequest);
    assert_eq!(told(&mut world, mac(0x80)), (beside, Action::NoAction));
    notify(&world.datagram(ETR, &seal(register(3, vec![record_of(mac(1))]), &site_key())));
    assert_eq!(told(&mut world, mac(1)), (mac(1), Action::NoAction));
    world.pass(3 * MINUTE);
    assert_eq!(told(&mut world, name(b"printer")).1, Action::NativelyForward);
    assert!(!world.disk.registrations.contains_key(&AnyEid::Label(name(b"printer"))));
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
