// SPDX-License-Identifier: GPL-2.0-or-later
//! Blocks of IPv6 of which many addresses have gone too far: a household has 256 of them (a /56), a site 65,536 (a /48), and could
//! always come from another one. Nobody else of such a block comes in either for a while.
//!
//! A household is shut before its site is, and adds nothing to what is counted of that meanwhile: it takes several to shut their
//! neighbours out. Of IPv4 a block is many parties.

use std::net::IpAddr;
use std::time::Instant;

use super::rate::Table;
use crate::block::Block;
use crate::shell::limits;

/// A block of which addresses are kept out.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    since: Instant,
    /// Addresses that have gone too far within [`limits::REQUESTS_SHUT`]; none can do so twice in that time.
    count: u32,
    shut_until: Option<Instant>,
}

impl Crowd {
    fn is_shut(&self, now: Instant) -> bool {
        self.shut_until.is_some_and(|until| until > now)
    }

    fn is_at_rest(&self, now: Instant) -> bool {
        self.since + limits::REQUESTS_SHUT <= now && !self.is_shut(now)
    }

    fn count(&mut self, now: Instant, most: u32) {
        if self.since + limits::REQUESTS_SHUT <= now {
            (self.since, self.count) = (now, 0);
        }
        self.count += 1;
        if self.count >= most {
            self.shut_until = Some(now + limits::REQUESTS_SHUT);
        }
    }
}

/// The blocks of all who have gone too far.
#[derive(Debug)]
pub(super) struct Crowds(Table<Crowd>);

impl Crowds {
    pub(super) fn new() -> Self {
        Self(Table::new())
    }

    /// Whether nobody of this address's blocks is let in.
    pub(super) fn keep_out(&self, now: Instant, from: IpAddr) -> bool {
        let is_shut = |block| self.0.kept.get(&block).is_some_and(|crowd| crowd.is_shut(now));
        is_shut(Block::household_of(from)) || is_shut(Block::of(from))
    }

    /// An address has gone too far.
    pub(super) fn went_too_far(&mut self, now: Instant, from: IpAddr) {
        if Block::provider_of(from).is_none() {
            return;
        }
        let none = Crowd { since: now, count: 0, shut_until: None };
        let household = (Block::household_of(from), limits::REQUESTS_CROWD);
        for (block, most) in [household, (Block::of(from), limits::REQUESTS_CROWD_OF_SITE)] {
            if let Some(crowd) = self.0.entry(now, block, none, |crowd| !crowd.is_at_rest(now)) {
                crowd.count(now, most);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::rate::{Rates, Verdict};
    use super::*;

    fn v6(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Each of these that is let in asks until it is closed on; how many those are, and how many requests of theirs were in vain.
    fn flood(rates: &mut Rates, now: Instant, from: impl Iterator<Item = u16>) -> (u32, u64) {
        let (mut closed, before) = (0, rates.turned.requests);
        for host in from {
            let from = v6(&format!("2001:db8:1:{host:x}::1"));
            if rates.lets_in(now, from) {
                while rates.ask(now, from, limits::PUT_TOKENS) != Verdict::Close {}
                closed += 1;
            }
        }
        (closed, rates.turned.requests - before)
    }

    #[test]
    fn who_goes_on_from_ever_other_64s_is_kept_out_with_its_whole_56_and_its_neighbours_are_not() {
        let begin = Instant::now();
        let mut rates = Rates::new(begin);
        let refused = u64::from(limits::REQUESTS_CROWD * limits::REQUESTS_REFUSED);
        assert_eq!(flood(&mut rates, begin, 0..256), (limits::REQUESTS_CROWD, refused));
        assert_eq!(flood(&mut rates, begin + limits::REQUESTS_SHUT / 2, 0..256), (0, 0), "it is out");
        assert!(rates.lets_in(begin, v6("2001:db8:1:100::1")), "the next household is not");
        let again = flood(&mut rates, begin + limits::REQUESTS_SHUT, 0..256);
        assert_eq!(again, (limits::REQUESTS_CROWD, refused), "and again later");
    }

    #[test]
    fn many_of_a_site_are_kept_out_with_their_whole_48() {
        let begin = Instant::now();
        // Few of each household, so that none of them is shut for itself; and all of one after the other.
        for step in [64, 1] {
            let mut rates = Rates::new(begin);
            let (closed, _) = flood(&mut rates, begin, (0..u16::MAX).step_by(step));
            assert_eq!(closed, limits::REQUESTS_CROWD_OF_SITE);
            assert!(!rates.lets_in(begin, v6("2001:db8:1:ffff::1")), "a neighbour");
            assert!(rates.lets_in(begin, v6("2001:db8:2::1")), "another site");
            assert!(rates.lets_in(begin + limits::REQUESTS_SHUT, v6("2001:db8:1:ffff::1")));
        }
    }
}
