// SPDX-License-Identifier: GPL-2.0-or-later
//! GETs and PUTs at work: from a handle's command over libp2p's queries to the answer.
//!
//! A PUT first looks for the nodes nearest to its key. Where they lie so densely that they may hide others of the region, it
//! looks through the region's other quarters too; where all nodes there are were found a moment ago, it does not look. Of all that answered it asks those that [`lookup::choose`] names. If time was
//! too short to find them all, and it shows, it looks once more with more time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::kad::{self, QueryResult};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::addresses::ip;
use super::driver::{Command, Driver, GetCommand, PutCommand};
use super::patience::Patience;
use super::queries::{Answer, PutId, PutReply, Query};
use super::watched::{Effort, Reply, Watched};
use super::{Given, MARK_AHEAD, NodeError, Role};
use crate::lookup::{self, Candidate, Distance};
use crate::shell::limits;
use crate::store::Origin;

/// A request that waits for the first peer.
pub(super) struct Parked {
    work: Work,
    pub(super) patience: Patience,
}

/// What a handle asked for.
enum Work {
    Get { key: Vec<u8>, limit: Duration, values: mpsc::Sender<Given>, effort: Arc<Effort> },
    Put { key: Vec<u8>, value: Vec<u8>, at: Vec<PeerId>, local: bool, done: PutReply },
}

