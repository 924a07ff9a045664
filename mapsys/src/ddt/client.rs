// SPDX-License-Identifier: GPL-2.0-or-later
//! The DDT client: from the root to the Map-Server of an EID (RFC 8111, section 7.3).
//!
//! One search for each XEID, however many ask for it. DDT nodes are asked in our own name, with nonces of our own; a
//! Map-Server that was found gets the requests of those who wait, with their nonces, because whoever has the mapping answers
//! them and not us. An ITR knows the nonce of its own request and could answer it in the Map-Server's name. So an answer to
//! it ends the search when it says that all is well, and counts for nothing else: what it denies is asked again in our name.

mod answers;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wire::address::EidPrefix;
use wire::control::{Nonce, Referral};
use wire::record::Ttl;

use super::chain::{Chain, Received};
use super::pending::{Pending, Start, Waiter};
use super::ranked::{self, Ranked};
use super::referrals::{Known, Referrals};
use super::{Config, Kind, NonceSecret};
use crate::limit::Bucket;
use crate::limits::{DDT_ANSWERS, DDT_PENDING, DDT_SHARED_NONCE, DDT_WAITERS};
use crate::refusal::Refusal;
use crate::resolve::found::Found;
use crate::transport::{Sockets, may_send_to};

/// Who waits for an XEID.
pub trait Asker: Clone {
    /// The nonce of its Map-Request.
    fn nonce(&self) -> Nonce;
    /// Whether the two are requests of one ITR: the later takes the place of the earlier (RFC 8111, section 8.1.1).
    fn is_same(&self, other: &Self) -> bool;
}

/// What the client wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<A> {
    /// Send a DDT Map-Request in our own name, without security material (RFC 8111, section 7.3.2).
    Probe {
        /// Receiver.
        to: SocketAddr,
        /// What for.
        host: EidPrefix,
        /// With this nonce.
        nonce: Nonce,
    },
    /// Send the asker's own request, with whatever security material it has (RFC 8111, section 7.3.2).
    Deliver {
        /// Receiver: a Map-Server.
        to: SocketAddr,
        /// What for.
        host: EidPrefix,
        /// Whose.
        asker: A,
    },
    /// Tell the asker that there is nothing.
    Negative {
        /// What it asked for.
        host: EidPrefix,
        /// Whom.
        asker: A,
        /// A hole, or what is not registered.
        found: Found,
    },
    /// Count that.
    Refused(Refusal),
}

/// The client's state.
#[derive(Debug)]
pub struct Client<A> {
    roots: Vec<SocketAddr>,
    sockets: Sockets,
    secret: NonceSecret,
    drawn: u64,
    referrals: Referrals,
    chain: Chain,
    pending: HashMap<EidPrefix, Pending<A>>,
    waits: HashMap<Nonce, Vec<EidPrefix>>,
    /// Verifications of answers that have the nonce of an ITR.
    receipts: Option<Bucket>,
    queue: BTreeSet<(Instant, EidPrefix)>,
    steps: VecDeque<Step<A>>,
}

impl<A: Asker> Client<A> {
    /// A client that sends from `sockets`.
    pub fn new(config: &Config, sockets: Sockets) -> Self {
        Self {
            roots: config.roots.clone(),
            sockets,
            secret: config.secret,
            drawn: 0,
            referrals: Referrals::default(),
            chain: Chain::new(config.anchors.clone()),
            pending: HashMap::new(),
            waits: HashMap::new(),
            receipts: None,
            queue: BTreeSet::new(),
            steps: VecDeque::new(),
        }
    }

    /// Takes over what a former client has heard of revoked keys, which a reload brings back no more than time does.
    pub fn remember(&mut self, former: Self) {
        self.chain.remember(former.chain);
    }

    /// Sends from other addresses from now on.
    pub fn readdress(&mut self, sockets: Sockets) {
        self.sockets = sockets;
    }

    /// Whether there is a root to ask.
    pub fn has_roots(&self) -> bool {
        !self.roots.is_empty()
    }

    /// Whether a search for `host` is under way.
    pub fn is_pending(&self, host: &EidPrefix) -> bool {
        self.pending.contains_key(host)
    }

    /// Number of searches.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Number of cached referrals.
    pub fn cached(&self) -> usize {
        self.referrals.len()
    }

