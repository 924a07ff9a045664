// SPDX-License-Identifier: GPL-2.0-or-later
//! How often peers may ask: FIND_NODE, GET and PUT of a block of addresses are counted before anything looks at them.
//!
//! What a request costs is a number of tokens. Each block has some a second for itself, so that nobody who asks little is ever
//! refused because of others; the blocks of one provider together have no more than some blocks have, and all blocks together
//! have more, for whoever has much to hand on or to publish. Beyond that a request is refused at once. Refusing costs nearly as
//! much as answering, so whoever goes on all the same is closed on, and its address is not let in again for some seconds: its
//! neighbours in the block, who have seen as many refusals as they have asked in vain, stay, unless so many of them have gone too far
//! that they are one party.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::crowds::Crowds;
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
    /// Connections closed, and handshakes while the address is not let in.
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

    /// When all tokens are there again once so many are taken; none if they are not there.
    fn without(&self, now: Instant, tokens: u32) -> Option<Instant> {
        let full_at = self.full_at.max(now) + Duration::from_secs(1) * tokens / self.rate;
        (full_at <= now + limits::REQUESTS_SAVED).then_some(full_at)
    }

    fn take(&mut self, now: Instant, tokens: u32) -> bool {
        let full_at = self.without(now, tokens);
        self.full_at = full_at.unwrap_or(self.full_at);
        full_at.is_some()
    }

    /// Whether it is as one of which nothing was ever taken.
    fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// One address that was refused something.
#[derive(Debug, Clone, Copy)]
struct Refused {
    /// Requests, without a pause of [`limits::REQUESTS_SAVED`] between two of them.
    count: u32,
    last: Instant,
    shut_until: Option<Instant>,
}

impl Refused {
    fn is_shut(&self, now: Instant) -> bool {
        self.shut_until.is_some_and(|until| until > now)
    }

    /// Whether it is as one that was never refused anything.
    fn is_at_rest(&self, now: Instant) -> bool {
        self.last + limits::REQUESTS_SAVED <= now && !self.is_shut(now)
    }
}

/// The requests of all.
#[derive(Debug)]
pub(super) struct Rates {
    all: Bucket,
    blocks: Table<Bucket>,
    providers: Table<Bucket>,
    hosts: Table<Refused>,
    crowds: Crowds,
    pub(super) turned: Turned,
}

impl Rates {
    pub(super) fn new(now: Instant) -> Self {
        let (blocks, providers, hosts, crowds) = (Table::new(), Table::new(), Table::new(), Crowds::new());
        let all = Bucket::new(now, limits::REQUESTS_OF_ALL);
        Self { all, blocks, providers, hosts, crowds, turned: Turned::default() }
    }

    /// A request that costs so many tokens has come from an address; none where nobody knows from where.
    pub(super) fn ask(&mut self, now: Instant, from: Option<IpAddr>, tokens: u32) -> Verdict {
        if from.is_some_and(|from| self.takes_own(now, from, tokens)) || self.all.take(now, tokens) {
            return Verdict::Serve;
        }
        self.turned.requests += 1;
        if from.is_none_or(|from| !self.goes_too_far(now, from)) {
            return Verdict::Refuse;
        }
        self.turned.connections += 1;
        Verdict::Close
    }

    /// Whether somebody at an address may come in.
    pub(super) fn lets_in(&mut self, now: Instant, from: Option<IpAddr>) -> bool {
        let host = from.and_then(|from| self.hosts.kept.get(&Block::host_of(from)));
        let is_host_shut = host.is_some_and(|host| host.is_shut(now));
        let is_shut = is_host_shut || from.is_some_and(|from| self.crowds.keep_out(now, from));
        self.turned.connections += u64::from(is_shut);
        !is_shut
    }

    /// Takes tokens of an address's block, within what its provider has.
    fn takes_own(&mut self, now: Instant, from: IpAddr, tokens: u32) -> bool {
        let is_used = |bucket: &Bucket| !bucket.is_full(now);
        let whole = Bucket::new(now, limits::REQUESTS_OF_PROVIDER);
        let provider = match Block::provider_of(from) {
            None => None,
            Some(provider) => match self.providers.entry(now, provider, whole, is_used) {
                // For who comes when so many are counted there is what is for all.
                None => return false,
                found => found,
            },
        };
        let whole = Bucket::new(now, limits::REQUESTS_OF_BLOCK);
        let Some(block) = self.blocks.entry(now, Block::of(from), whole, is_used) else { return false };
        match provider {
            None => block.take(now, tokens),
            Some(provider) => {
                block.without(now, tokens).is_some() && provider.take(now, tokens) && block.take(now, tokens)
            }
        }
    }

