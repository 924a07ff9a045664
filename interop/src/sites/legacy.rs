// SPDX-License-Identifier: GPL-2.0-or-later
//! A site, and a host that knows nothing of LISP, with a PITR and PETR between them (RFC 6832).
//!
//! Neither knows the way to the other: the core has no routes but to locators, and the host's only router is the proxy. What the site
//! sends to the host has to go through the PETR, what the host sends to the site through the PITR, which is the same node here.

use std::path::Path;

use super::network::{CORE, CORE_PORT, Family, SITES, Site};
use super::nodes::Place;
use crate::demo::binaries::Binaries;
use crate::hold::Keep;
use crate::lab::workspace::Workspace;
use crate::lab::{Lab, Node, Topology};

/// The network, for people.
const PICTURE: &str = "host-a --- xtr-a --- core --- proxy --- legacy";
/// The PITR and PETR.
const PROXY: &str = "proxy";
/// The host that knows nothing of LISP.
const LEGACY: &str = "legacy";
/// The proxy's locators, the core's addresses on the cable to it, and the proxy's and the host's on theirs. IPv4's, then IPv6's.
const RLOCS: [&str; 2] = ["198.51.100.2", "2001:db8:ff:b::2"];
const BEYOND: [&str; 2] = ["198.51.100.1", "2001:db8:ff:b::1"];
const GATEWAYS: [&str; 2] = ["203.0.113.129", "2001:db8:1e::1"];
/// The addresses of the host that knows nothing of LISP.
pub(crate) const HOSTS: [&str; 2] = ["203.0.113.130", "2001:db8:1e::2"];
/// The aggregate that the PITR leads as it is, and the one in which it asks for sites.
const GIVEN: &str = "198.18.0.0/15";
const LOOKED_THROUGH: &str = "2001:db8:8::/45";

/// Describes the network.
pub(crate) fn describe() -> Topology {
    let site = &SITES[0];
    let long = |[v4, v6]: [&str; 2], length: u8| [format!("{v4}/{length}"), format!("{v6}/64")];
    let port = |node: Node, name: &str, wire: &str, addresses: [String; 2]| {
        node.port(name, wire, &addresses.each_ref().map(String::as_str))
    };
    let core = port(site.plug_into(Node::router(CORE)), PROXY, "wire-proxy", long(BEYOND, 24));
    let proxy = port(Node::router(PROXY), CORE_PORT, "wire-proxy", long(RLOCS, 24));
    let proxy = port(proxy, LEGACY, "wire-legacy", long(GATEWAYS, 25));
    let proxy = BEYOND.into_iter().fold(proxy, |node, gateway| node.default_route(gateway, CORE_PORT));
    let legacy = port(Node::host(LEGACY), "eth0", "wire-legacy", long(HOSTS, 25));
    let legacy = GATEWAYS.into_iter().fold(legacy, |node, gateway| node.default_route(gateway, "eth0"));
    Topology::default().with(site.host()).with(site.router()).with(core).with(proxy).with(legacy)
}

/// Builds the network with a map system, the xTR and the proxy, and leaves the rest to `keep`; then takes it down.
///
/// # Errors
/// What was refused or did not come about.
pub(crate) fn hold(bin_dir: &Path, keep: Keep<'_>) -> anyhow::Result<()> {
    let binaries = Binaries::find_or_build(Some(bin_dir))?;
    let workspace = Workspace::create(None)?;
    let lab = Lab::build(&describe())?;
    let place = Place { lab: &lab, binaries: &binaries, workspace: &workspace, name: "legacy" };
    let site = &SITES[0];
    super::run(&place, Family::V4, keep, |routers| {
        let [v4, v6] = RLOCS;
        let rlocs = [Family::V4, Family::V6].map(|family| site.rloc(family));
        routers.start_site(&place, site, &rlocs, &["--pitr", v4, "--pitr", v6, "--use-petr", v4])?;
        // A PITR that looks before the site is known looks again a minute later.
        routers.await_site(&place, site, &[Family::V4])?;
        let mut proxy = binaries.command("lisp-xtr");
        let folder = place.folder(PROXY)?;
        proxy.args(["--rloc", v4, "--rloc", v6, "--map-resolver", Family::V4.map_system()]);
        proxy.args(["--pitr-for", GIVEN, "--pitr-in", LOOKED_THROUGH]).arg("--state-dir").arg(&folder);
        proxy.args(site.prefixes.iter().flat_map(|prefix| ["--petr-for", prefix]));
        routers.start_in(&place, PROXY, proxy)?;
        routers.await_word(PROXY, "the sites of an aggregate have changed")?;
        tell(site);
        let controls = [(site.xtr, place.control(site)?), (PROXY, folder.join("control.sock"))];
        Ok(controls.map(|(node, path)| (node.to_owned(), path)).into())
    })
}

fn tell(site: &Site) {
    println!("{PICTURE}");
    println!("{} has {} and {}, and knows nothing of LISP.", LEGACY, HOSTS[1], HOSTS[0]);
    println!("{} has {} and {}.", site.host, site.hosts[1], site.hosts[0]);
    println!("Try: interop exec {LEGACY} -- ping -c 3 {}", site.hosts[1]);
    println!("     interop exec {} -- ping -c 3 {}", site.host, HOSTS[0]);
    println!("     interop exec {} -- lisp-xtr trace {}", site.xtr, HOSTS[0]);
    println!("     interop exec {PROXY} -- lisp-xtr show locators");
}
