// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `lisp`: the messages of RFC 9301, section 5, as a Map-Server and Map-Resolver must take, answer and refuse them, against
//! the program `lisp-mapsys`.

mod checksum;
mod malformed;
mod names;
mod pairs;
mod register;
mod request;
mod tags;

use super::Listed;
use super::mapsys::{self, Room, Site, Xtr, record, register as message, rlocs};
use super::probe::{self, Fault, Probe, broken};
use crate::check::Check;

/// A locator that nobody has.
const RLOC: &str = "198.51.100.1";
/// Another one.
const OTHER: &str = "198.51.100.2";

fn probes() -> Vec<&'static Probe<Room>> {
    let eids = [names::PROBES, pairs::PROBES];
    [register::PROBES, tags::PROBES, request::PROBES, malformed::PROBES, checksum::PROBES]
        .into_iter()
        .chain(eids)
        .flatten()
        .collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    mapsys::run("lisp", &probes(), wanted)
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}

/// A site of its own, registered with [`RLOC`], and the xTR that registered it.
fn registered(room: &Room) -> Result<(Site, Xtr), Fault> {
    let (site, xtr) = (room.site()?, room.xtr()?);
    let register = message(room.nonce(), vec![record(site.prefix, &[RLOC])]);
    xtr.registers(room.common()?.first()?, &register, &site.key())?;
    Ok((site, xtr))
}

/// The locators that a Map-Request for a host of the site is answered with must be these.
fn leads_to(room: &Room, site: &Site, expected: &[&str]) -> Result<(), Fault> {
    let reply = room.answer(site.host(2))?;
    let came = rlocs(&reply.records);
    if came == expected {
        Ok(())
    } else {
        Err(broken(format!("expected locators {expected:?} for {}; came {reply:?}", site.prefix)))
    }
}
