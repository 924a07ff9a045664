// SPDX-License-Identifier: GPL-2.0-or-later
//! Requests that wait for lookups, and who waits for which.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use wire::address::EidPrefix;
use wire::record::MappingRecord;

use crate::resolve::ask::Ask;

/// The requests whose answer is not complete.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: BTreeMap<u64, Waiting>,
    /// Who waits for the lookup of a host. Entries end with the lookup.
    waiters: HashMap<EidPrefix, Vec<u64>>,
    next_id: u64,
}

/// A request and what is known of its records so far.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ask: Ask,
    pub(super) slots: Vec<Slot>,
    pub(super) deadline: Instant,
}

/// What one record of a request is answered with.
#[derive(Debug)]
pub(super) enum Slot {
    /// A lookup runs for this host.
    Waiting(EidPrefix),
    /// These.
    Records(Vec<MappingRecord>),
    /// Nothing from us: forwarded, or refused.
    Silent,
}

impl Requests {
    /// Takes a request in.
    pub(super) fn insert(&mut self, waiting: Waiting) {
        self.next_id += 1;
        for slot in &waiting.slots {
            if let Slot::Waiting(host) = slot {
                self.waiters.entry(*host).or_default().push(self.next_id);
            }
        }
        self.waiting.insert(self.next_id, waiting);
    }

    /// Number of requests.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Who waited for the lookup of a host, which has ended.
    pub(super) fn waiters(&mut self, host: &EidPrefix) -> Vec<u64> {
        self.waiters.remove(host).unwrap_or_default()
    }

    /// Takes a request out.
    pub(super) fn take(&mut self, id: u64) -> Option<Waiting> {
        self.waiting.remove(&id)
    }

    /// Puts back what was taken out.
    pub(super) fn put_back(&mut self, id: u64, waiting: Waiting) {
        self.waiting.insert(id, waiting);
    }

    /// The requests whose time is over.
    pub(super) fn late(&self, now: Instant) -> Vec<u64> {
        self.waiting.iter().filter(|(_, waiting)| waiting.deadline <= now).map(|(id, _)| *id).collect()
    }

    /// When the next one's time is over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.deadline).min()
    }
}

impl Waiting {
    /// Whether nothing of the answer is missing.
    pub(super) fn is_complete(&self) -> bool {
        !self.slots.iter().any(|slot| matches!(slot, Slot::Waiting(_)))
    }
}
