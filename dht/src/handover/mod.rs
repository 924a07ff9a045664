// SPDX-License-Identifier: GPL-2.0-or-later
//! Which records a node hands on to whom, when, and how fast.
//!
//! Owners put their records again every 20 minutes, and when the network has grown. In between, and for owners who are away,
//! those who hold a record see to it that the nodes of its region have it: a peer that is new there, or has become one of the
//! twenty nearest because another died, is given it, first come the records that fewest others hold. Of the holders the two
//! nearest to the key do so; what all would do, most would do in vain. A record of which nothing was heard for longer than an
//! owner would let pass is given to its whole region again, once in that time, by the nearest of its holders; the others hear of
//! it and leave it at that.
//!
//! It goes both ways: who hands on something older is given what is held here, once for each version. What was handed on and is
//! newer than what was held goes further, by the two nearest. Who leaves a region offers what it has to the two nearest nodes of
//! it, and again when it has heard nothing for long: that brings it what is newer, and readers whom it serves as well.
//!
//! The nearest to a key do not know all who hold it: to their tables those at the rim of the region are some of many. When a node
//! meets many peers at once, halves have found each other, and there may be something newer that nobody brings to the rim. So who
//! is there offers what it has to the nearest, once. Peers come one by one otherwise, and it costs nothing.
//!
//! The pace follows the backlog: after a partition has healed all is handed over within a minute, within bounds; otherwise a
//! few records now and then.
//!
//! The engine knows places in the Kademlia space, no peers; keys and sizes, no values. Time is an argument.

mod known;
mod meeting;
mod pace;
mod queue;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::limits;
use crate::lookup::{Distance, distance};
use known::{Known, rank, spread};
use meeting::Meeting;
use pace::Pace;
use queue::Queue;

/// A record to be given to the peer at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The key.
    pub key: Vec<u8>,
    /// Where the peer is.
    pub peer: Distance,
}

/// What is held under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Its size.
    pub octets: usize,
    /// A number that another value does not have.
    pub digest: u64,
}

/// What is handed over, and what was.
#[derive(Debug)]
pub struct Handover {
    here: Distance,
    peers: BTreeSet<Distance>,
    records: BTreeMap<Vec<u8>, Known>,
    /// Records to be looked at, because peers have changed or because it is time.
    scan: VecDeque<Vec<u8>>,
    scan_at: Option<Instant>,
    repair_at: Instant,
    queue: Queue,
    /// Peers that are not known, and the records that they are given all the same.
    guests: BTreeSet<(Distance, Vec<u8>)>,
    /// How often a record was given up because its receiver had no time for it, again and again.
    given_up: u64,
    meeting: Meeting,
    /// Times in a row that a peer has not answered.
    silent: HashMap<Distance, u32>,
    pace: Pace,
}

impl Handover {
    /// A node at this place that holds nothing and knows nobody.
    pub fn new(here: Distance, now: Instant) -> Self {
        Self {
            here,
            peers: BTreeSet::new(),
            records: BTreeMap::new(),
            scan: VecDeque::new(),
            scan_at: None,
            repair_at: now + limits::REPAIR_CHECK,
            queue: Queue::default(),
            guests: BTreeSet::new(),
            given_up: 0,
            meeting: Meeting::new(now),
            silent: HashMap::new(),
            pace: Pace::new(now),
        }
    }

    /// A record was put here, and this is what is held now. If that is new here, its owner, or who hands it on, has seen to the
    /// nodes that are there now.
    pub fn stored(&mut self, now: Instant, key: &[u8], version: Version) {
        let point: Distance = Sha256::digest(key).into();
        if let Some(known) = self.records.get_mut(key).filter(|known| known.version == version) {
            known.heard_at = now;
            return;
        }
        if self.records.contains_key(key) || self.records.len() < limits::HANDOVER_RECORDS {
            let region = self.region(&point);
            let is_inside = !self.is_outside(&region);
            let known = Known { holders: Some(region), is_inside, ..Known::new(point, version, now) };
            self.records.insert(key.to_vec(), known);
        }
    }

