// SPDX-License-Identifier: GPL-2.0-or-later
//! What the engines cost, without any I/O: `cargo bench -p xtr --no-default-features --bench engine`, or one part of it with
//! `-- encapsulate`, `decapsulate`, `hosts`, `prefixes` or `updates`.
//!
//! Packets are 64 octets long, inner UDP over IPv6 or IPv4, and go to random entries of the map-cache. *Encapsulate* is the ITR
//! and the outer header in a buffer, *decapsulate* the ETR. The floor, measured in turn with each, is what no router does with
//! less: a lookup of the destination in the standard library's hash table, and a copy of the header that it finds there. Each
//! figure is the best of several rounds, in time of the processor: others that use the machine only make it longer. Memory is
//! what the allocator was asked for.
//!
//! The last lines say what is promised of the parts that were measured, and whether it was kept; if not, the status is 1, and 2 if
//! there is no such part.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, clippy::cast_precision_loss)]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use wire::address::{EidPrefix, InstanceId};
use wire::data::{Ipv4Header, Ipv6Header, LispHeader, OuterHeader, TrafficClass};
use xtr::counters::Counters;
use xtr::etr::{Arrival, Etr, EtrConfig, OuterInfo, SourceMode, SourcePolicy};
use xtr::itr::{Itr, ItrConfig, Verdict};
use xtr::map_cache::{Entry, Forwarding, Locator, SourceVerdict, Update};

/// Octets of an inner packet.
const PACKET: usize = 64;
/// Entries of a small map-cache, and packets of a round.
const FEW: usize = 4000;
/// Entries of a large one.
const MANY: usize = 1_000_000;
/// Entries of one with prefixes of all lengths.
const MIXED: usize = 100_000;
/// Destinations that a packet waits for.
const WAITING: usize = 100;
/// Rounds, of which the best counts.
const ROUNDS: usize = 40;
/// Locator-sets of all sites; each has two locators.
const SETS: u32 = 200;
/// Entries that control changes in a second.
const UPDATES: u32 = 10_000;
const NO_INSTANCE: InstanceId = InstanceId(0);
/// All our addresses lie in this network.
const SITE: u128 = 0x2001_0db8_000a << 80;
/// All others lie in this.
const ELSEWHERE: u128 = 0x2001_0db8_000b << 80;

/// Octets that are allocated.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is handed on as it is to the system's allocator, whose promises are kept thereby.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of `alloc`, which are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `System.alloc` or `System.realloc` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.fetch_add(size.wrapping_sub(layout.size()), Ordering::Relaxed);
        // SAFETY: the pointer came from `System.alloc` or `System.realloc` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An ITR with its clock, and random numbers that are the same in every run.
struct Bench {
    itr: Itr,
    now: Instant,
    random: SmallRng,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let config = ItrConfig { iid: NO_INSTANCE, icmp_sources: vec![], core_mtu: 1500, gpe_peers: vec![] };
        let mut itr = Itr::new(now, config, Arc::new(Counters::default()));
        itr.update(now, Update::LocalRlocs(vec![[192, 0, 2, 1].into(), Ipv6Addr::from(SITE).into()]));
        itr.update(now, Update::LocalEids(local_eids()));
        Self { itr, now, random: SmallRng::seed_from_u64(1) }
    }

    /// Installs a mapping to one of the sets, for a random time between one hour and a day.
    fn map(&mut self, prefix: EidPrefix, set: u32) {
        self.map_to(prefix, vec![rloc(2 * set), rloc(2 * set + 1)]);
    }

    fn map_to(&mut self, prefix: EidPrefix, locators: Vec<Locator>) {
        let expires = self.now + Duration::from_secs(self.random.random_range(3600..86_400));
        let entry = Entry { forwarding: Forwarding::Locators(locators), expires };
        self.itr.update(self.now, Update::Upsert { prefix, entry });
    }

    fn map_hosts(&mut self, hosts: &[IpAddr], rloc: impl Fn(u32) -> Locator) {
        for (number, host) in (0..).zip(hosts) {
            let set = number % SETS;
            self.map_to(EidPrefix::host(NO_INSTANCE, *host), vec![rloc(2 * set), rloc(2 * set + 1)]);
        }
    }

    /// Nanoseconds for a packet, each with its outer header in a buffer.
    fn encapsulate(&mut self, packets: &[Vec<u8>]) -> f64 {
        let mut buffer = [0; OuterHeader::LONGEST];
        time(packets, |packet| match self.itr.handle(self.now, packet) {
            Verdict::Encapsulate(header, inner) => black_box(header.emit(inner.len(), &mut buffer)).unwrap().len(),
            other => panic!("{other:?}"),
        })
    }
}

