// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `nat`: the Map-Server's part in NAT traversal (draft-ermagan-lisp-nat-traversal-19), against the program `lisp-mapsys`; the suite
//! is xTR and RTR.

mod asking;
mod relaying;
mod room;

use super::Listed;
use super::probe::{self, Probe};
use crate::check::Check;
use room::Room;

fn probes() -> Vec<&'static Probe<Room>> {
    [asking::PROBES, relaying::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    probe::run("nat", &probes(), wanted, Room::open)
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}