    /// The same, handed on by a peer. If it takes the place of something else, the others may still have that too: the nearest
    /// of them hand it further.
    pub fn handed(&mut self, now: Instant, key: &[u8], version: Version, from: &Distance) {
        let is_newer = self.records.get(key).is_some_and(|known| known.version != version);
        self.stored(now, key, version);
        let Some(known) = self.records.get_mut(key).filter(|_| is_newer) else { return };
        let region = known.holders.get_or_insert_default();
        if rank(&self.here, &known.point, region) < limits::HANDOVER_SENDERS {
            *region = vec![*from];
            self.scan_at.get_or_insert(now + limits::HANDOVER_WAIT);
        }
    }

    /// A peer has handed on something older than what is held here: it is given ours, once for each version. Whether it is a guest
    /// who is given it: not among the peers, but it has just been connected.
    pub fn offered_older(&mut self, key: &[u8], peer: &Distance) -> bool {
        let is_guest = !self.peers.contains(peer);
        if is_guest && self.guests.len() >= limits::HANDOVER_GUESTS {
            return false;
        }
        let Some(known) = self.records.get_mut(key).filter(|known| !known.was_answered(peer)) else {
            return false;
        };
        if !is_guest {
            known.answered.push(*peer);
        }
        let holders = known.holders.get_or_insert_default();
        holders.retain(|holder| holder != peer);
        let left = holders.len();
        let is_taken = self.enqueue(key, *peer, left, 0);
        if !(is_guest && is_taken) {
            return false;
        }
        self.guests.insert((*peer, key.to_vec()));
        if let Some(known) = self.records.get_mut(key) {
            known.answer_guest(*peer);
        }
        true
    }

    /// Whether somebody who is not among the peers is still to be given something.
    pub fn is_guest(&self, peer: &Distance) -> bool {
        self.guests.range((*peer, Vec::new())..).next().is_some_and(|(guest, _)| guest == peer)
    }

    /// A record was taken back from disk: that others have it is likely, and seen to in time if not.
    pub fn restored(&mut self, now: Instant, key: &[u8], version: Version) {
        let point: Distance = Sha256::digest(key).into();
        if self.records.len() < limits::HANDOVER_RECORDS {
            self.records.entry(key.to_vec()).or_insert(Known::new(point, version, now));
        }
    }

    /// What is held under a key is such as nobody puts again every 20 minutes: silence is no sign that its owner is away.
    pub fn lasts(&mut self, key: &[u8]) {
        if let Some(known) = self.records.get_mut(key) {
            known.patience = limits::REPAIR_LASTING;
        }
    }

    /// A record is held no longer.
    pub fn dropped(&mut self, key: &[u8]) {
        self.records.remove(key);
    }

    /// These are the peers now. What follows from it waits a moment, since owners put their records again as well.
    pub fn set_peers(&mut self, now: Instant, peers: BTreeSet<Distance>) {
        let came = peers.difference(&self.peers).count();
        let went = self.peers.difference(&peers).next().is_some();
        self.silent.retain(|peer, _| peers.contains(peer));
        let before = std::mem::replace(&mut self.peers, peers).len();
        if came > 0 || went {
            self.scan_at.get_or_insert(now + limits::HANDOVER_WAIT);
        }
        self.meeting.came(now, came, before);
    }

    /// The next record to hand over now; [`Handover::done`] must follow. `is_held` says whether a record is still there.
    pub fn poll(&mut self, now: Instant, is_held: impl Fn(&[u8]) -> bool) -> Option<Job> {
        self.schedule(now);
        self.take_up(now);
        for _ in 0..limits::HANDOVER_SCAN {
            let Some(key) = self.scan.pop_front() else { break };
            self.look_at(now, &key, &is_held);
        }
        while let Some(job) = self.queue.first() {
            let octets = self.records.get(&job.key).map_or(0, |known| known.version.octets);
            if !self.pace.allows(now, self.queue.waiting()) {
                return None;
            }
            let job = self.queue.pop()?;
            if self.is_there(&job) && self.records.get(&job.key).is_some_and(|known| !known.is_held_at(&job.peer)) {
                self.pace.take(octets);
                self.queue.begin(&job);
                return Some(job);
            }
            self.guests.remove(&(job.peer, job.key));
        }
        if self.queue.waiting() == 0 {
            self.pace.rest();
        }
        None
    }

