// SPDX-License-Identifier: GPL-2.0-or-later
//! Hand-overs in virtual time: nodes that hold sequences under keys, and give them to each other as their engines say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dht::handover::{Handover, Job, Version};
use dht::limits;
use dht::lookup::{Distance, distance};
use sha2::{Digest, Sha256};

/// Octets of every record.
const OCTETS: usize = 3200;
/// A hand-over takes so long.
const TRIP: Duration = Duration::from_millis(50);

struct Node {
    engine: Handover,
    held: BTreeMap<Vec<u8>, u64>,
    is_alive: bool,
    sent: usize,
    /// Octets sent in each second since the start.
    by_second: BTreeMap<u64, usize>,
}

struct World {
    begun: Instant,
    now: Instant,
    nodes: BTreeMap<Distance, Node>,
    /// On their way: when they arrive, from whom, what.
    trips: Vec<(Instant, Distance, Job)>,
}

fn place(number: usize) -> Distance {
    Sha256::digest(format!("node {number}")).into()
}

fn key(number: usize) -> Vec<u8> {
    format!("key {number}").into_bytes()
}

fn version(sequence: u64) -> Version {
    Version { octets: OCTETS, digest: sequence }
}

fn nearest(key: &[u8], places: impl Iterator<Item = Distance>) -> Vec<Distance> {
    let point: Distance = Sha256::digest(key).into();
    let mut places: Vec<Distance> = places.collect();
    places.sort_by_key(|place| distance(&point, place));
    places.truncate(limits::REPLICAS);
    places
}

impl World {
    fn new(count: usize) -> Self {
        let now = Instant::now();
        let node = |number| {
            let engine = Handover::new(place(number), now);
            let (held, by_second) = (BTreeMap::new(), BTreeMap::new());
            (place(number), Node { engine, held, is_alive: true, sent: 0, by_second })
        };
        Self { begun: now, now, nodes: (0..count).map(node).collect(), trips: Vec::new() }
    }

    /// All nodes of each group know each other, and nobody else.
    fn connect(&mut self, groups: &[Vec<Distance>]) {
        for group in groups {
            for here in group {
                let others: BTreeSet<Distance> = group.iter().copied().filter(|other| other != here).collect();
                self.nodes.get_mut(here).unwrap().engine.set_peers(self.now, others);
            }
        }
    }

    /// An owner puts its record at the nearest of a group.
    fn put(&mut self, key: &[u8], sequence: u64, group: &[Distance]) {
        for place in nearest(key, group.iter().copied()) {
            self.offer(&place, key, sequence);
        }
    }

    fn offer(&mut self, at: &Distance, key: &[u8], sequence: u64) {
        let node = self.nodes.get_mut(at).unwrap();
        let known = node.held.get(key).copied().unwrap_or_default();
        if sequence >= known {
            node.held.insert(key.to_vec(), sequence);
            node.engine.stored(self.now, key, version(sequence));
        }
    }

    /// One node hands a record on to another.
    fn hand(&mut self, from: &Distance, to: &Distance, key: &[u8], sequence: u64) {
        let node = self.nodes.get_mut(to).unwrap();
        let known = node.held.get(key).copied().unwrap_or_default();
        if sequence < known {
            node.engine.offered_older(key, from);
        } else {
            node.held.insert(key.to_vec(), sequence);
            node.engine.handed(self.now, key, version(sequence), from);
        }
    }

    fn kill(&mut self, place: &Distance) {
        self.nodes.get_mut(place).unwrap().is_alive = false;
    }

    fn alive(&self) -> Vec<Distance> {
        self.nodes.iter().filter(|(_, node)| node.is_alive).map(|(place, _)| *place).collect()
    }

    /// Lets time pass until `is_over`, at most so long; whether it was.
    fn run(&mut self, limit: Duration, is_over: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end {
            if is_over(self) {
                return true;
            }
            self.arrive();
            let second = (self.now - self.begun).as_secs();
            for (place, node) in self.nodes.iter_mut().filter(|(_, node)| node.is_alive) {
                let Node { engine, held, sent, by_second, .. } = node;
                while let Some(job) = engine.poll(self.now, |key| held.contains_key(key)) {
                    *sent += 1;
                    *by_second.entry(second).or_default() += OCTETS;
                    self.trips.push((self.now + TRIP, *place, job));
                }
            }
            let alive = self.nodes.values().filter(|node| node.is_alive);
            let due = alive.map(|node| node.engine.next_deadline(self.now)).chain(self.trips.iter().map(|trip| trip.0));
            self.now = due.min().unwrap().max(self.now + Duration::from_millis(1)).min(end);
        }
        is_over(self)
    }

