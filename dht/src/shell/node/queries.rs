// SPDX-License-Identifier: GPL-2.0-or-later
//! GETs and PUTs in progress: which libp2p query belongs to which request, and when patience ends.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures::channel::oneshot as reply;
use libp2p::PeerId;
use libp2p::kad::QueryId;
use tokio::sync::mpsc;

use super::patience::Patience;
use super::{Given, NodeError, PutReport};
use crate::lookup::{self, Distance};
use crate::shell::limits;

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
    /// Refused without a look at it, since the node is asked too often.
    Busy,
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
    /// How long each of its lookups may take.
    pub(super) patience: Duration,
    /// Whether one of them was ended before it had found all.
    is_cut_short: bool,
    /// Nodes chosen.
    pub(super) chosen: HashSet<PeerId>,
    /// Of them, those not asked yet.
    pub(super) waiting: VecDeque<PeerId>,
    /// Nodes asked that have not answered yet.
    pub(super) asked: usize,
}

impl Put {
    /// Whether its lookups so far have asked everybody whom they heard of.
    pub(super) fn has_looked_through(&self) -> bool {
        !self.is_cut_short
    }

    fn is_over(&self) -> bool {
        self.lookups == 0 && self.waiting.is_empty() && self.asked == 0
    }

    /// Whether its search had too little time, and it shows, in a network of so many nodes. A second look has more, and finds
    /// standing what the first one has connected.
    fn is_worth_another_look(&self, nodes: f64) -> bool {
        let PutReport { stored, refused, .. } = self.report;
        let is_first = self.patience < limits::PUT_LOOK_AGAIN;
        self.is_cut_short && is_first && lookup::is_worth_another_look(stored, refused, nodes)
    }
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
    patience: Patience,
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
        let (found, chosen, waiting) = (HashMap::new(), HashSet::new(), VecDeque::new());
        let (patience, is_cut_short, is_spread) = (limits::PUT_LOOKUP, false, false);
        let (lookups, asked) = (0, 0);
        let put =
            Put { key, value, report, done, lookups, is_spread, found, patience, is_cut_short, chosen, waiting, asked };
        self.puts.insert(id, put);
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
            Answer::Busy => {
                put.report.refused += 1;
                put.report.busy += 1;
            }
            Answer::Unreachable => put.report.unreachable += 1,
        }
        put.asked = put.asked.saturating_sub(1);
    }

    /// A PUT that has asked all that it found and is worth another look, in a network of so many nodes: it has begun anew, and this
    /// is its key.
    pub(super) fn look_again(&mut self, id: PutId, nodes: f64) -> Option<Vec<u8>> {
        let put = self.puts.get_mut(&id).filter(|put| put.is_over() && put.is_worth_another_look(nodes))?;
        (put.patience, put.is_cut_short, put.is_spread) = (limits::PUT_LOOK_AGAIN, false, false);
        Some(put.key.clone())
    }

    /// The report of a PUT of which nothing is left to be done.
    pub(super) fn end_put(&mut self, id: PutId) -> Option<(PutReport, PutReply)> {
        let is_over = self.puts.get(&id)?.is_over();
        is_over.then(|| self.puts.remove(&id))?.map(|put| (put.report, put.done))
    }

    pub(super) fn start(&mut self, id: QueryId, query: Query, deadline: Instant) {
        self.running.insert(id, Running { query, patience: Patience::until(deadline) });
    }

    pub(super) fn get(&self, id: &QueryId) -> Option<&Query> {
        self.running.get(id).map(|running| &running.query)
    }

    pub(super) fn finish(&mut self, id: &QueryId) -> Option<Query> {
        self.running.remove(id).map(|running| running.query)
    }

    /// The node was held up for so long: all get so much more time, see [`Patience::forgive`].
    pub(super) fn forgive(&mut self, late: Duration) {
        self.running.values_mut().for_each(|running| running.patience.forgive(late));
    }

    /// The first deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.running.values().map(|running| running.patience.end()).min()
    }

    /// Requests whose time is up or whose reader has gone; each is named once, its result comes as an event.
    pub(super) fn overdue(&mut self, now: Instant, grace: Duration) -> Vec<QueryId> {
        let mut overdue = Vec::new();
        for (id, running) in &mut self.running {
            if running.patience.is_over(now) || running.query.is_abandoned() {
                running.patience = Patience::until(now + grace);
                overdue.push(*id);
                if let Query::Nearest { put, .. } = running.query
                    && let Some(put) = self.puts.get_mut(&put)
                {
                    put.is_cut_short = true;
                }
            }
        }
        overdue
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_put_that_found_too_little_in_time_and_was_refused_looks_again_once() {
        let mut queries = Queries::default();
        let (done, _outcome) = reply::channel();
        let id = queries.begin_put(vec![1], vec![2], false, done);
        let answer = |queries: &mut Queries, answer| {
            queries.put(id).unwrap().asked += 1;
            queries.answered(id, answer);
        };
        answer(&mut queries, Answer::Stored);
        answer(&mut queries, Answer::Refused);
        assert_eq!(queries.look_again(id, 40.0), None, "its lookup had found all there were");
        queries.put(id).unwrap().is_cut_short = true;
        queries.put(id).unwrap().asked = 1;
        assert_eq!(queries.look_again(id, 40.0), None, "one has not answered yet");
        answer(&mut queries, Answer::Unreachable);
        queries.put(id).unwrap().asked = 0;
        assert_eq!(queries.look_again(id, 40.0), Some(vec![1]));
        queries.put(id).unwrap().is_cut_short = true;
        assert_eq!(queries.look_again(id, 40.0), None, "twice is enough");
        let (report, _) = queries.end_put(id).unwrap();
        assert_eq!((report.stored, report.refused, report.unreachable), (1, 1, 1));
    }

    #[test]
    fn who_is_asked_too_often_is_among_those_that_refused_and_told_apart() {
        let mut queries = Queries::default();
        let (done, _outcome) = reply::channel();
        let id = queries.begin_put(vec![1], vec![2], true, done);
        for answer in [Answer::Busy, Answer::Stored, Answer::Refused, Answer::Unreachable] {
            queries.put(id).unwrap().asked += 1;
            queries.answered(id, answer);
        }
        let (report, _) = queries.end_put(id).unwrap();
        assert_eq!((report.asked(), report.refused, report.busy), (4, 2, 1));
    }
}