    /// How a hand-over ended: whether the peer has said something, be it that it wants no such thing.
    pub fn done(&mut self, now: Instant, key: &[u8], peer: &Distance, answered: bool) {
        self.queue.end(key, peer);
        self.guests.remove(&(*peer, key.to_vec()));
        if answered {
            self.silent.remove(peer);
            if let Some(known) = self.records.get_mut(key) {
                known.busy.retain(|(busy, _)| busy != peer);
                known.holders.get_or_insert_default().push(*peer);
            }
            return;
        }
        if let Some(known) = self.records.get_mut(key) {
            known.not_answered(peer);
        }
        if !self.peers.contains(peer) {
            // A guest that is gone, or whoever has left meanwhile: nobody misses it.
            return;
        }
        let silent = self.silent.entry(*peer).or_default();
        *silent += 1;
        if *silent < limits::HANDOVER_ATTEMPTS {
            self.scan_at.get_or_insert(now + limits::HANDOVER_RETRY);
        }
    }

    /// A peer refused a hand-over without looking at it, since it is asked too often: it is tried again soon, so often and no more,
    /// since it may say so for ever. Where there is no room for that it is found missing when the record is next looked at.
    pub fn put_off(&mut self, now: Instant, key: &[u8], peer: &Distance) {
        let known = self.records.get_mut(key);
        let Some(known) = known.and_then(|known| known.is_busy_again(peer).then_some(known)) else {
            self.given_up += 1;
            return self.done(now, key, peer, true);
        };
        known.not_answered(peer);
        self.silent.remove(peer);
        self.queue.end(key, peer);
        if !self.queue.put_off(now + limits::HANDOVER_RETRY, Job { key: key.to_vec(), peer: *peer }) {
            self.guests.remove(&(*peer, key.to_vec()));
        }
    }