    /// Number of keys that are known to be revoked.
    pub fn revoked(&self) -> usize {
        self.chain.revoked()
    }

    /// Searches for `host`. What is known not to be there is said at once (RFC 8111, section 7.3.1).
    ///
    /// # Errors
    /// `RequestTableFull`, of the EIDs that wait with its nonce too, or `ReferralUnanswered` without any root to ask.
    pub fn ask(&mut self, now: Instant, host: EidPrefix, asker: A) -> Result<Option<Found>, Refusal> {
        if self.is_pending(&host) {
            return self.join(host, asker).map(|()| None);
        }
        let start = match self.referrals.get(now, &host) {
            Some((prefix, Known::Hole)) => return Ok(Some(Found::Hole(self.referrals.narrowed(&prefix, &host)))),
            Some((prefix, Known::Unregistered)) => {
                return Ok(Some(Found::Unregistered(self.referrals.narrowed(&prefix, &host))));
            }
            Some((prefix, Known::Servers(kind, servers))) => {
                // Whose keys are gone has nothing to say that counts.
                let lives = |server: &&Ranked| self.chain.has_keys(now, server.address.ip(), prefix);
                let (kind, servers): (_, Vec<_>) = (*kind, servers.iter().filter(lives).copied().collect());
                let servers = self.in_order(servers);
                match servers.is_empty() {
                    true => self.root(),
                    false => Start { scope: Some(prefix), kind, servers, is_from_root: false },
                }
            }
            None => self.root(),
        };
        if start.servers.is_empty() {
            return Err(Refusal::ReferralUnanswered);
        }
        if self.pending.len() >= DDT_PENDING || !self.has_room(asker.nonce(), &host) {
            return Err(Refusal::RequestTableFull);
        }
        self.wait_for(asker.nonce(), host);
        let mut pending = Pending::new(now, start);
        pending.waiters.push(Waiter { asker, is_served: false });
        self.pending.insert(host, pending);
        self.send(now, host);
        Ok(None)
    }

    /// One more who waits, or the same with a new nonce.
    fn join(&mut self, host: EidPrefix, asker: A) -> Result<(), Refusal> {
        let nonce = asker.nonce();
        if !self.has_room(nonce, &host) {
            return Err(Refusal::RequestTableFull);
        }
        let Some(pending) = self.pending.get_mut(&host) else { return Ok(()) };
        let old = match pending.waiters.iter().position(|waiter| waiter.asker.is_same(&asker)) {
            Some(index) => Some(pending.waiters.remove(index).asker.nonce()),
            None if pending.waiters.len() >= DDT_WAITERS => return Err(Refusal::RequestTableFull),
            None => None,
        };
        if let Some(to) = pending.server().filter(|_| pending.is_delivering) {
            self.steps.push_back(Step::Deliver { to, host, asker: asker.clone() });
        }
        pending.waiters.push(Waiter { asker, is_served: false });
        // Two ITRs may have drawn one nonce.
        let is_shared = pending.waiters.iter().any(|waiter| Some(waiter.asker.nonce()) == old);
        if let Some(old) = old.filter(|_| !is_shared) {
            self.unwait(old, &host);
        }
        self.wait_for(nonce, host);
        Ok(())
    }

    /// The order in which a search asks the servers of a Referral Set.
    fn in_order(&mut self, servers: Vec<Ranked>) -> Vec<SocketAddr> {
        let (secret, drawn) = (self.secret, &mut self.drawn);
        ranked::in_order(servers, || fresh(secret, drawn).0)
    }

    fn root(&self) -> Start {
        let servers = self.roots.iter().copied().filter(|root| self.is_usable(*root)).collect();
        Start { scope: None, kind: Kind::Node, servers, is_from_root: true }
    }

    /// Takes a Map-Referral from `from`.
    ///
    /// # Errors
    /// `ReferralUnasked` if nobody waits for it from there, `ReferralAstray` if it does not speak of what was asked; under trust
    /// anchors `ReferralUnsigned`, `ReferralSignatureUntimely` or `ReferralBadSignature`: it changes nothing then, and who was asked
    /// has time to say something better (RFC 8111, sections 8.2.1 and 10.4).
    pub fn take(&mut self, now: Instant, from: IpAddr, received: Received<'_>) -> Result<(), Refusal> {
        let message = received.message;
        let hosts = self.waits.get(&message.nonce).cloned().unwrap_or_default();
        let mut outcome = Err(Refusal::ReferralUnasked);
        for host in hosts {
            let Some(pending) = self.pending.get(&host) else { continue };
            if let Some(server) = pending.asked(from, message.nonce) {
                outcome = self.take_answer(now, host, server, received);
            } else if let Some(server) = pending.delivered_to(from) {
                outcome = self.take_receipt(now, host, server, received);
            }
        }
        outcome
    }

