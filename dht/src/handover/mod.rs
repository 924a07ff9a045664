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
//! The pace follows the backlog: after a partition has healed all is handed over within a minute, within bounds; otherwise a
//! few records now and then.
//!
//! The engine knows places in the Kademlia space, no peers; keys and sizes, no values. Time is an argument.

mod pace;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::limits;
use crate::lookup::{Distance, distance};
use pace::Pace;

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
    /// The most needed first.
    queue: BTreeMap<Need, Job>,
    queued: BTreeSet<(Vec<u8>, Distance)>,
    in_flight: BTreeSet<(Vec<u8>, Distance)>,
    /// What peers had no time for, and when it is tried again, the first one first.
    put_off: VecDeque<(Instant, Job)>,
    /// Times in a row that a peer has not answered.
    silent: HashMap<Distance, u32>,
    pace: Pace,
    last: u64,
}

/// A record that this node holds.
#[derive(Debug)]
struct Known {
    point: Distance,
    version: Version,
    heard_at: Instant,
    /// Who has it, as far as is known; none before peers are known, after a restart.
    holders: Option<Vec<Distance>>,
    /// Peers that offered something older and were given this.
    answered: Vec<Distance>,
    /// Peers that had no time for this, and how often in a row.
    busy: Vec<(Distance, u32)>,
    /// Whether this node was one of its region when that was last looked at.
    is_inside: bool,
    /// How long nothing is heard of it before it is repaired.
    patience: Duration,
}

