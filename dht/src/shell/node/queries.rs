// SPDX-License-Identifier: GPL-2.0-or-later
//! GETs and PUTs in progress: which libp2p query belongs to which request, and when patience ends.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures::channel::oneshot as reply;
use libp2p::PeerId;
use libp2p::kad::QueryId;
use tokio::sync::mpsc;

use super::{Given, NodeError, PutReport};
use crate::lookup::Distance;

/// Where the outcome of a PUT goes.
pub(super) type PutReply = reply::Sender<Result<PutReport, NodeError>>;

/// One PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PutId(u64);

/// What one node has answered to a PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Stored,
    Refused,
    Unreachable,
}

/// A PUT, from the search for its nodes to their answers.
pub(super) struct Put {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    pub(super) report: PutReport,
    pub(super) done: PutReply,
    /// Lookups that still run, and whether the region's other quarters are among them or done.
    pub(super) lookups: usize,
    pub(super) is_spread: bool,
    /// Nodes that answered, and where from.
    pub(super) found: HashMap<PeerId, Option<IpAddr>>,
    /// Nodes chosen and not asked yet.
    pub(super) waiting: VecDeque<PeerId>,
    /// Nodes asked that have not answered yet.
    pub(super) asked: usize,
}

/// One request in one of its phases.
pub(super) enum Query {
    /// Values are handed to the reader as they come.
    Get { values: mpsc::Sender<Given> },
    /// The nodes that shall store are being looked for.
    Nearest { put: PutId, point: Distance, is_sample: bool },
    /// This node has been asked to store, as one of several of a PUT.
    Store { put: PutId },
    /// This node is being handed a record.
    HandOver { key: Vec<u8>, peer: PeerId },
}

impl Query {
    /// Whether nobody waits for the outcome any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Get { values } => values.is_closed(),
            // A publisher that went away still wants its record stored.
            Self::Nearest { .. } | Self::Store { .. } | Self::HandOver { .. } => false,
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
        let gets = self.running.values().filter(|running| matches!(running.query, Query::Get { .. })).count();
        gets + self.puts.len()
    }

    /// A PUT whose nodes are to be found.
    pub(super) fn begin_put(&mut self, key: Vec<u8>, value: Vec<u8>, local: bool, done: PutReply) -> PutId {
        self.last_put += 1;
        let id = PutId(self.last_put);
        let report = PutReport { local, ..PutReport::default() };
        let (found, waiting) = (HashMap::new(), VecDeque::new());
        self.puts.insert(id, Put { key, value, report, done, lookups: 0, is_spread: false, found, waiting, asked: 0 });
        id
    }

    /// A PUT in progress.
    pub(super) fn put(&mut self, id: PutId) -> Option<&mut Put> {
        self.puts.get_mut(&id)
    }

    /// One node has answered.
    pub(super) fn answered(&mut self, id: PutId, answer: Answer) {
        let Some(put) = self.puts.get_mut(&id) else { return };
        match answer {
            Answer::Stored => put.report.stored += 1,
            Answer::Refused => put.report.refused += 1,
            Answer::Unreachable => put.report.unreachable += 1,
        }
        put.asked = put.asked.saturating_sub(1);
    }

    /// The report of a PUT of which nothing is left to be done.
    pub(super) fn end_put(&mut self, id: PutId) -> Option<(PutReport, PutReply)> {
        let put = self.puts.get(&id)?;
        let is_over = put.lookups == 0 && put.waiting.is_empty() && put.asked == 0;
        is_over.then(|| self.puts.remove(&id))?.map(|put| (put.report, put.done))
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
