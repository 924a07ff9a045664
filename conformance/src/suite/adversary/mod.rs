// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `adversary`: records that must be refused, each under its name, and networks in which part of the nodes are hostile.
//!
//! Records are sent to a node by `lisp-dht put --bundle --unchecked`; hostile nodes are those of `lisp-dht lab`, which are real
//! nodes, and of `lisp-dht sim`, a model.

mod crowds;
mod records;
mod room;

use std::time::SystemTime;

pub(super) use self::crowds::judged;
use super::Listed;
use super::fleet::{Fleet, Node, Start};
use super::probe::{self, Fault, Probe};
use crate::check::Check;

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

fn probes() -> Vec<&'static Probe<Arena>> {
    [records::PROBES, room::PROBES, crowds::PROBES].into_iter().flatten().collect()
}

pub(super) fn list() -> anyhow::Result<Vec<Listed>> {
    Ok(probe::list(&probes()))
}

pub(super) fn run(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    probe::run("adversary", &probes(), wanted, Arena::open)
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&probes(), id))
}