/// How urgent: holders that are left, nearness of the peer, order of arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    holders: usize,
    rank: usize,
    number: u64,
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
            queue: BTreeMap::new(),
            queued: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            put_off: VecDeque::new(),
            silent: HashMap::new(),
            pace: Pace::new(now),
            last: 0,
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

    /// A peer has handed on something older than what is held here: it is given ours, once for each version.
    pub fn offered_older(&mut self, key: &[u8], peer: &Distance) {
        if !self.peers.contains(peer) {
            return;
        }
        let Some(known) = self.records.get_mut(key).filter(|known| !known.answered.contains(peer)) else { return };
        known.answered.push(*peer);
        let holders = known.holders.get_or_insert_default();
        holders.retain(|holder| holder != peer);
        let left = holders.len();
        self.enqueue(key, *peer, left, 0);
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
        let came = peers.difference(&self.peers).next().is_some();
        let went = self.peers.difference(&peers).next().is_some();
        self.silent.retain(|peer, _| peers.contains(peer));
        self.peers = peers;
        if came || went {
            self.scan_at.get_or_insert(now + limits::HANDOVER_WAIT);
        }
    }

    /// The next record to hand over now; [`Handover::done`] must follow. `is_held` says whether a record is still there.
    pub fn poll(&mut self, now: Instant, is_held: impl Fn(&[u8]) -> bool) -> Option<Job> {
        self.schedule(now);
        self.take_up(now);
        for _ in 0..limits::HANDOVER_SCAN {
            let Some(key) = self.scan.pop_front() else { break };
            self.look_at(now, &key, &is_held);
        }
        while self.in_flight.len() < limits::HANDOVER_IN_FLIGHT
            && let Some((need, job)) = self.queue.first_key_value()
        {
            let octets = self.records.get(&job.key).map_or(0, |known| known.version.octets);
            if !self.pace.allows(now, self.queue.len()) {
                return None;
            }
            let need = *need;
            let job = self.queue.remove(&need)?;
            let name = (job.key.clone(), job.peer);
            self.queued.remove(&name);
            let is_wanted = self.peers.contains(&job.peer)
                && self.records.get(&job.key).is_some_and(|known| !known.is_held_at(&job.peer));
            if is_wanted {
                self.pace.take(octets);
                self.in_flight.insert(name);
                return Some(job);
            }
        }
        if self.queue.is_empty() {
            self.pace.rest();
        }
        None
    }

    /// How a hand-over ended: whether the peer has said something, be it that it wants no such thing.
    pub fn done(&mut self, now: Instant, key: &[u8], peer: &Distance, answered: bool) {
        self.in_flight.remove(&(key.to_vec(), *peer));
        if answered {
            self.silent.remove(peer);
            if let Some(known) = self.records.get_mut(key) {
                known.busy.retain(|(busy, _)| busy != peer);
                known.holders.get_or_insert_default().push(*peer);
            }
            return;
        }
        if let Some(known) = self.records.get_mut(key) {
            known.answered.retain(|answered| answered != peer);
        }
        let silent = self.silent.entry(*peer).or_default();
        *silent += 1;
        if *silent < limits::HANDOVER_ATTEMPTS {
            self.scan_at.get_or_insert(now + limits::HANDOVER_RETRY);
        }
    }

    /// A peer refused a hand-over without looking at it, since it is asked too often: it is tried again soon, so often and no more,
    /// since it may say so for ever.
    pub fn put_off(&mut self, now: Instant, key: &[u8], peer: &Distance) {
        let is_full = self.put_off.len() >= limits::HANDOVER_QUEUE;
        let known = self.records.get_mut(key);
        let Some(known) = known.and_then(|known| (!is_full && known.is_busy_again(peer)).then_some(known)) else {
            return self.done(now, key, peer, true);
        };
        known.answered.retain(|answered| answered != peer);
        self.silent.remove(peer);
        self.in_flight.remove(&(key.to_vec(), *peer));
        self.put_off.push_back((now + limits::HANDOVER_RETRY, Job { key: key.to_vec(), peer: *peer }));
    }

    /// When [`Handover::poll`] has something to do.
    pub fn next_deadline(&self, now: Instant) -> Instant {
        let scan = if self.scan.is_empty() { None } else { Some(now) };
        let can_send = !self.queue.is_empty() && self.in_flight.len() < limits::HANDOVER_IN_FLIGHT;
        let send = can_send.then(|| self.pace.ready_at(now, self.queue.len()));
        let put_off = self.put_off.front().map(|(at, _)| *at);
        [scan, send, put_off, self.scan_at].into_iter().flatten().fold(self.repair_at, Instant::min)
    }

    /// Hand-overs that wait for their turn.
    pub fn backlog(&self) -> usize {
        self.queue.len() + self.in_flight.len()
    }

    fn schedule(&mut self, now: Instant) {
        let is_due = self.scan_at.is_some_and(|at| at <= now);
        let is_repair = self.repair_at <= now;
        if is_repair {
            self.repair_at = now + limits::REPAIR_CHECK;
        }
        if is_due {
            self.scan_at = None;
        }
        let is_silent = |known: &Known| known.heard_at + known.patience <= now;
        if is_due || is_repair {
            let records = self.records.iter().filter(|(_, known)| is_due || is_silent(known));
            self.scan = records.map(|(key, _)| key.clone()).collect();
        }
    }

    /// What was put off and is due waits for its turn again.
    fn take_up(&mut self, now: Instant) {
        while self.put_off.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, Job { key, peer })) = self.put_off.pop_front()
        {
            let holders = self.records.get(&key).and_then(|known| known.holders.as_ref());
            if let Some(left) = holders.map(Vec::len) {
                self.enqueue(&key, peer, left, 0);
            }
        }
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
            return nearest.into_iter().for_each(|peer| self.enqueue(key, peer, usize::MAX, 0));
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

    fn enqueue(&mut self, key: &[u8], peer: Distance, holders: usize, rank: usize) {
        let name = (key.to_vec(), peer);
        let is_silent = self.silent.get(&peer).is_some_and(|times| *times >= limits::HANDOVER_ATTEMPTS);
        // What finds no room is found missing again when it is next looked at.
        let is_full = self.queue.len() >= limits::HANDOVER_QUEUE;
        if is_silent || is_full || self.in_flight.contains(&name) || !self.queued.insert(name) {
            return;
        }
        self.last += 1;
        let need = Need { holders, rank, number: self.last };
        self.queue.insert(need, Job { key: key.to_vec(), peer });
    }
}

impl Known {
    fn new(point: Distance, version: Version, heard_at: Instant) -> Self {
        let (holders, answered, busy, patience) = (None, Vec::new(), Vec::new(), limits::REPAIR_INTERVAL);
        Self { point, version, heard_at, holders, answered, busy, is_inside: true, patience }
    }

    /// Counts that a peer had no time for this; whether it may be tried again.
    fn is_busy_again(&mut self, peer: &Distance) -> bool {
        match self.busy.iter_mut().find(|(busy, _)| busy == peer) {
            Some((_, times)) => {
                *times += 1;
                *times < limits::HANDOVER_BUSY
            }
            None => {
                self.busy.push((*peer, 1));
                true
            }
        }
    }

    fn is_held_at(&self, peer: &Distance) -> bool {
        self.holders.as_ref().is_some_and(|holders| holders.contains(peer))
    }
}

/// How many of `others` lie nearer to a point than `here`.
fn rank(here: &Distance, point: &Distance, others: &[Distance]) -> usize {
    let own = distance(point, here);
    others.iter().filter(|other| distance(point, other) < own).count()
}

/// Part of a minute by which a node's repairs of a record come later than another's, so that the first is heard of by the others.
fn spread(here: &Distance, point: &Distance) -> Duration {
    let [first, second, ..] = distance(here, point);
    Duration::from_millis(u64::from(u16::from_be_bytes([first, second])) % 60_000) * 5
}