    fn arrive(&mut self) {
        let (due, under_way) = std::mem::take(&mut self.trips).into_iter().partition(|trip| trip.0 <= self.now);
        self.trips = under_way;
        for (_, from, job) in due {
            let sequence = self.nodes[&from].held.get(&job.key).copied();
            let is_alive = self.nodes[&job.peer].is_alive;
            if let Some(sequence) = sequence.filter(|_| is_alive) {
                self.hand(&from, &job.peer, &job.key, sequence);
            }
            self.nodes.get_mut(&from).unwrap().engine.done(self.now, &job.key, &job.peer, is_alive);
        }
    }

    fn sent(&self) -> usize {
        self.nodes.values().map(|node| node.sent).sum()
    }

    /// Whether all nodes alive that are nearest to a key hold this sequence.
    fn is_everywhere(&self, key: &[u8], sequence: u64) -> bool {
        nearest(key, self.alive().into_iter()).iter().all(|place| self.nodes[place].held.get(key) == Some(&sequence))
    }
}

#[test]
fn healed_halves_agree_within_a_minute_on_the_highest_sequence() {
    const RECORDS: usize = 300;
    let mut world = World::new(24);
    let all = world.alive();
    let (left, right): (Vec<Distance>, Vec<Distance>) = all.iter().partition(|place| place[31] % 2 == 0);
    world.connect(&[left.clone(), right.clone()]);
    world.run(Duration::from_secs(10), |_| false);
    for number in 0..RECORDS {
        // A third was written on both sides, later on one of them.
        match number % 3 {
            0 => world.put(&key(number), 1, &left),
            1 => world.put(&key(number), 1, &right),
            _ => {
                world.put(&key(number), 1, &left);
                world.put(&key(number), 2, &right);
            }
        }
    }
    world.run(Duration::from_secs(600), |_| false);
    assert_eq!(world.sent(), 0, "nothing changes");
    world.connect(std::slice::from_ref(&all));
    let healed = world.now;
    let merged = |world: &World| {
        (0..RECORDS).all(|number| world.is_everywhere(&key(number), if number % 3 == 2 { 2 } else { 1 }))
    };
    assert!(world.run(Duration::from_secs(60), merged), "not merged after a minute");
    let most = world.nodes.values().flat_map(|node| node.by_second.values()).max().unwrap();
    println!("merged after {:?}, {} hand-overs, at most {most} octets a second", world.now - healed, world.sent());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bound = (limits::HANDOVER_RATE_MOST * limits::HANDOVER_OCTETS * 2.0) as usize;
    assert!(*most <= bound, "{most}");
}

#[test]
fn a_newcomer_is_given_what_belongs_to_it_by_two_holders_at_most() {
    let mut world = World::new(12);
    let all = world.alive();
    let (newcomer, old) = all.split_last().unwrap();
    world.connect(&[old.to_vec()]);
    for number in 0..20 {
        world.put(&key(number), 1, old);
    }
    world.run(Duration::from_secs(60), |_| false);
    world.connect(std::slice::from_ref(&all));
    world.run(Duration::from_secs(60), |_| false);
    assert!((0..20).all(|number| world.nodes[newcomer].held.contains_key(&key(number))));
    assert!((20..=20 * limits::HANDOVER_SENDERS).contains(&world.sent()), "{} hand-overs", world.sent());
}

#[test]
fn when_one_of_the_nearest_dies_the_next_one_is_given_its_records() {
    let mut world = World::new(30);
    let all = world.alive();
    world.connect(std::slice::from_ref(&all));
    world.put(&key(1), 1, &all);
    let region = nearest(&key(1), all.iter().copied());
    world.kill(&region[7]);
    let left = world.alive();
    world.connect(std::slice::from_ref(&left));
    assert!(world.run(Duration::from_secs(60), |world| world.is_everywhere(&key(1), 1)));
    assert!(world.sent() <= limits::HANDOVER_SENDERS);
}

