// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `ddt`: the Delegated Database Tree (RFC 8111), against the program `lisp-mapsys` on loopback: once as DDT node and DDT
//! Map-Server, whose client the suite is, and once as DDT Map-Resolver, whose tree the suite plays.

mod hall;
mod node;
mod resolver;
mod system;

use super::Listed;
use super::probe::{self, Probe};
use crate::check::Check;
use hall::Hall;

fn probes() -> Vec<&'static Probe<Hall>> {
    [node::PROBES, resolver::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    probe::run("ddt", &probes(), wanted, Hall::open)
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}
