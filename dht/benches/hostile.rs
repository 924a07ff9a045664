// SPDX-License-Identifier: GPL-2.0-or-later
//! A million hostile PUTs with free identities from 16 networks against a store: `cargo bench -p dht --bench hostile`.
//!
//! Each of the hostile bundles is whole and valid: an Ed25519 identity of its own, certified, signed. They are made beforehand,
//! on all cores, a hundred thousand of them, and put ten times in ever another order from the 16 blocks of addresses in turn:
//! what was refused for its block's share is tried again from another block. 20,000 good records come first, from 500 networks,
//! those must be there at the end. A second store has no more room than
//! for them: there the 16 may gain no more than 16 good networks have. `PUTS=100000` makes it quicker.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cgeid::{Identity, Network};
use dht::publish::{self, Publication, Sequence};
use dht::record::{Mapping, Rloc, RlocFlags};
use dht::store::{Origin, Store};
use wire::record::Ttl;

/// Hostile PUTs.
const PUTS: usize = 1_000_000;
/// How often each of the hostile bundles is put.
const ROUNDS: usize = 10;
/// Networks that they come from.
const NETWORKS: usize = 16;
/// Good records.
const GOOD: usize = 20_000;
/// Networks that those come from.
const NEIGHBOURS: usize = 500;

fn main() {
    let puts: usize = std::env::var("PUTS").map_or(PUTS, |text| text.parse().unwrap());
    let start = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let begun = Instant::now();
    let good = pool(0, GOOD, start);
    let hostile = pool(GOOD, puts / ROUNDS, start);
    println!("{} bundles made in {:.0} s", good.len() + hostile.len(), begun.elapsed().as_secs_f64());
    for (name, capacity) in [("a whole store", dht::limits::STORE_BUNDLES), ("a store that the good ones fill", GOOD)] {
        let mut store = Store::with_capacity(Network::LAB, [0; 32], capacity);
        let mut put = |now, origin, one: &Publication| store.put(now, origin, &one.key.encode(), &one.value).is_ok();
        for (number, one) in good.iter().enumerate() {
            assert!(put(start, Origin::Peer(network(80, number % NEIGHBOURS)), one), "a good record is taken");
        }
        let begun = Instant::now();
        let mut taken = 0;
        for round in 0..ROUNDS {
            let now = start + Duration::from_secs(30 * u64::try_from(round).unwrap());
            for number in 0..hostile.len() {
                // Another order each time.
                let one = &hostile[(number * (2 * round + 1)) % hostile.len()];
                taken += usize::from(put(now, Origin::Peer(network(45, (number + round) % NETWORKS)), one));
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        let now = start + Duration::from_secs(600);
        let left = good.iter().filter(|one| store.get(now, &one.key.encode()).is_some()).count();
        println!("{name}: {capacity} bundles at most, {} held", store.len());
        println!("  {} hostile PUTs in {seconds:.0} s, {taken} taken or repeated", hostile.len() * ROUNDS);
        println!("  refused: {:?}, evicted {}", store.counters().refused, store.counters().evicted);
        let heaviest = (0..NETWORKS).map(|at| store.charged_to(network(45, at))).max().unwrap_or_default();
        println!("  most held of one hostile network: {heaviest}, its share {}", (capacity / 100).max(1));
        // A store that is full of good ones gives up the farthest for a network that has no more than theirs have.
        let may_go = if capacity > GOOD { 0 } else { NETWORKS * GOOD / NEIGHBOURS };
        let verdict = if GOOD - left <= may_go { "reached" } else { "missed" };
        println!("  good records left: {left} of {GOOD}, {may_go} may go: {verdict}");
    }
}

/// A /24 for each number.
fn network(first: u8, number: usize) -> IpAddr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(first, high, low, 1).into()
}

/// Bundles of the identities `from..from + count`, made on all cores.
fn pool(from: usize, count: usize, now: SystemTime) -> Vec<Publication> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let numbers: Vec<usize> = (from..from + count).collect();
    std::thread::scope(|scope| {
        let parts = numbers.chunks(count.div_ceil(cores).max(1));
        let made: Vec<_> = parts
            .map(|part| scope.spawn(move || part.iter().map(|one| publish(*one, now)).collect::<Vec<_>>()))
            .collect();
        made.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

fn publish(number: usize, now: SystemTime) -> Publication {
    let octets = u64::try_from(number).unwrap().to_be_bytes();
    let identity =
        Identity::from_seed(&std::array::from_fn(|at| if at == 8 { 1 } else { octets[at % 8] }), Network::LAB, now)
            .unwrap();
    let key = identity.delegate(now, 0).unwrap();
    let flags = RlocFlags { local: true, reachable: true, ..RlocFlags::default() };
    let address = Ipv4Addr::new(192, 0, 2, 1).into();
    let rloc = Rloc { priority: 1, weight: 100, mpriority: 255, mweight: 0, flags, address, port: 0 };
    publish::mapping(&key, Network::LAB, Mapping::new([rloc], Ttl(60)), now, &mut Sequence::default()).unwrap()
}
