// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `adversary`: records that must be refused, each under its name, and networks in which part of the nodes are hostile.
//!
//! Records are sent to a node by `lisp-dht put --bundle --unchecked`; hostile nodes are those of `lisp-dht lab`, which are real
//! nodes, and of `lisp-dht sim`, a model.

mod crowds;
mod records;
mod room;

use std::thread::ScopedJoinHandle;
use std::time::SystemTime;

use anyhow::anyhow;

pub(super) use self::crowds::judged;
use super::Listed;
use super::fleet::{Fleet, Node, Start};
use super::probe::{self, Fault, Probe};
use crate::check::Check;

/// Networks that are there at once: each has tens of nodes in one process.
const NETWORKS: usize = 2;

/// A node that is attacked.
pub(super) struct Arena {
    fleet: Fleet,
    victim: Result<Node, Fault>,
}

impl Arena {
    fn open() -> anyhow::Result<Self> {
        let fleet = Fleet::open()?;
        let victim = fleet.node(&Start::default());
        Ok(Self { fleet, victim })
    }

    fn victim(&self) -> Result<&Node, Fault> {
        self.victim.as_ref().map_err(Clone::clone)
    }
}

fn now() -> SystemTime {
    SystemTime::now()
}

/// Those that attack one node, one after the other: they count what it has refused.
fn at_one_node() -> Vec<&'static Probe<Arena>> {
    [records::PROBES, room::PROBES].into_iter().flatten().collect()
}

/// Those that have networks of their own.
fn in_networks() -> Vec<&'static Probe<Fleet>> {
    crowds::PROBES.iter().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&at_one_node()).into_iter().chain(probe::list(&in_networks())).collect())
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    let mut crowds = in_networks();
    crowds.retain(|probe| wanted(probe.id));
    let fleet = if crowds.is_empty() { None } else { Some(Fleet::open()?) };
    std::thread::scope(|scope| {
        let crowds = fleet.map(|fleet| {
            scope.spawn(move || probe::run_some_beside(NETWORKS, "adversary", &crowds, &|_| true, &[("", fleet)]))
        });
        let mut checks = probe::run("adversary", &at_one_node(), wanted, Arena::open)?;
        let crowds = crowds.map(ScopedJoinHandle::join).transpose();
        checks.extend(crowds.map_err(|_| anyhow!("a check panicked"))?.unwrap_or_default());
        Ok(checks)
    })
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&at_one_node(), id).or_else(|| probe::explain(&in_networks(), id)))
}
