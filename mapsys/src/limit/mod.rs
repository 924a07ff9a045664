// SPDX-License-Identifier: GPL-2.0-or-later
//! Who may ask what, and how much comes back (DESIGN 4, "Abuse").
//!
//! The source of a UDP datagram proves nothing, so limits follow the *target* of the replies: whoever is flooded through
//! us gets at most three times what came in its name, and few replies about one EID-prefix.

pub(crate) mod bounded;
mod bucket;

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use sha2::{Digest as _, Sha256};
use wire::address::Address;

use crate::ddt::signer::Subject;
use crate::limits::{
    AMPLIFICATION, BALANCE_WINDOW, FORWARD_ONCE, MISS_BURST, MISS_BURST_ALL, MISS_RATE, MISS_RATE_ALL, REPLIES_PER_EID,
    REPLY_WINDOW, SIGNED_OCTETS, SIGNED_OCTETS_ALL, SIGNED_RATE, SIGNED_RATE_ALL, SIGNING_BURST, SIGNING_RATE,
    WATCHED_BLOCKS, WATCHED_FORWARDS, WATCHED_TARGETS, WITHHELD,
};
use crate::refusal::Refusal;
use crate::register::label::AnyEid;
use crate::transport::is_behind;
pub(crate) use bounded::Bounded;
pub(crate) use bucket::Bucket;

/// Who may ask for EIDs that are not registered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Foreign {
    /// Nobody on the network: the map system of one border node.
    #[default]
    Nobody,
    /// Whoever asks from one of the ITR-RLOCs that it gives, or from a NAT before all of them.
    FromItrRloc,
}

/// Where an answer about an EID that is not registered here goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerAt {
    /// To the first ITR-RLOC that can be sent to: a client may ask for others.
    ItrRloc,
    /// To the source, which is one of the ITR-RLOCs.
    Source,
    /// To the source, address and port, which are a NAT's: all ITR-RLOCs are behind it.
    Nat,
}

/// The limits' memory.
#[derive(Debug)]
pub struct Limiter {
    clients: Vec<IpNet>,
    foreign: Foreign,
    balances: Bounded<IpAddr, Balance>,
    /// Octets that the balances leave out, because the requests that they came with wait for their answers.
    withheld: Bounded<(u64, IpAddr), u64>,
    replies: Bounded<(IpAddr, AnyEid), Window>,
    misses: Bounded<IpNet, Bucket>,
    /// Of all blocks together: who makes up sources has as many blocks as he likes.
    all_misses: Option<Bucket>,
    forwarded: Bounded<[u8; 32], Instant>,
    /// Octets of signatures and keys, which the balances leave out.
    signed: Bounded<IpNet, Bucket>,
    all_signed: Option<Bucket>,
    signings: Signings,
}

/// New signatures of whoever asks: of what is configured, which is asked for anyway, of what revokes a key, and of the rest.
#[derive(Debug, Default)]
struct Signings {
    delegations: Option<Bucket>,
    revocations: Option<Bucket>,
    others: Option<Bucket>,
}

/// Octets in and out of one window.
#[derive(Debug, Clone, Copy)]
struct Balance {
    since: Instant,
    received: u64,
    sent: u64,
}

/// Replies of one window.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    replies: u32,
}

impl Limiter {
    /// No limits for `clients`.
    pub fn new(clients: Vec<IpNet>, foreign: Foreign) -> Self {
        Self {
            clients,
            foreign,
            balances: Bounded::new(WATCHED_TARGETS),
            withheld: Bounded::new(WITHHELD),
            replies: Bounded::new(WATCHED_TARGETS),
            misses: Bounded::new(WATCHED_BLOCKS),
            all_misses: None,
            forwarded: Bounded::new(WATCHED_FORWARDS),
            signed: Bounded::new(WATCHED_BLOCKS),
            all_signed: None,
            signings: Signings::default(),
        }
    }

    /// Lifts the limits for other clients; what was spent is remembered.
    pub fn reconfigure(&mut self, clients: Vec<IpNet>, foreign: Foreign) {
        (self.clients, self.foreign) = (clients, foreign);
    }