    /// When [`Handover::poll`] has something to do.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        let scan = if self.scan.is_empty() { None } else { Some(now) };
        let send = self.queue.first().map(|_| self.pace.ready_at(now, self.queue.waiting()));
        [scan, send, self.queue.due_at(), self.scan_at, self.meeting.due_at]
            .into_iter()
            .flatten()
            .fold(self.repair_at, Instant::min)
    }

    /// Hand-overs that wait for their turn.
    pub fn backlog(&self) -> usize {
        self.queue.waiting() + self.queue.in_flight()
    }

    /// How often the queue had no room for a hand-over.
    pub fn without_room(&self) -> u64 {
        self.queue.dropped
    }

    /// How often a hand-over was given up because its receiver was asked too often, again and again.
    pub fn given_up(&self) -> u64 {
        self.given_up
    }

    fn schedule(&mut self, now: Instant) {
        if self.scan_at.take_if(|at| *at <= now).is_some() {
            self.scan = self.records.keys().cloned().collect();
        }
        if self.meeting.is_due(now) {
            // What was heard of meanwhile too: it may have come from one who knows nothing newer either.
            self.records.values_mut().for_each(|known| known.is_doubted = true);
            self.scan = self.records.keys().cloned().collect();
        }
        // What is being looked at is looked at to the end.
        if self.repair_at <= now && self.scan.is_empty() {
            self.repair_at = now + limits::REPAIR_CHECK;
            let silent = self.records.iter().filter(|(_, known)| known.heard_at + known.patience <= now);
            self.scan = silent.map(|(key, _)| key.clone()).collect();
        }
    }

    /// What was put off and is due waits for its turn again.
    fn take_up(&mut self, now: Instant) {
        while let Some(Job { key, peer }) = self.queue.due(now) {
            let holders = self.records.get(&key).and_then(|known| known.holders.as_ref());
            let is_taken = holders.map(Vec::len).is_some_and(|left| self.enqueue(&key, peer, left, 0));
            if !is_taken {
                self.guests.remove(&(peer, key));
            }
        }
    }

    fn is_there(&self, job: &Job) -> bool {
        self.peers.contains(&job.peer) || self.guests.contains(&(job.peer, job.key.clone()))
    }

    /// The places of the twenty nodes nearest to a point, without this one if it is among them.
    fn region(&self, point: &Distance) -> Vec<Distance> {
        let mut region: Vec<Distance> = self.peers.iter().copied().chain([self.here]).collect();
        if region.len() > limits::REPLICAS {
            region.select_nth_unstable_by_key(limits::REPLICAS - 1, |node| distance(point, node));
            region.truncate(limits::REPLICAS);
        }
        region.retain(|node| *node != self.here);
        region.sort_by_key(|node| distance(point, node));
        region
    }

    /// Whether twenty nodes are nearer than this one.
    fn is_outside(&self, region: &[Distance]) -> bool {
        region.len() >= limits::REPLICAS
    }

    fn look_at(&mut self, now: Instant, key: &[u8], is_held: &impl Fn(&[u8]) -> bool) {
        let here = self.here;
        let Some(point) = self.records.get(key).map(|known| known.point) else { return };
        if !is_held(key) {
            self.records.remove(key);
            return;
        }
        if self.peers.is_empty() {
            return;
        }
        let region = self.region(&point);
        let is_outside = self.is_outside(&region);
        let Some(known) = self.records.get_mut(key) else { return };
        known.answered.retain(|peer| self.peers.contains(peer));
        known.busy.retain(|(peer, _)| self.peers.contains(peer));
        let is_at_rim = rank(&here, &point, &region) + limits::RIM >= limits::REPLICAS;
        let is_doubted = std::mem::take(&mut known.is_doubted) && is_at_rim && !is_outside;
        let mut asks = is_outside && std::mem::replace(&mut known.is_inside, !is_outside);
        let holders = known.holders.get_or_insert_with(|| region.clone());
        holders.retain(|holder| self.peers.contains(holder));
        if known.heard_at + known.patience + spread(&here, &point) <= now {
            // The owner is away, and nobody else has repaired it: whoever is nearest does, and does not rely on what was once.
            known.heard_at = now;
            asks = is_outside;
            if rank(&here, &point, &region) < limits::HANDOVER_SENDERS {
                holders.clear();
            }
        }
        if asks {
            let nearest: Vec<Distance> = region.iter().take(limits::HANDOVER_SENDERS).copied().collect();
            holders.retain(|holder| !nearest.contains(holder));
            // The last of all: by then those of the region agree.
            return nearest.into_iter().for_each(|peer| _ = self.enqueue(key, peer, usize::MAX, 0));
        }
        if is_doubted && let Some(nearest) = region.first().copied() {
            holders.retain(|holder| *holder != nearest);
            self.enqueue(key, nearest, usize::MAX, 0);
            return;
        }
        if rank(&here, &point, holders) >= limits::HANDOVER_SENDERS {
            return;
        }
        let left = holders.len();
        let missing: Vec<(usize, Distance)> =
            region.into_iter().enumerate().filter(|(_, peer)| !holders.contains(peer)).collect();
        for (rank, peer) in missing {
            self.enqueue(key, peer, left, rank);
        }
    }

    /// Whether it waits, or is under way.
    fn enqueue(&mut self, key: &[u8], peer: Distance, holders: usize, rank: usize) -> bool {
        let is_silent = self.silent.get(&peer).is_some_and(|times| *times >= limits::HANDOVER_ATTEMPTS);
        // What finds no room is found missing again when it is next looked at.
        !is_silent && self.queue.push(Job { key: key.to_vec(), peer }, holders, rank)
    }
}
