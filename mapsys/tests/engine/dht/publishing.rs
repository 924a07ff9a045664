// SPDX-License-Identifier: GPL-2.0-or-later
//! When a Map-Server signs, puts and withdraws.

use std::collections::BTreeSet;
use std::time::Duration;

use cgeid::{Identity, Network};
use dht::publish::Sequence;
use dht::record::{Bundle, RecordKey, Subject};
use mapsys::engine::{Config, Engine, Input, Mark, Memory, Output};
use mapsys::limits::PUT_REQUESTS;
use mapsys::register::site::{Site, SitePrefix};
use wire::record::{Action, MappingRecord, Ttl};

use super::world::*;
use crate::common::*;
use crate::log::logged;

#[test]
fn a_flapping_site_is_published_at_once_and_then_every_ten_seconds() {
    let mut world = two(site_a());
    let subject = Subject::Prefix(prefix(SITE));
    for second in 0..30u64 {
        let rloc = format!("198.51.100.{}", 1 + second % 2);
        world.datagram(0, ETR, &sealed(1 + second, vec![record(prefix(SITE), &[&rloc])]));
        if second == 0 {
            assert_eq!(world.puts_of(subject), 1, "the first at once");
        }
        world.pass(Duration::from_secs(1));
    }
    assert!((3..=4).contains(&world.puts_of(subject)), "{}", world.puts_of(subject));
    assert_eq!(world.ask(1, 1, host("2001:db8:a::2")).records[0].locators.len(), 1);
}

#[test]
fn a_clock_that_was_ahead_for_a_moment_keeps_nothing_from_being_published_when_it_is_right() {
    const DAY: Duration = Duration::from_secs(86_400);
    /// Nobody takes what a clock has signed that is wrong.
    fn pass(bench: &mut Bench, seconds: u64, stored: bool) -> (Vec<Subject>, Vec<Sequence>) {
        let (mut put, mut sequences) = (vec![], vec![]);
        for _ in 0..seconds {
            for output in bench.pass(Duration::from_secs(1)) {
                match output {
                    Output::DhtPut { key, .. } => {
                        put.push(key.subject);
                        bench.engine.handle(bench.now, Input::DhtPutDone { key, outcome: put_ended(stored) });
                    }
                    Output::Persist(Mark::Sequence(_, sequence)) => sequences.push(sequence),
                    _ => {}
                }
            }
        }
        (put, sequences)
    }
    let (page, section) = (Subject::Index(prefix(SITE)), Subject::Prefix(prefix(SITE)));
    let mut bench = Bench::new(registrar(operational(), vec![site_a()]));
    bench.now.wall += DAY;
    let (put, ahead) = pass(&mut bench, 2, false);
    assert!(put.contains(&page) && !ahead.is_empty(), "{put:?}");
    bench.now.wall -= DAY;
    bench.datagram(ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])]));
    let (put, signed) = pass(&mut bench, 70, false);
    assert!(signed.is_empty() && !put.contains(&section), "which of the two times is right nobody knows yet: {put:?}");
    bench.engine.trust_clock(bench.now, true);
    let (put, sequences) = pass(&mut bench, 70, true);
    assert!(put.contains(&page) && put.contains(&section), "{put:?}");
    let since_1970 = bench.now.wall.duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(sequences.iter().all(|sequence| u128::from(sequence.0) <= since_1970.as_millis()), "{sequences:?}");
    assert!(sequences.is_sorted() && sequences < ahead, "{sequences:?}");
}

#[test]
fn a_clock_that_was_ahead_is_a_line_every_ten_seconds_however_much_is_registered() {
    const AHEAD: Duration = Duration::from_secs(20 * 86_400);
    /// Signs something with a clock that is ahead, and is set then.
    fn after_a_wrong_time() -> Bench {
        let open = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
        let mut bench = Bench::new(registrar(operational(), vec![open]));
        bench.now.wall += AHEAD;
        bench.pass(Duration::from_secs(1));
        bench.now.wall -= AHEAD;
        bench
    }
    fn registered(bench: &mut Bench, number: u64) {
        let inner = prefix(&format!("2001:db8:a:{number:x}::/64"));
        bench.datagram(ETR, &sealed(number, vec![record(inner, &["198.51.100.1"])]));
    }
    let lines = logged(|| {
        let mut bench = after_a_wrong_time();
        (1..=250).for_each(|number| registered(&mut bench, number));
        bench.pass(Duration::from_secs(12));
    });
    let said: Vec<&String> = lines.iter().filter(|line| line.starts_with("ERROR")).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    let is_plain =
        said[0].starts_with("ERROR cannot publish record=2001:db8:a:1::/64 attempts=1 error=the clock was 17");
    assert!(is_plain && said[0].contains("is behind now"), "{said:?}");
    assert!(!said[1].contains("attempts=1 ") && !said[1].contains("EidPrefix"), "{said:?}");
}

