// SPDX-License-Identifier: GPL-2.0-or-later
//! How much may be sent: a token bucket of messages or octets.

use std::time::{Duration, Instant};

/// So many a second, and as many at once.
#[derive(Debug)]
pub(crate) struct Budget {
    per_second: u32,
    /// Below zero what was spent beyond it.
    left: i64,
    /// Up to when tokens were put in.
    filled: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant, per_second: u32) -> Self {
        Self { per_second, left: per_second.into(), filled: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let is_there = self.left > 0;
        self.left -= i64::from(is_there);
        is_there
    }

    /// Takes so many, of which some may not be there yet: then there are none until they are made up for.
    pub(crate) fn spend(&mut self, now: Instant, tokens: usize) {
        self.fill(now);
        self.left = self.left.saturating_sub_unsigned(tokens as u64);
    }

    /// When there is one; `None` if there is one already.
    pub(crate) fn next(&self) -> Option<Instant> {
        let missing = u32::try_from(1_i64.saturating_sub(self.left).max(0)).unwrap_or(u32::MAX);
        (missing > 0).then(|| self.filled + self.interval().saturating_mul(missing))
    }

    fn fill(&mut self, now: Instant) {
        let interval = self.interval();
        let passed = now.saturating_duration_since(self.filled);
        let new = u32::try_from(passed.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX);
        let left = self.left.saturating_add(new.into());
        if left > self.per_second.into() {
            (self.left, self.filled) = (self.per_second.into(), now);
        } else {
            (self.left, self.filled) = (left, self.filled + interval * new);
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1) / self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_comes_back_with_time() {
        let start = Instant::now();
        let mut budget = Budget::new(start, 10);
        assert_eq!(budget.next(), None);
        assert_eq!((0..20).filter(|_| budget.take(start)).count(), 10);
        assert_eq!(budget.next(), Some(start + Duration::from_millis(100)));
        assert!(!budget.take(start + Duration::from_millis(99)));
        assert!(budget.take(start + Duration::from_millis(100)));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| budget.take(later)).count(), 10, "no more is saved up");
    }

    #[test]
    fn what_is_spent_beyond_it_is_made_up_for_first() {
        let start = Instant::now();
        let mut budget = Budget::new(start, 1000);
        budget.spend(start, 999);
        assert_eq!(budget.next(), None);
        budget.spend(start, 500);
        assert_eq!(budget.next(), Some(start + Duration::from_millis(500)));
        let half = start + Duration::from_millis(499);
        assert!(!budget.take(half));
        assert_eq!(budget.next(), Some(start + Duration::from_millis(500)));
        assert!(budget.take(start + Duration::from_millis(500)));
        budget.spend(start + Duration::from_secs(60), usize::MAX);
        assert!(!budget.take(start + Duration::from_secs(120)));
    }
}
