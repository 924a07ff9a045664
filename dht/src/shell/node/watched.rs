// SPDX-License-Identifier: GPL-2.0-or-later
//! What is seen of our own queries as their messages go by: how many requests they sent, how many of those waited for one
//! another, who answered, and how a PUT was answered. libp2p tells none of it.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use libp2p::PeerId;
use libp2p::kad::QueryId;

use crate::block::Block;
use crate::limits::WITNESSES;
use crate::shell::limits;

/// What a query has cost so far, and who has answered it; shared with whoever waits for it.
#[derive(Debug, Default)]
pub(super) struct Effort {
    rounds: AtomicUsize,
    requests: AtomicUsize,
    /// Blocks that the known peers lie in when it begins, [`WITNESSES`] at most.
    known: AtomicUsize,
    /// Blocks from which a GET was answered, [`WITNESSES`] at most; an address that nobody knows counts as one more.
    answered: Mutex<BTreeSet<Option<Block>>>,
}

impl Effort {
    /// The longest chain of requests each of which waited for the answer to the one before.
    pub(super) fn rounds(&self) -> usize {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Requests sent.
    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// The query begins where peers of so many blocks are known.
    pub(super) fn begins(&self, known: usize) {
        self.known.store(known.min(WITNESSES), Ordering::Relaxed);
    }

    /// Whether as many blocks have answered a GET as it takes to believe that there is nothing: the silence of the others may be
    /// anybody's doing. A node that knows nobody is answered by nobody.
    pub(super) fn is_answered(&self) -> bool {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner).len();
        answered >= self.known.load(Ordering::Relaxed).max(1)
    }

    fn hear(&self, from: Option<IpAddr>) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.len() < WITNESSES {
            answered.insert(from.map(Block::of));
        }
    }
}

/// What a peer has said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// It refuses the value: it says so, or it closed the stream without an answer.
    Refused,
    /// It is asked too often, and did not look at the value.
    Busy,
    /// It said nothing in time.
    Silent,
}

/// One query.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// In which round each peer was asked.
    asked: HashMap<PeerId, usize>,
    /// In which round the request was sent whose answer came last.
    last: usize,
    /// Who answered, and where from.
    pub(super) answered: HashMap<PeerId, Option<IpAddr>>,
    /// What the peer of a PUT has said that is no acknowledgement.
    pub(super) reply: Option<Reply>,
    effort: Arc<Effort>,
}

impl Watched {
    fn ask(&mut self, peer: PeerId) {
        let round = self.last + 1;
        self.asked.insert(peer, round);
        self.effort.requests.fetch_add(1, Ordering::Relaxed);
        self.effort.rounds.fetch_max(round, Ordering::Relaxed);
    }

    /// An answer, or the news that there will be none: requests sent from now on have waited for it.
    fn end(&mut self, peer: &PeerId) {
        self.last = self.asked.get(peer).copied().unwrap_or(self.last + 1);
    }
}

/// The queries that are watched. Their number is that of the queries in progress, which is bounded.
#[derive(Debug, Default)]
pub(super) struct Watch {
    queries: HashMap<QueryId, Watched>,
}

impl Watch {
    /// Begins before the query has sent anything.
    pub(super) fn begin(&mut self, query: QueryId, effort: Arc<Effort>) {
        self.queries.insert(query, Watched { effort, ..Watched::default() });
    }

    /// What was seen of a query that has ended.
    pub(super) fn end(&mut self, query: &QueryId) -> Watched {
        self.queries.remove(query).unwrap_or_default()
    }

    /// In which round a peer was asked.
    pub(super) fn round(&self, query: &QueryId, peer: &PeerId) -> usize {
        self.queries.get(query).and_then(|watched| watched.asked.get(peer)).copied().unwrap_or_default()
    }

    /// A request goes out on a connection that stands.
    pub(super) fn sent(&mut self, query: &QueryId, peer: PeerId) {
        if let Some(watched) = self.queries.get_mut(query) {
            watched.ask(peer);
        }
    }

