// SPDX-License-Identifier: GPL-2.0-or-later
//! Networks of namespaces, built from a description without any external program.

pub mod error;
pub mod namespace;
pub mod netlink;
pub mod offload;
pub mod privilege;
pub mod process;
mod sysctl;
pub mod topology;
pub mod workspace;

use std::collections::BTreeMap;
use std::io;

pub use error::LabError;
pub use namespace::Namespace;
pub use topology::{Node, Port, Topology};

use crate::delaybox::bridge::Counters;
use crate::delaybox::{Delay, Delaybox};

/// A network that stands. It falls when this is dropped and the processes started in it have ended.
#[derive(Debug)]
pub struct Lab {
    delayboxes: BTreeMap<String, Delaybox>,
    namespaces: BTreeMap<String, Namespace>,
}

impl Lab {
    /// Builds the network.
    ///
    /// # Errors
    /// When the description contradicts itself or the system refuses something.
    pub fn build(topology: &Topology) -> Result<Self, LabError> {
        topology.check()?;
        let mut lab = Self { delayboxes: BTreeMap::new(), namespaces: BTreeMap::new() };
        for switch in &topology.switches {
            lab.add_namespace(switch, false)?;
            if !topology.delays.contains_key(switch) {
                netlink::bridge(lab.namespace(switch)?, BRIDGE)?;
            }
        }
        for node in &topology.nodes {
            lab.add_namespace(&node.name, node.forwarding)?;
        }
        for (segment, ends) in topology.segments() {
            match ends[..] {
                [near, far] if !topology.switches.iter().any(|switch| switch == segment) => {
                    lab.cable(near, far, topology.offloads)?;
                }
                _ => lab.plug_in(segment, &ends, topology.delays.get(segment).copied())?,
            }
        }
        for node in &topology.nodes {
            let namespace = lab.namespace(&node.name)?;
            node.ports.iter().try_for_each(|port| netlink::configure(namespace, port))?;
            node.routes.iter().try_for_each(|route| netlink::route(namespace, route))?;
        }
        Ok(lab)
    }

    /// The namespace of a node or switch.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn namespace(&self, name: &str) -> Result<&Namespace, LabError> {
        self.namespaces
            .get(name)
            .ok_or_else(|| LabError::failed(name, "looked for", io::Error::other("no such node in this lab")))
    }

    /// What passed the ports of a slow switch, in the order of the nodes.
    pub fn passed(&self, switch: &str) -> Vec<Counters> {
        self.delayboxes.get(switch).map(Delaybox::counters).unwrap_or_default()
    }

    /// Cuts a slow switch, or heals it: nodes with the same number hear each other. In the order of the nodes.
    pub fn cut(&self, switch: &str, sides: &[usize]) {
        if let Some(delaybox) = self.delayboxes.get(switch) {
            delaybox.cut(sides);
        }
    }

    /// All of them.
    pub fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        self.namespaces.values()
    }

    fn add_namespace(&mut self, name: &str, forwarding: bool) -> Result<(), LabError> {
        let namespace = Namespace::create(name)?;
        sysctl::prepare(&namespace, forwarding)?;
        netlink::up(&namespace, "lo")?;
        self.namespaces.insert(name.into(), namespace);
        Ok(())
    }

    fn cable(&self, near: (&Node, &Port), far: (&Node, &Port), offloads: bool) -> Result<(), LabError> {
        let (left, right) = (self.namespace(&near.0.name)?, self.namespace(&far.0.name)?);
        netlink::cable((left, &near.1.name), (right, &far.1.name))?;
        if offloads {
            return Ok(());
        }
        offload::disable_transmit_checksum(left, &near.1.name)?;
        offload::disable_transmit_checksum(right, &far.1.name)
    }

    fn plug_in(&mut self, segment: &str, ends: &[(&Node, &Port)], delay: Option<Delay>) -> Result<(), LabError> {
        let switch = self.namespace(segment)?;
        let outlets: Vec<String> = (0..ends.len()).map(|number| format!("port{number}")).collect();
        for ((node, port), outlet) in ends.iter().zip(&outlets) {
            let node = self.namespace(&node.name)?;
            netlink::cable((node, &port.name), (switch, outlet))?;
            offload::disable_transmit_checksum(node, &port.name)?;
            offload::disable_transmit_checksum(switch, outlet)?;
            match delay {
                Some(_) => netlink::up(switch, outlet)?,
                None => netlink::enslave(switch, BRIDGE, outlet)?,
            }
        }
        if let Some(delay) = delay {
            let delaybox = Delaybox::between(switch, &outlets, delay, SEED)?;
            self.delayboxes.insert(segment.into(), delaybox);
        }
        Ok(())
    }
}

/// What the dice of all delay boxes begin with, so that a lab loses the same share in the same way each time.
const SEED: u64 = 1;
/// Name of the bridge device in the namespace of a switch.
const BRIDGE: &str = "bridge";
