// SPDX-License-Identifier: GPL-2.0-or-later
//! What is to be handed over: waiting, under way, or put off; each record for each peer once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::Job;
use crate::limits;
use crate::lookup::Distance;

/// How urgent: holders that are left, nearness of the peer, order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    holders: usize,
    rank: usize,
    number: u64,
}

/// A record, and for whom.
type Name = (Vec<u8>, Distance);

/// At most [`limits::HANDOVER_QUEUE`] beside what is under way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The most needed first.
    waiting: BTreeMap<Need, Job>,
    /// What peers had no time for, and when it is tried again, the first one first.
    put_off: VecDeque<(Instant, Job)>,
    /// Of what waits and of what was put off.
    names: BTreeSet<Name>,
    in_flight: BTreeSet<Name>,
    last: u64,
    /// How often there was no room.
    pub(super) dropped: u64,
}

impl Queue {
    /// Takes one more, unless it is there already; whether it is there now.
    pub(super) fn push(&mut self, job: Job, holders: usize, rank: usize) -> bool {
        if self.knows(&job) {
            return true;
        }
        let has_room = self.take_room(&job);
        if has_room {
            self.insert(job, holders, rank);
        }
        has_room
    }

    /// How many wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The most needed one, if one more may be under way.
    pub(super) fn first(&self) -> Option<&Job> {
        let has_place = self.in_flight.len() < limits::HANDOVER_IN_FLIGHT;
        self.waiting.first_key_value().filter(|_| has_place).map(|(_, job)| job)
    }

    /// Takes that one off.
    pub(super) fn pop(&mut self) -> Option<Job> {
        let (_, job) = self.waiting.pop_first()?;
        self.names.remove(&name(&job));
        Some(job)
    }

    pub(super) fn begin(&mut self, job: &Job) {
        self.in_flight.insert(name(job));
    }

    pub(super) fn end(&mut self, key: &[u8], peer: &Distance) {
        self.in_flight.remove(&(key.to_vec(), *peer));
    }

    /// Keeps one that was under way for later; whether there was room.
    pub(super) fn put_off(&mut self, until: Instant, job: Job) -> bool {
        let has_room = self.take_room(&job);
        if has_room {
            self.put_off.push_back((until, job));
        }
        has_room
    }

    /// When something that was put off is due.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.put_off.front().map(|(at, _)| *at)
    }

    /// One that was put off and is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Job> {
        self.put_off.front().filter(|(at, _)| *at <= now)?;
        let (_, job) = self.put_off.pop_front()?;
        self.names.remove(&name(&job));
        Some(job)
    }

    fn knows(&self, job: &Job) -> bool {
        let name = name(job);
        self.in_flight.contains(&name) || self.names.contains(&name)
    }

    fn take_room(&mut self, job: &Job) -> bool {
        let has_room = self.names.len() < limits::HANDOVER_QUEUE;
        if has_room {
            self.names.insert(name(job));
        } else {
            self.dropped += 1;
        }
        has_room
    }

    fn insert(&mut self, job: Job, holders: usize, rank: usize) {
        self.last += 1;
        self.waiting.insert(Need { holders, rank, number: self.last }, job);
    }
}

fn name(job: &Job) -> Name {
    (job.key.clone(), job.peer)
}
