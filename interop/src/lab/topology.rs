// SPDX-License-Identifier: GPL-2.0-or-later
//! A network, described: nodes, their ports, and the cables and switches between them.
//!
//! ```
//! use interop::lab::topology::{Node, Topology};
//!
//! let two_hosts = Topology::default()
//!     .with(Node::host("left").port("eth0", "west", &["10.0.1.2/24"]).default_route("10.0.1.1", "eth0"))
//!     .with(Node::router("middle").port("west", "west", &["10.0.1.1/24"]).port("east", "east", &["10.0.2.1/24"]))
//!     .with(Node::host("right").port("eth0", "east", &["10.0.2.2/24"]).default_route("10.0.2.1", "eth0"));
//! assert!(two_hosts.check().is_ok());
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::error::LabError;
use crate::delaybox::Delay;
use crate::limits::INTERFACE_NAME;

/// A network. A segment that two ports name is a cable; one that is declared a switch may have any number of ports.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// Segments that are switches; each is a bridge in a namespace of its own.
    pub switches: Vec<String>,
    /// Those of them that hold frames back.
    pub delays: BTreeMap<String, Delay>,
    /// Hosts and routers.
    pub nodes: Vec<Node>,
    /// Whether cables leave checksums and segmentation to who receives, as the kernel makes them.
    pub offloads: bool,
    mistakes: Vec<String>,
}

/// A host or a router: one namespace.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name, unique.
    pub name: String,
    /// Whether it forwards packets.
    pub forwarding: bool,
    /// Its interfaces.
    pub ports: Vec<Port>,
    /// Its routes beside those that addresses bring.
    pub routes: Vec<Route>,
    mistakes: Vec<String>,
}

/// An interface of a node.
#[derive(Debug, Clone)]
pub struct Port {
    /// Name of the interface.
    pub name: String,
    /// The cable or switch it is plugged into.
    pub segment: String,
    /// Its addresses, each with the length of its network.
    pub addresses: Vec<IpNet>,
}

/// A route of a node.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where to.
    pub to: IpNet,
    /// The next hop; none if the destination is on the link.
    pub via: Option<IpAddr>,
    /// Name of the interface.
    pub port: String,
}

impl Topology {
    /// Adds a switch.
    #[must_use]
    pub fn switch(mut self, name: &str) -> Self {
        self.switches.push(name.into());
        self
    }

    /// Adds a switch that holds every frame back.
    #[must_use]
    pub fn slow_switch(mut self, name: &str, delay: Delay) -> Self {
        self.delays.insert(name.into(), delay);
        self.switch(name)
    }

    /// Leaves cables as the kernel makes them: checksums and segmentation are left to who receives.
    #[must_use]
    pub fn with_offloads(self) -> Self {
        Self { offloads: true, ..self }
    }

    /// Adds a node.
    #[must_use]
    pub fn with(mut self, mut node: Node) -> Self {
        self.mistakes.append(&mut node.mistakes);
        self.nodes.push(node);
        self
    }

    /// Looks for contradictions.
    ///
    /// # Errors
    /// Names the first.
    pub fn check(&self) -> Result<(), LabError> {
        let wrong = |text: String| Err(LabError::Topology(text));
        if let Some(mistake) = self.mistakes.first() {
            return wrong(mistake.clone());
        }
        let mut names = BTreeSet::new();
        for name in self.nodes.iter().map(|node| &node.name).chain(&self.switches) {
            if !names.insert(name) {
                return wrong(format!("two are called {name}"));
            }
        }
        for (segment, ends) in self.segments() {
            if !self.switches.iter().any(|switch| switch == segment) && ends.len() != 2 {
                return wrong(format!("{segment} has {} ends, a cable has two (or declare a switch)", ends.len()));
            }
        }
        for node in &self.nodes {
            node.check()?;
        }
        Ok(())
    }

    /// The ports in each segment.
    pub fn segments(&self) -> BTreeMap<&str, Vec<(&Node, &Port)>> {
        let mut segments: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for node in &self.nodes {
            for port in &node.ports {
                segments.entry(&port.segment).or_default().push((node, port));
            }
        }
        segments
    }
}

