// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `data-plane`: what an ITR and an ETR do with packets (RFC 9300, 9305, 6040), against the program `lisp-xtr` in both of its
//! tiers, or the tunnel router of a target file. It runs in network namespaces, of which the suite has the site and the core.

mod choice;
mod gpe;
mod header;
mod hops;
mod negative;
mod peers;
mod ports;
mod size;
mod source;

use super::Listed;
use super::probe::{self, Fault, Probe, broken, equal, nothing};
use super::xtr::{self, Family, Tier, open_tiers, pairs};
use crate::check::Check;

fn probes() -> Vec<&'static Probe<Tier>> {
    // What takes longest begins first.
    let of_all = [
        size::PROBES,
        negative::PROBES,
        choice::PROBES,
        source::PROBES,
        header::PROBES,
        ports::PROBES,
        hops::PROBES,
        gpe::PROBES,
        // Of another rig: the others ask about as many sources at once without them as the program lets them.
        peers::PROBES,
    ];
    of_all.into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    let mut listed = probe::list(&probes());
    listed.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(listed)
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    Ok(xtr::run_beside("data-plane", &probes(), wanted, &open_tiers()))
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}

/// Does it with each inner and outer family.
fn each(mut judge: impl FnMut(Family, Family) -> Result<(), Fault>) -> Result<(), Fault> {
    for (inner, outer) in pairs() {
        judge(inner, outer).map_err(|fault| match fault {
            Fault::Broken(came) => broken(format!("{inner} in {outer}: {came}")),
            other => other,
        })?;
    }
    Ok(())
}
