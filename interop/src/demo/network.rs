// SPDX-License-Identifier: GPL-2.0-or-later
//! The network of the demo.

use super::identities::{Identities, Identity};
use crate::lab::{Node, Topology};

/// The network, for people.
pub(super) const PICTURE: &str = "\
Packets between hosts cross LISP tunnels whose mappings are found, verified, in a distributed hash table (DHT).

    hA --- xA ---+            +--- xB --- hB      hA, hB, hC: hosts whose addresses are hashes of keys (CGEIDs)
                 |   core     |                   xA, xB, xC: border nodes; each has a map system and a DHT node in it
  boot ----------+-- switch --+--- ms             boot: the DHT node that everyone starts from
                 |            |                   ms: a map-server with a DHT node, for ordinary LISP sites
    hS --- xS ---+            +--- xC --- hC      xS, hS: an ordinary LISP site, 2001:db8:5::/48
                                   (joins later)
";

/// The switch in the middle.
const CORE: &str = "core";
/// The port of a node towards the switch.
pub(super) const UNDERLAY: &str = "core";
/// The port of a border node towards its site.
const SITE: &str = "site";
/// The port of a host.
const ETH: &str = "eth0";
/// The address that hosts know their border node by.
const GATEWAY: &str = "fe80::1";

/// A node on the switch, by its underlay addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Underlay {
    pub(super) name: &'static str,
    pub(super) v4: Option<&'static str>,
    pub(super) v6: &'static str,
}

pub(super) const BOOT: Underlay = Underlay { name: "boot", v4: Some("192.0.2.1"), v6: "2001:db8:ff::1" };
pub(super) const MS: Underlay = Underlay { name: "ms", v4: Some("192.0.2.5"), v6: "2001:db8:ff::5" };
pub(super) const XA: Underlay = Underlay { name: "xA", v4: Some("192.0.2.11"), v6: "2001:db8:ff::11" };
pub(super) const XB: Underlay = Underlay { name: "xB", v4: Some("192.0.2.12"), v6: "2001:db8:ff::12" };
/// Has no IPv4 at all: its tunnels are IPv6.
pub(super) const XC: Underlay = Underlay { name: "xC", v4: None, v6: "2001:db8:ff::13" };
pub(super) const XS: Underlay = Underlay { name: "xS", v4: Some("192.0.2.15"), v6: "2001:db8:ff::15" };
/// Runs nothing but questions to the others.
pub(super) const WATCH: Underlay = Underlay { name: "watch", v4: Some("192.0.2.99"), v6: "2001:db8:ff::99" };

/// The prefixes of the ordinary site; its host is at the first address of each.
pub(super) const SITE_PREFIXES: [&str; 2] = ["2001:db8:5::/48", "198.18.5.0/24"];
pub(super) const SITE_HOST_V6: &str = "2001:db8:5::1";
pub(super) const SITE_HOST_V4: &str = "198.18.5.1";
/// The IPv4 prefixes behind xA; two, so that each direction of a ping has one of its own that no cache knows.
pub(super) const A_PREFIXES: [&str; 2] = ["198.18.1.0/25", "198.18.1.128/25"];
pub(super) const A_HOST_V4: [&str; 2] = ["198.18.1.1", "198.18.1.129"];

/// Nodes whose port on the switch is captured.
pub(super) const CAPTURED: [Underlay; 6] = [BOOT, MS, XA, XB, XC, XS];

impl Underlay {
    /// Where its DHT node is, in the way that it has.
    pub(super) fn multiaddr(&self) -> String {
        match self.v4 {
            Some(address) => format!("/ip4/{address}/udp/43420/quic-v1"),
            None => format!("/ip6/{}/udp/43420/quic-v1", self.v6),
        }
    }

    /// The same, by IPv6.
    pub(super) fn multiaddr_v6(&self) -> String {
        Self { v4: None, ..*self }.multiaddr()
    }

    /// Its addresses, IPv4 first.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &'static str> {
        self.v4.into_iter().chain([self.v6])
    }

    fn plugged_in(self, node: Node) -> Node {
        let v4 = self.v4.map(|address| format!("{address}/24"));
        let v6 = format!("{}/64", self.v6);
        let addresses: Vec<_> = v4.iter().chain([&v6]).map(String::as_str).collect();
        node.port(UNDERLAY, CORE, &addresses)
    }
}

/// Describes the network.
pub(super) fn describe(identities: &Identities) -> Topology {
    let mut topology = Topology::default().switch(CORE);
    for node in [BOOT, MS, WATCH] {
        topology = topology.with(node.plugged_in(Node::host(node.name)));
    }
    let (border, host) = cgeid_site(XA, "hA", &identities.a);
    let border = border.address(SITE, "198.18.1.126/25").address(SITE, "198.18.1.254/25");
    let host = host.address(ETH, "198.18.1.1/25").address(ETH, "198.18.1.129/25").default_route("198.18.1.126", ETH);
    topology = topology.with(border).with(host);
    let (border, host) = cgeid_site(XB, "hB", &identities.b);
    topology = topology.with(border).with(host);
    let (border, host) = cgeid_site(XC, "hC", std::slice::from_ref(&identities.c));
    topology = topology.with(border).with(host);

    let border = XS.plugged_in(Node::router(XS.name));
    let border = border.port(SITE, "wire-hS", &["fe80::1/64", "2001:db8:5::ffff/64", "198.18.5.254/24"]);
    let host = Node::host("hS").port(ETH, "wire-hS", &["2001:db8:5::1/64", "198.18.5.1/24"]);
    let host = host.default_route(GATEWAY, ETH).default_route("198.18.5.254", ETH);
    topology.with(border).with(host)
}

/// A border node, and the host behind it that has the addresses of `identities`.
fn cgeid_site(border: Underlay, host: &str, identities: &[Identity]) -> (Node, Node) {
    let wire = format!("wire-{host}");
    let addresses: Vec<_> = identities.iter().map(|identity| format!("{}/128", identity.address)).collect();
    let mut router = border.plugged_in(Node::router(border.name)).port(SITE, &wire, &["fe80::1/64"]);
    for address in &addresses {
        router = router.on_link(address, SITE);
    }
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    (router, Node::host(host).port(ETH, &wire, &addresses).default_route(GATEWAY, ETH))
}
