// SPDX-License-Identifier: GPL-2.0-or-later
//! Two sites, each a host behind an xTR, and a core between them: a lab to play with, and the course of the data plane's bench. And
//! what else there may be in the place of the second one, or of the core.

pub(crate) mod legacy;
pub(crate) mod moving;
mod network;
mod nodes;
pub(crate) mod two_providers;

use std::path::Path;

pub use network::Family;
pub(crate) use network::{Between, CORE, CORE_PORT, SITES, Site, describe};
pub(crate) use nodes::{Place, Routers, SECRET};

use crate::demo::Controls;
use crate::demo::binaries::Binaries;
use crate::hold::Keep;
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, netlink, process};

/// Octets of the longest packet that a link of jumbo frames takes, as it is usual.
const JUMBO: u16 = 9000;

/// Builds the network with a map system and both xTRs, and leaves the rest to `keep`; then takes it down.
///
/// # Errors
/// What was refused or did not come about.
pub(crate) fn hold(bin_dir: &Path, keep: Keep<'_>) -> anyhow::Result<()> {
    let binaries = Binaries::find_or_build(Some(bin_dir))?;
    let workspace = Workspace::create(None)?;
    let lab = Lab::build(&describe(Between::Tunnels))?;
    let place = Place { lab: &lab, binaries: &binaries, workspace: &workspace, name: "two-sites" };
    hold_in(&place, &[], keep)
}

/// The same with links of [`JUMBO`] octets and tunnels of 100 less.
///
/// # Errors
/// What was refused or did not come about.
pub(crate) fn hold_jumbo(bin_dir: &Path, keep: Keep<'_>) -> anyhow::Result<()> {
    let binaries = Binaries::find_or_build(Some(bin_dir))?;
    let workspace = Workspace::create(None)?;
    let lab = Lab::build(&describe(Between::Tunnels))?;
    for (node, port) in SITES.iter().flat_map(Site::ports) {
        netlink::set_mtu(lab.namespace(node)?, port, JUMBO)?;
    }
    let place = Place { lab: &lab, binaries: &binaries, workspace: &workspace, name: "jumbo" };
    hold_in(&place, &["--mtu".to_owned(), (JUMBO - 100).to_string()], keep)
}

fn hold_in(place: &Place<'_>, more: &[String], keep: Keep<'_>) -> anyhow::Result<()> {
    let families = [Family::V4, Family::V6];
    run(place, families[0], keep, |routers| {
        SITES.iter().try_for_each(|site| routers.start(place, site, &families, more))?;
        routers.await_mapped(place, &families)?;
        println!("{}", network::PICTURE);
        for site in &SITES {
            println!("{} has {} and {}.", site.host, site.hosts[1], site.hosts[0]);
        }
        println!("Try: interop exec {} -- ping -c 3 {}", SITES[0].host, SITES[1].hosts[1]);
        println!("     interop exec {} -- lisp-xtr show map-cache", SITES[0].xtr);
        let control = |site: &Site| Ok((site.xtr.to_owned(), place.control(site)?));
        SITES.iter().map(control).collect()
    })
}

/// Starts a map system in the core, then what `start` does, and leaves the rest to `keep`. When it has ended, or something has failed,
/// all programs are ended.
fn run(
    place: &Place<'_>,
    outer: Family,
    keep: Keep<'_>,
    start: impl FnOnce(&mut Routers) -> anyhow::Result<Controls>,
) -> anyhow::Result<()> {
    let mut routers = Routers::default();
    let outcome = routers.start_map_system(place, outer, false).and_then(|()| {
        let controls = start(&mut routers)?;
        keep(place.lab, controls, &mut || routers.check())
    });
    if outcome.is_err() {
        routers.last_words().iter().for_each(|line| eprintln!("{line}"));
    }
    process::end_all(routers.running);
    outcome
}