#[test]
fn a_steady_site_is_signed_again_every_twenty_minutes() {
    let mut world = two(site_a());
    for minute in 0..61 {
        world.datagram(0, ETR, &sealed(1 + minute, vec![record(prefix(SITE), &["198.51.100.1"])]));
        world.pass(Duration::from_secs(60));
    }
    assert_eq!(world.puts_of(Subject::Prefix(prefix(SITE))), 4, "at 0, 20, 40 and 60 minutes");
}

#[test]
fn what_an_earlier_run_published_and_nobody_registers_again_is_withdrawn_after_three_minutes() {
    let key = keys();
    let anchor = anchor(SITE, key(0).cn());
    let mut world = World::new(vec![registrar(key(0), vec![site_a()]), resolver(vec![anchor])]);
    world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])]));
    let sequences = [(key(0).cn(), Sequence(world.sequence().0 + 1000))].into();
    world.restart(0, registrar(key(2), vec![site_a()]), Memory { sequences, ..Memory::default() });
    world.pass(Duration::from_secs(170));
    assert_eq!(world.ask(1, 1, host("2001:db8:a::2")).records[0].locators.len(), 1, "it may come back");
    world.pass(Duration::from_secs(3600));
    assert_eq!(negative(&world.ask(1, 2, host("2001:db8:a::2"))).1, Action::NativelyForward);
    assert!(world.puts_of(Subject::Prefix(prefix(SITE))) >= 2);
}

#[test]
fn what_a_site_may_not_register_any_more_after_a_restart_is_withdrawn_at_once() {
    let key = keys();
    let wide = || Site { prefixes: vec![SitePrefix { prefix: prefix("2001:db8::/32"), max_len: 64 }], ..site_a() };
    let mut world = World::new(vec![registrar(key(0), vec![wide()])]);
    world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])]));
    world.pass(Duration::from_secs(11));
    assert_eq!(world.puts_of(Subject::Prefix(prefix(SITE))), 1);
    let registrations = world.remembered(key(0).cn()).registrations;
    // The node's own has it now, or nobody.
    let narrow = || Site { prefixes: vec![SitePrefix { prefix: prefix("2001:db8:b::/48"), max_len: 48 }], ..site_a() };
    for (later, own_prefixes, expected) in [(2, vec![prefix(SITE)], 0), (4, vec![], 1)] {
        let memory = Memory { registrations: registrations.clone(), ..world.remembered(key(0).cn()) };
        world.restart(0, Config { own_prefixes, ..registrar(key(later), vec![narrow()]) }, memory);
        let before = world.puts_of(Subject::Prefix(prefix(SITE)));
        world.pass(Duration::from_secs(1));
        assert_eq!(world.puts_of(Subject::Prefix(prefix(SITE))) - before, expected);
    }
}

#[test]
fn what_ended_while_nobody_was_served_is_withdrawn_after_three_minutes_too() {
    let key = keys();
    let open = || Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let part = prefix("2001:db8:a:1::/64");
    let (inside, beside) = (Subject::Prefix(part), Subject::Prefix(prefix(SITE)));
    let mut world = World::new(vec![registrar(key(0), vec![open()])]);
    world.datagram(0, ETR, &sealed(1, [prefix(SITE), part].map(|eid| record(eid, &["198.51.100.1"])).to_vec()));
    world.pass(Duration::from_secs(11));
    assert_eq!((world.puts_of(inside), world.puts_of(beside)), (1, 1));
    let memory = Memory { away: Duration::from_secs(600), ..world.remembered(key(0).cn()) };
    world.restart(0, registrar(key(2), vec![open()]), memory);
    world.pass(Duration::from_secs(170));
    assert_eq!(world.benches[0].registered(), []);
    assert_eq!((world.puts_of(inside), world.puts_of(beside)), (1, 1), "they may come back");
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.1"])]));
    world.pass(Duration::from_secs(20));
    assert_eq!((world.puts_of(inside), world.puts_of(beside)), (2, 2), "the one is withdrawn, the other came back");
}