#[test]
fn while_its_owner_puts_a_record_nobody_else_does() {
    let mut world = World::new(25);
    let all = world.alive();
    world.connect(std::slice::from_ref(&all));
    for sequence in 1..=6 {
        world.put(&key(1), sequence, &all);
        world.run(Duration::from_secs(20 * 60), |_| false);
    }
    assert_eq!(world.sent(), 0);
}

#[test]
fn the_record_of_an_owner_who_is_away_is_repaired_once_an_interval() {
    let mut world = World::new(25);
    let all = world.alive();
    world.connect(std::slice::from_ref(&all));
    let records = 12;
    (0..records).for_each(|number| world.put(&key(number), 1, &all));
    // One has lost all it had.
    let loser = all[3];
    world.nodes.get_mut(&loser).unwrap().held.clear();
    let hours = 4;
    world.run(Duration::from_secs(hours * 3600), |_| false);
    let belongs = (0..records).filter(|number| nearest(&key(*number), all.iter().copied()).contains(&loser));
    assert!(belongs.into_iter().all(|number| world.nodes[&loser].held.contains_key(&key(number))));
    let intervals = usize::try_from(hours * 3600 / limits::REPAIR_INTERVAL.as_secs()).unwrap() + 1;
    let most = intervals * records * limits::REPLICAS * limits::HANDOVER_SENDERS;
    assert!(world.sent() <= most, "{} hand-overs, at most {most}", world.sent());
    let bits = world.sent() * OCTETS * 8 / world.nodes.len() / usize::try_from(hours * 3600).unwrap();
    println!("{} hand-overs in {hours} h, {bits} bit/s a node with about 10 records each", world.sent());
    assert!(bits < 1000);
}

#[test]
fn what_nobody_puts_again_is_repaired_four_times_a_day() {
    let mut world = World::new(25);
    let all = world.alive();
    world.connect(std::slice::from_ref(&all));
    world.put(&key(1), 1, &all);
    for node in world.nodes.values_mut() {
        node.engine.lasts(&key(1));
    }
    let holders = nearest(&key(1), all.iter().copied());
    world.nodes.get_mut(&holders[7]).unwrap().held.clear();
    world.run(limits::REPAIR_LASTING - Duration::from_secs(60), |_| false);
    assert_eq!(world.sent(), 0, "silence says nothing of its owner");
    world.run(Duration::from_secs(15 * 60), |_| false);
    assert!(world.nodes[&holders[7]].held.contains_key(&key(1)), "one that has lost it is given it");
    assert!((1..=limits::REPLICAS * limits::HANDOVER_SENDERS).contains(&world.sent()), "{}", world.sent());
}

#[test]
fn a_peer_that_never_answers_is_left_alone() {
    let mut world = World::new(10);
    let all = world.alive();
    let (silent, others) = all.split_last().unwrap();
    world.connect(&[others.to_vec()]);
    (0..10).for_each(|number| world.put(&key(number), 1, others));
    world.nodes.get_mut(silent).unwrap().is_alive = false;
    world.connect(std::slice::from_ref(&all));
    world.run(Duration::from_secs(20 * 60), |_| false);
    let sent = world.sent();
    let in_flight = others.len() * limits::HANDOVER_IN_FLIGHT;
    println!("{sent} attempts");
    assert!(sent <= others.len() * 10 * 3 + in_flight, "{sent} attempts");
}

#[test]
fn who_hands_on_something_older_is_given_what_is_newer_once() {
    let mut world = World::new(2);
    let all = world.alive();
    world.connect(std::slice::from_ref(&all));
    world.put(&key(1), 2, &all);
    for _ in 0..3 {
        world.hand(&all[0], &all[1], &key(1), 1);
        world.run(Duration::from_secs(30), |_| false);
    }
    assert_eq!((world.nodes[&all[1]].sent, world.nodes[&all[0]].sent), (1, 0));
}

#[test]
fn whoever_hands_on_something_older_is_given_what_is_newer_though_it_is_in_no_table() {
    let mut world = World::new(3);
    let all = world.alive();
    world.connect(&[all[..2].to_vec()]);
    world.put(&key(1), 2, &all);
    world.put(&key(2), 2, &all);
    for number in [1, 2] {
        world.nodes.get_mut(&all[2]).unwrap().held.insert(key(number), 1);
        world.hand(&all[2], &all[0], &key(number), 1);
    }
    assert!(world.nodes[&all[0]].engine.is_guest(&all[2]));
    assert!(
        world.run(Duration::from_secs(30), |world| (1..=2).all(|number| world.nodes[&all[2]].held[&key(number)] == 2))
    );
    assert!(!world.nodes[&all[0]].engine.is_guest(&all[2]));
}

