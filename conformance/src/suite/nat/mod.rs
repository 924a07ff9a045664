// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `nat`: NAT traversal (draft-ermagan-lisp-nat-traversal-19). The Map-Server's part in it against the program `lisp-mapsys` on
//! loopback, where the suite is xTR and RTR; the RTR's and the xTR's against the program `lisp-xtr` in network namespaces, where the suite
//! is the NAT, the Map-Server and another site.

mod asking;
mod behind;
mod natted;
mod outside;
mod relay;
mod relaying;
mod room;
mod rtr;

use super::Listed;
use super::probe::{self, Probe};
use crate::check::Check;
use crate::progress;
use crate::target;
use outside::Outside;
use room::Room;

fn probes() -> Vec<&'static Probe<Room>> {
    [asking::PROBES, relaying::PROBES].into_iter().flatten().collect()
}

/// Those of the RTR and of the xTR; what takes longest begins first.
fn outside() -> Vec<&'static Probe<Outside>> {
    [natted::PROBES, rtr::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    let mut listed = probe::list(&outside());
    listed.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(probe::list(&probes()).into_iter().chain(listed).collect())
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    let outside = outside();
    let mut checks = match target::judged() {
        ours if ours.is_ours() => probe::run_beside("nat", &outside, wanted, &[("lisp-xtr", Outside::default())]),
        target => {
            let why = format!("{} has no RTR, and no xTR behind a NAT, that its file tells how to start", target.name);
            outside
                .iter()
                .filter(|probe| wanted(probe.id))
                .map(|probe| progress::finished(probe::skipped("nat", probe, &why)))
                .collect()
        }
    };
    checks.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(probe::run("nat", &probes(), wanted, Room::open)?.into_iter().chain(checks).collect())
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id).or_else(|| probe::explain(&outside(), id)))
}
