// SPDX-License-Identifier: GPL-2.0-or-later
//! One round of publication: what has changed and what must be renewed, children first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use wire::address::EidPrefix;

use super::ledger::{Ledger, digest};
use super::plan::{Plan, PlannedPage};
use crate::limits;
use crate::record::{Entry, Index, Target, Version};

/// This part of the interval between renewals is how much earlier a page may be renewed, to go with others.
const TOGETHER: u32 = 16;

/// What becomes of a page in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its turn has not come.
    Pending,
    /// It was given out, to be signed and put.
    Given,
    /// It is stored.
    Stored,
    /// It says what it said before, and not for too long.
    Unchanged,
    /// Nobody took it.
    Failed,
    /// Not put, because a page that it points to is not stored.
    HeldBack,
}

/// A round. [`Round::poll`] gives out pages until it gives none; the caller says of each what became of it.
#[derive(Debug)]
pub struct Round {
    plan: Plan,
    ledger: Ledger,
    now: SystemTime,
    epoch: u32,
    every: Duration,
    states: BTreeMap<EidPrefix, Status>,
}

impl Round {
    /// A round at `now`, signed with the key of `epoch`; a page that was signed `every` ago is renewed.
    pub fn new(plan: Plan, ledger: Ledger, now: SystemTime, epoch: u32, every: Duration) -> Self {
        let states = plan.pages().iter().map(|page| (page.covering, Status::Pending)).collect();
        Self { plan, ledger, now, epoch, every, states }
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is published so far.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is published after the round.
    pub fn into_ledger(self) -> Ledger {
        self.ledger
    }

    /// What became of a page.
    pub fn status(&self, covering: &EidPrefix) -> Status {
        self.states.get(covering).copied().unwrap_or(Status::Pending)
    }

    /// The pages that can be signed and put now: all that they point to is stored. None when the round is over.
    pub fn poll(&mut self) -> Vec<Index> {
        let mut given = Vec::new();
        for page in self.plan.pages() {
            if self.states.get(&page.covering) != Some(&Status::Pending) {
                continue;
            }
            let (status, index) = judge(page, &self.states, &self.ledger, |index| self.is_current(index));
            given.extend(index);
            self.states.insert(page.covering, status);
            if status == Status::Unchanged {
                self.ledger.retire(&page.covering, None);
            }
        }
        given
    }

    /// Whether a page has been published with what it says now, by the present key, and not too long ago.
    fn is_current(&self, page: &Index) -> bool {
        // A clock that went back makes a signature old, not young. Pages that fall due one shortly after the other are renewed
        // in one round.
        let is_young = |age: Duration| age + self.every / TOGETHER < self.every;
        let known = self.ledger.get(&page.covering()).map(|known| known.version);
        let age = |signed: Version| self.now.duration_since(signed.signed_at());
        known.is_some_and(|signed| signed.epoch == self.epoch && age(signed).is_ok_and(is_young))
            && self.ledger.says(&page.covering(), &digest(page))
    }

    /// A page is stored in this version.
    pub fn stored(&mut self, page: &Index, version: Version) {
        self.states.insert(page.covering(), Status::Stored);
        self.ledger.publish(page.covering(), digest(page), version);
    }

    /// Nobody took a page; those that point to it are held back.
    pub fn failed(&mut self, covering: &EidPrefix) {
        self.states.insert(*covering, Status::Failed);
        self.ledger.doubt(covering);
    }

    /// Whether every page of the plan is out.
    pub fn is_complete(&self) -> bool {
        self.states.values().all(|status| matches!(status, Status::Stored | Status::Unchanged))
    }

    /// Once all of the plan is out: the pages that are to be withdrawn, because nothing has pointed to them for as long as
    /// readers keep what did.
    pub fn to_withdraw(&mut self) -> Vec<EidPrefix> {
        if !self.is_complete() {
            return Vec::new();
        }
        self.ledger.expire(self.now);
        let needed: BTreeSet<EidPrefix> = self.states.keys().copied().collect();
        let gone: Vec<EidPrefix> =
            self.ledger.iter().map(|(prefix, _)| *prefix).filter(|at| !needed.contains(at)).collect();
        gone.iter().for_each(|prefix| self.ledger.retire(prefix, Some(self.now)));
        let is_due = |prefix: &EidPrefix| {
            let since = self.ledger.get(prefix).and_then(|page| page.retired);
            since.is_some_and(|since| self.now.duration_since(since).is_ok_and(|age| age >= limits::RETIREMENT))
        };
        gone.into_iter().filter(is_due).collect()
    }

    /// A page is withdrawn.
    pub fn withdrawn(&mut self, covering: &EidPrefix) {
        self.ledger.forget(covering);
    }
}

/// What is to be done with a page whose turn may have come.
fn judge(
    page: &PlannedPage,
    states: &BTreeMap<EidPrefix, Status>,
    ledger: &Ledger,
    is_current: impl Fn(&Index) -> bool,
) -> (Status, Option<Index>) {
    let children = page.entries.iter().filter(|entry| matches!(entry.target, Target::Page { .. }));
    let worst = children.filter_map(|child| states.get(&child.prefix)).fold(Status::Stored, |worst, child| {
        match (worst, child) {
            (_, Status::Failed | Status::HeldBack) | (Status::HeldBack, _) => Status::HeldBack,
            (_, Status::Pending | Status::Given) => Status::Pending,
            (worst, Status::Stored | Status::Unchanged) => worst,
        }
    });
    if worst != Status::Stored {
        return (worst, None);
    }
    let entries = page.entries.iter().map(|entry| with_lowest(entry, ledger)).collect();
    match Index::new(page.covering, entries) {
        Ok(index) if is_current(&index) => (Status::Unchanged, None),
        Ok(index) => (Status::Given, Some(index)),
        // Cannot be: a plan has checked its entries.
        Err(_) => (Status::Failed, None),
    }
}

/// The entry as it is published: that of a sub-page says since when the sub-page has what it has.
fn with_lowest(entry: &Entry, ledger: &Ledger) -> Entry {
    let target = match &entry.target {
        Target::Page { .. } => Target::Page { lowest: ledger.get(&entry.prefix).map_or(0, |page| page.changed) },
        other => other.clone(),
    };
    Entry { prefix: entry.prefix, target }
}
