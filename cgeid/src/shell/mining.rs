// SPDX-License-Identifier: GPL-2.0-or-later
//! The search for a key that solves the puzzle of its network, on all cores. It is ended by ending the program: nothing is
//! written before all keys are found.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::Failure;
use crate::error::KeyError;
use crate::limits::MAX_MINERS;
use crate::puzzle::{self, Mined, PuzzleBits};

/// Bits up to which no thread is worth starting: 256 draws are some milliseconds.
const AT_ONCE: PuzzleBits = PuzzleBits::LAB;
/// Draws between two looks at what the others do.
const BATCH: u64 = 64;
/// How often the progress is shown.
const TICK: Duration = Duration::from_millis(500);

/// Finds a key for an epoch; shows how it goes when that takes a while and somebody watches.
pub(super) fn mine(epoch: u32, bits: PuzzleBits) -> Result<Mined, Failure> {
    if bits <= AT_ONCE {
        return puzzle::mine(epoch, bits).map_err(Failure::machine);
    }
    let (found, draws) = (AtomicBool::new(false), AtomicU64::new(0));
    let miners = thread::available_parallelism().map_or(1, usize::from).min(MAX_MINERS);
    let (result, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..miners {
            let (result, found, draws) = (result.clone(), &found, &draws);
            scope.spawn(move || {
                if let Some(end) = search(epoch, bits, found, draws) {
                    // The first end is taken; who comes later finds nobody.
                    let _ = result.send(end);
                }
            });
        }
        drop(result);
        watch(&results, epoch, bits, &draws)
    })
    .map_err(Failure::machine)
}

/// Draws until a key fits here or elsewhere.
fn search(epoch: u32, bits: PuzzleBits, found: &AtomicBool, draws: &AtomicU64) -> Option<Result<Mined, KeyError>> {
    while !found.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            match puzzle::draw(epoch, bits) {
                Ok(None) => {}
                Ok(Some(mined)) => {
                    found.store(true, Ordering::Relaxed);
                    return Some(Ok(mined));
                }
                Err(error) => {
                    found.store(true, Ordering::Relaxed);
                    return Some(Err(error));
                }
            }
        }
        draws.fetch_add(BATCH, Ordering::Relaxed);
    }
    None
}

/// Waits for the first end.
fn watch(
    results: &mpsc::Receiver<Result<Mined, KeyError>>,
    epoch: u32,
    bits: PuzzleBits,
    draws: &AtomicU64,
) -> Result<Mined, KeyError> {
    let is_watched = std::io::stderr().is_terminal();
    let begun = Instant::now();
    let mut shown = false;
    let end = loop {
        match results.recv_timeout(TICK) {
            Ok(end) => break end,
            // All threads ended without a word; the scope carries a panic on.
            Err(RecvTimeoutError::Disconnected) => break Err(KeyError::Randomness),
            Err(RecvTimeoutError::Timeout) if is_watched => {
                let (done, usual, seconds) = (draws.load(Ordering::Relaxed), bits.draws(), begun.elapsed().as_secs());
                eprint!(
                    "\rsearching a key of {bits} bits for epoch {epoch}: {done} drawn in {seconds} s, one in {usual} fits "
                );
                let _ = std::io::stderr().flush();
                shown = true;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    };
    if shown {
        eprintln!();
    }
    end
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn all_cores_search_and_one_finds() {
        let bits = PuzzleBits::new(9).unwrap();
        let mined = mine(7, bits).map_err(|failure| failure.error).unwrap();
        assert!(puzzle::is_solved(&mined.key.public_key().unwrap(), 7, bits));
    }
}
