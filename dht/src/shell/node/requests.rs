// SPDX-License-Identifier: GPL-2.0-or-later
//! GETs and PUTs at work: from a handle's command over libp2p's queries to the answer.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::kad::{self, QueryResult};
use tokio::sync::mpsc;

use super::driver::{Command, Driver, GetCommand, PutCommand};
use super::queries::{Answer, PutReply, Query};
use super::{NodeError, PutReport, Role};
use crate::shell::limits;

/// A request that waits for the first peer.
pub(super) struct Parked {
    work: Work,
    pub(super) until: Instant,
}

/// What a handle asked for.
enum Work {
    Get { key: Vec<u8>, limit: Duration, values: mpsc::Sender<Vec<u8>> },
    Put { key: Vec<u8>, value: Vec<u8>, local: bool, done: PutReply },
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
            Command::Shutdown(_) => {}
        }
    }

    fn on_get(&mut self, get: GetCommand) {
        if self.is_overloaded() {
            let _ = get.begun.send(Err(NodeError::Busy(limits::QUERIES)));
            return;
        }
        self.counters.gets += 1;
        // Whoever asked may have gone; the query then ends at its first event.
        let _ = get.begun.send(Ok(()));
        let now = self.admission.clock.now();
        let held_here = self.kad().store_mut().records.get(now, &get.key).is_some();
        let GetCommand { key, limit, values, .. } = get;
        self.start_or_park(Work::Get { key, limit, values }, held_here);
    }

    fn on_put(&mut self, put: PutCommand) {
        let PutCommand { key, value, done } = put;
        if self.is_overloaded() {
            let _ = done.send(Err(NodeError::Busy(limits::QUERIES)));
            return;
        }
        self.counters.puts += 1;
        if let Err(error) = self.admission.check_clock() {
            let _ = done.send(Err(error));
            return;
        }
        let local = self.role == Role::Server;
        if local && let Err(reason) = self.kad().store_mut().admit(&key, &value) {
            let _ = done.send(Err(NodeError::Refused(reason)));
            return;
        }
        self.start_or_park(Work::Put { key, value, local, done }, false);
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
            self.parked.push(Parked { work, until: Instant::now() + limits::FIRST_PEER });
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
            Work::Get { key, limit, values } => {
                let id = self.kad().get_record(key.into());
                self.queries.start(id, Query::Get { values }, now + limit);
            }
            Work::Put { key, value, local, done } => {
                let id = self.kad().get_closest_peers(key.clone());
                self.queries.start(id, Query::Nearest { key, value, local, done }, now + limits::PUT_LOOKUP);
            }
        }
    }

    pub(super) fn on_progress(&mut self, id: kad::QueryId, result: QueryResult, last: bool) {
        match result {
            QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))) => self.on_value(id, found.record.value),
            QueryResult::GetRecord(_) if last => {
                // Dropping the channel is the end that the reader sees.
                self.queries.finish(&id);
            }
            QueryResult::GetClosestPeers(result) => {
                let peers = match result {
                    Ok(found) => found.peers,
                    Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                self.on_nearest(id, peers.into_iter().map(|peer| peer.peer_id).collect());
            }
            QueryResult::PutRecord(result) => {
                self.on_stored(id, result.is_ok());
            }
            _ => {}
        }
    }

    /// Hands a value to its reader; a reader that has gone or has seen enough ends the query.
    fn on_value(&mut self, id: kad::QueryId, value: Vec<u8>) {
        let Some(Query::Get { values }) = self.queries.get(&id) else { return };
        if values.try_send(value).is_err()
            && let Some(mut query) = self.kad().query_mut(&id)
        {
            query.finish();
        }
    }

    fn on_nearest(&mut self, id: kad::QueryId, nearest: Vec<PeerId>) {
        let Some(Query::Nearest { key, value, local, done }) = self.queries.finish(&id) else { return };
        let own = *self.swarm.local_peer_id();
        let asked: Vec<PeerId> = nearest.into_iter().filter(|peer| *peer != own).collect();
        if asked.is_empty() {
            let _ = done.send(Ok(PutReport { local, ..PutReport::default() }));
            return;
        }
        let put = self.queries.begin_put(local, asked.len(), done);
        let deadline = Instant::now() + limits::PUT_STORE;
        // One query for each node: in one query for all, three that do not answer would hold up the rest.
        for peer in asked {
            let mut record = kad::Record::new(key.clone(), value.clone());
            record.publisher = Some(own);
            let id = self.kad().put_record_to(record, std::iter::once(peer), kad::Quorum::One);
            self.queries.start(id, Query::Store { put, peer }, deadline);
        }
    }

    /// A refusal is a stream that the peer resets or leaves without answer: libp2p does not tell them from silence, but a
    /// peer whose connection stands has had the time to answer.
    fn on_stored(&mut self, id: kad::QueryId, stored: bool) {
        let Some(Query::Store { put, peer }) = self.queries.finish(&id) else { return };
        let answer = match (stored, self.swarm.is_connected(&peer)) {
            (true, _) => Answer::Stored,
            (false, true) => Answer::Refused,
            (false, false) => Answer::Unreachable,
        };
        if let Some((report, done)) = self.queries.answered(put, answer) {
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
    }
}
