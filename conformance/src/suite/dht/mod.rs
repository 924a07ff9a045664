// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `dht`: what a network of nodes keeps, finds, proves and refuses, against the program `lisp-dht` with nodes on loopback.

mod keeping;
mod network;
mod prefixes;

use std::time::SystemTime;

use super::Listed;
use super::fleet::{Fleet, Node};
use super::probe::{self, Fault, Probe};
use crate::check::Check;

/// A network of three nodes that all checks share, each with owners of its own.
pub(super) struct Hall {
    fleet: Fleet,
    cloud: Result<Vec<Node>, Fault>,
}

impl Hall {
    fn open() -> anyhow::Result<Self> {
        let fleet = Fleet::open()?;
        let cloud = fleet.cloud(3, &[]);
        Ok(Self { fleet, cloud })
    }

    fn cloud(&self) -> Result<&[Node], Fault> {
        self.cloud.as_deref().map_err(Clone::clone)
    }

    /// The node that is given what is published, and the one that is asked.
    fn ends(&self) -> Result<(&Node, &Node), Fault> {
        let cloud = self.cloud()?;
        Ok((&cloud[0], &cloud[2]))
    }
}

fn now() -> SystemTime {
    SystemTime::now()
}

fn probes() -> Vec<&'static Probe<Hall>> {
    [keeping::PROBES, prefixes::PROBES, network::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    probe::run("dht", &probes(), wanted, Hall::open)
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}
