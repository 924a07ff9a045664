// SPDX-License-Identifier: GPL-2.0-or-later
//! Hand-overs at work: the engine's jobs as PUTs to single peers, and what the store and the routing table tell it.
//!
//! A REVOCATION is kept for 30 days from its latest PUT, and a hand-over must not count as one: nodes that come and go would keep it
//! alive among themselves for ever. So the time that is left of it goes along, in the field of Kademlia's message for that.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use libp2p::PeerId;
use libp2p::kad;
use sha2::{Digest, Sha256};

use super::Role;
use super::driver::Driver;
use super::queries::{Answer, Query};
use super::requests::place;
use crate::handover::{Handover, Job, Version};
use crate::lookup::Distance;
use crate::shell::limits;

/// What the node knows about hand-overs.
pub(super) struct Handing {
    engine: Handover,
    peers: HashMap<Distance, PeerId>,
    /// Who is in no table, and is given something all the same: few, as the engine sees to.
    guests: HashMap<Distance, PeerId>,
    /// The routing table has changed since the engine was told.
    is_outdated: bool,
    is_server: bool,
    /// Keys from disk that the engine has not been told of yet; none before the first turn.
    from_disk: Option<VecDeque<Vec<u8>>>,
    take_back_at: Instant,
}

/// A record that was put into the store, of ours or somebody else's.
#[derive(Debug)]
pub(super) struct Arrival {
    key: Vec<u8>,
    version: Version,
    /// The peer that handed it on, if no owner put it.
    handed_by: Option<PeerId>,
    /// Whether what is held is not what was offered: it is newer, or more.
    is_newer: bool,
    /// Whether it is a REVOCATION, which is seldom put again.
    is_lasting: bool,
}

impl Arrival {
    /// The value that is held now, and whether its owner does not put it every 20 minutes.
    pub(super) fn new(key: &[u8], value: &[u8], is_lasting: bool) -> Self {
        let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = Sha256::digest(value).into();
        let version = Version { octets: value.len(), digest: u64::from_be_bytes([a, b, c, d, e, f, g, h]) };
        Self { key: key.to_vec(), version, handed_by: None, is_newer: false, is_lasting }
    }

    /// The same, offered with that value, by a peer that hands it on if one is named.
    pub(super) fn offered(self, offered: &[u8], held: &[u8], handed_by: Option<PeerId>) -> Self {
        Self { handed_by, is_newer: offered != held, ..self }
    }
}

impl Handing {
    pub(super) fn new(own: PeerId, role: Role) -> Self {
        let now = Instant::now();
        let engine = Handover::new(place(&own), now);
        let is_server = role == Role::Server;
        Self {
            engine,
            peers: HashMap::new(),
            guests: HashMap::new(),
            is_outdated: false,
            is_server,
            from_disk: None,
            take_back_at: now,
        }
    }

    pub(super) fn peers_changed(&mut self) {
        self.is_outdated = true;
    }

    /// Hand-overs for which there was no room, and that were given up.
    pub(super) fn lost(&self) -> (u64, u64) {
        (self.engine.without_room(), self.engine.given_up())
    }

    pub(super) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let is_taking_back = self.from_disk.as_ref().is_none_or(|keys| !keys.is_empty());
        let due = self.engine.next_deadline(now);
        self.is_server.then(|| if is_taking_back { due.min(self.take_back_at) } else { due })
    }
}

impl Driver {
    /// Does what is due.
    pub(super) fn hand_over(&mut self, now: Instant) {
        if !self.handing.is_server {
            return;
        }
        self.take_back(now);
        for arrival in std::mem::take(&mut self.kad().store_mut().arrivals) {
            self.arrived(now, &arrival);
        }
        if std::mem::take(&mut self.handing.is_outdated) {
            let peers: Vec<PeerId> = self
                .swarm
                .behaviour_mut()
                .kad
                .kbuckets()
                .flat_map(|bucket| bucket.iter().map(|entry| *entry.node.key.preimage()).collect::<Vec<_>>())
                .collect();
            self.handing.peers = peers.into_iter().map(|peer| (place(&peer), peer)).collect();
            let places: BTreeSet<Distance> = self.handing.peers.keys().copied().collect();
            self.handing.engine.set_peers(now, places);
        }
        let wall = self.admission.clock.now();
        let (handing, kad) = (&mut self.handing, &mut self.swarm.behaviour_mut().kad);
        let mut jobs = Vec::new();
        while jobs.len() < crate::limits::HANDOVER_IN_FLIGHT {
            let store = kad.store_mut();
            let Some(job) = handing.engine.poll(now, |key| store.records.get(wall, key).is_some()) else { break };
            jobs.push(job);
        }
        for job in jobs {
            self.hand(now, wall, &job);
        }
    }

