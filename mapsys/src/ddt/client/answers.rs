// SPDX-License-Identifier: GPL-2.0-or-later
//! What the client makes of the answers, action by action (RFC 8111, sections 7.3.2 to 7.3.4).

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use wire::address::{Address, EidPrefix, Lcaf};
use wire::control::{MapReferral, Referral, ReferralAction};
use wire::record::LocatorRecord;

use super::{Asker, Client, Step};
use crate::ddt::Kind;
use crate::ddt::chain::Received;
use crate::ddt::pending::{Pending, Start};
use crate::ddt::ranked::Ranked;
use crate::ddt::referrals::Known;
use crate::ddt::revoked;
use crate::limit::Bucket;
use crate::limits::{DDT_SERVERS, RECEIPT_BURST, RECEIPT_RATE};
use crate::refusal::Refusal;
use crate::resolve::found::Found;

impl<A: Asker> Client<A> {
    /// The answer to the request of somebody who waits.
    pub(super) fn take_receipt(
        &mut self,
        now: Instant,
        host: EidPrefix,
        server: SocketAddr,
        received: Received<'_>,
    ) -> Result<(), Refusal> {
        if !self.pending.get(&host).is_some_and(|pending| pending.is_delivering) {
            return Ok(());
        }
        if covering(received.message, &host).is_none() {
            return Err(Refusal::ReferralAstray);
        }
        if self.chain.is_required() {
            let bucket = self.receipts.get_or_insert_with(|| Bucket::full(now, RECEIPT_BURST));
            bucket.spend(now, RECEIPT_BURST, RECEIPT_RATE).ok_or(Refusal::ReceiptBudget)?;
        }
        // Who knows the nonce can repeat what a key has signed of itself, and make nothing up.
        if self.hear(now, host, server, &received) {
            return Ok(());
        }
        let verified = self.verified(now, host, server, received);
        let Some(pending) = self.pending.get_mut(&host) else { return Ok(()) };
        let Ok((_, referral)) = verified else {
            // Who knows the nonce may have made it up; or the keys are old. The server says which, to a request of our own.
            pending.turn_to(server, false);
            self.count_answer(host)?;
            self.send(now, host);
            return verified.map(|_| ());
        };
        if referral.action != ReferralAction::MsAck {
            pending.turn_to(server, false);
            return self.count_answer(host).map(|()| self.send(now, host));
        }
        for waiter in pending.waiters.iter_mut().filter(|waiter| waiter.asker.nonce() == received.message.nonce) {
            waiter.is_served = true;
        }
        if pending.waiters.iter().all(|waiter| waiter.is_served) {
            self.end(&host);
        }
        Ok(())
    }

    /// The answer to a request of our own (RFC 8111, section 7.3.2).
    pub(super) fn take_answer(
        &mut self,
        now: Instant,
        host: EidPrefix,
        server: SocketAddr,
        received: Received<'_>,
    ) -> Result<(), Refusal> {
        if covering(received.message, &host).is_none() {
            return Err(Refusal::ReferralAstray);
        }
        let Some(pending) = self.pending.get(&host).filter(|pending| !pending.is_delivering) else { return Ok(()) };
        let scope = pending.scope;
        self.count_answer(host)?;
        if self.hear(now, host, server, &received) {
            return Ok(());
        }
        let verified = self.verified(now, host, server, received);
        if let Some(pending) = self.pending.get_mut(&host).filter(|_| verified.is_err()) {
            pending.unverified(server);
        }
        let (prefix, referral) = verified?;
        let referral = &referral;
        let is_inside = scope.is_none_or(|scope| scope.covers(&prefix));
        match referral.action {
            ReferralAction::NodeReferral => self.refer(now, host, server, prefix, (referral, Kind::Node)),
            ReferralAction::MsReferral => self.refer(now, host, server, prefix, (referral, Kind::MapServer)),
            ReferralAction::MsAck => {
                if is_inside && !referral.incomplete {
                    self.chain.narrow(now, server.ip(), scope, prefix);
                    // Whoever said so has the prefix; the Referral Sets of some name their ETRs.
                    self.keep(now, prefix, Known::Servers(Kind::MapServer, vec![Ranked::only(server)]), referral);
                }
                self.deliver(now, host, server);
            }
            // Less specific than what led here (RFC 8111, section 8.2.1).
            _ if referral.action != ReferralAction::NotAuthoritative && !is_inside => {
                self.stray(now, host, server, Refusal::ReferralLoop);
            }
            ReferralAction::MsNotRegistered => self.not_registered(now, host, server, prefix, referral),
            ReferralAction::DelegationHole => self.hole(now, host, prefix, referral),
            ReferralAction::NotAuthoritative => self.stray(now, host, server, Refusal::ReferralNotAuthoritative),
            ReferralAction::Unassigned6 | ReferralAction::Unassigned7 => return Err(Refusal::ReferralAstray),
        }
        Ok(())
    }

