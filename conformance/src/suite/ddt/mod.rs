// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `ddt`: the Delegated Database Tree (RFC 8111), against the program `lisp-mapsys` on loopback: once as DDT node and DDT
//! Map-Server, whose client the suite is, and once as DDT Map-Resolver, whose tree the suite plays. A target of others is started
//! in each role that its file has a table for.

mod deployed;
mod hall;
mod keys;
mod needs;
mod node;
mod party;
mod resolver;
mod signed;
mod system;

use super::Listed;
use super::probe::{self, Probe};
use crate::check::Check;
use crate::target::{self, Target};
use deployed::Deployed;
use hall::Hall;
use needs::Role;

fn probes() -> Vec<&'static Probe<Hall>> {
    [node::PROBES, resolver::PROBES, signed::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    let judged = target::judged();
    if judged.is_configured_by_suites() && judged.ddt_node.is_none() && judged.ddt_map_resolver.is_none() {
        return probe::run("ddt", &probes(), wanted, Hall::open);
    }
    let mut checks = Vec::new();
    for role in Role::ALL {
        let of_role: Vec<_> = probes().into_iter().filter(|probe| Role::of(probe.id) == role).collect();
        checks.extend(run_role(judged, role, &of_role, wanted)?);
    }
    checks.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(checks)
}

/// Why a role cannot be played is told by each of its checks.
fn run_role(
    target: &'static Target,
    role: Role,
    probes: &[&Probe<Hall>],
    wanted: &dyn Fn(&str) -> bool,
) -> anyhow::Result<Vec<Check>> {
    let open = || Ok(Deployed::open(target, role).and_then(Hall::of));
    probe::run_as("ddt", probes, wanted, open, |hall, probe| match hall {
        Ok(Hall { deployed: Some(deployed), .. }) => deployed.judge(hall.as_ref().map_err(Clone::clone)?, probe),
        Ok(hall) => (probe.judge)(hall),
        Err(fault) => Err(fault.clone()),
    })
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}