#[test]
fn a_guest_is_given_what_is_newer_once_and_when_it_falls_silent_nobody_looks_for_it() {
    let mut world = World::new(3);
    let all = world.alive();
    world.connect(&[all[..2].to_vec()]);
    world.put(&key(1), 2, &all);
    world.run(Duration::from_secs(60), |_| false);
    for _ in 0..3 {
        world.hand(&all[2], &all[0], &key(1), 1);
        world.run(Duration::from_secs(30), |_| false);
    }
    assert_eq!(world.nodes[&all[0]].sent, 1);
    // Another version is news again; then the guest is gone, and nothing is to be looked at because of it.
    world.put(&key(1), 3, &all[..2]);
    world.kill(&all[2]);
    let before = world.nodes[&all[0]].engine.next_deadline(world.now);
    world.hand(&all[2], &all[0], &key(1), 2);
    world.run(Duration::from_secs(2), |_| false);
    assert_eq!(world.nodes[&all[0]].sent, 2);
    assert_eq!(world.nodes[&all[0]].engine.next_deadline(world.now), before);
}

/// Whoever holds something and is at the rim of its region is unknown to the nearest, and knows them.
#[test]
fn when_halves_meet_who_is_at_the_rim_learns_what_is_newer() {
    let mut world = World::new(40);
    let all = world.alive();
    let region = nearest(&key(1), all.iter().copied());
    let (near, rim) = region.split_at(limits::REPLICAS - limits::RIM);
    let far: Vec<Distance> = all.iter().copied().filter(|place| !region.contains(place)).collect();
    let (half, other) = (far[..10].to_vec(), far[10..].to_vec());
    // The rim is in the one half with something old, the nearest are in the other with something new.
    world.connect(&[[&half, rim].concat(), [&other, near].concat()]);
    world.put(&key(1), 1, rim);
    world.put(&key(1), 2, near);
    world.run(limits::MEETING, |_| false);
    for here in &all {
        let is_near = near.contains(here) || other.contains(here);
        let knows = |place: &&Distance| **place != *here && !(is_near && rim.contains(*place));
        let known = all.iter().filter(knows).copied().collect();
        world.nodes.get_mut(here).unwrap().engine.set_peers(world.now, known);
    }
    let learned = |world: &World| rim.iter().all(|place| world.nodes[place].held[&key(1)] == 2);
    assert!(!world.run(limits::MEETING_WAIT / 2, learned), "the nearest know them");
    let sent: usize = rim.iter().map(|place| world.nodes[place].sent).sum();
    assert!(world.run(limits::MEETING_WAIT, learned));
    let offers = rim.iter().map(|place| world.nodes[place].sent).sum::<usize>() - sent;
    assert!(offers <= rim.len(), "{offers} offers");
}

/// It counts as many who come, but to be offered what it knows it would have to be the other half of a network.
#[test]
fn one_that_leaves_and_comes_again_and_again_costs_its_neighbours_little() {
    let mut world = World::new(25);
    let all = world.alive();
    let region = nearest(&key(1), all.iter().copied());
    let (here, restless) = (region[limits::REPLICAS - 1], region[limits::REPLICAS - 2]);
    world.connect(std::slice::from_ref(&all));
    world.put(&key(1), 1, &all);
    world.run(limits::MEETING * 2, |_| false);
    let others: BTreeSet<Distance> = all.iter().copied().filter(|place| *place != here).collect();
    let without: BTreeSet<Distance> = others.iter().copied().filter(|place| *place != restless).collect();
    for _ in 0..3600 {
        for known in [&without, &others] {
            world.nodes.get_mut(&here).unwrap().engine.set_peers(world.now, known.clone());
            world.run(Duration::from_millis(500), |_| false);
        }
    }
    let offers = world.nodes[&here].sent;
    let most =
        usize::try_from(limits::MEETINGS).unwrap() + usize::try_from(3600 / limits::MEETING_PAUSE.as_secs()).unwrap();
    assert!((1..=most).contains(&offers), "{offers} offers in an hour");
}