fn rloc(number: u32) -> Locator {
    Locator { address: Ipv4Addr::from_bits(0xc633_6400 + number).into(), priority: 1, weight: 50 }
}

fn rloc_v6(number: u32) -> Locator {
    let address = Ipv6Addr::from_bits((0x2001_0db8_000c << 80) + u128::from(number)).into();
    Locator { address, ..rloc(number) }
}

fn local_eids() -> Vec<EidPrefix> {
    let hosts = (0..4).map(|n| EidPrefix::host(NO_INSTANCE, Ipv6Addr::from(SITE + (7 << 64) + n).into()));
    let nets = [(Ipv6Addr::from(SITE).into(), 64), (Ipv4Addr::new(10, 0, 0, 0).into(), 24)];
    hosts.chain(nets.map(|(net, length)| EidPrefix::new(NO_INSTANCE, net, length).unwrap())).collect()
}

/// The time of the processor that this thread has had.
fn processor() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap().into()
}

/// Nanoseconds that `each` takes.
fn time<T>(items: &[T], mut each: impl FnMut(&T) -> usize) -> f64 {
    let begin = processor();
    for item in items {
        black_box(each(item));
    }
    (processor() - begin).as_nanos() as f64 / items.len() as f64
}

/// The best of the rounds of two things that are measured in turn.
fn best(mut one: impl FnMut() -> f64, mut other: impl FnMut() -> f64) -> (f64, f64) {
    (0..ROUNDS).map(|_| (one(), other())).fold((f64::MAX, f64::MAX), |best, now| (best.0.min(now.0), best.1.min(now.1)))
}

fn random_hosts(random: &mut SmallRng, count: usize) -> Vec<IpAddr> {
    (0..count).map(|_| Ipv6Addr::from(ELSEWHERE | random.random::<u128>() >> 48).into()).collect()
}

/// A packet of [`PACKET`] octets with random ports.
fn packet(random: &mut SmallRng, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let ports: [u8; 4] = random.random();
    let mut octets = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let class = TrafficClass(0);
            let header = Ipv4Header { source, destination, protocol: 17, ttl: 64, class, dont_fragment: true };
            header.emit(PACKET - Ipv4Header::LENGTH).unwrap().to_vec()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let class = TrafficClass(0);
            let header = Ipv6Header { source, destination, next_header: 17, hop_limit: 64, class, flow_label: 0 };
            header.emit(PACKET - Ipv6Header::LENGTH).unwrap().to_vec()
        }
        _ => panic!("mixed families"),
    };
    octets.extend(ports);
    octets.resize(PACKET, 0);
    octets
}

fn our_host(v4: bool) -> IpAddr {
    if v4 { Ipv4Addr::new(10, 0, 0, 9).into() } else { Ipv6Addr::from(SITE + 9).into() }
}

/// Packets from a host of ours to some of these.
fn packets(random: &mut SmallRng, hosts: &[IpAddr], count: usize) -> Vec<Vec<u8>> {
    let mut some = || hosts[random.random_range(0..hosts.len())];
    let targets: Vec<IpAddr> = (0..count).map(|_| some()).collect();
    targets.into_iter().map(|host| packet(random, our_host(host.is_ipv4()), host)).collect()
}

