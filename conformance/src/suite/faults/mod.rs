// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `faults`: what breaks round a node, and what must be left of it, against the program `lisp-dht`.

mod disk;
mod network;

use std::time::SystemTime;

use super::Listed;
use super::fleet::Fleet;
use super::probe::{self, Probe};
use crate::check::Check;

/// Checks that run side by side: each has nodes that a busy machine must not keep from answering in time.
const AT_ONCE: usize = 4;

fn now() -> SystemTime {
    SystemTime::now()
}

fn probes() -> Vec<&'static Probe<Fleet>> {
    [disk::PROBES, network::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    let probes = probes();
    if !probes.iter().any(|probe| wanted(probe.id)) {
        return Ok(Vec::new());
    }
    Ok(probe::run_some_beside(AT_ONCE, "faults", &probes, wanted, &[("", Fleet::open()?)]))
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}