    /// Whether the operator lifted the limits for this source.
    pub fn is_client(&self, source: IpAddr) -> bool {
        self.clients.iter().any(|net| net.contains(&source))
    }

    /// Whether `source` may ask for an EID that is not registered here, and where its answer goes.
    ///
    /// # Errors
    /// `ForeignNotServed` or `ForeignNotFromItr`.
    pub fn admit_foreign(&self, source: IpAddr, itr_rlocs: &[Address]) -> Result<AnswerAt, Refusal> {
        let is_client = self.is_client(source);
        if self.foreign == Foreign::Nobody && !is_client {
            return Err(Refusal::ForeignNotServed);
        }
        if itr_rlocs.iter().any(|rloc| rloc.ip() == Some(source)) {
            return Ok(AnswerAt::Source);
        }
        let mut addresses = itr_rlocs.iter().filter_map(Address::ip).peekable();
        let is_nat = addresses.peek().is_some() && addresses.all(is_behind);
        // A Map-Resolver that is a client asks for ITRs of its own network, where they can be reached.
        match is_client {
            true if !is_nat || is_behind(source) => Ok(AnswerAt::ItrRloc),
            false if !is_nat => Err(Refusal::ForeignNotFromItr),
            _ => Ok(AnswerAt::Nat),
        }
    }

    /// Spends one of the lookups in the DHT of the source's block.
    ///
    /// # Errors
    /// `MissBudget`.
    pub fn spend_miss(&mut self, now: Instant, source: IpAddr) -> Result<(), Refusal> {
        if self.is_client(source) {
            return Ok(());
        }
        let of_block = self.misses.entry(block(source), || Bucket::full(now, MISS_BURST));
        of_block.spend(now, MISS_BURST, MISS_RATE).ok_or(Refusal::MissBudget)?;
        let of_all = self.all_misses.get_or_insert_with(|| Bucket::full(now, MISS_BURST_ALL));
        of_all.spend(now, MISS_BURST_ALL, MISS_RATE_ALL).ok_or(Refusal::MissBudget)
    }

    /// Counts a request whose replies go to `target`.
    pub fn received(&mut self, now: Instant, target: IpAddr, octets: usize) {
        let balance = self.balance(now, target);
        balance.received = balance.received.saturating_add(octets as u64);
    }

    /// Takes what has not been spent of the octets of a request out of the balance of `target`: its answer comes later, when the window
    /// may have ended. `request` is its number.
    pub fn withhold(&mut self, now: Instant, request: u64, target: IpAddr, octets: usize) {
        let balance = self.balance(now, target);
        let unspent = balance.received.saturating_sub(balance.sent.div_ceil(AMPLIFICATION));
        let octets = unspent.min(octets as u64);
        balance.received -= octets;
        if octets > 0 {
            let withheld = self.withheld.entry((request, target), || 0);
            *withheld = withheld.saturating_add(octets);
        }
    }

    /// Counts in the present window of `target` what was withheld of a request, as it may be answered now.
    pub fn release(&mut self, now: Instant, request: u64, target: IpAddr) {
        if let Some(octets) = self.withheld.remove(&(request, target)) {
            let balance = self.balance(now, target);
            balance.received = balance.received.saturating_add(octets);
        }
    }

    /// Counts a reply of that many octets about `eid` to `target`, if it may be sent.
    ///
    /// # Errors
    /// `ReplyAmplification` or `ReplyRate`; then nothing is counted.
    pub fn spend_reply(
        &mut self,
        now: Instant,
        target: IpAddr,
        eid: impl Into<AnyEid>,
        octets: usize,
    ) -> Result<(), Refusal> {
        let balance = self.balance(now, target);
        let sent = balance.sent.saturating_add(octets as u64);
        if sent > balance.received.saturating_mul(AMPLIFICATION) {
            return Err(Refusal::ReplyAmplification);
        }
        let window = self.replies.entry((target, eid.into()), || Window { since: now, replies: 0 });
        if now.saturating_duration_since(window.since) >= REPLY_WINDOW {
            *window = Window { since: now, replies: 0 };
        }
        if window.replies >= REPLIES_PER_EID {
            return Err(Refusal::ReplyRate);
        }
        window.replies += 1;
        self.balance(now, target).sent = sent;
        Ok(())
    }

