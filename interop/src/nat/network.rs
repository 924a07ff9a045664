// SPDX-License-Identifier: GPL-2.0-or-later
//! The network of two sites, one of which has two uplinks with a NAT each.

use crate::lab::{Node, Topology};

/// The network, for people.
pub(super) const PICTURE: &str = "host-a --- xtr-a --- nat --- core --- xtr-b --- host-b
               \\            / |  \\
                -- nat-2 --- rtr  xtr-c";

/// The router in the middle, in which the map system runs too.
pub(super) const CORE: &str = "core";
/// The address of the map system.
pub const MAP_SYSTEM: &str = "203.0.113.53";
/// Name of the NAT.
pub const NAT: &str = "nat";
/// Name of the NAT of the second uplink.
pub const SECOND_NAT: &str = "nat-2";
/// The locator at the second uplink.
pub const SECOND_RLOC: &str = "10.1.0.2";
/// The next router there, the port towards it, and the routing table of what has that locator as its source.
pub(super) const SECOND_GATEWAY: (&str, &str, u32) = ("10.1.0.1", "backup", 102);
/// Name of the RTR.
pub const RTR: &str = "rtr";
/// Its address.
pub const RTR_ADDRESS: &str = "203.0.113.2";
/// Names, addresses and next routers of the RTRs, of which there are two where one is to fail.
pub(super) const RTRS: [(&str, &str, &str); 2] =
    [(RTR, RTR_ADDRESS, "203.0.113.1"), (SECOND_RTR, SECOND_RTR_ADDRESS, "203.0.113.65")];
/// Name of the second RTR.
pub const SECOND_RTR: &str = "rtr-2";
/// Its address.
pub const SECOND_RTR_ADDRESS: &str = "203.0.113.66";

/// Another xTR of both sites, with no host yet: an EID-prefix may move to it.
pub const ROAMING: &str = "xtr-c";
/// Its locator.
pub(super) const ROAMING_RLOC: &str = "203.0.113.18";
/// An EID-prefix of its own.
pub const ROAMING_PREFIX: &str = "198.18.3.0/24";

/// The rules of the NAT: address- and port-dependent mapping and filtering (RFC 4787, sections 4.1 and 5).
pub(super) const RULES: &str = r#"table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat;
        oifname "outside" masquerade fully-random
    }
}
table ip filter {
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
        iifname "inside" accept
    }
}
"#;

/// A site: its xTR, and the one host behind it. Of two values the first is IPv4's, the second IPv6's.
#[derive(Debug)]
pub struct Site {
    /// Name of the host.
    pub host: &'static str,
    /// Name of the xTR.
    pub xtr: &'static str,
    /// EID-prefixes.
    pub prefixes: [&'static str; 2],
    /// The host's addresses.
    pub hosts: [&'static str; 2],
    /// The xTR's locator.
    pub rloc: &'static str,
    gateways: [&'static str; 2],
}

/// The site behind the NAT. 198.18.0.0/15 is for benches (RFC 2544, appendix C.2.2).
pub const NEAR: Site = Site {
    host: "host-a",
    xtr: "xtr-a",
    prefixes: ["198.18.1.0/24", "2001:db8:a::/48"],
    hosts: ["198.18.1.2", "2001:db8:a::2"],
    rloc: "10.0.0.2",
    gateways: ["198.18.1.1", "2001:db8:a::1"],
};

/// The other one.
pub const FAR: Site = Site {
    host: "host-b",
    xtr: "xtr-b",
    prefixes: ["198.18.2.0/24", "2001:db8:b::/48"],
    hosts: ["198.18.2.2", "2001:db8:b::2"],
    rloc: "198.51.100.2",
    gateways: ["198.18.2.1", "2001:db8:b::1"],
};

/// Describes the network with so many RTRs.
pub(crate) fn describe(rtrs: usize) -> Topology {
    let mut topology = Topology::default();
    for (site, outside, gateway) in [(&NEAR, "wire-inside", "10.0.0.1"), (&FAR, "wire-far", "198.51.100.1")] {
        let wire = format!("wire-{}", site.host);
        let long = |[v4, v6]: [&str; 2]| [format!("{v4}/24"), format!("{v6}/64")];
        let port =
            |node: Node, name: &str, addresses| node.port(name, &wire, &long(addresses).each_ref().map(String::as_str));
        let host = port(Node::host(site.host), "eth0", site.hosts);
        let host = site.gateways.into_iter().fold(host, |host, gateway| host.default_route(gateway, "eth0"));
        let xtr = port(Node::router(site.xtr), "site", site.gateways);
        let xtr = xtr.port("core", outside, &[&format!("{}/24", site.rloc)]).default_route(gateway, "core");
        let xtr = if site.xtr == NEAR.xtr { with_second_uplink(xtr) } else { xtr };
        topology = topology.with(host).with(xtr);
    }
    let nat = Node::router(NAT).port("inside", "wire-inside", &["10.0.0.1/24"]);
    let nat = nat.port("outside", "wire-nat", &["192.0.2.2/24"]).default_route("192.0.2.1", "outside");
    let second = Node::router(SECOND_NAT).port("inside", "wire-backup", &[&format!("{}/24", SECOND_GATEWAY.0)]);
    let second = second.port("outside", "wire-nat-2", &["203.0.113.34/28"]).default_route("203.0.113.33", "outside");
    let roaming = Node::router(ROAMING).port("core", "wire-roaming", &["203.0.113.18/28"]);
    let roaming = roaming.default_route("203.0.113.17", "core");
    let core = Node::router(CORE)
        .port("nat", "wire-nat", &["192.0.2.1/24"])
        .port("nat-2", "wire-nat-2", &["203.0.113.33/28"])
        .port("roaming", "wire-roaming", &["203.0.113.17/28"])
        .port("far", "wire-far", &["198.51.100.1/24"]);
    let core = RTRS[..rtrs]
        .iter()
        .fold(core, |core, (name, _, gateway)| core.port(name, &format!("wire-{name}"), &[&format!("{gateway}/28")]));
    let topology = RTRS[..rtrs].iter().fold(topology, |topology, (name, address, gateway)| {
        let rtr = Node::host(name).port("core", &format!("wire-{name}"), &[&format!("{address}/28")]);
        topology.with(rtr.default_route(gateway, "core"))
    });
    topology.with(nat).with(second).with(roaming).with(core)
}

fn with_second_uplink(xtr: Node) -> Node {
    xtr.port(SECOND_GATEWAY.1, "wire-backup", &[&format!("{SECOND_RLOC}/24")])
}