#[test]
fn who_comes_alone_makes_nobody_doubt() {
    let mut world = World::new(41);
    let all = world.alive();
    let region = nearest(&key(1), all.iter().copied());
    let (alone, others): (Vec<Distance>, Vec<Distance>) =
        all.iter().partition(|place| all.iter().find(|place| !region.contains(place)) == Some(place));
    assert_eq!(alone.len(), 1);
    world.connect(std::slice::from_ref(&others));
    world.put(&key(1), 1, &others);
    world.run(limits::MEETING * 2, |_| false);
    world.connect(std::slice::from_ref(&all));
    world.run(limits::MEETING * 2, |_| false);
    assert_eq!(world.sent(), 0);
}

#[test]
fn news_that_reaches_the_nearest_goes_to_the_whole_region() {
    let mut world = World::new(25);
    let all = world.alive();
    world.connect(std::slice::from_ref(&all));
    world.put(&key(1), 1, &all);
    let region = nearest(&key(1), all.iter().copied());
    world.hand(&region[9], &region[0], &key(1), 2);
    world.nodes.get_mut(&region[9]).unwrap().held.insert(key(1), 2);
    assert!(world.run(Duration::from_secs(60), |world| world.is_everywhere(&key(1), 2)));
    assert!(world.sent() <= limits::REPLICAS * limits::HANDOVER_SENDERS, "{}", world.sent());
}

#[test]
fn who_leaves_a_region_learns_what_is_newer_there() {
    let mut world = World::new(40);
    let all = world.alive();
    let ranked = |among: &[Distance]| {
        let point: Distance = Sha256::digest(key(1)).into();
        let mut ranked = among.to_vec();
        ranked.sort_by_key(|place| distance(&point, place));
        ranked
    };
    let (one, other): (Vec<Distance>, Vec<Distance>) = all.iter().partition(|place| place[31] % 2 == 0);
    world.connect(&[one.clone(), other.clone()]);
    world.put(&key(1), 1, &one);
    world.put(&key(1), 2, &other);
    world.connect(std::slice::from_ref(&all));
    world.run(Duration::from_secs(60), |_| false);
    let left: Vec<Distance> = ranked(&all)[limits::REPLICAS..].to_vec();
    let newest = |place: &Distance| world.nodes[place].held.get(&key(1)).is_none_or(|sequence| *sequence == 2);
    assert!(left.iter().any(|place| one.contains(place)), "nobody has left");
    assert!(left.iter().all(newest));
}

#[test]
fn what_is_given_up_is_not_handed_over() {
    let now = Instant::now();
    let mut engine = Handover::new(place(0), now);
    engine.stored(now, &key(1), version(1));
    engine.stored(now, &key(2), version(1));
    engine.dropped(&key(2));
    engine.set_peers(now, BTreeSet::from([place(1)]));
    assert_eq!(engine.poll(now, |_| true), None, "owners come first");
    let later = now + limits::HANDOVER_WAIT;
    assert_eq!(engine.poll(later, |_| true), Some(Job { key: key(1), peer: place(1) }));
    engine.done(later, &key(1), &place(1), true);
    engine.set_peers(later, BTreeSet::from([place(1), place(2)]));
    assert_eq!(engine.poll(later + limits::HANDOVER_WAIT, |_| false), None, "it has expired");
    assert_eq!(engine.backlog(), 0);
}

#[test]
fn a_peer_that_is_asked_too_often_is_tried_again_and_not_for_ever() {
    let now = Instant::now();
    let mut engine = Handover::new(place(0), now);
    engine.stored(now, &key(1), version(1));
    engine.set_peers(now, BTreeSet::from([place(1)]));
    let job = Job { key: key(1), peer: place(1) };
    let mut now = now + limits::HANDOVER_WAIT;
    for attempt in 0..limits::HANDOVER_BUSY {
        assert_eq!(engine.poll(now, |_| true), Some(job.clone()), "attempt {attempt}");
        engine.put_off(now, &job.key, &job.peer);
        assert_eq!(engine.poll(now, |_| true), None);
        now += limits::HANDOVER_RETRY;
        assert!(attempt + 1 == limits::HANDOVER_BUSY || engine.next_deadline(now) <= now);
    }
    assert_eq!(engine.poll(now, |_| true), None, "it may say so for ever");
    assert_eq!(engine.given_up(), 1);
}

