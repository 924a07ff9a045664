// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `lispsec`: LISP-SEC (RFC 9303) as Map-Resolver and Map-Server, against the program `lisp-mapsys`; the suite is ITR and
//! ETR. Vectors S01 and S02, which were made by other code, are held against it octet for octet.

mod keys;
mod policy;
mod room;
mod server;

use super::Listed;
use super::probe::{self, Probe};
use crate::check::Check;
use room::Room;

fn probes() -> Vec<&'static Probe<Room>> {
    [keys::PROBES, server::PROBES, policy::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    probe::run("lispsec", &probes(), wanted, Room::open)
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}
