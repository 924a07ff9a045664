// SPDX-License-Identifier: GPL-2.0-or-later
//! Ten million mutated messages through a whole engine: `cargo bench -p mapsys --bench mutations`; `MUTATIONS` and `SEED` in the
//! environment change how many and which.
//!
//! Fails when one makes the engine panic, disappears without a counter, registers anything or draws more than three times its
//! octets; when a good message is not answered between them; or when memory grows after the tables have filled up.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../tests/mutate/mod.rs"]
mod mutate;

use std::time::Instant;

use mutate::{ENTERED, Mill};

/// Messages, unless `MUTATIONS` says otherwise.
const MESSAGES: u64 = 10_000_000;
/// Parts of the run after which memory is looked at; after the first the tables are full.
const PARTS: u64 = 10;
/// Octets that memory may grow after the first part, while tables fill: 65,536 cached answers take about 32 MB, watched targets and
/// blocks, nonces and Map-Notifies together about 10 MB.
const GROWTH: usize = 48 << 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Octets of resident memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn main() {
    let (count, seed) = (number("MUTATIONS").unwrap_or(MESSAGES), number("SEED").unwrap_or(1));
    let (mut mill, begun, mut full) = (Mill::new(seed), Instant::now(), 0);
    for part in 1..=PARTS {
        let outcome = mill.grind(count / PARTS);
        let memory = resident();
        if part == 1 {
            full = memory;
        }
        println!(
            "{:>10} messages, {:>3} rules refused, {:>6} answers cached, {:>4} MB resident, {:>4} s",
            outcome.given,
            outcome.refused.len(),
            outcome.cached,
            memory >> 20,
            begun.elapsed().as_secs()
        );
        assert!(memory <= full + GROWTH, "memory grows: {full} octets after the first part, {memory} now");
    }
    let outcome = mill.grind(0);
    println!("octets: {} in, {} out", outcome.octets_in, outcome.octets_out);
    for engine in ENTERED {
        println!("{:>10} {engine}", outcome.entered.get(engine).copied().unwrap_or_default());
        assert!(outcome.entered.contains_key(engine), "never {engine}");
    }
    for (name, count) in &outcome.refused {
        println!("{count:>10} {name}");
    }
    mill.rest();
}