impl Driver {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Get(get) => self.on_get(get),
            Command::Put(put) => self.on_put(put),
            Command::Stats(done) => {
                let stats = self.stats();
                // Whoever asked may have gone.
                let _ = done.send(stats);
            }
            // Ends the loop where it is received.
            Command::Renew(_) | Command::Freeze(_) | Command::Shutdown(_) => {}
        }
    }

    fn on_get(&mut self, get: GetCommand) {
        if self.is_overloaded() {
            let _ = get.begun.send(Err(NodeError::Busy(limits::QUERIES)));
            return;
        }
        self.counters.gets += 1;
        let now = self.admission.clock.now();
        let held_here = self.kad().store_mut().records.get(now, &get.key).is_some();
        let GetCommand { key, limit, values, begun } = get;
        let effort = Arc::new(Effort::default());
        // Whoever asked may have gone; the query then ends at its first event.
        let _ = begun.send(Ok(Arc::clone(&effort)));
        self.start_or_park(Work::Get { key, limit, values, effort }, held_here);
    }

    fn on_put(&mut self, put: PutCommand) {
        let PutCommand { key, value, at, done } = put;
        if self.is_overloaded() {
            let _ = done.send(Err(NodeError::Busy(limits::QUERIES)));
            return;
        }
        self.counters.puts += 1;
        if let Err(error) = self.admission.check_clock() {
            let _ = done.send(Err(error));
            return;
        }
        let mut local = self.role == Role::Server && at.is_empty();
        if local && let Err(reason) = self.kad().store_mut().admit(&key, &value) {
            if reason.name != MARK_AHEAD {
                let _ = done.send(Err(NodeError::Refused(reason)));
                return;
            }
            local = false;
        }
        self.start_or_park(Work::Put { key, value, at, local, done }, false);
    }

    fn is_overloaded(&mut self) -> bool {
        let overloaded = self.queries.len() + self.parked.len() >= limits::QUERIES;
        self.counters.overload += u64::from(overloaded);
        overloaded
    }

    /// Starts at once unless a first peer may yet be found.
    fn start_or_park(&mut self, work: Work, at_once: bool) {
        let alone = self.ends.peers_tx.borrow().peers == 0 && self.redial.next_deadline().is_some();
        if alone && !at_once {
            let patience = match self.role {
                Role::Server => limits::FIRST_PEER,
                Role::Client => limits::FIRST_PEER_OF_CLIENT,
            };
            let patience = Patience::until(Instant::now() + patience);
            self.parked.push(Parked { work, patience });
        } else {
            self.start(work);
        }
    }

    pub(super) fn resume(&mut self, parked: Vec<Parked>) {
        for Parked { work, .. } in parked {
            self.start(work);
        }
    }

    fn start(&mut self, work: Work) {
        let now = Instant::now();
        match work {
            Work::Get { key, limit, values, effort } => {
                effort.begins(self.known_blocks());
                let id = self.kad().get_record(key.into());
                self.kad().watch.begin(id, effort);
                self.queries.start(id, Query::Get { values }, now + limit);
            }
            Work::Put { key, value, at, local, done } => {
                let put = self.queries.begin_put(key.clone(), value, local, done);
                if !at.is_empty() {
                    self.queries.put(put).into_iter().for_each(|put| put.waiting = at.iter().copied().collect());
                    return self.store_on(put);
                }
                if let Some(found) = self.whole(now) {
                    self.queries.put(put).into_iter().for_each(|put| put.found.clone_from(&found));
                    return self.on_all_found(put);
                }
                self.look_for_nodes(put, key, true);
                // Who has looked nowhere else yet looks at other places too: what is dense here may be a crowd.
                for _ in self.size.samples()..crate::limits::SIZE_SAMPLES_LEAST {
                    self.look_for_nodes(put, rand::random::<[u8; 32]>().to_vec(), true);
                }
            }
        }
    }

    /// Looks for the nodes nearest to a key; whether they also tell how large the network is.
    fn look_for_nodes(&mut self, put: PutId, key: Vec<u8>, is_sample: bool) {
        let point = Sha256::digest(&key).into();
        let Some(patience) = self.queries.put(put).map(|put| {
            put.lookups += 1;
            put.patience
        }) else {
            return;
        };
        let id = self.kad().get_closest_peers(key);
        self.kad().watch.begin(id, Arc::default());
        self.queries.start(id, Query::Nearest { put, point, is_sample }, Instant::now() + patience);
    }

    pub(super) fn on_progress(&mut self, id: kad::QueryId, result: QueryResult, last: bool) {
        match result {
            QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))) => self.on_value(id, found),
            QueryResult::GetRecord(_) if last => {
                self.kad().watch.end(&id);
                // Dropping the channel is the end that the reader sees.
                self.queries.finish(&id);
            }
            QueryResult::GetClosestPeers(_) => self.on_nearest(id),
            QueryResult::PutRecord(result) => self.on_stored(id, result.is_ok()),
            _ => {}
        }
    }

    /// Hands a value to its reader; a reader that has gone or has seen enough ends the query.
    fn on_value(&mut self, id: kad::QueryId, found: kad::PeerRecord) {
        let kad::PeerRecord { peer, record } = found;
        let from = match peer {
            None => Origin::Own,
            Some(peer) => self.seen.at(&peer).and_then(ip).map_or(Origin::Unknown, Origin::Peer),
        };
        let round = peer.map_or(0, |peer| self.kad().watch.round(&id, &peer));
        let Some(Query::Get { values }) = self.queries.get(&id) else { return };
        let given = Given { value: record.value, from, peer, round };
        if values.try_send(given).is_err()
            && let Some(mut query) = self.kad().query_mut(&id)
        {
            query.finish();
        }
    }

    /// One of a PUT's lookups has ended.
    fn on_nearest(&mut self, id: kad::QueryId) {
        let Watched { answered, .. } = self.kad().watch.end(&id);
        let Some(Query::Nearest { put: put_id, point, is_sample }) = self.queries.finish(&id) else { return };
        if is_sample {
            let places: Vec<Distance> = answered.keys().map(place).collect();
            self.size.learn(&point, &places);
        }
        let Some(put) = self.queries.put(put_id) else { return };
        put.lookups = put.lookups.saturating_sub(1);
        put.found.extend(answered.iter().map(|(peer, address)| (*peer, *address)));
        let (is_last, has_looked_through) = (put.lookups == 0, put.has_looked_through());
        if has_looked_through {
            self.learn_whole(Instant::now(), answered);
        }
        if is_last {
            self.on_all_found(put_id);
        }
    }

    /// Chooses the nodes that shall store, or looks behind those that crowd round the key.
    fn on_all_found(&mut self, id: PutId) {
        let radius = self.size.radius();
        let Some(put) = self.queries.put(id) else { return };
        let point: Distance = Sha256::digest(&put.key).into();
        let places: Vec<Distance> = put.found.keys().map(place).collect();
        if !put.is_spread && lookup::leaves_room(&point, radius, &places) {
            put.is_spread = true;
            for key in lookup::neighbours(&point, radius) {
                self.look_for_nodes(id, key, false);
            }
        }
        if let Some(put) = self.queries.put(id).filter(|put| put.lookups == 0) {
            let found = std::mem::take(&mut put.found).into_iter();
            let candidates = found.map(|(peer, address)| Candidate { place: place(&peer), address, node: peer });
            let (admitted, others) = candidates.partition(|candidate| self.admission.is_member(&candidate.node));
            let chosen = choose(&point, radius, admitted, others).into_iter();
            put.waiting = chosen.filter(|peer| put.chosen.insert(*peer)).collect();
            self.store_on(id);
        }
    }

    /// Asks the next nodes of a PUT, or ends it.
    fn store_on(&mut self, id: PutId) {
        let own = *self.swarm.local_peer_id();
        let deadline = Instant::now() + limits::PUT_STORE;
        while let Some(put) = self.queries.put(id)
            && put.asked < limits::PUT_IN_FLIGHT
            && let Some(peer) = put.waiting.pop_front()
        {
            put.asked += 1;
            let mut record = kad::Record::new(put.key.clone(), put.value.clone());
            record.publisher = Some(own);
            // One query for each node: in one query for all, three that do not answer would hold up the rest.
            let query = self.kad().put_record_to(record, std::iter::once(peer), kad::Quorum::One);
            self.kad().watch.begin(query, Arc::default());
            self.queries.start(query, Query::Store { put: id }, deadline);
        }
        if let Some(key) = self.queries.look_again(id, self.size.nodes()) {
            self.look_for_nodes(id, key, true);
            return;
        }
        let Some((report, done)) = self.queries.end_put(id) else { return };
        tracing::debug!(
            stored = report.stored,
            refused = report.refused,
            unreachable = report.unreachable,
            local = report.local,
            "put"
        );
        // A publisher may not wait for the answer.
        let _ = done.send(Ok(report));
    }

    fn on_stored(&mut self, id: kad::QueryId, stored: bool) {
        let Watched { reply, .. } = self.kad().watch.end(&id);
        let answer = match (stored, reply) {
            (true, _) => Answer::Stored,
            (false, Some(Reply::Refused)) => Answer::Refused,
            (false, Some(Reply::Busy)) => Answer::Busy,
            (false, Some(Reply::Silent) | None) => Answer::Unreachable,
        };
        match self.queries.finish(&id) {
            Some(Query::Store { put }) => {
                if answer == Answer::Unreachable {
                    self.whole = None;
                }
                self.queries.answered(put, answer);
                self.store_on(put);
            }
            Some(Query::HandOver { key, peer }) => self.handed_over(&key, &peer, answer),
            _ => {}
        }
    }
}

