// SPDX-License-Identifier: GPL-2.0-or-later
//! How many ICMP errors leave: a token bucket for each source, and one for all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits;

/// Tokens that come back over time, up to a second's worth.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: u32,
    per_second: u32,
    since: Instant,
}

impl Bucket {
    fn new(now: Instant, per_second: u32) -> Self {
        Self { tokens: per_second, per_second, since: now }
    }

    fn refill(&mut self, now: Instant) {
        let step = Duration::from_secs(1) / self.per_second;
        let earned = now.saturating_duration_since(self.since).as_nanos() / step.as_nanos();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned >= self.per_second - self.tokens {
            (self.tokens, self.since) = (self.per_second, now);
        } else {
            self.tokens += earned;
            self.since += step * earned;
        }
    }

    fn take(&mut self) -> bool {
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

/// Permits for ICMP errors.
#[derive(Debug)]
pub(super) struct IcmpRate {
    all: Bucket,
    sources: HashMap<IpAddr, Bucket>,
}

impl IcmpRate {
    pub(super) fn new(now: Instant) -> Self {
        Self { all: Bucket::new(now, limits::ICMP_IN_ALL), sources: HashMap::new() }
    }

    /// Whether one more error may go to `source` now.
    pub(super) fn permit(&mut self, now: Instant, source: IpAddr) -> bool {
        if self.sources.len() >= limits::ICMP_SOURCES && !self.sources.contains_key(&source) {
            // A full bucket is as good as none; if none is full, the bucket for all bounds what a new start gives away.
            self.sources.retain(|_, bucket| {
                bucket.refill(now);
                bucket.tokens < bucket.per_second
            });
            if self.sources.len() >= limits::ICMP_SOURCES {
                self.sources.clear();
            }
        }
        let bucket = self.sources.entry(source).or_insert_with(|| Bucket::new(now, limits::ICMP_PER_SOURCE));
        bucket.refill(now);
        self.all.refill(now);
        bucket.take() && self.all.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(rate: &mut IcmpRate, now: Instant, source: u32, tries: u32) -> usize {
        (0..tries).filter(|_| rate.permit(now, IpAddr::V4(source.into()))).count()
    }

    #[test]
    fn a_source_has_a_burst_and_a_rate() {
        let now = Instant::now();
        let mut rate = IcmpRate::new(now);
        assert_eq!(permits(&mut rate, now, 1, 100), 10);
        assert_eq!(permits(&mut rate, now + Duration::from_millis(250), 1, 100), 2);
        assert_eq!(permits(&mut rate, now + Duration::from_millis(300), 1, 100), 1);
        assert_eq!(permits(&mut rate, now + Duration::from_secs(100), 1, 100), 10);
    }

    #[test]
    fn all_sources_together_have_a_rate_and_bounded_memory() {
        let now = Instant::now();
        let mut rate = IcmpRate::new(now);
        let sent: usize = (0..10_000).map(|source| permits(&mut rate, now, source, 1)).sum();
        assert_eq!(sent, 200);
        assert!(rate.sources.len() <= limits::ICMP_SOURCES);
    }
}