    /// The record that speaks of `host`, verified where there are trust anchors.
    fn verified(
        &self,
        now: Instant,
        host: EidPrefix,
        server: SocketAddr,
        received: Received<'_>,
    ) -> Result<(EidPrefix, Referral), Refusal> {
        let (prefix, referral) = covering(received.message, &host).ok_or(Refusal::ReferralAstray)?;
        let scope = self.pending.get(&host).and_then(|pending| pending.scope);
        let verified = self.chain.verify(now, (server.ip(), scope), (prefix, referral), &received)?;
        Ok((prefix, verified))
    }

    /// NODE-REFERRAL and MS-REFERRAL. What is not more specific than what led here is a loop (RFC 8111, section 7.3.4).
    fn refer(
        &mut self,
        now: Instant,
        host: EidPrefix,
        server: SocketAddr,
        prefix: EidPrefix,
        (referral, kind): (&Referral, Kind),
    ) {
        let Some(pending) = self.pending.get(&host) else { return };
        if pending.scope.is_some_and(|scope| scope == prefix || !scope.covers(&prefix)) {
            return self.stray(now, host, server, Refusal::ReferralLoop);
        }
        let mut servers = self.servers_of(referral);
        if servers.is_empty() {
            return self.stray(now, host, server, Refusal::ReferralAstray);
        }
        if self.chain.is_required() {
            // Of the others nothing would count.
            servers.retain(|child| self.chain.learn(now, child.address.ip(), prefix, referral));
            if servers.is_empty() {
                return self.stray(now, host, server, Refusal::ReferralNoKeys);
            }
        }
        if !referral.incomplete {
            self.keep(now, prefix, Known::Servers(kind, servers.clone()), referral);
        }
        let servers = self.in_order(servers);
        self.go_on(now, host, Start { scope: Some(prefix), kind, servers, is_from_root: false });
    }

    /// Hears which keys `server` revokes (RFC 8111, section 10.2.1): what these had proven is forgotten, and searches that it has led
    /// begin anew. `true` if that for `host` does, too.
    fn hear(&mut self, now: Instant, host: EidPrefix, server: SocketAddr, received: &Received<'_>) -> bool {
        let scope = self.pending.get(&host).and_then(|pending| pending.scope);
        let void = self.chain.hear(now, (server.ip(), scope), received);
        if void.is_empty() {
            return false;
        }
        self.referrals.forget_all(|prefix| void.covers(prefix));
        let is_led = |pending: &Pending<A>| pending.scope.is_some_and(|scope| void.is_below(&scope));
        let led: Vec<_> = self.pending.iter().filter(|(_, pending)| is_led(pending)).map(|(host, _)| *host).collect();
        for host in led {
            let start = self.root();
            self.go_on(now, host, start);
        }
        self.pending.get(&host).is_none_or(|pending| pending.scope != scope)
    }