/// A lookup in the standard library's table and a copy of a header.
struct Floor {
    table: HashMap<[u8; 16], [u8; 36]>,
    at: usize,
}

impl Floor {
    /// The addresses of the packets are found at `at`, those of IPv4 with what follows them.
    fn new(packets: &[Vec<u8>], at: usize) -> Self {
        let table = packets.iter().map(|packet| (key(packet, at), [packet[at]; 36])).collect();
        Self { table, at }
    }

    fn time(&self, packets: &[Vec<u8>]) -> f64 {
        let mut buffer = [0; 36];
        time(packets, |packet| {
            buffer.copy_from_slice(&self.table[&key(packet, self.at)]);
            black_box(&buffer).len()
        })
    }
}

fn key(packet: &[u8], at: usize) -> [u8; 16] {
    packet[at..at + 16].try_into().unwrap()
}

/// The most that something may be.
#[derive(PartialEq)]
struct Promise {
    name: &'static str,
    most: f64,
    unit: &'static str,
    promised: &'static str,
}

const fn nanoseconds(name: &'static str, most: f64, promised: &'static str) -> Promise {
    Promise { name, most, unit: "ns", promised }
}

const ENCAPSULATE: Promise = nanoseconds("encapsulate", 60.0, "60 ns at most, 4,000 entries");
const DECAPSULATE: Promise = nanoseconds("decapsulate", 75.0, "75 ns at most, sources unchecked");
const HOST_HIT: Promise = nanoseconds("host-hit", 150.0, "a hit among 1,000,000 /128 below 150 ns");
const PREFIX_HIT: Promise = nanoseconds("prefix-hit", 500.0, "a hit among 100,000 mixed prefixes below 500 ns");
const HOST_MEMORY: Promise = Promise {
    name: "host-memory",
    most: 150.0,
    unit: "octets",
    promised: "below 150 octets for each of 1,000,000 /128",
};

/// What was measured of promises, the most of each.
#[derive(Default)]
struct Measured(Vec<(Promise, f64)>);

impl Measured {
    fn note(&mut self, promise: Promise, value: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == promise) {
            Some((_, most)) => *most = most.max(value),
            None => self.0.push((promise, value)),
        }
    }

    /// Prints each promise beside what was measured, as `interop bench` does. Whether all are kept.
    fn judge(&self) -> bool {
        let is_kept = |(promise, value): &(Promise, f64)| *value <= promise.most;
        for it @ (promise, value) in &self.0 {
            let verdict = if is_kept(it) { "kept" } else { "NOT KEPT" };
            let measured = format!("{value:.1} {}", promise.unit);
            println!("{:<17} {verdict:<9} {measured:<20} promised: {}", promise.name, promise.promised);
        }
        self.0.iter().all(is_kept)
    }
}

const PARTS: [(&str, fn(&mut Measured)); 5] = [
    ("encapsulate", encapsulate),
    ("decapsulate", decapsulate),
    ("hosts", hosts),
    ("prefixes", prefixes),
    ("updates", updates),
];