    /// Counts what an address is refused; whether it was too often, so that it is kept out.
    fn goes_too_far(&mut self, now: Instant, from: IpAddr) -> bool {
        let none = Refused { count: 0, last: now, shut_until: None };
        let is_used = |host: &Refused| !host.is_at_rest(now);
        let Some(host) = self.hosts.entry(now, Block::host_of(from), none, is_used) else { return false };
        if host.is_at_rest(now) {
            *host = none;
        }
        (host.count, host.last) = (host.count + 1, now);
        let is_too_often = host.count >= limits::REQUESTS_REFUSED;
        if is_too_often {
            (host.count, host.shut_until) = (0, Some(now + limits::REQUESTS_SHUT));
            self.crowds.went_too_far(now, from);
        }
        is_too_often
    }
}

/// What is kept of blocks.
#[derive(Debug)]
pub(super) struct Table<T> {
    pub(super) kept: HashMap<Block, T>,
    /// When those that are as new were last forgotten: while it is full of others, not each request looks for them.
    swept: Option<Instant>,
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        Self { kept: HashMap::new(), swept: None }
    }

    /// What is kept of one, new if nothing is; none when so many are kept already.
    pub(super) fn entry(&mut self, now: Instant, block: Block, new: T, is_used: impl Fn(&T) -> bool) -> Option<&mut T> {
        let is_due = self.swept.is_none_or(|swept| swept + limits::REQUESTS_SWEPT <= now);
        if is_due && self.kept.len() >= limits::REQUESTS_BLOCKS {
            self.swept = Some(now);
            self.kept.retain(|_, kept| is_used(kept));
        }
        let has_room = self.kept.len() < limits::REQUESTS_BLOCKS;
        if has_room || self.kept.contains_key(&block) { Some(self.kept.entry(block).or_insert(new)) } else { None }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const STRANGER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)));
    const NEIGHBOUR: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 8)));
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

    fn v6(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
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
    fn a_flooder_shuts_no_neighbour_out() {
        let begin = Instant::now();
        let mut rates = Rates::new(begin);
        let mut closed = 0;
        // Twenty requests a second of the neighbour's, and two thousand of the flooder's whenever it is let in.
        for step in 0..60 * 20 {
            let now = begin + Duration::from_millis(50) * step;
            let is_in = rates.lets_in(now, STRANGER);
            for _ in 0..if is_in { 2000 } else { 0 } {
                closed += u32::from(rates.ask(now, STRANGER, limits::PUT_TOKENS) == Verdict::Close);
            }
            assert!(rates.ask(now, NEIGHBOUR, 1) != Verdict::Close && rates.lets_in(now, NEIGHBOUR), "step {step}");
        }
        assert!(closed >= 6, "the flooder is kept out again and again: {closed}");
    }

    #[test]
    fn of_ipv6_the_64_is_kept_out_and_not_the_48() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        while rates.ask(now, v6("2001:db8:1:1::1"), 1) != Verdict::Close {}
        assert!(!rates.lets_in(now, v6("2001:db8:1:1::1")) && !rates.lets_in(now, v6("2001:db8:1:1:ffff::9")));
        assert!(rates.lets_in(now, v6("2001:db8:1:2::1")));
    }

    #[test]
    fn whoever_has_many_blocks_of_a_provider_has_no_more_than_some_blocks_have() {
        let begin = Instant::now();
        let mut rates = Rates::new(begin);
        let ask_all = |rates: &mut Rates, now: Instant| {
            let blocks = (0..64).map(|block| v6(&format!("2001:db8:{block:x}::1")));
            blocks.map(|from| served(rates, now, from, saved(limits::REQUESTS_OF_BLOCK), 1)).sum::<u32>()
        };
        let most = limits::REQUESTS_OF_PROVIDER + limits::REQUESTS_OF_ALL;
        assert_eq!(ask_all(&mut rates, begin), saved(most));
        let later = begin + Duration::from_secs(1);
        assert!(ask_all(&mut rates, later).abs_diff(most) <= 2);
        assert_eq!(served(&mut rates, later, v6("2001:db9::1"), 200, 1), 200, "another provider has its own");
        assert_eq!(served(&mut rates, later, OTHER, 200, 1), 200);
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
    fn so_many_are_remembered_and_no_more() {
        let now = Instant::now();
        let mut rates = Rates::new(now);
        for number in 0..20_000_u32 {
            rates.ask(now, Some(IpAddr::V4((0x0100_0000 + (number << 8)).into())), 1);
            rates.ask(now, Some(IpAddr::V6(((0x2001_0000_u128 + u128::from(number)) << 96).into())), 1);
        }
        let counts = |rates: &Rates| [rates.blocks.kept.len(), rates.providers.kept.len(), rates.hosts.kept.len()];
        assert_eq!(counts(&rates), [limits::REQUESTS_BLOCKS; 3]);
        for from in [STRANGER, v6("2001:db8::1")] {
            while rates.ask(now + limits::REQUESTS_SAVED, from, 1) == Verdict::Serve {}
        }
        assert_eq!(counts(&rates), [2, 1, 2], "those at rest are forgotten");
    }
}