    /// Takes a Map-Reply to our own request: some Map-Servers send it in place of a Map-Referral, or beside one (RFC 8111, section 7.3.3,
    /// calls it an error). Whoever answers for the EID gets the requests of those who wait, once.
    ///
    /// # Errors
    /// `NotForMapSystem` if it is none of ours, `ReferralUnsigned` under trust anchors: nothing says whose it is.
    pub fn take_reply(&mut self, now: Instant, from: IpAddr, nonce: Nonce) -> Result<(), Refusal> {
        let hosts = self.waits.get(&nonce).cloned().unwrap_or_default();
        for host in hosts {
            let asked = self.pending.get(&host).and_then(|pending| pending.asked(from, nonce));
            if asked.is_some() && self.chain.is_required() {
                return Err(Refusal::ReferralUnsigned);
            }
            let Some(server) = asked else { continue };
            // Others send both, in either order: the second says nothing new.
            if self.pending.get(&host).is_some_and(|pending| !pending.is_delivering) {
                self.deliver(now, host, server);
            }
            return Ok(());
        }
        Err(Refusal::NotForMapSystem)
    }

    /// Takes note that the request of `asker` cannot be sent to `to`, because others could read its one-time key: the next
    /// server has its turn. `true` if none is left, and the asker is to be told so; for this one the search is over then.
    pub fn undeliverable(&mut self, now: Instant, host: EidPrefix, to: SocketAddr, asker: &A) -> bool {
        let Some(pending) = self.pending.get_mut(&host).filter(|pending| pending.server() == Some(to)) else {
            return false;
        };
        if pending.dismiss(to).is_some() {
            self.send(now, host);
            return false;
        }
        self.let_go(host, asker);
        true
    }

    /// Ends the search for `asker`, whatever it would find.
    pub fn let_go(&mut self, host: EidPrefix, asker: &A) {
        let Some(pending) = self.pending.get_mut(&host) else { return };
        let same = |waiter: &&mut Waiter<A>| waiter.asker.is_same(asker) && waiter.asker.nonce() == asker.nonce();
        pending.waiters.iter_mut().filter(same).for_each(|waiter| waiter.is_served = true);
        if pending.waiters.iter().all(|waiter| waiter.is_served) {
            self.end(&host);
        }
    }

    fn go_on(&mut self, now: Instant, host: EidPrefix, start: Start) {
        let Some(pending) = self.pending.get_mut(&host) else { return };
        let nonces: Vec<Nonce> = pending.nonces().collect();
        pending.follow(start);
        nonces.into_iter().for_each(|nonce| self.unwait(nonce, &host));
        self.send(now, host);
    }

    /// Begins at the root with the referral forgotten that led to nobody. Less specific ones lead to others too.
    fn begin_anew(&mut self, now: Instant, host: EidPrefix) {
        self.forget_scope(&host);
        let start = self.root();
        self.go_on(now, host, start);
    }

    fn forget_scope(&mut self, host: &EidPrefix) {
        if let Some(scope) = self.pending.get(host).and_then(|pending| pending.scope) {
            self.referrals.forget(&scope);
        }
    }

    fn deliver(&mut self, now: Instant, host: EidPrefix, server: SocketAddr) {
        if let Some(pending) = self.pending.get_mut(&host) {
            pending.turn_to(server, true);
        }
        self.send(now, host);
    }

    /// Bounds the search, whatever the answers are (RFC 8111, section 7.3.4).
    fn count_answer(&mut self, host: EidPrefix) -> Result<(), Refusal> {
        let Some(pending) = self.pending.get_mut(&host) else { return Ok(()) };
        pending.answers += 1;
        if pending.answers <= DDT_ANSWERS {
            return Ok(());
        }
        self.end(&host);
        Err(Refusal::ReferralTooDeep)
    }

