// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `mobility`: locators that fail, mappings that change, EIDs that move (RFC 9301, sections 5.2 to 5.4, 6.1 and 7), against
//! the program `lisp-xtr` in both of its tiers. It runs in network namespaces, of which the suite has the site and the core.

mod asking;
mod failover;
mod moving;
mod network;
mod probed;
mod probing;
mod soliciting;

use std::net::IpAddr;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;

use super::Listed;
use super::probe::{self, Fault, Probe, broken, missing};
use super::xtr::{self, Rig, Tier, open_tiers};
use crate::check::Check;
use network::Network;

/// What a check has: a program between a site and the core, and three in a network.
struct Room {
    tier: Tier,
    /// One check at a time moves something in it.
    network: OnceLock<Result<Mutex<Network>, Fault>>,
}

impl Room {
    fn rig(&self) -> Result<&Rig, Fault> {
        self.tier.rig()
    }

    fn network(&self) -> Result<&Mutex<Network>, Fault> {
        let tier = self.tier.number().ok_or_else(|| missing("a network of routers of a target"))?;
        let open = || Network::open(tier).map(Mutex::new);
        self.network.get_or_init(open).as_ref().map_err(Clone::clone)
    }
}

fn probes() -> Vec<&'static Probe<Room>> {
    // What takes longest begins first.
    let of_all =
        [moving::PROBES, failover::PROBES, probing::PROBES, soliciting::PROBES, asking::PROBES, probed::PROBES];
    of_all.into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    let mut listed = probe::list(&probes());
    listed.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(listed)
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    let room = |(name, tier)| (name, Room { tier, network: OnceLock::new() });
    let rooms: Vec<_> = open_tiers().into_iter().map(room).collect();
    Ok(xtr::run_beside("mobility", &probes(), wanted, &rooms))
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}

/// What `show locators` says of a locator of others; null if it does not know it.
fn shown(rig: &Rig, rloc: IpAddr) -> Result<Value, Fault> {
    let shown = rig.dut.show("locators")?;
    let rows = shown["remote"].as_array().ok_or_else(|| broken(&shown))?;
    Ok(rows.iter().find(|row| row["address"] == rloc.to_string()).cloned().unwrap_or_default())
}

/// Whether messages keep an interval, by when they came since some time before the first could be sent. One that is sent late, because its
/// sender had no processor, is nearer to the next than that by as much: counted is from the beginning on, with a twentieth for coarse clocks.
fn are_apart(times: &[Duration], interval: Duration) -> bool {
    times.iter().zip(0..).all(|(time, before)| *time >= before * interval * 19 / 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_kept_by_what_comes_late_and_not_by_what_comes_early() {
        let are_apart = |millis: &[u64]| {
            let times: Vec<_> = millis.iter().map(|millis| Duration::from_millis(*millis)).collect();
            super::are_apart(&times, Duration::from_secs(1))
        };
        assert!(are_apart(&[3, 1003, 2003]) && are_apart(&[700, 1000, 2000]) && are_apart(&[]));
        assert!(!are_apart(&[3, 503]) && !are_apart(&[3, 1003, 1503]) && !are_apart(&[3, 4, 5]));
    }
}
