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

/// One request in one of its phases.
pub(super) enum Query {
    /// Values are handed to the reader as they come.
    Get { values: mpsc::Sender<Vec<u8>> },
    /// The nodes that shall store are being looked for.
    Nearest { key: Vec<u8>, value: Vec<u8>, local: bool, done: PutReply },
    /// These nodes have been asked to store.
    Store { asked: Vec<PeerId>, local: bool, done: PutReply },
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
}

impl Queries {
    pub(super) fn len(&self) -> usize {
        self.running.len()
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