impl Node {
    /// A node that does not forward.
    pub fn host(name: &str) -> Self {
        Self { name: name.into(), forwarding: false, ports: vec![], routes: vec![], mistakes: vec![] }
    }

    /// A node that forwards.
    pub fn router(name: &str) -> Self {
        Self { forwarding: true, ..Self::host(name) }
    }

    /// Adds an interface, plugged into `segment`; addresses as `192.0.2.1/24`.
    #[must_use]
    pub fn port(mut self, name: &str, segment: &str, addresses: &[&str]) -> Self {
        let addresses = addresses.iter().filter_map(|text| self.parse::<IpNet>(text)).collect();
        self.ports.push(Port { name: name.into(), segment: segment.into(), addresses });
        self
    }

    /// Adds an address, as `192.0.2.1/24`, to an interface that is there.
    #[must_use]
    pub fn address(mut self, port: &str, address: &str) -> Self {
        let address = self.parse::<IpNet>(address);
        match self.ports.iter_mut().find(|known| known.name == port) {
            Some(port) => port.addresses.extend(address),
            None => self.mistakes.push(format!("{}: address for {port:?}: no such port", self.name)),
        }
        self
    }

    /// Adds a route to what is on the link itself.
    #[must_use]
    pub fn on_link(mut self, to: &str, port: &str) -> Self {
        if let Some(to) = self.parse(to) {
            self.routes.push(Route { to, via: None, port: port.into() });
        }
        self
    }

    /// Adds a route to what is behind a neighbour.
    #[must_use]
    pub fn route(mut self, to: &str, via: &str, port: &str) -> Self {
        if let (Some(to), Some(via)) = (self.parse(to), self.parse(via)) {
            self.routes.push(Route { to, via: Some(via), port: port.into() });
        }
        self
    }

    /// Adds the default route of the family of `via`.
    #[must_use]
    pub fn default_route(mut self, via: &str, port: &str) -> Self {
        if let Some(via) = self.parse::<IpAddr>(via) {
            let to = if via.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            self.routes.extend(to.parse().ok().map(|to| Route { to, via: Some(via), port: port.into() }));
        }
        self
    }

    fn parse<T: std::str::FromStr>(&mut self, text: &str) -> Option<T> {
        let value = text.parse().ok();
        if value.is_none() {
            self.mistakes.push(format!("{}: {text:?} is no address", self.name));
        }
        value
    }

    fn check(&self) -> Result<(), LabError> {
        let mut names = BTreeSet::new();
        for port in &self.ports {
            if port.name.is_empty() || port.name.len() > INTERFACE_NAME || !names.insert(&port.name) {
                let why = "an interface name is unique and has 1 to 15 octets";
                return Err(LabError::Topology(format!("{}: port {:?}: {why}", self.name, port.name)));
            }
        }
        match self.routes.iter().find(|route| !names.contains(&route.port)) {
            Some(route) => Err(LabError::Topology(format!(
                "{}: route to {} by {:?}: no such port",
                self.name, route.to, route.port
            ))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mistake(topology: Topology) -> String {
        topology.check().unwrap_err().to_string()
    }

    #[test]
    fn a_cable_has_two_ends() {
        let one = Topology::default().with(Node::host("a").port("eth0", "wire", &[]));
        assert!(mistake(one.clone()).contains("wire has 1 ends"));
        assert!(one.switch("wire").check().is_ok());
    }

    #[test]
    fn mistakes_are_named() {
        let alone = |node: Node| Topology::default().switch("s").with(node);
        assert!(mistake(alone(Node::host("a").port("eth0", "s", &["10.0.0.300/24"]))).contains("10.0.0.300"));
        assert!(mistake(alone(Node::host("a").port("interface-too-long", "s", &[]))).contains("interface-too-long"));
        assert!(mistake(alone(Node::host("a").default_route("10.0.0.1", "eth7"))).contains("eth7"));
        assert!(mistake(alone(Node::host("a")).with(Node::host("a"))).contains("two are called a"));
        assert!(mistake(alone(Node::host("s"))).contains("two are called s"));
    }
}
