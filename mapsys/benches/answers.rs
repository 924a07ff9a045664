// SPDX-License-Identifier: GPL-2.0-or-later
//! What an answer costs the engine alone, without any I/O: `cargo bench -p mapsys --no-default-features --bench answers`.
//!
//! Map-Requests in ECMs of a configured client for random EIDs of many sites, in batches as they come out of a socket: *registered* are
//! sites of the engine itself, *dht-cache* those of another one, which are in its cache. Each figure is the best of several rounds, in time of the
//! processor: others that use the machine only make it longer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/engine/dht/world.rs"]
#[allow(dead_code)]
mod world;

use std::hint::black_box;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use common::{Bench, address, ecm, record, request, sent};
use dht::resolve::TrustAnchor;
use mapsys::engine::{Config, Input};
use mapsys::transport::Via;
use nix::time::ClockId;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use wire::address::{EidPrefix, InstanceId};
use world::{ITR, RLOC, World, operational, registrar, resolver, sealed};

/// Sites that are registered.
const SITES: u16 = 64;
/// Questions of a round.
const QUESTIONS: usize = 20_000;
/// Of these, so many come together.
const AT_ONCE: usize = 8;
/// Rounds, of which the best counts.
const ROUNDS: usize = 40;

fn main() {
    let identity = operational();
    let anchors = (0..SITES).map(|n| TrustAnchor { aggregate: site(n), cn: identity.cn() }).collect();
    let sites = (0..SITES).map(|n| common::site(&n.to_string(), 1, "secret of a", &[site(n)])).collect();
    let clients = vec![format!("{RLOC}/32").parse().unwrap()];
    let own = Config { clients: clients.clone(), ..registrar(identity, sites) };
    let foreign = Config { clients, ..resolver(anchors) };
    let mut world = World::new(vec![own, foreign]);
    for n in 0..SITES {
        let outputs =
            world.datagram(0, world::ETR, &sealed(u64::from(n) + 1, vec![record(site(n), &["198.51.100.1"])]));
        assert!(!sent(&outputs).is_empty());
    }
    world.pass(Duration::from_secs(60));
    for n in 0..SITES {
        let answer = world.ask(1, 1, host(n, 1));
        assert!(!answer.records[0].locators.is_empty(), "{n} {answer:?}");
    }
    let questions = questions();
    for (case, bench) in ["registered", "dht-cache"].into_iter().zip(&mut world.benches) {
        let best = (0..ROUNDS).map(|_| round(bench, &questions)).min().unwrap();
        println!("{case:<12} {:>6} ns an answer", best.as_nanos() / QUESTIONS as u128);
    }
}

/// The EID-prefix of a site.
fn site(n: u16) -> EidPrefix {
    EidPrefix::new(InstanceId(0), Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 0).into(), 48).unwrap()
}

fn host(site: u16, low: u16) -> EidPrefix {
    EidPrefix::host(InstanceId(0), IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, site, 0, 0, 0, 0, low)))
}

fn questions() -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(1);
    (0..QUESTIONS as u64)
        .map(|nonce| ecm(&request(nonce, &[host(random.random_range(0..SITES), random.random())], &[RLOC])))
        .collect()
}

/// How long all questions take; each is answered.
fn round(bench: &mut Bench, questions: &[Vec<u8>]) -> Duration {
    let via = Via::Socket { local: address("203.0.113.1:4342"), remote: address(ITR) };
    let mut answers = 0;
    // What the socket does is not counted.
    let mut batches: Vec<Vec<Vec<u8>>> = questions.chunks(AT_ONCE).map(<[_]>::to_vec).collect();
    let begun = processor_time();
    for batch in &mut batches {
        for bytes in batch.drain(..) {
            bench.engine.take(bench.now, Input::Datagram { via, bytes });
        }
        bench.engine.handle_timeout(bench.now);
        while let Some(output) = bench.engine.poll() {
            answers += 1;
            black_box(output);
        }
    }
    let time = processor_time() - begun;
    let refused: Vec<_> = bench.engine.tally().iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(answers, questions.len(), "{refused:?}");
    time
}

/// What this thread has had of the processor.
fn processor_time() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap().into()
}