    /// Asks the server whose turn it is.
    fn send(&mut self, now: Instant, host: EidPrefix) {
        let Some(pending) = self.pending.get_mut(&host) else { return };
        self.queue.remove(&(pending.retry, host));
        let (Some(to), Some(retry)) = (pending.server(), pending.schedule(now)) else {
            // Of many silent servers not each has had its rounds. What the root has said of them a moment ago is as good as ever.
            if !pending.is_from_root {
                self.forget_scope(&host);
            }
            self.steps.push_back(Step::Refused(Refusal::ReferralUnanswered));
            return self.end(&host);
        };
        self.queue.insert((retry, host));
        if pending.is_delivering {
            pending.delivered(to);
            let left = pending.waiters.iter().filter(|waiter| !waiter.is_served);
            self.steps.extend(left.map(|waiter| Step::Deliver { to, host, asker: waiter.asker.clone() }));
            return;
        }
        let (secret, drawn) = (self.secret, &mut self.drawn);
        let nonce = pending.nonce(to, || fresh(secret, drawn));
        self.steps.push_back(Step::Probe { to, host, nonce });
        self.wait_for(nonce, host);
    }

    /// Does what is due: asks again, or somebody else (RFC 8111, section 7.3.2).
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((_, host)) = self.queue.first().copied().filter(|(at, _)| *at <= now) {
            self.queue.pop_first();
            let Some(pending) = self.pending.get_mut(&host) else { continue };
            if pending.next().is_some() {
                self.send(now, host);
            } else if !pending.is_from_root {
                // What led here may be old: keys, for which section 10.4 of RFC 8111 has this, or one Map-Server of several that is
                // no more. Who knows newer ones is asked.
                self.begin_anew(now, host);
            } else {
                self.steps.push_back(Step::Refused(Refusal::ReferralUnanswered));
                self.end(&host);
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Step<A>> {
        self.steps.pop_front()
    }

    fn conclude(&mut self, host: EidPrefix, found: &Found) {
        let Some(pending) = self.take_out(&host) else { return };
        let left = pending.waiters.into_iter().filter(|waiter| !waiter.is_served);
        self.steps.extend(left.map(|waiter| Step::Negative { host, asker: waiter.asker, found: found.clone() }));
    }

    /// Forgets a search.
    fn end(&mut self, host: &EidPrefix) {
        let _ = self.take_out(host);
    }

    /// Takes a search out of the list, and out of all that refers to it.
    fn take_out(&mut self, host: &EidPrefix) -> Option<Pending<A>> {
        let pending = self.pending.remove(host)?;
        self.queue.remove(&(pending.retry, *host));
        let askers = pending.waiters.iter().map(|waiter| waiter.asker.nonce());
        for nonce in pending.nonces().chain(askers).collect::<Vec<_>>() {
            self.unwait(nonce, host);
        }
        Some(pending)
    }

    fn keep(&mut self, now: Instant, prefix: EidPrefix, known: Known, referral: &Referral) {
        let life = if referral.ttl == Ttl::WITHDRAWN { Duration::ZERO } else { referral.ttl.lifetime() };
        self.referrals.put(now, prefix, known, life);
    }

    /// Whether `host` may wait with the nonce of an ITR: one answer that has it is looked at for each EID that does.
    fn has_room(&self, nonce: Nonce, host: &EidPrefix) -> bool {
        self.waits.get(&nonce).is_none_or(|hosts| hosts.len() < DDT_SHARED_NONCE || hosts.contains(host))
    }

    fn wait_for(&mut self, nonce: Nonce, host: EidPrefix) {
        let hosts = self.waits.entry(nonce).or_default();
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }

    fn unwait(&mut self, nonce: Nonce, host: &EidPrefix) {
        if let Some(hosts) = self.waits.get_mut(&nonce) {
            hosts.retain(|waiting| waiting != host);
            if hosts.is_empty() {
                self.waits.remove(&nonce);
            }
        }
    }

    /// Whether anything may be sent there: this node itself is not to be asked.
    fn is_usable(&self, server: SocketAddr) -> bool {
        let local = self.sockets.towards(server.ip(), None);
        local.is_some() && !self.sockets.0.contains(&server) && may_send_to(server.ip(), local)
    }
}

/// A number that nobody can guess, and never the same.
fn fresh(secret: NonceSecret, drawn: &mut u64) -> Nonce {
    *drawn += 1;
    secret.draw(*drawn)
}

#[cfg(test)]
mod tests;
