// SPDX-License-Identifier: GPL-2.0-or-later
//! A token bucket.

use std::time::{Duration, Instant};

/// So much at once, so much a second.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    at: Instant,
    /// Thousandths of a token.
    milli: u64,
    burst: u32,
    rate: u32,
}

/// Thousandths in a token.
const TOKEN: u64 = 1000;

impl Pace {
    /// A full bucket. A rate of zero counts as one.
    pub fn new(now: Instant, burst: u32, rate: u32) -> Self {
        Self { at: now, milli: u64::from(burst) * TOKEN, burst, rate: rate.max(1) }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.at).as_millis();
        let gained = u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_mul(self.rate.into());
        self.milli = self.milli.saturating_add(gained).min(u64::from(self.burst) * TOKEN);
        // The fraction of a millisecond is not lost.
        self.at += Duration::from_millis(u64::try_from(elapsed).unwrap_or(0));
        match self.milli.checked_sub(TOKEN) {
            Some(left) => {
                self.milli = left;
                true
            }
            None => false,
        }
    }

    /// When there is one.
    pub fn next(&self) -> Instant {
        let missing = TOKEN.saturating_sub(self.milli);
        self.at + Duration::from_millis(missing.div_ceil(u64::from(self.rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(start, 3, 4);
        assert_eq!((0..5).filter(|_| pace.take(start)).count(), 3);
        assert_eq!(pace.next(), start + Duration::from_millis(250));
        assert!(!pace.take(start + Duration::from_millis(249)));
        assert!(pace.take(pace.next()));
        let later = start + Duration::from_secs(60);
        assert_eq!((0..5).filter(|_| pace.take(later)).count(), 3);
    }
}
