// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `lispsec`: LISP-SEC (RFC 9303) as Map-Resolver and Map-Server, against the program `lisp-mapsys`; the suite is ITR and
//! ETR. Vectors S01 and S02, which were made by other code, are held against it octet for octet. A target of others is started with
//! the configuration that its `[lisp-sec]` spells.

mod keys;
mod policy;
mod room;
mod server;

use std::cell::Cell;

use super::Listed;
use super::guest::{Need, met};
use super::probe::{self, Probe};
use crate::check::Check;
use crate::target::{Claim, Lack};
use room::Room;

/// What looks inside of ours, or at what ours makes of a configuration.
const OURS: &str = "it looks at counters and configurations of lisp-mapsys";

const NEEDS: &[(&str, Need)] = &[
    ("LS-01.6", Need::Ours(OURS)),
    ("LS-01.7", Need::Given(Lack::ProtectedPath)),
    ("LS-01.8", Need::Given(Lack::ProtectedPath)),
    ("LS-01.10", Need::Given(Lack::SecondKey)),
    ("LS-01.14", Need::Ours(OURS)),
    ("LS-02.1", Need::Claim(Claim::ProxyReply)),
    ("LS-02.2", Need::Claim(Claim::ProxyReply)),
    ("LS-02.4", Need::Claim(Claim::Merge)),
    ("LS-03.3", Need::Claim(Claim::MoreSpecifics)),
    ("LS-04.4", Need::Claim(Claim::MoreSpecifics)),
    ("LS-04.4", Need::Claim(Claim::ProxyReply)),
    ("LS-05.1", Need::Given(Lack::Requirement)),
    ("LS-05.2", Need::Given(Lack::Requirement)),
];

fn probes() -> Vec<&'static Probe<Room>> {
    [keys::PROBES, server::PROBES, policy::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    let nonce = Cell::new(0);
    probe::run_as("lispsec", &probes(), wanted, Room::open, |room, probe| {
        let (Some(guest), Some(table)) = (room.guest()?, room::table()) else { return (probe.judge)(room) };
        met(NEEDS, probe.id, guest.target, &table.cannot)?;
        let alive = |patience| {
            nonce.set(nonce.get() + 1);
            room.alive(nonce.get(), patience)
        };
        guest.judge(&alive, &|| Ok(()), || (probe.judge)(room))
    })
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_something_is_a_check() {
        for (id, _) in NEEDS {
            assert!(probes().iter().any(|probe| probe.id == *id), "{id}");
        }
    }
}