    /// A peer is dialled: a request waits for its connection. libp2p does not say whose, so it counts for those queries that
    /// have no request at that peer yet; of lookups that run one at a time the count is exact.
    pub(super) fn dialled(&mut self, peer: PeerId) {
        for watched in self.queries.values_mut().filter(|watched| !watched.asked.contains_key(&peer)) {
            watched.ask(peer);
        }
    }

    /// A peer has answered.
    pub(super) fn answered(&mut self, query: &QueryId, peer: PeerId, from: Option<IpAddr>) {
        let Some(watched) = self.queries.get_mut(query) else { return };
        watched.end(&peer);
        if watched.answered.len() < limits::RESPONDERS {
            watched.answered.insert(peer, from);
        }
    }

    /// A peer has answered a GET, with or without a value. That it is asked too often is no answer, and has another form.
    pub(super) fn told(&self, query: &QueryId, from: Option<IpAddr>) {
        if let Some(watched) = self.queries.get(query) {
            watched.effort.hear(from);
        }
    }

    /// A peer has answered a PUT with something else than its echo.
    pub(super) fn refused(&mut self, query: &QueryId) {
        if let Some(watched) = self.queries.get_mut(query) {
            watched.reply = Some(Reply::Refused);
        }
    }

    /// A peer has answered a PUT as it would a GET of what it does not have: it is asked too often.
    pub(super) fn busy(&mut self, query: &QueryId) {
        if let Some(watched) = self.queries.get_mut(query) {
            watched.reply = Some(Reply::Busy);
        }
    }

    /// A request has failed.
    pub(super) fn failed(&mut self, query: &QueryId, peer: &PeerId, error: &dyn std::error::Error) {
        let Some(watched) = self.queries.get_mut(query) else { return };
        watched.end(peer);
        let kind = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
        let silent = kind.is_none_or(|kind| kind == io::ErrorKind::TimedOut);
        watched.reply = Some(if silent { Reply::Silent } else { Reply::Refused });
    }

    /// A peer could not be dialled: no query need wait for it.
    pub(super) fn unreachable(&mut self, peer: &PeerId) {
        for watched in self.queries.values_mut().filter(|watched| watched.asked.contains_key(peer)) {
            watched.end(peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_get_is_answered_by_three_blocks_or_all_that_are_known() {
        let answered = |known: usize, from: &[[u8; 4]]| {
            let effort = Effort::default();
            effort.begins(known);
            from.iter().for_each(|address| effort.hear(Some(IpAddr::from(*address))));
            effort.is_answered()
        };
        let (one, same, two, three) = ([198, 51, 100, 1], [198, 51, 100, 2], [198, 51, 101, 1], [198, 51, 102, 1]);
        assert!(!answered(0, &[]), "nobody is known, and nobody answers");
        assert!(answered(0, &[one]), "somebody who came to be known meanwhile");
        assert!(!answered(1, &[]) && answered(1, &[one]));
        assert!(!answered(2, &[one, same]) && answered(2, &[one, two]));
        assert!(!answered(9, &[one, two, same]) && answered(9, &[one, two, three]));
    }

    #[test]
    fn a_round_is_a_request_that_waited_for_an_answer() {
        let peers: Vec<PeerId> = (0..7).map(|_| PeerId::random()).collect();
        let mut watched = Watched::default();
        for peer in &peers[..3] {
            watched.ask(*peer);
        }
        assert_eq!((watched.effort.rounds(), watched.effort.requests()), (1, 3), "at once");
        watched.end(&peers[0]);
        watched.ask(peers[3]);
        watched.end(&peers[1]);
        watched.ask(peers[4]);
        assert_eq!((watched.effort.rounds(), watched.effort.requests()), (2, 5), "two that waited for one each");
        watched.end(&peers[3]);
        watched.ask(peers[5]);
        assert_eq!(watched.effort.rounds(), 3, "this one waited for two");
        // The last of the first three is late: what it leads to has waited for one answer only.
        watched.end(&peers[2]);
        watched.ask(peers[6]);
        assert_eq!((watched.asked.get(&peers[6]), watched.effort.rounds()), (Some(&2), 3));
    }
}
