// SPDX-License-Identifier: GPL-2.0-or-later
//! The network of every case: two sites and a map-server around a router.
//!
//! ```text
//! hA --- xA --- core --- xB --- hB
//!              /    \
//!            ms      watch
//! ```
//!
//! `watch` asks the map-resolver what it knows, and is the map-resolver where that is another node of the DHT than the map-server.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use ipnet::{IpNet, Ipv4Net};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::interrupt;
use crate::lab::topology::Route;
use crate::lab::{Lab, Node, Topology, netlink};
use crate::limits::POLL;

/// The port of a node towards the router; peers are told it by name.
pub(super) const UNDERLAY: &str = "rloc0";
/// The port of an xTR towards its site.
const SITE: &str = "site";
/// The port of a host.
const ETH: &str = "eth0";
/// The router in the middle.
const CORE: &str = "core";
/// Runs questions to the map-resolver, or is it.
pub(super) const WATCH: &str = "watch";
/// The map-server.
pub(super) const MS: &str = "ms";

/// The family of the locators and of the map-server's address in a case; the network has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Underlay {
    V4,
    V6,
}

impl Underlay {
    /// The map-server's address.
    pub(super) fn map_server(self) -> &'static str {
        match self {
            Self::V4 => "10.20.3.2",
            Self::V6 => "2001:db8:c3::2",
        }
    }

    /// The address of the node that asks, where there also is a map-resolver apart from the map-server.
    pub(super) fn watch(self) -> &'static str {
        match self {
            Self::V4 => "10.20.4.2",
            Self::V6 => "2001:db8:c4::2",
        }
    }

    /// 4 or 6, as `OpenOverlayRouter` is told.
    pub(super) fn version(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

impl fmt::Display for Underlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IPv{}", self.version())
    }
}

/// A site: its border, and the one host in it.
#[derive(Debug)]
pub(super) struct Site {
    /// Name of the border.
    pub(super) xtr: &'static str,
    /// Its locators, one a family of the underlay.
    rlocs: [&'static str; 2],
    /// The locators that it gets where it moves, and the router's addresses there.
    moved: [&'static str; 2],
    gateways: [&'static str; 2],
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

impl Site {
    /// The locator of a family.
    pub(super) fn rloc(&self, underlay: Underlay) -> &'static str {
        self.rlocs[underlay as usize]
    }

    /// Gives its border another locator of a family instead of the one that it has, and tells that.
    ///
    /// # Errors
    /// When the machine refuses something.
    pub(super) fn renumber(&self, lab: &Lab, underlay: Underlay) -> anyhow::Result<IpAddr> {
        let border = lab.namespace(self.xtr)?;
        let (old, new): (_, IpNet) = (self.rloc(underlay).parse()?, self.moved[underlay as usize].parse()?);
        if underlay == Underlay::V6 {
            netlink::add_address(border, UNDERLAY, new)?;
            netlink::remove_address(border, UNDERLAY, old)?;
        } else {
            // With its last IPv4 address a port loses its routes; with the first of two in one network, also the second.
            netlink::remove_address(border, UNDERLAY, old)?;
            netlink::add_address(border, UNDERLAY, new)?;
            let via = Some(self.gateways[underlay as usize].parse()?);
            let everywhere = IpNet::V4(Ipv4Net::default());
            netlink::route(border, &Route { to: everywhere, via, port: UNDERLAY.into() })?;
        }
        Ok(new.addr())
    }
}

/// The two sites.
pub(super) const SITES: [Site; 2] = [
    Site {
        xtr: "xA",
        rlocs: ["10.20.1.2", "2001:db8:c1::2"],
        moved: ["10.20.1.3/24", "2001:db8:c1::3/64"],
        gateways: ["10.20.1.1", "2001:db8:c1::1"],
        host: "hA",
        eids: [
            Eids { prefix: "2001:db8:a::/48", host: "2001:db8:a::2", gateway: "2001:db8:a::1" },
            Eids { prefix: "10.100.0.0/24", host: "10.100.0.2", gateway: "10.100.0.1" },
        ],
    },
    Site {
        xtr: "xB",
        rlocs: ["10.20.2.2", "2001:db8:c2::2"],
        moved: ["10.20.2.3/24", "2001:db8:c2::3/64"],
        gateways: ["10.20.2.1", "2001:db8:c2::1"],
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
pub(crate) fn describe() -> Topology {
    let mut core = Node::router(CORE);
    let mut topology = Topology::default();
    let ms = [Underlay::V4.map_server(), Underlay::V6.map_server()];
    let around = [
        (Node::router(SITES[0].xtr), SITES[0].rlocs, SITES[0].gateways),
        (Node::router(SITES[1].xtr), SITES[1].rlocs, SITES[1].gateways),
        (Node::host(MS), ms, ["10.20.3.1", "2001:db8:c3::1"]),
        (Node::host(WATCH), [Underlay::V4.watch(), Underlay::V6.watch()], ["10.20.4.1", "2001:db8:c4::1"]),
    ];
    for (node, addresses, gateways) in around {
        let (name, wire) = (node.name.clone(), format!("wire-{}", node.name));
        let with_length = |[v4, v6]: [&str; 2]| [format!("{v4}/24"), format!("{v6}/64")];
        core = core.port(&name, &wire, &with_length(gateways).each_ref().map(String::as_str));
        let mut node = node.port(UNDERLAY, &wire, &with_length(addresses).each_ref().map(String::as_str));
        for gateway in gateways {
            node = node.default_route(gateway, UNDERLAY);
        }
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
