// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `dht`: what a network of nodes keeps, finds, proves and refuses, against the program `lisp-dht` with nodes on loopback; what one
//! node does of that, against one of others.

mod keeping;
mod network;
mod prefixes;

use std::time::SystemTime;

use super::Listed;
use super::fleet::{Fleet, Node, Start};
use super::lonely::Lonely;
use super::probe::{self, Fault, Judgement, Probe, broken, unfit};
use crate::check::Check;

/// A network of three nodes that all checks share, each with owners of its own; one node if that is of others.
pub(super) struct Hall {
    fleet: Fleet,
    cloud: Result<Vec<Node>, Fault>,
    other: Option<Lonely>,
}

/// Why checks are not made of a node of others.
const OURS_ALONE: &[(&str, &[&str])] = &[
    ("it judges our client, not the node that is asked", &["DH-01.5", "DH-06.6", "DH-06.7", "DH-06.11", "DH-06.12"]),
    (
        "it needs several nodes, or one with settings of the suite",
        &["DH-01.6", "DH-01.7", "DH-03.3", "DH-07.1", "DH-07.2", "DH-07.4"],
    ),
    ("it looks at the figures of lisp-dht", &["DH-04.1", "DH-07.3", "DH-08.1", "DH-08.2", "DH-08.3"]),
    ("the draft asks that marks and revocations outlive a restart, and not that records do", &["DH-05.1"]),
];

/// What ends a node and starts it again, which only one can be that is started here.
const RESTARTS: &[&str] = &["DH-05.2", "DH-05.3", "DH-05.4"];
/// Why such a check is not made of a node that runs elsewhere.
const RUNS: &str = "it ends the node and starts it again, and the target file says where one runs, not what starts it";

impl Hall {
    fn open() -> anyhow::Result<Self> {
        let fleet = Fleet::open()?;
        let (other, cloud) = match Lonely::open(&fleet) {
            Some((other, node)) => (Some(other), node.map(|node| vec![node])),
            None => (None, fleet.cloud(3, &[])),
        };
        Ok(Self { fleet, cloud, other })
    }

    /// Makes a check, if it can be made of the target.
    fn judge(&self, probe: &Probe<Self>) -> Judgement {
        let Some(other) = &self.other else { return (probe.judge)(self) };
        if let Some(why) = ours_alone(probe.id) {
            return Err(unfit(why));
        }
        if RESTARTS.contains(&probe.id) && other.start().is_none() {
            return Err(unfit(RUNS));
        }
        let node = self.ends().map(|(near, _)| near);
        other.judge(&self.fleet, node, || (probe.judge)(self))
    }

    /// Another node, which knows nobody and has kept nothing.
    fn hermit(&self) -> Result<Node, Fault> {
        match &self.other {
            None => self.fleet.node(&Start::default()),
            Some(other) => self.fleet.guest(other.start().ok_or_else(|| unfit(RUNS))?),
        }
    }

    /// Ends it, and starts it with what it has kept.
    fn restarted(&self, mut node: Node) -> Result<Node, Fault> {
        match &self.other {
            None => {
                node.stop()?;
                self.fleet.again(&node, &Start::default())
            }
            Some(other) => {
                // How it says that it has ended no document of ours tells.
                node.ask_to_end()?;
                self.fleet.guest_again(&node, other.start().ok_or_else(|| unfit(RUNS))?)
            }
        }
    }

    fn cloud(&self) -> Result<&[Node], Fault> {
        self.cloud.as_deref().map_err(Clone::clone)
    }

    /// The node that is given what is published, and the one that is asked.
    fn ends(&self) -> Result<(&Node, &Node), Fault> {
        match self.cloud()? {
            [near, .., far] => Ok((near, far)),
            [one] => Ok((one, one)),
            [] => Err(broken("no node")),
        }
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
    probe::run_as("dht", &probes(), wanted, Hall::open, |hall, probe| hall.judge(probe))
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    let text = probe::explain(&probes(), id);
    let of_others = match ours_alone(id) {
        Some(why) => format!("         of a target with [dht-node]: skipped, {why}\n"),
        None if RESTARTS.contains(&id) => "         of a target with [dht-node.start] alone\n".to_owned(),
        None => String::new(),
    };
    Ok(text.map(|text| text + &of_others))
}

/// Why a check is not made of a node of others.
fn ours_alone(id: &str) -> Option<&'static str> {
    OURS_ALONE.iter().find(|(_, ids)| ids.contains(&id)).map(|(why, _)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_made_of_others_are_checks_of_the_suite() {
        let known = |id: &&str| probes().iter().any(|probe| probe.id == *id);
        assert!(OURS_ALONE.iter().flat_map(|(_, ids)| *ids).chain(RESTARTS).all(known));
    }
}
