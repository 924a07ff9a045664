// SPDX-License-Identifier: GPL-2.0-or-later
//! Two sites and a third xTR, which takes one of the second site's EID-prefixes over, with the host.

use anyhow::{Context as _, ensure};

use super::network::{CORE, CORE_PORT, Family, HOST_PORT, SITES};
use super::nodes::{Place, Routers, server};
use crate::hold::Keep;
use crate::lab::{Lab, Namespace, Node, Topology, netlink, process};
use crate::limits::COMMAND_TIME;

/// The third xTR, its locator, and the core's address on the cable to it.
const ROAMING: &str = "roaming";
const ROAMING_RLOC: &str = "203.0.113.2";
const BEYOND: &str = "203.0.113.1";
/// The ports of the core towards the second site before and behind the move.
pub(crate) const PORTS: [&str; 2] = [SITES[1].xtr, ROAMING];
/// The configuration of an xTR that is read anew.
const CONFIG: &str = "lisp-xtr.toml";

/// Describes the network.
pub(crate) fn describe() -> Topology {
    let wire = format!("wire-{ROAMING}");
    let roaming = Node::router(ROAMING).port(CORE_PORT, &wire, &[&format!("{ROAMING_RLOC}/30")]);
    let core = SITES.iter().fold(Node::router(CORE), |core, site| site.plug_into(core));
    let topology = SITES.iter().fold(Topology::default(), |all, site| all.with(site.host()).with(site.router()));
    let core = core.port(ROAMING, &wire, &[&format!("{BEYOND}/30")]);
    topology.with(core).with(roaming.default_route(BEYOND, CORE_PORT))
}

/// Builds the network.
///
/// # Errors
/// What was refused.
pub(crate) fn lab() -> anyhow::Result<Lab> {
    Ok(Lab::build(&describe())?)
}

/// Starts a map system and the xTRs in it, and leaves the rest to `keep`; then ends them. The second site has the EID-prefix of this
/// family, the third xTR has the other one.
///
/// # Errors
/// What was refused or did not come about.
pub(crate) fn stand(place: &Place<'_>, moving: Family, keep: Keep<'_>) -> anyhow::Result<()> {
    let [site, other] = &SITES;
    super::run(place, Family::V4, keep, |routers| {
        start(place, routers, (other.xtr, other.rloc(Family::V4)), &[other.prefix(moving)])?;
        start(place, routers, (ROAMING, ROAMING_RLOC), &[other.prefix(moving.other())])?;
        routers.await_site(place, other, &[Family::V4])?;
        // An ITR that asks before they are known keeps to the negative answer.
        routers.start_site(place, site, &[site.rloc(Family::V4)], &[])?;
        routers.await_site(place, site, &[Family::V4])?;
        let control = |node: &str| Ok((node.to_owned(), place.folder(node)?.join("control.sock")));
        [site.xtr, other.xtr, ROAMING].into_iter().map(control).collect()
    })
}

/// Starts an xTR that has these EID-prefixes of the second site. Of those that give an xTR-ID the map system tells one when another has
/// what was its own.
fn start(place: &Place<'_>, routers: &mut Routers, (xtr, rloc): (&str, &str), prefixes: &[&str]) -> anyhow::Result<()> {
    configure(place, xtr, prefixes)?;
    let config = place.folder(xtr)?.join(CONFIG);
    let config = config.to_str().context("a folder whose name is no UTF-8")?;
    let own = ["--config", config, "--rloc", rloc, "--site-id", "1"];
    routers.start_xtr(place, xtr, &[&own[..], &server(Family::V4)].concat())
}

fn configure(place: &Place<'_>, xtr: &str, prefixes: &[&str]) -> anyhow::Result<()> {
    let text = format!("eid-prefix = {prefixes:?}\n");
    std::fs::write(place.folder(xtr)?.join(CONFIG), text).with_context(|| format!("the configuration of {xtr}"))
}

/// The host of the second site and its EID-prefix move to the third xTR, whose operator says so: where the host is then.
///
/// # Errors
/// What was refused.
pub(crate) fn move_prefix<'a>(place: &Place<'a>, moving: Family) -> anyhow::Result<&'a Namespace> {
    let (other, roaming) = (&SITES[1], place.lab.namespace(ROAMING)?);
    netlink::down(place.lab.namespace(other.host)?, HOST_PORT)?;
    netlink::add_address(roaming, "lo", other.address(moving)?.into())?;
    configure(place, ROAMING, &other.prefixes)?;
    let mut command = place.binaries.command("lisp-xtr");
    command.arg("reload").arg("--state-dir").arg(place.folder(ROAMING)?);
    let output = process::output(roaming, command, COMMAND_TIME)?;
    let is_done = output.status.is_some_and(|status| status.success());
    ensure!(is_done, "{ROAMING}: {}{}", output.stdout, output.stderr);
    Ok(roaming)
}
