// SPDX-License-Identifier: GPL-2.0-or-later
//! One entry of the pending request list (RFC 8111, section 7.3.1): an XEID, who wants it, and how far the search has come.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wire::address::EidPrefix;
use wire::control::Nonce;

use super::Kind;
use crate::limits::{DDT_PATIENCE, DDT_RETRY, DDT_ROUNDS};

/// Who waits for an XEID.
#[derive(Debug)]
pub(super) struct Waiter<A> {
    pub(super) asker: A,
    /// Whether a Map-Server has said that it has this one's request.
    pub(super) is_served: bool,
}

/// A pending request.
#[derive(Debug)]
pub(super) struct Pending<A> {
    pub(super) waiters: Vec<Waiter<A>>,
    /// The XEID-prefix of the last referral followed; none before the first.
    pub(super) scope: Option<EidPrefix>,
    /// Whom that referred to.
    pub(super) servers: Vec<SocketAddr>,
    /// What the referral says that they are.
    kind: Kind,
    /// Whether the one whose turn it is counts as a Map-Server, which gets the requests of those who wait, instead of one of
    /// our own.
    pub(super) is_delivering: bool,
    /// Whether the search has begun at the root, or did so anew.
    pub(super) is_from_root: bool,
    /// Answers followed so far.
    pub(super) answers: usize,
    /// When something is to be done.
    pub(super) retry: Instant,
    at: usize,
    round: u32,
    asked: Vec<Asked>,
    ends: Instant,
}

/// What one of the servers was sent, and whether it was of use.
#[derive(Debug)]
struct Asked {
    server: SocketAddr,
    /// The nonce of our own request to it.
    nonce: Option<Nonce>,
    was_delivered: bool,
    /// Whether it answered our own request with what no key verified.
    is_unverified: bool,
    is_useless: bool,
}

/// Where a search goes on.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) scope: Option<EidPrefix>,
    pub(super) kind: Kind,
    pub(super) servers: Vec<SocketAddr>,
    pub(super) is_from_root: bool,
}

impl<A> Pending<A> {
    pub(super) fn new(now: Instant, start: Start) -> Self {
        Self {
            waiters: Vec::new(),
            scope: start.scope,
            servers: start.servers,
            kind: start.kind,
            is_delivering: start.kind == Kind::MapServer,
            is_from_root: start.is_from_root,
            answers: 0,
            retry: now,
            at: 0,
            round: 0,
            asked: Vec::new(),
            ends: now + DDT_PATIENCE,
        }
    }

    /// Follows a referral, or begins anew at the root.
    pub(super) fn follow(&mut self, start: Start) {
        self.scope = start.scope;
        self.servers = start.servers;
        self.kind = start.kind;
        self.is_delivering = start.kind == Kind::MapServer;
        self.is_from_root |= start.is_from_root;
        (self.at, self.round) = (0, 0);
        self.asked.clear();
    }

    /// The server whose turn it is.
    pub(super) fn server(&self) -> Option<SocketAddr> {
        self.servers.get(self.at).copied()
    }

    /// Makes it the turn of `server`, to which the requests themselves go from now on or not.
    pub(super) fn turn_to(&mut self, server: SocketAddr, is_delivering: bool) {
        self.at = self.servers.iter().position(|known| *known == server).unwrap_or(self.at);
        self.is_delivering = is_delivering;
    }

    /// The next server that was not found useless; each has its turn again in the next round, at most [`DDT_ROUNDS`] times.
    fn advance(&mut self) -> Option<SocketAddr> {
        let last = self.server();
        for _ in 0..=self.servers.len() {
            self.at += 1;
            if self.at >= self.servers.len() {
                (self.at, self.round) = (0, self.round + 1);
            }
            if self.round >= DDT_ROUNDS {
                return None;
            }
            let server = self.server()?;
            if !self.asked.iter().any(|asked| asked.server == server && asked.is_useless) {
                if Some(server) != last {
                    self.is_delivering = self.kind == Kind::MapServer;
                }
                return Some(server);
            }
        }
        None
    }

    /// Sets the time of the next attempt; `None` when there is to be none.
    pub(super) fn schedule(&mut self, now: Instant) -> Option<Instant> {
        let pause: Duration = DDT_RETRY * 2u32.saturating_pow(self.round);
        self.retry = (now + pause).min(self.ends);
        (now < self.ends).then_some(self.retry)
    }

    /// The nonce of our request to `server`, made by `draw` at the first time: a late answer counts as well.
    pub(super) fn nonce(&mut self, server: SocketAddr, draw: impl FnOnce() -> Nonce) -> Nonce {
        *self.asked_mut(server).nonce.get_or_insert_with(draw)
    }

    /// Takes note that `server` has been sent the requests of those who wait.
    pub(super) fn delivered(&mut self, server: SocketAddr) {
        self.asked_mut(server).was_delivered = true;
    }

    /// Takes note that no key verified what `server` answered to a request of our own.
    pub(super) fn unverified(&mut self, server: SocketAddr) {
        self.asked_mut(server).is_unverified = true;
    }

    /// Who is to be asked when the time of the last one is up. One whose answer no key verified has had time for a better one.
    pub(super) fn next(&mut self) -> Option<SocketAddr> {
        let unverified =
            self.asked.iter().find(|asked| asked.is_unverified && !asked.is_useless).map(|asked| asked.server);
        match unverified.filter(|_| !self.is_from_root) {
            Some(server) => self.dismiss(server),
            None => self.advance(),
        }
    }

    /// Takes note that `server` knows nothing, or nothing good; the next one that may.
    pub(super) fn dismiss(&mut self, server: SocketAddr) -> Option<SocketAddr> {
        self.asked_mut(server).is_useless = true;
        self.at = self.servers.iter().position(|known| *known == server).unwrap_or(self.at);
        // Without a new round: whoever is left is asked at once, and not once more than others.
        let useless = |server: &SocketAddr| self.asked.iter().any(|asked| asked.server == *server && asked.is_useless);
        let next = (1..=self.servers.len()).map(|step| (self.at + step) % self.servers.len().max(1));
        self.at = next.into_iter().find(|at| self.servers.get(*at).is_some_and(|server| !useless(server)))?;
        // What one node of a set said of itself says nothing of its neighbours.
        self.is_delivering &= self.kind == Kind::MapServer;
        self.server()
    }

    /// The server at `address` that was asked with this nonce of ours.
    pub(super) fn asked(&self, address: IpAddr, nonce: Nonce) -> Option<SocketAddr> {
        let of_ours = self.asked.iter().find(|asked| asked.server.ip() == address && asked.nonce == Some(nonce));
        of_ours.map(|asked| asked.server)
    }

    /// The server at `address` that was sent the requests of those who wait.
    pub(super) fn delivered_to(&self, address: IpAddr) -> Option<SocketAddr> {
        let there = self.asked.iter().find(|asked| asked.server.ip() == address && asked.was_delivered);
        there.map(|asked| asked.server)
    }

    /// The nonces of our own requests.
    pub(super) fn nonces(&self) -> impl Iterator<Item = Nonce> + '_ {
        self.asked.iter().filter_map(|asked| asked.nonce)
    }

    fn asked_mut(&mut self, server: SocketAddr) -> &mut Asked {
        let index = self.asked.iter().position(|asked| asked.server == server).unwrap_or_else(|| {
            self.asked.push(Asked {
                server,
                nonce: None,
                was_delivered: false,
                is_unverified: false,
                is_useless: false,
            });
            self.asked.len() - 1
        });
        &mut self.asked[index]
    }
}
