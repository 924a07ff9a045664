// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `lispsec`: LISP-SEC (RFC 9303) as Map-Resolver and Map-Server, against the program `lisp-mapsys`; the suite is ITR and
//! ETR. Vectors S01 and S02, which were made by other code, are held against it octet for octet. A target of others is started with
//! the configuration that its `[lisp-sec]` spells; one that runs elsewhere has numbered sites and secrets of ITRs in `[map-system]`.

mod keys;
mod policy;
mod room;
mod server;

use super::Listed;
use super::guest::{Elsewhere, Guest, Need, cannot, met};
use super::probe::{self, Fault, Probe, unfit};
use crate::check::Check;
use crate::target::{Claim, ItrKey, Lack};
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

/// What can be judged without a secret that an ITR shares with the Map-Resolver.
const WITHOUT_SECRET: [&str; 2] = ["LS-01.5", "LS-05.3"];

fn probes() -> Vec<&'static Probe<Room>> {
    [keys::PROBES, server::PROBES, policy::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    probe::run_as("lispsec", &probes(), wanted, Room::open, |room, probe| {
        let Some(guest) = room.guest()? else { return (probe.judge)(room) };
        fits(guest, probe.id)?;
        guest.judge(&|patience| room.alive(patience), &|| Ok(()), || (probe.judge)(room))
    })
}

/// The target claims what a check needs, and was given it.
fn fits(guest: &Guest, id: &str) -> Result<(), Fault> {
    let Some(elsewhere) = guest.is_elsewhere() else {
        let Some(table) = room::table() else { return Ok(()) };
        return met(NEEDS, id, guest.target, &cannot(guest.target, &table.cannot));
    };
    met(NEEDS, id, guest.target, &|lack| elsewhere.given.lacking(lack, |name| elsewhere.named(name).is_ok()))?;
    if elsewhere.given.itr_keys.is_empty() && !WITHOUT_SECRET.contains(&id) {
        return Err(unfit("the target runs elsewhere, and its file gives no `itr-key` in [map-system]"));
    }
    if id == "LS-03.1" { of_vectors(elsewhere) } else { Ok(()) }
}

/// It has the site, and the ITR the secret, with which vectors were made.
fn of_vectors(elsewhere: &Elsewhere) -> Result<(), Fault> {
    let vectors = crate::vectors::shipped().map_err(unfit)?;
    let site = elsewhere.named(room::VECTORS)?;
    let has_prefix = site.prefixes.iter().any(|net| net.to_string() == "10.2.2.0/24");
    let has_secret = site.keys.first().is_some_and(|key| key.id == 1 && key.secret.as_bytes() == vectors.psk);
    let is_of_itr = |key: &ItrKey| key.key_id == vectors.key_id && key.secret.as_bytes() == vectors.psk_itr_mr;
    if has_prefix && has_secret && elsewhere.given.itr_keys.iter().any(is_of_itr) {
        return Ok(());
    }
    Err(unfit("the target file does not give the site 10.2.2.0/24 and the ITR the secrets of the vectors"))
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
        for id in WITHOUT_SECRET {
            assert!(probes().iter().any(|probe| probe.id == id), "{id}");
        }
    }
}