#[test]
fn what_is_put_off_is_not_queued_beside() {
    let now = Instant::now();
    let mut engine = Handover::new(place(0), now);
    engine.stored(now, &key(1), version(1));
    engine.set_peers(now, BTreeSet::from([place(1)]));
    let now = now + limits::HANDOVER_WAIT;
    assert!(engine.poll(now, |_| true).is_some());
    engine.put_off(now, &key(1), &place(1));
    // Another peer comes: all records are looked at, and that one lacks it still.
    engine.set_peers(now, BTreeSet::from([place(1), place(2)]));
    let later = now + limits::HANDOVER_WAIT;
    assert_eq!(engine.poll(later, |_| true), Some(Job { key: key(1), peer: place(2) }));
    engine.done(later, &key(1), &place(2), true);
    assert_eq!((engine.poll(later, |_| true), engine.backlog()), (None, 0), "it is put off");
    let later = now + limits::HANDOVER_RETRY;
    assert_eq!(engine.poll(later, |_| true), Some(Job { key: key(1), peer: place(1) }));
    engine.done(later, &key(1), &place(1), true);
    assert_eq!(engine.poll(later + limits::HANDOVER_RETRY, |_| true), None);
}

#[test]
fn what_finds_no_room_is_counted_and_found_missing_later() {
    let mut now = Instant::now();
    let mut engine = Handover::new(place(0), now);
    let records = limits::HANDOVER_QUEUE / 3 + limits::HANDOVER_IN_FLIGHT;
    (0..records).for_each(|number| engine.stored(now, &key(number), version(1)));
    let peers: BTreeSet<Distance> = (1..=3).map(place).collect();
    engine.set_peers(now, peers.clone());
    now += limits::HANDOVER_WAIT;
    // Few are under way; all others are looked at meanwhile.
    let mut under_way = Vec::new();
    while engine.without_room() == 0 {
        under_way.extend(engine.poll(now, |_| true));
    }
    // Where two nearer ones hold a record already it is theirs to hand on.
    let hands_on = |key: &[u8]| {
        let own = distance(&Sha256::digest(key).into(), &place(0));
        let nearer = peers.iter().filter(|peer| distance(&Sha256::digest(key).into(), peer) < own);
        nearer.count() < limits::HANDOVER_SENDERS
    };
    let first = under_way.remove(under_way.iter().position(|job| hands_on(&job.key)).unwrap());
    assert!(engine.backlog() <= limits::HANDOVER_QUEUE + limits::HANDOVER_IN_FLIGHT);
    let before = engine.without_room();
    engine.put_off(now, &first.key, &first.peer);
    assert_eq!(engine.without_room(), before + 1);
    // What had no room is not taken for held: it is handed over when all else has been.
    let mut handed: BTreeSet<_> = under_way.iter().map(|job| (job.key.clone(), job.peer)).collect();
    under_way.iter().for_each(|job| engine.done(now, &job.key, &job.peer, true));
    for _ in 0..2 {
        engine.set_peers(now, BTreeSet::new());
        engine.set_peers(now, peers.clone());
        now += limits::HANDOVER_WAIT;
        let end = now + Duration::from_secs(900);
        while now < end {
            while let Some(job) = engine.poll(now, |_| true) {
                engine.done(now, &job.key, &job.peer, true);
                handed.insert((job.key, job.peer));
            }
            now = engine.next_deadline(now).max(now + Duration::from_millis(500));
        }
    }
    let is_handed = |key: &[u8]| peers.iter().all(|peer| handed.contains(&(key.to_vec(), *peer)));
    assert!(handed.contains(&(first.key, first.peer)), "it was put off, and found no room");
    assert!((0..records).map(key).filter(|key| hands_on(key)).all(|key| is_handed(&key)));
}

#[test]
fn a_peer_that_was_asked_too_often_once_holds_what_it_takes_then() {
    let now = Instant::now();
    let mut engine = Handover::new(place(0), now);
    engine.stored(now, &key(1), version(1));
    engine.set_peers(now, BTreeSet::from([place(1)]));
    let now = now + limits::HANDOVER_WAIT;
    assert!(engine.poll(now, |_| true).is_some());
    engine.put_off(now, &key(1), &place(1));
    let later = now + limits::HANDOVER_RETRY;
    assert!(engine.poll(later, |_| true).is_some());
    engine.done(later, &key(1), &place(1), true);
    assert_eq!((engine.poll(later + limits::HANDOVER_RETRY, |_| true), engine.backlog()), (None, 0));
}
