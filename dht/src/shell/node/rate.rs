// SPDX-License-Identifier: GPL-2.0-or-later
//! How often peers may ask: FIND_NODE, GET and PUT of a block of addresses are counted before anything looks at them.
//!
//! What a request costs is a number of tokens. Each block has some a second for itself, so that nobody who asks little is ever
//! refused because of others; all blocks together have more, for whoever has much to hand on or to publish. Beyond both a
//! request is refused at once. Refusing costs nearly as much as answering, so whoever goes on all the same is closed on, and
//! its block is not let in again for some seconds.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::block::Block;
use crate::shell::limits;

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is answered.
    Serve,
    /// It is refused.
    Refuse,
    /// Its connection is closed.
    Close,
}

/// What was turned away since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Turned {
    /// Requests.
    pub(super) requests: u64,
    /// Connections closed, and handshakes while the block is not let in.
    pub(super) connections: u64,
}

/// Tokens that come back one by one, kept as the time at which all are there.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    full_at: Instant,
    /// Tokens a second; those of [`limits::REQUESTS_SAVED`] are kept at most.
    rate: u32,
}

impl Bucket {
    fn new(now: Instant, rate: u32) -> Self {
        Self { full_at: now, rate }
    }

    fn take(&mut self, now: Instant, tokens: u32) -> bool {
        let full_at = self.full_at.max(now) + Duration::from_secs(1) * tokens / self.rate;
        let is_there = full_at <= now + limits::REQUESTS_SAVED;
        if is_there {
            self.full_at = full_at;
        }
        is_there
    }
}

/// One block.
#[derive(Debug)]
struct Account {
    bucket: Bucket,
    /// Requests refused since it had all its tokens.
    refused: u32,
    shut_until: Option<Instant>,
}

impl Account {
    /// Whether it is as one that was never heard of.
    fn is_at_rest(&self, now: Instant) -> bool {
        self.bucket.full_at <= now && self.shut_until.is_none_or(|until| until <= now)
    }
}

/// The requests of all.
#[derive(Debug)]
pub(super) struct Rates {
    all: Bucket,
    blocks: HashMap<Block, Account>,
    pub(super) turned: Turned,
}

impl Rates {
    pub(super) fn new(now: Instant) -> Self {
        Self { all: Bucket::new(now, limits::REQUESTS_OF_ALL), blocks: HashMap::new(), turned: Turned::default() }
    }

    /// A request that costs so many tokens has come from an address; none where nobody knows from where.
    pub(super) fn ask(&mut self, now: Instant, from: Option<IpAddr>, tokens: u32) -> Verdict {
        let block = from.map(Block::of);
        if self.blocks.len() >= limits::REQUESTS_BLOCKS {
            self.blocks.retain(|_, account| !account.is_at_rest(now));
        }
        let has_room = self.blocks.len() < limits::REQUESTS_BLOCKS;
        let known = block.filter(|block| has_room || self.blocks.contains_key(block));
        let account = known.map(|block| {
            let bucket = Bucket::new(now, limits::REQUESTS_OF_BLOCK);
            self.blocks.entry(block).or_insert(Account { bucket, refused: 0, shut_until: None })
        });
        let Some(account) = account else {
            let served = self.all.take(now, tokens);
            self.turned.requests += u64::from(!served);
            return if served { Verdict::Serve } else { Verdict::Refuse };
        };
        if account.is_at_rest(now) {
            account.refused = 0;
        }
        if account.bucket.take(now, tokens) || self.all.take(now, tokens) {
            return Verdict::Serve;
        }
        self.turned.requests += 1;
        account.refused += 1;
        if account.refused < limits::REQUESTS_REFUSED {
            return Verdict::Refuse;
        }
        account.refused = 0;
        account.shut_until = Some(now + limits::REQUESTS_SHUT);
        self.turned.connections += 1;
        Verdict::Close
    }

