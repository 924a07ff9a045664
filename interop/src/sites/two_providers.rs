// SPDX-License-Identifier: GPL-2.0-or-later
//! Two sites, of which one has two uplinks to two providers: a preferred one and a backup.
//!
//! Its router sends by the uplink of the locator that a packet has as its source, as it must where providers let only their own
//! addresses pass.

use std::path::Path;

use super::network::{CORE, Family, SITES, Site};
use super::nodes::Place;
use crate::demo::binaries::Binaries;
use crate::hold::Keep;
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, Node, Topology, netlink};

/// The network, for people.
const PICTURE: &str = "                    .-- isp-1 --.
host-a --- xtr-a --<             >-- core --- xtr-b --- host-b
                    '-- isp-2 --'";

/// An uplink of the first site.
#[derive(Debug)]
struct Uplink {
    /// Name of the provider's router, and of the core's port towards it.
    isp: &'static str,
    /// The port of the site's router.
    port: &'static str,
    network: &'static str,
    rloc: &'static str,
    gateway: &'static str,
    /// The provider's address towards the core, and the core's.
    upstream: [&'static str; 2],
    /// The routing table of what has the locator as its source.
    table: u32,
}

/// 100.64.0.0/10 is for what is between providers (RFC 6598).
const UPLINKS: [Uplink; 2] = [
    Uplink {
        isp: "isp-1",
        port: "one",
        network: "192.0.2.0/25",
        rloc: "192.0.2.2",
        gateway: "192.0.2.1",
        upstream: ["100.64.1.2", "100.64.1.1"],
        table: 101,
    },
    Uplink {
        isp: "isp-2",
        port: "two",
        network: "192.0.2.128/25",
        rloc: "192.0.2.130",
        gateway: "192.0.2.129",
        upstream: ["100.64.2.2", "100.64.2.1"],
        table: 102,
    },
];

/// The ports of the core towards the first site: by the preferred uplink, and by the backup.
pub(crate) const PORTS: [&str; 2] = [UPLINKS[0].isp, UPLINKS[1].isp];

/// Describes the network.
pub(crate) fn describe() -> Topology {
    let [site, other] = &SITES;
    let (mut core, mut border) = (other.plug_into(Node::router(CORE)), site.border());
    let mut topology = Topology::default();
    for uplink in &UPLINKS {
        let (near, far) = (format!("wire-{}", uplink.port), format!("wire-{}", uplink.isp));
        let long = |address: &str, length: u8| format!("{address}/{length}");
        let [inner, outer] = uplink.upstream;
        border = border.port(uplink.port, &near, &[&long(uplink.rloc, 25)]);
        core = core.port(uplink.isp, &far, &[&long(outer, 30)]).route(uplink.network, inner, uplink.isp);
        let isp = Node::router(uplink.isp).port("site", &near, &[&long(uplink.gateway, 25)]);
        topology = topology.with(isp.port(CORE, &far, &[&long(inner, 30)]).default_route(outer, CORE));
    }
    border = border.default_route(UPLINKS[0].gateway, UPLINKS[0].port);
    topology.with(site.host()).with(border).with(core).with(other.host()).with(other.router())
}

/// Builds the network.
///
/// # Errors
/// What was refused.
pub(crate) fn lab() -> anyhow::Result<Lab> {
    let lab = Lab::build(&describe())?;
    for uplink in &UPLINKS {
        let (rloc, gateway) = (uplink.rloc.parse()?, uplink.gateway.parse()?);
        netlink::route_from(lab.namespace(SITES[0].xtr)?, rloc, gateway, uplink.port, uplink.table)?;
    }
    Ok(lab)
}

/// Starts a map system and both xTRs in it, and leaves the rest to `keep`; then ends them.
///
/// # Errors
/// What was refused or did not come about.
pub(crate) fn stand(place: &Place<'_>, keep: Keep<'_>) -> anyhow::Result<()> {
    let [site, other] = &SITES;
    super::run(place, Family::V4, keep, |routers| {
        let [first, second] = UPLINKS.each_ref().map(|uplink| uplink.rloc);
        let second = format!("{second},priority=2");
        routers.start_site(place, site, &[first, &second], &[])?;
        routers.start_site(place, other, &[other.rloc(Family::V4)], &[])?;
        routers.await_mapped(place, &[Family::V4])?;
        let control = |site: &Site| Ok((site.xtr.to_owned(), place.control(site)?));
        SITES.iter().map(control).collect()
    })
}

/// The same with the network, which is taken down then.
///
/// # Errors
/// What was refused or did not come about.
pub(crate) fn hold(bin_dir: &Path, keep: Keep<'_>) -> anyhow::Result<()> {
    let binaries = Binaries::find_or_build(Some(bin_dir))?;
    let workspace = Workspace::create(None)?;
    let lab = lab()?;
    let place = Place { lab: &lab, binaries: &binaries, workspace: &workspace, name: "two-providers" };
    stand(&place, &|lab, controls, check| {
        tell();
        keep(lab, controls, check)
    })
}

/// The preferred provider drops everything without a word.
///
/// # Errors
/// What was refused.
pub(crate) fn fall_silent(lab: &Lab) -> anyhow::Result<()> {
    Ok(lab.namespace(UPLINKS[0].isp)?.run(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "0"))??)
}

/// The link to the preferred provider goes down.
///
/// # Errors
/// What was refused.
pub(crate) fn link_down(lab: &Lab) -> anyhow::Result<()> {
    Ok(netlink::down(lab.namespace(SITES[0].xtr)?, UPLINKS[0].port)?)
}

fn tell() {
    let [site, other] = &SITES;
    println!("{PICTURE}");
    println!(
        "{} has {} and {}, {} has {} and {}.",
        site.host, site.hosts[1], site.hosts[0], other.host, other.hosts[1], other.hosts[0]
    );
    let [first, _] = &UPLINKS;
    println!("Try: interop exec {} -- ping -i 0.2 {}, and meanwhile", site.host, other.hosts[1]);
    println!("     interop exec {} -- ip link set {} down", site.xtr, first.port);
    println!("  or interop exec {} -- sysctl -w net.ipv4.ip_forward=0, of which no link tells;", first.isp);
    println!("     interop exec {} -- lisp-xtr show locators", site.xtr);
    // With the link the kernel has forgotten the routes by it.
    let Uplink { port, gateway, table, .. } = first;
    let routes = format!("for t in main {table}; do ip route replace default via {gateway} dev {port} table $t; done");
    println!("Back: interop exec {} -- sh -c 'ip link set {port} up; {routes}'", site.xtr);
    println!("   or interop exec {} -- sysctl -w net.ipv4.ip_forward=1", first.isp);
}