    fn arrived(&mut self, now: Instant, arrival: &Arrival) {
        let Arrival { key, version, handed_by, is_newer, is_lasting } = arrival;
        let Handing { engine, guests, .. } = &mut self.handing;
        match handed_by.map(|peer| (place(&peer), peer)) {
            Some((at, peer)) if *is_newer => {
                guests.retain(|guest, _| engine.is_guest(guest));
                if engine.offered_older(key, &at) {
                    guests.insert(at, peer);
                }
            }
            Some((at, _)) => engine.handed(now, key, *version, &at),
            None => engine.stored(now, key, *version),
        }
        if *is_lasting {
            engine.lasts(key);
        }
    }

    /// Records from disk count as known. Each is proven when it is read, so they are read a few at a time.
    fn take_back(&mut self, now: Instant) {
        if now < self.handing.take_back_at {
            return;
        }
        self.handing.take_back_at = now + limits::TAKE_BACK_PAUSE;
        let wall = self.admission.clock.now();
        let (handing, kad) = (&mut self.handing, &mut self.swarm.behaviour_mut().kad);
        let records = &kad.store_mut().records;
        let keys = handing.from_disk.get_or_insert_with(|| records.nearest(crate::limits::HANDOVER_RECORDS).into());
        let few = keys.len().min(limits::TAKEN_BACK);
        for key in keys.drain(..few) {
            let value = records.get(wall, &key).unwrap_or_default();
            let arrival = Arrival::new(&key, &value, records.left(wall, &key).is_some());
            handing.engine.restored(now, &key, arrival.version);
            if arrival.is_lasting {
                handing.engine.lasts(&key);
            }
        }
    }

    fn hand(&mut self, now: Instant, wall: SystemTime, job: &Job) {
        let records = &self.kad().store_mut().records;
        // What the way may take is taken off, so that it ends no later there than here.
        let left = records.left(wall, &job.key).map(|left| left.saturating_sub(limits::PUT_STORE));
        // Whole seconds are said, when the request goes out; none at all would be taken for a month. This node may be held up until then.
        let least = limits::PUT_STORE + limits::FORGIVEN + Duration::from_secs(1);
        let value = records.get(wall, &job.key).filter(|_| left.is_none_or(|left| left >= least));
        let peer = self.handing.peers.get(&job.peer).or_else(|| self.handing.guests.get(&job.peer)).copied();
        let (Some(value), Some(peer)) = (value, peer) else {
            // It has expired, or will soon, or the peer has gone.
            self.handing.engine.done(now, &job.key, &job.peer, true);
            return;
        };
        let mut record = kad::Record::new(job.key.clone(), value);
        record.expires = left.map(|left| now + left);
        let id = self.kad().put_record_to(record, std::iter::once(peer), kad::Quorum::One);
        self.kad().watch.begin(id, std::sync::Arc::default());
        self.counters.handed_over += 1;
        self.queries.start(id, Query::HandOver { key: job.key.clone(), peer }, now + limits::PUT_STORE);
    }

    pub(super) fn handed_over(&mut self, key: &[u8], peer: &PeerId, answer: Answer) {
        tracing::debug!(%peer, ?answer, "handed over");
        let (engine, now) = (&mut self.handing.engine, Instant::now());
        match answer {
            Answer::Busy => engine.put_off(now, key, &place(peer)),
            Answer::Unreachable => engine.done(now, key, &place(peer), false),
            Answer::Stored | Answer::Refused => engine.done(now, key, &place(peer), true),
        }
    }
}
