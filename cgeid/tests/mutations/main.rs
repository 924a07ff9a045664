// SPDX-License-Identifier: GPL-2.0-or-later
//! 100,000 certificates, 5,200 containers and 4,000 private keys that are almost right: none of them is taken for what it is
//! not, none makes the library panic.
//!
//! Every case is made from a seed and its own number. A failure names both, so that
//! `MUTATION_SEED=.. MUTATION_CASE=.. cargo test -p cgeid --test mutations NAME` makes the same change again; containers have
//! random salts, so the file itself is kept as well. Another seed tries other changes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

mod certificates;
#[allow(dead_code)]
#[path = "../suite/common.rs"]
mod common;
mod containers;
mod tree;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The seed of a run that names no other.
const SEED: u64 = 0xC6E1D;

/// What came of one mutated file.
enum Outcome {
    /// It was refused.
    Refused,
    /// It was taken, and the difference is one that may be: why.
    Explained(String),
}

/// A mutated file that was taken and must not be.
struct Wrong {
    why: String,
    file: Vec<u8>,
}

/// Numbers that a failed run printed, to see the same again.
fn given(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Runs `cases` numbered cases on all cores, and counts why files were taken.
fn run(name: &str, cases: u64, case: impl Fn(&mut StdRng) -> Result<Outcome, Wrong> + Sync) -> BTreeMap<String, u64> {
    let seed = given("MUTATION_SEED").unwrap_or(SEED);
    let (first, last) = given("MUTATION_CASE").map_or((0, cases), |only| (only, only + 1));
    let next = AtomicU64::new(first);
    let explained = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= last {
                return;
            }
            // Numbers of one seed and of the next must not give the same cases one later.
            let mut random = StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number);
            let replay = format!("{name}: MUTATION_SEED={seed} MUTATION_CASE={number}");
            match catch_unwind(AssertUnwindSafe(|| case(&mut random))) {
                Ok(Ok(Outcome::Refused)) => (),
                Ok(Ok(Outcome::Explained(why))) => *explained.lock().unwrap().entry(why).or_insert(0) += 1,
                Ok(Err(Wrong { why, file })) => {
                    let kept = std::env::temp_dir().join(format!("mutation-{name}-{seed}-{number}"));
                    let _ = std::fs::write(&kept, file);
                    panic!("{replay}: {why}; the file is {}", kept.display());
                }
                Err(_) => panic!("{replay}: it panicked"),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in running {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let explained = explained.into_inner().unwrap();
    println!("{name}: {} mutated files, taken: {explained:?}", last - first);
    explained
}