    /// Whether somebody at an address may come in.
    pub(super) fn lets_in(&mut self, now: Instant, from: Option<IpAddr>) -> bool {
        let account = from.and_then(|from| self.blocks.get(&Block::of(from)));
        let is_shut = account.and_then(|account| account.shut_until).is_some_and(|until| until > now);
        self.turned.connections += u64::from(is_shut);
        !is_shut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)));
    const OTHER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9)));

    /// How many of these requests are served, until the connection is closed.
    fn served(rates: &mut Rates, now: Instant, from: Option<IpAddr>, count: u32, tokens: u32) -> u32 {
        let verdicts =
            (0..count).map(|_| rates.ask(now, from, tokens)).take_while(|verdict| *verdict != Verdict::Close);
        u32::try_from(verdicts.filter(|verdict| *verdict == Verdict::Serve).count()).unwrap_or_default()
    }

    fn saved(rate: u32) -> u32 {
        rate * u32::try_from(limits::REQUESTS_SAVED.as_secs()).unwrap_or_default()
    }

    #[test]
    fn whoever_asks_much_gets_its_own_and_what_is_for_all() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        let all = saved(limits::REQUESTS_OF_BLOCK) + saved(limits::REQUESTS_OF_ALL);
        assert_eq!(served(&mut rates, now, STRANGER, all * 2, 1), all);
        let later = now + Duration::from_secs(1);
        let second = limits::REQUESTS_OF_BLOCK + limits::REQUESTS_OF_ALL;
        assert!(
            served(&mut rates, later, STRANGER, second * 2, 1).abs_diff(second) <= 1,
            "a second's worth has come back"
        );
    }

    #[test]
    fn whoever_asks_little_is_served_while_others_flood() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        for second in 0..60 {
            let now = now + Duration::from_secs(second);
            served(&mut rates, now, STRANGER, 20_000, limits::PUT_TOKENS);
            // What a peer hands on at the most, after a merge.
            let handed_on = 64;
            assert!(f64::from(handed_on) >= crate::limits::HANDOVER_RATE_MOST);
            assert_eq!(served(&mut rates, now, OTHER, handed_on, limits::PUT_TOKENS), handed_on, "second {second}");
        }
    }

    #[test]
    fn whoever_goes_on_when_it_is_refused_is_closed_on_and_kept_out_for_a_while() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        let mut count = 0_u64;
        while rates.ask(now, STRANGER, 1) != Verdict::Close {
            count += 1;
        }
        assert!(count < 50_000);
        assert!(!rates.lets_in(now, STRANGER) && rates.lets_in(now, OTHER) && rates.lets_in(now, None));
        assert!(rates.lets_in(now + limits::REQUESTS_SHUT, STRANGER));
        let refused = u64::from(limits::REQUESTS_REFUSED);
        assert_eq!((rates.turned.requests, rates.turned.connections), (refused, 2));
    }

    #[test]
    fn few_refusals_now_and_then_close_nothing() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        let burst = saved(limits::REQUESTS_OF_BLOCK) + saved(limits::REQUESTS_OF_ALL) + limits::REQUESTS_REFUSED / 2;
        for pause in 0..20 {
            let at = now + limits::REQUESTS_SAVED * pause * 2;
            assert!((0..burst).all(|_| rates.ask(at, STRANGER, 1) != Verdict::Close), "burst {pause}");
        }
        assert!(rates.turned.requests > 0);
    }

    #[test]
    fn so_many_blocks_are_remembered_and_no_more() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        for number in 0..100_000_u32 {
            rates.ask(now, Some(IpAddr::V4((0x0100_0000 + (number << 8)).into())), 1);
        }
        assert!(rates.blocks.len() <= limits::REQUESTS_BLOCKS);
        rates.ask(now + limits::REQUESTS_SAVED, STRANGER, 1);
        assert_eq!(rates.blocks.len(), 1, "those at rest are forgotten");
    }
}
