// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `facade`: what sites and their neighbours see of a map system (RFC 9301, section 8), against the program `lisp-mapsys`:
//! which answer, from where, how much of it, and that what ends deployed Map-Servers does not end this one.

mod abuse;
mod answers;
mod deployed;
mod machine;
mod running;

use super::Listed;
use super::mapsys::{self, Room};
use super::probe::{self, Probe};
use crate::check::Check;

/// A locator that nobody has.
const RLOC: &str = "198.51.100.1";
/// Another one.
const OTHER: &str = "198.51.100.2";

fn probes() -> Vec<&'static Probe<Room>> {
    [answers::PROBES, deployed::PROBES, abuse::PROBES, running::PROBES, machine::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    mapsys::run("facade", &probes(), wanted)
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}