#[test]
fn a_start_before_that_does_not_forget_what_is_to_be_withdrawn() {
    let now = std::time::SystemTime::now();
    let identity = Identity::generate_ed25519(Network::LAB, now).unwrap();
    // Of two keys of one month the later one counts.
    let key = |later| identity.delegate(now + Duration::from_secs(later), 0).unwrap();
    let open = || Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let part = prefix("2001:db8:a:1::/64");
    let mut world = World::new(vec![registrar(key(0), vec![open()])]);
    world.datagram(0, ETR, &sealed(1, vec![record(part, &["198.51.100.1"])]));
    world.pass(Duration::from_secs(11));
    assert_eq!(world.puts_of(Subject::Prefix(part)), 1);
    for (later, away) in [(2, 600), (4, 1)] {
        // The last row of all.
        let rows = world.marks.iter().filter_map(|mark| match mark {
            Mark::Registration(_, row) => Some((Box::default(), row.clone())),
            _ => None,
        });
        let registrations = rows.last().into_iter().collect();
        assert!(!world.marks.iter().any(|mark| matches!(mark, Mark::ForgottenRegistration(_))));
        let sequence = world.now.wall.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let sequences = [(key(0).cn(), Sequence(sequence))].into();
        let memory = Memory { registrations, sequences, away: Duration::from_secs(away), ..Memory::default() };
        let engine = Engine::new(world.now, registrar(key(later), vec![open()]), memory).unwrap();
        world.benches[0] = Bench { engine, now: world.now };
        world.pass(Duration::from_secs(60));
        assert_eq!((world.benches[0].registered(), world.puts_of(Subject::Prefix(part))), (vec![], 1));
    }
    world.pass(Duration::from_secs(130));
    assert_eq!(world.puts_of(Subject::Prefix(part)), 2, "it is withdrawn");
    let forgotten = world.marks.iter().filter(|mark| matches!(mark, Mark::ForgottenRegistration(_)));
    assert_eq!(forgotten.count(), 1);
}

#[test]
fn after_a_restart_the_page_of_the_run_before_stays_until_sites_have_had_the_time_to_register() {
    let key = keys();
    let open = || Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let page = Subject::Index(prefix(SITE));
    let part = prefix("2001:db8:a:1::/64");
    let readers = (0..3).map(|_| resolver(vec![anchor(SITE, key(0).cn())]));
    let mut world = World::new(std::iter::once(registrar(key(0), vec![open()])).chain(readers).collect());
    world.datagram(0, ETR, &sealed(1, [prefix(SITE), part].map(|eid| record(eid, &["198.51.100.1"])).to_vec()));
    world.pass(Duration::from_secs(11));
    let found = |world: &mut World, reader| {
        world
            .ask(reader, 1, host("2001:db8:a:1::2"))
            .records
            .iter()
            .map(|record| record.eid.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(found(&mut world, 1), [part.into()]);
    let before = world.puts_of(page);
    let stored = RecordKey { network: Network::LAB, writer: key(0).cn(), subject: page };
    let restarted = |world: &mut World, later, page_age: Option<u64>| {
        let sequence = |age: u64| Sequence(world.sequence().0 + 1000 - 1000 * age);
        let live_pages = page_age.map(|age| (stored, sequence(age))).into_iter().collect();
        // Something else was signed a moment ago.
        let memory = Memory { sequences: [(key(0).cn(), sequence(0))].into(), live_pages, ..Memory::default() };
        world.restart(0, registrar(key(later), vec![open()]), memory);
        world.pass(Duration::ZERO);
    };
    assert!(world.marks.iter().any(|mark| matches!(mark, Mark::LivePage(key, _) if *key == stored)));
    restarted(&mut world, 2, Some(0));
    world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])]));
    world.pass(Duration::from_secs(150));
    // Nor does one that stops by then say that nothing is there.
    world.benches[0].engine.handle(world.now, Input::Closing);
    let outputs = world.benches[0].drain();
    world.settle(0, outputs);
    assert_eq!((world.puts_of(page), found(&mut world, 2)), (before, vec![part.into()]));
    world.pass(Duration::from_secs(35));
    assert_eq!(world.puts_of(page), before + 1);
    assert_ne!(found(&mut world, 3), [part.into()]);
    // Where the former page has ended, or the prefix is new, there is nothing to wait for.
    restarted(&mut world, 4, Some(3500));
    assert_eq!(world.puts_of(page), before + 2);
    world.pass(Duration::from_secs(2));
    restarted(&mut world, 6, None);
    assert_eq!(world.puts_of(page), before + 3);
}