    /// Counts octets to `target` that no EID-prefix limits, if they may be sent.
    ///
    /// # Errors
    /// `ReplyAmplification`; then nothing is counted.
    pub fn spend_octets(&mut self, now: Instant, target: IpAddr, octets: usize) -> Result<(), Refusal> {
        let balance = self.balance(now, target);
        let sent = balance.sent.saturating_add(octets as u64);
        if sent > balance.received.saturating_mul(AMPLIFICATION) {
            return Err(Refusal::ReplyAmplification);
        }
        balance.sent = sent;
        Ok(())
    }

    /// Counts octets of signatures and keys to the block of `target`, which no request is as long as, if they may be sent.
    ///
    /// # Errors
    /// `ReplyAmplification`.
    pub fn spend_signed(&mut self, now: Instant, target: IpAddr, octets: usize) -> Result<(), Refusal> {
        let of_block = self.signed.entry(block(target), || Bucket::full(now, SIGNED_OCTETS));
        of_block.spend_some(now, octets, SIGNED_OCTETS, SIGNED_RATE).ok_or(Refusal::ReplyAmplification)?;
        let of_all = self.all_signed.get_or_insert_with(|| Bucket::full(now, SIGNED_OCTETS_ALL));
        of_all.spend_some(now, octets, SIGNED_OCTETS_ALL, SIGNED_RATE_ALL).ok_or(Refusal::ReplyAmplification)
    }

    /// Spends one new signature, of a client too: it is our processor that is protected.
    ///
    /// # Errors
    /// `SigningBudget`.
    pub fn spend_signing(&mut self, now: Instant, subject: Subject) -> Result<(), Refusal> {
        let bucket = match subject {
            Subject::Delegation => &mut self.signings.delegations,
            Subject::Revocation => &mut self.signings.revocations,
            Subject::Other => &mut self.signings.others,
        };
        let bucket = bucket.get_or_insert_with(|| Bucket::full(now, SIGNING_BURST));
        bucket.spend(now, SIGNING_BURST, SIGNING_RATE).ok_or(Refusal::SigningBudget)
    }

    /// Takes note that an ECM is forwarded.
    ///
    /// # Errors
    /// `ForwardLoop` if the same one, octet for octet, was forwarded a moment ago.
    pub fn admit_forward(&mut self, now: Instant, ecm: &[u8]) -> Result<(), Refusal> {
        let mut fresh = false;
        let at = self.forwarded.entry(Sha256::digest(ecm).into(), || {
            fresh = true;
            now
        });
        if !fresh && now.saturating_duration_since(*at) < FORWARD_ONCE {
            return Err(Refusal::ForwardLoop);
        }
        *at = now;
        Ok(())
    }

    fn balance(&mut self, now: Instant, target: IpAddr) -> &mut Balance {
        let fresh = Balance { since: now, received: 0, sent: 0 };
        let balance = self.balances.entry(target, || fresh);
        if now.saturating_duration_since(balance.since) >= BALANCE_WINDOW {
            *balance = fresh;
        }
        balance
    }
}

