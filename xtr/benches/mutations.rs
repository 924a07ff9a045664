// SPDX-License-Identifier: GPL-2.0-or-later
//! Ten million mutated packets through both tiers of the packet path: `cargo bench -p xtr --bench mutations`; `MUTATIONS` and `SEED`
//! in the environment change how many and which.
//!
//! Fails when one makes a tier panic, disappears without a counter or is treated differently by the tiers; when two flows are
//! merged; when a good packet does not cross between them; when an engine of the ETR has had nothing to do; or when memory grows after
//! the first part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/mill/mod.rs"]
mod mill;

use std::time::Instant;

/// Packets, unless `MUTATIONS` says otherwise.
const PACKETS: u64 = 10_000_000;
/// Parts of the run after which memory is looked at; after the first the queues are full.
const PARTS: u64 = 10;
/// Octets that memory may grow after the first part: the queues of two ITRs, should they not yet have been full.
const GROWTH: usize = 40 << 20;

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
    let (count, seed) = (number("MUTATIONS").unwrap_or(PACKETS), number("SEED").unwrap_or(1));
    let (mut mill, begun, mut full) = (mill::Mill::new(seed), Instant::now(), 0);
    for part in 1..=PARTS {
        mill.grind(count / PARTS);
        let memory = resident();
        if part == 1 {
            full = memory;
        }
        println!("{:>10} packets, {:>4} MB resident, {:>4} s", mill.given, memory >> 20, begun.elapsed().as_secs());
        assert!(memory <= full + GROWTH, "memory grows: {full} octets after the first part, {memory} now");
    }
    if mill.given >= mill::ENOUGH {
        mill.assert_every_engine_was_entered();
    }
}