#[test]
fn a_dht_that_comes_back_gets_everything_again() {
    let mut world = registered();
    world.pass(Duration::from_secs(60));
    let before = world.puts_of(Subject::Prefix(prefix(SITE)));
    world.benches[0].engine.handle(world.now, Input::DhtChanged);
    let outputs = world.benches[0].drain();
    world.settle(0, outputs);
    assert_eq!(world.puts_of(Subject::Prefix(prefix(SITE))), before + 1);
}

#[test]
fn what_nobody_took_is_not_signed_again_for_the_next_try_and_what_has_changed_takes_its_place() {
    let mut world = two(site_a());
    let subject = Subject::Prefix(prefix(SITE));
    let signed = |world: &World| world.marks.iter().filter(|mark| matches!(mark, Mark::Sequence(..))).count();
    world.pass(Duration::from_secs(11));
    let before = signed(&world);
    world.mode = Mode::Unreachable;
    world.datagram(0, ETR, &sealed(1, vec![record(prefix(SITE), &["198.51.100.1"])]));
    world.pass(Duration::from_secs(31));
    assert_eq!((world.puts_of(subject), signed(&world) - before), (5, 1), "at 0, 2, 6, 14 and 30 s");
    world.datagram(0, ETR, &sealed(2, vec![record(prefix(SITE), &["198.51.100.2"])]));
    assert_eq!((world.puts_of(subject), signed(&world) - before), (6, 2), "it does not wait for the next try");
    world.mode = Mode::Answering;
    world.pass(Duration::from_secs(120));
    assert_eq!((world.puts_of(subject), signed(&world) - before), (7, 2));
    let locators = &world.ask(1, 1, host("2001:db8:a::2")).records[0].locators;
    assert_eq!(locators.iter().map(|it| it.rloc.to_string()).collect::<Vec<_>>(), ["198.51.100.2"]);
}

#[test]
fn many_sites_are_published_at_a_pace_that_the_dht_can_bear_and_one_that_leaves_does_not_wait_for_the_others() {
    const SITES: u16 = 400;
    let eid = |number: u16| prefix(&format!("2001:db8:{number:x}::/48"));
    let prefixes = (0..SITES).map(|number| SitePrefix { prefix: eid(number), max_len: 48 }).collect();
    // Another is the anchor: there are no pages to publish.
    let trust_anchors = vec![anchor("2001:db8::/32", operational().cn())];
    let all = registrar(operational(), vec![Site { prefixes, ..site_a() }]);
    let mut world = World::new(vec![Config { trust_anchors, ..all }]);
    let is_site = |key: &&RecordKey| matches!(key.subject, Subject::Prefix(_));
    let put = |world: &World| world.puts.iter().filter(is_site).count();
    let register = |world: &mut World, number: u16| {
        world.datagram(0, ETR, &sealed(1 + u64::from(number), vec![record(eid(number), &["198.51.100.1"])]));
    };
    register(&mut world, 0);
    world.pass(Duration::from_secs(11));
    assert_eq!(put(&world), 1);
    (1..SITES).for_each(|number| register(&mut world, number));
    let (begun, at_once) = (world.now.monotonic, put(&world));
    assert!(at_once < usize::from(SITES) / 2, "{at_once}");
    let leaving = MappingRecord { ttl: Ttl(0), ..record(eid(0), &[]) };
    world.datagram(0, ETR, &sealed(1 + u64::from(SITES), vec![leaving]));
    world.pass(Duration::from_millis(100));
    assert_eq!(world.puts_of(Subject::Prefix(eid(0))), 2, "it is withdrawn before all others are known");
    while put(&world) < usize::from(SITES) + 1 {
        world.pass(Duration::from_millis(100));
        assert!(world.now.monotonic < begun + Duration::from_secs(10), "{}", put(&world));
    }
    // A PUT asks three nodes here.
    let (took, most) = (world.now.monotonic - begun, f64::from(PUT_REQUESTS) / 3.0);
    let rate = (put(&world) - at_once) as f64 / took.as_secs_f64();
    assert!((most * 0.9..most * 1.1).contains(&rate), "{rate} a second in {took:?}");
}

