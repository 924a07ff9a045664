// SPDX-License-Identifier: GPL-2.0-or-later
//! How long a reader takes to verify a record with all that stands behind it: `cargo bench -p dht`.
//!
//! A record is a bundle as a lookup brings it: the identity certificate (one signature), the operational certificate (one),
//! the IDENTITY and the MAPPING section (one each). *Warm* is a reader that has seen the writer before, to whom only the MAPPING
//! is new; *cold* one that has not. Reach: under 200 us warm and 600 us cold, for both kinds of identity key.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant, SystemTime};

use cgeid::{Identity, Network};
use dht::publish::{self, Publication, Sequence};
use dht::record::{CertificateCache, Mapping, Rloc, RlocFlags, verify};
use wire::record::Ttl;

/// Verifications of each kind.
const ROUNDS: usize = 2000;
/// What a reader has with its certificates known.
const WARM: Duration = Duration::from_micros(200);
/// What a reader has that knows nothing.
const COLD: Duration = Duration::from_micros(600);

fn main() {
    let now = SystemTime::now();
    let identities = [
        ("rsa4096", Identity::generate_rsa4096(Network::LAB, now).unwrap()),
        ("ed25519", Identity::generate_ed25519(Network::LAB, now).unwrap()),
    ];
    println!("verification of identity, delegation and record, {ROUNDS} times each");
    println!("  {:<9} {:<5} {:>9} {:>9} {:>9}", "identity", "cache", "median", "p99", "reach");
    for (name, identity) in &identities {
        let record = record(identity, now);
        let mut cache = CertificateCache::new();
        // In turn, so that what else the machine does falls on both.
        let (mut warm, mut cold) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            cold.push(time(&record, now, &mut CertificateCache::new()));
            warm.push(time(&record, now, &mut cache));
        }
        // The first one filled the cache.
        warm.remove(0);
        row(name, "cold", cold, COLD);
        row(name, "warm", warm, WARM);
    }
}

/// What a node publishes of itself.
fn record(identity: &Identity, now: SystemTime) -> Publication {
    let flags = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
    let address = Ipv4Addr::new(192, 0, 2, 1).into();
    let rloc = Rloc { priority: 1, weight: 100, mpriority: 255, mweight: 0, flags, address, port: 0 };
    let key = identity.delegate(now, 0).unwrap();
    publish::mapping(&key, Network::LAB, Mapping::new([rloc], Ttl(60)), now, &mut Sequence::default()).unwrap()
}

fn time(record: &Publication, now: SystemTime, cache: &mut CertificateCache) -> Duration {
    let begin = Instant::now();
    black_box(verify(Network::LAB, &record.key, black_box(&record.value), now, cache).unwrap());
    begin.elapsed()
}

fn row(name: &str, cache: &str, mut times: Vec<Duration>, reach: Duration) {
    times.sort();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let verdict = if median < reach { "reached" } else { "missed" };
    let reach = format!("< {} us", reach.as_micros());
    let shown = |time: Duration| format!("{:.0} us", time.as_secs_f64() * 1e6);
    println!("  {name:<9} {cache:<5} {:>9} {:>9} {reach:>9}  {verdict}", shown(median), shown(p99));
}
