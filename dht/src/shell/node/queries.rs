// SPDX-License-Identifier: GPL-2.0-or-later
//! GETs and PUTs in progress: which libp2p query belongs to which request, and when patience ends.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::channel::oneshot as reply;
use libp2p::PeerId;
use libp2p::kad::QueryId;
use tokio::sync::mpsc;

use super::{NodeError, PutReport};

/// Where the outcome of a PUT goes.
pub(super) type PutReply = reply::Sender<Result<PutReport, NodeError>>;

/// One PUT whose nodes have been asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PutId(u64);

/// What one node has answered to a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Stored,
    Refused,
    Unreachable,
}

/// A PUT and the answers to it.
struct Put {
    report: PutReport,
    waiting: usize,
    done: PutReply,
}

/// One request in one of its phases.
pub(super) enum Query {
    /// Values are handed to the reader as they come.
    Get { values: mpsc::Sender<Vec<u8>> },
    /// The nodes that shall store are being looked for.
    Nearest { key: Vec<u8>, value: Vec<u8>, local: bool, done: PutReply },
    /// This node has been asked to store, as one of several of a PUT.
    Store { put: PutId, peer: PeerId },
}

impl Query {
    /// Whether nobody waits for the outcome any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Get { values } => values.is_closed(),
            // A publisher that went away still wants its record stored.
            Self::Nearest { .. } | Self::Store { .. } => false,
        }
    }
}

struct Running {
    query: Query,
    deadline: Instant,
}

/// The requests in progress.
#[derive(Default)]
pub(super) struct Queries {
    running: HashMap<QueryId, Running>,
    puts: HashMap<PutId, Put>,
    last_put: u64,
}

impl Queries {
    /// GETs and PUTs in progress.
    pub(super) fn len(&self) -> usize {
        let storing = self.running.values().filter(|running| matches!(running.query, Query::Store { .. })).count();
        self.running.len() - storing + self.puts.len()
    }

    /// A PUT of which `waiting` nodes are being asked.
    pub(super) fn begin_put(&mut self, local: bool, waiting: usize, done: PutReply) -> PutId {
        self.last_put += 1;
        let id = PutId(self.last_put);
        self.puts.insert(id, Put { report: PutReport { local, ..PutReport::default() }, waiting, done });
        id
    }

    /// One node has answered; the report, when it was the last.
    pub(super) fn answered(&mut self, id: PutId, answer: Answer) -> Option<(PutReport, PutReply)> {
        let put = self.puts.get_mut(&id)?;
        match answer {
            Answer::Stored => put.report.stored += 1,
            Answer::Refused => put.report.refused += 1,
            Answer::Unreachable => put.report.unreachable += 1,
        }
        put.waiting = put.waiting.saturating_sub(1);
        if put.waiting > 0 {
            return None;
        }
        self.puts.remove(&id).map(|put| (put.report, put.done))
    }

    pub(super) fn start(&mut self, id: QueryId, query: Query, deadline: Instant) {
        self.running.insert(id, Running { query, deadline });
    }

    pub(super) fn get(&self, id: &QueryId) -> Option<&Query> {
        self.running.get(id).map(|running| &running.query)
    }

    pub(super) fn finish(&mut self, id: &QueryId) -> Option<Query> {
        self.running.remove(id).map(|running| running.query)
    }

    /// The first deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.running.values().map(|running| running.deadline).min()
    }

    /// Requests whose time is up or whose reader has gone; each is named once, its result comes as an event.
    pub(super) fn overdue(&mut self, now: Instant, grace: Duration) -> Vec<QueryId> {
        let mut overdue = Vec::new();
        for (id, running) in &mut self.running {
            if running.deadline <= now || running.query.is_abandoned() {
                running.deadline = now + grace;
                overdue.push(*id);
            }
        }
        overdue
    }
}