#[test]
fn of_many_that_are_new_no_page_lists_one_that_was_not_put_and_none_waits_behind_what_is_old() {
    const PARTS: u16 = 250;
    let key = keys();
    let site = Site { prefixes: vec![SitePrefix { prefix: prefix(SITE), max_len: 64 }], ..site_a() };
    let mut world = World::new(vec![registrar(key(0), vec![site])]);
    let page = RecordKey { network: Network::LAB, writer: key(0).cn(), subject: Subject::Index(prefix(SITE)) };
    let part = |number: u16| prefix(&format!("2001:db8:a:{number:x}::/64"));
    let register = |world: &mut World, number: u16| {
        world.datagram(0, ETR, &sealed(1 + u64::from(number), vec![record(part(number), &["198.51.100.1"])]));
    };
    let listed = |world: &mut World| -> usize {
        let wall = world.now.wall;
        let pages: Vec<_> = world.dht.get(wall, &page).iter().map(|page| Bundle::decode(page).unwrap()).collect();
        let pages = pages.iter().filter_map(Bundle::index);
        let named: BTreeSet<_> = pages.flat_map(|page| page.entries().iter().map(|entry| entry.prefix)).collect();
        let parts: BTreeSet<_> = named.into_iter().filter(|named| *named != prefix(SITE)).collect();
        let put: BTreeSet<_> = world.puts.iter().map(|key| key.subject).collect();
        assert!(parts.iter().all(|part| put.contains(&Subject::Prefix(*part))), "it is listed and not there");
        parts.len()
    };
    world.pass(Duration::from_secs(11));
    (0..PARTS).for_each(|number| register(&mut world, number));
    let at_once = listed(&mut world);
    assert!((1..usize::from(PARTS)).contains(&at_once), "{at_once}");
    for _ in 0..200 {
        world.pass(Duration::from_millis(100));
        listed(&mut world);
    }
    assert_eq!(listed(&mut world), usize::from(PARTS));
    world.pass(Duration::from_secs(60));
    world.benches[0].engine.handle(world.now, Input::DhtChanged);
    world.pass(Duration::from_millis(500));
    register(&mut world, PARTS);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.puts_of(Subject::Prefix(part(PARTS))), 1, "others are old, this one nobody has");
    for _ in 0..110 {
        world.pass(Duration::from_millis(100));
        listed(&mut world);
    }
    assert_eq!(listed(&mut world), usize::from(PARTS) + 1);
}

#[test]
fn what_was_signed_by_a_clock_that_was_ahead_is_signed_again_when_it_is_right() {
    let puts = |ahead: Duration| {
        let mut bench = Bench::new(registrar(operational(), vec![site_a()]));
        bench.now.wall += ahead;
        let put = |output: &Output| matches!(output, Output::DhtPut { .. });
        for output in bench.pass(Duration::from_secs(1)) {
            if let Output::DhtPut { key, .. } = output {
                bench.engine.handle(bench.now, Input::DhtPutDone { key, outcome: put_ended(true) });
            }
        }
        bench.now.wall -= ahead;
        bench.engine.trust_clock(bench.now, true);
        bench.pass(Duration::from_secs(30)).iter().filter(|output| put(output)).count()
    };
    assert_eq!((puts(Duration::ZERO), puts(Duration::from_secs(86_400))), (0, 1));
}