/// The nodes that shall store: of those found the admitted ones, and others only where these are too few. What a liar names in
/// an answer is asked by libp2p all the same, but need not solve the puzzle.
fn choose<T>(point: &Distance, radius: f64, admitted: Vec<Candidate<T>>, others: Vec<Candidate<T>>) -> Vec<T> {
    let mut chosen = lookup::choose(point, radius, admitted);
    let missing = crate::limits::REPLICAS.saturating_sub(chosen.len());
    chosen.extend(lookup::choose(point, radius, others).into_iter().take(missing));
    chosen
}

/// A peer's place in the Kademlia space.
pub(super) fn place(peer: &PeerId) -> Distance {
    Sha256::digest(peer.to_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(from: u8, count: u8) -> Vec<Candidate<u8>> {
        let places = (from..from + count).map(|number| {
            let mut place = [0; 32];
            place[0] = number;
            Candidate { place, address: None, node: number }
        });
        places.collect()
    }

    #[test]
    fn whoever_was_not_admitted_stores_only_where_the_admitted_are_too_few() {
        let (strangers, admitted) = (candidates(0, 40), candidates(100, 25));
        let chosen = choose(&[0; 32], 1.0, admitted, strangers.clone());
        assert_eq!(chosen, (100..125).collect::<Vec<_>>());
        let chosen = choose(&[0; 32], 1.0, candidates(100, 5), strangers);
        let replicas = crate::limits::REPLICAS;
        assert_eq!((chosen.len(), chosen.iter().filter(|node| **node >= 100).count()), (replicas, 5));
    }
}
