// SPDX-License-Identifier: GPL-2.0-or-later
//! A clock that is set while the map system goes by it, for those who want to see what comes of that: the system's own clock is
//! everybody's.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use dht::shell::node::Clock;

/// How often the file is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// A clock that is so many seconds ahead of the system's as a file says now, or behind it.
///
/// # Errors
/// When the file says nothing of that kind.
pub fn follow(file: PathBuf) -> anyhow::Result<Clock> {
    let (clock, hand) = Clock::settable();
    let mut told = read(&file).with_context(|| format!("no seconds in {}", file.display()))?;
    hand.set(told);
    // It ends with the process.
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(PAUSE);
            // One that is being written says nothing for a moment.
            let Some(seconds) = read(&file).filter(|seconds| *seconds != told) else { continue };
            hand.set(seconds);
            tracing::warn!(seconds, before = told, "the clock is set");
            told = seconds;
        }
    });
    Ok(clock)
}

fn read(file: &Path) -> Option<i64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}
