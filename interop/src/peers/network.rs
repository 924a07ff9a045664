// SPDX-License-Identifier: GPL-2.0-or-later
//! The network of every case: two sites and a map-server around a router.
//!
//! ```text
//! hA --- xA --- core --- xB --- hB
//!              /    \
//!            ms      watch
//! ```

use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::interrupt;
use crate::lab::{Lab, Node, Topology};
use crate::limits::POLL;

/// The port of a node towards the router; peers are told it by name.
pub(super) const UNDERLAY: &str = "rloc0";
/// The port of an xTR towards its site.
const SITE: &str = "site";
/// The port of a host.
const ETH: &str = "eth0";
/// The router in the middle.
const CORE: &str = "core";
/// Runs questions to the map-resolver.
pub(super) const WATCH: &str = "watch";
/// The map-server.
pub(super) const MS: &str = "ms";
/// Its address.
pub(super) const MS_ADDRESS: &str = "10.20.3.2";

/// A site: its border, and the one host in it.
#[derive(Debug)]
pub(super) struct Site {
    /// Name of the border.
    pub(super) xtr: &'static str,
    /// Its locator.
    pub(super) rloc: &'static str,
    /// Name of the host.
    pub(super) host: &'static str,
    /// Its EIDs, one set a family.
    pub(super) eids: [Eids; 2],
}

/// What a site has of one family.
#[derive(Debug)]
pub(super) struct Eids {
    /// The EID-prefix.
    pub(super) prefix: &'static str,
    /// The host's address.
    pub(super) host: &'static str,
    /// The border's address in the site.
    gateway: &'static str,
}

/// The two sites.
pub(super) const SITES: [Site; 2] = [
    Site {
        xtr: "xA",
        rloc: "10.20.1.2",
        host: "hA",
        eids: [
            Eids { prefix: "2001:db8:a::/48", host: "2001:db8:a::2", gateway: "2001:db8:a::1" },
            Eids { prefix: "10.100.0.0/24", host: "10.100.0.2", gateway: "10.100.0.1" },
        ],
    },
    Site {
        xtr: "xB",
        rloc: "10.20.2.2",
        host: "hB",
        eids: [
            Eids { prefix: "2001:db8:b::/48", host: "2001:db8:b::2", gateway: "2001:db8:b::1" },
            Eids { prefix: "10.100.1.0/24", host: "10.100.1.2", gateway: "10.100.1.1" },
        ],
    },
];

/// Nodes whose port on the underlay is captured.
pub(super) const CAPTURED: [&str; 3] = [SITES[0].xtr, SITES[1].xtr, MS];

/// Describes the network. Every node on the underlay has a default route: `OpenOverlayRouter` does not start without.
pub(super) fn describe() -> Topology {
    let mut core = Node::router(CORE);
    let mut topology = Topology::default();
    let around = [
        (Node::router(SITES[0].xtr), SITES[0].rloc, "10.20.1.1"),
        (Node::router(SITES[1].xtr), SITES[1].rloc, "10.20.2.1"),
        (Node::host(MS), MS_ADDRESS, "10.20.3.1"),
        (Node::host(WATCH), "10.20.4.2", "10.20.4.1"),
    ];
    for (node, address, gateway) in around {
        let (name, wire) = (node.name.clone(), format!("wire-{}", node.name));
        core = core.port(&name, &wire, &[&format!("{gateway}/24")]);
        let mut node = node.port(UNDERLAY, &wire, &[&format!("{address}/24")]).default_route(gateway, UNDERLAY);
        if let Some(site) = SITES.iter().find(|site| site.xtr == name) {
            let wire = format!("wire-{}", site.host);
            node = node.port(SITE, &wire, &[]);
            let mut host = Node::host(site.host).port(ETH, &wire, &[]);
            for Eids { host: address, gateway, .. } in &site.eids {
                let length = if address.contains(':') { 64 } else { 24 };
                node = node.address(SITE, &format!("{gateway}/{length}"));
                host = host.address(ETH, &format!("{address}/{length}")).default_route(gateway, ETH);
            }
            topology = topology.with(host);
        }
        topology = topology.with(node);
    }
    topology.with(core)
}

/// Waits until the kernel says of each port on the underlay that it runs, which it does a moment after it carries packets.
/// `OpenOverlayRouter` looks once when it starts, and registers no locator on a port that does not run yet.
///
/// # Errors
/// When one does not come to run, or we are interrupted.
pub(super) fn await_running(lab: &Lab) -> anyhow::Result<()> {
    let deadline = Instant::now() + RUNNING_TIME;
    for node in CAPTURED {
        let namespace = lab.namespace(node)?;
        while !namespace.run(runs)?? {
            ensure!(Instant::now() < deadline, "{node}: {UNDERLAY} does not run after {RUNNING_TIME:?}");
            interrupt::sleep(POLL)?;
        }
    }
    Ok(())
}

/// How long ports may take to run: the kernel notes changes once a second.
const RUNNING_TIME: Duration = Duration::from_secs(5);

fn runs() -> nix::Result<bool> {
    let port = getifaddrs()?.find(|port| port.interface_name == UNDERLAY);
    Ok(port.is_some_and(|port| port.flags.contains(InterfaceFlags::IFF_RUNNING)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn the_network_does_not_contradict_itself() {
        super::describe().check().unwrap();
    }
}