    /// MS-NOT-REGISTERED: the other Map-Servers may know more; if none does, it is unreachable for a minute.
    fn not_registered(
        &mut self,
        now: Instant,
        host: EidPrefix,
        server: SocketAddr,
        prefix: EidPrefix,
        referral: &Referral,
    ) {
        if self.pending.get_mut(&host).is_some_and(|pending| pending.dismiss(server).is_some()) {
            return self.send(now, host);
        }
        let narrowed = self.referrals.narrowed(&prefix, &host);
        let found = Found::Unregistered(narrowed);
        if !referral.incomplete {
            self.referrals.put(now, narrowed, Known::Unregistered, self.denied_for(now, &found, referral));
        }
        self.conclude(host, &found);
    }

    /// DELEGATION-HOLE: there is nothing, for a quarter of an hour. One that says itself that it is incomplete says nothing of
    /// its neighbours.
    fn hole(&mut self, now: Instant, host: EidPrefix, prefix: EidPrefix, referral: &Referral) {
        let narrowed = if referral.incomplete { host } else { self.referrals.narrowed(&prefix, &host) };
        let found = Found::Hole(narrowed);
        if !referral.incomplete {
            self.referrals.put(now, narrowed, Known::Hole, self.denied_for(now, &found, referral));
        }
        self.conclude(host, &found);
    }

    /// How long a denial is kept: no longer than its signature holds.
    fn denied_for(&self, now: Instant, found: &Found, referral: &Referral) -> Duration {
        let life = found.lifetime(now);
        if self.chain.is_required() { life.min(referral.ttl.lifetime()) } else { life }
    }

    /// An answer that leads nowhere: the next server of the set is asked, then once the root with the referral forgotten that led
    /// here, and then nobody (RFC 8111, sections 7.3.2, 7.3.3 and 8.2.1).
    fn stray(&mut self, now: Instant, host: EidPrefix, server: SocketAddr, refusal: Refusal) {
        self.steps.push_back(Step::Refused(refusal));
        let Some(pending) = self.pending.get_mut(&host) else { return };
        if pending.dismiss(server).is_some() {
            return self.send(now, host);
        }
        if pending.is_from_root {
            return self.end(&host);
        }
        self.begin_anew(now, host);
    }

    /// The Referral Set: those that can be sent to, the best first; of a huge one as many as are kept.
    fn servers_of(&self, referral: &Referral) -> Vec<Ranked> {
        let candidates = referral.locators.iter().filter(|locator| locator.priority != LocatorRecord::UNUSABLE);
        let ranked = candidates.filter_map(|locator| {
            let address = SocketAddr::new(address(&locator.rloc)?, wire::CONTROL_PORT);
            Some(Ranked { address, priority: locator.priority, weight: locator.weight })
        });
        let mut servers: Vec<Ranked> = ranked.filter(|server| self.is_usable(server.address)).collect();
        servers.sort_by_key(|server| (server.priority, Reverse(server.weight)));
        servers.truncate(DDT_SERVERS);
        servers
    }
}

/// The record of a Map-Referral that speaks of `host`, of two alike the one that revokes no key. The others, if there are any, were not
/// asked for.
fn covering<'a>(message: &'a MapReferral, host: &EidPrefix) -> Option<(EidPrefix, &'a Referral)> {
    let records = message.records.iter().filter_map(|referral| Some((referral.eid.ip_prefix()?, referral)));
    records
        .filter(|(prefix, _)| prefix.covers(host))
        .max_by_key(|(prefix, referral)| (prefix.net.prefix_len(), revoked::named(referral).next().is_none()))
}

/// The address of a locator, which may come with its keys (RFC 8111, section 6.4, Loc-AFI).
fn address(rloc: &Address) -> Option<IpAddr> {
    match rloc {
        Address::Lcaf(lcaf) => match lcaf.as_ref() {
            Lcaf::SecurityKey { address, .. } => address.ip(),
            _ => None,
        },
        plain => plain.ip(),
    }
}
