// SPDX-License-Identifier: GPL-2.0-or-later
//! The network of two sites.

use std::fmt;
use std::net::IpAddr;

use clap::ValueEnum;
use serde::Serialize;

use crate::lab::{Node, Topology};

/// The network, for people.
pub(super) const PICTURE: &str = "host-a --- xtr-a --- core --- xtr-b --- host-b";

/// The router in the middle, in which the map system runs too.
pub(crate) const CORE: &str = "core";
/// The port of an xTR towards the core.
pub(crate) const CORE_PORT: &str = "core";
/// The port of an xTR towards its site.
const SITE_PORT: &str = "site";
/// The port of a host.
pub(super) const HOST_PORT: &str = "eth0";

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Family {
    /// IPv4.
    #[value(name = "4")]
    #[serde(rename = "ipv4")]
    V4,
    /// IPv6.
    #[value(name = "6")]
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    /// Which one of two this family's value is.
    fn index(self) -> usize {
        usize::from(self == Self::V6)
    }

    /// The one that it is not.
    pub(super) fn other(self) -> Self {
        if self == Self::V4 { Self::V6 } else { Self::V4 }
    }

    /// The number of its version.
    pub(crate) fn version(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }

    /// Where the map system is.
    pub(crate) fn map_system(self) -> &'static str {
        ["203.0.113.53", "2001:db8:ff::53"][self.index()]
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IPv{}", self.version())
    }
}

/// A site: its xTR, and the one host behind it. Of two values the first is IPv4's, the second IPv6's.
#[derive(Debug)]
pub(crate) struct Site {
    /// Name of the host.
    pub(crate) host: &'static str,
    /// Name of the xTR.
    pub(crate) xtr: &'static str,
    /// EID-prefixes.
    pub(crate) prefixes: [&'static str; 2],
    /// The host's addresses.
    pub(crate) hosts: [&'static str; 2],
    /// The xTR's addresses in the site.
    gateways: [&'static str; 2],
    /// The xTR's locators.
    rlocs: [&'static str; 2],
    /// The core's addresses on the cable to the xTR.
    core: [&'static str; 2],
}

/// The two sites. 198.18.0.0/15 is for benches (RFC 2544, appendix C.2.2), the other addresses for documentation.
pub(crate) const SITES: [Site; 2] = [
    Site {
        host: "host-a",
        xtr: "xtr-a",
        prefixes: ["198.18.1.0/24", "2001:db8:a::/48"],
        hosts: ["198.18.1.2", "2001:db8:a::2"],
        gateways: ["198.18.1.1", "2001:db8:a::1"],
        rlocs: ["192.0.2.2", "2001:db8:ff:a::2"],
        core: ["192.0.2.1", "2001:db8:ff:a::1"],
    },
    Site {
        host: "host-b",
        xtr: "xtr-b",
        prefixes: ["198.18.2.0/24", "2001:db8:b::/48"],
        hosts: ["198.18.2.2", "2001:db8:b::2"],
        gateways: ["198.18.2.1", "2001:db8:b::1"],
        rlocs: ["198.51.100.2", "2001:db8:ff:b::2"],
        core: ["198.51.100.1", "2001:db8:ff:b::1"],
    },
];

impl Site {
    /// The EID-prefix of a family.
    pub(crate) fn prefix(&self, family: Family) -> &'static str {
        self.prefixes[family.index()]
    }

    /// The host's address of a family.
    pub(crate) fn address(&self, family: Family) -> anyhow::Result<IpAddr> {
        Ok(self.hosts[family.index()].parse()?)
    }

    /// The locator of a family.
    pub(crate) fn rloc(&self, family: Family) -> &'static str {
        self.rlocs[family.index()]
    }
}

/// How packets of one site come to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    /// The core knows nothing of EIDs: without tunnels no packet crosses it.
    Tunnels,
    /// The core has routes to both sites.
    Routes,
}

/// The lengths of the networks that a site's hosts, and its xTR and the core, share.
fn long([v4, v6]: [&str; 2]) -> [String; 2] {
    [format!("{v4}/24"), format!("{v6}/64")]
}

fn port(node: Node, name: &str, wire: &str, addresses: [&str; 2]) -> Node {
    node.port(name, wire, &long(addresses).each_ref().map(String::as_str))
}

fn gateways(node: Node, gateways: [&str; 2], name: &str) -> Node {
    gateways.into_iter().fold(node, |node, gateway| node.default_route(gateway, name))
}

impl Site {
    /// Its host.
    pub(super) fn host(&self) -> Node {
        let host = port(Node::host(self.host), HOST_PORT, &format!("wire-{}", self.host), self.hosts);
        gateways(host, self.gateways, HOST_PORT)
    }

    /// Its xTR, with the cable to the host and no other.
    pub(super) fn border(&self) -> Node {
        port(Node::router(self.xtr), SITE_PORT, &format!("wire-{}", self.host), self.gateways)
    }

    /// Its xTR, with a cable to the core.
    pub(super) fn router(&self) -> Node {
        let xtr = port(self.border(), CORE_PORT, &format!("wire-{}", self.xtr), self.rlocs);
        gateways(xtr, self.core, CORE_PORT)
    }

    /// All its ports and that of the core towards it: the node, and the port.
    pub(super) fn ports(&self) -> [(&'static str, &'static str); 4] {
        [(self.host, HOST_PORT), (self.xtr, SITE_PORT), (self.xtr, CORE_PORT), (CORE, self.xtr)]
    }

    /// Plugs the cable to the xTR into the core.
    pub(super) fn plug_into(&self, core: Node) -> Node {
        port(core, self.xtr, &format!("wire-{}", self.xtr), self.core)
    }
}

/// Describes the network.
pub(crate) fn describe(between: Between) -> Topology {
    let (mut core, mut topology) = (Node::router(CORE), Topology::default());
    for site in &SITES {
        core = site.plug_into(core);
        if between == Between::Routes {
            for (prefix, rloc) in site.prefixes.iter().zip(site.rlocs) {
                core = core.route(prefix, rloc, site.xtr);
            }
        }
        topology = topology.with(site.host()).with(site.router());
    }
    topology.with(core)
}
