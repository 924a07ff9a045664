// SPDX-License-Identifier: GPL-2.0-or-later
//! Suite `adversary`: records that must be refused, each under its name, and networks in which part of the nodes are hostile.
//!
//! Records are sent to a node by `lisp-dht put --bundle --unchecked`; hostile nodes are those of `lisp-dht lab`, which are real
//! nodes, and of `lisp-dht sim`, a model. A node of others is sent the same records, and has to tell their publisher that it refuses them.

mod crowds;
mod records;
mod room;

use std::cell::OnceCell;
use std::thread::ScopedJoinHandle;
use std::time::SystemTime;

use anyhow::anyhow;

pub(super) use self::crowds::judged;
use super::Listed;
use super::fleet::{Fleet, Node, Start};
use super::lonely::Lonely;
use super::person::Person;
use super::probe::{self, Fault, Judgement, Probe, unfit};
use crate::check::Check;
use crate::{progress, target};

/// Networks that are there at once: each has tens of nodes in one process.
const NETWORKS: usize = 2;
/// Their priority: they have work for all processors, and what waits for an answer meanwhile, here or beside this run, comes first.
const NICE: i32 = 10;

/// A node that is attacked.
pub(super) struct Arena {
    fleet: Fleet,
    victim: Result<Node, Fault>,
    other: Option<Lonely>,
    /// Whether one of others takes what is right.
    takes: OnceCell<Result<(), Fault>>,
}

/// Why checks are not made of a node of others.
const SETTINGS: &str = "it needs a node with settings of the suite";
const NETWORKS_OF_OURS: &str = "it is made in networks of this implementation's own nodes";

impl Arena {
    fn open() -> anyhow::Result<Self> {
        let fleet = Fleet::open()?;
        let (other, victim) = match Lonely::open(&fleet) {
            Some((other, node)) => (Some(other), node),
            None => (None, fleet.node(&Start::default())),
        };
        Ok(Self { fleet, victim, other, takes: OnceCell::new() })
    }

    /// Makes a check, if it can be made of the target.
    fn judge(&self, probe: &Probe<Self>) -> Judgement {
        let Some(other) = &self.other else { return (probe.judge)(self) };
        if records::PROBES.iter().all(|record| record.id != probe.id) {
            return Err(unfit(SETTINGS));
        }
        other.judge(&self.fleet, self.victim(), || (probe.judge)(self))
    }

    /// Whether what it counts is not to be seen.
    fn is_of_others(&self) -> bool {
        self.other.is_some()
    }

    /// What a node refuses says something if it takes what is right; it is asked once.
    fn takes(&self) -> Result<(), Fault> {
        let takes = self.takes.get_or_init(|| {
            let publication = Person::new(now())?.mapping(now(), 1)?;
            let (key, value) = (publication.key.encode(), publication.value);
            self.fleet.carry(self.victim()?, &key, &value, &["--direct"])?.held("stored").map(drop)
        });
        match takes {
            Err(Fault::Broken(why)) => Err(unfit(format!("not judged: it does not take what is right ({why})"))),
            other => other.clone(),
        }
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
    if target::judged().dht_node.is_some() {
        let skipped = crowds.iter().map(|probe| probe::skipped("adversary", probe, NETWORKS_OF_OURS));
        let mut checks = at_the_node(wanted)?;
        checks.extend(skipped.map(progress::finished));
        return Ok(checks);
    }
    let fleet = if crowds.is_empty() { None } else { Some(Fleet::open()?) };
    std::thread::scope(|scope| {
        let crowds = fleet.map(|fleet| {
            scope.spawn(move || {
                // Of this thread, and of what it starts; where it is refused they work all the same.
                let _ = rustix::process::setpriority_process(None, NICE);
                probe::run_some_beside(NETWORKS, "adversary", &crowds, &|_| true, &[("", fleet)])
            })
        });
        let mut checks = at_the_node(wanted)?;
        let crowds = crowds.map(ScopedJoinHandle::join).transpose();
        checks.extend(crowds.map_err(|_| anyhow!("a check panicked"))?.unwrap_or_default());
        Ok(checks)
    })
}

fn at_the_node(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Check>> {
    probe::run_as("adversary", &at_one_node(), wanted, Arena::open, |arena, probe| arena.judge(probe))
}

pub(super) fn explain(id: &str) -> anyhow::Result<Option<String>> {
    Ok(probe::explain(&at_one_node(), id).or_else(|| probe::explain(&in_networks(), id)))
}