/// The block that shares a budget: what one customer usually has.
fn block(source: IpAddr) -> IpNet {
    let length = if source.is_ipv4() { 24 } else { 56 };
    IpNet::new(source, length).unwrap_or_else(|_| IpNet::from(source)).trunc()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;
    use wire::address::{EidPrefix, InstanceId};

    const TARGET: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn eid(n: u8) -> EidPrefix {
        EidPrefix::host(InstanceId(0), IpAddr::from([10, 0, 0, n]))
    }

    #[test]
    fn replies_never_exceed_three_times_what_came() {
        let now = Instant::now();
        let mut limiter = Limiter::new(vec![], Foreign::Nobody);
        limiter.received(now, TARGET, 100);
        assert_eq!(limiter.spend_reply(now, TARGET, eid(1), 200), Ok(()));
        assert_eq!(limiter.spend_reply(now, TARGET, eid(2), 101), Err(Refusal::ReplyAmplification));
        assert_eq!(limiter.spend_reply(now, TARGET, eid(2), 100), Ok(()));
        let later = now + BALANCE_WINDOW;
        assert_eq!(limiter.spend_reply(later, TARGET, eid(3), 1), Err(Refusal::ReplyAmplification));
    }

    #[test]
    fn what_is_withheld_counts_once_and_when_its_request_is_answered() {
        let now = Instant::now();
        let mut limiter = Limiter::new(vec![], Foreign::Nobody);
        limiter.received(now, TARGET, 100);
        assert_eq!(limiter.spend_octets(now, TARGET, 31), Ok(()));
        limiter.withhold(now, 7, TARGET, 100);
        assert_eq!(limiter.spend_octets(now, TARGET, 3), Err(Refusal::ReplyAmplification), "11 of 100 stay for 31");
        let later = now + BALANCE_WINDOW;
        limiter.release(later, 8, TARGET);
        assert_eq!(limiter.spend_octets(later, TARGET, 1), Err(Refusal::ReplyAmplification), "of another request");
        limiter.release(later, 7, TARGET);
        limiter.release(later, 7, TARGET);
        assert_eq!(limiter.spend_octets(later, TARGET, 268), Err(Refusal::ReplyAmplification));
        assert_eq!(limiter.spend_octets(later, TARGET, 267), Ok(()));
    }

    #[test]
    fn one_prefix_is_told_four_times_in_three_seconds() {
        let now = Instant::now();
        let mut limiter = Limiter::new(vec![], Foreign::Nobody);
        limiter.received(now, TARGET, 100_000);
        for _ in 0..REPLIES_PER_EID {
            assert_eq!(limiter.spend_reply(now, TARGET, eid(1), 10), Ok(()));
        }
        assert_eq!(limiter.spend_reply(now, TARGET, eid(1), 10), Err(Refusal::ReplyRate));
        assert_eq!(limiter.spend_reply(now, TARGET, eid(2), 10), Ok(()));
        assert_eq!(limiter.spend_reply(now + REPLY_WINDOW, TARGET, eid(1), 10), Ok(()));
    }

    #[test]
    fn misses_are_spent_by_block_and_refilled() {
        let now = Instant::now();
        let mut limiter = Limiter::new(vec!["198.51.100.0/24".parse().unwrap()], Foreign::FromItrRloc);
        for n in (0..=255u8).cycle().take(MISS_BURST as usize) {
            let source = IpAddr::from([192, 0, 2, n]);
            assert_eq!(limiter.spend_miss(now, source), Ok(()));
        }
        assert_eq!(limiter.spend_miss(now, TARGET), Err(Refusal::MissBudget));
        assert_eq!(limiter.spend_miss(now, [203, 0, 113, 1].into()), Ok(()));
        assert_eq!(limiter.spend_miss(now, [198, 51, 100, 1].into()), Ok(()));
        assert_eq!(limiter.spend_miss(now + Duration::from_secs(1), TARGET), Ok(()));
    }

    #[test]
    fn all_strangers_together_have_a_budget_of_misses_that_made_up_sources_do_not_widen() {
        let now = Instant::now();
        let mut limiter = Limiter::new(vec!["198.51.100.0/24".parse().unwrap()], Foreign::FromItrRloc);
        let source = |n: u32| IpAddr::from((10 << 24 | n << 8).to_be_bytes());
        let granted = |limiter: &mut Limiter, at, sources: std::ops::Range<u32>| {
            sources.filter(|n| limiter.spend_miss(at, source(*n)).is_ok()).count()
        };
        assert_eq!(granted(&mut limiter, now, 0..10_000), MISS_BURST_ALL as usize);
        assert_eq!(limiter.spend_miss(now, [198, 51, 100, 1].into()), Ok(()), "a client is no stranger");
        // However often it is tried in between, it is the time that brings more.
        let granted: usize = (1..=2000u32)
            .map(|n| granted(&mut limiter, now + Duration::from_micros(500) * n, 20 * n..20 * n + 20))
            .sum();
        assert_eq!(granted, MISS_RATE_ALL as usize);
    }

    #[test]
    fn signatures_are_bounded_by_block_and_over_all_made_up_sources() {
        let now = Instant::now();
        let mut limiter = Limiter::new(vec![], Foreign::Nobody);
        let octets = |limiter: &mut Limiter, at, sources: std::ops::Range<u32>, shift: u32| {
            let source = |n: u32| IpAddr::from((10u32 << 24 | n << shift).to_be_bytes());
            1000 * sources.filter(|n| limiter.spend_signed(at, source(*n), 1000).is_ok()).count()
        };
        assert_eq!(octets(&mut limiter, now, 0..200, 0), 65_000, "one /24");
        assert_eq!(octets(&mut limiter, now, 1..2000, 8), SIGNED_OCTETS_ALL as usize / 1000 * 1000 - 65_000);
        let later = now + Duration::from_secs(1);
        assert_eq!(octets(&mut limiter, later, 0..200, 0), 7000, "536 were left");
    }

    #[test]
    fn foreign_eids_are_for_itrs_that_ask_from_their_own_locator() {
        let rlocs = [Address::from(TARGET)];
        let spoofed = IpAddr::from([203, 0, 113, 9]);
        let open = Limiter::new(vec![], Foreign::FromItrRloc);
        assert_eq!(open.admit_foreign(TARGET, &rlocs), Ok(AnswerAt::Source));
        assert_eq!(open.admit_foreign(spoofed, &rlocs), Err(Refusal::ForeignNotFromItr));
        let closed = Limiter::new(vec![], Foreign::Nobody);
        assert_eq!(closed.admit_foreign(TARGET, &rlocs), Err(Refusal::ForeignNotServed));
        let client = Limiter::new(vec!["203.0.113.0/24".parse().unwrap()], Foreign::Nobody);
        assert_eq!(client.admit_foreign(spoofed, &rlocs), Ok(AnswerAt::ItrRloc));
    }

    #[test]
    fn an_itr_all_of_whose_locators_are_behind_a_nat_is_answered_at_the_nat() {
        let rlocs = |all: &[&str]| -> Vec<Address> {
            all.iter().map(|text| Address::from(text.parse::<IpAddr>().unwrap())).collect()
        };
        let open = Limiter::new(vec![], Foreign::FromItrRloc);
        let behind = ["10.0.0.1", "172.31.0.1", "192.168.1.1", "100.64.0.1", "169.254.0.1", "127.0.0.1"];
        for text in behind.into_iter().chain(["fd00::1", "fe80::1", "::1"]) {
            assert_eq!(open.admit_foreign(TARGET, &rlocs(&[text])), Ok(AnswerAt::Nat), "{text}");
            let with_public = rlocs(&[text, "203.0.113.9"]);
            assert_eq!(open.admit_foreign(TARGET, &with_public), Err(Refusal::ForeignNotFromItr), "{text}");
        }
        for text in ["100.128.0.1", "172.32.0.1", "2001:db8::1", "0.0.0.0", "224.0.0.1"] {
            assert_eq!(open.admit_foreign(TARGET, &rlocs(&[text])), Err(Refusal::ForeignNotFromItr), "{text}");
        }
        let with_none = [rlocs(&["10.0.0.1"]), vec![Address::None]].concat();
        assert_eq!(open.admit_foreign(TARGET, &with_none), Ok(AnswerAt::Nat));
        assert_eq!(open.admit_foreign(TARGET, &[Address::None]), Err(Refusal::ForeignNotFromItr));
        // Whoever asks for others names them, if they can be in its own network.
        let clients =
            Limiter::new(vec!["192.0.2.0/24".parse().unwrap(), "10.0.0.0/8".parse().unwrap()], Foreign::Nobody);
        assert_eq!(clients.admit_foreign([10, 0, 0, 53].into(), &rlocs(&["10.0.0.1"])), Ok(AnswerAt::ItrRloc));
        assert_eq!(clients.admit_foreign(TARGET, &rlocs(&["10.0.0.1"])), Ok(AnswerAt::Nat));
    }
}
