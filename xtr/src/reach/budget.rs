// SPDX-License-Identifier: GPL-2.0-or-later
//! How many messages may be sent: a token bucket.

use std::time::{Duration, Instant};

/// So many a second, and as many at once.
#[derive(Debug)]
pub(crate) struct Budget {
    per_second: u32,
    left: u32,
    /// Up to when tokens were put in.
    filled: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant, per_second: u32) -> Self {
        Self { per_second, left: per_second, filled: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// When there is one; `None` if there is one already.
    pub(crate) fn next(&self) -> Option<Instant> {
        (self.left == 0).then(|| self.filled + self.interval())
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        if passed >= Duration::from_secs(1) {
            (self.left, self.filled) = (self.per_second, now);
            return;
        }
        let interval = self.interval();
        let new = u32::try_from(passed.as_nanos() / interval.as_nanos()).unwrap_or(self.per_second);
        self.left = self.left.saturating_add(new).min(self.per_second);
        self.filled += interval * new;
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
}