fn main() -> ExitCode {
    // Cargo's own flags apart.
    let chosen: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = chosen.iter().find(|one| !PARTS.iter().any(|(name, _)| name == one)) {
        eprintln!("there is no part {unknown:?}; there are {:?}", PARTS.map(|(name, _)| name));
        return ExitCode::from(2);
    }
    if cfg!(debug_assertions) {
        eprintln!("this is a debug build: its figures say nothing");
    }
    println!(
        "{PACKET}-octet packets, one core; ns for a packet, best of {ROUNDS} rounds; floor = table lookup and copy"
    );
    let mut measured = Measured::default();
    for (_, part) in PARTS.into_iter().filter(|(name, _)| chosen.is_empty() || chosen.iter().any(|one| one == name)) {
        part(&mut measured);
    }
    if measured.judge() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(name: &str, ours: f64, floor: f64) {
    println!("  {name:<44} {ours:>7.1} ns   floor {floor:>6.1}   ratio {:>5.2}", ours / floor);
}

fn encapsulate(measured: &mut Measured) {
    println!("encapsulate, {FEW} entries");
    for (v4, v4_outside) in [(false, true), (true, true), (false, false), (true, false)] {
        let mut bench = Bench::new();
        let mut hosts = random_hosts(&mut bench.random, FEW);
        if v4 {
            hosts =
                (0..FEW).map(|_| Ipv4Addr::from_bits(0x0b00_0000 | bench.random.random::<u32>() >> 8).into()).collect();
        }
        bench.map_hosts(&hosts, if v4_outside { rloc } else { rloc_v6 });
        let packets = packets(&mut bench.random, &hosts, FEW);
        let floor = Floor::new(&packets, if v4 { 12 } else { 24 });
        let (ours, floor) = best(|| bench.encapsulate(&packets), || floor.time(&packets));
        let family = |v4| if v4 { "IPv4" } else { "IPv6" };
        row(&format!("{} in {}", family(v4), family(v4_outside)), ours, floor);
        measured.note(ENCAPSULATE, ours);
    }
    for (name, own) in [("half with an RLOC of its own", 2), ("all with an RLOC of its own", 1)] {
        let mut bench = Bench::new();
        let hosts = random_hosts(&mut bench.random, FEW);
        for (number, host) in (0..).zip(&hosts) {
            let prefix = EidPrefix::host(NO_INSTANCE, *host);
            match number % own {
                0 => bench.map_to(prefix, vec![rloc(2 * SETS + number)]),
                _ => bench.map(prefix, number % SETS),
            }
        }
        let packets = packets(&mut bench.random, &hosts, FEW);
        let floor = Floor::new(&packets, 24);
        let (ours, floor) = best(|| bench.encapsulate(&packets), || floor.time(&packets));
        row(&format!("IPv6 in IPv4, {name}"), ours, floor);
        measured.note(ENCAPSULATE, ours);
    }
    let mut bench = Bench::new();
    let hosts = random_hosts(&mut bench.random, FEW + WAITING);
    let (known, unknown) = hosts.split_at(FEW);
    bench.map_hosts(known, rloc);
    for host in unknown {
        let waits = packet(&mut bench.random, our_host(false), *host);
        assert_eq!(bench.itr.handle(bench.now, &waits), Verdict::Later);
    }
    let packets = packets(&mut bench.random, known, FEW);
    let floor = Floor::new(&packets, 24);
    let (ours, floor) = best(|| bench.encapsulate(&packets), || floor.time(&packets));
    row(&format!("IPv6 in IPv4, {WAITING} packets wait for mappings"), ours, floor);
    measured.note(ENCAPSULATE, ours);
}

fn decapsulate(measured: &mut Measured) {
    println!("decapsulate, {} EID-prefixes", local_eids().len());
    for (v4, mode) in
        [(false, SourceMode::Off), (true, SourceMode::Off), (false, SourceMode::Loose), (true, SourceMode::Loose)]
    {
        let mut random = SmallRng::seed_from_u64(2);
        let sources = SourcePolicy { mode, ..SourcePolicy::default() };
        let mut etr = Etr::new(EtrConfig { sources, ..EtrConfig::default() }, Arc::new(Counters::default()));
        etr.set_local_eids(&local_eids());
        etr.advance(Instant::now());
        let payloads: Vec<Vec<u8>> = (0..FEW)
            .map(|n| {
                let (source, destination): (IpAddr, IpAddr) = match v4 {
                    true => ([10, 9, 0, 1].into(), Ipv4Addr::from_bits(0x0a00_0000 + n as u32 % 256).into()),
                    false => (Ipv6Addr::from(ELSEWHERE).into(), Ipv6Addr::from(SITE + n as u128).into()),
                };
                [&[0; LispHeader::LENGTH], packet(&mut random, source, destination).as_slice()].concat()
            })
            .collect();
        let outers: Vec<OuterInfo> = (0..SETS)
            .map(|n| OuterInfo {
                source: Ipv4Addr::from_bits(0xc633_6400 + n).into(),
                destination: [192, 0, 2, 1].into(),
                source_port: 50_000,
                ttl: 60,
                class: TrafficClass(0),
            })
            .collect();
        for (outer, net) in outers.iter().flat_map(|outer| ["::/0", "0.0.0.0/0"].map(|net| (outer, net))) {
            let prefix = EidPrefix { iid: NO_INSTANCE, net: net.parse().unwrap() };
            let ask = Instant::now() + Duration::from_secs(3600);
            let (eid, rloc, verdict) = (prefix, outer.source, SourceVerdict::Here);
            etr.update(&Update::Source { eid, prefix, rloc, verdict, ask });
        }
        let floor = Floor::new(&payloads, LispHeader::LENGTH + if v4 { 12 } else { 24 });
        let of_floor = payloads.clone();
        let mut received = payloads;
        let mut turn = 0;
        let ours = || {
            let begin = processor();
            for payload in &mut received {
                turn = (turn + 1) % outers.len();
                assert!(matches!(black_box(etr.receive(&outers[turn], payload)), Arrival::Enters(_)));
            }
            (processor() - begin).as_nanos() as f64 / FEW as f64
        };
        let (ours, floor) = best(ours, || floor.time(&of_floor));
        let checked = if mode == SourceMode::Off { "" } else { ", source checked" };
        row(&format!("{}{checked}", if v4 { "IPv4" } else { "IPv6" }), ours, floor);
        if mode == SourceMode::Off {
            measured.note(DECAPSULATE, ours);
        }
    }
}

/// What a map-cache with many entries costs: memory, time to fill, the longest step, and a hit.
fn hosts(measured: &mut Measured) {
    println!("map-cache of {MANY} /128");
    let mut random = SmallRng::seed_from_u64(3);
    let hosts = random_hosts(&mut random, MANY);
    fill(&hosts, measured, |number| vec![rloc(2 * (number % SETS)), rloc(2 * (number % SETS) + 1)]);
    println!("map-cache of {MANY} /128, each with an RLOC of its own");
    fill(&hosts, measured, |number| vec![rloc(number)]);
}

/// Installs a mapping for each host, and looks them up.
fn fill(hosts: &[IpAddr], measured: &mut Measured, locators: impl Fn(u32) -> Vec<Locator>) {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut bench = Bench::new();
    let install = |(number, host): (u32, &IpAddr)| {
        let (prefix, locators) = (EidPrefix::host(NO_INSTANCE, *host), locators(number));
        step(|| bench.map_to(prefix, locators))
    };
    let steps: Vec<Duration> = (0..).zip(hosts).map(install).collect();
    let steps_memory = steps.capacity() * size_of::<Duration>();
    let memory = (ALLOCATED.load(Ordering::Relaxed) - before - steps_memory) as f64 / hosts.len() as f64;
    println!("  {:<44} {memory:>7.1} octets", "memory of an entry, its RLOCs and its set");
    print_steps("installing one", steps);
    measured.note(HOST_HIT, hits(&mut bench, hosts));
    measured.note(HOST_MEMORY, memory);
}

/// How long this takes.
fn step(does: impl FnOnce()) -> Duration {
    let begin = processor();
    does();
    processor() - begin
}

fn print_steps(name: &str, mut steps: Vec<Duration>) {
    steps.sort_unstable();
    let at = |part: f64| steps[((steps.len() - 1) as f64 * part) as usize];
    println!(
        "  {name:<44} median {:.2?}, one in 1000 takes {:.1?}, in 100,000 {:.1?}, the longest {:.1?}",
        at(0.5),
        at(0.999),
        at(0.99999),
        at(1.0)
    );
}

/// A lookup alone, and a whole encapsulation, beside a lookup in the standard library's table of the same size. What the lookup
/// takes, in nanoseconds.
fn hits(bench: &mut Bench, hosts: &[IpAddr]) -> f64 {
    let targets: Vec<IpAddr> = (0..MIXED).map(|_| hosts[bench.random.random_range(0..hosts.len())]).collect();
    let std: HashMap<IpAddr, u32> = hosts.iter().copied().zip(0..).collect();
    let cache = bench.itr.map_cache();
    let lookup = || time(&targets, |host| usize::from(cache.longest_match(NO_INSTANCE, *host).unwrap()));
    let (hit, floor) = best(lookup, || time(&targets, |host| std[host] as usize));
    row("hit (floor: a lookup in a HashMap)", hit, floor);
    let packets = packets(&mut bench.random, hosts, MIXED);
    let (ours, floor) = best(|| bench.encapsulate(&packets), || time(&targets, |host| std[host] as usize));
    row("encapsulate (floor: a lookup in a HashMap)", ours, floor);
    hit
}

/// Prefixes of all lengths, four of five of them IPv6.
fn prefixes(measured: &mut Measured) {
    println!("map-cache of {MIXED} prefixes: IPv6 /24 to /64 and IPv4 /12 to /30");
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut bench = Bench::new();
    let mut inside = Vec::with_capacity(MIXED);
    let targets_memory = MIXED * size_of::<IpAddr>();
    for number in 0.. {
        if bench.itr.map_cache().len() == MIXED {
            break;
        }
        let (address, length): (IpAddr, u8) = if number % 5 == 0 {
            let bits = 0x1000_0000 | bench.random.random::<u32>() >> 3;
            (Ipv4Addr::from_bits(bits).into(), bench.random.random_range(12..=30))
        } else {
            let bits = 0x2 << 124 | bench.random.random::<u128>() >> 4;
            (Ipv6Addr::from(bits).into(), bench.random.random_range(24..=64))
        };
        bench.map(EidPrefix::new(NO_INSTANCE, address, length).unwrap(), number % SETS);
        if inside.len() < MIXED {
            inside.push(address);
        }
    }
    let memory = ALLOCATED.load(Ordering::Relaxed) - before - targets_memory;
    println!("  {:<44} {:>7.1} octets", "memory of an entry", memory as f64 / MIXED as f64);
    inside.retain(|address| !local_eids().iter().any(|eid| eid.net.contains(address)));
    measured.note(PREFIX_HIT, hits(&mut bench, &inside));
}

/// Packets while control changes entries of a large map-cache, ten thousand a second, and while it does not. Nothing is promised of it.
fn updates(_: &mut Measured) {
    println!("map-cache of {MANY} /128, {UPDATES} entries replaced a second");
    let mut bench = Bench::new();
    let hosts = random_hosts(&mut bench.random, MANY);
    bench.map_hosts(&hosts, rloc);
    let packets = packets(&mut bench.random, &hosts, MIXED);
    let (mut quiet, mut busy, mut steps) = (f64::MAX, f64::MAX, Vec::new());
    // Packets of a round between two updates, between which a driver takes them in batches.
    let pace = (1e9 / f64::from(UPDATES) / bench.encapsulate(&packets)).ceil() as usize;
    for _ in 0..ROUNDS {
        for (best, is_busy) in [(&mut quiet, false), (&mut busy, true)] {
            let mut round = 0.0;
            for batch in packets.chunks(pace) {
                let host = hosts[bench.random.random_range(0..hosts.len())];
                let set = bench.random.random_range(0..SETS);
                if is_busy {
                    let update = step(|| bench.map(EidPrefix::host(NO_INSTANCE, host), set));
                    steps.push(update);
                    round += update.as_nanos() as f64;
                }
                round += bench.encapsulate(batch) * batch.len() as f64;
            }
            *best = best.min(round / packets.len() as f64);
        }
    }
    println!("  {:<44} {quiet:>7.1} ns", "encapsulate without updates");
    println!("  {:<44} {busy:>7.1} ns, ratio {:.3}", "encapsulate with them, their time counted", busy / quiet);
    print_steps("replacing one", steps);
}
