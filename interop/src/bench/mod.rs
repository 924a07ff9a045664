// SPDX-License-Identifier: GPL-2.0-or-later
//! Measurements in labs: numbers are printed, limits are judged, and a reader can run them again.

pub mod clouds;
pub mod data_plane;
pub mod dht;
pub mod dht_flood;
mod disturbed;
pub mod flood;
pub mod initial;
pub mod map_system;
mod mesh;
mod register;

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

/// What a measurement promised, and what it was.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Short name.
    pub name: &'static str,
    /// Whether the promise was kept.
    pub ok: bool,
    /// What was measured.
    pub measured: String,
    /// What was promised.
    pub promised: &'static str,
}

/// The value below which this share of the values lies; none of nothing.
fn quantile(values: &[Duration], share: f64) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort();
    let last = sorted.len().checked_sub(1)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
    sorted.get(index).copied()
}

/// Octets of a process in memory.
fn resident(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// What those threads of a process that are `wanted` by their names have had of the processors until now.
fn threads_cpu(process: u32, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Duration> {
    let mut ticks = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let folder = thread?.path();
        // A thread may end meanwhile.
        let Ok(name) = std::fs::read_to_string(folder.join("comm")) else { continue };
        if !wanted(name.trim()) {
            continue;
        }
        let Ok(line) = std::fs::read_to_string(folder.join("stat")) else { continue };
        // After the name: state is the first field, user and system time the 12th and 13th.
        let fields = line.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().skip(11).take(2);
        ticks += fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    }
    // USER_HZ is 100 on all of Linux's usual machines.
    Ok(Duration::from_millis(ticks * 10))
}

/// What happens, told while it does, with the time since the start.
struct Teller {
    started: Instant,
}

impl Teller {
    fn new() -> Self {
        Self { started: Instant::now() }
    }

    /// On standard error: standard output is for the result.
    fn say(&self, line: &str) {
        // A teller whom nobody hears tells on.
        let _ = writeln!(std::io::stderr(), "{:>6.1} s  {line}", self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<Duration> = [5, 1, 4, 2, 3].map(Duration::from_secs).to_vec();
        assert_eq!(quantile(&values, 0.5), Some(Duration::from_secs(3)));
        assert_eq!(quantile(&values, 0.99), Some(Duration::from_secs(5)));
        assert_eq!(quantile(&values, 0.0), Some(Duration::from_secs(1)));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
