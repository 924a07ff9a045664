// SPDX-License-Identifier: GPL-2.0-or-later
//! Lookups through a node: GETs that stop when enough is known, and whole resolutions.

use std::time::{Duration, Instant, SystemTime};

use cgeid::Network;
use futures::future::{join_all, try_join_all};
use wire::address::EidPrefix;

use super::limits;
use super::node::{Node, NodeError, Values};
use crate::lookup::{News, Reading};
use crate::record::{CertificateCache, RecordKey};
use crate::resolve::{Resolution, Resolver};

/// What a GET brought, and what it cost.
#[derive(Debug, Default)]
pub struct GetReport {
    /// What is worth knowing of all copies seen: valid ones that differ, the newest among them; if there are none, one of the
    /// others. They are to be verified still.
    pub values: Vec<Vec<u8>>,
    /// How long it took until the first copy that holds was there.
    pub first: Option<Duration>,
    /// Sequential round trips up to that copy, or up to the end if there was none; see [`super::node::Given::round`].
    pub rounds: usize,
    /// Requests sent up to the end.
    pub requests: usize,
}

/// Reads what is under a key: until three copies hold that come from different blocks or one is a REVOCATION, no more come, or
/// the others are late.
///
/// # Errors
/// As [`Node::values`].
pub async fn get(node: &Node, network: Network, key: &RecordKey) -> Result<GetReport, NodeError> {
    let mut read = Read::begin(node, network, *key).await?;
    read.first().await;
    read.rest(limits::FURTHER).await;
    let rounds = read.rounds();
    Ok(GetReport { values: read.values(), first: read.first, rounds, requests: read.given.requests() })
}

/// A GET whose first valid copy is used at once.
#[derive(Debug)]
pub struct Read {
    key: RecordKey,
    begun: Instant,
    reading: Reading,
    given: Values,
    certificates: CertificateCache,
    first: Option<Duration>,
    /// When the first copy that holds had come from somebody else.
    heard: Option<Duration>,
    round: Option<usize>,
    has_ended: bool,
}

impl Read {
    /// Begins.
    ///
    /// # Errors
    /// As [`Node::values`].
    pub async fn begin(node: &Node, network: Network, key: RecordKey) -> Result<Self, NodeError> {
        let begun = Instant::now();
        let given = node.values(key.encode(), limits::GET).await?;
        let (reading, certificates) = (Reading::new(network, key), CertificateCache::new());
        Ok(Self { key, begun, reading, given, certificates, first: None, heard: None, round: None, has_ended: false })
    }

    /// Waits for the first copy that holds; false if there is none.
    pub async fn first(&mut self) -> bool {
        while !self.reading.has_valid() {
            if self.next(limits::GET_MOST).await.is_none() {
                return false;
            }
        }
        true
    }

    /// Whether, with no copy that holds, so many have answered that there is none; see [`Values::is_answered`].
    pub fn is_answered(&self) -> bool {
        self.reading.has_valid() || self.given.is_answered()
    }

    /// Waits for a copy that changes what is known; false if none comes, or the next copy takes longer than `patience`, or than
    /// the first one of others took if that is more.
    pub async fn newer(&mut self, patience: Duration) -> bool {
        while !self.reading.is_over() {
            // The first of others may take as long as a GET: the own copy, which is there at once, may be outdated.
            let patience = self.heard.map_or(limits::GET, |took| patience.max(took));
            match self.next(patience).await {
                Some(News::First | News::Newer) => return true,
                Some(News::Nothing) => {}
                None => return false,
            }
        }
        false
    }

    /// Reads on up to the end; whether anything changed what is known.
    pub async fn rest(&mut self, patience: Duration) -> bool {
        let mut changed = false;
        while self.newer(patience).await {
            changed = true;
        }
        changed
    }

    /// What is worth knowing of all copies so far; see [`Reading::values`].
    pub fn values(&self) -> Vec<Vec<u8>> {
        self.reading.values()
    }

    /// Round trips up to the first copy that holds, or all if there is none.
    fn rounds(&self) -> usize {
        self.round.unwrap_or_else(|| self.given.rounds())
    }

    async fn next(&mut self, patience: Duration) -> Option<News> {
        if self.has_ended {
            return None;
        }
        let Ok(Some(given)) = tokio::time::timeout(patience, self.given.next()).await else {
            self.has_ended = true;
            return None;
        };
        let round = given.round;
        let news = self.reading.take(SystemTime::now(), given.from, given.value, &mut self.certificates);
        if news == News::First {
            self.first = Some(self.begun.elapsed());
            self.round = Some(round);
        }
        if self.heard.is_none() && self.reading.is_witnessed() {
            self.heard = Some(self.begun.elapsed());
        }
        Some(news)
    }
}

/// What a resolution cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// GETs.
    pub lookups: usize,
    /// Sequential round trips up to the first outcome: of GETs that ran side by side the longest counts.
    pub rounds: usize,
    /// Requests sent.
    pub requests: usize,
    /// How long the first outcome took; reading on may have changed it.
    pub first: Duration,
}

/// Resolves an EID, and says what it cost. Each step uses the first copy that holds; what came later counts in the end, and if it
/// changes anything the way is gone again with what is known then.
///
/// # Errors
/// As [`Node::get`].
pub async fn resolve(node: &Node, resolver: &mut Resolver, eid: EidPrefix) -> Result<(Resolution, Cost), NodeError> {
    let begun = Instant::now();
    let mut reads: Vec<Read> = Vec::new();
    let mut cost = Cost::default();
    let mut resolution = walk(node, resolver, eid, &mut reads, &mut cost).await?;
    cost.first = begun.elapsed();
    for _ in 1..TURNS {
        let changed = join_all(reads.iter_mut().map(|read| read.rest(limits::FURTHER))).await;
        if !changed.contains(&true) {
            break;
        }
        for read in &reads {
            resolver.learn(SystemTime::now(), &read.key, &read.values());
        }
        resolution = walk(node, resolver, eid, &mut reads, &mut cost).await?;
    }
    cost.lookups = reads.len();
    cost.requests = reads.iter().map(|read| read.given.requests()).sum();
    Ok((resolution, cost))
}

/// Ways gone for one resolution: each but the first follows news, which there is of a page and of what it leads to.
const TURNS: usize = 4;

/// Goes the way once; what was read before is not read again.
async fn walk(
    node: &Node,
    resolver: &mut Resolver,
    eid: EidPrefix,
    reads: &mut Vec<Read>,
    cost: &mut Cost,
) -> Result<Resolution, NodeError> {
    let network = resolver.network;
    let mut resolution = Resolution::new(resolver, eid, SystemTime::now());
    loop {
        if resolution.outcome().is_some() {
            return Ok(resolution);
        }
        let keys: Vec<RecordKey> = std::iter::from_fn(|| resolution.poll()).collect();
        if keys.is_empty() {
            // Cannot be: a resolution without outcome waits for a key that it has asked for.
            return Ok(resolution);
        }
        let new = keys.iter().filter(|key| reads.iter().all(|read| read.key != **key));
        let mut begun = try_join_all(new.map(|key| Read::begin(node, network, *key))).await?;
        join_all(begun.iter_mut().map(Read::first)).await;
        cost.rounds += begun.iter().map(Read::rounds).max().unwrap_or_default();
        reads.append(&mut begun);
        for key in &keys {
            let values = reads.iter().find(|read| read.key == *key).map(Read::values).unwrap_or_default();
            resolution.handle(resolver, SystemTime::now(), key, &values);
        }
    }
}
