// SPDX-License-Identifier: GPL-2.0-or-later
//! What the system says about this process.

use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};

/// Octets of this process in memory; 0 where the system does not say.
pub(super) fn resident() -> u64 {
    status("VmRSS:").unwrap_or_default() * 1024
}

/// Threads of this process; 0 where the system does not say.
pub(super) fn threads() -> u64 {
    status("Threads:").unwrap_or_default()
}

/// Processor time of this process.
pub(super) fn cpu() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Duration::ZERO };
    let times = [usage.user_time(), usage.system_time()];
    times
        .iter()
        .map(|time| Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0)))
        .sum()
}

/// Octets that the machine's loopback has carried, all headers from IP on counted, whoever sent them.
pub(super) fn loopback_octets() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/net/dev").ok()?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"))?;
    // Received octets stand first.
    line.split_whitespace().next()?.parse().ok()
}

fn status(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}
